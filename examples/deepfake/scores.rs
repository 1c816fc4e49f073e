//! The scores of a test set, as a table that other programs read.

use std::{error::Error, fs, path::Path, sync::Arc};

use roga::metric::{Roc, ScoredSet};
use serde::{Deserialize, Serialize};

use crate::data::{About, Domain};

/// Scores, higher for what looks forged.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    pub domain: Arc<str>,
    pub ids: Vec<Arc<str>>,
    pub scores: Vec<f64>,
    pub forged: Vec<bool>,
    /// Whose face each picture is of.
    pub people: Vec<Arc<str>>,
    pub videos: Vec<Arc<str>>,
}

/// A name as a cell. A spreadsheet takes a text that begins with one of these for a formula, and runs
/// it; an apostrophe before it says that it is text.
fn cell(name: &str) -> Arc<str> {
    match name.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']) {
        true => format!("'{name}").into(),
        false => name.into(),
    }
}

/// The name that a cell is of.
fn name(cell: Arc<str>) -> Arc<str> {
    match cell.strip_prefix('\'') {
        Some(name) => name.into(),
        None => cell,
    }
}

/// A line of the table.
#[derive(Serialize, Deserialize)]
struct Row {
    domain: Arc<str>,
    id: Arc<str>,
    person: Arc<str>,
    video: Arc<str>,
    forged: u8,
    /// The logit of "forged" less that of "real".
    score: f64,
}

impl Scores {
    pub fn new(domain: &Domain, scores: Vec<f64>) -> Self {
        let about = || domain.about.iter();
        Self {
            domain: domain.name.clone(),
            ids: about().map(|about| about.id.clone()).collect(),
            scores,
            forged: about().map(|about| about.forged).collect(),
            people: about().map(About::person).collect(),
            videos: about().map(|about| about.video.clone()).collect(),
        }
    }

    /// With people as clusters.
    pub fn set(&self) -> ScoredSet<'_, Arc<str>> {
        ScoredSet {
            scores: &self.scores,
            labels: &self.forged,
            clusters: &self.people,
        }
    }

    pub fn roc(&self) -> roga::Result<Roc> {
        Roc::new(&self.scores, &self.forged)
    }

    /// The probability that each picture is forged.
    pub fn probabilities(&self) -> Vec<f64> {
        let sigmoid = |score: &f64| 1.0 / (1.0 + (-score).exp());
        self.scores.iter().map(sigmoid).collect()
    }

    /// Writes the table beside its place and renames it.
    pub fn write(path: &Path, all: &[Self]) -> Result<(), Box<dyn Error>> {
        let beside = path.with_extension("part");
        let mut csv = csv::Writer::from_path(&beside)?;
        for of in all {
            for index in 0..of.scores.len() {
                csv.serialize(Row {
                    domain: cell(&of.domain),
                    id: cell(&of.ids[index]),
                    person: cell(&of.people[index]),
                    video: cell(&of.videos[index]),
                    forged: of.forged[index].into(),
                    score: of.scores[index],
                })?;
            }
        }
        csv.into_inner()
            .map_err(|error| error.into_error())?
            .sync_all()?;
        Ok(fs::rename(&beside, path)?)
    }

    /// The table, a test set after the other.
    pub fn read(path: &Path) -> Result<Vec<Self>, Box<dyn Error>> {
        let mut all: Vec<Self> = Vec::new();
        let failed = |error| format!("{}: {error}", path.display());
        for row in csv::Reader::from_path(path).map_err(failed)?.deserialize() {
            let row: Row = row.map_err(failed)?;
            let domain = name(row.domain);
            if all.last().is_none_or(|last| last.domain != domain) {
                all.push(Self {
                    domain,
                    ..Self::default()
                });
            }
            if let Some(of) = all.last_mut() {
                of.ids.push(name(row.id));
                of.people.push(name(row.person));
                of.videos.push(name(row.video));
                of.forged.push(row.forged == 1);
                of.scores.push(row.score);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = Arc<str>> {
        "([=+@'\t\r-]|\\PC){0,3}[\"',;\n\u{1b}\u{202e}]?\\PC{0,5}".prop_map(Arc::from)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn what_is_written_is_read_and_nothing_is_a_formula(
            domains in prop::collection::vec(names(), 1..4),
            rows in prop::collection::vec((names(), names(), names(), any::<bool>(), -1e9..1e9f64), 1..9),
        ) {
            let mut all: Vec<Scores> = Vec::new();
            for domain in domains {
                if all.iter().all(|known| known.domain != domain) {
                    all.push(Scores {
                        domain,
                        ids: rows.iter().map(|row| row.0.clone()).collect(),
                        people: rows.iter().map(|row| row.1.clone()).collect(),
                        videos: rows.iter().map(|row| row.2.clone()).collect(),
                        forged: rows.iter().map(|row| row.3).collect(),
                        scores: rows.iter().map(|row| row.4).collect(),
                    });
                }
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("scores.csv");
            Scores::write(&path, &all).unwrap();
            let read = Scores::read(&path).unwrap();
            prop_assert_eq!(format!("{all:?}"), format!("{read:?}"));
            for row in csv::Reader::from_path(&path).unwrap().records() {
                let row = row.unwrap();
                let formula = |cell: &str| cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
                prop_assert!(!row.iter().take(4).any(formula), "{:?}", row);
            }
        }
    }
}
