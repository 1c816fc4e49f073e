//! Domains: named sources of data that a model is trained or tested on.

mod batch;
mod holdout;
mod shuffle;
mod split;

pub use batch::*;
pub use holdout::*;
pub use split::*;
