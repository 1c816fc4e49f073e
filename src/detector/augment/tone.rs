//! Operations on each pixel by itself.
//!
//! `image`'s own contrast and turn of hue round down, which darkens every picture by half a level:
//! here results are rounded to the nearest level.

use image::{Rgb, RgbImage};
use rand::rngs::ChaCha8Rng;

use crate::detector::{
    raster::{luma, to_byte},
    seed::normal,
};

/// Each channel $v \in [0, 1]$ becomes $v + b$.
pub(super) fn brightened(picture: RgbImage, brightness: f32) -> RgbImage {
    levelled(picture, |v| v + brightness)
}

/// Each channel $v \in [0, 1]$ becomes $\tfrac12 + (1 + c)(v - \tfrac12)$.
pub(super) fn contrasted(picture: RgbImage, contrast: f32) -> RgbImage {
    levelled(picture, |v| 0.5 + (1.0 + contrast) * (v - 0.5))
}

fn levelled(mut picture: RgbImage, level: impl Fn(f32) -> f32) -> RgbImage {
    let levels: [u8; 256] = std::array::from_fn(|v| to_byte(level(v as f32 / 255.0)));
    for value in picture.iter_mut() {
        // There is one for every byte.
        *value = *levels.get(usize::from(*value)).unwrap_or(value);
    }
    picture
}

/// Colours turned about the axis of greys; each pixel keeps its luma, and grey stays grey.
pub(super) fn hue_turned(mut picture: RgbImage, degrees: f32) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (even, odd) = ((1.0 - cos) / 3.0, sin / 3f32.sqrt());
    // A rotation about (1, 1, 1): each row is the one above it, moved on by one.
    let [a, b, c] = [cos + even, even - odd, even + odd];
    let rows = [[a, b, c], [c, a, b], [b, c, a]];
    for pixel in picture.pixels_mut() {
        let old = Rgb(pixel.0.map(|v| f32::from(v) / 255.0));
        let turned = rows.map(|row| row.iter().zip(old.0).map(|(r, v)| r * v).sum());
        let turned = Rgb(turned);
        let lost = luma(&old) - luma(&turned);
        *pixel = Rgb(turned.0.map(|v: f32| to_byte(v + lost)));
    }
    picture
}

/// Each channel $v \in [0, 1]$ becomes $v + \sigma n$ with a normal number $n$ of its own; where
/// the whole picture is grey, one number a pixel, so that it stays so.
pub(super) fn noisy(mut picture: RgbImage, sigma: f32, rng: &mut ChaCha8Rng) -> RgbImage {
    let grey = picture.pixels().all(|p| p[0] == p[1] && p[1] == p[2]);
    for pixel in picture.pixels_mut() {
        let noise = if grey {
            [normal(rng); 3]
        } else {
            [(); 3].map(|()| normal(rng))
        };
        for (value, noise) in pixel.0.iter_mut().zip(noise) {
            *value = to_byte(f32::from(*value) / 255.0 + sigma * noise);
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::seed::{Purpose, generator};

    fn levels() -> RgbImage {
        RgbImage::from_fn(256, 1, |x, _| Rgb([x as u8; 3]))
    }

    #[test]
    fn brightness_adds_and_contrast_scales_about_the_middle() {
        for (x, _, pixel) in brightened(levels(), 0.1).enumerate_pixels() {
            let expected = (x as f32 + 25.5).min(255.0);
            assert!((f32::from(pixel[0]) - expected).abs() <= 0.5, "{x}");
        }
        for (x, _, pixel) in contrasted(levels(), -0.1).enumerate_pixels() {
            let expected = 127.5 + 0.9 * (x as f32 - 127.5);
            assert!((f32::from(pixel[1]) - expected).abs() <= 0.501, "{x}");
        }
        assert_eq!(brightened(levels(), 0.0), levels());
        assert_eq!(contrasted(levels(), 0.0), levels());
        assert!(brightened(levels(), -1.0).iter().all(|&v| v == 0));
        assert!(brightened(levels(), 1.0).iter().all(|&v| v == 255));
        assert!(contrasted(levels(), -1.0).iter().all(|&v| v == 128));
    }

    #[test]
    fn a_turn_of_hue_keeps_luma_and_grey_and_comes_round() {
        let colours = RgbImage::from_fn(16, 16, |x, y| {
            Rgb([(90 + 4 * x) as u8, (90 + 4 * y) as u8, (150 - 2 * x) as u8])
        });
        for degrees in [-180.0, -60.0, 17.0, 120.0] {
            assert_eq!(hue_turned(levels(), degrees), levels());
            let turned = hue_turned(colours.clone(), degrees);
            assert_ne!(turned, colours);
            let luma = |p: &Rgb<u8>| luma(&Rgb(p.0.map(f32::from)));
            for (old, new) in colours.pixels().zip(turned.pixels()) {
                assert!((luma(old) - luma(new)).abs() <= 0.6, "{old:?} {new:?}");
            }
            let back = hue_turned(turned, -degrees);
            let off = back.iter().zip(colours.iter()).map(|(a, b)| a.abs_diff(*b));
            assert!(off.max() <= Some(2));
        }
        assert_eq!(hue_turned(colours.clone(), 0.0), colours);
        // A third of a turn takes red to green.
        let [r, g, b] = hue_turned(RgbImage::from_pixel(1, 1, Rgb([140, 100, 100])), 120.0)
            .get_pixel(0, 0)
            .0;
        assert!(g > r + 30 && r.abs_diff(b) <= 1, "{r} {g} {b}");
    }

    #[test]
    fn noise_has_its_deviation_and_leaves_grey_grey() {
        let rng = || generator(Purpose::Augment, [1, 0, 0, 0]);
        for colour in [[120, 130, 125], [128; 3]] {
            let even = RgbImage::from_pixel(100, 100, Rgb(colour));
            let noise = noisy(even.clone(), 0.04, &mut rng());
            let differences: Vec<f64> = noise
                .iter()
                .zip(even.iter())
                .map(|(a, b)| f64::from(*a) - f64::from(*b))
                .collect();
            let count = differences.len() as f64;
            let mean = differences.iter().sum::<f64>() / count;
            let deviation = (differences.iter().map(|d| d * d).sum::<f64>() / count).sqrt();
            assert!(mean.abs() < 0.4, "{mean}");
            assert!(
                (deviation / (255.0 * 0.04) - 1.0).abs() < 0.03,
                "{deviation}"
            );
            let grey = noise.pixels().all(|p| p[0] == p[1] && p[1] == p[2]);
            assert_eq!(grey, colour[0] == colour[1]);
            assert_eq!(noisy(even.clone(), 0.0, &mut rng()), even);
        }
    }
}
