//! The step on a GPU backend, held against flex.
//!
//!     cargo test --profile backends --no-default-features --features wgpu --test backends
//!
//! Without a device, a software Vulkan driver included, the trials are reported as ignored; where
//! `ROGA_REQUIRE_DEVICE` is set, they fail.

#[allow(dead_code)]
#[path = "alignment/problems.rs"]
mod problems;

use std::process::ExitCode;

use burn::{
    module::ParamGroup,
    optim::{AdamConfig, SgdConfig, momentum::MomentumConfig},
    tensor::{Device, Tensor},
};
use libtest_mimic::{Arguments, Failed, Trial};
use problems::{Batch, Loss, Net, Point, batches, domains, joined_losses};
use roga::{
    aggregation::UpGrad,
    alignment::{AlignmentConfig, Difference},
    averaging::ExponentialMovingAverageConfig,
    domain::MicroBatches,
    optim::{
        AggregationConfig, Evaluation, FishConfig, Outcome, Pass, Quantity,
        RobustGradientAlignmentConfig as Config, Schedule, StepReport, micro_batched,
    },
    perturbation::Adaptive,
};

const STEPS: usize = 20;
const TOLERANCE: f64 = 1e-4;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A device is one queue: threads that fill it together only wait for it, at the cost of its own.
    arguments.test_threads.get_or_insert(1);
    let device = Device::wgpu_options().init();
    if let Err(error) = &device {
        eprintln!("ignored: there is no wgpu device here ({error:?})");
    }
    let required = std::env::var_os("ROGA_REQUIRE_DEVICE").is_some();
    let device = device.ok().map(|device| device.autodiff());
    let mut trials = Vec::new();
    let roga = || Config::new().with_rho(0.1);
    for (name, config, passes) in [
        ("asam", Config::asam(0.5), Way::Separate),
        (
            "adaptive_consensus",
            roga()
                .with_evaluation(Evaluation::Consensus)
                .with_adaptive(Adaptive::All),
            Way::Separate,
        ),
        (
            "schedules_groups_and_intervals",
            roga()
                .with_rho_schedule(Schedule::Cosine {
                    from: 2.0,
                    to: 0.5,
                    steps: 10,
                })
                .with_group(ParamGroup::from_predicate("norm"), 0.0, 0.0)
                .with_warmup_steps(3)
                .with_interval(2),
            Way::Separate,
        ),
        ("joined", roga(), Way::Joined),
        ("joined_sagm", Config::sagm(0.1, 5e-4), Way::Joined),
        ("in_parts", roga(), Way::InParts),
        ("gsam", Config::gsam(0.1, 0.2), Way::Separate),
        (
            // A difference divides rounding by its length: the longer one of the two.
            "aligned",
            roga().with_alignment(Some(
                AlignmentConfig::cosine(0.01).with_difference(Difference::Central),
            )),
            Way::Separate,
        ),
        (
            "unconflicting",
            roga().with_aggregation(Some(AggregationConfig::new(UpGrad::default().into()))),
            Way::Separate,
        ),
        (
            "aligned_by_variance",
            roga().with_alignment(Some(AlignmentConfig::variance(0.01))),
            Way::Separate,
        ),
        ("sam", Config::sam(0.1), Way::Separate),
        ("domain_sam", Config::domain_sam(0.1), Way::Separate),
        ("look_ahead", Config::look_ahead(0.01), Way::Separate),
        ("disam", Config::disam(0.1, 0.1), Way::Separate),
        (
            "friendly_sam",
            Config::friendly_sam(0.1, 1.0, 0.6),
            Way::Separate,
        ),
        ("look_sam", Config::look_sam(0.1, 3, 0.7), Way::Separate),
        ("pcgrad", Config::pcgrad(1), Way::Separate),
        ("mgda", Config::mgda(), Way::Separate),
        ("cagrad", Config::cagrad(0.5), Way::Separate),
        ("vrex", Config::vrex(1.0), Way::Separate),
        ("group_dro", Config::group_dro(0.1), Way::Separate),
        ("and_mask", Config::and_mask(1.0), Way::Separate),
    ] {
        let device = device.clone();
        let ignored = device.is_none() && !required;
        let trial = Trial::test(format!("as_on_flex::{name}"), move || {
            as_on_flex(&config, passes, device)
        });
        trials.push(trial.with_ignored_flag(ignored));
    }
    for (name, config) in [
        ("all", Config::new()),
        ("own", Config::new().with_evaluation(Evaluation::Own)),
        ("others", Config::new().with_evaluation(Evaluation::Others)),
        (
            "sampled",
            Config::new().with_evaluation(Evaluation::Sampled),
        ),
        (
            "consensus",
            Config::new().with_evaluation(Evaluation::Consensus),
        ),
        ("sagm", Config::sagm(0.05, 5e-4)),
        ("erm", Config::erm()),
    ] {
        let device = device.clone();
        let config = config.with_rho(if name == "erm" { 0.0 } else { 0.1 });
        let ignored = device.is_none() && !required;
        let trial = Trial::test(format!("as_on_flex::{name}"), move || {
            as_on_flex(&config, Way::Separate, device)
        });
        trials.push(trial.with_ignored_flag(ignored));
    }
    let ignored = device.is_none() && !required;
    let copy = device.clone();
    let trial = Trial::test("as_on_flex::fish_and_a_moving_average", move || {
        fish_as_on_flex(copy)
    });
    trials.push(trial.with_ignored_flag(ignored));
    let copy = device.clone();
    let trial = Trial::test("a_zero_gradient_perturbs_nothing", move || {
        zero_gradient(copy)
    });
    trials.push(trial.with_ignored_flag(ignored));
    let trial = Trial::test("what_is_not_finite_changes_nothing", move || {
        not_finite(device)
    });
    trials.push(trial.with_ignored_flag(ignored));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn loss(net: &Net, batch: &Batch) -> Tensor<1> {
    net.loss(batch)
}

