//! The table of the IRM set-up, from all restarts that are over.

use std::{collections::BTreeMap, error::Error, fmt::Write, path::Path};

use serde::Serialize;
use serde_json::Value;

use crate::{
    method::Method,
    output::{folders, write},
    published,
    restart::{Restart, Row},
    training::{Finished, rows},
    trials,
};

/// A mean over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    pub mean: f64,
    /// The standard error of the mean, where there are two restarts.
    pub error: Option<f64>,
}

impl Mean {
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt());
        Self { mean, error }
    }

    pub fn cell(self) -> String {
        match self.error {
            Some(error) => format!("{:.1} ± {error:.1}", self.mean),
            None => format!("{:.1}", self.mean),
        }
    }
}

/// What is published: a mean over 10 restarts, and the deviation between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Published {
    pub mean: f64,
    pub deviation: f64,
    /// The difference to it in standard errors of the difference.
    pub errors_away: Option<f64>,
}

const PUBLISHED_RESTARTS: f64 = 10.0;

impl Published {
    fn new((mean, deviation): (f64, f64), ours: Mean) -> Self {
        let error = ours
            .error
            .map(|error| error.hypot(deviation / PUBLISHED_RESTARTS.sqrt()));
        Self {
            mean,
            deviation,
            errors_away: error.map(|error| (ours.mean - mean) / error),
        }
    }
}

/// A method's row: accuracies in percent.
#[derive(Debug, Serialize)]
struct Line {
    method: Method,
    restarts: Vec<Restart>,
    /// Train, test, grey test.
    accuracies: [Mean; 3],
    published: Option<[Published; 3]>,
    seconds_a_restart: f64,
}

/// A restart that is over, and its last row.
type Ended = (Finished<Restart>, Row);

impl Line {
    fn new(method: Method, ended: &[Ended]) -> Self {
        let mean = |of: &dyn Fn(&Ended) -> f64| {
            let values: Vec<f64> = ended.iter().map(of).collect();
            Mean::of(&values)
        };
        let accuracy =
            |of: fn(&Row) -> Option<f64>| mean(&|(_, row)| 100.0 * of(row).unwrap_or(f64::NAN));
        let accuracies = [
            accuracy(|row| row.train),
            accuracy(|row| row.test),
            accuracy(|row| row.grey),
        ];
        let published = published::of_restarts(method).map(|published| {
            [0, 1, 2].map(|place| Published::new(published[place], accuracies[place]))
        });
        Self {
            method,
            restarts: ended.iter().map(|(of, _)| of.settings.clone()).collect(),
            accuracies,
            published,
            seconds_a_restart: mean(&|(of, _)| of.seconds).mean,
        }
    }

    fn text(&self) -> String {
        let [train, test, grey] = self.accuracies.map(Mean::cell);
        let published = self.published.map_or(String::new(), |published| {
            let cell = |of: Published| format!("{:.1} ± {:.1}", of.mean, of.deviation);
            published.map(cell).join(" / ")
        });
        format!(
            "| {} | {} | {train} | {test} | {grey} | {published} | {} | {:.0} min |",
            self.method.name(),
            self.restarts.len(),
            self.published.map_or(String::new(), away),
            self.seconds_a_restart / 60.0
        )
    }
}

/// Whether all three are within two standard errors, and the most of them.
fn away(published: [Published; 3]) -> String {
    let away: Option<Vec<f64>> = published.iter().map(|of| of.errors_away).collect();
    let Some(away) = away else {
        return "?".into();
    };
    let most = away.into_iter().map(f64::abs).fold(0.0, f64::max);
    let says = if most <= 2.0 { "yes" } else { "no" };
    format!("{says} ({most:.1})")
}

const CAPTION: &str = "
ColoredMNIST in the IRM set-up: accuracy in percent before the last step, ± the standard error over the
restarts. Published (Fishr, table 2): train / test / grey test of 10 restarts, ± the deviation between
them. Within 2 errors: whether all three are at most two standard errors of the difference away, and how
many the farthest is.
";

