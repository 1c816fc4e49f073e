//! Aggregation as a setting of the step: of clean gradients, of perturbed ones, of an ascent.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};
use proptest::prelude::*;
use roga::{
    Error, Result,
    aggregation::{
        Aggregation, AggregationState, Aggregator, AndMask, CaGrad, Disam, DomainStatistics,
        GroupDro, Mask, Mean, Mgda, Needs, PcGrad, UpGrad, VRex, aggregate,
    },
    alignment::AlignmentConfig,
    domain::{DomainBatches, JoinedBatch},
    optim::{
        Aggregated, AggregationConfig, AggregationReport, Ascent, Evaluation, Outcome, Pass,
        Quantity, RobustGradientAlignment, RobustGradientAlignmentConfig as Config,
    },
    perturbation::Adaptive,
};

use crate::{
    aggregation,
    problems::{
        Batch, EVALUATIONS, Loss, Net, Point, apart_and_joined, assert_close, batches, device,
        domains, gradient_and_report, gradient_of, joined_losses, momentum, net_loss,
        optimizer_state, values, waves,
    },
    reference::{Reference, Rows},
    reference_domainbed::{FILE, LEARNING_RATE, Net as DomainBedNet, adam},
};

const THETA: [f32; 3] = [0.3, -0.8, 1.1];
const OF: [Aggregated; 3] = [Aggregated::Clean, Aggregated::Perturbed, Aggregated::Both];

/// All but the mean.
fn methods() -> Vec<Aggregation> {
    let methods = aggregation::methods().into_iter();
    methods
        .filter(|method| *method != Aggregation::default())
        .collect()
}

fn with(config: &Config, method: impl Into<Aggregation>, of: Aggregated) -> Config {
    let aggregation = AggregationConfig::new(method.into()).with_of(of);
    config.clone().with_aggregation(Some(aggregation))
}

/// A of the gradients of losses, each at a point of its own.
fn aggregated(method: &Aggregation, losses: &[Loss], points: &[Vec<f32>]) -> Vec<f32> {
    let device = device();
    let model = Point::new(&THETA, &device);
    let (losses, gradients): (Vec<_>, Vec<_>) = losses
        .iter()
        .zip(points)
        .map(|(loss, theta)| {
            let mut there = Point::new(theta, &device);
            there.theta = burn::module::Param::initialized(model.theta.id, there.theta.val());
            let loss = loss.at(&there);
            let gradient = GradientsParams::from_grads(loss.backward(), &there);
            (loss, gradient)
        })
        .unzip();
    let weights = vec![1.0 / losses.len() as f64; losses.len()];
    let state = &mut AggregationState::default();
    let found = aggregate(method, state, &model, &weights, &losses, &gradients).unwrap();
    values(&found.get::<1>(model.theta.id).unwrap())
}

fn plus(w0: f32, a: &[f32], w1: f32, b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| w0 * a + w1 * b).collect()
}

/// θ + ρ d/‖d‖ − γ ḡ.
fn ascended(direction: &[f32], rho: f32, gamma: f32) -> Vec<f32> {
    let mean = gradient_of(&Config::erm(), &THETA, &waves());
    let norm = direction.iter().map(|d| d * d).sum::<f32>().sqrt();
    let ascent = THETA.iter().zip(direction).map(|(t, d)| t + rho * d / norm);
    ascent.zip(mean).map(|(t, m)| t - gamma * m).collect()
}

fn domain_gradient(domain: usize) -> Vec<f32> {
    let theta: Vec<f64> = THETA.iter().map(|t| f64::from(*t)).collect();
    let gradient = waves()[domain].gradient(&theta);
    gradient.into_iter().map(|g| g as f32).collect()
}

