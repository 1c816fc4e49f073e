//! Digits whose colour tells more than their shape, until it lies: ColoredMNIST and RotatedMNIST in
//! the published set-ups, so that methods can be held against published numbers.
//!
//!     cargo run --release --example colored_mnist -- irm --data DIR --methods erm,roga-own
//!     cargo run --release --example colored_mnist -- --help
//!
//! What was interrupted goes on where it was, bit for bit on the CPU; rows may be made one by one, and
//! by several processes at a time.

mod coloring;
#[path = "../deepfake/device.rs"]
mod device;
mod domainbed;
mod domains;
#[cfg(feature = "download")]
mod download;
mod environment;
mod fishr;
#[path = "../deepfake/interrupt.rs"]
mod interrupt;
mod irm;
mod method;
mod mnist;
mod model;
mod output;
mod published;
mod residual;
mod restart;
mod rotation;
mod table;
#[path = "../deepfake/terminal.rs"]
mod terminal;
mod training;
mod trials;
#[path = "../deepfake/whole_file.rs"]
mod whole_file;

use std::{
    collections::BTreeSet, error::Error, path::PathBuf, process::ExitCode, sync::Arc,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use roga::domain::{DomainSplit, Protocol};

use device::device;
use domainbed::{Run, Setting};
use domains::Set;
use method::{Method, Tuned};
use mnist::{Digits, FILES};
use restart::Restart;

/// ColoredMNIST and RotatedMNIST in the published set-ups.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// ColoredMNIST as in Invariant Risk Minimization: an MLP, 501 full-batch steps
    Irm(Irm),
    /// ColoredMNIST and RotatedMNIST as in DomainBed: a convolutional net, mini-batches
    Domainbed(Domainbed),
    /// Make the tables of all trainings in a folder that are over
    Table {
        /// The folder
        #[arg(long, value_name = "DIR", default_value = "colored-mnist-results")]
        output: PathBuf,
    },
}

/// What all set-ups have.
#[derive(Args)]
struct Common {
    /// MNIST's four files, as they are or as .gz
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Download into --data what is not there
    #[cfg(feature = "download")]
    #[arg(long)]
    download: bool,
    /// Where results are written. What is there already is not made again
    #[arg(long, value_name = "DIR", default_value = "colored-mnist-results")]
    output: PathBuf,
    /// The rows to make
    #[arg(long, value_delimiter = ',', default_value = "erm")]
    methods: Vec<Method>,
    /// The seed that those of the restarts follow from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    tuned: Tuned,
    /// The device: flex (the CPU), or wgpu, vulkan, metal, cuda, rocm where the feature of that name
    /// was built in
    #[arg(long, value_name = "NAME", default_value = "flex")]
    device: String,
    /// How many seconds of a training an interruption may cost; 0 for a checkpoint after every step
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    at_stake: u64,
}

impl Common {
    fn digits(&self, files: [&str; 2]) -> Result<Digits, Box<dyn Error>> {
        #[cfg(feature = "download")]
        if self.download {
            download::download(&self.data)?;
        }
        Digits::read(&self.data, files)
    }
}

