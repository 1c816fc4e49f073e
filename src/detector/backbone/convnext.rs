use burn::{
    config::Config,
    module::{Initializer, Module, Param},
    nn::{
        LayerNorm, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor, activation::gelu},
};

use super::{
    classifier::Classifier,
    convolution::{biased, depthwise},
    positive,
    pretrained::owned,
    stages,
};
use crate::Result;

/// The settings of a [`ConvNext`].
///
/// Liu et al., "A ConvNet for the 2020s", CVPR 2022, arXiv 2201.03545. The published trainings
/// drop whole blocks at random; here nothing is dropped.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use roga::detector::backbone::{Classifier, ConvNextConfig};
///
/// let device = Device::default();
/// let net = ConvNextConfig::tiny(2).init(&device)?;
/// assert_eq!(net.forward(Tensor::zeros([1, 3, 32, 32], &device)).dims(), [1, 2]);
/// assert_eq!(net.features_len(), 768);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct ConvNextConfig {
    /// The channels of every stage: at least one stage, each from 1 to 65536.
    pub channels: Vec<usize>,
    /// The blocks of every stage: as many as `channels`, each from 1 to 1000.
    pub blocks: Vec<usize>,
    /// The number of classes $K$: from 1 to 65536.
    pub classes: usize,
}

impl ConvNextConfig {
    /// ConvNeXt-T, for pictures of 224 pixels: 28.6 million parameters for 1000 classes.
    pub fn tiny(classes: usize) -> Self {
        Self::new(vec![96, 192, 384, 768], vec![3, 3, 9, 3], classes)
    }

    /// Initialises the net: weights of deviation 0.02, biases of 0, layer scales of $10^{-6}$.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) for a size of 0, or stages of which `channels`
    /// and `blocks` differ.
    pub fn init(&self, device: &Device) -> Result<ConvNext> {
        let first = stages(&self.channels, &self.blocks)?;
        positive("classes", self.classes)?;
        let mut inputs = first;
        let mut stages = Vec::new();
        for (&channels, &count) in self.channels.iter().zip(&self.blocks) {
            let first = stages.is_empty();
            stages.push(Stage {
                norm: (!first).then(|| norm(inputs, device)),
                reduce: (!first).then(|| patches([inputs, channels], 2, device)),
                blocks: (0..count).map(|_| Block::new(channels, device)).collect(),
            });
            inputs = channels;
        }
        Ok(ConvNext {
            stem: patches([3, first], 4, device),
            stem_norm: norm(first, device),
            stages,
            head_norm: norm(inputs, device),
            head: linear([inputs, self.classes], device),
        })
    }
}

/// A convolutional net after the manner of transformers. Made by [`ConvNextConfig::init`].
#[derive(Module, Debug)]
pub struct ConvNext {
    stem: Conv2d,
    stem_norm: LayerNorm,
    stages: Vec<Stage>,
    head_norm: LayerNorm,
    head: Linear,
}

impl ConvNext {
    /// From torchvision's names and from timm's to ours.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let mut names = owned(&[
            (r"^features\.0\.0\.", "stem."),
            (r"^features\.0\.1\.", "stem_norm."),
            (r"^classifier\.0\.", "head_norm."),
            (r"^classifier\.2\.", "head."),
        ]);
        for stage in 0..self.stages.len() {
            // torchvision counts what stands between two stages as one.
            let [before, blocks] = [2 * stage, 2 * stage + 1];
            for (from, to) in [
                (format!(r"{before}\.0\."), "norm."),
                (format!(r"{before}\.1\."), "reduce."),
                (
                    format!(r"{blocks}\.(\d+)\.block\.0\."),
                    "blocks.$1.depthwise.",
                ),
                (format!(r"{blocks}\.(\d+)\.block\.2\."), "blocks.$1.norm."),
                (format!(r"{blocks}\.(\d+)\.block\.3\."), "blocks.$1.expand."),
                (
                    format!(r"{blocks}\.(\d+)\.block\.5\."),
                    "blocks.$1.project.",
                ),
                (format!(r"{blocks}\.(\d+)\.layer_scale$"), "blocks.$1.scale"),
            ] {
                names.push((
                    format!(r"^features\.{from}"),
                    format!("stages.{stage}.{to}"),
                ));
            }
        }
        names.extend(owned(&[
            (r"^stem\.0\.", "stem."),
            (r"^stem\.1\.", "stem_norm."),
            (r"^head\.norm\.", "head_norm."),
            (r"^head\.fc\.", "head."),
            (r"^(stages\.\d+)\.downsample\.0\.", "$1.norm."),
            (r"^(stages\.\d+)\.downsample\.1\.", "$1.reduce."),
            (r"^(stages\.\d+\.blocks\.\d+)\.conv_dw\.", "$1.depthwise."),
            (r"^(stages\.\d+\.blocks\.\d+)\.mlp\.fc1\.", "$1.expand."),
            (r"^(stages\.\d+\.blocks\.\d+)\.mlp\.fc2\.", "$1.project."),
            (r"^(stages\.\d+\.blocks\.\d+)\.gamma$", "$1.scale"),
        ]));
        names
    }
}

