use burn::tensor::Tensor;

use crate::{BoxError, Error, Result, optim::check_shape};

/// What a loss closure may return where only the loss is looked at: a `Tensor<1>` of shape `[1]`,
/// or a `Result` of it.
pub trait LossValue {
    /// The loss, shape `[1]`.
    ///
    /// # Errors
    ///
    /// [`Error::Loss`] where it is not a single number; [`Error::Closure`] where the closure
    /// returned an error.
    fn value(self, domain: &str) -> Result<Tensor<1>>;
}

impl LossValue for Tensor<1> {
    fn value(self, domain: &str) -> Result<Tensor<1>> {
        check_shape(&self, domain)?;
        Ok(self)
    }
}

impl<L: LossValue, E: Into<BoxError>> LossValue for Result<L, E> {
    fn value(self, domain: &str) -> Result<Tensor<1>> {
        self.map_err(|error| Error::Closure {
            domain: domain.into(),
            source: error.into(),
        })?
        .value(domain)
    }
}
