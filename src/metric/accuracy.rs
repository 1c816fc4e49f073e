use super::items::of_two_classes;
use crate::{Error, Result};

/// The part of the items that is on its side of a threshold, from 0 to 1: positives with a score of
/// at least the threshold, negatives with one below.
///
/// $$ \mathrm{ACC}(t) = \frac1n \left( |\\{i: y_i = 1, s_i \ge t\\}|
///    + |\\{i: y_i = 0, s_i < t\\}| \right). $$
///
/// It depends on how many of the items are positive. The threshold must have been chosen without the
/// test set: 0.5 for probabilities, unless the validation set says otherwise.
///
/// # Errors
///
/// [`Error::Metric`] where there is no item, there are not as many scores as labels, a score is not
/// a number, or all labels are the same. [`Error::Setting`] where the threshold is not a number.
///
/// ```
/// use roga::metric::accuracy;
///
/// assert_eq!(accuracy(&[0.2, 0.5, 0.7, 0.1], &[false, true, false, true], 0.5)?, 0.5);
/// # Ok::<(), roga::Error>(())
/// ```
pub fn accuracy<S: Copy + Into<f64>>(scores: &[S], labels: &[bool], threshold: f64) -> Result<f64> {
    check_threshold(threshold)?;
    share_correct(scores, labels, |score| score >= threshold)
}

pub(super) fn check_threshold(threshold: f64) -> Result<()> {
    if threshold.is_nan() {
        return Err(Error::Setting {
            field: "threshold",
            rule: "be a number",
            value: threshold.to_string(),
        });
    }
    Ok(())
}

pub(super) fn share_correct<S: Copy + Into<f64>>(
    scores: &[S],
    labels: &[bool],
    positive: impl Fn(f64) -> bool,
) -> Result<f64> {
    let scores = of_two_classes("accuracy", scores, labels)?;
    let correct = scores
        .iter()
        .zip(labels)
        .filter(|(score, label)| positive(**score) == **label);
    Ok(correct.count() as f64 / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{super::items::UNDEFINED, *};

    #[test]
    fn a_score_at_the_threshold_is_positive() {
        let labels = [true, false, true, false];
        let scores = [f64::INFINITY, f64::NEG_INFINITY, 2.0, 2.0];
        assert_eq!(accuracy(&scores, &labels, 2.0).unwrap(), 0.75);
        assert_eq!(accuracy(&scores, &labels, 2.1).unwrap(), 0.75);
        assert_eq!(accuracy(&scores, &labels, f64::NEG_INFINITY).unwrap(), 0.5);
    }

    #[test]
    fn what_has_none_is_refused() {
        for (scores, labels) in UNDEFINED {
            let refused = accuracy(scores, labels, 0.5);
            assert!(matches!(refused, Err(Error::Metric { .. })), "{scores:?}");
        }
        let error = accuracy(&[0.1, 0.2], &[true, false], f64::NAN).unwrap_err();
        assert_eq!(error.to_string(), "threshold must be a number, but is NaN");
    }
}
