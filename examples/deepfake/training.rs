//! One training, from the first step or from where it was interrupted, and the test of its net.

use std::{
    collections::HashMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use burn::{
    data::dataloader::DataLoader,
    lr_scheduler::{
        cosine::CosineAnnealingLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler,
    },
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::{AdamWConfig, GradientsParams},
    tensor::Tensor,
};
use roga::{
    checkpoint::{Checkpoints, CheckpointsConfig},
    detector::backbone::{Classifier, Normalization},
    domain::{DomainDataLoader, DomainDataLoaderBuilder, DomainSource, EpochLength},
    optim::{RobustGradientAlignment, RobustGradientAlignmentRecord},
};
use serde::{Deserialize, Serialize};

use crate::{
    augment::augmentation,
    data::{Domain, Item, PictureBatch, PictureBatcher, pictures},
    detector::{DetectorConfig, Net, WEIGHTS, scores, tensor},
    interrupt::{self, Interrupted},
    limited,
    log::{self, Curves, StepLog},
    method::Method,
    output,
    progress::Progress,
    scores::Scores,
    search::Setting,
    settings::{SelectionName, Settings},
    terminal,
};

/// What is trained, and on what.
#[derive(Clone)]
pub struct Job<'a> {
    pub settings: &'a Settings,
    pub method: Method,
    pub setting: Setting,
    /// Pictures of a domain in a step.
    pub batch: usize,
    pub seed: u64,
    pub steps: usize,
    /// The net that all methods start from.
    pub start: &'a Net,
    pub train: Vec<Domain>,
    /// What checkpoints and settings are chosen by.
    pub valid: Vec<Domain>,
    /// The parts that settings are chosen by where the test domain is looked at.
    pub oracle: Vec<Domain>,
    pub test: Vec<Domain>,
    /// Where the files of the training are.
    pub folder: PathBuf,
    /// Where its plain steps are made, if other trainings begin with the same ones.
    pub warmup: Option<PathBuf>,
}

impl Job<'_> {
    /// How many plain steps it shares with other trainings.
    fn shared(&self) -> usize {
        match self.warmup {
            Some(_) => self.setting.warmup_steps as usize,
            None => 0,
        }
    }
}

/// The AUC of each of some domains.
pub type Aucs = Vec<(Arc<str>, f64)>;

/// A training that is over and tested.
pub struct Trained {
    pub finished: Finished,
    /// Of every test set.
    pub scores: Vec<Scores>,
    pub curves: Curves,
}

/// What is written down when a training is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finished {
    pub seconds: f64,
    /// The steps after which the tested weights were there.
    pub step: u64,
    /// The AUC of each domain's validation part with the tested weights.
    pub validation: Aucs,
    /// The AUC of each test domain's validation part, where it is looked at.
    pub oracle: Aucs,
}

/// The files of one training.
pub struct Files {
    /// Every step's report.
    pub steps: PathBuf,
    /// What an interrupted training goes on from.
    checkpoints: PathBuf,
    /// The tested weights.
    pub weights: PathBuf,
    /// Every test picture's score.
    pub scores: PathBuf,
    /// What is there once the training is over.
    finished: PathBuf,
}

/// The folder of a training, by itself or by its weights.
pub fn folder(path: &Path) -> PathBuf {
    match path.is_dir() {
        true => path.into(),
        false => path.parent().unwrap_or(Path::new("")).into(),
    }
}

impl Files {
    pub fn new(folder: &Path) -> Self {
        Self {
            steps: folder.join("steps.csv"),
            checkpoints: folder.join("checkpoints"),
            weights: folder.join(WEIGHTS),
            scores: folder.join("scores.csv"),
            finished: folder.join("finished.json"),
        }
    }

    /// A training that is over.
    fn finished(&self) -> Result<Option<Finished>, Box<dyn Error>> {
        if !self.finished.exists() {
            return Ok(None);
        }
        let read = || -> Result<Finished, Box<dyn Error>> {
            Ok(serde_json::from_slice(&limited::read(&self.finished)?)?)
        };
        read().map(Some).map_err(|error| self.damaged(&*error))
    }

