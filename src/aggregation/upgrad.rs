use serde::{Deserialize, Serialize};

use super::{
    Aggregator, DomainStatistics, Needs, at_least_zero, non_negative::non_negative_least_squares,
};
use crate::{Result, gradient::GramMatrix};

/// Unconflicting projection of gradients: every gradient is projected on the dual cone of all, and
/// the projections are averaged,
///
/// $$G = \sum_i p_i\\, \pi(g_i), \qquad \pi(g) = \arg\min_{d} \lVert d - g \rVert^2
///   \ \text{ with }\ \langle d, g_j \rangle \ge 0 \ \text{ for all } j.$$
///
/// $\langle G, g_i \rangle \ge 0$ for every domain: a small step raises no domain's loss. Where no
/// gradients conflict, $G$ is the mean; unlike [`Mgda`](super::Mgda), every gradient counts in
/// proportion to its length. A domain of weight 0 is left out.
///
/// Looks at the Gram matrix: no further pass, all $K$ gradients in memory. $\pi(g_i)$ is
/// $\sum_j v_j\\, g_j$ with the $v \ge e_i$ that minimises $v^\top G v$, solved exactly up to
/// rounding: $K$ small quadratic programmes.
///
/// **Recommended** where domains conflict.
///
/// Source: Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, arXiv
/// 2406.16232. TorchJD's UPGrad is this with a `regularization` of $10^{-4}$, and the mean where
/// $\mathrm{tr}\\, G < 10^{-4}$; here no length is too small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpGrad {
    /// $r$: finite, at least 0. $G / \mathrm{tr}\\, G + r I$ takes the place of the Gram matrix $G$
    /// in the programmes. Default: 0, the projection itself. Above 0, a domain whose gradient is
    /// shorter than about $\sqrt r$ of all may be in conflict. $10^{-5}$ steadies the coefficients
    /// where hardly a direction is left that suits all domains, so that the projection hangs on
    /// the rounding of a Gram matrix of 32 bits.
    pub regularization: f64,
}

impl Aggregator for UpGrad {
    fn check(&self) -> Result<()> {
        at_least_zero("aggregation.regularization", self.regularization)
    }

    fn needs(&self) -> Needs {
        Needs::Gram
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        domains.by_gram(|weights, gram| projected(weights, &self.regularized(gram)))
    }
}

impl UpGrad {
    fn regularized(&self, gram: &GramMatrix) -> GramMatrix {
        let trace: f64 = (0..gram.domains()).map(|i| gram.get(i, i)).sum();
        if self.regularization == 0.0 || trace == 0.0 {
            return gram.clone();
        }
        GramMatrix::from_fn(gram.domains(), |i, j| {
            gram.get(i, j) / trace + if i == j { self.regularization } else { 0.0 }
        })
    }
}

/// $\sum_i p_i v^{(i)}$ with $v^{(i)} = e_i + z$, $z \ge 0$.
fn projected(weights: &[f64], gram: &GramMatrix) -> Vec<f64> {
    let mut coefficients = weights.to_vec();
    for (i, weight) in weights.iter().enumerate() {
        let conflicts: Vec<f64> = gram.row(i).iter().map(|product| -product).collect();
        let correction = non_negative_least_squares(gram, &conflicts);
        for (coefficient, z) in coefficients.iter_mut().zip(correction) {
            *coefficient += weight * z;
        }
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_paper() {
        // g = (−4, 1) and (6, 1): each is projected on the other's orthogonal complement, along
        // v = (1, 23/37) and (23/17, 1).
        let gram = GramMatrix::from_rows(&[vec![17.0, -23.0], vec![-23.0, 37.0]]).unwrap();
        let found = projected(&[0.5, 0.5], &gram);
        let expected = [0.5 * (1.0 + 23.0 / 17.0), 0.5 * (1.0 + 23.0 / 37.0)];
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-15,
                "{found} is not {expected}"
            );
        }
    }

    #[test]
    fn without_a_conflict_it_is_the_mean_bit_for_bit() {
        let gram = GramMatrix::from_rows(&[vec![25.0, 21.0], vec![21.0, 225.0]]).unwrap();
        assert_eq!(projected(&[0.3, 0.7], &gram), [0.3, 0.7]);
    }
}
