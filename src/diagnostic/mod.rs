//! Diagnostics of a model and its domains: measured without training it, or over a training.
//!
//! | question | answer |
//! |---|---|
//! | do the domains' gradients conflict, now or over training? | [`conflict`], [`Conflict`] |
//! | how far does a domain's loss rise within reach? | [`sharpness`], [`Sharpness`] |
//! | what do the losses look like around the model? | [`LandscapeConfig`], [`Landscape`] |
//!
//! All of them leave the model as it is, bit for bit: parameters and running statistics. They are
//! printed as plain tables and written as JSON by `serde`.
#![cfg_attr(
    feature = "plot",
    doc = "[`plot`] draws them: heat map, curves, landscape."
)]
#![cfg_attr(
    not(feature = "plot"),
    doc = "The feature `plot` draws them: heat map, curves, landscape."
)]

mod conflict;
mod curve;
mod direction;
mod estimate;
mod landscape;
mod loss_value;
mod measure;
#[cfg(feature = "plot")]
pub mod plot;
mod sharpness;
mod table;

pub use conflict::*;
pub use curve::CurveBin;
pub use direction::Direction;
pub use estimate::Estimate;
pub use landscape::*;
pub use loss_value::LossValue;
pub use sharpness::*;
