//! The results: a table, the same as JSON with every setting, and the files of every training.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use burn::optim::AdamWConfig;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use roga::{
    detector::{backbone::ResNetConfig, dataset::DomainConfig, forgery::Forgery},
    domain::DomainSplit,
    metric::Roc,
    optim::RobustGradientAlignmentConfig,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::Settings,
    data::{Counts, domain},
    log::Curves,
    method::Method,
    picture,
    progress::duration,
    training::{Scores, Trained, backbone},
};

/// Everything that a comparison has found.
#[derive(Serialize)]
pub struct Results {
    pub settings: Settings,
    /// What the settings above amount to.
    pub domains: Vec<DomainConfig>,
    pub backbone: ResNetConfig,
    pub optimizer: AdamWConfig,
    pub schedule: &'static str,
    pub augmentation: &'static str,
    pub level: &'static str,
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
    /// The standard error of `unseen`, by a bootstrap over people.
    pub unseen_standard_error: f64,
    /// `unseen` less that of ERM from the same seed, and the standard error of the difference, by
    /// the same bootstrap.
    pub unseen_to_erm: Option<[f64; 2]>,
    /// All settings of the method.
    pub config: RobustGradientAlignmentConfig,
    pub seconds: f64,
    pub skipped_steps: usize,
    pub losses: Vec<f64>,
    /// Where the trained weights, the record and every step's report are, in the output folder.
    pub folder: PathBuf,
    #[serde(skip)]
    pub curves: Curves,
    #[serde(skip)]
    pub roc: Roc,
    #[serde(skip)]
    draws: Vec<f64>,
}

impl Run {
    pub fn new(
        settings: &Settings,
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
        let [test] = <[_; 1]>::try_from(held_out.test).map_err(|tests| roga::Error::Domains {
            rule: "be left out one at a time",
            found: format!("{} were", tests.len()),
        })?;
        let (left_out, scores) = test.for_testing();
        let seen: Vec<f64> = held_out.train.iter().map(|(name, _)| auc[name]).collect();
        let roc = curve(&scores)?;
        let draws = bootstrap(&scores);
        Ok(Self {
            seed,
            left_out: left_out.clone(),
            method,
            unseen: roc.auc(),
            seen: seen.iter().sum::<f64>() / seen.len() as f64,
            auc,
            unseen_standard_error: deviation(&draws),
            unseen_to_erm: None,
            config: method.config(settings, seed),
            seconds: trained.seconds,
            skipped_steps: trained.curves.skipped,
            losses: trained.curves.losses.clone(),
            folder: run_folder(seed, Some(&left_out), method),
            curves: trained.curves,
            roc,
            draws,
        })
    }
}

/// What a forgery has to reach alone.
const LEARNED: f64 = 0.85;

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

/// AUCs of a test set whose people are drawn again with replacement: pictures of one person are
/// not independent of each other. The same draws for every method.
fn bootstrap(scores: &Scores) -> Vec<f64> {
    let mut of_person: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, person) in scores.people.iter().enumerate() {
        of_person.entry(person).or_default().push(index);
    }
    let of_person: Vec<Vec<usize>> = of_person.into_values().collect();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut draw = || {
        let drawn = (0..of_person.len()).map(|_| rng.random_range(0..of_person.len()));
        let drawn: Vec<usize> = drawn
            .flat_map(|person| &of_person[person])
            .copied()
            .collect();
        let values: Vec<f64> = drawn.iter().map(|i| scores.scores[*i]).collect();
        let forged: Vec<bool> = drawn.iter().map(|i| scores.forged[*i]).collect();
        Roc::new(&values, &forged).map(|roc| roc.auc())
    };
    (0..DRAWS).filter_map(|_| draw().ok()).collect()
}

const DRAWS: usize = 400;

fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f64>() / (n - 1.0)).sqrt()
}