/// The table of the restarts that are over, and the same for `results.json`; none where there are
/// none.
fn of_restarts(output: &Path) -> Result<Option<(String, Value)>, Box<dyn Error>> {
    let mut of_method: BTreeMap<Method, Vec<Ended>> = BTreeMap::new();
    for folder in folders(&output.join("irm"))? {
        for restart in folders(&folder)? {
            let Some(finished) = Finished::<Restart>::read(&restart)? else {
                continue;
            };
            let rows = rows::<Row>(&restart)?;
            let last = rows.last().ok_or("a training that is over has no step")?;
            let ended = of_method.entry(finished.settings.method).or_default();
            ended.push((finished, *last));
        }
    }
    if of_method.is_empty() {
        return Ok(None);
    }
    let lines = of_method.iter();
    let lines: Vec<Line> = lines
        .map(|(method, ended)| Line::new(*method, ended))
        .collect();
    let mut table = String::from(
        "| method | restarts | train | test | grey test | published | within 2 errors | a restart |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for line in &lines {
        _ = writeln!(table, "{}", line.text());
    }
    Ok(Some((table + CAPTION, serde_json::to_value(&lines)?)))
}

/// Writes `results.md` and `results.json` of all trainings that are over; gives the tables back.
pub fn rebuild(output: &Path) -> Result<String, Box<dyn Error>> {
    let (mut text, mut values) = (Vec::new(), serde_json::Map::new());
    let found = [
        ("irm", of_restarts(output)?),
        ("domainbed", trials::of_trainings(output)?),
    ];
    for (name, found) in found {
        if let Some((table, value)) = found {
            text.push(table);
            values.insert(name.into(), value);
        }
    }
    if text.is_empty() {
        return Err(format!(
            "--output {} holds no training that is over",
            output.display()
        )
        .into());
    }
    let text = text.join("\n");
    write(&output.join("results.md"), &text)?;
    write(
        &output.join("results.json"),
        &serde_json::to_string_pretty(&values)?,
    )?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{method::Tuned, output::read_json};

    #[test]
    fn means_and_errors_are_those_of_the_formulas() {
        let mean = Mean::of(&[1.0, 2.0, 4.0, 5.0]);
        assert_eq!(mean.mean, 3.0);
        // Squares 4 + 1 + 1 + 4, over 3, over 4.
        assert!((mean.error.unwrap() - (10.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        assert_eq!(mean.cell(), "3.0 ± 0.9");
        assert_eq!(Mean::of(&[7.0]).error, None);
        let published = Published::new((2.0, 10.0_f64.sqrt()), mean);
        let error = (10.0_f64 / 12.0 + 1.0).sqrt();
        assert!((published.errors_away.unwrap() - 1.0 / error).abs() < 1e-12);
    }
    #[test]
    fn the_table_holds_what_is_over() {
        let output = tempfile::tempdir().unwrap();
        assert!(
            rebuild(output.path())
                .unwrap_err()
                .to_string()
                .contains("holds no training")
        );
        for (number, test) in [(0, 0.13), (1, 0.15), (2, 0.14)] {
            let folder = output.path().join("irm/erm").join(number.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            let settings = Restart {
                method: Method::Erm,
                tuned: Tuned::default(),
                seed: 0,
                number,
                steps: 501,
                every: 50,
            };
            let row = Row {
                step: 500,
                train: Some(0.864),
                test: Some(test),
                grey: Some(0.81),
                ..Row::default()
            };
            let mut csv = csv::Writer::from_path(folder.join("steps.csv")).unwrap();
            csv.serialize(Row::default()).unwrap();
            csv.serialize(row).unwrap();
            csv.flush().unwrap();
            let finished = Finished {
                settings,
                seconds: 120.0,
            };
            let finished = serde_json::to_string(&finished).unwrap();
            // One is not over yet.
            if number < 2 {
                write(&folder.join("finished.json"), &finished).unwrap();
            }
        }
        let table = rebuild(output.path()).unwrap();
        // The grey test is 10 above 71.0 ± 0.7 / √10.
        let line = "| erm | 2 | 86.4 ± 0.0 | 14.0 ± 1.0 | 81.0 ± 0.0 | 86.4 ± 0.2 / 14.0 ± 0.7 / 71.0 \
                    ± 0.7 | no (45.2) | 2 min |";
        assert!(table.contains(line), "{table}");
        let json: Value = read_json(&output.path().join("results.json")).unwrap();
        assert_eq!(json["irm"][0]["restarts"].as_array().unwrap().len(), 2);
    }
}
