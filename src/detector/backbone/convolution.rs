//! Convolutions as the backbones make them.

use burn::{
    module::{Initializer, Module},
    nn::{
        BatchNorm, BatchNormConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor},
};

/// A convolution without bias whose padding keeps the size, drawn Kaiming-normally (fan out).
pub(super) fn convolution(channels: [usize; 2], kernel: usize, stride: usize) -> Conv2dConfig {
    let margin = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(margin, margin, margin, margin))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal {
            gain: std::f64::consts::SQRT_2,
            fan_out_only: true,
        })
}

/// Of every channel by itself.
pub(super) fn depthwise(channels: usize, kernel: usize, stride: usize) -> Conv2dConfig {
    convolution([channels, channels], kernel, stride).with_groups(channels)
}

/// The same convolution with biases, which begin at 0.
pub(super) fn biased(config: Conv2dConfig, device: &Device) -> Conv2d {
    Conv2d {
        bias: Some(Initializer::Zeros.init([config.channels[1]], device)),
        ..config.with_bias(false).init(device)
    }
}

/// A convolution and the norm of what it makes.
#[derive(Module, Debug)]
pub(super) struct NormedConvolution {
    convolution: Conv2d,
    norm: BatchNorm,
}

impl NormedConvolution {
    pub(super) fn new(config: &Conv2dConfig, device: &Device) -> Self {
        Self {
            convolution: config.init(device),
            norm: BatchNormConfig::new(config.channels[1]).init(device),
        }
    }

    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.convolution.forward(input))
    }
}
