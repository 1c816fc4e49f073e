//! Any number of domains, of any sizes, and models with nothing to train.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::{
    module::{Module, Param},
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
    optim::SgdConfig,
    tensor::Tensor,
};
use roga::{
    Error,
    alignment::AlignmentConfig,
    averaging::{ExponentialMovingAverageConfig, SwadConfig},
    domain::{Concat, DomainBatches, JoinedBatch, LeaveOneDomainOut},
    optim::{
        Ascent, Draw, Evaluation, FishConfig, Outcome, RobustGradientAlignmentConfig as Config,
    },
};

use crate::{assert_named, device, domains};

fn net() -> Linear {
    LinearConfig::new(2, 1).init(&device())
}

fn loss(model: &Linear, rows: &Tensor<2>) -> Tensor<1> {
    model.forward(rows.clone()).square().mean()
}

fn methods() -> Vec<Config> {
    let evaluation = |evaluation| Config::new().with_evaluation(evaluation);
    let alignment = |alignment| Config::erm().with_alignment(Some(alignment));
    vec![
        evaluation(Evaluation::All),
        evaluation(Evaluation::Own),
        evaluation(Evaluation::Others),
        evaluation(Evaluation::Sampled),
        evaluation(Evaluation::Sampled).with_draw(Draw::Independent),
        evaluation(Evaluation::Sampled).with_draw(Draw::Derangement),
        evaluation(Evaluation::Consensus),
        evaluation(Evaluation::All).with_ascent(Ascent::Pooled),
        Config::erm(),
        Config::gsam(0.05, 0.2),
        alignment(AlignmentConfig::inner_product(0.1)),
        alignment(AlignmentConfig::cosine(0.1)),
        alignment(AlignmentConfig::variance(0.1)),
        alignment(AlignmentConfig::gradient_norm(0.1)),
        Config::disam(0.05, 0.1),
        Config::pcgrad(0),
        Config::mgda(),
        Config::upgrad(),
        Config::cagrad(0.5),
        Config::group_dro(0.5),
        Config::vrex(1.0),
        Config::and_mask(0.5),
    ]
}

fn finite(model: &Linear) -> bool {
    let numbers = model.weight.val().into_data();
    numbers.iter::<f32>().all(f32::is_finite)
}

#[test]
fn from_one_domain_to_a_hundred() {
    for config in methods() {
        let needs_two = config.evaluation == Evaluation::Others
            || (config.evaluation, config.draw) == (Evaluation::Sampled, Draw::Derangement);
        for count in [1, 2, 65, 100] {
            // A pass for every pair of domains takes its time.
            if count > 65 && config.passes_per_step(count).unwrap() > 9.0 {
                continue;
            }
            let (mut apart, mut joined) = (net(), net());
            let mut optim = config.init(SgdConfig::new().init()).unwrap();
            let report = optim.step(0.01, &mut apart, &domains(count), loss);
            let losses = |model: &Linear, joined: &JoinedBatch<Tensor<2>>| {
                let squares = model.forward(joined.batch().clone()).square();
                joined.losses(|rows| squares.clone().slice([rows]).mean())
            };
            let of_joined = optim.step_joined(0.01, &mut joined, &domains(count), losses);
            if count == 1 && needs_two {
                for error in [report.unwrap_err(), of_joined.unwrap_err()] {
                    assert!(matches!(error, Error::Domains { .. }));
                    assert_named("one domain", &error, &["others", "derangement"]);
                }
                continue;
            }
            for (report, model) in [(report, &apart), (of_joined, &joined)] {
                let report = report.unwrap();
                assert_eq!(report.domains.len(), count);
                assert!(
                    !report.is_skipped() && finite(model),
                    "{count} for {config}"
                );
            }
        }
    }
    let mut model = net();
    let mut fish = FishConfig::new().init(SgdConfig::new().init()).unwrap();
    for count in [1, 100] {
        let report = fish.step(0.01, &mut model, &domains(count), loss).unwrap();
        assert!(!report.is_skipped() && finite(&model));
    }
}

