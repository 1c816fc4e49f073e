//! Aggregation: the gradients of $K$ domains, and their losses, to one gradient.
//!
//! An [`Aggregator`] looks at no more than $K^2$ numbers, the Gram matrix
//! $G_{ij} = \langle g_i, g_j \rangle$, at the losses $L_i$ and at the domains' weights $p_i$, and
//! gives the coefficients of
//!
//! $$G = \sum_i c_i\\, g_i.$$

mod mean;
mod method;
mod statistics;
mod sum;

pub use mean::*;
pub use method::*;
pub use statistics::*;
pub use sum::*;

use burn::tensor::Tensor;

use crate::Result;

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
pub trait Aggregator: std::fmt::Debug + Send + Sync {
    /// Refuses parameters that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting), with the field, the rule and the value.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// What [`coefficients`](Self::coefficients) looks at.
    fn needs(&self) -> Needs;

    /// The coefficients $c_i$, one for each domain.
    ///
    /// `state` is what the method keeps from step to step. It is empty before the first, belongs
    /// to one training, and is saved with it; most methods leave it empty.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`](crate::Error::Domains) where the numbers that are needed are not finite,
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
    /// $m$ for one parameter, from its flattened gradients: $K$ tensors of the same length, in at
    /// least 32 bits. A domain without a gradient for the parameter counts as zeros.
    fn of(&self, gradients: &[Tensor<1>]) -> Tensor<1>;
}
