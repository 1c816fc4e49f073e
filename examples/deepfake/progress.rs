//! How far the trainings are, and how long they still take.

use std::{
    io::{IsTerminal, Write, stdout},
    time::{Duration, Instant},
};

use crate::{args::Settings, method::Method};

/// Lines of progress: one that is written over on a terminal, else one in a while.
pub struct Progress {
    begin: Option<Instant>,
    last: Instant,
    done: usize,
    /// Done by an earlier run of the same command.
    before: usize,
    total: usize,
    title: String,
    steps: usize,
    terminal: bool,
}

impl Progress {
    pub fn new(settings: &Settings) -> Self {
        let domains = settings.forgeries.len() - 1;
        let passes = |method: &Method| method.passes(domains) * domains * settings.turns();
        let passes: usize = match settings.alone {
            true => settings.forgeries.len(),
            false => settings.methods.iter().map(passes).sum(),
        };
        Self {
            begin: None,
            last: Instant::now(),
            done: 0,
            before: 0,
            total: passes * settings.steps * settings.seeds.len(),
            title: String::new(),
            steps: settings.steps,
            terminal: stdout().is_terminal(),
        }
    }

    pub fn say(&self, text: &str) {
        self.line(text, true);
    }

    /// What the next steps are about.
    pub fn begin(&mut self, title: String) {
        self.title = title;
        self.begin.get_or_insert_with(Instant::now);
    }

    /// Steps that an earlier run of the same command has made.
    pub fn made_before(&mut self, method: Method, steps: usize, domains: usize) {
        let passes = steps * method.passes(domains) * domains;
        self.done += passes;
        self.before += passes;
    }

    /// After a step; its passes are what the time left is reckoned by.
    pub fn step(&mut self, method: Method, step: usize, loss: f64, domains: usize) {
        self.done += method.passes(domains) * domains;
        let last = step + 1 == self.steps;
        let pause = Duration::from_secs(if self.terminal { 1 } else { 15 });
        if !last && self.last.elapsed() < pause {
            return;
        }
        self.last = Instant::now();
        let elapsed = self
            .begin
            .map_or(0.0, |begin| begin.elapsed().as_secs_f64());
        let left = elapsed * self.total.saturating_sub(self.done) as f64
            / (self.done - self.before) as f64;
        let text = format!(
            "{}: {method:<12} step {:>4} of {}, loss {loss:.3}, {} left",
            self.title,
            step + 1,
            self.steps,
            duration(left)
        );
        self.line(&text, last);
    }

    pub fn finish(&self) {
        self.line("", false);
    }

    fn line(&self, text: &str, stays: bool) {
        match (self.terminal, stays) {
            (true, true) => println!("\r{text:<79}"),
            (true, false) => print!("\r{text:<79}\r"),
            (false, _) if text.is_empty() => (),
            (false, _) => println!("{text}"),
        }
        // A terminal that is gone is no reason to stop.
        stdout().flush().ok();
    }
}

pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {:02} s", seconds % 60),
    }
}