#[derive(Args)]
struct Irm {
    #[command(flatten)]
    common: Common,
    /// Restarts of every method, each with data and weights of its own
    #[arg(long, default_value_t = 3)]
    restarts: u64,
    /// Steps of every restart
    #[arg(long, default_value_t = restart::STEPS, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Steps between two evaluations
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

#[derive(Args)]
struct Domainbed {
    #[command(flatten)]
    common: Common,
    /// The set
    #[arg(long, default_value = "colored")]
    set: Set,
    /// The domains to test on, each of which is left out of trainings of its own: by default all
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    test: Vec<String>,
    /// Make the trainings that choosing by a held-out training domain takes, too
    #[arg(long)]
    held_out: bool,
    /// Trials of every method, each with domains and weights of its own
    #[arg(long, default_value_t = 3)]
    trials: u64,
    /// Settings of every method: the first is that of --lr and --batch, the others are drawn
    #[arg(long, default_value_t = 1)]
    draws: u64,
    /// The learning rate
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Pictures of a domain in a step
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Steps of every training
    #[arg(long, default_value_t = 5001, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Steps between two checkpoints
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Pictures of each part of a domain that checkpoints are scored on, at most: by default all
    #[arg(long, value_name = "PICTURES")]
    scored: Option<usize>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(interrupted) = error.downcast_ref() {
                return interrupt::end(interrupted);
            }
            let (mut text, mut cause) = (format!("error: {error}"), error.source());
            while let Some(reason) = cause {
                text += &format!("\n  because: {reason}");
                cause = reason.source();
            }
            terminal::warn(&text);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let output = match cli.command {
        Command::Irm(args) => {
            irm(&args)?;
            args.common.output
        }
        Command::Domainbed(args) => {
            domainbed(&args)?;
            args.common.output
        }
        Command::Table { output } => output,
    };
    terminal::say(&table::rebuild(&output)?);
    Ok(())
}

/// All restarts of one number before those of the next, so that rows grow together.
fn irm(args: &Irm) -> Result<(), Box<dyn Error>> {
    let common = &args.common;
    let digits = common.digits(FILES[0])?;
    let device = device(&common.device)?.autodiff();
    let at_stake = Duration::from_secs(common.at_stake);
    interrupt::listen()?;
    for number in 0..args.restarts {
        for &method in &common.methods {
            let restart = Restart {
                method,
                tuned: method.tuned(common.tuned),
                seed: common.seed,
                number,
                steps: args.steps,
                every: args.every,
            };
            let folder = common.output.join("irm").join(method.name());
            let folder = folder.join(number.to_string());
            restart::run(&restart, &digits, &device, &folder, at_stake)?;
        }
    }
    Ok(())
}

fn domainbed(args: &Domainbed) -> Result<(), Box<dyn Error>> {
    let common = &args.common;
    let left_out = left_out(args)?;
    let digits = common.digits(FILES[0])?.and(common.digits(FILES[1])?);
    let device = device(&common.device)?.autodiff();
    let at_stake = Duration::from_secs(common.at_stake);
    interrupt::listen()?;
    let default = Setting {
        lr: args.lr,
        batch: args.batch,
    };
    for trial in 0..args.trials {
        let mut domains = None;
        for &method in &common.methods {
            for draw in 0..args.draws {
                for without in &left_out {
                    let run = Run {
                        set: args.set,
                        method,
                        tuned: method.tuned(common.tuned),
                        seed: common.seed,
                        trial,
                        draw,
                        setting: Setting::draw(default, common.seed, draw)?,
                        without: without.clone(),
                        steps: args.steps,
                        every: args.every,
                        scored: args.scored,
                    };
                    let domains = match &domains {
                        Some(domains) => domains,
                        None => domains.insert(domainbed::domains(&run, &digits)?),
                    };
                    domainbed::run(&run, domains, &device, &common.output, at_stake)?;
                }
            }
        }
    }
    Ok(())
}

/// What is left out of each training: every domain that is tested on, alone and with each of the
/// others where settings are chosen by a held-out training domain.
fn left_out(args: &Domainbed) -> Result<Vec<Vec<Arc<str>>>, Box<dyn Error>> {
    let names = args.set.domain_names();
    let unknown = |name: &&String| !names.iter().any(|known| **known == ***name);
    if let Some(name) = args.test.iter().find(unknown) {
        return Err(format!("--test must be of {}, but is {name}", names.join(", ")).into());
    }
    let tested = |turn: &DomainSplit| {
        args.test.is_empty() || args.test.iter().any(|name| **name == *turn.test()[0])
    };
    let turns = Protocol::LeaveOneDomainOut.turns(names)?;
    let mut left_out: Vec<Vec<Arc<str>>> = Vec::new();
    for turn in turns.iter().filter(|turn| tested(turn)) {
        left_out.push(turn.test().to_vec());
        for fold in turn.folds()?.iter().filter(|_| args.held_out) {
            let mut pair = [turn.test(), &[fold.validation().clone()]].concat();
            pair.sort();
            left_out.push(pair);
        }
    }
    // A pair is of two turns.
    let mut seen = BTreeSet::new();
    left_out.retain(|without| seen.insert(without.clone()));
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Vec<Vec<Arc<str>>>, Box<dyn Error>> {
        let all = ["colored_mnist", "domainbed", "--data", "none"]
            .iter()
            .chain(args);
        match Cli::try_parse_from(all)?.command {
            Command::Domainbed(args) => left_out(&args),
            _ => Err("another command".into()),
        }
    }

    #[test]
    fn every_pair_of_domains_is_left_out_once() {
        for (set, domains) in [("colored", 3), ("rotated", 6)] {
            assert_eq!(parsed(&["--set", set]).unwrap().len(), domains);
            let with_pairs = parsed(&["--set", set, "--held-out"]).unwrap();
            assert_eq!(with_pairs.len(), domains + domains * (domains - 1) / 2);
        }
        let one = parsed(&["--test", "-90%", "--held-out"]).unwrap();
        assert_eq!(one.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 2]);
        let refused = parsed(&["--test", "90"]).unwrap_err().to_string();
        assert_eq!(refused, "--test must be of +90%, +80%, -90%, but is 90");
    }
}
