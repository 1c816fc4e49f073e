use super::AlignmentLoss;
use crate::gradient::GramMatrix;

/// The mean norm of the domains' gradients:
///
/// $$\varphi = \frac1K \sum_i \lVert g_i \rVert,$$
///
/// in the unit of a gradient, at least 0. A gradient that is zero is not moved.
///
/// It asks for a flat loss in every domain: to first order it is what the ascents by domain do
/// (`rho` of [`RobustGradientAlignmentConfig`](crate::optim::RobustGradientAlignmentConfig), which
/// costs as much and needs no second wait for the device). It is here to be compared with.
///
/// Source: Zhao, Zhang and Hu, "Penalizing Gradient Norm for Efficiently Improving Generalization in
/// Deep Learning", ICML 2022, arXiv 2202.03599, for a single domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GradientNorm;

impl AlignmentLoss for GradientNorm {
    fn value(&self, gram: &GramMatrix) -> f64 {
        let k = gram.domains();
        (0..k).map(|i| gram.norm(i)).sum::<f64>() / k as f64
    }

    fn derivative(&self, gram: &GramMatrix) -> GramMatrix {
        let k = gram.domains();
        GramMatrix::from_fn(k, |i, j| match gram.norm(i) {
            norm if i == j && norm != 0.0 => 0.5 / (k as f64 * norm),
            _ => 0.0,
        })
    }
}
