//! Deepfake detection: what the bundled example is made of.

pub mod backbone;
