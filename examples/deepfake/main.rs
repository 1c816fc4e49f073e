//! Trains the same small ResNet with ERM, SAM and robust gradient alignment on all forgeries but
//! one, and tests it on the one that it never saw, with people whom it never saw.
//!
//!     cargo run --release --example deepfake
//!     cargo run --release --example deepfake -- --quick
//!     cargo run --release --example deepfake -- --faces DIR --leave-out all --seeds 1,2,3
//!     cargo run --release --example deepfake -- --help

mod args;
mod data;
mod method;
mod output;
mod progress;
mod training;

use std::{error::Error, process::ExitCode, time::Instant};

use clap::Parser;
use roga::domain::LeaveOneDomainOut;

use args::{Args, Settings};
use data::Pictures;
use method::Method;
use output::{Alone, Results, Run};
use progress::Progress;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(reason) = cause {
                eprintln!("  because: {reason}");
                cause = reason.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let start_of_all = Instant::now();
    let settings = Settings::new(args)?;
    let device = args::device(&settings.device)?.autodiff();
    output::prepare(&args.output)?;

    let mut progress = Progress::new(&settings);
    progress.say("the faces are drawn or read");
    let source = data::source(&settings)?;
    let mut results = Results::new(settings.clone());
    for &seed in &settings.seeds {
        progress.say(&format!("seed {seed}: the forgeries are made"));
        let pictures = Pictures::new(&source, &settings, seed)?;
        progress.say(&pictures.description());
        results.pictures = Some(pictures.counts());
        let start = training::start(&settings, seed, &device)?;
        let mut train = |method, title: String, domains| {
            progress.begin(title);
            let test = &pictures.test;
            training::train(
                &settings,
                seed,
                method,
                domains,
                test,
                &start,
                &mut progress,
            )
        };
        if settings.alone {
            for (forgery, samples) in &pictures.train {
                let domains = vec![(forgery.clone(), samples.clone())];
                let trained = train(Method::Erm, format!("{forgery} alone"), domains)?;
                results.alone.push(Alone::new(seed, forgery, &trained)?);
                results.save(&args.output)?;
            }
            continue;
        }
        let names = settings.forgeries.iter().map(|forgery| forgery.name());
        for split in LeaveOneDomainOut::new(names)? {
            if !settings.leaves_out(split.test()) {
                continue;
            }
            for &method in &settings.methods {
                let domains = split.partition(pictures.train.iter().cloned())?.train;
                let trained = train(method, format!("without {}", split.test()), domains)?;
                results.push(Run::new(&settings, seed, method, &split, trained)?);
                results.seconds = start_of_all.elapsed().as_secs_f64();
                results.save(&args.output)?;
            }
        }
    }
    progress.finish();
    results.seconds = start_of_all.elapsed().as_secs_f64();
    print!("\n{}", results.table());
    for path in results.save(&args.output)? {
        println!("{}", path.display());
    }
    results.check_alone()
}
