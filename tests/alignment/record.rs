//! A training that was interrupted goes on as if it had not been, and what it cannot go on from is
//! refused.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use burn::{
    config::Config as _,
    data::{
        dataloader::{DataLoader, batcher::Batcher},
        dataset::InMemDataset,
    },
    grad_clipping::GradientClippingConfig,
    lr_scheduler::{
        cosine::CosineAnnealingLrSchedulerConfig,
        exponential::ExponentialLrSchedulerConfig,
        module_lr_scheduler::{ModuleLrScheduler, ModuleLrSchedulerConfig},
    },
    module::{Module, ParamGroup},
    nn::DropoutConfig,
    optim::{
        AdamConfig, AdamWConfig, LionConfig, ModuleOptimizer, SgdConfig, momentum::MomentumConfig,
    },
    tensor::{Bytes, Device, Tensor, TensorData},
};
use burn_pack::{Reader, Scalar, Writer};
use proptest::prelude::*;
use roga::{
    Error,
    aggregation::GroupDro,
    alignment::AlignmentConfig,
    domain::{DomainDataLoader, DomainDataLoaderBuilder, EpochLength},
    optim::{
        AggregationConfig, Ascent, Draw, Evaluation, FriendlyAscent, RobustGradientAlignment,
        RobustGradientAlignmentConfig as Config, RobustGradientAlignmentRecord as Record, Schedule,
    },
    perturbation::Adaptive,
};

use crate::problems::{
    Batch, Mlp, Net, batches, device, joined_losses, momentum, net_loss, optimizer_state, values,
};
use crate::process;

const STEPS: u64 = 12;
/// In the middle of the second epoch of five steps.
const INTERRUPTED: u64 = 7;

#[derive(Clone)]
struct Rows;

impl Batcher<u32, Batch> for Rows {
    fn batch(&self, items: Vec<u32>, device: &Device) -> Batch {
        let numbers = items
            .iter()
            .flat_map(|item| (0..4).map(move |k| (1.3 * (4 * item + k) as f32).sin()));
        let labels: Vec<i32> = items.iter().map(|item| *item as i32 % 3).collect();
        let n = items.len();
        Batch {
            x: Tensor::from_data(TensorData::new(numbers.collect::<Vec<_>>(), [n, 4]), device),
            y: Tensor::from_data(TensorData::new(labels, [n]), device),
        }
    }
}

fn loader(workers: usize) -> DomainDataLoader<u32, Batch> {
    DomainDataLoaderBuilder::new(Rows)
        .batch_size(4)
        .seed(11)
        .num_workers(workers)
        .set_device(device())
        .epoch(EpochLength::Steps(5))
        .augment(|item, random| item + 100 * (random % 3) as u32)
        .domain("a", InMemDataset::new((0..17).collect()))
        .domain("b", InMemDataset::new((20..27).collect()))
        .domain("c", InMemDataset::new((40..43).collect()))
        .build()
        .unwrap()
}

/// A training in all its parts.
struct Training {
    config: Config,
    base: ModuleOptimizer,
    dropout: f64,
    joined: bool,
    /// Steps whose loss is not a number.
    poisoned: &'static [u64],
    rates: fn() -> ModuleLrScheduler,
}

fn cosine() -> ModuleLrScheduler {
    annealed().init().unwrap()
}

fn annealed() -> CosineAnnealingLrSchedulerConfig {
    CosineAnnealingLrSchedulerConfig::new(0.05, 9).with_min_lr(1e-3)
}

fn by_group() -> ModuleLrScheduler {
    ModuleLrSchedulerConfig::new(annealed().into())
        .with_group(
            ParamGroup::from_predicate("second"),
            ExponentialLrSchedulerConfig::new(0.03, 0.9),
        )
        .init()
        .unwrap()
}

fn adam() -> ModuleOptimizer {
    AdamConfig::new().init()
}

fn two_optimizers() -> ModuleOptimizer {
    momentum().with_group(
        ParamGroup::from_predicate("second"),
        AdamWConfig::new().build(),
        None,
    )
}

