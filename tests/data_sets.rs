//! Data sets as they lie on people's disks, from the list to the pixels.
//!
//! What needs real faces or a list of FaceForensics++'s splits is read from `$ROGA_DATA`, or
//! `../shared/data` next to the repository, and the folder `reference` beside it; what needs videos
//! is made with the FFmpeg that is installed; the face detector's model is `$ROGA_FACE_MODEL`. Without
//! them, the trials are reported as ignored.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use burn::data::dataset::Dataset;
use image::{Rgb, RgbImage};
use libtest_mimic::{Arguments, Failed, Trial};
use roga::{
    Error,
    detector::{
        data::{
            AlignConfig, CheckConfig, Compression, DeepfakeBenchConfig, FolderConfig, Label, Need,
            OnProblem, PictureSet, SelectConfig, Split, VideoConfig,
        },
        dataset::FaceSource,
        faces::Faces,
        forgery::Forgery,
        landmark::{Landmarks, Part, Scheme},
        portrait::{PortraitConfig, Portraits},
    },
    domain::GroupSplit,
};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let data = env::var_os("ROGA_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let faces = data.join("faces256");
    let splits = data.join("../reference/ffpp_splits");
    let no_ffmpeg = ["ffmpeg", "ffprobe"].map(has_program).contains(&false);
    let [no_faces, no_splits] = [&faces, &splits].map(|folder| !folder.is_dir());
    let trials = vec![
        Trial::test("deepfakebench::from_the_list_to_the_pixels", list_to_pixels),
        Trial::test("deepfakebench::problems_of_a_whole_set", problems_of_a_set),
        Trial::test("dlib::every_forgery", every_forgery_by_dlibs_points),
        Trial::test("real::faces", {
            let faces = faces.clone();
            move || real_faces(&faces)
        })
        .with_ignored_flag(no_faces),
        #[cfg(feature = "face-detection")]
        real_faces_are_found(&faces),
        Trial::test("real::aligned", move || real_faces_are_aligned(&faces))
            .with_ignored_flag(no_faces),
        Trial::test("real::splits", move || splits_of_faceforensics(&splits))
            .with_ignored_flag(no_splits),
        Trial::test("video::frames", video_frames).with_ignored_flag(no_ffmpeg),
        Trial::test("video::no_video", no_video).with_ignored_flag(no_ffmpeg),
    ];
    if (no_faces || no_splits || no_ffmpeg) && !arguments.list {
        eprintln!(
            "ignored for want of: faces256 {no_faces}, ffpp_splits {no_splits}, FFmpeg {no_ffmpeg}"
        );
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn has_program(name: &str) -> bool {
    let mut command = Command::new(name);
    command
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Writes a `.npy` file of dlib's 81 points, in four kinds of numbers.
fn write_landmarks(file: &Path, kind: usize) {
    let (name, bytes): (&str, fn(i32) -> Vec<u8>) = [
        ("<i4", (|v| v.to_le_bytes().to_vec()) as fn(i32) -> Vec<u8>),
        ("<i8", |v| i64::from(v).to_le_bytes().to_vec()),
        ("<f4", |v| (v as f32).to_le_bytes().to_vec()),
        ("<f8", |v| f64::from(v).to_le_bytes().to_vec()),
    ][kind % 4];
    let header = format!("{{'descr': '{name}', 'fortran_order': False, 'shape': (81, 2), }}");
    let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    npy.extend(format!("{header:<117}\n").as_bytes());
    npy.extend((0..162).flat_map(bytes));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, npy).unwrap();
}

/// A set as DeepfakeBench prepares it: two pairs of people, two methods, two compressions, with
/// the ways in which lists are written and numbers are stored all mixed.
struct Prepared {
    folder: tempfile::TempDir,
    list: Value,
}

impl Prepared {
    fn new() -> Self {
        let mut prepared = Self {
            folder: tempfile::tempdir().unwrap(),
            list: json!({"FaceForensics++": {}}),
        };
        let mut number = 0;
        for (split, [a, b]) in [("train", ["071", "054"]), ("test", ["087", "081"])] {
            for level in ["c23", "c40"] {
                for (label, folder, videos) in [
                    (
                        "FF-real",
                        "original_sequences/youtube",
                        [a.into(), b.into()],
                    ),
                    (
                        "FF-DF",
                        "manipulated_sequences/Deepfakes",
                        [format!("{a}_{b}"), format!("{b}_{a}")],
                    ),
                    (
                        "FF-NT",
                        "manipulated_sequences/NeuralTextures",
                        [format!("{a}_{b}"), format!("{b}_{a}")],
                    ),
                ] {
                    for video in videos {
                        let place = format!("FaceForensics++/{folder}/{level}/frames/{video}");
                        prepared.video([label, split, level, &video], &place, number);
                        number += 1;
                    }
                }
            }
        }
        prepared
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("datasets/rgb")
    }

    fn video(&mut self, [label, split, level, video]: [&str; 4], place: &str, number: usize) {
        let frames: Vec<String> = (0..10)
            .map(|frame| {
                let path = format!("{place}/{:03}.png", frame * 9);
                let file = self.root().join(&path);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                let shade = Rgb([number as u8, frame as u8, 9]);
                RgbImage::from_pixel(16, 16, shade).save(&file).unwrap();
                let landmarks = path.replace("frames", "landmarks").replace("png", "npy");
                write_landmarks(&self.root().join(landmarks), number);
                let root = self.root();
                match number % 4 {
                    0 => path.replace('/', "\\"),
                    1 => format!("./datasets/rgb/{path}"),
                    2 => format!("{}/{path}", root.display()),
                    _ => path,
                }
            })
            .rev()
            .collect();
        let entry = json!({"label": label, "frames": frames});
        self.list["FaceForensics++"][label][split][level][video] = entry;
    }

    fn read(&self, which: &SelectConfig, check: &CheckConfig) -> roga::Result<PictureSet> {
        let list = self.folder.path().join("FaceForensics++.json");
        fs::write(&list, self.list.to_string()).unwrap();
        let listing = DeepfakeBenchConfig::new(self.root()).read(list)?;
        listing.select(which)?.check(check)
    }
}

fn list_to_pixels() -> Result<(), Failed> {
    let prepared = Prepared::new();
    let c23 = SelectConfig::new().with_compression(Some(Compression::C23));
    let check = CheckConfig::new()
        .with_landmarks(Need::Required)
        .with_decode(true);
    let set = prepared.read(&c23.clone().with_frames_per_video(Some(4)), &check)?;
    assert_eq!(set.len(), 2 * 6 * 4);
    let summary = set.summary();
    assert_eq!((summary.persons, summary.videos), (4, 12));
    assert_eq!((summary.with_landmarks, summary.with_mask), (48, 0));
    let frames: BTreeSet<_> = set.records().map(|record| record.frame).collect();
    assert_eq!(frames, [0, 27, 54, 81].map(Some).into(), "evenly spread");

    let train = set.select(&SelectConfig::new().with_split(Some(Split::Train)))?;
    let domains = train.domains();
    assert_eq!(domains.len(), 2);
    for (name, pictures) in domains {
        let reals = pictures
            .records()
            .filter(|r| r.label == Label::Real)
            .count();
        assert_eq!((pictures.len(), reals), (16, 8), "{name}");
        let item = Dataset::get(&pictures, 0)?;
        assert_eq!(item.pixels.dimensions(), (16, 16));
        let landmarks = pictures.landmarks(0)?.ok_or("no landmarks")?;
        assert_eq!(landmarks.scheme(), Scheme::Dlib81);
        assert_eq!(landmarks.points()[80], [160.0, 161.0]);
    }
    let groups = set.person_groups();
    let split = GroupSplit::new(groups.iter().cloned(), &[0.5, 0.5], 3)?;
    for part in split.indices(&groups) {
        let people: BTreeSet<_> = set.subset(&part)?.person_groups().into_iter().collect();
        assert_eq!((part.len(), people.len()), (24, 1));
    }
    // Another place, the same set.
    let elsewhere = Prepared::new();
    let again = elsewhere.read(&c23.with_frames_per_video(Some(4)), &check)?;
    let content = roga::detector::data::HashContent::Bytes;
    assert_eq!(set.hash(content)?, again.hash(content)?);
    Ok(())
}

fn problems_of_a_set() -> Result<(), Failed> {
    let mut prepared = Prepared::new();
    let all = SelectConfig::new();
    let refuse = CheckConfig::new();
    assert_eq!(prepared.read(&all, &refuse)?.len(), 240);
    let real = prepared
        .root()
        .join("FaceForensics++/original_sequences/youtube/c23/frames/071");
    fs::write(real.join("000.png"), "")?;
    fs::write(real.join("009.png"), "a text")?;
    fs::remove_file(real.join("018.png"))?;
    let whole = fs::read(real.join("027.png"))?;
    fs::write(real.join("027.png"), &whole[..whole.len() - 20])?;
    fs::write(prepared.root().join("landmarks.txt"), "no set")?;
    let list = &mut prepared.list["FaceForensics++"];
    list["FF-DF"]["test"]["c23"]["087_081"]["frames"][0] = json!("../../outside.png");
    list["FF-DF"]["test"]["c23"]["087_081"]["frames"][1] = json!("/etc/hostname");
    list["FF-DF"]["test"]["c40"]["081_087"]["label"] = json!("FF-\u{1b}[31mDF");
    list["FF-NT"]["val"]["c23"]["071_087"] = json!({"label": "FF-NT", "frames":
        ["FaceForensics++/manipulated_sequences/NeuralTextures/c23/frames/071_054/000.png"]});
    list["FF-NT"]["train"]["c23"]["071_054"]["frames"] = json!([]);

    let Err(Error::Pictures(problems)) = prepared.read(&all, &refuse) else {
        return Err("not refused".into());
    };
    let expected = [
        ("empty", 1),
        ("in two splits", 2),
        ("missing", 1),
        ("outside the root", 2),
        ("undecodable", 2),
        ("unknown label", 1),
    ];
    assert_eq!(problems.counts(), expected.into(), "{problems}");
    assert!(!problems.to_string().contains('\u{1b}'));

    let set = prepared.read(&all, &refuse.with_on_problem(OnProblem::Skip))?;
    assert_eq!(set.skipped().counts(), expected.into());
    // Of 221 listed, four cannot be read; one of `val` shows somebody who is tested on, and what
    // shows 071, who is in `val`, leaves `train`.
    let splits: BTreeSet<_> = set
        .records()
        .flat_map(|r| r.persons.iter().map(|p| (p.to_string(), r.split)))
        .collect();
    let people: BTreeSet<_> = splits.iter().map(|(person, _)| person).collect();
    assert_eq!(splits.len(), people.len(), "everybody is in one split");
    assert!(set.records().all(|record| record.file.is_file()));
    Ok(())
}

/// Drawn faces under dlib's numbering: its points laid along the parts of the drawn ones.
fn with_dlibs_points(landmarks: &Landmarks, scheme: Scheme) -> roga::Result<Landmarks> {
    let mut points = vec![[0.0; 2]; scheme.len()];
    for part in Part::ALL {
        let (places, from) = (scheme.part(part), landmarks.part(part));
        for (i, place) in places.iter().enumerate() {
            points[*place] = from[i * from.len() / places.len()];
        }
    }
    Landmarks::new(points, scheme)
}

fn every_forgery_by_dlibs_points() -> Result<(), Failed> {
    struct Relabelled(Portraits, Scheme);
    impl FaceSource for Relabelled {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn person(&self, index: usize) -> &str {
            self.0.person(index)
        }

        fn face(&self, index: usize) -> roga::Result<roga::detector::faces::Face> {
            let face = self.0.face(index)?;
            let landmarks = with_dlibs_points(face.landmarks(), self.1)?;
            roga::detector::faces::Face::new(face.picture().clone(), landmarks)
        }
    }
    for scheme in [Scheme::Dlib68, Scheme::Dlib81] {
        let portraits = Portraits::new(PortraitConfig::new(), 5, 3, 1)?;
        let source = Relabelled(portraits, scheme);
        for forgery in Forgery::ALL {
            let config = roga::detector::dataset::DomainConfig::new(forgery);
            let samples = config.build(&source, &[0, 1, 2])?;
            for pair in samples.chunks_exact(2) {
                assert_ne!(pair[0].picture, pair[1].picture, "{forgery} by {scheme:?}");
            }
        }
    }
    Ok(())
}

fn real_faces(root: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut list = json!({"faces": {}});
    for (set, label) in [
        ("london_neutral", "DFDC_Real"),
        ("london_smiling", "DFDC_Fake"),
    ] {
        for id in fs::read_dir(root.join(set).join("frames"))? {
            let id = id?.file_name().into_string().map_err(|_| "a name")?;
            let frames = [format!("{set}\\frames\\{id}\\000.png")];
            list["faces"][label]["test"][id] = json!({"label": label, "frames": frames});
        }
    }
    let file = folder.path().join("faces.json");
    fs::write(&file, list.to_string())?;
    let set = DeepfakeBenchConfig::new(root.into())
        .read(file)?
        .check(&CheckConfig::new().with_decode(true))?;
    let summary = set.summary();
    println!("{summary}");
    assert_eq!(summary.sizes.keys().collect::<Vec<_>>(), ["256x256"]);
    assert_eq!(summary.pictures, set.len());
    let faces = set.with_landmarks();
    assert_eq!(faces.len(), summary.with_landmarks);
    assert!(faces.len() > 50);
    assert_eq!(faces.face(0)?.landmarks().scheme(), Scheme::WebMorph189);
    let pictures = set.pictures(&(0..set.len()).collect::<Vec<_>>(), 0)?;
    assert!(
        pictures
            .iter()
            .all(|picture| picture.pixels.dimensions() == (256, 256))
    );
    Ok(())
}

/// The crops were aligned by these five points, so that they lie near the template, and the map
/// to it nearly changes nothing.
fn real_faces_are_aligned(root: &Path) -> Result<(), Failed> {
    let faces = Faces::open(root)?;
    let config = AlignConfig::new();
    let template = config.template();
    let (mut worst, mut sum) = (0.0f32, 0.0);
    let mut turns = 0.0f32;
    for index in 0..faces.len() {
        let face = faces.face(index)?;
        let points = [0, 1, 55, 87, 93].map(|i| face.landmarks().points()[i]);
        let distance = |(a, b): (&[f32; 2], &[f32; 2])| (a[0] - b[0]).hypot(a[1] - b[1]);
        let mean = points.iter().zip(&template).map(distance).sum::<f32>() / 5.0;
        worst = worst.max(mean);
        sum += mean;
        let [[a, b, _], _] = config.map(points)?;
        turns = turns.max((a - 1.0).abs()).max(b.abs());
        let aligned = config.align(face.picture(), face.landmarks())?;
        let fitted = [0, 1, 55, 87, 93].map(|i| aligned.landmarks.points()[i]);
        let fitted = fitted.iter().zip(&template).map(distance).sum::<f32>() / 5.0;
        assert!(fitted < mean + 0.5, "{fitted} after {mean}");
    }
    let mean = sum / faces.len() as f32;
    println!(
        "{} faces: mean {mean:.2} px, worst {worst:.2} px, turns {turns:.4}",
        faces.len()
    );
    assert!(mean < 8.0 && worst < 16.0 && turns < 0.05);
    Ok(())
}

#[cfg(feature = "face-detection")]
fn real_faces_are_found(root: &Path) -> Trial {
    use roga::detector::data::FaceDetectorConfig;

    let model = env::var_os("ROGA_FACE_MODEL").map(PathBuf::from);
    let missing = model.is_none() || !root.is_dir();
    let root = root.to_owned();
    let trial = Trial::test("real::found", move || {
        let detector = FaceDetectorConfig::new(model.ok_or("no model")?).init()?;
        let faces = Faces::open(root)?;
        let (mut found, mut looked) = (0, 0);
        for index in (0..faces.len()).step_by(5) {
            let face = faces.face(index)?;
            let nose = face.landmarks().centre(Part::Nose);
            let boxes = detector.find(face.picture())?;
            looked += 1;
            found += usize::from(boxes.first().is_some_and(|b| {
                let inside =
                    |at: f32, start: i32| at > start as f32 && at < start as f32 + b.side as f32;
                inside(nose[0], b.left) && inside(nose[1], b.top)
            }));
            if let Some(crop) = detector.crop(face.picture(), 64)? {
                assert_eq!(crop.dimensions(), (64, 64));
            }
        }
        println!("found {found} of {looked} faces");
        assert!(found * 10 >= looked * 9);
        let nobody = RgbImage::from_pixel(200, 200, Rgb([90; 3]));
        assert!(detector.find(&nobody)?.is_empty());
        assert_eq!(detector.crop(&nobody, 64)?, None);
        assert!(detector.find(&RgbImage::new(5, 900))?.is_empty());
        assert!(detector.find(&RgbImage::new(0, 0)).is_err());
        Ok(())
    });
    trial.with_ignored_flag(missing)
}

fn splits_of_faceforensics(folder: &Path) -> Result<(), Failed> {
    let root = tempfile::tempdir()?;
    let mut list = json!({"FaceForensics++": {}});
    for split in ["train", "val", "test"] {
        let text = fs::read_to_string(folder.join(format!("{split}.json")))?;
        let pairs: Vec<[String; 2]> = serde_json::from_str(&text)?;
        for [a, b] in pairs {
            for (label, video) in [
                ("FF-real", a.clone()),
                ("FF-real", b.clone()),
                ("FF-DF", format!("{a}_{b}")),
                ("FF-DF", format!("{b}_{a}")),
            ] {
                let frames = [format!(
                    "FaceForensics++\\x\\c23\\frames\\{label}{video}\\000.png"
                )];
                let entry = json!({"label": label, "frames": frames});
                list["FaceForensics++"][label][split]["c23"][video] = entry;
            }
        }
    }
    let file = root.path().join("FaceForensics++.json");
    fs::write(&file, list.to_string())?;
    let listing = DeepfakeBenchConfig::new(root.path().into()).read(file)?;
    assert!(listing.problems().is_empty());
    assert_eq!(listing.len(), 2000);
    let mut people = BTreeSet::new();
    for (split, count) in [(Split::Train, 720), (Split::Val, 140), (Split::Test, 140)] {
        let part = listing
            .clone()
            .select(&SelectConfig::new().with_split(Some(split)))?;
        let here: BTreeSet<_> = part
            .records()
            .iter()
            .flat_map(|r| r.persons.clone())
            .collect();
        assert_eq!((part.len(), here.len()), (2 * count, count));
        assert!(people.is_disjoint(&here));
        people.extend(here);
    }
    assert_eq!(people.len(), 1000);
    Ok(())
}

/// A film whose frames get brighter one by one.
fn film(file: &Path) -> Result<(), Failed> {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i"])
        .arg("color=c=black:s=64x48:r=10:d=4,format=gray,geq=lum='N*6'")
        .args(["-pix_fmt", "yuv420p"])
        .arg(file)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("FFmpeg makes no film".into())
    }
}

fn video_frames() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    // A name that a shell or FFmpeg itself could take for something else.
    let video = folder.path().join("-i $(touch x) film;.mp4");
    film(&video)?;
    let config = VideoConfig::new().with_frames(5);
    let mut shades = Vec::new();
    config.read(&video, |number, picture| {
        assert_eq!(picture.dimensions(), (64, 48));
        shades.push((number, i32::from(picture.get_pixel(32, 24)[0])));
        Ok(())
    })?;
    let numbers: Vec<usize> = shades.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 9, 19, 29, 39]);
    for (number, shade) in &shades {
        let expected = 6 * *number as i32;
        assert!(
            (shade - expected).abs() < 5,
            "{number}: {shade}, not {expected}"
        );
    }
    assert!(!folder.path().join("x").exists());

    let many = VideoConfig::new().with_frames(1000);
    let out = folder.path().join("set/swap/fake/film");
    let files = many.extract(&video, &out)?;
    assert_eq!(files.len(), 40, "a film has the frames it has");
    assert!(files[39].ends_with("film/039.png"));
    many.with_frames(3)
        .extract(&video, folder.path().join("set/swap/real/other"))?;
    let listing = FolderConfig::new(folder.path().join("set")).read()?;
    assert_eq!(listing.check(&CheckConfig::new())?.summary().videos, 2);

    // What the caller says of a frame comes back, and the programs are ended.
    let stop = |_: usize, _: RgbImage| Err(Error::Device("stop".into()));
    assert!(matches!(config.read(&video, stop), Err(Error::Device(_))));
    Ok(())
}

fn no_video() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let video = folder.path().join("film.mp4");
    film(&video)?;
    let whole = fs::read(&video)?;
    let secret = folder.path().join("secret.ts");
    fs::write(&secret, "secret")?;
    let secret = secret.display();
    let play_list = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n");
    let concat = format!("ffconcat version 1.0\nfile {secret}\n");
    let cut = &whole[..whole.len() / 3];
    for bytes in [
        &b""[..],
        b"a text",
        cut,
        play_list.as_bytes(),
        concat.as_bytes(),
    ] {
        fs::write(&video, bytes)?;
        let error = VideoConfig::new()
            .extract(&video, folder.path().join("out"))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(&error, Error::File { path, .. } if *path == video),
            "{text}"
        );
        assert!(
            !text.contains("secret"),
            "what a list names is not looked at: {text}"
        );
    }
    Ok(())
}
