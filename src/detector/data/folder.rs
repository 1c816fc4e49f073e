use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    list_file,
    listing::Listing,
    problem::{Fault, Problem},
    record::{Label, PictureRecord, frame_number},
    root::Root,
};
use crate::{Error, Result};

/// The reader of a folder `domain/class/[video/]picture`, with PNG and JPEG pictures.
///
/// Landmarks of `000.png` are looked for in `000.npy` beside it. Files of other kinds are passed
/// over, but for pictures of other formats, which are a problem. There are no splits: part the set
/// by its [`person_groups`](super::PictureSet::person_groups). A video's folder names the person,
/// without its domain and class: the same name in two of them is taken for the same person, so
/// that nobody is on two sides of a split. A picture without a video's folder is a video of its
/// own, named like its file.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct FolderConfig {
    /// The folder of the domains' folders.
    pub root: PathBuf,
    /// The names of the class folders of real pictures.
    #[config(default = "vec![\"real\".into()]")]
    pub real: Vec<String>,
    /// The names of the class folders of forgeries.
    #[config(default = "vec![\"fake\".into()]")]
    pub fake: Vec<String>,
}

/// Which pictures can be read, by the ends of their files' names.
const READ: [&str; 3] = ["png", "jpg", "jpeg"];
/// Which cannot, and would be missed.
const NOT_READ: [&str; 7] = ["avif", "bmp", "gif", "heic", "tif", "tiff", "webp"];

impl FolderConfig {
    /// Lists the pictures. They are not looked at: that is [`Listing::check`]'s.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where a folder cannot be read. Class folders that are not known are kept
    /// for the check.
    pub fn read(&self) -> Result<Listing> {
        let root = Root::open(&self.root)?;
        let dataset = self.root.file_name().and_then(|name| name.to_str());
        let mut walk = Walk {
            config: self,
            root: &root,
            dataset: dataset.unwrap_or("folder").into(),
            listing: Listing::default(),
        };
        for domain in walk.folders(&root.real, 0)? {
            walk.domain(&domain)?;
        }
        walk.listing.sort();
        Ok(walk.listing)
    }

    fn class(&self, name: &str) -> Option<Label> {
        let among = |names: &[String]| names.iter().any(|known| known == name);
        match (among(&self.real), among(&self.fake)) {
            (true, false) => Some(Label::Real),
            (false, true) => Some(Label::Fake),
            _ => None,
        }
    }
}

struct Walk<'a> {
    config: &'a FolderConfig,
    root: &'a Root,
    dataset: Arc<str>,
    listing: Listing,
}

