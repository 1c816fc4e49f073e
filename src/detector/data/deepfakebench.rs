use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    list_file,
    listing::Listing,
    problem::{Fault, Problem},
    record::{Compression, Label, PictureRecord, Split, frame_number},
    root::Root,
};
use crate::{Error, Result};

/// The labels that DeepfakeBench's lists use, and the class of each.
pub const DEEPFAKEBENCH_LABELS: [(&str, Label); 24] = [
    ("FF-real", Label::Real),
    ("FF-DF", Label::Fake),
    ("FF-F2F", Label::Fake),
    ("FF-FS", Label::Fake),
    ("FF-NT", Label::Fake),
    ("FF-FH", Label::Fake),
    ("FF-SH", Label::Fake),
    ("DFD_real", Label::Real),
    ("DFD_fake", Label::Fake),
    ("CelebDFv1_real", Label::Real),
    ("CelebDFv1_fake", Label::Fake),
    ("CelebDFv2_real", Label::Real),
    ("CelebDFv2_fake", Label::Fake),
    ("DFDCP_Real", Label::Real),
    ("DFDCP_FakeA", Label::Fake),
    ("DFDCP_FakeB", Label::Fake),
    ("DFDC_Real", Label::Real),
    ("DFDC_Fake", Label::Fake),
    ("DF_real", Label::Real),
    ("DF_fake", Label::Fake),
    ("UADFV_Real", Label::Real),
    ("UADFV_Fake", Label::Fake),
    ("roop_Real", Label::Real),
    ("roop_Fake", Label::Fake),
];

/// The class of a label of DeepfakeBench.
pub(super) fn class_of(label: &str) -> Option<Label> {
    let known = DEEPFAKEBENCH_LABELS.iter();
    known
        .copied()
        .find_map(|(name, class)| (name == label).then_some(class))
}

/// The reader of data sets as DeepfakeBench prepares them: lists `<dataset>.json` and, below a
/// root, `…/frames/<video>/<frame>.png` with `landmarks` and `masks` beside `frames`.
///
/// A list holds data set → label → split → (compression →) video → `{label, frames, masks}`; the
/// level of the compression is there or not. Labels are those of [`DEEPFAKEBENCH_LABELS`]: each is
/// the domain of its pictures. A video that stands where a split's videos are expected is taken as
/// one; DeepfakeBench's own script writes `val` of DFDC so. The data set of all labels `FF-…` is
/// `FaceForensics++`, whichever of its lists they stand in: they share their real pictures. Fewer
/// frames than were asked for is
/// normal.
///
/// # Persons
///
/// Whom a video shows follows from its name where the data set's makers number people:
///
/// | data set | video | persons |
/// |---|---|---|
/// | FaceForensics++, FaceShifter | `071`, `071_054` | `FaceForensics++/071`, `…/054` |
/// | DeepFakeDetection | `01_02__exit__X` | `DeepFakeDetection/01`, `…/02` |
/// | Celeb-DF | `id0_id16_0003` | `Celeb-DF-v2/id0`, `…/id16` |
/// | DeeperForensics | `000_M101` | `FaceForensics++/000`, `DeeperForensics-1.0/M101` |
/// | UADFV | `0007_fake` | `UADFV/0007` |
///
/// In all others each video is a person of its own.
///
/// Source: Yan et al., "DeepfakeBench: A Comprehensive Benchmark of Deepfake Detection", NeurIPS
/// 2023 Datasets and Benchmarks, arXiv 2307.01426.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct DeepfakeBenchConfig {
    /// The folder that the lists' relative paths begin at: DeepfakeBench's `rgb_dir`.
    pub root: PathBuf,
    /// What is taken off the beginning of the lists' paths, where they were made on another
    /// machine.
    #[config(default = "String::new()")]
    pub strip: String,
}