impl Results {
    pub fn new(settings: Settings) -> Self {
        let seed = settings.seeds.first().copied().unwrap_or(0);
        let domain = |forgery: &Forgery| domain(&settings, *forgery, seed);
        Self {
            domains: settings.forgeries.iter().map(domain).collect(),
            backbone: backbone(),
            optimizer: AdamWConfig::new(),
            schedule: "half a cosine from lr to 0",
            augmentation: "every second picture mirrored",
            level: "frame",
            settings,
            pictures: None,
            runs: Vec::new(),
            alone: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Adds a run, and what it is to ERM from the same start.
    pub fn push(&mut self, run: Run) {
        self.runs.push(run);
        let erm: Vec<(u64, Arc<str>, f64, Vec<f64>)> = self
            .runs
            .iter()
            .filter(|run| run.method == Method::Erm)
            .map(|run| {
                (
                    run.seed,
                    run.left_out.clone(),
                    run.unseen,
                    run.draws.clone(),
                )
            })
            .collect();
        for run in &mut self.runs {
            let same = erm
                .iter()
                .find(|erm| (erm.0, &erm.1) == (run.seed, &run.left_out));
            run.unseen_to_erm = same.map(|(_, _, unseen, draws)| {
                let differences = run.draws.iter().zip(draws).map(|(a, b)| a - b);
                let differences: Vec<f64> = differences.collect();
                [run.unseen - unseen, deviation(&differences)]
            });
        }
    }

    /// How long all of it took, what earlier runs of the same command did included.
    pub fn took(&mut self, elapsed: Duration) {
        let trainings = self.runs.iter().map(|run| run.seconds).sum::<f64>();
        self.seconds = elapsed.as_secs_f64().max(trainings);
    }

    pub fn table(&self) -> String {
        if self.settings.alone {
            return self.table_alone();
        }
        self.table_of_methods()
    }

    /// An error for a forgery that was trained on alone and not learned.
    pub fn check_alone(&self) -> Result<(), Box<dyn Error>> {
        let short = self.alone.iter().find(|alone| alone.auc < LEARNED);
        match short.filter(|_| !self.settings.quick) {
            None => Ok(()),
            Some(Alone { forgery, auc, .. }) => Err(format!(
                "{forgery} reaches an AUC of {auc:.3} alone, below {LEARNED}: a forgery that \
                 cannot be learned says nothing about generalisation"
            )
            .into()),
        }
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
        let erm = self.of(Method::Erm).next().is_some();
        let mut table = String::new();
        let mut line = |text: &str| _ = writeln!(table, "{text}");
        line("| method | AUC unseen | to ERM | AUC seen | to ERM | time |");
        line("|---|---|---|---|---|---|");
        for &method in &self.settings.methods {
            if self.of(method).next().is_none() {
                continue;
            }
            let (unseen, seen) = (mean(method, &|r| r.unseen), mean(method, &|r| r.seen));
            let seconds: f64 = self.of(method).map(|run| run.seconds).sum();
            let seen_to_erm = match (erm, method) {
                (false, _) | (_, Method::Erm) => String::new(),
                (true, _) => format!("{:+.3}", seen - mean(Method::Erm, &|r| r.seen)),
            };
            line(&format!(
                "| {method} | {unseen:.3} | {} | {seen:.3} | {seen_to_erm} | {} |",
                self.to_erm(method),
                duration(seconds)
            ));
        }
        line("");
        line(&self.caption());
        table
    }

    /// The mean difference to ERM and its standard error.
    fn to_erm(&self, method: Method) -> String {
        let differences: Option<Vec<[f64; 2]>> =
            self.of(method).map(|run| run.unseen_to_erm).collect();
        match differences {
            Some(all) if method != Method::Erm => {
                let n = all.len() as f64;
                let mean = all.iter().map(|[difference, _]| difference).sum::<f64>() / n;
                let squares: f64 = all.iter().map(|[_, error]| error * error).sum();
                format!("{mean:+.3} ± {:.3}", squares.sqrt() / n)
            }
            _ => String::new(),
        }
    }

    fn caption(&self) -> String {
        let settings = &self.settings;
        let left_out = match settings.leave_out.as_str() {
            "all" => "each forgery in its turn".to_string(),
            one => one.to_string(),
        };
        let pictures = self
            .pictures
            .as_ref()
            .map_or(0, |counts| counts.test_pictures);
        let people = self
            .pictures
            .as_ref()
            .map_or(0, |counts| counts.test_people);
        format!(
            "Frame AUC on people never seen. Unseen: {left_out}, left out of training; seen: the mean of\n\
             the others; ±: one standard error of the difference, by a paired bootstrap over the people.\n\
             {} steps, the last weights, {} seed(s), {pictures} test pictures a forgery of {people} people. {} in all.",
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
            let runs: Vec<&Run> = self.shown(forgery).collect();
            let steps = self.settings.steps;
            files.extend([
                (
                    format!("roc-{forgery}.svg"),
                    picture::roc_curves(forgery, &runs)?,
                ),
                (
                    format!("training-{forgery}.svg"),
                    picture::training_curves(forgery, steps, &runs)?,
                ),
            ]);
        }
        let mut paths = Vec::new();
        for (name, text) in files {
            let path = folder.join(name);
            write(&path, &text)?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// The runs that a picture shows: those of one forgery left out, of the first seed.
    fn shown(&self, left_out: &str) -> impl Iterator<Item = &Run> {
        let seed = self.settings.seeds[0];
        let runs = self.runs.iter();
        runs.filter(move |run| run.seed == seed && &*run.left_out == left_out)
    }
}

/// Where the files of one training are, in the output folder.
pub fn run_folder(seed: u64, left_out: Option<&str>, method: Method) -> PathBuf {
    let trained = left_out.map_or("alone".into(), |left_out| format!("without-{left_out}"));
    PathBuf::from(format!("runs/seed-{seed}/{trained}/{method}"))
}

/// Makes the folder before anything else is done, so that a run does not end without a place, and
/// refuses one that holds trainings of other settings.
pub fn prepare(folder: &Path, settings: &Settings, restart: bool) -> Result<(), Box<dyn Error>> {
    let failed = |error: io::Error| format!("--output {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    let (runs, path) = (folder.join("runs"), folder.join("settings.json"));
    if runs.exists() && !path.exists() {
        return Err(format!(
            "--output {} has a folder `runs` that is not of this example: choose another folder",
            folder.display()
        )
        .into());
    }
    if restart && runs.exists() {
        fs::remove_dir_all(&runs).map_err(failed)?;
    }
    let ours = settings.decisive()?;
    if runs.exists() {
        let theirs: Value = serde_json::from_slice(&fs::read(&path).map_err(failed)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let ours: Value = serde_json::from_str(&ours.to_string())?;
        let names = ours.as_object().into_iter().flatten().map(|(name, _)| name);
        if let Some(name) = names.into_iter().find(|name| ours[*name] != theirs[*name]) {
            return Err(format!(
                "--output {} holds trainings of other settings (`{name}` is {} there and {} here): \
                 choose another folder, or begin anew with --restart",
                folder.display(),
                theirs[name],
                ours[name]
            )
            .into());
        }
    }
    Ok(write(&path, &serde_json::to_string_pretty(&ours)?)?)
}

/// Writes a file beside its place and renames it: no half of a file is ever seen.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("part");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}
