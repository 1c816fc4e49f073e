use std::collections::BTreeMap;

use super::items::of_two_classes;
use crate::{Error, Result};

/// The items of one test set, as one net scores them.
#[derive(Debug)]
pub struct ScoredSet<'a, C> {
    /// The score of every item, higher for what looks positive.
    pub scores: &'a [f64],
    /// Whether each item is positive.
    pub labels: &'a [bool],
    /// What each item belongs to: items of one cluster are not independent of each other, as the
    /// pictures of one person or the frames of one video. Equal clusters of several sets are the
    /// same one.
    pub clusters: &'a [C],
}

// Not derived: references are copied, whatever the clusters are.
impl<C> Clone for ScoredSet<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for ScoredSet<'_, C> {}

/// The number of each item's cluster, from 0 on over all sets, and how many clusters there are.
///
/// Refuses to number no set, and a set that has no ROC curve or not as many clusters as scores.
pub(super) fn number_clusters<'a, C: Ord>(
    metric: &'static str,
    sets: &[ScoredSet<'a, C>],
) -> Result<(Vec<Vec<usize>>, usize)> {
    let refused = |reason| Error::Metric { metric, reason };
    if sets.is_empty() {
        return Err(refused("there is no test set".into()));
    }
    let mut numbers: BTreeMap<&'a C, usize> = BTreeMap::new();
    let mut numbered = Vec::with_capacity(sets.len());
    for set in sets {
        of_two_classes(metric, set.scores, set.labels)?;
        let (scores, clusters) = (set.scores.len(), set.clusters.len());
        if scores != clusters {
            let found = format!("there are {scores} scores and {clusters} clusters");
            return Err(refused(found));
        }
        let number = |cluster| {
            let next = numbers.len();
            *numbers.entry(cluster).or_insert(next)
        };
        numbered.push(set.clusters.iter().map(number).collect());
    }
    Ok((numbered, numbers.len()))
}
