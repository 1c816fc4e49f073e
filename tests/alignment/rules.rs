//! The rules of the step: what is left alone, what is refused, what is undone.

use std::{cell::Cell, path::Path};

use burn::{
    grad_clipping::GradientClippingConfig,
    lr_scheduler::{constant::ConstantLr, module_lr_scheduler::ModuleLrScheduler},
    module::{Module, Param, ParamGroup},
    nn::{Linear, LinearConfig},
    optim::{AdamConfig, GradientsParams, SgdConfig, decay::WeightDecayConfig},
    tensor::Tensor,
};
use roga::{
    Error,
    domain::DomainBatches,
    optim::{
        Ascent, Draw, Evaluation, NonFinite, Outcome, Pass, Quantity,
        RobustGradientAlignmentConfig as Config,
    },
};

use crate::problems::{
    Batch, EVALUATIONS, Loss, Net, Point, assert_close, batches, device, domains, momentum,
    net_loss, optimizer_state, values, waves,
};
use crate::process;

#[test]
fn running_statistics_are_those_of_the_clean_passes() {
    let device = device();
    for evaluation in EVALUATIONS {
        let config = Config::new().with_rho(0.5).with_evaluation(evaluation);
        let mut net = Net::new(&device);
        let mut optim = config.init(momentum()).unwrap();
        for step in 0..3 {
            let before = net.clone().train();
            let domains = batches(step, &device);
            optim.step(0.1, &mut net, &domains, net_loss).unwrap();
            domains
                .iter()
                .for_each(|(_, batch)| drop(before.loss(batch)));
            let (before, after) = (before.valid(), net.valid());
            assert_eq!(
                values(&after.norm.running_mean.value()),
                values(&before.norm.running_mean.value())
            );
            assert_eq!(
                values(&after.norm.running_var.value()),
                values(&before.norm.running_var.value())
            );
        }
    }
}

#[test]
fn frozen_parts_stay_and_do_not_count() {
    let device = device();
    let mut net = Net::new(&device);
    net.first = net.first.freeze();
    net.norm = net.norm.freeze();
    let before = net.clone();
    let frozen = |net: &Net| {
        let net = net.valid();
        [
            values(&net.first.weight.val()),
            values(&net.first.bias.as_ref().unwrap().val()),
            values(&net.norm.gamma.val()),
            values(&net.norm.running_mean.value()),
            values(&net.norm.running_var.value()),
        ]
    };
    let mut optim = Config::new().with_rho(0.5).init(momentum()).unwrap();
    let domains = batches(0, &device);
    let report = optim
        .step(0.1, &mut net, &domains, |seen: &Net, batch: &Batch| {
            assert_eq!(frozen(seen), frozen(&before));
            seen.loss(batch)
        })
        .unwrap();
    assert_eq!(frozen(&net), frozen(&before));
    assert_ne!(
        values(&net.second.weight.val()),
        values(&before.second.weight.val())
    );
    // The norm is that of the head alone.
    let (_, batch) = domains.iter().next().unwrap();
    let grads = GradientsParams::from_grads(before.loss(batch).backward(), &before);
    let weight = grads.get::<2>(before.second.weight.id).unwrap();
    let bias = grads
        .get::<1>(before.second.bias.as_ref().unwrap().id)
        .unwrap();
    let norm = (weight.square().sum() + bias.square().sum()).sqrt();
    let norm = norm.into_scalar::<f32>() as f64;
    assert!((report.domains[0].gradient_norm.unwrap() - norm).abs() < 1e-6);
}

/// Two heads on one trunk; each domain sees one head only, and nobody sees the third.
#[derive(Module, Debug)]
struct Heads {
    trunk: Linear,
    a: Linear,
    b: Linear,
    unused: Linear,
}

