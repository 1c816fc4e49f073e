use std::collections::{BTreeMap, BTreeSet};

use super::shuffle::{random, shuffle};
use crate::{Error, Result};

/// A split of groups (persons, videos, scanners) into parts, so that no group is in two of them.
///
/// Items of one person in training and in validation make a model look better than it is. So the
/// groups are split, and items follow their group: in every domain the same way, where one split is
/// applied to several.
///
/// Of $G$ groups, part $i$ gets $G f_i$, rounded so that the deviation is as small as it can be
/// (largest remainders, the earlier part first), and at least one where $f_i > 0$. What the
/// fractions leave of 1 belongs to no part. Which groups these are depends on the seed and on the
/// set of groups, not on the order or the number of their items; so fractions are those of groups,
/// not of items.
///
/// ```
/// use roga::domain::GroupSplit;
///
/// let persons = ["ann", "bob", "ann", "cyd", "dan", "bob"];
/// let split = GroupSplit::new(persons, &[0.75, 0.25], 42)?;
/// let parts = split.indices(&persons);
/// assert_eq!(parts[0].len() + parts[1].len(), persons.len());
/// assert_eq!(split.part_of(&"eve"), None);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSplit<G> {
    part_of: BTreeMap<G, usize>,
    parts: usize,
}

impl<G: Ord> GroupSplit<G> {
    /// Splits the groups, each of them named once or as often as it has items.
    ///
    /// Every fraction is finite and at least 0, and together they are at most 1.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for other fractions, for none at all, and for more fractions above 0 than
    /// there are groups.
    pub fn new(groups: impl IntoIterator<Item = G>, fractions: &[f64], seed: u64) -> Result<Self> {
        check(fractions)?;
        let mut groups: Vec<G> = groups
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let counts = apportion(groups.len(), fractions)?;
        shuffle(&mut groups, &mut random([seed, 0, 0, 0]));
        let parts = counts
            .iter()
            .enumerate()
            .flat_map(|(part, &count)| std::iter::repeat_n(part, count));
        Ok(Self {
            part_of: groups.into_iter().zip(parts).collect(),
            parts: counts.len(),
        })
    }

    /// The number of parts: that of the fractions.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The part a group is in; none, if it is in no part or was not there to be split.
    pub fn part_of(&self, group: &G) -> Option<usize> {
        self.part_of.get(group).copied()
    }

    /// The groups of a part, in their order.
    pub fn groups(&self, part: usize) -> impl Iterator<Item = &G> {
        self.part_of
            .iter()
            .filter(move |(_, of)| **of == part)
            .map(|(group, _)| group)
    }

    /// The places of each part's items, in their order, from the group of every item.
    ///
    /// Items of a group in no part are in none of the lists.
    pub fn indices<'a>(&self, groups: impl IntoIterator<Item = &'a G>) -> Vec<Vec<usize>>
    where
        G: 'a,
    {
        let mut indices = vec![Vec::new(); self.parts];
        for (index, group) in groups.into_iter().enumerate() {
            let part = self.part_of(group);
            if let Some(indices) = part.and_then(|part| indices.get_mut(part)) {
                indices.push(index);
            }
        }
        indices
    }
}

/// How far the fractions' sum may exceed 1 by rounding.
const ROUNDING: f64 = 1e-9;

fn check(fractions: &[f64]) -> Result<()> {
    let refused = |rule, value| {
        Err(Error::Setting {
            field: "fractions",
            rule,
            value,
        })
    };
    if fractions.is_empty() {
        return refused("be at least one", "none".into());
    }
    let wrong = |fraction: &&f64| !(fraction.is_finite() && **fraction >= 0.0);
    if let Some(fraction) = fractions.iter().find(wrong) {
        return refused("be finite and at least 0", fraction.to_string());
    }
    let sum: f64 = fractions.iter().sum();
    if sum > 1.0 + ROUNDING {
        return refused("sum to at most 1", sum.to_string());
    }
    Ok(())
}

/// The number of groups of each part.
fn apportion(groups: usize, fractions: &[f64]) -> Result<Vec<usize>> {
    let wanted = fractions.iter().filter(|&&fraction| fraction > 0.0).count();
    if wanted > groups {
        return Err(Error::Setting {
            field: "fractions",
            rule: "be at most as many above 0 as there are groups",
            value: format!("{wanted} for {groups} groups"),
        });
    }
    // What belongs to no part takes part in the rounding as a part of its own.
    let rest = (1.0 - fractions.iter().sum::<f64>()).max(0.0);
    let mut quotas: Vec<f64> = fractions.iter().map(|f| f * groups as f64).collect();
    quotas.push(if rest > ROUNDING {
        rest * groups as f64
    } else {
        0.0
    });
    let mut shares = largest_remainders(groups, &quotas);
    let left_out = |share: &&mut Share| share.quota > 0.0 && share.count == 0;
    while let Some(share) = shares.iter_mut().take(fractions.len()).find(left_out) {
        share.count = 1;
        if let Some(giver) = most_to_spare(&mut shares) {
            giver.count -= 1;
        }
    }
    shares.truncate(fractions.len());
    Ok(shares.into_iter().map(|share| share.count).collect())
}

/// What a part gets, and what it would get were it not for whole numbers.
struct Share {
    quota: f64,
    count: usize,
}

impl Share {
    fn remainder(&self) -> f64 {
        self.quota - self.quota.floor()
    }

    fn excess(&self) -> f64 {
        self.count as f64 - self.quota
    }
}

