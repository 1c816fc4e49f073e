//! Every identity of the method, over random parameters, radii and shifts where it ranges over
//! them.

use std::cell::Cell;

use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    module::{Module, ModuleVisitor, Param},
    optim::{
        AdamConfig, AdamWConfig, GradientsParams, LionConfig, ModuleOptimizer, SgdConfig,
        momentum::MomentumConfig,
    },
    tensor::Tensor,
};
use proptest::prelude::*;
use roga::{
    domain::DomainBatches,
    optim::{Ascent, Draw, Evaluation, RobustGradientAlignmentConfig as Config},
};

use crate::problems::{
    Batch, Loss, Net, Point, assert_close, batches, device, domains, gradient_of, net_loss,
    perturbed, values, waves,
};

fn bowls() -> Vec<Loss> {
    vec![
        Loss::Bowl {
            a: vec![1.0, 2.0, 0.5],
            c: vec![0.3, -1.0, 2.0],
        },
        Loss::Rows {
            x: vec![vec![1.0, 0.5, -1.0], vec![0.2, -0.7, 0.4]],
            y: vec![0.5, -0.3],
        },
        Loss::Bowl {
            a: vec![0.1, 1.0, 3.0],
            c: vec![-1.0, 1.0, 0.0],
        },
    ]
}