#[test]
fn a_parameter_without_a_gradient_in_some_domain_counts_as_zero_there() {
    let device = device();
    let linear = || LinearConfig::new(2, 2).init(&device);
    let mut model = Heads {
        trunk: linear(),
        a: linear(),
        b: linear(),
        unused: linear(),
    };
    let x = Tensor::<2>::from_floats([[1.0, -2.0]], &device);
    let before = model.clone();
    let loss = |model: &Heads, first: &bool| {
        let hidden = model.trunk.forward(x.clone());
        let head = if *first { &model.a } else { &model.b };
        head.forward(hidden).square().mean()
    };
    let domains = DomainBatches::new([("a", true), ("b", false)]).unwrap();
    let expected = GradientsParams::from_grads(loss(&model, &true).backward(), &model);
    let expected = expected
        .get::<2>(model.a.weight.id)
        .unwrap()
        .mul_scalar(0.5);

    let (gradients, _) = Config::erm()
        .init_gradient()
        .unwrap()
        .gradients(&model, &domains, loss)
        .unwrap();
    let seen = gradients.get::<2>(model.a.weight.id).unwrap();
    assert_close(&values(&seen), &values(&expected), 1e-6);

    // Not even weight decay moves what no pass has a gradient for.
    let decaying = SgdConfig::new().with_weight_decay(Some(WeightDecayConfig::new(0.1)));
    for evaluation in EVALUATIONS {
        let mut optim = Config::new()
            .with_evaluation(evaluation)
            .init(decaying.init())
            .unwrap();
        let b = values(&model.b.weight.val());
        let mut in_passes = Vec::new();
        let report = optim
            .step(0.1, &mut model, &domains, |model: &Heads, first: &bool| {
                in_passes.push(values(&model.b.weight.val()));
                loss(model, first)
            })
            .unwrap();
        if evaluation == Evaluation::Own {
            // At the point of the first domain, its head and the mean's shift have moved, the
            // second head by the shift alone.
            assert_eq!(report.points[0].ascent, Some(0));
            let moved: Vec<f32> = in_passes[2]
                .iter()
                .zip(&b)
                .map(|(a, b)| (a - b).abs())
                .collect();
            let shift = 5e-4 * report.mean_gradient_norm.unwrap() as f32;
            assert!(moved.iter().all(|moved| *moved <= shift + 1e-6));
        }
        assert_eq!(
            values(&model.unused.weight.val()),
            values(&before.unused.weight.val())
        );
    }
    assert_ne!(
        values(&model.b.weight.val()),
        values(&before.b.weight.val())
    );
}

/// A weight that two layers share.
#[derive(Module, Debug)]
struct Tied {
    first: Param<Tensor<2>>,
    second: Param<Tensor<2>>,
}

#[test]
fn a_shared_parameter_is_one_parameter() {
    let device = device();
    let x = Tensor::<2>::from_floats([[1.0, -2.0], [0.5, 1.5]], &device);
    let start = [[0.5f32, -0.3], [0.2, 0.8]];
    let weight = Param::from_tensor(Tensor::<2>::from_floats(start, &device));
    let mut tied = Tied {
        first: weight.clone(),
        second: weight,
    };
    /// The same function with one parameter used twice by hand.
    #[derive(Module, Debug)]
    struct Once {
        weight: Param<Tensor<2>>,
    }
    let mut once = Once {
        weight: Param::from_tensor(Tensor::<2>::from_floats(start, &device)),
    };
    let domains = DomainBatches::new([("a", 1.0f32), ("b", -0.5)]).unwrap();
    let config = Config::new().with_rho(0.3).with_gamma(0.05);
    let mut optim = config.init(AdamConfig::new().init()).unwrap();
    let mut other = config.init(AdamConfig::new().init()).unwrap();
    for _ in 0..5 {
        let report = optim
            .step(0.05, &mut tied, &domains, |m: &Tied, y: &f32| {
                let hidden = x.clone().matmul(m.first.val()).tanh();
                (hidden.matmul(m.second.val()) - *y).square().mean()
            })
            .unwrap();
        let expected = other
            .step(0.05, &mut once, &domains, |m: &Once, y: &f32| {
                let hidden = x.clone().matmul(m.weight.val()).tanh();
                (hidden.matmul(m.weight.val()) - *y).square().mean()
            })
            .unwrap();
        assert_eq!(values(&tied.first.val()), values(&tied.second.val()));
        assert_eq!(values(&tied.first.val()), values(&once.weight.val()));
        assert_eq!(report, expected);
    }
}

