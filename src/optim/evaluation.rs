use std::collections::BTreeMap;

use super::{RobustGradientAlignmentConfig, group::Perturbation};
use crate::{
    Error, Result,
    domain::shuffle::{below, random, shuffle},
};
use burn::config::Config;

/// Which domain's loss is evaluated at which domain's ascending point: what $P$ is.
///
/// Passes are counted in passes over all $K$ mini-batches, the clean ones included. For domain
/// weights $p_i$ other than $1/K$, every sum below is weighted with them.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Evaluation {
    /// $P = \frac1K \sum_i \nabla \bar L(\theta_i)$: every loss at every point, the reading of the
    /// paper. $1 + K$ passes.
    All,
    /// $P = \frac1K \sum_i \nabla L_i(\theta_i)$: every loss at its own point. 2 passes.
    Own,
    /// $P = \frac{1}{K(K-1)} \sum_{i \ne j} \nabla L_j(\theta_i)$: every loss at the points of the
    /// others. $1 + (K - 1)$ passes; needs two domains.
    Others,
    /// $P = \frac1K \sum_i \nabla L_{\pi(i)}(\theta_i)$ with $\pi$ drawn anew in every step
    /// ([`Draw`]). With [`Draw::Permutation`] and [`Draw::Independent`] its expectation is that of
    /// [`Evaluation::All`], exactly. 2 passes, whatever $K$.
    Sampled,
    /// $P = \nabla \bar L(\theta + \frac1K \sum_i \varepsilon_i - \gamma\\, \bar g)$: every loss at
    /// the mean of the points. 2 passes.
    Consensus,
}

/// Whose gradient is climbed.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Ascent {
    /// Every domain's own: $\varepsilon_i = \rho\\, g_i / \lVert g_i \rVert$.
    Domain,
    /// The mean one, a single point for all: $\varepsilon = \rho\\, \bar g / \lVert \bar g \rVert$.
    Pooled,
}

/// How [`Evaluation::Sampled`] draws the domain $\pi(i)$ that is evaluated at point $i$.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Draw {
    /// A uniform permutation: every mini-batch once. The least variance.
    Permutation,
    /// Every $\pi(i)$ uniform by itself: a mini-batch may come twice, or not at all.
    Independent,
    /// A uniform permutation without fixed points: its expectation is that of
    /// [`Evaluation::Others`], and it needs two domains.
    Derangement,
}

/// What the perturbed passes are: the points, and how much every domain's gradient there counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub points: Vec<Point>,
}

/// A point and the losses evaluated there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub ascent: PointAscent,
    /// Domains and their coefficients in $P$, or in the gradient of the alignment loss: those that
    /// are not 0.
    pub terms: Vec<(usize, f64)>,
}

impl Point {
    /// Whether it belongs to the alignment loss, and not to $P$.
    pub fn is_difference(&self) -> bool {
        matches!(self.ascent, PointAscent::Difference { .. })
    }
}

/// How a point is reached, besides the shift along the mean gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PointAscent {
    None,
    Pooled,
    Consensus,
    Domain(usize),
    /// Along a direction of the alignment loss, without the shift.
    Difference {
        direction: usize,
        length: f64,
    },
}

impl Plan {
    /// The plan of step `step`, for domain weights that add up to 1.
    ///
    /// Settings that these domains cannot have are refused in plain steps as well.
    pub fn new(
        config: &RobustGradientAlignmentConfig,
        perturbation: &Perturbation,
        weights: &[f64],
        step: u64,
    ) -> Result<Self> {
        let none = Self { points: Vec::new() };
        if config.perturbed_weight == 0.0 || !config.perturbs() {
            return Ok(none);
        }
        let coefficients = coefficients(config, weights, step)?;
        if perturbation.rho.is_zero() && perturbation.gamma.is_zero() {
            return Ok(none);
        }
        Ok(Self {
            points: points(config, perturbation, &coefficients),
        })
    }
}

