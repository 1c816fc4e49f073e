//! What the example does: a command, a file.

pub mod compare;
pub mod diagnose;
pub mod evaluate;
pub mod explain;
pub mod forge;
pub mod frames;
pub mod inspect;
pub mod predict;
pub mod report;
pub mod repro;
pub mod train;
