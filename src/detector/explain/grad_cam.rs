use burn::tensor::{
    Tensor,
    activation::relu,
    module::interpolate,
    ops::{InterpolateMode, InterpolateOptions},
};

use super::{
    HeatMap, Target,
    gradient::{gradient, not_empty},
};
use crate::Result;

/// Gradient-weighted class activation maps: which places of a feature map $A$ raise the target $s$,
///
/// $$ \alpha_k = \frac{1}{Z} \sum_{i,j} \frac{\partial s}{\partial A^k_{ij}}, \qquad
///    h_{ij} = \mathrm{ReLU}\Big( \sum_k \alpha_k A^k_{ij} \Big), $$
///
/// with $Z$ the number of places. $h$ is made as large as the picture by bilinear interpolation and
/// divided by its peak. What lowers the target is not shown: for that, turn the target round.
///
/// The net is handed over in two halves, one after the other: `feature_map` from pictures
/// `[batch, channels, height, width]` to $A$, by rights the last map that still has places, and
/// `classify` from $A$ to logits `[batch, K]`. The net has to be as it is when it predicts
/// (`net.valid()`): then every picture is explained by itself, and nothing of the net changes. Only
/// `classify` is differentiated.
///
/// # Errors
///
/// [`Error::Setting`](crate::Error::Setting) for a batch or a feature map without a place, or a
/// target that is no class of the net; [`Error::Model`](crate::Error::Model) where the logits do
/// not depend on the feature map, are not one row for each picture, or are not finite, or their
/// gradients are not.
///
/// # Source
///
/// Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual Explanations from Deep
/// Networks via Gradient-based Localization", ICCV 2017, arXiv 1610.02391.
///
/// ```
/// use burn::tensor::{Device, Tensor, activation::relu};
/// use roga::detector::explain::{Target, grad_cam};
///
/// // One bright pixel; the second logit is the mean brightness, the first its opposite.
/// let picture = Tensor::<1>::from_floats([0., 0., 0., 1.], &Device::default());
/// let maps = grad_cam(picture.reshape([1, 1, 2, 2]), Target::Logit(1), relu, |map| {
///     let mean = map.mean_dim(3).mean_dim(2).flatten::<2>(1, 3);
///     Tensor::cat(vec![-mean.clone(), mean], 1)
/// })?;
/// assert_eq!(maps[0].values(), [0., 0., 0., 1.]);
/// # Ok::<(), roga::Error>(())
/// ```
pub fn grad_cam(
    pictures: Tensor<4>,
    target: Target,
    feature_map: impl FnOnce(Tensor<4>) -> Tensor<4>,
    classify: impl FnOnce(Tensor<4>) -> Tensor<2>,
) -> Result<Vec<HeatMap>> {
    not_empty(&pictures, "pictures")?;
    let [_, _, height, width] = pictures.dims();
    let features = feature_map(pictures);
    not_empty(&features, "feature map")?;
    let weights = gradient(&features, target, classify)?
        .mean_dim(3)
        .mean_dim(2);
    let heat = relu((weights * features.inner()).sum_dim(1));
    let larger = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size([height, width]);
    // Rounding between pixels may lead below zero.
    HeatMap::batch(relu(interpolate(heat, larger)))
}

#[cfg(test)]
mod tests {
    use burn::{
        module::Module,
        nn::{
            BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d,
            conv::{Conv2d, Conv2dConfig},
        },
        tensor::{Device, Distribution, module::conv2d, ops::ConvOptions},
    };

    use super::*;
    use crate::Error;

    fn tensor<const D: usize>(shape: [usize; D], numbers: &[f32]) -> Tensor<D> {
        Tensor::<1>::from_floats(numbers, &Device::flex()).reshape(shape)
    }

    fn mean(features: Tensor<4>) -> Tensor<2> {
        features.mean_dim(3).mean_dim(2).flatten(1, 3)
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }

