//! Portraits on disk without landmarks, whose faces stand in the same place of the frame.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    dataset::{FaceSource, at_index},
    faces::{Face, names, read_picture, stay_inside, unreadable},
    landmark::Landmarks,
    template::{PORTRAIT_REGION, check_region},
};
use crate::{Error, Result};

/// How a folder of portraits is read.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct GalleryConfig {
    /// Where in the frame the faces stand: left, top, right and bottom in fractions of its sides,
    /// from 0 to 1.
    #[config(default = "PORTRAIT_REGION")]
    pub region: [f32; 4],
}

impl GalleryConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the region does not rise from left to right and from top to bottom
    /// within 0 and 1.
    pub fn check(&self) -> Result<()> {
        check_region(self.region)
    }

    /// Lists the PNG and JPEG pictures of a folder, sorted by name: each is a person of its own,
    /// named by the file's stem.
    ///
    /// ```no_run
    /// use roga::detector::{dataset::DomainConfig, forgery::Forgery, gallery::GalleryConfig};
    ///
    /// let gallery = GalleryConfig::new().open("portraits")?;
    /// let samples = DomainConfig::new(Forgery::SelfBlending).build(&gallery, &[0, 1, 2])?;
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range; [`Error::File`] for a folder that cannot
    /// be read or holds no picture, or two pictures of one person.
    pub fn open(&self, folder: impl AsRef<Path>) -> Result<Gallery> {
        self.check()?;
        let folder = folder.as_ref();
        let root = fs::canonicalize(folder).map_err(|error| unreadable(folder, &error))?;
        let at_folder = |reason: String| Error::File {
            path: folder.into(),
            reason,
        };
        let mut people: Vec<(String, PathBuf)> = Vec::new();
        for name in names(&root)? {
            let picture = root.join(&name);
            let stem = picture.file_stem().and_then(|stem| stem.to_str());
            if let (Some(stem), true) = (stem, is_picture(&picture)) {
                people.push((stem.into(), picture));
            }
        }
        people.sort_unstable();
        if people.is_empty() {
            return Err(at_folder("has no .png, .jpg or .jpeg file".into()));
        }
        let mut pairs = people.array_windows();
        if let Some([(twice, _), _]) = pairs.find(|[one, other]| one.0 == other.0) {
            return Err(at_folder(format!("has two pictures of `{twice}`")));
        }
        Ok(Gallery {
            root,
            people,
            region: self.region,
        })
    }
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let known = |e: &str| ["png", "jpg", "jpeg"].contains(&e.to_ascii_lowercase().as_str());
    extension.is_some_and(known) && path.is_file()
}

/// A folder of portraits, one a person, without landmarks.
///
/// In their place stand those of a [mean face](Landmarks::in_frame): forgeries that
/// [need true ones](super::forgery::Forgery::needs_landmarks) are not at home here. The list is
/// read at once, a picture when it is asked for. Pictures without colour are read as three equal
/// channels.
#[derive(Clone, Debug)]
pub struct Gallery {
    root: PathBuf,
    people: Vec<(String, PathBuf)>,
    region: [f32; 4],
}

impl FaceSource for Gallery {
    fn len(&self) -> usize {
        self.people.len()
    }

    fn person(&self, index: usize) -> &str {
        self.people.get(index).map_or("", |(person, _)| person)
    }

    fn face(&self, index: usize) -> Result<Face> {
        let (_, path) = at_index(&self.people, index)?;
        stay_inside(&self.root, path)?;
        let picture = read_picture(path)?;
        Landmarks::in_frame(picture.width(), picture.height(), self.region)
            .and_then(|landmarks| Face::new(picture, landmarks))
            .map_err(|error| Error::File {
                path: path.clone(),
                reason: error.to_string(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, RgbImage};

    #[test]
    fn people_are_files_in_order_and_grey_pictures_have_three_equal_channels() {
        let folder = tempfile::tempdir().unwrap();
        RgbImage::new(100, 125)
            .save(folder.path().join("b.PNG"))
            .unwrap();
        let grey = GrayImage::from_fn(100, 125, |x, _| Luma([x as u8]));
        grey.save(folder.path().join("a.png")).unwrap();
        fs::write(folder.path().join("README.md"), "none").unwrap();
        let gallery = GalleryConfig::new().open(folder.path()).unwrap();
        let people: Vec<&str> = (0..gallery.len()).map(|i| gallery.person(i)).collect();
        assert_eq!(people, ["a", "b"]);
        let face = gallery.face(0).unwrap();
        assert_eq!(face.picture().get_pixel(7, 3).0, [7; 3]);
        let expected = Landmarks::in_frame(100, 125, PORTRAIT_REGION).unwrap();
        assert_eq!(face.landmarks(), &expected);
        assert!(gallery.face(2).is_err());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let open = || GalleryConfig::new().open(folder.path());
        assert!(open().unwrap_err().to_string().contains("has no .png"));
        assert!(GalleryConfig::new().open(folder.path().join("no")).is_err());
        let picture = folder.path().join("a.png");
        RgbImage::new(20, 25).save(&picture).unwrap();
        let error = open().unwrap().face(0).unwrap_err().to_string();
        assert!(
            error.contains("a.png") && error.contains("sides from 16"),
            "{error}"
        );
        fs::write(&picture, b"no picture").unwrap();
        assert!(
            open()
                .unwrap()
                .face(0)
                .unwrap_err()
                .to_string()
                .contains("a.png")
        );
        fs::write(folder.path().join("a.jpg"), b"").unwrap();
        assert!(
            open()
                .unwrap_err()
                .to_string()
                .contains("two pictures of `a`")
        );
        let config = GalleryConfig::new().with_region([0.5, 0.0, 0.4, 1.0]);
        assert!(
            config
                .open(folder.path())
                .unwrap_err()
                .to_string()
                .starts_with("region")
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_folder_are_refused() {
        let outside = tempfile::tempdir().unwrap();
        RgbImage::new(100, 125)
            .save(outside.path().join("a.png"))
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("a.png");
        std::os::unix::fs::symlink(outside.path().join("a.png"), link).unwrap();
        let gallery = GalleryConfig::new().open(folder.path()).unwrap();
        assert!(
            gallery
                .face(0)
                .unwrap_err()
                .to_string()
                .contains("leads out of")
        );
    }
}
