//! The results: tables, the same as JSON with every setting, and the files of every training.

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
use roga::{
    domain::{Candidate, DomainSplit},
    metric::{BootstrapConfig, DeLong, DetectionMetrics, DetectionMetricsConfig, Roc, VideoKey},
    optim::RobustGradientAlignmentConfig,
};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::{
    command::compare::turn_name,
    data::{Counts, Data},
    log::Curves,
    method::Method,
    picture,
    progress::duration,
    scores::Scores,
    search::Setting,
    settings::{CONFIG, Equal, ProtocolName, SelectionName, Settings},
    training::{Finished, Trained},
};

/// Everything that a comparison has found.
#[derive(Serialize)]
pub struct Results {
    pub version: &'static str,
    pub settings: Settings,
    pub optimizer: AdamWConfig,
    pub schedule: &'static str,
    pub pictures: Counts,
    pub choices: Vec<Choice>,
    pub runs: Vec<Outcome>,
    pub seconds: f64,
}

/// What a training is.
#[derive(Clone, Serialize)]
pub struct Run {
    pub seed: u64,
    pub turn: String,
    pub train: Vec<Arc<str>>,
    pub test: Vec<Arc<str>>,
    pub method: Method,
    pub steps: usize,
    /// What of it was drawn.
    pub setting: Setting,
    /// All settings of the method.
    pub config: RobustGradientAlignmentConfig,
    /// Where the trained weights, the scores and every step's report are, in the output folder.
    pub folder: String,
}

/// What came of it.
#[derive(Serialize)]
pub struct Outcome {
    pub run: Run,
    pub finished: Finished,
    /// The mean AUC of the domains tested on, on people never seen.
    pub unseen: f64,
    /// The mean AUC of the domains trained on, on people never seen.
    pub seen: Option<f64>,
    /// The standard error of `unseen` over test sets of other people, by a bootstrap.
    pub people_error: f64,
    /// `unseen` less that of ERM of the same turn, seed and steps, and the standard error of the
    /// difference over test sets of other people.
    pub to_erm: Option<[f64; 2]>,
    /// The AUC of every domain, on people never seen.
    pub auc: BTreeMap<Arc<str>, f64>,
    /// Of every domain tested on, by picture and by what they were taken from.
    pub metrics: BTreeMap<Arc<str>, DetectionMetrics>,
    pub skipped_steps: usize,
    #[serde(skip)]
    pub curves: Curves,
    /// Of the domains tested on.
    #[serde(skip)]
    pub scores: Vec<Scores>,
    /// `unseen` of test sets whose people are drawn again.
    #[serde(skip)]
    draws: Vec<f64>,
}

/// Which draw of ρ and γ was taken, and by what.
#[derive(Serialize)]
pub struct Choice {
    turn: String,
    method: Method,
    draw: u64,
    candidates: Vec<Candidate>,
}

/// What a forgery has to reach alone.
const LEARNED: f64 = 0.85;

impl Outcome {
    fn new(run: Run, trained: Trained) -> Result<Self, Box<dyn Error>> {
        let mut auc = BTreeMap::new();
        for scores in &trained.scores {
            auc.insert(scores.domain.clone(), scores.roc()?.auc());
        }
        let mean = |names: &mut dyn Iterator<Item = &Arc<str>>| {
            let aucs: Vec<f64> = names.map(|name| auc[name]).collect();
            (!aucs.is_empty()).then(|| aucs.iter().sum::<f64>() / aucs.len() as f64)
        };
        let unseen = mean(&mut run.test.iter()).ok_or("no domain was tested on")?;
        let tested_too = |name: &&Arc<str>| !run.test.contains(name) && auc.contains_key(*name);
        let seen = mean(&mut run.train.iter().filter(tested_too));
        let scores: Vec<Scores> = trained
            .scores
            .into_iter()
            .filter(|scores| run.test.contains(&scores.domain))
            .collect();
        let mut metrics = BTreeMap::new();
        for of in &scores {
            metrics.insert(of.domain.clone(), measure(of)?);
        }
        let draws = draws(&scores)?;
        Ok(Self {
            people_error: deviation(&draws),
            to_erm: None,
            draws,
            run,
            finished: trained.finished,
            unseen,
            seen,
            auc,
            metrics,
            skipped_steps: trained.curves.skipped,
            curves: trained.curves,
            scores,
        })
    }
}

