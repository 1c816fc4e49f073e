//! What every metric asks of its scores and labels.

use crate::{Error, Result};

/// The scores in double precision, if there are some, each a number, one to a label.
pub(super) fn numbers<S: Copy + Into<f64>>(
    metric: &'static str,
    scores: &[S],
    labels: &[bool],
) -> Result<Vec<f64>> {
    let refused = |reason| Error::Metric { metric, reason };
    if scores.len() != labels.len() {
        let (scores, labels) = (scores.len(), labels.len());
        return Err(refused(format!(
            "there are {scores} scores and {labels} labels"
        )));
    }
    if scores.is_empty() {
        return Err(refused("there are no scores".into()));
    }
    let scores: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
    match scores.iter().position(|score| score.is_nan()) {
        Some(place) => Err(refused(format!("score {place} is not a number"))),
        None => Ok(scores),
    }
}

/// As [`numbers`], of two classes.
pub(super) fn of_two_classes<S: Copy + Into<f64>>(
    metric: &'static str,
    scores: &[S],
    labels: &[bool],
) -> Result<Vec<f64>> {
    let scores = numbers(metric, scores, labels)?;
    both_classes(metric, labels)?;
    Ok(scores)
}

pub(super) fn both_classes(metric: &'static str, labels: &[bool]) -> Result<()> {
    let class = match (labels.contains(&true), labels.contains(&false)) {
        (true, true) => return Ok(()),
        (true, false) => "positive",
        (false, _) => "negative",
    };
    Err(Error::Metric {
        metric,
        reason: format!("all {} labels are {class}", labels.len()),
    })
}

/// As [`of_two_classes`], each from 0 to 1.
pub(super) fn probabilities<S: Copy + Into<f64>>(
    metric: &'static str,
    scores: &[S],
    labels: &[bool],
) -> Result<Vec<f64>> {
    let scores = of_two_classes(metric, scores, labels)?;
    let outside = |(_, score): &(usize, &f64)| !(0.0..=1.0).contains(*score);
    match scores.iter().enumerate().find(outside) {
        Some((place, score)) => Err(Error::Metric {
            metric,
            reason: format!("score {place} must be a probability from 0 to 1, but is {score}"),
        }),
        None => Ok(scores),
    }
}

/// Scores and labels that no metric is defined on.
#[cfg(test)]
pub(super) const UNDEFINED: [(&[f64], &[bool]); 6] = [
    (&[], &[]),
    (&[0.1], &[true]),
    (&[0.1, 0.2], &[false, false]),
    (&[0.1, 0.2], &[true]),
    (&[0.1], &[true, false]),
    (&[0.1, f64::NAN], &[true, false]),
];
