//! What is carried from step to step as gradients: the running mean of Friendly-SAM and the
//! direction of LookSAM.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use burn::{
    module::{Module, Param},
    optim::SgdConfig,
    tensor::Tensor,
};
use roga::{
    aggregation::Disam,
    alignment::AlignmentConfig,
    domain::DomainBatches,
    optim::{
        Aggregated, AggregationConfig, Ascent, FriendlyAscent, RobustGradient,
        RobustGradientAlignment, RobustGradientAlignmentConfig as Config, Schedule,
    },
    perturbation::Adaptive,
};

use crate::problems::{
    Batch, EVALUATIONS, Loss, Net, Point, assert_close, batches, device, domains, momentum,
    net_loss, optimizer_state, values, waves,
};

const THETA: [f32; 3] = [0.3, -0.8, 1.1];
const LR: f64 = 0.05;

fn friendly(sigma: f64, lambda: f64) -> Option<FriendlyAscent> {
    Some(FriendlyAscent::new().with_sigma(sigma).with_lambda(lambda))
}

/// Both settings at once, every other step perturbed.
fn both() -> Config {
    Config::look_sam(0.2, 2, 0.7).with_friendly(friendly(0.8, 0.6))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// $a + c\, b$.
fn plus(a: &[f64], c: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + c * b).collect()
}

fn narrow(a: &[f64]) -> Vec<f32> {
    a.iter().map(|a| *a as f32).collect()
}

/// $p - \langle p, \hat g \rangle\, \hat g$, of length 1.
fn orthogonal(p: &[f64], g: &[f64]) -> Vec<f64> {
    let v = plus(p, -dot(p, g) / dot(g, g), g);
    v.iter().map(|entry| entry / norm(&v)).collect()
}

/// $\bar g$ of the waves.
fn mean_gradient(theta: &[f64]) -> Vec<f64> {
    let gradients = waves().into_iter().map(|loss| loss.gradient(theta));
    let sum = gradients.reduce(|sum, gradient| plus(&sum, 1.0, &gradient));
    sum.unwrap().into_iter().map(|sum| sum / 3.0).collect()
}

/// $\theta$ after every step of plain gradient descent on the waves, from the formulas, in 64 bits.
fn formula(config: &Config, steps: u64) -> Vec<Vec<f32>> {
    let mut theta = THETA.map(f64::from).to_vec();
    let (mut running, mut direction): (Option<Vec<f64>>, Option<Vec<f64>>) = (None, None);
    let (w0, w1) = (config.clean_weight, config.perturbed_weight);
    let mut trajectory = Vec::new();
    for step in 0..steps {
        let g = mean_gradient(&theta);
        let since = step.checked_sub(config.warmup_steps);
        let p = if since.is_some_and(|since| since % config.interval == 0) {
            let d = match (&config.friendly, &running) {
                (Some(friendly), Some(m)) => plus(&g, -friendly.sigma, m),
                _ => g.clone(),
            };
            let t = theta.iter().map(|theta| match config.adaptive {
                Adaptive::All => theta.abs(),
                _ => 1.0,
            });
            let t: Vec<f64> = t.collect();
            let scaled: Vec<f64> = d.iter().zip(&t).map(|(d, t)| d * t).collect();
            let way = scaled.iter().zip(&t).map(|(d, t)| d * t / norm(&scaled));
            let point = plus(&theta, config.rho, &way.collect::<Vec<_>>());
            let p = mean_gradient(&plus(&point, -config.gamma, &g));
            direction = Some(orthogonal(&p, &g));
            p
        } else {
            let reuse = config.reuse_weight.unwrap_or(0.0) * norm(&g);
            let direction = direction.clone().unwrap_or(vec![0.0; 3]);
            plus(&g, reuse, &direction)
        };
        let step = plus(&g.iter().map(|g| w0 * g).collect::<Vec<_>>(), w1, &p);
        theta = plus(&theta, -LR, &step);
        if let Some(FriendlyAscent { lambda, .. }) = config.friendly {
            let before = running.unwrap_or(g.clone());
            let kept: Vec<f64> = before.iter().map(|m| lambda * m).collect();
            running = Some(plus(&kept, 1.0 - lambda, &g));
        }
        trajectory.push(narrow(&theta));
    }
    trajectory
}

