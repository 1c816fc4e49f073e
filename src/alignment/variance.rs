use super::AlignmentLoss;
use crate::gradient::GramMatrix;

/// The variance of the domains' gradients:
///
/// $$\varphi = \frac1K \sum_i \lVert g_i - \bar g \rVert^2 =
///   \frac1K \Bigl( \mathrm{tr}\\, G - \tfrac1K \mathbf 1^\top G\\, \mathbf 1 \Bigr), \qquad
///   \bar g = \frac1K \sum_i g_i,$$
///
/// in the squared unit of a gradient, at least 0 up to rounding; 0 for $K = 1$. The mean is
/// differentiated too.
///
/// It asks for the same gradient from every domain, in direction and length. Its weight has to be
/// searched over several powers of ten (DomainBed begins with 1000 after a long warm-up).
///
/// Source: Koyama and Yamaguchi, "When is invariance useful in an Out-of-Distribution Generalization
/// problem?", arXiv 2008.01883 (IGA). DomainBed's IGA takes the mean as a constant, which changes
/// nothing: $\sum_i (g_i - \bar g) = 0$.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Variance;

impl AlignmentLoss for Variance {
    fn value(&self, gram: &GramMatrix) -> f64 {
        let k = gram.domains() as f64;
        let trace: f64 = (0..gram.domains()).map(|i| gram.get(i, i)).sum();
        let all: f64 = (0..gram.domains()).flat_map(|i| gram.row(i)).sum();
        (trace - all / k) / k
    }

    fn derivative(&self, gram: &GramMatrix) -> GramMatrix {
        let k = gram.domains() as f64;
        GramMatrix::from_fn(gram.domains(), |i, j| {
            let own = if i == j { 1.0 / k } else { 0.0 };
            own - 1.0 / (k * k)
        })
    }
}
