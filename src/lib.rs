//! Robust gradient alignment (RoGA) on [burn](https://burn.dev).
#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]

pub mod domain;
mod error;
pub mod metric;

pub use error::{BoxError, Error, Result};