#[test]
fn steps_are_those_of_the_formulas() {
    let friendly_sagm = Config::sagm(0.3, 0.05).with_friendly(friendly(1.0, 0.5));
    for config in [
        Config::friendly_sam(0.3, 1.0, 0.9),
        Config::friendly_sam(0.3, 0.5, 0.8),
        Config::friendly_sam(0.3, 1.0, 0.0),
        // The mean is moved in plain steps as well.
        Config::friendly_sam(0.2, 2.0, 0.6)
            .with_warmup_steps(2)
            .with_interval(2),
        Config::friendly_sam(0.5, 1.0, 0.9).with_adaptive(Adaptive::All),
        friendly_sagm,
        Config::look_sam(0.3, 2, 0.7),
        Config::look_sam(0.3, 5, 0.7),
        Config::look_sam(0.3, 3, 2.5).with_warmup_steps(2),
        Config::look_sam(0.5, 3, 0.7).with_adaptive(Adaptive::All),
        Config::look_sam(0.3, 3, 0.7)
            .with_gamma(0.1)
            .with_clean_weight(0.3)
            .with_perturbed_weight(0.9),
        both(),
    ] {
        let mut model = Point::new(&THETA, &device());
        let mut optim = config.init(SgdConfig::new().init()).unwrap();
        for expected in formula(&config, 9) {
            let report = optim.step(LR, &mut model, &domains(&waves()), |model, loss: &Loss| {
                loss.at(model)
            });
            assert!(!report.unwrap().is_skipped());
            assert_close(&model.values(), &expected, 2e-6);
        }
    }
}

/// The nets after some steps with batch normalisation and momentum, bit for bit.
fn trained(config: &Config) -> Vec<Vec<u32>> {
    let device = device();
    let mut net = Net::new(&device);
    let mut optim = config.init(momentum()).unwrap();
    let step = |step| {
        let domains = batches(step, &device);
        let report = optim.step(LR, &mut net, &domains, net_loss).unwrap();
        assert!(!report.is_skipped());
        net.state()
    };
    (0..6).map(step).collect()
}

#[test]
fn settings_that_say_nothing_are_sam_bit_for_bit() {
    let sam = trained(&Config::sam(0.2));
    assert_eq!(trained(&Config::friendly_sam(0.2, 0.0, 0.9)), sam);
    assert_eq!(trained(&Config::look_sam(0.2, 1, 0.7)), sam);
    let every_third = trained(&Config::sam(0.2).with_interval(3));
    assert_eq!(trained(&Config::look_sam(0.2, 3, 0.0)), every_third);
    // Those that say something are not, from the second step on: the first is SAM's.
    let friendly = trained(&Config::friendly_sam(0.2, 1.0, 0.9));
    assert_eq!(friendly[0], sam[0]);
    let look = trained(&Config::look_sam(0.2, 3, 0.7));
    assert_eq!(look[0], every_third[0]);
    for step in 1..6 {
        assert_ne!(friendly[step], sam[step]);
        assert_ne!(look[step], every_third[step]);
    }
    // What is reported has no say.
    let off = both().with_report(false);
    assert_eq!(trained(&off), trained(&both()));
}

