//! Domains: named sources of data that a model is trained or tested on.

mod batch;
mod epoch;
mod holdout;
mod join;
#[cfg(feature = "dataset")]
mod loader;
mod micro;
pub(crate) mod shuffle;
mod split;

pub use batch::*;
pub use epoch::*;
pub use holdout::*;
pub use join::*;
#[cfg(feature = "dataset")]
pub use loader::*;
pub use micro::*;
pub use split::*;
