//! Another person's face on the target's landmarks.

use image::Rgb32FImage;
use rand::rngs::ChaCha8Rng;

use super::{
    Canvas, between, composed, either_sign, match_colour, match_detail,
    warp::{mesh_points, piecewise_affine, shrunk_outline, soft_mask},
};
use crate::detector::raster::{Plane, blur};

pub(super) fn forge(
    target: &Canvas,
    donor: &Canvas,
    strength: f32,
    rng: &mut ChaCha8Rng,
) -> (Rgb32FImage, Plane) {
    let unit = target.unit;
    let (from, to) = (mesh_points(donor.landmarks), mesh_points(target.landmarks));
    let mut part = piecewise_affine(&donor.picture, &target.picture, &from, &to);
    part = blur(&part, unit * between(rng, 0.35, 0.6) * strength);

    let outline = shrunk_outline(target.landmarks, between(rng, 0.88, 0.95));
    let feather = unit * (2.0 - 1.75 * strength) * between(rng, 0.8, 1.2);
    let mask = soft_mask(&target.picture, &outline, feather);

    // Colours matched over the whole face do not match along its edge; the tint stands for light
    // that the statistics of a face do not describe.
    let tint = [(); 3].map(|()| either_sign(rng, 0.015, 0.055) * strength);
    match_detail(&mut part, &target.picture, &mask, unit);
    match_colour(&mut part, &target.picture, &mask, tint);
    composed(target, &part, mask)
}