#[test]
fn clipping_decay_and_groups_apply_to_the_step_alone() {
    let device = device();
    let theta = [0.3f32, -0.8, 1.1];
    let loss = |m: &Point, loss: &Loss| loss.at(m);
    let config = Config::new().with_rho(0.3).with_gamma(0.05);
    let plain = config.init_gradient().unwrap();
    let base = || {
        SgdConfig::new()
            .with_weight_decay(Some(WeightDecayConfig::new(0.1)))
            .with_gradient_clipping(Some(GradientClippingConfig::Norm(0.01)))
            .init()
            .with_group(
                ParamGroup::from_predicate("nothing"),
                burn::optim::LionConfig::new().build(),
                None,
            )
    };
    let mut model = Point::new(&theta, &device);
    let (gradients, expected) = plain.gradients(&model, &domains(&waves()), loss).unwrap();
    let by_hand = base().step(0.1, model.clone(), gradients);
    let mut optim = config.init(base()).unwrap();
    let report = optim
        .step(0.1, &mut model, &domains(&waves()), loss)
        .unwrap();
    assert_eq!(model.values(), by_hand.values());
    assert_eq!(report, expected, "the passes see no clipping and no decay");
}

#[test]
fn groups_of_the_base_optimizer_and_of_the_learning_rate_are_kept() {
    let device = device();
    let mut net = Net::new(&device);
    let before = net.clone();
    let base = SgdConfig::new().init().with_group(
        ParamGroup::from_predicate("second"),
        AdamConfig::new().build(),
        None,
    );
    let config = Config::new().with_rho(0.1);
    let (gradients, _) = config
        .init_gradient()
        .unwrap()
        .gradients(&net.clone().train(), &batches(0, &device), net_loss)
        .unwrap();
    // The first layer learns at a tenth of the rate.
    let rates = || {
        ModuleLrScheduler::new(ConstantLr::new(0.1))
            .with_group(ParamGroup::from_predicate("first"), ConstantLr::new(0.01))
            .step()
    };
    let by_hand = base.clone().step(rates(), net.clone(), gradients);
    let mut optim = config.init(base).unwrap();
    optim
        .step(rates(), &mut net, &batches(0, &device), net_loss)
        .unwrap();
    assert_eq!(
        values(&net.second.weight.val()),
        values(&by_hand.second.weight.val())
    );
    assert_eq!(
        values(&net.first.weight.val()),
        values(&by_hand.first.weight.val())
    );
    // Adam's first step has the length of the learning rate.
    let step = (net.second.weight.val() - before.second.weight.val()).abs();
    assert!((step.max().into_scalar::<f32>() - 0.1).abs() < 1e-3);
}

/// NaN and infinity in the loss, and in the gradient alone, of every pass of every evaluation.
#[test]
fn a_pass_that_is_not_finite_changes_nothing() {
    let device = device();
    for (evaluation, ascent) in EVALUATIONS
        .map(|evaluation| (evaluation, Ascent::Domain))
        .into_iter()
        .chain([(Evaluation::All, Ascent::Pooled)])
    {
        let config = Config::new()
            .with_evaluation(evaluation)
            .with_ascent(ascent)
            .with_report(evaluation != Evaluation::Own);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for quantity in [Quantity::Loss, Quantity::Gradient] {
                inject_everywhere(&config, bad, quantity, &device);
            }
        }
    }
}

