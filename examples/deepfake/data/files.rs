//! Sets of real and forged pictures on disk.

use std::{
    collections::HashMap,
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use image::RgbImage;
use roga::{
    detector::{
        compression::Compression,
        data::{
            CheckConfig, DeepfakeBenchConfig, FolderConfig, HashContent, Label, Listing,
            ManifestConfig, OnProblem, PictureRecord, PictureSet, SelectConfig, Split,
        },
        encode::EncodeConfig,
    },
    domain::GroupSplit,
};

use super::{About, Data, Domain, Pictures};
use crate::{
    parallel::in_parallel,
    settings::{self, Settings},
    terminal,
};

/// The sets of the settings, in the parts their makers or the split seed put them in.
pub fn data(settings: &Settings) -> Result<Data, Box<dyn Error>> {
    let set = open(&settings.data, settings)?;
    let mut hash = set.hash(HashContent::Bytes)?;
    let [train, valid, test] = parts(&set, settings)?;
    let valid = match settings.valid_share() > 0.0 {
        true => domains(&valid, settings)?,
        false => Vec::new(),
    };
    let test = domains(&test, settings)?;
    let mut tested = test.clone();
    if !settings.test_data.is_empty() {
        let other = open_to_test(&settings.test_data, settings)?;
        hash = format!("{hash}+{}", other.hash(HashContent::Bytes)?);
        join(&mut tested, domains(&other, settings)?);
    }
    Ok(Data {
        train: domains(&train, settings)?,
        valid,
        test_seen: test,
        test: tested,
        hash,
    })
}

/// Sets to test on: all of them, or what their makers test on.
pub fn to_test(settings: &Settings) -> Result<Data, Box<dyn Error>> {
    let paths: Vec<PathBuf> = [&settings.data[..], &settings.test_data].concat();
    let set = open_to_test(&paths, settings)?;
    Ok(Data {
        train: Vec::new(),
        valid: Vec::new(),
        test_seen: Vec::new(),
        test: domains(&set, settings)?,
        hash: set.hash(HashContent::Bytes)?,
    })
}

/// Other domains beside those that are there; one of a name that is there gets another.
fn join(tested: &mut Vec<Domain>, others: Vec<Domain>) {
    for mut domain in others {
        while tested.iter().any(|known| known.name == domain.name) {
            domain.name = format!("test/{}", domain.name).into();
        }
        for about in &mut domain.about {
            about.id = format!("test/{}", about.id).into();
        }
        tested.push(domain);
    }
}

/// Lists of all paths as one, of each picture what the settings ask for, checked.
pub fn open(paths: &[PathBuf], settings: &Settings) -> Result<PictureSet, Box<dyn Error>> {
    check(list(paths, settings)?, settings)
}

/// Of sets that their makers have split only the test part is looked at: in several of them people
/// are in two parts.
fn open_to_test(paths: &[PathBuf], settings: &Settings) -> Result<PictureSet, Box<dyn Error>> {
    let listing = list(paths, settings)?;
    let listing = match listing
        .records()
        .iter()
        .any(|record| record.split.is_some())
    {
        true => listing.select(&SelectConfig::new().with_split(Some(Split::Test)))?,
        false => listing,
    };
    check(listing, settings)
}

fn list(paths: &[PathBuf], settings: &Settings) -> roga::Result<Listing> {
    let mut listing = Listing::default();
    for path in paths {
        listing = listing.join(read(path, settings)?);
    }
    let select = SelectConfig::new()
        .with_compression(Some(settings.compression))
        .with_frames_per_video(Some(settings.frames));
    listing.select(&select)
}

fn check(listing: Listing, settings: &Settings) -> Result<PictureSet, Box<dyn Error>> {
    let on_problem = match settings.on_problem {
        settings::OnProblem::Refuse => OnProblem::Refuse,
        settings::OnProblem::Skip => OnProblem::Skip,
    };
    let check = CheckConfig::new()
        .with_on_problem(on_problem)
        .with_threads(settings.threads);
    let set = listing.check(&check)?;
    if set.left_out() > 0 {
        let (count, skipped) = (set.left_out(), set.skipped());
        terminal::warn(&format!("{count} pictures are left out: {skipped}"));
    }
    Ok(set)
}

fn read(path: &Path, settings: &Settings) -> roga::Result<Listing> {
    let beside = || path.parent().unwrap_or(Path::new(".")).to_path_buf();
    let root = settings.data_root.clone();
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        _ if path.is_dir() => FolderConfig::new(path.into()).read(),
        Some("json") => DeepfakeBenchConfig::new(root.unwrap_or_else(beside)).read(path),
        _ => ManifestConfig::new().with_root(root).read(path),
    }
}

