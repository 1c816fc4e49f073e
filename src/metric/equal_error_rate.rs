use super::Roc;

impl Roc {
    /// The equal error rate, from 0 to 1: the rate at which as large a part of the negatives is
    /// called positive as of the positives negative.
    ///
    /// It is where the curve, its points joined by straight lines, meets
    /// $\mathrm{FPR} = 1 - \mathrm{TPR}$, which it does once. Between two thresholds this is the
    /// rate of a detector that picks one of them at random for each item. A constant score has 0.5,
    /// a perfect one 0.
    ///
    /// DeepfakeBench reads it off the nearest point instead:
    /// [`DeepfakeBenchMetrics::eer`](super::DeepfakeBenchMetrics::eer).
    ///
    /// ```
    /// # use roga::metric::Roc;
    /// let constant = Roc::new(&[0.5, 0.5, 0.5], &[true, false, true])?;
    /// assert_eq!(constant.equal_error_rate(), 0.5);
    /// # Ok::<(), roga::Error>(())
    /// ```
    pub fn equal_error_rate(&self) -> f64 {
        let (negatives, positives) = self.totals();
        let (n, p) = (negatives as i128, positives as i128);
        // FPR + TPR - 1, times N P: whole numbers, from -N P at the first point to N P at the last.
        let excess = self.counts().iter().map(|count| {
            count.false_positives as i128 * p + count.true_positives as i128 * n - n * p
        });
        let crossing = self
            .counts()
            .array_windows()
            .zip(excess.clone().zip(excess.skip(1)))
            .find(|(_, (_, after))| *after >= 0);
        crossing.map_or(0.5, |([higher, lower], (before, after))| {
            let part = -before as f64 / (after - before) as f64;
            let (width, _) = lower.since(higher);
            (higher.false_positives as f64 + part * width as f64) / negatives as f64
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::metric::Roc;

    fn rate(scores: &[f64], labels: &[bool]) -> f64 {
        Roc::new(scores, labels).unwrap().equal_error_rate()
    }

    #[test]
    fn worked_cases() {
        let labels = [false, false, true, true];
        assert_eq!(rate(&[0.1, 0.2, 0.8, 0.9], &labels), 0.0);
        assert_eq!(rate(&[0.9, 0.8, 0.2, 0.1], &labels), 1.0);
        assert_eq!(rate(&[0.7; 4], &labels), 0.5);
        // On a point of the curve.
        assert_eq!(rate(&[0.1, 0.6, 0.4, 0.9], &labels), 0.5);
        // From (0, 1/2) to (1/2, 1): half way.
        assert_eq!(rate(&[0.1, 0.5, 0.5, 0.9], &labels), 0.25);
        // One of three negatives above the positive: the curve rises at 1/3.
        assert_eq!(
            rate(&[0.1, 0.2, 0.9, 0.8], &[false, false, false, true]),
            1.0 / 3.0
        );
    }
}