/// $c_{ij}$, with $P = \sum_{ij} c_{ij} \nabla L_j(\theta_i)$.
fn coefficients(
    config: &RobustGradientAlignmentConfig,
    weights: &[f64],
    step: u64,
) -> Result<Vec<Vec<f64>>> {
    let domains = || weights.iter().copied().enumerate();
    let table = |entry: &dyn Fn((usize, f64), (usize, f64)) -> f64| -> Vec<Vec<f64>> {
        let row = |one| domains().map(|other| entry(one, other)).collect();
        domains().map(row).collect()
    };
    let product = |one: (usize, f64), other: (usize, f64)| one.1 * other.1;
    Ok(match config.evaluation {
        Evaluation::All | Evaluation::Consensus => table(&product),
        Evaluation::Own => table(&|(i, weight), (j, _)| if i == j { weight } else { 0.0 }),
        Evaluation::Others => {
            two_domains("evaluation `others`", weights)?;
            let pairs = pairs(weights);
            table(&|one, other| match one.0 == other.0 {
                true => 0.0,
                false => product(one, other) / pairs,
            })
        }
        Evaluation::Sampled => {
            let drawn = draw(config, weights, step)?;
            // Every pair is drawn with the same probability: its inverse makes up for it.
            let active = weights.iter().filter(|p| **p > 0.0).count() as f64;
            let factor = match config.draw {
                Draw::Permutation | Draw::Independent => active,
                Draw::Derangement => (active - 1.0) / pairs(weights),
            };
            table(&|one, other| match drawn.get(&one.0) == Some(&other.0) {
                // p_i itself, to the bit, where all weights are the same.
                true => one.1 * (factor * other.1),
                false => 0.0,
            })
        }
    })
}

/// $\sum_{i \ne j} p_i\, p_j$.
fn pairs(weights: &[f64]) -> f64 {
    let of = |(i, weight): (usize, &f64)| {
        let others = weights.iter().enumerate().filter(move |(j, _)| *j != i);
        others.map(|(_, other)| weight * other).sum::<f64>()
    };
    weights.iter().enumerate().map(of).sum()
}

/// The points of the coefficients' rows, or one point where all rows share it.
fn points(
    config: &RobustGradientAlignmentConfig,
    perturbation: &Perturbation,
    coefficients: &[Vec<f64>],
) -> Vec<Point> {
    let common = match (config.ascent, config.evaluation) {
        _ if perturbation.rho.is_zero() => Some(PointAscent::None),
        (Ascent::Pooled, _) => Some(PointAscent::Pooled),
        (Ascent::Domain, Evaluation::Consensus) => Some(PointAscent::Consensus),
        (Ascent::Domain, _) => None,
    };
    let sum = |j: usize| coefficients.iter().filter_map(|row| row.get(j)).sum();
    match common {
        Some(ascent) => vec![Point {
            ascent,
            terms: terms((0..coefficients.len()).map(sum)),
        }],
        None => (coefficients.iter().enumerate())
            .map(|(i, row)| Point {
                ascent: PointAscent::Domain(i),
                terms: terms(row.iter().copied()),
            })
            .filter(|point| !point.terms.is_empty())
            .collect(),
    }
}

/// The coefficients that are not 0, with their domains.
fn terms(row: impl Iterator<Item = f64>) -> Vec<(usize, f64)> {
    row.enumerate()
        .filter(|(_, coefficient)| *coefficient != 0.0)
        .collect()
}

/// $\pi$: the domain evaluated at every point, among those with a weight above 0.
fn draw(
    config: &RobustGradientAlignmentConfig,
    weights: &[f64],
    step: u64,
) -> Result<BTreeMap<usize, usize>> {
    let mut random = random([config.seed, step, 0, 0]);
    let active = weights.iter().enumerate().filter(|(_, p)| **p > 0.0);
    let active: Vec<usize> = active.map(|(domain, _)| domain).collect();
    let mut drawn = active.clone();
    match config.draw {
        Draw::Permutation => shuffle(&mut drawn, &mut random),
        Draw::Independent => {
            let one = |_: &usize| active.get(below(active.len(), &mut random));
            drawn = active.iter().filter_map(one).copied().collect();
        }
        Draw::Derangement => {
            two_domains("draw `derangement`", weights)?;
            // Rejection keeps it uniform; a permutation is without fixed points one time in e.
            while active.iter().zip(&drawn).any(|(i, j)| i == j) {
                shuffle(&mut drawn, &mut random);
            }
        }
    }
    Ok(active.into_iter().zip(drawn).collect())
}

fn two_domains(what: &str, weights: &[f64]) -> Result<()> {
    match weights.iter().filter(|p| **p > 0.0).count() {
        enough if enough > 1 => Ok(()),
        few => Err(Error::Domains {
            rule: "be at least two with a weight above 0",
            found: format!("{what} was given {few}"),
        }),
    }
}
