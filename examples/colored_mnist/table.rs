//! The table of the IRM set-up, from all restarts that are over.

use std::{collections::BTreeMap, error::Error, fmt::Write, path::Path};

use serde::Serialize;

use crate::{
    method::Method,
    output::{folders, read_json, write},
    restart::Finished,
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
pub struct Row {
    pub method: Method,
    pub restarts: usize,
    pub train: Mean,
    pub test: Mean,
    pub grey: Mean,
    /// Of train, test and grey.
    pub published: Option<[Published; 3]>,
    pub seconds_a_restart: f64,
    pub finished: Vec<Finished>,
}

impl Row {
    fn new(method: Method, finished: Vec<Finished>) -> Self {
        let mean = |of: &dyn Fn(&Finished) -> f64| {
            let values: Vec<f64> = finished.iter().map(of).collect();
            Mean::of(&values)
        };
        let [train, test, grey] = [
            mean(&|of| 100.0 * of.accuracies.train),
            mean(&|of| 100.0 * of.accuracies.test),
            mean(&|of| 100.0 * of.accuracies.grey),
        ];
        let published = method.published().map(|[of_train, of_test, of_grey]| {
            let of = |published, ours| Published::new(published, ours);
            [of(of_train, train), of(of_test, test), of(of_grey, grey)]
        });
        Self {
            method,
            restarts: finished.len(),
            train,
            test,
            grey,
            published,
            seconds_a_restart: mean(&|of| of.seconds).mean,
            finished,
        }
    }

    fn line(&self) -> String {
        let published = self.published.map_or(["".into(), "".into()], |published| {
            let cells = published.map(|of| format!("{:.1} ± {:.1}", of.mean, of.deviation));
            let away: Option<Vec<f64>> = published.iter().map(|of| of.errors_away).collect();
            let away = away.map_or("?".into(), |away| {
                let most = away
                    .iter()
                    .fold(0.0, |most: f64, away| most.max(away.abs()));
                let says = if most <= 2.0 { "yes" } else { "no" };
                format!("{says} ({most:.1})")
            });
            [cells.join(" / "), away]
        });
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {:.0} min |",
            self.method.name(),
            self.restarts,
            self.train.cell(),
            self.test.cell(),
            self.grey.cell(),
            published[0],
            published[1],
            self.seconds_a_restart / 60.0
        )
    }
}

/// Writes `results.md` and `results.json`; gives the table back.
pub fn rebuild(output: &Path) -> Result<String, Box<dyn Error>> {
    let mut of_method: BTreeMap<Method, Vec<Finished>> = BTreeMap::new();
    for folder in folders(&output.join("irm"))? {
        for restart in folders(&folder)? {
            if restart.join(Finished::FILE).exists() {
                let finished: Finished = read_json(&restart.join(Finished::FILE))?;
                of_method
                    .entry(finished.settings.method)
                    .or_default()
                    .push(finished);
            }
        }
    }
    let rows: Vec<Row> = of_method
        .into_iter()
        .map(|(method, finished)| Row::new(method, finished))
        .collect();
    let mut table = String::from(
        "| method | restarts | train | test | grey test | published | within 2 errors | a restart |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in &rows {
        _ = writeln!(table, "{}", row.line());
    }
    table += "\nColoredMNIST in the IRM set-up: accuracy in percent at the last step, ± the standard \
              error over the\nrestarts. Published (Fishr, table 2): train / test / grey test of 10 \
              restarts, ± the standard deviation\nbetween them. Within 2 errors: whether all three \
              differences to it are below two of their standard errors,\nand the largest in them.\n";
    write(&output.join("results.md"), &table)?;
    write(
        &output.join("results.json"),
        &serde_json::to_string_pretty(&rows)?,
    )?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