impl DeepfakeBenchConfig {
    /// Reads a list. Pictures are not looked at: that is [`Listing::check`]'s.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the root or the list cannot be read, the list is larger than
    /// [`MAX_LIST_BYTES`](super::MAX_LIST_BYTES), is no JSON of this shape, or is wrong in more than
    /// [`MAX_PROBLEMS`](super::MAX_PROBLEMS) places. What is wrong with single labels, splits,
    /// videos and paths is kept for the check.
    pub fn read(&self, list: impl AsRef<Path>) -> Result<Listing> {
        let list = list.as_ref();
        let root = Root::open(&self.root)?;
        let bytes = list_file::read(list)?;
        list_file::check_values(list, &bytes)?;
        let Branches(datasets) = serde_json::from_slice(&bytes).map_err(|error| Error::File {
            path: list.into(),
            reason: format!("is no list of DeepfakeBench's: {error}"),
        })?;
        let mut reader = Reader {
            list,
            root: &root,
            strip: &self.strip,
            listing: Listing::default(),
        };
        for (dataset, labels) in datasets {
            reader.dataset(&dataset, labels)?;
        }
        reader.listing.sort();
        Ok(reader.listing)
    }
}

/// The longest name of a data set or a video, in bytes: each picture bears it.
const MAX_NAME_BYTES: usize = 255;
/// The most people that a video's name can name.
const MAX_PERSONS: usize = 8;

fn long_name(name: &str) -> Fault {
    let bytes = name.len();
    Fault::Malformed(format!(
        "a name of {bytes} bytes, more than {MAX_NAME_BYTES}"
    ))
}

/// A level of the list.
enum Node {
    Video(Video),
    Branches(Branches),
    /// Neither text nor list is expected there.
    Other,
}

struct Branches(Vec<(String, Node)>);

#[derive(Default)]
struct Video {
    label: Option<String>,
    frames: Vec<String>,
    masks: Vec<String>,
    /// What else stands beside them: of a split that one video was written into, its videos.
    others: Vec<(String, Node)>,
}

struct Reader<'a> {
    list: &'a Path,
    root: &'a Root,
    strip: &'a str,
    listing: Listing,
}

/// Where in the list a video stands.
#[derive(Clone)]
struct Place<'a> {
    dataset: &'a Arc<str>,
    label: &'a str,
    split: Split,
    compression: Option<Compression>,
}

impl Place<'_> {
    fn path(&self, below: &str) -> String {
        let compression = self.compression.map_or("", Compression::name);
        let slash = if compression.is_empty() { "" } else { "/" };
        let Self {
            dataset,
            label,
            split,
            ..
        } = self;
        format!("{dataset}/{label}/{split}/{compression}{slash}{below}")
    }
}

