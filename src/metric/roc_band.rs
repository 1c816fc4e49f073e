use burn::config::Config;
use rand::Rng;

use super::{
    ScoredSet,
    bootstrap::{check, quantile},
    ranking::Ranking,
    scored_set::number_clusters,
};
use crate::{
    Error, Result,
    domain::shuffle::{below, random},
};

/// The settings of a [`RocBand`].
#[derive(Config, Debug, PartialEq)]
pub struct RocBandConfig {
    /// How often the clusters are drawn, from 2 to 10 million. Default: 1000.
    #[config(default = 1000)]
    pub replicates: usize,
    /// The part of the draws that lies within the band at each false positive rate, between 0 and
    /// 1. Default: 0.95.
    #[config(default = 0.95)]
    pub confidence: f64,
    /// The number of false positive rates, evenly from 0 to 1: from 2 to 100001. Default: 101.
    #[config(default = 101)]
    pub points: usize,
    /// The seed of the draws: the same seed, the same band. Default: 0.
    #[config(default = 0)]
    pub seed: u64,
}

/// A receiver operating characteristic with a band that says how far it would move with other
/// items, over evenly spaced false positive rates.
///
/// The curve is the *vertical average* of those of several test sets, such as the nets of several
/// seeds on theirs; with one it is that set's own, its points joined by straight lines. Where a
/// curve rises straight up, its upper end counts.
///
/// The band is a percentile bootstrap over clusters. In every draw as many clusters as there are,
/// of all sets together, are drawn with replacement; each brings along its items in every set,
/// and the sets' curves are averaged again. At each false positive rate, $[\text{lower},
/// \text{upper}]$ are the $(1 \mp \text{confidence}) / 2$ quantiles of the draws' true positive
/// rates. A draw that leaves a set without one of its classes has no curve and is drawn again.
///
/// So it is a band for the *true positive rate at each false positive rate by itself*: a whole
/// curve leaves it somewhere more often than the confidence says. It holds what other clusters would
/// change, given these nets; what another training would change is not in it. At a false positive
/// rate of 0 it hangs on a handful of negatives and is not to be trusted.
///
/// Source: vertical averaging, Fawcett, "An introduction to ROC analysis", Pattern Recognition
/// Letters 27, 2006; the band and what it does not hold, Macskassy and Provost, "Confidence Bands
/// for ROC Curves: Methods and an Empirical Study", ROCAI 2004.
///
/// ```
/// use roga::metric::{RocBandConfig, ScoredSet};
///
/// let set = ScoredSet {
///     scores: &[0.1, 0.6, 0.4, 0.9, 0.2, 0.7],
///     labels: &[false, false, true, true, false, true],
///     clusters: &["ada", "ada", "ada", "bo", "bo", "bo"],
/// };
/// let band = RocBandConfig::new().with_points(3).band(&[set])?;
/// assert_eq!(band.fpr, [0.0, 0.5, 1.0]);
/// assert!(band.lower[0] <= band.tpr[0] && band.tpr[0] <= band.upper[0]);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RocBand {
    /// The false positive rates, from 0 to 1.
    pub fpr: Vec<f64>,
    /// The true positive rate at each.
    pub tpr: Vec<f64>,
    /// The lower end of the band at each.
    pub lower: Vec<f64>,
    /// The upper end of the band at each.
    pub upper: Vec<f64>,
    /// How many draws left a set without one of its classes, and were drawn again.
    pub redrawn: usize,
}

impl RocBandConfig {
    /// Refuses settings out of their ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for the first of them.
    pub fn check(&self) -> Result<()> {
        check(self.replicates, self.confidence)?;
        match self.points {
            2..=100_001 => Ok(()),
            _ => Err(Error::Setting {
                field: "points",
                rule: "be from 2 to 100001",
                value: self.points.to_string(),
            }),
        }
    }

