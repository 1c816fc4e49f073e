//! Norms of gradients: which of them a report holds, and of what they are.

use burn::{module::Module, optim::GradientsParams};
use roga::{
    aggregation::{CaGrad, Sum},
    alignment::AlignmentConfig,
    domain::JoinedBatch,
    gradient::squared_norm,
    optim::{
        Aggregated, AggregationConfig, Ascent, Evaluation, FriendlyAscent,
        RobustGradientAlignmentConfig as Config, StepReport,
    },
    perturbation::Adaptive,
};

use crate::problems::{Batch, EVALUATIONS, Mlp, batches, device, joined_losses, uneven};

fn norm<M: Module>(model: &M, gradient: &GradientsParams) -> f64 {
    let square = squared_norm(model, gradient).unwrap();
    square.into_scalar::<f64>().sqrt()
}

fn same(a: f64, b: f64, what: &Config) {
    assert!((a - b).abs() <= 1e-6 * b, "{a} is not {b}: {what}");
}

/// Plain steps in which $G$ is $\bar g$, in which it is another one, and perturbed ones.
fn settings() -> Vec<Config> {
    let aggregated = |of| {
        let aggregation = AggregationConfig::new(CaGrad::new(0.4).into()).with_of(of);
        Config::erm().with_aggregation(Some(aggregation))
    };
    let sum = AggregationConfig::new(Sum.into()).with_of(Aggregated::Perturbed);
    vec![
        Config::erm(),
        Config::erm().with_domain_weights(Some(vec![1.0, 0.0, 3.0])),
        Config::erm().with_clean_weight(2.5),
        Config::new().with_warmup_steps(9),
        Config::new()
            .with_warmup_steps(9)
            .with_perturbed_weight(1.0),
        Config::new()
            .with_warmup_steps(9)
            .with_aggregation(Some(sum)),
        aggregated(Aggregated::Clean),
        Config::erm().with_alignment(Some(AlignmentConfig::variance(3.0))),
        Config::look_sam(0.1, 3, 0.7),
        Config::sam(0.1).with_interval(2),
        Config::sagm(0.1, 0.05).with_friendly(Some(FriendlyAscent::new())),
        Config::asam(0.1),
        Config::new().with_evaluation(Evaluation::Own),
    ]
}

#[test]
fn that_of_the_update_is_of_what_is_handed_on() {
    let device = device();
    for config in settings() {
        for report in [true, false] {
            let config = config.clone().with_report(report);
            let apart = config.init_gradient().unwrap();
            let joined = config.init_gradient().unwrap();
            let net = Mlp::new(&device);
            for step in 0..4 {
                let domains = uneven(step, &device);
                let found = apart.gradients(&net, &domains, Mlp::loss).unwrap();
                same(found.1.update_gradient_norm, norm(&net, &found.0), &config);
                assert!(found.1.update_gradient_norm > 0.0);
                let loss = |net: &Mlp, joined: &JoinedBatch<Batch>| {
                    joined_losses(net.forward(joined.batch().x.clone()), joined)
                };
                let (gradient, seen) = joined.gradients_joined(&net, &domains, loss).unwrap();
                same(seen.update_gradient_norm, norm(&net, &gradient), &config);
                same(
                    seen.update_gradient_norm,
                    found.1.update_gradient_norm,
                    &config,
                );
                if !report {
                    assert_eq!(seen.mean_gradient_norm, None);
                    assert_eq!(found.1.mean_gradient_norm, None);
                    assert!(found.1.cosines.is_none() && found.1.conflicts.is_none());
                }
            }
        }
    }
}

fn seen(config: &Config) -> StepReport {
    let device = device();
    let robust = config.init_gradient().unwrap();
    let net = Mlp::new(&device);
    let found = robust.gradients(&net, &batches(0, &device), Mlp::loss);
    found.unwrap().1
}

#[test]
fn without_the_report_they_are_those_that_ascents_go_by() {
    for evaluation in EVALUATIONS {
        for ascent in [Ascent::Domain, Ascent::Pooled] {
            for adaptive in [Adaptive::None, Adaptive::ASAM] {
                for gamma in [0.0, 0.05] {
                    let config = Config::new()
                        .with_rho(0.1)
                        .with_gamma(gamma)
                        .with_evaluation(evaluation)
                        .with_ascent(ascent)
                        .with_adaptive(adaptive);
                    let full = seen(&config);
                    let lean = seen(&config.clone().with_report(false));
                    let known = ascent == Ascent::Domain && adaptive == Adaptive::None;
                    for (lean, full) in lean.domains.iter().zip(&full.domains) {
                        assert_eq!(lean.loss, full.loss);
                        assert!(full.gradient_norm.is_some());
                        let expected = full.gradient_norm.filter(|_| known);
                        assert_eq!(lean.gradient_norm, expected, "{config}");
                    }
                    assert_eq!(lean.update_gradient_norm, full.update_gradient_norm);
                }
            }
        }
    }
    let lean = seen(&Config::erm().with_report(false));
    assert!(lean.domains.iter().all(|it| it.gradient_norm.is_none()));
    let full = seen(&Config::erm());
    assert_eq!(full.mean_gradient_norm, Some(full.update_gradient_norm));
    assert_eq!(lean.update_gradient_norm, full.update_gradient_norm);
}
