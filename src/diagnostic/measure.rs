use burn::{module::Module, optim::GradientsParams};

use super::LossValue;
use crate::{
    BoxError, Error, Result,
    domain::DomainBatches,
    gradient::{GramMatrix, gram},
    optim::{
        DomainLoss, RobustGradient, RobustGradientAlignmentConfig, StepReport, readback::Readback,
    },
    perturbation::displaced,
};

/// The reports of several methods on every batch of a loader, whose gradients nobody follows.
///
/// The passes see a copy of the model, so that running statistics stay as they are too.
pub(super) fn measure<M, B, E, L>(
    model: &M,
    batches: impl IntoIterator<Item = Result<DomainBatches<B>, E>>,
    methods: &[RobustGradientAlignmentConfig],
    mut loss: impl FnMut(&M, &B) -> L,
    mut see: impl FnMut(&[StepReport]) -> Result<()>,
) -> Result<()>
where
    M: Module,
    E: Into<BoxError>,
    L: DomainLoss<M>,
{
    let methods = methods.iter().map(|method| {
        let method = method.clone().with_max_skipped_steps(None);
        method.init_gradient()
    });
    let methods: Vec<RobustGradient> = methods.collect::<Result<_>>()?;
    let copy = displaced(model, &[]);
    let mut seen = false;
    for batch in batches {
        let batch = batch.map_err(unread)?;
        let reports = methods.iter().map(|method| {
            let gradients = method.gradients(&copy, &batch, &mut loss);
            gradients.map(|(_, report)| report)
        });
        see(&reports.collect::<Result<Vec<_>>>()?)?;
        seen = true;
    }
    if seen { Ok(()) } else { Err(no_batches()) }
}

/// This crate's own errors stay what they are.
fn unread(error: impl Into<BoxError>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::Batches(error),
    }
}

pub(super) fn no_batches() -> Error {
    Error::Domains {
        rule: "have at least one batch",
        found: "there is none".into(),
    }
}

/// The Gram matrix of gradients, in one wait.
pub(super) fn gram_matrix<M: Module>(
    model: &M,
    gradients: &[GradientsParams],
) -> Result<GramMatrix> {
    let mut readback = Readback::default();
    let rows = readback.push_rows(&gram(model, gradients));
    readback.wait()?;
    Ok(readback.gram_matrix(&rows))
}

/// The losses of all domains in their order, means over the batches: forward passes alone.
pub(super) fn forward<M, B, L>(
    model: &M,
    batches: &[DomainBatches<B>],
    mut loss: impl FnMut(&M, &B) -> L,
) -> Result<Vec<f64>>
where
    M: Module,
    L: LossValue,
{
    let domains = batches.first().ok_or_else(no_batches)?.len();
    let mut readback = Readback::default();
    let mut losses = Vec::new();
    for batch in batches {
        for (name, rows) in batch.iter() {
            losses.push(readback.push(loss(model, rows).value(name)?));
        }
    }
    readback.wait()?;
    let mean = |domain: usize| {
        let of_domain = losses.iter().skip(domain).step_by(domains);
        let sum: f64 = of_domain.map(|loss| readback.get(*loss)).sum();
        sum / batches.len() as f64
    };
    Ok((0..domains).map(mean).collect())
}

/// Refuses other domains, or another order of them, than those before.
pub(super) fn check_same<'a>(
    before: impl Iterator<Item = &'a str>,
    now: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let (before, now): (Vec<&str>, Vec<&str>) = (before.collect(), now.collect());
    if before == now {
        return Ok(());
    }
    let [before, now] = [before, now].map(|names| names.join("`, `"));
    Err(Error::Domains {
        rule: "be the same in every step",
        found: format!("`{now}` follow `{before}`"),
    })
}