#[test]
fn no_domain_and_names_that_stand_twice() {
    let none: [(&str, ()); 0] = [];
    let error = DomainBatches::new(none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "domains must be at least one, but there is none"
    );
    let error = DomainBatches::new([("a", 1), ("b", 2), ("a", 3)]).unwrap_err();
    let twice = "domains must have names of their own, but `a` stands twice";
    assert_eq!(error.to_string(), twice);
    for names in [vec![], vec!["a"], vec!["a", "a"]] {
        let error = LeaveOneDomainOut::new(names).map(drop);
        assert!(matches!(error, Err(Error::Domains { .. })), "{error:?}");
    }
}

/// A batch of a single row has no variance of its own, which batch normalisation is to survive.
#[derive(Module, Debug)]
struct Normalised {
    linear: Linear,
    norm: BatchNorm,
}

#[test]
fn batches_of_one_and_of_different_sizes() {
    let device = device();
    let rows = |count: usize| Tensor::<2>::ones([count, 2], &device) * count as f32;
    for sizes in [vec![1, 1, 1], vec![1, 64, 3], vec![257, 1]] {
        for config in methods() {
            let domains = DomainBatches::unnamed(sizes.iter().map(|count| rows(*count))).unwrap();
            let mut model = Normalised {
                linear: LinearConfig::new(2, 3).init(&device),
                norm: BatchNormConfig::new(3).init(&device),
            };
            let mut optim = config.init(SgdConfig::new().init()).unwrap();
            let report = optim.step(0.01, &mut model, &domains, |model, rows| {
                let numbers = model.norm.forward(model.linear.forward(rows.clone()));
                (numbers - 1.0).square().mean()
            });
            report.unwrap();
            assert!(finite(&model.linear), "{sizes:?} for {config}");
        }
    }
}

/// What the mean of no rows is, is the backend's: not a number, or a panic inside the closure. Either
/// way nothing has changed, and a number that is none is the empty domain's.
#[test]
fn a_batch_without_rows_changes_nothing() {
    let device = device();
    let rows = |count: usize| Tensor::<2>::ones([count, 2], &device);
    let domains = || DomainBatches::new([("full", rows(3)), ("empty", rows(0))]).unwrap();
    for config in methods() {
        let mut model = net();
        let before = model.weight.val().into_data();
        let mut optim = config.init(SgdConfig::new().init()).unwrap();
        let closure = |model: &Linear, rows: &Tensor<2>| {
            // A row of the weight in the place of a matrix product, which need not take no rows.
            (rows.clone() * model.weight.val().transpose()).mean()
        };
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            optim.step(0.01, &mut model, &domains(), closure)
        }));
        if let Ok(report) = stepped {
            let Outcome::Skipped(found) = report.unwrap().outcome else {
                panic!("no rows went through {config}");
            };
            assert_eq!(found.domain.as_deref(), Some("empty"), "{config}");
        }
        assert_eq!(model.weight.val().into_data(), before);
    }
    assert_eq!(Concat::rows(&rows(0)), 0);
}

/// Nothing but numbers that are not trained.
#[derive(Module, Debug)]
struct Fixed {
    scale: Param<Tensor<1>>,
}

#[test]
fn a_model_with_nothing_to_train_is_refused() {
    let device = device();
    let scale = Param::from_tensor(Tensor::<1>::from_floats([2.0], &device));
    let mut fixed = Fixed { scale }.no_grad();
    let no_pass = |_: &Fixed, _: &Tensor<2>| -> Tensor<1> { unreachable!("no pass is made") };
    for config in methods() {
        let mut optim = config.init(SgdConfig::new().init()).unwrap();
        let error = optim
            .step(0.1, &mut fixed, &domains(2), no_pass)
            .unwrap_err();
        assert!(matches!(error, Error::Model { .. }), "{error}");
        let gradient = config.init_gradient().unwrap();
        assert!(gradient.gradients(&fixed, &domains(2), no_pass).is_err());
    }
    let mut fish = FishConfig::new().init(SgdConfig::new().init()).unwrap();
    assert!(fish.step(0.1, &mut fixed, &domains(2), no_pass).is_err());
    let mut average = ExponentialMovingAverageConfig::new(0.9).init().unwrap();
    assert!(average.update(&fixed).is_err());
    assert!(SwadConfig::new().init().unwrap().update(&fixed).is_err());
    assert_eq!(fixed.scale.val().into_scalar::<f32>(), 2.0);
}
