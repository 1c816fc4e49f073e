//! Deepfake detection on forgeries never seen: trains the same net with ERM, SAM and robust gradient
//! alignment on all domains but one, and tests it on the one that it never saw, with people whom it
//! never saw. And what a detector needs beside that.
//!
//!     cargo run --release --example deepfake
//!     cargo run --release --example deepfake -- --quick
//!     cargo run --release --example deepfake -- compare --faces DIR --leave-out all --seeds 1,2,3
//!     cargo run --release --example deepfake -- train --data FaceForensics++.json --output detector
//!     cargo run --release --example deepfake -- predict detector/runs/detector picture.png film.mp4
//!     cargo run --release --example deepfake -- --help

mod as_text;
mod augment;
mod command;
mod data;
mod detector;
mod device;
mod interrupt;
mod limited;
mod log;
mod method;
mod output;
mod parallel;
mod picture;
mod progress;
mod report;
mod scores;
mod search;
mod settings;
mod stranger;
mod terminal;
mod training;
mod whole_file;

use std::{error::Error, io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use command::{
    diagnose::DiagnoseArgs, explain::ExplainArgs, forge::ForgeArgs, frames::FramesArgs,
    inspect::InspectArgs, predict::PredictArgs,
};
use settings::{Flags, Settings};

/// Deepfake detection on forgeries never seen. Without a command: compare.
///
/// The default draws its own portraits and needs no other file. A domain is a forgery: its fakes
/// and the real pictures they were made from.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Train and test methods on domains left out, and compare them
    Compare(Run),
    /// Train one detector on all domains, with the first of --methods
    Train(Run),
    /// Test a trained detector on pictures whose classes are known
    Evaluate {
        /// The folder of a training, with weights.bpk and detector.toml
        detector: PathBuf,
        #[command(flatten)]
        run: Run,
    },
    /// Tell whether domains conflict at a trained detector, how sharp it is, and draw its losses
    Diagnose {
        #[command(flatten)]
        args: DiagnoseArgs,
        #[command(flatten)]
        run: Run,
    },
    /// Tell of pictures, folders and videos how probably they are forged
    Predict(PredictArgs),
    /// Show where in pictures a detector looks
    Explain(ExplainArgs),
    /// Forge faces, as files or as a sheet to look at
    Forge {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        args: ForgeArgs,
    },
    /// Make folders of pictures of videos, to train or test on
    Frames(FramesArgs),
    /// Tell what data holds, and list what is wrong with it
    Inspect {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        args: InspectArgs,
    },
    /// Make one HTML page of a folder of results
    Report {
        /// The folder
        results: PathBuf,
    },
    /// Run what a folder of results is from again, and tell whether the same comes out
    Repro {
        /// The folder
        results: PathBuf,
        /// Where the new results are written
        #[arg(long, value_name = "DIR", default_value = "deepfake-repro")]
        output: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    flags: Flags,
    /// Where the results are written: by default `deepfake-results`, of train `deepfake-detector`, of
    /// evaluate `deepfake-evaluation`, of diagnose `deepfake-diagnosis`. What the same command has left
    /// there, it goes on with
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Begin anew, whatever is in the output folder
    #[arg(long)]
    restart: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_enough(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(interrupted) = error.downcast_ref() {
                return interrupt::end(interrupted);
            }
            terminal::warn(&format!("error: {error}"));
            let mut cause = error.source();
            while let Some(reason) = cause {
                terminal::warn(&format!("  because: {reason}"));
                cause = reason.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of the output has gone, as `head` does.
fn is_enough(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command.unwrap_or(Command::Compare(cli.compare)) {
        Command::Compare(run) => {
            let output = run.output.unwrap_or("deepfake-results".into());
            command::compare::compare(&Settings::load(&run.flags)?, &output, run.restart)
        }
        Command::Train(run) => {
            let output = run.output.unwrap_or("deepfake-detector".into());
            command::train::train(&Settings::load(&run.flags)?, &output, run.restart)
        }
        Command::Evaluate { detector, run } => {
            let settings = Settings::load(&run.flags)?;
            let output = run.output.unwrap_or("deepfake-evaluation".into());
            command::evaluate::evaluate(&detector, &settings, &output, run.restart)
        }
        Command::Diagnose { args, run } => {
            let settings = Settings::load(&run.flags)?;
            let output = run.output.unwrap_or("deepfake-diagnosis".into());
            command::diagnose::diagnose(&args, &settings, &output, run.restart)
        }
        Command::Predict(args) => command::predict::predict(&args),
        Command::Explain(args) => command::explain::explain(&args),
        Command::Forge { flags, args } => command::forge::forge(&Settings::load(&flags)?, &args),
        Command::Frames(args) => command::frames::frames(&args),
        Command::Inspect { flags, args } => {
            command::inspect::inspect(&Settings::load(&flags)?, &args)
        }
        Command::Report { results } => command::report::report(&results),
        Command::Repro { results, output } => command::repro::repro(&results, &output),
    }
}
