use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Printable;

/// What one step saw and did.
///
/// All numbers are those of $\theta$ before the step. They are read back from the device together,
/// in one wait, or in two where a setting needs those of the clean passes before the step can go on
/// (alignment losses, aggregations), and in three where an aggregation
/// looks at the gradients at the points as well. A step that is skipped at the first of two has made no further pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// The number of the step.
    pub step: u64,
    /// The radius $\rho_t$ of the step's ascents, after its schedule; that of parameters in no
    /// group. 0 in a plain step.
    pub rho: f64,
    /// The length $\gamma_t$ of the step's shift, likewise.
    pub gamma: f64,
    /// The domains, in the order of the batches.
    pub domains: Vec<DomainReport>,
    /// The cosines $\langle g_i, g_j \rangle / (\lVert g_i \rVert \lVert g_j \rVert)$, $K \times K$,
    /// in $[-1, 1]$; 0 where a gradient is zero. `None` with the report off, where the clean
    /// passes were joined into one, and where gradients are
    /// [taken again](super::RobustGradientAlignmentConfig::recompute) instead of kept.
    pub cosines: Option<Vec<Vec<f64>>>,
    /// The pairs $i < j$ of domains whose gradients conflict, $\langle g_i, g_j \rangle < 0$.
    /// `None` as `cosines`.
    pub conflicts: Option<Vec<(usize, usize)>>,
    /// The points at which the losses were evaluated again, in the order of their passes.
    pub points: Vec<PointReport>,
    /// The alignment loss. `None` in steps in which it does not count, and where the step was skipped
    /// for its clean passes.
    pub alignment: Option<AlignmentReport>,
    /// The coefficients of an aggregation. `None` where it is the mean.
    pub aggregation: Option<AggregationReport>,
    /// $\lVert \bar g \rVert$. `None` with the report off.
    pub mean_gradient_norm: Option<f64>,
    /// $\lVert G \rVert$, the norm of what the base optimizer is handed. It is what tells whether $G$ is
    /// finite, and its squares, which adaptive optimizers keep, so that it is known with the report off
    /// too. 0 where the step was skipped before it was known.
    pub update_gradient_norm: f64,
    /// How many times a mini-batch went forward and backward.
    pub passes: Passes,
    /// Whether the step counts, and why not.
    pub outcome: Outcome,
}

impl StepReport {
    /// The mean loss $\bar L(\theta) = \sum_i p_i\\, L_i(\theta)$.
    pub fn mean_loss(&self) -> f64 {
        self.domains
            .iter()
            .map(|domain| domain.weight * domain.loss)
            .sum()
    }

    /// The mean over the points of [`PointReport::sharpness`]; `None` in a plain step.
    pub fn mean_sharpness(&self) -> Option<f64> {
        mean(self.points.iter().map(|point| point.sharpness))
    }

    /// The mean cosine between the gradients of two domains; `None` without
    /// [`cosines`](Self::cosines), or with one domain.
    pub fn mean_cosine(&self) -> Option<f64> {
        let cosines = self.cosines.iter().flatten().enumerate();
        mean(cosines.flat_map(|(i, row)| row.iter().take(i).copied()))
    }

    /// The largest [`PointReport::unresolved`], that of the alignment loss included; `None` without parameters of 16 bits, and
    /// with the report off.
    pub fn unresolved(&self) -> Option<f64> {
        let shares = self.points.iter().map(|point| point.unresolved);
        let of_alignment = self.alignment.iter().map(|alignment| alignment.unresolved);
        shares.chain(of_alignment).flatten().reduce(f64::max)
    }

    /// Whether the step was skipped: nothing has changed.
    pub fn is_skipped(&self) -> bool {
        matches!(self.outcome, Outcome::Skipped(_))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0usize, 0.0), |(count, sum), value| {
        (count + 1, sum + value)
    });
    (count > 0).then(|| sum / count as f64)
}

/// A domain's clean pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DomainReport {
    /// The domain's name.
    pub name: Arc<str>,
    /// Its weight $p_i$; the weights add up to 1.
    pub weight: f64,
    /// Its loss $L_i(\theta)$.
    pub loss: f64,
    /// The norm $\lVert g_i \rVert$ of its gradient. `None` where the clean passes were joined into one,
    /// and with the report off where no ascent goes by it.
    pub gradient_norm: Option<f64>,
}

