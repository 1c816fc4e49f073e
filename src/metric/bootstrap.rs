use std::ops::Range;

use burn::config::Config;
use rand::Rng;
use serde::Serialize;

use super::{
    Roc,
    items::{both_classes, numbers},
    ranking::Ranking,
};
use crate::{
    Error, Result,
    domain::shuffle::{below, random},
};

/// Settings of a [`Bootstrap`].
#[derive(Config, Debug)]
pub struct BootstrapConfig {
    /// How many test sets are drawn, from 2 to 10 million. Default: 1000.
    #[config(default = 1000)]
    pub replicates: usize,
    /// How often an interval is to hold the truth, between 0 and 1. Default: 0.95.
    #[config(default = 0.95)]
    pub confidence: f64,
    /// Whether every draw has as many items of each class as the test set; of clusters, as many of
    /// each kind: of positives only, of negatives only, of both. Default: no.
    #[config(default = false)]
    pub stratified: bool,
    /// The seed of the draws. Default: 0.
    #[config(default = 0)]
    pub seed: u64,
}

impl BootstrapConfig {
    /// Draws single items: right where they are independent, one picture of a person, say.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range. [`Error::Metric`] where there are no
    /// labels, or all are the same.
    pub fn init(&self, labels: &[bool]) -> Result<Bootstrap> {
        let clusters: Vec<usize> = (0..labels.len()).collect();
        self.init_clusters(labels, &clusters)
    }

    /// Draws clusters, the items of equal keys: people or videos, whose pictures are not
    /// independent.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init), and [`Error::Metric`] where there are not as many keys as labels, or
    /// fewer than two different ones.
    pub fn init_clusters<K: Ord>(&self, labels: &[bool], clusters: &[K]) -> Result<Bootstrap> {
        check(self.replicates, self.confidence)?;
        both_classes("bootstrap", labels)?;
        if clusters.len() != labels.len() {
            let (clusters, labels) = (clusters.len(), labels.len());
            return Err(refused(format!(
                "there are {clusters} keys and {labels} labels"
            )));
        }
        let items = labels
            .iter()
            .enumerate()
            .map(|(place, &label)| (place, label));
        let mut of_clusters: Vec<(&K, Item)> = clusters.iter().zip(items).collect();
        of_clusters.sort_by_key(|(cluster, _)| *cluster);
        let mut units = Vec::new();
        for cluster in of_clusters.chunk_by(|(a, _), (b, _)| a == b) {
            let start = units.last().map_or(0, |unit: &Range<usize>| unit.end);
            units.push(start..start + cluster.len());
        }
        if units.len() < 2 {
            return Err(refused("there is only one cluster".into()));
        }
        let items: Vec<Item> = of_clusters.into_iter().map(|(_, item)| item).collect();
        let kind = |unit: &Range<usize>| {
            let items = items.get(unit.clone()).unwrap_or_default();
            let has = |class| items.iter().any(|(_, label)| *label == class);
            (has(false), has(true))
        };
        if self.stratified {
            units.sort_by_cached_key(kind);
        }
        let same = |a: &Range<usize>, b: &Range<usize>| !self.stratified || kind(a) == kind(b);
        let strata = units.chunk_by(same).map(<[_]>::to_vec).collect();
        Ok(Bootstrap {
            config: self.clone(),
            labels: labels.to_vec(),
            items,
            strata,
        })
    }
}

/// What every bootstrap asks of its settings.
pub(super) fn check(replicates: usize, confidence: f64) -> Result<()> {
    if !(2..=10_000_000).contains(&replicates) {
        return Err(Error::Setting {
            field: "replicates",
            rule: "be from 2 to 10000000",
            value: replicates.to_string(),
        });
    }
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::Setting {
            field: "confidence",
            rule: "be above 0 and below 1",
            value: confidence.to_string(),
        });
    }
    Ok(())
}