fn inject_everywhere(config: &Config, bad: f32, quantity: Quantity, device: &burn::tensor::Device) {
    let mut net = Net::new(device);
    let mut optim = config.init(momentum()).unwrap();
    let warm = optim
        .step(0.1, &mut net, &batches(0, device), net_loss)
        .unwrap();
    let passes = warm.passes.clean + warm.passes.perturbed;
    for injected in 0..passes {
        let (state, optimizer) = (net.state(), optimizer_state(optim.base()));
        let call = Cell::new(0);
        let report = optim
            .step(
                0.1,
                &mut net,
                &batches(1, device),
                |net: &Net, batch: &Batch| {
                    let this = call.replace(call.get() + 1);
                    let loss = net.loss(batch);
                    match (this == injected, quantity) {
                        (false, _) => loss,
                        (true, Quantity::Loss) => loss * bad,
                        // √(w − w) is 0 with an infinite derivative; 0 · ∞ is NaN.
                        (true, _) => {
                            let weight = net.second.weight.val();
                            let zero = (weight.clone() - weight.detach()).sum();
                            let factor = if bad.is_nan() { 0.0 } else { bad.signum() };
                            loss + zero.sqrt().mul_scalar(factor)
                        }
                    }
                },
            )
            .unwrap();
        let Outcome::Skipped(found) = report.outcome.clone() else {
            panic!("pass {injected} of {config:?} went through");
        };
        assert_eq!(
            found.quantity, quantity,
            "{found} ({injected} of {config:?})"
        );
        expect_place(&found, injected, &report);
        assert_eq!(net.state(), state);
        assert_eq!(optimizer_state(optim.base()), optimizer);
    }
    // The step after is as if there had been none.
    assert!(
        !optim
            .step(0.1, &mut net, &batches(1, device), net_loss)
            .unwrap()
            .is_skipped()
    );
}

fn expect_place(found: &NonFinite, injected: usize, report: &roga::optim::StepReport) {
    let names = ["a", "b", "c"];
    if injected < 3 {
        assert_eq!(found.pass, Pass::Clean);
        assert_eq!(found.domain.as_deref(), Some(names[injected]));
        return;
    }
    let passes = report.points.iter().flat_map(|point| {
        point
            .losses
            .iter()
            .map(|(domain, _)| (point.ascent, *domain))
    });
    let (ascent, domain) = passes.clone().nth(injected - 3).unwrap();
    assert_eq!(found.domain.as_deref(), Some(names[domain]));
    let ascent = ascent.map(|ascent| names[ascent].into());
    assert_eq!(found.pass, Pass::Perturbed { ascent });
}

#[test]
fn a_combination_that_is_not_finite_changes_nothing() {
    let device = device();
    let mut net = Net::new(&device);
    let state = net.state();
    let mut optim = Config::new()
        .with_clean_weight(1e30)
        .init(momentum())
        .unwrap();
    let report = optim
        .step(0.1, &mut net, &batches(0, &device), net_loss)
        .unwrap();
    let found = NonFinite {
        domain: None,
        pass: Pass::Combination,
        quantity: Quantity::Gradient,
    };
    assert_eq!(report.outcome, Outcome::Skipped(found));
    assert_eq!(net.state(), state);
}

#[test]
fn the_autodiff_state_of_parameters_is_kept() {
    let device = burn::tensor::Device::flex()
        .autodiff()
        .gradient_checkpointing();
    let mut net = Net::new(&device);
    let strategy = net.first.weight.val().gradient_checkpointing_strategy();
    assert_ne!(
        strategy,
        Net::new(&crate::problems::device())
            .first
            .weight
            .val()
            .gradient_checkpointing_strategy()
    );
    let mut optim = Config::new().init(momentum()).unwrap();
    optim
        .step(
            0.1,
            &mut net,
            &batches(0, &device),
            |net: &Net, batch: &Batch| {
                let weight = net.first.weight.val();
                assert_eq!(weight.gradient_checkpointing_strategy(), strategy);
                assert!(weight.is_require_grad());
                net.loss(batch)
            },
        )
        .unwrap();
    let weight = net.first.weight.val();
    assert_eq!(weight.gradient_checkpointing_strategy(), strategy);
}

#[test]
fn a_model_without_autodiff_is_refused_before_any_pass() {
    let device = device();
    let mut net = Net::new(&device).valid();
    let error = Config::new()
        .init(momentum())
        .unwrap()
        .step(
            0.1,
            &mut net,
            &batches(0, &device),
            |_: &Net, _: &Batch| -> Tensor<1> { unreachable!("no pass is made") },
        )
        .unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error}");
}

