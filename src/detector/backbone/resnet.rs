use burn::{
    config::Config,
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::Conv2d,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use super::{
    classifier::Classifier,
    convolution::{convolution, convolve},
    positive,
    pretrained::owned,
    stages,
};
use crate::Result;

/// The settings of a [`ResNet`].
///
/// He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
/// arXiv 1512.03385.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use roga::detector::backbone::{Classifier, ResNetConfig};
///
/// let device = Device::default();
/// let net = ResNetConfig::small(2).init(&device)?;
/// let logits = net.forward(Tensor::zeros([4, 3, 64, 64], &device));
/// assert_eq!(logits.dims(), [4, 2]);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct ResNetConfig {
    /// The channels of every stage: at least one stage, each from 1 to 65536. Stages of bottlenecks hand on
    /// four times as many.
    pub channels: Vec<usize>,
    /// The blocks of every stage: as many as `channels`, each from 1 to 1000.
    pub blocks: Vec<usize>,
    /// The number of classes $K$: from 1 to 65536.
    pub classes: usize,
    /// What stands before the first stage. Default: [`Stem::Plain`].
    #[config(default = "Stem::Plain")]
    pub stem: Stem,
    /// The channels of a picture: from 1 to 65536. Default: 3.
    #[config(default = 3)]
    pub inputs: usize,
    /// What the stages are made of. Default: [`ResidualBlock::Basic`].
    #[config(default = "ResidualBlock::Basic")]
    pub block: ResidualBlock,
}

/// What the stages of a [`ResNet`] are made of.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum ResidualBlock {
    /// Two 3×3 convolutions.
    Basic,
    /// A 3×3 convolution between two 1×1 convolutions, of which the last makes four times as many
    /// channels. Where the size is halved, the 3×3 convolution does it, as in torchvision.
    Bottleneck,
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
        Self::imagenet([2; 4], classes)
    }

    /// ResNet-34 with the paper's stem: 21.8 million parameters for 1000 classes.
    pub fn resnet34(classes: usize) -> Self {
        Self::imagenet([3, 4, 6, 3], classes)
    }

    /// ResNet-50 with the paper's stem: 25.6 million parameters for 1000 classes.
    pub fn resnet50(classes: usize) -> Self {
        Self::resnet34(classes).with_block(ResidualBlock::Bottleneck)
    }

    /// A ResNet of three stages for pictures of 64 pixels on a CPU.
    pub fn small(classes: usize) -> Self {
        Self::new(vec![16, 32, 64], vec![1; 3], classes).with_stem(Stem::Halving)
    }

    fn imagenet(blocks: [usize; 4], classes: usize) -> Self {
        Self::new(vec![64, 128, 256, 512], blocks.to_vec(), classes).with_stem(Stem::ImageNet)
    }

    /// Initialises the net: Kaiming-normal convolutions (fan out), scales of 1.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) for a size of 0, or stages of which `channels` and
    /// `blocks` differ.
    pub fn init(&self, device: &Device) -> Result<ResNet> {
        let first = self.check()?;
        let mut inputs = first;
        let mut blocks = Vec::new();
        for (stage, (&channels, &count)) in self.channels.iter().zip(&self.blocks).enumerate() {
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let block = match self.block {
                    ResidualBlock::Basic => Block::basic(inputs, channels, stride, device),
                    ResidualBlock::Bottleneck => {
                        Block::bottleneck(inputs, channels, stride, device)
                    }
                };
                inputs = block.outputs();
                blocks.push(block);
            }
        }
        let (kernel, stride) = match self.stem {
            Stem::Plain => (3, 1),
            Stem::Halving => (3, 2),
            Stem::ImageNet => (7, 2),
        };
        Ok(ResNet {
            stem: convolution([self.inputs, first], kernel, stride).init(device),
            norm: BatchNormConfig::new(first).init(device),
            pool: (self.stem == Stem::ImageNet).then(|| {
                MaxPool2dConfig::new([3, 3])
                    .with_strides([2, 2])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .init()
            }),
            blocks,
            head: LinearConfig::new(inputs, self.classes).init(device),
        })
    }

    /// The channels of the first stage, where all settings are in their ranges.
    fn check(&self) -> Result<usize> {
        positive("classes", self.classes)?;
        positive("inputs", self.inputs)?;
        stages(&self.channels, &self.blocks)
    }
}