#[test]
fn steps_between_perturbed_ones_cost_what_plain_ones_do() {
    let config = Config::look_sam(0.2, 5, 0.7);
    assert_eq!(config.passes(100, 3).unwrap(), 120.0);
    let mut model = Point::new(&THETA, &device());
    let mut optim = config.init(SgdConfig::new().init()).unwrap();
    for step in 0..10 {
        let report = optim.step(LR, &mut model, &domains(&waves()), |model, loss: &Loss| {
            loss.at(model)
        });
        let perturbed = if step % 5 == 0 { 3 } else { 0 };
        assert_eq!(report.unwrap().passes.perturbed, perturbed);
    }
}

/// What can go wrong in a pass.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    NotFinite,
    Error,
    Panic,
}

/// A step in which the given call of the closure goes wrong.
fn bad_step(
    optim: &mut RobustGradientAlignment,
    net: &mut Net,
    step: usize,
    (call, trouble): (usize, Trouble),
) {
    let calls = Cell::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let domains = batches(step, &device());
        optim.step(LR, net, &domains, |net: &Net, batch: &Batch| {
            let loss = net.loss(batch);
            match (calls.replace(calls.get() + 1) == call, trouble) {
                (false, _) => Ok(loss),
                (true, Trouble::NotFinite) => Ok(loss * f32::NAN),
                (true, Trouble::Error) => Err("the reader is gone"),
                (true, Trouble::Panic) => panic!("as intended"),
            }
        })
    }));
    match (trouble, result) {
        (Trouble::NotFinite, Ok(Ok(report))) => assert!(report.is_skipped()),
        (Trouble::Error, Ok(Err(_))) | (Trouble::Panic, Err(_)) => {}
        (_, result) => panic!("{trouble:?} has led to {result:?}"),
    }
}

#[test]
fn a_step_that_goes_wrong_leaves_what_is_carried_as_it_was() {
    let device = device();
    for config in [
        Config::friendly_sam(0.2, 1.0, 0.9),
        Config::look_sam(0.2, 2, 0.7),
        both(),
    ] {
        let config = config.with_max_skipped_steps(None);
        let expected = trained(&config);
        for trouble in [Trouble::NotFinite, Trouble::Error, Trouble::Panic] {
            let mut net = Net::new(&device);
            let mut optim = config.init(momentum()).unwrap();
            for (step, expected) in expected.iter().enumerate() {
                let perturbed = (step as u64).is_multiple_of(config.interval);
                // The first clean pass, the last one, and the last pass of all.
                for call in [0, 2, if perturbed { 5 } else { 1 }] {
                    bad_step(&mut optim, &mut net, step, (call, trouble));
                    optim.gradient().set_steps(step as u64);
                }
                let domains = batches(step, &device);
                optim.step(LR, &mut net, &domains, net_loss).unwrap();
                assert_eq!(net.state(), *expected, "{trouble:?} in step {step}");
            }
        }
    }
}

#[test]
fn zero_gradients_move_nothing_and_nothing_becomes_a_nan() {
    let bowl = |c: [f32; 3]| Loss::Bowl {
        a: vec![1.0, 2.0, 3.0],
        c: c.to_vec(),
    };
    let at_rest = [bowl(THETA), bowl(THETA)];
    let moving = [bowl([1.0, 1.0, 1.0]), bowl([0.0, 2.0, -1.0])];
    for config in [
        Config::friendly_sam(0.2, 1.0, 0.9),
        Config::look_sam(0.2, 3, 0.7),
        both(),
    ] {
        let mut model = Point::new(&THETA, &device());
        let mut optim = config.init(SgdConfig::new().init()).unwrap();
        let mut step = |model: &mut Point, losses: &[Loss]| {
            let mut points = Vec::new();
            let report = optim.step(LR, model, &domains(losses), |model, loss: &Loss| {
                points.push(model.values());
                loss.at(model)
            });
            assert!(!report.unwrap().is_skipped());
            points
        };
        for _ in 0..4 {
            let points = step(&mut model, &at_rest);
            assert!(points.iter().all(|point| *point == THETA));
            assert_eq!(model.values(), THETA);
        }
        // The next is a plain step or the first with something to climb; LookSAM has kept nothing.
        step(&mut model, &moving);
        assert!(model.values().iter().all(|value| value.is_finite()));
        assert_ne!(model.values(), THETA);
    }
    // After a perturbed step without a gradient, the plain ones are those of ERM.
    let robust = Config::look_sam(0.2, 2, 0.7).init_gradient().unwrap();
    let erm = Config::erm().init_gradient().unwrap();
    let model = Point::new(&THETA, &device());
    let gradient = |robust: &RobustGradient, losses: &[Loss]| {
        let gradients = robust.gradients(&model, &domains(losses), |model, loss: &Loss| {
            loss.at(model)
        });
        values(&gradients.unwrap().0.get::<1>(model.theta.id).unwrap())
    };
    assert_eq!(gradient(&robust, &at_rest), [0.0; 3]);
    assert_eq!(gradient(&robust, &moving), gradient(&erm, &moving));
}

