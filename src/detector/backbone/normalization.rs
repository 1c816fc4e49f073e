use burn::tensor::{Tensor, TensorData};

/// How the channels of a picture are shifted and scaled before a net sees them.
///
/// $$ x_c = \frac{v_c - \mathrm{mean}_c}{\mathrm{std}_c}, \qquad v_c \in [0, 1] $$
///
/// ```
/// use roga::detector::backbone::{BackboneConfig, Normalization};
///
/// assert_eq!(BackboneConfig::Xception.normalization(), Normalization::SYMMETRIC);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Of red, green and blue, in $[0, 1]$.
    pub mean: [f32; 3],
    /// Of red, green and blue, in $[0, 1]$, none 0.
    pub std: [f32; 3],
}

impl Normalization {
    /// The moments of ImageNet's pictures, as torchvision and timm use them.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    /// From $[0, 1]$ to $[-1, 1]$.
    pub const SYMMETRIC: Self = Self {
        mean: [0.5; 3],
        std: [0.5; 3],
    };

    /// The net's input of pictures `[batch, 3, height, width]` of values from 0 to 1.
    pub fn apply(&self, pictures: Tensor<4>) -> Tensor<4> {
        let device = pictures.device();
        let row = |values: [f32; 3]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &device)
        };
        (pictures - row(self.mean)) / row(self.std)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn each_channel_has_its_own_mean_and_deviation() {
        let pictures = Tensor::<4>::ones([1, 3, 1, 2], &Device::flex());
        let normal = Normalization::IMAGENET.apply(pictures);
        let values = normal.into_data().try_into_vec::<f32>().unwrap();
        let expected = [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225];
        for (value, expected) in values.chunks(2).zip(expected) {
            assert!((value[0] - expected).abs() < 1e-6 && value[0] == value[1]);
        }
    }
}