    fn checkpoints(&self) -> roga::Result<Checkpoints> {
        CheckpointsConfig::new(self.checkpoints.clone()).init()
    }

    /// A training that is over and tested.
    fn tested(&self, finished: Finished) -> Result<Trained, Box<dyn Error>> {
        let read = || -> Result<Trained, Box<dyn Error>> {
            Ok(Trained {
                finished,
                scores: Scores::read(&self.scores)?,
                curves: log::read(&self.steps)?,
            })
        };
        read().map_err(|error| self.damaged(&*error))
    }

    fn damaged(&self, error: &dyn Error) -> Box<dyn Error> {
        let path = self.finished.display();
        format!("the training of {path} is damaged ({error}): remove it to train again").into()
    }
}

/// How many seconds a forward and backward over a step's mini-batches takes.
pub fn time_pass(job: &Job) -> Result<f64, Box<dyn Error>> {
    let loader = augmented_loader(job)?;
    let net = job.start.clone().train();
    let domains = loader.iter().next().ok_or("there is no step")??;
    let mut seconds = 0.0;
    // The first is slower than all that follow.
    for _ in 0..2 {
        let begin = Instant::now();
        for (_, batch) in domains.iter() {
            let gradients = loss(&net, batch).backward();
            let gradients = GradientsParams::from_grads(gradients, &net);
            // A device works ahead until a number is asked for.
            roga::gradient::squared_norm(&net, &gradients).map(Tensor::into_data);
        }
        seconds = begin.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

/// Makes the plain steps that several trainings share, unless an earlier run has, or the training is
/// over.
///
/// To be called for one of these trainings in a run.
pub fn warm_up(job: &Job, progress: &mut Progress) -> Result<(), Box<dyn Error>> {
    let (Some(folder), until) = (&job.warmup, job.shared()) else {
        return Ok(());
    };
    if Files::new(&job.folder).finished()?.is_some() {
        progress.made_before(until as f64);
        return Ok(());
    }
    let plain = Job {
        method: Method::Erm,
        folder: folder.clone(),
        warmup: None,
        ..job.clone()
    };
    let files = Files::new(&plain.folder);
    let mut training = Training::begin(&plain, &files)?;
    progress.made_before(training.before as f64);
    if training.before > 0 && training.before < until {
        let before = training.before;
        progress.say(&format!("the warm-up goes on after step {before}"));
    }
    training.run(until, |made, loss| {
        progress.step((made, plain.steps), loss, 1.0)
    })
}

/// Trains a copy of the net. The test sets are not looked at.
///
/// A training that an earlier run has finished is read from its folder; one that was interrupted
/// goes on from its last checkpoint that is whole, and one that was not begun from its warm-up.
pub fn train(job: &Job, progress: &mut Progress) -> Result<Finished, Box<dyn Error>> {
    let (files, shared) = (Files::new(&job.folder), job.shared());
    let config = job.method.config(&job.setting, job.seed);
    let passes = config.passes(job.steps as u64, job.train.len())? - shared as f64;
    if let Some(finished) = files.finished()? {
        progress.made_before(passes);
        return Ok(finished);
    }
    let mut training = Training::begin(job, &files)?;
    let before = training.before;
    let cost = passes / (job.steps - shared) as f64;
    if before > shared {
        progress.made_before(cost * (before - shared) as f64);
        progress.say(&format!("{}: goes on after step {before}", job.method));
    }
    training.run(job.steps, |made, loss| {
        progress.step((made, job.steps), loss, cost)
    })?;
    training.finish()?;
    // What is chosen by is what a later run of the same command reads.
    let finished = files.finished()?;
    finished.ok_or_else(|| format!("{} has no result", job.folder.display()).into())
}

/// Scores the test sets with a trained net, unless an earlier run has done so.
pub fn test(job: &Job, finished: Finished) -> Result<Trained, Box<dyn Error>> {
    let files = Files::new(&job.folder);
    if !files.scores.exists() {
        let net = trained(&job.start.valid(), &files)?;
        let normalization = job.settings.backbone.normalization();
        let scores = score(&net, normalization, &job.test, job.settings.threads)?;
        Scores::write(&files.scores, &scores)?;
    }
    // What is compared is what a later run of the same command reads.
    files.tested(finished)
}

/// The net with the weights that the training has chosen.
fn trained(net: &Net, files: &Files) -> Result<Net, Box<dyn Error>> {
    Ok(net.clone().load_trained(&files.weights)?)
}

/// Which weights are taken, as far as the training is: the best on the validation parts, or the last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Best {
    step: u64,
    validation: Aucs,
    mean: Option<f64>,
}

struct Training<'a> {
    job: &'a Job<'a>,
    files: &'a Files,
    loader: Rc<DomainDataLoader<Item, PictureBatch>>,
    net: Net,
    optim: RobustGradientAlignment,
    schedule: ModuleLrScheduler,
    log: StepLog,
    checkpoints: Checkpoints,
    best: Best,
    /// Steps made by earlier runs of the same command.
    before: usize,
    seconds_before: f64,
    begin: Instant,
}