/// The whole numbers of sum `total` nearest to the quotas.
fn largest_remainders(total: usize, quotas: &[f64]) -> Vec<Share> {
    let shares = quotas.iter().map(|&quota| Share {
        quota,
        count: quota.floor() as usize,
    });
    let mut shares: Vec<Share> = shares.collect();
    let missing = total.saturating_sub(shares.iter().map(|share| share.count).sum());
    let mut order: Vec<&mut Share> = shares.iter_mut().filter(|s| s.quota > 0.0).collect();
    order.sort_by(|a, b| b.remainder().total_cmp(&a.remainder()));
    // Each of them is short of less than one.
    for share in order.into_iter().take(missing) {
        share.count += 1;
    }
    shares
}

/// The part that keeps a group if it gives one, or needs none, as the last, and exceeds its quota
/// most.
fn most_to_spare(shares: &mut [Share]) -> Option<&mut Share> {
    let rest = shares.len().saturating_sub(1);
    shares
        .iter_mut()
        .enumerate()
        .filter(|(part, share)| share.count > 1 || (*part == rest && share.count == 1))
        .max_by(|(_, a), (_, b)| a.excess().total_cmp(&b.excess()))
        .map(|(_, share)| share)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(groups: usize, fractions: &[f64]) -> Vec<usize> {
        apportion(groups, fractions).unwrap()
    }

    #[test]
    fn counts_follow_the_fractions() {
        assert_eq!(counts(10, &[0.7, 0.2, 0.1]), [7, 2, 1]);
        assert_eq!(counts(1000, &[0.72, 0.14, 0.14]), [720, 140, 140]);
        assert_eq!(counts(10, &[0.33, 0.33, 0.34]), [3, 3, 4]);
        assert_eq!(counts(10, &[0.5]), [5]);
        // In doubles, 28.999999999999996 and 71.
        assert_eq!(counts(100, &[0.29, 0.71]), [29, 71]);
        assert_eq!(counts(10, &[0.0, 1.0]), [0, 10]);
        assert_eq!(counts(3, &[1.0]), [3]);
        assert_eq!(counts(0, &[0.0]), [0]);
    }

    #[test]
    fn no_part_is_empty_where_there_are_enough_groups() {
        assert_eq!(counts(3, &[0.98, 0.01, 0.01]), [1, 1, 1]);
        assert_eq!(counts(2, &[0.001, 0.999]), [1, 1]);
        assert_eq!(counts(1, &[0.001]), [1]);
        assert_eq!(counts(2, &[0.001, 0.001]), [1, 1]);
        // Of 2.04, 0.03 and a rest of 0.93, the rest gives.
        assert_eq!(counts(3, &[0.68, 0.01]), [2, 1]);
        assert!(apportion(2, &[0.8, 0.1, 0.1]).is_err());
        assert!(GroupSplit::new(Vec::<u8>::new(), &[1.0], 0).is_err());
    }

    #[test]
    fn fractions_that_cannot_work_are_refused() {
        for fractions in [
            &[][..],
            &[f64::NAN],
            &[f64::INFINITY],
            &[-0.1, 0.5],
            &[0.6, 0.5],
        ] {
            let refused = GroupSplit::new(0..10, fractions, 0);
            assert!(
                matches!(
                    refused,
                    Err(Error::Setting {
                        field: "fractions",
                        ..
                    })
                ),
                "{fractions:?}"
            );
        }
    }

    #[test]
    fn the_split_does_not_depend_on_the_items_order() {
        let forward = GroupSplit::new(0..100, &[0.8, 0.2], 7).unwrap();
        let backward = GroupSplit::new((0..100).chain(20..50).rev(), &[0.8, 0.2], 7).unwrap();
        assert_eq!(forward, backward);
        assert_ne!(forward, GroupSplit::new(0..100, &[0.8, 0.2], 8).unwrap());
    }

    /// A seed means the same split in every release and on every machine. The numbers are from a
    /// ChaCha8 written down in Python.
    #[test]
    fn the_split_is_pinned() {
        let split = GroupSplit::new(0..10, &[0.7, 0.3], 42).unwrap();
        assert_eq!(split.groups(1).copied().collect::<Vec<_>>(), [2, 3, 9]);
    }

    proptest! {
        #[test]
        fn nobody_is_on_two_sides_and_everybody_on_one(
            groups in prop::collection::vec(0_u16..60, 1..200),
            first in 0.0_f64..=1.0,
            seed: u64,
        ) {
            let fractions = [first, 1.0 - first];
            let Ok(split) = GroupSplit::new(groups.iter().copied(), &fractions, seed) else {
                let one_group = groups.iter().all(|group| *group == groups[0]);
                prop_assert!(one_group && first > 0.0 && first < 1.0);
                return Ok(());
            };
            let parts = split.indices(&groups);
            let of = |part: usize| -> BTreeSet<u16> {
                parts[part].iter().map(|&index| groups[index]).collect()
            };
            prop_assert!(of(0).is_disjoint(&of(1)));
            let mut all: Vec<usize> = parts.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..groups.len()).collect::<Vec<_>>());
            prop_assert!((0..2).all(|part| (fractions[part] > 0.0) != parts[part].is_empty()));
        }

        #[test]
        fn counts_are_as_near_as_whole_numbers_are(
            groups in 20_usize..500,
            weights in prop::collection::vec(0.1_f64..1.0, 1..6),
        ) {
            let sum: f64 = weights.iter().sum();
            let fractions: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
            let counts = counts(groups, &fractions);
            prop_assert_eq!(counts.iter().sum::<usize>(), groups);
            for (count, fraction) in counts.iter().zip(&fractions) {
                prop_assert!((*count as f64 - fraction * groups as f64).abs() < 1.0 + 1e-6);
            }
        }
    }
}
