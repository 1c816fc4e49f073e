//! Training inside burn's `Learner`, on one device and on several, against loops written out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, ThreadId},
};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher, split::split_dataloader},
        dataset::InMemDataset,
    },
    lr_scheduler::{
        cosine::CosineAnnealingLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler,
    },
    module::{Module, ModuleVisitor, Param, RunningState},
    nn::{
        BatchNorm, BatchNormConfig, Linear, LinearConfig, Tanh,
        loss::{MseLoss, Reduction},
    },
    optim::{AdamWConfig, GradientsAccumulator, ModuleOptimizer},
    tensor::{Device, Tensor, TensorData},
    train::{
        ExecutionStrategy, InferenceStep, Interrupter, Learner, LearningResult, MultiDeviceOptim,
        RegressionOutput, SupervisedTraining, TrainOutput, TrainStep,
        checkpoint::KeepLastNCheckpoints, metric::LossMetric,
    },
};
use roga::{
    BoxError, Error,
    aggregation::{Aggregator, DomainStatistics, GroupDro, Needs, UpGrad},
    alignment::AlignmentConfig,
    domain::{DomainBatches, DomainDataLoader, DomainDataLoaderBuilder},
    optim::{
        AggregationConfig, Evaluation, RobustGradient, RobustGradientAlignmentConfig, Schedule,
        StepReport,
    },
    train::{RobustTrainStep, StepInput, StepMetric, StepOutput},
};

/// A number of its own, two features and a target. A target that is not finite spoils its step.
type Row = (usize, [f32; 3]);

#[derive(Clone, Debug)]
struct Batch {
    ids: Vec<usize>,
    x: Tensor<2>,
    y: Tensor<2>,
}

#[derive(Clone)]
struct Stack;

impl Batcher<Row, Batch> for Stack {
    fn batch(&self, rows: Vec<Row>, device: &Device) -> Batch {
        let values: Vec<f32> = rows.iter().flat_map(|(_, values)| *values).collect();
        let values = TensorData::new(values, [rows.len(), 3]);
        let values = Tensor::<2>::from_data(values, device);
        Batch {
            ids: rows.iter().map(|(id, _)| *id).collect(),
            x: values.clone().narrow(1, 0, 2),
            y: values.narrow(1, 2, 1),
        }
    }
}

/// What the training steps saw: the thread, the items of all domains, the report.
type Seen = Vec<(ThreadId, Vec<usize>, Option<StepReport>)>;

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    norm: BatchNorm,
    second: Linear,
    #[module(skip)]
    robust: RobustTrainStep,
    #[module(skip)]
    seen: Arc<Mutex<Seen>>,
    /// The item whose loss fails.
    #[module(skip)]
    fails_on: Option<usize>,
}

impl Net {
    fn loss(&self, batch: &Batch) -> Result<Tensor<1>, BoxError> {
        match batch.ids.iter().find(|id| Some(**id) == self.fails_on) {
            Some(id) => Err(format!("item {id} is bad").into()),
            None => Ok(self.forward(batch).loss),
        }
    }

    fn forward(&self, batch: &Batch) -> RegressionOutput {
        let hidden = self.norm.forward(self.first.forward(batch.x.clone()));
        let hidden = Tanh.forward(hidden);
        let output = self.second.forward(hidden);
        let loss = MseLoss::new().forward(output.clone(), batch.y.clone(), Reduction::Mean);
        RegressionOutput::new(loss, output, batch.y.clone())
    }
}

impl TrainStep for Net {
    type Input = DomainBatches<Batch>;
    type Output = StepOutput;

    fn step(&self, domains: DomainBatches<Batch>) -> TrainOutput<StepOutput> {
        let output = self.robust.step(self, &domains, Net::loss);
        let items = domains.iter().flat_map(|(_, batch)| batch.ids.clone());
        let seen = (
            thread::current().id(),
            items.collect(),
            output.item.report().cloned(),
        );
        self.seen.lock().unwrap().push(seen);
        output
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        self.forward(&batch)
    }
}

const DOMAINS: usize = 3;
/// Of a domain: an epoch of six steps, or three with two devices.
const ROWS: usize = 24;
const BATCH: usize = 4;
const STEPS: usize = ROWS / BATCH;

