use burn::{
    config::Config,
    module::{Initializer, Module},
    nn::{
        BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use crate::{Error, Result};

/// The settings of a [`ResNet`] of basic blocks.
///
/// He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
/// arXiv 1512.03385.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use roga::detector::backbone::ResNetConfig;
///
/// let device = Device::default();
/// let net = ResNetConfig::small(2).init(&device)?;
/// let logits = net.forward(Tensor::zeros([4, 3, 64, 64], &device));
/// assert_eq!(logits.dims(), [4, 2]);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct ResNetConfig {
    /// The channels of every stage: at least one stage, none of 0.
    pub channels: Vec<usize>,
    /// The blocks of every stage: as many as `channels`, none of 0.
    pub blocks: Vec<usize>,
    /// The number of classes $K$: at least 1.
    pub classes: usize,
    /// What stands before the first stage. Default: [`Stem::Plain`].
    #[config(default = "Stem::Plain")]
    pub stem: Stem,
    /// The channels of a picture: at least 1. Default: 3.
    #[config(default = 3)]
    pub inputs: usize,
}

/// What stands before the first stage of a [`ResNet`].
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Stem {
    /// A 3×3 convolution that keeps the picture's size: for small pictures, and for traces that a
    /// resized picture loses.
    Plain,
    /// A 3×3 convolution that halves the picture's size.
    Halving,
    /// A 7×7 convolution that halves the picture's size, and a pooling that halves it again: the
    /// stem of the paper, for pictures of 224 pixels.
    ImageNet,
}

impl ResNetConfig {
    /// ResNet-18 with the paper's stem: 11.7 million parameters for 1000 classes.
    pub fn resnet18(classes: usize) -> Self {
        Self::new(vec![64, 128, 256, 512], vec![2; 4], classes).with_stem(Stem::ImageNet)
    }

    /// A ResNet of three stages for pictures of 64 pixels on a CPU.
    pub fn small(classes: usize) -> Self {
        Self::new(vec![16, 32, 64], vec![1; 3], classes).with_stem(Stem::Halving)
    }

    /// Initialises the net: Kaiming-normal convolutions (fan out), scales of 1.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a size of 0, or stages of which `channels` and `blocks` differ.
    pub fn init(&self, device: &Device) -> Result<ResNet> {
        self.check()?;
        let first = self.channels[0];
        let mut inputs = first;
        let mut blocks = Vec::new();
        for (stage, (&channels, &count)) in self.channels.iter().zip(&self.blocks).enumerate() {
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(BasicBlock::new(inputs, channels, stride, device));
                inputs = channels;
            }
        }
        let (kernel, stride) = match self.stem {
            Stem::Plain => (3, 1),
            Stem::Halving => (3, 2),
            Stem::ImageNet => (7, 2),
        };
        Ok(ResNet {
            stem: convolution([self.inputs, first], kernel, stride, device),
            norm: BatchNormConfig::new(first).init(device),
            pool: (self.stem == Stem::ImageNet).then(|| {
                MaxPool2dConfig::new([3, 3])
                    .with_strides([2, 2])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .init()
            }),
            blocks,
            mean: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            head: LinearConfig::new(inputs, self.classes).init(device),
        })
    }

    fn check(&self) -> Result<()> {
        let setting = |field, rule, value| Err(Error::Setting { field, rule, value });
        let positive = |sizes: &[usize]| !sizes.is_empty() && sizes.iter().all(|size| *size > 0);
        if !positive(&self.channels) {
            let value = format!("{:?}", self.channels);
            return setting("channels", "be at least one stage, none of 0", value);
        }
        if !positive(&self.blocks) || self.blocks.len() != self.channels.len() {
            let value = format!("{:?}", self.blocks);
            return setting("blocks", "be one for each stage, none of 0", value);
        }
        for (field, size) in [("classes", self.classes), ("inputs", self.inputs)] {
            if size == 0 {
                return setting(field, "be at least 1", "0".into());
            }
        }
        Ok(())
    }
}

/// A residual net of basic blocks. Made by [`ResNetConfig::init`].
#[derive(Module, Debug)]
pub struct ResNet {
    stem: Conv2d,
    norm: BatchNorm,
    pool: Option<MaxPool2d>,
    blocks: Vec<BasicBlock>,
    mean: AdaptiveAvgPool2d,
    head: Linear,
}

impl ResNet {
    /// The logits, `[batch, classes]`, of pictures `[batch, inputs, height, width]`.
    pub fn forward(&self, pictures: Tensor<4>) -> Tensor<2> {
        self.head.forward(self.features(pictures))
    }

    /// What the head sees, `[batch, channels of the last stage]`.
    pub fn features(&self, pictures: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.norm.forward(self.stem.forward(pictures)));
        if let Some(pool) = &self.pool {
            x = pool.forward(x);
        }
        for block in &self.blocks {
            x = block.forward(x);
        }
        self.mean.forward(x).flatten(1, 3)
    }
}

/// Two 3×3 convolutions and a way round them.
#[derive(Module, Debug)]
struct BasicBlock {
    first: Conv2d,
    first_norm: BatchNorm,
    second: Conv2d,
    second_norm: BatchNorm,
    shortcut: Option<Conv2d>,
    shortcut_norm: Option<BatchNorm>,
}

impl BasicBlock {
    fn new(inputs: usize, outputs: usize, stride: usize, device: &Device) -> Self {
        let norm = || BatchNormConfig::new(outputs).init(device);
        let shortcut = stride != 1 || inputs != outputs;
        Self {
            first: convolution([inputs, outputs], 3, stride, device),
            first_norm: norm(),
            second: convolution([outputs, outputs], 3, 1, device),
            second_norm: norm(),
            shortcut: shortcut.then(|| convolution([inputs, outputs], 1, stride, device)),
            shortcut_norm: shortcut.then(norm),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = relu(self.first_norm.forward(self.first.forward(input.clone())));
        let x = self.second_norm.forward(self.second.forward(x));
        let around = match (&self.shortcut, &self.shortcut_norm) {
            (Some(shortcut), Some(norm)) => norm.forward(shortcut.forward(input)),
            _ => input,
        };
        relu(x + around)
    }
}

fn convolution(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Conv2d {
    let margin = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(margin, margin, margin, margin))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal {
            gain: std::f64::consts::SQRT_2,
            fan_out_only: true,
        })
        .init(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resnet18_has_the_parameters_of_the_paper() {
        let net = ResNetConfig::resnet18(1000).init(&Device::flex()).unwrap();
        // The running statistics of 4,800 channels are counted by burn too.
        assert_eq!(net.num_params() - 2 * 4_800, 11_689_512);
    }

    #[test]
    fn sizes_that_cannot_work_are_refused() {
        let device = Device::flex();
        for config in [
            ResNetConfig::new(vec![], vec![], 2),
            ResNetConfig::new(vec![8, 0], vec![1, 1], 2),
            ResNetConfig::new(vec![8], vec![1, 1], 2),
            ResNetConfig::new(vec![8], vec![0], 2),
            ResNetConfig::new(vec![8], vec![1], 0),
            ResNetConfig::new(vec![8], vec![1], 2).with_inputs(0),
        ] {
            assert!(config.init(&device).is_err(), "{config:?}");
        }
    }
}
