//! Times of two things that are done in turn, so that a machine that slows down slows down both.

use std::{fs, time::Instant};

use clap::ValueEnum;
use serde::Serialize;

/// What a run's time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Clock {
    /// As it passes.
    Wall,
    /// That of all threads on their processors: for a machine that does other work, and one thread.
    /// On Linux alone.
    Processor,
}

impl Clock {
    /// Runs something so many times and returns the seconds of one.
    fn seconds(self, repeats: usize, mut act: impl FnMut()) -> f64 {
        let (began, used) = (Instant::now(), on_processors());
        (0..repeats).for_each(|_| act());
        let whole = match self {
            Self::Wall => began.elapsed().as_secs_f64(),
            Self::Processor => on_processors() - used,
        };
        whole / repeats as f64
    }

    /// The shortest run that its own steps do not count in, in seconds.
    fn least(self) -> f64 {
        match self {
            Self::Wall => 0.05,
            // The kernel counts at its ticks.
            Self::Processor => 0.3,
        }
    }
}

/// The seconds that the process's threads have had a processor; 0 where the system does not tell.
fn on_processors() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let of_task = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    tasks.flatten().filter_map(of_task).sum::<f64>() / 1e9
}

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
    clock: Clock,
    [pairs, repeats]: [usize; 2],
    mut first: impl FnMut(),
    mut second: impl FnMut(),
) -> Paired {
    let pair = |_| {
        [
            clock.seconds(repeats, &mut first),
            clock.seconds(repeats, &mut second),
        ]
    };
    let runs: Vec<[f64; 2]> = (0..pairs.max(1)).map(pair).collect();
    let spread = |of: fn(&[f64; 2]) -> f64| Spread::of(runs.iter().map(of).collect());
    Paired {
        first: spread(|run| run[0]),
        second: spread(|run| run[1]),
        ratio: spread(|run| run[1] / run[0]),
    }
}

/// How many times something is run so that the clock's own error does not count.
pub fn repeats(clock: Clock, act: impl FnMut()) -> usize {
    let once = Clock::Wall.seconds(1, act).max(1e-6);
    (clock.least() / once).ceil().max(1.0) as usize
}