#[test]
fn the_same_gradient_again_leaves_nothing_to_climb() {
    let device = device();
    let model = Point::new(&THETA, &device);
    let one = DomainBatches::unnamed([[3.0f32, 0.0, 4.0]]).unwrap();
    let robust = Config::friendly_sam(0.5, 1.0, 0.9).init_gradient().unwrap();
    for step in 0..3 {
        let mut points = Vec::new();
        let (_, report) = robust
            .gradients(&model, &one, |model: &Point, gradient: &[f32; 3]| {
                points.push(model.values());
                let gradient = Tensor::<1>::from_floats(*gradient, &device);
                (model.theta.val() * gradient).sum()
            })
            .unwrap();
        assert!(!report.is_skipped());
        let expected = match step {
            0 => [THETA[0] + 0.3, THETA[1], THETA[2] + 0.4],
            _ => THETA,
        };
        assert_close(&points[1], &expected, 1e-6);
        assert_eq!(points[1] == THETA, step > 0, "not even the last bit moves");
    }
}

/// On a line no direction is orthogonal to the gradient: what is left is rounding.
#[test]
fn rounding_is_no_direction() {
    let look = Config::look_sam(0.3, 3, 0.7);
    let sam = Config::sam(0.3).with_interval(3);
    for place in 0..40 {
        let theta = 0.1 + 0.17 * place as f32;
        let trajectory = |config: &Config| {
            let mut model = Point::new(&[theta], &device());
            let mut optim = config.init(SgdConfig::new().init()).unwrap();
            let step = |_| {
                optim
                    .step(LR, &mut model, &domains(&waves()), |model, loss: &Loss| {
                        let Loss::Waves { s, f, p } = loss else {
                            unreachable!("they are waves")
                        };
                        let (f, p) = (vec![f[0]], vec![p[0]]);
                        Loss::Waves { s: *s, f, p }.at(model)
                    })
                    .unwrap();
                model.values()[0]
            };
            (0..6).map(step).collect::<Vec<f32>>()
        };
        assert_eq!(trajectory(&look), trajectory(&sam), "from {theta}");
    }
}

/// $G$ of three steps at the same $\theta$, in 64 bits.
fn three_at_theta(config: &Config) -> [Vec<f64>; 3] {
    let model = Point::new(&THETA, &device());
    let robust = config.init_gradient().unwrap();
    [(); 3].map(|()| {
        let gradients = robust.gradients(&model, &domains(&waves()), |model, loss: &Loss| {
            loss.at(model)
        });
        let gradient = gradients.unwrap().0.get::<1>(model.theta.id).unwrap();
        values(&gradient).into_iter().map(f64::from).collect()
    })
}