/// An ascending point and what was seen there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointReport {
    /// The domain whose gradient was climbed; `None` for a point that all domains share.
    pub ascent: Option<usize>,
    /// The domains evaluated at the point: the domain and its loss $L_j(\theta_i)$.
    pub losses: Vec<(usize, f64)>,
    /// The norm of the gradient of the evaluated losses' weighted mean at the point, the
    /// *perturbed gradient*. `None` with the report off.
    pub gradient_norm: Option<f64>,
    /// The cosine of the perturbed gradient with $\bar g$, in $[-1, 1]$; 0 where one of them is
    /// zero. `None` with the report off.
    pub alignment: Option<f64>,
    /// The weighted mean of the evaluated losses at the point, less that at $\theta$.
    pub sharpness: f64,
    /// The share of the parameters' entries, from 0 to 1, that were to be moved to the point and
    /// that rounding to 16 bits has left where they were; `None` without parameters of 16 bits, and with the report off.
    ///
    /// Near 1, the losses are evaluated at $\theta$ itself: the perturbation is below the
    /// resolution of the parameters (about $2^{-11}$ of a value in f16, $2^{-8}$ in bf16). A
    /// larger $\rho$ or parameters of 32 bits are the cure.
    pub unresolved: Option<f64>,
}

/// An alignment loss at $\theta$, and its gradient.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlignmentReport {
    /// $\varphi$, of the domains that count.
    pub loss: f64,
    /// Its weight $\lambda_t$.
    pub weight: f64,
    /// $\lVert \nabla \varphi \rVert$, without the weight: finite differences of first order. `None`
    /// with the report off.
    pub gradient_norm: Option<f64>,
    /// As [`PointReport::unresolved`], the largest of the differences' points.
    pub unresolved: Option<f64>,
}

/// What an aggregation has made of the gradients: the coefficients, one for each domain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AggregationReport {
    /// Of the clean gradients in the place of $\bar g$. `None` where it is the mean.
    pub clean: Option<Vec<f64>>,
    /// Of the mean gradients at the domains' points, or of the domains' gradients at the one point, in
    /// $P$; in a plain step, of the clean gradients. `None` where they are added up.
    pub perturbed: Option<Vec<f64>>,
    /// Of the clean gradients in the direction of a pooled ascent. `None` where it is the mean.
    pub ascent: Option<Vec<f64>>,
}

/// How many times a mini-batch went forward and backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Passes {
    /// At $\theta$: $K$, and one for each gradient that is
    /// [taken again](super::RobustGradientAlignmentConfig::recompute).
    pub clean: usize,
    /// At the ascending points.
    pub perturbed: usize,
    /// At the points of an alignment loss.
    pub alignment: usize,
    /// How many times the closure was called: fewer than mini-batches went where passes were
    /// joined.
    pub calls: usize,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Outcome {
    /// All passes were finite.
    Applied,
    /// A pass was not finite. Nothing has changed: no parameter, no state of the optimizer, no
    /// running statistic.
    Skipped(NonFinite),
}

/// The first number that was not finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NonFinite {
    /// The domain whose mini-batch it was; `None` for the combined gradient and for that of a
    /// joined pass.
    pub domain: Option<Arc<str>>,
    /// The pass it was seen in.
    pub pass: Pass,
    /// What it was.
    pub quantity: Quantity,
}

/// A pass of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pass {
    /// At $\theta$.
    Clean,
    /// At the ascending point of a domain, or at one that all domains share.
    Perturbed {
        /// The domain whose gradient was climbed; `None` for a point that all domains share.
        ascent: Option<Arc<str>>,
    },
    /// At a point of the alignment loss; without a domain, the loss itself or its derivative.
    Alignment,
    /// Putting the gradients together.
    Combination,
    /// At the weights that the steps over the domains before have led to: see [`Fish`](super::Fish).
    Inner,
}

/// What a pass yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantity {
    /// The loss.
    Loss,
    /// The norm of the gradient.
    Gradient,
    /// Its coefficient in an aggregation.
    Coefficient,
    /// The weights after the inner steps.
    Weights,
}

impl std::fmt::Display for NonFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quantity = match self.quantity {
            Quantity::Loss => "loss",
            Quantity::Gradient => "gradient",
            Quantity::Coefficient => "coefficient",
            Quantity::Weights => "distance of the weights",
        };
        match &self.domain {
            Some(domain) => {
                let domain = Printable(domain);
                write!(f, "the {quantity} of domain `{domain}` is not finite ")?;
            }
            None => write!(f, "the {quantity} is not finite ")?,
        }
        match &self.pass {
            Pass::Clean => write!(f, "in the clean pass"),
            Pass::Perturbed {
                ascent: Some(ascent),
            } => {
                write!(
                    f,
                    "in the perturbed pass at the ascending point of `{}`",
                    Printable(ascent)
                )
            }
            Pass::Perturbed { ascent: None } => write!(f, "in the perturbed pass"),
            Pass::Alignment => write!(f, "in the pass of the alignment loss"),
            Pass::Combination => write!(f, "where the gradients are put together"),
            Pass::Inner => write!(f, "in the inner steps"),
        }
    }
}
