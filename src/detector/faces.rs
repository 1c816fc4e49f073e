//! Faces on disk, in the layout in which DeepfakeBench prepares its data.
//!
//! ```text
//! <folder>/<set>/frames/<id>/<name>.png
//! <folder>/<set>/landmarks/<id>/<name>.npy
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::RgbImage;

use super::{
    data::decode,
    dataset::{FaceSource, at_index},
    landmark::{Landmarks, Part},
};
use crate::{Error, Result};

/// A picture of one face, and where in it the face's parts are.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    picture: RgbImage,
    landmarks: Landmarks,
}

/// The largest side a picture may have, in pixels.
pub const MAX_SIDE: u32 = 4096;
/// The smallest side of a face's box that can be worked on, in pixels.
pub const MIN_FACE: f32 = 16.0;

impl Face {
    /// A picture and the landmarks of the face in it.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the picture has a side of more than [`MAX_SIDE`], the face's box
    /// is smaller than [`MIN_FACE`] or larger than [`MAX_SIDE`], or the eyes, the nose or the
    /// mouth lie outside the picture.
    pub fn new(picture: RgbImage, landmarks: Landmarks) -> Result<Self> {
        let (width, height) = picture.dimensions();
        if width.max(height) > MAX_SIDE || width.min(height) == 0 {
            return Err(Error::Setting {
                field: "picture",
                rule: "have sides from 1 to 4096 pixels",
                value: format!("{width} x {height}"),
            });
        }
        let [left, top, right, bottom] = landmarks.face_box();
        let (across, down) = (right - left, bottom - top);
        if across.min(down) < MIN_FACE || across.max(down) > MAX_SIDE as f32 {
            return Err(Error::Setting {
                field: "landmarks",
                rule: "outline a face with sides from 16 to 4096 pixels",
                value: format!("{across} x {down}"),
            });
        }
        for part in [Part::LeftEye, Part::RightEye, Part::Nose, Part::MouthOuter] {
            let [x, y] = landmarks.centre(part);
            if x < 0.0 || y < 0.0 || x >= width as f32 || y >= height as f32 {
                return Err(Error::Setting {
                    field: "landmarks",
                    rule: "have the eyes, the nose and the mouth in the picture",
                    value: format!("{part:?} at {x}, {y} in {width} x {height}"),
                });
            }
        }
        Ok(Self { picture, landmarks })
    }

    /// The picture.
    pub fn picture(&self) -> &RgbImage {
        &self.picture
    }

    /// Where in the picture the face's parts are.
    pub fn landmarks(&self) -> &Landmarks {
        &self.landmarks
    }
}

/// One picture of [`Faces`] and where its landmarks are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaceFile {
    /// Who it is: the set's name up to its first `_`, a slash, and the folder's name.
    pub person: String,
    /// The set's name.
    pub set: String,
    /// The picture.
    pub picture: PathBuf,
    /// The landmarks.
    pub landmarks: PathBuf,
}

/// What [`Faces::open`] left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The sets that have pictures but no folder of landmarks.
    pub sets: Vec<String>,
    /// The number of pictures without landmarks of their own, those of `sets` included.
    pub pictures: usize,
}

/// A folder of faces: its list is read at once, its pictures when they are asked for.
#[derive(Clone, Debug)]
pub struct Faces {
    root: PathBuf,
    files: Vec<FaceFile>,
    skipped: Skipped,
}

impl Faces {
    /// Lists the faces of a folder, sorted by set, person and name.
    ///
    /// The sets `london_neutral` and `london_smiling` show the same people, `london/001` and so
    /// on: a person's name is the set's up to its first `_`, a slash, and the folder's.
    /// Links that lead out of the folder are refused.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a folder that cannot be read, has no face with landmarks, or leads out
    /// of itself.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let root = fs::canonicalize(folder).map_err(|error| unreadable(folder, &error))?;
        let mut faces = Self {
            root,
            files: Vec::new(),
            skipped: Skipped::default(),
        };
        for set in names(&faces.root)? {
            let frames = faces.root.join(&set).join("frames");
            if frames.is_dir() {
                faces.list_set(&set, &frames)?;
            }
        }
        if faces.files.is_empty() {
            return Err(Error::File {
                path: folder.into(),
                reason: "has no <set>/frames/<id>/*.png with <set>/landmarks/<id>/*.npy".into(),
            });
        }
        Ok(faces)
    }

    fn list_set(&mut self, set: &str, frames: &Path) -> Result<()> {
        let landmarks = self.root.join(set).join("landmarks");
        let delineated = landmarks.is_dir();
        if !delineated {
            self.skipped.sets.push(set.into());
        }
        let family = set.split('_').next().unwrap_or(set);
        for id in names(frames)? {
            let folder = frames.join(&id);
            if !folder.is_dir() {
                continue;
            }
            stay_inside(&self.root, &folder)?;
            for name in names(&folder)?.iter().filter(|name| name.ends_with(".png")) {
                let picture = folder.join(name);
                if !picture.is_file() {
                    continue;
                }
                let points = landmarks.join(&id).join(name).with_extension("npy");
                if !delineated || !points.is_file() {
                    self.skipped.pictures += 1;
                    continue;
                }
                self.files.push(FaceFile {
                    person: format!("{family}/{id}"),
                    set: set.into(),
                    picture,
                    landmarks: points,
                });
            }
        }
        Ok(())
    }

    /// The faces listed.
    pub fn files(&self) -> &[FaceFile] {
        &self.files
    }

    /// What was left out.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }
}

