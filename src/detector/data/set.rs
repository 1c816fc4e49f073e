use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use burn::data::dataset::{Dataset, DatasetError};
use image::RgbImage;

use super::{
    decode::{self, Header},
    problem::{Fault, Problems},
    record::{Label, PictureRecord},
    root::inside,
    select::SelectConfig,
};
use crate::{
    Error, Result,
    detector::{
        dataset::{FaceSource, in_parallel},
        faces::Face,
        landmark::Landmarks,
    },
};

/// A picture with what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Its pixels.
    pub pixels: RgbImage,
    /// What is known of it.
    pub record: Arc<PictureRecord>,
}

/// The pictures of a data set, checked. They are read from the disk when they are asked for.
///
/// It is a [`Dataset`] of [`Picture`]s, whose error has an [`Error`] as its source, and a
/// [`FaceSource`] of those pictures that have landmarks. Clones and parts of it share the records.
#[derive(Clone, Debug)]
pub struct PictureSet {
    entries: Vec<Entry>,
    skipped: Arc<Problems>,
    left_out: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    record: Arc<PictureRecord>,
    header: Header,
}

impl PictureSet {
    pub(super) fn new(
        checked: Vec<(PictureRecord, Header)>,
        skipped: Problems,
        left_out: usize,
    ) -> Self {
        let entry = |(record, header)| Entry {
            record: Arc::new(record),
            header,
        };
        Self {
            entries: checked.into_iter().map(entry).collect(),
            skipped: Arc::new(skipped),
            left_out,
        }
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is known of each picture.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Arc<PictureRecord>> + Clone {
        self.entries.iter().map(|entry| &entry.record)
    }

    /// What each picture's file said of itself when it was checked.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header> {
        self.entries.iter().map(|entry| entry.header)
    }

    /// The problems for which pictures were left out of the set that was checked.
    pub fn skipped(&self) -> &Problems {
        &self.skipped
    }

    /// How many pictures were left out for them.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Those pictures alone that are asked for.
    ///
    /// # Errors
    ///
    /// As [`SelectConfig::check`].
    pub fn select(&self, which: &SelectConfig) -> Result<Self> {
        which.check()?;
        let taken = which.mask(self.records().map(|record| &**record));
        let mut taken = taken.into_iter();
        Ok(self.part(|_| taken.next() == Some(true)))
    }

