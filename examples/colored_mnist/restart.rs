//! One restart of the IRM set-up.

use std::{error::Error, path::Path, time::Duration};

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::loss::BinaryCrossEntropyLossConfig,
    optim::AdamConfig,
    tensor::{Device, Tensor},
};
use roga::{
    aggregation::VRex,
    domain::{DomainBatches, MicroBatches, Seeds},
    optim::{RobustGradientAlignmentConfig, micro_batched},
};
use serde::{Deserialize, Serialize};

use crate::{
    environment::{Environment, Environments, FLIPS},
    fishr::AtHead,
    method::{Method, Penalty, Tuned},
    mnist::Digits,
    model::Mlp,
    terminal::say,
    training::Training,
};

/// The published settings, chosen there for IRM and used for all methods.
const LR: f64 = 4.898_536_566_546_834e-4;
const L2: f64 = 0.001_107_945_68;
pub const STEPS: u64 = 501;
/// From this step on what is added to the loss weighs [`PENALTY`] in place of 1, and the whole loss is
/// divided by it.
const ANNEAL: u64 = 190;
const PENALTY: f64 = 91_257.186_131_159_03;

/// PyTorch's; burn's own is larger.
pub const EPSILON: f32 = 1e-8;

/// Rows of a part of a batch: their activations stay in the cache, and the step is the same up to
/// rounding.
const ROWS: usize = 1000;

/// What the numbers of a restart depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    pub method: Method,
    pub tuned: Tuned,
    pub seed: u64,
    pub number: u64,
    pub steps: u64,
    /// Steps between two evaluations.
    pub every: u64,
}

/// A row of `steps.csv`: what was seen before the step, the last columns where it was evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub step: u64,
    /// What is descended, the weights' part included.
    pub loss: f64,
    /// Between the environments' gradients.
    pub cosine: Option<f64>,
    /// By how much the loss is higher at the ascending points.
    pub sharpness: Option<f64>,
    /// The norm of the mean gradient, and of the one that is stepped along.
    pub mean_norm: Option<f64>,
    pub update_norm: f64,
    /// The mean negative log-likelihood of the training environments.
    pub nll: Option<f64>,
    /// The method's penalty, where it has one.
    pub penalty: Option<f64>,
    /// Accuracies, from 0 to 1.
    pub train: Option<f64>,
    pub test: Option<f64>,
    pub grey: Option<f64>,
}

/// Rows of one environment in parts, or of all in one: penalties are not means over rows.
type Batch = MicroBatches<Vec<Environment>>;