#[test]
fn norms_of_half_precision_are_taken_in_single() {
    use burn::tensor::DType;
    let device = device();
    // 300² is beyond what 16 bits hold.
    let theta = Tensor::<1>::from_floats([1.0, 1.0], &device).cast(DType::F16);
    let mut model = Point {
        theta: Param::from_tensor(theta),
    };
    let report = Config::new()
        .with_rho(1.0)
        .with_gamma(0.0)
        .init(SgdConfig::new().init())
        .unwrap()
        .step(
            1e-3,
            &mut model,
            &domains(&waves()[..1]),
            |m: &Point, _: &Loss| m.theta.val().mul_scalar(300.0).sum(),
        )
        .unwrap();
    let norm = 300.0 * std::f64::consts::SQRT_2;
    assert!((report.domains[0].gradient_norm.unwrap() - norm).abs() < 0.1);
    assert!(!report.is_skipped());
    assert_eq!(model.theta.val().dtype(), DType::F16);
    assert_close(&model.values(), &[0.7, 0.7], 1e-3);
}

#[test]
fn an_error_of_the_closure_changes_nothing() {
    let device = device();
    let mut net = Net::new(&device);
    let mut optim = Config::new().init(momentum()).unwrap();
    optim
        .step(0.1, &mut net, &batches(0, &device), net_loss)
        .unwrap();
    for fails in 0..12 {
        let (state, optimizer) = (net.state(), optimizer_state(optim.base()));
        let call = Cell::new(0);
        let error = optim
            .step(
                0.1,
                &mut net,
                &batches(1, &device),
                |net: &Net, batch: &Batch| match call.replace(call.get() + 1) == fails {
                    true => Err("the reader is gone"),
                    false => Ok(net.loss(batch)),
                },
            )
            .unwrap_err();
        assert!(
            matches!(&error, Error::Closure { domain, .. } if ["a", "b", "c"].contains(&domain.as_str()))
        );
        assert_eq!(net.state(), state);
        assert_eq!(optimizer_state(optim.base()), optimizer);
    }
}

#[test]
fn a_panic_of_the_closure_changes_nothing() {
    let device = device();
    let mut net = Net::new(&device);
    let mut optim = Config::new().init(momentum()).unwrap();
    let (state, optimizer) = (net.state(), optimizer_state(optim.base()));
    let call = Cell::new(0);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        optim.step(
            0.1,
            &mut net,
            &batches(1, &device),
            |net: &Net, batch: &Batch| {
                assert!(call.replace(call.get() + 1) < 4, "as intended");
                net.loss(batch)
            },
        )
    }));
    assert!(panicked.is_err());
    assert_eq!(net.state(), state);
    assert_eq!(optimizer_state(optim.base()), optimizer);
}

#[test]
fn a_closure_may_differentiate_by_itself() {
    let device = device();
    let (mut whole, mut parts) = (
        Point::new(&[0.3, -0.8, 1.1], &device),
        Point::new(&[0.3, -0.8, 1.1], &device),
    );
    let rows = Loss::Rows {
        x: vec![vec![1.0, 0.5, -1.0], vec![0.2, -0.7, 0.4]],
        y: vec![0.5, -0.3],
    };
    let halves = |loss: &Loss| -> Vec<Loss> {
        let Loss::Rows { x, y } = loss else {
            unreachable!()
        };
        let row = |i: usize| Loss::Rows {
            x: vec![x[i].clone()],
            y: vec![y[i]],
        };
        vec![row(0), row(1)]
    };
    let config = Config::new().with_rho(0.2).with_gamma(0.05);
    let domains = domains(std::slice::from_ref(&rows));
    let mut one = config.init(momentum()).unwrap();
    let mut two = config.init(momentum()).unwrap();
    for _ in 0..3 {
        one.step(0.1, &mut whole, &domains, |m: &Point, loss: &Loss| {
            loss.at(m)
        })
        .unwrap();
        two.step(0.1, &mut parts, &domains, |m: &Point, loss: &Loss| {
            let mut sum = None;
            let mut gradients = burn::optim::GradientsAccumulator::new();
            for half in halves(loss) {
                let half = half.at(m).div_scalar(2.0);
                gradients.accumulate(m, GradientsParams::from_grads(half.backward(), m));
                sum = Some(match sum {
                    None => half.inner(),
                    Some(sum) => half.inner() + sum,
                });
            }
            (sum.unwrap(), gradients.grads())
        })
        .unwrap();
        assert_close(&parts.values(), &whole.values(), 1e-6);
    }
}

