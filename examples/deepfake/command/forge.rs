//! Forged pictures and their masks, as files, and a sheet to look at.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use roga::detector::{
    dataset::{DomainConfig, FaceSource},
    sheet::contact_sheet,
};

use crate::{data, settings::Settings};

#[derive(Args)]
pub struct ForgeArgs {
    /// A picture of real faces, their forgeries and the masks side by side
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// Where the forged pictures and their masks are written
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// How many faces, from the first on
    #[arg(long, default_value_t = 8)]
    count: usize,
}

/// Forges the first faces of the settings' source in every way.
pub fn forge(settings: &Settings, args: &ForgeArgs) -> Result<(), Box<dyn Error>> {
    if args.sheet.is_none() && args.output.is_none() {
        return Err("forge writes to --sheet FILE.png, to --output DIR, or to both".into());
    }
    let source = data::source(settings)?;
    let faces: Vec<usize> = (0..source.len()).collect();
    let shown = &faces[..args.count.min(faces.len())];
    let domains: Vec<DomainConfig> = settings
        .forgeries
        .iter()
        .map(|forgery| data::config(settings, *forgery, 1))
        .collect();
    if let Some(path) = &args.sheet {
        let larger = settings.encode().with_size(settings.size.max(128));
        let with_size = |domain: &DomainConfig| domain.clone().with_encode(larger.clone());
        let domains: Vec<DomainConfig> = domains.iter().map(with_size).collect();
        contact_sheet(&domains, &source, shown)?.save(path)?;
        println!("{}", path.display());
    }
    if let Some(folder) = &args.output {
        write(&domains, &source, shown, folder)?;
    }
    Ok(())
}

/// `<folder>/<real|forgery|mask-forgery>/<person>-<index>.png`.
fn write(
    domains: &[DomainConfig],
    source: &dyn FaceSource,
    faces: &[usize],
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    let write = |picture: &image::DynamicImage, of: &str, face: usize| {
        let name = source.person(face).replace(['/', '\\'], "-");
        let path = folder.join(of).join(format!("{name}-{face}.png"));
        fs::create_dir_all(folder.join(of))?;
        picture.save(&path)?;
        Ok::<(), Box<dyn Error>>(())
    };
    for &face in faces {
        write(&source.face(face)?.picture().clone().into(), "real", face)?;
        for domain in domains {
            let forged = domain.forged(source, faces, face)?;
            let name = domain.forgery.name();
            write(&forged.picture.into(), name, face)?;
            write(&forged.mask.into(), &format!("mask-{name}"), face)?;
        }
    }
    println!("{}", folder.display());
    Ok(())
}