/// Makes the restart, or what is left of it, in its folder.
pub fn run(
    restart: &Restart,
    digits: &Digits,
    device: &Device,
    folder: &Path,
    at_stake: Duration,
) -> Result<(), Box<dyn Error>> {
    let training = begin(restart, device, folder, at_stake)?;
    let Some(mut training) = training else {
        return Ok(());
    };
    let environments = Environments::new(digits, restart.seeds().split, device);
    let batches = batches(&environments, restart.method.penalty())?;
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
    Training::begin(restart.clone(), folder, at_stake, |restart, made| {
        let base = AdamConfig::new().with_epsilon(EPSILON).init();
        // The settings of the last step that was made.
        let config = restart.config(made.saturating_sub(1));
        Ok((Mlp::new(restart.seeds().run, device), config.init(base)?))
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

    /// How much what is added to the loss weighs in a step; the loss is divided by it.
    fn weight(&self, step: u64) -> f64 {
        match self.method.adds() && step >= ANNEAL {
            true => PENALTY,
            false => 1.0,
        }
    }

    /// What the optimizer adds to the losses weighs $w$, of losses that are divided by $w$: with the
    /// degree $d$, $(L + w \varphi(L)) / w = L / w + w^d \varphi(L / w)$. The published penalty of V-REx,
    /// $w (L_1 - L_2)^2$, is $4w$ times the variance of two losses.
    fn config(&self, step: u64) -> RobustGradientAlignmentConfig {
        let scale = self.weight(step).powi(self.method.degree().unwrap_or(0));
        let vrex = VRex {
            lambda: 4.0 * scale,
            anneal_steps: 0,
        };
        let tuned = Tuned {
            align: self.tuned.align * scale,
            ..self.tuned
        };
        let config = self.method.config(tuned, vrex);
        config.with_seed(self.seeds().run)
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

/// The training environments, each as a batch, or all as one where a penalty couples them.
fn batches(
    environments: &Environments,
    penalty: Option<Penalty>,
) -> roga::Result<DomainBatches<Batch>> {
    let train = &environments.train;
    if penalty == Some(Penalty::Fishr) {
        let rows = train.iter().map(Environment::rows).sum();
        let all = MicroBatches::new([(rows, train.to_vec())])?;
        return DomainBatches::new([("all", all)]);
    }
    let mut batches = Vec::new();
    for (environment, flip) in train.iter().zip(FLIPS) {
        let rows = match penalty {
            Some(_) => environment.rows(),
            None => ROWS,
        };
        let parts = environment
            .parts(rows)
            .map(|part| (part.rows(), vec![part]));
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
    let penalty = restart.method.penalty();
    let due = step.is_multiple_of(restart.every) || step + 1 == restart.steps;
    let evaluated = due.then(|| evaluate(&training.net, environments, penalty));
    let evaluated = evaluated.transpose()?;
    let weight = restart.weight(step);
    if step == ANNEAL && restart.method.degree().is_some() {
        let base = training.optim.base().clone();
        training.optim = restart.config(step).init(base)?;
        training.optim.gradient().set_steps(step);
    }
    let loss = micro_batched(|net: &Mlp, environments: &Vec<Environment>| {
        loss(net, environments, penalty, weight)
    });
    let report = training.optim.step(LR, &mut training.net, batches, loss)?;
    let row = Row {
        step,
        loss: report.mean_loss(),
        cosine: report.mean_cosine(),
        sharpness: report.mean_sharpness(),
        mean_norm: report.mean_gradient_norm,
        update_norm: report.update_gradient_norm,
        ..evaluated.unwrap_or_default()
    };
    if due {
        training.settings.say(&row, training.seconds());
    }
    training.push(row)
}

/// The mean over environments, with the weights' part and with a penalty that weighs so much, divided
/// by its weight.
fn loss(
    net: &Mlp,
    environments: &[Environment],
    penalty: Option<Penalty>,
    weight: f64,
) -> Tensor<1> {
    let heads: Vec<AtHead> = environments.iter().map(|rows| net.at_head(rows)).collect();
    let loss = Tensor::cat(heads.iter().map(nll).collect(), 0).mean() + squares(net) * L2;
    let loss = match penalty {
        Some(penalty) => loss + penalty.of(&heads) * weight,
        None => loss,
    };
    loss / weight
}

/// The mean negative log-likelihood.
fn nll(head: &AtHead) -> Tensor<1> {
    BinaryCrossEntropyLossConfig::new()
        .with_logits(true)
        .init(&head.logits.device())
        .forward(head.logits.clone(), head.labels.clone().unsqueeze_dim(1))
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

/// The columns of a row that are of an evaluation.
fn evaluate(
    net: &Mlp,
    environments: &Environments,
    penalty: Option<Penalty>,
) -> Result<Row, Box<dyn Error>> {
    let net = net.valid();
    let at_head = |environment: &Environment| net.at_head(&environment.inner());
    let Environments { train, test, grey } = environments;
    let train = train.each_ref().map(at_head);
    let number = |number: Tensor<1>| number.try_into_scalar::<f32>().map(f64::from);
    let nlls = train.iter().map(nll).collect();
    Ok(Row {
        nll: Some(number(Tensor::cat(nlls, 0).mean())?),
        penalty: penalty.map(|of| number(of.of(&train))).transpose()?,
        train: Some((accuracy(&train[0])? + accuracy(&train[1])?) / 2.0),
        test: Some(accuracy(&at_head(test))?),
        grey: Some(accuracy(&at_head(grey))?),
        ..Row::default()
    })
}

fn accuracy(head: &AtHead) -> Result<f64, Box<dyn Error>> {
    let says = head.logits.clone().greater_elem(0.0).int().squeeze_dim(1);
    let right = says.equal(head.labels.clone()).float().mean();
    Ok(right.try_into_scalar::<f32>()?.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::optim::GradientsParams;
    use clap::ValueEnum;
    use roga::{
        alignment::{AlignmentLoss, Cosine, GradientNorm, InnerProduct, Variance},
        gradient::{GramMatrix, combine, squared_norm},
    };

    use super::*;
    use crate::mnist::{FILES, tests::drawn};

    fn restart(method: Method) -> Restart {
        Restart {
            method,
            tuned: Tuned::default(),
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
        assert!(!folder.join("checkpoints").exists());
        fs::read_to_string(folder.join("steps.csv")).unwrap()
    }

    #[test]
    fn killed_and_started_again_it_ends_alike() {
        let data = drawn(48);
        let digits = Digits::read(data.path(), FILES[0]).unwrap();
        let device = Device::flex().autodiff();
        for &method in Method::value_variants() {
            let restart = restart(method);
            let [whole, killed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let expected = steps(&restart, &digits, whole.path());
            let environments = Environments::new(&digits, restart.seeds().split, &device);
            let batches = batches(&environments, method.penalty()).unwrap();
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
    fn it_goes_on_behind_the_annealing() {
        let data = drawn(24);
        let digits = Digits::read(data.path(), FILES[0]).unwrap();
        let device = Device::flex().autodiff();
        for method in [Method::VRex, Method::AlignVariance] {
            let restart = Restart {
                steps: ANNEAL + 3,
                every: 100,
                ..restart(method)
            };
            let whole = tempfile::tempdir().unwrap();
            let expected = steps(&restart, &digits, whole.path());
            let environments = Environments::new(&digits, restart.seeds().split, &device);
            let batches = batches(&environments, None).unwrap();
            for kept in [ANNEAL, ANNEAL + 1] {
                let killed = tempfile::tempdir().unwrap();
                let training = begin(&restart, &device, killed.path(), Duration::ZERO);
                let mut training = training.unwrap().unwrap();
                while training.step() < kept {
                    step(&mut training, &environments, &batches).unwrap();
                }
                training.keep().unwrap();
                drop(training);
                assert_eq!(steps(&restart, &digits, killed.path()), expected);
            }
        }
    }

    /// $w\\,\varphi(L) / w$ is made of losses that are divided by $w$.
    #[test]
    fn what_is_added_goes_by_its_degree() {
        let gram = GramMatrix::from_fn(2, |i, j| [[2.0, 0.5], [0.5, 3.0]][i][j]);
        let scaled = GramMatrix::from_fn(2, |i, j| gram.get(i, j) / PENALTY.powi(2));
        let losses: [(Method, &dyn AlignmentLoss); 4] = [
            (Method::AlignInnerProduct, &InnerProduct),
            (Method::AlignCosine, &Cosine),
            (Method::AlignVariance, &Variance),
            (Method::AlignNorm, &GradientNorm),
        ];
        for (method, loss) in losses {
            let restart = Restart {
                tuned: Tuned {
                    align: 0.3,
                    ..Tuned::default()
                },
                ..restart(method)
            };
            let config = restart.config(ANNEAL).alignment.unwrap();
            let expected = 0.3 * loss.value(&gram);
            let found = config.weight * loss.value(&scaled);
            assert!(
                (found / expected - 1.0).abs() < 1e-12,
                "{method:?}: {found} {expected}"
            );
            assert_eq!(restart.config(ANNEAL - 1).alignment.unwrap().weight, 0.3);
        }
    }

    #[test]
    fn the_loss_is_that_of_the_formula() {
        let data = drawn(60);
        let digits = Digits::read(data.path(), FILES[0]).unwrap();
        let device = Device::flex().autodiff();
        let environments = Environments::new(&digits, 1, &device);
        let net = Mlp::new(1, &device);
        let rows = &environments.train[0];
        let logits = net.at_head(rows).logits.to_data();
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
        let plain = expected + L2 * squares;
        let found = |penalty, weight| -> f64 {
            let loss = loss(&net, &environments.train[..1], penalty, weight);
            loss.into_scalar::<f32>().into()
        };
        assert!((found(None, 1.0) - plain).abs() < 1e-5);
        let mut scaled = 0.0;
        for (z, y) in logits.iter::<f64>().zip(labels.iter::<i64>()) {
            scaled += (1.0 / (1.0 + (-z).exp()) - y as f64) * z / rows.rows() as f64;
        }
        let expected = (plain + 50.0 * scaled.powi(2)) / 50.0;
        assert!((found(Some(Penalty::Irm), 50.0) - expected).abs() < 1e-6);
    }
    /// V-REx is made by the library's aggregation; the published code adds a penalty to the loss.
    #[test]
    fn vrex_goes_the_way_of_the_published_penalty() {
        let data = drawn(120);
        let digits = Digits::read(data.path(), FILES[0]).unwrap();
        let device = Device::flex().autodiff();
        let restart = restart(Method::VRex);
        let environments = Environments::new(&digits, 1, &device);
        let batches = batches(&environments, None).unwrap();
        let net = Mlp::new(1, &device);
        for step in [0, ANNEAL] {
            let weight = restart.weight(step);
            let gradient = restart.config(step).init_gradient().unwrap();
            let loss = |net: &Mlp, rows: &Vec<Environment>| loss(net, rows, None, weight);
            let found = gradient
                .gradients(&net, &batches, micro_batched(loss))
                .unwrap()
                .0;
            let losses = environments
                .train
                .each_ref()
                .map(|rows| nll(&net.at_head(rows)));
            let [first, second] = losses;
            let mean = (first.clone() + second.clone()) / 2.0 + squares(&net) * L2;
            let published = (mean + (first - second).square() * weight) / weight;
            let published = GradientsParams::from_grads(published.backward(), &net);
            let difference = combine(&net, &[(1.0, &found), (-1.0, &published)]);
            let norm = |of| -> f32 { squared_norm(&net, of).unwrap().sqrt().into_scalar() };
            let relative = norm(&difference) / norm(&published);
            assert!(relative < 1e-3, "step {step}: {relative}");
        }
    }
}