    /// Those pictures alone, in this order.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for an index that is not below [`len`](Self::len).
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        let entries = indices.iter().map(|&index| self.entry(index).cloned());
        Ok(Self {
            entries: entries.collect::<Result<_>>()?,
            ..self.clone()
        })
    }

    /// For each method of forgery, by name, its fakes and the real pictures beside them.
    ///
    /// These are the real pictures of the same domain; where it has none, those of the same data
    /// set whose domain has no fakes, which several methods share.
    ///
    /// Methods of the same name in two data sets are two domains, with the data set's name and a
    /// slash before theirs.
    pub fn domains(&self) -> Vec<(Arc<str>, Self)> {
        let reals = Reals::new(self.records().map(|record| &**record));
        let mut datasets: BTreeMap<&Arc<str>, Vec<&Arc<str>>> = BTreeMap::new();
        for (dataset, domain) in reals.methods() {
            datasets.entry(domain).or_default().push(dataset);
        }
        let mut domains = Vec::new();
        for (domain, datasets) in datasets {
            for dataset in &datasets {
                let name = match &datasets[..] {
                    [_] => domain.clone(),
                    _ => format!("{dataset}/{domain}").into(),
                };
                let part = self.part(|record| match record.label {
                    Label::Fake => (&record.dataset, &record.domain) == (dataset, domain),
                    Label::Real => reals.stand_beside(record, dataset, domain),
                });
                domains.push((name, part));
            }
        }
        domains
    }

    /// For each picture, the group that must stay in one part of a split: people who share a
    /// picture, directly or over others, are one group, with the name of the first of them.
    ///
    /// FaceForensics++ comes apart into pairs, as its fakes are made both ways between two people.
    /// Celeb-DF does not, as its celebrities were swapped with many others: use its own split.
    pub fn person_groups(&self) -> Vec<Arc<str>> {
        let mut groups = Groups::default();
        let mut numbers = HashMap::new();
        let mut names = Vec::new();
        for person in self.records().flat_map(|record| &record.persons) {
            numbers.entry(person.clone()).or_insert_with(|| {
                names.push(person.clone());
                groups.add()
            });
        }
        for record in self.records() {
            let people = record
                .persons
                .iter()
                .filter_map(|p| numbers.get(p).copied());
            let people: Vec<usize> = people.collect();
            for [one, other] in people.array_windows() {
                groups.unite(*one, *other);
            }
        }
        let mut first: HashMap<usize, Arc<str>> = HashMap::new();
        for (number, name) in names.into_iter().enumerate() {
            let known = first.entry(groups.root(number)).or_insert(name.clone());
            if name < *known {
                *known = name;
            }
        }
        let mut group = |record: &PictureRecord| {
            let number = numbers.get(record.persons.first()?)?;
            first.get(&groups.root(*number)).cloned()
        };
        self.records()
            .map(|record| group(record).unwrap_or_else(|| record.video.clone()))
            .collect()
    }

    /// Reads a picture.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the file has changed since the check, by its size or the time at which it
    /// was last written to, and where it cannot be read; [`Error::Setting`] for an index that is not below [`len`](Self::len).
    pub fn picture(&self, index: usize) -> Result<Picture> {
        let Entry { record, header } = self.entry(index)?;
        let pixels = inside(&record.root, &record.file)
            .and_then(|file| decode::unchanged(&file, header))
            .map_err(|fault| in_file(record, fault))?;
        Ok(Picture {
            pixels,
            record: record.clone(),
        })
    }

    /// Reads pictures on several threads, in the order of the indices; 0 threads for as many as
    /// the machine has.
    ///
    /// # Errors
    ///
    /// As [`picture`](Self::picture), for the first of them.
    pub fn pictures(&self, indices: &[usize], threads: usize) -> Result<Vec<Picture>> {
        in_parallel(threads, indices, |index| self.picture(*index))
    }

    /// The landmarks of a picture's face, where it has any.
    ///
    /// # Errors
    ///
    /// As [`picture`](Self::picture).
    pub fn landmarks(&self, index: usize) -> Result<Option<Landmarks>> {
        let record = &self.entry(index)?.record;
        let Some(file) = &record.landmarks else {
            return Ok(None);
        };
        let file = inside(&record.root, file).map_err(|fault| in_file(record, fault))?;
        Landmarks::read_npy(file).map(Some)
    }

    /// Those pictures alone that have landmarks.
    pub fn with_landmarks(&self) -> Self {
        self.part(|record| record.landmarks.is_some())
    }

    fn part(&self, mut wanted: impl FnMut(&PictureRecord) -> bool) -> Self {
        let entries = self.entries.iter().filter(|entry| wanted(&entry.record));
        Self {
            entries: entries.cloned().collect(),
            ..self.clone()
        }
    }

    fn entry(&self, index: usize) -> Result<&Entry> {
        self.entries.get(index).ok_or_else(|| Error::Setting {
            field: "pictures",
            rule: "be indices of the set's pictures",
            value: format!("{index} of {}", self.len()),
        })
    }
}

/// What a fault says of a picture, with its mend.
pub(super) fn in_file(record: &PictureRecord, fault: Fault) -> Error {
    let mend = fault.mend();
    Error::File {
        path: record.file.clone(),
        reason: format!("{fault}; {mend}"),
    }
}

impl Dataset<Picture> for PictureSet {
    fn get(&self, index: usize) -> Result<Picture, DatasetError> {
        self.picture(index).map_err(DatasetError::new)
    }

    fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Only for sets whose pictures all have [landmarks](PictureSet::with_landmarks).
impl FaceSource for PictureSet {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn person(&self, index: usize) -> &str {
        let record = self.entries.get(index).map(|entry| &entry.record);
        record.map_or("", |it| it.persons.first().unwrap_or(&it.video))
    }

