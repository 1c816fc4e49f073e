use super::{items::of_two_classes, ranking::Ranking};
use crate::{Error, Result};

/// The exact receiver operating characteristic of scores.
///
/// At threshold $t$ an item is called positive where its score is at least $t$. The curve has one
/// point for each different score and begins with the point at which nothing is called positive,
/// so items of equal score enter together:
///
/// $$ \mathrm{FPR}(t) = \frac{|\\{i: y_i = 0, s_i \ge t\\}|}{N}, \qquad
///    \mathrm{TPR}(t) = \frac{|\\{i: y_i = 1, s_i \ge t\\}|}{P}. $$
///
/// Source: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006.
///
/// ```
/// use roga::metric::Roc;
///
/// let roc = Roc::new(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true])?;
/// assert_eq!(roc.auc(), 0.75);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Roc {
    counts: Vec<Count>,
}

/// How many are called positive at a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Count {
    pub(super) threshold: f64,
    pub(super) false_positives: usize,
    pub(super) true_positives: usize,
}

impl Count {
    /// How many more negatives and positives are called positive than at a higher threshold.
    pub(super) fn since(&self, higher: &Self) -> (usize, usize) {
        (
            self.false_positives - higher.false_positives,
            self.true_positives - higher.true_positives,
        )
    }
}

/// A point of a [`Roc`] curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// The part of the negatives that is called positive: from 0 to 1.
    pub fpr: f64,
    /// The part of the positives that is called positive: from 0 to 1.
    pub tpr: f64,
    /// The score from which on an item is called positive. At the first point it is infinite and
    /// stands for "none".
    pub threshold: f64,
}

impl Roc {
    /// Makes the curve of items with these scores (the higher, the more positive) and labels (`true`
    /// is positive), in $O(n \log n)$. Scores may be infinite.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there is no item, there are not as many scores as labels, a score is
    /// not a number, or all labels are the same: then no curve is defined.
    pub fn new<S: Copy + Into<f64>>(scores: &[S], labels: &[bool]) -> Result<Self> {
        let scores = of_two_classes("ROC", scores, labels)?;
        Ok(Ranking::new(scores).roc(labels, |_| 1))
    }

    /// Of the thresholds, falling, and how many negatives and positives have that score.
    pub(super) fn accumulate(steps: impl Iterator<Item = (f64, usize, usize)>) -> Self {
        let mut last = Count {
            threshold: f64::INFINITY,
            false_positives: 0,
            true_positives: 0,
        };
        let mut counts = vec![last];
        for (threshold, negatives, positives) in steps {
            // A draw may have left out all items of a score.
            if negatives + positives > 0 {
                last = Count {
                    threshold,
                    false_positives: last.false_positives + negatives,
                    true_positives: last.true_positives + positives,
                };
                counts.push(last);
            }
        }
        Self { counts }
    }

    /// How many are called positive, threshold by threshold.
    pub(super) fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// The number of negatives, $N$, and of positives, $P$: each at least 1.
    pub(super) fn totals(&self) -> (usize, usize) {
        // The last point calls everything positive.
        self.counts
            .last()
            .map_or((1, 1), |last| (last.false_positives, last.true_positives))
    }

    /// The points of the curve, from $(0, 0)$ to $(1, 1)$, thresholds falling.
    pub fn points(&self) -> impl ExactSizeIterator<Item = RocPoint> + DoubleEndedIterator {
        self.counts.iter().map(|count| self.point(count))
    }

    /// The points of the curve without those at which it goes on as before: between two equal
    /// steps. The same line with fewer points, as scikit-learn's `roc_curve` returns them with
    /// `drop_intermediate=True`.
    ///
    /// As there, the first step from $(0, 0)$ is always kept, and a straight piece of unequal steps
    /// keeps its points.
    pub fn corners(&self) -> impl Iterator<Item = RocPoint> {
        let inner = self.counts.array_windows().skip(1);
        let turns = inner.filter(|[before, at, after]| at.since(before) != after.since(at));
        let first = self.counts.iter().take(2);
        // With two points the last one is the first step's.
        let last = self.counts.get(2..).and_then(|after| after.last());
        first
            .chain(turns.map(|[_, at, _]| at))
            .chain(last)
            .map(|count| self.point(count))
    }

    fn point(&self, count: &Count) -> RocPoint {
        let (negatives, positives) = self.totals();
        RocPoint {
            fpr: count.false_positives as f64 / negatives as f64,
            tpr: count.true_positives as f64 / positives as f64,
            threshold: count.threshold,
        }
    }