impl Reader<'_> {
    fn dataset(&mut self, dataset: &str, labels: Node) -> Result<()> {
        if dataset.len() > MAX_NAME_BYTES {
            return self.problem("a data set".into(), long_name(dataset));
        }
        let Some(labels) = self.branches(dataset.into(), labels)? else {
            return Ok(());
        };
        for (label, splits) in labels {
            let place = format!("{dataset}/{label}");
            if class_of(&label).is_none() {
                self.problem(place, Fault::UnknownLabel(label))?;
                continue;
            }
            for (split, videos) in self.branches(place.clone(), splits)?.unwrap_or_default() {
                let Ok(split) = split.parse() else {
                    self.problem(place.clone(), Fault::UnknownSplit(split))?;
                    continue;
                };
                let place = Place {
                    dataset: &family(dataset, &label).into(),
                    label: &label,
                    split,
                    compression: None,
                };
                self.videos(&place, videos)?;
            }
        }
        Ok(())
    }

    /// The videos of a split, or of one compression in it.
    fn videos(&mut self, place: &Place<'_>, mut node: Node) -> Result<()> {
        if let Node::Video(mut video) = node {
            node = Node::Branches(Branches(std::mem::take(&mut video.others)));
            // Its name is lost; its frames' folder has it.
            let folder = video.frames.first().and_then(|frame| {
                let mut parts = frame.rsplit(['/', '\\']);
                parts.nth(1).map(str::to_owned)
            });
            self.video(place, &folder.unwrap_or_default(), video)?;
        }
        for (name, node) in self.branches(place.path(""), node)?.unwrap_or_default() {
            let compression = name.parse().ok().filter(|_| place.compression.is_none());
            match (node, compression) {
                (Node::Video(video), _) => self.video(place, &name, video)?,
                (node, Some(compression)) => {
                    let place = Place {
                        compression: Some(compression),
                        ..place.clone()
                    };
                    self.videos(&place, node)?;
                }
                _ => self.problem(
                    place.path(&name),
                    Fault::Malformed("neither a video with frames nor a compression".into()),
                )?,
            }
        }
        Ok(())
    }

    fn video(&mut self, place: &Place<'_>, name: &str, video: Video) -> Result<()> {
        if name.len() > MAX_NAME_BYTES {
            return self.problem(place.path("a video"), long_name(name));
        }
        let label = video.label.as_deref().unwrap_or(place.label);
        if class_of(label).is_none() {
            return self.problem(place.path(name), Fault::UnknownLabel(label.into()));
        }
        if label != place.label {
            let text = format!("the label `{label}` below the label `{}`", place.label);
            return self.problem(place.path(name), Fault::Malformed(text));
        }
        let domain: Arc<str> = label.into();
        let masks: HashMap<&str, &String> = video.masks.iter().map(|m| (stem(m), m)).collect();
        let key: Arc<str> = format!("{}/{label}/{name}", place.dataset).into();
        for frame in &video.frames {
            match self.record(place, &domain, &key, name, frame, &masks) {
                Ok(record) => self.listing.push(record),
                Err(fault) => {
                    let file = format!("{}, {frame}", place.path(name));
                    self.problem(file, fault)?;
                }
            }
        }
        list_file::check_count(self.list, &self.listing)
    }

    fn record(
        &self,
        place: &Place<'_>,
        domain: &Arc<str>,
        video: &Arc<str>,
        name: &str,
        frame: &str,
        masks: &HashMap<&str, &String>,
    ) -> Result<PictureRecord, Fault> {
        let below = self.root.below(self.strip, frame)?;
        let label = class_of(domain).ok_or_else(|| Fault::UnknownLabel((**domain).into()))?;
        let beside = |folder: &str, extension: &str| {
            let path = beside_frames(&below.id, folder, extension)?;
            Some(self.root.real.join(path))
        };
        let mask = match masks.get(stem(&below.id)) {
            Some(mask) => Some(self.root.below(self.strip, mask)?.file),
            None if label == Label::Fake => beside("masks", "png"),
            None => None,
        };
        Ok(PictureRecord {
            label,
            domain: domain.clone(),
            dataset: place.dataset.clone(),
            persons: persons(place.dataset, domain, name, &below.id),
            video: video.clone(),
            frame: frame_number(&below.id),
            split: Some(place.split),
            compression: place.compression.or_else(|| compression_in(&below.id)),
            landmarks: beside("landmarks", "npy"),
            mask,
            root: self.root.real.clone(),
            file: below.file,
            id: below.id,
        })
    }

    /// What is below a place; nothing is nothing, and something else a problem.
    fn branches(&mut self, place: String, node: Node) -> Result<Option<Vec<(String, Node)>>> {
        if let Node::Branches(Branches(branches)) = node {
            return Ok(Some(branches));
        }
        let fault = Fault::Malformed("not an object of names".into());
        self.problem(place, fault).map(|()| None)
    }

    fn problem(&mut self, place: String, fault: Fault) -> Result<()> {
        let problem = Problem::in_list(self.list, place, fault);
        self.listing.problem(problem);
        list_file::check_count(self.list, &self.listing)
    }
}