fn theta() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-2.0f32..2.0, 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_domain_makes_all_evaluations_one(
        theta in theta(), rho in 0.0..0.5f64, gamma in 0.0..0.2f64
    ) {
        let one = &waves()[..1];
        let sagm = gradient_of(&Config::sagm(rho, gamma), &theta, one);
        for evaluation in [
            Evaluation::All, Evaluation::Own, Evaluation::Consensus, Evaluation::Sampled,
        ] {
            let config = Config::new().with_rho(rho).with_gamma(gamma);
            let g = gradient_of(&config.with_evaluation(evaluation), &theta, one);
            assert_close(&g, &sagm, 1e-6);
        }
        let sam = gradient_of(&Config::sam(rho), &theta, one);
        let own = gradient_of(&perturbed(Evaluation::Own, rho, 0.0), &theta, one);
        assert_close(&own, &sam, 1e-6);
    }

    #[test]
    fn identical_domains_are_one(
        theta in theta(), rho in 0.0..0.5f64, gamma in 0.0..0.2f64
    ) {
        let one = waves()[0].clone();
        let three = vec![one.clone(); 3];
        for evaluation in [
            Evaluation::All, Evaluation::Own, Evaluation::Consensus, Evaluation::Sampled,
        ] {
            let config = Config::new().with_rho(rho).with_gamma(gamma).with_evaluation(evaluation);
            let alone = gradient_of(&config, &theta, std::slice::from_ref(&one));
            assert_close(&gradient_of(&config, &theta, &three), &alone, 2e-6);
        }
    }

    #[test]
    fn quadratics_make_all_and_consensus_one(
        theta in theta(), rho in 0.0..0.5f64, gamma in 0.0..0.2f64
    ) {
        let all = gradient_of(&perturbed(Evaluation::All, rho, gamma), &theta, &bowls());
        let consensus = perturbed(Evaluation::Consensus, rho, gamma);
        assert_close(&gradient_of(&consensus, &theta, &bowls()), &all, 1e-5);
    }

    #[test]
    fn all_is_made_of_own_and_others(
        theta in theta(), rho in 0.0..0.5f64, gamma in 0.0..0.2f64
    ) {
        let p = |evaluation| gradient_of(&perturbed(evaluation, rho, gamma), &theta, &waves());
        let (all, own, others) = (p(Evaluation::All), p(Evaluation::Own), p(Evaluation::Others));
        let sum: Vec<f32> = own.iter().zip(&others).map(|(a, b)| a / 3.0 + b * 2.0 / 3.0).collect();
        assert_close(&all, &sum, 2e-6);
    }

    #[test]
    fn domains_permuted_change_nothing(
        theta in theta(), rho in 0.0..0.5f64, gamma in 0.0..0.2f64
    ) {
        let losses = waves();
        let turned = [losses[2].clone(), losses[0].clone(), losses[1].clone()];
        for evaluation in [
            Evaluation::All, Evaluation::Own, Evaluation::Others, Evaluation::Consensus,
        ] {
            let config = Config::new().with_rho(rho).with_gamma(gamma).with_evaluation(evaluation);
            let config_turned = config.clone().with_domain_weights(Some(vec![3.0, 1.0, 2.0]));
            let config = config.with_domain_weights(Some(vec![1.0, 2.0, 3.0]));
            assert_close(
                &gradient_of(&config, &theta, &losses),
                &gradient_of(&config_turned, &theta, &turned),
                2e-6,
            );
        }
    }

    #[test]
    fn losses_scale_through(
        theta in theta(), rho in 0.0..0.5f64, gamma in 0.0..0.2f64, c in 0.05f32..20.0
    ) {
        let scaled: Vec<Loss> = waves().into_iter().map(|loss| match loss {
            Loss::Waves { s, f, p } => Loss::Waves { s: s * c, f, p },
            other => other,
        }).collect();
        for evaluation in [Evaluation::All, Evaluation::Own, Evaluation::Consensus] {
            let config = perturbed(evaluation, rho, gamma);
            let p: Vec<f32> = gradient_of(&config, &theta, &waves()).iter().map(|p| p * c).collect();
            let config = config.with_gamma(gamma / c as f64);
            assert_close(&gradient_of(&config, &theta, &scaled), &p, 4e-6 * c.max(1.0));
        }
    }

    #[test]
    fn turning_the_parameters_turns_the_gradient(
        theta in theta(), rho in 0.0..0.5f64, gamma in 0.0..0.2f64, angle in 0.0f32..6.3
    ) {
        // θ = Qφ, rows x become Qᵀx: ∇_φ = Qᵀ ∇_θ.
        let (sin, cos) = angle.sin_cos();
        let turn = |v: &[f32]| vec![cos * v[0] + sin * v[1], cos * v[1] - sin * v[0], v[2]];
        let rows: [(Vec<f32>, f32); 2] = [(vec![1.0, 0.5, -1.0], 0.5), (vec![-0.3, 1.2, 0.4], -1.0)];
        let losses = |map: &dyn Fn(&[f32]) -> Vec<f32>| -> Vec<Loss> {
            rows.iter().map(|(x, y)| Loss::Rows { x: vec![map(x)], y: vec![*y] }).collect()
        };
        for evaluation in [Evaluation::All, Evaluation::Own, Evaluation::Others] {
            let config = Config::new().with_rho(rho).with_gamma(gamma).with_evaluation(evaluation);
            let g = gradient_of(&config, &theta, &losses(&|x| x.to_vec()));
            let turned = gradient_of(&config, &turn(&theta), &losses(&turn));
            assert_close(&turned, &turn(&g), 3e-5);
        }
    }

    #[test]
    fn a_domain_without_a_gradient_is_finite(
        theta in theta(), rho in 0.0..0.5f64, gamma in 0.0..0.2f64
    ) {
        let flat = Loss::Bowl { a: vec![0.0; 3], c: vec![0.0; 3] };
        let losses = [waves()[0].clone(), flat];
        for evaluation in [
            Evaluation::All, Evaluation::Own, Evaluation::Others, Evaluation::Consensus,
            Evaluation::Sampled,
        ] {
            let config = Config::new().with_rho(rho).with_gamma(gamma).with_evaluation(evaluation);
            prop_assert!(gradient_of(&config, &theta, &losses).iter().all(|g| g.is_finite()));
        }
    }
}