/// The bootstrap: how sure a metric is, from test sets drawn from the one at hand with replacement.
///
/// With the values $\hat m^\ast_1, \dots, \hat m^\ast_B$ of the metric on $B$ draws, the interval of
/// confidence $1 - \alpha$ goes from their $\alpha / 2$ to their $1 - \alpha / 2$ quantile
/// (percentile method, linear between two of them), and the standard error is their sample standard
/// deviation. A draw of one class only is drawn again; [`Interval::redrawn`] counts these.
///
/// The draws are a function of the seed, the labels and the clusters, so that methods on the same
/// test set meet the same draws. For the AUC alone, [`ClusteredAuc`](super::ClusteredAuc) and
/// [`ClusteredDeLong`](super::ClusteredDeLong) need no draws, and take several test sets that share
/// their clusters.
///
/// Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; clusters:
/// Field and Welsh, "Bootstrapping clustered data", Journal of the Royal Statistical Society B 69,
/// 2007.
///
/// ```
/// use roga::metric::{BootstrapConfig, Roc};
///
/// let labels = [true, true, true, true, false, false, false, false];
/// let people = ["ann", "ann", "bob", "bob", "cy", "cy", "dan", "dan"];
/// let scores = [0.9, 0.8, 0.4, 0.6, 0.5, 0.3, 0.1, 0.2];
/// let bootstrap = BootstrapConfig::new()
///     .with_stratified(true)
///     .init_clusters(&labels, &people)?;
/// let auc = bootstrap.roc_interval(&scores, Roc::auc)?;
/// assert!(auc.lower <= auc.estimate && auc.estimate <= auc.upper);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bootstrap {
    config: BootstrapConfig,
    labels: Vec<bool>,
    /// The items, those of a unit side by side.
    items: Vec<Item>,
    /// What is drawn, stratum by stratum: parts of the items.
    strata: Vec<Vec<Range<usize>>>,
}

/// The place of an item in the caller's lists, and its label.
type Item = (usize, bool);

/// A metric and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The metric of the test set itself, or the difference of two methods in it.
    pub estimate: f64,
    /// The lower end of the interval.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// The standard deviation over the draws.
    pub standard_error: f64,
    /// How often such an interval is to hold the truth.
    pub confidence: f64,
    /// The number of draws.
    pub replicates: usize,
    /// How many independent units there are to draw: items or clusters.
    pub units: usize,
    /// Whether they were drawn class by class.
    pub stratified: bool,
    /// How many draws were of one class only, and drawn again.
    pub redrawn: usize,
}

impl Bootstrap {
    /// The interval of any metric of scores and labels: at most as fast as the metric is.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there are not as many scores as labels, a score is not a number, or
    /// the metric is not finite; any error of the metric.
    pub fn interval<S: Copy + Into<f64>>(
        &self,
        scores: &[S],
        mut metric: impl FnMut(&[f64], &[bool]) -> Result<f64>,
    ) -> Result<Interval> {
        let scores = numbers("bootstrap", scores, &self.labels)?;
        self.run(|weights| {
            let (scores, labels) = self.drawn(weights, &scores);
            metric(&scores, &labels)
        })
    }

    /// The interval of a number read off the ROC curve, such as [`Roc::auc`] or
    /// [`Roc::equal_error_rate`]: the scores are sorted once for all draws.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there are not as many scores as labels, a score is not a number, or
    /// what is read off is not finite.
    pub fn roc_interval<S: Copy + Into<f64>>(
        &self,
        scores: &[S],
        metric: impl Fn(&Roc) -> f64,
    ) -> Result<Interval> {
        let ranking = self.ranking(scores)?;
        self.run(|weights| Ok(metric(&self.roc(&ranking, weights))))
    }

    /// The interval of the difference between two methods, the first less the second, on the same
    /// draws. The methods differ, at its confidence, where it does not hold 0.
    ///
    /// # Errors
    ///
    /// As [`interval`](Self::interval), of either method.
    pub fn difference<A: Copy + Into<f64>, B: Copy + Into<f64>>(
        &self,
        a: &[A],
        b: &[B],
        mut metric: impl FnMut(&[f64], &[bool]) -> Result<f64>,
    ) -> Result<Interval> {
        let a = numbers("bootstrap", a, &self.labels)?;
        let b = numbers("bootstrap", b, &self.labels)?;
        self.run(|weights| {
            let (scores, labels) = self.drawn(weights, &a);
            let first = metric(&scores, &labels)?;
            let (scores, labels) = self.drawn(weights, &b);
            Ok(first - metric(&scores, &labels)?)
        })
    }

