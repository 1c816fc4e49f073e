//! Domains: named sources of data that a model is trained or tested on.

mod batch;

pub use batch::*;
