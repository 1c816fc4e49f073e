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
    convolution::{NormedConvolution, convolution, convolve, depthwise},
    positive,
    pretrained::owned,
};
use crate::Result;

/// The settings of an [`Xception`].
///
/// Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017,
/// arXiv 1610.02357, as the PyTorch port by Cadene has it: that of DeepfakeBench, of
/// FaceForensics++ (Rössler et al., ICCV 2019, arXiv 1901.08971) and of timm's `legacy_xception`.
/// For pictures of 299 pixels, 22.9 million parameters for 1000 classes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use roga::detector::backbone::{Classifier, XceptionConfig};
///
/// let device = Device::default();
/// let net = XceptionConfig::new(2).init(&device)?;
/// assert_eq!(net.forward(Tensor::zeros([1, 3, 71, 71], &device)).dims(), [1, 2]);
/// assert_eq!(net.features_len(), 2048);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct XceptionConfig {
    /// The number of classes $K$: from 1 to 65536.
    pub classes: usize,
}

impl XceptionConfig {
    /// Initialises the net: Kaiming-normal convolutions (fan out), scales of 1.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) for no classes.
    pub fn init(&self, device: &Device) -> Result<Xception> {
        positive("classes", self.classes)?;
        let unpadded = |channels, stride| {
            let config = convolution(channels, 3, stride).with_padding(PaddingConfig2d::Valid);
            NormedConvolution::new(&config, device)
        };
        let block = |channels: [usize; 2], widths: &[usize]| Block::new(channels, widths, device);
        let mut blocks = vec![
            Block {
                leads_with_relu: false,
                ..block([64, 128], &[128, 128])
            },
            block([128, 256], &[256, 256]),
            block([256, 728], &[728, 728]),
        ];
        blocks.extend((0..8).map(|_| block([728, 728], &[728, 728, 728])));
        blocks.push(block([728, 1024], &[728, 1024]));
        Ok(Xception {
            first: unpadded([3, 32], 2),
            second: unpadded([32, 64], 1),
            blocks,
            third: Separable::new([1024, 1536], device),
            fourth: Separable::new([1536, 2048], device),
            head: LinearConfig::new(2048, self.classes).init(device),
        })
    }
}

/// A net of separable convolutions. Made by [`XceptionConfig::init`].
#[derive(Module, Debug)]
pub struct Xception {
    first: NormedConvolution,
    second: NormedConvolution,
    blocks: Vec<Block>,
    third: Separable,
    fourth: Separable,
    head: Linear,
}

impl Xception {
    /// From the published names to ours. timm's and Cadene's differ in the head's alone.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let mut names = owned(&[
            (r"^(?:fc|last_linear)\.", "head."),
            (r"^conv1\.", "first.convolution."),
            (r"^bn1\.", "first.norm."),
            (r"^conv2\.", "second.convolution."),
            (r"^bn2\.", "second.norm."),
            (r"^conv3\.", "third."),
            (r"^bn3\.", "third.norm."),
            (r"^conv4\.", "fourth."),
            (r"^bn4\.", "fourth.norm."),
        ]);
        for (index, block) in self.blocks.iter().enumerate() {
            let published = format!("^block{}", index + 1);
            let mut rename = |from: String, to: String| {
                names.push((
                    format!(r"{published}\.{from}\."),
                    format!("blocks.{index}.{to}."),
                ));
            };
            // A step is three layers: activation, convolution, norm.
            for step in 0..block.steps.len() {
                let layer = 3 * step + usize::from(block.leads_with_relu);
                rename(format!(r"rep\.{layer}"), format!("steps.{step}"));
                rename(format!(r"rep\.{}", layer + 1), format!("steps.{step}.norm"));
            }
            rename("skip".into(), "skip.convolution".into());
            rename("skipbn".into(), "skip.norm".into());
        }
        // The first half of a separable convolution.
        names.extend(owned(&[(r"\.conv1\.weight$", ".depthwise.weight")]));
        names
    }
}

impl Classifier for Xception {
    fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4> {
        let mut x = relu(self.first.forward(pictures));
        x = relu(self.second.forward(x));
        for block in &self.blocks {
            x = block.forward(x);
        }
        x = relu(self.third.forward(x));
        relu(self.fourth.forward(x))
    }

    fn head(&self) -> &Linear {
        &self.head
    }
}

/// A convolution of every channel by itself, one across the channels, and a norm.
#[derive(Module, Debug)]
struct Separable {
    depthwise: Conv2d,
    pointwise: Conv2d,
    norm: BatchNorm,
}

impl Separable {
    fn new([inputs, outputs]: [usize; 2], device: &Device) -> Self {
        Self {
            depthwise: depthwise(inputs, 3, 1).init(device),
            pointwise: convolution([inputs, outputs], 1, 1).init(device),
            norm: BatchNormConfig::new(outputs).init(device),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = convolve(&self.pointwise, self.depthwise.forward(input));
        self.norm.forward(x)
    }
}

/// Separable convolutions and a way round them. Where it has more channels than it is given, it
/// halves the size.
#[derive(Module, Debug)]
struct Block {
    leads_with_relu: bool,
    steps: Vec<Separable>,
    pool: Option<MaxPool2d>,
    skip: Option<NormedConvolution>,
}

impl Block {
    fn new([inputs, outputs]: [usize; 2], widths: &[usize], device: &Device) -> Self {
        let befores = std::iter::once(&inputs).chain(widths);
        let grows = inputs != outputs;
        Self {
            leads_with_relu: true,
            steps: befores
                .zip(widths)
                .map(|(&before, &width)| Separable::new([before, width], device))
                .collect(),
            pool: grows.then(|| {
                MaxPool2dConfig::new([3, 3])
                    .with_strides([2, 2])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .init()
            }),
            skip: grows
                .then(|| NormedConvolution::new(&convolution([inputs, outputs], 1, 2), device)),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut x = input.clone();
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 || self.leads_with_relu {
                x = relu(x);
            }
            x = step.forward(x);
        }
        if let Some(pool) = &self.pool {
            x = pool.forward(x);
        }
        let around = match &self.skip {
            Some(skip) => skip.forward(input),
            None => input,
        };
        x + around
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_classes_are_refused() {
        assert!(XceptionConfig::new(0).init(&Device::flex()).is_err());
    }
}