fn trainings() -> Vec<(&'static str, Training)> {
    let sampled = |draw| {
        Config::new()
            .with_rho(0.3)
            .with_gamma(0.05)
            .with_evaluation(Evaluation::Sampled)
            .with_draw(draw)
            .with_seed(5)
    };
    let (from, to, steps) = (0.2, 1.0, 10);
    let plain = |config: Config, base: ModuleOptimizer| Training {
        config,
        base,
        dropout: 0.0,
        joined: false,
        poisoned: &[],
        rates: cosine,
    };
    let group_dro = AggregationConfig::new(GroupDro { eta: 0.7 }.into());
    vec![
        ("permutation", plain(sampled(Draw::Permutation), adam())),
        (
            "aggregated and aligned",
            Training {
                poisoned: &[2, 6],
                ..plain(
                    sampled(Draw::Permutation)
                        .with_aggregation(Some(group_dro))
                        .with_alignment(Some(AlignmentConfig::cosine(0.1).with_warmup_steps(3))),
                    momentum(),
                )
            },
        ),
        (
            "independent",
            Training {
                poisoned: &[2, 6],
                ..plain(sampled(Draw::Independent), momentum())
            },
        ),
        (
            "derangement",
            Training {
                rates: by_group,
                ..plain(sampled(Draw::Derangement), two_optimizers())
            },
        ),
        (
            "dropout",
            Training {
                dropout: 0.5,
                ..plain(sampled(Draw::Permutation).with_noise_seed(Some(3)), adam())
            },
        ),
        (
            "schedules",
            Training {
                poisoned: &[5, 6, 7],
                ..plain(
                    Config::new()
                        .with_rho(0.1 + 0.2)
                        .with_gamma(0.05)
                        .with_rho_schedule(Schedule::Cosine { from, to, steps })
                        .with_gamma_schedule(Schedule::LearningRate { reference: 0.05 })
                        .with_adaptive(Adaptive::ASAM)
                        .with_warmup_steps(3)
                        .with_interval(3)
                        .with_group(ParamGroup::from_predicate("norm"), 0.0, 0.0)
                        .with_group(ParamGroup::from_regex("bias$").unwrap(), 0.1, 0.0)
                        .with_domain_weights(Some(vec![1.0, 2.0, 0.7])),
                    LionConfig::new().init(),
                )
            },
        ),
        (
            // The base optimizer has no state of its own.
            "friendly",
            Training {
                poisoned: &[2, 6],
                ..plain(
                    Config::friendly_sam(0.2, 0.8, 0.7).with_adaptive(Adaptive::ASAM),
                    SgdConfig::new().init(),
                )
            },
        ),
        (
            "looking",
            Training {
                poisoned: &[1, 3, 9],
                ..plain(Config::look_sam(0.2, 3, 0.7), momentum())
            },
        ),
        (
            "joined",
            Training {
                joined: true,
                dropout: 0.3,
                ..plain(
                    Config::sagm(0.1, 0.01)
                        .with_friendly(Some(FriendlyAscent::new()))
                        .with_interval(2)
                        .with_reuse_weight(Some(0.5))
                        .with_noise_seed(Some(9))
                        .with_report(false),
                    two_optimizers(),
                )
            },
        ),
    ]
}

impl Training {
    fn net(&self) -> Net {
        let mut net = Net::new(&device());
        net.dropout = DropoutConfig::new(self.dropout).init();
        net
    }

    fn optimizer(&self) -> RobustGradientAlignment {
        self.config.init(self.base.clone()).unwrap()
    }

    /// The steps from the loader's position to `end`, each with all that can be compared.
    fn run(
        &self,
        end: u64,
        net: &mut Net,
        optim: &mut RobustGradientAlignment,
        rates: &mut ModuleLrScheduler,
        loader: &DomainDataLoader<u32, Batch>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        while loader.position() < end {
            for domains in loader.iter() {
                let domains = domains.unwrap();
                let step = domains.step().unwrap();
                let bad = if self.poisoned.contains(&step) {
                    f32::NAN
                } else {
                    1.0
                };
                let rate = rates.step();
                let mut line = format!("{step} {}", rate.base().to_bits());
                for (name, batch) in domains.iter() {
                    write!(line, " {name} {:?} {}", values(&batch.x), batch.y.to_data()).unwrap();
                }
                let report = if self.joined {
                    optim.step_joined(rate, net, &domains, |net: &Net, joined| {
                        joined_losses(net.forward(joined.batch().x.clone()), joined) * bad
                    })
                } else {
                    optim.step(rate, net, &domains, |net: &Net, batch: &Batch| {
                        net.loss(batch) * bad
                    })
                };
                let report = report.unwrap();
                assert_eq!(report.is_skipped(), bad.is_nan());
                write!(line, " {report:?} {:?}", net.state()).unwrap();
                lines.push(line);
                if step + 1 == end {
                    break;
                }
            }
        }
        lines
    }
}

