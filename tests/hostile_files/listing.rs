//! What readers of data sets hand over.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use image::{Rgb, RgbImage};
use roga::{
    Result,
    detector::data::{CheckConfig, Listing, SelectConfig},
};

use crate::{place, printed};

/// The root of the sets, with one picture in it.
pub fn root() -> PathBuf {
    let root = place::folder().join("datasets/rgb");
    if !root.exists() {
        fs::create_dir_all(root.join("frames/1")).expect("there is a place for pictures");
        let picture = RgbImage::from_pixel(9, 7, Rgb([1, 2, 3]));
        picture
            .save(root.join("frames/1/000.png"))
            .expect("there is a place for a picture");
    }
    root
}

/// Asserts that nothing of a listing lies outside the root, and that its problems can be printed;
/// does with it what is done with a data set.
pub fn look(listing: Result<Listing>) {
    let listing = match listing {
        Ok(listing) => listing,
        Err(error) => return printed::is_plain(error),
    };
    let root = root().canonicalize().expect("it was just made");
    for record in listing.records() {
        assert_eq!(*record.root, *root);
        let beside = [&record.landmarks, &record.mask];
        for file in [&record.file]
            .into_iter()
            .chain(beside.into_iter().flatten())
        {
            assert!(is_below(&root, file), "{file:?}");
        }
        assert!(is_below(&root, &root.join(&record.id)), "{}", record.id);
    }
    printed::is_plain(listing.problems());
    let few = SelectConfig::new().with_frames_per_video(Some(2));
    let few = listing
        .clone()
        .select(&few)
        .expect("two is a number of frames");
    assert!(few.len() <= listing.len());
    let joined = few.join(listing);
    match joined.check(&CheckConfig::new().with_threads(1)) {
        Ok(set) => {
            printed::is_plain(set.summary());
            assert_eq!(set.person_groups().len(), set.len());
            for (_, domain) in set.domains() {
                assert!(domain.picture(0).is_ok());
            }
        }
        Err(error) => printed::is_plain(error),
    }
}

/// Whether a path is a folder's and names below it, none of which leads elsewhere.
fn is_below(root: &Path, file: &Path) -> bool {
    let rest = file.strip_prefix(root);
    rest.is_ok_and(|rest| {
        let mut parts = rest.components().peekable();
        parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
    })
}
