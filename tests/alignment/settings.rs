//! The settings that move with training: schedules, warm-up, interval, adaptive ascents, groups
//! of parameters, the end to skipping.

use std::{cell::RefCell, f64::consts::PI};

use burn::{
    lr_scheduler::{constant::ConstantLr, module_lr_scheduler::ModuleLrScheduler},
    module::{Module, Param, ParamGroup},
    optim::{AdamConfig, SgdConfig},
    tensor::Tensor,
};
use proptest::prelude::*;
use roga::{
    Error,
    aggregation::{Aggregation, AndMask, CaGrad, Disam, GroupDro, Mgda, Sum, UpGrad, VRex},
    alignment::{AlignmentConfig, Difference},
    domain::DomainBatches,
    optim::{
        Aggregated, AggregationConfig, Ascent, Draw, Evaluation, FriendlyAscent, PerturbationGroup,
        RobustGradient, RobustGradientAlignmentConfig as Config, Schedule, StepReport,
    },
    perturbation::Adaptive,
};

use crate::problems::{
    Batch, EVALUATIONS, Loss, Net, Point, assert_close, batches, device, domains,
    gradient_and_report, momentum, net_loss, optimizer_state, perturbed, values, waves,
};

const THETA: [f32; 3] = [0.3, -0.8, 1.1];

#[track_caller]
fn close(actual: f64, expected: f64, tolerance: f64) {
    assert!(
        (actual - expected).abs() <= tolerance,
        "{actual} is not {expected}"
    );
}

/// One step at θ: the parameters that every pass sees, G, and the report.
fn step_at_theta(robust: &RobustGradient) -> (Vec<Vec<f32>>, Vec<f32>, StepReport) {
    let model = Point::new(&THETA, &device());
    let mut points = Vec::new();
    let (gradients, report) = robust
        .gradients(&model, &domains(&waves()), |model, loss: &Loss| {
            points.push(model.values());
            loss.at(model)
        })
        .unwrap();
    let gradient = gradients.get::<1>(model.theta.id).unwrap();
    (points, values(&gradient), report)
}

/// θ + ρ g_i/‖g_i‖ − γ ḡ of every domain, in 64 bits.
fn ascending_points(rho: f64, gamma: f64) -> Vec<Vec<f32>> {
    let theta = THETA.map(f64::from);
    let gradients: Vec<Vec<f64>> = waves().iter().map(|loss| loss.gradient(&theta)).collect();
    let mean = |k: usize| gradients.iter().map(|g| g[k]).sum::<f64>() / 3.0;
    let point = |gradient: &Vec<f64>| {
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        (0..3)
            .map(|k| (theta[k] + rho * gradient[k] / norm - gamma * mean(k)) as f32)
            .collect()
    };
    gradients.iter().map(point).collect()
}

/// A schedule and its factors, written down a second time.
type Formula = (Schedule, Box<dyn Fn(u64) -> f64>);

fn learning_rate(step: u64) -> f64 {
    0.3 / (1.0 + step as f64)
}

fn formulas() -> Vec<Formula> {
    let part = |step: u64, of: f64| {
        if step as f64 >= of {
            1.0
        } else {
            step as f64 / of
        }
    };
    vec![
        (Schedule::Constant, Box::new(|_| 1.0)),
        (
            Schedule::Linear {
                from: 0.0,
                to: 2.0,
                steps: 4,
            },
            Box::new(move |step| 2.0 * part(step, 4.0)),
        ),
        (
            Schedule::Linear {
                from: 1.5,
                to: 0.25,
                steps: 1,
            },
            Box::new(|step| if step == 0 { 1.5 } else { 0.25 }),
        ),
        (
            Schedule::Cosine {
                from: 1.0,
                to: 0.0,
                steps: 5,
            },
            Box::new(move |step| (PI / 2.0 * part(step, 5.0)).cos().powi(2)),
        ),
        (
            Schedule::Cosine {
                from: 0.5,
                to: 2.0,
                steps: 3,
            },
            Box::new(move |step| 0.5 + 1.5 * (PI / 2.0 * part(step, 3.0)).sin().powi(2)),
        ),
        (
            Schedule::LearningRate { reference: 0.3 },
            Box::new(|step| 1.0 / (1.0 + step as f64)),
        ),
    ]
}

#[test]
fn schedules_move_the_points_as_their_formulas_say() {
    let (rho, gamma) = (0.4, 0.1);
    for warmup in [0, 2] {
        let pairs = formulas().into_iter().flat_map(|of_rho| {
            let of_rho = std::rc::Rc::new(of_rho);
            let of_gamma = formulas().into_iter();
            of_gamma.map(move |of_gamma| (of_rho.clone(), of_gamma))
        });
        for (of_rho, (of_gamma, gamma_at)) in pairs {
            let (of_rho, rho_at) = &*of_rho;
            let robust = Config::new()
                .with_rho(rho)
                .with_gamma(gamma)
                .with_rho_schedule(*of_rho)
                .with_gamma_schedule(of_gamma)
                .with_warmup_steps(warmup)
                .with_evaluation(Evaluation::Own)
                .init_gradient()
                .unwrap();
            for step in 0..warmup + 7 {
                robust.set_learning_rate(learning_rate(step.saturating_sub(warmup)));
                let (points, _, report) = step_at_theta(&robust);
                let Some(since) = step.checked_sub(warmup) else {
                    assert_eq!((points.len(), report.rho, report.gamma), (3, 0.0, 0.0));
                    continue;
                };
                let (rho, gamma) = (rho * rho_at(since), gamma * gamma_at(since));
                close(report.rho, rho, 1e-15);
                close(report.gamma, gamma, 1e-15);
                let expected = match rho.max(gamma) < 1e-16 {
                    true => Vec::new(),
                    false => ascending_points(rho, gamma),
                };
                assert_eq!(points.len(), 3 + expected.len(), "{of_rho:?} {of_gamma:?}");
                for (point, expected) in points[3..].iter().zip(expected) {
                    assert_close(point, &expected, 4e-7);
                }
            }
        }
    }
}

