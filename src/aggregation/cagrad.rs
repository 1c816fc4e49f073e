#[cfg(feature = "clarabel")]
mod conic;

use serde::{Deserialize, Serialize};

use super::{
    Aggregator, DomainStatistics, Needs, at_least_zero, mgda::min_norm_point, non_negative::dot,
};
use crate::{Result, gradient::GramMatrix};

/// Conflict-averse gradient descent: of all vectors near the mean gradient
/// $\bar g = \sum_i p_i\\, g_i$, the one that lowers the worst domain's loss most,
///
/// $$G = \frac{d}{1 + c}, \qquad d = \arg\max_{\lVert d - \bar g \rVert \le c \lVert \bar g \rVert}
///   \min_i \langle g_i, d \rangle.$$
///
/// $c = 0$ is the mean, and with growing $c$ it nears [`Mgda`](super::Mgda)'s direction; for
/// $c < 1$ it converges to a minimum of the mean loss. The paper's update is $d$; the factor
/// $1 / (1 + c)$ (its code's `rescale = 2`) keeps ERM's scale, so that gradients that agree give
/// $G = \bar g$. A domain of weight 0 is left out.
///
/// Looks at the Gram matrix: no further pass, all $K$ gradients in memory. $d$ is
/// $\bar g + \frac{1}{\tau} \sum_i w_i\\, g_i$, where $w$ are the weights of the shortest vector of the convex
/// hull of $g_i + \tau \bar g$, and $\tau$ solves $\lVert \sum_i w_i\\, g_i \rVert = \tau c \lVert \bar g \rVert$;
/// both are found up to rounding. A hull whose distance from the origin is below a thousandth of
/// its gradients' lengths counts as one that contains it, since a Gram matrix of 32 bits does not
/// tell.
///
/// Use it where the mean is what is wanted in the end, and no domain shall be left behind on the
/// way. The direction may still conflict with a domain.
///
/// Source: Liu, Liu, Jin, Stone and Liu, "Conflict-Averse Gradient Descent for Multi-task
/// Learning", NeurIPS 2021, arXiv 2110.14048. TorchJD's CAGrad is $d$, to its solver's tolerance
/// ([`CaGradSolver`]), and 0 where the squared lengths add up to less than $10^{-4}$ or
/// $\sum_i w_i\\, g_i$ is shorter than $10^{-4}$ of their root; here that is the vector of the ball
/// nearest to $\bar g$ that is as good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaGrad {
    /// $c$: finite, at least 0. Default: 0.5.
    pub c: f64,
    /// How $w$ is found. Default: [`CaGradSolver::Exact`].
    pub solver: CaGradSolver,
}

impl Default for CaGrad {
    fn default() -> Self {
        Self::new(0.5)
    }
}

/// How [`CaGrad`] finds its weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CaGradSolver {
    /// Up to rounding.
    #[default]
    Exact,
    /// TorchJD's: the cone programme $\min_w \langle \sum_i w_i\\, g_i, \bar g \rangle +
    /// c \lVert \bar g \rVert \lVert \sum_i w_i\\, g_i \rVert$ over the simplex, to the tolerance
    /// of [Clarabel](https://clarabel.org) ($10^{-8}$ of its value, which may be $10^{-5}$ of $G$). To
    /// compare with code that has it. Where Clarabel comes to no end, or the hull's distance from the
    /// origin is below $10^{-4} \sqrt{\sum_i \lVert g_i \rVert^2}$, as [`Exact`](Self::Exact).
    #[cfg(feature = "clarabel")]
    Clarabel,
}

impl Aggregator for CaGrad {
    fn check(&self) -> Result<()> {
        at_least_zero("aggregation.c", self.c)
    }

    fn needs(&self) -> Needs {
        Needs::Gram
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        domains.by_gram(|weights, gram| self.conflict_averse(weights, gram))
    }
}