    /// A convolution of two 1×1 filters, 2 and −1, the mean over places, and a linear layer whose
    /// weights are 3 and 1 for class 0, 0 and −4 for class 1.
    fn by_hand(picture: &[f32], target: Target) -> HeatMap {
        let filters = tensor([2, 1, 1, 1], &[2.0, -1.0]);
        let weights = tensor([2, 2], &[3.0, 0.0, 1.0, -4.0]);
        grad_cam(
            tensor([1, 1, 2, 2], picture),
            target,
            |x| {
                conv2d(
                    x,
                    filters,
                    None,
                    ConvOptions::new([1, 1], [0, 0], [1, 1], 1),
                )
            },
            |map| mean(map).matmul(weights),
        )
        .unwrap()
        .remove(0)
    }

    #[test]
    fn that_of_a_mean_and_a_linear_layer_is_known() {
        // ∂y₀/∂A = (3, 1)/4, so h = ReLU((3·2 + 1·(−1))/4 · x) = ReLU(5/4 x).
        let map = by_hand(&[1.0, -2.0, 0.5, 4.0], Target::Logit(0));
        close(map.values(), &[0.25, 0.0, 0.125, 1.0]);
        close(&[map.peak()], &[5.0]);
        // ∂y₁/∂A = (0, −4)/4, so h = ReLU(x).
        let map = by_hand(&[1.0, -2.0, 0.5, 4.0], Target::Logit(1));
        close(&[map.peak()], &[4.0]);
        // Of the difference h = ReLU(x/4), and turned round ReLU(−x/4).
        let map = by_hand(&[1.0, -2.0, 0.5, 4.0], Target::Difference { of: 0, to: 1 });
        close(map.values(), &[0.25, 0.0, 0.125, 1.0]);
        close(&[map.peak()], &[1.0]);
        let map = by_hand(&[1.0, -2.0, 0.5, 4.0], Target::Difference { of: 1, to: 0 });
        close(map.values(), &[0.0, 1.0, 0.0, 0.0]);
        close(&[map.peak()], &[0.5]);
    }

    #[test]
    fn where_nothing_raises_the_target_there_is_no_heat() {
        let map = by_hand(&[-1.0, -2.0, 0.0, -3.0], Target::Logit(0));
        assert_eq!((map.values(), map.peak()), (&[0.0; 4][..], 0.0));
    }

    #[test]
    fn a_map_of_one_place_covers_the_picture() {
        let pool = |x: Tensor<4>| x.mean_dim(3).mean_dim(2);
        let picture = tensor([1, 1, 2, 3], &[1.0; 6]);
        let maps = grad_cam(picture, Target::Logit(0), pool, mean).unwrap();
        assert_eq!((maps[0].width(), maps[0].height()), (3, 2));
        close(maps[0].values(), &[1.0; 6]);
    }

    #[test]
    fn a_smaller_map_is_spread_bilinearly() {
        // Each place becomes two pixels: those between the places are 3:1 and 1:3.
        let picture = tensor([1, 1, 1, 4], &[4.0, 4.0, 8.0, 8.0]);
        let halve = |x: Tensor<4>| x.reshape([1, 1, 2, 2]).mean_dim(3).reshape([1, 1, 1, 2]);
        let maps = grad_cam(picture, Target::Logit(0), halve, mean).unwrap();
        close(maps[0].values(), &[0.5, 0.625, 0.875, 1.0]);
    }

    /// Its second half bends, and normalises by running statistics.
    #[derive(Module, Debug)]
    struct Net {
        first: Conv2d,
        second: Conv2d,
        norm: BatchNorm,
        head: Linear,
    }

    impl Net {
        fn new() -> Self {
            let device = Device::flex();
            let conv = |channels| {
                Conv2dConfig::new(channels, [3, 3])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .init(&device)
            };
            Self {
                first: conv([2, 3]),
                second: conv([3, 4]),
                norm: BatchNormConfig::new(4).init(&device),
                head: LinearConfig::new(4, 3).init(&device),
            }
        }

        fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4> {
            self.first.forward(pictures).tanh()
        }

        fn classify(&self, map: Tensor<4>) -> Tensor<2> {
            let x = self.norm.forward(self.second.forward(map)).tanh();
            self.head.forward(mean(x))
        }
    }