/// Every number of a test set, by picture and by video or photograph.
pub fn measure(scores: &Scores) -> roga::Result<DetectionMetrics> {
    let videos: Vec<VideoKey> = scores
        .videos
        .iter()
        .map(|video| VideoKey::new("", &*scores.domain, &**video))
        .collect();
    let config = DetectionMetricsConfig::new();
    config.measure(&scores.probabilities(), &scores.forged, Some(&videos))
}

/// Mean AUCs of test sets whose people are drawn again with replacement: pictures of one person are
/// not independent of each other. The same draws of the same people for every run.
fn draws(scores: &[Scores]) -> roga::Result<Vec<f64>> {
    let mut sums = vec![0.0; REPLICATES];
    for of in scores {
        let bootstrap = BootstrapConfig::new()
            .with_replicates(REPLICATES)
            .init_clusters(&of.forged, &of.people)?;
        let values = bootstrap.roc_replicates(&of.scores, Roc::auc)?;
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value / scores.len() as f64;
        }
    }
    Ok(sums)
}

const REPLICATES: usize = 400;

/// A mean and its standard error, where it has one.
fn mean(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt());
    (mean, error)
}

/// A method less ERM.
struct ToErm {
    difference: f64,
    /// Over test sets of other people.
    people: f64,
    /// Over seeds, where there are two.
    seeds: Option<f64>,
    /// Two-sided, by DeLong's test.
    p: f64,
}

