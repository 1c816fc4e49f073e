use std::{fmt, sync::Arc};

use burn::module::Module;
use serde::Serialize;

use super::{
    Estimate,
    curve::{Curve, CurveBin},
    measure::{check_same, measure},
    table::Table,
};
use crate::{
    BoxError, Error, Result,
    domain::DomainBatches,
    optim::{DomainLoss, DomainReport, RobustGradientAlignmentConfig, StepReport},
};

/// How the domains' gradients stand to each other, over the steps of a training or over the batches
/// of a loader: for every pair $i < j$ of domains the mean of
///
/// $$\cos(g_i, g_j) = \frac{\langle g_i, g_j \rangle}{\lVert g_i \rVert \lVert g_j \rVert}
///   \in [-1, 1],$$
///
/// the share of the steps in which they conflict, $\langle g_i, g_j \rangle < 0$, and the course
/// of both over training.
///
/// It is a fold over [`StepReport`]s, which hold the cosines already: over a training it costs
/// nothing. [`conflict`] measures a model that is not trained. The cosine with a gradient that is
/// zero is 0. Skipped steps are counted, and are in no mean.
///
/// Cosines near 1: the domains ask for the same. Near 0: they learn apart. Below 0: what helps one
/// hurts the other. See Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
/// arXiv 2001.06782, for what conflicts do to training.
///
/// Memory: $K (K - 1) / 2$ numbers for each of at most 50 bins of steps.
///
/// ```
/// use burn::{nn::{Linear, LinearConfig}, optim::SgdConfig, tensor::{Device, Tensor}};
/// use roga::{diagnostic::Conflict, domain::DomainBatches, optim::RobustGradientAlignmentConfig};
///
/// let device = Device::default().autodiff();
/// let mut model = LinearConfig::new(1, 1).init(&device);
/// let mut optim = RobustGradientAlignmentConfig::new().init(SgdConfig::new().init())?;
/// let pair = |x: f32, y: f32| (Tensor::<2>::from_floats([[x]], &device), y);
/// let domains = DomainBatches::new([("photo", pair(1.0, 0.0)), ("sketch", pair(2.0, 3.0))])?;
///
/// let mut conflict = Conflict::new();
/// for _ in 0..10 {
///     let report = optim.step(0.01, &mut model, &domains, |model: &Linear, (x, y)| {
///         (model.forward(x.clone()) - *y).square().mean()
///     })?;
///     conflict.add(&report)?;
/// }
/// println!("{conflict}");
/// assert_eq!((conflict.steps(), conflict.curve().len()), (10, 10));
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "Written")]
pub struct Conflict {
    domains: Vec<DomainCourse>,
    steps: u64,
    skipped: u64,
    /// Every pair $j < i$, the smaller $i$ first.
    pairs: Vec<PairConflict>,
    curve: Curve,
}

/// A domain's loss and gradient over the steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DomainCourse {
    /// The domain's name.
    pub name: Arc<str>,
    /// Its loss $L_i(\theta)$.
    pub loss: Estimate,
    /// The norm $\lVert g_i \rVert$ of its gradient.
    pub gradient_norm: Estimate,
}

/// Two domains' gradients over the steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairConflict {
    /// The domains, the first before the second in their order.
    pub domains: (usize, usize),
    /// Their cosine.
    pub cosine: Estimate,
    /// In how many steps they conflict.
    pub conflicts: u64,
}

impl PairConflict {
    /// The share of the steps in which they conflict, from 0 to 1; `None` of no step.
    pub fn share(&self) -> Option<f64> {
        let steps = self.cosine.count();
        (steps > 0).then(|| self.conflicts as f64 / steps as f64)
    }
}

/// A [`Conflict`] as it is written.
#[derive(Serialize)]
struct Written {
    steps: u64,
    skipped: u64,
    domains: Vec<DomainCourse>,
    pairs: Vec<PairConflict>,
    curve: Vec<CurveBin>,
}

impl From<Conflict> for Written {
    fn from(conflict: Conflict) -> Self {
        Self {
            steps: conflict.steps,
            skipped: conflict.skipped,
            curve: conflict.curve.bins().to_vec(),
            domains: conflict.domains,
            pairs: conflict.pairs,
        }
    }
}

impl Default for Conflict {
    fn default() -> Self {
        Self::new()
    }
}