/// A residual net. Made by [`ResNetConfig::init`].
#[derive(Module, Debug)]
pub struct ResNet {
    stem: Conv2d,
    norm: BatchNorm,
    pool: Option<MaxPool2d>,
    blocks: Vec<Block>,
    head: Linear,
}

impl ResNet {
    /// From the published names, torchvision's and timm's alike, to ours.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let mut names = owned(&[
            (r"^conv1\.", "stem."),
            (r"^bn1\.", "norm."),
            (r"^fc\.", "head."),
            (r"^(layer.*)\.conv1\.", "$1.first."),
            (r"^(layer.*)\.bn1\.", "$1.first_norm."),
            (r"^(layer.*)\.conv2\.", "$1.second."),
            (r"^(layer.*)\.bn2\.", "$1.second_norm."),
            (r"^(layer.*)\.conv3\.", "$1.third."),
            (r"^(layer.*)\.bn3\.", "$1.third_norm."),
            (r"^(layer.*)\.downsample\.0\.", "$1.shortcut."),
            (r"^(layer.*)\.downsample\.1\.", "$1.shortcut_norm."),
        ]);
        let [mut stage, mut number] = [0, 0];
        for (index, block) in self.blocks.iter().enumerate() {
            // Only the first block of a stage changes the size or the channels.
            if index == 0 || block.shortcut.is_some() {
                [stage, number] = [stage + 1, 0];
            }
            let from = format!(r"^layer{stage}\.{number}\.");
            names.push((from, format!("blocks.{index}.")));
            number += 1;
        }
        names
    }
}

impl Classifier for ResNet {
    fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4> {
        let mut x = relu(self.norm.forward(self.stem.forward(pictures)));
        if let Some(pool) = &self.pool {
            x = pool.forward(x);
        }
        for block in &self.blocks {
            x = block.forward(x);
        }
        x
    }

    fn head(&self) -> &Linear {
        &self.head
    }
}

/// Two or three convolutions and a way round them.
#[derive(Module, Debug)]
struct Block {
    first: Conv2d,
    first_norm: BatchNorm,
    second: Conv2d,
    second_norm: BatchNorm,
    third: Option<Conv2d>,
    third_norm: Option<BatchNorm>,
    shortcut: Option<Conv2d>,
    shortcut_norm: Option<BatchNorm>,
}

impl Block {
    fn basic(inputs: usize, outputs: usize, stride: usize, device: &Device) -> Self {
        let norm = || BatchNormConfig::new(outputs).init(device);
        let shortcut = stride != 1 || inputs != outputs;
        Self {
            first: convolution([inputs, outputs], 3, stride).init(device),
            first_norm: norm(),
            second: convolution([outputs, outputs], 3, 1).init(device),
            second_norm: norm(),
            third: None,
            third_norm: None,
            shortcut: shortcut.then(|| convolution([inputs, outputs], 1, stride).init(device)),
            shortcut_norm: shortcut.then(norm),
        }
    }

    fn bottleneck(inputs: usize, inner: usize, stride: usize, device: &Device) -> Self {
        let outputs = 4 * inner;
        let norm = |channels| BatchNormConfig::new(channels).init(device);
        let shortcut = stride != 1 || inputs != outputs;
        Self {
            first: convolution([inputs, inner], 1, 1).init(device),
            first_norm: norm(inner),
            second: convolution([inner, inner], 3, stride).init(device),
            second_norm: norm(inner),
            third: Some(convolution([inner, outputs], 1, 1).init(device)),
            third_norm: Some(norm(outputs)),
            shortcut: shortcut.then(|| convolution([inputs, outputs], 1, stride).init(device)),
            shortcut_norm: shortcut.then(|| norm(outputs)),
        }
    }

    /// The channels that it hands on.
    fn outputs(&self) -> usize {
        let last = self.third_norm.as_ref().unwrap_or(&self.second_norm);
        let [channels] = last.gamma.lazy_shape().dims();
        channels
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = relu(
            self.first_norm
                .forward(convolve(&self.first, input.clone())),
        );
        let mut x = self.second_norm.forward(convolve(&self.second, x));
        if let (Some(third), Some(norm)) = (&self.third, &self.third_norm) {
            x = norm.forward(convolve(third, relu(x)));
        }
        let around = match (&self.shortcut, &self.shortcut_norm) {
            (Some(shortcut), Some(norm)) => norm.forward(convolve(shortcut, input)),
            _ => input,
        };
        relu(x + around)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
