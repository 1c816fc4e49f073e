use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Needs, non_negative::non_negative_least_squares};
use crate::{Result, gradient::GramMatrix};

/// The multiple gradient descent algorithm: the shortest vector of the gradients' convex hull,
///
/// $$G = \sum_i w_i\\, g_i, \qquad w = \arg\min_{w \ge 0,\\, \sum_i w_i = 1}
///   \Bigl\lVert \sum_i w_i\\, g_i \Bigr\rVert^2.$$
///
/// $\langle G, g_i \rangle \ge \lVert G \rVert^2$ for every domain: a small step raises no domain's
/// loss. $G = 0$ where the domains cannot all be lowered at once, and where one of the gradients is
/// zero. Short gradients count most, so that the domain which is nearly learnt rules; the domains'
/// weights play no part, but that one of weight 0 is left out.
///
/// Looks at the Gram matrix: no further pass, all $K$ gradients in memory. The weights are exact,
/// up to rounding; Frank-Wolfe iterations as in TorchJD's MGDA (100 at most, ended by a step below
/// $10^{-3}$) stop short of them.
///
/// Use it for a point from which no domain can be improved without loss to another, and with
/// gradients of like lengths; else [`UpGrad`](super::UpGrad).
///
/// Source: Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization",
/// Comptes Rendus Mathématique 350, 2012; for nets Sener and Koltun, NeurIPS 2018, arXiv
/// 1810.04650.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Mgda;

impl Aggregator for Mgda {
    fn needs(&self) -> Needs {
        Needs::Gram
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        domains.by_gram(|_, gram| min_norm_point(gram))
    }
}

/// The weights of the shortest vector of a convex hull.
///
/// For any $m > 0$, the $x \ge 0$ that minimises $\lVert \sum_i x_i g_i \rVert^2 + m^2 (1 - \sum_i x_i)^2$
/// is a multiple of them. With the shortest gradient's length as $m$, that multiple is at least ½.
pub(super) fn min_norm_point(gram: &GramMatrix) -> Vec<f64> {
    let count = gram.domains();
    let squares = || (0..count).map(|i| gram.get(i, i));
    let shortest = squares().fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> = if shortest > 0.0 {
        let system = GramMatrix::from_fn(count, |i, j| gram.get(i, j) / shortest + 1.0);
        non_negative_least_squares(&system, &vec![1.0; count])
    } else {
        squares().map(|square| f64::from(square <= 0.0)).collect()
    };
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_gradients_have_a_closed_form() {
        // g = (3, 4) and (−9, 12): w₁ = (G₂₂ − G₁₂) / (G₁₁ + G₂₂ − 2 G₁₂) = 204 / 208, and the
        // shorter vector alone where that is above 1.
        let gram = |square| GramMatrix::from_fn(2, |i, j| [[25.0, 21.0], [21.0, square]][i][j]);
        let weights = min_norm_point(&gram(225.0));
        assert!((weights[0] - 204.0 / 208.0).abs() < 1e-15, "{weights:?}");
        assert_eq!(min_norm_point(&gram(20.0)), [0.0, 1.0]);
    }

    #[test]
    fn zero_gradients_are_the_shortest_vector() {
        let gram = GramMatrix::from_fn(3, |i, j| f64::from(i == 1 && j == 1));
        assert_eq!(min_norm_point(&gram), [0.5, 0.0, 0.5]);
    }
}