#[test]
fn resumed_in_a_new_process_it_goes_on_bit_for_bit() {
    const NAME: &str = "record::resumed_in_a_new_process_it_goes_on_bit_for_bit";
    if let Some((part, folder)) = process::part() {
        for (name, training) in trainings() {
            match part.as_str() {
                "begin" => begin(&training, &folder.join(name)),
                "resume" => resume(&training, &folder.join(name)),
                other => panic!("no part is called {other}"),
            }
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in trainings() {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    process::run(NAME, "begin", folder.path());
    process::run(NAME, "resume", folder.path());
    for (name, training) in trainings() {
        let read = |file: &str| {
            let text = std::fs::read_to_string(folder.path().join(name).join(file)).unwrap();
            text.lines().map(String::from).collect::<Vec<_>>()
        };
        let (whole, interrupted) = (read("whole"), read("interrupted"));
        let resumed = read("resumed");
        // The last line is the state of the base optimizer.
        assert_eq!(whole.len() as u64, STEPS + 1);
        assert_eq!(interrupted.len() as u64, STEPS + 1);
        assert_eq!(resumed.len() as u64, STEPS - INTERRUPTED + 1);
        for step in 0..STEPS as usize {
            assert_eq!(interrupted[step], whole[step], "{name}: taking a record");
        }
        for (place, line) in resumed.iter().enumerate() {
            let expected = &interrupted[place + INTERRUPTED as usize];
            assert_eq!(line, expected, "{name}: {place} steps after the record");
        }
        // Steps and parameters differ from one another: there was something to compare.
        let mut distinct = whole.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len() as u64, STEPS + 1, "{name}");
        assert_eq!(
            whole.iter().filter(|line| line.contains("Skipped")).count(),
            training.poisoned.len()
        );
    }
}

fn write_lines(path: PathBuf, mut lines: Vec<String>, optim: &RobustGradientAlignment) {
    lines.push(format!("{:?}", optimizer_state(optim.base())));
    std::fs::write(path, lines.join("\n")).unwrap();
}

/// Never interrupted, and with a record taken on the way.
fn begin(training: &Training, folder: &Path) {
    for record in [false, true] {
        let mut net = training.net();
        let mut optim = training.optimizer();
        let mut rates = (training.rates)();
        let loader = loader(2);
        let to = if record { INTERRUPTED } else { STEPS };
        let mut lines = training.run(to, &mut net, &mut optim, &mut rates, &loader);
        if record {
            assert_eq!(loader.position(), INTERRUPTED);
            optim
                .to_record()
                .unwrap()
                .with_model(&net)
                .unwrap()
                .with_scheduler(rates.to_record())
                .with_position(loader.position())
                .with_note("best", "0.75")
                .save(folder.join("record.bpk"))
                .unwrap();
            lines.extend(training.run(STEPS, &mut net, &mut optim, &mut rates, &loader));
        }
        let file = if record { "interrupted" } else { "whole" };
        write_lines(folder.join(file), lines, &optim);
    }
}

fn resume(training: &Training, folder: &Path) {
    let record = Record::load(folder.join("record.bpk")).unwrap();
    assert_eq!(record.steps(), INTERRUPTED);
    assert_eq!(record.note("best"), Some("0.75"));
    assert_eq!(record.note("worst"), None);
    // What is made anew has other parameters and ids, until it is loaded.
    let mut net = training.net();
    net.first.weight = crate::problems::fixed([4, 6], 0.9, 0.2, &device());
    net.forward(Tensor::ones([3, 4], &device()));
    let mut net = record.load_model(net).unwrap();
    let mut optim = training.optimizer();
    optim.load_record(&record).unwrap();
    assert_eq!(optim.gradient().steps(), INTERRUPTED);
    let mut rates = (training.rates)().load_record(record.scheduler().unwrap());
    let loader = loader(0);
    loader.set_position(record.position().unwrap());
    let lines = training.run(STEPS, &mut net, &mut optim, &mut rates, &loader);
    write_lines(folder.join("resumed"), lines, &optim);
}

/// A training some steps on.
fn begun(config: &Config, base: ModuleOptimizer) -> (Net, RobustGradientAlignment) {
    let device = device();
    let mut net = Net::new(&device);
    let mut optim = config.init(base).unwrap();
    for step in 0..3 {
        optim
            .step(0.05, &mut net, &batches(step, &device), net_loss)
            .unwrap();
    }
    (net, optim)
}

/// Settings that carry gradients from step to step.
fn carrying() -> Config {
    Config::look_sam(0.1, 2, 0.5).with_friendly(Some(FriendlyAscent::new()))
}

fn record_of(net: &Net, optim: &RobustGradientAlignment) -> Record {
    optim.to_record().unwrap().with_model(net).unwrap()
}

fn bytes_of(record: &Record) -> Vec<u8> {
    record.clone().into_bytes().unwrap().to_vec()
}

fn from_bytes(bytes: &[u8]) -> Result<Record, Error> {
    Record::from_bytes(Bytes::from_bytes_vec(bytes.to_vec()))
}

/// The optimizer as its record has it, without the order of hash maps.
fn everything(optim: &RobustGradientAlignment) -> (u64, String, Vec<(String, Vec<u8>)>) {
    let gradient = optim.gradient();
    (
        gradient.steps(),
        gradient.config().to_string(),
        optimizer_state(optim.base()),
    )
}

#[test]
fn a_row_of_skipped_steps_goes_on_over_the_record() {
    let device = device();
    let config = Config::new().with_max_skipped_steps(Some(5));
    let (mut net, mut optim) = begun(&config, adam());
    let bad = |net: &Net, batch: &Batch| net.loss(batch) * f32::NAN;
    // What it began with is told, not only what it ended with.
    let mut calls = 0;
    let second = |net: &Net, batch: &Batch| {
        calls += 1;
        let factor = if calls == 2 { f32::NAN } else { 1.0 };
        net.loss(batch) * factor
    };
    optim
        .step(0.05, &mut net, &batches(0, &device), second)
        .unwrap();
    for _ in 0..2 {
        optim
            .step(0.05, &mut net, &batches(0, &device), bad)
            .unwrap();
    }
    let record = from_bytes(&bytes_of(&record_of(&net, &optim))).unwrap();
    let mut resumed = config.init(adam()).unwrap();
    resumed.load_record(&record).unwrap();
    let mut net = record.load_model(Net::new(&device)).unwrap();
    let mut step = || resumed.step(0.05, &mut net, &batches(0, &device), bad);
    assert!(step().is_ok());
    assert_eq!(
        step().unwrap_err().to_string(),
        "5 steps in a row were skipped, since step 3: the loss of domain `b` is not finite in the \
         clean pass; in the last of them the loss of domain `a` is not finite in the clean pass"
    );
}

#[test]
fn other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (net, optim) = begun(&Config::new(), adam());
    record_of(&net, &optim).save(path("good.bpk")).unwrap();
    let good = std::fs::read(path("good.bpk")).unwrap();
    assert!(Record::load(path("good.bpk")).is_ok());
    assert!(Record::load(path("good")).is_ok(), "the extension is added");

    std::fs::write(path("empty.bpk"), []).unwrap();
    std::fs::write(path("text.bpk"), "steps: 12, rho: 0.05, gamma: 0.0005\n").unwrap();
    std::fs::write(path("cut.bpk"), &good[..good.len() - 1]).unwrap();
    net.clone().into_record().save(path("model.bpk")).unwrap();
    optim.base().save(path("optimizer.bpk")).unwrap();
    let something_else = "the record must be one of a robust training, but it is of something else";
    for (name, reason) in [
        ("missing.bpk", "cannot be read"),
        ("empty.bpk", ""),
        ("text.bpk", ""),
        ("cut.bpk", ""),
        ("model.bpk", something_else),
        ("optimizer.bpk", something_else),
    ] {
        let error = Record::load(path(name)).unwrap_err();
        assert!(matches!(error, Error::File { .. }));
        let error = error.to_string();
        assert!(error.contains(name) && error.contains(reason), "{error}");
        if name != "missing.bpk" {
            let bytes = std::fs::read(path(name)).unwrap();
            let error = from_bytes(&bytes).unwrap_err();
            assert!(matches!(error, Error::Record { .. }), "{error}");
        }
    }
    // Wherever it is cut off.
    for length in (0..good.len())
        .step_by(37)
        .chain(good.len() - 64..good.len())
    {
        assert!(from_bytes(&good[..length]).is_err(), "{length}");
    }
}

/// The file with its numbers and texts changed.
fn rewritten(record: &Record, change: impl FnOnce(Writer) -> Writer, leave_out: &str) -> Vec<u8> {
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes_of(record))).unwrap();
    let (metadata, scalars) = (reader.metadata().clone(), reader.scalars().clone());
    let tensors = reader.into_tensors().unwrap();
    let tensors = tensors
        .into_iter()
        .filter(|tensor| tensor.name != leave_out);
    let mut writer = Writer::new(tensors.collect());
    for (name, text) in metadata.iter().filter(|(name, _)| *name != leave_out) {
        writer = writer.with_metadata(name, text);
    }
    for (name, number) in scalars.iter().filter(|(name, _)| *name != leave_out) {
        writer = writer.with_scalar(name, *number);
    }
    change(writer).into_bytes().unwrap().to_vec()
}