#[test]
fn without_ascent_and_shift_it_is_a_multiple_of_the_mean() {
    let theta = [0.3, -0.8, 1.1];
    let erm = gradient_of(&Config::erm(), &theta, &waves());
    let config = Config::new().with_rho(0.0).with_gamma(0.0);
    assert_eq!(gradient_of(&config, &theta, &waves()), erm);
    let config = config.with_clean_weight(1.0).with_perturbed_weight(1.0);
    let twice: Vec<f32> = erm.iter().map(|g| 2.0 * g).collect();
    assert_close(&gradient_of(&config, &theta, &waves()), &twice, 1e-6);
}

#[test]
fn without_shift_own_is_sam_by_domain() {
    let theta = [0.3, -0.8, 1.1];
    let losses = waves();
    let mean = losses.iter().fold(vec![0.0; 3], |mean, loss| {
        let sam = gradient_of(&Config::sam(0.2), &theta, std::slice::from_ref(loss));
        mean.iter().zip(sam).map(|(m, g)| m + g / 3.0).collect()
    });
    let own = gradient_of(&perturbed(Evaluation::Own, 0.2, 0.0), &theta, &losses);
    assert_close(&own, &mean, 1e-6);
    assert_eq!(own, gradient_of(&Config::domain_sam(0.2), &theta, &losses));
}

#[test]
fn without_ascent_it_looks_ahead() {
    let theta = [0.3f32, -0.8, 1.1];
    let mean = gradient_of(&Config::erm(), &theta, &waves());
    let ahead: Vec<f32> = theta.iter().zip(&mean).map(|(t, g)| t - 0.1 * g).collect();
    let there = gradient_of(&Config::erm(), &ahead, &waves());
    let expected: Vec<f32> = mean
        .iter()
        .zip(there)
        .map(|(a, b)| 0.5 * a + 0.5 * b)
        .collect();
    for evaluation in [Evaluation::All, Evaluation::Own, Evaluation::Consensus] {
        let config = Config::look_ahead(0.1).with_evaluation(evaluation);
        assert_close(&gradient_of(&config, &theta, &waves()), &expected, 1e-6);
    }
}

/// The gradient of one step of `sampled` with a given π, found by the points that it visits.
#[test]
fn the_mean_of_sampled_over_all_maps_is_all() {
    let theta = [0.3f32, -0.8, 1.1];
    for weights in [vec![1.0, 1.0, 1.0], vec![1.0, 2.0, 4.0]] {
        let config = |evaluation| {
            perturbed(evaluation, 0.3, 0.05).with_domain_weights(Some(weights.clone()))
        };
        let all = gradient_of(&config(Evaluation::All), &theta, &waves());
        for (draw, maps) in [(Draw::Independent, 27), (Draw::Permutation, 6)] {
            let seen =
                sampled_gradients(&config(Evaluation::Sampled).with_draw(draw), &theta, maps);
            let mean: Vec<f32> = (0..3)
                .map(|k| seen.iter().map(|g| g[k]).sum::<f32>() / maps as f32)
                .collect();
            assert_close(&mean, &all, 2e-6);
        }
    }
    // Derangements of three are the two rotations; their mean is `others`.
    for weights in [vec![1.0, 1.0, 1.0], vec![1.0, 2.0, 4.0]] {
        let config = |evaluation| {
            perturbed(evaluation, 0.3, 0.05).with_domain_weights(Some(weights.clone()))
        };
        let sampled = config(Evaluation::Sampled).with_draw(Draw::Derangement);
        let seen = sampled_gradients(&sampled, &theta, 2);
        let mean: Vec<f32> = (0..3).map(|k| (seen[0][k] + seen[1][k]) / 2.0).collect();
        let others = gradient_of(&config(Evaluation::Others), &theta, &waves());
        assert_close(&mean, &others, 2e-6);
    }
}