/// How the mini-batches go forward and backward.
#[derive(Clone, Copy)]
enum Way {
    Separate,
    Joined,
    InParts,
}

/// The rows of a batch in two parts.
fn in_parts(batch: &Batch) -> MicroBatches<Batch> {
    let part = |from: usize, count: usize| {
        let part = Batch {
            x: batch.x.clone().narrow(0, from, count),
            y: batch.y.clone().narrow(0, from, count),
        };
        (count, part)
    };
    MicroBatches::new([part(0, 3), part(3, 2)]).expect("no part is empty")
}

fn run(config: &Config, passes: Way, device: &Device) -> (Vec<f64>, Vec<StepReport>) {
    let mut net = Net::new(device);
    // Not Adam: the bias before the batch normalisation has no gradient but rounding, which Adam
    // would scale up to steps of the learning rate's size.
    let momentum = MomentumConfig::new().with_dampening(0.0);
    let mut optim = config
        .init(SgdConfig::new().with_momentum(Some(momentum)).init())
        .expect("the settings are valid");
    let reports = (0..STEPS)
        .map(|step| {
            let domains = batches(step, device);
            let report = match passes {
                Way::Separate => optim.step(0.05, &mut net, &domains, loss),
                Way::Joined => optim.step_joined(0.05, &mut net, &domains, |net: &Net, joined| {
                    joined_losses(net.forward(joined.batch().x.clone()), joined)
                }),
                Way::InParts => {
                    let domains = domains.map(|batch| in_parts(&batch));
                    optim.step(0.05, &mut net, &domains, micro_batched(loss))
                }
            };
            report.expect("the step is valid")
        })
        .collect();
    (numbers(&net), reports)
}

/// The parameters and running statistics of a net.
fn numbers(net: &Net) -> Vec<f64> {
    let numbers = net.state().into_iter();
    numbers.map(|bits| f32::from_bits(bits).into()).collect()
}

fn close(what: &str, here: f64, there: f64) -> Result<(), Failed> {
    match (here - there).abs() <= TOLERANCE * there.abs().max(1.0) {
        true => Ok(()),
        false => Err(format!("{what} is {here}, on flex {there}").into()),
    }
}

