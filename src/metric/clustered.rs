use serde::Serialize;

use super::{
    ScoredSet,
    delong::{two_sided_p, z},
    items::of_two_classes,
    ranking::Ranking,
    scored_set::number_clusters,
};
use crate::{Error, Result};

/// The AUC over clusters of items that are not independent, such as the pictures of one person, and
/// its standard error; of several test sets, the mean of theirs.
///
/// With the placements $V_{10}$ and $V_{01}$ of [`DeLong`](super::DeLong) in a test set $s$ of $P_s$
/// positives and $N_s$ negatives, and its AUC $\theta_s$, a cluster $c$ has the influence
///
/// $$ \psi_{sc} = \sum_{i \in c,\ y_i = 1} \frac{V_{10}(i) - \theta_s}{P_s}
///              + \sum_{j \in c,\ y_j = 0} \frac{V_{01}(j) - \theta_s}{N_s}, $$
///
/// which is 0 in a set that has none of its items. Clusters are independent of each other, so that
/// the variance of the mean over $S$ sets with $I$ different clusters is
///
/// $$ \frac{I}{I - 1} \sum_c \Bigl( \frac1S \sum_s \psi_{sc} \Bigr)^2. $$
///
/// Items of a cluster may hang together in any way: over both classes, and over test sets that share
/// people or real pictures. The clusters are to be many, a few dozen at least: with few of them the
/// error is on average too small. It holds what other clusters would change, not what another
/// training would.
///
/// Of items that are all independent, [`auc_standard_error`](super::auc_standard_error) says the
/// same; a [`Bootstrap`](super::Bootstrap) over clusters does in many draws, for any metric of one
/// test set.
///
/// Source: Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53, 1997,
/// whose variance has this factor for each class by itself. The influences of several sets add up as
/// those of any sum of statistics do. $O(n \log n)$ for $n$ items.
///
/// ```
/// use roga::metric::{ClusteredAuc, ScoredSet};
///
/// let set = ScoredSet {
///     scores: &[0.1, 0.6, 0.4, 0.9, 0.2, 0.7],
///     labels: &[false, false, true, true, false, true],
///     clusters: &["ada", "ada", "ada", "bo", "bo", "cy"],
/// };
/// let auc = ClusteredAuc::new(&[set])?;
/// assert!((auc.auc - 8.0 / 9.0).abs() < 1e-12 && auc.clusters == 3);
/// assert!((auc.standard_error.powi(2) - 1.5 * 14.0 / 27f64.powi(2)).abs() < 1e-12);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClusteredAuc {
    /// The mean of the sets' AUCs, from 0 to 1.
    pub auc: f64,
    /// Its standard error, at least 0.
    pub standard_error: f64,
    /// How many different clusters there are, over all sets.
    pub clusters: usize,
    /// The number of test sets.
    pub sets: usize,
}

