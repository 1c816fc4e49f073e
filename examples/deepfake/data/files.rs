//! Sets of real and forged pictures on disk.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use image::RgbImage;
use roga::{
    detector::{
        data::{
            CheckConfig, DeepfakeBenchConfig, FolderConfig, HashContent, Label, Listing,
            ManifestConfig, OnProblem, PictureSet, SelectConfig, Split,
        },
        encode::EncodeConfig,
    },
    domain::GroupSplit,
};

use super::{About, Data, Domain, Pictures};
use crate::{
    settings::{self, ProtocolName, SelectionName, Settings},
    terminal,
};

/// The sets of the settings, in the parts their makers or the split seed put them in.
pub fn data(settings: &Settings) -> Result<Data, Box<dyn Error>> {
    let set = open(&settings.data, settings)?;
    let mut hash = set.hash(HashContent::Sizes)?;
    let [train, valid, mut test] = parts(&set, settings)?;
    if settings.selection == SelectionName::Last && settings.draws == 1 && !valid.is_empty() {
        // Nothing is chosen: what was to choose by stays out of both sides.
        terminal::warn(&format!(
            "{} pictures to validate on are not used",
            valid.len()
        ));
    }
    let to_domains = |set: &PictureSet| domains(set, settings);
    let mut tested = to_domains(&test)?;
    if !settings.test_data.is_empty() {
        test = open(&settings.test_data, settings)?;
        hash = format!("{hash}+{}", test.hash(HashContent::Sizes)?);
        let other = match has_split(&test) {
            true => test.select(&SelectConfig::new().with_split(Some(Split::Test)))?,
            false => test,
        };
        let mut other = to_domains(&other)?;
        if settings.protocol == ProtocolName::Cross {
            let known = |name: &Arc<str>| tested.iter().any(|domain| domain.name == *name);
            for domain in other.iter_mut().filter(|domain| known(&domain.name)) {
                domain.name = format!("test/{}", domain.name).into();
            }
        }
        tested.extend(other);
    }
    let valid = match settings.valid_share() > 0.0 {
        true => to_domains(&valid)?,
        false => Vec::new(),
    };
    Ok(Data {
        train: to_domains(&train)?,
        valid,
        test_seen: tested.clone(),
        test: tested,
        hash,
    })
}

/// Lists of all paths as one, of each picture what the settings ask for, checked.
pub fn open(paths: &[PathBuf], settings: &Settings) -> Result<PictureSet, Box<dyn Error>> {
    let mut listing = Listing::default();
    for path in paths {
        listing = listing.join(read(path, settings)?);
    }
    let select = SelectConfig::new()
        .with_compression(Some(settings.compression))
        .with_frames_per_video(Some(settings.frames));
    let on_problem = match settings.on_problem {
        settings::OnProblem::Refuse => OnProblem::Refuse,
        settings::OnProblem::Skip => OnProblem::Skip,
    };
    let check = CheckConfig::new()
        .with_on_problem(on_problem)
        .with_threads(settings.threads);
    let set = listing.select(&select)?.check(&check)?;
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

fn has_split(set: &PictureSet) -> bool {
    set.records().any(|record| record.split.is_some())
}

/// To train, to validate and to test on: the makers' split, or one by person.
fn parts(set: &PictureSet, settings: &Settings) -> Result<[PictureSet; 3], Box<dyn Error>> {
    if has_split(set) {
        let of = |split| set.select(&SelectConfig::new().with_split(Some(split)));
        return Ok([of(Split::Train)?, of(Split::Val)?, of(Split::Test)?]);
    }
    let groups = set.person_groups();
    let (valid, test) = (settings.valid_share(), settings.test_share);
    let shares = [1.0 - valid - test, valid, test];
    let split = GroupSplit::new(groups.iter().cloned(), &shares, settings.split_seed)?;
    let indices = split.indices(&groups);
    let part = |part: usize| set.subset(&indices[part]);
    Ok([part(0)?, part(1)?, part(2)?])
}

/// Every method of forgery with the real pictures beside it. Pictures are read once.
fn domains(set: &PictureSet, settings: &Settings) -> Result<Vec<Domain>, Box<dyn Error>> {
    let places: BTreeMap<&str, usize> = set
        .records()
        .enumerate()
        .map(|(i, r)| (&*r.id, i))
        .collect();
    let groups = set.person_groups();
    let files: Arc<dyn Pictures> = Arc::new(Files {
        kept: (0..set.len()).map(|_| OnceLock::new()).collect(),
        keep: set.len() <= KEPT_BYTES / (3 * settings.size as usize * settings.size as usize),
        set: set.clone(),
        encode: settings.encode(),
    });
    let domains = set.domains().into_iter().map(|(name, part)| {
        let about = part.records().map(|record| About {
            id: record.id.as_str().into(),
            forged: record.label == Label::Fake,
            person: groups[places[&*record.id]].clone(),
            video: record.video.clone(),
        });
        Domain {
            name,
            about: about.collect(),
            places: part.records().map(|record| places[&*record.id]).collect(),
            pictures: files.clone(),
        }
    });
    Ok(domains.collect())
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