impl<'a> Training<'a> {
    fn begin(job: &'a Job<'a>, files: &'a Files) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(&job.folder).map_err(|e| format!("{}: {e}", job.folder.display()))?;
        let loader = Rc::new(augmented_loader(job)?);
        let mut net = job.start.clone().train();
        let config = job.method.config(&job.setting, job.seed);
        let mut optim = config.init(AdamWConfig::new().init())?;
        let mut schedule =
            CosineAnnealingLrSchedulerConfig::new(job.setting.lr, job.steps).init()?;
        let (mut best, mut before, mut seconds_before) = (Best::default(), 0, 0.0);
        let checkpoints = files.checkpoints()?;
        if let (Some(warmup), None) = (&job.warmup, checkpoints.latest()?) {
            take_over(&Files::new(warmup), &checkpoints, files)?;
        }
        let log = if let Some(latest) = checkpoints.latest()? {
            for damaged in &latest.passed_over {
                let step = latest.step;
                terminal::warn(&format!(
                    "{damaged}: the one of step {step} is taken instead"
                ));
            }
            let record = RobustGradientAlignmentRecord::load(&latest.path)?;
            net = record.load_model(net)?;
            optim.load_record(&record)?;
            schedule = schedule.load_record(record.scheduler()?);
            loader.set_position(record.position()?);
            let note = |name| record.note(name).ok_or(format!("the record has no {name}"));
            best = serde_json::from_str(note("best")?)?;
            before = record.steps() as usize;
            seconds_before = note("seconds")?.parse()?;
            StepLog::go_on(&files.steps, note("log")?.parse()?)?
        } else {
            let names: Vec<Arc<str>> = job.train.iter().map(|d| d.name.clone()).collect();
            StepLog::create(&files.steps, &names)?
        };
        Ok(Self {
            job,
            files,
            loader,
            net,
            optim,
            schedule,
            log,
            checkpoints,
            best,
            before,
            seconds_before,
            begin: Instant::now(),
        })
    }

    /// Makes the steps up to this one.
    fn run(
        &mut self,
        until: usize,
        mut after: impl FnMut(usize, f64),
    ) -> Result<(), Box<dyn Error>> {
        if self.loader.position() >= until as u64 {
            return Ok(());
        }
        let mut saved = Instant::now();
        let between = Duration::from_secs(self.job.settings.seconds_at_stake);
        let loader = self.loader.clone();
        for domains in loader.iter() {
            let lr = self.schedule.step();
            let report = self
                .optim
                .step(lr.clone(), &mut self.net, &domains?, loss)?;
            self.log.push(lr.base(), &report)?;
            let made = report.step as usize + 1;
            let score = self.evaluate(made)?;
            after(made, report.mean_loss());
            let last = made == until;
            let interrupted = interrupt::asked() && made < self.job.steps;
            let due = saved.elapsed() >= between || score.is_some();
            if last || interrupted || due {
                self.save(score)?;
                saved = Instant::now();
            }
            if interrupted {
                return Err(Interrupted { step: made as u64 }.into());
            }
            if last {
                break;
            }
        }
        Ok(())
    }

