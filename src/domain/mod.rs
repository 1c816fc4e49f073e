//! Domains: named sources of data that a model is trained or tested on.

mod batch;
mod shuffle;
mod split;

pub use batch::*;
pub use split::*;
