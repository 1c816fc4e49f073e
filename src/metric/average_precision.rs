use super::Roc;

impl Roc {
    /// The average precision, the area under the precision-recall curve as a sum of steps, from
    /// above 0 to 1.
    ///
    /// With the recall $R_n$ and the precision $P_n$ at the $n$-th threshold,
    ///
    /// $$ \mathrm{AP} = \sum_n (R_n - R_{n-1}) P_n. $$
    ///
    /// It is not interpolated, as scikit-learn's `average_precision_score`; the trapezoidal rule
    /// would be too optimistic. A constant score has the positives' part of all items, so values
    /// of test sets with different parts do not compare.
    ///
    /// Source: Davis and Goadrich, "The Relationship Between Precision-Recall and ROC Curves",
    /// ICML 2006.
    pub fn average_precision(&self) -> f64 {
        let steps = self.counts().array_windows().map(|[before, count]| {
            let (_, found) = count.since(before);
            let called = count.true_positives + count.false_positives;
            found as f64 * (count.true_positives as f64 / called as f64)
        });
        steps.sum::<f64>() / self.totals().1 as f64
    }
}

#[cfg(test)]
mod tests {
    use crate::metric::Roc;

    #[test]
    fn worked_cases() {
        let labels = [false, true, false, true];
        let precision = |scores: [f64; 4]| Roc::new(&scores, &labels).unwrap().average_precision();
        assert_eq!(precision([0.1, 0.8, 0.2, 0.9]), 1.0);
        assert_eq!(precision([0.5; 4]), 0.5);
        // One positive first, the other last: half of 1, and half of 2 in 4.
        assert_eq!(precision([0.5, 0.9, 0.4, 0.1]), 0.75);
    }
}
