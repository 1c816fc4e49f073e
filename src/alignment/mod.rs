//! Alignment losses: functions $\varphi(G)$ of the Gram matrix $G_{ij} = \langle g_i, g_j \rangle$ of
//! the domains' gradients, added to a training with a weight.
//!
//! | loss | $\varphi$ | source |
//! |---|---|---|
//! | [`InnerProduct`] | $-\mathrm{mean}_{i \ne j}\\, G_{ij}$ | Fish |
//! | [`Cosine`] | $-\mathrm{mean}_{i \ne j}\\, G_{ij} / \sqrt{G_{ii} G_{jj}}$ | |
//! | [`Variance`] | $\mathrm{mean}_i \lVert g_i - \bar g \rVert^2$ | IGA |
//! | [`GradientNorm`] | $\mathrm{mean}_i \lVert g_i \rVert$ | gradient-norm penalty |
//!
//! # Their gradients
//!
//! With $\varphi' = \partial \varphi / \partial G$, a symmetric matrix, and $H_i$ the Hessian of
//! domain $i$'s loss,
//!
//! $$\nabla_\theta\\, \varphi = \sum_i H_i v_i, \qquad v_i = 2 \sum_j \varphi'_{ij}\\, g_j.$$
//!
//! burn has no double backward: a penalty that is written with gradient tensors adds nothing to
//! `backward()`, without a word. $H_i v_i$ is therefore a finite difference of domain $i$'s gradient
//! along $v_i$ ([`Difference`]), and any $\varphi$ costs what SAM costs: one further pass over the
//! $K$ mini-batches, or two. The Gram matrix is needed in the middle of the step, so that a step
//! with an alignment loss waits for the device twice.
//!
//! # A loss of one's own
//!
//! It gives its value and $\varphi'$; the rest is as for those that are built in.
//!
//! ```
//! use burn::optim::AdamWConfig;
//! use roga::{
//!     alignment::{AlignmentConfig, AlignmentLoss},
//!     gradient::GramMatrix,
//!     optim::RobustGradientAlignmentConfig,
//! };
//!
//! /// The mean gradient's squared norm, ‖ḡ‖² = Σ G_ij / K².
//! #[derive(Debug)]
//! struct Slope;
//!
//! impl AlignmentLoss for Slope {
//!     fn value(&self, gram: &GramMatrix) -> f64 {
//!         let k = gram.domains();
//!         (0..k).flat_map(|i| gram.row(i)).sum::<f64>() / (k * k) as f64
//!     }
//!
//!     fn derivative(&self, gram: &GramMatrix) -> GramMatrix {
//!         let k = gram.domains();
//!         GramMatrix::from_fn(k, |_, _| 1.0 / (k * k) as f64)
//!     }
//! }
//!
//! let mut optim = RobustGradientAlignmentConfig::erm()
//!     .with_alignment(Some(AlignmentConfig::own(&Slope, 0.1)))
//!     .init(AdamWConfig::new().init())?;
//! optim.set_alignment_loss(Slope)?;
//! # Ok::<(), roga::Error>(())
//! ```

mod config;
mod cosine;
mod gradient_norm;
mod inner_product;
mod variance;

use std::fmt;

pub use config::{Alignment, AlignmentConfig, Difference};
pub use cosine::Cosine;
pub use gradient_norm::GradientNorm;
pub use inner_product::InnerProduct;
pub use variance::Variance;

use crate::gradient::GramMatrix;

/// A function $\varphi$ of the Gram matrix of $K \ge 1$ gradients.
///
/// It may be undefined for some matrices: a value or a derivative that is not finite skips the step.
/// Gradients may be zero, and $K$ may be 1.
pub trait AlignmentLoss: fmt::Debug + Send + Sync {
    /// $\varphi(G)$.
    fn value(&self, gram: &GramMatrix) -> f64;

    /// $\varphi'$, a $K \times K$ matrix with
    /// $\mathrm d\varphi = \sum_{ij} \varphi'_{ij}\\, \mathrm dG_{ij}$: the sum runs over both
    /// triangles, so that an entry off the diagonal is half of the derivative by the number that
    /// stands there twice.
    fn derivative(&self, gram: &GramMatrix) -> GramMatrix;
}

