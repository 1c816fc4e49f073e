//! One restart of the IRM set-up.

use std::{error::Error, path::Path, time::Duration};

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::loss::BinaryCrossEntropyLossConfig,
    optim::AdamConfig,
    tensor::{Device, Tensor},
};
use roga::{
    domain::{DomainBatches, MicroBatches, Seeds},
    optim::micro_batched,
};
use serde::{Deserialize, Serialize};

use crate::{
    environment::{Environment, Environments, FLIPS},
    method::{Lengths, Method},
    mnist::Digits,
    model::Mlp,
    terminal::say,
    training::Training,
};

/// The published settings, chosen there for IRM and used for all methods.
const LR: f64 = 4.898_536_566_546_834e-4;
const L2: f64 = 0.001_107_945_68;
pub const STEPS: u64 = 501;

/// PyTorch's; burn's own is larger.
pub const EPSILON: f32 = 1e-8;

/// Rows of a part of a batch: their activations stay in the cache, and the step is the same up to
/// rounding.
const ROWS: usize = 1000;

/// What the numbers of a restart depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    pub method: Method,
    pub lengths: Lengths,
    pub seed: u64,
    pub number: u64,
    pub steps: u64,
    /// Steps between two evaluations.
    pub every: u64,
}

/// A row of `steps.csv`: what was seen before the step, the last columns where it was evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub step: u64,
    /// What is descended, the weights' part included.
    pub loss: f64,
    /// Between the environments' gradients.
    pub cosine: Option<f64>,
    /// The mean negative log-likelihood of the training environments.
    pub nll: Option<f64>,
    /// Accuracies, from 0 to 1.
    pub train: Option<f64>,
    pub test: Option<f64>,
    pub grey: Option<f64>,
}

type Batch = MicroBatches<Environment>;

/// Makes the restart, or what is left of it, in its folder.
pub fn run(
    restart: &Restart,
    digits: &Digits,
    device: &Device,
    folder: &Path,
    at_stake: Duration,
) -> Result<(), Box<dyn Error>> {
    let environments = Environments::new(digits, restart.seeds().split, device);
    let batches = batches(&environments)?;
    let training = begin(restart, device, folder, at_stake)?;
    let Some(mut training) = training else {
        return Ok(());
    };
    while training.step() < restart.steps {
        step(&mut training, &environments, &batches)?;
        training.keep()?;
    }
    training.finish()
}

fn begin(
    restart: &Restart,
    device: &Device,
    folder: &Path,
    at_stake: Duration,
) -> Result<Option<Training<Restart, Mlp>>, Box<dyn Error>> {
    Training::begin(restart.clone(), folder, at_stake, |restart| {
        let seed = restart.seeds().run;
        let config = restart.method.config(restart.lengths).with_seed(seed);
        let base = AdamConfig::new().with_epsilon(EPSILON);
        Ok((Mlp::new(seed, device), config.init(base.init())?))
    })
}

impl Restart {
    /// Those of its data and of its weights.
    fn seeds(&self) -> Seeds {
        let seeds = Seeds {
            hyper_parameters: 0,
            split: self.seed,
            run: self.seed,
        };
        seeds.trial(self.number)
    }

    fn say(&self, row: &Row, seconds: f64) {
        let percent = |share: Option<f64>| 100.0 * share.unwrap_or(f64::NAN);
        let a_step = seconds / (row.step + 1) as f64;
        say(&format!(
            "{}, restart {}: step {:>3} of {}, train {:.1} test {:.1} grey {:.1}, {a_step:.2} s a \
             step, {:.0} min left",
            self.method.name(),
            self.number,
            row.step,
            self.steps,
            percent(row.train),
            percent(row.test),
            percent(row.grey),
            a_step * (self.steps - row.step - 1) as f64 / 60.0
        ));
    }
}

/// The training environments, each as one batch.
fn batches(environments: &Environments) -> roga::Result<DomainBatches<Batch>> {
    let mut batches = Vec::new();
    for (environment, flip) in environments.train.iter().zip(FLIPS) {
        let parts = environment.parts(ROWS).map(|part| (part.rows(), part));
        batches.push((format!("flip {flip}"), MicroBatches::new(parts)?));
    }
    DomainBatches::new(batches)
}

fn step(
    training: &mut Training<Restart, Mlp>,
    environments: &Environments,
    batches: &DomainBatches<Batch>,
) -> Result<(), Box<dyn Error>> {
    let (step, restart) = (training.step(), &training.settings);
    let due = step.is_multiple_of(restart.every) || step + 1 == restart.steps;
    let evaluated = due.then(|| evaluate(&training.net, environments));
    let [nll, train, test, grey] = match evaluated.transpose()? {
        Some(numbers) => numbers.map(Some),
        None => [None; 4],
    };
    let loss = micro_batched(|net: &Mlp, rows: &Environment| loss(net, rows));
    let report = training.optim.step(LR, &mut training.net, batches, loss)?;
    let row = Row {
        step,
        loss: report.mean_loss(),
        cosine: report.mean_cosine(),
        nll,
        train,
        test,
        grey,
    };
    if due {
        training.settings.say(&row, training.seconds());
    }
    training.push(row)
}

fn loss(net: &Mlp, rows: &Environment) -> Tensor<1> {
    let logits = net.forward(rows.pictures.clone());
    nll(logits, rows) + squares(net) * L2
}