impl Results {
    pub fn new(settings: Settings, pictures: Counts) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            settings,
            optimizer: AdamWConfig::new(),
            schedule: "half a cosine from lr to 0",
            pictures,
            choices: Vec::new(),
            runs: Vec::new(),
            seconds: 0.0,
        }
    }

    pub fn push(&mut self, run: Run, trained: Trained) -> Result<(), Box<dyn Error>> {
        let mut outcome = Outcome::new(run, trained)?;
        let same = |erm: &&Outcome| {
            erm.run.method == Method::Erm
                && (&erm.run.turn, erm.run.seed, erm.run.steps)
                    == (&outcome.run.turn, outcome.run.seed, outcome.run.steps)
        };
        outcome.to_erm = self.runs.iter().find(same).map(|erm| {
            [
                outcome.unseen - erm.unseen,
                people_error(&[(&outcome, erm)]),
            ]
        });
        self.runs.push(outcome);
        Ok(())
    }

    pub fn chose(
        &mut self,
        turn: &DomainSplit,
        method: Method,
        candidates: &[Candidate],
        chosen: &Candidate,
    ) {
        self.choices.push(Choice {
            turn: turn_name(turn, self.settings.protocol),
            method,
            draw: chosen.setting,
            candidates: candidates.to_vec(),
        });
    }

    /// How long all of it took, what earlier runs of the same command did included.
    pub fn took(&mut self, elapsed: Duration) {
        let trainings = self.runs.iter().map(|run| run.finished.seconds);
        self.seconds = elapsed.as_secs_f64().max(trainings.sum());
    }

    pub fn tables(&self) -> String {
        if self.settings.alone {
            return self.table_alone();
        }
        let tables = self.settings.tables().into_iter();
        let tables: Vec<String> = tables.map(|equal| self.table(equal)).collect();
        tables.join("\n")
    }

    /// An error for a forgery that was trained on alone and not learned.
    pub fn check_alone(&self) -> Result<(), Box<dyn Error>> {
        let checked = self.settings.alone && !self.settings.quick;
        match self.runs.iter().find(|run| checked && run.unseen < LEARNED) {
            None => Ok(()),
            Some(Outcome { run, unseen, .. }) => Err(format!(
                "{} reaches an AUC of {unseen:.3} alone, below {LEARNED}: a forgery that cannot be \
                 learned says nothing about generalisation",
                run.test[0]
            )
            .into()),
        }
    }

    /// A row for each forgery trained on alone.
    fn table_alone(&self) -> String {
        let mut table = "| trained and tested on | seed | AUC |\n|---|---|---|\n".to_string();
        for Outcome { run, unseen, .. } in &self.runs {
            _ = writeln!(table, "| {} | {} | {unseen:.3} |", run.test[0], run.seed);
        }
        table
    }

    /// A row for each method: means over the turns and the seeds.
    fn table(&self, equal: Equal) -> String {
        let mut table = String::new();
        let mut line = |text: &str| _ = writeln!(table, "{text}");
        if self.settings.selection == SelectionName::Oracle {
            line("**ORACLE: chosen on the test domain. An upper bound, no result.**\n");
        }
        line("| method | AUC unseen | to ERM | p | AUC seen | steps | passes | time |");
        line("|---|---|---|---|---|---|---|---|");
        for method in self.settings.methods() {
            let runs = self.of(method, equal);
            if runs.is_empty() {
                continue;
            }
            let of_seed = self.by_seed(&runs, |run| run.unseen);
            let seen: Option<Vec<f64>> = runs.iter().map(|run| run.seen).collect();
            let seen = seen.map_or(String::new(), |seen| format!("{:.3}", mean(&seen).0));
            let passes: f64 = runs.iter().map(|run| passes(&run.run)).sum();
            let seconds: f64 = runs.iter().map(|run| run.finished.seconds).sum();
            let to_erm = self.to_erm(method, equal);
            let (difference, p) = to_erm.as_ref().map_or_else(Default::default, ToErm::cells);
            line(&format!(
                "| {method} | {} | {difference} | {p} | {seen} | {} | {:.0} | {} |",
                with_error(mean(&of_seed)),
                runs[0].run.steps,
                passes / runs.len() as f64,
                duration(seconds)
            ));
        }
        line("");
        line(&self.caption(equal));
        table
    }

    /// The runs of a table's row.
    fn of(&self, method: Method, equal: Equal) -> Vec<&Outcome> {
        let of_table = |outcome: &&Outcome| {
            let steps = self
                .settings
                .steps_of(method, outcome.run.train.len(), equal);
            outcome.run.method == method && steps.is_ok_and(|steps| steps == outcome.run.steps)
        };
        self.runs.iter().filter(of_table).collect()
    }

    /// The mean over the turns, for each seed.
    fn by_seed(&self, runs: &[&Outcome], value: impl Fn(&Outcome) -> f64) -> Vec<f64> {
        let seeds = self.settings.seeds.iter();
        let of_seed = seeds.filter_map(|seed| {
            let values = runs.iter().filter(|run| run.run.seed == *seed);
            let values: Vec<f64> = values.map(|run| value(run)).collect();
            (!values.is_empty()).then(|| mean(&values).0)
        });
        of_seed.collect()
    }

    /// A method less ERM, over the turns and seeds of both.
    fn to_erm(&self, method: Method, equal: Equal) -> Option<ToErm> {
        if method == Method::Erm {
            return None;
        }
        let erm = self.of(Method::Erm, equal);
        let pairs: Vec<(&Outcome, &Outcome)> = self
            .of(method, equal)
            .into_iter()
            .filter_map(|run| {
                let same = |erm: &&&Outcome| {
                    (erm.run.seed, &erm.run.turn) == (run.run.seed, &run.run.turn)
                };
                Some((run, *erm.iter().find(same)?))
            })
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let of_seed: Vec<f64> = self
            .settings
            .seeds
            .iter()
            .filter_map(|seed| {
                let of = pairs.iter().filter(|(run, _)| run.run.seed == *seed);
                let of: Vec<f64> = of.map(|(run, erm)| run.unseen - erm.unseen).collect();
                (!of.is_empty()).then(|| mean(&of).0)
            })
            .collect();
        let (difference, seeds) = mean(&of_seed);
        Some(ToErm {
            difference,
            people: people_error(&pairs),
            seeds,
            p: delong(&pairs)?,
        })
    }

    fn caption(&self, equal: Equal) -> String {
        let settings = &self.settings;
        let counts = &self.pictures;
        let protocol = match settings.protocol {
            ProtocolName::LeaveOneOut => "left out of training",
            ProtocolName::Within => "trained on too",
            ProtocolName::Cross => "of other data",
        };
        let equal = match equal {
            Equal::Steps => "Equal steps.",
            _ => "Equal passes over a step's mini-batches.",
        };
        let selection = match settings.selection {
            SelectionName::Last => "the last weights",
            SelectionName::TrainingDomain => "weights and settings by training-domain validation",
            SelectionName::HeldOutDomain => {
                "settings by a held-out training domain, the last weights"
            }
            SelectionName::Oracle => "settings by the test domain (ORACLE), the last weights",
        };
        let turns: std::collections::BTreeSet<&str> =
            self.runs.iter().map(|run| &*run.run.turn).collect();
        format!(
            "{equal} Picture AUC on people never seen. Unseen: the mean over domains {protocol} ({}),\n\
             ± one standard error over the {} seed(s); to ERM: ± one standard error of the difference\n\
             over people, by a paired bootstrap, and over seeds; p: two-sided, by DeLong's paired test over\n\
             pictures. {selection}; {} test pictures a domain of {} people. {} in all.",
            turns.into_iter().collect::<Vec<_>>().join(", "),
            settings.seeds.len(),
            counts.test_pictures,
            counts.test_people,
            duration(self.seconds)
        )
    }

    /// Writes the tables, the numbers and the curves; gives back where.
    pub fn save(&self, folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
        let json = serde_json::to_string_pretty(self)?;
        let mut files = vec![
            ("results.md".to_string(), self.tables()),
            ("results.json".to_string(), json),
        ];
        let mut turns: Vec<&str> = self.runs.iter().map(|run| &*run.run.turn).collect();
        turns.sort_unstable();
        turns.dedup();
        for turn in turns {
            let runs: Vec<&Outcome> = self.shown(turn).collect();
            let name = turn.replace('/', "-");
            let roc = picture::roc_curves(turn, &runs)?;
            let training = picture::training_curves(turn, self.settings.steps, &runs)?;
            files.push((format!("roc-{name}.svg"), roc));
            files.push((format!("training-{name}.svg"), training));
        }
        let mut paths = Vec::new();
        for (name, text) in files {
            let path = folder.join(name);
            write(&path, &text)?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// The runs that a picture shows: those of one turn, of the first seed.
    fn shown(&self, turn: &str) -> impl Iterator<Item = &Outcome> {
        let seed = self.settings.seeds[0];
        let runs = self
            .runs
            .iter()
            .filter(|run| run.run.steps == self.settings.steps);
        runs.filter(move |run| run.run.seed == seed && run.run.turn == turn)
    }
}

impl ToErm {
    /// The difference with its errors, and p.
    fn cells(&self) -> (String, String) {
        let seeds = self
            .seeds
            .map_or(String::new(), |error| format!(" ± {error:.3}"));
        let difference = format!("{:+.3} ± {:.3}{seeds}", self.difference, self.people);
        let p = match self.p {
            small if small < 0.001 => "< 0.001".into(),
            p => format!("{p:.3}"),
        };
        (difference, p)
    }
}

fn with_error((mean, error): (f64, Option<f64>)) -> String {
    let error = error.map_or(String::new(), |error| format!(" ± {error:.3}"));
    format!("{mean:.3}{error}")
}

/// Passes over a step's mini-batches that a training made.
fn passes(run: &Run) -> f64 {
    let passes = run.config.passes(run.steps as u64, run.train.len());
    passes.unwrap_or(f64::NAN)
}

/// The standard error of the mean difference over test sets of other people.
fn people_error(pairs: &[(&Outcome, &Outcome)]) -> f64 {
    let difference = |draw: usize| {
        let of = pairs
            .iter()
            .map(|(run, erm)| run.draws[draw] - erm.draws[draw]);
        of.sum::<f64>() / pairs.len() as f64
    };
    deviation(&(0..REPLICATES).map(difference).collect::<Vec<f64>>())
}

fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (_, error) = mean(values);
    error.map_or(0.0, |error| error * n.sqrt())
}

