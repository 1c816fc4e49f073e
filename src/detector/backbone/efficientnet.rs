use burn::{
    config::Config,
    module::Module,
    nn::{Linear, LinearConfig, conv::Conv2d},
    tensor::{
        Device, Tensor,
        activation::{sigmoid, silu},
        module::adaptive_avg_pool2d,
    },
};

use super::{
    classifier::Classifier,
    convolution::{NormedConvolution, biased, convolution, depthwise},
    positive,
    pretrained::owned,
};
use crate::{Error, Result};

/// The settings of an [`EfficientNet`].
///
/// Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
/// 2019, arXiv 1905.11946, as torchvision and timm's plain `efficientnet_b0` to `b4` have it:
/// symmetric padding and a batch-norm epsilon of $10^{-5}$. timm's `tf_` variants pad otherwise.
/// The published trainings drop features (from 0.2 for B0 to 0.4 for B4) and whole blocks at
/// random; here nothing is dropped.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use roga::detector::backbone::{Classifier, EfficientNetConfig};
///
/// let device = Device::default();
/// let net = EfficientNetConfig::b0(2).init(&device)?;
/// assert_eq!(net.forward(Tensor::zeros([1, 3, 64, 64], &device)).dims(), [1, 2]);
/// assert_eq!(net.features_len(), 1280);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct EfficientNetConfig {
    /// What the channels of B0 are multiplied with: from 0.1 to 10.
    pub width: f64,
    /// What the blocks of B0's stages are multiplied with: from 0.1 to 10.
    pub depth: f64,
    /// The number of classes $K$: from 1 to 65536.
    pub classes: usize,
}

/// A stage of B0.
struct Stage {
    expansion: usize,
    kernel: usize,
    stride: usize,
    channels: usize,
    blocks: usize,
}

/// The stages of B0, table 1 of the paper.
const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 16, 1),
    stage(6, 3, 2, 24, 2),
    stage(6, 5, 2, 40, 2),
    stage(6, 3, 2, 80, 3),
    stage(6, 5, 1, 112, 3),
    stage(6, 5, 2, 192, 4),
    stage(6, 3, 1, 320, 1),
];

const fn stage(
    expansion: usize,
    kernel: usize,
    stride: usize,
    channels: usize,
    blocks: usize,
) -> Stage {
    Stage {
        expansion,
        kernel,
        stride,
        channels,
        blocks,
    }
}

impl EfficientNetConfig {
    /// B0, for pictures of 224 pixels: 5.3 million parameters for 1000 classes.
    pub fn b0(classes: usize) -> Self {
        Self::new(1.0, 1.0, classes)
    }

    /// B1, for pictures of 240 pixels: 7.8 million parameters for 1000 classes.
    pub fn b1(classes: usize) -> Self {
        Self::new(1.0, 1.1, classes)
    }

    /// B2, for pictures of 260 pixels: 9.1 million parameters for 1000 classes.
    pub fn b2(classes: usize) -> Self {
        Self::new(1.1, 1.2, classes)
    }

    /// B3, for pictures of 300 pixels: 12.2 million parameters for 1000 classes.
    pub fn b3(classes: usize) -> Self {
        Self::new(1.2, 1.4, classes)
    }

    /// B4, for pictures of 380 pixels: 19.3 million parameters for 1000 classes.
    pub fn b4(classes: usize) -> Self {
        Self::new(1.4, 1.8, classes)
    }

    /// Initialises the net: Kaiming-normal convolutions (fan out), scales of 1.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a multiplier out of its range or no classes.
    pub fn init(&self, device: &Device) -> Result<EfficientNet> {
        self.check()?;
        let first = self.channels(32);
        let mut inputs = first;
        let mut stages = Vec::new();
        for stage in &STAGES {
            let outputs = self.channels(stage.channels);
            let count = (self.depth * stage.blocks as f64).ceil() as usize;
            let mut blocks = Vec::new();
            for index in 0..count {
                let stride = if index == 0 { stage.stride } else { 1 };
                blocks.push(Block::new([inputs, outputs], stride, stage, device));
                inputs = outputs;
            }
            stages.push(blocks);
        }
        let features = self.channels(1280);
        Ok(EfficientNet {
            stem: NormedConvolution::new(&convolution([3, first], 3, 2), device),
            stages,
            top: NormedConvolution::new(&convolution([inputs, features], 1, 1), device),
            head: LinearConfig::new(features, self.classes).init(device),
        })
    }

    /// The channels of B0, multiplied, to the nearest multiple of 8 that is not below 0.9 of that.
    fn channels(&self, channels: usize) -> usize {
        let wanted = self.width * channels as f64;
        let rounded = ((wanted / 8.0 + 0.5).floor() as usize * 8).max(8);
        if (rounded as f64) < 0.9 * wanted {
            rounded + 8
        } else {
            rounded
        }
    }

    fn check(&self) -> Result<()> {
        for (field, value) in [("width", self.width), ("depth", self.depth)] {
            if !(0.1..=10.0).contains(&value) {
                let (rule, value) = ("be from 0.1 to 10", value.to_string());
                return Err(Error::Setting { field, rule, value });
            }
        }
        positive("classes", self.classes)
    }
}

/// A net of inverted residual blocks. Made by [`EfficientNetConfig::init`].
#[derive(Module, Debug)]
pub struct EfficientNet {
    stem: NormedConvolution,
    stages: Vec<Vec<Block>>,
    top: NormedConvolution,
    head: Linear,
}