/// $\mathrm{mean}_{i \ne j}$ as a factor: $1 / (K (K - 1))$, and 0 where there is no pair.
fn of_a_pair(domains: usize) -> f64 {
    match domains {
        0 | 1 => 0.0,
        k => 1.0 / (k as f64 * (k - 1) as f64),
    }
}

/// $\sum_{i \ne j}$ of the entries, in the order of the rows.
fn over_pairs(domains: usize, entry: impl Fn(usize, usize) -> f64) -> f64 {
    let row = |i: usize| (0..domains).filter(move |j| *j != i).map(move |j| (i, j));
    (0..domains).flat_map(row).map(|(i, j)| entry(i, j)).sum()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::domain::shuffle::random;

    pub fn all() -> [Box<dyn AlignmentLoss>; 4] {
        [
            Box::new(InnerProduct),
            Box::new(Cosine),
            Box::new(Variance),
            Box::new(GradientNorm),
        ]
    }

    /// The Gram matrix of random gradients of `n` numbers.
    fn drawn(domains: usize, n: usize, seed: u64) -> GramMatrix {
        let mut random = random([seed, 0, 0, 0]);
        let mut gradient = || (0..n).map(|_| random.random::<f64>() - 0.4).collect();
        let g: Vec<Vec<f64>> = (0..domains).map(|_| gradient()).collect();
        GramMatrix::from_fn(domains, |i, j| {
            g[i].iter().zip(&g[j]).map(|(a, b)| a * b).sum()
        })
    }

    #[test]
    fn every_derivative_is_that_of_its_value() {
        for (domains, seed) in [(1, 0), (2, 1), (3, 2), (3, 3), (7, 4)] {
            let gram = drawn(domains, 9, seed);
            for loss in all() {
                let derivative = loss.derivative(&gram);
                assert_eq!(derivative.domains(), domains);
                for i in 0..domains {
                    for j in 0..=i {
                        let h = 1e-6;
                        let moved = |h: f64| {
                            let moved = |a, b| if (a, b) == (i, j) { h } else { 0.0 };
                            loss.value(&GramMatrix::from_fn(domains, |a, b| {
                                gram.get(a, b) + moved(a, b)
                            }))
                        };
                        let found = (moved(h) - moved(-h)) / (2.0 * h);
                        // Both triangles move.
                        let uses = if i == j { 1.0 } else { 2.0 };
                        let written = uses * derivative.get(i, j);
                        assert!(
                            (found - written).abs() < 1e-7 * (1.0 + written.abs()),
                            "{loss:?} of {domains} at ({i}, {j}): {found} and {written}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_values_of_a_case_by_hand() {
        // (3, 4) and (−9, 12).
        let gram = GramMatrix::from_fn(2, |i, j| [[25.0, 21.0], [21.0, 225.0]][i][j]);
        let [inner_product, cosine, variance, norm] = all().map(|loss| loss.value(&gram));
        assert_eq!(inner_product, -21.0);
        assert!((cosine + 0.28).abs() < 1e-15);
        // Each is (6, −4) away from the mean (−3, 8).
        assert!((variance - 52.0).abs() < 1e-12);
        assert_eq!(norm, 10.0);
    }

    #[test]
    fn zero_gradients_and_a_single_domain_are_defined() {
        for rows in [
            vec![vec![0.0]],
            vec![vec![4.0]],
            vec![vec![0.0; 3]; 3],
            vec![vec![9.0, 0.0], vec![0.0, 0.0]],
            vec![vec![1e-30, 0.0], vec![0.0, 1e30]],
        ] {
            let gram = GramMatrix::from_rows(&rows).unwrap();
            for loss in all() {
                assert!(loss.value(&gram).is_finite(), "{loss:?} {rows:?}");
                assert!(loss.derivative(&gram).is_finite(), "{loss:?} {rows:?}");
            }
        }
        let single = GramMatrix::from_fn(1, |_, _| 4.0);
        for loss in &all()[..3] {
            assert_eq!(loss.value(&single), 0.0, "{loss:?}");
            assert_eq!(loss.derivative(&single).get(0, 0), 0.0, "{loss:?}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let gram = GramMatrix::from_fn(2, |_, _| f64::NAN);
        for loss in all() {
            assert!(loss.value(&gram).is_nan(), "{loss:?}");
        }
    }
}
