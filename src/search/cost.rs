use std::{fmt, iter::Sum, ops::Add, time::Duration};

use serde::Serialize;

use crate::{Error, Result, optim::RobustGradientAlignmentConfig};

/// What trainings cost, known before they start.
///
/// A pass is one forward and backward over all $K$ mini-batches of a step: what a step of
/// [`RobustGradientAlignmentConfig::erm`] makes once. See
/// [`RobustGradientAlignmentConfig::passes`].
///
/// ```
/// use roga::{optim::RobustGradientAlignmentConfig, search::Cost};
///
/// let erm = Cost::of(&RobustGradientAlignmentConfig::erm(), 350, 4)?;
/// let roga = Cost::of(&RobustGradientAlignmentConfig::new(), 350, 4)?;
/// let cost = (erm + roga).times(30).at(0.12)?;
/// assert_eq!(
///     cost.to_string(),
///     "60 trials, 21,000 steps, 63,000 passes over a step's mini-batches, \
///      about 2 h 6 min at 0.12 s a pass"
/// );
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// How many trainings.
    pub trials: u64,
    /// How many steps, of all of them together.
    pub steps: u64,
    /// How many passes, of all of them together: a whole number where all domains weigh the same.
    pub passes: f64,
    /// How many seconds a pass takes, where that is known.
    pub seconds_per_pass: Option<f64>,
}

impl Cost {
    /// The cost of one training.
    ///
    /// # Errors
    ///
    /// As [`RobustGradientAlignmentConfig::passes`].
    pub fn of(method: &RobustGradientAlignmentConfig, steps: u64, domains: usize) -> Result<Self> {
        Ok(Self {
            trials: 1,
            steps,
            passes: method.passes(steps, domains)?,
            seconds_per_pass: None,
        })
    }

    /// So many times as much.
    pub fn times(self, count: u64) -> Self {
        Self {
            trials: self.trials.saturating_mul(count),
            steps: self.steps.saturating_mul(count),
            passes: self.passes * count as f64,
            ..self
        }
    }

    /// At so many seconds a pass.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for seconds that are not finite or below 0.
    pub fn at(self, seconds_per_pass: f64) -> Result<Self> {
        if !(seconds_per_pass.is_finite() && seconds_per_pass >= 0.0) {
            return Err(Error::Setting {
                field: "seconds_per_pass",
                rule: "be finite and at least 0",
                value: seconds_per_pass.to_string(),
            });
        }
        Ok(Self {
            seconds_per_pass: Some(seconds_per_pass),
            ..self
        })
    }

    /// At the seconds a pass of a trial that took so long; unknown still, if it made no pass.
    pub fn timed_by(self, trial: &Cost, took: Duration) -> Self {
        let per_pass = took.as_secs_f64() / trial.passes;
        Self {
            seconds_per_pass: Some(per_pass).filter(|seconds| seconds.is_finite()),
            ..self
        }
    }

    /// How many seconds it takes, where the time of a pass is known.
    pub fn seconds(&self) -> Option<f64> {
        self.seconds_per_pass.map(|seconds| seconds * self.passes)
    }
}

impl Add for Cost {
    type Output = Self;

    /// Both together. The time of a pass is the mean one, or that of the cost whose is known.
    fn add(self, other: Self) -> Self {
        Self {
            trials: self.trials.saturating_add(other.trials),
            steps: self.steps.saturating_add(other.steps),
            passes: self.passes + other.passes,
            seconds_per_pass: mean_time(&self, &other)
                .or(self.seconds_per_pass)
                .or(other.seconds_per_pass),
        }
    }
}

/// The seconds a pass takes in the mean of two costs whose times are known.
fn mean_time(one: &Cost, other: &Cost) -> Option<f64> {
    let seconds = one.seconds()? + other.seconds()?;
    Some(seconds / (one.passes + other.passes)).filter(|mean| mean.is_finite())
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: f64, unit: &str, plural: &str| match count {
            1.0 => format!("1 {unit}"),
            _ => format!("{} {unit}{plural}", grouped(count)),
        };
        write!(
            f,
            "{}, {}, {} over a step's mini-batches",
            counted(self.trials as f64, "trial", "s"),
            counted(self.steps as f64, "step", "s"),
            counted(self.passes, "pass", "es"),
        )?;
        match self.seconds_per_pass.zip(self.seconds()) {
            Some((per_pass, all)) => write!(
                f,
                ", about {} at {} s a pass",
                duration(all),
                two_figures(per_pass)
            ),
            None => Ok(()),
        }
    }
}