#[test]
fn clean_and_perturbed_gradients_are_aggregated_by_themselves() {
    let (rho, gamma) = (0.3f32, 0.05f32);
    let own = Config::new()
        .with_rho(f64::from(rho))
        .with_gamma(f64::from(gamma))
        .with_evaluation(Evaluation::Own)
        .with_clean_weight(0.25)
        .with_perturbed_weight(0.75);
    let pooled = own.clone().with_ascent(Ascent::Pooled);
    let at_theta = vec![THETA.to_vec(); 3];
    let of_domains: Vec<Vec<f32>> = (0..3)
        .map(|domain| ascended(&domain_gradient(domain), rho, gamma))
        .collect();
    let mean: Aggregation = Mean.into();
    let ascent = aggregated(&mean, &waves(), &at_theta);
    let of_all = vec![ascended(&ascent, rho, gamma); 3];
    for (config, points) in [(own, of_domains), (pooled, of_all)] {
        for method in methods() {
            let of = |of_clean: &Aggregation, of_perturbed: &Aggregation| {
                let clean = aggregated(of_clean, &waves(), &at_theta);
                plus(
                    0.25,
                    &clean,
                    0.75,
                    &aggregated(of_perturbed, &waves(), &points),
                )
            };
            for (part, expected) in [
                (Aggregated::Clean, of(&method, &mean)),
                (Aggregated::Perturbed, of(&mean, &method)),
                (Aggregated::Both, of(&method, &method)),
            ] {
                let config = with(&config, method.clone(), part);
                let (found, report) = gradient_and_report(&config, &THETA, &waves());
                assert_close(&found, &expected, 3e-6);
                let seen = report.aggregation.unwrap();
                assert_eq!(seen.clean.is_some(), part != Aggregated::Perturbed);
                assert_eq!(seen.perturbed.is_some(), part != Aggregated::Clean);
                assert_eq!(seen.ascent, None);
                let coefficients = seen.clean.iter().chain(&seen.perturbed);
                assert!(coefficients.into_iter().all(|c| c.len() == 3));
            }
        }
    }
}

/// Of several losses at a point it is their mean gradient that is aggregated.
#[test]
fn of_all_losses_at_several_points_it_is_the_points_mean_gradients() {
    let perturbed = Config::new()
        .with_rho(0.3)
        .with_gamma(0.0)
        .with_clean_weight(0.0)
        .with_perturbed_weight(1.0);
    let method: Aggregation = UpGrad::default().into();
    let config = with(&perturbed, method.clone(), Aggregated::Perturbed);
    let (found, report) = gradient_and_report(&config, &THETA, &waves());
    let device = device();
    let model = Point::new(&THETA, &device);
    let mut gradients = Vec::new();
    for domain in 0..3 {
        let point = ascended(&domain_gradient(domain), 0.3, 0.0);
        let mut gradient = GradientsParams::new();
        let mean = gradient_of(&Config::erm(), &point, &waves());
        let mean = Tensor::<1>::from_floats(&mean[..], &device.clone().inner());
        gradient.register(model.theta.id, mean);
        gradients.push(gradient);
    }
    let losses: Vec<_> = waves().iter().map(|loss| loss.at(&model)).collect();
    let state = &mut AggregationState::default();
    let weights = [1.0 / 3.0; 3];
    let expected = aggregate(&method, state, &model, &weights, &losses, &gradients).unwrap();
    let expected = values(&expected.get::<1>(model.theta.id).unwrap());
    assert_close(&found, &expected, 3e-6);
    assert_eq!(report.passes.perturbed, 9);
    assert_eq!(report.points.len(), 3);
}

#[test]
fn in_a_plain_step_the_points_are_theta() {
    let config = Config::new()
        .with_clean_weight(0.25)
        .with_perturbed_weight(0.5)
        .with_warmup_steps(1);
    let mean = gradient_of(&Config::erm(), &THETA, &waves());
    let at_theta = vec![THETA.to_vec(); 3];
    for method in methods() {
        let found = aggregated(&method, &waves(), &at_theta);
        for (part, expected) in [
            (Aggregated::Clean, plus(0.25, &found, 0.5, &mean)),
            (Aggregated::Perturbed, plus(0.25, &mean, 0.5, &found)),
            (Aggregated::Both, plus(0.25, &found, 0.5, &found)),
        ] {
            let config = with(&config, method.clone(), part);
            let (gradient, report) = gradient_and_report(&config, &THETA, &waves());
            assert_close(&gradient, &expected, 2e-6);
            assert_eq!(report.passes.perturbed, 0);
        }
    }
}

