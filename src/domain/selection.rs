use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::DomainSplit;
use crate::{Error, Result};

/// How a checkpoint and a setting are *chosen*, once a [`Protocol`](super::Protocol) has said what
/// is trained and tested on.
///
/// Every repetition chooses for itself, among its own candidates; the mean over repetitions is that
/// of the test scores of what was chosen. What is chosen by the test domain is not a result but a
/// bound, and says so wherever it is shown:
///
/// ```
/// use roga::domain::Selection;
///
/// assert_eq!(Selection::TrainingDomainValidation.to_string(), "training-domain validation");
/// assert_eq!(Selection::Oracle.to_string(), "ORACLE (chosen on the test domain)");
/// ```
///
/// Source: Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021,
/// arXiv:2007.01434, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// The checkpoint of any setting with the best mean score over the validation parts of the
    /// training domains: $\arg\max \frac1K \sum_i s_i$. The validation parts are groups that are not
    /// trained on ([`GroupSplit`](super::GroupSplit)).
    TrainingDomainValidation,
    /// Cross-validation over the training domains. Every setting is trained $K$ times more, each
    /// time without one of the $K$ training domains ([`DomainSplit::folds`]); $s_i$ is the score on
    /// domain $i$ of the training that it was held out of. The setting and the number of steps with
    /// the best $\frac1K \sum_i s_i$ are taken, and with them the checkpoint of the training on all
    /// $K$ domains.
    ///
    /// The source calls it leave-one-domain-out cross-validation. It is not the protocol of that
    /// name: the test domain has no part in it.
    HeldOutDomain,
    /// The last checkpoint of the one setting there is: nothing is chosen.
    Last,
    /// The setting whose *last* checkpoint has the best mean score over the validation parts of the
    /// test domains. Never the best checkpoint, as in the source: that would be early stopping on
    /// the test domain.
    Oracle,
}

impl Selection {
    /// How many trainings a setting asks for, on a turn with so many training domains.
    pub fn trainings(self, training_domains: usize) -> usize {
        match self {
            Self::HeldOutDomain => 1 + training_domains,
            Self::TrainingDomainValidation | Self::Last | Self::Oracle => 1,
        }
    }