    /// The curve of these sets and its band.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range. [`Error::Metric`] where there is no set, a
    /// set has no [`Roc`](super::Roc) or not as many clusters as scores, or where 1000 draws in a row
    /// have no curve.
    pub fn band<C: Ord>(&self, sets: &[ScoredSet<'_, C>]) -> Result<RocBand> {
        self.check()?;
        let (clusters, count) = number_clusters("ROC band", sets)?;
        let ranked: Vec<Ranked<'_>> = sets.iter().zip(clusters).map(Ranked::new).collect();
        let last = (self.points - 1) as f64;
        let fpr: Vec<f64> = (0..self.points).map(|place| place as f64 / last).collect();
        // Every set has both classes.
        let tpr = average(&ranked, &vec![1; count], &fpr)
            .ok_or_else(|| refused("a set has items of one class only"))?;
        let (mut draws, mut redrawn) = (Vec::with_capacity(self.replicates), 0);
        for replicate in 0..self.replicates as u64 {
            let mut random = random([self.seed, replicate, 0, 0]);
            let curve = (0..TRIES).find_map(|tries| {
                let curve = average(&ranked, &drawn(count, &mut random), &fpr)?;
                Some((curve, tries))
            });
            let (curve, tries) = curve.ok_or_else(|| {
                refused(
                    "too few clusters: 1000 draws in a row left a set without one of its classes",
                )
            })?;
            redrawn += tries;
            draws.push(curve);
        }
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for place in 0..fpr.len() {
            let mut at: Vec<f64> = draws
                .iter()
                .filter_map(|draw| draw.get(place).copied())
                .collect();
            at.sort_unstable_by(f64::total_cmp);
            lower.push(quantile(&at, 0.5 * (1.0 - self.confidence)));
            upper.push(quantile(&at, 0.5 * (1.0 + self.confidence)));
        }
        Ok(RocBand {
            fpr,
            tpr,
            lower,
            upper,
            redrawn,
        })
    }
}

/// How often a draw without a curve is drawn, at most: with many sets, hardly any may have one.
const TRIES: usize = 1000;

fn refused(reason: &str) -> Error {
    Error::Metric {
        metric: "ROC band",
        reason: reason.into(),
    }
}

/// How often each cluster is drawn, with replacement.
fn drawn(clusters: usize, random: &mut impl Rng) -> Vec<usize> {
    let mut weights = vec![0; clusters];
    for _ in 0..clusters {
        if let Some(weight) = weights.get_mut(below(clusters, random)) {
            *weight += 1;
        }
    }
    weights
}

/// The vertical average of the sets' curves; `None` where one has none.
fn average(sets: &[Ranked<'_>], weights: &[usize], fpr: &[f64]) -> Option<Vec<f64>> {
    let mut sum = vec![0.0; fpr.len()];
    for set in sets {
        let curve = set.curve(weights)?;
        for (sum, tpr) in sum.iter_mut().zip(at(&curve, fpr)) {
            *sum += tpr / sets.len() as f64;
        }
    }
    Some(sum)
}

/// A set whose items are sorted once for all draws.
struct Ranked<'a> {
    ranking: Ranking,
    labels: &'a [bool],
    /// The number of each item's cluster, over all sets.
    clusters: Vec<usize>,
}

impl<'a> Ranked<'a> {
    fn new<C>((set, clusters): (&ScoredSet<'a, C>, Vec<usize>)) -> Self {
        Self {
            ranking: Ranking::new(set.scores.to_vec()),
            labels: set.labels,
            clusters,
        }
    }

    /// The points of the curve in which every item counts as often as its cluster was drawn.
    fn curve(&self, weights: &[usize]) -> Option<Vec<(f64, f64)>> {
        let weight = |item: usize| weights.get(*self.clusters.get(item)?).copied();
        let weight = |item| weight(item).unwrap_or(0);
        let roc = self.ranking.roc(self.labels, weight);
        let (negatives, positives) = roc.totals();
        let points = roc.points().map(|point| (point.fpr, point.tpr));
        (negatives > 0 && positives > 0).then(|| points.collect())
    }
}

/// The height of a rising curve, its points joined by straight lines, at rising places.
fn at(curve: &[(f64, f64)], places: &[f64]) -> Vec<f64> {
    let mut next = 0;
    let height = |place: &f64| {
        while curve.get(next).is_some_and(|(x, _)| x <= place) {
            next += 1;
        }
        // The last point that is not to the right, and the first that is.
        match (curve.get(next.saturating_sub(1)), curve.get(next)) {
            (Some((x, y)), Some((right, above))) => y + (above - y) * (place - x) / (right - x),
            (Some((_, y)), None) => *y,
            (None, _) => f64::NAN,
        }
    };
    places.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::metric::Roc;

    fn set<'a>(scores: &'a [f64], labels: &'a [bool], people: &'a [usize]) -> ScoredSet<'a, usize> {
        ScoredSet {
            scores,
            labels,
            clusters: people,
        }
    }

