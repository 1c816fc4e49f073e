//! The passes counted beforehand are those that the steps report.

use burn::{module::ParamGroup, optim::SgdConfig};
use roga::optim::{Ascent, Draw, Evaluation, RobustGradientAlignmentConfig as Config, Schedule};

use crate::problems::{EVALUATIONS, Loss, Point, device};

const DOMAINS: usize = 3;
const STEPS: u64 = 14;

/// The mini-batches that went forward and backward in the first steps, for every number of steps.
fn reported(config: &Config) -> Vec<usize> {
    let device = device();
    let mut model = Point::new(&[0.3, -0.4], &device);
    let bowl = |c: f32| Loss::Bowl {
        a: vec![1.0, 2.0],
        c: vec![c, 1.0 - c],
    };
    let domains = ["a", "b", "c"].into_iter().zip([-1.0, 0.5, 2.0].map(bowl));
    let domains = roga::domain::DomainBatches::new(domains).unwrap();
    let mut optim = config.init(SgdConfig::new().init()).unwrap();
    let mut total = 0;
    let mut totals = vec![0];
    for _ in 0..STEPS {
        let report = optim
            .step(1e-2, &mut model, &domains, |model: &Point, loss: &Loss| {
                loss.at(model)
            })
            .unwrap();
        total += report.passes.clean + report.passes.perturbed;
        totals.push(total);
    }
    totals
}

/// Every method, and every setting that changes how many passes it makes.
fn configs() -> Vec<Config> {
    let mut methods = vec![
        Config::erm(),
        Config::sam(0.05),
        Config::asam(0.5),
        Config::sagm(0.05, 5e-4),
        Config::domain_sam(0.05),
        Config::look_ahead(5e-4),
        // One of the two lengths, or neither.
        Config::new().with_rho(0.0),
        Config::new().with_gamma(0.0),
        Config::new().with_perturbed_weight(0.0),
        Config::new().with_rho(0.0).with_gamma(0.0),
        // A group of its own.
        Config::new().with_rho(0.0).with_gamma(0.0).with_group(
            ParamGroup::from_predicate("theta"),
            0.05,
            0.0,
        ),
    ];
    for evaluation in EVALUATIONS {
        for ascent in [Ascent::Domain, Ascent::Pooled] {
            for draw in [Draw::Permutation, Draw::Independent, Draw::Derangement] {
                let config = Config::new().with_evaluation(evaluation);
                methods.push(config.with_ascent(ascent).with_draw(draw).with_seed(7));
            }
        }
    }
    let linear = |from, to, steps| Schedule::Linear { from, to, steps };
    let changes: [fn(Config) -> Config; 6] = [
        |config| config,
        |config| config.with_warmup_steps(3).with_interval(4),
        |config| {
            config
                .with_interval(3)
                .with_domain_weights(Some(vec![1.0, 0.0, 2.0]))
        },
        |config| config.with_warmup_steps(STEPS + 5),
        |config| config.with_rho_schedule(Schedule::LearningRate { reference: 0.1 }),
        |config| config.with_warmup_steps(1).with_interval(2),
    ];
    let mut configs = Vec::new();
    for method in &methods {
        configs.extend(changes.iter().map(|change| change(method.clone())));
        configs.push(
            method
                .clone()
                .with_rho_schedule(linear(0.0, 1.0, 5))
                .with_gamma_schedule(linear(1.0, 0.0, 7))
                .with_warmup_steps(2),
        );
    }
    configs
}

#[test]
fn the_passes_counted_beforehand_are_those_reported() {
    let mut seen = std::collections::BTreeSet::new();
    for config in configs() {
        let totals = reported(&config);
        for (steps, total) in (0..).zip(&totals) {
            let passes = config.passes(steps, DOMAINS).unwrap();
            assert_eq!(
                passes,
                *total as f64 / DOMAINS as f64,
                "{steps} steps of {config}"
            );
        }
        // As many steps as fit, and no more.
        for passes in 0..=totals[STEPS as usize] / DOMAINS {
            let expected = totals.iter().rposition(|total| *total <= passes * DOMAINS);
            if expected == Some(STEPS as usize) {
                continue;
            }
            let steps = config.steps_within(passes as u64, DOMAINS).unwrap();
            assert_eq!(
                Some(steps as usize),
                expected,
                "{passes} passes of {config}"
            );
        }
        seen.insert(totals[STEPS as usize]);
    }
    // They are not all the same, or nothing was tested.
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn a_perturbed_step_costs_what_the_methods_say() {
    let of = |config: Config| config.passes_per_step(4).unwrap();
    let evaluated = |evaluation| of(Config::new().with_evaluation(evaluation));
    assert_eq!(of(Config::erm()), 1.0);
    assert_eq!(of(Config::sam(0.05)), 2.0);
    assert_eq!(of(Config::asam(0.5)), 2.0);
    assert_eq!(of(Config::sagm(0.05, 5e-4)), 2.0);
    assert_eq!(of(Config::domain_sam(0.05)), 2.0);
    assert_eq!(of(Config::look_ahead(5e-4)), 2.0);
    assert_eq!(evaluated(Evaluation::All), 5.0);
    assert_eq!(evaluated(Evaluation::Own), 2.0);
    assert_eq!(evaluated(Evaluation::Others), 4.0);
    assert_eq!(evaluated(Evaluation::Sampled), 2.0);
    assert_eq!(evaluated(Evaluation::Consensus), 2.0);
    // Whatever warm-up, interval and draw.
    let pooled = Config::new()
        .with_evaluation(Evaluation::Sampled)
        .with_ascent(Ascent::Pooled)
        .with_draw(Draw::Independent)
        .with_warmup_steps(9)
        .with_interval(9);
    assert_eq!(of(pooled), 2.0);
}

#[test]
fn long_trainings_are_counted_at_once() {
    let config = Config::new()
        .with_warmup_steps(u64::MAX / 2)
        .with_interval(5);
    let passes = config.passes(u64::MAX, 4).unwrap();
    let half = (u64::MAX / 2) as f64;
    assert!((passes / (half * (1.0 + 9.0 / 5.0)) - 1.0).abs() < 1e-12);
    let steps = Config::erm().steps_within(u64::MAX, 4).unwrap();
    assert_eq!(steps, u64::MAX);
    assert_eq!(
        Config::sam(0.05).steps_within(u64::MAX, 4).unwrap(),
        u64::MAX / 2
    );
}

#[test]
fn what_cannot_be_trained_is_not_counted() {
    let wrong = [
        (Config::new().with_interval(0), 3, "interval"),
        (Config::new().with_rho(f64::NAN), 3, "rho"),
        (
            Config::new().with_domain_weights(Some(vec![1.0])),
            3,
            "domain_weights",
        ),
        (
            Config::new().with_evaluation(Evaluation::Others),
            1,
            "domains",
        ),
        (Config::erm(), 0, "domains"),
    ];
    for (config, domains, field) in wrong {
        let errors = [
            config.passes_per_step(domains).unwrap_err(),
            config.passes(10, domains).unwrap_err(),
            config.steps_within(10, domains).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