    /// The candidate that is chosen; of several that score the same, the first.
    ///
    /// It looks at the scores that its rule is made of, and at no others: scores of the test
    /// domain are looked at by [`Selection::Oracle`] alone.
    ///
    /// ```
    /// use roga::domain::{Candidate, LeaveOneDomainOut, Selection};
    ///
    /// let turn = LeaveOneDomainOut::new(["photo", "sketch", "cartoon"])?.next().unwrap();
    /// let candidate = |setting, step, sketch, cartoon, photo| {
    ///     Candidate::new(setting, step)
    ///         .with_validation([("sketch", sketch), ("cartoon", cartoon)])
    ///         .with_oracle([("photo", photo)])
    /// };
    /// let candidates = [
    ///     candidate(0, 100, 0.9, 0.7, 0.6),
    ///     candidate(0, 200, 0.9, 0.9, 0.5), // the best mean where training was
    ///     candidate(1, 100, 0.8, 0.8, 0.9),
    ///     candidate(1, 200, 0.6, 0.8, 0.7), // the best last checkpoint on the test domain
    /// ];
    /// let chosen = Selection::TrainingDomainValidation.choose(&turn, &candidates)?;
    /// assert_eq!((chosen.setting, chosen.step), (0, 200));
    /// let chosen = Selection::Oracle.choose(&turn, &candidates)?;
    /// assert_eq!((chosen.setting, chosen.step), (1, 200));
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Error::Setting`] where there is no candidate, or two of the same setting and step.
    /// * [`Error::Setting`] where a candidate's scores, of those that are looked at, are not of the
    ///   domains they have to be of, or are not finite. Candidates of a training that has diverged
    ///   are to be left out.
    /// * [`Error::Setting`] where [`Selection::Last`] is given more than one setting.
    /// * [`Error::Domains`] where [`Selection::HeldOutDomain`] has less than two training domains.
    pub fn choose<'a>(
        self,
        turn: &DomainSplit,
        candidates: &'a [Candidate],
    ) -> Result<&'a Candidate> {
        let last = last_of_settings(candidates)?;
        match self {
            Self::TrainingDomainValidation => best(candidates, |candidate| {
                candidate.mean("validation", &candidate.validation, turn.train())
            }),
            Self::HeldOutDomain => {
                turn.folds()?;
                best(candidates, |candidate| {
                    candidate.mean("held_out", &candidate.held_out, turn.train())
                })
            }
            Self::Last => match &last[..] {
                [only] => Ok(only),
                several => Err(Error::Setting {
                    field: "candidates",
                    rule: "be of one setting where the last checkpoint is taken",
                    value: format!("of {}", several.len()),
                }),
            },
            Self::Oracle => best(last, |candidate| {
                candidate.mean("oracle", &candidate.oracle, turn.test())
            }),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TrainingDomainValidation => "training-domain validation",
            Self::HeldOutDomain => "held-out training domain",
            Self::Last => "last checkpoint",
            Self::Oracle => "ORACLE (chosen on the test domain)",
        })
    }
}

/// Scores by domain: finite, higher where the model is better.
pub type DomainScores = BTreeMap<Arc<str>, f64>;

/// A checkpoint of a setting, and what is known of it to choose by.
///
/// The scores that a [`Selection`] does not look at may be missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The number of the setting: of its draw, where it comes from a random search.
    pub setting: u64,
    /// After how many steps of training the checkpoint was taken.
    pub step: u64,
    /// The scores on the validation parts of the training domains.
    #[serde(default, skip_serializing_if = "DomainScores::is_empty")]
    pub validation: DomainScores,
    /// The score on every training domain, after as many steps of the same setting's training that
    /// it was held out of.
    #[serde(default, skip_serializing_if = "DomainScores::is_empty")]
    pub held_out: DomainScores,
    /// The scores on the validation parts of the test domains, for [`Selection::Oracle`].
    #[serde(default, skip_serializing_if = "DomainScores::is_empty")]
    pub oracle: DomainScores,
}

impl Candidate {
    /// A checkpoint without scores.
    pub fn new(setting: u64, step: u64) -> Self {
        Self {
            setting,
            step,
            validation: DomainScores::new(),
            held_out: DomainScores::new(),
            oracle: DomainScores::new(),
        }
    }

    /// Adds the [scores on the validation parts of the training domains](Self::validation).
    pub fn with_validation<N: Into<Arc<str>>>(
        mut self,
        scores: impl IntoIterator<Item = (N, f64)>,
    ) -> Self {
        self.validation = by_name(scores);
        self
    }

    /// Adds the [scores on the training domains held out](Self::held_out).
    pub fn with_held_out<N: Into<Arc<str>>>(
        mut self,
        scores: impl IntoIterator<Item = (N, f64)>,
    ) -> Self {
        self.held_out = by_name(scores);
        self
    }

    /// Adds the [scores on the validation parts of the test domains](Self::oracle).
    pub fn with_oracle<N: Into<Arc<str>>>(
        mut self,
        scores: impl IntoIterator<Item = (N, f64)>,
    ) -> Self {
        self.oracle = by_name(scores);
        self
    }

    /// The mean of the scores, which have to be of these domains and of no others.
    fn mean(&self, field: &'static str, scores: &DomainScores, of: &[Arc<str>]) -> Result<f64> {
        let refused = |rule, value: String| Error::Setting {
            field,
            rule,
            value: format!("{value} (setting {}, step {})", self.setting, self.step),
        };
        if scores.len() != of.len() || of.iter().any(|name| !scores.contains_key(name)) {
            let list = |names: Vec<&str>| format!("`{}`", names.join("`, `"));
            let found = match scores.is_empty() {
                true => "none".into(),
                false => list(scores.keys().map(|name| &**name).collect()),
            };
            let wanted = list(of.iter().map(|name| &**name).collect());
            return Err(refused(
                "be of the turn's domains",
                format!("of {found} instead of {wanted}"),
            ));
        }
        if let Some((name, score)) = scores.iter().find(|(_, score)| !score.is_finite()) {
            return Err(refused("be finite", format!("{score} for `{name}`")));
        }
        Ok(scores.values().sum::<f64>() / scores.len() as f64)
    }
}

fn by_name<N: Into<Arc<str>>>(scores: impl IntoIterator<Item = (N, f64)>) -> DomainScores {
    let scores = scores.into_iter();
    scores.map(|(name, score)| (name.into(), score)).collect()
}

/// The last checkpoint of every setting, in the order in which the settings come.
fn last_of_settings(candidates: &[Candidate]) -> Result<Vec<&Candidate>> {
    let mut last: Vec<&Candidate> = Vec::new();
    let mut place_of = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for candidate in candidates {
        if !seen.insert((candidate.setting, candidate.step)) {
            return Err(Error::Setting {
                field: "candidates",
                rule: "be one for each setting and step",
                value: format!(
                    "two of setting {} at step {}",
                    candidate.setting, candidate.step
                ),
            });
        }
        let place = *place_of.entry(candidate.setting).or_insert(last.len());
        match last.get_mut(place) {
            Some(before) if before.step < candidate.step => *before = candidate,
            Some(_) => (),
            None => last.push(candidate),
        }
    }
    if last.is_empty() {
        return Err(Error::Setting {
            field: "candidates",
            rule: "be at least one",
            value: "none".into(),
        });
    }
    Ok(last)
}

/// The first of the candidates with the highest score.
fn best<'a>(
    candidates: impl IntoIterator<Item = &'a Candidate>,
    score: impl Fn(&Candidate) -> Result<f64>,
) -> Result<&'a Candidate> {
    let mut best: Option<(f64, &Candidate)> = None;
    for candidate in candidates {
        let score = score(candidate)?;
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
        .ok_or_else(|| Error::Setting {
            field: "candidates",
            rule: "be at least one",
            value: "none".into(),
        })
}

/// One of the trainings of [`Selection::HeldOutDomain`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fold {
    train: Vec<Arc<str>>,
    validation: Arc<str>,
}

impl Fold {
    /// The names of the domains to train on: those of the turn but one.
    pub fn train(&self) -> &[Arc<str>] {
        &self.train
    }

    /// The name of the training domain that is held out, to choose a setting by.
    pub fn validation(&self) -> &Arc<str> {
        &self.validation
    }
}

impl DomainSplit {
    /// The trainings of cross-validation over the training domains: each without one of them, in
    /// their order. The test domains have no part in it.
    ///
    /// ```
    /// use roga::domain::LeaveOneDomainOut;
    ///
    /// let turn = LeaveOneDomainOut::new(["photo", "sketch", "cartoon"])?.next().unwrap();
    /// let folds = turn.folds()?;
    /// assert_eq!(folds.len(), 2);
    /// assert_eq!((&folds[0].train().concat()[..], &**folds[0].validation()), ("cartoon", "sketch"));
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where there are less than two domains to train on.
    pub fn folds(&self) -> Result<Vec<Fold>> {
        if let [only] = self.train() {
            return Err(Error::Domains {
                rule: "be at least two to train on for one to be held out",
                found: format!("`{only}` is the only one"),
            });
        }
        let fold = |validation: &Arc<str>| {
            let others = self.train().iter().filter(|name| *name != validation);
            Fold {
                train: others.cloned().collect(),
                validation: validation.clone(),
            }
        };
        Ok(self.train().iter().map(fold).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{LeaveOneDomainOut, Protocol};

    fn turn() -> DomainSplit {
        LeaveOneDomainOut::new(["test", "a", "b"])
            .unwrap()
            .next()
            .unwrap()
    }

    /// A checkpoint with the mean `validation` over the training domains' validation parts, the
    /// mean `held_out` over the domains held out, and `oracle` on the test domain.
    fn candidate((setting, step): (u64, u64), scores: [f64; 3]) -> Candidate {
        let [validation, held_out, oracle] = scores;
        let around = |mean: f64| [("a", mean + 0.0625), ("b", mean - 0.0625)];
        Candidate::new(setting, step)
            .with_validation(around(validation))
            .with_held_out(around(held_out))
            .with_oracle([("test", oracle)])
    }

    fn chosen(selection: Selection, candidates: &[Candidate]) -> (u64, u64) {
        let chosen = selection.choose(&turn(), candidates).unwrap();
        (chosen.setting, chosen.step)
    }

    /// Two settings, three checkpoints each; every rule takes another one.
    fn records() -> Vec<Candidate> {
        vec![
            candidate((0, 100), [0.75, 0.5, 1.0]),
            candidate((0, 200), [0.875, 0.25, 0.5]),
            candidate((0, 300), [0.5, 0.5, 0.25]),
            candidate((1, 300), [0.75, 0.5, 0.375]),
            candidate((1, 100), [0.25, 0.625, 0.75]),
            candidate((1, 200), [0.5, 0.5, 0.875]),
        ]
    }

    #[test]
    fn every_rule_takes_what_it_says() {
        let records = records();
        let of = |selection| chosen(selection, &records);
        assert_eq!(of(Selection::TrainingDomainValidation), (0, 200));
        assert_eq!(of(Selection::HeldOutDomain), (1, 100));
        // Neither (0, 100) nor (1, 200), which are better and not the last.
        assert_eq!(of(Selection::Oracle), (1, 300));
        assert_eq!(chosen(Selection::Last, &records[..3]), (0, 300));
        assert_eq!(chosen(Selection::Last, &records[3..]), (1, 300));
    }

    #[test]
    fn domains_weigh_the_same_in_the_mean() {
        let of = |setting, a, b| Candidate::new(setting, 1).with_validation([("a", a), ("b", b)]);
        // The best domain, the best worst domain, the best mean.
        let records = [of(0, 1.0, 0.0), of(1, 0.5, 0.5), of(2, 0.75, 0.4375)];
        assert_eq!(
            chosen(Selection::TrainingDomainValidation, &records),
            (2, 1)
        );
    }

    #[test]
    fn of_several_tests_the_oracle_takes_the_mean() {
        let protocol = Protocol::CrossDomain {
            train: vec!["a".into()],
            test: vec!["b".into(), "c".into()],
        };
        let turn = &protocol.turns(["a", "b", "c"]).unwrap()[0];
        let of = |setting, b, c| Candidate::new(setting, 1).with_oracle([("b", b), ("c", c)]);
        let records = [of(0, 1.0, 0.0), of(1, 0.75, 0.5)];
        assert_eq!(Selection::Oracle.choose(turn, &records).unwrap().setting, 1);
    }

    #[test]
    fn the_first_of_equals_is_taken() {
        let same = [(3, 200), (3, 100), (1, 200)].map(|of| candidate(of, [0.5; 3]));
        assert_eq!(chosen(Selection::TrainingDomainValidation, &same), (3, 200));
        assert_eq!(chosen(Selection::HeldOutDomain, &same), (3, 200));
        assert_eq!(chosen(Selection::Oracle, &same), (3, 200));
    }

    #[test]
    fn what_cannot_be_chosen_among_is_refused() {
        let refused = |selection: Selection, candidates: &[Candidate]| {
            let error = selection.choose(&turn(), candidates).unwrap_err();
            error.to_string()
        };
        let rules = [
            Selection::TrainingDomainValidation,
            Selection::HeldOutDomain,
            Selection::Last,
            Selection::Oracle,
        ];
        for rule in rules {
            let error = refused(rule, &[]);
            assert_eq!(error, "candidates must be at least one, but is none");
            let twice = [Candidate::new(0, 5), Candidate::new(0, 5)];
            assert!(refused(rule, &twice).ends_with("two of setting 0 at step 5"));
        }
        let error = refused(Selection::Last, &records());
        assert!(error.ends_with("but is of 2"), "{error}");
        let none = [Candidate::new(4, 5)];
        for (rule, said) in [
            (
                rules[0],
                "validation must be of the turn's domains, but is of none instead of `a`, `b` (setting 4, step 5)",
            ),
            (
                rules[1],
                "held_out must be of the turn's domains, but is of none instead of `a`, `b` (setting 4, step 5)",
            ),
            (
                rules[3],
                "oracle must be of the turn's domains, but is of none instead of `test` (setting 4, step 5)",
            ),
        ] {
            assert_eq!(refused(rule, &none), said);
        }
        let number = [candidate((0, 1), [f64::NAN, f64::INFINITY, f64::NAN])];
        assert_eq!(
            refused(rules[0], &number),
            "validation must be finite, but is NaN for `a` (setting 0, step 1)"
        );
        assert!(refused(rules[1], &number).contains("is inf for `a`"));
        assert!(refused(rules[3], &number).contains("is NaN for `test`"));
        // What the rule does not look at does not hinder it.
        assert_eq!(chosen(Selection::Last, &number), (0, 1));
    }

    #[test]
    fn the_test_domain_is_refused_among_the_validation_scores() {
        let scores = [("a", 0.5), ("b", 0.5), ("test", 0.9)];
        let candidates = [Candidate::new(0, 1)
            .with_validation(scores)
            .with_held_out(scores)];
        for rule in [
            Selection::TrainingDomainValidation,
            Selection::HeldOutDomain,
        ] {
            let error = rule.choose(&turn(), &candidates).unwrap_err().to_string();
            assert!(error.contains("be of the turn's domains"), "{error}");
        }
    }

    #[test]
    fn folds_hold_every_training_domain_out_once() {
        let turns = Protocol::LeaveOneDomainOut.turns(["a", "b", "c", "d"]);
        for turn in turns.unwrap() {
            let folds = turn.folds().unwrap();
            assert_eq!(folds.len(), 3);
            assert_eq!(1 + folds.len(), Selection::HeldOutDomain.trainings(3));
            for (fold, out) in folds.iter().zip(turn.train()) {
                assert_eq!(fold.validation(), out);
                assert_eq!(fold.train().len(), 2);
                assert!(!fold.train().contains(out));
                assert!(!fold.train().contains(&turn.test()[0]));
            }
        }
        let one = &Protocol::WithinDomain.turns(["a"]).unwrap()[0];
        assert!(matches!(one.folds(), Err(Error::Domains { .. })));
        let records = records();
        let refused = Selection::HeldOutDomain.choose(one, &records);
        assert!(matches!(refused, Err(Error::Domains { .. })));
    }

    #[test]
    fn the_word_oracle_stands_over_it() {
        assert!(Selection::Oracle.to_string().starts_with("ORACLE ("));
        assert_eq!(format!("{:>16}", Selection::Last), " last checkpoint");
        let text = serde_json::to_string(&Selection::TrainingDomainValidation).unwrap();
        assert_eq!(text, "\"training-domain-validation\"");
        let text = serde_json::to_string(&Candidate::new(1, 2)).unwrap();
        assert_eq!(text, r#"{"setting":1,"step":2}"#);
    }

    proptest! {
        #[test]
        fn scores_of_the_test_domain_change_no_choice_but_the_oracle_s(
            scores in prop::collection::vec((0.0..1.0, 0.0..1.0), 12),
            perturbed in prop::collection::vec(prop::num::f64::ANY, 12),
            dropped in prop::collection::vec(any::<bool>(), 12),
        ) {
            let of = |place: usize| (place as u64 / 4, place as u64 % 4);
            let before: Vec<_> = scores
                .iter()
                .enumerate()
                .map(|(place, (v, h))| candidate(of(place), [*v, *h, 0.5]))
                .collect();
            let mut after = before.clone();
            for ((candidate, score), dropped) in after.iter_mut().zip(perturbed).zip(dropped) {
                candidate.oracle.clear();
                if !dropped {
                    candidate.oracle.insert("test".into(), score);
                }
            }
            for rule in [Selection::TrainingDomainValidation, Selection::HeldOutDomain] {
                prop_assert_eq!(chosen(rule, &before), chosen(rule, &after));
            }
            prop_assert_eq!(chosen(Selection::Last, &before[..4]), chosen(Selection::Last, &after[..4]));
        }

        #[test]
        fn the_choice_is_the_highest_mean(scores in prop::collection::vec(0.0..1.0, 1..20)) {
            let records: Vec<_> = (0..).zip(&scores).map(|(i, s)| candidate((i, 1), [*s, 0.0, *s])).collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            for rule in [Selection::TrainingDomainValidation, Selection::Oracle] {
                let (setting, _) = chosen(rule, &records);
                prop_assert!(scores[setting as usize] > highest - 1e-12);
            }
        }
    }
}