#[test]
fn a_domain_of_weight_zero_is_as_if_it_were_not_there() {
    let theta = [0.3f32, -0.8, 1.1];
    for evaluation in [
        Evaluation::All,
        Evaluation::Own,
        Evaluation::Others,
        Evaluation::Consensus,
    ] {
        let config = perturbed(evaluation, 0.3, 0.05);
        let with = config
            .clone()
            .with_domain_weights(Some(vec![1.0, 0.0, 2.0]));
        let without = config.with_domain_weights(Some(vec![1.0, 2.0]));
        let two = [waves()[0].clone(), waves()[2].clone()];
        assert_close(
            &gradient_of(&with, &theta, &waves()),
            &gradient_of(&without, &theta, &two),
            1e-6,
        );
    }
    let all = perturbed(Evaluation::All, 0.3, 0.05).with_domain_weights(Some(vec![1.0, 0.0, 2.0]));
    let all = gradient_of(&all, &theta, &waves());
    let sampled =
        perturbed(Evaluation::Sampled, 0.3, 0.05).with_domain_weights(Some(vec![1.0, 0.0, 2.0]));
    let seen = sampled_gradients(&sampled, &theta, 2);
    let mean: Vec<f32> = (0..3).map(|k| (seen[0][k] + seen[1][k]) / 2.0).collect();
    assert_close(&mean, &all, 2e-6);
}

/// One gradient for each of the maps that the draws of many steps go through.
fn sampled_gradients(config: &Config, theta: &[f32], maps: usize) -> Vec<Vec<f32>> {
    let model = Point::new(theta, &device());
    let robust = config.init_gradient().unwrap();
    let mut seen: Vec<(Vec<Vec<usize>>, Vec<f32>)> = Vec::new();
    for _ in 0..1000 {
        let (gradients, report) = robust
            .gradients(&model, &domains(&waves()), |m, loss: &Loss| loss.at(m))
            .unwrap();
        let map: Vec<Vec<usize>> = report
            .points
            .iter()
            .map(|p| p.losses.iter().map(|(domain, _)| *domain).collect())
            .collect();
        if seen.iter().all(|(known, _)| *known != map) {
            let g = values(&gradients.get::<1>(model.theta.id).unwrap());
            seen.push((map, g));
        }
    }
    assert_eq!(seen.len(), maps, "not every map was drawn");
    seen.into_iter().map(|(_, g)| g).collect()
}

/// G = (w₀+w₁) ḡ + w₁ (ρ mean H̄ û_i − γ H̄ ḡ) + O((ρ, γ)²): halved, the error falls by four.
#[test]
fn the_error_of_the_linear_formula_is_of_second_order() {
    let theta = [0.3f32, -0.8, 1.1];
    let error = |rho: f64, gamma: f64| {
        let linear = linear_formula(&theta, rho, gamma);
        let g = gradient_of(&perturbed(Evaluation::Own, rho, gamma), &theta, &waves());
        let squares = g.iter().zip(&linear).map(|(a, b)| (*a as f64 - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let ratio = error(0.2, 0.1) / error(0.1, 0.05);
    assert!((3.5..4.5).contains(&ratio), "the error fell by {ratio}");
}

/// The linear formula of `own` in 64 bits: the waves' gradients and Hessians are known.
fn linear_formula(theta: &[f32], rho: f64, gamma: f64) -> Vec<f64> {
    let parts: Vec<(Vec<f64>, Vec<f64>)> = waves()
        .into_iter()
        .map(|loss| {
            let Loss::Waves { s, f, p } = loss else {
                unreachable!()
            };
            (0..3)
                .map(|k| {
                    let (s, f) = (s as f64, f[k] as f64);
                    let (sin, cos) = (f * theta[k] as f64 + p[k] as f64).sin_cos();
                    (s * f * cos, -s * f * f * sin)
                })
                .unzip()
        })
        .collect();
    let mean = |k: usize| parts.iter().map(|(g, _)| g[k]).sum::<f64>() / 3.0;
    (0..3)
        .map(|k| {
            let moved = parts.iter().map(|(g, h)| {
                let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
                g[k] + h[k] * (rho * g[k] / norm - gamma * mean(k))
            });
            moved.sum::<f64>() / 3.0
        })
        .collect()
}

fn bases() -> Vec<(f64, ModuleOptimizer)> {
    vec![
        (
            0.1,
            SgdConfig::new()
                .with_momentum(Some(MomentumConfig::new()))
                .init(),
        ),
        (1e-2, AdamConfig::new().init()),
        (1e-2, AdamWConfig::new().init()),
        (1e-3, LionConfig::new().init()),
    ]
}

/// Gradients times a number, with nothing but burn.
fn scaled(net: &Net, gradients: GradientsParams, factor: f64) -> GradientsParams {
    struct Scale(GradientsParams, f64);

    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, gradient.mul_scalar(self.1));
            }
        }
    }

    let mut scale = Scale(gradients, factor);
    net.visit(&mut scale);
    scale.0
}