#[test]
fn a_schedule_along_the_learning_rate_goes_by_that_of_all_parameters() {
    let config = Config::new()
        .with_rho(0.4)
        .with_gamma(0.1)
        .with_rho_schedule(Schedule::LearningRate { reference: 0.2 });
    let mut rates = ModuleLrScheduler::new(ConstantLr::new(0.05))
        .with_group(ParamGroup::from_predicate("theta"), ConstantLr::new(0.9));
    let mut model = Point::new(&THETA, &device());
    let loss = |model: &Point, loss: &Loss| loss.at(model);
    let mut optim = config.init(SgdConfig::new().init()).unwrap();
    for (rate, expected) in [
        (rates.step(), 0.1),
        (0.2.into(), 0.4),
        (0.0.into(), 0.0),
        (0.6.into(), 1.2),
    ] {
        let report = optim.step(rate, &mut model, &domains(&waves()), loss);
        let report = report.unwrap();
        close(report.rho, expected, 1e-15);
        close(report.gamma, 0.1, 1e-15);
    }

    // Without a learning rate, or with one that cannot be in proportion: nothing is done.
    let unknown = config.init_gradient().unwrap();
    let error = unknown
        .gradients(
            &model,
            &domains(&waves()),
            |_: &Point, _: &Loss| -> Tensor<1> { unreachable!("no pass is made") },
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "lr must be given by `set_learning_rate`, since a schedule is in proportion to it, but is not known"
    );
    assert_eq!(unknown.steps(), 0);
    let before = model.values();
    let error = optim
        .step(-0.1, &mut model, &domains(&waves()), loss)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "lr must be finite and at least 0, since a schedule is in proportion to it, but is -0.1"
    );
    assert_eq!(model.values(), before);
    // The clones of a gradient know it together.
    let known = config.init_gradient().unwrap();
    known.clone().set_learning_rate(0.1);
    close(step_at_theta(&known).2.rho, 0.2, 1e-15);
}

#[test]
fn a_plain_step_refuses_what_a_perturbed_one_would() {
    let model = Point::new(&THETA, &device());
    let along = Schedule::LearningRate { reference: 0.1 };
    for (refused, field) in [
        (
            Config::new().with_group(ParamGroup::from_predicate("nothing"), 0.1, 0.1),
            "groups",
        ),
        (Config::new().with_gamma_schedule(along), "lr"),
    ] {
        for (plain, step) in [
            (refused.clone().with_warmup_steps(1000), 0),
            (refused.with_interval(1000), 1),
        ] {
            let robust = plain.init_gradient().unwrap();
            robust.set_steps(step);
            let error = robust
                .gradients(
                    &model,
                    &domains(&waves()),
                    |_: &Point, _: &Loss| -> Tensor<1> { unreachable!("no pass is made") },
                )
                .unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
            assert_eq!(robust.steps(), step);
        }
    }
}

#[test]
fn warm_up_is_the_base_optimizer_bit_for_bit_and_ends_with_its_last_step() {
    let device = device();
    for evaluation in EVALUATIONS {
        for base in [momentum(), AdamConfig::new().init()] {
            let perturbed = Config::new().with_rho(0.3).with_evaluation(evaluation);
            let config = perturbed.clone().with_warmup_steps(3);
            let config = config.with_rho_schedule(Schedule::Linear {
                from: 0.5,
                to: 1.0,
                steps: 2,
            });
            let mut optim = config.init(base.clone()).unwrap();
            let mut erm = Config::erm().init(base).unwrap();
            let mut net = Net::new(&device);
            let mut plain = net.clone().train();
            for step in 0..3 {
                let domains = batches(step, &device);
                let report = optim.step(0.01, &mut net, &domains, net_loss).unwrap();
                erm.step(0.01, &mut plain, &domains, net_loss).unwrap();
                assert_eq!(net.state(), plain.state(), "step {step}");
                assert_eq!(
                    optimizer_state(optim.base()),
                    optimizer_state(erm.base()),
                    "step {step}"
                );
                assert_eq!((report.rho, report.gamma), (0.0, 0.0));
                assert_eq!(report.passes.perturbed, 0);
            }
            // The fourth is perturbed, and the schedule begins with it.
            let at_half = perturbed.with_rho(0.15);
            let mut at_half = at_half.init(erm.base().clone()).unwrap();
            at_half.gradient().set_steps(3);
            let domains = batches(3, &device);
            let report = optim.step(0.01, &mut net, &domains, net_loss).unwrap();
            let expected = at_half.step(0.01, &mut plain, &domains, net_loss).unwrap();
            assert_eq!(report, expected);
            assert!(report.passes.perturbed > 0);
            assert_eq!(report.rho, 0.15);
            assert_eq!(net.state(), plain.state());
            let report = optim.step(0.01, &mut net, &domains, net_loss).unwrap();
            close(report.rho, 0.225, 1e-15);
        }
    }
}

#[test]
fn every_kth_step_is_perturbed_and_those_between_are_plain() {
    let config = Config::new().with_rho(0.3).with_gamma(0.05);
    let (_, perturbed, _) = step_at_theta(&config.init_gradient().unwrap());
    let (_, plain, _) = step_at_theta(&Config::erm().init_gradient().unwrap());
    assert_ne!(perturbed, plain);
    for (warmup, interval) in [(0, 1), (0, 2), (2, 1), (2, 3), (0, 7), (1, u64::MAX)] {
        let config = config.clone().with_warmup_steps(warmup);
        let robust = config.with_interval(interval).init_gradient().unwrap();
        for step in 0..12 {
            let (points, gradient, report) = step_at_theta(&robust);
            let is_perturbed = step >= warmup && (step - warmup) % interval == 0;
            let expected = if is_perturbed { &perturbed } else { &plain };
            assert_eq!(gradient, *expected, "step {step} of every {interval}");
            assert_eq!(points.len(), if is_perturbed { 12 } else { 3 });
            assert_eq!(report.passes.calls, points.len());
            assert_eq!(report.rho, if is_perturbed { 0.3 } else { 0.0 });
        }
    }
}

