//! One method's training, and the scores of the net it ends with.

use std::{error::Error, sync::Arc, time::Instant};

use burn::{
    data::{
        dataloader::{DataLoader, batcher::Batcher},
        dataset::InMemDataset,
    },
    lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig,
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::AdamWConfig,
    tensor::{Device, Tensor},
};
use roga::{
    detector::backbone::{ResNet, ResNetConfig},
    domain::{DomainDataLoaderBuilder, EpochLength},
};

use crate::{
    args::Settings,
    data::{Domains, PictureBatch, PictureBatcher, SharedSample, mirror},
    method::Method,
    progress::Progress,
};

/// The scores of a test set, higher for what looks forged.
pub struct Scores {
    pub forgery: Arc<str>,
    pub scores: Vec<f64>,
    pub forged: Vec<bool>,
    /// Whose face each picture is of.
    pub people: Vec<Arc<str>>,
}

/// What a training ends with.
pub struct Trained {
    /// Of every forgery, the one left out included.
    pub scores: Vec<Scores>,
    pub losses: Vec<f64>,
    pub skipped: usize,
    pub seconds: f64,
}

/// The net that all methods start from.
pub fn start(settings: &Settings, seed: u64, device: &Device) -> roga::Result<ResNet> {
    device.seed(seed);
    let net = backbone().init(device)?;
    // Parameters are drawn when they are first used: now, for all methods.
    let size = settings.size as usize;
    net.valid()
        .forward(Tensor::zeros([1, 3, size, size], device));
    Ok(net)
}

/// The net of all methods.
pub fn backbone() -> ResNetConfig {
    ResNetConfig::small(2)
}

/// Trains a copy of the net on some domains and scores the test sets of all.
pub fn train(
    settings: &Settings,
    seed: u64,
    method: Method,
    domains: Domains,
    test: &[(Arc<str>, Vec<SharedSample>)],
    start: &ResNet,
    progress: &mut Progress,
) -> Result<Trained, Box<dyn Error>> {
    let device = start.devices().remove(0).autodiff();
    let count = domains.len();
    // One domain alone: as many pictures a step as in the comparison.
    let alone = if count == 1 {
        settings.forgeries.len() - 1
    } else {
        1
    };
    let loader = DomainDataLoaderBuilder::new(PictureBatcher)
        .batch_size(settings.batch * alone)
        .seed(seed)
        .num_workers(settings.threads.min(1))
        .epoch(EpochLength::Steps(settings.steps))
        .class_balanced(|sample: &SharedSample| sample.0.label)
        .augment(mirror)
        .set_device(device)
        .domains(
            domains
                .into_iter()
                .map(|(name, samples)| (name, InMemDataset::new(samples))),
        )
        .build()?;

    let mut net = start.clone().train();
    let mut optim = method
        .config(settings, seed)
        .init(AdamWConfig::new().init())?;
    let mut schedule = CosineAnnealingLrSchedulerConfig::new(settings.lr, settings.steps).init()?;
    let (begin, mut losses, mut skipped) = (Instant::now(), Vec::new(), 0);
    for (step, domains) in loader.iter().enumerate() {
        let report = optim.step(schedule.step(), &mut net, &domains?, loss)?;
        losses.push(report.mean_loss());
        skipped += usize::from(report.is_skipped());
        progress.step(method, step, report.mean_loss(), count);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let net = net.valid();
    Ok(Trained {
        scores: test
            .iter()
            .map(|(forgery, samples)| score(&net, forgery.clone(), samples))
            .collect(),
        losses,
        skipped,
        seconds,
    })
}

fn loss(net: &ResNet, batch: &PictureBatch) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&batch.labels.device())
        .forward(net.forward(batch.pictures.clone()), batch.labels.clone())
}

/// The difference of the logits, forged less real.
fn score(net: &ResNet, forgery: Arc<str>, samples: &[SharedSample]) -> Scores {
    let device = net.devices().remove(0);
    let mut scores = Vec::with_capacity(samples.len());
    for samples in samples.chunks(64) {
        let batch = PictureBatcher.batch(samples.to_vec(), &device);
        let logits = net.forward(batch.pictures).into_data();
        let logits: Vec<f64> = logits.iter::<f64>().collect();
        scores.extend(logits.chunks(2).map(|pair| pair[1] - pair[0]));
    }
    Scores {
        forgery,
        scores,
        forged: samples.iter().map(|sample| sample.0.label == 1).collect(),
        people: samples
            .iter()
            .map(|sample| sample.0.person.clone())
            .collect(),
    }
}