impl CaGrad {
    /// With this $c$, and [`CaGradSolver::Exact`].
    pub fn new(c: f64) -> Self {
        let solver = CaGradSolver::Exact;
        Self { c, solver }
    }

    fn conflict_averse(&self, weights: &[f64], gram: &GramMatrix) -> Vec<f64> {
        let ball = Ball::new(self.c, weights, gram);
        if ball.square_radius.is_nan() || ball.square_radius <= 0.0 {
            return weights.to_vec();
        }
        let found = match self.solver {
            CaGradSolver::Exact => None,
            #[cfg(feature = "clarabel")]
            CaGradSolver::Clarabel => conic::point(&ball),
        };
        let point = found.unwrap_or_else(|| ball.surface_point());
        let tau = point.square_tau.sqrt();
        let terms = weights.iter().zip(point.weights);
        terms.map(|(p, w)| (p + w / tau) / (1.0 + self.c)).collect()
    }
}

/// The ball round the mean gradient.
struct Ball<'a> {
    gram: &'a GramMatrix,
    /// $\langle g_i, \bar g \rangle$.
    with_mean: Vec<f64>,
    /// $\lVert \bar g \rVert^2$.
    mean_square: f64,
    /// $c^2 \lVert \bar g \rVert^2$.
    square_radius: f64,
}

/// The shortest vector of the hull of $g_i + \tau \bar g$.
struct Point {
    square_tau: f64,
    weights: Vec<f64>,
    /// $\lVert \sum_i w_i g_i \rVert^2 - \tau^2 c^2 \lVert \bar g \rVert^2$: above 0 while the
    /// vector $\bar g + \frac1\tau \sum_i w_i g_i$ is outside of the ball.
    outside: f64,
}

impl<'a> Ball<'a> {
    fn new(c: f64, weights: &[f64], gram: &'a GramMatrix) -> Self {
        let with = |i: usize| dot(gram.row(i), weights);
        let with_mean: Vec<f64> = (0..gram.domains()).map(with).collect();
        let mean_square = dot(&with_mean, weights);
        Self {
            gram,
            with_mean,
            mean_square,
            square_radius: c * c * mean_square,
        }
    }

    fn with_mean(&self, i: usize) -> f64 {
        self.with_mean.get(i).copied().unwrap_or(f64::NAN)
    }

    fn at(&self, square_tau: f64) -> Point {
        let tau = square_tau.sqrt();
        let shifted = GramMatrix::from_fn(self.gram.domains(), |i, j| {
            let cross = tau * (self.with_mean(i) + self.with_mean(j));
            self.gram.get(i, j) + cross + square_tau * self.mean_square
        });
        let weights = min_norm_point(&shifted);
        let square = self.square_norm(&weights);
        Point {
            square_tau,
            weights,
            outside: square - square_tau * self.square_radius,
        }
    }

    fn square_norm(&self, weights: &[f64]) -> f64 {
        let row = |i: usize| dot(self.gram.row(i), weights);
        let weights = weights.iter().enumerate();
        weights.map(|(i, weight)| weight * row(i)).sum()
    }

