//! Times of two things that are done in turn, so that a machine that slows down slows down both.

use std::time::Instant;

use serde::Serialize;

/// The median and the quartiles round it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// Of at least one number.
    pub fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let last = numbers.len() - 1;
        let at = |share: f64| {
            let place = share * last as f64;
            let (below, above) = (
                numbers[place.floor() as usize],
                numbers[place.ceil() as usize],
            );
            below + (above - below) * place.fract()
        };
        Self {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
        }
    }
}

/// What was found in pairs of runs.
#[derive(Clone, Copy, Debug)]
pub struct Paired {
    /// Seconds of the first.
    pub first: Spread,
    /// Seconds of the second.
    pub second: Spread,
    /// The second's over the first's, pair by pair.
    pub ratio: Spread,
}

/// Runs both `times` times in turn, each as many times as `repeats` says.
pub fn alternate(
    pairs: usize,
    repeats: usize,
    mut first: impl FnMut(),
    mut second: impl FnMut(),
) -> Paired {
    let seconds = |act: &mut dyn FnMut()| {
        let began = Instant::now();
        (0..repeats).for_each(|_| act());
        began.elapsed().as_secs_f64() / repeats as f64
    };
    let runs: Vec<[f64; 2]> = (0..pairs.max(1))
        .map(|_| [seconds(&mut first), seconds(&mut second)])
        .collect();
    let spread = |of: fn(&[f64; 2]) -> f64| Spread::of(runs.iter().map(of).collect());
    Paired {
        first: spread(|run| run[0]),
        second: spread(|run| run[1]),
        ratio: spread(|run| run[1] / run[0]),
    }
}

/// How many times something is run so that the clock's own error does not count.
pub fn repeats(mut act: impl FnMut()) -> usize {
    const LEAST: f64 = 0.05;
    let began = Instant::now();
    act();
    let once = began.elapsed().as_secs_f64().max(1e-6);
    (LEAST / once).ceil().max(1.0) as usize
}
