//! What a camera does to light: the colour filter before its sensor, noise, and the picture that
//! its software makes of both.
//!
//! Only a third of the numbers of a photograph were measured. The others were interpolated, and
//! the correlation which that leaves is what detectors of forgeries find broken.

use image::{Rgb, Rgb32FImage, RgbImage};
use rand::rngs::ChaCha8Rng;

use crate::detector::{
    raster::{Plane, to_bytes},
    seed::normal,
};

/// The picture that a camera takes of linear light.
///
/// `shot_noise` is the variance of the noise per unit of light, `read_noise` the standard
/// deviation of the noise in the dark.
pub(super) fn photograph(
    light: &Rgb32FImage,
    shot_noise: f32,
    read_noise: f32,
    rng: &mut ChaCha8Rng,
) -> RgbImage {
    let mut mosaic = Plane::new(light.width(), light.height());
    for (x, y, value) in mosaic.enumerate_pixels_mut() {
        let signal = light.get_pixel(x, y)[filter(x, y)];
        let deviation = (shot_noise * signal.max(0.0) + read_noise * read_noise).sqrt();
        value[0] = (signal + deviation * normal(rng)).clamp(0.0, 1.0);
    }
    to_bytes(&developed(&mosaic))
}

/// The channel that a pixel of the sensor measures: rows of red and green, and of green and blue.
fn filter(x: u32, y: u32) -> usize {
    match (x % 2, y % 2) {
        (0, 0) => 0,
        (1, 1) => 2,
        _ => 1,
    }
}

/// The mosaic with its missing numbers interpolated, in sRGB.
///
/// Green along the direction in which it changes less; red and blue by their difference to green.
fn developed(mosaic: &Plane) -> Rgb32FImage {
    let (width, height) = mosaic.dimensions();
    let at = |x: i64, y: i64| {
        let (x, y) = (mirrored(x, width), mirrored(y, height));
        mosaic.get_pixel(x, y)[0]
    };
    let green = Plane::from_fn(width, height, |x, y| {
        if filter(x, y) == 1 {
            return *mosaic.get_pixel(x, y);
        }
        let (x, y) = (i64::from(x), i64::from(y));
        let [left, right, up, down] = [at(x - 1, y), at(x + 1, y), at(x, y - 1), at(x, y + 1)];
        let (across, along) = ((left - right).abs() + 1e-3, (up - down).abs() + 1e-3);
        let value = (0.5 * (left + right) * along + 0.5 * (up + down) * across) / (across + along);
        image::Luma([value])
    });
    let difference = |x: i64, y: i64| {
        let (x, y) = (mirrored(x, width), mirrored(y, height));
        mosaic.get_pixel(x, y)[0] - green.get_pixel(x, y)[0]
    };
    Rgb32FImage::from_fn(width, height, |x, y| {
        let own = filter(x, y);
        let base = green.get_pixel(x, y)[0];
        let (x, y) = (i64::from(x), i64::from(y));
        let across = 0.5 * (difference(x - 1, y) + difference(x + 1, y));
        let along = 0.5 * (difference(x, y - 1) + difference(x, y + 1));
        let corners = [(-1, -1), (1, -1), (-1, 1), (1, 1)];
        let diagonal: f32 = corners
            .iter()
            .map(|(i, j)| 0.25 * difference(x + i, y + j))
            .sum();
        let here = difference(x, y);
        let [red, blue] = match (own, y % 2) {
            (0, _) => [here, diagonal],
            (2, _) => [diagonal, here],
            (_, 0) => [across, along],
            _ => [along, across],
        };
        Rgb([base + red, base, base + blue].map(encoded))
    })
}

/// Reflected at the border, which keeps the pattern of the filter.
fn mirrored(index: i64, length: u32) -> u32 {
    let last = i64::from(length) - 1;
    let index = if index < 0 { -index } else { index };
    (if index > last {
        2 * last - index
    } else {
        index
    })
    .clamp(0, last) as u32
}

/// The transfer function of sRGB (IEC 61966-2-1).
fn encoded(light: f32) -> f32 {
    if light <= 0.003_130_8 {
        12.92 * light.max(0.0)
    } else {
        1.055 * light.min(1.0).powf(1.0 / 2.4) - 0.055
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn an_even_surface_without_noise_stays_even() {
        let light = Rgb32FImage::from_pixel(9, 8, Rgb([0.5, 0.2, 0.1]));
        let picture = photograph(&light, 0.0, 0.0, &mut ChaCha8Rng::seed_from_u64(1));
        let first = *picture.get_pixel(0, 0);
        assert_eq!(first, Rgb([188, 124, 89]));
        assert!(picture.pixels().all(|&p| p == first));
    }

    #[test]
    fn neighbours_of_a_photograph_are_correlated() {
        let light = Rgb32FImage::from_pixel(64, 64, Rgb([0.4; 3]));
        let picture = photograph(&light, 0.002, 0.01, &mut ChaCha8Rng::seed_from_u64(2));
        let value = |x: u32, y: u32| f64::from(picture.get_pixel(x, y)[0]);
        let mean = picture.pixels().map(|p| f64::from(p[0])).sum::<f64>() / 4096.0;
        let (mut variance, mut covariance) = (0.0, 0.0);
        for y in 0..64 {
            for x in 0..63 {
                variance += (value(x, y) - mean).powi(2);
                covariance += (value(x, y) - mean) * (value(x + 1, y) - mean);
            }
        }
        assert!(covariance / variance > 0.2, "{}", covariance / variance);
    }
}