    /// Where the vector reaches the ball's surface. What is outside is a line in $\tau^2$ as long
    /// as the same gradients share in the vector, so that a few secants meet it.
    fn surface_point(&self) -> Point {
        let squares = || (0..self.gram.domains()).map(|i| self.gram.get(i, i));
        let weights = min_norm_point(self.gram);
        let terms = squares().zip(&weights).map(|(square, w)| w * w * square);
        let least = squares().filter(|square| *square > 0.0);
        // Below a thousandth of its terms, the shortest vector may be nothing but the rounding of a
        // Gram matrix of 32 bits.
        let rounding = 1e-6 * terms.sum::<f64>().max(least.fold(f64::INFINITY, f64::min));
        let shortest = self.square_norm(&weights).max(rounding);
        let mut point = self.at(shortest / self.square_radius);
        let mut low = (point.square_tau, point.outside);
        let longest = squares().fold(0.0, f64::max);
        let mut high = (longest / self.square_radius, -longest);
        let mut last = None;
        for _ in 0..64 {
            let secant = low.0 + low.1 / (low.1 - high.1) * (high.0 - low.0);
            let reached = 1e-14 * point.square_tau * self.square_radius;
            if !(secant > low.0 && secant < high.0 && point.outside.abs() > reached) {
                break;
            }
            point = self.at(secant);
            let (side, moved, stays) = match point.outside > 0.0 {
                true => (Side::Low, &mut low, &mut high),
                false => (Side::High, &mut high, &mut low),
            };
            *moved = (point.square_tau, point.outside);
            // The method called Illinois: an end that stays a second time counts half.
            if last == Some(side) {
                stays.1 /= 2.0;
            }
            last = Some(side);
        }
        point
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Low,
    High,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gram(rows: &[[f64; 2]]) -> GramMatrix {
        GramMatrix::from_fn(rows.len(), |i, j| dot(&rows[i], &rows[j]))
    }

    /// $d$ itself.
    fn direction(c: f64, rows: &[[f64; 2]]) -> [f64; 2] {
        let weights = vec![1.0 / rows.len() as f64; rows.len()];
        let coefficients = CaGrad::new(c).conflict_averse(&weights, &gram(rows));
        [0, 1].map(|k| {
            let terms = coefficients.iter().zip(rows).map(|(c, row)| c * row[k]);
            (1.0 + c) * terms.sum::<f64>()
        })
    }

    #[test]
    fn no_vector_on_the_balls_surface_is_better() {
        for rows in [
            [[-4.0, 1.0], [6.0, 1.0], [0.5, 2.0]],
            [[1.0, 0.0], [1.0, 0.1], [-0.9, 0.3]],
            [[1.0, 0.0], [-1e-5, 1e-6], [1e5, 3e5]],
        ] {
            for c in [0.1, 0.5, 0.9, 2.0] {
                let d = direction(c, &rows);
                let worst = |d: [f64; 2]| rows.iter().map(|g| dot(g, &d)).fold(f64::MAX, f64::min);
                let mean = [0, 1].map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / 3.0);
                let radius = c * mean[0].hypot(mean[1]);
                let distance = (d[0] - mean[0]).hypot(d[1] - mean[1]);
                assert!(distance <= radius * (1.0 + 1e-9), "{distance}, {radius}");
                let size = rows
                    .iter()
                    .map(|g| g[0].hypot(g[1]))
                    .fold(f64::MAX, f64::min);
                for angle in (0..3600).map(|tenth| f64::from(tenth).to_radians() / 10.0) {
                    let other = [
                        mean[0] + radius * angle.cos(),
                        mean[1] + radius * angle.sin(),
                    ];
                    let best = worst(d) + 1e-9 * size * radius;
                    assert!(worst(other) <= best, "{rows:?}, c = {c}: {d:?}, {other:?}");
                }
            }
        }
    }

    #[test]
    fn where_no_step_helps_every_domain_the_mean_is_moved_least() {
        // Nothing lowers a domain without a gradient.
        let d = direction(0.5, &[[0.0, 0.0], [2.0, 0.0]]);
        assert!((d[0] - 1.0).abs() < 1e-12 && d[1] == 0.0, "{d:?}");
        // Opposite gradients cancel out in the mean: there is no ball.
        assert_eq!(direction(0.5, &[[2.0, 0.0], [-2.0, 0.0]]), [0.0, 0.0]);
    }

    #[test]
    fn without_a_ball_it_is_the_mean_bit_for_bit() {
        let gram = gram(&[[-4.0, 1.0], [6.0, 1.0]]);
        assert_eq!(
            CaGrad::new(0.0).conflict_averse(&[0.3, 0.7], &gram),
            [0.3, 0.7]
        );
    }
}