/// The path of what belongs to a frame: another folder in the place of `frames`.
fn beside_frames(id: &str, folder: &str, extension: &str) -> Option<String> {
    let mut parts: Vec<&str> = id.split('/').collect();
    let at = parts.iter().rposition(|part| *part == "frames")?;
    *parts.get_mut(at)? = folder;
    let path = parts.join("/");
    let (stem, _) = path.rsplit_once('.')?;
    Some(format!("{stem}.{extension}"))
}

/// A file's name without its extensions: a frame and its mask share it.
fn stem(path: &str) -> &str {
    let name = last_part(path);
    name.split('.').next().unwrap_or(name)
}

fn last_part(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Lists without the level of the compression still have it in their paths.
fn compression_in(id: &str) -> Option<Compression> {
    id.split('/').find_map(|part| part.parse().ok())
}

/// The data set of a label. FaceForensics++ has several lists, which share their real pictures.
fn family<'a>(dataset: &'a str, label: &str) -> &'a str {
    if label.starts_with("FF-") {
        "FaceForensics++"
    } else {
        dataset
    }
}

/// Whom a video shows or is made from.
fn persons(dataset: &str, label: &str, video: &str, id: &str) -> Vec<Arc<str>> {
    let of = |family: &str, people: &[&str]| -> Vec<Arc<str>> {
        let people = match people.len() {
            ..=MAX_PERSONS => people,
            _ => &[video],
        };
        let names = people.iter().map(|name| format!("{family}/{name}").into());
        names.collect()
    };
    match label {
        _ if label.starts_with("FF-") => of(dataset, &video.split('_').collect::<Vec<_>>()),
        _ if label.starts_with("DFD_") => {
            let people = video.split("__").next().unwrap_or(video);
            of("DeepFakeDetection", &people.split('_').collect::<Vec<_>>())
        }
        _ if label.starts_with("CelebDF") => {
            let people: Vec<&str> = video.split('_').filter(|p| p.starts_with("id")).collect();
            // The videos from YouTube have a number and no name.
            match &people[..] {
                [] => of(dataset, &[video]),
                people => of(dataset, people),
            }
        }
        "DF_fake" => match video.split_once('_') {
            Some((target, source)) => {
                let target = of("FaceForensics++", &[target]);
                [target, of(dataset, &[source])].concat()
            }
            None => of(dataset, &[video]),
        },
        "DF_real" => {
            let mut parts = id.split('/').skip_while(|part| *part != "source_videos");
            of(dataset, &[parts.nth(1).unwrap_or(video)])
        }
        "UADFV_Fake" => of(dataset, &[video.trim_end_matches("_fake")]),
        _ => of(dataset, &[video]),
    }
}