#[test]
fn without_ascent_and_shift_it_is_the_base_optimizer_bit_for_bit() {
    let device = device();
    for (lr, base) in bases() {
        let mut optim = Config::new()
            .with_rho(0.0)
            .with_gamma(0.0)
            .init(base.clone())
            .unwrap();
        // One domain: an ordinary loop. Several: gradients added up by an ordinary loop.
        for domains in [1, 3] {
            let (mut ours, mut theirs) = (Net::new(&device), Net::new(&device));
            let mut base = base.clone();
            theirs = ours.clone().train().load_record(theirs.into_record());
            let mut optim = optim.clone();
            for step in 0..10 {
                let all: Vec<(_, Batch)> = batches(step, &device)
                    .iter()
                    .take(domains)
                    .map(|(name, batch)| (name.clone(), batch.clone()))
                    .collect();
                let report = optim
                    .step(
                        lr,
                        &mut ours,
                        &DomainBatches::new(all.clone()).unwrap(),
                        net_loss,
                    )
                    .unwrap();
                assert_eq!((report.passes.clean, report.passes.perturbed), (domains, 0));

                let grads: Vec<GradientsParams> = all
                    .iter()
                    .map(|(_, batch)| {
                        GradientsParams::from_grads(theirs.loss(batch).backward(), &theirs)
                    })
                    .collect();
                let mut accumulator = burn::optim::GradientsAccumulator::new();
                for gradients in grads {
                    accumulator.accumulate(&theirs, gradients);
                }
                let summed = accumulator.grads();
                let mean = match domains {
                    1 => summed,
                    k => scaled(&theirs, summed, 1.0 / k as f64),
                };
                theirs = base.step(lr, theirs, mean);
                assert_eq!(ours.state(), theirs.state(), "step {step}");
            }
        }
        // The wrapper itself has not been touched by the clones.
        let mut net = Net::new(&device);
        optim
            .step(lr, &mut net, &batches(0, &device), net_loss)
            .unwrap();
    }
}

#[test]
fn a_learning_rate_of_zero_leaves_the_parameters_and_takes_the_clean_statistics() {
    let device = device();
    for evaluation in [
        Evaluation::All,
        Evaluation::Own,
        Evaluation::Others,
        Evaluation::Sampled,
        Evaluation::Consensus,
    ] {
        let mut net = Net::new(&device);
        let expected = net.clone().train();
        for (_, batch) in batches(0, &device).iter() {
            expected.loss(batch);
        }
        Config::new()
            .with_evaluation(evaluation)
            .init(SgdConfig::new().init())
            .unwrap()
            .step(
                ModuleLearningRate::from(0.0),
                &mut net,
                &batches(0, &device),
                net_loss,
            )
            .unwrap();
        assert_eq!(net.state(), expected.state());
        assert_ne!(
            net.state(),
            Net::new(&device).state(),
            "no statistics were taken"
        );
    }
}