#[test]
fn later_versions_and_missing_parts_are_refused() {
    let (net, optim) = begun(&Config::new(), adam());
    let record = record_of(&net, &optim);
    let refused = |bytes: &[u8]| from_bytes(bytes).unwrap_err().to_string();
    assert!(from_bytes(&rewritten(&record, |writer| writer, "")).is_ok());

    let version =
        |version: Scalar| rewritten(&record, |writer| writer.with_scalar("version", version), "");
    assert_eq!(
        refused(&version(Scalar::UInt(4))),
        "the record must be of a version that this crate knows, but it is of version 4, and the \
         last one known is 3"
    );
    // Though nothing else in it can be read.
    let later = rewritten(
        &record,
        |writer| {
            let writer = writer.with_scalar("version", Scalar::UInt(u64::MAX));
            writer.with_metadata("config", "in another language")
        },
        "steps",
    );
    assert!(refused(&later).contains("must be of a version that this crate knows"));
    for strange in [Scalar::Float(1.5), Scalar::Int(-1)] {
        assert!(refused(&version(strange)).contains("version is not in it"));
    }
    for part in [
        "version",
        "steps",
        "skipped",
        "skipped_since",
        "config",
        "response",
        "checksum",
        "optimizer.000000",
    ] {
        let error = refused(&rewritten(&record, |writer| writer, part));
        assert!(error.contains("is not in it"), "{part}: {error}");
    }
    let damaged = rewritten(
        &record,
        |writer| writer.with_metadata("config", "{\"rho\": \"wide\"}"),
        "",
    );
    assert!(refused(&damaged).starts_with("the record must be whole, but its settings"));

    // Parts that were never there are asked for in vain.
    let bare = optim.to_record().unwrap();
    let bare = from_bytes(&bytes_of(&bare)).unwrap();
    for (error, what) in [
        (bare.load_model(net).map(drop), "the model"),
        (bare.scheduler().map(drop), "the scheduler"),
        (bare.position().map(drop), "the loader's position"),
    ] {
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("the record must hold what is asked of it, but {what} is not in it")
        );
    }
}

