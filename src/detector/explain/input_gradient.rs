use burn::tensor::Tensor;

use super::{
    HeatMap, Target,
    gradient::{gradient, not_empty},
};
use crate::Result;

/// Which pixels of a picture $x$ change the target $s$ most: for each the largest gradient of its
/// channels,
///
/// $$ h_{ij} = \max_c \left\lvert \frac{\partial s}{\partial x_{cij}} \right\rvert, $$
///
/// divided by the peak.
///
/// `pictures` are `[batch, channels, height, width]`, and `logits` gives `[batch, K]` for them. The
/// net has to be as it is when it predicts (`net.valid()`): then every picture is explained by
/// itself, and nothing of the net changes.
///
/// # Errors
///
/// [`Error::Setting`](crate::Error::Setting) for a batch without a pixel, or a target that is no
/// class of the net; [`Error::Model`](crate::Error::Model) where the logits do not depend on the
/// pictures, are not one row for each, or are not finite, or their gradients are not.
///
/// # Source
///
/// Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks: Visualising Image
/// Classification Models and Saliency Maps", ICLR 2014 workshop, arXiv 1312.6034.
///
/// ```
/// use burn::{module::Module, tensor::{Device, Tensor}};
/// use roga::detector::{
///     backbone::{Classifier, ResNetConfig},
///     explain::{Target, input_gradient},
/// };
///
/// let device = Device::default();
/// let net = ResNetConfig::small(2).init(&device)?.valid();
/// let pictures = Tensor::ones([3, 3, 32, 32], &device);
/// let forged = Target::Difference { of: 1, to: 0 };
/// let maps = input_gradient(pictures, forged, |pictures| net.forward(pictures))?;
/// assert_eq!((maps.len(), maps[0].width(), maps[0].height()), (3, 32, 32));
/// # Ok::<(), roga::Error>(())
/// ```
pub fn input_gradient(
    pictures: Tensor<4>,
    target: Target,
    logits: impl FnOnce(Tensor<4>) -> Tensor<2>,
) -> Result<Vec<HeatMap>> {
    not_empty(&pictures, "pictures")?;
    let gradient = gradient(&pictures, target, logits)?;
    HeatMap::batch(gradient.abs().max_dim(1))
}

#[cfg(test)]
mod tests {
    use burn::{
        module::Module,
        tensor::{Device, Distribution, activation::softplus},
    };

    use super::*;
    use crate::{
        Error,
        detector::backbone::{Classifier, ResNetConfig},
    };