impl EfficientNet {
    /// From torchvision's names and from timm's to ours.
    pub(super) fn names() -> Vec<(String, String)> {
        let mut names = owned(&[
            (r"^features\.0\.0\.", "stem.convolution."),
            (r"^features\.0\.1\.", "stem.norm."),
            (r"^features\.8\.0\.", "top.convolution."),
            (r"^features\.8\.1\.", "top.norm."),
            (r"^classifier\.(?:1\.)?", "head."),
            (r"^conv_stem\.", "stem.convolution."),
            (r"^bn1\.", "stem.norm."),
            (r"^conv_head\.", "top.convolution."),
            (r"^bn2\.", "top.norm."),
        ]);
        for stage in 0..STAGES.len() {
            let mut rename = |from: String, to: &str| {
                let from = format!(r"^features\.{}\.(\d+)\.block\.{from}\.", stage + 1);
                names.push((from, format!("stages.{stage}.$1.{to}.")));
            };
            // The blocks of the first stage have no layer that expands.
            let expands = usize::from(stage > 0);
            if expands == 1 {
                rename(r"0\.0".into(), "expand.convolution");
                rename(r"0\.1".into(), "expand.norm");
            }
            rename(format!(r"{expands}\.0"), "depthwise.convolution");
            rename(format!(r"{expands}\.1"), "depthwise.norm");
            rename(format!(r"{}\.fc1", expands + 1), "squeeze");
            rename(format!(r"{}\.fc2", expands + 1), "excite");
            rename(format!(r"{}\.0", expands + 2), "project.convolution");
            rename(format!(r"{}\.1", expands + 2), "project.norm");
        }
        names.extend(owned(&[
            (
                r"^blocks\.0\.(\d+)\.conv_pw\.",
                "stages.0.$1.project.convolution.",
            ),
            (r"^blocks\.0\.(\d+)\.bn1\.", "stages.0.$1.depthwise.norm."),
            (r"^blocks\.0\.(\d+)\.bn2\.", "stages.0.$1.project.norm."),
            (
                r"^blocks\.(\d+\.\d+)\.conv_pw\.",
                "stages.$1.expand.convolution.",
            ),
            (r"^blocks\.(\d+\.\d+)\.bn1\.", "stages.$1.expand.norm."),
            (
                r"^blocks\.(\d+\.\d+)\.conv_dw\.",
                "stages.$1.depthwise.convolution.",
            ),
            (r"^blocks\.(\d+\.\d+)\.bn2\.", "stages.$1.depthwise.norm."),
            (
                r"^blocks\.(\d+\.\d+)\.conv_pwl\.",
                "stages.$1.project.convolution.",
            ),
            (r"^blocks\.(\d+\.\d+)\.bn3\.", "stages.$1.project.norm."),
            (
                r"^blocks\.(\d+\.\d+)\.se\.conv_reduce\.",
                "stages.$1.squeeze.",
            ),
            (
                r"^blocks\.(\d+\.\d+)\.se\.conv_expand\.",
                "stages.$1.excite.",
            ),
        ]));
        names
    }
}

impl Classifier for EfficientNet {
    fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4> {
        let mut x = silu(self.stem.forward(pictures));
        for block in self.stages.iter().flatten() {
            x = block.forward(x);
        }
        silu(self.top.forward(x))
    }

    fn head(&self) -> &Linear {
        &self.head
    }
}

/// Channels are expanded, each is convolved by itself and weighed by what all of them hold, and
/// they are projected back.
#[derive(Module, Debug)]
struct Block {
    expand: Option<NormedConvolution>,
    depthwise: NormedConvolution,
    squeeze: Conv2d,
    excite: Conv2d,
    project: NormedConvolution,
    residual: bool,
}

impl Block {
    fn new([inputs, outputs]: [usize; 2], stride: usize, stage: &Stage, device: &Device) -> Self {
        let inner = inputs * stage.expansion;
        // A quarter of the block's inputs, not of its inner channels.
        let squeezed = (inputs / 4).max(1);
        let normed = |config| NormedConvolution::new(&config, device);
        Self {
            expand: (inner != inputs).then(|| normed(convolution([inputs, inner], 1, 1))),
            depthwise: normed(depthwise(inner, stage.kernel, stride)),
            squeeze: biased(convolution([inner, squeezed], 1, 1), device),
            excite: biased(convolution([squeezed, inner], 1, 1), device),
            project: normed(convolution([inner, outputs], 1, 1)),
            residual: stride == 1 && inputs == outputs,
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut x = input.clone();
        if let Some(expand) = &self.expand {
            x = silu(expand.forward(x));
        }
        x = silu(self.depthwise.forward(x));
        let mean = adaptive_avg_pool2d(x.clone(), [1, 1]);
        let gate = sigmoid(self.excite.forward(silu(self.squeeze.forward(mean))));
        x = self.project.forward(x * gate);
        if self.residual { x + input } else { x }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_rounded_as_in_the_paper() {
        let b4 = EfficientNetConfig::b4(2);
        let channels = [32, 16, 24, 40, 80, 112, 192, 320, 1280].map(|c| b4.channels(c));
        assert_eq!(channels, [48, 24, 32, 56, 112, 160, 272, 448, 1792]);
        let b2 = EfficientNetConfig::b2(2);
        // 1.1 · 16 = 17.6 would be rounded to 16, 1.1 · 24 = 26.4 to 24.
        assert_eq!([16, 24].map(|c| b2.channels(c)), [16, 24]);
    }

    #[test]
    fn sizes_that_cannot_work_are_refused() {
        for config in [
            EfficientNetConfig::b0(0),
            EfficientNetConfig::new(f64::NAN, 1.0, 2),
            EfficientNetConfig::new(1.0, 0.0, 2),
            EfficientNetConfig::new(1.0, f64::INFINITY, 2),
        ] {
            assert!(config.init(&Device::flex()).is_err(), "{config:?}");
        }
    }
}