#[test]
fn other_settings_are_refused_by_name() {
    let config = Config::new()
        .with_rho(0.1)
        .with_gamma(0.01)
        .with_evaluation(Evaluation::Sampled);
    let (net, optim) = begun(&config, adam());
    let record = from_bytes(&bytes_of(&record_of(&net, &optim))).unwrap();
    assert_eq!(record.config().to_string(), config.to_string());
    let (from, to, steps) = (1.0, 0.5, 6);
    let others = [
        ("rho", config.clone().with_rho(0.2)),
        ("rho", config.clone().with_rho(0.1 + f64::EPSILON / 8.0)),
        ("gamma", config.clone().with_gamma(0.02)),
        (
            "rho_schedule",
            config
                .clone()
                .with_rho_schedule(Schedule::Linear { from, to, steps }),
        ),
        (
            "gamma_schedule",
            config
                .clone()
                .with_gamma_schedule(Schedule::Cosine { from, to, steps }),
        ),
        ("adaptive", config.clone().with_adaptive(Adaptive::All)),
        (
            "groups",
            config
                .clone()
                .with_group(ParamGroup::from_predicate("norm"), 0.1, 0.01),
        ),
        ("warmup_steps", config.clone().with_warmup_steps(1)),
        ("interval", config.clone().with_interval(2)),
        (
            "evaluation",
            config.clone().with_evaluation(Evaluation::Own),
        ),
        ("ascent", config.clone().with_ascent(Ascent::Pooled)),
        ("draw", config.clone().with_draw(Draw::Independent)),
        ("clean_weight", config.clone().with_clean_weight(1.0)),
        (
            "perturbed_weight",
            config.clone().with_perturbed_weight(1.0),
        ),
        (
            "domain_weights",
            config
                .clone()
                .with_domain_weights(Some(vec![1.0, 1.0, 1.0])),
        ),
        ("seed", config.clone().with_seed(1)),
        ("noise_seed", config.clone().with_noise_seed(Some(0))),
        ("gap_weight", config.clone().with_gap_weight(Some(0.1))),
        ("reuse_weight", config.clone().with_reuse_weight(Some(0.1))),
    ];
    for (field, other) in others {
        let (_, mut optim) = begun(&other, momentum());
        let before = everything(&optim);
        let error = optim.load_record(&record).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "the record must be of the same settings, but `{field}` is "
            )),
            "{error}"
        );
        assert_eq!(everything(&optim), before, "{field}");
    }
    let (_, optim) = begun(&Config::friendly_sam(0.1, 1.0, 0.9), adam());
    let friendly = optim.to_record().unwrap();
    for other in [Config::sam(0.1), Config::friendly_sam(0.1, 1.0, 0.8)] {
        let error = other.init(adam()).unwrap().load_record(&friendly);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("but `friendly` is "), "{error}");
    }
    // What is said about steps is free.
    for free in [
        config.clone().with_report(false),
        config.clone().with_max_skipped_steps(None),
    ] {
        let mut optim = free.init(adam()).unwrap();
        optim.load_record(&record).unwrap();
        assert_eq!(optim.gradient().config().to_string(), free.to_string());
        assert_eq!(optim.gradient().steps(), 3);
    }
}

