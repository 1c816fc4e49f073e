//! Faces, drawn or read, and forgeries of them.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use image::RgbImage;
use roga::detector::{
    InMemFaces,
    compression::{Compression, by_compression},
    dataset::{DomainConfig, FaceSource, Sample, split_by_person},
    faces::Faces,
    forgery::Forgery,
    gallery::GalleryConfig,
    portrait::{PortraitConfig, Portraits},
};
use sha2::{Digest, Sha256};

use super::{About, Data, Domain};
use crate::{settings::Settings, stranger, terminal};

/// The forgeries of the faces, of people to train, to validate and to test on.
pub fn data(settings: &Settings) -> Result<Data, Box<dyn Error>> {
    let listed = files(settings)?;
    let source = source(settings)?;
    let parts = split_by_person(&source, &settings.shares(), settings.split_seed)?;
    let part = |part: usize, copies: usize| match parts[part].is_empty() {
        true => Ok(Vec::new()),
        false => domains(settings, &source, &parts[part], copies),
    };
    let (copies, test_copies) = (settings.copies(), settings.test_copies());
    let test = part(2, test_copies)?;
    let other = match &settings.test_faces {
        Some(folder) => others(settings, folder)?,
        None => Vec::new(),
    };
    // Two samples of each copy.
    let of_first_copies = |index: usize| index / 2 % test_copies < copies;
    let hash = hash(settings)?;
    check_unchanged(&listed, &files(settings)?)?;
    Ok(Data {
        train: part(0, copies)?,
        test_seen: test.iter().map(|d| d.only(of_first_copies)).collect(),
        test: test.into_iter().chain(other).collect(),
        valid: part(1, copies)?,
        hash,
    })
}

/// Other faces, forged alike, all of them to test on: `<folder>/<forgery>`.
fn others(settings: &Settings, folder: &Path) -> Result<Vec<Domain>, Box<dyn Error>> {
    let with_landmarks = Faces::open(folder);
    let (source, true_landmarks) = match with_landmarks {
        Ok(faces) => (InMemFaces::new(&faces, settings.threads)?, true),
        Err(no_faces) => match GalleryConfig::new().open(folder) {
            Ok(gallery) => (InMemFaces::new(&gallery, settings.threads)?, false),
            Err(no_gallery) => return Err(format!("{no_faces}, and {no_gallery}").into()),
        },
    };
    let fit = |forgery: &&Forgery| true_landmarks || !forgery.needs_landmarks();
    let fit: Vec<Forgery> = settings.forgeries.iter().filter(fit).copied().collect();
    if fit.len() < settings.forgeries.len() {
        let names: Vec<&str> = fit.iter().map(|forgery| forgery.name()).collect();
        terminal::warn(&format!(
            "{} has no landmarks: only forgeries that need none are tested on it ({})",
            folder.display(),
            names.join(", ")
        ));
    }
    if fit.is_empty() {
        return Err("--forgeries must have one that needs no landmarks".into());
    }
    let settings = &Settings {
        forgeries: fit,
        ..settings.clone()
    };
    let faces: Vec<usize> = (0..source.len()).collect();
    let mut domains = domains(settings, &source, &faces, settings.test_copies())?;
    let name = folder.file_name().map(|name| name.to_string_lossy());
    let name = name.unwrap_or("others".into());
    for domain in &mut domains {
        domain.name = format!("{name}/{}", domain.name).into();
        for about in &mut domain.about {
            about.id = format!("{name}/{}", about.id).into();
        }
    }
    Ok(domains)
}

/// Where the faces come from.
pub fn source(settings: &Settings) -> Result<InMemFaces, Box<dyn Error>> {
    let Some(folder) = &settings.faces else {
        let portraits = Portraits::new(PortraitConfig::new(), 0, settings.people, settings.shots)?;
        return Ok(InMemFaces::new(&portraits, settings.threads)?);
    };
    let faces = Faces::open(folder)?;
    let skipped = faces.skipped();
    if skipped.pictures > 0 {
        terminal::warn(&format!(
            "{} pictures have no landmarks and are left out (sets: {})",
            skipped.pictures,
            stranger::name(&skipped.sets.join(", "))
        ));
    }
    Ok(InMemFaces::new(&faces, settings.threads)?)
}

