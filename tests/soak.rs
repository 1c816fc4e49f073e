//! Thousands of steps: memory and open files stay what they were, and a step does not become slower.
//!
//! The numbers of a run over 5,000 steps stand in `docs/reliability.md`:
//!
//! ```sh
//! ROGA_SOAK_STEPS=5000 cargo test --release --test soak -- --nocapture
//! ```

use std::{
    alloc::System,
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use burn::{
    data::{
        dataloader::{DataLoader, batcher::Batcher},
        dataset::InMemDataset,
    },
    module::Module,
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
    optim::AdamConfig,
    tensor::{Device, Tensor, TensorData, activation::tanh},
};
use roga::{
    alignment::AlignmentConfig,
    averaging::{ExponentialMovingAverageConfig, SwadConfig},
    diagnostic::Conflict,
    domain::{DomainBatches, DomainDataLoader, DomainDataLoaderBuilder, EpochLength, JoinedBatch},
    optim::{
        Ascent, Evaluation, FishConfig, RobustGradientAlignmentConfig as Config,
        RobustGradientAlignmentRecord,
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Memory is that of the process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn live_bytes() -> i64 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

/// How many files the process has open, where the system says it.
fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

/// A duration that every tenth of them is below: what a busy machine disturbs least.
fn low(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 10]
}

/// Compares a training after a tenth of its steps with itself after all.
fn soak(name: &str, steps: usize, mut step: impl FnMut(usize)) {
    let mut times = Vec::with_capacity(steps);
    let mut warm = None;
    for number in 0..steps {
        if number == steps / 10 {
            warm = Some((live_bytes(), open_files()));
        }
        let begin = Instant::now();
        step(number);
        times.push(begin.elapsed());
    }
    let (bytes, files) = warm.unwrap();
    let grown = live_bytes() - bytes;
    let fifth = steps / 5;
    let (early, late) = (low(&times[fifth..2 * fifth]), low(&times[4 * fifth..]));
    println!(
        "{name}: {bytes} bytes after {} steps, {grown:+} after {steps}; a step takes {early:?}, then {late:?}",
        steps / 10
    );
    assert!(grown.abs() <= 4096, "{name} grows by {grown} bytes");
    assert_eq!(open_files(), files, "{name} leaves files open");
    assert!(
        late < 2 * early,
        "{name} slows down from {early:?} to {late:?}"
    );
}

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    norm: BatchNorm,
    second: Linear,
}

impl Net {
    fn new() -> Self {
        let device = device();
        Self {
            first: LinearConfig::new(2, 4).init(&device),
            norm: BatchNormConfig::new(4).init(&device),
            second: LinearConfig::new(4, 1).init(&device),
        }
    }

    fn forward(&self, rows: Tensor<2>) -> Tensor<2> {
        let hidden = tanh(self.norm.forward(self.first.forward(rows)));
        self.second.forward(hidden)
    }

    fn loss(&self, rows: &Tensor<2>) -> Tensor<1> {
        (self.forward(rows.clone()) - 1.0).square().mean()
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// Three rows of three domains.
fn batches(step: usize) -> DomainBatches<Tensor<2>> {
    let rows = |domain: usize| {
        let number = |place: usize| (0.3 * step as f32 + (domain * 6 + place) as f32).sin();
        let numbers: Vec<f32> = (0..6).map(number).collect();
        Tensor::from_data(TensorData::new(numbers, [3, 2]), &device())
    };
    DomainBatches::unnamed((0..3).map(rows)).unwrap()
}

fn methods() -> Vec<(&'static str, Config)> {
    let evaluation = |evaluation| Config::new().with_evaluation(evaluation);
    vec![
        ("all", evaluation(Evaluation::All)),
        ("own", evaluation(Evaluation::Own)),
        ("others", evaluation(Evaluation::Others)),
        ("sampled", evaluation(Evaluation::Sampled)),
        ("consensus", evaluation(Evaluation::Consensus)),
        (
            "pooled",
            evaluation(Evaluation::All).with_ascent(Ascent::Pooled),
        ),
        ("ERM", Config::erm()),
        ("GSAM", Config::gsam(0.05, 0.2)),
        ("UPGrad", Config::upgrad()),
        ("group DRO", Config::group_dro(0.5)),
        (
            "cosine",
            Config::erm().with_alignment(Some(AlignmentConfig::cosine(0.1))),
        ),
    ]
}

fn every_method(steps: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, config) in methods() {
        let mut net = Net::new();
        let mut optim = config.init(AdamConfig::new().init()).unwrap();
        let mut conflict = Conflict::with_bins(16).unwrap();
        soak(name, steps, |step| {
            let loss = |net: &Net, rows: &Tensor<2>| net.loss(rows);
            let report = optim.step(1e-3, &mut net, &batches(step), loss).unwrap();
            conflict.add(&report).unwrap();
        });
    }
    let mut net = Net::new();
    let mut optim = Config::sagm(0.05, 0.01)
        .init(AdamConfig::new().init())
        .unwrap();
    soak("joined", steps, |step| {
        let losses = |net: &Net, joined: &JoinedBatch<Tensor<2>>| {
            let squares = (net.forward(joined.batch().clone()) - 1.0).square();
            joined.losses(|rows| squares.clone().slice([rows]).mean())
        };
        optim
            .step_joined(1e-3, &mut net, &batches(step), losses)
            .unwrap();
    });
    let mut net = Net::new();
    let mut fish = FishConfig::new().init(AdamConfig::new().init()).unwrap();
    soak("Fish", steps, |step| {
        let loss = |net: &Net, rows: &Tensor<2>| net.loss(rows);
        fish.step(1e-3, &mut net, &batches(step), loss).unwrap();
    });
    skipped(steps);
    whole(steps);
}

/// Steps that are skipped, and closures that fail, leave nothing behind either.
fn skipped(steps: usize) {
    let mut net = Net::new();
    let config = Config::new().with_max_skipped_steps(None);
    let mut optim = config.init(AdamConfig::new().init()).unwrap();
    soak("skipped", steps, |step| {
        let mut call = 0;
        let result = optim.step(
            1e-3,
            &mut net,
            &batches(step),
            |net: &Net, rows: &Tensor<2>| {
                call += 1;
                match (step % 2, call) {
                    (0, 8) => Err("as intended"),
                    (1, 8) => Ok(net.loss(rows) * f32::NAN),
                    _ => Ok(net.loss(rows)),
                }
            },
        );
        assert!(result.map_or(true, |report| report.is_skipped()));
    });
}

#[derive(Clone)]
struct Stack;

impl Batcher<[f32; 2], Tensor<2>> for Stack {
    fn batch(&self, items: Vec<[f32; 2]>, device: &Device) -> Tensor<2> {
        let rows = [items.len(), 2];
        Tensor::from_data(TensorData::new(items.concat(), rows), device)
    }
}

fn loader() -> DomainDataLoader<[f32; 2], Tensor<2>> {
    let items = |domain: usize| {
        let item = |place: usize| [place as f32, domain as f32].map(f32::sin);
        InMemDataset::new((0..40).map(item).collect())
    };
    (0..3)
        .fold(DomainDataLoaderBuilder::new(Stack), |builder, domain| {
            builder.domain(format!("{domain}"), items(domain))
        })
        .batch_size(4)
        .num_workers(2)
        .epoch(EpochLength::Steps(100))
        .set_device(device())
        .build()
        .unwrap()
}

/// A training with all that goes with one: a loader with workers, averages, records that are written
/// and read.
fn whole(steps: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("training.bpk");
    let mut net = Net::new();
    let config = Config::new().with_evaluation(Evaluation::Sampled);
    let mut optim = config.init(AdamConfig::new().init()).unwrap();
    let mut average = ExponentialMovingAverageConfig::new(0.99).init().unwrap();
    let mut swad = SwadConfig::new().init().unwrap();
    let loader = loader();
    let mut epoch = loader.iter();
    soak("whole", steps, |step| {
        let domains = epoch.next().unwrap_or_else(|| {
            epoch = loader.iter();
            epoch.next().unwrap()
        });
        let loss = |net: &Net, rows: &Tensor<2>| net.loss(rows);
        optim.step(1e-3, &mut net, &domains.unwrap(), loss).unwrap();
        average.update(&net).unwrap();
        swad.update(&net).unwrap();
        if step % 50 == 49 {
            // It never rises: SWAD goes on averaging.
            swad.evaluated(0.5).unwrap();
            optim.to_record().unwrap().save(&path).unwrap();
            let record = RobustGradientAlignmentRecord::load(&path).unwrap();
            optim.load_record(&record).unwrap();
        }
    });
}

#[test]
fn thousands_of_steps_leave_nothing_behind() {
    let steps = std::env::var("ROGA_SOAK_STEPS");
    every_method(steps.map_or(1000, |steps| steps.parse().unwrap()));
}
