//! A training that goes on where it was interrupted.

use std::{
    error::Error,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use burn::module::Module;
use roga::checkpoint::{Checkpoints, CheckpointsConfig};
use roga::optim::{RobustGradientAlignment, RobustGradientAlignmentRecord};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    interrupt::{self, Interrupted},
    output::{read_json, write},
    terminal,
};

/// What the numbers of a training depend on.
pub trait Settings: Debug + PartialEq + Serialize + DeserializeOwned {}

impl<S: Debug + PartialEq + Serialize + DeserializeOwned> Settings for S {}

/// What is written down when a training is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finished<S> {
    pub settings: S,
    pub seconds: f64,
}

const FINISHED: &str = "finished.json";
const CHECKPOINTS: &str = "checkpoints";
const STEPS: &str = "steps.csv";

impl<S: Settings> Finished<S> {
    /// None where the training is not over.
    pub fn read(folder: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        let path = folder.join(FINISHED);
        path.exists().then(|| read_json(&path)).transpose()
    }
}

/// The rows of a training that is over.
pub fn rows<R: DeserializeOwned>(folder: &Path) -> Result<Vec<R>, Box<dyn Error>> {
    let path = folder.join(STEPS);
    let failed = |error: csv::Error| format!("{}: {error}", path.display());
    let rows = csv::Reader::from_path(&path).map_err(failed)?;
    let rows: Result<Vec<R>, csv::Error> = rows.into_deserialize().collect();
    Ok(rows.map_err(failed)?)
}

/// A net in training, in a folder of its own: its checkpoints while it lasts, `steps.csv`, and
/// `finished.json` when it is over.
pub struct Training<S, N> {
    pub settings: S,
    pub net: N,
    pub optim: RobustGradientAlignment,
    /// `steps.csv`. A copy is in each checkpoint, so that both are of the same step.
    steps: String,
    seconds_before: f64,
    begin: Instant,
    saved: Instant,
    at_stake: Duration,
    checkpoints: Checkpoints,
    folder: PathBuf,
}

impl<S: Settings, N: Module> Training<S, N> {
    /// From the start, or from what an earlier run of the same settings has left in the folder; none
    /// where that is all of it. An interruption costs `at_stake` at most. `start` is told how many steps
    /// were made.
    pub fn begin(
        settings: S,
        folder: &Path,
        at_stake: Duration,
        start: impl FnOnce(&S, u64) -> Result<(N, RobustGradientAlignment), Box<dyn Error>>,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if let Some(finished) = Finished::<S>::read(folder)? {
            same(&settings, finished.settings, folder)?;
            return Ok(None);
        }
        let checkpoints = CheckpointsConfig::new(folder.join(CHECKPOINTS)).init()?;
        let record = latest(&checkpoints)?;
        let made = record
            .as_ref()
            .map_or(0, RobustGradientAlignmentRecord::steps);
        let (mut net, mut optim) = start(&settings, made)?;
        let (mut steps, mut seconds_before) = (String::new(), 0.0);
        if let Some(record) = record {
            let note = |name| record.note(name).ok_or(format!("the record has no {name}"));
            same(&settings, serde_json::from_str(note("settings")?)?, folder)?;
            net = record.load_model(net)?;
            optim.load_record(&record)?;
            steps = note("steps")?.into();
            seconds_before = note("seconds")?.parse()?;
        }
        let now = Instant::now();
        Ok(Some(Self {
            settings,
            net,
            optim,
            steps,
            seconds_before,
            begin: now,
            saved: now,
            at_stake,
            checkpoints,
            folder: folder.into(),
        }))
    }

    /// The number of the next step.
    pub fn step(&self) -> u64 {
        self.optim.gradient().steps()
    }

    /// Adds a row to `steps.csv`.
    pub fn push(&mut self, row: impl Serialize) -> Result<(), Box<dyn Error>> {
        let mut csv = csv::WriterBuilder::new()
            .has_headers(self.steps.is_empty())
            .from_writer(Vec::new());
        csv.serialize(row)?;
        self.steps += &String::from_utf8(csv.into_inner()?)?;
        Ok(())
    }

    /// How long it took so far, earlier runs of the same command included.
    pub fn seconds(&self) -> f64 {
        self.seconds_before + self.begin.elapsed().as_secs_f64()
    }

    /// After a step: writes a checkpoint where too much would be lost without, and ends with it where
    /// that is asked for.
    pub fn keep(&mut self) -> Result<(), Box<dyn Error>> {
        let interrupted = interrupt::asked();
        if interrupted || self.saved.elapsed() >= self.at_stake {
            self.save()?;
            self.saved = Instant::now();
        }
        match interrupted {
            true => Err(Interrupted { step: self.step() }.into()),
            false => Ok(()),
        }
    }

    fn save(&self) -> Result<(), Box<dyn Error>> {
        write(&self.folder.join(STEPS), &self.steps)?;
        let record = self
            .optim
            .to_record()?
            .with_model(&self.net)?
            .with_note("settings", serde_json::to_string(&self.settings)?)
            .with_note("steps", self.steps.clone())
            .with_note("seconds", self.seconds().to_string());
        let saved = self
            .checkpoints
            .save(self.step(), None, |path| record.save(path));
        Ok(saved.map(drop)?)
    }

    /// Says that the training is over. Its checkpoints are not needed any more.
    pub fn finish(self) -> Result<(), Box<dyn Error>> {
        write(&self.folder.join(STEPS), &self.steps)?;
        let finished = Finished {
            seconds: self.seconds(),
            settings: self.settings,
        };
        let text = serde_json::to_string_pretty(&finished)?;
        write(&self.folder.join(FINISHED), &text)?;
        // A folder that is locked cannot be removed everywhere.
        drop(self.checkpoints);
        Ok(fs::remove_dir_all(self.folder.join(CHECKPOINTS))?)
    }
}

/// The record to go on from, where there is one.
fn latest(
    checkpoints: &Checkpoints,
) -> Result<Option<RobustGradientAlignmentRecord>, Box<dyn Error>> {
    let Some(latest) = checkpoints.latest()? else {
        return Ok(None);
    };
    for damaged in &latest.passed_over {
        let step = latest.step;
        terminal::warn(&format!(
            "{damaged}: the one of step {step} is taken instead"
        ));
    }
    Ok(Some(RobustGradientAlignmentRecord::load(&latest.path)?))
}

/// Refuses to go on with other settings.
fn same<S: Settings>(ours: &S, theirs: S, folder: &Path) -> Result<(), Box<dyn Error>> {
    // Writing and reading may change the last bit of a number.
    let ours: S = serde_json::from_str(&serde_json::to_string(ours)?)?;
    match ours == theirs {
        true => Ok(()),
        false => Err(format!(
            "{} holds a training of other settings, {theirs:?} instead of {ours:?}: choose another \
             --output",
            folder.display()
        )
        .into()),
    }
}
