use super::{AlignmentLoss, of_a_pair, over_pairs};
use crate::gradient::GramMatrix;

/// The mean cosine between the gradients of two domains, to be maximised:
///
/// $$\varphi = -\frac{1}{K (K - 1)} \sum_{i \ne j}
///   \frac{\langle g_i, g_j \rangle}{\lVert g_i \rVert \lVert g_j \rVert},$$
///
/// in $[-1, 1]$ and without a unit; 0 for $K = 1$. A gradient that is zero has a cosine of 0 with
/// every other, and is not moved.
///
/// It sees the directions of the gradients and not their lengths, so that it neither rewards steep
/// losses nor fades as training converges. Where the gradients become small, its own gradient becomes
/// large: a schedule that lowers the weight, or a warm-up that ends early, keeps it in bounds.
///
/// Source: ours, as a function of the Gram matrix; the cosine as the measure of conflict is that of Yu
/// et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cosine;

impl AlignmentLoss for Cosine {
    fn value(&self, gram: &GramMatrix) -> f64 {
        let k = gram.domains();
        -of_a_pair(k) * over_pairs(k, |i, j| gram.cosine(i, j))
    }

    fn derivative(&self, gram: &GramMatrix) -> GramMatrix {
        let k = gram.domains();
        let pair = of_a_pair(k);
        GramMatrix::from_fn(k, |i, j| {
            let norms = gram.norm(i) * gram.norm(j);
            if norms == 0.0 {
                return 0.0;
            }
            if i != j {
                return -pair / norms;
            }
            // G_ii is in the cosines with all others, twice.
            let cosines = (0..k).filter(|j| *j != i).map(|j| gram.cosine(i, j));
            pair * cosines.sum::<f64>() / norms
        })
    }
}