/// The p-value of the mean difference: test sets of different domains are taken to be independent,
/// runs of several seeds on one test set to err alike.
fn delong(pairs: &[(&Outcome, &Outcome)]) -> Option<f64> {
    let mut of_test: BTreeMap<(&str, &str), Vec<DeLong>> = BTreeMap::new();
    for (run, erm) in pairs {
        for (a, b) in run.scores.iter().zip(&erm.scores) {
            let test = DeLong::new(&a.scores, &b.scores, &a.forged).ok()?;
            let key = (&*run.run.turn, &*a.domain);
            of_test.entry(key).or_default().push(test);
        }
    }
    let (mut difference, mut variance) = (0.0, 0.0);
    for tests in of_test.values() {
        let n = tests.len() as f64;
        difference += tests.iter().map(|test| test.difference).sum::<f64>() / n;
        variance += tests
            .iter()
            .map(|test| test.standard_error.powi(2))
            .sum::<f64>()
            / n;
    }
    Some(roga::metric::two_sided_p(difference, variance.sqrt()))
}

/// Makes the folder before anything else is done, so that a run does not end without a place, and
/// refuses one that holds trainings of other settings.
pub fn prepare(
    folder: &Path,
    command: &str,
    settings: &Settings,
    restart: bool,
) -> Result<(), Box<dyn Error>> {
    let failed = |error: io::Error| format!("--output {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    let (runs, path) = (folder.join("runs"), folder.join(CONFIG));
    check_owner(folder, command)?;
    if restart && runs.exists() {
        fs::remove_dir_all(&runs).map_err(failed)?;
    }
    if runs.exists() {
        let theirs = Settings::of_folder(folder)?.decisive()?;
        if let Some(difference) = difference(&settings.decisive()?, &theirs) {
            return Err(format!(
                "--output {} holds trainings of other settings ({difference}): choose another \
                 folder, or begin anew with --restart",
                folder.display(),
            )
            .into());
        }
    }
    Ok(write(&path, &settings.to_toml()?).map_err(failed)?)
}

/// Refuses a folder of somebody else, whose files would be written over or removed, and one of
/// another command.
fn check_owner(folder: &Path, command: &str) -> Result<(), Box<dyn Error>> {
    let refused = |what: &str| {
        let folder = folder.display();
        Err(format!("--output {folder} {what}: choose another folder").into())
    };
    match folder.join(CONFIG).exists() {
        true => {
            if let Err(error) = Settings::of_folder(folder) {
                return refused(&format!(
                    "has a {CONFIG} that is not of this example ({error})"
                ));
            }
        }
        false if folder.join("runs").exists() => {
            return refused("has a folder `runs` that is not of this example");
        }
        false => {}
    }
    match Provenance::read(folder) {
        Ok(was) if was.command != command => {
            refused(&format!("holds what `{}` has written", was.command))
        }
        _ => Ok(()),
    }
}

/// What results are from.
#[derive(Serialize, Deserialize)]
pub struct Provenance {
    /// The crate's version.
    pub version: String,
    pub command: String,
    /// Of a detector that was evaluated, where it is.
    pub detector: Option<PathBuf>,
    /// A hash of the data.
    pub data: String,
}

impl Provenance {
    pub fn new(command: &str, data: &Data) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            command: command.into(),
            detector: None,
            data: data.hash.clone(),
        }
    }

    /// Writes it into a folder, unless trainings of other data are there.
    pub fn write(&self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let was = Self::read(folder).ok().filter(|was| was.data != self.data);
        if let (true, Some(was)) = (folder.join("runs").exists(), was) {
            return Err(format!(
                "--output {} holds trainings of other data (its hash is {} there and {} here): choose \
                 another folder, or begin anew with --restart",
                folder.display(),
                was.data,
                self.data
            )
            .into());
        }
        let text = serde_json::to_string_pretty(self)?;
        Ok(write(&folder.join(PROVENANCE), &text)?)
    }

    pub fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let path = folder.join(PROVENANCE);
        let file = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_slice(&file)?)
    }
}

const PROVENANCE: &str = "provenance.json";

/// The first setting that differs.
fn difference(ours: &Table, theirs: &Table) -> Option<String> {
    let names = ours.keys().chain(theirs.keys());
    let name = names
        .into_iter()
        .find(|name| ours.get(*name) != theirs.get(*name))?;
    let shown = |table: &Table| {
        table
            .get(name)
            .map_or("not set".into(), |value| value.to_string())
    };
    Some(format!(
        "`{name}` is {} there and {} here",
        shown(theirs),
        shown(ours)
    ))
}

/// Writes a file beside its place and renames it: no half of a file is ever seen.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("part");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}
