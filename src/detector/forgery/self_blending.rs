//! The target blended with itself.

use image::{Rgb32FImage, imageops::FilterType};
use rand::{RngExt, rngs::ChaCha8Rng, seq::IndexedRandom};

use super::{Canvas, between, composed, either_sign, warp::shrunk_outline};
use crate::detector::{
    landmark::Part,
    raster::{Plane, blur, blur_plane, coarsened, fill, luma, paired, sample, sample_plane},
};

pub(super) fn forge(target: &Canvas, strength: f32, rng: &mut ChaCha8Rng) -> (Rgb32FImage, Plane) {
    let mask = mask(target, strength, rng);
    let mut part = moved(target, strength, rng);
    change_colour(&mut part, strength, rng);
    part = change_frequencies(&part, target.unit, strength, rng);
    composed(target, &part, mask)
}

/// The face's outline, or its lower or upper part, elastically deformed, blurred, and sometimes
/// thinned.
fn mask(target: &Canvas, strength: f32, rng: &mut ChaCha8Rng) -> Plane {
    let unit = target.unit;
    let (width, height) = target.picture.dimensions();
    let mut outline = shrunk_outline(target.landmarks, between(rng, 0.82, 1.0));
    let brows = target.landmarks.centre(Part::LeftBrow)[1];
    if rng.random_bool(0.3) {
        // Without the forehead, as the hull of the usual 68 landmarks is.
        for point in &mut outline {
            point[1] = point[1].max(brows - 3.0 * unit);
        }
    }
    let sharp = fill(width, height, &outline);
    let waves = Waves::new(rng);
    let bent = Plane::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let [dx, dy] = waves.at(x / (48.0 * unit), y / (48.0 * unit));
        image::Luma([sample_plane(
            &sharp,
            x + 2.0 * unit * dx,
            y + 2.0 * unit * dy,
        )])
    });
    let mut mask = blur_plane(&bent, unit * between(rng, 0.5, 2.2 - 1.4 * strength));
    let ratio = *[0.5, 0.75, 1.0, 1.0, 1.0].choose(rng).unwrap_or(&1.0);
    let ratio = ratio + (1.0 - ratio) * strength;
    mask.pixels_mut().for_each(|m| m[0] *= ratio);
    mask
}

/// A smooth random field of displacements: a few waves across the face.
struct Waves([[f32; 4]; 6]);

impl Waves {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        Self(std::array::from_fn(|_| {
            let phase = between(rng, 0.0, std::f32::consts::TAU);
            [
                between(rng, -14.0, 14.0),
                between(rng, -14.0, 14.0),
                phase,
                between(rng, 0.2, 0.8),
            ]
        }))
    }

    fn at(&self, x: f32, y: f32) -> [f32; 2] {
        let wave = |w: &[f32; 4]| w[3] * (w[0] * x + w[1] * y + w[2]).sin();
        [
            self.0[..3].iter().map(wave).sum(),
            self.0[3..].iter().map(wave).sum(),
        ]
    }
}

/// The picture, slightly resized and shifted about the face's centre.
fn moved(target: &Canvas, strength: f32, rng: &mut ChaCha8Rng) -> Rgb32FImage {
    let unit = target.unit;
    let [cx, cy] = target.landmarks.centre(Part::Outline);
    let mut zoom = || 1.0 + either_sign(rng, 0.01, 0.02 + 0.03 * strength);
    let (zx, zy) = (zoom(), zoom());
    let mut shift = || either_sign(rng, 0.2, 0.4 + 1.2 * strength) * unit;
    let (dx, dy) = (shift(), shift());
    Rgb32FImage::from_fn(target.picture.width(), target.picture.height(), |x, y| {
        let (x, y) = (x as f32 - cx, y as f32 - cy);
        sample(&target.picture, cx + x * zx + dx, cy + y * zy + dy)
    })
}

/// Channels shifted, contrast and saturation changed: in the mean over forgeries, nothing.
fn change_colour(picture: &mut Rgb32FImage, strength: f32, rng: &mut ChaCha8Rng) {
    let amount = 0.25 + 0.75 * strength;
    let shift = [(); 3].map(|()| either_sign(rng, 0.01, 0.07) * amount);
    let contrast = 1.0 + either_sign(rng, 0.02, 0.14) * amount;
    let saturation = 1.0 + either_sign(rng, 0.05, 0.35) * amount;
    for pixel in picture.pixels_mut() {
        let grey = luma(pixel);
        pixel.0 = paired(pixel.0, shift, |value, shift| {
            let value = grey + (value - grey) * saturation;
            0.5 + (value - 0.5) * contrast + shift
        });
    }
}

/// Sharpened, or shrunk and enlarged again.
fn change_frequencies(
    picture: &Rgb32FImage,
    unit: f32,
    strength: f32,
    rng: &mut ChaCha8Rng,
) -> Rgb32FImage {
    if rng.random_bool(0.5) {
        let gain = between(rng, 0.3, 0.5 + 0.7 * strength);
        let smooth = blur(picture, 0.8 * unit);
        let mut sharp = picture.clone();
        for (value, smooth) in sharp.iter_mut().zip(smooth.iter()) {
            *value += gain * (*value - smooth);
        }
        return sharp;
    }
    let factor = unit * between(rng, 1.0, 1.1 + 0.9 * strength);
    coarsened(picture, factor, FilterType::Triangle)
}