    /// As [`difference`](Self::difference), of a number read off the ROC curve.
    ///
    /// # Errors
    ///
    /// As [`roc_interval`](Self::roc_interval), of either method.
    pub fn roc_difference<A: Copy + Into<f64>, B: Copy + Into<f64>>(
        &self,
        a: &[A],
        b: &[B],
        metric: impl Fn(&Roc) -> f64,
    ) -> Result<Interval> {
        let (a, b) = (self.ranking(a)?, self.ranking(b)?);
        self.run(|weights| Ok(metric(&self.roc(&a, weights)) - metric(&self.roc(&b, weights))))
    }

    fn ranking<S: Copy + Into<f64>>(&self, scores: &[S]) -> Result<Ranking> {
        Ok(Ranking::new(numbers("bootstrap", scores, &self.labels)?))
    }

    fn roc(&self, ranking: &Ranking, weights: &[usize]) -> Roc {
        ranking.roc(&self.labels, |item| weights.get(item).copied().unwrap_or(0))
    }

    /// The items of a draw, each as often as it was drawn.
    fn drawn(&self, weights: &[usize], scores: &[f64]) -> (Vec<f64>, Vec<bool>) {
        let items = scores.iter().zip(&self.labels).zip(weights);
        items
            .flat_map(|((score, label), weight)| std::iter::repeat_n((*score, *label), *weight))
            .unzip()
    }

    /// The interval of a statistic of how often each item was drawn.
    fn run(&self, mut statistic: impl FnMut(&[usize]) -> Result<f64>) -> Result<Interval> {
        let mut statistic = |weights: &[usize]| {
            let value = statistic(weights)?;
            match value.is_finite() {
                true => Ok(value),
                false => Err(refused(format!("a value of the metric is {value}"))),
            }
        };
        let mut weights = vec![1; self.labels.len()];
        let estimate = statistic(&weights)?;
        let (mut values, mut redrawn) = (Vec::with_capacity(self.config.replicates), 0);
        for replicate in 0..self.config.replicates {
            redrawn += self.draw(replicate, &mut weights);
            values.push(statistic(&weights)?);
        }
        values.sort_unstable_by(f64::total_cmp);
        let outside = (1.0 - self.config.confidence) / 2.0;
        Ok(Interval {
            estimate,
            lower: quantile(&values, outside),
            upper: quantile(&values, 1.0 - outside),
            standard_error: deviation(&values),
            confidence: self.config.confidence,
            replicates: self.config.replicates,
            units: self.strata.iter().map(Vec::len).sum(),
            stratified: self.config.stratified,
            redrawn,
        })
    }

    /// Draws until there are items of both classes, which at least every other draw has. Says how
    /// many had not.
    fn draw(&self, replicate: usize, weights: &mut [usize]) -> usize {
        let mut random = random([self.config.seed, replicate as u64, 0, 0]);
        let mut redrawn = 0;
        loop {
            let [negatives, positives] = self.draw_once(&mut random, weights);
            if negatives > 0 && positives > 0 {
                return redrawn;
            }
            redrawn += 1;
        }
    }

    /// How many negatives and positives were drawn.
    fn draw_once(&self, random: &mut impl Rng, weights: &mut [usize]) -> [usize; 2] {
        weights.fill(0);
        let (mut negatives, mut positives) = (0, 0);
        for units in &self.strata {
            for _ in units {
                let unit = units.get(below(units.len(), random)).cloned();
                let items = unit.and_then(|unit| self.items.get(unit));
                for &(item, label) in items.unwrap_or_default() {
                    if let Some(weight) = weights.get_mut(item) {
                        *weight += 1;
                    }
                    match label {
                        true => positives += 1,
                        false => negatives += 1,
                    }
                }
            }
        }
        [negatives, positives]
    }
}

/// Of sorted values: linear between the two nearest.
pub(super) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + place.fract() * (above - below)
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f64>() / (count - 1.0)).sqrt()
}

