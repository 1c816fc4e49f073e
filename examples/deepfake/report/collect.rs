//! What a folder of results holds, as the page shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use roga::metric::{RocBandConfig, ScoredSet};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{CosineGroup, CosineMatrix, Curve, CurveGroup, Panel, ReportData, ResultTable};
use crate::{
    log::{self, Curves, DomainCosines},
    progress::duration,
    training::Scores,
};

/// `results.json`, as far as the page shows it.
#[derive(Deserialize)]
struct Results {
    settings: BTreeMap<String, Value>,
    runs: Vec<Run>,
    seconds: f64,
}

#[derive(Deserialize)]
struct Run {
    seed: u64,
    left_out: String,
    method: String,
    unseen: f64,
    seen: f64,
    unseen_standard_error: f64,
    unseen_to_erm: Option<[f64; 2]>,
    seconds: f64,
    skipped_steps: usize,
    folder: PathBuf,
}

/// `scores.json` of a run.
#[derive(Deserialize)]
struct Finished {
    scores: Vec<Scores>,
}

/// The scores of every test set, of the run in a folder.
pub fn scores(folder: &Path) -> Result<Vec<Scores>, Box<dyn Error>> {
    Ok(read::<Finished>(&folder.join("scores.json"))?.scores)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Box<dyn Error>> {
    let file = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_slice(&file).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// All but the mistakes, for which the pictures are needed.
pub fn collect(folder: &Path) -> Result<ReportData, Box<dyn Error>> {
    let results: Results = read(&folder.join("results.json"))?;
    let runs = Runs(&results.runs);
    let mut data = ReportData {
        title: "Deepfake detection on forgeries never seen".into(),
        summary: vec![format!(
            "Each method is trained on all forgeries but one, and tested on the one left out, with \
             people never seen. {} trainings from {} seed(s), {} in all.",
            results.runs.len(),
            results
                .runs
                .iter()
                .map(|run| run.seed)
                .collect::<BTreeSet<u64>>()
                .len(),
            duration(results.seconds)
        )],
        tables: runs.tables(),
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
        100.0 * roc.level,
        roc.draws
    );
    for left_out in runs.left_out() {
        data.roc.groups.push(runs.roc(folder, left_out, &roc)?);
        let (curves, cosines, window) = runs.training(folder, left_out)?;
        training.groups.push(curves);
        training.note = format!("Means over the seeds and over {window} step(s).");
        if !cosines.is_empty() {
            data.cosines.push(CosineGroup {
                title: format!("{left_out} left out"),
                matrices: cosines,
            });
        }
    }
    Ok(data)
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

struct Runs<'a>(&'a [Run]);

impl<'a> Runs<'a> {
    /// The different values of a name, in the order in which they appear.
    fn names(&self, name: impl Fn(&'a Run) -> &'a str) -> Vec<&'a str> {
        let mut names = Vec::new();
        for run in self.0 {
            if !names.contains(&name(run)) {
                names.push(name(run));
            }
        }
        names
    }

    fn methods(&self) -> Vec<&'a str> {
        self.names(|run| &run.method)
    }

    fn left_out(&self) -> Vec<&'a str> {
        self.names(|run| &run.left_out)
    }

    /// The runs of a method with one forgery left out, of every seed.
    fn of(&self, method: &str, left_out: &str) -> Vec<&'a Run> {
        let runs = self.0.iter();
        runs.filter(|run| run.method == method && run.left_out == left_out)
            .collect()
    }

    fn tables(&self) -> Vec<ResultTable> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let error = "±: one standard error by a bootstrap over the people.";
        let unseen = self.table(
            "AUC on the forgery left out",
            format!("Frame AUC on people never seen, the mean of the seeds. {error}"),
            |run| Some([run.unseen, run.unseen_standard_error]),
            |[mean, error]| format!("{mean:.3} ± {error:.3}"),
        );
        let to_erm = self.table(
            "Difference to ERM from the same start",
            format!("Of the AUCs above, on the same pictures. {error}"),
            |run| run.unseen_to_erm.filter(|_| run.method != "erm"),
            |[mean, error]| format!("{mean:+.3} ± {error:.3}"),
        );
        let seen = self.table(
            "AUC on the forgeries trained on",
            "The mean of the forgeries, on people never seen.".into(),
            |run| Some([run.seen, 0.0]),
            |[mean, _]| format!("{mean:.3}"),
        );
        let tables = [unseen, to_erm, seen, self.costs()].into_iter();
        tables.filter(|table| !table.rows.is_empty()).collect()
    }

    /// Means over the seeds of a number and its standard error, for each method and forgery left
    /// out, and over all.
    fn table(
        &self,
        title: &str,
        note: String,
        number: impl Fn(&Run) -> Option<[f64; 2]>,
        write: impl Fn([f64; 2]) -> String,
    ) -> ResultTable {
        let cell = |runs: Vec<&Run>| {
            let numbers: Option<Vec<[f64; 2]>> = runs.into_iter().map(&number).collect();
            let numbers = numbers.filter(|numbers| !numbers.is_empty());
            numbers.map_or_else(String::new, |numbers| {
                let n = numbers.len() as f64;
                let mean = numbers.iter().map(|[mean, _]| mean).sum::<f64>() / n;
                let squares: f64 = numbers.iter().map(|[_, error]| error * error).sum();
                write([mean, squares.sqrt() / n])
            })
        };
        let left_out = self.left_out();
        // With one left out it would be the same again.
        let all = (left_out.len() > 1).then_some("all");
        let row = |method: &&str| -> Option<Vec<String>> {
            let cells = left_out
                .iter()
                .map(|left_out| cell(self.of(method, left_out)));
            let of_all = || self.0.iter().filter(|run| run.method == *method).collect();
            let cells: Vec<String> = cells.chain(all.map(|_| cell(of_all()))).collect();
            let any = cells.iter().any(|cell| !cell.is_empty());
            any.then(|| [method.to_string()].into_iter().chain(cells).collect())
        };
        let columns = ["method"].into_iter().chain(left_out.clone()).chain(all);
        ResultTable {
            title: title.into(),
            columns: columns.map(String::from).collect(),
            rows: self.methods().iter().filter_map(row).collect(),
            note,
        }
    }

    fn costs(&self) -> ResultTable {
        let row = |method: &str| {
            let runs = || self.0.iter().filter(|run| run.method == method);
            let seconds: f64 = runs().map(|run| run.seconds).sum();
            let skipped: usize = runs().map(|run| run.skipped_steps).sum();
            vec![
                method.to_string(),
                runs().count().to_string(),
                duration(seconds),
                skipped.to_string(),
            ]
        };
        ResultTable {
            title: "Cost".into(),
            columns: ["method", "trainings", "time", "skipped steps"]
                .map(String::from)
                .into(),
            rows: self.methods().into_iter().map(row).collect(),
            note: "A step is skipped where a loss or a gradient is not finite.".into(),
        }
    }

    fn roc(
        &self,
        folder: &Path,
        left_out: &str,
        config: &RocBandConfig,
    ) -> Result<CurveGroup, Box<dyn Error>> {
        let mut curves = Vec::new();
        for method in self.methods() {
            let mut sets = Vec::new();
            for run in self.of(method, left_out) {
                let scores = scores(&folder.join(&run.folder))?;
                sets.extend(
                    scores
                        .into_iter()
                        .filter(|scores| *scores.forgery == *left_out),
                );
            }
            if sets.is_empty() {
                continue;
            }
            let sets: Vec<ScoredSet<'_, Arc<str>>> = sets
                .iter()
                .map(|set| ScoredSet {
                    scores: &set.scores,
                    labels: &set.forged,
                    clusters: &set.people,
                })
                .collect();
            let band = config.band(&sets)?;
            curves.push(Curve {
                method: method.into(),
                points: band.fpr.into_iter().zip(band.tpr).collect(),
                band: band.lower.into_iter().zip(band.upper).collect(),
            });
        }
        Ok(CurveGroup {
            title: format!("{left_out} left out"),
            panels: vec![Panel {
                x: "real pictures taken for forged".into(),
                y: "forged pictures found".into(),
                curves,
                roc: true,
            }],
        })
    }

    /// The curves of training, the mean cosines of each method, and how many steps a point is of.
    fn training(
        &self,
        folder: &Path,
        left_out: &str,
    ) -> Result<(CurveGroup, Vec<CosineMatrix>, usize), Box<dyn Error>> {
        let (mut losses, mut mean_cosines, mut matrices) = (Vec::new(), Vec::new(), Vec::new());
        let mut window = 0;
        for method in self.methods() {
            let (mut curves, mut cosines) = (Vec::new(), Vec::new());
            for run in self.of(method, left_out) {
                let steps = folder.join(&run.folder).join("steps.csv");
                let failed = |error| format!("{}: {error}", steps.display());
                curves.push(log::read(&steps).map_err(failed)?);
                cosines.push(log::domain_cosines(&steps).map_err(failed)?);
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
            title: format!("{left_out} left out"),
            panels: vec![
                panel("mean loss", losses),
                panel("mean cosine of two domains", mean_cosines),
            ],
        };
        Ok((group, matrices, window))
    }
}