#[test]
fn the_named_methods_are_these_settings() {
    for (config, method) in [
        (Config::pcgrad(0), PcGrad::default().into()),
        (Config::mgda(), Aggregation::from(Mgda::Exact)),
        (Config::upgrad(), UpGrad::default().into()),
        (Config::cagrad(0.3), CaGrad::new(0.3).into()),
        (Config::group_dro(0.2), GroupDro { eta: 0.2 }.into()),
        (
            Config::vrex(3.0),
            VRex {
                lambda: 3.0,
                anneal_steps: 500,
            }
            .into(),
        ),
        (Config::and_mask(0.5), AndMask { tau: 0.5 }.into()),
    ] {
        let (found, report) = gradient_and_report(&config, &THETA, &waves());
        let expected = aggregated(&method, &waves(), &vec![THETA.to_vec(); 3]);
        assert_close(&found, &expected, 1e-6);
        assert_eq!(report.passes.calls, 3);
        assert_eq!(config.passes_per_step(3).unwrap(), 1.0);
    }
}

#[test]
fn disam_climbs_along_its_own_direction() {
    for adaptive in [Adaptive::None, Adaptive::All] {
        let config = Config::disam(0.3, 0.4).with_adaptive(adaptive);
        let direction = aggregated(
            &Disam { lambda: 0.4 }.into(),
            &waves(),
            &vec![THETA.to_vec(); 3],
        );
        let t = THETA.map(|theta| match adaptive {
            Adaptive::All => theta.abs(),
            _ => 1.0,
        });
        let scaled: Vec<f32> = direction.iter().zip(t).map(|(d, t)| d * t).collect();
        let norm = scaled.iter().map(|d| d * d).sum::<f32>().sqrt();
        let point: Vec<f32> = (0..3)
            .map(|k| THETA[k] + 0.3 * t[k] * scaled[k] / norm)
            .collect();
        let expected = gradient_of(&Config::erm(), &point, &waves());
        let (found, report) = gradient_and_report(&config, &THETA, &waves());
        assert_close(&found, &expected, 2e-6);
        assert!(report.aggregation.unwrap().ascent.is_some());
        let sam = Config::sam(0.3).with_adaptive(adaptive);
        assert_ne!(found, gradient_of(&sam, &THETA, &waves()));
        let none = Config::disam(0.3, 0.0).with_adaptive(adaptive);
        assert_close(
            &gradient_of(&none, &THETA, &waves()),
            &gradient_of(&sam, &THETA, &waves()),
            1e-6,
        );
    }
}

#[test]
fn the_mean_is_no_aggregation_bit_for_bit() {
    let device = device();
    for evaluation in EVALUATIONS {
        for of in OF {
            let config = Config::new().with_rho(0.3).with_evaluation(evaluation);
            let mut plain = config.init(momentum()).unwrap();
            let mut mean = with(&config, Mean, of).init(momentum()).unwrap();
            let mut net = Net::new(&device);
            let mut other = net.clone().train();
            for step in 0..3 {
                let domains = batches(step, &device);
                let expected = plain.step(0.05, &mut net, &domains, net_loss).unwrap();
                let report = mean.step(0.05, &mut other, &domains, net_loss).unwrap();
                assert_eq!(report, expected);
                assert_eq!(net.state(), other.state());
            }
        }
    }
}