fn device() -> Device {
    Device::flex().autodiff()
}

/// Every step is another one: by its radius, by what it draws.
fn config() -> RobustGradientAlignmentConfig {
    RobustGradientAlignmentConfig::new()
        .with_rho(0.1)
        .with_rho_schedule(Schedule::Linear {
            from: 0.2,
            to: 1.0,
            steps: 30,
        })
        .with_evaluation(Evaluation::Sampled)
}

fn rows(domain: usize, spoilt: &[usize]) -> Vec<Row> {
    let row = |index: usize| {
        let id = ROWS * domain + index;
        let (a, b) = ((0.7 * id as f32).sin(), (1.3 * id as f32).cos());
        let y = match spoilt.contains(&id) {
            true => f32::NAN,
            false => a * b + domain as f32 * (a - b),
        };
        (id, [a, b, y])
    };
    (0..ROWS).map(row).collect()
}

fn loader(workers: usize, spoilt: &[usize]) -> DomainDataLoader<Row, Batch> {
    let mut builder = DomainDataLoaderBuilder::new(Stack)
        .batch_size(BATCH)
        .seed(7)
        .num_workers(workers)
        .set_device(device());
    for domain in 0..DOMAINS {
        let rows = InMemDataset::new(rows(domain, spoilt));
        builder = builder.domain(format!("domain {domain}"), rows);
    }
    builder.build().unwrap()
}

fn net(interrupter: &Interrupter) -> Net {
    net_of(&config(), interrupter)
}

/// A method of the caller's own: GroupDRO under another name.
#[derive(Debug)]
struct Own;

impl Aggregator for Own {
    fn needs(&self) -> Needs {
        Needs::Losses
    }

    fn coefficients(
        &self,
        domains: &DomainStatistics<'_>,
        state: &mut Vec<f64>,
    ) -> roga::Result<Vec<f64>> {
        GroupDro { eta: 0.1 }.coefficients(domains, state)
    }
}

/// The passes, [`Own`] among them where the settings name it.
fn gradient_of(config: &RobustGradientAlignmentConfig) -> RobustGradient {
    let mut gradient = config.init_gradient().unwrap();
    let own = AggregationConfig::own(&Own).method;
    if config
        .aggregation
        .as_ref()
        .is_some_and(|it| it.method == own)
    {
        gradient.set_aggregator(Own).unwrap();
    }
    gradient
}

/// The same weights at every call.
fn net_of(config: &RobustGradientAlignmentConfig, interrupter: &Interrupter) -> Net {
    // Tests run side by side, and draw from the same generator.
    static SEED: Mutex<()> = Mutex::new(());
    let _seeded = SEED.lock().unwrap_or_else(PoisonError::into_inner);
    let device = device();
    device.seed(3);
    let gradient = gradient_of(config);
    let net = Net {
        first: LinearConfig::new(2, 8).init(&device),
        norm: BatchNormConfig::new(8).init(&device),
        second: LinearConfig::new(8, 1).init(&device),
        robust: RobustTrainStep::new(gradient, interrupter.clone()),
        seen: Arc::default(),
        fails_on: None,
    };
    // Parameters are drawn when they are first looked at.
    weights(&net);
    net
}

fn optimizer() -> ModuleOptimizer {
    AdamWConfig::new().init()
}

fn schedule() -> ModuleLrScheduler {
    CosineAnnealingLrSchedulerConfig::new(0.02, 40)
        .init()
        .unwrap()
}

/// All numbers, running statistics included.
fn weights<M: Module>(model: &M) -> Vec<u32> {
    struct Weights(Vec<u32>);

    impl ModuleVisitor for Weights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().without_autodiff().into_data();
            self.0.extend(values.iter::<f32>().map(f32::to_bits));
        }
    }

    let mut weights = Weights(Vec::new());
    model.visit(&mut weights);
    weights.0
}

/// One training of burn's.
struct Run<'a> {
    strategy: ExecutionStrategy,
    epochs: usize,
    resume: Option<usize>,
    loader: DomainDataLoader<Row, Batch>,
    directory: &'a Path,
    fails_on: Option<usize>,
    config: RobustGradientAlignmentConfig,
    /// Whether checkpoints hold what steps keep.
    keeps: bool,
}

