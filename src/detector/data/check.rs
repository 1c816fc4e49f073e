use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    decode::{self, Header},
    problem::{Fault, Problem, Problems},
    record::{Label, PictureRecord, Split},
    root::inside,
    set::{PictureSet, Reals},
};
use crate::{
    Error, Result,
    detector::{dataset::in_parallel, landmark::Landmarks},
};

/// What becomes of pictures that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnProblem {
    /// None is left out: all problems are returned at once.
    #[default]
    Refuse,
    /// They are left out, and [counted](PictureSet::skipped).
    Skip,
}

/// Whether a file beside each picture is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Every picture must have one. Of masks: every fake.
    Required,
    /// Where there is one, it must be readable.
    #[default]
    IfPresent,
    /// None is looked at.
    Ignore,
}

/// How a data set is checked.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct CheckConfig {
    /// What becomes of pictures that cannot be used.
    #[config(default = "OnProblem::Refuse")]
    pub on_problem: OnProblem,
    /// Whether every picture is decoded to its end. Otherwise headers are read, and whether the
    /// files are whole: enough for files that were cut short, not for those with wrong bytes in
    /// the middle.
    #[config(default = false)]
    pub decode: bool,
    /// Whether landmarks are needed.
    #[config(default = "Need::IfPresent")]
    pub landmarks: Need,
    /// Whether masks are needed.
    #[config(default = "Need::IfPresent")]
    pub masks: Need,
    /// Whether every domain of forgeries must have real pictures beside it.
    #[config(default = true)]
    pub both_classes: bool,
    /// Threads to work on; 0 for as many as the machine has.
    #[config(default = 0)]
    pub threads: usize,
}

type Checked = (PictureRecord, Header);

impl CheckConfig {
    pub(super) fn run(
        &self,
        records: Vec<PictureRecord>,
        mut problems: Problems,
    ) -> Result<PictureSet> {
        let root = records.first().map(|record| record.root.clone());
        let listed = records.len();
        let looked = in_parallel(self.threads, records.len(), |i| Ok(self.look(&records[i])))?;
        drop(records);
        let mut checked = Vec::with_capacity(looked.len());
        for result in looked {
            match result {
                Ok(pair) => checked.push(pair),
                Err(problem) => problems.push(problem),
            }
        }
        let checked = once_each(checked, &mut problems);
        let checked = one_split_each(checked, &mut problems);
        let checked = match self.both_classes {
            true => both_classes(checked, &mut problems),
            false => checked,
        };
        if !problems.is_empty() && (self.on_problem == OnProblem::Refuse || checked.is_empty()) {
            return Err(Error::Pictures(problems));
        }
        if checked.is_empty() {
            return Err(Error::File {
                path: root.map_or_else(Default::default, |root| root.to_path_buf()),
                reason: "has no pictures: check the root, the list and what was selected".into(),
            });
        }
        let left_out = listed - checked.len();
        Ok(PictureSet::new(checked, problems, left_out))
    }

    /// Looks at one picture and at what belongs to it.
    fn look(&self, record: &PictureRecord) -> Result<Checked, Problem> {
        self.look_at(record)
            .map_err(|fault| Problem::at(&record.file, fault))
    }

    fn look_at(&self, record: &PictureRecord) -> Result<Checked, Fault> {
        let mut record = record.clone();
        let file = inside(&record.root, &record.file)?;
        let header = decode::header(&file)?;
        if self.decode {
            decode::picture(&file)?;
        }
        record.landmarks = beside(&record, &record.landmarks, self.landmarks)
            .map_err(|fault| in_landmarks(&fault))?;
        if let Some(file) = &record.landmarks {
            let read = Landmarks::read_npy(file);
            read.map_err(|error| Fault::Landmarks(error.to_string()))?;
        }
        let masks = match (record.label, self.masks) {
            (Label::Real, Need::Required) => Need::IfPresent,
            (_, need) => need,
        };
        record.mask = beside(&record, &record.mask, masks).map_err(|fault| in_mask(&fault))?;
        if let Some(file) = &record.mask {
            let mask = decode::header(file).map_err(|fault| in_mask(&fault))?;
            let [mask, picture] = [mask, header].map(|h| [h.width, h.height]);
            if mask != picture {
                let text = format!("{mask:?} pixels for a picture of {picture:?}");
                return Err(Fault::Mask(text));
            }
        }
        Ok((record, header))
    }
}