/// To train, to validate and to test on: the makers' split, or one by person.
fn parts(set: &PictureSet, settings: &Settings) -> Result<[PictureSet; 3], Box<dyn Error>> {
    let without = set
        .records()
        .filter(|record| record.split.is_none())
        .count();
    if without < set.len() {
        let of = |split| set.select(&SelectConfig::new().with_split(Some(split)));
        if without > 0 {
            terminal::warn(&format!("{without} pictures are in no part and not used"));
        }
        return Ok([of(Split::Train)?, of(Split::Val)?, of(Split::Test)?]);
    }
    let groups = set.person_groups();
    let shares = settings.shares();
    let split = GroupSplit::new(groups.iter().cloned(), &shares, settings.split_seed)?;
    let indices = split.indices(&groups);
    let part = |part: usize| set.subset(&indices[part]);
    Ok([part(0)?, part(1)?, part(2)?])
}

/// Every method of forgery with the real pictures beside it, at every level of compression. A
/// picture that several of them have is read once.
fn domains(set: &PictureSet, settings: &Settings) -> Result<Vec<Domain>, Box<dyn Error>> {
    let key = |record: &Arc<PictureRecord>| Arc::as_ptr(record);
    let places: HashMap<_, usize> = set.records().map(key).zip(0..).collect();
    let mut known: HashMap<&str, usize> = HashMap::new();
    // Sets below different roots may have names in common.
    let ids: Vec<Arc<str>> = set
        .records()
        .map(|record| {
            let count = known.entry(&record.id).or_insert(0);
            *count += 1;
            match *count {
                1 => record.id.as_str().into(),
                count => format!("{count}:{}", record.id).into(),
            }
        })
        .collect();
    let files: Arc<dyn Pictures> = Arc::new(Files {
        kept: (0..set.len()).map(|_| OnceLock::new()).collect(),
        keep: set.len() <= KEPT_BYTES / (3 * settings.size as usize * settings.size as usize),
        set: set.clone(),
        encode: settings.encode(),
    });
    let mut domains = Vec::new();
    for (name, part) in set.domains() {
        let places: Vec<usize> = part.records().map(|record| places[&key(record)]).collect();
        let about = part.records().zip(&places);
        let about = about.map(|(record, place)| about_of(record, ids[*place].clone()));
        let domain = Domain {
            name,
            about: about.collect(),
            places,
            pictures: files.clone(),
        };
        match settings.levels.is_empty() {
            true => domains.push(domain),
            false => domains.extend(settings.levels.iter().map(|q| domain.compressed(*q))),
        }
    }
    Ok(domains)
}

fn about_of(record: &PictureRecord, id: Arc<str>) -> About {
    About {
        id,
        forged: record.label == Label::Fake,
        people: match record.persons.is_empty() {
            true => vec![record.video.clone()],
            false => record.persons.clone(),
        },
        video: record.video.clone(),
    }
}

impl Domain {
    /// The same at a level of compression, as a domain of its own.
    fn compressed(&self, quality: u8) -> Self {
        let level = Compression::jpeg(quality);
        let about = self.about.iter().map(|about| About {
            id: format!("{}@{}", about.id, level.name).into(),
            ..about.clone()
        });
        Self {
            name: format!("{}/{}", self.name, level.name).into(),
            about: about.collect(),
            places: self.places.clone(),
            pictures: Arc::new(Compressed {
                pictures: self.pictures.clone(),
                level,
            }),
        }
    }
}

/// Pictures after a JPEG.
struct Compressed {
    pictures: Arc<dyn Pictures>,
    level: Compression,
}

impl Pictures for Compressed {
    fn picture(&self, index: usize) -> roga::Result<Arc<RgbImage>> {
        let picture = self.pictures.picture(index)?;
        let encoded = self.level.apply(&picture, index as u64)?;
        Ok(Arc::new(encoded.picture))
    }
}

/// How much of the nets' inputs is kept in memory.
const KEPT_BYTES: usize = 2 << 30;

/// Pictures that are read when they are first asked for.
struct Files {
    set: PictureSet,
    encode: EncodeConfig,
    kept: Vec<OnceLock<Arc<RgbImage>>>,
    keep: bool,
}

impl Pictures for Files {
    fn picture(&self, index: usize) -> roga::Result<Arc<RgbImage>> {
        if let Some(picture) = self.kept[index].get() {
            return Ok(picture.clone());
        }
        let picture = Arc::new(self.encode.middle(&self.set.picture(index)?.pixels)?);
        if self.keep {
            // Another thread may have been first, with the same picture.
            let _ = self.kept[index].set(picture.clone());
        }
        Ok(picture)
    }
}

/// Several pictures, read on several threads; 0 for as many as the machine has.
pub fn pictures(
    domain: &Domain,
    indices: &[usize],
    threads: usize,
) -> roga::Result<Vec<Arc<RgbImage>>> {
    let pictures = in_parallel(threads, indices, |&index| domain.picture(index));
    pictures.into_iter().collect()
}
