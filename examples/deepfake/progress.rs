//! How far the trainings are, and how long they still take.

use std::{
    io::{IsTerminal, stdout},
    time::{Duration, Instant},
};

use roga::search::Cost;

use crate::terminal;

/// Lines of progress: one that is written over on a terminal, else one in a while.
pub struct Progress {
    begin: Instant,
    last: Instant,
    /// Passes over a step's mini-batches.
    done: f64,
    /// Done by an earlier run of the same command.
    before: f64,
    total: f64,
    title: String,
    terminal: bool,
}

impl Progress {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            begin: now,
            last: now,
            done: 0.0,
            before: 0.0,
            total: 0.0,
            title: String::new(),
            terminal: stdout().is_terminal(),
        }
    }

    pub fn say(&self, text: &str) {
        self.line(text, true);
    }

    /// From here on the time is reckoned by, what all of it will cost.
    pub fn begin(&mut self, total: Cost) {
        self.begin = Instant::now();
        self.total = total.passes;
    }

    /// What the next steps are about.
    pub fn title(&mut self, title: String) {
        self.title = title;
    }

    /// Passes that an earlier run of the same command has made.
    pub fn made_before(&mut self, passes: f64) {
        self.done += passes;
        self.before += passes;
    }

    /// After so many of all steps, the last of which took so many passes.
    pub fn step(&mut self, (made, steps): (usize, usize), loss: f64, passes: f64) {
        self.done += passes;
        let last = made == steps;
        let pause = Duration::from_secs(if self.terminal { 1 } else { 15 });
        if !last && self.last.elapsed() < pause {
            return;
        }
        self.last = Instant::now();
        let elapsed = self.begin.elapsed().as_secs_f64();
        let left = elapsed * (self.total - self.done).max(0.0) / (self.done - self.before);
        let text = format!(
            "{}: step {made:>4} of {steps}, loss {loss:.3}, {:.1} % of all, {} left",
            self.title,
            100.0 * self.done / self.total,
            duration(left)
        );
        self.line(&text, last);
    }

    pub fn finish(&self) {
        self.line("", false);
    }

    fn line(&self, text: &str, stays: bool) {
        match (self.terminal, stays) {
            (true, true) => terminal::print(&format!("\r{:<79}\n", terminal::shown(text))),
            (true, false) => terminal::print(&format!("\r{:<79}\r", terminal::shown(text))),
            (false, _) if text.is_empty() => (),
            (false, _) => terminal::say(text),
        }
    }
}

pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes @ 1..60 => format!("{minutes} min {:02} s", seconds % 60),
        minutes => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}
