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
struct Count {
    threshold: f64,
    false_positives: usize,
    true_positives: usize,
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
        let mut items: Vec<(f64, bool)> = scores
            .iter()
            .map(|&score| score.into())
            .zip(labels.iter().copied())
            .collect();
        check(scores.len(), labels, &items)?;
        items.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));

        let mut last = Count {
            threshold: f64::INFINITY,
            false_positives: 0,
            true_positives: 0,
        };
        let mut counts = vec![last];
        for tied in items.chunk_by(|(a, _), (b, _)| a == b) {
            let positives = tied.iter().filter(|(_, positive)| *positive).count();
            last = Count {
                threshold: tied[0].0,
                false_positives: last.false_positives + tied.len() - positives,
                true_positives: last.true_positives + positives,
            };
            counts.push(last);
        }
        Ok(Self { counts })
    }

    /// The number of negatives, $N$, and of positives, $P$: each at least 1.
    fn totals(&self) -> (usize, usize) {
        // The last point calls everything positive.
        self.counts
            .last()
            .map_or((1, 1), |last| (last.false_positives, last.true_positives))
    }

    /// The points of the curve, from $(0, 0)$ to $(1, 1)$, thresholds falling.
    pub fn points(&self) -> impl ExactSizeIterator<Item = RocPoint> + DoubleEndedIterator {
        let (negatives, positives) = self.totals();
        self.counts.iter().map(move |count| RocPoint {
            fpr: count.false_positives as f64 / negatives as f64,
            tpr: count.true_positives as f64 / positives as f64,
            threshold: count.threshold,
        })
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
            .windows(2)
            .map(|pair| {
                let width = pair[1].false_positives - pair[0].false_positives;
                let heights = pair[1].true_positives + pair[0].true_positives;
                width as u128 * heights as u128
            })
            .sum();
        let (negatives, positives) = self.totals();
        doubled as f64 / (2 * negatives as u128 * positives as u128) as f64
    }
}

fn check(scores: usize, labels: &[bool], items: &[(f64, bool)]) -> Result<()> {
    let positives = labels.iter().filter(|&&positive| positive).count();
    let reason = if scores != labels.len() {
        format!("there are {scores} scores and {} labels", labels.len())
    } else if scores == 0 {
        "there are no scores".into()
    } else if let Some(place) = items.iter().position(|(score, _)| score.is_nan()) {
        format!("score {place} is not a number")
    } else if positives == 0 || positives == labels.len() {
        let class = if positives == 0 {
            "negative"
        } else {
            "positive"
        };
        format!("all {} labels are {class}", labels.len())
    } else {
        return Ok(());
    };
    Err(Error::Metric {
        metric: "ROC",
        reason,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// scikit-learn leaves out points in the middle of a straight piece, and puts $(0, 0)$ in front
    /// of what is left.
    fn corners(roc: &Roc) -> Vec<(f64, f64)> {
        let points: Vec<_> = roc.points().map(|point| (point.fpr, point.tpr)).collect();
        let steps: Vec<_> = roc
            .counts
            .windows(2)
            .map(|pair| {
                (
                    pair[1].false_positives - pair[0].false_positives,
                    pair[1].true_positives - pair[0].true_positives,
                )
            })
            .collect();
        let inner = |place: usize| 1 < place && place + 1 < points.len();
        (0..points.len())
            .filter(|&place| !inner(place) || steps[place - 1] != steps[place])
            .map(|place| points[place])
            .collect()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        let numbers = value.as_array().unwrap().iter();
        numbers.map(|number| number.as_f64().unwrap()).collect()
    }

    fn of(case: &Value) -> Roc {
        let labels: Vec<bool> = numbers(&case["labels"]).iter().map(|l| *l == 1.0).collect();
        Roc::new(&numbers(&case["probs"]), &labels).unwrap()
    }

    /// Values of scikit-learn 1.9.1.
    #[test]
    fn reference() {
        let text = include_str!("../../tests/reference/metrics.json");
        let reference: Value = serde_json::from_str(text).unwrap();
        let cases = reference["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 8);
        for case in cases {
            let (roc, frame) = (of(case), &case["frame"]);
            let auc = frame["auc"].as_f64().unwrap();
            assert!((roc.auc() - auc).abs() < 1e-12, "{}", case["name"]);
            let expected = numbers(&frame["fpr"])
                .into_iter()
                .zip(numbers(&frame["tpr"]));
            let found = corners(&roc);
            assert_eq!(found.len(), expected.len(), "{}", case["name"]);
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found.0 - expected.0).abs() < 1e-12, "{}", case["name"]);
                assert!((found.1 - expected.1).abs() < 1e-12, "{}", case["name"]);
            }
            if let Some(auc) = case["video"]["auc"].as_f64() {
                assert!((of(&case["video"]).auc() - auc).abs() < 1e-12);
            }
        }
    }

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
    fn what_has_no_curve_is_refused() {
        for (scores, labels) in [
            (&[][..], &[][..]),
            (&[0.1], &[true]),
            (&[0.1, 0.2], &[false, false]),
            (&[0.1, 0.2], &[true]),
            (&[0.1, f64::NAN], &[true, false]),
        ] {
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
            let places = |roc: &Roc| roc.points().map(|p| (p.fpr, p.tpr)).collect::<Vec<_>>();
            prop_assert_eq!(places(&roc), places(&mapped));
        }

        #[test]
        fn flipped_labels_mirror_the_area((scores, labels) in items()) {
            let flipped: Vec<bool> = labels.iter().map(|label| !label).collect();
            let auc = Roc::new(&scores, &labels).unwrap().auc();
            let mirrored = Roc::new(&scores, &flipped).unwrap().auc();
            prop_assert!((auc + mirrored - 1.0).abs() < 1e-12);
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
    }
}