    fn random(shape: [usize; 4]) -> Tensor<4> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::flex())
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn that_of_a_linear_net_is_its_weights() {
        let (pictures, weights) = (random([2, 3, 4, 5]), random([2, 3, 4, 5]));
        let linear = |pictures: Tensor<4>| -> Tensor<2> {
            let classes = (0..2).map(|class| {
                let weights = weights.clone().narrow(0, class, 1);
                (pictures.clone() * weights).flatten::<2>(1, 3).sum_dim(1)
            });
            Tensor::cat(classes.collect(), 1)
        };
        let weights = numbers(weights.clone());
        let weight =
            |class: usize, pixel: usize, channel: usize| weights[class * 60 + channel * 20 + pixel];
        let expected = |target: Target| -> Vec<f32> {
            let of_channel = |pixel, channel| match target {
                Target::Logit(class) => weight(class, pixel, channel).abs(),
                Target::Difference { of, to } => {
                    (weight(of, pixel, channel) - weight(to, pixel, channel)).abs()
                }
            };
            let of_pixel = |pixel| (0..3).map(|c| of_channel(pixel, c)).fold(0.0, f32::max);
            (0..20).map(of_pixel).collect()
        };
        for target in [
            Target::Logit(0),
            Target::Logit(1),
            Target::Difference { of: 1, to: 0 },
        ] {
            let maps = input_gradient(pictures.clone(), target, linear).unwrap();
            assert_eq!(maps.len(), 2);
            for map in maps {
                assert_eq!((map.width(), map.height()), (5, 4));
                for (value, expected) in map.values().iter().zip(expected(target)) {
                    assert!((value * map.peak() - expected).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn it_is_what_finite_differences_say() {
        let kernel = random([4, 1, 3, 3]);
        let net = |pictures: Tensor<4>| -> Tensor<2> {
            let options = burn::tensor::ops::ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            let x = burn::tensor::module::conv2d(pictures, kernel.clone(), None, options);
            softplus(x, 1.0)
                .powi_scalar(2)
                .mean_dim(3)
                .mean_dim(2)
                .flatten(1, 3)
        };
        let picture = random([1, 1, 4, 4]);
        let map = input_gradient(picture.clone(), Target::Logit(2), net)
            .unwrap()
            .remove(0);
        let step = 1e-2;
        for pixel in 0..16 {
            let moved = |by: f32| {
                let mut numbers = numbers(picture.clone());
                numbers[pixel] += by;
                let moved = Tensor::<1>::from_floats(&numbers[..], &Device::flex());
                f64::from(self::numbers(net(moved.reshape([1, 1, 4, 4])))[2])
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
            let found = f64::from(map.values()[pixel] * map.peak());
            assert!((slope.abs() - found).abs() < 1e-4, "{slope} and {found}");
        }
    }

    #[test]
    fn a_picture_is_explained_by_itself_and_the_net_stays() {
        let net = ResNetConfig::small(2)
            .init(&Device::flex())
            .unwrap()
            .valid();
        let pictures = random([3, 3, 16, 16]);
        let before = numbers(net.forward(pictures.clone()));
        let of = |pictures| input_gradient(pictures, Target::Logit(1), |x| net.forward(x)).unwrap();
        let together = of(pictures.clone());
        for (place, map) in together.iter().enumerate() {
            let alone = of(pictures.clone().narrow(0, place, 1)).remove(0);
            for (a, b) in alone.values().iter().zip(map.values()) {
                assert!((a - b).abs() < 1e-4, "{a} and {b}");
            }
        }
        assert_eq!(before, numbers(net.forward(pictures)));
    }

    #[test]
    fn what_cannot_be_explained_is_refused() {
        let classify = |pictures: Tensor<4>| -> Tensor<2> { pictures.flatten::<2>(1, 3) };
        let pictures = random([2, 1, 2, 2]);
        let of = |target, net: &dyn Fn(Tensor<4>) -> Tensor<2>| {
            input_gradient(pictures.clone(), target, net).unwrap_err()
        };
        let setting = |error: Error| {
            matches!(
                error,
                Error::Setting {
                    field: "target",
                    ..
                }
            )
        };
        assert!(setting(of(Target::Logit(4), &classify)));
        assert!(setting(of(Target::Difference { of: 0, to: 4 }, &classify)));
        let model = |net: &dyn Fn(Tensor<4>) -> Tensor<2>| {
            matches!(of(Target::Logit(0), net), Error::Model { .. })
        };
        assert!(model(&|x| classify(x.inner())), "no graph");
        assert!(model(&|x| classify(x).narrow(0, 0, 1)), "too few rows");
        assert!(model(&|x| classify(x).log()), "not a number");
        assert!(
            model(&|x| classify(x).abs().sqrt() * 0.0 + f32::INFINITY),
            "infinite"
        );
        let empty = Tensor::zeros([0, 1, 2, 2], &Device::flex());
        let refused = input_gradient(empty, Target::Logit(0), classify);
        assert!(matches!(
            refused,
            Err(Error::Setting {
                field: "pictures",
                ..
            })
        ));
    }

    #[test]
    fn a_net_that_sees_nothing_has_no_heat() {
        let blind = |pictures: Tensor<4>| pictures.flatten::<2>(1, 3) * 0.0;
        let maps = input_gradient(random([1, 1, 2, 2]), Target::Logit(0), blind).unwrap();
        assert_eq!(maps[0].values(), [0.0; 4]);
    }
}