impl<'a> Run<'a> {
    fn new(strategy: ExecutionStrategy, directory: &'a Path) -> Self {
        Self {
            strategy,
            epochs: 2,
            resume: None,
            loader: loader(0, &[]),
            directory,
            fails_on: None,
            config: config(),
            keeps: false,
        }
    }

    fn launch(self) -> (LearningResult<Net>, Seen) {
        let valid = DataLoaderBuilder::new(Stack)
            .batch_size(8)
            .build(InMemDataset::new(rows(9, &[])));
        let mut training =
            SupervisedTraining::<Net>::new(self.directory, Arc::new(self.loader), valid)
                .metrics((LossMetric::new(),))
                .metric_train_numeric(StepMetric::cosine())
                .metric_train_numeric(StepMetric::conflicts())
                .metric_train_numeric(StepMetric::alignment())
                .metric_train_numeric(StepMetric::sharpness())
                .metric_train_numeric(StepMetric::gradient_norm())
                .metric_train_numeric(StepMetric::skipped())
                .with_application_logger(None)
                .with_default_checkpointers()
                .with_checkpointing_strategy(KeepLastNCheckpoints::new(9))
                .with_training_strategy(self.strategy.into())
                .num_epochs(self.epochs);
        if let Some(epoch) = self.resume {
            training = training.checkpoint(epoch);
        }
        let mut net = net_of(&self.config, &training.interrupter());
        net.fails_on = self.fails_on;
        let seen = net.seen.clone();
        let schedule = match self.keeps {
            true => net.robust.checkpointed_with(schedule()),
            false => schedule(),
        };
        let result = training.launch(Learner::new(net, optimizer(), schedule));
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        (result, seen)
    }
}

fn single() -> ExecutionStrategy {
    ExecutionStrategy::single(device())
}

fn multi(optim: MultiDeviceOptim) -> ExecutionStrategy {
    ExecutionStrategy::multi(vec![device(); 2], optim)
}

fn trained(run: impl FnOnce(&mut Run), strategy: ExecutionStrategy) -> Vec<u32> {
    let directory = tempfile::tempdir().unwrap();
    let mut all = Run::new(strategy, directory.path());
    run(&mut all);
    let (result, _) = all.launch();
    assert!(result.error.is_none(), "{:?}", result.error);
    weights(&result.model)
}

/// The loop of [`RobustGradientAlignment::step`](roga::optim::RobustGradientAlignment::step).
fn plain_loop(loader: &DomainDataLoader<Row, Batch>, epochs: usize) -> (Vec<u32>, usize) {
    plain_loop_of(&config(), loader, epochs)
}

fn plain_loop_of(
    config: &RobustGradientAlignmentConfig,
    loader: &DomainDataLoader<Row, Batch>,
    epochs: usize,
) -> (Vec<u32>, usize) {
    let mut net = net_of(config, &Interrupter::new());
    let mut optim = config.init(optimizer()).unwrap();
    let (mut schedule, mut skipped) = (schedule(), 0);
    for domains in (0..epochs).flat_map(|_| loader.iter()) {
        let rate = schedule.step();
        let report = optim.step(rate, &mut net, &domains.unwrap(), Net::loss);
        skipped += usize::from(report.unwrap().is_skipped());
    }
    (weights(&net), skipped)
}

#[test]
fn one_device_equals_the_plain_loop() {
    let (expected, skipped) = plain_loop(&loader(0, &[]), 2);
    assert_eq!(skipped, 0);
    assert_ne!(expected, weights(&net(&Interrupter::new())));
    assert_eq!(trained(|_| (), single()), expected);
    let workers = |run: &mut Run| run.loader = loader(2, &[]);
    assert_eq!(trained(workers, single()), expected);
}

#[test]
fn alignment_and_aggregation_are_those_of_the_plain_loop() {
    let (without, _) = plain_loop(&loader(0, &[]), 2);
    for config in [
        config().with_alignment(Some(AlignmentConfig::cosine(0.1))),
        config().with_aggregation(Some(AggregationConfig::new(UpGrad::default().into()))),
        RobustGradientAlignmentConfig::group_dro(0.1),
    ] {
        let (expected, skipped) = plain_loop_of(&config, &loader(0, &[]), 2);
        assert_eq!(skipped, 0);
        assert_ne!(expected, without, "{config}");
        let set = |run: &mut Run| run.config = config.clone();
        assert_eq!(trained(set, single()), expected, "{config}");
    }
}