#[test]
fn plain_steps_are_a_warmup_of_every_method() {
    let device = device();
    let go_on =
        |net: &mut Net, optim: &mut RobustGradientAlignment, steps: std::ops::Range<usize>| {
            let step = |step| optim.step(0.05, net, &batches(step, &device), net_loss);
            steps.map(step).map(Result::unwrap).collect::<Vec<_>>()
        };
    let (net, optim) = begun(&Config::erm(), momentum());
    let plain = record_of(&net, &optim);
    let methods = [
        Config::new(),
        Config::new().with_evaluation(Evaluation::Own).with_seed(4),
        Config::sam(0.1),
        Config::asam(0.1).with_interval(2),
        Config::sagm(0.1, 0.01),
        Config::domain_sam(0.1),
        Config::look_sam(0.1, 2, 0.5),
    ];
    let mut ends = Vec::new();
    for config in methods.map(|config| config.with_warmup_steps(3)) {
        let (mut expected, mut whole) = begun(&config, momentum());
        let reports = go_on(&mut expected, &mut whole, 3..6);
        let mut net = plain.load_model(Net::new(&device)).unwrap();
        let mut optim = config.init(momentum()).unwrap();
        optim.load_record(&plain).unwrap();
        let found = go_on(&mut net, &mut optim, 3..6);
        assert_eq!(format!("{found:?}"), format!("{reports:?}"), "{config:?}");
        assert_eq!(net.state(), expected.state(), "{config:?}");
        ends.push(format!("{:?}", expected.state()));
    }
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 7);
    for (field, other) in [
        ("rho", Config::new().with_warmup_steps(2)),
        (
            "rho",
            Config::new().with_clean_weight(1.0).with_warmup_steps(3),
        ),
        ("gap_weight", Config::gsam(0.1, 0.2).with_warmup_steps(3)),
        (
            "friendly",
            Config::friendly_sam(0.1, 1.0, 0.9).with_warmup_steps(3),
        ),
        ("aggregation", Config::upgrad()),
        (
            "alignment",
            Config::erm().with_alignment(Some(AlignmentConfig::cosine(0.1))),
        ),
    ] {
        let error = other.init(momentum()).unwrap().load_record(&plain);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("but `{field}` is ")), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever numbers the settings are made of.
    #[test]
    fn the_same_settings_go_on_from_a_record(
        rho in 0.0..10.0f64, gamma in 0.0..0.1f64, weight in 0.0..1.0f64
    ) {
        let config = Config::new()
            .with_rho(rho)
            .with_gamma(gamma)
            .with_domain_weights(Some(vec![weight, 1.0, 1.0]));
        let taken = config.init(adam()).unwrap().to_record().unwrap();
        let record = from_bytes(&bytes_of(&taken)).unwrap();
        config.init(adam()).unwrap().load_record(&record).unwrap();
        // Also as they were written down and read again.
        let read = Config::load_binary(config.to_string().as_bytes()).unwrap();
        read.init(adam()).unwrap().load_record(&record).unwrap();
        read.init(adam()).unwrap().load_record(&taken).unwrap();
        record.config().init(adam()).unwrap().load_record(&record).unwrap();
        // A small difference is seen.
        let other = config.with_rho(rho * (1.0 + 1e-12) + 1e-12);
        let error = other.init(adam()).unwrap().load_record(&record).unwrap_err();
        prop_assert!(
            error.to_string().starts_with("the record must be of the same settings, but"),
            "{}",
            error
        );
    }
}

