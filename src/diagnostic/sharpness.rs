use std::{fmt, sync::Arc};

use burn::module::Module;
use serde::Serialize;

use super::{
    Estimate,
    measure::{check_same, measure},
    table::Table,
};
use crate::{
    BoxError, Error, Result,
    domain::DomainBatches,
    optim::{DomainLoss, RobustGradientAlignmentConfig, StepReport},
};

/// How far the losses rise at a distance $\rho$ from a model: for every domain
///
/// $$L_i\Bigl(\theta + \rho\\, \frac{g_i}{\lVert g_i \rVert}\Bigr) - L_i(\theta)
///   \approx \rho \lVert g_i \rVert + \tfrac{\rho^2}{2}
///   \frac{g_i^\top H_i\\, g_i}{\lVert g_i \rVert^2},$$
///
/// and for all of them together $\bar L(\theta + \rho\\, \bar g / \lVert \bar g \rVert) - \bar
/// L(\theta)$, means and standard errors over batches. It is SAM's measure, Foret et al., ICLR
/// 2021, arXiv 2010.01412, to first order the highest rise in the ball of radius $\rho$.
///
/// A domain that is far sharper than the others is fitted by details that its neighbours in the
/// parameters' space do not share. Compare models at the same $\rho$ only, and not models whose
/// layers are scaled differently: sharpness by this measure depends on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sharpness {
    rho: f64,
    batches: u64,
    skipped: u64,
    domains: Vec<DomainSharpness>,
    pooled: Estimate,
    unresolved: Option<f64>,
}

/// A domain's loss at $\theta$ and how far it rises.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DomainSharpness {
    /// The domain's name.
    pub name: Arc<str>,
    /// Its loss $L_i(\theta)$.
    pub loss: Estimate,
    /// How far it rises along its own gradient.
    pub sharpness: Estimate,
}

impl Sharpness {
    /// The distance $\rho$.
    pub fn rho(&self) -> f64 {
        self.rho
    }

    /// How many batches are in the means.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// How many batches were left out, because a number was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The domains, in the order of the batches.
    pub fn domains(&self) -> &[DomainSharpness] {
        &self.domains
    }

    /// How far the mean loss rises along the mean gradient: SAM's sharpness.
    pub fn pooled(&self) -> &Estimate {
        &self.pooled
    }

    /// The largest [`PointReport::unresolved`](crate::optim::PointReport::unresolved): near 1,
    /// $\rho$ is below the resolution of parameters of 16 bits, and nothing was measured.
    pub fn unresolved(&self) -> Option<f64> {
        self.unresolved
    }

    fn new(rho: f64) -> Self {
        Self {
            rho,
            batches: 0,
            skipped: 0,
            domains: Vec::new(),
            pooled: Estimate::default(),
            unresolved: None,
        }
    }

    /// Adds a batch: what SAM by domain and SAM have seen on it.
    fn add(&mut self, by_domain: &StepReport, pooled: &StepReport) -> Result<()> {
        let names = by_domain.domains.iter().map(|domain| &domain.name);
        if self.domains.is_empty() {
            let domain = |name: &Arc<str>| DomainSharpness {
                name: name.clone(),
                loss: Estimate::default(),
                sharpness: Estimate::default(),
            };
            self.domains = names.map(domain).collect();
        } else {
            let before = self.domains.iter().map(|domain| &*domain.name);
            check_same(before, names.map(|name| &**name))?;
        }
        if by_domain.is_skipped() || pooled.is_skipped() {
            self.skipped += 1;
            return Ok(());
        }
        self.batches += 1;
        for (domain, seen) in self.domains.iter_mut().zip(&by_domain.domains) {
            domain.loss.add(seen.loss);
        }
        for point in &by_domain.points {
            let domain = point.ascent.and_then(|index| self.domains.get_mut(index));
            if let Some(domain) = domain {
                domain.sharpness.add(point.sharpness);
            }
        }
        pooled
            .points
            .iter()
            .for_each(|point| self.pooled.add(point.sharpness));
        let shares = [self.unresolved, by_domain.unresolved(), pooled.unresolved()];
        self.unresolved = shares.into_iter().flatten().reduce(f64::max);
        Ok(())
    }
}

impl fmt::Display for Sharpness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rho,
            batches,
            skipped,
            ..
        } = self;
        writeln!(f, "rho {rho}, batches {batches}, skipped {skipped}\n")?;
        let mut table = Table::new(["domain", "loss", "sharpness"]);
        for domain in &self.domains {
            let DomainSharpness {
                name,
                loss,
                sharpness,
            } = domain;
            table.row([name.to_string(), loss.to_string(), sharpness.to_string()]);
        }
        table.row(["all, pooled".into(), "".into(), self.pooled.to_string()]);
        write!(f, "{table}")?;
        match self.unresolved {
            Some(share) => writeln!(f, "\nentries of 16 bits not moved {:.0} %", 100.0 * share),
            None => Ok(()),
        }
    }
}

/// Measures how far the domains' losses rise at a distance $\rho$, at a model that is not trained:
/// see [`Sharpness`].
///
/// * `rho`: finite, above 0; SAM's are 0.05 to 0.2.
/// * `batches`, `loss`: as for [`conflict`](super::conflict()). Dropout draws in every pass anew,
///   which adds to the standard error.
///
/// Passes: those of a step of
/// [`domain_sam`](RobustGradientAlignmentConfig::domain_sam) and of one of
/// [`sam`](RobustGradientAlignmentConfig::sam) on every batch, four forward and backward in all.
/// The model is left as it is, bit for bit.
///
/// # Errors
///
/// [`Error::Setting`] for a $\rho$ that cannot work; else as [`conflict`](super::conflict()).
///
/// ```
/// use burn::{nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
/// use roga::{diagnostic, domain::DomainBatches};
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// let x = |x: [f32; 2]| Tensor::<2>::from_floats([x], &device);
/// let batch = || DomainBatches::new([("photo", x([3.0, 4.0])), ("sketch", x([1.0, 0.0]))]);
///
/// let batches = (0..3).map(|_| batch()); // loader.iter()
/// let sharpness = diagnostic::sharpness(&model, batches, 0.1, |model: &Linear, x: &Tensor<2>| {
///     model.forward(x.clone()).mean()
/// })?;
/// println!("{sharpness}");
/// let photo = sharpness.domains()[0].sharpness.mean().unwrap();
/// assert!((photo - 0.5).abs() < 1e-6); // a plane: ρ times the gradient's norm, 5
/// # Ok::<(), roga::Error>(())
/// ```
pub fn sharpness<M, B, E, L>(
    model: &M,
    batches: impl IntoIterator<Item = Result<DomainBatches<B>, E>>,
    rho: f64,
    loss: impl FnMut(&M, &B) -> L,
) -> Result<Sharpness>
where
    M: Module,
    E: Into<BoxError>,
    L: DomainLoss<M>,
{
    check_rho(rho)?;
    let methods = [
        RobustGradientAlignmentConfig::domain_sam(rho),
        RobustGradientAlignmentConfig::sam(rho),
    ];
    let mut sharpness = Sharpness::new(rho);
    measure(model, batches, &methods, loss, |reports| match reports {
        [by_domain, pooled] => sharpness.add(by_domain, pooled),
        _ => Ok(()),
    })?;
    Ok(sharpness)
}

pub(super) fn check_rho(rho: f64) -> Result<()> {
    if rho.is_finite() && rho > 0.0 {
        return Ok(());
    }
    Err(Error::Setting {
        field: "rho",
        rule: "be finite and above 0",
        value: rho.to_string(),
    })
}
