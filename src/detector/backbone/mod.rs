//! Backbones: nets from a picture to logits.
//!
//! Pictures come as tensors of shape `[batch, channels, height, width]`.

mod resnet;

pub use resnet::*;