#[test]
fn with_the_report_off_the_update_is_the_same() {
    let device = device();
    for evaluation in EVALUATIONS {
        let run = |report: bool| {
            let mut net = Net::new(&device);
            let config = Config::new()
                .with_evaluation(evaluation)
                .with_report(report);
            let mut optim = config.init(momentum()).unwrap();
            let report = optim
                .step(0.1, &mut net, &batches(0, &device), net_loss)
                .unwrap();
            (net.state(), report)
        };
        let ((on, full), (off, lean)) = (run(true), run(false));
        assert_eq!(on, off);
        assert_eq!(full.domains, lean.domains);
        assert!(full.cosines.is_some() && full.conflicts.is_some());
        assert!(lean.cosines.is_none() && lean.conflicts.is_none());
        assert!(lean.points.iter().all(|point| point.alignment.is_none()));
    }
}

#[test]
fn dropout_draws_the_same_masks_where_a_noise_seed_asks_for_it() {
    // The device's random numbers are one state for all threads of a process.
    const NAME: &str = "rules::dropout_draws_the_same_masks_where_a_noise_seed_asks_for_it";
    if process::part().is_none() {
        return process::run(NAME, "alone", Path::new("."));
    }
    let device = device();
    let mut net = Net::new(&device);
    net.dropout = burn::nn::DropoutConfig::new(0.5).init();
    // ρ so small that a point is θ: any difference is that of the masks.
    let config = Config::new()
        .with_rho(1e-12)
        .with_gamma(0.0)
        .with_evaluation(Evaluation::Own);
    let sharpness = |config: Config| {
        let robust = config.init_gradient().unwrap();
        let (_, report) = robust
            .gradients(&net, &batches(0, &device), net_loss)
            .unwrap();
        report
            .points
            .iter()
            .map(|p| p.sharpness.abs())
            .fold(0.0, f64::max)
    };
    assert!(sharpness(config.clone()) > 1e-4);
    let config = config.with_noise_seed(Some(3));
    assert_eq!(sharpness(config.clone()), 0.0);

    // Other masks in every step and for every domain.
    let robust = config.init_gradient().unwrap();
    let (_, one) = batches(0, &device)
        .iter()
        .next()
        .map(|(n, b)| (n.clone(), b.clone()))
        .unwrap();
    let same = DomainBatches::unnamed([one.clone(), one]).unwrap();
    let mut losses: Vec<u64> = Vec::new();
    for _ in 0..2 {
        let (_, report) = robust.gradients(&net, &same, net_loss).unwrap();
        losses.extend(report.domains.iter().map(|domain| domain.loss.to_bits()));
    }
    losses.sort_unstable();
    losses.dedup();
    assert_eq!(losses.len(), 4);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |config: Config| {
        config
            .init(SgdConfig::new().init())
            .unwrap_err()
            .to_string()
    };
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -1e-30] {
        let rule = format!("must be finite and at least 0, but is {bad}");
        assert_eq!(refused(Config::new().with_rho(bad)), format!("rho {rule}"));
        assert_eq!(
            refused(Config::new().with_gamma(bad)),
            format!("gamma {rule}")
        );
        assert_eq!(
            refused(Config::new().with_clean_weight(bad)),
            format!("clean_weight {rule}")
        );
        assert_eq!(
            refused(Config::new().with_perturbed_weight(bad)),
            format!("perturbed_weight {rule}")
        );
        let weights = Config::new().with_domain_weights(Some(vec![1.0, bad]));
        assert!(refused(weights).starts_with("domain_weights must be finite"));
    }
    let nothing = Config::erm().with_clean_weight(0.0);
    assert_eq!(
        refused(nothing),
        "perturbed_weight must be above 0 where clean_weight is 0, but is 0"
    );
    for weights in [vec![], vec![0.0, 0.0], vec![f64::MAX, f64::MAX]] {
        assert!(
            refused(Config::new().with_domain_weights(Some(weights))).starts_with("domain_weights")
        );
    }
}

