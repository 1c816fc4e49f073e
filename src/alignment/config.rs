use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::{AlignmentLoss, Cosine, GradientNorm, InnerProduct, Variance};
use crate::{Error, Result, optim::Schedule};

/// Which alignment loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alignment {
    /// [`InnerProduct`].
    InnerProduct,
    /// [`Cosine`].
    Cosine,
    /// [`Variance`].
    Variance,
    /// [`GradientNorm`].
    GradientNorm,
    /// A loss of the caller's own, by its `Debug` text: see
    /// [`AlignmentConfig::own`].
    Own(String),
}

impl Alignment {
    /// The loss, where it is built in.
    pub(crate) fn built_in(&self) -> Option<&'static dyn AlignmentLoss> {
        match self {
            Self::InnerProduct => Some(&InnerProduct),
            Self::Cosine => Some(&Cosine),
            Self::Variance => Some(&Variance),
            Self::GradientNorm => Some(&GradientNorm),
            Self::Own(_) => None,
        }
    }

    /// A loss of the caller's own.
    pub(crate) fn own(loss: &dyn AlignmentLoss) -> Self {
        Self::Own(format!("{loss:?}"))
    }
}

/// How a Hessian is multiplied with a vector, out of gradients.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Difference {
    /// $H_i v_i \approx [\nabla L_i(\theta + h\\, v_i) - g_i] / h$: one further pass over the $K$
    /// mini-batches, with an error of order $h$.
    OneSided,
    /// $H_i v_i \approx [\nabla L_i(\theta + h\\, v_i) - \nabla L_i(\theta - h\\, v_i)] / 2h$: two
    /// further passes, with an error of order $h^2$.
    Central,
}

/// An alignment loss $\varphi$ as a part of a training: $\lambda_t \nabla \varphi$ is added to the
/// gradient that the base optimizer is handed,
///
/// $$G = w_0\\, \bar g + w_1 P + \lambda_t \nabla \varphi, \qquad
///   \nabla \varphi = \sum_i H_i v_i, \quad v_i = 2 \sum_j \varphi'_{ij}\\, g_j.$$
///
/// It is set on any method, ERM as well as RoGA, and works in plain steps and perturbed ones. Domains
/// of weight 0 do not count in $\varphi$; the weights of the others do not matter to it. Groups of
/// parameters have their own $\rho$ and $\gamma$, and no say here: the points lie along all trainable
/// parameters.
///
/// # Cost
///
/// One pass over the $K$ mini-batches more for [`Difference::OneSided`], two for
/// [`Difference::Central`]; a domain whose $v_i$ is zero is left out. In memory, $K + 5$
/// copies of the parameters at the most beside ERM, $K + 6$ beside RoGA.
/// A second wait for the device, since $\varphi'$ is computed on the host.
///
/// # The length of the difference
///
/// The points lie $r \lVert \theta \rVert$ from $\theta$ in the norm over all trainable parameters,
/// so that $h = r \lVert \theta \rVert / \lVert v_i \rVert$, and $h$ is rounded to a power of two.
/// The error of a one-sided difference is about $a\\, r + b\\, \epsilon / r$ with $\epsilon$ the
/// resolution of the parameters, that of a central one $a\\, r^2 + b\\, \epsilon / r$, which is why
/// the default is $r = \sqrt\epsilon$ and $r = \epsilon^{1/3} / 3$: 3.5e-4 and 1.6e-3 for parameters
/// of 32 bits. On a small net whose gradients of all four losses are known exactly, these have a
/// relative error of about 1.5e-3 and 5e-5; a tenth or ten times of either has three to thirty times
/// that. With parameters of 16 bits little is left: 3 % of $\lVert \theta \rVert$ (f16) is no
/// small step, and the report says how much of it rounding has lost.
///
/// **Dropout** needs
/// [`noise_seed`](crate::optim::RobustGradientAlignmentConfig::noise_seed): without it the two ends of
/// a difference see different masks, and what is divided by $h$ is their noise.
///
/// ```
/// use burn::optim::AdamWConfig;
/// use roga::{
///     alignment::{AlignmentConfig, Difference},
///     optim::{RobustGradientAlignmentConfig, Schedule},
/// };
///
/// let optim = RobustGradientAlignmentConfig::erm()
///     .with_alignment(Some(
///         AlignmentConfig::cosine(0.1)
///             .with_warmup_steps(500)
///             .with_weight_schedule(Schedule::Linear { from: 0.0, to: 1.0, steps: 500 })
///             .with_difference(Difference::Central),
///     ))
///     .init(AdamWConfig::new().init())?;
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct AlignmentConfig {
    /// $\varphi$.
    pub loss: Alignment,
    /// The weight $\lambda$: finite, at least 0. With 0, no pass is made.
    pub weight: f64,
    /// How $\lambda$ changes over training. Its steps are counted from the end of the loss's own
    /// warm-up. Default: [`Schedule::Constant`].
    #[config(default = "Schedule::Constant")]
    pub weight_schedule: Schedule,
    /// For how many steps training begins without the loss, whatever the warm-up of the method.
    /// Default: 0.
    #[config(default = 0)]
    pub warmup_steps: u64,
    /// How $H_i v_i$ is taken. Default: [`Difference::OneSided`].
    #[config(default = "Difference::OneSided")]
    pub difference: Difference,
    /// $r$: finite, above 0. Default: `None`, by the type of the parameters, as above.
    pub relative_step: Option<f64>,
}

