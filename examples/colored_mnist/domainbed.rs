//! One training in DomainBed's set-up: a small convolutional net, mini-batches of all domains but one.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use burn::{
    data::{dataloader::DataLoader, dataset::Dataset},
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::AdamConfig,
    tensor::{Device, Tensor},
};
use roga::{
    domain::{DomainDataLoader, DomainDataLoaderBuilder, EpochLength, Seeds},
    optim::RobustGradientAlignment,
    search::{Distribution, Parameter, SearchSpace},
};
use serde::{Deserialize, Serialize};

use crate::{
    domains::{Batch, Domain, Drawn, Part, Set, Stack},
    method::{Lengths, Method},
    mnist::Digits,
    model::MnistCnn,
    restart::EPSILON,
    terminal::say,
    training::Training,
};

/// What the numbers of a training depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub set: Set,
    pub method: Method,
    pub lengths: Lengths,
    pub seed: u64,
    pub trial: u64,
    /// The number of the setting.
    pub draw: u64,
    pub setting: Setting,
    /// The domains that are not trained on: that of the test, and one more where settings are chosen
    /// by a held-out training domain.
    pub without: Vec<Arc<str>>,
    pub steps: u64,
    /// Steps between two checkpoints.
    pub every: u64,
    /// Pictures of each part that a checkpoint is scored on, at most.
    pub scored: usize,
}

/// What is drawn in a random search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub lr: f64,
    /// Pictures of a domain in a step.
    pub batch: usize,
}

impl Setting {
    /// The setting of that number: 0 is the default, the others are drawn as DomainBed's are.
    pub fn draw(default: Self, seed: u64, number: u64) -> roga::Result<Self> {
        let batch = Parameter::new(default.batch as u64, Distribution::PowerOf2(3.0, 9.0));
        let lr = Parameter::new(default.lr, Distribution::PowerOf10(-4.5, -2.5));
        let space = SearchSpace::new([("lr", lr), ("batch", batch.with_whole(true))])?;
        space.draw(seed, number).read()
    }
}

/// A row of `steps.csv`: a checkpoint's scores on a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// How many steps were made.
    pub step: u64,
    /// Of the last of them.
    pub loss: f64,
    pub domain: Arc<str>,
    /// Accuracies, from 0 to 1.
    pub inner: f64,
    pub outer: f64,
}

impl Run {
    /// The place of its files in the output folder.
    pub fn folder(&self) -> PathBuf {
        let set = PathBuf::from("domainbed").join(self.set.name());
        set.join(self.method.name())
            .join(format!("trial-{}", self.trial))
            .join(format!("draw-{}", self.draw))
            .join(format!("without-{}", self.without.join("-and-")))
    }

    pub fn seeds(&self) -> Seeds {
        let seeds = Seeds {
            hyper_parameters: 0,
            split: self.seed,
            run: self.seed,
        };
        seeds.trial(self.trial)
    }
}

/// A trial's domains: they are the same in all trainings of it.
pub fn domains(run: &Run, digits: &Digits) -> roga::Result<Vec<Domain>> {
    run.set.domains(digits, run.seeds().split)
}

/// Makes the training, or what is left of it.
pub fn run(
    run: &Run,
    domains: &[Domain],
    device: &Device,
    output: &std::path::Path,
    at_stake: Duration,
) -> Result<(), Box<dyn Error>> {
    let seed = run.seeds().run;
    let folder = output.join(run.folder());
    let training = Training::begin(run.clone(), &folder, at_stake, |run| {
        let net = MnistCnn::new(run.set.channels(), run.set.classes(), seed, device);
        Ok((net, optimizer(run, seed)?))
    })?;
    let Some(mut training) = training else {
        return Ok(());
    };
    let loader = loader(run, domains, device)?;
    loader.set_position(training.step());
    for batches in loader.iter() {
        let lr = run.setting.lr;
        let report = training.optim.step(lr, &mut training.net, &batches?, loss)?;
        let made = report.step + 1;
        if report.step.is_multiple_of(run.every) || made == run.steps {
            score(&mut training, domains, made, report.mean_loss())?;
        }
        training.keep()?;
        if made == run.steps {
            break;
        }
    }
    training.finish()
}

fn optimizer(run: &Run, seed: u64) -> roga::Result<RobustGradientAlignment> {
    let config = run.method.config(run.lengths).with_seed(seed);
    config.init(AdamConfig::new().with_epsilon(EPSILON).init())
}

fn loader(
    run: &Run,
    domains: &[Domain],
    device: &Device,
) -> roga::Result<DomainDataLoader<Drawn, Batch>> {
    let trained = domains.iter().filter(|of| !run.without.contains(&of.name));
    DomainDataLoaderBuilder::new(Stack)
        .batch_size(run.setting.batch)
        .seed(run.seeds().run)
        .num_workers(1)
        .epoch(EpochLength::Steps(run.steps as usize))
        .set_device(device.clone())
        .augment(Drawn::with_replacement)
        .domains(trained.map(|of| (of.name.clone(), of.inner.clone())))
        .build()
}

fn loss(net: &MnistCnn, batch: &Batch) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&batch.labels.device())
        .forward(net.forward(batch.pictures.clone()), batch.labels.clone())
}

/// Scores a checkpoint on both parts of all domains.
fn score(
    training: &mut Training<Run, MnistCnn>,
    domains: &[Domain],
    step: u64,
    loss: f64,
) -> Result<(), Box<dyn Error>> {
    let net = training.net.valid();
    let scored = training.settings.scored;
    let mut text = String::new();
    for domain in domains {
        let row = Row {
            step,
            loss,
            domain: domain.name.clone(),
            inner: accuracy(&net, &domain.inner, scored)?,
            outer: accuracy(&net, &domain.outer, scored)?,
        };
        text += &format!(" {} {:.1}", row.domain, 100.0 * row.inner);
        training.push(row)?;
    }
    let run = &training.settings;
    say(&format!(
        "{}, {}, trial {}, draw {}, without {}: step {step:>4} of {}, loss {loss:.3}, {text}, {:.0} \
         min left",
        run.set.name(),
        run.method.name(),
        run.trial,
        run.draw,
        run.without.join(" and "),
        run.steps,
        training.seconds() / step as f64 * (run.steps - step) as f64 / 60.0
    ));
    Ok(())
}

fn accuracy(net: &MnistCnn, part: &Part, most: usize) -> Result<f64, Box<dyn Error>> {
    let device = net.devices().remove(0);
    let mut right = 0;
    for batch in part.batches(most, 500, &device) {
        let says = net.forward(batch.pictures).argmax(1).squeeze_dim::<1>(1);
        right += says.equal(batch.labels).int().sum().try_into_scalar::<i64>()?;
    }
    Ok(right as f64 / most.min(part.len()) as f64)
}