#[test]
fn every_setting_changes_the_update() {
    let theta = [0.3, -0.8, 1.1];
    let base = Config::new()
        .with_rho(0.3)
        .with_gamma(0.05)
        .with_evaluation(Evaluation::Sampled)
        .with_draw(Draw::Independent)
        // A map that is no permutation: with a pooled ascent that would be SAGM.
        .with_seed(3);
    let mut settings = vec![
        ("base", base.clone()),
        ("rho", base.clone().with_rho(0.2)),
        ("gamma", base.clone().with_gamma(0.1)),
        ("ascent", base.clone().with_ascent(Ascent::Pooled)),
        ("clean_weight", base.clone().with_clean_weight(0.6)),
        ("perturbed_weight", base.clone().with_perturbed_weight(0.6)),
        (
            "domain_weights",
            base.clone().with_domain_weights(Some(vec![1.0, 2.0, 3.0])),
        ),
    ];
    for evaluation in [
        Evaluation::All,
        Evaluation::Own,
        Evaluation::Others,
        Evaluation::Consensus,
    ] {
        settings.push(("evaluation", base.clone().with_evaluation(evaluation)));
    }
    settings.push(("erm", Config::erm()));
    settings.push(("sam", Config::sam(0.3)));
    settings.push(("sagm", Config::sagm(0.3, 0.05)));
    settings.push(("domain_sam", Config::domain_sam(0.3)));
    settings.push(("look_ahead", Config::look_ahead(0.05)));
    let updates: Vec<_> = settings
        .iter()
        .map(|(name, config)| (name, gradient_of(config, &theta, &waves())))
        .collect();
    for (i, (name, update)) in updates.iter().enumerate() {
        for (other, other_update) in &updates[..i] {
            assert_ne!(update, other_update, "{name} and {other}");
        }
    }
}

/// The seed and the kind of draw show over several steps: single maps may coincide.
#[test]
fn draws_differ_between_steps_seeds_and_kinds() {
    let theta = [0.3, -0.8, 1.1];
    let trace = |config: Config| -> Vec<Vec<f32>> {
        let model = Point::new(&theta, &device());
        let robust = config.init_gradient().unwrap();
        (0..8)
            .map(|_| {
                let (gradients, _) = robust
                    .gradients(&model, &domains(&waves()), |m, loss: &Loss| loss.at(m))
                    .unwrap();
                values(&gradients.get::<1>(model.theta.id).unwrap())
            })
            .collect()
    };
    let config = perturbed(Evaluation::Sampled, 0.3, 0.05);
    let first = trace(config.clone());
    assert_eq!(first, trace(config.clone()), "the same seed draws the same");
    assert!(first.iter().any(|g| *g != first[0]), "steps differ");
    assert_ne!(first, trace(config.clone().with_seed(7)));
    assert_ne!(first, trace(config.clone().with_draw(Draw::Independent)));
    assert_ne!(first, trace(config.with_draw(Draw::Derangement)));
}

#[test]
fn the_step_is_as_the_gradient_and_the_base_optimizer() {
    let device = device();
    let config = Config::new().with_evaluation(Evaluation::Sampled);
    let (mut ours, mut theirs) = (Net::new(&device), Net::new(&device));
    theirs = ours.clone().train().load_record(theirs.into_record());
    let mut optim = config.init(AdamConfig::new().init()).unwrap();
    let (robust, mut base) = (config.init_gradient().unwrap(), AdamConfig::new().init());
    let calls = Cell::new(0);
    for step in 0..5 {
        let domains = batches(step, &device);
        let report = optim.step(1e-2, &mut ours, &domains, net_loss).unwrap();
        let (gradients, alone) = robust
            .gradients(&theirs, &domains, |net: &Net, batch: &Batch| {
                calls.set(calls.get() + 1);
                net.loss(batch)
            })
            .unwrap();
        theirs = base.step(1e-2, theirs, gradients);
        assert_eq!(report, alone);
        assert_eq!(ours.state(), theirs.state());
    }
    assert_eq!(
        calls.get(),
        5 * 6,
        "two passes over three mini-batches a step"
    );
}
