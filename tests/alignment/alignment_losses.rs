//! Alignment losses: against exact gradients, by hand, and by the rules of all passes.

use std::path::Path;

use burn::{module::Module, tensor::Tensor};
use roga::{
    Error,
    alignment::{AlignmentConfig, AlignmentLoss, Difference, Variance},
    gradient::GramMatrix,
    optim::{
        Outcome, Pass, Quantity, RobustGradient, RobustGradientAlignmentConfig as Config, Schedule,
        StepReport,
    },
};

use crate::{
    problems::{
        Batch, Loss, Net, Point, apart_and_joined, assert_close, batches, device, domains,
        gradient_and_report, gradient_of, momentum, net_loss, optimizer_state, values, waves,
    },
    process,
    reference::Reference,
    reference_trajectories as trajectories,
};

/// A loss of the reference, and its settings with a weight.
type Named = (&'static str, fn(f64) -> AlignmentConfig);

const LOSSES: [Named; 4] = [
    ("inner_product", AlignmentConfig::inner_product),
    ("cosine", AlignmentConfig::cosine),
    ("variance", AlignmentConfig::variance),
    ("norm", AlignmentConfig::gradient_norm),
];

/// ∇φ alone, parameter by parameter: w₀ ∇L̄ + λ ∇φ with a w₀ that is nothing beside λ.
fn gradient_of_loss(
    net: &trajectories::ReferenceNet,
    config: AlignmentConfig,
) -> (Vec<(String, Vec<f32>)>, StepReport) {
    let device = device();
    let reference = Reference::open("reference_roga_f32");
    let domains = trajectories::batches(&reference, &device).swap_remove(0);
    let config = Config::erm()
        .with_clean_weight(1e-30)
        .with_alignment(Some(config));
    let robust = config.init_gradient().unwrap();
    let (gradients, report) = robust
        .gradients(net, &domains, trajectories::loss_of)
        .unwrap();
    assert!(!report.is_skipped());
    let mut found = Vec::new();
    for (layer, position) in net.layers.iter().zip([0, 2, 4]) {
        let weight: Tensor<2> = gradients.get(layer.weight.id).unwrap();
        found.push((format!("{position}.weight"), values(&weight.transpose())));
        let bias: Tensor<1> = gradients.get(layer.bias.as_ref().unwrap().id).unwrap();
        found.push((format!("{position}.bias"), values(&bias)));
    }
    (found, report)
}

/// The relative error and the cosine with the reference.
fn against_reference(name: &str, config: AlignmentConfig) -> (f64, f64, f64) {
    let reference = Reference::open("reference_roga_f32");
    let net = trajectories::net(&reference, "mlp", &device());
    let (found, report) = gradient_of_loss(&net, config);
    let (mut error, mut square, mut product, mut norm) = (0.0, 0.0, 0.0, 0.0);
    for (parameter, values) in found {
        let (expected, _) = reference.floats(&format!("gram/{name}/grad/{parameter}"));
        for (value, expected) in values.iter().zip(expected) {
            let (value, expected) = (f64::from(*value), f64::from(*expected));
            error += (value - expected).powi(2);
            square += expected * expected;
            product += value * expected;
            norm += value * value;
        }
    }
    let value = f64::from(reference.floats(&format!("gram/{name}/value")).0[0]);
    let seen = report.alignment.unwrap().loss;
    (
        (error / square).sqrt(),
        product / (square * norm).sqrt(),
        (seen - value).abs() / value.abs(),
    )
}

#[test]
fn values_and_gradients_are_the_exact_ones() {
    for (name, config) in LOSSES {
        for (difference, tolerance) in [(Difference::OneSided, 3e-3), (Difference::Central, 3e-4)] {
            let config = config(1.0).with_difference(difference);
            let (gradient, cosine, value) = against_reference(name, config);
            assert!(gradient < tolerance, "{name} {difference:?}: {gradient:e}");
            assert!(cosine > 0.9999, "{name} {difference:?}: {cosine}");
            assert!(value < 1e-6, "{name}: {value:e}");
        }
    }
}

/// Bowls: H_i is diagonal, and a difference of gradients is exact up to rounding.
fn bowls() -> Vec<Loss> {
    vec![
        Loss::Bowl {
            a: vec![3.0, 4.0],
            c: vec![0.0, 0.0],
        },
        Loss::Bowl {
            a: vec![1.0, 2.0],
            c: vec![4.0, -0.5],
        },
    ]
}

#[test]
fn a_case_by_hand() {
    // g₁ = (3, 4), g₂ = (−3, 3) at (1, 1), ḡ = (0, 3.5). φ = −⟨g₁, g₂⟩ = −3, so that
    // ∇φ = −(H₁ g₂ + H₂ g₁) = −((−9, 12) + (3, 8)) = (6, −20).
    for difference in [Difference::OneSided, Difference::Central] {
        let alignment = AlignmentConfig::inner_product(0.5).with_difference(difference);
        let config = Config::erm().with_alignment(Some(alignment));
        let (gradient, report) = gradient_and_report(&config, &[1.0, 1.0], &bowls());
        // One of 32 bits in a step of 3.5e-4.
        assert_close(&gradient, &[3.0, 3.5 - 10.0], 6e-3);
        let seen = report.alignment.unwrap();
        assert_eq!((seen.loss, seen.weight), (-3.0, 0.5));
        let norm = seen.gradient_norm.unwrap();
        assert!((norm - 436f64.sqrt()).abs() < 1e-2, "{norm}");
        assert_eq!(seen.unresolved, None);

        // Beside the perturbed passes: one is added to the other.
        let roga = Config::new().with_rho(0.1).with_gamma(0.02);
        let alone = gradient_of(&roga, &[1.0, 1.0], &bowls());
        let both = roga.with_alignment(config.alignment.clone());
        let (both, report) = gradient_and_report(&both, &[1.0, 1.0], &bowls());
        assert_close(&both, &[alone[0] + 3.0, alone[1] - 10.0], 6e-3);
        assert_eq!(report.points.len(), 2);

        // A long step is as good, on quadratics.
        let long = config.alignment.map(|it| it.with_relative_step(Some(0.25)));
        let long = Config::erm().with_alignment(long);
        let gradient = gradient_of(&long, &[1.0, 1.0], &bowls());
        assert_close(&gradient, &[3.0, -6.5], 1e-5);
    }
}

#[test]
fn a_domain_of_weight_0_does_not_count() {
    let mut three = bowls();
    let between = Loss::Bowl {
        a: vec![7.0, -9.0],
        c: vec![-3.0, 5.0],
    };
    three.insert(1, between);
    let weights = Some(vec![1.0, 0.0, 1.0]);
    for (name, alignment) in LOSSES {
        let two = Config::erm().with_alignment(Some(alignment(0.3)));
        let three_of_two = two.clone().with_domain_weights(weights.clone());
        let (expected, of_two) = gradient_and_report(&two, &[1.0, 1.0], &bowls());
        let (found, of_three) = gradient_and_report(&three_of_two, &[1.0, 1.0], &three);
        assert_eq!(found, expected, "{name}");
        assert_eq!(of_three.passes.alignment, of_two.passes.alignment);
        assert_eq!(of_three.alignment, of_two.alignment, "{name}");
    }
}

#[test]
fn what_has_no_direction_makes_no_pass_and_changes_nothing() {
    let (alike, single) = (
        vec![bowls().swap_remove(0); 3],
        vec![bowls().swap_remove(0)],
    );
    let flat = Loss::Bowl {
        a: vec![0.0, 0.0],
        c: vec![0.0, 0.0],
    };
    let none = |losses: &[Loss]| gradient_of(&Config::erm(), &[1.0, 1.0], losses);
    let with = |alignment: AlignmentConfig, losses: &[Loss]| {
        let config = Config::erm().with_alignment(Some(alignment));
        gradient_and_report(&config, &[1.0, 1.0], losses)
    };
    for (name, alignment) in &LOSSES[..3] {
        let (gradient, report) = with(alignment(0.5), &single);
        assert_eq!(gradient, none(&single), "{name}");
        assert_eq!(report.passes.alignment, 0, "{name}");
        assert_eq!(report.alignment.unwrap().loss, 0.0, "{name}");
    }
    // Of identical gradients the cosine is −1 and stationary, the variance is 0.
    for alignment in [AlignmentConfig::cosine(0.5), AlignmentConfig::variance(0.5)] {
        let (gradient, _) = with(alignment, &alike);
        assert_close(&gradient, &none(&alike), 2e-3);
    }
    for losses in [vec![flat.clone(); 2], vec![flat; 1]] {
        for (name, alignment) in LOSSES {
            let (gradient, report) = with(alignment(0.5), &losses);
            assert_eq!(gradient, [0.0, 0.0], "{name}");
            assert_eq!(report.passes.alignment, 0, "{name}");
            assert_eq!(report.alignment.unwrap().gradient_norm, None, "{name}");
        }
    }
}

#[test]
fn weight_0_and_warm_up_are_the_training_without_it_bit_for_bit() {
    let device = device();
    let off = Schedule::Linear {
        from: 0.0,
        to: 0.0,
        steps: 1,
    };
    for alignment in [
        AlignmentConfig::cosine(0.0),
        AlignmentConfig::cosine(0.7).with_warmup_steps(4),
        AlignmentConfig::cosine(0.7).with_weight_schedule(off),
    ] {
        for config in [Config::erm(), Config::new().with_rho(0.3), Config::sam(0.1)] {
            let mut plain = config.init(momentum()).unwrap();
            let with = config.with_alignment(Some(alignment.clone()));
            let mut with = with.init(momentum()).unwrap();
            let mut net = Net::new(&device);
            let mut other = net.clone().train();
            for step in 0..4 {
                let domains = batches(step, &device);
                let expected = plain.step(0.05, &mut net, &domains, net_loss).unwrap();
                let report = with.step(0.05, &mut other, &domains, net_loss).unwrap();
                assert_eq!(report, expected);
                assert_eq!(net.state(), other.state());
                assert_eq!(optimizer_state(plain.base()), optimizer_state(with.base()));
            }
        }
    }
}

#[test]
fn passes_are_counted_before_and_after() {
    let (from, to, steps) = (0.0, 1.0, 3);
    let rising = Schedule::Linear { from, to, steps };
    let falling = Schedule::Linear {
        from: 1.0,
        to: 0.0,
        steps: 3,
    };
    for (alignment, per_step, in_ten) in [
        (AlignmentConfig::cosine(0.5), 1.0, 10.0),
        (AlignmentConfig::cosine(0.0), 0.0, 0.0),
        (
            AlignmentConfig::cosine(0.5).with_difference(Difference::Central),
            2.0,
            20.0,
        ),
        (AlignmentConfig::cosine(0.5).with_warmup_steps(4), 1.0, 6.0),
        (
            AlignmentConfig::cosine(0.5).with_weight_schedule(rising),
            1.0,
            9.0,
        ),
        (
            AlignmentConfig::cosine(0.5).with_weight_schedule(falling),
            1.0,
            3.0,
        ),
        (
            AlignmentConfig::variance(0.5)
                .with_weight_schedule(rising)
                .with_warmup_steps(8),
            1.0,
            1.0,
        ),
    ] {
        for (config, own) in [
            (Config::erm(), 1.0),
            (Config::sam(0.1).with_warmup_steps(2), 2.0),
        ] {
            let before = config.passes(10, 3).unwrap();
            let config = config.with_alignment(Some(alignment.clone()));
            assert_eq!(config.passes_per_step(3).unwrap(), own + per_step);
            assert_eq!(config.passes(10, 3).unwrap(), before + in_ten, "{config}");
            assert_eq!(
                config.steps_within((before + in_ten) as u64, 3).unwrap(),
                10
            );
            let robust = config.init_gradient().unwrap();
            let model = Point::new(&[0.3, -0.8, 1.1], &device());
            let mut made = 0;
            for _ in 0..10 {
                let loss = |model: &Point, loss: &Loss| loss.at(model);
                let (_, report) = robust.gradients(&model, &domains(&waves()), loss).unwrap();
                let passes = report.passes;
                assert_eq!(
                    passes.calls,
                    passes.clean + passes.perturbed + passes.alignment
                );
                made += passes.calls;
            }
            assert_eq!(made as f64 / 3.0, before + in_ten, "{config}");
        }
    }
}

/// One pass after the other is not finite: nothing changes, and the report names it.
#[test]
fn what_is_not_finite_in_any_pass_skips_the_step() {
    let device = device();
    for config in [Config::erm(), Config::sam(0.1)] {
        let alignment = AlignmentConfig::variance(0.5).with_difference(Difference::Central);
        let config = config.with_alignment(Some(alignment));
        let perturbed = 3 * (config.passes_per_step(3).unwrap() as usize - 3);
        for injected in 0..9 + perturbed {
            let mut optim = config.init(momentum()).unwrap();
            let mut net = Net::new(&device);
            let domains = batches(0, &device);
            optim.step(0.05, &mut net, &domains, net_loss).unwrap();
            let (before, state) = (net.state(), optimizer_state(optim.base()));
            let mut call = 0;
            let report = optim.step(0.05, &mut net, &domains, |net: &Net, batch: &Batch| {
                let poison = if call == injected { f32::NAN } else { 1.0 };
                call += 1;
                net.loss(batch).mul_scalar(poison)
            });
            let report = report.unwrap();
            let Outcome::Skipped(found) = &report.outcome else {
                panic!("{injected} went through");
            };
            assert_eq!(
                (net.state(), optimizer_state(optim.base())),
                (before, state)
            );
            let (pass, domain, calls) = match injected {
                0..3 => (Pass::Clean, injected, 3),
                _ if injected < 3 + perturbed => (
                    Pass::Perturbed { ascent: None },
                    injected - 3,
                    9 + perturbed,
                ),
                _ => (
                    Pass::Alignment,
                    (injected - 3 - perturbed) / 2,
                    9 + perturbed,
                ),
            };
            assert_eq!(found.pass, pass);
            assert_eq!(found.domain.as_deref(), Some(["a", "b", "c"][domain]));
            // A clean pass that is not finite is the last one.
            assert_eq!((report.passes.calls, call), (calls, calls));
        }
    }
}

#[test]
fn running_statistics_are_those_of_the_clean_passes() {
    let device = device();
    let domains = batches(0, &device);
    let mut erm = Net::new(&device);
    let mut aligned = erm.clone().train();
    let statistics = |net: &Net| net.state().split_off(4 * 6 + 6 + 6 + 6 + 6 * 3 + 3);
    let before = statistics(&erm);
    let alignment = Some(AlignmentConfig::cosine(0.3));
    for (net, config) in [
        (&mut erm, Config::erm()),
        (&mut aligned, Config::erm().with_alignment(alignment)),
    ] {
        let mut optim = config.init(momentum()).unwrap();
        optim.step(0.05, net, &domains, net_loss).unwrap();
    }
    assert_eq!(statistics(&erm), statistics(&aligned));
    assert_ne!(statistics(&erm), before);
    assert_ne!(erm.state(), aligned.state());
}

#[test]
fn joined_passes_are_the_same_step() {
    for config in [Config::erm(), Config::sagm(0.1, 0.05)] {
        for (name, alignment) in LOSSES {
            let alignment = alignment(0.3).with_difference(Difference::Central);
            let config = config.clone().with_alignment(Some(alignment));
            let ([one, joined], [expected, report]) = apart_and_joined(&config);
            assert_close(&joined.values(), &one.values(), 1e-5);
            let seen = (
                report.alignment.unwrap().loss,
                expected.alignment.unwrap().loss,
            );
            assert!((seen.0 - seen.1).abs() < 1e-5, "{name}: {seen:?}");
            assert_eq!(report.passes.alignment, 6);
        }
    }
}

/// Dropout: with a noise seed both ends of a difference see the same masks.
#[test]
fn a_noise_seed_keeps_the_masks_of_a_difference() {
    // The device's random numbers are one state for all threads of a process.
    const NAME: &str = "alignment_losses::a_noise_seed_keeps_the_masks_of_a_difference";
    if process::part().is_none() {
        return process::run(NAME, "alone", Path::new("."));
    }
    let device = device();
    let domains = batches(0, &device);
    let mut net = Net::new(&device);
    net.dropout = burn::nn::DropoutConfig::new(0.5).init();
    let norm = |seed: Option<u64>| {
        let alignment = AlignmentConfig::inner_product(0.1);
        let config = Config::erm().with_alignment(Some(alignment));
        let robust = config.with_noise_seed(seed).init_gradient().unwrap();
        let (_, report) = robust.gradients(&net, &domains, net_loss).unwrap();
        report.alignment.unwrap().gradient_norm.unwrap()
    };
    let (with, without) = (norm(Some(3)), norm(None));
    assert!(with * 10.0 < without, "{with} and {without}");
}

/// Twice the variance, under another name.
#[derive(Debug)]
struct Own {
    factor: f64,
}

impl AlignmentLoss for Own {
    fn value(&self, gram: &GramMatrix) -> f64 {
        self.factor * Variance.value(gram)
    }

    fn derivative(&self, gram: &GramMatrix) -> GramMatrix {
        let of_variance = Variance.derivative(gram);
        GramMatrix::from_fn(gram.domains(), |i, j| self.factor * of_variance.get(i, j))
    }
}

#[test]
fn a_loss_of_ones_own() {
    let own = |factor: f64| {
        let config = AlignmentConfig::own(&Own { factor }, 0.25);
        Config::erm().with_alignment(Some(config))
    };
    let built_in = Config::erm().with_alignment(Some(AlignmentConfig::variance(0.5)));
    let theta = [0.3, -0.8, 1.1];
    let expected = gradient_of(&built_in, &theta, &waves());
    let gradient = |robust: &RobustGradient| {
        let model = Point::new(&theta, &device());
        let loss = |model: &Point, loss: &Loss| loss.at(model);
        let (gradients, _) = robust.gradients(&model, &domains(&waves()), loss)?;
        Ok::<_, Error>(values(&gradients.get::<1>(model.theta.id).unwrap()))
    };
    let mut robust = own(2.0).init_gradient().unwrap();
    assert_eq!(
        gradient(&robust).unwrap_err().to_string(),
        "alignment.loss must be handed over by `set_alignment_loss`, since it is the caller's own, \
         but is not known"
    );
    let error = robust.set_alignment_loss(Own { factor: 3.0 }).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("alignment.loss must be the one"),
        "{error}"
    );
    assert!(
        built_in
            .init_gradient()
            .unwrap()
            .set_alignment_loss(Variance)
            .is_err()
    );
    robust.set_alignment_loss(Own { factor: 2.0 }).unwrap();
    assert_close(&gradient(&robust).unwrap(), &expected, 1e-6);
    assert_close(&gradient(&robust.clone()).unwrap(), &expected, 1e-6);

    // A record knows which loss it was, and a clone and a resumed training still have theirs.
    let mut optim = own(2.0).init(momentum()).unwrap();
    optim.set_alignment_loss(Own { factor: 2.0 }).unwrap();
    let record = optim.to_record().unwrap();
    optim.load_record(&record).unwrap();
    assert_close(
        &gradient(optim.clone().gradient()).unwrap(),
        &expected,
        1e-6,
    );
    for other in [own(3.0), built_in, Config::erm()] {
        let error = other
            .init(momentum())
            .unwrap()
            .load_record(&record)
            .unwrap_err();
        assert!(error.to_string().contains("`alignment` is"), "{error}");
    }
}

