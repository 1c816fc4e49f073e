use super::Roc;

/// Items by falling score. Sorted once, it gives the curves of any number of draws of the items.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    /// The score, and the place in the caller's lists.
    items: Vec<(f64, usize)>,
}

impl Ranking {
    /// Of scores that are all numbers.
    pub(super) fn new(scores: Vec<f64>) -> Self {
        let mut items: Vec<(f64, usize)> = scores.into_iter().zip(0..).collect();
        items.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
        Self { items }
    }

    /// The items of each different score, the highest first.
    pub(super) fn ties(&self) -> impl Iterator<Item = &[(f64, usize)]> {
        self.items.chunk_by(|(a, _), (b, _)| a == b)
    }

    /// The curve of the items, each as often as its weight says: both classes must have some.
    pub(super) fn roc(&self, labels: &[bool], weight: impl Fn(usize) -> usize) -> Roc {
        Roc::accumulate(self.ties().filter_map(|tied| {
            let (score, _) = tied.first()?;
            let (mut negatives, mut positives) = (0, 0);
            for &(_, item) in tied {
                match labels.get(item)? {
                    true => positives += weight(item),
                    false => negatives += weight(item),
                }
            }
            Some((*score, negatives, positives))
        }))
    }

    /// For each item, twice the number of items of the other class that it is rightly ordered with,
    /// ties counted by half.
    pub(super) fn placements(&self, labels: &[bool]) -> Vec<i64> {
        let mut placements = vec![0; labels.len()];
        let negatives = labels.iter().filter(|label| !**label).count();
        let (mut negatives_below, mut positives_above) = (2 * negatives as i64, 0);
        for tied in self.ties() {
            let positive = |(_, item): &&(f64, usize)| labels.get(*item) == Some(&true);
            let positives = tied.iter().filter(positive).count() as i64;
            let negatives = tied.len() as i64 - positives;
            negatives_below -= 2 * negatives;
            for &(_, item) in tied {
                if let (Some(placement), Some(label)) = (placements.get_mut(item), labels.get(item))
                {
                    *placement = match label {
                        true => negatives_below + negatives,
                        false => positives_above + positives,
                    };
                }
            }
            positives_above += 2 * positives;
        }
        placements
    }
}