    fn face(&self, index: usize) -> Result<Face> {
        let picture = self.picture(index)?;
        let landmarks = self
            .landmarks(index)?
            .ok_or_else(|| in_file(&picture.record, Fault::Landmarks("there are none".into())))?;
        Face::new(picture.pixels, landmarks).map_err(|error| Error::File {
            path: picture.record.file.clone(),
            reason: error.to_string(),
        })
    }
}

/// Which real pictures stand beside which fakes.
pub(super) struct Reals {
    fakes: HashSet<(Arc<str>, Arc<str>)>,
    reals: HashSet<(Arc<str>, Arc<str>)>,
}

impl Reals {
    pub fn new<'a>(records: impl Iterator<Item = &'a PictureRecord>) -> Self {
        let (mut fakes, mut reals) = (HashSet::new(), HashSet::new());
        for record in records {
            let side = match record.label {
                Label::Fake => &mut fakes,
                Label::Real => &mut reals,
            };
            side.insert((record.dataset.clone(), record.domain.clone()));
        }
        Self { fakes, reals }
    }

    /// Data sets and domains that have fakes, sorted.
    pub fn methods(&self) -> Vec<&(Arc<str>, Arc<str>)> {
        let mut methods: Vec<_> = self.fakes.iter().collect();
        methods.sort_unstable();
        methods
    }

    fn stand_beside(&self, real: &PictureRecord, dataset: &Arc<str>, domain: &Arc<str>) -> bool {
        let its_own = self.reals.contains(&(dataset.clone(), domain.clone()));
        let shared = || !self.fakes.contains(&(dataset.clone(), real.domain.clone()));
        real.dataset == *dataset
            && if its_own {
                real.domain == *domain
            } else {
                shared()
            }
    }

    /// The domains with fakes and no real pictures to stand beside them.
    pub fn methods_alone(&self) -> HashSet<(Arc<str>, Arc<str>)> {
        let shared: HashSet<_> = self
            .reals
            .difference(&self.fakes)
            .map(|(set, _)| set)
            .collect();
        let alone = self
            .fakes
            .difference(&self.reals)
            .filter(|(dataset, _)| !shared.contains(dataset));
        alone.cloned().collect()
    }
}

/// Disjoint sets of numbers.
#[derive(Default)]
struct Groups(Vec<usize>);

impl Groups {
    fn add(&mut self) -> usize {
        self.0.push(self.0.len());
        self.0.len() - 1
    }

    fn root(&mut self, mut number: usize) -> usize {
        loop {
            let above = self.above(number);
            if above == number {
                return number;
            }
            // Every other step of the way is cut out, which keeps the ways short.
            let next = self.above(above);
            self.set(number, next);
            number = next;
        }
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.set(b, a);
    }

    fn above(&self, number: usize) -> usize {
        self.0.get(number).copied().unwrap_or(number)
    }

