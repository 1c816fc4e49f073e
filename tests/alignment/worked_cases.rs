//! The worked cases of the method: small problems whose numbers are exact.

use burn::optim::SgdConfig;
use roga::optim::{Evaluation, RobustGradientAlignmentConfig as Config};

use crate::problems::{
    Loss, Point, assert_close, device, domains, gradient_and_report, gradient_of, perturbed,
};

fn case_a() -> Vec<Loss> {
    [(1.0, 0.0), (2.0, 3.0)]
        .map(|(x, y)| Loss::Rows {
            x: vec![vec![x]],
            y: vec![y],
        })
        .to_vec()
}

fn case_b() -> Vec<Loss> {
    vec![
        Loss::Rows {
            x: vec![vec![1.0, 0.0], vec![0.0, 2.0]],
            y: vec![-2.0, 0.0],
        },
        Loss::Rows {
            x: vec![vec![3.0, 0.0], vec![0.0, 1.0]],
            y: vec![6.0, -11.0],
        },
    ]
}

fn case_c() -> Vec<Loss> {
    vec![
        Loss::Bowl {
            a: vec![3.0, 4.0],
            c: vec![0.0, 0.0],
        },
        Loss::Bowl {
            a: vec![1.0, 1.0],
            c: vec![1.0, 1.0],
        },
    ]
}

#[test]
fn case_a_gradients() {
    let (rho, gamma) = (0.1, 0.05);
    for (config, expected) in [
        (Config::erm(), -1.0),
        (perturbed(Evaluation::All, rho, gamma), -0.75),
        (perturbed(Evaluation::Own, rho, gamma), -1.05),
        (perturbed(Evaluation::Others, rho, gamma), -0.45),
        (perturbed(Evaluation::Consensus, rho, gamma), -0.75),
        (Config::sam(rho), -1.5),
        (Config::domain_sam(rho), -1.3),
        (Config::sagm(rho, gamma), -1.125),
    ] {
        assert_close(&gradient_of(&config, &[1.0], &case_a()), &[expected], 1e-6);
    }
}

#[test]
fn case_a_trajectories() {
    let all = [1.0875, 1.13671875, 1.164404296875, 1.1799774169921875];
    let own = [1.1025, 1.16015625, 1.192587890625, 1.2108306884765625];
    for (evaluation, expected) in [(Evaluation::All, all), (Evaluation::Own, own)] {
        let mut model = Point::new(&[1.0], &device());
        let mut optim = perturbed(evaluation, 0.1, 0.05)
            .with_clean_weight(1.0)
            .init(SgdConfig::new().init())
            .unwrap();
        for expected in expected {
            optim
                .step(
                    0.05,
                    &mut model,
                    &domains(&case_a()),
                    |model, loss: &Loss| loss.at(model),
                )
                .unwrap();
            let expected: f64 = expected;
            assert_close(&model.values(), &[expected as f32], 1e-6);
        }
    }
}

#[test]
fn case_a_fixed_points() {
    let own = 216.0 / 175.0;
    for (config, fixed_point) in [
        (Config::erm(), 1.2),
        (
            perturbed(Evaluation::All, 0.1, 0.05).with_clean_weight(1.0),
            1.2,
        ),
        (
            perturbed(Evaluation::Own, 0.1, 0.05).with_clean_weight(1.0),
            own,
        ),
    ] {
        assert_close(
            &gradient_of(&config, &[fixed_point], &case_a()),
            &[0.0],
            1e-6,
        );
    }
}

#[test]
fn case_b_gradients_and_report() {
    let (rho, gamma, theta) = (0.1, 0.02, [1.0, 1.0]);
    for (config, expected) in [
        (Config::erm(), [-3.0, 8.0]),
        (perturbed(Evaluation::All, rho, gamma), [-2.70, 7.80]),
        (perturbed(Evaluation::Own, rho, gamma), [-2.94, 7.80]),
        (perturbed(Evaluation::Others, rho, gamma), [-2.46, 7.80]),
        (perturbed(Evaluation::Consensus, rho, gamma), [-2.70, 7.80]),
        (Config::sam(rho), [-3.175_561_7, 8.234_082]),
        (Config::domain_sam(rho), [-3.24, 8.20]),
        (Config::sagm(rho, gamma), [-2.937_780_9, 7.917_041]),
    ] {
        assert_close(&gradient_of(&config, &theta, &case_b()), &expected, 1e-6);
    }

    let model = Point::new(&theta, &device());
    let mut points = Vec::new();
    let (_, report) = perturbed(Evaluation::Own, rho, gamma)
        .init_gradient()
        .unwrap()
        .gradients(&model, &domains(&case_b()), |model, loss: &Loss| {
            points.push(model.values());
            loss.at(model)
        })
        .unwrap();
    assert_eq!(points.len(), 4);
    assert_close(&points[2], &[1.12, 0.92], 1e-6);
    assert_close(&points[3], &[1.00, 0.92], 1e-6);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    close(report.domains[0].gradient_norm.unwrap(), 5.0);
    close(report.domains[1].gradient_norm.unwrap(), 15.0);
    let cosines = report.cosines.unwrap();
    close(cosines[0][1], 0.28);
    close(cosines[1][0], 0.28);
    close(cosines[0][0], 1.0);
    assert!(report.conflicts.unwrap().is_empty());
    close(report.mean_gradient_norm.unwrap(), 73.0f64.sqrt());
    // At (1.12, 0.92): g₁ = (3.12, 3.68), ḡ = (−3, 8).
    let perturbed = (3.12f64 * 3.12 + 3.68 * 3.68).sqrt();
    let alignment = (-3.0 * 3.12 + 8.0 * 3.68) / perturbed / 73.0f64.sqrt();
    close(report.points[0].gradient_norm.unwrap(), perturbed);
    close(report.points[0].alignment.unwrap(), alignment);
    // L₁ = ½((θ₁+2)² + (2θ₂)²): 6.5 at θ.
    let sharpness = 0.5 * (3.12f64.powi(2) + 1.84f64.powi(2)) - 6.5;
    close(report.points[0].sharpness, sharpness);
}

