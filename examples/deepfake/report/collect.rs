//! What a folder of results holds, as the page shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use roga::metric::{RocBandConfig, ScoredSet};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{CosineGroup, CosineMatrix, Curve, CurveGroup, Panel, ReportData, ResultTable};
use crate::{
    limited,
    log::{self, Curves, DomainCosines},
    method::Method,
    output::{Row, ToErm},
    progress::duration,
    scores::Scores,
    settings::Equal,
    stranger,
};

/// `results.json`, as far as the page shows it.
#[derive(Deserialize)]
struct Results {
    version: String,
    settings: BTreeMap<String, Value>,
    rows: Vec<Row>,
    runs: Vec<Run>,
    seconds: f64,
}

#[derive(Deserialize)]
struct Run {
    run: Training,
    auc: BTreeMap<String, f64>,
    skipped_steps: usize,
}

#[derive(Deserialize)]
struct Training {
    seed: u64,
    turn: String,
    test: Vec<String>,
    method: String,
    steps: usize,
    folder: PathBuf,
}

impl Run {
    /// The method, and its steps where it was trained for several numbers of them.
    fn method(&self, results: &[Run]) -> String {
        let same = |other: &&Run| other.run.method == self.run.method;
        let mut steps = results.iter().filter(same).map(|run| run.run.steps);
        match steps.all(|steps| steps == self.run.steps) {
            true => self.run.method.clone(),
            false => format!("{}, {} steps", self.run.method, self.run.steps),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Box<dyn Error>> {
    let file = limited::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_slice(&file).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// What a folder of results says of itself: its trainings lie in it, wherever it was copied from.
fn results(folder: &Path) -> Result<Results, Box<dyn Error>> {
    let path = folder.join("results.json");
    let results: Results = read(&path)?;
    for run in &results.runs {
        let training = &run.run.folder;
        let mut parts = training.components();
        let below = parts.all(|part| matches!(part, Component::Normal(_)));
        let real = [folder, &folder.join(training)].map(|path| path.canonicalize());
        let inside = match real {
            [Ok(folder), Ok(training)] => training.starts_with(folder),
            // What is not there is said where it is read.
            _ => true,
        };
        if !(below && inside) {
            let [path, training] = [&path, training].map(|path| stranger::path(path));
            return Err(
                format!("{path}: the training `{training}` lies outside the folder").into(),
            );
        }
    }
    Ok(results)
}

/// All but the mistakes, for which the pictures are needed.
pub fn collect(folder: &Path) -> Result<ReportData, Box<dyn Error>> {
    let results = results(folder)?;
    let named = results.runs.iter();
    let named = named.map(|run| (run.method(&results.runs), run));
    let runs = Runs(named.collect());
    let mut data = ReportData {
        title: format!("Deepfake detection, roga {}", results.version),
        summary: vec![format!(
            "Every domain is tested with people never seen. {} trainings from {} seed(s), {} in all.",
            results.runs.len(),
            results
                .runs
                .iter()
                .map(|run| run.run.seed)
                .collect::<BTreeSet<u64>>()
                .len(),
            duration(results.seconds)
        )],
        tables: tables(&results),
        settings: results
            .settings
            .into_iter()
            .map(|(name, value)| (name, plain(&value)))
            .collect(),
        ..ReportData::default()
    };
    let (roc, training) = (RocBandConfig::new(), &mut data.training);
    data.roc.note = format!(
        "Means of the seeds' curves at each rate of false alarms. Bands: {} % of what {} draws of the \
         test people give, at each rate by itself and for these nets; what another training would \
         change is not in them.",
        100.0 * roc.confidence,
        roc.replicates
    );
    for turn in runs.turns() {
        data.roc.groups.extend(runs.roc(folder, turn, &roc)?);
        let (curves, cosines, window) = runs.training(folder, turn)?;
        training.groups.push(curves);
        training.note = format!("Means over the seeds and over {window} step(s).");
        if !cosines.is_empty() {
            data.cosines.push(CosineGroup {
                title: spaced(turn),
                matrices: cosines,
            });
        }
    }
    Ok(data)
}

/// A net and what it was tested on as unseen.
pub struct Tested {
    pub name: String,
    pub folder: PathBuf,
    /// Of every domain tested on.
    pub auc: BTreeMap<String, f64>,
}

/// All nets of a folder of results.
pub fn tested(folder: &Path) -> Result<Vec<Tested>, Box<dyn Error>> {
    let results = results(folder)?;
    let tested = results.runs.into_iter().map(|mut run| {
        run.auc.retain(|name, _| run.run.test.contains(name));
        Tested {
            name: format!(
                "{}, trained {}, seed {}",
                run.run.method,
                spaced(&run.run.turn),
                run.run.seed
            ),
            folder: run.run.folder,
            auc: run.auc,
        }
    });
    Ok(tested.collect())
}

/// A setting without the signs of JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The tables of all turns together, and of each by itself.
fn tables(results: &Results) -> Vec<ResultTable> {
    let mut tables = Vec::new();
    for (equal, name) in [(Equal::Steps, "steps"), (Equal::Passes, "passes")] {
        let of = |turn: bool| {
            let rows = results.rows.iter();
            let rows = rows.filter(move |row| row.equal == equal && row.turn.is_some() == turn);
            rows.collect::<Vec<&Row>>()
        };
        if of(false).is_empty() {
            continue;
        }
        let columns = [
            "method",
            "AUC unseen",
            "to ERM",
            "p",
            "detectable",
            "AUC seen",
            "steps",
            "passes",
            "trainings",
            "time",
        ];
        tables.push(ResultTable {
            title: format!("Equal {name}"),
            columns: columns.map(String::from).into(),
            rows: of(false).into_iter().map(summary).collect(),
            note: "Means over turns and seeds, on people never seen. ±: one standard error over people, \
                   and with several seeds a second one over seeds. p: two-sided, by DeLong's paired \
                   test over people. Detectable: the smallest difference that such a comparison finds \
                   four times of five at 5 %."
                .into(),
        });
        tables.extend(by_turn(name, &of(true)));
    }
    let skipped: usize = results.runs.iter().map(|run| run.skipped_steps).sum();
    if let (Some(last), true) = (tables.last_mut(), skipped > 0) {
        last.note += &format!(" {skipped} steps were skipped, for losses or gradients not finite.");
    }
    tables
}

fn summary(row: &Row) -> Vec<String> {
    let errors = |people: Option<f64>, seeds: Option<f64>| -> String {
        let errors = [people, seeds].into_iter().flatten();
        errors.map(|error| format!(" ± {error:.3}")).collect()
    };
    let to_erm =
        |write: &dyn Fn(&ToErm) -> String| row.to_erm.as_ref().map(write).unwrap_or_default();
    vec![
        row.method.to_string(),
        format!(
            "{:.3}{}",
            row.unseen,
            errors(row.people_error, row.seeds_error)
        ),
        to_erm(&|d| {
            format!(
                "{:+.3}{}",
                d.difference,
                errors(Some(d.people_error), d.seeds_error)
            )
        }),
        to_erm(&|d| format!("{:.3}", d.p)),
        to_erm(&|d| format!("{:.3}", d.detectable)),
        row.seen.map_or(String::new(), |seen| format!("{seen:.3}")),
        row.steps.to_string(),
        format!("{:.0}", row.passes),
        row.trainings.to_string(),
        duration(row.seconds),
    ]
}

/// The AUC unseen of every method in every turn, where there are several.
fn by_turn(equal: &str, rows: &[&Row]) -> Option<ResultTable> {
    let mut turns: Vec<&str> = rows.iter().filter_map(|row| row.turn.as_deref()).collect();
    turns.sort_unstable();
    turns.dedup();
    let mut methods: Vec<Method> = Vec::new();
    for row in rows {
        if !methods.contains(&row.method) {
            methods.push(row.method);
        }
    }
    let cell = |method: Method, turn: &str| {
        let row = rows
            .iter()
            .find(|row| row.method == method && row.turn.as_deref() == Some(turn));
        row.map_or(String::new(), |row| format!("{:.3}", row.unseen))
    };
    let row = |method: &Method| {
        let cells = turns.iter().map(|turn| cell(*method, turn));
        [method.to_string()].into_iter().chain(cells).collect()
    };
    let columns = turns.iter().map(|turn| spaced(turn));
    (turns.len() > 1).then(|| ResultTable {
        title: format!("AUC unseen by turn, equal {equal}"),
        columns: ["method".to_string()].into_iter().chain(columns).collect(),
        rows: methods.iter().map(row).collect(),
        note: "Means over the seeds.".into(),
    })
}

/// The runs, each with the name of its method.
struct Runs<'a>(Vec<(String, &'a Run)>);

/// A turn's name in words.
fn spaced(turn: &str) -> String {
    turn.replace('-', " ")
}

impl<'a> Runs<'a> {
    /// The different values of a name, in the order in which they appear.
    fn names<'b>(&'b self, name: impl Fn(&'b (String, &'a Run)) -> &'b str) -> Vec<&'b str> {
        let mut names = Vec::new();
        for run in &self.0 {
            if !names.contains(&name(run)) {
                names.push(name(run));
            }
        }
        names
    }

    fn methods(&self) -> Vec<&str> {
        self.names(|(method, _)| method)
    }

    fn turns(&self) -> Vec<&str> {
        self.names(|(_, run)| &run.run.turn)
    }

    /// The runs of a method in one turn, of every seed.
    fn of(&self, method: &str, turn: &str) -> Vec<&'a Run> {
        let runs = self
            .0
            .iter()
            .filter(|(name, run)| name == method && run.run.turn == turn);
        runs.map(|(_, run)| *run).collect()
    }