fn refused(reason: String) -> Error {
    Error::Metric {
        metric: "bootstrap",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::shuffle::normal,
        metric::{DeLong, accuracy, auc_standard_error, log_loss},
    };

    /// Scores of two methods that share half of their variance, positives `shift` higher.
    fn sample(items: usize, shift: f64, seed: u64) -> ([Vec<f64>; 2], Vec<bool>) {
        let mut random = random([seed, 0, 0, 1]);
        let labels: Vec<bool> = (0..items).map(|item| item % 2 == 0).collect();
        let mut scores = [Vec::new(), Vec::new()];
        for label in &labels {
            let shared = normal(&mut random) + shift * f64::from(u8::from(*label)) * 2f64.sqrt();
            for scores in &mut scores {
                scores.push((shared + normal(&mut random)) / 2f64.sqrt());
            }
        }
        (scores, labels)
    }

    #[test]
    fn both_ways_to_a_metric_agree() {
        let ([a, b], labels) = sample(60, 0.5, 1);
        let people: Vec<usize> = (0..60).map(|item| item / 3).collect();
        for stratified in [false, true] {
            let config = BootstrapConfig::new()
                .with_replicates(50)
                .with_stratified(stratified);
            for bootstrap in [
                config.init(&labels).unwrap(),
                config.init_clusters(&labels, &people).unwrap(),
            ] {
                let auc = |scores: &[f64], labels: &[bool]| Ok(Roc::new(scores, labels)?.auc());
                let general = bootstrap.interval(&a, auc).unwrap();
                assert_eq!(general, bootstrap.roc_interval(&a, Roc::auc).unwrap());
                let difference = bootstrap.difference(&a, &b, auc).unwrap();
                assert_eq!(
                    difference,
                    bootstrap.roc_difference(&a, &b, Roc::auc).unwrap()
                );
                assert_eq!(
                    difference.estimate,
                    Roc::new(&a, &labels).unwrap().auc() - Roc::new(&b, &labels).unwrap().auc()
                );
            }
        }
    }

    #[test]
    fn settings_change_the_draws() {
        let ([a, _], labels) = sample(40, 0.5, 2);
        let people: Vec<usize> = (0..40).map(|item| item / 4).collect();
        let config = BootstrapConfig::new().with_replicates(100);
        let of =
            |bootstrap: Result<Bootstrap>| bootstrap.unwrap().roc_interval(&a, Roc::auc).unwrap();
        let plain = of(config.init(&labels));
        assert_eq!(plain, of(config.init(&labels)));
        for other in [
            of(config.clone().with_seed(1).init(&labels)),
            of(config.clone().with_stratified(true).init(&labels)),
            of(config.clone().with_replicates(99).init(&labels)),
            of(config.init_clusters(&labels, &people)),
        ] {
            assert_ne!(plain.standard_error, other.standard_error);
            assert_eq!(plain.estimate, other.estimate);
        }
        let narrow = of(config.clone().with_confidence(0.5).init(&labels));
        assert!(plain.lower < narrow.lower && narrow.upper < plain.upper);
        assert_eq!(of(config.init_clusters(&labels, &people)).units, 10);
    }

    #[test]
    fn strata_keep_their_sizes_and_clusters_stay_whole() {
        let labels: Vec<bool> = (0..24).map(|item| item < 6).collect();
        let people: Vec<usize> = (0..24).map(|item| item / 2).collect();
        let config = BootstrapConfig::new().with_stratified(true);
        let bootstrap = config.init_clusters(&labels, &people).unwrap();
        let mut weights = vec![0; 24];
        for replicate in 0..20 {
            assert_eq!(bootstrap.draw(replicate, &mut weights), 0);
            assert_eq!(weights[..6].iter().sum::<usize>(), 6);
            assert_eq!(weights[6..].iter().sum::<usize>(), 18);
            assert!(weights.chunks(2).all(|person| person[0] == person[1]));
        }
    }

    #[test]
    fn draws_of_one_class_are_drawn_again() {
        let labels = [true, false, false, false];
        let bootstrap = BootstrapConfig::new().init(&labels).unwrap();
        let interval = bootstrap
            .roc_interval(&[0.5, 0.1, 0.7, 0.2], Roc::auc)
            .unwrap();
        // A draw is without the positive in (3/4)^4 of the cases, and without a negative in 1/256:
        // 0.470 redrawn for 1 that is kept.
        assert!((400..550).contains(&interval.redrawn), "{interval:?}");
    }

    /// The standard errors of the bootstrap are those of DeLong's variance.
    #[test]
    fn as_delong() {
        let ([a, b], labels) = sample(400, 1.0, 3);
        let bootstrap = BootstrapConfig::new()
            .with_replicates(2000)
            .init(&labels)
            .unwrap();
        let single = bootstrap.roc_interval(&a, Roc::auc).unwrap();
        let expected = auc_standard_error(&a, &labels).unwrap();
        assert!(
            (single.standard_error / expected - 1.0).abs() < 0.08,
            "{single:?} {expected}"
        );
        let paired = bootstrap.roc_difference(&a, &b, Roc::auc).unwrap();
        let expected = DeLong::new(&a, &b, &labels).unwrap().standard_error;
        assert!(
            (paired.standard_error / expected - 1.0).abs() < 0.08,
            "{paired:?} {expected}"
        );
    }

    /// Pictures of one person that are copies of each other say no more than one of them.
    #[test]
    fn clusters_of_copies_count_once() {
        let ([a, _], labels) = sample(100, 1.0, 4);
        let config = BootstrapConfig::new();
        let once = config
            .init(&labels)
            .unwrap()
            .roc_interval(&a, Roc::auc)
            .unwrap();
        let copies =
            |of: &dyn Fn(usize) -> f64| (0..500).map(|item| of(item / 5)).collect::<Vec<_>>();
        let (scores, people) = (copies(&|item| a[item]), copies(&|item| item as f64));
        let people: Vec<u64> = people.iter().map(|person| *person as u64).collect();
        let labels: Vec<bool> = (0..500).map(|item| labels[item / 5]).collect();
        let bootstrap = config.init_clusters(&labels, &people).unwrap();
        let copied = bootstrap.roc_interval(&scores, Roc::auc).unwrap();
        assert!((copied.standard_error - once.standard_error).abs() < 1e-12);
        let naive = config
            .init(&labels)
            .unwrap()
            .roc_interval(&scores, Roc::auc)
            .unwrap();
        assert!(naive.standard_error < 0.6 * copied.standard_error);
    }

    /// Binormal scores have an AUC of $\Phi(d / \sqrt 2)$: intervals hold it about as often as they
    /// say.
    #[test]
    fn coverage() {
        let shift = 1.0;
        let truth = 0.5 * libm::erfc(-shift / 2.0);
        let held = (0..300).filter(|simulation| {
            let ([a, _], labels) = sample(160, shift, 100 + simulation);
            let config = BootstrapConfig::new()
                .with_replicates(300)
                .with_seed(*simulation);
            let interval = config
                .init(&labels)
                .unwrap()
                .roc_interval(&a, Roc::auc)
                .unwrap();
            interval.lower <= truth && truth <= interval.upper
        });
        // 285 expected, with a standard deviation of 3.8.
        let held = held.count();
        assert!((270..=297).contains(&held), "{held}");
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.0), 1.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 1.0), 4.0);
        assert_eq!(deviation(&[1.0, 3.0]), 2f64.sqrt());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let config = BootstrapConfig::new();
        let labels = [true, false, true];
        for (setting, field) in [
            (config.clone().with_replicates(1), "replicates"),
            (config.clone().with_confidence(1.0), "confidence"),
            (config.clone().with_confidence(f64::NAN), "confidence"),
        ] {
            match setting.init(&labels) {
                Err(Error::Setting { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{other:?}"),
            }
        }
        let undefined = |result: Result<()>| assert!(matches!(result, Err(Error::Metric { .. })));
        undefined(config.init(&[]).map(drop));
        undefined(config.init(&[true, true]).map(drop));
        undefined(config.init_clusters(&labels, &[1, 2]).map(drop));
        undefined(config.init_clusters(&labels, &[1, 1, 1]).map(drop));
        let bootstrap = config.init(&labels).unwrap();
        undefined(bootstrap.roc_interval(&[0.1, 0.2], Roc::auc).map(drop));
        undefined(
            bootstrap
                .roc_interval(&[0.1, 0.2, f64::NAN], Roc::auc)
                .map(drop),
        );
        undefined(bootstrap.interval(&[0.1, 0.2, 1.5], log_loss).map(drop));
        undefined(
            bootstrap
                .roc_interval(&[0.1, 0.2, 0.3], |_| f64::INFINITY)
                .map(drop),
        );
        let at_nan = |scores: &[f64], labels: &[bool]| accuracy(scores, labels, f64::NAN);
        let refused = bootstrap.interval(&[0.1, 0.2, 0.3], at_nan);
        assert!(matches!(
            refused,
            Err(Error::Setting {
                field: "threshold",
                ..
            })
        ));
    }
}
