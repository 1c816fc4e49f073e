//! Patches of the face, removed and filled from their surroundings.
//!
//! The fill takes its colours from the rim of the hole, so that there is nothing to match them to;
//! the detail that was removed is made up for by texture.

use std::f32::consts::{PI, TAU};

use image::{Rgb, Rgb32FImage};
use rand::{RngExt, rngs::ChaCha8Rng, seq::IndexedRandom};

use super::{Canvas, between, either_sign, warp::region_mask};
use crate::detector::{
    landmark::Part,
    raster::{Plane, blend, paired, sample},
};

pub(super) fn forge(target: &Canvas, strength: f32, rng: &mut ChaCha8Rng) -> (Rgb32FImage, Plane) {
    let unit = target.unit;
    let mut picture = target.picture.clone();
    let mut changed = Plane::new(picture.width(), picture.height());
    for _ in 0..rng.random_range(3..=4) {
        let outline = patch(target, strength, rng);
        let sigma = unit * (1.0 - strength);
        let mask = region_mask(target, std::slice::from_ref(&outline), sigma);
        let mut part = diffused(&picture, &mask);
        add_grain(&mut part, &mask, unit, strength, rng);
        let tint = [(); 3].map(|()| either_sign(rng, 0.03, 0.06) * strength);
        for (pixel, mask) in part.pixels_mut().zip(mask.pixels()) {
            if mask[0] > 0.0 {
                pixel.0 = paired(pixel.0, tint, |value, tint| value + tint);
            }
        }
        picture = blend(&picture, &part, &mask);
        for (changed, mask) in changed.iter_mut().zip(mask.iter()) {
            *changed += (1.0 - *changed) * mask;
        }
    }
    (picture, changed)
}

/// The outline of a patch on an eye, a brow, the nose or the mouth: an ellipse with waves.
fn patch(target: &Canvas, strength: f32, rng: &mut ChaCha8Rng) -> Vec<[f32; 2]> {
    const PARTS: [Part; 6] = [
        Part::LeftEye,
        Part::RightEye,
        Part::LeftBrow,
        Part::RightBrow,
        Part::Nose,
        Part::MouthOuter,
    ];
    let part = *PARTS.choose(rng).unwrap_or(&Part::Nose);
    let middle = target.landmarks.centre(Part::Outline);
    let points = target.landmarks.part(part);
    let point = *points.choose(rng).unwrap_or(&middle);
    // Inwards, as what lies beyond the face is not changed.
    let inwards = between(rng, 0.1, 0.35);
    let [cx, cy] = paired(point, middle, |point, middle| {
        point + inwards * (middle - point)
    });
    let size = target.unit * (0.5 + 0.5 * strength);
    let [along, across] = [(); 2].map(|()| size * between(rng, 6.0, 8.5));
    let [turn, phase] = [(); 2].map(|()| between(rng, 0.0, TAU));
    let depth = between(rng, 0.0, 0.15);
    let (sin, cos) = turn.sin_cos();
    let corner = |i: usize| {
        let angle = i as f32 / CORNERS as f32 * TAU;
        let wave = 1.0 + depth * (3.0 * angle + phase).sin();
        let (x, y) = (along * wave * angle.cos(), across * wave * angle.sin());
        [cx + x * cos - y * sin, cy + x * sin + y * cos]
    };
    (0..CORNERS).map(corner).collect()
}

const CORNERS: usize = 48;

/// The picture with the solution of Laplace's equation in the place of all that the mask touches:
/// what diffusion from the rim ends with. By successive over-relaxation.
fn diffused(picture: &Rgb32FImage, mask: &Plane) -> Rgb32FImage {
    let (width, height) = picture.dimensions();
    // Where a pixel of the hole is, and its neighbours.
    let at = |x: u32, y: u32| y as usize * width as usize + x as usize;
    let hole: Vec<(usize, [usize; 4])> = mask
        .enumerate_pixels()
        .filter(|(_, _, mask)| mask[0] > 1e-3)
        .map(|(x, y, _)| {
            let (left, above) = (x.saturating_sub(1), y.saturating_sub(1));
            let (right, below) = ((x + 1).min(width - 1), (y + 1).min(height - 1));
            (
                at(x, y),
                [at(left, y), at(right, y), at(x, above), at(x, below)],
            )
        })
        .collect();
    let mut filled = picture.clone();
    // The best factor for a square as large.
    let side = (hole.len() as f32).sqrt().max(2.0);
    let factor = 2.0 / (1.0 + (PI / side).sin());
    let (pixels, _) = filled.as_chunks_mut::<3>();
    for _ in 0..(3.0 * side) as usize {
        for &(pixel, neighbours) in &hole {
            let neighbours = neighbours.iter().filter_map(|n| pixels.get(*n).copied());
            let sum = neighbours.reduce(|sum, n| paired(sum, n, |sum, value| sum + value));
            if let (Some(pixel), Some(sum)) = (pixels.get_mut(pixel), sum) {
                *pixel = paired(*pixel, sum, |value, sum| {
                    value + factor * (0.25 * sum - value)
                });
            }
        }
    }
    filled
}

/// Texture of a low resolution: noise on a grid, up-sampled. The plainer the forgery, the
/// coarser it is and the more it stands out.
fn add_grain(
    picture: &mut Rgb32FImage,
    mask: &Plane,
    unit: f32,
    strength: f32,
    rng: &mut ChaCha8Rng,
) {
    let amount = 0.02 + 0.07 * strength;
    let step = unit * (1.2 + 2.6 * strength);
    let cells = |side: u32| (side as f32 / step) as u32 + 2;
    let mut grain = Rgb32FImage::new(cells(picture.width()), cells(picture.height()));
    for pixel in grain.pixels_mut() {
        let grey = between(rng, -amount, amount);
        *pixel = Rgb([(); 3].map(|()| grey + 0.4 * between(rng, -amount, amount)));
    }
    for ((x, y, pixel), mask) in picture.enumerate_pixels_mut().zip(mask.pixels()) {
        if mask[0] > 0.0 {
            let grain = sample(&grain, x as f32 / step, y as f32 / step);
            pixel.0 = paired(pixel.0, grain.0, |value, grain| value + grain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    #[test]
    fn diffusion_continues_a_plane_and_leaves_the_rest() {
        let ramp = Rgb32FImage::from_fn(40, 40, |x, y| Rgb([x as f32, y as f32, 0.5]));
        let disc = |x: u32, y: u32| (x as f32 - 20.0).hypot(y as f32 - 17.0) < 11.0;
        let mask = Plane::from_fn(40, 40, |x, y| Luma([f32::from(u8::from(disc(x, y)))]));
        let holed = Rgb32FImage::from_fn(40, 40, |x, y| {
            if disc(x, y) {
                Rgb([0.0; 3])
            } else {
                *ramp.get_pixel(x, y)
            }
        });
        let filled = diffused(&holed, &mask);
        for (x, y, pixel) in filled.enumerate_pixels() {
            let truth = ramp.get_pixel(x, y);
            if disc(x, y) {
                assert!(
                    (0..3).all(|i| (pixel[i] - truth[i]).abs() < 0.05),
                    "{x} {y} {pixel:?}"
                );
            } else {
                assert_eq!(pixel, truth);
            }
        }
    }

    #[test]
    fn diffusion_bears_a_hole_at_the_border_and_none() {
        let grey = Rgb32FImage::from_pixel(9, 9, Rgb([0.5; 3]));
        assert_eq!(diffused(&grey, &Plane::new(9, 9)), grey);
        assert_eq!(diffused(&grey, &Plane::from_pixel(9, 9, Luma([1.0]))), grey);
    }
}
