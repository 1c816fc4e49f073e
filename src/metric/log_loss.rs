use super::items::probabilities;
use crate::Result;

/// The mean negative log likelihood of the labels, in nats: 0 is perfect, $\ln 2$ a fair coin.
///
/// With the probabilities $p_i$ that an item is positive,
///
/// $$ L = -\frac1n \sum_i \left( y_i \ln p_i + (1 - y_i) \ln (1 - p_i) \right). $$
///
/// As in scikit-learn, probabilities are first moved into $[\varepsilon, 1 - \varepsilon]$,
/// $\varepsilon = 2^{-52}$: a wrong answer given with certainty costs 36, not infinity.
///
/// # Errors
///
/// [`Error::Metric`](crate::Error::Metric) where there is no item, there are not as many scores as
/// labels, a score is not a probability from 0 to 1 (a logit, say), or all labels are the same.
///
/// ```
/// use roga::metric::log_loss;
///
/// let loss = log_loss(&[0.5, 0.5], &[true, false])?;
/// assert!((loss - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), roga::Error>(())
/// ```
pub fn log_loss<S: Copy + Into<f64>>(probabilities: &[S], labels: &[bool]) -> Result<f64> {
    let checked = self::probabilities("log loss", probabilities, labels)?;
    let losses = checked.iter().zip(labels).map(|(probability, positive)| {
        let probability = probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        match positive {
            true => -probability.ln(),
            false => -(-probability).ln_1p(),
        }
    });
    Ok(losses.sum::<f64>() / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{super::items::UNDEFINED, *};
    use crate::Error;

    #[test]
    fn certainty_is_finite() {
        let labels = [true, false];
        assert!(log_loss(&[1.0, 0.0], &labels).unwrap() < 1e-15);
        let wrong = log_loss(&[0.0, 1.0], &labels).unwrap();
        assert!((wrong - 52.0 * 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn what_has_none_is_refused() {
        let logits: (&[f64], &[bool]) = (&[-0.1, 0.9], &[false, true]);
        let infinite: (&[f64], &[bool]) = (&[0.1, f64::INFINITY], &[false, true]);
        for (scores, labels) in UNDEFINED.into_iter().chain([logits, infinite]) {
            let refused = log_loss(scores, labels);
            assert!(matches!(refused, Err(Error::Metric { .. })), "{scores:?}");
        }
        assert_eq!(
            log_loss(logits.0, logits.1).unwrap_err().to_string(),
            "log loss is not defined: score 0 must be a probability from 0 to 1, but is -0.1"
        );
    }
}
