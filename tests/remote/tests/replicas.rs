//! Replicas, as the workers under `ExecutionStrategy::ddp` have them, on two devices of another process: against steps on
//! one device.

use std::{sync::Arc, thread};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher, split::split_dataloader},
        dataset::InMemDataset,
    },
    module::Module,
    optim::GradientsAccumulator,
    tensor::{
        Device, Tensor, TensorData,
        distributed::{DistributedConfig, ReduceOperation},
    },
    train::{
        ExecutionStrategy, InferenceStep, Interrupter, Learner, LearningResult, RegressionOutput,
        SupervisedTraining, TrainOutput, TrainStep, metric::LossMetric,
    },
};
use roga::{
    domain::{Concat, DomainBatches, DomainDataLoader, DomainDataLoaderBuilder, JoinedBatch},
    optim::{Evaluation, Outcome, RobustGradientAlignmentConfig as Config},
    train::{Replicas, RobustTrainStep, StepOutput},
};

mod common;

use common::{
    Server, marked,
    problems::{
        Batch, EVALUATIONS, Mlp, Net, assert_close, batches, joined_losses, momentum, net_loss,
    },
};

const DEVICES: usize = 2;
const STEPS: usize = 3;

fn loss(net: &Mlp, batch: &Batch) -> Tensor<1> {
    net.loss(batch)
}

fn joined_loss(net: &Mlp, joined: &JoinedBatch<Batch>) -> Tensor<1> {
    joined_losses(net.forward(joined.batch().x.clone()), joined)
}

fn settings() -> Vec<Config> {
    let of = |evaluation| {
        let config = Config::new().with_rho(0.3).with_gamma(0.05);
        config.with_evaluation(evaluation)
    };
    let mut settings = vec![Config::erm(), Config::sagm(0.3, 0.05), Config::asam(0.3)];
    settings.extend(EVALUATIONS.map(of));
    settings
}

/// The mini-batches of a replica: four of five rows, two of them for each.
fn of_replica(replica: usize, step: usize, device: &Device) -> DomainBatches<Batch> {
    batches(step, device)
        .map(|batch| {
            let rows = 2 * replica..2 * replica + 2;
            Batch {
                x: batch.x.clone().slice([rows.clone()]),
                y: batch.y.clone().slice([rows]),
            }
        })
        .with_step(step as u64)
}

/// Those of all replicas in one.
fn of_all(step: usize, device: &Device) -> DomainBatches<Batch> {
    batches(step, device).map(|batch| Batch {
        x: batch.x.clone().narrow(0, 0, 2 * DEVICES),
        y: batch.y.clone().narrow(0, 0, 2 * DEVICES),
    })
}

/// Where steps end on replicas of a net, each on a thread and a device of its own.
fn on_replicas(
    server: &Server,
    config: &Config,
    replicas: &Replicas,
    joined: bool,
) -> Vec<Vec<f32>> {
    let net = Mlp::new(&Device::flex().autodiff());
    let of = |replica: usize| {
        let device = server.device(replica);
        let (net, config, replicas) = (net.clone(), config.clone(), replicas.clone());
        thread::spawn(move || {
            let mut net = marked(net.fork(&device));
            let mut base = momentum();
            let gradient = config.init_gradient().unwrap();
            let robust = RobustTrainStep::new(gradient, Interrupter::new());
            let robust = robust.with_replicas(replicas);
            for step in 0..STEPS {
                let domains = of_replica(replica, step, &device);
                let output = match joined {
                    true => robust.step_joined(&net, &domains, joined_loss),
                    false => robust.step(&net, &domains, loss),
                };
                assert!(!output.item.report().unwrap().is_skipped());
                net = base.step(0.1, net, output.grads);
            }
            net.values()
        })
    };
    let replicas: Vec<_> = (0..DEVICES).map(of).collect();
    let replicas = replicas.into_iter().map(|it| it.join().unwrap());
    replicas.collect()
}

fn devices(server: &Server) -> Vec<Device> {
    (0..DEVICES).map(|it| server.device(it)).collect()
}

/// To momentum's kind of step, a multiple of the gradient is one of the rate.
fn rates() -> [(ReduceOperation, f64); 2] {
    let rate = 0.1 / DEVICES as f64;
    [(ReduceOperation::Mean, rate), (ReduceOperation::Sum, 0.1)]
}