impl AlignmentConfig {
    /// [`InnerProduct`] with a weight.
    pub fn inner_product(weight: f64) -> Self {
        Self::new(Alignment::InnerProduct, weight)
    }

    /// [`Cosine`] with a weight.
    pub fn cosine(weight: f64) -> Self {
        Self::new(Alignment::Cosine, weight)
    }

    /// [`Variance`] with a weight.
    pub fn variance(weight: f64) -> Self {
        Self::new(Alignment::Variance, weight)
    }

    /// [`GradientNorm`] with a weight.
    pub fn gradient_norm(weight: f64) -> Self {
        Self::new(Alignment::GradientNorm, weight)
    }

    /// A loss of the caller's own, with a weight.
    ///
    /// The settings keep its `Debug` text, by which a record knows it: what the loss depends on
    /// should stand there. The loss itself is handed to
    /// [`RobustGradientAlignment::set_alignment_loss`](crate::optim::RobustGradientAlignment::set_alignment_loss).
    pub fn own(loss: &dyn AlignmentLoss, weight: f64) -> Self {
        Self::new(Alignment::own(loss), weight)
    }

    /// $\lambda_t$, of the loss's own warm-up and schedule.
    pub(crate) fn weight_at(&self, step: u64, lr: Option<f64>) -> Result<f64> {
        let since = step.checked_sub(self.warmup_steps);
        let factor = self.weight_schedule.factor(since.unwrap_or(0), lr)?;
        Ok(since.map_or(0.0, |_| self.weight * factor))
    }

    /// How many points a domain has.
    pub(crate) fn points(&self) -> usize {
        match self.difference {
            Difference::OneSided => 1,
            Difference::Central => 2,
        }
    }

    /// $r$ for parameters of a resolution.
    pub(crate) fn relative_step_of(&self, epsilon: f64) -> f64 {
        self.relative_step.unwrap_or(match self.difference {
            Difference::OneSided => epsilon.sqrt(),
            Difference::Central => epsilon.cbrt() / 3.0,
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return Err(Error::Setting {
                field: "alignment.weight",
                rule: "be finite and at least 0",
                value: self.weight.to_string(),
            });
        }
        self.weight_schedule.check("alignment.weight_schedule")?;
        match self.relative_step {
            Some(step) if !(step.is_finite() && step > 0.0) => Err(Error::Setting {
                field: "alignment.relative_step",
                rule: "be finite and above 0",
                value: step.to_string(),
            }),
            _ => Ok(()),
        }
    }
}