    /// Scores about 1 apart, two pictures of each class a person, whose scores move together.
    fn drawn_set(people: usize, seed: u64) -> (Vec<f64>, Vec<bool>, Vec<usize>) {
        let mut rng = random([seed, 77, 0, 0]);
        let mut normal = move || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let mut items = (Vec::new(), Vec::new(), Vec::new());
        for person in 0..people {
            let own = normal();
            for picture in 0..4 {
                let forged = picture % 2 == 1;
                items
                    .0
                    .push(f64::from(u8::from(forged)) + own + 0.5 * normal());
                items.1.push(forged);
                items.2.push(person);
            }
        }
        items
    }

    #[test]
    fn the_curve_is_that_of_the_set() {
        let (scores, labels, people) = drawn_set(50, 1);
        let config = RocBandConfig::new().with_points(41).with_replicates(50);
        let band = config.band(&[set(&scores, &labels, &people)]).unwrap();
        let points: Vec<_> = Roc::new(&scores, &labels).unwrap().points().collect();
        for (fpr, tpr) in band.fpr.iter().zip(&band.tpr) {
            let left = points.iter().rfind(|p| p.fpr <= *fpr).unwrap();
            match points.iter().find(|p| p.fpr > *fpr) {
                Some(right) => assert!(left.tpr <= *tpr + 1e-12 && *tpr <= right.tpr + 1e-12),
                None => assert_eq!(*tpr, 1.0),
            }
        }
        assert_eq!((band.fpr[0], band.fpr[20], band.fpr[40]), (0.0, 0.5, 1.0));
    }

    #[test]
    fn a_curve_by_hand() {
        let (scores, labels) = ([0.9, 0.7, 0.7, 0.1], [true, false, true, false]);
        let config = RocBandConfig::new().with_points(5).with_replicates(2);
        let band = config.band(&[set(&scores, &labels, &[0; 4])]).unwrap();
        // Up to (0, 1/2), the tie to (1/2, 1), then straight on.
        assert_eq!(band.tpr, [0.5, 0.75, 1.0, 1.0, 1.0]);
        // One cluster is always drawn as it is.
        assert_eq!((&band.lower, &band.upper), (&band.tpr, &band.tpr));
    }

    #[test]
    fn several_sets_are_averaged() {
        let labels = [true, true, false, false];
        let (good, bad) = ([0.9, 0.8, 0.2, 0.1], [0.1, 0.2, 0.8, 0.9]);
        let sets = [set(&good, &labels, &[0; 4]), set(&bad, &labels, &[0; 4])];
        let band = RocBandConfig::new().with_points(3).band(&sets).unwrap();
        assert_eq!(band.tpr, [0.5, 0.5, 1.0]);
    }