/// How many points a curve of training has at most.
const BINS: usize = 50;

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
    use serde_json::json;

    use super::*;

    #[test]
    fn curves_are_thinned_by_means() {
        assert_eq!(smooth(&[&[1.0, 2.0], &[3.0]]), [(0.0, 2.0), (1.0, 2.0)]);
        let long: Vec<f64> = (0..101).map(f64::from).collect();
        let thinned = smooth(&[&long]);
        assert_eq!(thinned.len(), 34);
        assert_eq!((thinned[0], thinned[33]), ((1.0, 1.0), (99.5, 99.5)));
        assert!(smooth(&[]).is_empty());
        assert!(smooth(&[&[f64::NAN]])[0].1.is_nan());
    }

    /// A folder of two methods, one forgery left out, two seeds, three people.
    fn folder() -> Result<tempfile::TempDir, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut runs = Vec::new();
        for (method, shift) in [("erm", 0.0), ("roga-all", 0.25)] {
            for seed in [1, 2] {
                let place = format!("runs/seed-{seed}/without-mouth/{method}");
                let of_run = folder.path().join(&place);
                fs::create_dir_all(&of_run)?;
                let columns = "step,outcome,loss,cosine,loss a,norm a,loss b,norm b,cosine b a";
                let rows =
                    format!("1,applied,{shift},0.5,1,1,1,1,0.5\n2,applied,2,-0.25,1,1,1,1,-0.25");
                fs::write(of_run.join("steps.csv"), format!("{columns}\n{rows}\n"))?;
                let scores = json!({ "seconds": 1.0, "scores": [{
                    "forgery": "mouth",
                    "scores": [0.0, 1.0, 0.5, 1.5, 1.0, 0.25 + shift],
                    "forged": [false, true, false, true, false, true],
                    "people": ["ada", "ada", "bo", "bo", "cy", "cy"],
                }] });
                fs::write(of_run.join("scores.json"), scores.to_string())?;
                runs.push(json!({
                    "seed": seed, "left_out": "mouth", "method": method, "unseen": 0.75 + shift,
                    "seen": 0.5, "unseen_standard_error": 0.02, "unseen_to_erm": [shift, 0.01],
                    "seconds": 1.0, "skipped_steps": 0, "folder": place,
                }));
            }
        }
        let settings = json!({ "rho": 0.05, "forgeries": ["mouth", "generator"], "faces": null });
        let results = json!({ "settings": settings, "runs": runs, "seconds": 4.0 });
        fs::write(folder.path().join("results.json"), results.to_string())?;
        Ok(folder)
    }

    #[test]
    fn a_folder_is_collected() -> Result<(), Box<dyn Error>> {
        let folder = folder()?;
        let data = collect(folder.path())?;
        let of_table = |place: usize| &data.tables[place].rows;
        assert_eq!(data.tables[0].columns, ["method", "mouth"]);
        // The error of a mean of two: 0.02 / √2.
        assert_eq!(
            *of_table(0),
            [["erm", "0.750 ± 0.014"], ["roga-all", "1.000 ± 0.014"]]
        );
        assert_eq!(*of_table(1), [["roga-all", "+0.250 ± 0.007"]]);
        assert_eq!(
            *of_table(3),
            [["erm", "2", "2 s", "0"], ["roga-all", "2", "2 s", "0"]]
        );

        let roc = &data.roc.groups[0].panels[0];
        assert!(roc.roc && data.roc.groups.len() == 1);
        let methods: Vec<&str> = data.roc.methods().collect();
        assert_eq!(methods, ["erm", "roga-all"]);
        for curve in &roc.curves {
            assert_eq!((curve.points.len(), curve.band.len()), (101, 101));
            assert_eq!(curve.points[100], (1.0, 1.0));
        }
        let losses = &data.training.groups[0].panels[0];
        assert_eq!(losses.curves[1].points, [(0.0, 0.25), (1.0, 2.0)]);
        let matrix = &data.cosines[0].matrices[1];
        assert_eq!(
            (&*matrix.title, &*matrix.names),
            ("roga-all", &["a".into(), "b".into()][..])
        );
        assert_eq!(matrix.means, [[1.0, 0.125], [0.125, 1.0]]);
        let settings = [
            ("faces", "–"),
            ("forgeries", "mouth, generator"),
            ("rho", "0.05"),
        ];
        assert_eq!(
            data.settings,
            settings.map(|(name, value)| (name.into(), value.into()))
        );
        Ok(())
    }

    #[test]
    fn what_is_missing_is_named() -> Result<(), Box<dyn Error>> {
        let folder = folder()?;
        let missing = "runs/seed-2/without-mouth/erm/scores.json";
        fs::write(folder.path().join(missing), "{")?;
        assert!(
            collect(folder.path())
                .unwrap_err()
                .to_string()
                .contains(missing)
        );
        let folder = self::folder()?;
        let missing = "runs/seed-1/without-mouth/erm/steps.csv";
        fs::remove_file(folder.path().join(missing))?;
        assert!(
            collect(folder.path())
                .unwrap_err()
                .to_string()
                .contains(missing)
        );
        fs::remove_file(folder.path().join("results.json"))?;
        assert!(
            collect(folder.path())
                .unwrap_err()
                .to_string()
                .contains("results.json")
        );
        Ok(())
    }
}