    /// A picture for each domain that the turn tests on.
    fn roc(
        &self,
        folder: &Path,
        turn: &str,
        config: &RocBandConfig,
    ) -> Result<Vec<CurveGroup>, Box<dyn Error>> {
        let mut of_domain: BTreeMap<String, Vec<Curve>> = BTreeMap::new();
        for method in self.methods() {
            let mut sets: BTreeMap<String, Vec<Scores>> = BTreeMap::new();
            for run in self.of(method, turn) {
                for scores in Scores::read(&folder.join(&run.run.folder).join("scores.csv"))? {
                    let name = scores.domain.to_string();
                    if run.run.test.contains(&name) {
                        sets.entry(name).or_default().push(scores);
                    }
                }
            }
            for (name, sets) in sets {
                let curve = curve(method, &sets, config)?;
                of_domain.entry(name).or_default().push(curve);
            }
        }
        let groups = of_domain.into_iter().map(|(name, curves)| CurveGroup {
            title: format!("{name}, trained {}", spaced(turn)),
            panels: vec![Panel {
                x: "real pictures taken for forged".into(),
                y: "forged pictures found".into(),
                curves,
                roc: true,
            }],
        });
        Ok(groups.collect())
    }

    /// The curves of training, the mean cosines of each method, and how many steps a point is of.
    fn training(
        &self,
        folder: &Path,
        turn: &str,
    ) -> Result<(CurveGroup, Vec<CosineMatrix>, usize), Box<dyn Error>> {
        let (mut losses, mut mean_cosines, mut matrices) = (Vec::new(), Vec::new(), Vec::new());
        let mut window = 0;
        for method in self.methods() {
            let (mut curves, mut cosines) = (Vec::new(), Vec::new());
            for run in self.of(method, turn) {
                let steps = folder.join(&run.run.folder).join("steps.csv");
                curves.push(log::read(&steps)?);
                cosines.push(log::domain_cosines(&steps)?);
            }
            window = curves
                .first()
                .map_or(window, |first| first.losses.len().div_ceil(BINS));
            let curve = |column: fn(&Curves) -> &[f64]| {
                let columns: Vec<&[f64]> = curves.iter().map(column).collect();
                Curve {
                    method: method.into(),
                    points: smooth(&columns),
                    band: Vec::new(),
                }
            };
            losses.push(curve(|curves| &curves.losses));
            mean_cosines.push(curve(|curves| &curves.cosines));
            matrices.extend(mean_matrix(method, &cosines));
        }
        let panel = |y: &str, curves| Panel {
            x: "step".into(),
            y: y.into(),
            curves,
            roc: false,
        };
        let group = CurveGroup {
            title: spaced(turn),
            panels: vec![
                panel("mean loss", losses),
                panel("mean cosine of two domains", mean_cosines),
            ],
        };
        Ok((group, matrices, window))
    }
}

