//! What data the settings name.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
};

use clap::Args;

use crate::{
    data::{Data, open},
    settings::Settings,
    stranger, terminal,
};

#[derive(Args)]
pub struct InspectArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Prints what a data set holds, and how it is divided.
pub fn inspect(settings: &Settings, args: &InspectArgs) -> Result<(), Box<dyn Error>> {
    match args.json {
        true => Ok(io::stdout().write_all(stranger::json(&json(settings)?).as_bytes())?),
        false => {
            say(&summaries(settings)?)?;
            say(&parts(settings)?)
        }
    }
}

fn say(text: &str) -> Result<(), Box<dyn Error>> {
    Ok(io::stdout().write_all(terminal::shown(text).as_bytes())?)
}

/// A set's summary, or how many pictures and people are made: a document for each set.
fn json(settings: &Settings) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for paths in [&settings.data, &settings.test_data] {
        if !paths.is_empty() {
            let summary = open(paths, settings)?.summary();
            writeln!(text, "{}", serde_json::to_string_pretty(&summary)?)?;
        }
    }
    if text.is_empty() {
        let counts = Data::new(settings)?.counts();
        writeln!(text, "{}", serde_json::to_string_pretty(&counts)?)?;
    }
    Ok(text)
}

fn summaries(settings: &Settings) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for paths in [&settings.data, &settings.test_data] {
        if !paths.is_empty() {
            write!(text, "{}", open(paths, settings)?.summary())?;
        }
    }
    Ok(text)
}

fn parts(settings: &Settings) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    let data = Data::new(settings)?;
    writeln!(text, "{}", data.description())?;
    for (part, domains) in [
        ("train", &data.train),
        ("validate", &data.valid),
        ("test", &data.test),
    ] {
        for domain in domains {
            let forged = domain.about.iter().filter(|about| about.forged).count();
            writeln!(
                text,
                "  {part} {}: {} forged and {} real pictures of {} people",
                stranger::name(&domain.name),
                forged,
                domain.about.len() - forged,
                domain.people().len()
            )?;
        }
    }
    writeln!(text, "hash {}", data.hash)?;
    Ok(text)
}
