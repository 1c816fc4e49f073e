//! Clean gradients that are not kept: taken again, or gone before the next one is taken.

use std::path::Path;

use burn::{module::ParamGroup, nn::DropoutConfig};
use roga::{
    alignment::AlignmentConfig,
    optim::{
        Ascent, Evaluation, PerturbationGroup, RobustGradientAlignmentConfig as Config, StepReport,
    },
    perturbation::Adaptive,
};

use crate::{
    problems::{EVALUATIONS, Net, batches, device, momentum, net_loss},
    process,
};

const DOMAINS: usize = 3;

/// Parameters, running statistics and the last report after some steps.
fn trained(config: &Config, dropout: f64) -> (Vec<u32>, StepReport) {
    let device = device();
    let mut net = Net::new(&device);
    net.dropout = DropoutConfig::new(dropout).init();
    let mut optim = config.init(momentum()).unwrap();
    let mut step = |step| {
        optim
            .step(0.1, &mut net, &batches(step, &device), net_loss)
            .unwrap()
    };
    step(0);
    let report = step(1);
    (net.state(), report)
}

fn settings() -> Vec<Config> {
    let mut settings = Vec::new();
    for evaluation in EVALUATIONS {
        for gamma in [0.0, 0.05] {
            let config = Config::new().with_evaluation(evaluation).with_gamma(gamma);
            settings.push(config.clone().with_rho(0.3));
            settings.push(config.clone().with_adaptive(Adaptive::ASAM));
            let uneven = vec![1.0, 0.0, 2.0];
            settings.push(config.clone().with_domain_weights(Some(uneven)));
            // Some parameters are shifted and others not, and some stay where they are.
            let group = |names, rho, gamma| {
                let group = ParamGroup::from_any_predicates(vec![names]);
                PerturbationGroup { group, rho, gamma }
            };
            let groups = vec![group("norm", 0.0, 0.0), group("bias", 0.3, 2.0 * gamma)];
            settings.push(config.with_groups(groups));
        }
    }
    settings
}

#[test]
fn what_is_kept_changes_no_bit() {
    for config in settings() {
        let (kept, full) = trained(&config, 0.0);
        for report in [true, false] {
            let config = config.clone().with_report(report);
            assert_eq!(trained(&config, 0.0).0, kept, "{config}");
            let (again, seen) = trained(&config.clone().with_recompute(true), 0.0);
            assert_eq!(again, kept, "{config}");
            for (seen, full) in seen.domains.iter().zip(&full.domains) {
                assert_eq!(seen.loss, full.loss, "{config}");
                // Norms are those that ascents go by, and the report's.
                let known = report || config.adaptive == Adaptive::None;
                let norm = full.gradient_norm.filter(|_| known);
                assert_eq!(seen.gradient_norm, norm, "{config}");
            }
            assert!(seen.cosines.is_none() && seen.conflicts.is_none());
            if report {
                assert_eq!(seen.points, full.points, "{config}");
                assert_eq!(seen.mean_gradient_norm, full.mean_gradient_norm);
            }
        }
    }
}

#[test]
fn what_is_taken_again_is_counted() {
    for config in settings() {
        let own = config.evaluation != Evaluation::Consensus;
        let points = match config.domain_weights {
            None => DOMAINS,
            Some(_) => DOMAINS - 1,
        };
        for report in [true, false] {
            let config = config.clone().with_recompute(true).with_report(report);
            let again = own && (report || config.gamma > 0.0);
            let (_, seen) = trained(&config, 0.0);
            let clean = DOMAINS + if again { points } else { 0 };
            assert_eq!(seen.passes.clean, clean, "{config}");
            assert_eq!(seen.passes.calls, clean + seen.passes.perturbed);
            let counted = config.passes_per_step(DOMAINS).unwrap() * DOMAINS as f64;
            assert_eq!(counted.round() as usize, clean + seen.passes.perturbed);
        }
    }
    // A pooled ascent needs no domain's gradient.
    let pooled = Config::new().with_ascent(Ascent::Pooled);
    let (kept, _) = trained(&pooled, 0.0);
    let (again, report) = trained(&pooled.with_recompute(true), 0.0);
    assert_eq!((again, report.passes.clean), (kept, DOMAINS));
}

#[test]
fn dropout_is_the_same_again_with_a_noise_seed() {
    // The device's random numbers are one state for all threads of a process.
    const NAME: &str = "recomputed::dropout_is_the_same_again_with_a_noise_seed";
    if process::part().is_none() {
        return process::run(NAME, "alone", Path::new("."));
    }
    for gamma in [0.0, 0.05] {
        let config = Config::new().with_gamma(gamma).with_noise_seed(Some(3));
        let (kept, _) = trained(&config, 0.5);
        let again = config.clone().with_recompute(true);
        let streamed = config.with_report(false);
        assert_eq!(trained(&again, 0.5).0, kept);
        assert_eq!(trained(&streamed, 0.5).0, kept);
    }
}

#[test]
fn what_needs_the_gradients_together_refuses_it() {
    for config in [
        Config::new().with_alignment(Some(AlignmentConfig::cosine(0.1))),
        Config::upgrad(),
    ] {
        let error = config.with_recompute(true).init_gradient().unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("recompute must be off where"), "{error}");
    }
}
