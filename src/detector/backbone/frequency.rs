use std::f32::consts::{FRAC_1_SQRT_2, PI};

use burn::{
    config::Config,
    module::Module,
    nn::{BatchNorm, BatchNormConfig, Linear},
    tensor::{Device, Tensor, TensorData, module::conv2d, ops::ConvOptions},
};

use super::{
    classifier::Classifier,
    resnet::{ResNet, ResNetConfig},
};
use crate::Result;

/// The settings of a [`FrequencyNet`].
///
/// Every channel of a picture is cut into blocks of 8×8 pixels, as JPEG cuts it, and a small
/// [`ResNet`] sees the logarithms of the magnitudes of each block's 64 cosines:
///
/// $$ m_{uv} = \ln\Bigl(\Bigl|\tfrac{c_u c_v}{4} \sum_{x,y=0}^{7} p_{xy}
/// \cos\tfrac{(2x+1)u\pi}{16} \cos\tfrac{(2y+1)v\pi}{16}\Bigr| + 10^{-3}\Bigr),
/// \qquad c_0 = \tfrac{1}{\sqrt 2},\ c_{u>0} = 1 $$
///
/// Up-sampling in a generator leaves marks there (Frank et al., "Leveraging Frequency Analysis for
/// Deep Fake Image Recognition", ICML 2020, arXiv 2003.08685, on the cosines of whole pictures),
/// and their local statistics outlast compression (Qian et al., "Thinking in Frequency: Face
/// Forgery Detection by Mining Frequency-aware Clues", ECCV 2020, arXiv 2007.09355). The net is
/// ours; no weights of it are published.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use roga::detector::backbone::{Classifier, FrequencyConfig};
///
/// let device = Device::default();
/// let net = FrequencyConfig::new(2).init(&device)?;
/// assert_eq!(net.forward(Tensor::zeros([4, 3, 64, 64], &device)).dims(), [4, 2]);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct FrequencyConfig {
    /// The number of classes $K$: from 1 to 65536.
    pub classes: usize,
    /// The channels of every stage: at least one stage, each from 1 to 65536. A stage after the first halves
    /// the map of blocks.
    #[config(default = "vec![64, 128]")]
    pub channels: Vec<usize>,
    /// The blocks of every stage: as many as `channels`, each from 1 to 1000.
    #[config(default = "vec![1, 1]")]
    pub blocks: Vec<usize>,
}

impl FrequencyConfig {
    /// Initialises the net, as [`ResNetConfig::init`].
    ///
    /// # Errors
    ///
    /// As [`ResNetConfig::init`].
    pub fn init(&self, device: &Device) -> Result<FrequencyNet> {
        let net = ResNetConfig::new(self.channels.clone(), self.blocks.clone(), self.classes)
            .with_inputs(CHANNELS * SIDE * SIDE)
            .init(device)?;
        Ok(FrequencyNet {
            cosines: cosines(device),
            norm: BatchNormConfig::new(CHANNELS * SIDE * SIDE).init(device),
            net,
        })
    }
}

/// A net that sees a picture's frequencies. Made by [`FrequencyConfig::init`].
///
/// Its feature map has one place for every 8×8 pixels, or 16×16 with two stages, and so on. What
/// remains at the right and the lower border is left out.
#[derive(Module, Debug)]
pub struct FrequencyNet {
    cosines: Tensor<4>,
    norm: BatchNorm,
    net: ResNet,
}

impl FrequencyNet {
    /// The logarithmic magnitudes, `[batch, 192, height / 8, width / 8]`, of pictures
    /// `[batch, 3, height, width]`: the 64 of a channel one after the other, row by row.
    fn log_magnitudes(&self, pictures: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([SIDE, SIDE], [0, 0], [1, 1], CHANNELS);
        let cosines = self.cosines.clone().cast(pictures.dtype());
        (conv2d(pictures, cosines, None, options).abs() + FLOOR).log()
    }
}

impl Classifier for FrequencyNet {
    fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4> {
        let magnitudes = self.log_magnitudes(pictures);
        self.net.feature_map(self.norm.forward(magnitudes))
    }

    fn head(&self) -> &Linear {
        self.net.head()
    }
}

const CHANNELS: usize = 3;

/// The side of a block in pixels.
const SIDE: usize = 8;

/// Below it nothing is told apart: about the noise of rounding to bytes.
const FLOOR: f32 = 1e-3;

/// The orthonormal cosines of a block for each channel, as the weights of a convolution.
fn cosines(device: &Device) -> Tensor<4> {
    let wave = |frequency: usize, place: usize| {
        let scale = if frequency == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        0.5 * scale * ((2 * place + 1) as f32 * frequency as f32 * PI / 16.0).cos()
    };
    let mut weights = Vec::with_capacity(CHANNELS * SIDE.pow(4));
    for _ in 0..CHANNELS {
        for (v, u) in pairs() {
            weights.extend(pairs().map(|(y, x)| wave(v, y) * wave(u, x)));
        }
    }
    let shape = [CHANNELS * SIDE * SIDE, 1, SIDE, SIDE];
    Tensor::from_data(TensorData::new(weights, shape), device)
}

/// Row by row.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..SIDE * SIDE).map(|index| (index / SIDE, index % SIDE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosines_are_orthonormal() {
        let rows = cosines(&Device::flex()).narrow(0, 0, 64).reshape([64, 64]);
        let products = rows.clone().matmul(rows.transpose());
        let identity = Tensor::<2>::eye(64, &products.device());
        let error: f32 = (products - identity).abs().max().into_scalar();
        assert!(error < 1e-6, "{error}");
    }

    #[test]
    fn a_wave_has_one_magnitude() {
        let device = Device::flex();
        let net = FrequencyConfig::new(2).init(&device).unwrap();
        // Blue holds the cosine of the third row and the second column, twice as high.
        let wave = cosines(&device).narrow(0, 128 + 8 * 2 + 1, 1) * 2.0;
        let flat = Tensor::zeros([1, 2, 8, 8], &device);
        let found = net.log_magnitudes(Tensor::cat(vec![flat, wave], 1));
        assert_eq!(found.dims(), [1, 192, 1, 1]);
        let found = found.into_data().try_into_vec::<f32>().unwrap();
        for (index, magnitude) in found.into_iter().enumerate() {
            let expected = if index == 128 + 17 { 2.0f32 } else { 0.0 };
            assert!(
                (magnitude - (expected + FLOOR).ln()).abs() < 1e-2,
                "{index}"
            );
        }
    }
}