    /// Whether the weights are to choose by the validation parts, or the last are taken.
    fn chooses(&self) -> bool {
        self.job.settings.selection == SelectionName::TrainingDomain
    }

    /// The mean AUC on the validation parts, where it is looked at and the best so far.
    fn evaluate(&mut self, made: usize) -> Result<Option<f64>, Box<dyn Error>> {
        let last = made == self.job.steps;
        let every = self.job.steps.div_ceil(self.job.settings.evaluations);
        let due = self.chooses() && made.is_multiple_of(every);
        if !last && !due {
            return Ok(None);
        }
        let (net, normalization) = (self.net.valid(), self.normalization());
        let threads = self.job.settings.threads;
        let validation = aucs(&net, normalization, &self.job.valid, threads)?;
        let sum: f64 = validation.iter().map(|(_, auc)| auc).sum();
        let mean = (!validation.is_empty()).then(|| sum / validation.len() as f64);
        let better = self.best.mean.is_none() || mean > self.best.mean;
        if self.chooses() && !better {
            return Ok(None);
        }
        self.best = Best {
            step: made as u64,
            validation,
            mean,
        };
        Ok(mean.filter(|_| self.chooses()))
    }

    fn normalization(&self) -> Normalization {
        self.job.settings.backbone.normalization()
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.begin.elapsed().as_secs_f64()
    }

    /// Writes a checkpoint; with a score, one that is better than all before.
    fn save(&mut self, score: Option<f64>) -> Result<(), Box<dyn Error>> {
        let record = self
            .optim
            .to_record()?
            .with_model(&self.net)?
            .with_scheduler(self.schedule.to_record())
            .with_position(self.loader.position())
            .with_note("log", self.log.flush()?.to_string())
            .with_note("best", serde_json::to_string(&self.best)?)
            .with_note("seconds", self.seconds().to_string());
        let made = record.steps();
        let saved = self.checkpoints.save(made, score, |path| record.save(path));
        Ok(saved.map(drop)?)
    }

    /// The net after the training.
    fn chosen(&self) -> Result<Net, Box<dyn Error>> {
        if !self.chooses() {
            return Ok(self.net.clone());
        }
        let lost = |reason: String| {
            let (folder, step) = (self.files.checkpoints.display(), self.best.step);
            format!(
                "{folder}: the best checkpoint, of step {step}, is lost ({reason}): remove the \
                 folder to train again"
            )
        };
        let best = self.checkpoints.best().map_err(|e| lost(e.to_string()))?;
        let best = best.filter(|best| best.step == self.best.step);
        let best = best.ok_or_else(|| lost("it is not there".into()))?;
        let record = RobustGradientAlignmentRecord::load(&best.path)?;
        Ok(record.load_model(self.net.clone())?)
    }

    /// Writes the chosen weights, and that the training is over and what they came to. The last
    /// checkpoint stays.
    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        let seconds = self.seconds();
        let net = self.chosen()?.valid();
        net.clone().save_file(&self.files.weights)?;
        let config = DetectorConfig::new(self.job.settings);
        config.save(&self.files.weights, &self.job.train, &self.job.valid)?;
        // What is tested is what a later run reads.
        let net = trained(&net, self.files)?;
        let threads = self.job.settings.threads;
        let finished = Finished {
            seconds,
            step: self.best.step,
            validation: self.best.validation.clone(),
            oracle: aucs(&net, self.normalization(), &self.job.oracle, threads)?,
        };
        let text = serde_json::to_string_pretty(&finished)?;
        output::write(&self.files.finished, &text)?;
        Ok(self.checkpoints.prune(1, false)?)
    }
}

