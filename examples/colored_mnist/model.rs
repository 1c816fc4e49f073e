//! The nets of the two set-ups.

use std::sync::Mutex;

use burn::{
    module::Module,
    nn::{
        GroupNorm, GroupNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use crate::{environment::Environment, fishr::AtHead, mnist::SIDE};

/// The device's random numbers are the process's: weights are drawn from a seed by one at a time.
static DRAWING: Mutex<()> = Mutex::new(());

/// The net of the IRM set-up: 392-390-390-1 with ReLU, Xavier-uniform weights and biases of 0.
#[derive(Module, Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
    head: Linear,
}

/// Numbers of a picture: two channels of every second pixel of every second row.
pub const INPUTS: usize = 2 * (SIDE / 2) * (SIDE / 2);
const HIDDEN: usize = 390;

impl Mlp {
    pub fn new(seed: u64, device: &Device) -> Self {
        let _alone = DRAWING.lock();
        device.seed(seed);
        let linear = |inputs, outputs| {
            let mut linear = LinearConfig::new(inputs, outputs)
                .with_initializer(Initializer::XavierUniform { gain: 1.0 })
                .init(device);
            linear.bias = Some(Initializer::Zeros.init([outputs], device));
            linear
        };
        let net = Self {
            first: linear(INPUTS, HIDDEN),
            second: linear(HIDDEN, HIDDEN),
            head: linear(HIDDEN, 1),
        };
        // Weights are drawn when they are first used: now.
        for linear in [&net.first, &net.second, &net.head] {
            linear.weight.val();
        }
        net
    }

    /// What the rows give at the head, the last layer: a logit each, of the label 1.
    pub fn at_head(&self, rows: &Environment) -> AtHead {
        let features = relu(self.first.forward(rows.pictures.clone()));
        let features = relu(self.second.forward(features));
        AtHead {
            logits: self.head.forward(features.clone()),
            features,
            labels: rows.labels.clone(),
        }
    }
}

/// The net of DomainBed for its sets of digits, `MNIST_CNN`, with PyTorch's default weights, which
/// burn's are: uniform in ±1/√inputs.
#[derive(Module, Debug)]
pub struct MnistCnn {
    convolutions: Vec<Conv2d>,
    norms: Vec<GroupNorm>,
    head: Linear,
}

impl MnistCnn {
    pub fn new(channels: usize, classes: usize, seed: u64, device: &Device) -> Self {
        let _alone = DRAWING.lock();
        device.seed(seed);
        let convolution = |from, to, stride| {
            Conv2dConfig::new([from, to], [3, 3])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        let net = Self {
            convolutions: vec![
                convolution(channels, 64, 1),
                convolution(64, 128, 2),
                convolution(128, 128, 1),
                convolution(128, 128, 1),
            ],
            norms: [64, 128, 128, 128]
                .map(|channels| GroupNormConfig::new(8, channels).init(device))
                .into(),
            head: LinearConfig::new(128, classes).init(device),
        };
        net.forward(Tensor::zeros([1, channels, SIDE, SIDE], device));
        net
    }

    /// The classes' logits, `[rows, classes]`, of pictures `[rows, channels, 28, 28]`.
    pub fn forward(&self, pictures: Tensor<4>) -> Tensor<2> {
        let layers = self.convolutions.iter().zip(&self.norms);
        let maps = layers.fold(pictures, |maps, (convolution, norm)| {
            // ReLU comes before the norm there.
            norm.forward(relu(convolution.forward(maps)))
        });
        self.head.forward(maps.mean_dims(&[2, 3]).flatten(1, 3))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn the_net_has_as_many_parameters_as_published() {
        let net = MnistCnn::new(2, 2, 0, &Device::flex());
        assert_eq!(net.num_params(), 371_394);
        let pictures = Tensor::random([3, 2, SIDE, SIDE], Distribution::Default, &Device::flex());
        assert_eq!(net.forward(pictures).dims(), [3, 2]);
    }

    #[test]
    fn default_weights_are_pytorchs() {
        let net = MnistCnn::new(2, 10, 0, &Device::flex());
        let convolutions = net.convolutions.iter().map(|convolution| {
            let bias = convolution.bias.as_ref().unwrap();
            let [_, inputs, ..] = convolution.weight.dims();
            (
                9 * inputs,
                convolution.weight.val().flatten(0, 3),
                bias.val(),
            )
        });
        let head = (
            128,
            net.head.weight.val().flatten(0, 1),
            net.head.bias.as_ref().unwrap().val(),
        );
        for (inputs, weight, bias) in convolutions.chain([head]) {
            let bound = 1.0 / (inputs as f32).sqrt();
            for numbers in [weight, bias] {
                let numbers: Tensor<1> = numbers;
                let largest: f32 = numbers.clone().abs().max().into_scalar();
                assert!(
                    largest <= bound && largest > 0.6 * bound,
                    "{largest} {bound}"
                );
            }
        }
    }
}
