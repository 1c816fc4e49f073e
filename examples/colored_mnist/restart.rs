//! One restart of the IRM set-up, from the first step or from where it was interrupted.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::loss::BinaryCrossEntropyLossConfig,
    optim::AdamConfig,
    tensor::{Device, Tensor},
};
use roga::{
    domain::{DomainBatches, MicroBatches, Seeds},
    optim::{RobustGradientAlignment, RobustGradientAlignmentRecord, StepReport, micro_batched},
};
use serde::{Deserialize, Serialize};

use crate::{
    environment::{Environment, Environments, FLIPS},
    method::{Lengths, Method},
    mnist::Digits,
    model::Mlp,
    output::{read_json, write},
    terminal::say,
};

/// The published settings, chosen there for IRM and used for all methods.
const LR: f64 = 4.898_536_566_546_834e-4;
const L2: f64 = 0.001_107_945_68;
pub const STEPS: u64 = 501;

/// Rows of a part of a batch: their activations stay in the cache, and the step is the same up to
/// rounding.
const ROWS: usize = 2500;

/// What the numbers of a restart depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub method: Method,
    pub lengths: Lengths,
    pub seed: u64,
    pub restart: u64,
    pub steps: u64,
}

/// How a restart goes, whatever its numbers are.
pub struct Pace {
    /// Steps between two evaluations.
    pub every: u64,
    /// How much time an interruption may cost.
    pub at_stake: Duration,
}

/// Accuracies, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracies {
    pub train: f64,
    pub test: f64,
    pub grey: f64,
}

/// What is written down when a restart is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    pub settings: Settings,
    /// Before the last step, as published.
    pub accuracies: Accuracies,
    pub seconds: f64,
    /// Of the steps alone.
    pub seconds_a_step: f64,
}

impl Finished {
    pub const FILE: &str = "finished.json";
}

/// Makes the restart, or what is left of it, in its folder.
pub fn run(
    settings: &Settings,
    pace: &Pace,
    digits: &Digits,
    device: &Device,
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if folder.join(Finished::FILE).exists() {
        let finished: Finished = read_json(&folder.join(Finished::FILE))?;
        return same(settings, &finished.settings, folder);
    }
    Restart::begin(settings, pace, digits, device, folder)?.run()
}

fn same(ours: &Settings, theirs: &Settings, folder: &Path) -> Result<(), Box<dyn Error>> {
    match ours == theirs {
        true => Ok(()),
        false => Err(format!(
            "{} holds a restart of other settings, {theirs:?} instead of {ours:?}: choose another \
             --output",
            folder.display()
        )
        .into()),
    }
}

type Batch = MicroBatches<Environment>;

struct Restart<'a> {
    settings: &'a Settings,
    pace: &'a Pace,
    environments: Environments,
    batches: DomainBatches<Batch>,
    net: Mlp,
    optim: RobustGradientAlignment,
    /// `steps.csv` so far, and the seconds that earlier runs of the same command took.
    steps: String,
    last: Option<Accuracies>,
    times: Times,
    begin: Instant,
    folder: PathBuf,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Times {
    all: f64,
    steps: f64,
}

const RECORD: &str = "record.bpk";
const HEADER: &str = "step,loss,cosine,train,test,grey,nll\n";

impl<'a> Restart<'a> {
    fn begin(
        settings: &'a Settings,
        pace: &'a Pace,
        digits: &Digits,
        device: &Device,
        folder: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let seeds = Seeds {
            hyper_parameters: 0,
            split: settings.seed,
            run: settings.seed,
        };
        let seeds = seeds.trial(settings.restart);
        let environments = Environments::new(digits, seeds.split, device);
        let mut net = Mlp::new(seeds.run, device);
        let config = settings
            .method
            .config(settings.lengths)
            .with_seed(seeds.run);
        let mut optim = config.init(AdamConfig::new().with_epsilon(1e-8).init())?;
        let (mut steps, mut times) = (HEADER.to_string(), Times::default());
        let path = folder.join(RECORD);
        if path.exists() {
            let record = RobustGradientAlignmentRecord::load(&path)?;
            let note = |name| record.note(name).ok_or(format!("the record has no {name}"));
            same(settings, &serde_json::from_str(note("settings")?)?, folder)?;
            net = record.load_model(net)?;
            optim.load_record(&record)?;
            steps = note("steps")?.into();
            times = serde_json::from_str(note("times")?)?;
        }
        Ok(Self {
            settings,
            pace,
            batches: batches(&environments)?,
            environments,
            net,
            optim,
            steps,
            last: None,
            times,
            begin: Instant::now(),
            folder: folder.into(),
        })
    }

    fn run(mut self) -> Result<(), Box<dyn Error>> {
        let mut saved = Instant::now();
        let first = self.optim.gradient().steps();
        let steps = self.settings.steps;
        for step in first..steps {
            let due = step % self.pace.every == 0 || step + 1 == steps;
            let evaluated = due.then(|| self.evaluate()).transpose()?;
            let begin = Instant::now();
            let loss = micro_batched(|net: &Mlp, rows: &Environment| loss(net, rows));
            let report = self.optim.step(LR, &mut self.net, &self.batches, loss)?;
            self.times.steps += begin.elapsed().as_secs_f64();
            self.steps += &row(&report, evaluated);
            if let Some((accuracies, _)) = evaluated {
                self.say(step, accuracies);
                self.last = Some(accuracies);
            }
            if saved.elapsed() >= self.pace.at_stake {
                self.save()?;
                saved = Instant::now();
            }
        }
        self.finish()
    }

