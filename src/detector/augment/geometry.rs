//! Operations that move pixels.

use image::{
    Rgb, Rgb32FImage, RgbImage,
    imageops::{self, FilterType},
};
use rand::{RngExt, rngs::ChaCha8Rng};

use crate::detector::raster::{sample, to_bytes, to_float};

/// Turned about its centre, counter-clockwise; what comes from beyond the border repeats it.
pub(super) fn rotated(picture: &RgbImage, degrees: f32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let source = to_float(picture);
    let (cx, cy) = (0.5 * (width - 1) as f32, 0.5 * (height - 1) as f32);
    let (sin, cos) = degrees.to_radians().sin_cos();
    to_bytes(&Rgb32FImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32 - cx, y as f32 - cy);
        sample(&source, cx + cos * x - sin * y, cy + sin * x + cos * y)
    }))
}

/// Shrunk by a factor, averaging over the pixels that fall together, and enlarged again.
pub(super) fn resized(picture: &RgbImage, scale: f32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let small = shrunk(picture, scale);
    imageops::resize(&small, width, height, FilterType::CatmullRom)
}

/// Shrunk by a factor, to a pixel a side at the least.
pub(crate) fn shrunk(picture: &RgbImage, scale: f32) -> RgbImage {
    let side = |side: u32| ((side as f32 * scale).round() as u32).max(1);
    let (width, height) = picture.dimensions();
    imageops::resize(picture, side(width), side(height), FilterType::Triangle)
}

/// A square, as far as it lies in the picture, filled with grey: `share` of the shorter side wide,
/// its middle drawn evenly over the pixels.
pub(super) fn cut_out(mut picture: RgbImage, share: f32, rng: &mut ChaCha8Rng) -> RgbImage {
    let (width, height) = picture.dimensions();
    let side = (share * width.min(height) as f32).round() as i64;
    let mut span = |length: u32| {
        let start = i64::from(rng.random_range(0..length)) - side / 2;
        let inside = |place: i64| place.clamp(0, i64::from(length)) as u32;
        inside(start)..inside(start + side)
    };
    let (columns, rows) = (span(width), span(height));
    for y in rows {
        for x in columns.clone() {
            picture.put_pixel(x, y, GREY);
        }
    }
    picture
}

/// The middle between black and white; 0 for nets whose pictures go from −1 to 1.
const GREY: Rgb<u8> = Rgb([127; 3]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::seed::{Purpose, generator};

    fn ramp(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(9 * x) as u8, (7 * y) as u8, 5]))
    }

    #[test]
    fn quarter_turns_are_exact() {
        let picture = ramp(15, 15);
        assert_eq!(rotated(&picture, 0.0), picture);
        assert_eq!(rotated(&picture, 90.0), imageops::rotate270(&picture));
        assert_eq!(rotated(&picture, -90.0), imageops::rotate90(&picture));
        let odd = ramp(15, 8);
        assert_eq!(rotated(&odd, 180.0), imageops::rotate180(&odd));
    }

    #[test]
    fn ten_degrees_turn_a_ramp_by_ten_degrees() {
        let picture = RgbImage::from_fn(41, 41, |x, y| Rgb([(4 * x) as u8, (4 * y) as u8, 9]));
        let turned = rotated(&picture, 10.0);
        let (sin, cos) = 10f32.to_radians().sin_cos();
        for (x, y) in [(20u32, 20u32), (30, 20), (20, 30), (12, 25)] {
            let (dx, dy) = (x as f32 - 20.0, y as f32 - 20.0);
            let expected = [20.0 + cos * dx - sin * dy, 20.0 + sin * dx + cos * dy];
            let pixel = turned.get_pixel(x, y);
            for k in 0..2 {
                assert!((f32::from(pixel[k]) - 4.0 * expected[k]).abs() <= 0.51);
            }
            assert_eq!(pixel[2], 9);
        }
    }

    #[test]
    fn resizing_takes_detail_and_keeps_the_mean() {
        // Stripes of one pixel are gone at half the size, their mean stays.
        let stripes = RgbImage::from_fn(64, 64, |x, _| Rgb([if x % 2 == 0 { 40 } else { 200 }; 3]));
        let coarse = resized(&stripes, 0.5);
        assert_eq!(coarse.dimensions(), (64, 64));
        for (x, _, pixel) in coarse.enumerate_pixels() {
            assert!(
                !(4..60).contains(&x) || pixel[0].abs_diff(120) <= 12,
                "{x} {pixel:?}"
            );
        }
        assert_eq!(resized(&stripes, 1.0), stripes);
        let even = RgbImage::from_pixel(31, 17, Rgb([13, 250, 77]));
        for scale in [0.01, 0.3, 0.77, 1.0] {
            assert_eq!(resized(&even, scale), even);
        }
        assert_eq!(shrunk(&even, 0.5).dimensions(), (16, 9));
        assert_eq!(shrunk(&even, 0.01).dimensions(), (1, 1));
    }

    #[test]
    fn a_cut_has_its_side_and_is_cut_at_the_border() {
        let white = RgbImage::from_pixel(40, 30, Rgb([255; 3]));
        let mut areas = Vec::new();
        for seed in 0..200 {
            let mut rng = generator(Purpose::Augment, [seed, 0, 0, 0]);
            let cut = cut_out(white.clone(), 0.4, &mut rng);
            let area = cut.pixels().filter(|&&p| p == GREY).count();
            assert!(cut.pixels().all(|&p| p == GREY || p == Rgb([255; 3])));
            areas.push(area);
        }
        assert_eq!(areas.iter().max(), Some(&(12 * 12)));
        assert!(areas.iter().min() >= Some(&(6 * 6)));
        assert!(areas.iter().filter(|&&area| area == 144).count() > 60);
        let mut rng = generator(Purpose::Augment, [0; 4]);
        assert_eq!(cut_out(white.clone(), 0.0, &mut rng), white);
    }
}
