use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How $\rho$, $\gamma$ or a weight changes over training: a factor $s_t$ at step $t$, so that
/// $\rho_t = s_t\\, \rho$.
///
/// $t$ counts the steps from the end of the warm-up on, skipped ones included.
///
/// ```
/// use roga::optim::{RobustGradientAlignmentConfig, Schedule};
///
/// // ρ grows from 0 to 0.05 over a thousand steps, and stays there.
/// let config = RobustGradientAlignmentConfig::new()
///     .with_rho(0.05)
///     .with_rho_schedule(Schedule::Linear { from: 0.0, to: 1.0, steps: 1000 });
/// assert_eq!(config.rho_schedule.factor(250, None)?, 0.25);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    /// $s_t = 1$.
    Constant,
    /// $s_t = a + (b - a) \min(t / n, 1)$: a straight line from $a$ to $b$ over $n$ steps, and $b$
    /// from then on.
    Linear {
        /// $a$: finite, at least 0.
        from: f64,
        /// $b$: finite, at least 0.
        to: f64,
        /// $n$: at least 1.
        steps: u64,
    },
    /// $s_t = b + \frac12 (a - b) (1 + \cos(\pi \min(t / n, 1)))$: half a cosine from $a$ to $b$
    /// over $n$ steps, and $b$ from then on.
    Cosine {
        /// $a$: finite, at least 0.
        from: f64,
        /// $b$: finite, at least 0.
        to: f64,
        /// $n$: at least 1.
        steps: u64,
    },
    /// $s_t = \eta_t / \eta$: in proportion to the learning rate $\eta_t$ of the step, that of all
    /// parameters where groups have their own.
    ///
    /// With the learning rate's peak as $\eta$, the perturbation is at its full length where the
    /// learning rate is, and shrinks along with it (Zhuang et al., "Surrogate Gap Minimization
    /// Improves Sharpness-Aware Training", ICLR 2022, arXiv 2203.08065, section 4, without its
    /// lower bound).
    LearningRate {
        /// $\eta$: finite, above 0.
        reference: f64,
    },
}

impl Schedule {
    /// $s_t$. `lr` is the learning rate $\eta_t$, which only [`LearningRate`](Self::LearningRate)
    /// looks at.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the learning rate is needed and it is not given, negative or not
    /// finite.
    pub fn factor(&self, step: u64, lr: Option<f64>) -> Result<f64> {
        let done = |steps: u64| (step as f64 / steps as f64).min(1.0);
        match *self {
            Self::Constant => Ok(1.0),
            Self::Linear { from, to, steps } => Ok(from + (to - from) * done(steps)),
            Self::Cosine { from, to, steps } => {
                Ok(to + 0.5 * (from - to) * (1.0 + (PI * done(steps)).cos()))
            }
            Self::LearningRate { reference } => match lr {
                Some(lr) if lr.is_finite() && lr >= 0.0 => Ok(lr / reference),
                Some(lr) => Err(Error::Setting {
                    field: "lr",
                    rule: "be finite and at least 0, since a schedule is in proportion to it",
                    value: lr.to_string(),
                }),
                None => Err(Error::Setting {
                    field: "lr",
                    rule: "be given by `set_learning_rate`, since a schedule is in proportion to it",
                    value: "not known".into(),
                }),
            },
        }
    }

    /// Refuses what cannot work, in the name of the field that holds it.
    pub(crate) fn check(&self, field: &'static str) -> Result<()> {
        let rule = match *self {
            Self::Constant => return Ok(()),
            Self::Linear { from, to, steps } | Self::Cosine { from, to, steps } => {
                let valid = |factor: f64| factor.is_finite() && factor >= 0.0;
                if valid(from) && valid(to) && steps > 0 {
                    return Ok(());
                }
                "have factors that are finite and at least 0, over at least 1 step"
            }
            Self::LearningRate { reference } => {
                if reference.is_finite() && reference > 0.0 {
                    return Ok(());
                }
                "have a reference that is finite and above 0"
            }
        };
        Err(Error::Setting {
            field,
            rule,
            value: format!("{self:?}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn follows(schedule: Schedule, expected: &[(u64, f64)]) {
        for (step, expected) in expected {
            let factor = schedule.factor(*step, None).unwrap();
            assert!((factor - expected).abs() < 1e-15, "{step}: {factor}");
        }
    }

    #[test]
    fn the_factors_are_those_of_the_formulas() {
        let (from, to, steps) = (2.0, 1.0, 10);
        follows(Schedule::Constant, &[(0, 1.0), (u64::MAX, 1.0)]);
        follows(
            Schedule::Linear { from, to, steps },
            &[(0, 2.0), (5, 1.5), (10, 1.0), (u64::MAX, 1.0)],
        );
        let third = 1.0 + 0.5 * (1.0 + (0.3 * PI).cos());
        follows(
            Schedule::Cosine { from, to, steps },
            &[(0, 2.0), (3, third), (5, 1.5), (10, 1.0), (11, 1.0)],
        );
        let schedule = Schedule::LearningRate { reference: 0.1 };
        assert_eq!(schedule.factor(3, Some(0.05)).unwrap(), 0.5);
        assert_eq!(schedule.factor(3, Some(0.0)).unwrap(), 0.0);
    }

    #[test]
    fn a_learning_rate_that_is_not_known_or_negative_is_refused() {
        let schedule = Schedule::LearningRate { reference: 0.1 };
        for lr in [None, Some(-1.0), Some(f64::NAN)] {
            let error = schedule.factor(0, lr).unwrap_err().to_string();
            assert!(error.starts_with("lr must be "), "{error}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let (from, to, steps) = (1.0, 0.0, 10);
        for (schedule, works) in [
            (Schedule::Constant, true),
            (Schedule::Linear { from, to, steps }, true),
            (Schedule::Linear { from, to, steps: 0 }, false),
            (
                Schedule::Linear {
                    from: -1.0,
                    to,
                    steps,
                },
                false,
            ),
            (
                Schedule::Cosine {
                    from,
                    to: f64::NAN,
                    steps,
                },
                false,
            ),
            (
                Schedule::Cosine {
                    from: f64::INFINITY,
                    to,
                    steps,
                },
                false,
            ),
            (Schedule::LearningRate { reference: 0.1 }, true),
            (Schedule::LearningRate { reference: 0.0 }, false),
            (
                Schedule::LearningRate {
                    reference: f64::NAN,
                },
                false,
            ),
        ] {
            assert_eq!(
                schedule.check("rho_schedule").is_ok(),
                works,
                "{schedule:?}"
            );
        }
    }
}
