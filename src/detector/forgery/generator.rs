//! The whole face through a generator.

use image::{Rgb, Rgb32FImage, imageops};
use rand::{RngExt, rngs::ChaCha8Rng};

use super::{
    Canvas, between, composed, either_sign, match_colour, match_detail,
    warp::{shrunk_outline, soft_mask},
};
use crate::detector::raster::{Plane, blur, paired, sample};

/// The sides of the generator's input and output; in between it is a quarter of it.
const SIDE: u32 = 48;

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
    add_grain(&mut part, &target.picture, &mask, unit, rng);
    match_colour(&mut part, &target.picture, &mask, tint);
    composed(target, &part, mask)
}

/// Coloured grain, as much as the target has more of the finest detail than the output: generators
/// leave none, and forgers lay it over.
fn add_grain(
    part: &mut Rgb32FImage,
    reference: &Rgb32FImage,
    mask: &Plane,
    unit: f32,
    rng: &mut ChaCha8Rng,
) {
    let mut grain = Rgb32FImage::new(part.width(), part.height());
    grain
        .iter_mut()
        .for_each(|value| *value = rng.random::<f32>() - 0.5);
    let grain = blur(&grain, 0.35 * unit);
    let [have, want, unscaled] =
        [&*part, reference, &grain].map(|picture| finest_detail(picture, mask, unit));
    let amount = ((want - have).max(0.0) / unscaled.max(1e-9)).sqrt();
    for (value, grain) in part.iter_mut().zip(grain.iter()) {
        *value += amount * grain;
    }
}

/// The mean square of what a slight blur takes away, without what is too fine for a network's
/// input to show.
fn finest_detail(picture: &Rgb32FImage, mask: &Plane, unit: f32) -> f32 {
    let [fine, smooth] = [0.3, 0.7].map(|sigma| blur(picture, sigma * unit));
    let (mut sum, mut weight) = (0.0, 1e-6);
    let pixels = fine.pixels().zip(smooth.pixels()).zip(mask.pixels());
    for ((fine, smooth), mask) in pixels.filter(|(_, mask)| mask[0] > 0.0) {
        let squares = fine.0.iter().zip(smooth.0).map(|(f, s)| (f - s).powi(2));
        sum += mask[0] * squares.sum::<f32>();
        weight += mask[0];
    }
    sum / weight
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
                sum = paired(sum, pixel.0, |sum, value| sum + value);
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

/// Encoded to half the resolution and a quarter, decoded by up-sampling in two stages.
fn generated(face: &Rgb32FImage, strength: f32, rng: &mut ChaCha8Rng) -> Rgb32FImage {
    let halved = |picture: &Rgb32FImage| {
        let side = picture.width() / 2;
        imageops::resize(picture, side, side, imageops::FilterType::Triangle)
    };
    let small = halved(face);
    let bottleneck = halved(&small);
    // Skip connections bring back part of what the bottleneck lost.
    let lost = between(rng, 0.8, 1.2) * (0.9 + 0.9 * strength);
    let depth = 0.013 + 0.040 * strength;
    let middle = mixed(&doubled(&bottleneck), &small, (0.95 / lost).min(0.8));
    let fine = mixed(
        &doubled(&uneven(middle, depth, rng)),
        face,
        (0.6 / lost).min(0.6),
    );
    uneven(fine, depth, rng)
}

fn doubled(picture: &Rgb32FImage) -> Rgb32FImage {
    Rgb32FImage::from_fn(2 * picture.width(), 2 * picture.height(), |x, y| {
        sample(picture, 0.5 * x as f32 - 0.25, 0.5 * y as f32 - 0.25)
    })
}

/// The mark of a transposed convolution of stride 2 with a kernel of 3: pixels of odd and even
/// rows and columns are sums of different numbers of taps, and what training leaves of that
/// difference is a checkerboard.
fn uneven(mut picture: Rgb32FImage, depth: f32, rng: &mut ChaCha8Rng) -> Rgb32FImage {
    let sign = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    let [even, odd_column, odd_row, odd] = [1.0, -0.35, -0.35, -0.3]
        .map(|parity| [(); 3].map(|()| 1.0 + sign * parity * depth * between(rng, 0.85, 1.15)));
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let gains = match (x % 2, y % 2) {
            (0, 0) => even,
            (_, 0) => odd_column,
            (0, _) => odd_row,
            _ => odd,
        };
        pixel.0 = paired(pixel.0, gains, |value, gain| value * gain);
    }
    picture
}

fn mixed(a: &Rgb32FImage, b: &Rgb32FImage, share: f32) -> Rgb32FImage {
    let mut sum = a.clone();
    for (a, b) in sum.iter_mut().zip(b.iter()) {
        *a += (b - *a) * share;
    }
    sum
}
