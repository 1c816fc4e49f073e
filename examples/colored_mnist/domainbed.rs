//! One training in DomainBed's set-up: a small convolutional net, mini-batches of all domains but one.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use burn::{
    data::{dataloader::DataLoader, dataset::Dataset},
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::AdamConfig,
    tensor::{Device, Tensor},
};
use roga::{
    aggregation::VRex,
    domain::{DomainBatches, DomainDataLoader, DomainDataLoaderBuilder, EpochLength, Seeds},
    optim::RobustGradientAlignment,
    search::{Distribution, Parameter, SearchSpace},
};
use serde::{Deserialize, Serialize};

use crate::{
    domains::{Batch, Domain, Drawn, Part, Set, Stack},
    irm,
    method::{Method, Penalty, Tuned},
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
    pub tuned: Tuned,
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
    /// Pictures of each part that a checkpoint is scored on, at most; none for all.
    pub scored: Option<usize>,
}

/// From this step on IRM's penalty weighs [`IRM_WEIGHT`] in place of 1, and V-REx's 10: DomainBed's
/// defaults.
const ANNEAL: u64 = 500;
const IRM_WEIGHT: f64 = 100.0;

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
        let batch = Parameter::new(default.batch as i64, Distribution::PowerOf2(3.0, 9.0));
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
    output: &Path,
    at_stake: Duration,
) -> Result<(), Box<dyn Error>> {
    if run.method.penalty() == Some(Penalty::Fishr) {
        return Err("--methods: fishr is not made in DomainBed's set-up".into());
    }
    let training = begin(run, device, output, at_stake)?;
    let Some(mut training) = training else {
        return Ok(());
    };
    let loader = loader(run, domains, device)?;
    loader.set_position(training.step());
    // An epoch is all of it: at its end the next would begin.
    while training.step() < run.steps {
        for batches in loader.iter() {
            step(&mut training, &batches?, domains)?;
            training.keep()?;
        }
    }
    training.finish()
}

/// A step, and the scores after it where they are due.
fn step(
    training: &mut Training<Run, MnistCnn>,
    batches: &DomainBatches<Batch>,
    domains: &[Domain],
) -> Result<(), Box<dyn Error>> {
    let (step, run) = (training.step(), &training.settings);
    let penalty = run.method.penalty().map(|_| match step < ANNEAL {
        true => 1.0,
        false => IRM_WEIGHT,
    });
    if step == ANNEAL && (penalty.is_some() || run.method == Method::VRex) {
        // The moments are those of another loss: Adam begins anew.
        training.optim = optimizer(run)?;
        training.optim.gradient().set_steps(step);
    }
    let run = &training.settings;
    let due = step.is_multiple_of(run.every) || step + 1 == run.steps;
    let loss = |net: &MnistCnn, batch: &Batch| loss(net, batch, penalty);
    let (optim, net) = (&mut training.optim, &mut training.net);
    let report = optim.step(run.setting.lr, net, batches, loss)?;
    match due {
        true => score(training, domains, step + 1, report.mean_loss()),
        false => Ok(()),
    }
}

fn begin(
    run: &Run,
    device: &Device,
    output: &Path,
    at_stake: Duration,
) -> Result<Option<Training<Run, MnistCnn>>, Box<dyn Error>> {
    let folder = output.join(run.folder());
    Training::begin(run.clone(), &folder, at_stake, |run, _| {
        let (channels, classes) = (run.set.channels(), run.set.classes());
        let net = MnistCnn::new(channels, classes, run.seeds().run, device);
        Ok((net, optimizer(run)?))
    })
}

fn optimizer(run: &Run) -> roga::Result<RobustGradientAlignment> {
    let config = run.method.config(run.tuned, VRex::default());
    let config = config.with_seed(run.seeds().run);
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

/// The loss of a domain, and IRM's penalty where it weighs so much.
fn loss(net: &MnistCnn, batch: &Batch, penalty: Option<f64>) -> Tensor<1> {
    let logits = net.forward(batch.pictures.clone());
    let loss = CrossEntropyLossConfig::new()
        .init(&batch.labels.device())
        .forward(logits.clone(), batch.labels.clone());
    match penalty {
        Some(weight) => loss + irm::penalty_of_halves(logits, batch.labels.clone()) * weight,
        None => loss,
    }
}

/// Scores a checkpoint on both parts of all domains.
fn score(
    training: &mut Training<Run, MnistCnn>,
    domains: &[Domain],
    step: u64,
    loss: f64,
) -> Result<(), Box<dyn Error>> {
    let net = training.net.valid();
    let scored = training.settings.scored.unwrap_or(usize::MAX);
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
        "{}, {}, trial {}, draw {}, without {}: step {step:>4} of {}, loss {loss:.3},{text}, {:.0} \
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
        right += says
            .equal(batch.labels)
            .int()
            .sum()
            .try_into_scalar::<i64>()?;
    }
    Ok(right as f64 / most.min(part.len()) as f64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::mnist::{FILES, tests::drawn};

    fn short(set: Set, method: Method) -> Run {
        Run {
            set,
            method,
            tuned: Tuned::default(),
            seed: 1,
            trial: 0,
            draw: 0,
            setting: Setting { lr: 1e-3, batch: 2 },
            without: vec![set.domain_names()[0].clone()],
            steps: 5,
            every: 2,
            scored: Some(3),
        }
    }

    #[test]
    fn killed_and_started_again_it_ends_alike() {
        let data = drawn(60);
        let digits = Digits::read(data.path(), FILES[0]).unwrap();
        let device = Device::flex().autodiff();
        let whole = short(Set::Colored, Method::Irm);
        let domains = domains(&whole, &digits).unwrap();
        let [output, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let steps = |output: &Path, at_stake| {
            run(&whole, &domains, &device, output, at_stake).unwrap();
            fs::read_to_string(output.join(whole.folder()).join("steps.csv")).unwrap()
        };
        let expected = steps(output.path(), Duration::MAX);
        assert_eq!(expected.lines().count(), 1 + 3 * 3);
        let training = begin(&whole, &device, other.path(), Duration::ZERO);
        let mut training = training.unwrap().unwrap();
        let loader = loader(&whole, &domains, &device).unwrap();
        for batches in loader.iter().take(3) {
            step(&mut training, &batches.unwrap(), &domains).unwrap();
            training.keep().unwrap();
        }
        drop(training);
        assert_eq!(steps(other.path(), Duration::MAX), expected);
    }

    #[test]
    fn the_first_setting_is_the_default_and_the_others_are_drawn() {
        let default = Setting {
            lr: 1e-3,
            batch: 64,
        };
        assert_eq!(Setting::draw(default, 5, 0).unwrap(), default);
        let drawn: Vec<Setting> = (1..50)
            .map(|i| Setting::draw(default, 5, i).unwrap())
            .collect();
        let batches = drawn.iter().map(|of| of.batch);
        assert!(batches.clone().min() >= Some(8) && batches.max() <= Some(512));
        let within = |of: &Setting| (10_f64.powf(-4.5)..10_f64.powf(-2.5)).contains(&of.lr);
        assert!(drawn.iter().all(within) && drawn[0] != drawn[1]);
    }
}
