//! The penalties' values and gradients against differences of plain cross-entropies in 64 bits.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{
    fishr::{AtHead, Fishr},
    irm,
};

type Rows = Vec<Vec<f64>>;

/// $(f(h) - f(-h)) / 2h$.
fn slope(step: f64, f: impl Fn(f64) -> f64) -> f64 {
    (f(step) - f(-step)) / (2.0 * step)
}

/// A row's cross-entropy: of one logit, the binary one.
fn cross_entropy(logits: &[f64], label: usize) -> f64 {
    match logits {
        [logit] => (1.0 + logit.exp()).ln() - label as f64 * logit,
        _ => logits.iter().map(|z| z.exp()).sum::<f64>().ln() - logits[label],
    }
}

/// The derivative of the rows' mean cross-entropy with respect to a factor on their logits.
fn scale_slope<'a>(rows: impl Iterator<Item = (&'a Vec<f64>, &'a usize)> + Clone) -> f64 {
    slope(1e-4, |h| {
        let scaled = |logits: &[f64]| logits.iter().map(|z| z * (1.0 + h)).collect::<Vec<_>>();
        let losses = rows
            .clone()
            .map(|(z, label)| cross_entropy(&scaled(z), *label));
        losses.sum::<f64>() / rows.clone().count() as f64
    })
}

fn tensor(rows: &Rows) -> Tensor<2> {
    let data = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
    Tensor::from_data(data.convert::<f32>(), &Device::flex().autodiff())
}

fn labels(labels: &[usize]) -> Tensor<1, Int> {
    let labels: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
    Tensor::from_ints(labels.as_slice(), &Device::flex().autodiff())
}

/// Rows that look random.
fn rows(rows: usize, columns: usize, phase: f64) -> Rows {
    let number = |row: usize, column: usize| {
        1.5 * (phase + 1.7 * row as f64 + 2.9 * column as f64 + (row * column) as f64).sin()
    };
    let row = |row| (0..columns).map(|column| number(row, column)).collect();
    (0..rows).map(row).collect()
}

/// A function's value and its slopes along all entries, against the penalty's and its gradient.
#[track_caller]
fn agree(
    at: &Rows,
    plain: impl Fn(&Rows) -> f64,
    penalty: impl Fn(Tensor<2>) -> Tensor<1>,
    tolerance: f64,
) {
    let leaf = tensor(at).require_grad();
    let value = penalty(leaf.clone());
    let gradient = leaf.grad(&value.backward()).unwrap().into_data();
    let value = f64::from(value.into_scalar::<f32>());
    let expected = plain(at);
    assert!((value - expected).abs() < tolerance, "{value}, {expected}");
    let mut largest = 0.0f64;
    for (place, found) in gradient.iter::<f64>().enumerate() {
        let (row, column) = (place / at[0].len(), place % at[0].len());
        let expected = slope(1e-3, |h| {
            let mut moved = at.clone();
            moved[row][column] += h;
            plain(&moved)
        });
        largest = largest.max(expected.abs());
        assert!((found - expected).abs() < tolerance, "{found}, {expected}");
    }
    assert!(largest > 30.0 * tolerance, "{largest} shows nothing");
}

#[test]
fn irm() {
    for (classes, y) in [(3, [0, 2, 1, 1, 0]), (1, [0, 1, 1, 0, 1])] {
        let logits = rows(5, classes, 0.3);
        let plain = |logits: &Rows| scale_slope(logits.iter().zip(&y)).powi(2);
        agree(&logits, plain, |z| irm::penalty(z, labels(&y)), 1e-5);
        let halves = |logits: &Rows| {
            let half = |first| scale_slope(logits.iter().zip(&y).skip(first).step_by(2));
            half(0) * half(1)
        };
        let penalty = |z| irm::penalty_of_halves(z, labels(&y));
        agree(&logits, halves, penalty, 1e-5);
    }
}

/// The variances of the rows' gradients with respect to the head's parameters.
fn variances(features: &Rows, head: &Rows, y: &[usize]) -> Vec<f64> {
    let loss = |head: &Rows, features: &[f64], label: usize| {
        let logit = |weights: &Vec<f64>| {
            let (bias, weights) = weights.split_last().unwrap();
            weights
                .iter()
                .zip(features)
                .map(|(w, f)| w * f)
                .sum::<f64>()
                + bias
        };
        cross_entropy(&head.iter().map(logit).collect::<Vec<_>>(), label)
    };
    let places = (0..head.len()).flat_map(|class| (0..head[0].len()).map(move |j| (class, j)));
    let variance = |(class, place): (usize, usize)| {
        let gradients = features.iter().zip(y).map(|(features, label)| {
            slope(1e-4, |h| {
                let mut moved = head.clone();
                moved[class][place] += h;
                loss(&moved, features, *label)
            })
        });
        let gradients: Vec<f64> = gradients.collect();
        let mean = gradients.iter().sum::<f64>() / gradients.len() as f64;
        let squares = gradients.iter().map(|gradient| (gradient - mean).powi(2));
        squares.sum::<f64>() / gradients.len() as f64
    };
    places.map(variance).collect()
}

#[test]
fn fishr() {
    for (classes, y) in [(3, [0, 2, 1, 1]), (1, [0, 1, 1, 0])] {
        // Class by class, the bias last.
        let head = rows(classes, 3, 1.1);
        let other = rows(4, 2, 2.3);
        let plain = |features: &Rows| {
            let variances = [features, &other].map(|features| variances(features, &head, &y));
            let pairs = variances[0].iter().zip(&variances[1]);
            // Half of a difference is each domain's distance from the mean.
            pairs.map(|(a, b)| ((a - b) / 2.0).powi(2)).sum::<f64>()
        };
        let penalty = |features: Tensor<2>| {
            let head = tensor(&head);
            let (weights, bias) = (head.clone().narrow(1, 0, 2), head.narrow(1, 2, 1));
            let at_head = |features: Tensor<2>| AtHead {
                logits: features.clone().matmul(weights.clone().transpose())
                    + bias.clone().transpose(),
                features,
                labels: labels(&y),
            };
            Fishr::new(0.0).penalty(&[at_head(features), at_head(tensor(&other))])
        };
        agree(&rows(4, 2, 0.3), plain, penalty, 1e-5);
    }
}
