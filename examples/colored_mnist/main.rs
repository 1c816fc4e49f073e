//! Digits whose colour tells more than their shape, until it lies: ColoredMNIST and RotatedMNIST in
//! the published set-ups, so that methods can be held against published numbers.
//!
//!     cargo run --release --example colored_mnist -- irm --data DIR --methods erm,roga-own
//!     cargo run --release --example colored_mnist -- --help
//!
//! What was interrupted goes on where it was, bit for bit on the CPU; rows may be made one by one, and
//! by several processes at a time.

mod coloring;
mod environment;
mod method;
mod mnist;
mod model;
mod output;
mod restart;
mod rotation;
mod table;
#[path = "../deepfake/terminal.rs"]
mod terminal;
mod training;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use burn::tensor::Device;
use clap::{Args, Parser, Subcommand};

use method::{Lengths, Method};
use mnist::Digits;
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
    /// Make the table of all restarts in a folder that are over
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
    lengths: Lengths,
    /// How many seconds of a training an interruption may cost; 0 for a record after every step
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    at_stake: u64,
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

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::warn(&format!("error: {error}"));
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
        Command::Table { output } => output,
    };
    terminal::say(&table::rebuild(&output)?);
    Ok(())
}

/// All restarts of one number before those of the next, so that rows grow together.
fn irm(args: &Irm) -> Result<(), Box<dyn Error>> {
    let common = &args.common;
    let digits = Digits::read(&common.data, "train")?;
    let device = Device::flex().autodiff();
    let at_stake = Duration::from_secs(common.at_stake);
    for number in 0..args.restarts {
        for &method in &common.methods {
            let restart = Restart {
                method,
                lengths: common.lengths,
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