#[test]
fn synchronised_replicas_are_one_device() {
    let server = Server::with_all_reduce(DEVICES);
    let device = Device::flex().autodiff();
    let mut settings = settings();
    // By the losses, and by the inner products, of all replicas' mini-batches.
    settings.push(Config::group_dro(0.5));
    settings.push(Config::pcgrad(0));
    for config in settings {
        let mut net = Mlp::new(&device);
        let (mut base, gradient) = (momentum(), config.init_gradient().unwrap());
        for step in 0..STEPS {
            let domains = of_all(step, &device);
            let (gradients, _) = gradient.gradients(&net, &domains, loss).unwrap();
            net = base.step(0.1, net, gradients);
        }
        let replicas = Replicas::synchronised(devices(&server), ReduceOperation::Mean);
        for joined in [false, true] {
            for end in on_replicas(&server, &config, &replicas, joined) {
                assert_close(&end, &net.values(), 1e-5);
            }
        }
    }
}

#[test]
fn m_sharp_replicas_have_what_their_own_ascents_come_to() {
    let server = Server::with_all_reduce(DEVICES);
    let device = Device::flex().autodiff();
    for config in settings() {
        for (operation, rate) in rates() {
            let mut net = Mlp::new(&device);
            let mut base = momentum();
            // Clones of one would count their steps together.
            let gradients = [(); DEVICES].map(|()| config.init_gradient().unwrap());
            for step in 0..STEPS {
                let mut sum = GradientsAccumulator::new();
                for (replica, gradient) in gradients.iter().enumerate() {
                    let domains = of_replica(replica, step, &device);
                    let (found, _) = gradient.gradients(&net, &domains, loss).unwrap();
                    sum.accumulate(&net, found);
                }
                net = base.step(rate, net, sum.grads());
            }
            let replicas = Replicas::m_sharpness(devices(&server), operation);
            for end in on_replicas(&server, &config, &replicas, false) {
                assert_close(&end, &net.values(), 1e-5);
            }
        }
    }
}

/// Each normalises by those of its own; the others' do not disturb the model's.
#[test]
fn running_statistics_are_those_of_the_first_devices_mini_batches() {
    let server = Server::with_all_reduce(DEVICES);
    let config = Config::sagm(0.3, 0.05);
    let net = Net::new(&Device::flex().autodiff());
    let replicas = Replicas::m_sharpness(devices(&server), ReduceOperation::Mean);
    let robust = RobustTrainStep::new(config.init_gradient().unwrap(), Interrupter::new());
    let robust = robust.with_replicas(replicas);
    let of = |replica: usize| {
        let device = server.device(replica);
        let (net, robust) = (net.clone(), robust.clone());
        thread::spawn(move || {
            let mut net = marked(net.fork(&device));
            let mut base = momentum();
            for step in 0..STEPS {
                let domains = batches(step + 9 * replica, &device);
                let output = robust.step(&net, &domains, net_loss);
                net = base.step(0.1, net, output.grads);
            }
            net
        })
    };
    let replicas: Vec<_> = (0..DEVICES).map(of).collect();
    let ends: Vec<_> = (replicas.into_iter().map(|it| it.join().unwrap())).collect();

    let device = Device::flex().autodiff();
    let first = Net::new(&device);
    let mut nets = [first.clone(), first.train()];
    // One optimizer for both: the gradients go by the first's parameters.
    let mut base = momentum();
    let gradients = [(); DEVICES].map(|()| config.init_gradient().unwrap());
    for step in 0..STEPS {
        let mut sum = GradientsAccumulator::new();
        for (replica, gradient) in gradients.iter().enumerate() {
            let domains = batches(step + 9 * replica, &device);
            let (found, _) = gradient
                .gradients(&nets[replica], &domains, net_loss)
                .unwrap();
            sum.accumulate(&nets[replica], found);
        }
        nets[0] = base.step(0.1 / DEVICES as f64, nets[0].clone(), sum.grads());
        // With running statistics of its own.
        nets[1] = nets[0].clone().train();
    }
    let numbers = |net: &Net| -> Vec<f32> { net.state().into_iter().map(f32::from_bits).collect() };
    assert_close(&numbers(&ends[0]), &numbers(&nets[0]), 1e-5);
}

