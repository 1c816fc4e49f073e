//! Robust gradient alignment inside burn's `Learner`: scheduler, checkpoints, early stopping,
//! several devices, and the terminal dashboard with cosines, conflicts and sharpness.
//!
//!     cargo run --release --features tui --example learner
//!     cargo run --release --features tui --example learner -- --devices 2 --sharded
//!     cargo run --release --features tui --example learner -- --resume 11
//!
//! A net learns shapes in three styles of drawing and is tested on a style it never saw. Where the
//! output is not a terminal, burn shows its progress in plain lines in place of the dashboard. The
//! dashboard's `q` stops the training. Of the checkpoints, the last two and the best are kept.

mod data;
mod model;

use std::{error::Error, fs, path::PathBuf, process::ExitCode};

use burn::{
    data::{
        dataloader::{DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig,
    optim::AdamWConfig,
    tensor::Device,
    train::{
        ExecutionStrategy, Learner, LearningResult, MetricEarlyStoppingStrategy, MultiDeviceOptim,
        StoppingCondition, SupervisedTraining,
        metric::{
            AccuracyMetric, LearningRateMetric, LossMetric,
            store::{Aggregate, Direction, Split},
        },
    },
};
use clap::{Parser, value_parser};
use roga::{
    domain::DomainDataLoaderBuilder,
    optim::RobustGradientAlignmentConfig,
    train::{RobustTrainStep, StepMetric},
};

use data::{Batch, SEEN, Stack, Style, pictures};
use model::Net;

/// Robust gradient alignment inside burn's `Learner`.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    /// The number of devices: above 1 burn's multi-device strategy, with as many workers on the CPU
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..=16))]
    devices: u64,
    /// Shares the optimizer out among the devices, in the place of one that does it all
    #[arg(long)]
    sharded: bool,
    /// At most as many epochs
    #[arg(long, default_value_t = 12)]
    epochs: usize,
    /// Goes on from the checkpoint of this epoch
    #[arg(long, value_name = "EPOCH")]
    resume: Option<usize>,
    /// Where checkpoints and logs are written
    #[arg(long, default_value = "target/learner")]
    output: PathBuf,
    /// The seed of pictures, weights and batches
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

const BATCH: usize = 20;
const PICTURES: usize = 600;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(args.seed);
    let devices = vec![device.clone(); args.devices as usize];
    prepare(args)?;

    let mut train = DomainDataLoaderBuilder::new(Stack)
        .batch_size(BATCH)
        .seed(args.seed);
    for style in SEEN {
        let drawn = pictures(style, PICTURES, args.seed);
        train = train.domain(format!("{style:?}"), InMemDataset::new(drawn));
    }
    let train = train.build()?;
    // Steps of the optimizer: each takes a mini-batch of every device.
    let steps = train.steps_per_epoch().div_ceil(devices.len());
    // The place in the data is not part of a checkpoint.
    let epochs_done = args.resume.unwrap_or(0);
    train.set_position((epochs_done * train.steps_per_epoch()) as u64);

    // Rows of the training domains that are not trained on: the unseen one has no say here.
    let held_out = SEEN.map(|style| pictures(style, PICTURES / 4, args.seed + 1));
    let valid = DataLoaderBuilder::new(Stack)
        .batch_size(BATCH)
        .build(InMemDataset::new(held_out.concat()));

    let loss = LossMetric::new();
    let mut training =
        SupervisedTraining::<Net>::new(&args.output, std::sync::Arc::new(train), valid)
            .metric_train_numeric(loss.clone())
            .metric_valid_numeric(loss.clone())
            .metric_valid_numeric(AccuracyMetric::new())
            .metric_train_numeric(StepMetric::cosine())
            .metric_train_numeric(StepMetric::conflicts())
            .metric_train_numeric(StepMetric::alignment())
            .metric_train_numeric(StepMetric::sharpness())
            .metric_train_numeric(StepMetric::gradient_norm())
            .metric_train_numeric(StepMetric::skipped())
            .metric_train_numeric(LearningRateMetric::new())
            .with_default_checkpointers()
            .early_stopping(MetricEarlyStoppingStrategy::new(
                &loss,
                Aggregate::Mean,
                Direction::Lowest,
                Split::Valid,
                StoppingCondition::NoImprovementSince { n_epochs: 3 },
            ))
            .with_training_strategy(strategy(devices, args.sharded).into())
            .num_epochs(args.epochs)
            .summary();
    if let Some(epoch) = args.resume {
        training = training.checkpoint(epoch);
    }

    let gradient = RobustGradientAlignmentConfig::new().init_gradient()?;
    let robust = RobustTrainStep::new(gradient, training.interrupter());
    let net = Net::new(robust.clone(), &device);
    // The workers' gradients are added up: with SGD the rate would have to be divided by their
    // number, while AdamW's step is the same.
    let schedule = CosineAnnealingLrSchedulerConfig::new(3e-3, args.epochs * steps).init()?;
    let learner = Learner::new(net, AdamWConfig::new().init(), schedule);

    let LearningResult {
        model,
        renderer,
        interrupted,
        error,
    } = training.launch(learner);
    // The dashboard closes, and leaves the terminal to what is printed.
    drop(renderer);
    if let Some(error) = robust.error() {
        return Err(error.to_string().into());
    }
    if let Some(error) = error {
        return Err(error.to_string().into());
    }
    if interrupted.is_some() {
        println!("Interrupted.");
    }
    let unseen = Stack.batch(pictures(Style::Faded, PICTURES, args.seed), &device.inner());
    println!(
        "Accuracy on a style never seen: {:.1} %",
        100.0 * accuracy(&model, unseen)
    );
    Ok(())
}

/// burn takes two devices of the same name for two devices.
fn strategy(mut devices: Vec<Device>, sharded: bool) -> ExecutionStrategy {
    match (devices.len(), sharded) {
        (1, _) => ExecutionStrategy::single(devices.remove(0)),
        (_, false) => ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice),
        (_, true) => ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimSharded),
    }
}

/// Removes what an earlier training has left, which burn would take for this one's.
fn prepare(args: &Args) -> Result<(), Box<dyn Error>> {
    if let Some(epoch) = args.resume {
        let checkpoint = args.output.join(format!("checkpoint/model-{epoch}.bpk"));
        if !checkpoint.exists() {
            return Err(format!("there is no checkpoint {}", checkpoint.display()).into());
        }
        return Ok(());
    }
    for folder in ["checkpoint", "train", "valid"] {
        let folder = args.output.join(folder);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    fs::create_dir_all(&args.output)?;
    Ok(())
}

fn accuracy(net: &Net, batch: Batch) -> f64 {
    let [count] = batch.classes.dims();
    let predicted = net.forward(batch.pictures).argmax(1).flatten::<1>(0, 1);
    let right = predicted.equal(batch.classes).int().sum();
    right.into_scalar::<i64>() as f64 / count as f64
}
