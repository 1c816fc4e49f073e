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
                    domain: of.domain.clone(),
                    id: of.ids[index].clone(),
                    person: of.people[index].clone(),
                    video: of.videos[index].clone(),
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
            if all.last().is_none_or(|last| last.domain != row.domain) {
                all.push(Self {
                    domain: row.domain,
                    ..Self::default()
                });
            }
            if let Some(of) = all.last_mut() {
                of.ids.push(row.id);
                of.people.push(row.person);
                of.videos.push(row.video);
                of.forged.push(row.forged == 1);
                of.scores.push(row.score);
            }
        }
        Ok(all)
    }
}