/// The mean of the seeds' curves and its band.
fn curve(method: &str, sets: &[Scores], config: &RocBandConfig) -> roga::Result<Curve> {
    let sets: Vec<ScoredSet<'_, Arc<str>>> = sets
        .iter()
        .map(|set| ScoredSet {
            scores: &set.scores,
            labels: &set.forged,
            clusters: &set.people,
        })
        .collect();
    let band = config.band(&sets)?;
    Ok(Curve {
        method: method.into(),
        points: band.fpr.into_iter().zip(band.tpr).collect(),
        band: band.lower.into_iter().zip(band.upper).collect(),
    })
}

/// How many points a curve of training has at most.
const BINS: usize = 200;

/// Means over the columns and over steps that follow each other, at most [`BINS`] of them.
fn smooth(columns: &[&[f64]]) -> Vec<(f64, f64)> {
    let steps = columns.iter().map(|column| column.len()).max().unwrap_or(0);
    let width = steps.div_ceil(BINS).max(1);
    let bins = (0..steps).step_by(width).map(|start| {
        let of_column = |column: &&[f64]| {
            let end = (start + width).min(column.len());
            column.get(start..end).unwrap_or_default().to_vec()
        };
        let values: Vec<f64> = columns.iter().flat_map(of_column).collect();
        let middle = start as f64 + 0.5 * (width.min(steps - start) - 1) as f64;
        (middle, mean(values))
    });
    bins.collect()
}

