//! The results: tables, the same as JSON with every setting, and the files of every training.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use burn::optim::AdamWConfig;
use roga::{
    checkpoint::FolderLock,
    domain::{Candidate, DomainSplit},
    metric::{
        ClusteredAuc, ClusteredDeLong, DetectionMetrics, DetectionMetricsConfig, ScoredSet,
        VideoKey,
    },
    optim::RobustGradientAlignmentConfig,
};
use serde::{Deserialize, Serialize};
use toml::Table;

pub use crate::whole_file::write;
use crate::{
    command::compare::turn_name,
    data::{Counts, Data},
    limited,
    log::Curves,
    method::Method,
    picture,
    progress::duration,
    scores::Scores,
    search::Setting,
    settings::{CONFIG, Equal, ProtocolName, SelectionName, Settings},
    stranger, terminal,
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
    /// A row for each table, method and turn, and for all turns of a method.
    pub rows: Vec<Row>,
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
}

/// Which draw was taken, and by what.
#[derive(Serialize)]
pub struct Choice {
    turn: String,
    method: Method,
    draw: u64,
    candidates: Vec<Candidate>,
}

/// A method in a table: the means over its seeds, and over all turns or of one.
#[derive(Serialize, Deserialize)]
pub struct Row {
    pub equal: Equal,
    pub method: Method,
    /// None for all of them.
    pub turn: Option<String>,
    pub steps: usize,
    /// Passes over a step's mini-batches that a training made.
    pub passes: f64,
    pub trainings: usize,
    pub unseen: f64,
    /// Its standard error over test sets of other people, where it has one.
    pub people_error: Option<f64>,
    /// Its standard error over the seeds, where there are two.
    pub seeds_error: Option<f64>,
    pub seen: Option<f64>,
    pub to_erm: Option<ToErm>,
    pub seconds: f64,
}

/// A method less ERM, over the turns and seeds of both.
#[derive(Serialize, Deserialize)]
pub struct ToErm {
    pub difference: f64,
    pub people_error: f64,
    pub seeds_error: Option<f64>,
    /// Two-sided, by DeLong's test over people.
    pub p: f64,
    /// The smallest difference that would have been found in four of five such comparisons at 5 %.
    pub detectable: f64,
}

/// What a forgery has to reach alone.
const LEARNED: f64 = 0.85;

