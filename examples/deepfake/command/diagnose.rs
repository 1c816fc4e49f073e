//! What the domains ask of a detector, and what their losses look like around it.

use std::{
    error::Error,
    fmt::Display,
    path::{Path, PathBuf},
};

use burn::{data::dataloader::DataLoader, module::Module};
use clap::Args;
use roga::{
    diagnostic::{self, Conflict, Direction, LandscapeConfig, plot},
    domain::{DomainBatches, EpochLength},
};
use serde::Serialize;

use super::evaluate;
use crate::{
    data::{Domain, PictureBatch},
    detector::{Detector, Net},
    device::device,
    log, output,
    progress::Progress,
    settings::Settings,
    terminal,
    training::{self, loss},
};

#[derive(Args)]
pub struct DiagnoseArgs {
    /// The folder of a training, with weights.bpk and detector.toml
    detector: PathBuf,
    /// How many steps' batches are measured on
    #[arg(long, default_value_t = 8)]
    batches: usize,
    /// The domains, one or two, whose ascents of length --rho are the landscape's directions; by
    /// default there are two random ones, filter-normalised
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    towards: Vec<String>,
    /// Points of the landscape along a direction: odd, so that the detector is one of them
    #[arg(long, default_value_t = 11)]
    points: usize,
    /// How far the landscape reaches to both sides, in lengths of its directions
    #[arg(long, default_value_t = 1.0)]
    extent: f64,
}

impl DiagnoseArgs {
    fn landscape(&self, settings: &Settings) -> Result<LandscapeConfig, Box<dyn Error>> {
        let ascent = |domain: &String| Direction::Ascent {
            domain: domain.clone(),
            rho: settings.rho,
        };
        let seed = settings.seeds[0];
        let random = |seed| Direction::Random { seed };
        let (first, second) = match &self.towards[..] {
            [] => (random(seed), Some(random(seed.wrapping_add(1)))),
            [one] => (ascent(one), None),
            [one, other] => (ascent(one), Some(ascent(other))),
            more => {
                let count = more.len();
                return Err(format!("--towards must be one or two domains, but is {count}").into());
            }
        };
        let config = LandscapeConfig::new()
            .with_first(first)
            .with_second(second)
            .with_points(self.points)
            .with_extent(self.extent);
        config.check()?;
        Ok(config)
    }

    fn check_towards(&self, domains: &[Domain]) -> Result<(), Box<dyn Error>> {
        let names: Vec<&str> = domains.iter().map(|domain| &*domain.name).collect();
        match self
            .towards
            .iter()
            .find(|name| !names.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => {
                let names = names.join(", ");
                Err(
                    format!("--towards must be domains of the data ({names}), but is {name}")
                        .into(),
                )
            }
        }
    }
}

/// Measures a detector on the test parts of the settings' data, writes numbers and pictures, and
/// prints the tables. Where the steps of its training are beside it, so are their gradients.
pub fn diagnose(
    args: &DiagnoseArgs,
    settings: &Settings,
    output: &Path,
    restart: bool,
) -> Result<(), Box<dyn Error>> {
    if args.batches == 0 {
        return Err("--batches must be at least 1, but is 0".into());
    }
    if settings.rho == 0.0 {
        return Err("--rho must be above 0, since sharpness is measured there, but is 0".into());
    }
    let landscape = args.landscape(settings)?;
    let device = device(&settings.device)?.autodiff();
    let detector = Detector::open(&args.detector, &device)?;
    let settings = detector.fitted(settings);
    let progress = Progress::new();
    progress.say("the pictures are made or listed");
    let path = &args.detector;
    let of = (&**path, &detector);
    let (_lock, data) = evaluate::unseen("diagnose", of, &settings, output, restart)?;
    args.check_towards(&data.test)?;
    let training = over_training(&training::folder(path))?;
    let net = detector.net.clone().train();
    let batches = batches(&net, &data.test, &settings, args.batches)?;
    let mut page = Page::new(output);

    progress.say("how the gradients of the domains stand to each other");
    let each = || batches.iter().cloned().map(Ok::<_, roga::Error>);
    let conflict = diagnostic::conflict(&net, each(), loss)?;
    page.add("Gradients of the domains", "conflict", &conflict)?;
    page.picture("cosines", &plot::cosines(&conflict)?)?;

    progress.say("how far the losses rise nearby");
    let sharpness = diagnostic::sharpness(&net, each(), settings.rho, loss)?;
    page.add("Sharpness", "sharpness", &sharpness)?;

    let points = args.points.pow(2 - u32::from(landscape.second.is_none()));
    progress.say(&format!("the losses at {points} points around"));
    let landscape = landscape.measure(&net, &batches, loss)?;
    page.add("Loss landscape", "landscape", &landscape)?;
    page.picture("landscape", &plot::landscape(&landscape)?)?;

    if let Some(conflict) = training {
        page.add("Gradients over training", "training-conflict", &conflict)?;
        page.picture("training-cosines", &plot::cosines(&conflict)?)?;
        let curves = plot::cosine_curves(&conflict)?;
        page.picture("training-cosine-curves", &curves)?;
    }
    page.finish()
}

/// The steps' batches, half of every domain's pictures forged.
fn batches(
    net: &Net,
    domains: &[Domain],
    settings: &Settings,
    count: usize,
) -> Result<Vec<DomainBatches<PictureBatch>>, Box<dyn Error>> {
    let (batch, seed) = (settings.batch, settings.seeds[0]);
    let length = EpochLength::Steps(count);
    let loader = training::loader(net, domains, settings, (batch, seed), length).build()?;
    let batches: Result<Vec<_>, _> = loader.iter().collect();
    Ok(batches?)
}

/// From the steps that a training has written down, where it has.
fn over_training(folder: &Path) -> Result<Option<Conflict>, Box<dyn Error>> {
    let steps = training::Files::new(folder).steps;
    match steps.exists() {
        true => Ok(Some(log::conflict(&steps)?)),
        false => {
            let steps = steps.display();
            terminal::say(&format!("nothing over training: there is no {steps}"));
            Ok(None)
        }
    }
}

/// What is found, in a folder and as one text.
struct Page<'a> {
    folder: &'a Path,
    text: String,
}

impl<'a> Page<'a> {
    fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            text: String::new(),
        }
    }

    /// Numbers, as a table and as JSON.
    fn add(
        &mut self,
        title: &str,
        name: &str,
        found: &(impl Display + Serialize),
    ) -> Result<(), Box<dyn Error>> {
        self.text += &format!("{title}: {name}.json\n\n{found}\n");
        let json = serde_json::to_string_pretty(found)?;
        Ok(output::write(
            &self.folder.join(format!("{name}.json")),
            &json,
        )?)
    }

    fn picture(&self, name: &str, svg: &str) -> Result<(), Box<dyn Error>> {
        Ok(output::write(
            &self.folder.join(format!("{name}.svg")),
            svg,
        )?)
    }

    fn finish(self) -> Result<(), Box<dyn Error>> {
        output::write(&self.folder.join("diagnosis.txt"), &self.text)?;
        terminal::print(&terminal::shown(&self.text));
        let folder = self.folder.display();
        terminal::say(&format!("numbers and pictures are in {folder}"));
        Ok(())
    }
}