#[test]
fn another_base_optimizer_is_refused() {
    let heavy = || {
        SgdConfig::new()
            .with_momentum(Some(MomentumConfig::new()))
            .init()
    };
    let momentum = |momentum: f64| {
        SgdConfig::new()
            .with_momentum(Some(MomentumConfig::new().with_momentum(momentum)))
            .init()
    };
    let plain = || SgdConfig::new().init();
    let two = || {
        plain().with_group(
            ParamGroup::from_predicate("second"),
            AdamConfig::new().build(),
            None,
        )
    };
    let config = Config::new();
    for (taken, other, name) in [
        (adam(), plain(), "Adam's in SGD"),
        (adam(), heavy(), "Adam's in SGD with momentum"),
        (heavy(), adam(), "SGD's with momentum in Adam"),
        (plain(), adam(), "SGD's in Adam"),
        (adam(), LionConfig::new().init(), "Adam's in Lion"),
        (LionConfig::new().init(), adam(), "Lion's in Adam"),
        (two(), adam(), "that of two in Adam"),
        (two(), plain(), "that of two in SGD"),
        (adam(), two(), "Adam's in two"),
        // The same state by name.
        (adam(), AdamWConfig::new().init(), "Adam's in AdamW"),
        (AdamWConfig::new().init(), adam(), "AdamW's in Adam"),
        (plain(), heavy(), "SGD's in SGD with momentum"),
        (heavy(), plain(), "SGD's with momentum in SGD"),
        (heavy(), momentum(0.1), "momentum 0.9 in 0.1"),
        (
            adam(),
            AdamConfig::new()
                .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
                .init(),
            "Adam's in Adam with clipping",
        ),
    ] {
        let (net, optim) = begun(&config, taken.clone());
        let record = from_bytes(&bytes_of(&record_of(&net, &optim))).unwrap();
        let (_, mut other) = begun(&config, other);
        let before = everything(&other);
        let error = other.load_record(&record).map_err(|e| e.to_string());
        let error = error.expect_err(name);
        assert!(
            error.starts_with("the record must be of the same base optimizer, but "),
            "{name}: {error}"
        );
        assert_eq!(everything(&other), before);
        let mut same = config.init(taken).unwrap();
        same.load_record(&record).unwrap();
        assert_eq!(everything(&same), everything(&optim));
    }
}