impl Walk<'_> {
    fn domain(&mut self, domain: &str) -> Result<()> {
        let name: Arc<str> = domain.into();
        let folder = self.root.real.join(domain);
        for class in self.folders(&folder, 1)? {
            let folder = folder.join(&class);
            let Some(label) = self.config.class(&class) else {
                self.problem(folder, Fault::UnknownLabel(class));
                continue;
            };
            let id = format!("{domain}/{class}");
            self.pictures(&folder, &id, &name, label, None)?;
            for video in self.folders(&folder, 2)? {
                let folder = folder.join(&video);
                let id = format!("{id}/{video}");
                self.pictures(&folder, &id, &name, label, Some(&video))?;
            }
        }
        Ok(())
    }

    fn pictures(
        &mut self,
        folder: &Path,
        id: &str,
        domain: &Arc<str>,
        label: Label,
        video: Option<&str>,
    ) -> Result<()> {
        for entry in self.entries(folder)? {
            let file = folder.join(&entry);
            let (stem, extension) = entry.rsplit_once('.').unwrap_or((&entry, ""));
            let extension = extension.to_ascii_lowercase();
            if file.is_dir() {
                if video.is_some() {
                    let text = "a folder inside a video's".into();
                    self.problem(file, Fault::Malformed(text));
                }
                continue;
            }
            if NOT_READ.contains(&&*extension) {
                let text = "it is neither PNG nor JPEG".into();
                self.problem(file, Fault::Undecodable(text));
                continue;
            }
            if !READ.contains(&&*extension) {
                continue;
            }
            let video = video.unwrap_or(stem);
            self.listing.push(PictureRecord {
                id: format!("{id}/{entry}"),
                label,
                domain: domain.clone(),
                dataset: self.dataset.clone(),
                persons: vec![video.into()],
                video: format!("{}/{domain}/{label}/{video}", self.dataset).into(),
                frame: frame_number(&entry),
                split: None,
                compression: None,
                landmarks: Some(file.with_extension("npy")),
                mask: None,
                root: self.root.real.clone(),
                file,
            });
        }
        list_file::check_count(folder, &self.listing)
    }

    /// The folders in a folder. Pictures beside them, above the classes, would be missed.
    fn folders(&mut self, folder: &Path, depth: usize) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        for name in self.entries(folder)? {
            let path = folder.join(&name);
            if path.is_dir() {
                folders.push(name);
            } else if depth < 2 && READ.iter().any(|end| name.ends_with(&format!(".{end}"))) {
                let text = "a picture above the folders `domain/class`".into();
                self.problem(path, Fault::Malformed(text));
            }
        }
        Ok(folders)
    }

    fn entries(&mut self, folder: &Path) -> Result<Vec<String>> {
        let failed = |error: io::Error| Error::File {
            path: folder.into(),
            reason: format!("cannot be read: {error}"),
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            match entry.map_err(failed)?.file_name().into_string() {
                // Hidden files are the system's.
                Ok(name) if name.starts_with('.') => {}
                Ok(name) => names.push(name),
                Err(name) => {
                    let text = "its name is no text".into();
                    self.problem(folder.join(name), Fault::Malformed(text));
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn problem(&mut self, file: PathBuf, fault: Fault) {
        self.listing.problem(Problem::at(file, fault));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        folder
    }

    #[test]
    fn domains_classes_videos_and_pictures() {
        let folder = folder(&[
            "swap/fake/ann/001.png",
            "swap/fake/ann/000.JPG",
            "swap/fake/ann/000.npy",
            "swap/real/bob.jpeg",
            "mouth/fake/ann/7.png",
            "mouth/.hidden/x.png",
            "notes.txt",
        ]);
        let listing = FolderConfig::new(folder.path().into()).read().unwrap();
        assert!(listing.problems().is_empty(), "{}", listing.problems());
        let ids: Vec<&str> = listing.records().iter().map(|r| &*r.id).collect();
        assert_eq!(
            ids,
            [
                "mouth/fake/ann/7.png",
                "swap/fake/ann/000.JPG",
                "swap/fake/ann/001.png",
                "swap/real/bob.jpeg"
            ]
        );
        let [mouth, swap, _, bob] = listing.records() else {
            panic!();
        };
        assert_eq!(
            mouth.persons, swap.persons,
            "the same name is the same person"
        );
        assert_ne!(mouth.video, swap.video);
        assert_eq!(
            (bob.label, &*bob.domain, &*bob.persons[0]),
            (Label::Real, "swap", "bob")
        );
        assert!(
            swap.landmarks
                .as_ref()
                .unwrap()
                .ends_with("swap/fake/ann/000.npy")
        );
    }

    #[test]
    fn what_would_be_missed_is_a_problem() {
        let folder = folder(&[
            "swap/Fake/ann/0.png",
            "swap/fake/ann/deep/0.png",
            "swap/fake/ann/0.webp",
            "swap/fake/ann/0.png",
            "swap/0.png",
            "0.png",
        ]);
        let config = FolderConfig::new(folder.path().into());
        let listing = config.read().unwrap();
        assert_eq!(
            listing.problems().counts(),
            [("malformed", 3), ("undecodable", 1), ("unknown label", 1)].into()
        );
        assert_eq!(listing.len(), 1);
        let named = config
            .with_fake(vec!["fake".into(), "Fake".into()])
            .read()
            .unwrap();
        assert_eq!(named.len(), 2);
    }

    #[test]
    fn no_folder_and_an_empty_one() {
        assert!(FolderConfig::new("nowhere".into()).read().is_err());
        let empty = folder(&[]);
        assert!(
            FolderConfig::new(empty.path().into())
                .read()
                .unwrap()
                .is_empty()
        );
    }
}
