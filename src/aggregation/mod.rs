//! Aggregation: the gradients of $K$ domains, and their losses, to one gradient.
//!
//! An [`Aggregator`] gives the coefficients of
//!
//! $$G = \sum_i c_i\\, g_i$$
//!
//! from no more than the Gram matrix $G_{ij} = \langle g_i, g_j \rangle$, the losses $L_i$ and the
//! domains' weights $p_i$: $K^2$ numbers and not $K$ gradients, in 64 bits on the host. What no
//! coefficients express is a [`Mask`]. No method costs a further pass.
//!
//! | method | $G$ | looks at | when |
//! |---|---|---|---|
//! | [`Mean`] (**recommended**, the default) | $\sum_i p_i\\, g_i$ | nothing | no conflicts; the baseline |
//! | [`Sum`] | $K \sum_i p_i\\, g_i$ | nothing | learning rates of code that adds losses up |
//! | [`UpGrad`] (**recommended** for conflicts) | mean of the $g_i$ projected on their dual cone | Gram matrix | no domain may get worse |
//! | [`Mgda`] | shortest vector of the hull | Gram matrix | the same, short gradients first |
//! | [`CaGrad`] | best for the worst domain, near the mean | Gram matrix | the mean in the end, nobody left behind on the way |
//! | [`PcGrad`] | mean of the $g_i$, conflicts projected away one by one | Gram matrix | to compare with |
//! | [`GroupDro`] | $\sum_i q_i\\, g_i$, $q_i$ growing with the losses | losses | the worst domain counts |
//! | [`VRex`] | gradient of mean and variance of the losses | losses | spurious features that differ by domain |
//! | [`Disam`] | gradient of mean minus variance of the losses | losses | for ascents |
//! | [`AndMask`] | mean, where the signs agree | nothing | few domains, all or nothing features |
//!
//! Methods that look at nothing need not wait for the device. All but [`Sum`] keep the scale of the
//! mean: gradients that are all $g$ give $G = g$, so that a learning rate carries over.
//!
//! A domain of weight 0 has the coefficient 0, and plays no part in the others'.
//!
//! [`aggregate`] is for loops that make their passes by themselves; [`Aggregation`] is the setting, and
//! an [`Aggregator`] of one's own has all that those of this crate have.

mod aggregate;
mod and_mask;
mod cagrad;
mod disam;
mod group_dro;
mod mean;
mod method;
mod mgda;
mod non_negative;
mod pcgrad;
mod statistics;
mod sum;
mod upgrad;
mod vrex;

pub use aggregate::{AggregationState, aggregate};
pub(crate) use aggregate::{coefficients_of, combined};
pub use and_mask::*;
pub use cagrad::*;
pub use disam::*;
pub use group_dro::*;
pub use mean::*;
pub(crate) use method::not_handed_over;
pub use method::*;
pub use mgda::Mgda;
pub use pcgrad::*;
pub use statistics::*;
pub use sum::*;
pub use upgrad::*;
pub use vrex::*;

use burn::tensor::Tensor;

use crate::{Error, Result};

/// What an aggregator looks at: decides whether a step waits for the device before its gradients
/// are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing that was computed: the coefficients follow from the domains' weights and the step.
    Nothing,
    /// The losses.
    Losses,
    /// The Gram matrix of the gradients, and the losses.
    Gram,
}

/// A way from $K$ gradients to one: $G = m \odot \sum_i c_i\\, g_i$, with a mask $m$ that is 1 for
/// nearly every method.
///
/// One of one's own, which takes the gradients at the same length, in the steps of a training and by
/// itself:
///
/// ```
/// use burn::optim::AdamWConfig;
/// use roga::{
///     Result,
///     aggregation::{Aggregator, DomainStatistics, Needs},
///     gradient::GramMatrix,
///     optim::{AggregationConfig, RobustGradientAlignmentConfig},
/// };
///
/// #[derive(Debug)]
/// struct UnitLengths;
///
/// impl Aggregator for UnitLengths {
///     fn needs(&self) -> Needs {
///         Needs::Gram
///     }
///
///     fn coefficients(&self, domains: &DomainStatistics, _: &mut Vec<f64>) -> Result<Vec<f64>> {
///         let gram = domains.gram()?;
///         let weights = domains.weights().iter().enumerate();
///         Ok(weights.map(|(i, p)| p / gram.norm(i).max(1e-12)).collect())
///     }
/// }
///
/// let mut optim = RobustGradientAlignmentConfig::erm()
///     .with_aggregation(Some(AggregationConfig::own(&UnitLengths)))
///     .init(AdamWConfig::new().init())?;
/// optim.set_aggregator(UnitLengths)?;
///
/// let gram = GramMatrix::from_rows(&[vec![25.0, 21.0], vec![21.0, 225.0]])?;
/// let domains = DomainStatistics::new(0, &[0.5, 0.5]).with_gram(&gram);
/// assert_eq!(UnitLengths.coefficients(&domains, &mut Vec::new())?, [0.1, 0.5 / 15.0]);
/// # Ok::<(), roga::Error>(())
/// ```
pub trait Aggregator: std::fmt::Debug + Send + Sync {
    /// Refuses parameters that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], with the field, the rule and the value.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// What [`coefficients`](Self::coefficients) looks at: the same at every call.
    fn needs(&self) -> Needs;

    /// The coefficients $c_i$, one for each domain. One that is not finite skips a step.
    ///
    /// `state` is what the method keeps from step to step. It is empty before the first, belongs
    /// to one training, and is saved with it; most methods leave it empty.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where the numbers that are needed are not finite,
    /// not given, or not one for each domain. The state has not changed then.
    fn coefficients(
        &self,
        domains: &DomainStatistics<'_>,
        state: &mut Vec<f64>,
    ) -> Result<Vec<f64>>;

    /// The mask, of a method that has one.
    fn mask(&self) -> Option<&dyn Mask> {
        None
    }
}

/// A factor for every entry of a gradient, out of the signs or sizes of the domains' entries: what
/// no coefficients express.
pub trait Mask {
    /// $m$ for one parameter, from the weights $p_i$ and its flattened gradients: $K$ tensors of the
    /// same length as $m$, in at least 32 bits. A domain without a gradient for the parameter counts as
    /// zeros. `None` is 1.
    fn of(&self, weights: &[f64], gradients: &[Tensor<1>]) -> Option<Tensor<1>>;
}

fn at_least_zero(field: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::Setting {
        field,
        rule: "be finite and at least 0",
        value: value.to_string(),
    })
}