#[test]
fn an_aggregation_of_ones_own_is_the_built_in_one() {
    let built_in = RobustGradientAlignmentConfig::group_dro(0.1);
    let aggregation = AggregationConfig::own(&Own);
    let own = RobustGradientAlignmentConfig::erm().with_aggregation(Some(aggregation));
    let (expected, _) = plain_loop_of(&built_in, &loader(0, &[]), 2);
    let set = |run: &mut Run| run.config = own.clone();
    assert_eq!(trained(set, single()), expected);
    let mean = |run: &mut Run| run.config = RobustGradientAlignmentConfig::erm();
    assert_ne!(trained(mean, single()), expected);
}

#[test]
fn a_skipped_step_is_that_of_the_plain_loop() {
    // Once in an epoch.
    let spoilt = [ROWS + 5];
    let (expected, skipped) = plain_loop(&loader(0, &spoilt), 2);
    assert_eq!(skipped, 2);
    let spoil = |run: &mut Run| run.loader = loader(0, &spoilt);
    assert_eq!(trained(spoil, single()), expected);
}

#[test]
fn skipped_steps_change_nothing() {
    let all: Vec<usize> = (0..ROWS).collect();
    let untrained = weights(&net(&Interrupter::new()));
    let strategies = [
        single(),
        multi(MultiDeviceOptim::OptimMainDevice),
        multi(MultiDeviceOptim::OptimSharded),
    ];
    for strategy in strategies {
        let directory = tempfile::tempdir().unwrap();
        let mut run = Run::new(strategy, directory.path());
        // Each of twelve steps, but no more in a row than the settings allow.
        run.loader = loader(0, &all);
        let (result, _) = run.launch();
        assert!(result.error.is_none());
        assert_eq!(weights(&result.model), untrained);
        assert_eq!(epoch_value(directory.path(), "Skipped_Steps"), Some(100.0));
        assert_eq!(epoch_value(directory.path(), "Gradient_Cosine"), None);
    }
}

/// Sets a running statistic to the mean of two.
fn set(
    state: &RunningState<Tensor<1>>,
    left: &RunningState<Tensor<1>>,
    right: &RunningState<Tensor<1>>,
) {
    state.update((left.value_sync() + right.value_sync()) / 2.0);
    state.value_sync();
}

/// The same as the plain loop over the slices, the workers' gradients added up.
#[test]
fn several_devices_add_up_their_gradients() {
    let whole: Arc<dyn DataLoader<DomainBatches<Batch>>> = Arc::new(loader(0, &[]));
    let slices = split_dataloader(whole, &[device(), device()]);
    let (mut optim, mut schedule) = (optimizer(), schedule());
    let mut expected = net(&Interrupter::new());
    for _ in 0..2 {
        for (left, right) in slices[0].iter().zip(slices[1].iter()) {
            let mut sum = GradientsAccumulator::new();
            // Each with running statistics of its own.
            let copies = [left, right].map(|domains| {
                let copy = expected.clone().train();
                let output = TrainStep::step(&copy, domains.unwrap());
                sum.accumulate(&expected, output.grads);
                copy.norm
            });
            expected = optim.step(schedule.step(), expected, sum.grads());
            let [left, right] = copies.each_ref().map(|norm| &norm.running_mean);
            set(&expected.norm.running_mean, left, right);
            let [left, right] = copies.each_ref().map(|norm| &norm.running_var);
            set(&expected.norm.running_var, left, right);
        }
    }
    let expected = weights(&expected);
    for optim in [
        MultiDeviceOptim::OptimMainDevice,
        MultiDeviceOptim::OptimSharded,
    ] {
        // Twice, and with threads that load: the same weights.
        assert_eq!(trained(|_| (), multi(optim)), expected);
        let workers = |run: &mut Run| run.loader = loader(2, &[]);
        assert_eq!(trained(workers, multi(optim)), expected);
    }
    assert_ne!(trained(|_| (), single()), expected);
}

