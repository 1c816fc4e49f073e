use super::{AlignmentLoss, of_a_pair, over_pairs};
use crate::gradient::GramMatrix;

/// The mean inner product between the gradients of two domains, to be maximised:
///
/// $$\varphi = -\frac{1}{K (K - 1)} \sum_{i \ne j} \langle g_i, g_j \rangle,$$
///
/// in the squared unit of a gradient; 0 for $K = 1$.
///
/// It is not bounded from below, and rewards large gradients as well as aligned ones: small weights
/// (0.01 to 0.1) and few steps, or [`Cosine`](super::Cosine), which sees directions alone.
///
/// Source: Shi et al., "Gradient Matching for Domain Generalization", ICLR 2022, arXiv 2104.09937,
/// whose objective (IDGM) it is; Fish there is an approximation to it by inner steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InnerProduct;

impl AlignmentLoss for InnerProduct {
    fn value(&self, gram: &GramMatrix) -> f64 {
        let k = gram.domains();
        -of_a_pair(k) * over_pairs(k, |i, j| gram.get(i, j))
    }

    fn derivative(&self, gram: &GramMatrix) -> GramMatrix {
        let k = gram.domains();
        let pair = of_a_pair(k);
        GramMatrix::from_fn(k, |i, j| if i == j { 0.0 } else { -pair })
    }
}