/// Weights, one of them 0, and biases, one of them 0.
#[derive(Module, Debug)]
struct Affine {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

const WEIGHT: [f32; 4] = [0.5, -2.0, 0.0, 1.5];
const BIAS: [f32; 2] = [0.0, -3.0];

/// What L_i = ⟨g_i, θ⟩ has as its gradients.
const GRADIENTS: [[f32; 6]; 2] = [
    [1.0, -2.0, 3.0, 0.5, 2.0, -1.0],
    [-0.5, 1.0, 2.0, -4.0, 0.0, 1.5],
];

impl Affine {
    fn new() -> Self {
        let device = device();
        let weight = [[WEIGHT[0], WEIGHT[1]], [WEIGHT[2], WEIGHT[3]]];
        Self {
            weight: Param::from_tensor(Tensor::from_floats(weight, &device)),
            bias: Param::from_tensor(Tensor::from_floats(BIAS, &device)),
        }
    }

    fn flat(&self) -> Tensor<1> {
        Tensor::cat(vec![self.weight.val().reshape([4]), self.bias.val()], 0)
    }

    fn linear(&self, gradient: &[f32; 6]) -> Tensor<1> {
        let gradient = Tensor::<1>::from_floats(*gradient, &self.bias.val().device());
        (self.flat() * gradient).sum()
    }

    fn theta() -> [f64; 6] {
        let all: Vec<f64> = WEIGHT.iter().chain(&BIAS).map(|v| f64::from(*v)).collect();
        all.try_into().unwrap()
    }

