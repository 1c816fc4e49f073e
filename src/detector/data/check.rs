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
        let as_listed = Reals::new(records.iter());
        let looked = in_parallel(self.threads, &records, |record| Ok(self.look(record)))?;
        drop(records);
        let mut checked = Vec::with_capacity(looked.len());
        for result in looked {
            match result {
                Ok(pair) => checked.push(pair),
                Err(problem) => problems.push(problem),
            }
        }
        let mut checked = once_each(checked, &mut problems);
        checked = one_split_each(checked, &mut problems);
        if self.both_classes {
            let reals = match self.on_problem {
                // What is missing only because of another problem is no problem of its own.
                OnProblem::Refuse => as_listed,
                OnProblem::Skip => Reals::new(checked.iter().map(|(record, _)| record)),
            };
            checked = both_classes(checked, &reals, &mut problems);
        }
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

/// Leaves the domains of forgeries that have real pictures beside them, and the real pictures; none
/// where that leaves one class.
fn both_classes(mut checked: Vec<Checked>, reals: &Reals, problems: &mut Problems) -> Vec<Checked> {
    if let (true, Some((record, _))) = (reals.methods().is_empty(), checked.first()) {
        let place = "real pictures only";
        problems.push(Problem::in_list(&*record.root, place, Fault::OneClass));
    }
    let alone = reals.methods_alone();
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
    match checked
        .iter()
        .any(|(record, _)| record.label == Label::Fake)
    {
        true => checked,
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use image::RgbImage;

    use super::*;
    use crate::detector::{data::Listing, faces::MAX_SIDE};

    /// A folder with a real and a forged picture, and the records of both.
    struct Pair {
        folder: tempfile::TempDir,
        records: Vec<PictureRecord>,
    }

    impl Pair {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().canonicalize().unwrap();
            let mut pair = Self {
                folder,
                records: Vec::new(),
            };
            for (id, label, domain) in [
                ("real/ann/0.png", Label::Real, "camera"),
                ("fake/bob/1.png", Label::Fake, "swap"),
            ] {
                let record = PictureRecord::sample(&root, id, label, domain);
                write(&record.file, &encoded(20, 16, "png"));
                pair.records.push(record);
            }
            pair
        }

        fn path(&self, name: &str) -> PathBuf {
            let path = self.records[0].root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        /// The pair and one forged picture more.
        fn with(mut self, id: &str, bytes: &[u8]) -> Self {
            let record = PictureRecord::sample(&self.records[0].root, id, Label::Fake, "swap");
            write(&record.file, bytes);
            self.records.push(record);
            self
        }

        fn check(&self, config: &CheckConfig) -> Result<PictureSet> {
            Listing::new(self.records.clone()).check(config)
        }

        fn faults(&self, config: &CheckConfig) -> Vec<(String, Fault)> {
            let Err(Error::Pictures(problems)) = self.check(config) else {
                panic!("{:?}", self.check(config));
            };
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            let faults = problems.iter().map(|p| (name(&p.file), p.fault.clone()));
            faults.collect()
        }

        /// The one fault there is, which is skipped where that is asked for.
        fn fault(&self, config: &CheckConfig) -> Fault {
            let mut faults = self.faults(config);
            assert_eq!(faults.len(), 1, "{faults:?}");
            let skip = config.clone().with_on_problem(OnProblem::Skip);
            let set = self.check(&skip).unwrap();
            assert_eq!((set.len(), set.left_out()), (self.records.len() - 1, 1));
            assert_eq!(set.skipped().len(), 1);
            faults.remove(0).1
        }
    }

    fn write(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn encoded(width: u32, height: u32, format: &str) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 77]));
        let mut file = std::io::Cursor::new(Vec::new());
        let format = image::ImageFormat::from_extension(format).unwrap();
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    fn new() -> CheckConfig {
        CheckConfig::new()
    }

    fn said(fault: Fault) -> String {
        match fault {
            Fault::Undecodable(text)
            | Fault::TooLarge(text)
            | Fault::Landmarks(text)
            | Fault::Mask(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_good_set() {
        let pair = Pair::new().with("fake/cyd/2.jpg", &encoded(9, 9, "jpg"));
        for config in [new(), new().with_decode(true), new().with_threads(1)] {
            let set = pair.check(&config).unwrap();
            assert_eq!((set.len(), set.left_out()), (3, 0));
            let formats: Vec<&str> = set.headers().map(|header| header.format).collect();
            assert_eq!(formats, ["png", "png", "jpeg"]);
        }
    }

    #[test]
    fn zero_bytes() {
        assert_eq!(Pair::new().with("a.png", b"").fault(&new()), Fault::Empty);
    }

    #[test]
    fn missing() {
        let pair = Pair::new().with("a.png", b"x");
        fs::remove_file(pair.path("a.png")).unwrap();
        assert_eq!(pair.fault(&new()), Fault::Missing);
    }

    #[test]
    fn truncated() {
        for (name, format) in [("a.png", "png"), ("a.jpg", "jpg")] {
            let whole = encoded(64, 64, format);
            for len in [whole.len() / 2, whole.len() - 1, 30, 3] {
                for decode in [false, true] {
                    let pair = Pair::new().with(name, &whole[..len]);
                    said(pair.fault(&new().with_decode(decode)));
                }
            }
        }
    }

    #[test]
    fn wrong_bytes_in_the_middle() {
        let mut bytes = encoded(64, 64, "png");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        let pair = Pair::new().with("a.png", &bytes);
        assert!(pair.check(&new()).is_ok(), "headers tell nothing of it");
        said(pair.fault(&new().with_decode(true)));
    }

    #[test]
    fn text_named_png() {
        let fault = Pair::new()
            .with("a.png", b"not a picture at all")
            .fault(&new());
        assert!(said(fault).contains("neither PNG nor JPEG"));
        let gif = Pair::new()
            .with("a.png", b"GIF89a\x01\x00\x01\x00")
            .fault(&new());
        assert!(said(gif).contains("Gif"));
    }

    #[test]
    fn a_header_that_claims_a_hundred_thousand_pixels_a_side() {
        let mut png = encoded(8, 8, "png");
        png[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
        let sum = crc32fast::hash(&png[12..29]);
        png[29..33].copy_from_slice(&sum.to_be_bytes());
        let fault = Pair::new().with("a.png", &png).fault(&new());
        assert!(matches!(fault, Fault::TooLarge(_)), "{fault:?}");

        let mut jpeg = encoded(8, 8, "jpg");
        let at = jpeg
            .windows(2)
            .position(|pair| pair == [0xff, 0xc0])
            .unwrap();
        jpeg[at + 5..at + 9].copy_from_slice(&[0xff; 4]);
        for decode in [false, true] {
            let pair = Pair::new().with("a.jpg", &jpeg);
            let fault = pair.fault(&new().with_decode(decode));
            assert!(matches!(fault, Fault::TooLarge(_)), "{fault:?}");
        }
        let wide = encoded(MAX_SIDE + 1, 1, "png");
        let fault = Pair::new().with("a.png", &wide).fault(&new());
        assert!(said(fault).contains("4096"));
    }

    #[test]
    fn a_folder_named_png() {
        let pair = Pair::new().with("a/b.png", b"x");
        let mut pair = pair;
        pair.records[2].file = pair.path("a");
        assert!(said(pair.fault(&new())).contains("no file"));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().join("b.png");
        fs::write(&target, encoded(8, 8, "png")).unwrap();
        let pair = Pair::new().with("a.png", b"x");
        let link = |target: &Path| {
            fs::remove_file(pair.path("a.png")).unwrap();
            std::os::unix::fs::symlink(target, pair.path("a.png")).unwrap();
        };
        link(&target);
        assert_eq!(pair.fault(&new()), Fault::OutsideRoot);
        link(&pair.path("nothing.png"));
        assert_eq!(pair.fault(&new()), Fault::Missing);
        link(&pair.path("a.png"));
        said(pair.fault(&new()));
        link(&pair.records[1].file);
        assert!(pair.check(&new()).is_ok(), "a link inside the root");
        drop(pair.folder);
    }

    #[cfg(unix)]
    #[test]
    fn landmarks_and_masks_that_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        let mut pair = Pair::new();
        let [npy, mask] = ["fake/1.npy", "fake/1_mask.png"].map(|name| pair.path(name));
        for (link, name) in [(&npy, "a.npy"), (&mask, "a.png")] {
            let target = outside.path().join(name);
            fs::write(&target, encoded(20, 16, "png")).unwrap();
            std::os::unix::fs::symlink(target, link).unwrap();
        }
        let outside = Fault::OutsideRoot.to_string();
        pair.records[1].mask = Some(mask);
        assert_eq!(said(pair.faults(&new()).remove(0).1), outside);
        pair.records[1].landmarks = Some(npy);
        assert_eq!(said(pair.faults(&new()).remove(0).1), outside);
    }

    #[test]
    fn all_problems_come_at_once() {
        let pair = Pair::new()
            .with("empty.png", b"")
            .with("text.png", b"text")
            .with("good.png", &encoded(8, 8, "png"));
        let kinds = pair.faults(&new());
        let kinds: Vec<_> = kinds.iter().map(|(n, f)| (&**n, f.kind())).collect();
        assert_eq!(kinds, [("empty.png", "empty"), ("text.png", "undecodable")]);
        let text = pair.check(&new()).unwrap_err().to_string();
        assert!(
            text.starts_with("2 problems (1 empty, 1 undecodable)\n  "),
            "{text}"
        );
        assert!(text.contains("empty.png: has no bytes; make the picture anew"));
    }

    #[test]
    fn the_same_picture_twice() {
        let mut pair = Pair::new();
        let mut again = pair.records[1].clone();
        again.label = Label::Real;
        pair.records.push(again);
        assert_eq!(pair.fault(&new()), Fault::Duplicate);
    }

    #[test]
    fn a_person_in_two_splits() {
        let mut pair = Pair::new().with("fake/dan/2.png", &encoded(8, 8, "png"));
        for (record, split) in pair
            .records
            .iter_mut()
            .zip([Split::Train, Split::Val, Split::Test])
        {
            record.split = Some(split);
        }
        assert!(pair.check(&new()).is_ok());
        pair.records[1].persons = vec!["bob".into(), "dan".into()];
        pair.records[2].persons = vec!["dan".into()];
        assert_eq!(
            pair.fault(&new()),
            Fault::InTwoSplits(Split::Val, Split::Test)
        );
    }

    #[test]
    fn one_class_only() {
        let mut pair = Pair::new().with("lone.png", &encoded(8, 8, "png"));
        pair.records[2].dataset = "other".into();
        assert_eq!(pair.fault(&new()), Fault::OneClass);
        assert!(pair.check(&new().with_both_classes(false)).is_ok());
        pair.records.truncate(1);
        for config in [new(), new().with_on_problem(OnProblem::Skip)] {
            assert_eq!(pair.faults(&config).len(), 1, "real pictures alone");
        }
    }

    #[test]
    fn nothing_at_all() {
        let mut pair = Pair::new();
        pair.records.clear();
        let text = Listing::default().check(&new()).unwrap_err().to_string();
        assert!(text.contains("has no pictures"), "{text}");
        let pair = Pair::new();
        pair.records
            .iter()
            .for_each(|record| fs::remove_file(&record.file).unwrap());
        let skip = new().with_on_problem(OnProblem::Skip);
        assert_eq!(pair.faults(&skip).len(), 2, "skipping all is no way out");
    }

    #[test]
    fn landmarks_and_masks() {
        let mut pair = Pair::new();
        let (npy, mask) = (pair.path("fake/1.npy"), pair.path("fake/1_mask.png"));
        pair.records[1].landmarks = Some(npy.clone());
        pair.records[1].mask = Some(mask.clone());
        let set = pair.check(&new()).unwrap();
        let fake = set
            .records()
            .find(|record| record.label == Label::Fake)
            .unwrap();
        assert_eq!(
            (&fake.landmarks, &fake.mask),
            (&None, &None),
            "none is there"
        );
        let needed = pair.faults(&new().with_masks(Need::Required));
        assert!(
            matches!(&needed[..], [(_, Fault::Mask(_))]),
            "of fakes alone: {needed:?}"
        );
        let needed = pair.faults(&new().with_landmarks(Need::Required));
        assert_eq!(needed.len(), 2, "{needed:?}");

        fs::write(&npy, "no array").unwrap();
        let faults = pair.faults(&new());
        assert!(
            matches!(&faults[..], [(_, Fault::Landmarks(_))]),
            "{faults:?}"
        );
        assert!(pair.check(&new().with_landmarks(Need::Ignore)).is_ok());
        let mut bytes = b"\x93NUMPY\x01\x00\x3e\x00".to_vec();
        let header = "{'descr': '<i4', 'fortran_order': False, 'shape': (81, 2), }";
        bytes.extend(format!("{header:<61}\n").as_bytes());
        bytes.extend((0..162i32).flat_map(i32::to_le_bytes));
        fs::write(&npy, bytes).unwrap();
        fs::write(&mask, encoded(20, 16, "png")).unwrap();
        let set = pair.check(&new()).unwrap();
        let index = set
            .records()
            .position(|record| record.label == Label::Fake)
            .unwrap();
        let landmarks = set.landmarks(index).unwrap().unwrap();
        assert_eq!(landmarks.points()[80], [160.0, 161.0]);
        assert_eq!(set.with_landmarks().len(), 1);

        fs::write(&mask, encoded(16, 20, "png")).unwrap();
        let faults = pair.faults(&new());
        assert!(matches!(&faults[..], [(_, Fault::Mask(_))]), "{faults:?}");
    }
}
