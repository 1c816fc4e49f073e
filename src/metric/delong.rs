use serde::Serialize;

use super::{items::of_two_classes, ranking::Ranking};
use crate::{Error, Result};

/// DeLong's paired test: whether two methods that scored the same items differ in AUC by more than
/// chance.
///
/// The AUC of method $r$ is the mean of the placements of the positives among the negatives, and
/// of the negatives among the positives, ties counted by half:
///
/// $$ V^r_{10}(i) = \frac1N \sum_{j: y_j = 0} \psi(s^r_i, s^r_j), \qquad
///    V^r_{01}(j) = \frac1P \sum_{i: y_i = 1} \psi(s^r_i, s^r_j). $$
///
/// With their sample covariances $S_{10}$ and $S_{01}$ the covariance of the AUCs is
/// $S = S_{10} / P + S_{01} / N$, and
///
/// $$ z = \frac{\mathrm{AUC}_a - \mathrm{AUC}_b}{\sqrt{S_{aa} + S_{bb} - 2 S_{ab}}} $$
///
/// is standard normal, for many items, if the methods are equally good. Placements are whole numbers
/// of half negatives or positives, taken from one sort, and so are all sums: only the last divisions
/// round.
///
/// **Items must be independent.** Frames of one video or pictures of one person are not, and the
/// test then finds differences that are none: compare [`VideoScores`](super::VideoScores), or use
/// [`ClusteredDeLong`](super::ClusteredDeLong) with people as its clusters. It is a test of two
/// methods on one test set, not of their trainings: another seed is another difference.
///
/// Source: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated
/// receiver operating characteristic curves: a nonparametric approach", Biometrics 44, 1988; in
/// $O(n \log n)$ by ranks: Sun and Xu, "Fast Implementation of DeLong's Algorithm for Comparing the
/// Areas Under Correlated Receiver Operating Characteristic Curves", IEEE Signal Processing Letters
/// 21, 2014.
///
/// ```
/// use roga::metric::DeLong;
///
/// let labels = [true, true, true, false, false, false];
/// let a = [0.9, 0.8, 0.4, 0.5, 0.3, 0.1];
/// let b = [0.6, 0.7, 0.2, 0.5, 0.4, 0.3];
/// let test = DeLong::new(&a, &b, &labels)?;
/// assert!((test.difference - 2.0 / 9.0).abs() < 1e-12 && test.p > 0.05);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DeLong {
    /// The two AUCs, each from 0 to 1.
    pub auc: [f64; 2],
    /// Their variances, $S_{aa}$ and $S_{bb}$.
    pub variance: [f64; 2],
    /// Their covariance, $S_{ab}$.
    pub covariance: f64,
    /// The first AUC less the second.
    pub difference: f64,
    /// The standard error of the difference, at least 0.
    pub standard_error: f64,
    /// The difference in standard errors. Where the standard error is 0, it is 0 for no difference,
    /// and infinite otherwise, which only methods of constant placements reach.
    pub z: f64,
    /// The two-sided p-value, $2 \Phi(-|z|)$, from 0 to 1.
    pub p: f64,
}

impl DeLong {
    /// Compares the scores of two methods for the same items, in the same order.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there are not as many scores of each method as labels, a score is not
    /// a number, or there are fewer than two items of a class: a variance needs two.
    pub fn new<A: Copy + Into<f64>, B: Copy + Into<f64>>(
        a: &[A],
        b: &[B],
        labels: &[bool],
    ) -> Result<Self> {
        let [a, b] = [Placements::new(a, labels)?, Placements::new(b, labels)?];
        let less = a.less(&b);
        let (difference, standard_error) = (less.auc(), less.variance().sqrt());
        Ok(Self {
            auc: [a.auc(), b.auc()],
            variance: [a.variance(), b.variance()],
            covariance: a.covariance(&b),
            difference,
            standard_error,
            z: z(difference, standard_error),
            p: two_sided_p(difference, standard_error),
        })
    }
}

pub(super) fn z(difference: f64, standard_error: f64) -> f64 {
    match difference {
        0.0 => 0.0,
        _ => difference / standard_error,
    }
}