    /// The parameters that the perturbed passes see.
    fn points(config: &Config) -> Vec<Vec<f32>> {
        let domains = DomainBatches::unnamed(GRADIENTS).unwrap();
        let mut seen = Vec::new();
        let robust = config.init_gradient().unwrap();
        let (_, report) = robust
            .gradients(&Self::new(), &domains, |model, gradient: &[f32; 6]| {
                seen.push(values(&model.flat()));
                model.linear(gradient)
            })
            .unwrap();
        assert!(!report.is_skipped());
        seen.split_off(2)
    }
}

/// T by its formula: over the six parameters, of which the last two are biases.
fn operator(adaptive: Adaptive) -> [f64; 6] {
    let theta = Affine::theta();
    std::array::from_fn(|k| match adaptive {
        Adaptive::None => 1.0,
        Adaptive::Weights { eta } if k < 4 => theta[k].abs() + eta,
        Adaptive::Weights { .. } => 1.0,
        Adaptive::All => theta[k].abs(),
    })
}

/// ε = ρ T² g / ‖T g‖.
fn ascent(gradient: &[f64], adaptive: Adaptive, rho: f64) -> Vec<f64> {
    let t = operator(adaptive);
    let norm = gradient.iter().zip(t).map(|(g, t)| (g * t).powi(2));
    let norm = norm.sum::<f64>().sqrt();
    let along = gradient.iter().zip(t);
    along.map(|(g, t)| rho * t * t * g / norm).collect()
}

const ADAPTIVE: [Adaptive; 5] = [
    Adaptive::None,
    Adaptive::ASAM,
    Adaptive::Weights { eta: 0.0 },
    Adaptive::Weights { eta: 3.0 },
    Adaptive::All,
];

#[test]
fn adaptive_ascents_are_those_of_the_formula() {
    let (rho, gamma) = (0.7, 0.05);
    let gradients = GRADIENTS.map(|g| g.map(f64::from).to_vec());
    for weights in [[0.5, 0.5], [0.25, 0.75]] {
        let mean: Vec<f64> = (0..6)
            .map(|k| weights[0] * gradients[0][k] + weights[1] * gradients[1][k])
            .collect();
        for adaptive in ADAPTIVE {
            let config = Config::new()
                .with_rho(rho)
                .with_gamma(gamma)
                .with_adaptive(adaptive)
                .with_domain_weights(Some(weights.to_vec()));
            let point = |ascent: &dyn Fn(usize) -> f64| -> Vec<f32> {
                // The shift is never scaled.
                (0..6)
                    .map(|k| (Affine::theta()[k] + ascent(k) - gamma * mean[k]) as f32)
                    .collect()
            };
            let of = |domain: usize| ascent(&gradients[domain], adaptive, rho);
            let (first, second) = (of(0), of(1));
            let pooled = ascent(&mean, adaptive, rho);
            let consensus = |k: usize| weights[0] * first[k] + weights[1] * second[k];

            let own = Affine::points(&config.clone().with_evaluation(Evaluation::Own));
            assert_close(&own[0], &point(&|k| first[k]), 1e-6);
            assert_close(&own[1], &point(&|k| second[k]), 1e-6);
            let one = Affine::points(&config.clone().with_ascent(Ascent::Pooled));
            assert_close(&one[0], &point(&|k| pooled[k]), 1e-6);
            let one = Affine::points(&config.clone().with_evaluation(Evaluation::Consensus));
            assert_close(&one[0], &point(&consensus), 1e-6);
            // The same with the report off.
            for (evaluation, ascent) in [
                (Evaluation::Own, Ascent::Domain),
                (Evaluation::All, Ascent::Pooled),
                (Evaluation::Consensus, Ascent::Domain),
            ] {
                let config = config.clone().with_evaluation(evaluation);
                let config = config.with_ascent(ascent);
                let off = config.clone().with_report(false);
                assert_eq!(Affine::points(&off), Affine::points(&config));
            }
        }
    }
    // A weight at 0 moves by η² g / ‖T g‖, and not at all without η.
    let still = |adaptive| {
        let config = Config::sam(rho).with_adaptive(adaptive);
        let point = Affine::points(&config)[0].clone();
        (point[2] == 0.0, point[4] == 0.0)
    };
    assert_eq!(still(Adaptive::None), (false, false));
    assert_eq!(still(Adaptive::ASAM), (false, false));
    assert_eq!(still(Adaptive::Weights { eta: 0.0 }), (true, false));
    assert_eq!(still(Adaptive::All), (true, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Scaled against each other, two layers of a product meet the same sharpness: L(w₁, w₂) with
    /// w₁ → c w₁ and w₂ → w₂ / c.
    #[test]
    fn adaptive_ascents_do_not_depend_on_how_layers_are_scaled(
        a in 0.2f32..2.0, b in -2.0f32..-0.2, c in 0.1f32..10.0, rho in 0.01..0.5f64
    ) {
        for adaptive in [Adaptive::All, Adaptive::Weights { eta: 0.0 }] {
            let config = Config::sam(rho).with_adaptive(adaptive);
            let sharpness = |a: f32, b: f32| {
                let device = device();
                let model = Affine {
                    weight: Param::from_tensor(Tensor::from_floats([[a, b]], &device)),
                    bias: Param::from_tensor(Tensor::from_floats([1.0], &device)),
                };
                let domains = DomainBatches::unnamed([1.0f32, -0.5]).unwrap();
                let robust = config.init_gradient().unwrap();
                let (_, report) = robust
                    .gradients(&model, &domains, |model: &Affine, y: &f32| {
                        let product = model.weight.val().prod_dim(1).reshape([1]);
                        (product - *y).square()
                    })
                    .unwrap();
                report.points[0].sharpness
            };
            let (plain, scaled) = (sharpness(a, b), sharpness(c * a, b / c));
            prop_assert!((plain - scaled).abs() <= 2e-5 * plain.abs().max(1.0), "{plain} {scaled}");
        }
    }
}

#[test]
fn groups_have_lengths_of_their_own_under_the_norm_of_all() {
    let (rho, gamma) = (0.7, 0.05);
    let gradients = GRADIENTS.map(|g| g.map(f64::from).to_vec());
    let mean = |k: usize| (gradients[0][k] + gradients[1][k]) / 2.0;
    let model = Affine::new();
    let bias = || ParamGroup::from_path("bias");
    // The groups, and ρ and γ that weights and biases then have.
    let everything = || ParamGroup::from_regex(".*").unwrap();
    for (groups, of_weight, of_bias) in [
        (vec![(bias(), 0.2, 0.3)], (rho, gamma), (0.2, 0.3)),
        (vec![(bias(), 0.0, 0.3)], (rho, gamma), (0.0, 0.3)),
        (vec![(bias(), 0.2, 0.0)], (rho, gamma), (0.2, 0.0)),
        (vec![(bias(), 0.0, 0.0)], (rho, gamma), (0.0, 0.0)),
        // Of several, the last.
        (
            vec![(everything(), 0.1, 0.2), (bias(), 0.4, 0.5)],
            (0.1, 0.2),
            (0.4, 0.5),
        ),
        (
            vec![(bias(), 0.4, 0.5), (everything(), 0.1, 0.2)],
            (0.1, 0.2),
            (0.1, 0.2),
        ),
        (
            vec![
                (ParamGroup::from_ids(vec![model.weight.id]), 0.3, 0.0),
                (ParamGroup::from_predicate("ia"), 0.0, 0.1),
            ],
            (0.3, 0.0),
            (0.0, 0.1),
        ),
        (
            vec![(everything().exclude(bias()), 0.3, 0.1)],
            (0.3, 0.1),
            (rho, gamma),
        ),
    ] {
        for adaptive in ADAPTIVE {
            for evaluation in EVALUATIONS {
                for ascent in [Ascent::Domain, Ascent::Pooled] {
                    let config = Config::new()
                        .with_rho(rho)
                        .with_gamma(gamma)
                        .with_adaptive(adaptive)
                        .with_evaluation(evaluation)
                        .with_ascent(ascent);
                    let config = groups.iter().fold(config, |config, (group, rho, gamma)| {
                        config.with_group(group.clone(), *rho, *gamma)
                    });
                    check_groups(&config, &model, of_weight, of_bias, mean);
                }
            }
        }
    }
}

fn check_groups(
    config: &Config,
    model: &Affine,
    of_weight: (f64, f64),
    of_bias: (f64, f64),
    mean: impl Fn(usize) -> f64,
) {
    let gradients = GRADIENTS.map(|g| g.map(f64::from).to_vec());
    let domains = DomainBatches::unnamed(GRADIENTS).unwrap();
    let seen = RefCell::new(Vec::new());
    let (_, report) = config
        .init_gradient()
        .unwrap()
        .gradients(model, &domains, |model, gradient: &[f32; 6]| {
            seen.borrow_mut().push(values(&model.flat()));
            model.linear(gradient)
        })
        .unwrap();
    assert_eq!((report.rho, report.gamma), (config.rho, config.gamma));
    let seen = seen.into_inner();
    let mut passes = seen[2..].iter();
    let theta = Affine::theta();
    for point in &report.points {
        // ε of each parameter with ρ = 1.
        let unit = match (point.ascent, config.ascent) {
            (Some(domain), _) => ascent(&gradients[domain], config.adaptive, 1.0),
            (None, Ascent::Pooled) => {
                let mean: Vec<f64> = (0..6).map(&mean).collect();
                ascent(&mean, config.adaptive, 1.0)
            }
            (None, Ascent::Domain) => {
                let of = |domain: usize| ascent(&gradients[domain], config.adaptive, 0.5);
                of(0).iter().zip(of(1)).map(|(a, b)| a + b).collect()
            }
        };
        let expected: Vec<f32> = (0..6)
            .map(|k| {
                let (rho, gamma) = if k < 4 { of_weight } else { of_bias };
                (theta[k] + rho * unit[k] - gamma * mean(k)) as f32
            })
            .collect();
        for _ in &point.losses {
            let seen = passes.next().unwrap();
            assert_close(seen, &expected, 1e-6);
            if of_bias == (0.0, 0.0) {
                assert_eq!(seen[4..], BIAS, "not even the last bit moves");
            }
        }
    }
    assert!(passes.next().is_none());
}

#[test]
fn groups_of_length_zero_make_a_plain_step_and_groups_alone_a_perturbed_one() {
    let erm = step_at_theta(&Config::erm().init_gradient().unwrap());
    let everything = || ParamGroup::from_predicate("theta");
    let still = Config::new().with_group(everything(), 0.0, 0.0);
    let (points, gradient, report) = step_at_theta(&still.init_gradient().unwrap());
    assert_eq!((points, gradient), (erm.0, erm.1));
    assert_eq!(report.passes.perturbed, 0);

    let (rho, gamma) = (0.3, 0.05);
    let alone = Config::new().with_rho(0.0).with_gamma(0.0);
    let alone = alone.with_group(everything(), rho, gamma);
    let all = Config::new().with_rho(rho).with_gamma(gamma);
    let schedule = Schedule::Linear {
        from: 0.5,
        to: 0.5,
        steps: 1,
    };
    for scheduled in [false, true] {
        let with = |config: &Config| match scheduled {
            false => config.clone(),
            true => config
                .clone()
                .with_rho_schedule(schedule)
                .with_gamma_schedule(schedule),
        };
        let (points, gradient, _) = step_at_theta(&with(&alone).init_gradient().unwrap());
        let (expected, same, _) = step_at_theta(&with(&all).init_gradient().unwrap());
        for (point, expected) in points.iter().zip(&expected) {
            assert_close(point, expected, 1e-6);
        }
        assert_eq!(points.len(), expected.len());
        assert_close(&gradient, &same, 1e-6);
    }
    // A schedule at 0 leaves nothing of a group either.
    let stopped = Schedule::Linear {
        from: 0.0,
        to: 0.0,
        steps: 1,
    };
    let stopped = alone
        .with_rho_schedule(stopped)
        .with_gamma_schedule(stopped);
    assert_eq!(step_at_theta(&stopped.init_gradient().unwrap()).0.len(), 3);
}

#[test]
fn a_group_that_matches_nothing_is_refused_before_any_pass() {
    let model = Affine::new();
    let other = Affine::new();
    let domains = DomainBatches::unnamed(GRADIENTS).unwrap();
    for nothing in [
        ParamGroup::from_path("biases"),
        ParamGroup::from_regex("^ias").unwrap(),
        ParamGroup::from_ids(vec![other.bias.id]),
        ParamGroup::all().exclude(ParamGroup::all()),
    ] {
        // One that matches does not make up for it.
        let config = Config::new()
            .with_group(ParamGroup::from_path("bias"), 0.1, 0.1)
            .with_group(nothing, 0.0, 0.0);
        let error = config
            .init_gradient()
            .unwrap()
            .gradients(&model, &domains, |_: &Affine, _: &[f32; 6]| -> Tensor<1> {
                unreachable!("no pass is made")
            })
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("groups must match a parameter of the model each, but is without"),
            "{error}"
        );
    }
}

#[test]
fn groups_pass_over_frozen_parameters_and_know_shared_ones() {
    let device = device();
    let mut net = Net::new(&device);
    net.first = net.first.freeze();
    let before = values(&net.first.weight.val());
    let statistics = net.clone().train();
    let config = Config::new()
        .with_rho(0.5)
        .with_group(ParamGroup::from_predicate("first"), 9.0, 9.0)
        .with_group(ParamGroup::from_predicate("norm"), 0.0, 0.0);
    let mut seen = Vec::new();
    config
        .init(momentum())
        .unwrap()
        .step(
            0.1,
            &mut net,
            &batches(0, &device),
            |net: &Net, batch: &Batch| {
                assert_eq!(values(&net.first.weight.val()), before);
                seen.push(values(&net.norm.gamma.val()));
                net.loss(batch)
            },
        )
        .unwrap();
    assert!(seen.iter().all(|gamma| *gamma == vec![1.0; 6]));
    assert_eq!(values(&net.first.weight.val()), before);
    // A group over them reaches no running statistics: those are of the clean passes.
    for (_, batch) in batches(0, &device).iter() {
        statistics.loss(batch);
    }
    assert_eq!(
        values(&net.valid().norm.running_mean.value()),
        values(&statistics.valid().norm.running_mean.value())
    );

    /// A weight in two places.
    #[derive(Module, Debug)]
    struct Tied {
        first: Param<Tensor<1>>,
        second: Param<Tensor<1>>,
    }
    let weight = Param::from_tensor(Tensor::<1>::from_floats([1.0, 2.0], &device));
    let tied = Tied {
        first: weight.clone(),
        second: weight.clone(),
    };
    let one = DomainBatches::unnamed([()]).unwrap();
    // L = Σ (3, 2) first + Σ (0, 2) second: g = (3, 4), of norm 5.
    for (group, rho) in [
        (ParamGroup::from_ids(vec![weight.id]), 0.5),
        (ParamGroup::from_path("first"), 0.5),
        // It belongs where it stands first.
        (ParamGroup::from_path("second"), 0.1),
    ] {
        let config = Config::sam(0.1).with_group(group, 0.5, 0.0);
        let mut seen = Vec::new();
        config
            .init_gradient()
            .unwrap()
            .gradients(&tied, &one, |model: &Tied, ()| {
                seen.push((values(&model.first.val()), values(&model.second.val())));
                let of = |factors: [f32; 2]| Tensor::<1>::from_floats(factors, &device);
                (model.first.val() * of([3.0, 2.0]) + model.second.val() * of([0.0, 2.0])).sum()
            })
            .unwrap();
        let expected = [1.0 + rho * 0.6, 2.0 + rho * 0.8];
        assert_close(&seen[1].0, &expected, 1e-6);
        assert_eq!(seen[1].0, seen[1].1);
    }
}

/// A loss that is not a number where it is told to be.
fn poisoned(net: &Net, batch: &Batch, bad: bool) -> Tensor<1> {
    let loss = net.loss(batch);
    if bad { loss * f32::NAN } else { loss }
}

#[test]
fn too_many_skipped_steps_in_a_row_are_an_error_that_changes_nothing() {
    let device = device();
    for (limit, pattern) in [
        // Whether a step is bad, and whether its error is expected.
        (Some(1), vec![(false, None), (true, Some((1, 1)))]),
        (
            Some(3),
            vec![
                (true, None),
                (true, None),
                (false, None),
                (true, None),
                (true, None),
                (true, Some((3, 3))),
                // It goes on being one until a step is good.
                (true, Some((4, 3))),
                (false, None),
                (true, None),
                (true, None),
                (true, Some((3, 8))),
            ],
        ),
        (None, vec![(true, None); 30]),
    ] {
        let config = Config::new().with_max_skipped_steps(limit);
        let mut optim = config.init(momentum()).unwrap();
        let mut net = Net::new(&device);
        for (step, (bad, expected)) in pattern.into_iter().enumerate() {
            let (state, base) = (net.state(), optimizer_state(optim.base()));
            let domains = batches(step, &device);
            let result = optim.step(0.1, &mut net, &domains, |net: &Net, batch: &Batch| {
                poisoned(net, batch, bad)
            });
            assert_eq!(optim.gradient().steps(), step as u64 + 1);
            assert_eq!(net.state() == state, bad, "step {step}");
            assert_eq!(optimizer_state(optim.base()) == base, bad, "step {step}");
            match (result, expected) {
                (Ok(report), None) => assert_eq!(report.is_skipped(), bad),
                (Err(error), Some((skipped, since))) => assert_eq!(
                    error.to_string(),
                    format!(
                        "{skipped} steps in a row were skipped, since step {since}: the loss of \
                         domain `a` is not finite in the clean pass"
                    )
                ),
                (result, expected) => panic!("{result:?} is not {expected:?}"),
            }
        }
    }
    // By default after twenty.
    let robust = Config::new().init_gradient().unwrap();
    let net = Net::new(&device);
    let results: Vec<bool> = (0..20)
        .map(|step| {
            let bad = |net: &Net, batch: &Batch| poisoned(net, batch, true);
            // Clones count together.
            robust
                .clone()
                .gradients(&net, &batches(step, &device), bad)
                .is_ok()
        })
        .collect();
    assert_eq!(results, [vec![true; 19], vec![false]].concat());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name_rule_and_value() {
    let refused = |config: Config| {
        let error = config.init_gradient().unwrap_err();
        assert!(matches!(error, Error::Setting { .. }));
        error.to_string()
    };
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        for (field, config) in [
            (
                "adaptive.eta",
                Config::new().with_adaptive(Adaptive::Weights { eta: bad }),
            ),
            ("reuse_weight", Config::look_sam(0.1, 3, bad)),
            ("friendly.sigma", Config::friendly_sam(0.1, bad, 0.9)),
            (
                "groups.rho",
                Config::new().with_group(ParamGroup::all(), bad, 0.0),
            ),
            (
                "groups.gamma",
                Config::new()
                    .with_group(ParamGroup::all(), 0.0, 0.0)
                    .with_group(ParamGroup::all(), 0.0, bad),
            ),
        ] {
            assert_eq!(
                refused(config),
                format!("{field} must be finite and at least 0, but is {bad}")
            );
        }
        let (one, steps) = (1.0, 10);
        for schedule in [
            Schedule::Linear {
                from: bad,
                to: one,
                steps,
            },
            Schedule::Linear {
                from: one,
                to: bad,
                steps,
            },
            Schedule::Cosine {
                from: bad,
                to: one,
                steps,
            },
            Schedule::Cosine {
                from: one,
                to: bad,
                steps,
            },
        ] {
            let rule = "have factors that are finite and at least 0, over at least 1 step";
            assert_eq!(
                refused(Config::new().with_rho_schedule(schedule)),
                format!("rho_schedule must {rule}, but is {schedule:?}")
            );
            assert_eq!(
                refused(Config::new().with_gamma_schedule(schedule)),
                format!("gamma_schedule must {rule}, but is {schedule:?}")
            );
        }
    }
    for (schedule, rule) in [
        (
            Schedule::Linear {
                from: 1.0,
                to: 0.0,
                steps: 0,
            },
            "have factors that are finite and at least 0, over at least 1 step",
        ),
        (
            Schedule::LearningRate { reference: 0.0 },
            "have a reference that is finite and above 0",
        ),
        (
            Schedule::LearningRate {
                reference: f64::INFINITY,
            },
            "have a reference that is finite and above 0",
        ),
    ] {
        assert_eq!(
            refused(Config::new().with_gamma_schedule(schedule)),
            format!("gamma_schedule must {rule}, but is {schedule:?}")
        );
    }
    for interval in [
        Config::new().with_interval(0),
        Config::look_sam(0.1, 0, 0.7),
    ] {
        assert_eq!(refused(interval), "interval must be at least 1, but is 0");
    }
    for bad in [f64::NAN, f64::INFINITY, -0.1, 1.0] {
        assert_eq!(
            refused(Config::friendly_sam(0.1, 1.0, bad)),
            format!("friendly.lambda must be at least 0 and below 1, but is {bad}")
        );
    }
    let friendly = Some(FriendlyAscent::new());
    assert_eq!(
        refused(Config::new().with_friendly(friendly)),
        "friendly must be of an ascent that is pooled, but is Domain"
    );
    for (config, rule) in [
        (
            Config::erm().with_reuse_weight(Some(0.1)),
            "there is a reuse_weight",
        ),
        (
            Config::erm()
                .with_ascent(Ascent::Pooled)
                .with_friendly(friendly),
            "the ascent is friendly",
        ),
    ] {
        assert_eq!(
            refused(config),
            format!("perturbed_weight must be above 0 where {rule}, but is 0")
        );
    }
    assert_eq!(
        refused(Config::new().with_max_skipped_steps(Some(0))),
        "max_skipped_steps must be at least 1, but is 0"
    );
}

/// θ as a weight and a bias, so that no setting is idle.
#[derive(Module, Debug)]
struct Split {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

/// The parameters after every step of a short training, bit for bit.
fn trajectory(config: &Config) -> Vec<u32> {
    let device = device();
    let mut model = Split {
        weight: Param::from_tensor(Tensor::from_floats([[THETA[0], THETA[1]]], &device)),
        bias: Param::from_tensor(Tensor::from_floats([THETA[2]], &device)),
    };
    let mut optim = config.init(SgdConfig::new().init()).unwrap();
    let mut parameters = Vec::new();
    for step in 0..8 {
        let rate = learning_rate(step);
        let report = optim.step(
            rate,
            &mut model,
            &domains(&waves()),
            |model: &Split, loss| {
                let theta = vec![model.weight.val().reshape([2]), model.bias.val()];
                loss.of(Tensor::cat(theta, 0))
            },
        );
        assert!(!report.unwrap().is_skipped());
        parameters.extend(values(&model.weight.val()));
        parameters.extend(values(&model.bias.val()));
    }
    parameters.into_iter().map(f32::to_bits).collect()
}

#[test]
fn every_setting_changes_the_update_and_no_two_are_the_same() {
    let base = Config::new()
        .with_rho(0.3)
        .with_gamma(0.05)
        .with_evaluation(Evaluation::Sampled)
        .with_draw(Draw::Independent)
        .with_seed(1);
    // Every field is here: a new one does not compile until it is changed below.
    let Config {
        rho: _,
        gamma: _,
        rho_schedule: _,
        gamma_schedule: _,
        adaptive: _,
        groups: _,
        warmup_steps: _,
        interval: _,
        evaluation: _,
        ascent: _,
        draw: _,
        clean_weight: _,
        perturbed_weight: _,
        domain_weights: _,
        seed: _,
        aggregation: _,
        gap_weight: _,
        friendly: _,
        reuse_weight: _,
        alignment: _,
        // It changes what is drawn by the closure: a test of its own.
        noise_seed: _,
        // They change what is said about a step, not the step: below.
        max_skipped_steps: _,
        recompute: _,
        report: _,
    } = base.clone();
    let group = |path: &str, rho: f64, gamma: f64| {
        base.clone()
            .with_group(ParamGroup::from_path(path), rho, gamma)
    };
    let (from, to, steps) = (1.0, 0.5, 6);
    let schedules = [
        Schedule::Linear { from, to, steps },
        Schedule::Linear { from, to, steps: 5 },
        Schedule::Linear {
            from,
            to: 0.4,
            steps,
        },
        Schedule::Linear {
            from: 0.9,
            to,
            steps,
        },
        Schedule::Cosine { from, to, steps },
        Schedule::Cosine { from, to, steps: 5 },
        Schedule::Cosine {
            from,
            to: 0.4,
            steps,
        },
        Schedule::Cosine {
            from: 0.9,
            to,
            steps,
        },
        Schedule::LearningRate { reference: 0.3 },
        Schedule::LearningRate { reference: 0.2 },
    ];
    let (pooled, friendly) = (
        base.clone().with_ascent(Ascent::Pooled),
        FriendlyAscent::new(),
    );
    let mut settings = vec![
        base.clone(),
        base.clone().with_rho(0.2),
        base.clone().with_gamma(0.04),
        base.clone().with_adaptive(Adaptive::ASAM),
        base.clone().with_adaptive(Adaptive::Weights { eta: 0.02 }),
        base.clone().with_adaptive(Adaptive::Weights { eta: 0.0 }),
        base.clone().with_adaptive(Adaptive::All),
        group("weight", 0.2, 0.05),
        group("weight", 0.3, 0.04),
        group("weight", 0.0, 0.0),
        group("bias", 0.2, 0.05),
        group("bias", 0.3, 0.04),
        group("bias", 0.0, 0.05),
        group("bias", 0.3, 0.0),
        group("bias", 0.0, 0.0),
        base.clone().with_warmup_steps(1),
        base.clone().with_warmup_steps(2),
        base.clone().with_interval(2),
        base.clone().with_interval(3),
        base.clone().with_warmup_steps(1).with_interval(2),
        base.clone().with_evaluation(Evaluation::All),
        base.clone().with_evaluation(Evaluation::Own),
        base.clone().with_evaluation(Evaluation::Others),
        base.clone().with_evaluation(Evaluation::Consensus),
        base.clone().with_ascent(Ascent::Pooled),
        base.clone().with_draw(Draw::Permutation),
        base.clone().with_draw(Draw::Derangement),
        base.clone().with_clean_weight(0.4),
        base.clone().with_clean_weight(0.0),
        base.clone().with_perturbed_weight(0.4),
        base.clone().with_perturbed_weight(0.0),
        base.clone().with_gap_weight(Some(0.1)),
        pooled.clone().with_friendly(Some(friendly)),
        pooled.clone().with_friendly(Some(friendly.with_sigma(0.5))),
        pooled.with_friendly(Some(friendly.with_lambda(0.5))),
        base.clone().with_interval(2).with_reuse_weight(Some(0.5)),
        base.clone().with_interval(2).with_reuse_weight(Some(0.4)),
        base.clone().with_interval(3).with_reuse_weight(Some(0.4)),
        base.clone().with_domain_weights(Some(vec![1.0, 2.0, 3.0])),
        base.clone().with_domain_weights(Some(vec![1.0, 0.0, 3.0])),
        base.clone().with_seed(2),
        Config::erm(),
        Config::sam(0.3),
        Config::asam(0.3),
        Config::sagm(0.3, 0.05),
        Config::domain_sam(0.3),
        Config::look_ahead(0.05),
    ];
    let aligned = |alignment| base.clone().with_alignment(Some(alignment));
    let cosine = AlignmentConfig::cosine(0.2);
    settings.extend([
        aligned(cosine.clone()),
        aligned(cosine.clone().with_warmup_steps(2)),
        aligned(cosine.clone().with_difference(Difference::Central)),
        aligned(cosine.clone().with_relative_step(Some(0.01))),
        aligned(AlignmentConfig::cosine(0.1)),
        aligned(AlignmentConfig::inner_product(0.2)),
        aligned(AlignmentConfig::variance(0.2)),
        aligned(AlignmentConfig::gradient_norm(0.2)),
        Config::erm().with_alignment(Some(cosine.clone())),
    ]);
    let aggregated = |method: Aggregation, of| {
        let aggregation = AggregationConfig::new(method).with_of(of);
        base.clone().with_aggregation(Some(aggregation))
    };
    for of in [Aggregated::Clean, Aggregated::Perturbed, Aggregated::Both] {
        settings.extend([
            aggregated(Sum.into(), of),
            aggregated(Mgda::Exact.into(), of),
            aggregated(UpGrad::default().into(), of),
            aggregated(CaGrad::new(0.5).into(), of),
            aggregated(CaGrad::new(0.4).into(), of),
            aggregated(GroupDro { eta: 0.1 }.into(), of),
            aggregated(GroupDro { eta: 0.2 }.into(), of),
            aggregated(VRex::default().into(), of),
            aggregated(AndMask { tau: 1.0 }.into(), of),
            aggregated(Disam { lambda: 0.3 }.into(), of),
        ]);
    }
    let vrex = |lambda, anneal_steps| {
        let method = VRex {
            lambda,
            anneal_steps,
        };
        Config::erm().with_aggregation(Some(AggregationConfig::new(method.into())))
    };
    settings.extend([
        Config::mgda(),
        Config::upgrad(),
        Config::cagrad(0.5),
        Config::group_dro(0.1),
        vrex(10.0, 3),
        vrex(10.0, 4),
        vrex(9.0, 3),
        Config::vrex(10.0),
        Config::and_mask(1.0),
        Config::gsam(0.3, 0.1),
        Config::gsam(0.3, 0.2),
        Config::friendly_sam(0.3, 1.0, 0.9),
        Config::friendly_sam(0.3, 0.5, 0.9),
        Config::friendly_sam(0.3, 1.0, 0.5),
        Config::look_sam(0.3, 2, 0.7),
        Config::look_sam(0.3, 3, 0.7),
        Config::look_sam(0.3, 2, 0.5),
        Config::disam(0.3, 0.1),
        Config::disam(0.3, 0.2),
    ]);
    for schedule in schedules {
        settings.push(base.clone().with_rho_schedule(schedule));
        settings.push(base.clone().with_gamma_schedule(schedule));
        settings.push(aligned(cosine.clone().with_weight_schedule(schedule)));
    }
    let trajectories: Vec<Vec<u32>> = settings.iter().map(trajectory).collect();
    for (i, trajectory) in trajectories.iter().enumerate() {
        for j in 0..i {
            assert_ne!(
                *trajectory, trajectories[j],
                "{} and {}",
                settings[i], settings[j]
            );
        }
    }
    let idle = base.clone().with_report(false);
    assert_eq!(trajectory(&idle), trajectories[0]);
    let idle = base.clone().with_recompute(true);
    assert_eq!(trajectory(&idle), trajectories[0]);
    let idle = base.with_max_skipped_steps(None);
    assert_eq!(trajectory(&idle), trajectories[0]);
}

/// A domain that hardly counts changes nothing, whichever comes first.
#[test]
fn weights_may_be_of_any_size() {
    let with = |config: &Config, weights: [f64; 3]| {
        let config = config.clone().with_domain_weights(Some(weights.to_vec()));
        gradient_and_report(&config, &THETA, &waves())
    };
    let by_domain = [Evaluation::All, Evaluation::Own, Evaluation::Consensus];
    let by_domain = by_domain.map(|evaluation| perturbed(evaluation, 0.1, 0.05));
    let pooled = [Config::erm(), Config::sam(0.1), Config::sagm(0.1, 0.05)];
    for config in by_domain.into_iter().chain(pooled) {
        for report in [true, false] {
            let config = config.clone().with_report(report);
            let (without, _) = with(&config, [0.0, 2.0, 1.0]);
            let (hardly, seen) = with(&config, [1e-25, 2.0, 1.0]);
            assert_close(&hardly, &without, 1e-6);
            let points = seen.points.iter();
            let mut numbers = points.flat_map(|point| [point.alignment, point.gradient_norm]);
            assert!(numbers.all(|number| number.is_some_and(f64::is_finite) == report));
        }
    }
}

#[test]
fn settings_survive_being_written_down() {
    let group = |group: ParamGroup| PerturbationGroup {
        group,
        rho: 0.25,
        gamma: 0.125,
    };
    let config = Config::new()
        .with_rho_schedule(Schedule::Cosine {
            from: 1.0,
            to: 0.5,
            steps: 7,
        })
        .with_gamma_schedule(Schedule::LearningRate { reference: 0.25 })
        .with_adaptive(Adaptive::ASAM)
        .with_groups(vec![
            group(ParamGroup::from_any_predicates(vec!["norm", "bias"])),
            group(ParamGroup::from_regex("^head\\..*").unwrap()),
            group(ParamGroup::from_ids(vec![Affine::new().bias.id])),
        ])
        .with_warmup_steps(u64::MAX)
        .with_aggregation(Some(
            AggregationConfig::new(GroupDro { eta: 0.25 }.into()).with_of(Aggregated::Perturbed),
        ))
        .with_alignment(Some(
            AlignmentConfig::cosine(0.5)
                .with_difference(Difference::Central)
                .with_relative_step(Some(0.125)),
        ))
        .with_friendly(Some(FriendlyAscent::new().with_sigma(0.25)))
        .with_reuse_weight(Some(0.75))
        .with_max_skipped_steps(None);
    let read = <Config as burn::config::Config>::load_binary(config.to_string().as_bytes());
    assert_eq!(read.unwrap().to_string(), config.to_string());
}

/// ‖g‖² fits into 32 bits, ‖T g‖² does not: the ascent is not dropped in silence.
#[test]
fn an_adaptive_norm_beyond_its_range_changes_nothing() {
    let slope = |model: &Point, g: &f32| model.theta.val().sum().mul_scalar(*g);
    let domains = DomainBatches::unnamed([1e15f32]).unwrap();
    for (adaptive, skipped) in [(Adaptive::None, false), (Adaptive::All, true)] {
        let mut model = Point::new(&[1e5, 1.0], &device());
        let mut optim = Config::sam(0.1)
            .with_adaptive(adaptive)
            .init(momentum())
            .unwrap();
        let report = optim.step(1e-20, &mut model, &domains, slope).unwrap();
        assert_eq!(report.is_skipped(), skipped);
        if skipped {
            assert_eq!(model.values(), [1e5, 1.0]);
        }
    }
}
