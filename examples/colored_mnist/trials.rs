//! DomainBed's tables, from all trainings that are over: each of its three ways of choosing.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use roga::domain::{Candidate, DomainSplit, Protocol, Selection};
use serde::Serialize;
use serde_json::Value;

use crate::{
    domainbed::{Row, Run},
    domains::Set,
    method::Method,
    output::folders,
    published,
    table::Mean,
    training::{Finished, rows},
};

const SELECTIONS: [Selection; 3] = [
    Selection::TrainingDomainValidation,
    Selection::HeldOutDomain,
    Selection::Oracle,
];

/// A method's row: accuracies in percent on each domain, of the trainings without it.
#[derive(Debug, Serialize)]
struct Line {
    set: Set,
    selection: Selection,
    method: Method,
    trials: usize,
    /// None where trainings are missing.
    accuracies: Vec<Option<Mean>>,
    published: Option<Vec<published::Number>>,
}

/// A trial's trainings: by the number of the setting and the domains that were left out.
type Trial = BTreeMap<(u64, BTreeSet<Arc<str>>), Vec<Row>>;

/// The tables, and the same for `results.json`; none where there is no training.
pub fn of_trainings(output: &Path) -> Result<Option<(String, Value)>, Box<dyn Error>> {
    let mut of_row: BTreeMap<(Set, Method), BTreeMap<u64, Trial>> = BTreeMap::new();
    for folder in trainings(&output.join("domainbed"), 5)? {
        if let Some(Finished { settings, .. }) = Finished::<Run>::read(&folder)? {
            let trials = of_row.entry((settings.set, settings.method)).or_default();
            let without = settings.without.into_iter().collect();
            let trial = trials.entry(settings.trial).or_default();
            trial.insert((settings.draw, without), rows(&folder)?);
        }
    }
    let (mut text, mut lines) = (String::new(), Vec::new());
    let sets: BTreeSet<Set> = of_row.keys().map(|(set, _)| *set).collect();
    let tables = sets.into_iter();
    for (set, selection) in tables.flat_map(|set| SELECTIONS.map(|of| (set, of))) {
        let rows = of_row.iter().filter(|((of, _), _)| *of == set);
        let rows = rows.map(|((_, method), trials)| Line::new(set, selection, *method, trials));
        let rows = rows.collect::<roga::Result<Vec<Line>>>()?;
        let mut accuracies = rows.iter().flat_map(|line| &line.accuracies);
        if accuracies.any(Option::is_some) {
            text += &table(set, selection, &rows);
            lines.extend(rows);
        }
    }
    Ok(match lines.is_empty() {
        true => None,
        false => Some((text, serde_json::to_value(&lines)?)),
    })
}

/// The folders so many levels down.
fn trainings(folder: &Path, levels: usize) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = vec![folder.to_path_buf()];
    for _ in 0..levels {
        let below: Result<Vec<_>, _> = found.iter().map(|folder| folders(folder)).collect();
        found = below?.concat();
    }
    Ok(found)
}

impl Line {
    fn new(
        set: Set,
        selection: Selection,
        method: Method,
        trials: &BTreeMap<u64, Trial>,
    ) -> roga::Result<Self> {
        let mut accuracies = Vec::new();
        for turn in Protocol::LeaveOneDomainOut.turns(set.domain_names())? {
            let of_trials: roga::Result<Vec<Option<f64>>> = trials
                .values()
                .map(|trial| chosen(trial, &turn, selection))
                .collect();
            let of_trials: Vec<f64> = of_trials?
                .into_iter()
                .flatten()
                .map(|of| 100.0 * of)
                .collect();
            accuracies.push((!of_trials.is_empty()).then(|| Mean::of(&of_trials)));
        }
        Ok(Self {
            set,
            selection,
            method,
            trials: trials.len(),
            accuracies,
            published: published::of_domains(set, selection, method),
        })
    }
}

/// The accuracy on the test domain of the checkpoint and setting that are chosen; none where a
/// training that it takes is not over.
fn chosen(trial: &Trial, turn: &DomainSplit, selection: Selection) -> roga::Result<Option<f64>> {
    let candidates = candidates(trial, turn);
    let complete = |of: &Candidate| {
        selection != Selection::HeldOutDomain || of.held_out.len() == turn.train().len()
    };
    if candidates.is_empty() || !candidates.iter().all(complete) {
        return Ok(None);
    }
    let chosen = selection.choose(turn, &candidates)?;
    let test = &turn.test()[0];
    let row = score(trial, chosen.setting, &[test], chosen.step, test);
    Ok(row.map(|row| row.inner))
}

/// All checkpoints of the trainings without the test domain.
fn candidates(trial: &Trial, turn: &DomainSplit) -> Vec<Candidate> {
    let test = &turn.test()[0];
    let without_test = trial
        .iter()
        .filter(|((_, without), _)| *without == left_out(&[test]));
    let mut candidates = Vec::new();
    for ((draw, _), rows) in without_test {
        for step in rows
            .iter()
            .filter(|row| row.domain == *test)
            .map(|row| row.step)
        {
            let outer = |domain: &Arc<str>| {
                let row = score(trial, *draw, &[test], step, domain)?;
                Some((domain.clone(), row.outer))
            };
            let held_out = |domain: &Arc<str>| {
                let row = score(trial, *draw, &[test, domain], step, domain)?;
                Some((domain.clone(), row.inner))
            };
            candidates.push(
                Candidate::new(*draw, step)
                    .with_validation(turn.train().iter().filter_map(outer))
                    .with_held_out(turn.train().iter().filter_map(held_out))
                    .with_oracle(outer(test)),
            );
        }
    }
    candidates
}

