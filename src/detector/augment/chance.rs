use rand::{RngExt, distr::uniform::SampleUniform, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How likely an operation is, and how far it goes.
///
/// With `probability` $p \in [0, 1]$ the operation happens, by an amount drawn evenly from
/// `range`, its ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chance<T = f32> {
    /// The probability, from 0 to 1.
    pub probability: f64,
    /// The least and the greatest amount, in the operation's unit.
    pub range: [T; 2],
}

impl<T: Copy + PartialOrd + std::fmt::Debug + SampleUniform> Chance<T> {
    /// A probability and a range.
    pub const fn new(probability: f64, range: [T; 2]) -> Self {
        Self { probability, range }
    }

    /// Never, whatever the amount.
    pub const fn never(amount: T) -> Self {
        Self::new(0.0, [amount; 2])
    }

    /// Refuses what is no probability, and ranges that do not rise within bounds, which `rule`
    /// tells.
    pub(super) fn check(
        &self,
        field: &'static str,
        [least, greatest]: [T; 2],
        rule: &'static str,
    ) -> Result<()> {
        check_probability(field, self.probability)?;
        let [low, high] = self.range;
        if least <= low && low <= high && high <= greatest {
            return Ok(());
        }
        Err(Error::Setting {
            field,
            rule,
            value: format!("{:?}", self.range),
        })
    }

    /// The amount, if the operation happens.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Option<T> {
        let [low, high] = self.range;
        happens(self.probability, rng).then(|| rng.random_range(low..=high))
    }
}

/// Whether something of a probability happens: at 0 never, at 1 always.
pub(super) fn happens(probability: f64, rng: &mut ChaCha8Rng) -> bool {
    rng.random::<f64>() < probability
}

pub(super) fn check_probability(field: &'static str, probability: f64) -> Result<()> {
    if (0.0..=1.0).contains(&probability) {
        return Ok(());
    }
    Err(Error::Setting {
        field,
        rule: "have a probability from 0 to 1",
        value: probability.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::seed::{Purpose, generator};

    #[test]
    fn amounts_fill_their_range_and_come_as_often_as_is_said() {
        let chance = Chance::new(0.25, [-2.0f32, 3.0]);
        let drawn: Vec<f32> = (0..4000)
            .filter_map(|i| chance.draw(&mut generator(Purpose::Augment, [i, 0, 0, 0])))
            .collect();
        // Four standard deviations of a share of a quarter.
        assert!((drawn.len() as f64 / 4000.0 - 0.25).abs() < 0.028);
        assert!(drawn.iter().all(|v| (-2.0..=3.0).contains(v)));
        let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
        assert!((mean - 0.5).abs() < 0.2, "{mean}");
        assert!(drawn.iter().any(|v| *v < -1.7) && drawn.iter().any(|v| *v > 2.7));
    }

    #[test]
    fn probability_0_is_never_and_1_is_always_and_whole_numbers_reach_both_ends() {
        let mut seen = [false; 3];
        for i in 0..200 {
            let mut rng = generator(Purpose::Augment, [i, 0, 0, 0]);
            assert_eq!(Chance::new(0.0, [5u8, 7]).draw(&mut rng), None);
            let amount = Chance::new(1.0, [5u8, 7]).draw(&mut rng).unwrap();
            seen[usize::from(amount - 5)] = true;
        }
        assert_eq!(seen, [true; 3]);
    }
}
