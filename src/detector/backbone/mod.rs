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

/// The most classes, and channels of a stage or a picture.
const MAX_CHANNELS: usize = 1 << 16;

/// The most blocks of a stage.
const MAX_BLOCKS: usize = 1000;

/// Refuses a size of 0, and one that no memory holds.
fn positive(field: &'static str, size: usize) -> Result<()> {
    if (1..=MAX_CHANNELS).contains(&size) {
        return Ok(());
    }
    Err(Error::Setting {
        field,
        rule: "be from 1 to 65536",
        value: size.to_string(),
    })
}

/// The channels of the first stage; refuses stages that are none, are empty or differ in number.
fn stages(channels: &[usize], blocks: &[usize]) -> Result<usize> {
    let refused = |field, rule, sizes: &[usize]| {
        let value = format!("{sizes:?}");
        Err(Error::Setting { field, rule, value })
    };
    let within = |sizes: &[usize], most| sizes.iter().all(|size| (1..=most).contains(size));
    let first = channels.first().filter(|_| within(channels, MAX_CHANNELS));
    let Some(first) = first else {
        let rule = "be at least one stage, each from 1 to 65536";
        return refused("channels", rule, channels);
    };
    if !within(blocks, MAX_BLOCKS) || blocks.len() != channels.len() {
        let rule = "be one for each stage, each from 1 to 1000";
        return refused("blocks", rule, blocks);
    }
    Ok(*first)
}
