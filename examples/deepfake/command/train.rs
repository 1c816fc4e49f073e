//! One detector, of all domains.

use std::{error::Error, path::Path};

use roga::search::Cost;

use super::evaluate;
use crate::{
    data::Data,
    detector,
    device::device,
    interrupt,
    output::{self, Provenance},
    progress::Progress,
    settings::{SelectionName, Settings},
    stranger, terminal,
    training::{self, Job},
};

/// Trains the first of the methods on all domains and tests it on people never seen. What an
/// interrupted run of the same command has left, it goes on with.
pub fn train(settings: &Settings, output: &Path, restart: bool) -> Result<(), Box<dyn Error>> {
    if settings.draws > 1 || settings.selection == SelectionName::Oracle {
        return Err(
            "--draws and --selection oracle are for compare: train makes one detector".into(),
        );
    }
    let device = device(&settings.device)?.autodiff();
    let _lock = output::prepare(output, "train", settings, restart)?;
    let mut progress = Progress::new();
    progress.say("the pictures are made or listed");
    let data = Data::new(settings)?;
    progress.say(&data.description());
    Provenance::new("train", &data).write(output)?;

    let (method, seed) = (settings.methods()[0], settings.seeds[0]);
    let setting = settings.setting(0)?;
    let config = method.config(&setting, seed);
    let cost = Cost::of(&config, settings.steps as u64, data.train.len())?;
    interrupt::listen()?;
    progress.begin(cost);
    progress.say(&cost.to_string());
    progress.title(method.to_string());
    let start = detector::start(settings, seed, &device)?;
    let folder = output.join(RUN);
    let job = Job {
        settings,
        method,
        batch: setting.batch,
        setting,
        seed,
        steps: settings.steps,
        start: &start,
        train: data.train,
        valid: data.valid,
        oracle: Vec::new(),
        test: data.test,
        folder: folder.clone(),
        warmup: None,
    };
    let finished = training::train(&job, &mut progress)?;
    let trained = training::test(&job, finished)?;
    progress.finish();
    let tested = trained.scores.iter().map(|s| stranger::name(&s.domain));
    let tested: Vec<String> = tested.collect();
    terminal::say(&format!("\ntested on {}", tested.join(", ")));
    evaluate::write(&trained.scores, output)?;
    terminal::say(&folder.display().to_string());
    Ok(())
}

/// Where in the output folder the training is.
pub const RUN: &str = "runs/detector";