    #[test]
    fn weights_are_what_finite_differences_say() {
        let net = Net::new().valid();
        let picture = Tensor::random([1, 2, 3, 3], Distribution::Default, &Device::flex());
        let target = Target::Difference { of: 2, to: 0 };
        let maps = grad_cam(
            picture.clone(),
            target,
            |x| net.feature_map(x),
            |x| net.classify(x),
        );
        let map = &maps.unwrap()[0];
        let features = net.feature_map(picture);
        // The mean gradient of a channel is the slope of moving all its places at once, over Z.
        let heat = (0..3).map(|channel| {
            let mut one = [0.0; 3];
            one[channel] = 1.0;
            let channels = tensor([1, 3, 1, 1], &one);
            let moved = |by: f32| {
                let logits = net.classify(features.clone() + channels.clone() * by);
                let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
                logits[2] - logits[0]
            };
            let weight = (moved(1e-2) - moved(-1e-2)) / 2e-2 / 9.0;
            features.clone().narrow(1, channel, 1) * weight
        });
        let heat = relu(heat.reduce(|a, b| a + b).unwrap()).into_data();
        for (value, expected) in map.values().iter().zip(heat.iter::<f32>()) {
            assert!((value * map.peak() - expected).abs() < 1e-4);
        }
    }

    #[test]
    fn pictures_of_a_batch_are_explained_one_by_one() {
        let net = Net::new().valid();
        let pictures = Tensor::random([4, 2, 6, 5], Distribution::Default, &Device::flex());
        let of = |pictures| {
            let (map, classify) = (|x| net.feature_map(x), |x| net.classify(x));
            grad_cam(pictures, Target::Logit(1), map, classify).unwrap()
        };
        let together = of(pictures.clone());
        for (place, map) in together.iter().enumerate() {
            let alone = of(pictures.clone().narrow(0, place, 1)).remove(0);
            for (a, b) in alone.values().iter().zip(map.values()) {
                assert!((a - b).abs() < 1e-5, "{a} and {b}");
            }
        }
    }

    #[test]
    fn heat_lies_on_the_patch_that_matters() {
        // Only what is brighter than 0.5 reaches the logit.
        let filter = tensor([1, 1, 3, 3], &[1.0 / 9.0; 9]);
        let mut numbers = vec![0.2; 24 * 24];
        for y in 5..11 {
            numbers[y * 24 + 14..y * 24 + 20].fill(1.0);
        }
        let shrink = |x: Tensor<4>| {
            let options = ConvOptions::new([2, 2], [1, 1], [1, 1], 1);
            relu(conv2d(x, filter, None, options) - 0.5)
        };
        let picture = tensor([1, 1, 24, 24], &numbers);
        let map = grad_cam(picture, Target::Logit(0), shrink, mean)
            .unwrap()
            .remove(0);
        let heat = |inside: bool| -> f32 {
            let pixels = (0..24u32).flat_map(|y| (0..24u32).map(move |x| (x, y)));
            let near = |(x, y): &(u32, u32)| (13..21).contains(x) && (4..12).contains(y);
            let chosen = pixels.filter(|pixel| near(pixel) == inside);
            chosen.filter_map(|(x, y)| map.get(x, y)).sum()
        };
        assert!(heat(true) > 0.95 * (heat(true) + heat(false)));
        assert!(map.get(17, 8).unwrap() > 0.9 && map.get(2, 2).unwrap() == 0.0);
    }

    #[test]
    fn halves_that_do_not_fit_are_refused() {
        let pictures = tensor([2, 1, 2, 2], &[1.0; 8]);
        let of = |map: &dyn Fn(Tensor<4>) -> Tensor<4>,
                  classify: &dyn Fn(Tensor<4>) -> Tensor<2>| {
            grad_cam(pictures.clone(), Target::Logit(0), map, classify).unwrap_err()
        };
        let empty = of(&|_| Tensor::zeros([2, 0, 2, 2], &Device::flex()), &mean);
        assert!(
            matches!(
                empty,
                Error::Setting {
                    field: "feature map",
                    ..
                }
            ),
            "{empty}"
        );
        for error in [
            of(&|x| x, &|map| mean(map.inner())),
            of(&|x| x.narrow(0, 0, 1).repeat_dim(0, 3), &|map| {
                mean(map).narrow(0, 0, 1)
            }),
            of(&|x| x * f32::NAN, &mean),
        ] {
            assert!(matches!(error, Error::Model { .. }), "{error}");
        }
    }
}
