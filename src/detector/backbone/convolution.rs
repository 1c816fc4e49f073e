//! Convolutions as the backbones make them.

use burn::{
    module::{Initializer, Module},
    nn::{
        BatchNorm, BatchNormConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor, ops::PadMode, s},
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
        self.norm.forward(convolve(&self.convolution, input))
    }
}

/// Maps of fewer pixels are made by one product of matrices.
const FEW_PIXELS: usize = 16;

/// What [`Conv2d::forward`] makes, up to rounding.
///
/// On flex a convolution multiplies matrices picture by picture, with a column for each pixel of the
/// map it makes. Where these are few, as in the last stages of a net that sees small pictures, one
/// product with the columns of all pictures takes a third of the time, forward and backward.
pub(super) fn convolve(convolution: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    match few_pixels(convolution, [height, width]) {
        Some((margin, map)) => as_product(convolution, input, margin, map),
        None => convolution.forward(input),
    }
}

/// The margin and the size of the map, where it is small and the convolution has no more to it.
fn few_pixels(convolution: &Conv2d, [height, width]: [usize; 2]) -> Option<(usize, [usize; 2])> {
    let [kernel, across] = convolution.kernel_size;
    let [stride, stride_across] = convolution.stride;
    let margin = match convolution.padding {
        PaddingConfig2d::Explicit(top, left, bottom, right)
            if [left, bottom, right] == [top; 3] =>
        {
            top
        }
        PaddingConfig2d::Valid => 0,
        _ => return None,
    };
    let plain = convolution.groups == 1
        && convolution.dilation == [1, 1]
        && (kernel, stride) == (across, stride_across);
    let length = |size: usize| Some((size + 2 * margin).checked_sub(kernel)? / stride + 1);
    let map = [length(height)?, length(width)?];
    (plain && map[0] * map[1] < FEW_PIXELS).then_some((margin, map))
}

fn as_product(
    convolution: &Conv2d,
    input: Tensor<4>,
    margin: usize,
    [rows, columns]: [usize; 2],
) -> Tensor<4> {
    let ([kernel, _], [stride, _]) = (convolution.kernel_size, convolution.stride);
    let [pictures, inputs, ..] = input.dims();
    let mut input = input.swap_dims(0, 1);
    if margin > 0 {
        input = input.pad((margin, margin, margin, margin), PadMode::Constant(0.0));
    }
    // What the kernel's pixel at (y, x) meets, over the pixels of the map.
    let met = |y: usize, x: usize| {
        let (down, right) = (y + stride * (rows - 1) + 1, x + stride * (columns - 1) + 1);
        let step = stride as isize;
        input
            .clone()
            .slice(s![.., .., y..down;step, x..right;step])
            .reshape([inputs, 1, pictures * rows * columns])
    };
    let places = (0..kernel * kernel).map(|place| met(place / kernel, place % kernel));
    let patches = Tensor::cat(places.collect(), 1);
    let weight = convolution.weight.val();
    let [outputs, ..] = weight.dims();
    let depth = inputs * kernel * kernel;
    let map = weight
        .reshape([outputs, depth])
        .matmul(patches.reshape([depth, pictures * rows * columns]))
        .reshape([outputs, pictures, rows, columns])
        .swap_dims(0, 1);
    match &convolution.bias {
        Some(bias) => map + bias.val().reshape([1, outputs, 1, 1]),
        None => map,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    /// The map and the gradients of weight and input.
    fn all(
        convolution: &Conv2d,
        input: &Tensor<4>,
        map: impl Fn(&Conv2d, Tensor<4>) -> Tensor<4>,
    ) -> [Tensor<4>; 3] {
        let input = input.clone().require_grad();
        let map = map(convolution, input.clone());
        let gradients = map.clone().square().sum().backward();
        let weight = convolution.weight.val().grad(&gradients).unwrap();
        [map.inner(), weight, input.grad(&gradients).unwrap()]
    }

    #[test]
    fn a_product_of_matrices_is_the_convolution() {
        let device = Device::default().autodiff();
        for (kernel, stride, [height, width]) in [
            (3, 1, [2, 2]),
            (3, 2, [4, 4]),
            (3, 2, [5, 3]),
            (1, 1, [3, 5]),
            (1, 2, [4, 4]),
            (7, 2, [6, 1]),
        ] {
            let config = convolution([5, 7], kernel, stride);
            for convolution in [config.init(&device), biased(config, &device)] {
                let numbers = Distribution::Normal(0.0, 1.0);
                let input = Tensor::random([3, 5, height, width], numbers, &device);
                let ours = all(&convolution, &input, convolve);
                let burns = all(&convolution, &input, Conv2d::forward);
                for (ours, burns) in ours.into_iter().zip(burns) {
                    let near = Tolerance::<f32>::rel_abs(1e-5, 1e-5);
                    ours.into_data().assert_approx_eq(&burns.into_data(), near);
                }
            }
        }
    }
}
