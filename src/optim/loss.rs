use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use crate::{
    BoxError, Error, Result,
    domain::MicroBatches,
    gradient::{accumulate, widen},
};

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

/// What a loss closure may return for a model and the joined batches of $k$ domains: a `Tensor<1>`
/// of shape `[k]`, the domains' mean losses in their order, or a `Result` of it.
///
/// [`JoinedBatch::losses`](crate::domain::JoinedBatch::losses) puts it together from the domains' rows, and
/// [`JoinedBatch::means`](crate::domain::JoinedBatch::means) from the losses of all rows.
pub trait JoinedLoss {
    /// The domains' losses.
    ///
    /// # Errors
    ///
    /// [`Error::Loss`] where they are not one for each of `count` domains, or depend on no
    /// parameter; [`Error::Closure`] where the closure returned an error.
    fn losses(self, count: usize, domains: &str) -> Result<Tensor<1>>;
}

impl JoinedLoss for Tensor<1> {
    fn losses(self, count: usize, domains: &str) -> Result<Tensor<1>> {
        let [numbers] = self.dims();
        if numbers != count {
            return Err(Error::Loss {
                domain: domains.into(),
                rule: "be one number for each domain, a tensor of shape [domains]",
                found: format!("its shape is [{numbers}] for {count} domains"),
            });
        }
        if !(self.is_autodiff() && self.is_tracked()) {
            return Err(detached(domains));
        }
        Ok(self)
    }
}

impl<E: Into<BoxError>> JoinedLoss for Result<Tensor<1>, E> {
    fn losses(self, count: usize, domains: &str) -> Result<Tensor<1>> {
        self.map_err(|error| Error::Closure {
            domain: domains.into(),
            source: error.into(),
        })?
        .losses(count, domains)
    }
}

/// A loss closure for batches in parts, out of one for a part: see [`MicroBatches`].
///
/// Every part is differentiated before the next one goes forward, so that one part's graph is in
/// memory at a time.
///
/// ```
/// use burn::{
///     nn::{Linear, LinearConfig, loss::{MseLoss, Reduction}},
///     optim::SgdConfig,
///     tensor::{Device, Tensor},
/// };
/// use roga::{
///     domain::{DomainBatches, MicroBatches},
///     optim::{RobustGradientAlignmentConfig, micro_batched},
/// };
///
/// let device = Device::default().autodiff();
/// let mut model = LinearConfig::new(1, 1).init(&device);
/// let mut optim = RobustGradientAlignmentConfig::new().init(SgdConfig::new().init())?;
///
/// let rows = |x: &[f32]| Tensor::<1>::from_floats(x, &device).unsqueeze_dim::<2>(1);
/// let domains = DomainBatches::new([
///     ("photo", MicroBatches::new([(2, rows(&[1.0, 0.5])), (1, rows(&[0.3]))])?),
///     ("sketch", MicroBatches::new([(2, rows(&[2.0, 1.5]))])?),
/// ])?;
/// let loss = |model: &Linear, x: &Tensor<2>| model.forward(x.clone()).square().mean();
/// optim.step(0.05, &mut model, &domains, micro_batched(loss))?;
/// # Ok::<(), roga::Error>(())
/// ```
pub fn micro_batched<M, B, L>(
    mut loss: impl FnMut(&M, &B) -> L,
) -> impl FnMut(&M, &MicroBatches<B>) -> Result<(Tensor<1>, GradientsParams)>
where
    M: Module,
    L: DomainLoss<M>,
{
    move |model, batch| {
        let mut sum = GradientsParams::new();
        let mut mean: Option<Tensor<1>> = None;
        for (place, (share, part)) in batch.iter().enumerate() {
            let part = loss(model, part).differentiate(model, &format!("part {place}"))?;
            let (loss, gradient) = part;
            accumulate(model, &mut sum, share, gradient);
            let loss = widen(loss).mul_scalar(share);
            mean = Some(match mean {
                Some(mean) => mean + loss,
                None => loss,
            });
        }
        // Batches in parts have at least one.
        let mean = mean.ok_or(Error::Domains {
            rule: "have batches of at least one part",
            found: "a batch has none".into(),
        })?;
        Ok((mean, sum))
    }
}

/// Refuses a loss that is not one number.
pub(crate) fn check_shape(loss: &Tensor<1>, domain: &str) -> Result<()> {
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