#[test]
fn several_devices_divide_the_loader() {
    let directory = tempfile::tempdir().unwrap();
    let (_, seen) = Run::new(multi(MultiDeviceOptim::OptimMainDevice), directory.path()).launch();
    let all: Vec<usize> = (0..DOMAINS * ROWS).collect();
    let mut shards: Vec<BTreeSet<usize>> = Vec::new();
    assert_eq!(seen.len(), 2 * STEPS);
    for epoch in seen.chunks(STEPS) {
        // Every item once.
        let mut items: Vec<usize> = epoch.iter().flat_map(|step| step.1.clone()).collect();
        items.sort_unstable();
        assert_eq!(items, all);
        let mut workers: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (thread, items, _) in epoch {
            workers
                .entry(format!("{thread:?}"))
                .or_default()
                .extend(items);
        }
        assert_eq!(workers.len(), 2);
        shards.extend(workers.into_values());
    }
    // In every epoch the same two halves.
    shards.sort();
    shards.dedup();
    assert_eq!(shards.len(), 2);
}

#[test]
fn resumed_equals_uninterrupted() {
    let strategies = [single, || multi(MultiDeviceOptim::OptimMainDevice)];
    for strategy in strategies {
        let expected = trained(|run| run.epochs = 4, strategy());
        let directory = tempfile::tempdir().unwrap();
        let (result, _) = Run::new(strategy(), directory.path()).launch();
        assert_ne!(weights(&result.model), expected);
        let resumed = |position: usize| {
            let mut run = Run::new(strategy(), directory.path());
            (run.epochs, run.resume) = (4, Some(2));
            run.loader.set_position(position as u64);
            weights(&run.launch().0.model)
        };
        assert_eq!(resumed(2 * STEPS), expected);
        // The place in the data is not part of a checkpoint.
        assert_ne!(resumed(0), expected);
    }
}

#[test]
fn what_an_aggregation_keeps_is_in_the_checkpoints() {
    let set = |run: &mut Run, keeps: bool| {
        // Of clean and of perturbed gradients, so that both are kept.
        let aggregation = AggregationConfig::new(GroupDro { eta: 0.5 }.into());
        run.config = config().with_aggregation(Some(aggregation));
        (run.epochs, run.keeps) = (4, keeps);
    };
    let expected = trained(|run| set(run, true), single());
    // The learning rates are the scheduler's own.
    assert_eq!(trained(|run| set(run, false), single()), expected);
    for (keeps, alike) in [(true, true), (false, false)] {
        let directory = tempfile::tempdir().unwrap();
        let mut run = Run::new(single(), directory.path());
        set(&mut run, keeps);
        run.epochs = 2;
        run.launch();
        let mut run = Run::new(single(), directory.path());
        set(&mut run, keeps);
        run.resume = Some(2);
        run.loader.set_position(2 * STEPS as u64);
        assert_eq!(weights(&run.launch().0.model) == expected, alike, "{keeps}");
    }
}

#[test]
fn an_error_stops_the_training() {
    // Where one worker has failed, the other's step may be over, or makes no passes any more.
    let strategies = [(single(), 1), (multi(MultiDeviceOptim::OptimMainDevice), 2)];
    for (strategy, workers) in strategies {
        let directory = tempfile::tempdir().unwrap();
        let mut run = Run::new(strategy, directory.path());
        run.fails_on = Some(30);
        let (result, seen) = run.launch();
        let failed = seen.iter().filter(|step| step.2.is_none()).count();
        assert!((1..=workers).contains(&failed), "{failed} steps failed");
        let error = result.error.unwrap().to_string();
        assert!(
            error.contains("domain `domain 1`: item 30 is bad"),
            "{error}"
        );
        let kept = result.model.robust.error().unwrap();
        assert!(matches!(&*kept, Error::Closure { domain, .. } if domain == "domain 1"));
    }
}

#[test]
fn too_many_skipped_steps_stop_the_training() {
    let all: Vec<usize> = (0..ROWS).collect();
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::new(single(), directory.path());
    (run.epochs, run.loader) = (9, loader(0, &all));
    let (result, seen) = run.launch();
    let error = result.model.robust.error().unwrap();
    assert!(
        matches!(*error, Error::NonFinite { since: 0, .. }),
        "{error}"
    );
    assert!(result.error.is_some());
    assert_eq!(seen.last().unwrap().2, None);
}