#[test]
fn the_direction_is_reused_with_every_evaluation_and_an_alignment_loss() {
    let (w0, w1, alpha) = (0.3, 0.9, 0.7);
    let g = mean_gradient(&THETA.map(f64::from));
    for evaluation in EVALUATIONS {
        for ascent in [Ascent::Domain, Ascent::Pooled] {
            let plain = Config::new()
                .with_rho(0.3)
                .with_gamma(0.05)
                .with_evaluation(evaluation)
                .with_ascent(ascent)
                .with_clean_weight(w0)
                .with_perturbed_weight(w1)
                .with_interval(3);
            let [first, second, third] = three_at_theta(&plain);
            assert_eq!(second, third);
            let p = plus(&first, -w0, &g);
            let direction = orthogonal(&p, &g);
            let expected = plus(&second, w1 * alpha * norm(&g), &direction);
            let expected = narrow(&expected);
            let reusing = plain.clone().with_reuse_weight(Some(alpha));
            let [same, second, third] = three_at_theta(&reusing);
            assert_eq!(same, first);
            // v is small beside P, which is found from numbers of 32 bits.
            assert_close(&narrow(&second), &expected, 2e-5);
            assert_eq!(second, third, "it stays until the next perturbed step");
            // An alignment loss is added to that.
            let aligned = |config: &Config| {
                let alignment = AlignmentConfig::cosine(0.2);
                three_at_theta(&config.clone().with_alignment(Some(alignment)))
            };
            let ([_, without, _], [_, with, _]) = (aligned(&plain), aligned(&reusing));
            let added = plus(&with, -1.0, &without);
            let reused = plus(&second, -1.0, &three_at_theta(&plain)[1]);
            assert_close(&narrow(&added), &narrow(&reused), 5e-6);
            assert_ne!(without, three_at_theta(&plain)[1]);
        }
    }
}

#[test]
fn an_aggregated_direction_is_turned_away_from_the_mean_as_well() {
    let method = Disam { lambda: 0.4 }.into();
    let aggregation = AggregationConfig::new(method).with_of(Aggregated::Ascent);
    let config = Config::friendly_sam(0.3, 0.5, 0.9).with_aggregation(Some(aggregation));
    let theta = THETA.map(f64::from);
    let model = Point::new(&THETA, &device());
    let robust = config.init_gradient().unwrap();
    let step = || {
        let mut points = Vec::new();
        let (_, report) = robust
            .gradients(&model, &domains(&waves()), |model, loss: &Loss| {
                points.push(model.values());
                loss.at(model)
            })
            .unwrap();
        (
            points[3].clone(),
            report.aggregation.unwrap().ascent.unwrap(),
        )
    };
    for turned in [0.0, 0.5, 0.5] {
        let (point, coefficients) = step();
        let gradients = waves().into_iter().map(|loss| loss.gradient(&theta));
        let terms = coefficients.into_iter().zip(gradients);
        let climbed = terms.fold(vec![0.0; 3], |sum, (c, gradient)| plus(&sum, c, &gradient));
        // At the same place, the mean stays what it is.
        let d = plus(&climbed, -turned, &mean_gradient(&theta));
        let expected = plus(&theta, 0.3 / norm(&d), &d);
        assert_close(&point, &narrow(&expected), 1e-6);
    }
}

/// Two parameters, the second of which is not always used.
#[derive(Module, Debug)]
struct Pair {
    always: Param<Tensor<1>>,
    sometimes: Param<Tensor<2>>,
}