#[test]
fn of_a_single_domain_every_method_is_the_identity() {
    let single = || vec![waves().swap_remove(1)];
    for base in [Config::erm(), Config::sam(0.3), Config::new().with_rho(0.3)] {
        let expected = gradient_of(&base, &THETA, &single());
        for method in methods()
            .into_iter()
            .filter(|method| *method != AndMask { tau: 0.5 }.into())
        {
            let found = gradient_of(
                &with(&base, method.clone(), Aggregated::Both),
                &THETA,
                &single(),
            );
            assert_close(&found, &expected, 3e-7);
        }
    }
    let disam = gradient_of(&Config::disam(0.3, 0.5), &THETA, &single());
    assert_eq!(disam, gradient_of(&Config::sam(0.3), &THETA, &single()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_the_domains_does_not_matter(
        order in Just(vec![0usize, 1, 2]).prop_shuffle(),
        method in 0..methods().len(),
        of in 0..OF.len(),
        pooled in any::<bool>(),
    ) {
        let method = methods().swap_remove(method);
        // Its draws go by place.
        prop_assume!(method != PcGrad::default().into());
        let ascent = if pooled { Ascent::Pooled } else { Ascent::Domain };
        let base = Config::new().with_rho(0.3).with_evaluation(Evaluation::Own).with_ascent(ascent);
        let config = with(&base, method, OF[of]);
        let shuffled: Vec<Loss> = order.iter().map(|i| waves()[*i].clone()).collect();
        let (expected, report) = gradient_and_report(&config, &THETA, &waves());
        let (found, other) = gradient_and_report(&config, &THETA, &shuffled);
        assert_close(&found, &expected, 3e-6);
        let (report, other) = (report.aggregation.unwrap(), other.aggregation.unwrap());
        for (here, there) in [(report.clean, other.clean), (report.perturbed, other.perturbed)] {
            let (Some(here), Some(there)) = (here, there) else { continue };
            for (place, domain) in order.iter().enumerate() {
                prop_assert!((here[*domain] - there[place]).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn joined_passes_are_the_same_step() {
    for base in [
        Config::erm(),
        Config::sagm(0.1, 0.05),
        Config::new().with_rho(0.1),
    ] {
        for method in methods() {
            for of in OF {
                let config = with(&base, method.clone(), of);
                if config.init_gradient().is_err() {
                    continue;
                }
                let ([one, joined], [expected, report]) = apart_and_joined(&config);
                assert!(!report.is_skipped() && !expected.is_skipped());
                // A sign that rounding turns over is a mask's.
                if method != (AndMask { tau: 0.5 }).into() {
                    assert_close(&joined.values(), &one.values(), 2e-5);
                }
                assert_eq!(report.passes.perturbed, expected.passes.perturbed);
            }
        }
    }
}

#[test]
fn what_is_kept_goes_by_the_steps_that_count_alone() {
    let device = device();
    for of in OF {
        let config = with(
            &Config::sam(0.1)
                .with_clean_weight(0.5)
                .with_perturbed_weight(0.5),
            GroupDro { eta: 0.7 },
            of,
        );
        let run = |poisoned: bool| {
            let mut optim = config.init(momentum()).unwrap();
            let mut net = Net::new(&device);
            let mut reports = Vec::new();
            for step in 0..4 {
                let domains = batches(step, &device);
                for injected in 0..6 {
                    if !(poisoned && step > 0) {
                        continue;
                    }
                    let (before, state) = (net.state(), optimizer_state(optim.base()));
                    let mut call = 0;
                    let report =
                        optim.step(0.05, &mut net, &domains, |net: &Net, batch: &Batch| {
                            call += 1;
                            net.loss(batch).mul_scalar(if call == injected + 1 {
                                f32::NAN
                            } else {
                                1.0
                            })
                        });
                    let report = report.unwrap();
                    let Outcome::Skipped(found) = &report.outcome else {
                        panic!("{injected} went through");
                    };
                    let pass = match injected < 3 {
                        true => Pass::Clean,
                        false => Pass::Perturbed { ascent: None },
                    };
                    assert_eq!(found.pass, pass);
                    assert_eq!(found.domain.as_deref(), Some(["a", "b", "c"][injected % 3]));
                    assert_eq!(
                        (net.state(), optimizer_state(optim.base())),
                        (before, state)
                    );
                }
                let report = optim.step(0.05, &mut net, &domains, net_loss).unwrap();
                reports.push(report.aggregation);
            }
            (net.state(), reports)
        };
        assert_eq!(run(true), run(false));
    }
}

#[test]
fn beside_an_alignment_loss_one_is_added_to_the_other() {
    let alignment = Some(AlignmentConfig::cosine(0.3));
    let erm = Config::erm();
    let aligned = erm.clone().with_alignment(alignment.clone());
    let mean = gradient_of(&erm, &THETA, &waves());
    let of_loss = plus(1.0, &gradient_of(&aligned, &THETA, &waves()), -1.0, &mean);
    let upgrad = gradient_of(&Config::upgrad(), &THETA, &waves());
    let both = gradient_of(
        &Config::upgrad().with_alignment(alignment),
        &THETA,
        &waves(),
    );
    assert_close(&both, &plus(1.0, &upgrad, 1.0, &of_loss), 1e-6);
}

/// Four domains, the second of which is none of [`waves`], and weights that leave it out.
fn one_more() -> (Vec<Loss>, Vec<f64>) {
    let mut more = waves();
    let other = Loss::Bowl {
        a: vec![7.0, -9.0, 1.0],
        c: vec![-3.0, 5.0, 2.0],
    };
    more.insert(1, other);
    (more, vec![1.0, 0.0, 2.0, 2.0])
}

/// In a plain step such a domain has a gradient, at the points it has none: what is kept is the
/// others' in both.
#[test]
fn a_domain_of_weight_0_does_not_count_in_what_is_kept() {
    let (more, weights) = one_more();
    for evaluation in [Evaluation::Own, Evaluation::Sampled] {
        for of in OF {
            let gradients = |losses: &[Loss], weights: Vec<f64>| -> Vec<f32> {
                let config = Config::new()
                    .with_rho(0.3)
                    .with_interval(2)
                    .with_evaluation(evaluation)
                    .with_domain_weights(Some(weights));
                let config = with(&config, GroupDro { eta: 0.7 }, of);
                let robust = config.init_gradient().unwrap();
                let model = Point::new(&THETA, &device());
                let step = |_| {
                    let domains = domains(losses);
                    let loss = |m: &Point, loss: &Loss| loss.at(m);
                    let (gradients, report) = robust.gradients(&model, &domains, loss).unwrap();
                    assert!(!report.is_skipped());
                    values(&gradients.get::<1>(model.theta.id).unwrap())
                };
                (0..4).flat_map(step).collect()
            };
            let found = gradients(&more, weights.clone());
            if evaluation == Evaluation::Own {
                let expected = gradients(&waves(), vec![1.0, 2.0, 2.0]);
                assert_close(&found, &expected, 3e-6);
            }
        }
    }
}

#[test]
fn a_domain_of_weight_0_does_not_count() {
    let (more, weights) = one_more();
    let base = Config::new().with_rho(0.3).with_evaluation(Evaluation::Own);
    let three = base.clone().with_domain_weights(Some(vec![1.0, 2.0, 2.0]));
    let four = base.with_domain_weights(Some(weights));
    for method in methods() {
        if method == PcGrad::default().into() || method == Mgda::Exact.into() {
            continue;
        }
        for of in OF {
            let expected = gradient_of(&with(&three, method.clone(), of), &THETA, &waves());
            let found = gradient_of(&with(&four, method.clone(), of), &THETA, &more);
            assert_close(&found, &expected, 3e-6);
        }
    }
}

/// Three domains, every two of which conflict.
fn conflicting() -> Vec<Loss> {
    let gradients = [[1.0, 0.2, 0.1], [-0.7, 1.0, 0.3], [-0.5, -0.9, 0.4f32]];
    let bowls = gradients.into_iter().zip([1.0, 1.5, 0.8f32]);
    let bowl = |(gradient, a): ([f32; 3], f32)| Loss::Bowl {
        a: vec![a; 3],
        c: gradient.map(|g| -g / a).to_vec(),
    };
    bowls.map(bowl).collect()
}

#[test]
fn no_two_methods_are_the_same_where_all_domains_conflict() {
    let mut all = methods();
    all.extend([
        Mean.into(),
        PcGrad { seed: 1 }.into(),
        UpGrad {
            regularization: 0.1,
        }
        .into(),
        CaGrad::new(0.4).into(),
        GroupDro { eta: 0.4 }.into(),
        Disam { lambda: 0.3 }.into(),
    ]);
    let all: Vec<Aggregation> = all
        .into_iter()
        // |mean of the signs| is 1/3 or 1.
        .map(|method| match method {
            Aggregation::AndMask(_) => AndMask { tau: 1.0 }.into(),
            method => method,
        })
        .collect();
    let perturbed = Config::new().with_rho(0.2).with_evaluation(Evaluation::Own);
    for base in [Config::erm(), perturbed] {
        let of = |method: &Aggregation| {
            let config = with(&base, method.clone(), Aggregated::Both);
            gradient_of(&config, &[0.0; 3], &conflicting())
        };
        let found: Vec<Vec<f32>> = all.iter().map(of).collect();
        for (i, here) in found.iter().enumerate() {
            for (j, there) in found.iter().enumerate().take(i) {
                let far = here.iter().zip(there).any(|(a, b)| (a - b).abs() > 1e-4);
                assert!(far, "{:?} and {:?}", all[i], all[j]);
            }
        }
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |config: Config| config.init_gradient().unwrap_err().to_string();
    assert_eq!(
        refused(with(&Config::new(), Disam::default(), Aggregated::Ascent)),
        "aggregation must be of an ascent that is pooled, where it is of one, but is Ascent"
    );
    assert_eq!(
        refused(with(&Config::sam(0.1), Mgda::Exact, Aggregated::Clean)),
        "aggregation must not be of clean gradients where clean_weight is 0, but is Clean"
    );
    assert_eq!(
        refused(with(&Config::erm(), Mgda::Exact, Aggregated::Perturbed)),
        "aggregation must not be of perturbed gradients where perturbed_weight is 0, but is Perturbed"
    );
    assert_eq!(
        refused(Config::mgda().with_domain_weights(Some(vec![1.0, 2.0, 0.0]))),
        "domain_weights must be the same or 0, since the aggregation takes no account of them, but \
         is [1.0, 2.0, 0.0]"
    );
    let same = Config::mgda().with_domain_weights(Some(vec![2.0, 0.0, 2.0]));
    assert!(same.init_gradient().is_ok());
    assert_eq!(
        refused(Config::group_dro(-1.0)),
        "aggregation.eta must be finite and at least 0, but is -1"
    );
}

/// What a caller may write: a method of this crate's under another name.
#[derive(Debug)]
struct Own(Aggregation);

impl Aggregator for Own {
    fn check(&self) -> Result<()> {
        self.0.check()
    }

    fn needs(&self) -> Needs {
        self.0.needs()
    }

    fn coefficients(
        &self,
        domains: &DomainStatistics<'_>,
        state: &mut Vec<f64>,
    ) -> Result<Vec<f64>> {
        self.0.coefficients(domains, state)
    }

    fn mask(&self) -> Option<&dyn Mask> {
        self.0.mask()
    }
}

fn with_own(config: &Config, own: &dyn Aggregator, of: Aggregated) -> Config {
    let aggregation = AggregationConfig::own(own).with_of(of);
    config.clone().with_aggregation(Some(aggregation))
}

/// Three steps: the net and the coefficients, bit for bit.
fn three_steps(
    optim: &mut RobustGradientAlignment,
    joined: bool,
) -> (Vec<u32>, Vec<Option<AggregationReport>>) {
    let device = device();
    let mut net = Net::new(&device);
    let mut coefficients = Vec::new();
    for step in 0..3 {
        let domains = batches(step, &device);
        let report = match joined {
            false => optim.step(0.05, &mut net, &domains, net_loss).unwrap(),
            true => {
                let loss = |net: &Net, batch: &JoinedBatch<Batch>| {
                    joined_losses(net.forward(batch.batch().x.clone()), batch)
                };
                optim.step_joined(0.05, &mut net, &domains, loss).unwrap()
            }
        };
        assert!(!report.is_skipped());
        coefficients.push(report.aggregation);
    }
    (net.state(), coefficients)
}

#[test]
fn one_of_ones_own_makes_the_steps_of_the_built_in_bit_for_bit() {
    let roga = Config::new().with_rho(0.1);
    let sagm = Config::sagm(0.1, 0.05);
    let settings = OF.into_iter().chain([Aggregated::Ascent]);
    let settings = settings.flat_map(|of| [(roga.clone(), of), (sagm.clone(), of)]);
    for (config, of) in
        settings.filter(|(config, of)| config.ascent == Ascent::Pooled || *of != Aggregated::Ascent)
    {
        let mut plain = config.init(momentum()).unwrap();
        let (without, _) = three_steps(&mut plain, false);
        for method in [
            CaGrad::default().into(),
            Aggregation::from(GroupDro { eta: 0.7 }),
            AndMask { tau: 0.5 }.into(),
        ] {
            for joined in [false, true] {
                let mut built_in = with(&config, method.clone(), of).init(momentum()).unwrap();
                let own = with_own(&config, &Own(method.clone()), of);
                let mut own = own.init(momentum()).unwrap();
                own.set_aggregator(Own(method.clone())).unwrap();
                let expected = three_steps(&mut built_in, joined);
                let found = three_steps(&mut own, joined);
                assert_eq!(found, expected, "{method:?} of {of:?}");
                assert_ne!(found.0, without);
            }
        }
    }
}

#[test]
fn one_of_ones_own_is_handed_over_recorded_and_goes_on_with_what_it_keeps() {
    let device = device();
    let own = |eta: f64| Own(GroupDro { eta }.into());
    let config = with_own(&Config::erm(), &own(0.7), Aggregated::Clean);
    let mut optim = config.init(momentum()).unwrap();
    let mut net = Net::new(&device);
    let mut step = |optim: &mut RobustGradientAlignment, step| {
        optim.step(0.05, &mut net, &batches(step, &device), net_loss)
    };
    assert_eq!(
        step(&mut optim, 0).unwrap_err().to_string(),
        "aggregation.method must be handed over by `set_aggregator`, since it is the caller's own, \
         but is not known"
    );
    let error = optim.set_aggregator(own(0.8)).unwrap_err().to_string();
    assert!(
        error.starts_with("aggregation.method must be the one"),
        "{error}"
    );
    let mut built_in = Config::group_dro(0.7).init(momentum()).unwrap();
    assert!(built_in.set_aggregator(GroupDro { eta: 0.7 }).is_err());
    let refused = with_own(&Config::erm(), &own(-1.0), Aggregated::Clean);
    assert_eq!(
        refused
            .init_gradient()
            .unwrap()
            .set_aggregator(own(-1.0))
            .unwrap_err()
            .to_string(),
        "aggregation.eta must be finite and at least 0, but is -1"
    );

    optim.set_aggregator(own(0.7)).unwrap();
    step(&mut optim, 0).unwrap();
    let record = optim.to_record().unwrap();
    let mut clone = optim.clone();
    let q = |report: roga::optim::StepReport| report.aggregation.unwrap().clean.unwrap();
    // Lr 0: the net stays where it is.
    let at = |optim: &mut RobustGradientAlignment, net: &mut Net| {
        q(optim
            .step(0.0, net, &batches(1, &device), net_loss)
            .unwrap())
    };
    let expected = at(&mut optim, &mut net);
    assert_eq!(at(&mut clone, &mut net), expected);
    optim.load_record(&record).unwrap();
    assert_eq!(at(&mut optim, &mut net), expected);
    let mut new = config.init(momentum()).unwrap();
    new.load_record(&record).unwrap();
    new.set_aggregator(own(0.7)).unwrap();
    assert_eq!(at(&mut new, &mut net), expected);
    let mut fresh = config.init(momentum()).unwrap();
    fresh.set_aggregator(own(0.7)).unwrap();
    assert_ne!(at(&mut fresh, &mut net), expected);

    for other in [
        with_own(&Config::erm(), &own(0.8), Aggregated::Clean),
        Config::group_dro(0.7),
    ] {
        let error = other
            .init(momentum())
            .unwrap()
            .load_record(&record)
            .unwrap_err();
        assert!(error.to_string().contains("`aggregation` is"), "{error}");
    }
}

/// What a caller may get wrong.
#[derive(Debug, Clone)]
struct Broken {
    needs: Needs,
    coefficients: Option<Vec<f64>>,
    /// The length of a mask.
    mask: Option<usize>,
}

impl Aggregator for Broken {
    fn needs(&self) -> Needs {
        self.needs
    }

    fn coefficients(&self, _: &DomainStatistics<'_>, state: &mut Vec<f64>) -> Result<Vec<f64>> {
        state.push(1.0);
        self.coefficients.clone().ok_or_else(|| Error::Domains {
            rule: "be as this method wants them",
            found: "they are not".into(),
        })
    }

    fn mask(&self) -> Option<&dyn Mask> {
        self.mask.is_some().then_some(self)
    }
}

impl Mask for Broken {
    fn of(&self, _: &[f64], gradients: &[Tensor<1>]) -> Option<Tensor<1>> {
        Some(Tensor::ones([self.mask?], &gradients[0].device()))
    }
}

#[test]
fn a_broken_one_of_ones_own_changes_nothing() {
    let third = 1.0 / 3.0;
    let config = Config::sagm(0.3, 0.05);
    for of in [
        Aggregated::Clean,
        Aggregated::Perturbed,
        Aggregated::Both,
        Aggregated::Ascent,
    ] {
        for (coefficients, mask, error) in [
            (
                None,
                None,
                Some("domains must be as this method wants them, but they are not"),
            ),
            (
                Some(vec![third; 2]),
                None,
                Some(
                    "aggregation.method must give one coefficient for each domain, but is 2 for 3",
                ),
            ),
            (
                Some(vec![third; 4]),
                None,
                Some(
                    "aggregation.method must give one coefficient for each domain, but is 4 for 3",
                ),
            ),
            (
                Some(vec![third; 3]),
                Some(5),
                Some(
                    "aggregation.method must give a mask as long as a parameter's gradient, but is 5 for 3",
                ),
            ),
            (Some(vec![third, f64::NAN, third]), None, None),
            (Some(vec![third, f64::INFINITY, third]), None, None),
        ] {
            for needs in [Needs::Nothing, Needs::Losses, Needs::Gram] {
                let broken = Broken {
                    needs,
                    coefficients: coefficients.clone(),
                    mask,
                };
                let mut optim = with_own(&config, &broken, of).init(momentum()).unwrap();
                optim.set_aggregator(broken.clone()).unwrap();
                let kept = |optim: &RobustGradientAlignment| {
                    let record = format!("{:?}", optim.to_record().unwrap());
                    record[record.find("kept").unwrap()..].to_string()
                };
                let mut model = Point::new(&THETA, &device());
                let loss = |model: &Point, loss: &Loss| loss.at(model);
                let (before, state) = (model.values(), optimizer_state(optim.base()));
                let before_it = kept(&optim);
                let report = optim.step(0.1, &mut model, &domains(&waves()), loss);
                assert_eq!(model.values(), before, "{broken:?}");
                assert_eq!(optimizer_state(optim.base()), state);
                assert_eq!(kept(&optim), before_it);
                match (error, report) {
                    (Some(error), Err(found)) => {
                        assert_eq!(found.to_string(), error);
                        assert_eq!(optim.gradient().steps(), 0);
                    }
                    (None, Ok(report)) => {
                        let Outcome::Skipped(found) = report.outcome else {
                            panic!("{broken:?} went through");
                        };
                        assert_eq!(found.pass, Pass::Combination);
                        assert_eq!(found.quantity, Quantity::Coefficient);
                        assert_eq!(found.domain.as_deref(), Some("domain 1"));
                    }
                    (_, report) => panic!("{broken:?}: {report:?}"),
                }
            }
        }
    }
}

/// DomainBed's own trajectories, through the optimizer.
#[test]
fn ten_updates_of_domainbed() {
    let annealed = Aggregation::from(VRex {
        lambda: 10.0,
        anneal_steps: 5,
    });
    for (algorithm, config, new_adam_at) in [
        ("ERM", Config::erm(), None),
        ("GroupDRO", Config::group_dro(0.1), None),
        (
            "VREx",
            with(&Config::erm(), annealed, Aggregated::Both),
            Some(5),
        ),
        ("ANDMask", Config::and_mask(1.0), None),
    ] {
        let device = device();
        let reference = Reference::open(FILE);
        let mut net = DomainBedNet::new(&reference, &device);
        let mut optim = config.init(adam()).unwrap();
        for (step, domains) in reference.batches(&device).into_iter().enumerate() {
            if new_adam_at == Some(step) {
                optim = config.init(adam()).unwrap();
                optim.gradient().set_steps(step as u64);
            }
            let domains = DomainBatches::unnamed(domains).unwrap();
            let loss = |net: &DomainBedNet, rows: &Rows| net.loss(rows);
            let report = optim.step(LEARNING_RATE, &mut net, &domains, loss).unwrap();
            assert!(!report.is_skipped());
            net.check(&reference, algorithm, step);
        }
    }
}
