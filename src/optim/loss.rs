use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use crate::{BoxError, Error, Result};

/// What a loss closure may return for a model and one domain's batch.
///
/// | value | what happens to it |
/// |---|---|
/// | `Tensor<1>`, shape `[1]` | it is differentiated |
/// | `(Tensor<1>, GradientsParams)` | the caller has differentiated already, over several parts of a batch perhaps: the loss is the mean, and so are the gradients |
/// | `Result` of either | an error ends the step, and nothing has changed |
///
/// Losses of several terms are added up by the closure before it returns.
pub trait DomainLoss<M: Module> {
    /// The loss and its gradients with respect to the model's parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Loss`] where the loss is not a single number or does not depend on the parameters
    /// of `model`; [`Error::Closure`] where the closure returned an error.
    fn differentiate(self, model: &M, domain: &str) -> Result<(Tensor<1>, GradientsParams)>;
}

impl<M: Module> DomainLoss<M> for Tensor<1> {
    fn differentiate(self, model: &M, domain: &str) -> Result<(Tensor<1>, GradientsParams)> {
        check_shape(&self, domain)?;
        if !(self.is_autodiff() && self.is_tracked()) {
            return Err(detached(domain));
        }
        let gradients = GradientsParams::from_grads(self.backward(), model);
        (self.inner(), gradients).differentiate(model, domain)
    }
}

impl<M: Module> DomainLoss<M> for (Tensor<1>, GradientsParams) {
    fn differentiate(self, _model: &M, domain: &str) -> Result<(Tensor<1>, GradientsParams)> {
        let (loss, gradients) = self;
        check_shape(&loss, domain)?;
        if gradients.is_empty() {
            return Err(detached(domain));
        }
        Ok((loss.inner(), gradients))
    }
}

impl<M: Module, L: DomainLoss<M>, E: Into<BoxError>> DomainLoss<M> for Result<L, E> {
    fn differentiate(self, model: &M, domain: &str) -> Result<(Tensor<1>, GradientsParams)> {
        match self {
            Ok(loss) => loss.differentiate(model, domain),
            Err(error) => Err(Error::Closure {
                domain: domain.into(),
                source: error.into(),
            }),
        }
    }
}

fn check_shape(loss: &Tensor<1>, domain: &str) -> Result<()> {
    let [numbers] = loss.dims();
    if numbers == 1 {
        return Ok(());
    }
    Err(Error::Loss {
        domain: domain.into(),
        rule: "be one number, a tensor of shape [1]",
        found: format!("its shape is [{numbers}]"),
    })
}

fn detached(domain: &str) -> Error {
    Error::Loss {
        domain: domain.into(),
        rule: "depend on the trainable parameters of the model that the closure is given",
        found: "it has no gradient there (another model, a copy, or a detached tensor?)".into(),
    }
}