#[test]
fn domains_and_losses_that_cannot_work_are_refused() {
    let device = device();
    let mut model = Point::new(&[0.3, -0.8, 1.1], &device);
    let before = model.values();
    let mut step = |config: Config, losses: &[Loss]| {
        config
            .init(SgdConfig::new().init())
            .unwrap()
            .step(
                0.1,
                &mut model,
                &domains(losses),
                |m: &Point, loss: &Loss| loss.at(m),
            )
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let one = &waves()[..1];
    assert_eq!(
        step(Config::new().with_evaluation(Evaluation::Others), one).unwrap_err(),
        "domains must be at least two with a weight above 0, but evaluation `others` was given 1"
    );
    let derangement = Config::new()
        .with_evaluation(Evaluation::Sampled)
        .with_draw(Draw::Derangement);
    assert!(step(derangement, one).is_err());
    assert_eq!(
        step(Config::new().with_domain_weights(Some(vec![1.0])), &waves()).unwrap_err(),
        "domain_weights must be one for each domain, but is 1 for 3 domains"
    );
    assert!(DomainBatches::<Loss>::unnamed([]).is_err());

    let mut optim = Config::new().init(SgdConfig::new().init()).unwrap();
    let domains = domains(&waves());
    let error = |result: Result<_, Error>| result.map(drop).unwrap_err().to_string();
    let rows = optim.step(0.1, &mut model, &domains, |m: &Point, _: &Loss| {
        m.theta.val()
    });
    assert_eq!(
        error(rows),
        "the loss of domain `domain 0` must be one number, a tensor of shape [1], but its shape is [3]"
    );
    let outer = model.clone();
    let captured = optim.step(0.1, &mut model, &domains, |_: &Point, loss: &Loss| {
        loss.at(&outer)
    });
    assert!(error(captured).contains("must depend on the trainable parameters"));
    let detached = optim.step(0.1, &mut model, &domains, |m: &Point, loss: &Loss| {
        loss.at(m).detach()
    });
    assert!(error(detached).contains("must depend on the trainable parameters"));
    let rate = optim.step(f64::NAN, &mut model, &domains, |m: &Point, loss: &Loss| {
        loss.at(m)
    });
    assert_eq!(error(rate), "lr must be finite, but is NaN");
    let mut frozen = model.clone().no_grad();
    let frozen = optim.step(0.1, &mut frozen, &domains, |m: &Point, loss: &Loss| {
        loss.at(m)
    });
    assert_eq!(
        error(frozen),
        "the model must have a trainable parameter on a device with autodiff, but all of them are frozen, or on a device without autodiff, or there is none"
    );
    assert_eq!(model.values(), before);
}

#[test]
fn huge_and_tiny_radii_have_a_defined_result() {
    let device = device();
    for rho in [0.0, 1e-300, 1e-30, 1e30, 1e300] {
        let mut net = Net::new(&device);
        let before = net.state();
        let mut optim = Config::new().with_rho(rho).init(momentum()).unwrap();
        let report = optim
            .step(0.1, &mut net, &batches(0, &device), net_loss)
            .unwrap();
        assert_eq!(report.is_skipped(), net.state() == before, "rho {rho}");
        assert!(
            net.state()
                .iter()
                .all(|bits| f32::from_bits(*bits).is_finite())
        );
    }
}

#[test]
fn many_domains_and_batches_of_any_size() {
    let device = device();
    let mut model = Point::new(&[0.3, -0.8, 1.1], &device);
    let losses: Vec<Loss> = (0..80).map(|i| waves()[i % 3].clone()).collect();
    let report = Config::new()
        .with_evaluation(Evaluation::Sampled)
        .init(SgdConfig::new().init())
        .unwrap()
        .step(
            0.1,
            &mut model,
            &domains(&losses),
            |m: &Point, loss: &Loss| loss.at(m),
        )
        .unwrap();
    assert_eq!((report.passes.clean, report.passes.perturbed), (80, 80));
    assert!(model.values().iter().all(|v| v.is_finite()));
}
