use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How many steps an epoch over several domains has.
///
/// Let domain $k$ hold $n_k$ items and hand over $b_k$ of them a step. Small domains cycle; no
/// length discards items, because a domain's stream continues in the next epoch.
///
/// ```
/// use roga::domain::EpochLength;
///
/// let sizes = [(100, 8), (10, 4)]; // 12.5 and 2.5 batches
/// assert_eq!(EpochLength::Longest.steps(sizes)?, 13);
/// assert_eq!(EpochLength::Shortest.steps(sizes)?, 2);
/// assert_eq!(EpochLength::Steps(50).steps(sizes)?, 50);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpochLength {
    /// $\max_k \lceil n_k / b_k \rceil$: as many steps as the longest domain has batches, the last,
    /// broken one counted whole.
    #[default]
    Longest,
    /// $\max(1, \min_k \lfloor n_k / b_k \rfloor)$: as many steps as the shortest domain has full
    /// batches, and one where it has none.
    Shortest,
    /// This number of steps, at least 1.
    Steps(usize),
}

const MAX_BATCH_SIZE: usize = 1 << 24;

impl EpochLength {
    /// The number of steps, from $(n_k, b_k)$ of every domain.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for `Steps(0)`, and for a batch size of 0 or above $2^{24}$.
    pub fn steps(self, sizes: impl IntoIterator<Item = (usize, usize)>) -> Result<usize> {
        self.check()?;
        let (mut longest, mut shortest) = (1, usize::MAX);
        for (items, batch_size) in sizes {
            if !(1..=MAX_BATCH_SIZE).contains(&batch_size) {
                return Err(Error::Setting {
                    field: "batch_size",
                    rule: "be from 1 to 16777216",
                    value: batch_size.to_string(),
                });
            }
            longest = longest.max(items.div_ceil(batch_size));
            shortest = shortest.min(items / batch_size);
        }
        Ok(match self {
            Self::Longest => longest,
            // No domain at all leaves `shortest` where it began.
            Self::Shortest => shortest.clamp(1, longest),
            Self::Steps(steps) => steps,
        })
    }

    /// Refuses `Steps(0)`.
    pub(crate) fn check(self) -> Result<()> {
        if self == Self::Steps(0) {
            return Err(Error::Setting {
                field: "epoch",
                rule: "have at least one step",
                value: "Steps(0)".into(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let steps = |epoch: EpochLength, sizes: &[(usize, usize)]| {
            epoch.steps(sizes.iter().copied()).unwrap()
        };
        assert_eq!(steps(EpochLength::Longest, &[(16, 8), (3, 1)]), 3);
        assert_eq!(steps(EpochLength::Longest, &[(17, 8)]), 3);
        assert_eq!(steps(EpochLength::Shortest, &[(17, 8)]), 2);
        assert_eq!(steps(EpochLength::Shortest, &[(17, 8), (3, 8)]), 1);
        assert_eq!(steps(EpochLength::Shortest, &[]), 1);
        assert_eq!(steps(EpochLength::Steps(7), &[(17, 8)]), 7);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for refused in [
            EpochLength::Steps(0).steps([(1, 1)]),
            EpochLength::Longest.steps([(1, 0)]),
        ] {
            assert!(matches!(refused, Err(Error::Setting { .. })));
        }
    }

    #[test]
    fn written_and_read() {
        for epoch in [
            EpochLength::Longest,
            EpochLength::Shortest,
            EpochLength::Steps(3),
        ] {
            let text = serde_json::to_string(&epoch).unwrap();
            assert_eq!(serde_json::from_str::<EpochLength>(&text).unwrap(), epoch);
        }
        assert_eq!(
            serde_json::to_string(&EpochLength::Steps(3)).unwrap(),
            r#"{"Steps":3}"#
        );
    }
}