/// Takes what a warm-up has left for that of a training of its own.
fn take_over(
    warmup: &Files,
    checkpoints: &Checkpoints,
    files: &Files,
) -> Result<(), Box<dyn Error>> {
    if !warmup.checkpoints.exists() {
        return Ok(());
    }
    let made = warmup.checkpoints()?;
    let Some(latest) = made.latest()? else {
        return Ok(());
    };
    fs::copy(&warmup.steps, &files.steps)
        .map_err(|error| format!("{}: {error}", warmup.steps.display()))?;
    // The last one comes last: with it, the training is begun.
    let best = made.best()?.filter(|best| best.step < latest.step);
    for one in best.iter().chain([&latest]) {
        let record = RobustGradientAlignmentRecord::load(&one.path)?;
        checkpoints.save(one.step, one.score, |path| record.save(path))?;
    }
    Ok(())
}

fn augmented_loader(job: &Job) -> roga::Result<DomainDataLoader<Item, PictureBatch>> {
    let (settings, length) = (job.settings, EpochLength::Steps(job.steps));
    loader(
        job.start,
        &job.train,
        settings,
        (job.batch, job.seed),
        length,
    )
    .augment(augmentation(&settings.augment)?)
    .build()
}

/// Steps over domains, half of every batch forged, on the device of a net.
pub fn loader(
    net: &Net,
    domains: &[Domain],
    settings: &Settings,
    (batch, seed): (usize, u64),
    length: EpochLength,
) -> DomainDataLoaderBuilder<Item, PictureBatch> {
    let batcher = PictureBatcher(settings.backbone.normalization());
    let mut loader = DomainDataLoaderBuilder::new(batcher)
        .batch_size(batch)
        .seed(seed)
        .num_workers(settings.threads)
        .epoch(length)
        .set_device(net.devices().remove(0).autodiff());
    for domain in domains {
        let classes: Vec<bool> = domain.about.iter().map(|about| about.forged).collect();
        let source = DomainSource::new(domain.clone()).with_classes(classes);
        loader = loader.domain_with(domain.name.clone(), source);
    }
    loader
}

pub fn loss(net: &Net, batch: &PictureBatch) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&batch.labels.device())
        .forward(net.forward(batch.pictures.clone()), batch.labels.clone())
}

/// The AUC of every domain.
fn aucs(
    net: &Net,
    normalization: Normalization,
    domains: &[Domain],
    threads: usize,
) -> Result<Aucs, Box<dyn Error>> {
    let scores = score(net, normalization, domains, threads)?.into_iter();
    let aucs = scores.map(|of| Ok((of.domain.clone(), of.roc()?.auc())));
    aucs.collect()
}

/// Every picture's score: the difference of the logits, forged less real. A picture that several
/// domains share is scored once.
pub fn score(
    net: &Net,
    normalization: Normalization,
    domains: &[Domain],
    threads: usize,
) -> Result<Vec<Scores>, Box<dyn Error>> {
    let device = net.devices().remove(0);
    let mut known: HashMap<&str, f64> = HashMap::new();
    for domain in domains {
        let unknown = domain.about.iter().enumerate();
        let unknown: Vec<usize> = unknown
            .filter(|(_, about)| !known.contains_key(&*about.id))
            .map(|(index, _)| index)
            .collect();
        for chunk in unknown.chunks(64) {
            let pictures = pictures(domain, chunk, threads)?;
            let pictures: Vec<_> = pictures.iter().map(|picture| &**picture).collect();
            let scores = scores(net.forward(tensor(&pictures, normalization, &device)));
            known.extend(chunk.iter().map(|&i| &*domain.about[i].id).zip(scores));
        }
    }
    let scores = domains.iter().map(|domain| {
        let scores = domain.about.iter().map(|about| known[&*about.id]);
        Scores::new(domain, scores.collect())
    });
    Ok(scores.collect())
}