/// The mean negative log-likelihood.
fn nll(logits: Tensor<2>, rows: &Environment) -> Tensor<1> {
    BinaryCrossEntropyLossConfig::new()
        .with_logits(true)
        .init(&logits.device())
        .forward(logits, rows.labels.clone().unsqueeze_dim(1))
}

/// $\sum \lVert w \rVert^2$ over all weights and biases.
fn squares(net: &Mlp) -> Tensor<1> {
    struct Squares(Vec<Tensor<1>>);

    impl ModuleVisitor for Squares {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().square().sum());
        }
    }

    let mut squares = Squares(Vec::new());
    net.visit(&mut squares);
    Tensor::cat(squares.0, 0).sum()
}

/// The mean loss of the training environments, and the accuracies of training, test and grey test.
fn evaluate(net: &Mlp, environments: &Environments) -> Result<[f64; 4], Box<dyn Error>> {
    let net = net.valid();
    let Environments { train, test, grey } = environments;
    let of = |environment| evaluate_one(&net, environment);
    let [first, second, test, grey] = [of(&train[0])?, of(&train[1])?, of(test)?, of(grey)?];
    let mean = |place: usize| (first[place] + second[place]) / 2.0;
    Ok([mean(0), mean(1), test[1], grey[1]])
}

/// The mean loss and the accuracy.
fn evaluate_one(net: &Mlp, environment: &Environment) -> Result<[f64; 2], Box<dyn Error>> {
    let mut sums = [0.0; 2];
    for part in environment.parts(ROWS) {
        let part = Environment {
            pictures: part.pictures.inner(),
            labels: part.labels.inner(),
        };
        let logits = net.forward(part.pictures.clone());
        let says = logits.clone().greater_elem(0.0).int();
        let right = says.squeeze_dim(1).equal(part.labels.clone()).int().sum();
        sums[0] += f64::from(nll(logits, &part).try_into_scalar::<f32>()?) * part.rows() as f64;
        sums[1] += right.try_into_scalar::<i64>()? as f64;
    }
    Ok(sums.map(|sum| sum / environment.rows() as f64))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::mnist::tests::drawn;

    fn restart(method: Method) -> Restart {
        Restart {
            method,
            lengths: Lengths {
                rho: 0.05,
                gamma: 5e-4,
            },
            seed: 3,
            number: 1,
            steps: 7,
            every: 3,
        }
    }

    /// `steps.csv` of a whole training.
    fn steps(restart: &Restart, digits: &Digits, folder: &Path) -> String {
        let device = Device::flex().autodiff();
        run(restart, digits, &device, folder, Duration::MAX).unwrap();
        assert!(!folder.join("record.bpk").exists());
        fs::read_to_string(folder.join("steps.csv")).unwrap()
    }

    #[test]
    fn killed_and_started_again_it_ends_alike() {
        let data = drawn(240);
        let digits = Digits::read(data.path(), "train").unwrap();
        let device = Device::flex().autodiff();
        for method in [Method::Erm, Method::RogaSampled] {
            let restart = restart(method);
            let [whole, killed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let expected = steps(&restart, &digits, whole.path());
            let environments = Environments::new(&digits, restart.seeds().split, &device);
            let batches = batches(&environments).unwrap();
            let training = begin(&restart, &device, killed.path(), Duration::ZERO);
            let mut training = training.unwrap().unwrap();
            for made in 1..=4 {
                step(&mut training, &environments, &batches).unwrap();
                if made == 3 {
                    training.keep().unwrap();
                }
            }
            drop(training);
            assert_eq!(steps(&restart, &digits, killed.path()), expected);
            // Numbers of other weights.
            let other = Restart {
                number: 2,
                ..restart.clone()
            };
            let folder = tempfile::tempdir().unwrap();
            assert_ne!(steps(&other, &digits, folder.path()), expected);
            let refused = run(&other, &digits, &device, whole.path(), Duration::MAX);
            let refused = refused.unwrap_err().to_string();
            assert!(
                refused.contains("a training of other settings"),
                "{refused}"
            );
        }
    }

    #[test]
    fn the_loss_is_that_of_the_formula() {
        let data = drawn(60);
        let digits = Digits::read(data.path(), "train").unwrap();
        let device = Device::flex().autodiff();
        let environments = Environments::new(&digits, 1, &device);
        let net = Mlp::new(1, &device);
        let rows = &environments.train[0];
        let logits = net.forward(rows.pictures.clone()).to_data();
        let labels = rows.labels.to_data().convert::<i64>();
        let mut expected = 0.0;
        for (z, y) in logits.iter::<f64>().zip(labels.iter::<i64>()) {
            expected += ((1.0 + z.exp()).ln() - y as f64 * z) / rows.rows() as f64;
        }
        // Xavier-uniform: variance 2 / (inputs + outputs).
        let squares = f64::from(squares(&net).into_scalar::<f32>());
        let of = |inputs: f64, outputs: f64| inputs * outputs * 2.0 / (inputs + outputs);
        let drawn = of(392.0, 390.0) + of(390.0, 390.0) + of(390.0, 1.0);
        assert!((squares / drawn - 1.0).abs() < 0.01, "{squares} {drawn}");
        let found = f64::from(loss(&net, rows).into_scalar::<f32>());
        assert!((found - expected - L2 * squares).abs() < 1e-5);
    }
}