/// `92,400`: rounded to a whole number, in groups of three digits.
fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `3 h 10 min`.
fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round();
    if seconds < 59.5 {
        format!("{seconds:.0} s")
    } else if minutes < 60.0 {
        format!("{minutes} min")
    } else if minutes < 48.0 * 60.0 {
        format!("{} h {} min", (minutes / 60.0).floor(), minutes % 60.0)
    } else {
        let hours = (seconds / 3600.0).round();
        format!("{} d {} h", (hours / 24.0).floor(), hours % 24.0)
    }
}

/// `0.12`.
fn two_figures(number: f64) -> f64 {
    format!("{number:.1e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_steps_and_passes_add_up() {
        let sam = RobustGradientAlignmentConfig::sam(0.05).with_interval(2);
        let cost = Cost::of(&sam, 350, 4).unwrap();
        assert_eq!((cost.trials, cost.steps, cost.passes), (1, 350, 525.0));
        let all: Cost = [cost.times(3), Cost::of(&sam, 10, 4).unwrap()]
            .into_iter()
            .sum();
        assert_eq!((all.trials, all.steps, all.passes), (4, 1060, 1590.0));
        assert_eq!(all.seconds(), None);
        assert_eq!(all.at(0.5).unwrap().seconds(), Some(795.0));
        let timed = all.timed_by(&cost, Duration::from_secs(105));
        assert_eq!(timed.seconds_per_pass, Some(0.2));
        // Nothing was timed by no pass at all.
        let none = all.timed_by(&Cost::default(), Duration::from_secs(1));
        assert_eq!(none.seconds_per_pass, None);
        assert!(Cost::of(&sam, 350, 0).is_err());
        for seconds in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(all.at(seconds).is_err());
        }
    }

    #[test]
    fn the_time_of_two_costs_is_that_of_both() {
        let erm = Cost::of(&RobustGradientAlignmentConfig::erm(), 100, 4).unwrap();
        let both = erm.at(0.1).unwrap() + erm.times(3).at(0.2).unwrap();
        assert!((both.seconds().unwrap() - (10.0 + 60.0)).abs() < 1e-9);
        assert_eq!((erm + erm.at(0.1).unwrap()).seconds(), Some(20.0));
    }

    #[test]
    fn it_reads_as_a_sentence() {
        let cost = Cost {
            trials: 60,
            steps: 21_000,
            passes: 92_400.0,
            seconds_per_pass: Some(0.1234),
        };
        assert_eq!(
            cost.to_string(),
            "60 trials, 21,000 steps, 92,400 passes over a step's mini-batches, \
             about 3 h 10 min at 0.12 s a pass"
        );
        let one = Cost::of(&RobustGradientAlignmentConfig::erm(), 1, 2).unwrap();
        assert_eq!(
            one.to_string(),
            "1 trial, 1 step, 1 pass over a step's mini-batches"
        );
    }

    #[test]
    fn numbers_and_times_are_written_as_they_are_read() {
        let numbers = [0.0, 7.0, 999.0, 1000.0, 123_456.0, 1_234_567.0];
        let written = numbers.map(grouped);
        assert_eq!(written, ["0", "7", "999", "1,000", "123,456", "1,234,567"]);
        for (seconds, written) in [
            (0.0, "0 s"),
            (59.4, "59 s"),
            (59.6, "1 min"),
            (3569.0, "59 min"),
            (3571.0, "1 h 0 min"),
            (11_400.0, "3 h 10 min"),
            (172_000.0, "47 h 47 min"),
            (187_200.0, "2 d 4 h"),
        ] {
            assert_eq!(duration(seconds), written);
        }
        assert_eq!(
            [0.1234, 12.7, 0.00196].map(two_figures),
            [0.12, 13.0, 0.002]
        );
    }
}