/// Case A with weights (¼, ¾): ḡ = ¼·2 + ¾·(−4) = −2.5, points 1 + 0.1 + 0.125 and 1 − 0.1 + 0.125.
#[test]
fn case_a_with_domain_weights() {
    let weighted = |config: Config| config.with_domain_weights(Some(vec![1.0, 3.0]));
    let (rho, gamma) = (0.1, 0.05);
    // g₁(w) = 2w, g₂(w) = 8w − 12.
    let (g1, g2) = (|w: f64| 2.0 * w, |w: f64| 8.0 * w - 12.0);
    let mean = |w: f64| 0.25 * g1(w) + 0.75 * g2(w);
    let (first, second) = (1.225, 1.025);
    let middle = 1.0 + 0.25 * 0.1 - 0.75 * 0.1 + 0.125;
    for (config, expected) in [
        (Config::erm(), -2.5),
        (
            perturbed(Evaluation::All, rho, gamma),
            0.25 * mean(first) + 0.75 * mean(second),
        ),
        (
            perturbed(Evaluation::Own, rho, gamma),
            0.25 * g1(first) + 0.75 * g2(second),
        ),
        (
            perturbed(Evaluation::Others, rho, gamma),
            0.5 * g2(first) + 0.5 * g1(second),
        ),
        (perturbed(Evaluation::Consensus, rho, gamma), mean(middle)),
        (Config::sam(rho), mean(0.9)),
    ] {
        let gradient = gradient_of(&weighted(config), &[1.0], &case_a());
        assert_close(&gradient, &[expected as f32], 2e-6);
    }
    let config = weighted(perturbed(Evaluation::All, rho, gamma));
    let (_, report) = gradient_and_report(&config, &[1.0], &case_a());
    let close = |a: f64, b: f64| assert!((a - b).abs() < 2e-6, "{a} is not {b}");
    // Both losses are 1 at w = 1.
    close(report.mean_loss(), 1.0);
    let loss = |w: f64| 0.25 * w * w + 0.75 * (2.0 * w - 3.0) * (2.0 * w - 3.0);
    close(report.points[0].sharpness, loss(first) - 1.0);
    close(report.points[1].sharpness, loss(second) - 1.0);
    close(report.points[0].gradient_norm.unwrap(), mean(first).abs());
    close(report.points[0].alignment.unwrap(), 1.0);
    close(report.mean_gradient_norm.unwrap(), 2.5);
    close(
        report.update_gradient_norm,
        (0.25 * mean(first) + 0.75 * mean(second)).abs(),
    );
    assert_eq!(report.conflicts, Some(vec![(0, 1)]));
    close(report.cosines.unwrap()[0][1], -1.0);
}

#[test]
fn case_a_mean_loss_is_weighted() {
    let config = Config::sagm(0.1, 0.05).with_domain_weights(Some(vec![1.0, 3.0]));
    let (_, report) = gradient_and_report(&config, &[2.0], &case_a());
    // L₁ = 4, L₂ = 1 at w = 2; ḡ = ¼·4 + ¾·4 = 4, one point: 2 + 0.1 − 0.2.
    let close = |a: f64, b: f64| assert!((a - b).abs() < 2e-6, "{a} is not {b}");
    close(report.mean_loss(), 1.75);
    let there = 0.25 * 1.9 * 1.9 + 0.75 * 0.8 * 0.8;
    assert_eq!(report.points.len(), 1);
    assert_eq!(report.points[0].ascent, None);
    close(report.points[0].sharpness, there - 1.75);
    assert_eq!(report.conflicts, Some(vec![]));
}

#[test]
fn case_c_a_domain_without_a_gradient() {
    let (rho, gamma, theta) = (0.1, 0.01, [1.0, 1.0]);
    for (config, expected) in [
        (perturbed(Evaluation::All, rho, gamma), [1.53, 2.05]),
        (perturbed(Evaluation::Own, rho, gamma), [1.56, 2.11]),
        (perturbed(Evaluation::Others, rho, gamma), [1.50, 1.99]),
        (Config::sam(rho), [1.62, 2.20]),
    ] {
        assert_close(&gradient_of(&config, &theta, &case_c()), &expected, 1e-6);
    }
}