/// The two-sided p-value of a normal difference, $2 \Phi(-|d / \sigma|)$, from 0 to 1; 1 for no
/// difference, also without an error.
///
/// For differences combined from several [`DeLong`] tests: of independent test sets, the variances
/// add up. Test sets that share their real pictures or their people are not independent:
/// [`ClusteredDeLong`](super::ClusteredDeLong) is for them.
///
/// ```
/// # use roga::metric::two_sided_p;
/// assert!((two_sided_p(0.0196, 0.01) - 0.05).abs() < 1e-4);
/// assert_eq!(two_sided_p(0.0, 0.0), 1.0);
/// ```
pub fn two_sided_p(difference: f64, standard_error: f64) -> f64 {
    libm::erfc(z(difference, standard_error).abs() / std::f64::consts::SQRT_2)
}

/// The standard error of an AUC over test sets of this size, by [`DeLong`]'s variance.
///
/// Two methods on the same items can be told apart from about twice this difference on, sooner where
/// they err on the same items. Items must be independent, as there; where they are not,
/// [`ClusteredAuc`](super::ClusteredAuc) has the error.
///
/// # Errors
///
/// [`Error::Metric`] where there are not as many scores as labels, a score is not a number, or there
/// are fewer than two items of a class.
///
/// ```
/// # use roga::metric::auc_standard_error;
/// let error = auc_standard_error(&[0.1, 0.6, 0.4, 0.9], &[false, false, true, true])?;
/// assert!((error - 0.125f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), roga::Error>(())
/// ```
pub fn auc_standard_error<S: Copy + Into<f64>>(scores: &[S], labels: &[bool]) -> Result<f64> {
    Ok(Placements::new(scores, labels)?.variance().sqrt())
}

/// The [placements](Ranking::placements) of the items of each class, or the differences of two
/// methods in them.
struct Placements {
    positives: Vec<i64>,
    negatives: Vec<i64>,
}

impl Placements {
    fn new<S: Copy + Into<f64>>(scores: &[S], labels: &[bool]) -> Result<Self> {
        let scores = of_two_classes("DeLong's test", scores, labels)?;
        let positives = labels.iter().filter(|label| **label).count();
        let negatives = labels.len() - positives;
        for (class, items) in [("positive", positives), ("negative", negatives)] {
            if items < 2 {
                return Err(Error::Metric {
                    metric: "DeLong's test",
                    reason: format!("only one of {} labels is {class}", labels.len()),
                });
            }
        }
        let placed = Ranking::new(scores).placements(labels);
        let of = |class| {
            let items = placed
                .iter()
                .zip(labels)
                .filter(move |(_, label)| **label == class);
            items.map(|(placement, _)| *placement).collect()
        };
        Ok(Self {
            positives: of(true),
            negatives: of(false),
        })
    }