impl Classifier for ConvNext {
    fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4> {
        let mut x = across_channels(&self.stem_norm, self.stem.forward(pictures));
        for stage in &self.stages {
            x = stage.forward(x);
        }
        x
    }

    fn head(&self) -> &Linear {
        &self.head
    }

    fn pool(&self, map: Tensor<4>) -> Tensor<2> {
        let mean: Tensor<4> = burn::tensor::module::adaptive_avg_pool2d(map, [1, 1]);
        self.head_norm.forward(mean.flatten(1, 3))
    }
}

/// Blocks of one size, and what brings a map to that size.
#[derive(Module, Debug)]
struct Stage {
    norm: Option<LayerNorm>,
    reduce: Option<Conv2d>,
    blocks: Vec<Block>,
}

impl Stage {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut x = match (&self.norm, &self.reduce) {
            (Some(norm), Some(reduce)) => reduce.forward(across_channels(norm, input)),
            _ => input,
        };
        for block in &self.blocks {
            x = block.forward(x);
        }
        x
    }
}

/// A convolution of every channel by itself, and two layers across the channels of every place.
#[derive(Module, Debug)]
struct Block {
    depthwise: Conv2d,
    norm: LayerNorm,
    expand: Linear,
    project: Linear,
    scale: Param<Tensor<1>>,
}

impl Block {
    fn new(channels: usize, device: &Device) -> Self {
        let convolution = depthwise(channels, 7, 1).with_initializer(INITIALIZER);
        Self {
            depthwise: biased(convolution, device),
            norm: norm(channels, device),
            expand: linear([channels, 4 * channels], device),
            project: linear([4 * channels, channels], device),
            scale: Initializer::Constant { value: 1e-6 }.init([channels], device),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = self.depthwise.forward(input.clone());
        let x = self.norm.forward(x.permute([0, 2, 3, 1]));
        let x = self.project.forward(gelu(self.expand.forward(x)));
        let x = x * self.scale.val().unsqueeze();
        x.permute([0, 3, 1, 2]) + input
    }
}

/// The paper cuts its normal distribution off at 2, a hundred deviations from the mean.
const INITIALIZER: Initializer = Initializer::Normal {
    mean: 0.0,
    std: 0.02,
};

fn norm(channels: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(channels)
        .with_epsilon(1e-6)
        .init(device)
}

/// A convolution of patches that do not overlap.
fn patches(channels: [usize; 2], side: usize, device: &Device) -> Conv2d {
    let config = Conv2dConfig::new(channels, [side, side])
        .with_stride([side, side])
        .with_padding(PaddingConfig2d::Valid)
        .with_initializer(INITIALIZER);
    biased(config, device)
}

fn linear([inputs, outputs]: [usize; 2], device: &Device) -> Linear {
    let config = LinearConfig::new(inputs, outputs).with_initializer(INITIALIZER);
    Linear {
        bias: Some(Initializer::Zeros.init([outputs], device)),
        ..config.with_bias(false).init(device)
    }
}

/// The norm of every place of a map across its channels.
fn across_channels(norm: &LayerNorm, map: Tensor<4>) -> Tensor<4> {
    norm.forward(map.permute([0, 2, 3, 1]))
        .permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_work_are_refused() {
        for config in [
            ConvNextConfig::tiny(0),
            ConvNextConfig::new(vec![], vec![], 2),
            ConvNextConfig::new(vec![8, 0], vec![1, 1], 2),
            ConvNextConfig::new(vec![8], vec![1, 1], 2),
        ] {
            assert!(config.init(&Device::flex()).is_err(), "{config:?}");
        }
    }
}