    #[test]
    fn the_band_rises_and_holds_the_curve() {
        let (scores, labels, people) = drawn_set(60, 3);
        let band = RocBandConfig::new()
            .band(&[set(&scores, &labels, &people)])
            .unwrap();
        assert_eq!(band.redrawn, 0);
        for numbers in [&band.tpr, &band.lower, &band.upper] {
            assert!(numbers.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
            assert!(numbers.iter().all(|tpr| (0.0..=1.0 + 1e-12).contains(tpr)));
        }
        for (place, tpr) in band.tpr.iter().enumerate() {
            assert!(band.lower[place] <= *tpr && *tpr <= band.upper[place] + 1e-12);
        }
        assert_eq!(
            band,
            RocBandConfig::new()
                .band(&[set(&scores, &labels, &people)])
                .unwrap()
        );
        let other = RocBandConfig::new().with_seed(1);
        assert_ne!(band, other.band(&[set(&scores, &labels, &people)]).unwrap());
    }

    #[test]
    fn copies_of_a_picture_tell_nothing_new() {
        let (scores, labels, _) = drawn_set(30, 5);
        let apart: Vec<usize> = (0..4 * scores.len()).collect();
        let together: Vec<usize> = apart.iter().map(|item| item % scores.len()).collect();
        let (copied, copied_labels) = (scores.repeat(4), labels.repeat(4));
        let band = |scores: &[f64], labels: &[bool], clusters: &[usize]| {
            let band = RocBandConfig::new().band(&[set(scores, labels, clusters)]);
            let band = band.unwrap();
            let widths = band
                .upper
                .iter()
                .zip(&band.lower)
                .map(|(upper, lower)| upper - lower);
            (widths.sum::<f64>(), band)
        };
        let (width, once) = band(&scores, &labels, &apart[..scores.len()]);
        assert_eq!(once, band(&copied, &copied_labels, &together).1);
        // As many as if they were four times as many people: half as wide.
        let (narrower, _) = band(&copied, &copied_labels, &apart);
        assert!(
            (0.4..0.6).contains(&(narrower / width)),
            "{narrower} of {width}"
        );
    }

    /// The true curve is that of 4000 people; bands of 60 others are to hold it about as often as
    /// they say.
    #[test]
    fn the_confidence_is_kept() {
        let (scores, labels, people) = drawn_set(4000, 9);
        let config = RocBandConfig::new()
            .with_points(5)
            .with_replicates(300)
            .with_confidence(0.9);
        let truth = config
            .clone()
            .with_replicates(2)
            .band(&[set(&scores, &labels, &people)]);
        let truth = truth.unwrap().tpr;
        let mut inside = 0;
        for seed in 100..200 {
            let (scores, labels, people) = drawn_set(60, seed);
            let band = config.band(&[set(&scores, &labels, &people)]).unwrap();
            inside += usize::from((band.lower[1]..=band.upper[1]).contains(&truth[1]));
        }
        assert!((80..=97).contains(&inside), "{inside} of 100");
    }

    #[test]
    fn what_has_no_band_is_refused() {
        let config = RocBandConfig::new();
        let (scores, labels) = ([0.1, 0.2], [true, false]);
        let metric =
            |sets: &[ScoredSet<'_, usize>]| matches!(config.band(sets), Err(Error::Metric { .. }));
        assert!(metric(&[]));
        assert!(metric(&[set(&[], &[], &[])]));
        assert!(metric(&[set(&scores, &labels, &[1])]));
        assert!(metric(&[set(&scores, &[true, true], &[1, 2])]));
        assert!(metric(&[set(&[0.1, f64::NAN], &labels, &[1, 2])]));
        assert!(metric(&[
            set(&scores, &labels, &[1, 1]),
            set(&scores, &[true; 2], &[1, 1])
        ]));
        for (config, field) in [
            (RocBandConfig::new().with_replicates(1), "replicates"),
            (RocBandConfig::new().with_confidence(1.0), "confidence"),
            (RocBandConfig::new().with_confidence(f64::NAN), "confidence"),
            (RocBandConfig::new().with_points(1), "points"),
        ] {
            let error = config.band(&[set(&scores, &labels, &[1, 1])]).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }

    #[test]
    fn draws_without_a_class_are_drawn_again() {
        let config = RocBandConfig::new();
        let (scores, labels) = ([0.1, 0.2], [true, false]);
        // Each cluster has one class: every other draw has one only.
        let band = config.band(&[set(&scores, &labels, &[1, 2])]).unwrap();
        assert!((850..1150).contains(&band.redrawn), "{}", band.redrawn);
        // All of forty clusters are needed, which next to no draw has.
        let clusters: Vec<usize> = (0..40).collect();
        let sets: Vec<_> = clusters
            .chunks(2)
            .map(|pair| set(&scores, &labels, pair))
            .collect();
        let error = config.band(&sets).unwrap_err();
        assert!(error.to_string().contains("too few clusters"), "{error}");
    }
}
