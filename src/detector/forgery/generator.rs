//! The whole face through a generator.

use image::{Rgb, Rgb32FImage, imageops};
use rand::{RngExt, rngs::ChaCha8Rng};

use super::{
    Canvas, between, composed, either_sign, match_colour, match_detail,
    warp::{shrunk_outline, soft_mask},
};
use crate::detector::raster::{Plane, sample};

/// The sides of the generator's input and output; in between it is a quarter of it.
const SIDE: u32 = 64;

pub(super) fn forge(target: &Canvas, strength: f32, rng: &mut ChaCha8Rng) -> (Rgb32FImage, Plane) {
    let unit = target.unit;
    let frame = Frame::new(target);
    let face = frame.cut(&target.picture);
    let output = generated(&face, strength, rng);
    let mut part = frame.paste(&output, &target.picture);

    let outline = shrunk_outline(target.landmarks, between(rng, 0.90, 0.97));
    let mask = soft_mask(&target.picture, &outline, unit * between(rng, 1.0, 2.0));
    let tint = [(); 3].map(|()| either_sign(rng, 0.0, 0.02) * strength);
    match_detail(&mut part, &target.picture, &mask, unit);
    match_colour(&mut part, &target.picture, &mask, tint);
    composed(target, &part, mask)
}

/// The square round the face that the generator sees.
struct Frame {
    left: f32,
    top: f32,
    /// Pixels of the picture for one of the generator.
    step: f32,
}

impl Frame {
    fn new(target: &Canvas) -> Self {
        let [left, top, right, bottom] = target.landmarks.face_box();
        let side = (right - left).max(bottom - top) * 1.05;
        Self {
            left: 0.5 * (left + right - side),
            top: 0.5 * (top + bottom - side),
            step: side / SIDE as f32,
        }
    }

    /// The mean over each of the generator's pixels.
    fn cut(&self, picture: &Rgb32FImage) -> Rgb32FImage {
        const TAPS: u32 = 3;
        Rgb32FImage::from_fn(SIDE, SIDE, |x, y| {
            let mut sum = [0.0; 3];
            for tap in 0..TAPS * TAPS {
                let within = |base: u32, tap: u32| base as f32 + (tap as f32 + 0.5) / TAPS as f32;
                let px = self.left + self.step * within(x, tap % TAPS);
                let py = self.top + self.step * within(y, tap / TAPS);
                let pixel = sample(picture, px, py);
                sum = std::array::from_fn(|i| sum[i] + pixel[i]);
            }
            Rgb(sum.map(|v| v / (TAPS * TAPS) as f32))
        })
    }

    /// The generator's output back in its place.
    fn paste(&self, output: &Rgb32FImage, under: &Rgb32FImage) -> Rgb32FImage {
        let reach = -0.5..=SIDE as f32 - 0.5;
        let mut picture = under.clone();
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let gx = (x as f32 - self.left) / self.step - 0.5;
            let gy = (y as f32 - self.top) / self.step - 0.5;
            if reach.contains(&gx) && reach.contains(&gy) {
                *pixel = sample(output, gx, gy);
            }
        }
        picture
    }
}

/// Encoded to half the resolution and less, decoded by up-sampling in two stages.
fn generated(face: &Rgb32FImage, strength: f32, rng: &mut ChaCha8Rng) -> Rgb32FImage {
    let lost = between(rng, 0.8, 1.2) * (0.9 + 0.9 * strength);
    let small = imageops::resize(face, SIDE / 2, SIDE / 2, imageops::FilterType::Triangle);
    let bottleneck = imageops::resize(&small, SIDE / 4, SIDE / 4, imageops::FilterType::Triangle);
    let depth = 0.03 + 0.07 * strength;
    let coarse = transposed(&bottleneck, 1.5 * depth, rng);
    // A skip connection brings back part of what the bottleneck lost.
    let kept = (0.75 / lost).clamp(0.2, 0.8);
    let middle = mixed(&coarse, &small, kept);
    let fine = transposed(&middle, depth, rng);
    mixed(&fine, face, (0.45 / lost).clamp(0.1, 0.5))
}

/// Twice the resolution by a transposed convolution of stride 2 with a kernel of 3: pixels of odd
/// and even rows and columns are sums of different numbers of taps, and what training leaves of
/// that difference is a checkerboard.
fn transposed(picture: &Rgb32FImage, depth: f32, rng: &mut ChaCha8Rng) -> Rgb32FImage {
    let (width, height) = picture.dimensions();
    let sign = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    let uneven: [[f32; 3]; 4] = std::array::from_fn(|i| {
        let parity = [1.0, -0.35, -0.35, -0.3][i];
        std::array::from_fn(|_| sign * parity * depth * between(rng, 0.7, 1.3))
    });
    Rgb32FImage::from_fn(2 * width, 2 * height, |x, y| {
        let pixel = sample(picture, 0.5 * x as f32 - 0.25, 0.5 * y as f32 - 0.25);
        let gain = &uneven[(x % 2 + 2 * (y % 2)) as usize];
        Rgb(std::array::from_fn(|i| pixel[i] * (1.0 + gain[i])))
    })
}

fn mixed(a: &Rgb32FImage, b: &Rgb32FImage, share: f32) -> Rgb32FImage {
    let mut sum = a.clone();
    for (a, b) in sum.iter_mut().zip(b.iter()) {
        *a += (b - *a) * share;
    }
    sum
}