/// What a caller may write.
#[derive(Debug)]
struct Broken {
    value: f64,
    derivative: f64,
    rows: usize,
}

impl AlignmentLoss for Broken {
    fn value(&self, _: &GramMatrix) -> f64 {
        self.value
    }

    fn derivative(&self, _: &GramMatrix) -> GramMatrix {
        GramMatrix::from_fn(self.rows, |_, _| self.derivative)
    }
}

#[test]
fn a_loss_that_is_not_finite_skips_and_one_of_another_size_is_refused() {
    for (value, derivative, rows, quantity) in [
        (f64::NAN, 1.0, 3, Some(Quantity::Loss)),
        (1.0, f64::INFINITY, 3, Some(Quantity::Gradient)),
        (1.0, f64::NAN, 3, Some(Quantity::Gradient)),
        (1.0, 1.0, 2, None),
        (1.0, 1.0, 0, None),
    ] {
        let broken = || Broken {
            value,
            derivative,
            rows,
        };
        let config = AlignmentConfig::own(&broken(), 0.1);
        let config = Config::erm().with_alignment(Some(config));
        let mut optim = config.init(momentum()).unwrap();
        optim.set_alignment_loss(broken()).unwrap();
        let mut model = Point::new(&[0.3, -0.8, 1.1], &device());
        let before = model.values();
        let loss = |model: &Point, loss: &Loss| loss.at(model);
        let report = optim.step(0.1, &mut model, &domains(&waves()), loss);
        assert_eq!(model.values(), before);
        match (quantity, report) {
            (Some(quantity), Ok(report)) => {
                let Outcome::Skipped(found) = report.outcome else {
                    panic!("{broken:?} went through", broken = broken());
                };
                assert_eq!((found.pass, found.quantity), (Pass::Alignment, quantity));
            }
            (None, Err(error)) => assert_eq!(
                error.to_string(),
                format!(
                    "alignment.loss must have a derivative of one row for each domain, but is {rows} for 3"
                )
            ),
            (_, report) => panic!("{report:?}"),
        }
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (alignment, message) in [
        (
            AlignmentConfig::cosine(-1.0),
            "alignment.weight must be finite and at least 0, but is -1",
        ),
        (
            AlignmentConfig::cosine(f64::NAN),
            "alignment.weight must be finite and at least 0, but is NaN",
        ),
        (
            AlignmentConfig::cosine(1.0).with_relative_step(Some(0.0)),
            "alignment.relative_step must be finite and above 0, but is 0",
        ),
        (
            AlignmentConfig::cosine(1.0)
                .with_weight_schedule(Schedule::LearningRate { reference: 0.0 }),
            "alignment.weight_schedule must have a reference that is finite and above 0, but is \
             LearningRate { reference: 0.0 }",
        ),
    ] {
        let error = Config::erm()
            .with_alignment(Some(alignment))
            .init_gradient();
        assert_eq!(error.unwrap_err().to_string(), message);
    }
}