/// Of those that are finite; not a number where there is none.
fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let (count, sum) = finite.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    sum / count
}

/// The mean over the runs; `None` with fewer than two domains.
fn mean_matrix(title: &str, runs: &[DomainCosines]) -> Option<CosineMatrix> {
    let names = &runs.first()?.names;
    let same = runs.iter().filter(|run| run.names == *names);
    let entry = |i: usize, j: usize| mean(same.clone().map(|run| run.means[i][j]));
    let all = 0..names.len();
    let rows = all
        .clone()
        .map(|i| all.clone().map(|j| entry(i, j)).collect());
    (names.len() > 1).then(|| CosineMatrix {
        title: title.into(),
        names: names.clone(),
        means: rows.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trainings_outside_the_folder_of_results() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("results");
        std::fs::create_dir_all(inside.join("runs/erm")).unwrap();
        let read = |training: &str| {
            let run = serde_json::json!({"seed": 1, "turn": "t", "test": [], "method": "erm",
                "steps": 1, "folder": training});
            let results = serde_json::json!({"version": "1", "settings": {}, "rows": [],
                "runs": [{"run": run, "auc": {}, "skipped_steps": 0}], "seconds": 1.0});
            std::fs::write(inside.join("results.json"), results.to_string()).unwrap();
            results_of(&inside)
        };
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path(), inside.join("link")).unwrap();
        for training in [
            "..",
            "runs/../../x",
            "/etc",
            "./runs",
            "a\u{1b}/../..",
            "link",
        ] {
            if training == "link" && !cfg!(unix) {
                continue;
            }
            let said = read(training).unwrap_err().to_string();
            assert!(
                said.contains("lies outside the folder"),
                "{training}: {said}"
            );
            assert!(!said.contains(char::is_control), "{said:?}");
        }
        for training in ["runs/erm", "runs/none"] {
            assert!(read(training).is_ok());
        }
    }

    fn results_of(folder: &Path) -> Result<(), Box<dyn Error>> {
        results(folder).map(drop)
    }

    #[test]
    fn curves_are_thinned_by_means() {
        assert_eq!(smooth(&[&[1.0, 2.0], &[3.0]]), [(0.0, 2.0), (1.0, 2.0)]);
        let long: Vec<f64> = (0..401).map(f64::from).collect();
        let thinned = smooth(&[&long]);
        assert_eq!(thinned.len(), 134);
        assert_eq!((thinned[0], thinned[133]), ((1.0, 1.0), (399.5, 399.5)));
        assert!(smooth(&[]).is_empty());
        assert!(smooth(&[&[f64::NAN]])[0].1.is_nan());
    }
}