impl ClusteredAuc {
    /// Of one or several test sets; clusters of equal keys are the same one in all of them.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there is no set; where a set has not as many scores as labels and
    /// clusters, or a score that is not a number; or where the items of a class of a set are of fewer
    /// than two clusters: a variance needs two.
    pub fn new<C: Ord>(sets: &[ScoredSet<'_, C>]) -> Result<Self> {
        let (numbers, clusters) = number_clusters(METRIC, sets)?;
        let mut mean = Mean::new(clusters);
        for (set, clusters) in sets.iter().zip(&numbers) {
            mean.add(&placements(set)?, set.labels, clusters)?;
        }
        Ok(Self {
            auc: mean.value(),
            standard_error: mean.standard_error(),
            clusters,
            sets: sets.len(),
        })
    }
}

/// A paired test of two methods over clusters of items that are not independent, and over one or
/// several test sets: whether their mean AUCs differ by more than chance.
///
/// The variance of the difference is that of [`ClusteredAuc`] with the differences of the methods'
/// placements in place of placements, and the difference of their AUCs for $\theta_s$; the difference
/// over its square root, $z$, is standard normal, for many clusters, if the methods are equally good.
///
/// Which test to use:
///
/// * [`DeLong`](super::DeLong) for one test set of independent items. With clusters of one item this
///   test is that one but for the factors of finite samples. On frames of videos or several pictures
///   of a person, or with the variances of sets that share people added up, it calls differences
///   significant that are none, many times as often as it says.
/// * This for clusters, and for means over test sets, whatever they share.
/// * [`Bootstrap::difference`](super::Bootstrap::difference) for other metrics, of one test set.
///
/// ```
/// use roga::metric::{ClusteredDeLong, ScoredSet};
///
/// let labels = [true, false, true, false, true, false];
/// let clusters = ["ann", "ann", "bob", "bob", "cy", "cy"];
/// let set = |scores| ScoredSet { scores, labels: &labels, clusters: &clusters };
/// let a = set(&[0.9, 0.5, 0.8, 0.3, 0.4, 0.1]);
/// let b = set(&[0.6, 0.5, 0.7, 0.4, 0.2, 0.3]);
/// let test = ClusteredDeLong::new(&[(a, b)])?;
/// assert!((test.difference - 2.0 / 9.0).abs() < 1e-12 && test.p > 0.05);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClusteredDeLong {
    /// The two methods' mean AUCs over the sets, each from 0 to 1.
    pub auc: [f64; 2],
    /// The first mean less the second.
    pub difference: f64,
    /// The standard error of the difference, at least 0.
    pub standard_error: f64,
    /// The difference in standard errors. Where the standard error is 0, it is 0 for no difference,
    /// and infinite otherwise, which only methods of constant placements in every cluster reach.
    pub z: f64,
    /// The two-sided p-value, $2 \Phi(-|z|)$, from 0 to 1.
    pub p: f64,
    /// How many different clusters there are, over all sets.
    pub clusters: usize,
    /// The number of test sets.
    pub sets: usize,
}

impl ClusteredDeLong {
    /// Compares two methods on one or several test sets, each as the one and as the other scores its
    /// items, in the same order; clusters of equal keys are the same one in all sets.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] as [`ClusteredAuc::new`], and where labels or clusters of a pair differ.
    pub fn new<C: Ord>(pairs: &[(ScoredSet<'_, C>, ScoredSet<'_, C>)]) -> Result<Self> {
        let sets: Vec<ScoredSet<'_, C>> = pairs.iter().map(|(a, _)| *a).collect();
        let (numbers, clusters) = number_clusters(METRIC, &sets)?;
        let [mut first, mut second, mut less] = [(); 3].map(|()| Mean::new(clusters));
        for (place, ((a, b), clusters)) in pairs.iter().zip(&numbers).enumerate() {
            if a.labels != b.labels || a.clusters != b.clusters {
                let what = "the two methods have other labels or clusters";
                return Err(refused(format!("in pair {place} {what}")));
            }
            let [a_placed, b_placed] = [placements(a)?, placements(b)?];
            let differences: Vec<i64> =
                a_placed.iter().zip(&b_placed).map(|(a, b)| a - b).collect();
            first.add(&a_placed, a.labels, clusters)?;
            second.add(&b_placed, a.labels, clusters)?;
            less.add(&differences, a.labels, clusters)?;
        }
        let (difference, standard_error) = (less.value(), less.standard_error());
        Ok(Self {
            auc: [first.value(), second.value()],
            difference,
            standard_error,
            z: z(difference, standard_error),
            p: two_sided_p(difference, standard_error),
            clusters,
            sets: pairs.len(),
        })
    }
}

const METRIC: &str = "clustered AUC";

fn refused(reason: String) -> Error {
    Error::Metric {
        metric: METRIC,
        reason,
    }
}

fn placements<C>(set: &ScoredSet<'_, C>) -> Result<Vec<i64>> {
    let scores = of_two_classes(METRIC, set.scores, set.labels)?;
    Ok(Ranking::new(scores).placements(set.labels))
}

/// The mean over sets of an AUC, or of a difference of two.
struct Mean {
    sets: usize,
    /// The sum over the sets.
    sum: f64,
    /// That of the influences of each cluster.
    influences: Vec<f64>,
}