#[test]
fn a_parameter_without_a_gradient_stays_and_so_does_its_mean() {
    let device = device();
    let pair = Pair {
        always: Param::from_tensor(Tensor::from_floats([1.0], &device)),
        sometimes: Param::from_tensor(Tensor::from_floats([[2.0]], &device)),
    };
    let robust = both().with_interval(1).init_gradient().unwrap();
    // The gradients of a step; L = a·always + b·sometimes, without the second where b is 0.
    let step = |a: f32, b: f32| {
        let one = DomainBatches::unnamed([(a, b)]).unwrap();
        let mut points = Vec::new();
        let (gradients, report) = robust
            .gradients(&pair, &one, |pair: &Pair, (a, b): &(f32, f32)| {
                let (always, sometimes) = (pair.always.val(), pair.sometimes.val());
                points.push([values(&always)[0], values(&sometimes)[0]]);
                let loss = always * *a;
                match *b == 0.0 {
                    true => loss,
                    false => loss + sometimes.reshape([1]) * *b,
                }
            })
            .unwrap();
        assert!(!report.is_skipped());
        assert_eq!(gradients.len(), if b == 0.0 { 1 } else { 2 });
        points[1]
    };
    // σ = 0.8 and λ = 0.6; m = (3, 4) after the first step, and (0.6·3 + 0.4·(-5), 4) after the
    // second.
    assert_close(&step(3.0, 4.0), &[1.0 + 0.12, 2.0 + 0.16], 1e-6);
    assert_close(&step(-5.0, 0.0), &[1.0 - 0.2, 2.0], 1e-6);
    let d = [1.0 - 0.8 * -0.2, 1.0 - 0.8 * 4.0];
    let expected = narrow(&plus(&[1.0, 2.0], 0.2 / norm(&d), &d));
    assert_close(&step(1.0, 1.0), &expected, 1e-6);
}

#[test]
fn clones_carry_by_themselves_and_the_gradients_alone_together() {
    let device = device();
    let config = both();
    let mut net = Net::new(&device);
    let mut optim = config.init(momentum()).unwrap();
    let step = |optim: &mut RobustGradientAlignment, net: &mut Net, step| {
        optim
            .step(LR, net, &batches(step, &device), net_loss)
            .unwrap();
    };
    (0..2).for_each(|of| step(&mut optim, &mut net, of));
    let (mut other, mut other_net) = (optim.clone(), net.clone().train());
    // The clone sees other batches, and the original does not notice.
    step(&mut other, &mut other_net, 17);
    (2..4).for_each(|of| step(&mut optim, &mut net, of));
    assert_eq!(net.state(), trained(&config)[3]);
    assert_ne!(optimizer_state(other.base()), optimizer_state(optim.base()));

    // burn-train clones what a model holds for every step.
    let robust = config.init_gradient().unwrap();
    let (mut net, mut base) = (Net::new(&device), momentum());
    for of in 0..6 {
        let gradients = robust
            .clone()
            .gradients(&net, &batches(of, &device), net_loss);
        net = base.step(LR, net, gradients.unwrap().0);
        assert_eq!(net.state(), trained(&config)[of]);
    }
}

#[test]
fn a_plain_step_on_its_turn_leaves_nothing_to_reuse() {
    // ρ falls to 0 with the step that is perturbed next.
    let schedule = Schedule::Linear {
        from: 1.0,
        to: 0.0,
        steps: 2,
    };
    let config = Config::look_sam(0.3, 2, 0.7).with_rho_schedule(schedule);
    let robust = config.init_gradient().unwrap();
    let model = Point::new(&THETA, &device());
    let mut steps = (0..4).map(|_| {
        let gradients = robust.gradients(&model, &domains(&waves()), |model, loss: &Loss| {
            loss.at(model)
        });
        values(&gradients.unwrap().0.get::<1>(model.theta.id).unwrap())
    });
    let mut next = || steps.next().unwrap();
    let (_, reusing, plain) = (next(), next(), next());
    assert_ne!(reusing, plain);
    assert_eq!(next(), plain);
}

#[test]
fn evaluations_at_one_point_may_be_friendly() {
    for evaluation in EVALUATIONS {
        let config = Config::new()
            .with_rho(0.3)
            .with_ascent(Ascent::Pooled)
            .with_evaluation(evaluation);
        let friendly = config.clone().with_friendly(friendly(1.0, 0.9));
        let (with, without) = (trained(&friendly), trained(&config));
        assert_eq!(with[0], without[0]);
        assert_ne!(with[1], without[1]);
    }
}
