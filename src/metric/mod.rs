//! Measures of how well scores tell two classes apart, in double precision.

mod roc;
mod roc_band;

pub use roc::*;
pub use roc_band::*;