#[test]
fn another_model_is_refused_and_changes_nothing() {
    let device = device();
    let (net, optim) = begun(&Config::new(), adam());
    let record = from_bytes(&bytes_of(&record_of(&net, &optim))).unwrap();
    let mut resumed = Config::new().init(adam()).unwrap();
    resumed.load_record(&record).unwrap();
    let before = everything(&resumed);
    // The same structure, and ids that the record does not know.
    let mut other = Net::new(&device);
    let state = other.state();
    for _ in 0..2 {
        let error = resumed
            .step(
                0.05,
                &mut other,
                &batches(0, &device),
                |_: &Net, _: &Batch| -> Tensor<1> { unreachable!("no pass is made") },
            )
            .unwrap_err();
        assert!(matches!(error, Error::Model { .. }));
        assert_eq!(
            error.to_string(),
            "the model must be the one of the record that was loaded (`record.load_model(model)`), \
             but the record holds the optimizer's state of 6 parameters that are not in it"
        );
        assert_eq!(other.state(), state);
        assert_eq!(everything(&resumed), before);
    }
    // What settings carry on is of its parameters as well.
    let (_, optim) = begun(&carrying(), SgdConfig::new().init());
    let mut carrying = carrying().init(SgdConfig::new().init()).unwrap();
    carrying.load_record(&optim.to_record().unwrap()).unwrap();
    let error = carrying.step(0.05, &mut other, &batches(0, &device), net_loss);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("state of 6 parameters"), "{error}");
    assert_eq!(other.state(), state);
    // A clone has not forgotten it either.
    let joined = resumed.clone().step_joined(
        0.05,
        &mut other,
        &batches(0, &device),
        |net: &Net, joined| joined_losses(net.forward(joined.batch().x.clone()), joined),
    );
    assert!(matches!(joined, Err(Error::Model { .. })));
    let mut loaded = record.load_model(other).unwrap();
    assert_eq!(loaded.state(), net.state());
    resumed
        .step(0.05, &mut loaded, &batches(0, &device), net_loss)
        .unwrap();

    // Another structure.
    let error = record
        .load_model(Mlp::new(&device))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("the record must hold a model of the same structure, but "),
        "{error}"
    );
    let mut wide = Net::new(&device);
    wide.second.weight = crate::problems::fixed([6, 5], 0.3, 0.6, &device);
    assert!(record.load_model(wide).is_err());
}

#[test]
fn a_record_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("training");
    let (mut net, mut optim) = begun(&Config::new(), adam());
    record_of(&net, &optim).save(&path).unwrap();
    let first = std::fs::read(path.with_extension("bpk")).unwrap();
    optim
        .step(0.05, &mut net, &batches(3, &device()), net_loss)
        .unwrap();
    // Over the one before, and nothing beside it.
    record_of(&net, &optim)
        .with_position(4)
        .save(&path)
        .unwrap();
    assert_ne!(std::fs::read(path.with_extension("bpk")).unwrap(), first);
    let record = Record::load(&path).unwrap();
    assert_eq!((record.steps(), record.position().unwrap()), (4, 4));
    assert_eq!(
        record.load_model(Net::new(&device())).unwrap().state(),
        net.state()
    );
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files(), 1);

    let missing = folder.path().join("no such folder").join("training.bpk");
    let error = record_of(&net, &optim).save(&missing).unwrap_err();
    assert!(matches!(error, Error::File { .. }));
    assert!(error.to_string().contains("no such folder"), "{error}");
    // A folder in its place.
    let taken = folder.path().join("taken.bpk");
    std::fs::create_dir(&taken).unwrap();
    let error = record_of(&net, &optim).save(&taken).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert!(taken.is_dir());
    assert_eq!(files(), 2);
    assert_eq!(Record::load(&path).unwrap().steps(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A byte that has gone wrong is an error or another record, never a panic.
    #[test]
    fn damaged_bytes_are_no_panic(place in 0.0..1.0f64, bits in 1u8.., cut in 0.0..1.0f64) {
        thread_local! {
            static GOOD: Vec<u8> = {
                let (net, optim) = begun(&carrying(), adam());
                bytes_of(&record_of(&net, &optim))
            };
        }
        let mut bytes = GOOD.with(Clone::clone);
        let place = (place * bytes.len() as f64) as usize;
        bytes[place] ^= bits;
        if cut < 0.2 {
            bytes.truncate((5.0 * cut * bytes.len() as f64) as usize);
        }
        if let Ok(record) = from_bytes(&bytes) {
            let mut optim = carrying().init(adam()).unwrap();
            let loaded = optim.load_record(&record);
            prop_assert_eq!(loaded.is_ok(), optim.gradient().steps() == record.steps());
            let net = record.load_model(Net::new(&device()));
            if let Ok(net) = net {
                prop_assert_eq!(net.state().len(), Net::new(&device()).state().len());
            }
        }
    }
}
