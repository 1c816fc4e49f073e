//! Data sets of real and forged pictures, as they lie on people's disks.
//!
//! A reader makes a [`Listing`] of what lists and folders say: [`DeepfakeBenchConfig`] of sets that
//! DeepfakeBench has prepared, [`FolderConfig`] of `domain/class/[video/]picture`,
//! [`ManifestConfig`] of a table. What of it is to be used is [selected](SelectConfig), and every
//! file of that is [checked](CheckConfig) before anything is trained: all problems come back at
//! once, each with its file and its mend. What comes out is a [`PictureSet`], whose pictures are
//! read when they are asked for.
//!
//! ```no_run
//! use roga::detector::data::{CheckConfig, DeepfakeBenchConfig, SelectConfig, Split};
//!
//! let set = DeepfakeBenchConfig::new("datasets/rgb".into())
//!     .read("preprocessing/dataset_json/FaceForensics++.json")?
//!     .select(&SelectConfig::new().with_split(Some(Split::Train)))?
//!     .check(&CheckConfig::new())?;
//! for (method, pictures) in set.domains() {
//!     println!("{method}: {} pictures, real and forged", pictures.len());
//! }
//! # Ok::<(), roga::Error>(())
//! ```
//!
//! [Videos](VideoConfig) become pictures by FFmpeg, and faces in them crops by
//! [their landmarks](AlignConfig).

mod align;
mod check;
pub(crate) mod decode;
mod deepfakebench;
#[cfg(feature = "face-detection")]
mod detect;
mod ending;
mod fingerprint;
mod folder;
mod list_file;
mod listing;
mod manifest;
mod problem;
mod record;
mod root;
mod select;
mod set;
mod summary;
mod video;

pub use align::*;
pub use check::*;
pub use decode::{Header, MAX_PICTURE_BYTES};
pub use deepfakebench::*;
#[cfg(feature = "face-detection")]
pub use detect::*;
pub use fingerprint::*;
pub use folder::*;
pub use list_file::{MAX_LIST_BYTES, MAX_PROBLEMS, MAX_RECORDS};
pub use listing::*;
pub use manifest::*;
pub use problem::*;
pub use record::*;
pub use root::MAX_PATH_BYTES;
pub use select::*;
pub use set::*;
pub use summary::*;
pub use video::*;
