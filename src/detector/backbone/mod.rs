//! Backbones: nets from a picture to logits.
//!
//! Pictures come as tensors of shape `[batch, 3, height, width]`, normalized as
//! [`BackboneConfig::normalization`] says. A backbone is chosen by its name, or made from its
//! family's settings:
//!
//! | names | family | parameters for 1000 classes |
//! |---|---|---|
//! | `resnet-18`, `resnet-34`, `resnet-50` | [`ResNet`] | 11.7, 21.8, 25.6 million |
//! | `xception` | [`Xception`] | 22.9 million |
//! | `efficientnet-b0` to `efficientnet-b4` | [`EfficientNet`] | 5.3, 7.8, 9.1, 12.2, 19.3 million |
//! | `convnext-tiny` | [`ConvNext`] | 28.6 million |
//! | `frequency` | [`FrequencyNet`] | 0.5 million |
//! | `small` | [`ResNet`] | 0.1 million |
//!
//! Weights as torchvision and timm publish them are read by [`Backbone::load_pretrained`]. Logits
//! and feature maps are theirs to $10^{-4}$.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use roga::detector::backbone::{BackboneConfig, Classifier};
//!
//! let device = Device::default();
//! let config: BackboneConfig = "resnet-18".parse()?;
//! let net = config.init(2, &device)?;
//! let pictures = Tensor::zeros([1, 3, 64, 64], &device);
//! let logits = net.forward(config.normalization().apply(pictures));
//! assert_eq!(logits.dims(), [1, 2]);
//! # Ok::<(), roga::Error>(())
//! ```

mod classifier;
mod convnext;
mod convolution;
mod efficientnet;
mod frequency;
mod named;
mod normalization;
mod pretrained;
mod resnet;
mod trained;
mod xception;

pub use classifier::*;
pub use convnext::*;
pub use efficientnet::*;
pub use frequency::*;
pub use named::*;
pub use normalization::*;
pub use pretrained::*;
pub use resnet::*;
pub use xception::*;

use crate::{Error, Result};

/// Refuses a size of 0.
fn positive(field: &'static str, size: usize) -> Result<()> {
    if size > 0 {
        return Ok(());
    }
    Err(Error::Setting {
        field,
        rule: "be at least 1",
        value: size.to_string(),
    })
}

/// Refuses stages that are none, are empty or differ in number.
fn stages(channels: &[usize], blocks: &[usize]) -> Result<()> {
    let refused = |field, rule, sizes: &[usize]| {
        let value = format!("{sizes:?}");
        Err(Error::Setting { field, rule, value })
    };
    let positive = |sizes: &[usize]| !sizes.is_empty() && !sizes.contains(&0);
    if !positive(channels) {
        return refused("channels", "be at least one stage, none of 0", channels);
    }
    if !positive(blocks) || blocks.len() != channels.len() {
        return refused("blocks", "be one for each stage, none of 0", blocks);
    }
    Ok(())
}
