//! Robust gradient alignment (RoGA) on [burn](https://burn.dev).
#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]

#[cfg(feature = "detector")]
pub mod detector;
pub mod domain;
mod error;

pub use error::{BoxError, Error, Result};
