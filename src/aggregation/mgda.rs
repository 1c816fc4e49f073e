use serde::{Deserialize, Serialize};

use super::{
    Aggregator, DomainStatistics, Needs,
    non_negative::{dot, non_negative_least_squares},
};
use crate::{Error, Result, gradient::GramMatrix};

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
/// Looks at the Gram matrix: no further pass, all $K$ gradients in memory.
///
/// Use it for a point from which no domain can be improved without loss to another, and with
/// gradients of like lengths; else [`UpGrad`](super::UpGrad).
///
/// Source: Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization",
/// Comptes Rendus Mathématique 350, 2012; for nets Sener and Koltun, NeurIPS 2018, arXiv
/// 1810.04650.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub enum Mgda {
    /// The minimum itself, up to rounding.
    #[default]
    Exact,
    /// Sener and Koltun's algorithm 2, which stops short of the minimum: from the mean, each step
    /// goes as far as is best towards the gradient with the smallest product with the present
    /// vector. To compare with code that has it: TorchJD's MGDA takes 100 steps at most, down to
    /// $10^{-3}$.
    FrankWolfe {
        /// Steps at most.
        max_steps: usize,
        /// From 0 to 1: ends after a step that goes less of the way than this.
        min_step: f64,
    },
}

impl Aggregator for Mgda {
    fn check(&self) -> Result<()> {
        match *self {
            Self::FrankWolfe { min_step, .. } if !(0.0..=1.0).contains(&min_step) => {
                Err(Error::Setting {
                    field: "aggregation.min_step",
                    rule: "be from 0 to 1",
                    value: min_step.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    fn needs(&self) -> Needs {
        Needs::Gram
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        domains.by_gram(|_, gram| match *self {
            Self::Exact => min_norm_point(gram),
            Self::FrankWolfe {
                max_steps,
                min_step,
            } => frank_wolfe(gram, max_steps, min_step),
        })
    }
}

fn frank_wolfe(gram: &GramMatrix, max_steps: usize, min_step: f64) -> Vec<f64> {
    let count = gram.domains();
    let mut weights = vec![1.0 / count as f64; count];
    for _ in 0..max_steps {
        // ⟨g_i, G⟩ of the present vector G, whose square is theirs by the weights.
        let products: Vec<f64> = (0..count).map(|i| dot(gram.row(i), &weights)).collect();
        let square = dot(&products, &weights);
        let least = products.iter().enumerate();
        let Some((towards, &product)) = least.min_by(|a, b| a.1.total_cmp(b.1)) else {
            break;
        };
        let vertex = gram.get(towards, towards);
        let step = if vertex <= product {
            1.0
        } else if square <= product {
            0.0
        } else {
            (square - product) / (square + vertex - 2.0 * product)
        };
        for (i, weight) in weights.iter_mut().enumerate() {
            *weight += step * (f64::from(i == towards) - *weight);
        }
        if step < min_step {
            break;
        }
    }
    weights
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
    fn frank_wolfe_nears_the_minimum() {
        let rows = [[1.0, 0.2, 0.1], [-0.7, 1.0, 0.3], [-0.5, -0.9, 0.4]];
        let dot = |i: usize, j: usize| rows[i].iter().zip(rows[j]).map(|(a, b)| a * b).sum();
        let gram = GramMatrix::from_fn(3, dot);
        let square = |weights: &[f64]| {
            let of = |k: usize| (0..3).map(|i| weights[i] * rows[i][k]).sum::<f64>();
            of(0).powi(2) + of(1).powi(2) + of(2).powi(2)
        };
        let least = square(&min_norm_point(&gram));
        let after = |steps| square(&frank_wolfe(&gram, steps, 0.0)) - least;
        assert_eq!(frank_wolfe(&gram, 0, 0.0), [1.0 / 3.0; 3]);
        assert!(after(10) < 0.5 * after(1), "{} {}", after(1), after(10));
        assert!(after(10_000).abs() < 1e-9, "{}", after(10_000));
        let early = frank_wolfe(&gram, 10_000, 1.0);
        assert_eq!(early, frank_wolfe(&gram, 1, 0.0));
    }

    #[test]
    fn zero_gradients_are_the_shortest_vector() {
        let gram = GramMatrix::from_fn(3, |i, j| f64::from(i == 1 && j == 1));
        assert_eq!(min_norm_point(&gram), [0.5, 0.0, 0.5]);
    }
}