impl Outcome {
    fn new(run: Run, trained: Trained) -> Result<Self, Box<dyn Error>> {
        let mut auc = BTreeMap::new();
        for scores in &trained.scores {
            auc.insert(scores.domain.clone(), scores.roc()?.auc());
        }
        if let Some(missing) = run.test.iter().find(|name| !auc.contains_key(*name)) {
            let [folder, missing] = [&*run.folder, &**missing].map(stranger::name);
            return Err(format!("{folder}/scores.csv has no scores of {missing}").into());
        }
        let mean = |names: &mut dyn Iterator<Item = &Arc<str>>| {
            let aucs: Vec<f64> = names.map(|name| auc[name]).collect();
            (!aucs.is_empty()).then(|| mean(&aucs).0)
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
        Ok(Self {
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

    fn sets(&self) -> impl Iterator<Item = ScoredSet<'_, Arc<str>>> {
        self.scores.iter().map(Scores::set)
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

/// A mean and its standard error, where it has one.
fn mean(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt());
    (mean, error)
}

/// The means of each seed's values, and their mean and standard error.
fn over_seeds(values: impl Iterator<Item = (u64, f64)>) -> (f64, Option<f64>) {
    let mut of_seed: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (seed, value) in values {
        of_seed.entry(seed).or_default().push(value);
    }
    let means: Vec<f64> = of_seed.values().map(|values| mean(values).0).collect();
    mean(&means)
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
            rows: Vec::new(),
            runs: Vec::new(),
            seconds: 0.0,
        }
    }

    pub fn push(&mut self, run: Run, trained: Trained) -> Result<(), Box<dyn Error>> {
        self.runs.push(Outcome::new(run, trained)?);
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

    /// Works the rows of the tables out.
    pub fn compare(&mut self) -> Result<(), Box<dyn Error>> {
        let turns: BTreeSet<String> = self.runs.iter().map(|run| run.run.turn.clone()).collect();
        let mut rows = Vec::new();
        for equal in self.settings.tables() {
            for method in self.settings.methods() {
                for turn in [None].into_iter().chain(turns.iter().map(Some)) {
                    rows.extend(self.row(equal, method, turn)?);
                }
            }
        }
        self.rows = rows;
        Ok(())
    }

    fn row(
        &self,
        equal: Equal,
        method: Method,
        turn: Option<&String>,
    ) -> Result<Option<Row>, Box<dyn Error>> {
        let runs = self.of(method, equal, turn);
        let Some(first) = runs.first() else {
            return Ok(None);
        };
        let (unseen, seeds_error) = over_seeds(runs.iter().map(|r| (r.run.seed, r.unseen)));
        let sets: Vec<_> = runs.iter().flat_map(|run| run.sets()).collect();
        let seen: Option<Vec<f64>> = runs.iter().map(|run| run.seen).collect();
        let passes: f64 = runs.iter().map(|run| passes(&run.run)).sum();
        Ok(Some(Row {
            equal,
            method,
            turn: turn.cloned(),
            steps: first.run.steps,
            passes: passes / runs.len() as f64,
            trainings: runs.len(),
            unseen,
            // There is none of one person alone.
            people_error: ClusteredAuc::new(&sets).ok().map(|auc| auc.standard_error),
            seeds_error,
            seen: seen.map(|seen| mean(&seen).0),
            to_erm: self.to_erm(&runs, &self.of(Method::Erm, equal, turn))?,
            seconds: runs.iter().map(|run| run.finished.seconds).sum(),
        }))
    }

    /// The runs of a table's row.
    fn of(&self, method: Method, equal: Equal, turn: Option<&String>) -> Vec<&Outcome> {
        let of_row = |outcome: &&Outcome| {
            let run = &outcome.run;
            let steps = self.settings.steps_of(method, run.train.len(), equal);
            run.method == method
                && turn.is_none_or(|turn| *turn == run.turn)
                && steps.is_ok_and(|steps| steps == run.steps)
        };
        self.runs.iter().filter(of_row).collect()
    }

    fn to_erm(&self, runs: &[&Outcome], erm: &[&Outcome]) -> Result<Option<ToErm>, Box<dyn Error>> {
        let pairs: Vec<(&Outcome, &Outcome)> = runs
            .iter()
            .filter(|run| run.run.method != Method::Erm)
            .filter_map(|run| {
                let key = |run: &Outcome| (run.run.seed, run.run.turn.clone());
                Some((*run, *erm.iter().find(|erm| key(erm) == key(run))?))
            })
            .collect();
        if pairs.is_empty() {
            return Ok(None);
        }
        let mut sets = Vec::new();
        for (run, erm) in &pairs {
            let ids = |outcome: &Outcome| {
                let of = outcome.scores.iter();
                of.map(|scores| (scores.domain.clone(), scores.ids.clone()))
                    .collect::<Vec<_>>()
            };
            if ids(run) != ids(erm) {
                return Err(format!(
                    "{} and {} were not tested on the same pictures",
                    stranger::name(&run.run.folder),
                    stranger::name(&erm.run.folder)
                )
                .into());
            }
            sets.extend(run.sets().zip(erm.sets()));
        }
        let differences = pairs
            .iter()
            .map(|(run, erm)| (run.run.seed, run.unseen - erm.unseen));
        let (difference, seeds_error) = over_seeds(differences);
        Ok(ClusteredDeLong::new(&sets).ok().map(|test| ToErm {
            difference,
            people_error: test.standard_error,
            seeds_error,
            p: test.p,
            detectable: DETECTABLE * test.standard_error.hypot(seeds_error.unwrap_or(0.0)),
        }))
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
                stranger::name(&run.test[0])
            )
            .into()),
        }
    }

    /// A row for each forgery trained on alone.
    fn table_alone(&self) -> String {
        let mut table = "| trained and tested on | seed | AUC |\n|---|---|---|\n".to_string();
        for Outcome { run, unseen, .. } in &self.runs {
            _ = writeln!(
                table,
                "| {} | {} | {unseen:.3} |",
                cell(&run.test[0]),
                run.seed
            );
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
        line(
            "| method | AUC unseen | to ERM | p | detectable | AUC seen | steps | passes | time |",
        );
        line("|---|---|---|---|---|---|---|---|---|");
        let of_table = |row: &&Row| row.turn.is_none() && row.equal == equal;
        for row in self.rows.iter().filter(of_table) {
            let seen = row.seen.map_or(String::new(), |seen| format!("{seen:.3}"));
            let [difference, p, detectable] =
                row.to_erm.as_ref().map(ToErm::cells).unwrap_or_default();
            line(&format!(
                "| {} | {:.3}{} | {difference} | {p} | {detectable} | {seen} | {} | {:.0} | {} |",
                row.method,
                row.unseen,
                plus_minus([row.people_error, row.seeds_error]),
                row.steps,
                row.passes,
                duration(row.seconds)
            ));
        }
        line("");
        line(&self.caption(equal));
        table
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
            _ => "Equal passes over a step's mini-batches; settings chosen at equal steps.",
        };
        let selection = match settings.selection {
            SelectionName::Last => "The last weights",
            SelectionName::TrainingDomain => "Weights and settings by training-domain validation",
            SelectionName::HeldOutDomain => {
                "Settings by a held-out training domain, the last weights"
            }
            SelectionName::Oracle => "Settings by the test domain (ORACLE), the last weights",
        };
        let turns: BTreeSet<&str> = self.runs.iter().map(|run| &*run.run.turn).collect();
        let turns: Vec<String> = turns.into_iter().map(cell).collect();
        format!(
            "{equal} Picture AUC on people never seen. Unseen: the mean over domains {protocol} ({});\n\
             seen: of the others. ±: one standard error over people, and with several seeds a second one over the\n\
             {} seed(s). p: two-sided, by DeLong's paired test over people. Detectable: the smallest difference\n\
             that such a comparison finds four times of five at 5 %, by both errors. {selection}. {} test pictures\n\
             a domain of {} people. {} in all.",
            turns.join(", "),
            settings.seeds.len(),
            counts.test_pictures,
            counts.test_people,
            duration(self.seconds)
        )
    }