/// What a set has of a cluster.
#[derive(Clone, Default)]
struct Part {
    positives: i128,
    negatives: i128,
    placements: i128,
}

impl Mean {
    fn new(clusters: usize) -> Self {
        Self {
            sets: 0,
            sum: 0.0,
            influences: vec![0.0; clusters],
        }
    }

    /// Adds a set of two classes by its placements, or by a difference of two.
    ///
    /// Placements are whole numbers of half items, so that up to a cluster's influence only the last
    /// division rounds.
    fn add(&mut self, placements: &[i64], labels: &[bool], clusters: &[usize]) -> Result<()> {
        let mut parts = vec![Part::default(); self.influences.len()];
        let (mut positives, mut negatives, mut total) = (0, 0, 0);
        for ((placement, label), cluster) in placements.iter().zip(labels).zip(clusters) {
            let Some(part) = parts.get_mut(*cluster) else {
                continue;
            };
            let placement = i128::from(*placement);
            part.placements += placement;
            match label {
                true => (part.positives, positives) = (part.positives + 1, positives + 1),
                false => (part.negatives, negatives) = (part.negatives + 1, negatives + 1),
            }
            if *label {
                total += placement;
            }
        }
        let with = |count: fn(&Part) -> i128| parts.iter().filter(|part| count(part) > 0).count();
        for (class, clusters) in [
            ("positives", with(|part| part.positives)),
            ("negatives", with(|part| part.negatives)),
        ] {
            if clusters < 2 {
                let found = format!("set {} has {class} of one cluster only", self.sets);
                return Err(refused(found));
            }
        }
        let pairs = positives * negatives;
        self.sets += 1;
        self.sum += total as f64 / (2 * pairs) as f64;
        for (influence, part) in self.influences.iter_mut().zip(&parts) {
            let expected = total * (negatives * part.positives + positives * part.negatives);
            let above = (pairs * part.placements - expected) as f64;
            *influence += above / (2.0 * (pairs as f64).powi(2));
        }
        Ok(())
    }

    fn value(&self) -> f64 {
        self.sum / self.sets as f64
    }

