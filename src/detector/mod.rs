//! Deepfake detection: faces, forgeries of them, and the data sets made of both.
//!
//! | module | what it holds |
//! |---|---|
//! | [`landmark`] | points on a face and which of them are the eyes, the mouth, the outline |
//! | [`portrait`] | faces the crate draws itself: nobody's, and as many as wanted |
//! | [`faces`] | faces on disk: pictures and their landmarks |
//! | [`forgery`] | the ways in which a face is forged |
//! | [`gallery`] | portraits on disk without landmarks, their faces in the same place of the frame |
//! | [`template`] | the landmarks of a mean face, laid into the frame |
//! | [`encode`] | the one way by which real and forged faces become a network's input |
//! | [`augment`] | random changes of pictures while a network is trained |
//! | [`compression`] | levels of compression as domains |
//! | [`backbone`] | nets from a picture to logits |
//! | [`explain`] | heat maps of what a net sees in a picture |
//! | [`data`] | data sets on disk: DeepfakeBench's, folders, tables, videos; their check and summary |
//! | [`dataset`] | samples of one forgery and of the real faces behind them, split by person |
//! | [`sheet`] | real faces, forgeries and masks side by side |
//!
//! ```
//! use roga::detector::{
//!     dataset::{DomainConfig, split_by_person},
//!     forgery::Forgery,
//!     portrait::{PortraitConfig, Portraits},
//! };
//!
//! let portraits = Portraits::new(PortraitConfig::new(), 7, 10, 1)?;
//! let parts = split_by_person(&portraits, &[0.4, 0.6], 7)?;
//! let domain = DomainConfig::new(Forgery::FaceSwap);
//! let samples = domain.build(&portraits, &parts[0])?;
//! assert_eq!(samples.len(), 8); // Four people: a real picture and its forgery of each.
//! # Ok::<(), roga::Error>(())
//! ```

pub mod augment;
pub mod backbone;
pub mod compression;
pub mod data;
pub mod dataset;
pub mod encode;
pub mod explain;
pub mod faces;
pub mod forgery;
pub mod gallery;
pub mod landmark;
mod memory;
pub mod portrait;
mod raster;
mod seed;
pub mod sheet;
pub mod template;

pub use memory::InMemFaces;