#[test]
fn replicas_skip_a_step_together() {
    let server = Server::with_all_reduce(DEVICES);
    let net = Mlp::new(&Device::flex().autodiff());
    for config in settings() {
        let of = |replica: usize| {
            let device = server.device(replica);
            let replicas = Replicas::synchronised(devices(&server), ReduceOperation::Mean);
            let (net, config) = (net.clone(), config.clone());
            thread::spawn(move || {
                let gradient = config.init_gradient().unwrap();
                let robust = RobustTrainStep::new(gradient, Interrupter::new());
                let robust = robust.with_replicas(replicas);
                let domains = of_replica(replica, 0, &device);
                let mut calls = 0;
                let net = marked(net.fork(&device));
                let output = robust.step(&net, &domains, |net: &Mlp, batch: &Batch| {
                    calls += 1;
                    // The last clean pass of one of them.
                    let spoilt = replica == 1 && calls == 3;
                    net.loss(batch) * if spoilt { f32::NAN } else { 1.0 }
                });
                let report = output.item.report().unwrap();
                assert!(output.grads.is_empty());
                report.outcome.clone()
            })
        };
        let replicas: Vec<_> = (0..DEVICES).map(of).collect();
        let outcomes: Vec<_> = (replicas.into_iter().map(|it| it.join().unwrap())).collect();
        assert_eq!(outcomes[0], outcomes[1], "{config}");
        let Outcome::Skipped(reason) = &outcomes[0] else {
            panic!("{config} was not skipped");
        };
        assert_eq!(reason.domain.as_deref(), Some("c"), "{config}");
    }
}

#[test]
#[should_panic(expected = "carry the number of their step, `DomainBatches::with_step`, where")]
fn batches_of_synchronised_replicas_are_numbered() {
    let server = Server::with_all_reduce(1);
    let device = server.device(0);
    let robust = RobustTrainStep::new(Config::new().init_gradient().unwrap(), Interrupter::new());
    let replicas = Replicas::synchronised(vec![device.clone()], ReduceOperation::Mean);
    let robust = robust.with_replicas(replicas);
    robust.step(&marked(Mlp::new(&device)), &of_all(0, &device), loss);
}

#[test]
fn what_replicas_share_has_to_be_said() {
    let server = Server::with_all_reduce(1);
    let device = server.device(0);
    let net = marked(Mlp::new(&device));
    let gradient = Config::new().init_gradient().unwrap();
    let robust = RobustTrainStep::new(gradient, Interrupter::new());
    let output = robust.step(&net, &of_all(0, &device), loss);
    assert!(output.grads.is_empty() && output.item.report().is_none());
    assert_eq!(
        robust.error().unwrap().to_string(),
        "replicas must be said under `ExecutionStrategy::ddp`, by `with_replicas`, but is none"
    );
}

type Row = [f32; 5];

#[derive(Clone)]
struct Stack;

impl Batcher<Row, Batch> for Stack {
    fn batch(&self, rows: Vec<Row>, device: &Device) -> Batch {
        let x: Vec<f32> = rows.iter().flat_map(|row| row[..4].to_vec()).collect();
        let y: Vec<i32> = rows.iter().map(|row| row[4] as i32).collect();
        Batch {
            x: Tensor::from_data(TensorData::new(x, [rows.len(), 4]), device),
            y: Tensor::from_data(TensorData::new(y, [rows.len()]), device),
        }
    }
}

/// A model of burn's `Learner`.
#[derive(Module, Debug)]
struct Trained {
    net: Mlp,
    #[module(skip)]
    robust: RobustTrainStep,
}

impl Trained {
    fn new(config: &Config, replicas: Replicas, interrupter: Interrupter) -> Self {
        let robust = RobustTrainStep::new(config.init_gradient().unwrap(), interrupter);
        Self {
            net: Mlp::new(&Device::flex().autodiff()),
            robust: robust.with_replicas(replicas),
        }
    }
}

impl TrainStep for Trained {
    type Input = DomainBatches<Batch>;
    type Output = StepOutput;

    fn step(&self, domains: DomainBatches<Batch>) -> TrainOutput<StepOutput> {
        (self.robust).step(self, &domains, |model: &Self, batch: &Batch| {
            model.net.loss(batch)
        })
    }
}

impl InferenceStep for Trained {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        let output = self.net.forward(batch.x.clone());
        RegressionOutput::new(self.net.loss(&batch), output.clone(), output)
    }
}

fn rows(domain: usize, rows: usize) -> Vec<Row> {
    let row = |index: usize| {
        let x = |k: usize| (0.7 * index as f32 + 1.3 * domain as f32 + 0.37 * k as f32).sin();
        let y = (index * (domain + 1)) % 3;
        [x(0), x(1), x(2), x(3), y as f32]
    };
    (0..rows).map(row).collect()
}