    fn standard_error(&self) -> f64 {
        let clusters = self.influences.len() as f64;
        let squares: f64 = self.influences.iter().map(|sum| sum * sum).sum();
        (clusters / (clusters - 1.0) * squares).sqrt() / self.sets as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::Rng;

    use super::{super::items::UNDEFINED, *};
    use crate::{
        domain::shuffle::{normal, random},
        metric::{BootstrapConfig, DeLong, Roc, auc_standard_error},
    };

    /// Two methods' scores of the same items.
    #[derive(Debug, Default)]
    struct Items {
        scores: [Vec<f64>; 2],
        labels: Vec<bool>,
        people: Vec<usize>,
    }

    impl Items {
        fn pair(&self) -> (ScoredSet<'_, usize>, ScoredSet<'_, usize>) {
            let [a, b] = self.scores.each_ref().map(|scores| ScoredSet {
                scores,
                labels: &self.labels,
                clusters: &self.people,
            });
            (a, b)
        }

        fn push(&mut self, scores: [f64; 2], label: bool, person: usize) {
            for (list, score) in self.scores.iter_mut().zip(scores) {
                list.push(score);
            }
            self.labels.push(label);
            self.people.push(person);
        }
    }

    /// Test sets of the same people and the same real pictures, each of forgeries of its own, with
    /// `copies` pictures of each class a person. A person's pictures of a class, over all sets, share
    /// half of their variance, and positives are 1 higher for either method: they are equally good.
    fn sets(count: usize, people: usize, copies: usize, random: &mut impl Rng) -> Vec<Items> {
        let mut sets: Vec<Items> = (0..count).map(|_| Items::default()).collect();
        for person in 0..people {
            for label in [false, true] {
                let own = [normal(random), normal(random)];
                let mut picture =
                    || own.map(|own| f64::from(u8::from(label)) + own + normal(random));
                for _ in 0..copies {
                    let real = picture();
                    for set in &mut sets {
                        let scores = if label { picture() } else { real };
                        set.push(scores, label, person);
                    }
                }
            }
        }
        sets
    }

    /// As many positives as negatives, $n$: the factor is $2n / (2n - 1)$ for DeLong's $n / (n - 1)$.
    #[test]
    fn clusters_of_one_are_delong() {
        let items = &sets(1, 25, 2, &mut random([1, 0, 0, 3]))[0];
        let (a, b) = items.pair();
        let own: Vec<usize> = (0..100).collect();
        let [a, b] = [a, b].map(|set| ScoredSet {
            clusters: &own,
            ..set
        });
        let factor = (100.0 / 99.0) / (50.0 / 49.0);
        let delong = DeLong::new(a.scores, b.scores, a.labels).unwrap();
        let test = ClusteredDeLong::new(&[(a, b)]).unwrap();
        assert_eq!((test.auc, test.difference), (delong.auc, delong.difference));
        let found = (test.standard_error / delong.standard_error).powi(2);
        assert!((found - factor).abs() < 1e-12, "{found}");
        assert_eq!((test.clusters, test.sets), (100, 1));

        let single = ClusteredAuc::new(&[a]).unwrap();
        let expected = auc_standard_error(a.scores, a.labels).unwrap();
        assert_eq!(single.auc, Roc::new(a.scores, a.labels).unwrap().auc());
        assert!(((single.standard_error / expected).powi(2) - factor).abs() < 1e-12);
    }

    #[test]
    fn as_the_bootstrap_over_clusters() {
        for seed in 0..4 {
            let items = &sets(1, 80, 4, &mut random([seed, 0, 0, 4]))[0];
            let (a, b) = items.pair();
            let bootstrap = BootstrapConfig::new()
                .with_replicates(2000)
                .init_clusters(&items.labels, &items.people)
                .unwrap();
            let drawn = bootstrap.roc_difference(a.scores, b.scores, Roc::auc);
            let drawn = drawn.unwrap();
            let test = ClusteredDeLong::new(&[(a, b)]).unwrap();
            assert!((test.difference - drawn.estimate).abs() < 1e-12);
            let ratio = test.standard_error / drawn.standard_error;
            assert!((0.9..1.1).contains(&ratio), "{ratio}");

            let drawn = bootstrap.roc_interval(a.scores, Roc::auc).unwrap();
            let ratio = ClusteredAuc::new(&[a]).unwrap().standard_error / drawn.standard_error;
            assert!((0.9..1.1).contains(&ratio), "{ratio}");
        }
    }

    /// Equally good methods differ, at 5 %, in about 5 % of the cases: in 15 of 300, with a standard
    /// deviation of 3.8. By DeLong's test, the variances of the sets added up, in many more.
    #[test]
    fn equally_good_methods_are_seldom_told_apart() {
        let (mut rejected, mut rejected_by_delong) = (0, 0);
        for seed in 0..300 {
            let sets = sets(6, 50, 8, &mut random([seed, 0, 0, 5]));
            let pairs: Vec<_> = sets.iter().map(Items::pair).collect();
            let test = ClusteredDeLong::new(&pairs).unwrap();
            rejected += usize::from(test.p < 0.05);
            let variances = pairs.iter().map(|(a, b)| {
                let test = DeLong::new(a.scores, b.scores, a.labels).unwrap();
                test.standard_error.powi(2)
            });
            let standard_error = variances.sum::<f64>().sqrt() / 6.0;
            rejected_by_delong += usize::from(two_sided_p(test.difference, standard_error) < 0.05);
        }
        assert!((6..=27).contains(&rejected), "{rejected}");
        assert!(rejected_by_delong > 120, "{rejected_by_delong}");
    }

    /// A better method is found, on the sets on which the test of equal ones holds.
    #[test]
    fn a_better_method_is_told_apart() {
        let mut sets = sets(6, 50, 8, &mut random([1, 0, 0, 6]));
        for set in &mut sets {
            for (score, label) in set.scores[0].iter_mut().zip(&set.labels) {
                *score += 2.0 * f64::from(u8::from(*label));
            }
        }
        let pairs: Vec<_> = sets.iter().map(Items::pair).collect();
        let test = ClusteredDeLong::new(&pairs).unwrap();
        assert!(test.difference > 0.05 && test.p < 1e-3, "{test:?}");
        assert_eq!((test.clusters, test.sets), (50, 6));
        let swapped: Vec<_> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        let swapped = ClusteredDeLong::new(&swapped).unwrap();
        assert_eq!((swapped.z, swapped.p), (-test.z, test.p));
    }

    #[test]
    fn copies_tell_nothing_new() {
        let items = &sets(1, 20, 2, &mut random([1, 0, 0, 7]))[0];
        let once = ClusteredDeLong::new(&[items.pair()]).unwrap();
        let copied = Items {
            scores: items.scores.each_ref().map(|scores| scores.repeat(3)),
            labels: items.labels.repeat(3),
            people: items.people.repeat(3),
        };
        for pairs in [vec![copied.pair()], vec![items.pair(); 3]] {
            let copies = ClusteredDeLong::new(&pairs).unwrap();
            assert!((copies.difference - once.difference).abs() < 1e-14);
            assert!((copies.standard_error - once.standard_error).abs() < 1e-14);
        }
        // Of other people they do: $3 \cdot 59 / 57$ of the variance, by the factors.
        let others: Vec<Items> = (0..3)
            .map(|copy| Items {
                scores: items.scores.clone(),
                labels: items.labels.clone(),
                people: items.people.iter().map(|of| of + 20 * copy).collect(),
            })
            .collect();
        let pairs: Vec<_> = others.iter().map(Items::pair).collect();
        let apart = ClusteredDeLong::new(&pairs).unwrap();
        let ratio = (once.standard_error / apart.standard_error).powi(2);
        assert!((ratio - 3.0 * 59.0 / 57.0).abs() < 1e-12, "{ratio}");
        assert_eq!(apart.clusters, 60);
    }

    #[test]
    fn equal_methods_do_not_differ() {
        let items = &sets(1, 10, 2, &mut random([1, 0, 0, 8]))[0];
        let (a, _) = items.pair();
        let same = ClusteredDeLong::new(&[(a, a)]).unwrap();
        assert_eq!((same.difference, same.standard_error), (0.0, 0.0));
        assert_eq!((same.z, same.p), (0.0, 1.0));
    }

    #[test]
    fn what_has_none_is_refused() {
        let labels = [true, false, true, false];
        let set = |scores, labels, clusters| ScoredSet {
            scores,
            labels,
            clusters,
        };
        let right = set(&[0.4, 0.3, 0.2, 0.1], &labels, &[1, 1, 2, 2]);
        assert!(ClusteredDeLong::new(&[(right, right)]).is_ok());
        let mut wrong: Vec<_> = UNDEFINED
            .into_iter()
            .map(|(scores, labels)| set(scores, labels, &[1, 2, 3, 4][..scores.len()]))
            .collect();
        for clusters in [&[1; 4][..], &[1, 1, 1, 2], &[1, 1, 2, 1], &[1, 2, 3], &[]] {
            wrong.push(set(right.scores, &labels, clusters));
        }
        for wrong in wrong {
            let refused = ClusteredAuc::new(&[right, wrong]);
            assert!(matches!(refused, Err(Error::Metric { .. })), "{wrong:?}");
            for pair in [(wrong, wrong), (right, wrong), (wrong, right)] {
                let refused = ClusteredDeLong::new(&[(right, right), pair]);
                assert!(matches!(refused, Err(Error::Metric { .. })), "{pair:?}");
            }
        }
        let nan = set(&[0.4, f64::NAN, 0.2, 0.1], &labels, right.clusters);
        assert!(ClusteredDeLong::new(&[(right, nan)]).is_err());
        for other in [
            set(right.scores, &[true, true, false, false], right.clusters),
            set(right.scores, &labels, &[1, 2, 1, 2]),
        ] {
            let error = ClusteredDeLong::new(&[(right, right), (right, other)]);
            let error = error.unwrap_err().to_string();
            assert!(error.contains("pair 1"), "{error}");
        }
        let none: &[ScoredSet<'_, usize>] = &[];
        assert!(matches!(ClusteredAuc::new(none), Err(Error::Metric { .. })));
    }

    /// The influences of a set's clusters, pair by pair: for a method, or for two the difference.
    fn direct(methods: &[(&[f64], f64)], labels: &[bool], people: &[usize]) -> (f64, Vec<f64>) {
        let psi = |x: f64, y: f64| f64::from(u8::from(x > y)) + 0.5 * f64::from(u8::from(x == y));
        let class = |class: bool| (0..labels.len()).filter(move |item| labels[*item] == class);
        let pair = |i: usize, j: usize| -> f64 {
            let of = |(scores, sign): &(&[f64], f64)| sign * psi(scores[i], scores[j]);
            methods.iter().map(of).sum()
        };
        let (p, n) = (class(true).count() as f64, class(false).count() as f64);
        let sum = class(true).flat_map(|i| class(false).map(move |j| (i, j)));
        let theta = sum.map(|(i, j)| pair(i, j)).sum::<f64>() / (p * n);
        let mut influences = vec![0.0; 6];
        for i in class(true) {
            let placement = class(false).map(|j| pair(i, j)).sum::<f64>() / n;
            influences[people[i]] += (placement - theta) / p;
        }
        for j in class(false) {
            let placement = class(true).map(|i| pair(i, j)).sum::<f64>() / p;
            influences[people[j]] += (placement - theta) / n;
        }
        (theta, influences)
    }

    fn some_items() -> impl Strategy<Value = Items> {
        let item = (-4_i8..=4, -4.0..4.0, any::<bool>(), 0_usize..6);
        prop::collection::vec(item, 4..40).prop_map(|list| {
            let mut items = Items::default();
            for (a, b, label, person) in list {
                items.push([f64::from(a), b], label, person);
            }
            items
        })
    }

    proptest! {
        #[test]
        fn as_the_definition_says(first in some_items(), second in some_items()) {
            let items = [first, second];
            let pairs = items.each_ref().map(Items::pair);
            let test = ClusteredDeLong::new(&pairs);
            let different = |people: Vec<usize>| {
                people.into_iter().collect::<std::collections::BTreeSet<_>>().len()
            };
            let enough = items.iter().all(|set| [true, false].iter().all(|class| {
                let of = set.people.iter().zip(&set.labels).filter(|(_, label)| *label == class);
                different(of.map(|(person, _)| *person).collect()) >= 2
            }));
            prop_assert_eq!(test.is_ok(), enough);
            prop_assume!(enough);
            let test = test.unwrap();
            let clusters = different(items.iter().flat_map(|set| set.people.clone()).collect());
            prop_assert_eq!(test.clusters, clusters);

            let mean = |signs: [f64; 2]| {
                let of = |set: &Items| {
                    let [a, b] = &set.scores;
                    direct(&[(a, signs[0]), (b, signs[1])], &set.labels, &set.people)
                };
                let [(x, first), (y, second)] = items.each_ref().map(of);
                let squares = first.iter().zip(&second).map(|(x, y)| ((x + y) / 2.0).powi(2));
                let factor = clusters as f64 / (clusters as f64 - 1.0);
                ((x + y) / 2.0, (factor * squares.sum::<f64>()).sqrt())
            };
            let (difference, standard_error) = mean([1.0, -1.0]);
            prop_assert!((test.difference - difference).abs() < 1e-12);
            prop_assert!((test.standard_error - standard_error).abs() < 1e-8);
            prop_assert!((0.0..=1.0).contains(&test.p) && !test.z.is_nan());
            let single = ClusteredAuc::new(&pairs.map(|(a, _)| a)).unwrap();
            let (auc, standard_error) = mean([1.0, 0.0]);
            prop_assert!((single.auc - auc).abs() < 1e-12 && single.auc == test.auc[0]);
            prop_assert!((single.standard_error - standard_error).abs() < 1e-8);
        }
    }
}