/// Refuses a path that leads out of a folder, whose own path is canonical.
pub(super) fn stay_inside(root: &Path, path: &Path) -> Result<()> {
    let real = fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
    if real.starts_with(root) {
        return Ok(());
    }
    Err(Error::File {
        path: path.into(),
        reason: format!("leads out of {}", root.display()),
    })
}

impl FaceSource for Faces {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn person(&self, index: usize) -> &str {
        self.files.get(index).map_or("", |file| &file.person)
    }

    fn face(&self, index: usize) -> Result<Face> {
        let file = at_index(&self.files, index)?;
        stay_inside(&self.root, &file.picture)?;
        stay_inside(&self.root, &file.landmarks)?;
        let picture = read_picture(&file.picture)?;
        let landmarks = Landmarks::read_npy(&file.landmarks)?;
        Face::new(picture, landmarks).map_err(|error| Error::File {
            path: file.landmarks.clone(),
            reason: error.to_string(),
        })
    }
}

/// Reads a PNG or JPEG picture of at most [`MAX_SIDE`] pixels a side.
///
/// # Errors
///
/// [`Error::File`] for a file that cannot be read, is no picture, is cut short or too large.
pub fn read_picture(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    decode::picture(path).map_err(|fault| Error::File {
        path: path.into(),
        reason: format!("{fault}; {}", fault.mend()),
    })
}

/// The names in a folder that are text, sorted.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |error: std::io::Error| unreadable(folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.into(),
        reason: format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::portrait::{PortraitConfig, Portraits};

    fn write_face(root: &Path, set: &str, id: &str, with_landmarks: bool) -> PathBuf {
        let face = Portraits::new(PortraitConfig::new(), 1, 1, 1)
            .unwrap()
            .face(0)
            .unwrap();
        let frames = root.join(set).join("frames").join(id);
        fs::create_dir_all(&frames).unwrap();
        face.picture().save(frames.join("000.png")).unwrap();
        if with_landmarks {
            let folder = root.join(set).join("landmarks").join(id);
            fs::create_dir_all(&folder).unwrap();
            let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (97, 2), }\n";
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.as_bytes());
            for value in face.landmarks().points().iter().flatten() {
                bytes.extend(value.to_le_bytes());
            }
            fs::write(folder.join("000.npy"), bytes).unwrap();
        }
        frames.join("000.png")
    }

    #[test]
    fn lists_people_sorted_and_counts_what_has_no_landmarks() {
        let folder = tempfile::tempdir().unwrap();
        write_face(folder.path(), "london_smiling", "002", true);
        write_face(folder.path(), "london_neutral", "002", true);
        write_face(folder.path(), "london_neutral", "001", true);
        write_face(folder.path(), "canada", "001", true);
        write_face(folder.path(), "canada", "003", false);
        write_face(folder.path(), "paris", "001", false);
        let faces = Faces::open(folder.path()).unwrap();
        let people: Vec<&str> = (0..faces.len()).map(|i| faces.person(i)).collect();
        assert_eq!(
            people,
            ["canada/001", "london/001", "london/002", "london/002"]
        );
        assert_eq!(
            faces.skipped(),
            &Skipped {
                sets: vec!["paris".into()],
                pictures: 2
            }
        );
        assert!(faces.face(0).is_ok());
    }

    #[test]
    fn bad_pictures_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let picture = write_face(folder.path(), "a", "1", true);
        let faces = Faces::open(folder.path()).unwrap();
        let whole = fs::read(&picture).unwrap();
        for bytes in [&[][..], &whole[..whole.len() / 2], b"not a picture at all"] {
            fs::write(&picture, bytes).unwrap();
            let error = faces.face(0).unwrap_err();
            assert!(matches!(&error, Error::File { path, .. } if path.ends_with("000.png")));
        }
        RgbImage::new(MAX_SIDE + 1, 1).save(&picture).unwrap();
        assert!(faces.face(0).unwrap_err().to_string().contains("000.png"));
        RgbImage::new(8, 8).save(&picture).unwrap();
        assert!(
            faces
                .face(0)
                .unwrap_err()
                .to_string()
                .contains("in the picture")
        );
    }

    #[test]
    fn empty_or_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            Faces::open(folder.path())
                .unwrap_err()
                .to_string()
                .contains("frames")
        );
        assert!(Faces::open(folder.path().join("no")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_folder_are_refused() {
        let outside = tempfile::tempdir().unwrap();
        write_face(outside.path(), "a", "1", true);
        let folder = tempfile::tempdir().unwrap();
        let picture = write_face(folder.path(), "a", "1", true);
        fs::remove_file(&picture).unwrap();
        let target = outside.path().join("a/frames/1/000.png");
        std::os::unix::fs::symlink(target, &picture).unwrap();
        let faces = Faces::open(folder.path()).unwrap();
        assert!(
            faces
                .face(0)
                .unwrap_err()
                .to_string()
                .contains("leads out of")
        );

        let whole_set = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path().join("a"), whole_set.path().join("a")).unwrap();
        assert!(Faces::open(whole_set.path()).is_err());
    }
}