    fn less(&self, other: &Self) -> Self {
        let less = |a: &[i64], b: &[i64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self {
            positives: less(&self.positives, &other.positives),
            negatives: less(&self.negatives, &other.negatives),
        }
    }

    fn auc(&self) -> f64 {
        let sum: i128 = self
            .positives
            .iter()
            .map(|placement| i128::from(*placement))
            .sum();
        sum as f64 / (2 * self.positives.len() as i128 * self.negatives.len() as i128) as f64
    }

    /// The variance of the AUC: $S_{10} / P + S_{01} / N$.
    fn variance(&self) -> f64 {
        self.covariance(self)
    }

    fn covariance(&self, other: &Self) -> f64 {
        let (p, n) = (self.positives.len() as f64, self.negatives.len() as f64);
        let s10 = sample_covariance(&self.positives, &other.positives) / (4.0 * n * n);
        let s01 = sample_covariance(&self.negatives, &other.negatives) / (4.0 * p * p);
        s10 / p + s01 / n
    }
}

/// Of as many numbers of each, at least two.
fn sample_covariance(x: &[i64], y: &[i64]) -> f64 {
    let sum = |numbers: &[i64]| {
        numbers
            .iter()
            .map(|number| i128::from(*number))
            .sum::<i128>()
    };
    let products: i128 = x
        .iter()
        .zip(y)
        .map(|(x, y)| i128::from(*x) * i128::from(*y))
        .sum();
    let count = x.len() as i128;
    (count * products - sum(x) * sum(y)) as f64 / (count as f64 * (count - 1) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::items::UNDEFINED, *};
    use crate::metric::Roc;

    #[test]
    fn equal_methods_and_constant_ones() {
        let labels = [true, true, false, false];
        let perfect = [0.9, 0.8, 0.2, 0.1];
        let same = DeLong::new(&perfect, &perfect.map(|s| 10.0 * s), &labels).unwrap();
        assert_eq!(
            (same.difference, same.standard_error, same.z, same.p),
            (0.0, 0.0, 0.0, 1.0)
        );
        let constant = DeLong::new(&[0.5; 4], &perfect, &labels).unwrap();
        assert_eq!(constant.auc, [0.5, 1.0]);
        assert_eq!((constant.z, constant.p), (f64::NEG_INFINITY, 0.0));
        // As good, by other items: nothing tells them apart.
        let a = DeLong::new(&[0.9, 0.1, 0.5, 0.5], &[0.1, 0.9, 0.5, 0.5], &labels).unwrap();
        assert_eq!((a.difference, a.z, a.p), (0.0, 0.0, 1.0));
        assert!(a.standard_error > 0.0);
    }

    #[test]
    fn what_has_none_is_refused() {
        let single: (&[f64], &[bool]) = (&[0.1, 0.2, 0.3], &[true, false, true]);
        for (scores, labels) in UNDEFINED.into_iter().chain([single]) {
            let refused = DeLong::new(scores, scores, labels);
            assert!(matches!(refused, Err(Error::Metric { .. })), "{scores:?}");
        }
        let labels = [true, false, true, false];
        let refused = DeLong::new(&[0.1; 4], &[0.1; 3], &labels);
        assert!(matches!(refused, Err(Error::Metric { .. })));
    }

    /// The definition, pair by pair.
    fn direct(a: &[f64], b: &[f64], labels: &[bool]) -> [f64; 3] {
        let class = |scores: &[f64], class: bool| -> Vec<f64> {
            let items = scores
                .iter()
                .zip(labels)
                .filter(|(_, label)| **label == class);
            items.map(|(score, _)| *score).collect()
        };
        let psi = |x: f64, y: f64| f64::from(u8::from(x > y)) + 0.5 * f64::from(u8::from(x == y));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let placements = |scores: &[f64]| {
            let (positives, negatives) = (class(scores, true), class(scores, false));
            let row = |x: &f64| mean(&negatives.iter().map(|y| psi(*x, *y)).collect::<Vec<_>>());
            let column = |y: &f64| mean(&positives.iter().map(|x| psi(*x, *y)).collect::<Vec<_>>());
            let v10: Vec<f64> = positives.iter().map(row).collect();
            let v01: Vec<f64> = negatives.iter().map(column).collect();
            [v10, v01]
        };
        let covariance = |x: &[f64], y: &[f64]| {
            let (mean_x, mean_y) = (mean(x), mean(y));
            let products = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y));
            products.sum::<f64>() / (x.len() - 1) as f64 / x.len() as f64
        };
        let (a, b) = (placements(a), placements(b));
        let s = |x: &[Vec<f64>; 2], y: &[Vec<f64>; 2]| {
            covariance(&x[0], &y[0]) + covariance(&x[1], &y[1])
        };
        [s(&a, &a), s(&b, &b), s(&a, &b)]
    }

    proptest! {
        #[test]
        fn as_the_definition_says(
            items in prop::collection::vec((-4_i8..=4, -4.0..4.0, any::<bool>()), 4..60)
        ) {
            let a: Vec<f64> = items.iter().map(|(a, ..)| f64::from(*a)).collect();
            let b: Vec<f64> = items.iter().map(|(_, b, _)| *b).collect();
            let labels: Vec<bool> = items.iter().map(|(.., label)| *label).collect();
            let positives = labels.iter().filter(|label| **label).count();
            prop_assume!(positives >= 2 && labels.len() - positives >= 2);

            let test = DeLong::new(&a, &b, &labels).unwrap();
            let [aa, bb, ab] = direct(&a, &b, &labels);
            prop_assert!((test.variance[0] - aa).abs() < 1e-12);
            prop_assert!((test.variance[1] - bb).abs() < 1e-12);
            prop_assert!((test.covariance - ab).abs() < 1e-12);
            prop_assert!((test.standard_error.powi(2) - (aa + bb - 2.0 * ab)).abs() < 1e-12);
            prop_assert_eq!(test.auc[0], Roc::new(&a, &labels).unwrap().auc());
            prop_assert!((test.difference - (test.auc[0] - test.auc[1])).abs() < 1e-15);
            prop_assert!((0.0..=1.0).contains(&test.p) && !test.z.is_nan());

            let swapped = DeLong::new(&b, &a, &labels).unwrap();
            prop_assert_eq!((swapped.z, swapped.p), (-test.z, test.p));
        }
    }
}
