use burn::tensor::Tensor;

use super::Target;
use crate::{Error, Result};

/// $\partial s / \partial x$ of every item of a batch $x$, `[batch, channels, height, width]`, by
/// itself, without a graph.
pub(super) fn gradient(
    at: &Tensor<4>,
    target: Target,
    logits: impl FnOnce(Tensor<4>) -> Tensor<2>,
) -> Result<Tensor<4>> {
    let model = |rule, found| Err(Error::Model { rule, found });
    let leaf = at.clone().detach().autodiff().require_grad();
    let logits = logits(leaf.clone());
    let [items, rows] = [at.dims()[0], logits.dims()[0]];
    if items != rows {
        let found = format!("{items} items have {rows} rows of logits");
        return model("give a row of logits for each item", found);
    }
    finite(&logits.clone().inner(), "logits")?;
    let sum = target.sum(logits)?;
    // Without a graph there is nothing to go backward through; with one, it may be of weights alone.
    let gradient = sum.is_tracked().then(|| leaf.grad(&sum.backward()));
    let Some(gradient) = gradient.flatten() else {
        let found = "its logits do not depend on what they are explained by";
        return model("be differentiable", found.into());
    };
    finite(&gradient, "gradients")?;
    Ok(gradient)
}

/// What is not finite would be taken for no heat.
fn finite<const D: usize>(tensor: &Tensor<D>, name: &str) -> Result<()> {
    let data = tensor.clone().is_finite().all().try_into_data();
    let data = data.map_err(|error| Error::Device(format!("{error:?}")))?;
    if data.iter::<bool>().all(|finite| finite) {
        return Ok(());
    }
    Err(Error::Model {
        rule: "be finite where it is explained",
        found: format!("its {name} are not"),
    })
}

/// An error for a batch without a number.
pub(super) fn not_empty(tensor: &Tensor<4>, field: &'static str) -> Result<()> {
    if tensor.dims().into_iter().all(|side| side > 0) {
        return Ok(());
    }
    Err(Error::Setting {
        field,
        rule: "hold at least one item of at least one pixel",
        value: format!("{:?}", tensor.dims()),
    })
}
