use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Needs, non_negative::dot};
use crate::{
    Result,
    domain::shuffle::{random, shuffle},
    gradient::GramMatrix,
};

/// Projecting conflicting gradients: every $g_i$ is taken through the other gradients in a random
/// order, and where it conflicts with one of them, what is against it is taken out,
///
/// $$g_i \leftarrow g_i - \frac{\langle g_i, g_j \rangle}{\lVert g_j \rVert^2}\\, g_j
///   \quad \text{where } \langle g_i, g_j \rangle < 0, \qquad G = \sum_i p_i\\, g_i.$$
///
/// The paper adds up, $K$ times this at equal weights; the mean keeps ERM's scale. A domain of
/// weight 0 is left out.
///
/// Looks at the Gram matrix: no further pass, all $K$ gradients in memory. The orders, one for
/// every $i$, follow from the seed and the step alone.
///
/// Use it to compare with what was published. With more than two domains, a later projection may
/// bring an earlier conflict back, and the result depends on the draw:
/// [`UpGrad`](super::UpGrad) does neither.
///
/// Source: Yu, Kumar, Gupta, Levine, Hausman and Finn, "Gradient Surgery for Multi-Task Learning",
/// NeurIPS 2020, arXiv 2001.06782.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PcGrad {
    /// The seed of the orders. Default: 0.
    pub seed: u64,
}

impl Aggregator for PcGrad {
    fn needs(&self) -> Needs {
        Needs::Gram
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        // The last word keeps the draws apart from those of points and of dropout.
        let mut random = random([self.seed, domains.step(), 0, 1]);
        domains.by_gram(|weights, gram| {
            let mut order: Vec<usize> = (0..weights.len()).collect();
            let mut coefficients = vec![0.0; weights.len()];
            for (i, weight) in weights.iter().enumerate() {
                shuffle(&mut order, &mut random);
                let projected = projected(i, &order, gram);
                for (coefficient, v) in coefficients.iter_mut().zip(projected) {
                    *coefficient += weight * v;
                }
            }
            coefficients
        })
    }
}

/// $v$ of $\sum_j v_j g_j$, which is $g_i$ after its projections.
fn projected(i: usize, order: &[usize], gram: &GramMatrix) -> Vec<f64> {
    let unit = |j: usize| if j == i { 1.0 } else { 0.0 };
    let mut v: Vec<f64> = (0..order.len()).map(unit).collect();
    for &j in order.iter().filter(|j| **j != i) {
        let product = dot(gram.row(j), &v);
        if product < 0.0
            && let Some(v) = v.get_mut(j)
        {
            *v -= product / gram.get(j, j);
        }
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two that do not conflict with each other, and a third that conflicts with both.
    fn three() -> GramMatrix {
        let rows = [[1.0, 0.0], [0.6, 0.8], [-0.8, -0.6]];
        GramMatrix::from_fn(3, |i, j| dot(&rows[i], &rows[j]))
    }

    #[test]
    fn the_order_decides() {
        let v = projected(2, &[0, 1, 2], &three());
        // −(0.8, 0.6) without its part along (1, 0) is −(0, 0.6), which is −0.48 along (0.6, 0.8).
        let expected = [0.8, 0.48, 1.0];
        assert!(
            v.iter().zip(expected).all(|(v, e)| (v - e).abs() < 1e-15),
            "{v:?}"
        );
        let v = projected(2, &[2, 1, 0], &three());
        // Without its part of −0.96 along (0.6, 0.8), it is (−0.224, 0.168).
        let expected = [0.224, 0.96, 1.0];
        assert!(
            v.iter().zip(expected).all(|(v, e)| (v - e).abs() < 1e-15),
            "{v:?}"
        );
    }

    #[test]
    fn the_draws_follow_from_seed_and_step() {
        let gram = three();
        let draws = |seed| -> Vec<Vec<f64>> {
            let of_step = |step| {
                let domains = DomainStatistics::new(step, &[0.25, 0.25, 0.5]).with_gram(&gram);
                PcGrad { seed }
                    .coefficients(&domains, &mut Vec::new())
                    .unwrap()
            };
            (0..20).map(of_step).collect()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        assert!(draws(1).iter().any(|draw| *draw != draws(1)[0]));
    }
}