    /// The area under the curve by the trapezoidal rule, from 0 to 1.
    ///
    /// It is the Mann-Whitney statistic: how often a positive scores above a negative, ties counted
    /// by half,
    ///
    /// $$ \mathrm{AUC} = \frac{1}{PN} \sum_{i: y_i = 1} \sum_{j: y_j = 0}
    ///    \left( \mathbb{1}(s_i > s_j) + \tfrac12 \mathbb{1}(s_i = s_j) \right). $$
    ///
    /// The sum is made of whole numbers, so that only the division rounds.
    pub fn auc(&self) -> f64 {
        let doubled: u128 = self
            .counts
            .array_windows()
            .map(|[before, count]| {
                let (width, _) = count.since(before);
                let heights = count.true_positives + before.true_positives;
                width as u128 * heights as u128
            })
            .sum();
        let (negatives, positives) = self.totals();
        doubled as f64 / (2 * negatives as u128 * positives as u128) as f64
    }

    /// The largest true positive rate at a threshold whose false positive rate is at most
    /// `max_fpr`, from 0 to 1.
    ///
    /// It is not interpolated: some threshold has both rates. Only false positive rates of
    /// $0, \frac1N, \frac2N, \dots$ exist, so fewer than $1 / \mathtt{max\\_fpr}$ negatives give the
    /// rate without any false positive, which a single negative of a high score decides.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where `max_fpr` is not from 0 to 1.
    ///
    /// ```
    /// # use roga::metric::Roc;
    /// let roc = Roc::new(&[0.9, 0.8, 0.7, 0.6], &[true, false, true, false])?;
    /// assert_eq!(roc.tpr_at_fpr(0.1)?, 0.5);
    /// assert_eq!(roc.tpr_at_fpr(0.5)?, 1.0);
    /// # Ok::<(), roga::Error>(())
    /// ```
    pub fn tpr_at_fpr(&self, max_fpr: f64) -> Result<f64> {
        check_fpr("max_fpr", max_fpr)?;
        let allowed = self.points().take_while(|point| point.fpr <= max_fpr);
        Ok(allowed.last().map_or(0.0, |point| point.tpr))
    }
}

