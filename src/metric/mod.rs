//! Measures of how well scores tell two classes apart, in double precision.

mod roc;

pub use roc::*;
