//! One method's training, and the scores of the net it ends with.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use burn::{
    data::{
        dataloader::{DataLoader, batcher::Batcher},
        dataset::InMemDataset,
    },
    lr_scheduler::{
        cosine::CosineAnnealingLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler,
    },
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::AdamWConfig,
    tensor::{Device, Tensor},
};
use roga::{
    detector::backbone::{Classifier, ResNet, ResNetConfig},
    domain::{DomainDataLoaderBuilder, EpochLength},
    optim::{RobustGradientAlignment, RobustGradientAlignmentRecord},
};
use serde::{Deserialize, Serialize};

use crate::{
    args::Settings,
    data::{Domains, PictureBatch, PictureBatcher, SharedSample, mirror},
    log::{self, Curves, StepLog},
    method::Method,
    output,
    progress::Progress,
};

/// The scores of a test set, higher for what looks forged.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    pub curves: Curves,
    pub seconds: f64,
}

/// What is written down when a training is over.
#[derive(Serialize, Deserialize)]
struct Finished {
    seconds: f64,
    scores: Vec<Scores>,
}

/// The files of one training.
struct Files {
    /// Every step's report.
    steps: PathBuf,
    /// What an interrupted training goes on from.
    record: PathBuf,
    /// The trained weights.
    weights: PathBuf,
    /// The scores, once the training is over.
    scores: PathBuf,
}

impl Files {
    fn new(folder: &Path) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self {
            steps: folder.join("steps.csv"),
            record: folder.join("training.bpk"),
            weights: folder.join("weights.bpk"),
            scores: folder.join("scores.json"),
        })
    }

    fn finished(&self) -> Result<Trained, Box<dyn Error>> {
        let Finished { seconds, scores } = serde_json::from_slice(&fs::read(&self.scores)?)?;
        Ok(Trained {
            scores,
            curves: log::read(&self.steps)?,
            seconds,
        })
    }
}

/// How often an interrupted training is able to go on.
const BETWEEN_RECORDS: Duration = Duration::from_secs(10);

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
///
/// A training that an earlier run has finished is read from its folder; one that was interrupted
/// goes on from its record.
pub fn train(
    settings: &Settings,
    seed: u64,
    method: Method,
    domains: Domains,
    test: &[(Arc<str>, Vec<SharedSample>)],
    start: &ResNet,
    (folder, progress): (&Path, &mut Progress),
) -> Result<Trained, Box<dyn Error>> {
    let files = Files::new(folder)?;
    let count = domains.len();
    if files.scores.exists() {
        progress.made_before(method, settings.steps, count);
        return files.finished();
    }
    let device = start.devices().remove(0).autodiff();
    // One domain alone: as many pictures a step as in the comparison.
    let alone = if count == 1 {
        settings.forgeries.len() - 1
    } else {
        1
    };
    let names: Vec<Arc<str>> = domains.iter().map(|(name, _)| name.clone()).collect();
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
    let mut before = 0.0;
    let mut log = if files.record.exists() {
        let record = RobustGradientAlignmentRecord::load(&files.record)?;
        net = record.load_model(net)?;
        optim.load_record(&record)?;
        schedule = schedule.load_record(record.scheduler()?);
        loader.set_position(record.position()?);
        let note = |name| record.note(name).ok_or(format!("the record has no {name}"));
        before = note("seconds")?.parse()?;
        progress.made_before(method, record.steps() as usize, count);
        progress.say(&format!("{method}: goes on after step {}", record.steps()));
        StepLog::go_on(&files.steps, note("log")?.parse()?)?
    } else {
        StepLog::create(&files.steps, &names)?
    };

    let begin = Instant::now();
    let seconds = || before + begin.elapsed().as_secs_f64();
    let save = |net: &ResNet,
                optim: &RobustGradientAlignment,
                schedule: &ModuleLrScheduler,
                log: &mut StepLog|
     -> Result<(), Box<dyn Error>> {
        let record = optim
            .to_record()?
            .with_model(net)?
            .with_scheduler(schedule.to_record())
            .with_position(loader.position())
            .with_note("log", log.flush()?.to_string())
            .with_note("seconds", seconds().to_string());
        Ok(record.save(&files.record)?)
    };
    let mut saved = Instant::now();
    if loader.position() < settings.steps as u64 {
        for domains in loader.iter() {
            let lr = schedule.step();
            let report = optim.step(lr.clone(), &mut net, &domains?, loss)?;
            log.push(lr.base(), &report)?;
            progress.step(method, report.step as usize, report.mean_loss(), count);
            if saved.elapsed() >= BETWEEN_RECORDS {
                save(&net, &optim, &schedule, &mut log)?;
                saved = Instant::now();
            }
        }
        save(&net, &optim, &schedule, &mut log)?;
    }
    let seconds = seconds();
    let net = net.valid();
    net.clone().save_file(&files.weights)?;
    let scores = test
        .iter()
        .map(|(forgery, samples)| score(&net, forgery.clone(), samples));
    let finished = Finished {
        seconds,
        scores: scores.collect(),
    };
    output::write(&files.scores, &serde_json::to_string(&finished)?)?;
    // What is compared is what a later run of the same command reads.
    files.finished()
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