impl Conflict {
    /// Of no step yet, with a curve of at most 50 bins.
    pub fn new() -> Self {
        Self::of_bins(50)
    }

    /// Of no step yet, with a curve of at most so many bins, at least 2. Bins hold 1, 2, 4, …
    /// steps, as many as it takes.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for less than 2 bins.
    pub fn with_bins(bins: usize) -> Result<Self> {
        if bins < 2 {
            return Err(Error::Setting {
                field: "bins",
                rule: "be at least 2",
                value: bins.to_string(),
            });
        }
        Ok(Self::of_bins(bins))
    }

    fn of_bins(bins: usize) -> Self {
        Self {
            domains: Vec::new(),
            steps: 0,
            skipped: 0,
            pairs: Vec::new(),
            curve: Curve::new(bins),
        }
    }

    /// Adds a step. The numbers of the steps place them on the curve.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where the domains are not those of the steps before, in their order;
    /// [`Error::Setting`] where the report holds no cosines, because
    /// [`report`](RobustGradientAlignmentConfig::report) is off or the clean passes were joined.
    /// The step is not added then.
    pub fn add(&mut self, report: &StepReport) -> Result<()> {
        if !self.domains.is_empty() {
            let before = self.domains.iter().map(|domain| &*domain.name);
            check_same(before, report.domains.iter().map(|domain| &*domain.name))?;
        }
        let cosines = cosines_of_pairs(report)?;
        if self.domains.is_empty() {
            self.begin(report);
        }
        if report.is_skipped() {
            self.skipped += 1;
            return Ok(());
        }
        self.steps += 1;
        for (course, domain) in self.domains.iter_mut().zip(&report.domains) {
            course.loss.add(domain.loss);
            if let Some(norm) = domain.gradient_norm {
                course.gradient_norm.add(norm);
            }
        }
        for (pair, cosine) in self.pairs.iter_mut().zip(&cosines) {
            pair.cosine.add(*cosine);
            pair.conflicts += u64::from(*cosine < 0.0);
        }
        self.curve.add(report.step, cosines);
        Ok(())
    }

    fn begin(&mut self, report: &StepReport) {
        let course = |domain: &DomainReport| DomainCourse {
            name: domain.name.clone(),
            loss: Estimate::default(),
            gradient_norm: Estimate::default(),
        };
        self.domains = report.domains.iter().map(course).collect();
        let pair = |domains| PairConflict {
            domains,
            cosine: Estimate::default(),
            conflicts: 0,
        };
        self.pairs = pairs(self.domains.len()).map(pair).collect();
    }

    /// How many steps are in the means.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many steps were skipped, because a number was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The domains, in the order of the batches.
    pub fn domains(&self) -> &[DomainCourse] {
        &self.domains
    }

    /// Every pair of domains: (0, 1), (0, 2), (1, 2), (0, 3), …
    pub fn pairs(&self) -> &[PairConflict] {
        &self.pairs
    }

    /// The pair of two domains, in any order; `None` of a domain with itself and of domains that
    /// there are not.
    pub fn pair(&self, i: usize, j: usize) -> Option<&PairConflict> {
        let (first, second) = (i.min(j), i.max(j));
        if first == second || second >= self.domains.len() {
            return None;
        }
        self.pairs.get(second * (second - 1) / 2 + first)
    }

    /// The mean cosines, $K \times K$, in $[-1, 1]$, with 1 on the diagonal; NaN of no step.
    pub fn cosines(&self) -> Vec<Vec<f64>> {
        let entry = |i: usize, j: usize| match self.pair(i, j) {
            Some(pair) => pair.cosine.mean().unwrap_or(f64::NAN),
            None => 1.0,
        };
        let all = 0..self.domains.len();
        let row = |i| all.clone().map(|j| entry(i, j)).collect();
        all.clone().map(row).collect()
    }

    /// The mean over steps and pairs; `None` of one domain and of no step.
    pub fn mean_cosine(&self) -> Option<f64> {
        let means = self.pairs.iter().map(|pair| pair.cosine.mean());
        let sum = means.sum::<Option<f64>>()?;
        (!self.pairs.is_empty()).then(|| sum / self.pairs.len() as f64)
    }

    /// The cosines over the steps, in their order.
    pub fn curve(&self) -> &[CurveBin] {
        self.curve.bins()
    }
}

