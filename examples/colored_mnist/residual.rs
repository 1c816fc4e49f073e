//! The gradient of cross-entropy with respect to the logits.

use burn::tensor::{
    Int, Tensor,
    activation::{sigmoid, softmax},
};

/// $p - y$: the gradient of every row's cross-entropy with respect to its logits, as a function of
/// the logits that can be differentiated once more.
///
/// * `logits`: `[rows, classes]`, and $p$ is their softmax; or `[rows, 1]`, the logit of class 1 of
///   two, and $p$ is its sigmoid.
/// * `labels`: `[rows]`, from 0 to classes − 1; 0 or 1 for one logit.
///
/// Shape: that of the logits.
pub fn residual(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<2> {
    let [_, classes] = logits.dims();
    let device = logits.device();
    let labels = labels.unsqueeze_dim::<2>(1);
    if classes == 1 {
        let hits = labels.float().cast(logits.dtype());
        return sigmoid(logits) - hits;
    }
    let classes = Tensor::<1, Int>::arange(0..classes as i64, &device).unsqueeze::<2>();
    let hits = labels.equal(classes).float().cast(logits.dtype());
    softmax(logits, 1) - hits
}