#[test]
#[should_panic(expected = "another interrupter: the loss closure failed on domain `domain 0`")]
fn an_error_is_not_passed_over() {
    let mut net = net(&Interrupter::new());
    let loader = loader(0, &[]);
    let domains = loader.iter().next().unwrap().unwrap();
    net.fails_on = Some(domains.iter().next().unwrap().1.ids[0]);
    let output = TrainStep::step(&net, domains.clone());
    assert!(output.grads.is_empty());
    TrainStep::step(&net, domains);
}

/// The value of the first epoch in burn's log of a metric.
fn epoch_value(directory: &Path, metric: &str) -> Option<f64> {
    let path = directory.join(format!("train/epoch-1/{metric}.log"));
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let last = log.lines().last()?.strip_suffix(",final")?;
    last.parse().ok()
}

#[test]
fn metrics_are_the_means_of_the_reports() {
    for strategy in [single(), multi(MultiDeviceOptim::OptimSharded)] {
        let directory = tempfile::tempdir().unwrap();
        let mut run = Run::new(strategy, directory.path());
        run.epochs = 1;
        run.loader = loader(0, &[5]);
        let (_, seen) = run.launch();
        let reports: Vec<StepReport> = seen.into_iter().map(|step| step.2.unwrap()).collect();
        let applied: Vec<&StepReport> = reports.iter().filter(|r| !r.is_skipped()).collect();
        assert_eq!((reports.len(), applied.len()), (STEPS, STEPS - 1));

        let mean = |value: &dyn Fn(&StepReport) -> f64| {
            applied.iter().map(|report| value(report)).sum::<f64>() / applied.len() as f64
        };
        let cosine = |report: &StepReport| {
            let cosines = report.cosines.as_ref().unwrap();
            (cosines[0][1] + cosines[0][2] + cosines[1][2]) / 3.0
        };
        let point = |value: &dyn Fn(usize) -> f64| (0..3).map(value).sum::<f64>() / 3.0;
        let expected: [(&str, f64); 7] = [
            ("Loss", mean(&StepReport::mean_loss)),
            ("Gradient_Cosine", mean(&cosine)),
            ("Gradient_Conflicts", {
                mean(&|report| 100.0 * report.conflicts.as_ref().unwrap().len() as f64 / 3.0)
            }),
            ("Gradient_Alignment", {
                mean(&|report| point(&|i| report.points[i].alignment.unwrap()))
            }),
            (
                "Sharpness",
                mean(&|report| point(&|i| report.points[i].sharpness)),
            ),
            ("Gradient_Norm", mean(&|report| report.update_gradient_norm)),
            ("Skipped_Steps", 100.0 / STEPS as f64),
        ];
        for (metric, expected) in expected {
            let value = epoch_value(directory.path(), metric).unwrap();
            let tolerance = 1e-6 * expected.abs().max(1e-3);
            assert!(
                (value - expected).abs() < tolerance,
                "{metric}: {value}, {expected}"
            );
        }
    }
}

#[test]
fn a_report_without_a_number_has_none() {
    let loader = loader(0, &[]);
    let report = |config: RobustGradientAlignmentConfig, domains: &DomainBatches<Batch>| {
        let gradient = config.init_gradient().unwrap();
        let net = net(&Interrupter::new());
        StepInput::from(&gradient.gradients(&net, domains, Net::loss).unwrap().1)
    };
    let domains = loader.iter().next().unwrap().unwrap();
    let erm = report(RobustGradientAlignmentConfig::erm(), &domains);
    assert!(erm.cosine.is_some() && erm.conflicts.is_some() && erm.gradient_norm.is_some());
    assert_eq!((erm.alignment, erm.sharpness), (None, None));

    let unreported = report(config().with_report(false), &domains);
    assert_eq!((unreported.cosine, unreported.conflicts), (None, None));
    assert!(unreported.sharpness.is_some());

    let (_, only) = domains.iter().next().unwrap();
    let one = report(
        config(),
        &DomainBatches::new([("only", only.clone())]).unwrap(),
    );
    assert_eq!((one.cosine, one.conflicts), (None, None));
    assert!(one.alignment.is_some());
}