    fn set(&mut self, number: usize, above: usize) {
        if let Some(old) = self.0.get_mut(number) {
            *old = above;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::data::{CheckConfig, FrameRule, HashContent, Listing, Split};

    /// A folder with pictures of these names, classes and domains.
    fn set(pictures: &[(&str, Label, &str)]) -> (tempfile::TempDir, PictureSet) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let records = pictures.iter().map(|&(id, label, domain)| {
            let record = PictureRecord::sample(&root, id, label, domain);
            std::fs::create_dir_all(record.file.parent().unwrap()).unwrap();
            let shade = id.bytes().map(u32::from).sum::<u32>() as u8;
            let picture = RgbImage::from_pixel(4, 3, image::Rgb([shade; 3]));
            picture.save(&record.file).unwrap();
            record
        });
        let listing = Listing::new(records.collect());
        let set = listing.check(&CheckConfig::new()).unwrap();
        (folder, set)
    }

    fn ids(set: &PictureSet) -> Vec<&str> {
        set.records().map(|record| &*record.id).collect()
    }

    #[test]
    fn a_picture_that_has_changed_since_the_check_is_named() {
        let (_folder, set) = set(&SHARED);
        assert!(set.picture(0).is_ok());
        let hash = set.hash(HashContent::Bytes).unwrap();
        let file = &set.records().next().unwrap().file;
        let (bytes, shade) = (std::fs::read(file).unwrap(), image::Rgb([9, 8, 7]));
        let refused = |expected: &str| {
            for error in [
                set.picture(0).unwrap_err(),
                set.hash(HashContent::Bytes).unwrap_err(),
            ] {
                let named = matches!(&error, Error::File { path, .. } if path == file);
                assert!(named && error.to_string().contains(expected), "{error}");
            }
            assert!(set.picture(1).is_ok());
        };
        // Another picture, the same one anew, and one that is cut short or gone.
        RgbImage::from_pixel(40, 30, shade).save(file).unwrap();
        refused("has changed since the set was checked");
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(file, &bytes).unwrap();
        refused("has changed since the set was checked");
        std::fs::write(file, &bytes[..20]).unwrap();
        refused("has changed since the set was checked");
        std::fs::remove_file(file).unwrap();
        refused("does not exist");
        std::fs::write(file, &bytes).unwrap();
        let again = Listing::new(set.records().map(|record| (**record).clone()).collect());
        let again = again.check(&CheckConfig::new()).unwrap();
        assert_eq!(again.hash(HashContent::Bytes).unwrap(), hash);
    }

    const SHARED: [(&str, Label, &str); 6] = [
        ("a/0.png", Label::Real, "youtube"),
        ("a/1.png", Label::Real, "youtube"),
        ("df/0.png", Label::Fake, "DF"),
        ("nt/0.png", Label::Fake, "NT"),
        ("own/f/0.png", Label::Fake, "own"),
        ("own/r/0.png", Label::Real, "own"),
    ];

    #[test]
    fn domains_share_the_real_pictures_that_belong_to_none() {
        let (_folder, set) = set(&SHARED);
        let domains = set.domains();
        let names: Vec<&str> = domains.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["DF", "NT", "own"]);
        assert_eq!(ids(&domains[0].1), ["df/0.png", "a/0.png", "a/1.png"]);
        assert_eq!(ids(&domains[1].1), ["nt/0.png", "a/0.png", "a/1.png"]);
        assert_eq!(ids(&domains[2].1), ["own/f/0.png", "own/r/0.png"]);
    }