    /// Writes the tables, the numbers and the curves; gives back where.
    pub fn save(&mut self, folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
        self.compare()?;
        let json = serde_json::to_string_pretty(self)?;
        let mut files = vec![
            ("results.md".to_string(), self.tables()),
            ("results.json".to_string(), json),
        ];
        let turns: BTreeSet<&str> = self.runs.iter().map(|run| &*run.run.turn).collect();
        for turn in turns {
            let runs: Vec<&Outcome> = self.shown(turn).collect();
            let name = file_name(turn);
            let roc = picture::roc_curves(turn, &runs)?;
            let training = picture::training_curves(turn, self.settings.steps, &runs)?;
            // What has no place in XML either.
            files.push((format!("roc-{name}.svg"), terminal::shown(&roc)));
            files.push((format!("training-{name}.svg"), terminal::shown(&training)));
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
        let steps = self.settings.steps;
        let runs = self.runs.iter().filter(move |run| run.run.steps == steps);
        runs.filter(move |run| run.run.seed == seed && run.run.turn == turn)
    }
}

/// The quantiles of 80 % power and of 5 % on both sides, added up.
const DETECTABLE: f64 = 0.841_621 + 1.959_964;

impl ToErm {
    /// The difference with its errors, p, and what could have been found.
    fn cells(&self) -> [String; 3] {
        let errors = plus_minus([Some(self.people_error), self.seeds_error]);
        let p = match self.p {
            small if small < 0.001 => "< 0.001".into(),
            p => format!("{p:.3}"),
        };
        let difference = format!("{:+.3}{errors}", self.difference);
        [difference, p, format!("{:.3}", self.detectable)]
    }
}

fn plus_minus(errors: [Option<f64>; 2]) -> String {
    let errors = errors.into_iter().flatten();
    errors.map(|error| format!(" ± {error:.3}")).collect()
}

/// A name in a table's cell.
pub fn cell(name: &str) -> String {
    stranger::name(name).replace('|', "\\|")
}

/// Passes over a step's mini-batches that a training made.
fn passes(run: &Run) -> f64 {
    let passes = run.config.passes(run.steps as u64, run.train.len());
    passes.unwrap_or(f64::NAN)
}

/// Makes the folder before anything else is done, so that a run does not end without a place, and
/// refuses one that another run is at work in or that holds trainings of other settings. Other runs are
/// kept out as long as the lock is held.
pub fn prepare(
    folder: &Path,
    command: &str,
    settings: &Settings,
    restart: bool,
) -> Result<FolderLock, Box<dyn Error>> {
    let failed = |error: io::Error| format!("--output {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    check_owner(folder, command)?;
    let lock = FolderLock::new(folder).map_err(|error| format!("--output {error}"))?;
    let (runs, path) = (folder.join("runs"), folder.join(CONFIG));
    if restart && runs.exists() {
        fs::remove_dir_all(&runs).map_err(failed)?;
    }
    if runs.exists() {
        let theirs = Settings::of_folder(folder)?.decisive(command)?;
        if let Some(difference) = difference(&settings.decisive(command)?, &theirs) {
            return Err(format!(
                "--output {} holds trainings of other settings ({difference}): choose another \
                 folder, or begin anew with --restart",
                folder.display(),
            )
            .into());
        }
    }
    write(&path, &settings.to_toml()?).map_err(failed)?;
    Ok(lock)
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
        let failed = |error: String| format!("{}: {error}", path.display());
        let file = limited::read(&path).map_err(|error| failed(error.to_string()))?;
        Ok(serde_json::from_slice(&file).map_err(|error| failed(error.to_string()))?)
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

/// A domain's name as part of a file's.
pub fn file_name(name: &str) -> String {
    let other = |c: char| terminal::is_hidden(c) || r#"/\:*?"<>|"#.contains(c);
    name.replace(other, "-")
}
