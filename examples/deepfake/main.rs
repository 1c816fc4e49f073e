//! Trains the same small ResNet with ERM, SAM and robust gradient alignment on all forgeries but
//! one, and tests it on the one that it never saw, with people whom it never saw.
//!
//!     cargo run --release --example deepfake
//!     cargo run --release --example deepfake -- --quick
//!     cargo run --release --example deepfake -- --faces DIR --leave-out all --seeds 1,2,3
//!     cargo run --release --example deepfake -- --help

mod args;
mod data;
mod log;
mod method;
mod output;
mod picture;
mod progress;
mod report;
mod training;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Instant};

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
    output::prepare(&args.output, &settings, args.restart)?;

    let mut progress = Progress::new(&settings);
    progress.say("the faces are drawn or read");
    let source = data::source(&settings)?;
    let mut results = Results::new(settings.clone());
    let mut mistakes = Vec::new();
    for &seed in &settings.seeds {
        progress.say(&format!("seed {seed}: the forgeries are made"));
        let pictures = Pictures::new(&source, &settings, seed)?;
        progress.say(&pictures.description());
        results.pictures = Some(pictures.counts());
        let start = training::start(&settings, seed, &device)?;
        let mut train = |method, title: String, folder: PathBuf, domains| {
            progress.begin(title);
            training::train(
                &settings,
                seed,
                method,
                domains,
                &pictures.test,
                &start,
                (&args.output.join(folder), &mut progress),
            )
        };
        if settings.alone {
            for (forgery, samples) in &pictures.train {
                let domains = vec![(forgery.clone(), samples.clone())];
                let folder = output::run_folder(seed, None, Method::Erm).join(&**forgery);
                let trained = train(Method::Erm, format!("{forgery} alone"), folder, domains)?;
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
                let folder = output::run_folder(seed, Some(split.test()), method);
                let title = format!("without {}", split.test());
                let trained = train(method, title, folder, domains)?;
                results.push(Run::new(&settings, seed, method, &split, trained)?);
                results.took(start_of_all.elapsed());
                results.save(&args.output)?;
            }
        }
        if mistakes.is_empty() {
            let test = &pictures.test;
            mistakes = report::galleries(&args.output, &results, seed, test, &device)?;
        }
    }
    progress.finish();
    results.took(start_of_all.elapsed());
    print!("\n{}", results.table());
    for path in results.save(&args.output)? {
        println!("{}", path.display());
    }
    if !settings.alone {
        println!("{}", report::write(&args.output, mistakes)?.display());
    }
    results.check_alone()
}