    /// The accuracies, and the mean loss without its weights' part.
    fn evaluate(&self) -> Result<(Accuracies, f64), Box<dyn Error>> {
        let net = self.net.valid();
        let Environments { train, test, grey } = &self.environments;
        let [first, second] = [evaluate(&net, &train[0])?, evaluate(&net, &train[1])?];
        let accuracies = Accuracies {
            train: (first.0 + second.0) / 2.0,
            test: evaluate(&net, test)?.0,
            grey: evaluate(&net, grey)?.0,
        };
        Ok((accuracies, (first.1 + second.1) / 2.0))
    }

    fn say(&self, step: u64, Accuracies { train, test, grey }: Accuracies) {
        let Settings {
            method,
            restart,
            steps,
            ..
        } = self.settings;
        let a_step = self.times.steps / (step + 1) as f64;
        say(&format!(
            "{}, restart {restart}: step {step:>3} of {steps}, train {:.1} test {:.1} grey {:.1}, \
             {a_step:.2} s a step, {:.0} min left",
            method.name(),
            100.0 * train,
            100.0 * test,
            100.0 * grey,
            a_step * (steps - step - 1) as f64 / 60.0
        ));
    }

    fn times(&self) -> Times {
        let all = self.times.all + self.begin.elapsed().as_secs_f64();
        Times { all, ..self.times }
    }

    fn save(&self) -> Result<(), Box<dyn Error>> {
        write(&self.folder.join("steps.csv"), &self.steps)?;
        let record = self
            .optim
            .to_record()?
            .with_model(&self.net)?
            .with_note("settings", serde_json::to_string(self.settings)?)
            .with_note("steps", self.steps.clone())
            .with_note("times", serde_json::to_string(&self.times())?);
        Ok(record.save(self.folder.join(RECORD))?)
    }

    fn finish(self) -> Result<(), Box<dyn Error>> {
        self.save()?;
        let times = self.times();
        let finished = Finished {
            settings: self.settings.clone(),
            accuracies: self.last.ok_or("there was no step")?,
            seconds: times.all,
            seconds_a_step: times.steps / self.settings.steps as f64,
        };
        let text = serde_json::to_string_pretty(&finished)?;
        write(&self.folder.join(Finished::FILE), &text)
    }
}

/// The training environments, each as one batch.
fn batches(environments: &Environments) -> roga::Result<DomainBatches<Batch>> {
    let mut batches = Vec::new();
    for (environment, flip) in environments.train.iter().zip(FLIPS) {
        let rows = environment.rows();
        let parts = (0..rows).step_by(ROWS).map(|first| {
            let part = first..rows.min(first + ROWS);
            (part.len(), environment.slice(part))
        });
        batches.push((format!("flip {flip}"), MicroBatches::new(parts)?));
    }
    DomainBatches::new(batches)
}

/// The mean negative log-likelihood.
fn nll(logits: Tensor<2>, rows: &Environment) -> Tensor<1> {
    BinaryCrossEntropyLossConfig::new()
        .with_logits(true)
        .init(&logits.device())
        .forward(logits, rows.labels.clone())
}

fn loss(net: &Mlp, rows: &Environment) -> Tensor<1> {
    let logits = net.forward(rows.pictures.clone());
    nll(logits, rows) + squares(net) * L2
}

/// $\sum \lVert w \rVert^2$ over all weights and biases.
fn squares(net: &Mlp) -> Tensor<1> {
    struct Squares(Option<Tensor<1>>);

    impl ModuleVisitor for Squares {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let square = param.val().square().sum();
            self.0 = Some(match self.0.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }

    let mut squares = Squares(None);
    net.visit(&mut squares);
    squares
        .0
        .unwrap_or_else(|| Tensor::zeros([1], &net.devices()[0]))
}

/// Accuracy and loss.
fn evaluate(net: &Mlp, environment: &Environment) -> Result<(f64, f64), Box<dyn Error>> {
    let rows = environment.rows();
    let (mut right, mut loss) = (0.0, 0.0);
    for first in (0..rows).step_by(ROWS) {
        let part = environment.slice(first..rows.min(first + ROWS));
        let part = Environment {
            pictures: part.pictures.inner(),
            labels: part.labels.inner(),
        };
        let logits = net.forward(part.pictures.clone());
        let says = logits.clone().greater_elem(0.0).int();
        let correct = says.equal(part.labels.clone()).int().sum();
        right += correct.try_into_scalar::<i64>()? as f64;
        loss += nll(logits, &part).try_into_scalar::<f32>()? as f64 * part.rows() as f64;
    }
    Ok((right / rows as f64, loss / rows as f64))
}

/// A line of `steps.csv`; empty where there is no such number.
fn row(report: &StepReport, evaluated: Option<(Accuracies, f64)>) -> String {
    let or_empty = |number: Option<f64>| number.map_or_else(String::new, |n| n.to_string());
    let of = |of: fn((Accuracies, f64)) -> f64| or_empty(evaluated.map(of));
    format!(
        "{},{},{},{},{},{},{}\n",
        report.step,
        report.mean_loss(),
        or_empty(report.mean_cosine()),
        of(|(accuracies, _)| accuracies.train),
        of(|(accuracies, _)| accuracies.test),
        of(|(accuracies, _)| accuracies.grey),
        of(|(_, nll)| nll),
    )
}