pub(super) fn check_fpr(field: &'static str, fpr: f64) -> Result<()> {
    if (0.0..=1.0).contains(&fpr) {
        return Ok(());
    }
    Err(Error::Setting {
        field,
        rule: "be from 0 to 1",
        value: fpr.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::items::UNDEFINED, *};

    #[test]
    fn points_and_thresholds() {
        let roc = Roc::new(
            &[0.5_f32, 0.5, f32::INFINITY, -0.0, 0.0],
            &[true, false, true, true, false],
        );
        let points: Vec<_> = roc
            .unwrap()
            .points()
            .map(|point| (point.fpr, point.tpr, point.threshold))
            .collect();
        let third = 1.0 / 3.0;
        assert_eq!(
            points,
            [
                (0.0, 0.0, f64::INFINITY),
                (0.0, third, f64::INFINITY),
                (0.5, 2.0 * third, 0.5),
                (1.0, 1.0, 0.0),
            ]
        );
    }

    #[test]
    fn corners_are_where_the_curve_turns() {
        let corners = |scores: &[f64], labels: &[bool]| {
            let roc = Roc::new(scores, labels).unwrap();
            let corners = roc.corners().map(|point| (point.fpr, point.tpr));
            corners.collect::<Vec<_>>()
        };
        let labels = [true, true, true, true, false, false];
        let perfect = corners(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], &labels);
        assert_eq!(perfect, [(0.0, 0.0), (0.0, 0.25), (0.0, 1.0), (1.0, 1.0)]);
        assert_eq!(corners(&[1.0; 6], &labels), [(0.0, 0.0), (1.0, 1.0)]);
        let two = corners(&[2.0, 2.0, 2.0, 2.0, 1.0, 1.0], &labels);
        assert_eq!(two, [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]);
    }

    #[test]
    fn the_rate_within_a_bound_is_not_interpolated() {
        let scores: Vec<f64> = (0..20).map(|item| -f64::from(item)).collect();
        let labels: Vec<bool> = (0..20).map(|item| item % 2 == 1).collect();
        let roc = Roc::new(&scores, &labels).unwrap();
        for (max_fpr, tpr) in [(0.0, 0.0), (0.1, 0.1), (0.19, 0.1), (0.3, 0.3), (1.0, 1.0)] {
            assert_eq!(roc.tpr_at_fpr(max_fpr).unwrap(), tpr);
        }
        for max_fpr in [-0.1, 1.1, f64::NAN] {
            let refused = roc.tpr_at_fpr(max_fpr).unwrap_err().to_string();
            assert!(
                refused.starts_with("max_fpr must be from 0 to 1"),
                "{refused}"
            );
        }
    }

    #[test]
    fn what_has_no_curve_is_refused() {
        for (scores, labels) in UNDEFINED {
            let refused = Roc::new(scores, labels);
            assert!(matches!(refused, Err(Error::Metric { .. })), "{scores:?}");
        }
    }

    fn pairwise(scores: &[f64], labels: &[bool]) -> f64 {
        let of = |class: bool| {
            let items = scores.iter().zip(labels);
            items
                .filter(move |(_, label)| **label == class)
                .map(|(score, _)| *score)
        };
        let (mut sum, mut pairs) = (0.0, 0.0);
        for positive in of(true) {
            for negative in of(false) {
                pairs += 1.0;
                sum += f64::from(u8::from(positive > negative))
                    + 0.5 * f64::from(u8::from(positive == negative));
            }
        }
        sum / pairs
    }

    /// Few different scores, so that there are ties, and infinite ones among them.
    fn items() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
        let score = prop_oneof![
            8 => (-5_i8..=5).prop_map(f64::from),
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
            4 => -5.0..5.0,
        ];
        prop::collection::vec((score, any::<bool>()), 2..80)
            .prop_map(|items| items.into_iter().unzip())
            .prop_filter("both classes", |(_, labels): &(Vec<f64>, Vec<bool>)| {
                labels.contains(&true) && labels.contains(&false)
            })
    }

    proptest! {
        #[test]
        fn the_area_is_how_often_positives_score_higher((scores, labels) in items()) {
            let auc = Roc::new(&scores, &labels).unwrap().auc();
            prop_assert!((auc - pairwise(&scores, &labels)).abs() < 1e-12);
        }

        #[test]
        fn only_the_order_of_the_scores_matters((scores, labels) in items()) {
            let roc = Roc::new(&scores, &labels).unwrap();
            let mapped: Vec<f64> = scores.iter().map(|score| 3.0 * score.atan() - 8.0).collect();
            let mapped = Roc::new(&mapped, &labels).unwrap();
            prop_assert_eq!(roc.auc(), mapped.auc());
            prop_assert_eq!(roc.average_precision(), mapped.average_precision());
            prop_assert_eq!(roc.equal_error_rate(), mapped.equal_error_rate());
            let places = |roc: &Roc| roc.points().map(|p| (p.fpr, p.tpr)).collect::<Vec<_>>();
            prop_assert_eq!(places(&roc), places(&mapped));
        }

        #[test]
        fn flipped_labels_and_negated_scores_mirror_the_curve((scores, labels) in items()) {
            let flipped: Vec<bool> = labels.iter().map(|label| !label).collect();
            let negated: Vec<f64> = scores.iter().map(|score| -score).collect();
            let roc = Roc::new(&scores, &labels).unwrap();
            for mirrored in [Roc::new(&scores, &flipped), Roc::new(&negated, &labels)] {
                let mirrored = mirrored.unwrap();
                prop_assert!((roc.auc() + mirrored.auc() - 1.0).abs() < 1e-12);
                let errors = roc.equal_error_rate() + mirrored.equal_error_rate();
                prop_assert!((errors - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn the_order_of_the_items_does_not_matter((scores, labels) in items()) {
            let roc = Roc::new(&scores, &labels).unwrap();
            let reversed: Vec<f64> = scores.iter().rev().copied().collect();
            let labels: Vec<bool> = labels.iter().rev().copied().collect();
            prop_assert_eq!(roc, Roc::new(&reversed, &labels).unwrap());
        }

        #[test]
        fn the_curve_rises_from_corner_to_corner((scores, labels) in items()) {
            let points: Vec<_> = Roc::new(&scores, &labels).unwrap().points().collect();
            let (first, last) = (points[0], points[points.len() - 1]);
            prop_assert_eq!((first.fpr, first.tpr, last.fpr, last.tpr), (0.0, 0.0, 1.0, 1.0));
            for pair in points.windows(2) {
                prop_assert!(pair[0].fpr <= pair[1].fpr && pair[0].tpr <= pair[1].tpr);
                prop_assert!(pair[0].threshold >= pair[1].threshold);
            }
        }

        #[test]
        fn what_is_read_off_lies_on_the_curve((scores, labels) in items(), max_fpr in 0.0..=1.0) {
            let roc = Roc::new(&scores, &labels).unwrap();
            let tpr = roc.tpr_at_fpr(max_fpr).unwrap();
            let best = roc.points().filter(|p| p.fpr <= max_fpr).map(|p| p.tpr);
            prop_assert_eq!(tpr, best.fold(0.0, f64::max));

            let rate = roc.equal_error_rate();
            let points: Vec<_> = roc.points().collect();
            let on_a_piece = points.windows(2).any(|pair| {
                let (width, height) = (pair[1].fpr - pair[0].fpr, pair[1].tpr - pair[0].tpr);
                let across = (rate - pair[0].fpr) * height - (1.0 - rate - pair[0].tpr) * width;
                (pair[0].fpr..=pair[1].fpr).contains(&rate) && across.abs() < 1e-12
            });
            prop_assert!(on_a_piece, "{}", rate);

            let corners: Vec<_> = roc.corners().collect();
            let area = |points: &[RocPoint]| -> f64 {
                let pieces = points.windows(2);
                pieces.map(|p| (p[1].fpr - p[0].fpr) * (p[1].tpr + p[0].tpr) / 2.0).sum()
            };
            prop_assert!((area(&corners) - roc.auc()).abs() < 1e-12);
        }
    }
}
