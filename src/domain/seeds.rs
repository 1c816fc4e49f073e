use rand::Rng;
use serde::{Deserialize, Serialize};

use super::shuffle::{fnv1a, random};

/// The three seeds of an experiment.
///
/// Each is for one thing, so that one can be changed while the others stay: where one seed was for
/// all, other hyper-parameters came with every repetition.
///
/// ```
/// use roga::domain::Seeds;
///
/// let seeds = Seeds { hyper_parameters: 0, split: 7, run: 1 };
/// let trial = seeds.trial(2);
/// assert_eq!(trial.hyper_parameters, 0); // the settings stay what they are
/// assert_ne!((trial.split, trial.run), (7, 1));
/// assert_eq!(trial, seeds.trial(2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    /// Of the random search: [`SearchSpace::draw`](crate::search::SearchSpace::draw).
    pub hyper_parameters: u64,
    /// Of the division into training, validation and test parts:
    /// [`GroupSplit`](super::GroupSplit).
    pub split: u64,
    /// Of everything else in a training: its start, its batches, its augmentation, its draws.
    pub run: u64,
}

impl Seeds {
    /// The seeds of the repetition of that number: the same hyper-parameters, another split and
    /// another run.
    ///
    /// They are independent of each other, also where the seeds here are the same number, and
    /// below $2^{53}$, so that every reader of JSON and TOML reads them as they are. To repeat a
    /// training on the same split, change [`run`](Self::run) alone.
    pub fn trial(self, number: u64) -> Self {
        let derived = |seed: u64, purpose: &str| {
            random([seed, number, fnv1a("trial"), fnv1a(purpose)]).next_u64() >> 11
        };
        Self {
            hyper_parameters: self.hyper_parameters,
            split: derived(self.split, "split"),
            run: derived(self.run, "run"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_trial_never_changes_the_hyper_parameters() {
        let seeds = Seeds {
            hyper_parameters: 9,
            split: 0,
            run: 0,
        };
        for number in 0..100 {
            assert_eq!(seeds.trial(number).hyper_parameters, 9);
        }
    }

    #[test]
    fn the_seeds_of_a_trial_are_independent() {
        let mut seen = BTreeSet::new();
        for number in 0..100 {
            let trial = Seeds::default().trial(number);
            seen.extend([trial.split, trial.run]);
        }
        assert_eq!(seen.len(), 200);
        assert!(seen.iter().all(|seed| *seed < 1 << 53));
        // Each follows from its own seed alone.
        let (here, there) = (
            Seeds {
                run: 3,
                ..Seeds::default()
            },
            Seeds {
                hyper_parameters: 8,
                ..Seeds::default()
            },
        );
        assert_eq!(here.trial(1).split, there.trial(1).split);
        assert_ne!(here.trial(1).run, there.trial(1).run);
    }

    #[test]
    fn trials_are_the_same_in_every_release() {
        let trial = |seed, number| {
            let seeds = Seeds {
                hyper_parameters: seed,
                split: seed,
                run: seed,
            };
            let trial = seeds.trial(number);
            (trial.split, trial.run)
        };
        // From a restatement in Python: ChaCha8 keyed with the four words.
        assert_eq!(trial(0, 0), (7262692356357330, 3096054960544622));
        assert_eq!(trial(7, 1), (1395555148767272, 7344094714182145));
    }
}
