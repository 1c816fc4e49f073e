use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A mean $\bar x = \frac1n \sum_k x_k$ and its standard error
/// $\sqrt{\sum_k (x_k - \bar x)^2 / (n (n - 1))}$.
///
/// The standard error is that of numbers that are independent: those of random batches of one
/// model, not those of the steps of a training, which drift.
///
/// It is printed as `0.280 ± 0.010`, and written as `count`, `mean` and `standard_error`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    count: u64,
    mean: f64,
    /// $\sum_k (x_k - \bar x)^2$.
    squares: f64,
}

impl Estimate {
    /// Adds a number, by Welford's recurrence: a sum of squares would lose small deviations.
    pub(super) fn add(&mut self, number: f64) {
        self.count += 1;
        let before = number - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (number - self.mean);
    }

    /// How many numbers there were, $n$.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// $\bar x$; `None` of no number.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The standard error of $\bar x$; `None` of less than two numbers.
    pub fn standard_error(&self) -> Option<f64> {
        let count = self.count as f64;
        (self.count > 1).then(|| (self.squares / (count * (count - 1.0))).sqrt())
    }
}

impl Serialize for Estimate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Estimate", 3)?;
        fields.serialize_field("count", &self.count)?;
        fields.serialize_field("mean", &self.mean())?;
        fields.serialize_field("standard_error", &self.standard_error())?;
        fields.end()
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mean(), self.standard_error()) {
            (Some(mean), Some(error)) => write!(f, "{} ± {}", number(mean), number(error)),
            (Some(mean), None) => f.write_str(&number(mean)),
            (None, _) => f.write_str("-"),
        }
    }
}

/// A number in three decimals, or in three digits where those would not show it.
pub(super) fn number(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(5e-4..1e5).contains(&size) && size.is_finite() {
        return format!("{number:.2e}");
    }
    format!("{number:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_error() {
        let mut estimate = Estimate::default();
        assert_eq!((estimate.mean(), estimate.to_string()), (None, "-".into()));
        estimate.add(1.0);
        assert_eq!(
            (estimate.standard_error(), estimate.to_string()),
            (None, "1.000".into())
        );
        for number in [2.0, 3.0, 6.0] {
            estimate.add(number);
        }
        // Deviations -2, -1, 0, 3: 14 / (4 * 3).
        assert_eq!((estimate.count(), estimate.mean()), (4, Some(3.0)));
        assert!((estimate.standard_error().unwrap() - (14f64 / 12.0).sqrt()).abs() < 1e-15);
        assert_eq!(
            serde_json::to_string(&Estimate::default()).unwrap(),
            r#"{"count":0,"mean":null,"standard_error":null}"#
        );
    }

    #[test]
    fn deviations_far_below_the_mean_are_not_lost() {
        let mut estimate = Estimate::default();
        for number in [1e9 - 1.0, 1e9, 1e9 + 1.0] {
            estimate.add(number);
        }
        assert!((estimate.standard_error().unwrap() - (1f64 / 3.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn numbers_show_what_they_are() {
        let shown = [0.0, 0.28, -1.0, 1e-5, -4.2e7, f64::NAN, f64::INFINITY].map(number);
        assert_eq!(
            shown,
            [
                "0.000", "0.280", "-1.000", "1.00e-5", "-4.20e7", "NaN", "inf"
            ]
        );
    }
}
