//! IRMv1's penalty, without a second derivative.
//!
//! A net is invariant over the domains where its classifier cannot be bettered in any of them by a
//! factor on the logits. The penalty of a domain is the squared derivative of its loss with respect
//! to that factor, at 1. For the mean cross-entropy over $n$ rows with logits $z$ it is a closed
//! form,
//!
//! $$d = \frac{\partial}{\partial s} L(s z) \Big|_{s=1}
//!     = \frac1n \sum_r \sum_c (p_{rc} - y_{rc})\, z_{rc},$$
//!
//! with $p$ the softmax of the logits, or the sigmoid of the one logit of two classes: ordinary
//! autodiff differentiates it.
//!
//! **Passes**: those of the loss. **Memory**: a few numbers a logit. **When to use it**: to compare
//! with; its weight is a hyper-parameter of many orders of magnitude, and training needs steps of
//! ERM first, after which Adam is begun anew (DomainBed) or the loss divided by the weight (IRM's
//! ColoredMNIST).
//!
//! Source: Arjovsky, Bottou, Gulrajani and Lopez-Paz, "Invariant Risk Minimization", 2019,
//! arXiv 1907.02893, section 3.

use burn::tensor::{Int, Tensor};

use super::residual::residual;

/// $d^2$ over all rows of a domain, shape `[1]`: the penalty of IRM's own ColoredMNIST.
///
/// * `logits`: `[rows, classes]`, or `[rows, 1]` for two classes.
/// * `labels`: `[rows]`.
pub fn penalty(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    scale_derivative(logits, labels).square()
}

/// $d_1 d_2$, the product of the derivatives over the rows of even and of odd number: DomainBed's
/// penalty, whose expectation over mini-batches is that of all rows, squared. Shape `[1]`; it may be
/// negative. There must be at least two rows.
///
/// * `logits`: `[rows, classes]`, or `[rows, 1]` for two classes.
/// * `labels`: `[rows]`.
pub fn penalty_of_halves(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let half = |first: i64| {
        let rows = (first..rows as i64).step_by(2).collect::<Vec<_>>();
        let rows = Tensor::<1, Int>::from_ints(rows.as_slice(), &logits.device());
        let labels = labels.clone().select(0, rows.clone());
        scale_derivative(logits.clone().select(0, rows), labels)
    };
    half(0) * half(1)
}

/// $d$, shape `[1]`.
fn scale_derivative(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    (residual(logits.clone(), labels) * logits)
        .sum_dim(1)
        .mean()
}