/// Of the faces' files; drawn ones are what the version and the settings make of them.
fn hash(settings: &Settings) -> Result<String, Box<dyn Error>> {
    let mut hash = Sha256::new();
    for_each_file(settings, &mut |file| {
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        io::copy(&mut fs::File::open(file)?, &mut hash)?;
        Ok(())
    })?;
    Ok(match settings.faces {
        None if settings.test_faces.is_none() => "drawn".into(),
        _ => hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
}

/// The sizes of the faces' files, and when they were last written to.
type Listed = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

fn files(settings: &Settings) -> Result<Listed, Box<dyn Error>> {
    let mut files = Listed::new();
    for_each_file(settings, &mut |file| {
        let data = file.metadata()?;
        files.insert(file.into(), (data.len(), data.modified().ok()));
        Ok(())
    })?;
    Ok(files)
}

/// Refuses faces that were written to while they were read: their hash would be that of others.
fn check_unchanged(before: &Listed, after: &Listed) -> Result<(), Box<dyn Error>> {
    let mut all = before.keys().chain(after.keys());
    match all.find(|file| before.get(*file) != after.get(*file)) {
        None => Ok(()),
        Some(file) => Err(format!(
            "{}: has changed while the faces were read; begin again when nothing is written to them \
             any more",
            file.display()
        )
        .into()),
    }
}

/// The files of all faces, in an order that does not depend on where they are.
fn for_each_file(
    settings: &Settings,
    each: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let folders = [&settings.faces, &settings.test_faces];
    for folder in folders.into_iter().flatten() {
        walk(folder, each)?;
    }
    Ok(())
}

fn walk(
    folder: &Path,
    each: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let entries = fs::read_dir(folder).map_err(|error| failed(folder, error))?;
    let entries: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut entries = entries.map_err(|error| failed(folder, error))?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() && !entry.is_symlink() {
            walk(&entry, each)?;
        } else if entry.is_file() {
            each(&entry).map_err(|error| failed(&entry, error))?;
        }
    }
    Ok(())
}

/// How the samples of a forgery are made.
pub fn config(settings: &Settings, forgery: Forgery, copies: usize) -> DomainConfig {
    DomainConfig::new(forgery)
        .with_strength(settings.strength)
        .with_encode(settings.encode())
        .with_copies(copies)
        .with_seed(settings.split_seed)
        .with_threads(settings.threads)
}

fn domains(
    settings: &Settings,
    source: &dyn FaceSource,
    faces: &[usize],
    copies: usize,
) -> Result<Vec<Domain>, Box<dyn Error>> {
    let levels: Vec<Compression> = settings
        .levels
        .iter()
        .map(|q| Compression::jpeg(*q))
        .collect();
    let mut domains: Vec<Domain> = Vec::new();
    let mut reals = Vec::new();
    for &forgery in &settings.forgeries {
        let samples = config(settings, forgery, copies).build(source, faces)?;
        if levels.is_empty() {
            let pictures = shared(&samples, &reals);
            domains.push(domain(
                forgery.name().into(),
                "",
                &samples,
                copies,
                pictures.clone(),
            ));
            reals = pictures;
            continue;
        }
        for (level, samples) in by_compression(&samples, &levels, settings.split_seed)? {
            let name = format!("{forgery}/{level}").into();
            domains.push(domain(
                name,
                &level,
                &samples,
                copies,
                shared(&samples, &[]),
            ));
        }
    }
    Ok(domains)
}

fn domain(
    name: Arc<str>,
    level: &str,
    samples: &[Sample],
    copies: usize,
    pictures: Vec<Arc<RgbImage>>,
) -> Domain {
    let about = samples.iter().enumerate().map(|(index, sample)| {
        let class = match sample.label {
            0 if level.is_empty() => "real".into(),
            0 => format!("real-{level}"),
            _ => name.to_string(),
        };
        let (person, source) = (&sample.person, sample.source);
        About {
            id: format!("{person}/{source}/{class}/{}", index / 2 % copies).into(),
            forged: sample.label == 1,
            people: vec![person.clone()],
            video: format!("{class}/{person}/{source}").into(),
        }
    });
    Domain {
        about: about.collect(),
        places: (0..samples.len()).collect(),
        pictures: Arc::new(pictures),
        name,
    }
}

/// The samples' pictures. The domains have their real ones in common: they are kept once.
fn shared(samples: &[Sample], first: &[Arc<RgbImage>]) -> Vec<Arc<RgbImage>> {
    let pictures = samples.iter().enumerate().map(|(index, sample)| {
        let same = first.get(index).filter(|same| ***same == sample.picture);
        same.cloned()
            .unwrap_or_else(|| Arc::new(sample.picture.clone()))
    });
    pictures.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_that_change_while_they_are_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            faces: Some(folder.path().into()),
            ..Settings::default()
        };
        let file = folder.path().join("a.png");
        fs::write(&file, "one").unwrap();
        let before = files(&settings).unwrap();
        assert!(check_unchanged(&before, &files(&settings).unwrap()).is_ok());
        let named = |name: &str| {
            let error = check_unchanged(&before, &files(&settings).unwrap()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        };
        fs::write(folder.path().join("b.png"), "").unwrap();
        named("b.png");
        fs::write(&file, "other").unwrap();
        named("a.png");
        fs::remove_file(&file).unwrap();
        named("a.png");
    }
}