/// Every pair of domains, in the order in which they are kept.
fn pairs(domains: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..domains).flat_map(|second| (0..second).map(move |first| (first, second)))
}

/// The cosine of every pair.
fn cosines_of_pairs(report: &StepReport) -> Result<Vec<f64>> {
    let cosine = |(first, second): (usize, usize)| {
        let row: &Vec<f64> = report.cosines.as_ref()?.get(second)?;
        row.get(first).copied()
    };
    // One domain has no pair, and still has no cosines with the report off.
    let found = report.cosines.as_ref().map(|_| ());
    let cosines = found.and_then(|()| pairs(report.domains.len()).map(cosine).collect());
    cosines.ok_or_else(|| Error::Setting {
        field: "report",
        rule: "hold cosines: be on, and of clean passes that are not joined",
        value: format!("without them in step {}", report.step),
    })
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, skipped, .. } = self;
        let domains = self.domains.len();
        write!(f, "domains {domains}, steps {steps}, skipped {skipped}")?;
        match self.mean_cosine() {
            Some(cosine) => writeln!(f, ", mean cosine {cosine:.3}\n")?,
            None => writeln!(f, "\n")?,
        }
        let mut table = Table::new(["domain", "loss", "gradient norm"]);
        for domain in &self.domains {
            let DomainCourse {
                name,
                loss,
                gradient_norm,
            } = domain;
            table.row([
                name.to_string(),
                loss.to_string(),
                gradient_norm.to_string(),
            ]);
        }
        write!(f, "{table}")?;
        if self.pairs.is_empty() {
            return Ok(());
        }
        let name = |index: usize| self.domains.get(index).map_or("", |domain| &domain.name);
        let mut table = Table::new(["pair", "cosine", "conflict"]);
        for pair in &self.pairs {
            let (first, second) = pair.domains;
            let share = pair.share();
            table.row([
                format!("{}, {}", name(first), name(second)),
                pair.cosine.to_string(),
                share.map_or("-".into(), |share| format!("{:.0} %", 100.0 * share)),
            ]);
        }
        write!(f, "\n{table}")
    }
}

/// Measures how the domains' gradients stand to each other at a model, which is not trained: see
/// [`Conflict`].
///
/// * `batches`: a loader's iterator, all of it or `take(n)`. The standard errors are those over the
///   batches.
/// * `loss`: as for [`RobustGradientAlignment::step`](crate::optim::RobustGradientAlignment::step).
///   Layers behave as in training: dropout draws, BatchNorm normalises by the batch.
///
/// Passes: one forward and backward over every mini-batch. Memory: as a step of ERM. The model is
/// left as it is, bit for bit, running statistics too; the device's random numbers go on.
///
/// # Errors
///
/// [`Error::Domains`] where there is no batch, or the domains change; the batches' own error, or
/// [`Error::Batches`] with it as its source; and those of
/// [`RobustGradient::gradients`](crate::optim::RobustGradient::gradients).
///
/// ```
/// use burn::{nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
/// use roga::{diagnostic, domain::DomainBatches};
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(1, 1).init(&device);
/// let x = |x: f32| Tensor::<2>::from_floats([[x]], &device);
/// let batch = || DomainBatches::new([("photo", x(1.0)), ("sketch", x(-2.0))]);
///
/// let batches = (0..3).map(|_| batch()); // loader.iter()
/// let conflict = diagnostic::conflict(&model, batches, |model: &Linear, x: &Tensor<2>| {
///     model.forward(x.clone()).mean()
/// })?;
/// assert_eq!(conflict.pairs()[0].share(), Some(1.0)); // gradients (1, 1) and (-2, 1)
/// # Ok::<(), roga::Error>(())
/// ```
pub fn conflict<M, B, E, L>(
    model: &M,
    batches: impl IntoIterator<Item = Result<DomainBatches<B>, E>>,
    loss: impl FnMut(&M, &B) -> L,
) -> Result<Conflict>
where
    M: Module,
    E: Into<BoxError>,
    L: DomainLoss<M>,
{
    let mut conflict = Conflict::new();
    let erm = RobustGradientAlignmentConfig::erm();
    measure(model, batches, &[erm], loss, |reports| {
        reports.iter().try_for_each(|report| conflict.add(report))
    })?;
    Ok(conflict)
}
