//! Parameters of 16 bits: what is added up in 32, and what rounding leaves of a perturbation.

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::{AdamWConfig, SgdConfig},
    tensor::{DType, FloatDType, Tensor},
};
use roga::{
    domain::{DomainBatches, JoinedBatch, MicroBatches},
    optim::{
        Ascent, Evaluation, Outcome, RobustGradientAlignmentConfig as Config,
        RobustGradientAlignmentRecord, micro_batched,
    },
    perturbation::Adaptive,
};

use crate::problems::{
    Batch, EVALUATIONS, Mlp, Net, Point, assert_close, batches, device, joined_losses, momentum,
    optimizer_state, uneven, values,
};

const HALVES: [FloatDType; 2] = [FloatDType::F16, FloatDType::BF16];

/// All float parameters and running statistics in another type.
struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trained = param.is_require_grad();
        let (id, tensor, mapper) = param.consume();
        let tensor = Tensor::from_inner(tensor.inner().cast(self.0));
        let tensor = if trained {
            tensor.require_grad()
        } else {
            tensor
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

fn cast<M: Module>(model: M, dtype: FloatDType) -> M {
    model.map(&mut Cast(dtype))
}

fn like(batch: &Batch, dtype: FloatDType) -> Batch {
    Batch {
        x: batch.x.clone().cast(dtype),
        y: batch.y.clone(),
    }
}

fn point(theta: &[f32], dtype: FloatDType) -> Point {
    cast(Point::new(theta, &device()), dtype)
}

/// L = ⟨g, θ⟩, in the type of θ.
fn linear(model: &Point, gradient: &Vec<f32>) -> Tensor<1> {
    let theta = model.theta.val();
    let gradient = Tensor::<1>::from_floats(gradient.as_slice(), &theta.device());
    (theta.clone() * gradient.cast(theta.dtype())).sum()
}

/// The nearest number of 16 bits.
fn rounded(values: &[f32], dtype: FloatDType) -> Vec<f32> {
    let tensor = Tensor::<1>::from_floats(values, &device()).cast(dtype);
    tensor.to_data().iter::<f32>().collect()
}

/// Three steps in 16 bits, beside those in 32.
fn check_training(config: &Config, dtype: FloatDType) {
    let device = device();
    let mut full = Mlp::new(&device);
    let mut half = cast(Mlp::new(&device), dtype);
    let mut of_full = config.init(momentum()).unwrap();
    let mut of_half = config.init(momentum()).unwrap();
    for step in 0..3 {
        let domains = uneven(step, &device);
        let expected = of_full.step(0.1, &mut full, &domains, Mlp::loss).unwrap();
        let report = of_half
            .step(0.1, &mut half, &domains, |net: &Mlp, batch: &Batch| {
                assert_eq!(net.first.weight.val().dtype(), DType::from(dtype));
                net.loss(&like(batch, dtype))
            })
            .unwrap();
        assert!(!report.is_skipped());
        assert_eq!(report.passes, expected.passes);
        assert_eq!(report.unresolved().is_some(), expected.passes.perturbed > 0);
    }
    assert_eq!(half.first.weight.val().dtype(), DType::from(dtype));
    let unit = if dtype == FloatDType::F16 { 1.0 } else { 8.0 };
    assert_close(&half.values(), &full.values(), 2e-3 * unit);
    assert_ne!(half.values(), cast(Mlp::new(&device), dtype).values());
}

#[test]
fn nets_of_16_bits_are_trained_in_every_evaluation() {
    for dtype in HALVES {
        for evaluation in EVALUATIONS {
            for ascent in [Ascent::Domain, Ascent::Pooled] {
                for adaptive in [Adaptive::None, Adaptive::ASAM] {
                    let config = Config::new()
                        .with_rho(0.2)
                        .with_gamma(0.05)
                        .with_evaluation(evaluation)
                        .with_ascent(ascent)
                        .with_adaptive(adaptive);
                    check_training(&config, dtype);
                }
            }
        }
        check_training(&Config::friendly_sam(0.2, 1.0, 0.9), dtype);
        check_training(&Config::look_sam(0.2, 2, 0.7), dtype);
    }
}

#[test]
fn joined_passes_and_batch_normalisation_work_in_16_bits() {
    let device = device();
    for dtype in HALVES {
        let unit = if dtype == FloatDType::F16 { 1.0 } else { 8.0 };
        for evaluation in EVALUATIONS {
            let config = Config::new().with_rho(0.2).with_evaluation(evaluation);
            let mut joined = cast(Mlp::new(&device), dtype);
            let mut separate = cast(Mlp::new(&device), dtype);
            let domains = uneven(0, &device).map(|batch| like(&batch, dtype));
            let mut one = config.init(SgdConfig::new().init()).unwrap();
            let mut two = config.init(SgdConfig::new().init()).unwrap();
            one.step(0.1, &mut separate, &domains, Mlp::loss).unwrap();
            two.step_joined(
                0.1,
                &mut joined,
                &domains,
                |net: &Mlp, joined: &JoinedBatch<Batch>| {
                    joined_losses(net.forward(joined.batch().x.clone()), joined)
                },
            )
            .unwrap();
            assert_close(&joined.values(), &separate.values(), 2e-3 * unit);

            let mut net = cast(Net::new(&device), dtype);
            let clean = net.clone().train();
            let domains = batches(0, &device).map(|batch| like(&batch, dtype));
            let mut optim = config.init(AdamWConfig::new().init()).unwrap();
            let loss = |net: &Net, batch: &Batch| net.loss(batch);
            let report = optim.step(1e-3, &mut net, &domains, loss).unwrap();
            assert!(!report.is_skipped());
            for (_, batch) in domains.iter() {
                clean.loss(batch);
            }
            let (net, clean) = (net.valid(), clean.valid());
            assert_eq!(
                values(&net.norm.running_var.value()),
                values(&clean.norm.running_var.value())
            );
            assert_eq!(
                values(&net.norm.running_mean.value()),
                values(&clean.norm.running_mean.value())
            );
        }
    }
}

/// 2048 + 16·1 is 2048 where one after the other is added in 11 bits (and in 8), 2·60000 is
/// beyond the range of f16.
#[test]
fn sums_over_domains_are_of_32_bits_and_rounded_once() {
    let mut gradients = vec![vec![60_000.0, 2048.0]];
    gradients.extend(vec![vec![60_000.0, 1.0]; 16]);
    let domains = DomainBatches::unnamed(gradients.clone()).unwrap();
    let parts = gradients.iter().map(|g| (1, g.clone()));
    let parts = DomainBatches::unnamed([MicroBatches::new(parts).unwrap()]).unwrap();
    for dtype in HALVES {
        // What there is to add up has been rounded to 16 bits.
        let mean = [60_000.0, 2064.0 / 17.0];
        let mean: Vec<f32> = match dtype {
            FloatDType::BF16 => vec![rounded(&[60_000.0], dtype)[0], mean[1]],
            _ => mean.to_vec(),
        };
        let mean = rounded(&mean, dtype);
        for evaluation in EVALUATIONS {
            // No shift: along the mean it would leave the range of f16 by itself.
            let config = Config::new().with_gamma(0.0).with_evaluation(evaluation);
            for config in [
                Config::erm(),
                config.clone(),
                config.with_ascent(Ascent::Pooled).with_report(false),
            ] {
                let model = point(&[0.25, 0.5], dtype);
                let robust = config.init_gradient().unwrap();
                let (gradient, report) = robust.gradients(&model, &domains, linear).unwrap();
                assert_eq!(report.outcome, Outcome::Applied, "{config}");
                let gradient = gradient.get::<1>(model.theta.id).unwrap();
                assert_eq!(gradient.dtype(), DType::from(dtype));
                assert_eq!(values(&gradient), mean, "{config}");
            }
        }
        // So are those over the parts of a batch.
        let model = point(&[0.25, 0.5], dtype);
        let robust = Config::sam(0.05).init_gradient().unwrap();
        let (gradient, report) = robust
            .gradients(&model, &parts, micro_batched(linear))
            .unwrap();
        assert_eq!(report.outcome, Outcome::Applied);
        let gradient = gradient.get::<1>(model.theta.id).unwrap();
        assert_eq!(gradient.dtype(), DType::from(dtype));
        assert_eq!(values(&gradient), mean);
    }
}

/// 256² is beyond f16, and 2⁻¹⁴ squared below it.
#[test]
fn norms_and_inner_products_are_of_32_bits() {
    for scale in [256.0f32, 2.0f32.powi(-14)] {
        let gradients = [
            vec![3.0 * scale, 4.0 * scale],
            vec![-4.0 * scale, 3.0 * scale],
        ];
        let domains = DomainBatches::unnamed(gradients.clone()).unwrap();
        for dtype in HALVES {
            let model = point(&[0.0, 0.0], dtype);
            let config = Config::new().with_rho(1.0).with_gamma(0.0);
            let config = config.with_evaluation(Evaluation::Own);
            let mut seen = Vec::new();
            let (_, report) = config
                .init_gradient()
                .unwrap()
                .gradients(&model, &domains, |model: &Point, gradient: &Vec<f32>| {
                    seen.push(model.values());
                    linear(model, gradient)
                })
                .unwrap();
            let scale = f64::from(scale);
            for domain in &report.domains {
                let norm = domain.gradient_norm.unwrap() / scale;
                assert!((norm - 5.0).abs() < 1e-6, "{norm}");
            }
            let cosines = report.cosines.as_ref().unwrap();
            assert!(cosines[0][1].abs() < 1e-6 && (cosines[0][0] - 1.0).abs() < 1e-6);
            let mean = report.mean_gradient_norm.unwrap() / scale;
            assert!((mean - 5.0 / 2.0f64.sqrt()).abs() < 1e-6);
            // ε = g / ‖g‖, displaced in 32 bits and rounded once.
            assert_eq!(seen[2], rounded(&[0.6, 0.8], dtype));
            assert_eq!(seen[3], rounded(&[-0.8, 0.6], dtype));
        }
    }
}

/// Both entries move by about 0.01: more than the resolution of 1, less than that of 1024.
#[test]
fn the_report_says_which_share_of_a_perturbation_is_lost() {
    let one = DomainBatches::unnamed([vec![1.0f32, 1.0]]).unwrap();
    let unresolved = |theta: &[f32], dtype: FloatDType, rho: f64| {
        let model = point(theta, dtype);
        let robust = Config::sam(rho).init_gradient().unwrap();
        let (_, report) = robust.gradients(&model, &one, linear).unwrap();
        assert_eq!(report.unresolved(), report.points[0].unresolved);
        report.unresolved()
    };
    for dtype in HALVES {
        let rho = 0.01 * 2.0f64.sqrt();
        assert_eq!(unresolved(&[1.0, 1024.0], dtype, rho), Some(0.5));
        assert_eq!(unresolved(&[1.0, 1.0], dtype, rho), Some(0.0));
        assert_eq!(unresolved(&[1024.0, 1024.0], dtype, rho), Some(1.0));
        assert_eq!(unresolved(&[1024.0, 1024.0], dtype, 1e3), Some(0.0));
        // Lost in 32 bits already.
        for rho in [1e-4, 1e-9, 1e-20] {
            assert_eq!(unresolved(&[1.0, 1.0], dtype, rho), Some(1.0), "{rho}");
        }
    }
    assert_eq!(unresolved(&[1.0, 1024.0], FloatDType::F32, 1e-9), None);
    // Nobody asks, nothing is counted.
    let gradient = DomainBatches::unnamed([vec![3.0f32, 4.0]]).unwrap();
    let quiet = Config::sam(1e-3).with_report(false);
    let robust = quiet.init_gradient().unwrap();
    let model = point(&[1.0, 1.0], FloatDType::F16);
    let (_, report) = robust.gradients(&model, &gradient, linear).unwrap();
    assert_eq!(report.points.len(), 1);
    assert_eq!(report.unresolved(), None);

    // What is not to be moved is not lost.
    let still = DomainBatches::unnamed([vec![1.0f32, 0.0]]).unwrap();
    let model = point(&[1.0, 1.0], FloatDType::F16);
    for (rho, expected) in [(1e-5, 1.0), (0.1, 0.0)] {
        let robust = Config::sam(rho).init_gradient().unwrap();
        let (_, report) = robust.gradients(&model, &still, linear).unwrap();
        assert_eq!(report.unresolved(), Some(expected));
    }
    let flat = DomainBatches::unnamed([vec![0.0f32, 0.0]]).unwrap();
    let robust = Config::sam(0.1).init_gradient().unwrap();
    let (_, report) = robust.gradients(&model, &flat, linear).unwrap();
    assert_eq!(report.unresolved(), Some(0.0));

    // A net: by the radius, and the worst of its points.
    let device = device();
    for dtype in HALVES {
        let net = cast(Mlp::new(&device), dtype);
        let domains = uneven(0, &device).map(|batch| like(&batch, dtype));
        let unresolved = |rho: f64| {
            let config = Config::new().with_rho(rho).with_gamma(0.0);
            let robust = config.init_gradient().unwrap();
            let (_, report) = robust.gradients(&net, &domains, Mlp::loss).unwrap();
            let shares = report.points.iter().map(|point| point.unresolved.unwrap());
            let worst = shares.fold(0.0, f64::max);
            assert_eq!(report.unresolved(), Some(worst));
            worst
        };
        assert!(unresolved(1e-6) > 0.95, "{}", unresolved(1e-6));
        assert!(unresolved(1.0) < 0.05, "{}", unresolved(1.0));
    }
}

/// A layer of 16 bits under one of 32.
#[derive(Module, Debug)]
struct Mixed {
    half: Point,
    full: Point,
}

#[test]
fn a_model_of_two_types_has_one_norm_and_keeps_its_types() {
    let mut model = Mixed {
        half: point(&[1.0, 1024.0], FloatDType::F16),
        full: point(&[1.0, 1024.0], FloatDType::F32),
    };
    let domains = DomainBatches::unnamed([vec![3.0f32, 4.0]]).unwrap();
    let mut seen = Vec::new();
    let mut optim = Config::sam(0.1).init(SgdConfig::new().init()).unwrap();
    let report = optim
        .step(1.0, &mut model, &domains, |model: &Mixed, gradient| {
            seen.push((model.half.values(), model.full.values()));
            linear(&model.half, gradient).cast(DType::F32) + linear(&model.full, gradient)
        })
        .unwrap();
    let norm = 50.0f64.sqrt();
    assert!((report.domains[0].gradient_norm.unwrap() - norm).abs() < 1e-5);
    let epsilon = [0.3 / norm, 0.4 / norm].map(|e| e as f32);
    let point = [1.0 + epsilon[0], 1024.0 + epsilon[1]];
    assert_eq!(seen[1].0, rounded(&point, FloatDType::F16));
    assert_close(&seen[1].1, &point, 1e-4);
    // Of the two entries of 16 bits, one is lost; those of 32 do not count.
    assert_eq!(report.unresolved(), Some(0.5));
    assert_eq!(model.half.theta.val().dtype(), DType::F16);
    assert_eq!(model.full.theta.val().dtype(), DType::F32);
    assert_eq!(model.half.values(), [-2.0, 1020.0]);
    assert_eq!(model.full.values(), [-2.0, 1020.0]);
}

/// 40,000 twice is a number of 32 bits and none of f16: the base optimizer must not see it.
#[test]
fn a_sum_that_does_not_fit_into_16_bits_changes_nothing() {
    let domains = DomainBatches::unnamed([vec![40_000.0, 1.0]]).unwrap();
    let config = Config::new()
        .with_rho(1e-3)
        .with_gamma(0.0)
        .with_clean_weight(1.0)
        .with_perturbed_weight(1.0);
    for (dtype, skipped) in [(FloatDType::F16, true), (FloatDType::BF16, false)] {
        let mut model = point(&[0.25, 0.5], dtype);
        let mut optim = config.init(momentum()).unwrap();
        let report = optim.step(1e-6, &mut model, &domains, linear).unwrap();
        assert_eq!(report.is_skipped(), skipped);
        if skipped {
            assert_eq!(model.values(), [0.25, 0.5]);
            assert!(optimizer_state(optim.base()).is_empty());
        }
    }
}

/// The mean 2049 of 32 bits is none of 16.
#[test]
fn the_norm_of_the_update_is_that_of_the_rounded_numbers() {
    let domains = DomainBatches::unnamed([vec![2048.0, 1.0], vec![2050.0, 1.0]]).unwrap();
    let model = point(&[0.25, 0.5], FloatDType::F16);
    for report in [true, false] {
        let robust = Config::erm().with_report(report).init_gradient().unwrap();
        let (gradient, seen) = robust.gradients(&model, &domains, linear).unwrap();
        let gradient = values(&gradient.get::<1>(model.theta.id).unwrap());
        assert_eq!(gradient, [2048.0, 1.0]);
        let norm = 2048f64.hypot(1.0);
        assert!((seen.update_gradient_norm / norm - 1.0).abs() < 1e-6);
    }
}

/// burn puts a state of 16 bits back in the device's default type: the first step would panic.
#[test]
fn a_recorded_state_of_16_bits_is_refused() {
    let domains = DomainBatches::unnamed([vec![1.0, 0.5]]).unwrap();
    let mut model = point(&[0.25, 0.5], FloatDType::F16);
    let mut optim = Config::new().init(momentum()).unwrap();
    optim.step(0.05, &mut model, &domains, linear).unwrap();
    let record = optim.to_record().unwrap().into_bytes().unwrap();
    let record = RobustGradientAlignmentRecord::from_bytes(record).unwrap();
    let mut resumed = Config::new().init(momentum()).unwrap();
    let error = resumed.load_record(&record).unwrap_err().to_string();
    assert!(
        error.starts_with("the record must hold a state that burn puts back in its own type, but")
            && error.contains("F16"),
        "{error}"
    );
    assert_eq!(resumed.gradient().steps(), 0);
}