    #[test]
    fn pictures_are_read_when_they_are_asked_for() {
        let (folder, set) = set(&SHARED);
        let pictures = set.pictures(&[3, 0], 2).unwrap();
        assert_eq!(pictures[1], set.picture(0).unwrap());
        assert_eq!(pictures[0].pixels.dimensions(), (4, 3));
        assert_eq!(pictures[0].record.id, ids(&set)[3]);
        assert_eq!(Dataset::get(&set, 3).unwrap(), pictures[0]);
        assert!(matches!(set.picture(6), Err(Error::Setting { .. })));
        assert!(set.subset(&[0, 6]).is_err());
        assert_eq!(
            ids(&set.subset(&[2, 0]).unwrap()),
            [ids(&set)[2], ids(&set)[0]]
        );

        std::fs::write(folder.path().join(ids(&set)[3]), "gone bad").unwrap();
        let error = set.pictures(&[0, 3], 2).unwrap_err();
        assert!(matches!(&error, Error::File { path, .. } if path.ends_with(ids(&set)[3])));
        let error = Dataset::get(&set, 3).unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.downcast_ref::<Error>().is_some());
        assert!(
            FaceSource::face(&set, 0)
                .unwrap_err()
                .to_string()
                .contains("landmarks")
        );
    }

    #[test]
    fn people_who_share_a_picture_stay_together() {
        let mut numbered = Groups::default();
        (0..5).for_each(|i| assert_eq!(numbered.add(), i));
        numbered.unite(3, 1);
        numbered.unite(1, 4);
        assert_eq!(numbered.root(4), numbered.root(3));
        assert_ne!(numbered.root(0), numbered.root(2));

        let (_folder, set) = set(&SHARED);
        let mut set = set;
        for (entry, people) in set.entries.iter_mut().zip([
            &["054", "071"][..],
            &["087", "081"],
            &["071", "054"],
            &["054"],
            &["081"],
            &[],
        ]) {
            let persons = people.iter().map(|&person| person.into()).collect();
            Arc::make_mut(&mut entry.record).persons = persons;
        }
        let groups = set.person_groups();
        let groups: Vec<&str> = groups.iter().map(|group| &**group).collect();
        assert_eq!(groups, ["054", "081", "054", "054", "081", "set/youtube/a"]);
    }

    #[test]
    fn frames_of_each_video_are_limited() {
        let names: Vec<String> = (0..20).map(|i| format!("v/{i:03}.png")).collect();
        let mut pictures = vec![("w/7.png", Label::Real, "camera")];
        pictures.extend(names.iter().map(|name| (&**name, Label::Fake, "swap")));
        let (_folder, set) = set(&pictures);
        let four = SelectConfig::new().with_frames_per_video(Some(4));
        assert_eq!(
            ids(&set.select(&four).unwrap()),
            [
                "w/7.png",
                "v/000.png",
                "v/006.png",
                "v/012.png",
                "v/019.png"
            ]
        );
        let first = four.with_frame_rule(FrameRule::First);
        let domain = first
            .with_domains(vec!["swap".into()])
            .with_frames_per_video(Some(2));
        assert_eq!(
            ids(&set.select(&domain).unwrap()),
            ["v/000.png", "v/001.png"]
        );
        let test = SelectConfig::new().with_split(Some(Split::Test));
        assert!(set.select(&test).unwrap().is_empty());
        assert!(
            set.select(&SelectConfig::new().with_frames_per_video(Some(0)))
                .is_err()
        );
    }

    #[test]
    fn the_hash_knows_names_labels_and_files_but_not_the_place() {
        let (folder, one) = set(&SHARED);
        let (_elsewhere, two) = set(&SHARED);
        for content in [HashContent::Sizes, HashContent::Bytes] {
            let hash = one.hash(content).unwrap();
            assert_eq!(hash.len(), 64);
            assert_eq!(hash, two.hash(content).unwrap());
            let reversed: Vec<usize> = (0..6).rev().collect();
            assert_eq!(hash, one.subset(&reversed).unwrap().hash(content).unwrap());
            assert_ne!(hash, one.subset(&[0, 1, 2]).unwrap().hash(content).unwrap());
        }
        let file = folder.path().join("a/0.png");
        let other = RgbImage::from_pixel(4, 3, image::Rgb([1, 2, 3]));
        other.save(file).unwrap();
        let records = one.records().map(|record| (**record).clone()).collect();
        let changed = Listing::new(records).check(&CheckConfig::new()).unwrap();
        let hash = |set: &PictureSet| set.hash(HashContent::Bytes).unwrap();
        assert_ne!(hash(&changed), hash(&two));
    }

    #[test]
    fn the_summary_counts() {
        let (_folder, set) = set(&SHARED);
        let summary = set.summary();
        assert_eq!(
            (summary.pictures, summary.videos, summary.persons),
            (6, 5, 5)
        );
        assert_eq!(summary.sizes, [("4x3".into(), 6)].into());
        assert_eq!(summary.formats, [("png", 6)].into());
        assert_eq!(summary.parts.len(), 5);
        let youtube = summary
            .parts
            .iter()
            .find(|part| part.domain == "youtube")
            .unwrap();
        assert_eq!((youtube.pictures, youtube.videos), (2, 1));
        assert_eq!(youtube.frames_per_video, [2, 2]);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["parts"][0]["label"], "real");
        let text = summary.to_string();
        assert!(text.contains("set DF (fake, -, -): 1 pictures"), "{text}");
    }
}