fn in_landmarks(fault: &Fault) -> Fault {
    Fault::Landmarks(fault.to_string())
}

fn in_mask(fault: &Fault) -> Fault {
    Fault::Mask(fault.to_string())
}

/// The file that belongs to a picture, where it is needed or there.
fn beside(
    record: &PictureRecord,
    file: &Option<PathBuf>,
    need: Need,
) -> Result<Option<PathBuf>, Fault> {
    let found = match (file, need) {
        (_, Need::Ignore) => return Ok(None),
        (Some(file), _) => inside(&record.root, file),
        (None, _) => Err(Fault::Missing),
    };
    match (found, need) {
        (Ok(_), _) => Ok(file.clone()),
        (Err(Fault::Missing), Need::IfPresent) => Ok(None),
        (Err(fault), _) => Err(fault),
    }
}

/// Leaves the first of pictures that stand twice in a split, whatever their labels.
fn once_each(checked: Vec<Checked>, problems: &mut Problems) -> Vec<Checked> {
    let mut seen = HashSet::new();
    let mut twice = Vec::new();
    let mut first = Vec::with_capacity(checked.len());
    for (record, header) in checked {
        if seen.insert((record.file.clone(), record.split)) {
            first.push((record, header));
        } else {
            let place = format!("as {} of {}", record.label, record.domain);
            twice.push(Problem::in_list(record.file, place, Fault::Duplicate));
        }
    }
    problems.extend(twice);
    first
}

/// Leaves those pictures none of whose people is in a later split: what is tested on is kept, and
/// what is trained on gives way.
fn one_split_each(checked: Vec<Checked>, problems: &mut Problems) -> Vec<Checked> {
    let mut splits: BTreeMap<Arc<str>, BTreeSet<Split>> = BTreeMap::new();
    for (record, _) in &checked {
        for person in &record.persons {
            splits
                .entry(person.clone())
                .or_default()
                .extend(record.split);
        }
    }
    splits.retain(|_, splits| splits.len() > 1);
    let mut examples = HashMap::new();
    let mut kept = Vec::with_capacity(checked.len());
    for (record, header) in checked {
        let is_later = |person: &&Arc<str>| {
            let last = splits.get(*person).and_then(BTreeSet::last);
            record.split.is_some() && last > record.split.as_ref()
        };
        let mut later = record.persons.iter().filter(is_later).peekable();
        if later.peek().is_none() {
            kept.push((record, header));
            continue;
        }
        for person in later {
            let file = || record.file.clone();
            examples.entry(person.clone()).or_insert_with(file);
        }
    }
    for (person, splits) in &splits {
        if let (Some(&first), Some(&last), Some(file)) =
            (splits.first(), splits.last(), examples.get(person))
        {
            let place = format!("person {person}");
            problems.push(Problem::in_list(
                file,
                place,
                Fault::InTwoSplits(first, last),
            ));
        }
    }
    kept
}

/// Leaves the domains of forgeries that have real pictures beside them, and the real pictures.
fn both_classes(mut checked: Vec<Checked>, problems: &mut Problems) -> Vec<Checked> {
    let alone = Reals::new(checked.iter().map(|(record, _)| record)).methods_alone();
    let mut files = BTreeMap::new();
    checked.retain(|(record, _)| {
        let domain = (record.dataset.clone(), record.domain.clone());
        let stays = record.label == Label::Real || !alone.contains(&domain);
        if !stays {
            files.entry(domain).or_insert_with(|| record.file.clone());
        }
        stays
    });
    for ((dataset, domain), file) in files {
        let place = format!("domain {domain} of {dataset}, forgeries only");
        problems.push(Problem::in_list(file, place, Fault::OneClass));
    }
    if checked
        .iter()
        .any(|(record, _)| record.label == Label::Fake)
    {
        return checked;
    }
    if let Some((record, _)) = checked.first() {
        let place = "real pictures only";
        problems.push(Problem::in_list(&*record.root, place, Fault::OneClass));
    }
    Vec::new()
}
