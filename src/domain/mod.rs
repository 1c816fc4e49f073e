//! Domains: named sources of data that a model is trained or tested on.

mod batch;
mod epoch;
mod holdout;
#[cfg(feature = "dataset")]
mod loader;
pub(crate) mod shuffle;
mod split;

pub use batch::*;
pub use epoch::*;
pub use holdout::*;
#[cfg(feature = "dataset")]
pub use loader::*;
pub use split::*;