fn left_out(domains: &[&Arc<str>]) -> BTreeSet<Arc<str>> {
    domains.iter().map(|of| Arc::clone(of)).collect()
}

/// The scores on a domain of a checkpoint of the training without some domains.
fn score<'a>(
    trial: &'a Trial,
    draw: u64,
    without: &[&Arc<str>],
    step: u64,
    domain: &Arc<str>,
) -> Option<&'a Row> {
    let rows = trial.get(&(draw, left_out(without)))?;
    rows.iter()
        .find(|row| row.step == step && row.domain == *domain)
}

fn table(set: Set, selection: Selection, lines: &[Line]) -> String {
    let names = set.domain_names();
    let mut text = format!("\n{} in DomainBed's set-up, {selection}:\n\n", set.name());
    _ = writeln!(text, "| method | {} | mean | trials |", names.join(" | "));
    _ = writeln!(text, "|---{}|", "|---".repeat(names.len() + 2));
    for line in lines {
        let name = line.method.name();
        text += &text_of(&name, &line.accuracies, line.trials);
        if let Some(published) = &line.published {
            let published = published.iter().map(|(mean, error)| Mean {
                mean: *mean,
                error: Some(*error),
            });
            let published: Vec<_> = published.map(Some).collect();
            text += &text_of(&format!("{name}, published"), &published, 3);
        }
    }
    text
}

fn text_of(name: &str, accuracies: &[Option<Mean>], trials: usize) -> String {
    let cells = accuracies
        .iter()
        .map(|of| of.map_or(String::new(), Mean::cell));
    let cells: Vec<String> = cells.collect();
    let means: Option<Vec<f64>> = accuracies.iter().map(|of| Some((*of)?.mean)).collect();
    let mean = means.map(|means| format!("{:.1}", Mean::of(&means).mean));
    let (cells, mean) = (cells.join(" | "), mean.unwrap_or_default());
    format!("| {name} | {cells} | {mean} | {trials} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    /// Rows of checkpoints, from both scores on every domain.
    fn rows(checkpoints: &[[(f64, f64); 3]]) -> Vec<Row> {
        let domains = Set::Colored.domain_names();
        let row = |step: usize, place: usize, (inner, outer)| Row {
            step: step as u64,
            loss: 0.5,
            domain: domains[place].clone(),
            inner,
            outer,
        };
        let checkpoints = checkpoints.iter().enumerate();
        checkpoints
            .flat_map(|(step, scores)| (0..3).map(move |place| (step, place, scores[place])))
            .map(|(step, place, scores)| row(step, place, scores))
            .collect()
    }

    /// Two settings, two checkpoints each. The test domain is the last.
    fn trial() -> Trial {
        let first = [
            [(0.6, 0.7), (0.6, 0.7), (0.11, 0.2)],
            [(0.6, 0.6), (0.6, 0.6), (0.12, 0.3)],
        ];
        let second = [
            [(0.6, 0.5), (0.6, 0.5), (0.13, 0.9)],
            [(0.6, 0.4), (0.6, 0.8), (0.14, 0.4)],
        ];
        let mut trial = Trial::new();
        trial.insert((0, names(&["-90%"])), rows(&first));
        trial.insert((1, names(&["-90%"])), rows(&second));
        trial
    }

    #[test]
    fn every_selection_takes_its_own_checkpoint() {
        let turns = Protocol::LeaveOneDomainOut
            .turns(Set::Colored.domain_names())
            .unwrap();
        let mut trial = trial();
        let of = |trial: &Trial, selection| chosen(trial, &turns[2], selection).unwrap();
        // The best mean on the training domains' outer parts: the first setting's first checkpoint.
        assert_eq!(of(&trial, Selection::TrainingDomainValidation), Some(0.11));
        // The last checkpoints alone: 0.3 and 0.4 on the test domain's outer part.
        assert_eq!(of(&trial, Selection::Oracle), Some(0.14));
        // Trainings without two domains are missing, and then they are there.
        assert_eq!(of(&trial, Selection::HeldOutDomain), None);
        let unknown = (0.0, 0.0);
        for (draw, held_out) in [(0, [0.5, 0.6]), (1, [0.7, 0.4])] {
            for (place, name) in ["+90%", "+80%"].into_iter().enumerate() {
                let checkpoint = |score: f64| {
                    let mut scores = [unknown; 3];
                    scores[place] = (score, 0.0);
                    scores
                };
                let without = names(&["-90%", name]);
                trial.insert((draw, without), rows(&held_out.map(checkpoint)));
            }
        }
        assert_eq!(of(&trial, Selection::HeldOutDomain), Some(0.13));
        // Nothing was trained without the others.
        assert_eq!(chosen(&trial, &turns[0], Selection::Oracle).unwrap(), None);
    }

    #[test]
    fn tables_hold_means_published_numbers_and_the_word_oracle() {
        let trials = BTreeMap::from([(0, trial()), (1, trial())]);
        let line = |selection| Line::new(Set::Colored, selection, Method::Erm, &trials).unwrap();
        let oracle = table(Set::Colored, Selection::Oracle, &[line(Selection::Oracle)]);
        for said in [
            "ColoredMNIST in DomainBed's set-up, ORACLE (chosen on the test domain):",
            "| method | +90% | +80% | -90% | mean | trials |",
            "| erm |  |  | 14.0 ± 0.0 |  | 2 |",
            "| erm, published | 71.8 ± 0.4 | 72.9 ± 0.1 | 28.7 ± 0.5 | 57.8 | 3 |",
        ] {
            assert!(oracle.contains(said), "{oracle}");
        }
    }
}
