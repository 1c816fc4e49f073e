//! The results: a table, the same as JSON with every setting, and the ROC curves as a picture.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use plotters::prelude::*;
use roga::{domain::DomainSplit, metric::Roc};
use serde::Serialize;

use crate::{
    args::Settings,
    data::Counts,
    method::Method,
    progress::duration,
    training::{Scores, Trained},
};

/// Everything that a comparison has found.
#[derive(Serialize)]
pub struct Results {
    pub settings: Settings,
    pub pictures: Option<Counts>,
    pub runs: Vec<Run>,
    pub alone: Vec<Alone>,
    pub seconds: f64,
}

/// One method, trained without one forgery from one seed.
#[derive(Serialize)]
pub struct Run {
    pub seed: u64,
    pub left_out: Arc<str>,
    pub method: Method,
    /// The AUC of the forgery left out, on people never seen.
    pub unseen: f64,
    /// The mean AUC of the forgeries trained on, on people never seen.
    pub seen: f64,
    /// The AUC of every forgery.
    pub auc: BTreeMap<Arc<str>, f64>,
    /// The standard error of `unseen` (Hanley and McNeil 1982).
    pub unseen_standard_error: f64,
    pub seconds: f64,
    pub skipped_steps: usize,
    pub losses: Vec<f64>,
    #[serde(skip)]
    roc: Roc,
}

impl Run {
    pub fn new(
        seed: u64,
        method: Method,
        split: &DomainSplit,
        trained: Trained,
    ) -> roga::Result<Self> {
        let curve = |scores: &Scores| Roc::new(&scores.scores, &scores.forged);
        let mut auc = BTreeMap::new();
        for scores in &trained.scores {
            auc.insert(scores.forgery.clone(), curve(scores)?.auc());
        }
        let held_out =
            split.partition(trained.scores.into_iter().map(|s| (s.forgery.clone(), s)))?;
        let (left_out, scores) = held_out.test.for_testing();
        let seen: Vec<f64> = held_out.train.iter().map(|(name, _)| auc[name]).collect();
        let roc = curve(&scores)?;
        let forged = scores.forged.iter().filter(|forged| **forged).count();
        Ok(Self {
            seed,
            left_out,
            method,
            unseen: roc.auc(),
            seen: seen.iter().sum::<f64>() / seen.len() as f64,
            auc,
            unseen_standard_error: standard_error(roc.auc(), forged, scores.forged.len() - forged),
            seconds: trained.seconds,
            skipped_steps: trained.skipped,
            losses: trained.losses,
            roc,
        })
    }
}

/// A forgery trained on alone: whether it can be learned at all.
#[derive(Serialize)]
pub struct Alone {
    pub seed: u64,
    pub forgery: Arc<str>,
    /// The AUC on people never seen.
    pub auc: f64,
}

impl Alone {
    pub fn new(seed: u64, forgery: &Arc<str>, trained: &Trained) -> roga::Result<Self> {
        let of_it = trained.scores.iter().find(|s| s.forgery == *forgery);
        let (scores, forged) = of_it.map_or((&[][..], &[][..]), |s| (&s.scores, &s.forged));
        Ok(Self {
            seed,
            forgery: forgery.clone(),
            auc: Roc::new(scores, forged)?.auc(),
        })
    }
}

/// The standard error of an AUC from the numbers of pictures (Hanley and McNeil, Radiology 1982).
fn standard_error(auc: f64, positives: usize, negatives: usize) -> f64 {
    let (p, n) = (positives as f64, negatives as f64);
    let (q1, q2) = (auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc));
    let spread = (p - 1.0) * (q1 - auc * auc) + (n - 1.0) * (q2 - auc * auc);
    ((auc * (1.0 - auc) + spread) / (p * n)).sqrt()
}