fn as_on_flex(config: &Config, passes: Way, device: Option<Device>) -> Result<(), Failed> {
    let device = device.ok_or("no device")?;
    let (here, reports) = run(config, passes, &device);
    let (there, expected) = run(config, passes, &problems::device());
    for (a, b) in here.iter().zip(&there) {
        close("a parameter or statistic", *a, *b)?;
    }
    for (a, b) in reports.iter().zip(&expected) {
        assert_eq!(a.passes, b.passes);
        close(
            "the norm of G",
            a.update_gradient_norm,
            b.update_gradient_norm,
        )?;
        for (a, b) in a.domains.iter().zip(&b.domains) {
            close("a loss", a.loss, b.loss)?;
            assert_eq!(a.gradient_norm.is_some(), b.gradient_norm.is_some());
            let norms = a.gradient_norm.zip(b.gradient_norm);
            norms.map_or(Ok(()), |(a, b)| close("a norm", a, b))?;
        }
        let cosines = |report: &StepReport| report.cosines.clone().unwrap_or_default().concat();
        for (a, b) in cosines(a).into_iter().zip(cosines(b)) {
            close("a cosine", a, b)?;
        }
    }
    Ok(())
}

/// The net and its average after some steps of Fish.
fn run_fish(device: &Device) -> roga::Result<[Vec<f64>; 2]> {
    let mut net = Net::new(device);
    let mut fish = FishConfig::new().init(SgdConfig::new().init())?;
    let mut average = ExponentialMovingAverageConfig::new(0.9).init()?;
    for step in 0..STEPS {
        fish.step(0.05, &mut net, &batches(step, device), loss)?;
        average.update(&net)?;
    }
    Ok([numbers(&net), numbers(&average.average(&net)?)])
}

fn fish_as_on_flex(device: Option<Device>) -> Result<(), Failed> {
    let here = run_fish(&device.ok_or("no device")?)?.concat();
    let there = run_fish(&problems::device())?.concat();
    assert_eq!(here.len(), there.len());
    for (a, b) in here.into_iter().zip(there) {
        close("a parameter, statistic or average", a, b)?;
    }
    Ok(())
}

fn zero_gradient(device: Option<Device>) -> Result<(), Failed> {
    let device = device.ok_or("no device")?;
    let flat = Loss::Bowl {
        a: vec![0.0; 3],
        c: vec![0.0; 3],
    };
    let mut model = Point::new(&[0.3, -0.8, 1.1], &device);
    let before = model.values();
    let report = Config::new().init(AdamConfig::new().init())?.step(
        0.1,
        &mut model,
        &domains(&[flat.clone(), flat]),
        |m: &Point, loss: &Loss| {
            assert_eq!(m.values(), before);
            loss.at(m)
        },
    )?;
    assert!(!report.is_skipped());
    assert_eq!(model.values(), before);
    Ok(())
}

fn not_finite(device: Option<Device>) -> Result<(), Failed> {
    let device = device.ok_or("no device")?;
    let mut net = Net::new(&device);
    let before = net.state();
    let endless = Config::new().with_max_skipped_steps(None);
    let mut optim = endless.init(AdamConfig::new().init())?;
    for bad in [f32::NAN, f32::INFINITY] {
        for injected in 0..12 {
            let mut call = 0;
            let report = optim.step(
                0.1,
                &mut net,
                &batches(0, &device),
                |net: &Net, batch: &Batch| {
                    call += 1;
                    match call == injected + 1 {
                        true => net.loss(batch) * bad,
                        false => net.loss(batch),
                    }
                },
            )?;
            let Outcome::Skipped(found) = report.outcome else {
                return Err(format!("pass {injected} went through").into());
            };
            assert_eq!(found.quantity, Quantity::Loss);
            assert_eq!(found.pass == Pass::Clean, injected < 3);
            assert_eq!(net.state(), before);
        }
    }
    Ok(())
}
