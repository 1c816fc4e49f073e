//! What data the settings name.

use std::error::Error;

use clap::Args;

use crate::{
    data::{Data, open},
    settings::Settings,
};

#[derive(Args)]
pub struct InspectArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Prints what a data set holds, and how it is divided.
pub fn inspect(settings: &Settings, args: &InspectArgs) -> Result<(), Box<dyn Error>> {
    for paths in [&settings.data, &settings.test_data] {
        if paths.is_empty() {
            continue;
        }
        let summary = open(paths, settings)?.summary();
        match args.json {
            true => println!("{}", serde_json::to_string_pretty(&summary)?),
            false => print!("{summary}"),
        }
    }
    if args.json && !settings.data.is_empty() {
        return Ok(());
    }
    let data = Data::new(settings)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&data.counts())?);
        return Ok(());
    }
    println!("{}", data.description());
    for (part, domains) in [
        ("train", &data.train),
        ("validate", &data.valid),
        ("test", &data.test),
    ] {
        for domain in domains {
            let forged = domain.about.iter().filter(|about| about.forged).count();
            println!(
                "  {part} {}: {} forged and {} real pictures of {} people",
                domain.name,
                forged,
                domain.about.len() - forged,
                domain.people().len()
            );
        }
    }
    println!("hash {}", data.hash);
    Ok(())
}