/// With so many steps an epoch.
fn loader(steps: usize) -> DomainDataLoader<Row, Batch> {
    let mut builder = DomainDataLoaderBuilder::new(Stack)
        .batch_size(4)
        .seed(7)
        .set_device(Device::flex().autodiff());
    for domain in 0..3 {
        let rows = InMemDataset::new(rows(domain, 4 * steps));
        builder = builder.domain(format!("domain {domain}"), rows);
    }
    builder.build().unwrap()
}

const EPOCHS: usize = 2;
const RATE: f64 = 0.1;

/// A training of burn's on two devices.
fn trained(
    server: &Server,
    config: &Config,
    replicas: Replicas,
    steps: usize,
) -> LearningResult<Trained> {
    let directory = tempfile::tempdir().unwrap();
    let all_reduce_op = ReduceOperation::Mean;
    let valid = DataLoaderBuilder::new(Stack)
        .batch_size(8)
        .build(InMemDataset::new(rows(9, 16)));
    let strategy = ExecutionStrategy::ddp(devices(server), DistributedConfig { all_reduce_op });
    let loader = Arc::new(loader(steps));
    let training = SupervisedTraining::<Trained>::new(directory.path(), loader, valid)
        .metrics((LossMetric::new(),))
        .with_application_logger(None)
        .with_training_strategy(strategy.into())
        .num_epochs(EPOCHS);
    let model = Trained::new(config, replicas, training.interrupter());
    training.launch(Learner::new(model, momentum(), RATE))
}

/// The loop over the loader's slices: with the mean of the gradients of each, or with that of the mini-batches of
/// both in one.
fn by_slices(config: &Config, m_sharp: bool) -> Vec<f32> {
    let device = Device::flex().autodiff();
    let whole: Arc<dyn DataLoader<DomainBatches<Batch>>> = Arc::new(loader(4));
    let slices = split_dataloader(whole, &[device.clone(), device.clone()]);
    let mut net = Mlp::new(&device);
    let (mut base, gradient) = (momentum(), config.init_gradient().unwrap());
    for _ in 0..EPOCHS {
        for (left, right) in slices[0].iter().zip(slices[1].iter()) {
            let (left, right) = (left.unwrap(), right.unwrap());
            assert!(left.step().is_some() && left.step() == right.step());
            let (met, rate) = if m_sharp {
                let mut sum = GradientsAccumulator::new();
                for domains in [left, right] {
                    let (found, _) = gradient.gradients(&net, &domains, loss).unwrap();
                    sum.accumulate(&net, found);
                }
                (sum.grads(), RATE / DEVICES as f64)
            } else {
                let mut right = right.iter().map(|(_, batch)| batch);
                let both = left.map(|left| Batch::concat(&[&left, right.next().unwrap()]));
                (gradient.gradients(&net, &both, loss).unwrap().0, RATE)
            };
            net = base.step(rate, net, met);
        }
    }
    net.values()
}

#[test]
fn a_training_on_replicas_is_the_loop_over_the_loaders_slices() {
    let server = Server::with_all_reduce(DEVICES);
    let sampled = Config::new().with_rho(0.3).with_gamma(0.05);
    let sampled = sampled.with_evaluation(Evaluation::Sampled);
    for config in [Config::sagm(0.3, 0.05), sampled] {
        let ends = [false, true].map(|m_sharp| {
            let replicas = match m_sharp {
                true => Replicas::m_sharpness(devices(&server), ReduceOperation::Mean),
                false => Replicas::synchronised(devices(&server), ReduceOperation::Mean),
            };
            let result = trained(&server, &config, replicas, 4);
            assert!(result.error.is_none(), "{:?}", result.error);
            let end = result.model.net.values();
            assert_close(&end, &by_slices(&config, m_sharp), 1e-5);
            end
        });
        assert_ne!(ends[0], ends[1], "{config}");
    }
}

/// Where the longer slice would wait for the shorter one.
#[test]
fn slices_of_other_lengths_are_an_error() {
    let server = Server::with_all_reduce(DEVICES);
    let replicas = Replicas::m_sharpness(devices(&server), ReduceOperation::Mean);
    let result = trained(&server, &Config::new(), replicas, 5);
    let error = result.error.unwrap().to_string();
    assert!(error.contains("a slice of 2 beside one of 3"), "{error}");
}
