use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

/// Whether a picture is real or forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// A camera's picture: class 0.
    Real,
    /// A forgery: class 1.
    Fake,
}

impl Label {
    /// 0 real, 1 fake.
    pub fn class(self) -> u8 {
        match self {
            Self::Real => 0,
            Self::Fake => 1,
        }
    }

    /// `real` or `fake`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Fake => "fake",
        }
    }
}

/// The part of a data set that its makers put a picture in.
///
/// Its order is that in which the parts are seen: what belongs to a later one must not be met in
/// an earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// `train`.
    Train,
    /// `val`.
    Val,
    /// `test`.
    Test,
}

impl Split {
    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// The compression of the video a picture was taken from, as FaceForensics++ names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// `raw`: as it was published.
    Raw,
    /// `c23`: H.264 at a constant rate factor of 23.
    C23,
    /// `c40`: H.264 at a constant rate factor of 40.
    C40,
}

impl Compression {
    /// `raw`, `c23` or `c40`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::C23 => "c23",
            Self::C40 => "c40",
        }
    }
}

/// Text that names none of the values there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {0}")]
pub struct UnknownName(&'static str);

macro_rules! named {
    ($type:ty, $list:literal, $($value:expr),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                [$($value),+]
                    .into_iter()
                    .find(|value: &Self| value.name() == name)
                    .ok_or(UnknownName($list))
            }
        }
    };
}

named!(Label, "real, fake", Self::Real, Self::Fake);
named!(
    Split,
    "train, val, test",
    Self::Train,
    Self::Val,
    Self::Test
);
named!(
    Compression,
    "raw, c23, c40",
    Self::Raw,
    Self::C23,
    Self::C40
);

/// One picture of a data set: where it is and what is known of it. Its pixels stay on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PictureRecord {
    /// Its path below the root as the list has it, with `/` between the parts. Pictures below two
    /// roots may have the same: the [file](Self::file) tells them apart.
    pub id: String,
    /// The picture.
    pub file: PathBuf,
    /// The folder that no file of the record may lie outside of.
    pub root: Arc<Path>,
    /// Real or forged.
    pub label: Label,
    /// How it was forged, such as `FF-DF`; of a real picture, where it comes from, such as
    /// `FF-real`.
    pub domain: Arc<str>,
    /// The data set, such as `FaceForensics++`.
    pub dataset: Arc<str>,
    /// The people it shows or is made from. None of them may be in two splits: FaceForensics++'s
    /// fake `071_054` belongs to both `FaceForensics++/071` and `FaceForensics++/054`.
    pub persons: Vec<Arc<str>>,
    /// The video it is a frame of: data set, domain and the video's name, with `/` between.
    pub video: Arc<str>,
    /// The number of the frame in its video, where the file's name is a number.
    pub frame: Option<u32>,
    /// The part of the data set that its makers put it in.
    pub split: Option<Split>,
    /// The compression of its video.
    pub compression: Option<Compression>,
    /// Where its landmarks are, or would be.
    pub landmarks: Option<PathBuf>,
    /// Where the mask of what was forged is, or would be.
    pub mask: Option<PathBuf>,
}

impl PictureRecord {
    /// The videos a picture is counted among: the same video in another compression or another
    /// split is another one.
    pub(super) fn stream(&self) -> (&str, Option<Compression>, Option<Split>) {
        (&self.video, self.compression, self.split)
    }
}

/// The number that a file's name is, without its extension.
pub(super) fn frame_number(file: &str) -> Option<u32> {
    let file = file.rsplit('/').next().unwrap_or(file);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    stem.parse().ok()
}

#[cfg(test)]
impl PictureRecord {
    /// A record for tests, whose file need not be there.
    pub(super) fn sample(root: &Path, id: &str, label: Label, domain: &str) -> Self {
        let parts: Vec<&str> = id.split('/').collect();
        let video = parts[parts.len().saturating_sub(2)];
        Self {
            id: id.into(),
            file: root.join(id),
            root: root.into(),
            label,
            domain: domain.into(),
            dataset: "set".into(),
            persons: vec![format!("set/{video}").into()],
            video: format!("set/{domain}/{video}").into(),
            frame: frame_number(id),
            split: None,
            compression: None,
            landmarks: None,
            mask: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for split in [Split::Train, Split::Val, Split::Test] {
            assert_eq!(split.to_string().parse(), Ok(split));
        }
        for compression in [Compression::Raw, Compression::C23, Compression::C40] {
            assert_eq!(compression.name().parse(), Ok(compression));
        }
        let error = "validation".parse::<Split>().unwrap_err();
        assert_eq!(error.to_string(), "must be one of train, val, test");
        assert_eq!([Label::Real.class(), Label::Fake.class()], [0, 1]);
    }

    #[test]
    fn frames_are_numbered_by_their_files() {
        assert_eq!(frame_number("009.png"), Some(9));
        assert_eq!(frame_number("face.png"), None);
        assert_eq!(frame_number("99999999999.png"), None);
    }
}