impl Results {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            pictures: None,
            runs: Vec::new(),
            alone: Vec::new(),
            seconds: 0.0,
        }
    }

    pub fn table(&self) -> String {
        if self.settings.alone {
            return self.table_alone();
        }
        self.table_of_methods()
    }

    /// A row for each forgery trained on alone.
    fn table_alone(&self) -> String {
        let mut table = "| trained and tested on | seed | AUC |\n|---|---|---|\n".to_string();
        for Alone { seed, forgery, auc } in &self.alone {
            _ = writeln!(table, "| {forgery} | {seed} | {auc:.3} |");
        }
        table
    }

    /// A row for each method: means over the forgeries left out and the seeds.
    fn table_of_methods(&self) -> String {
        let mean = |method: Method, value: &dyn Fn(&Run) -> f64| {
            let values: Vec<f64> = self.of(method).map(value).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let erm = self.settings.methods.contains(&Method::Erm);
        let mut table = String::new();
        let mut line = |text: &str| _ = writeln!(table, "{text}");
        line("| method | AUC unseen | to ERM | AUC seen | to ERM | time |");
        line("|---|---|---|---|---|---|");
        for &method in &self.settings.methods {
            let (unseen, seen) = (mean(method, &|r| r.unseen), mean(method, &|r| r.seen));
            let difference = |value: f64, of: &dyn Fn(&Run) -> f64| match erm {
                true => format!("{:+.3}", value - mean(Method::Erm, of)),
                false => "".into(),
            };
            let seconds: f64 = self.of(method).map(|run| run.seconds).sum();
            line(&format!(
                "| {method} | {unseen:.3} | {} | {seen:.3} | {} | {} |",
                difference(unseen, &|r| r.unseen),
                difference(seen, &|r| r.seen),
                duration(seconds)
            ));
        }
        line("");
        line(&self.caption());
        table
    }

    fn caption(&self) -> String {
        let settings = &self.settings;
        let left_out = match settings.leave_out.as_str() {
            "all" => "each forgery in its turn".to_string(),
            one => one.to_string(),
        };
        let error = self
            .runs
            .iter()
            .map(|run| run.unseen_standard_error)
            .fold(0.0, f64::max);
        let pictures = self
            .pictures
            .as_ref()
            .map_or(0, |counts| counts.test_pictures);
        format!(
            "Frame AUC on people never seen. Unseen: {left_out}, left out of training; seen: the mean of\n\
             the others. {} steps, the last weights, {} seed(s), {pictures} test pictures a forgery: the\n\
             standard error of one AUC is up to {error:.3}. {} in all.",
            settings.steps,
            settings.seeds.len(),
            duration(self.seconds)
        )
    }

    fn of(&self, method: Method) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.method == method)
    }

    /// Writes the table, the numbers and the curves; gives back where.
    pub fn save(&self, folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
        let mut files = vec![
            ("results.md".to_string(), self.table()),
            (
                "results.json".to_string(),
                serde_json::to_string_pretty(self)?,
            ),
        ];
        let mut left_out: Vec<&Arc<str>> = self.runs.iter().map(|run| &run.left_out).collect();
        left_out.dedup();
        left_out.sort();
        left_out.dedup();
        for forgery in left_out {
            files.push((format!("roc-{forgery}.svg"), self.curves(forgery)?));
        }
        let mut paths = Vec::new();
        for (name, text) in files {
            let path = folder.join(name);
            write(&path, &text)?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// The ROC curves of one forgery left out, of the first seed.
    fn curves(&self, left_out: &str) -> Result<String, Box<dyn Error>> {
        let seed = self.settings.seeds[0];
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (640, 600)).into_drawing_area();
            area.fill(&WHITE)?;
            let title = format!("ROC of {left_out}, never trained on");
            let mut chart = ChartBuilder::on(&area)
                .caption(title, ("sans-serif", 20))
                .margin(16)
                .x_label_area_size(44)
                .y_label_area_size(52)
                .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
            chart
                .configure_mesh()
                .x_desc("real pictures taken for forged")
                .y_desc("forged pictures found")
                .draw()?;
            chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLACK.mix(0.3)))?;
            let runs = self
                .runs
                .iter()
                .filter(|run| run.seed == seed && &*run.left_out == left_out);
            for (index, run) in runs.enumerate() {
                let color = Palette99::pick(index).stroke_width(2);
                let points = run.roc.points().map(|point| (point.fpr, point.tpr));
                chart
                    .draw_series(LineSeries::new(points, color))?
                    .label(format!("{} {:.3}", run.method, run.unseen))
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
            area.present()?;
        }
        Ok(svg)
    }
}

/// Makes the folder before anything else is done, so that a run does not end without a place.
pub fn prepare(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)
        .map_err(|error| format!("--output {}: {error}", folder.display()).into())
}

/// Writes a file beside its place and renames it: no half of a file is ever seen.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("part");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}