impl<'de> Deserialize<'de> for Branches {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Branches(branches) => Ok(branches),
            _ => Err(serde::de::Error::custom("must be an object of data sets")),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut video = None::<Video>;
        let mut branches = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "label" => video.get_or_insert_default().label = map.next_value()?,
                "frames" => {
                    let frames: Option<_> = map.next_value()?;
                    video.get_or_insert_default().frames = frames.unwrap_or_default();
                }
                "masks" => {
                    let masks: Option<_> = map.next_value()?;
                    video.get_or_insert_default().masks = masks.unwrap_or_default();
                }
                _ => branches.push((key, map.next_value()?)),
            }
        }
        Ok(match video {
            Some(video) => Node::Video(Video {
                others: branches,
                ..video
            }),
            None => Node::Branches(Branches(branches)),
        })
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Branches(Branches(Vec::new())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::data::SelectConfig;

    fn read(json: &str) -> Result<Listing> {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.json");
        std::fs::write(&list, json).unwrap();
        let root = folder.path().join("datasets/rgb");
        std::fs::create_dir_all(&root).unwrap();
        DeepfakeBenchConfig::new(root).read(list)
    }

    fn people(record: &PictureRecord) -> Vec<&str> {
        record.persons.iter().map(|person| &**person).collect()
    }

    const FF: &str = r#"{"FaceForensics++": {
        "FF-real": {"train": {"c23": {"071": {"label": "FF-real", "frames": [
            "FaceForensics++\\original_sequences\\youtube\\c23\\frames\\071\\010.png",
            "FaceForensics++\\original_sequences\\youtube\\c23\\frames\\071\\009.png"]}}, "c40": {}},
            "val": {"c23": {}}, "test": {"c23": {}}},
        "FF-DF": {"train": {"c23": {"071_054": {"label": "FF-DF", "frames":
            ["FaceForensics++\\manipulated_sequences\\Deepfakes\\c23\\frames\\071_054\\000.png"],
            "masks":
            ["FaceForensics++\\manipulated_sequences\\Deepfakes\\c23\\masks\\071_054\\000.png"]}},
            "c40": {"071_054": {"label": "FF-DF", "frames":
            ["FaceForensics++\\manipulated_sequences\\Deepfakes\\c40\\frames\\071_054\\000.png"]}}},
            "val": {}, "test": {"c23": {}}},
        "FF-F2F": {}, "FF-FS": {}, "FF-NT": {}}}"#;

    #[test]
    fn with_the_level_of_the_compression() {
        let listing = read(FF).unwrap();
        assert!(listing.problems().is_empty(), "{}", listing.problems());
        let [fake, fake_c40, first, second] = listing.records() else {
            panic!("{listing:?}");
        };
        assert_eq!(
            fake.id,
            "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/071_054/000.png"
        );
        assert_eq!((fake.label, &*fake.domain), (Label::Fake, "FF-DF"));
        assert_eq!(&*fake.video, "FaceForensics++/FF-DF/071_054");
        assert_eq!(people(fake), ["FaceForensics++/071", "FaceForensics++/054"]);
        assert_eq!(
            (fake.split, fake.compression),
            (Some(Split::Train), Some(Compression::C23))
        );
        assert_eq!(fake_c40.compression, Some(Compression::C40));
        assert_eq!(
            [first.frame, second.frame],
            [Some(9), Some(10)],
            "sorted by number"
        );
        let landmarks = first.landmarks.as_ref().unwrap();
        assert!(
            landmarks.ends_with("youtube/c23/landmarks/071/009.npy"),
            "{landmarks:?}"
        );
        for fake in [fake, fake_c40] {
            let level = fake.compression.unwrap();
            let mask = format!("Deepfakes/{level}/masks/071_054/000.png");
            assert!(fake.mask.as_ref().unwrap().ends_with(mask), "listed or not");
        }
        assert_eq!(first.mask, None, "real pictures have none");
        let c40 = SelectConfig::new().with_compression(Some(Compression::C40));
        assert_eq!(listing.select(&c40).unwrap().len(), 1);
    }

    #[test]
    fn without_the_level_of_the_compression() {
        let listing = read(
            r#"{"Celeb-DF-v2": {
            "CelebDFv2_real": {"train": {"id0_0000": {"label": "CelebDFv2_real", "frames":
                ["./datasets/rgb/Celeb-DF-v2/Celeb-real/frames/id0_0000/000.png"]}},
                "val": {}, "test": {"00170": {"label": "CelebDFv2_real", "frames":
                ["Celeb-DF-v2/YouTube-real/frames/00170/000.png"]}}},
            "CelebDFv2_fake": {"train": {"id0_id16_0003": {"label": "CelebDFv2_fake", "frames":
                ["Celeb-DF-v2\\Celeb-synthesis\\frames\\id0_id16_0003\\000.png"], "masks": []}},
                "val": {}, "test": null}}}"#,
        )
        .unwrap();
        assert!(listing.problems().is_empty(), "{}", listing.problems());
        let records = listing.records();
        assert_eq!(records.len(), 3);
        assert_eq!(people(&records[0]), ["Celeb-DF-v2/id0", "Celeb-DF-v2/id16"]);
        assert_eq!(
            records[1].id,
            "Celeb-DF-v2/Celeb-real/frames/id0_0000/000.png"
        );
        assert_eq!(people(&records[2]), ["Celeb-DF-v2/00170"]);
        assert!(records.iter().all(|record| record.compression.is_none()));
    }

    #[test]
    fn absolute_paths_below_the_root_and_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("rgb");
        std::fs::create_dir(&root).unwrap();
        let list = folder.path().join("UADFV.json");
        let json = |base: &str| {
            format!(
                r#"{{"UADFV": {{"UADFV_Fake": {{"test": {{"0007_fake": {{"label": "UADFV_Fake",
                    "frames": ["{base}/UADFV/fake/frames/0007_fake/000.png"]}}}}}}}}}}"#
            )
        };
        std::fs::write(&list, json(root.to_str().unwrap())).unwrap();
        let config = DeepfakeBenchConfig::new(root.clone());
        let listing = config.read(&list).unwrap();
        assert_eq!(
            listing.records()[0].id,
            "UADFV/fake/frames/0007_fake/000.png"
        );
        assert_eq!(people(&listing.records()[0]), ["UADFV/0007"]);

        std::fs::write(&list, json("/elsewhere/rgb")).unwrap();
        let outside = config.read(&list).unwrap();
        assert_eq!(
            outside.problems().counts(),
            [("outside the root", 1)].into()
        );
        let stripped = config
            .with_strip("/elsewhere/rgb".into())
            .read(&list)
            .unwrap();
        assert_eq!(stripped.records(), listing.records());
    }

    #[test]
    fn a_split_that_was_overwritten_by_one_video() {
        let listing = read(
            r#"{"DFDC": {"DFDC_Real": {"train": {}, "test": {}, "val":
                {"label": "DFDC_Real", "frames": ["DFDC/test/frames/aaaa/000.png"],
                "eeee": {"frames": ["DFDC/test/frames/eeee/000.png"]}}},
                "DFDC_Fake": {"val": "DFDC_Fake", "test": {"bbbb": {}, "cccc": ["x"]},
                "train": {"dddd": {"label": "DFDC_Fake",
                    "frames": ["DFDC/train/dfdc_train_part_3/frames/dddd/000.png"]}}}}}"#,
        )
        .unwrap();
        assert_eq!(listing.len(), 3);
        let video = &listing.records()[1];
        assert_eq!(
            (&*video.video, video.split),
            ("DFDC/DFDC_Real/aaaa", Some(Split::Val))
        );
        let places: Vec<&str> = listing.problems().iter().map(|p| &*p.place).collect();
        assert_eq!(
            places,
            [
                "DFDC/DFDC_Fake/val/",
                "DFDC/DFDC_Fake/test/bbbb",
                "DFDC/DFDC_Fake/test/cccc"
            ]
        );
        assert_eq!(listing.problems().counts(), [("malformed", 3)].into());
    }

    #[test]
    fn all_unknown_names_are_listed() {
        let listing = read(
            r#"{"X": {"ff-df": {"train": {}}, "Y": {}, "FF-DF": {"training": {}, "train": {
                "1_2": {"label": "FF-XX", "frames": ["a/1.png"]},
                "3_4": {"label": "FF-NT", "frames": ["a/1.png"]},
                "5_6": {"label": "FF-DF", "frames": ["../../etc/1.png", "a/2.png"]}}}}}"#,
        )
        .unwrap();
        assert_eq!(
            listing.problems().counts(),
            [
                ("malformed", 1),
                ("outside the root", 1),
                ("unknown label", 3),
                ("unknown split", 1)
            ]
            .into()
        );
        assert_eq!(listing.len(), 1);
        let text = listing.problems().to_string();
        for part in ["`ff-df`", "X/Y", "`FF-XX`", "`training`", "../../etc/1.png"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn no_list_of_deepfakebenchs() {
        for json in [
            "",
            "[]",
            "3",
            "{\"a\":",
            "{\"frames\": 3}",
            "\u{feff}{\"a\": {}",
            "null, 4",
        ] {
            let error = read(json).unwrap_err();
            assert!(matches!(&error, Error::File { path, .. } if path.ends_with("list.json")));
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
        assert!(
            read(&deep)
                .unwrap_err()
                .to_string()
                .contains("recursion limit")
        );
        assert!(
            DeepfakeBenchConfig::new("nowhere".into())
                .read("x")
                .is_err()
        );
        assert!(read("\u{feff}{}").unwrap().is_empty());
    }

    #[test]
    fn names_that_would_be_multiplied_by_the_frames() {
        let long = "n".repeat(MAX_NAME_BYTES + 1);
        let video = |name: &str| {
            format!(
                r#"{{"FF-DF": {{"train": {{"{name}": {{"label": "FF-DF", "frames": ["a/1.png"]}}}}}}}}"#
            )
        };
        let listing = read(&format!(
            r#"{{"{long}": {}, "X": {}}}"#,
            video("1_2"),
            video(&long)
        ));
        let listing = listing.unwrap();
        assert!(listing.is_empty());
        assert_eq!(listing.problems().counts(), [("malformed", 2)].into());
        assert!(listing.problems().to_string().len() < 1000);
        let crowd = read(&format!(
            r#"{{"X": {}}}"#,
            video(&"_".repeat(MAX_NAME_BYTES))
        ))
        .unwrap();
        assert_eq!(crowd.records()[0].persons.len(), 1);
    }

    #[test]
    fn lists_that_share_their_real_pictures_are_joined() {
        let list = |method: &str| {
            read(&format!(
                r#"{{"{method}": {{"FF-real": {{"test": {{"c23": {{"000": {{"label": "FF-real",
                    "frames": ["F/youtube/c23/frames/000/000.png"]}}}}}}}},
                    "{method}": {{"test": {{"c23": {{"000_003": {{"label": "{method}",
                    "frames": ["F/{method}/c23/frames/000_003/000.png"]}}}}}}}}}}}}"#
            ))
            .unwrap()
        };
        let mut other = list("FF-NT");
        let first = list("FF-DF");
        for record in other.records_mut() {
            // Each list was read below a root of its own.
            record.file = first.records()[0].root.join(&record.id);
        }
        let joined = first.join(other);
        assert_eq!(joined.len(), 3);
        assert!(
            joined
                .records()
                .iter()
                .all(|record| &*record.dataset == "FaceForensics++")
        );
    }

    #[test]
    fn persons_are_those_of_the_names() {
        let cases: [(&str, &str, &str, &str, &[&str]); 7] = [
            (
                "DFD",
                "DFD_real",
                "01__exit_phone_room",
                "",
                &["DeepFakeDetection/01"],
            ),
            (
                "DFD",
                "DFD_fake",
                "01_02__exit_phone_room__YVGY8LOK",
                "",
                &["DeepFakeDetection/01", "DeepFakeDetection/02"],
            ),
            (
                "DF",
                "DF_fake",
                "000_M101",
                "",
                &["FaceForensics++/000", "DF/M101"],
            ),
            (
                "DF",
                "DF_real",
                "v",
                "DF/source_videos/M101/frames/v/0.png",
                &["DF/M101"],
            ),
            ("UADFV", "UADFV_Real", "0007", "", &["UADFV/0007"]),
            ("DFDC", "DFDC_Fake", "aa_bb", "", &["DFDC/aa_bb"]),
            (
                "C",
                "CelebDFv1_fake",
                "id1_id2_0003",
                "",
                &["C/id1", "C/id2"],
            ),
        ];
        for (dataset, label, video, id, expected) in cases {
            let found = persons(dataset, label, video, id);
            assert_eq!(
                found.iter().map(|p| &**p).collect::<Vec<_>>(),
                expected,
                "{label}"
            );
        }
    }
}
