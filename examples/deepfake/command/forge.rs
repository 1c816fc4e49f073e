//! Forged pictures and their masks, as files, and a sheet to look at.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use image::DynamicImage;
use roga::detector::{
    dataset::{DomainConfig, FaceSource},
    sheet::contact_sheet,
};

use crate::{data, settings::Settings, terminal};

#[derive(Args)]
pub struct ForgeArgs {
    /// A picture of real faces, their forgeries and the masks side by side
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// Where the forged pictures and their masks are written
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// How many people, each by the first of their pictures
    #[arg(long, default_value_t = 8)]
    count: usize,
}

/// Forges the first faces of the settings' source in every way.
pub fn forge(settings: &Settings, args: &ForgeArgs) -> Result<(), Box<dyn Error>> {
    if args.sheet.is_none() && args.output.is_none() {
        return Err("forge writes to --sheet FILE.png, to --output DIR, or to both".into());
    }
    if args.count == 0 {
        return Err("--count must be at least 1, but is 0".into());
    }
    let source = data::source(settings)?;
    let mut people = BTreeSet::new();
    let firsts = (0..source.len()).filter(|&face| people.insert(source.person(face)));
    let shown: Vec<usize> = firsts.take(args.count).collect();
    let domains: Vec<DomainConfig> = settings
        .forgeries
        .iter()
        .map(|forgery| data::config(settings, *forgery, 1))
        .collect();
    if let Some(path) = &args.sheet {
        let larger = settings.encode().with_size(settings.size.max(128));
        let with_size = |domain: &DomainConfig| domain.clone().with_encode(larger.clone());
        let domains: Vec<DomainConfig> = domains.iter().map(with_size).collect();
        save(&contact_sheet(&domains, &source, &shown)?.into(), path)?;
        terminal::say(&path.display().to_string());
    }
    if let Some(folder) = &args.output {
        write(&domains, &source, &shown, folder)?;
    }
    Ok(())
}

fn save(picture: &DynamicImage, path: &Path) -> Result<(), Box<dyn Error>> {
    let saved = picture.save(path);
    Ok(saved.map_err(|error| format!("{}: {error}", path.display()))?)
}

/// `<folder>/<real|forgery|mask-forgery>/<person>-<index>.png`.
fn write(
    domains: &[DomainConfig],
    source: &dyn FaceSource,
    shown: &[usize],
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    let write = |picture: &DynamicImage, of: &str, face: usize| {
        let name = source.person(face).replace(['/', '\\'], "-");
        let of = folder.join(of);
        fs::create_dir_all(&of).map_err(|error| format!("--output {}: {error}", of.display()))?;
        save(picture, &of.join(format!("{name}-{face}.png")))
    };
    // Whoever is not shown may lend a face.
    let all: Vec<usize> = (0..source.len()).collect();
    for &face in shown {
        write(&source.face(face)?.picture().clone().into(), "real", face)?;
        for domain in domains {
            let forged = domain.forged(source, &all, face)?;
            let name = domain.forgery.name();
            write(&forged.picture.into(), name, face)?;
            write(&forged.mask.into(), &format!("mask-{name}"), face)?;
        }
    }
    terminal::say(&folder.display().to_string());
    Ok(())
}
