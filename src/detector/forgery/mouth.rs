//! A mouth synthesised anew over the lower face.

use image::{Rgb32FImage, imageops::FilterType};
use rand::rngs::ChaCha8Rng;

use super::{
    Canvas, between, composed, either_sign, match_colour, match_detail,
    warp::{piecewise_affine, region_mask},
};
use crate::detector::{
    landmark::{Landmarks, Part, chosen},
    raster::{Plane, coarsened, paired},
};

pub(super) fn forge(
    target: &Canvas,
    donor: &Canvas,
    strength: f32,
    rng: &mut ChaCha8Rng,
) -> (Rgb32FImage, Plane) {
    let unit = target.unit;
    let jaw = between(rng, -0.5, 2.5) * unit;
    let spoken = opened(target.landmarks, jaw);
    let mesh = target.landmarks.scheme().mesh();
    let [from, to] = [donor.landmarks.points(), &spoken].map(|points| chosen(points, &mesh));
    let warped = piecewise_affine(&donor.picture, &target.picture, &from, &to);

    let region = lower_face(target.landmarks);
    let mask = region_mask(target, &[region], unit * (1.6 - 1.3 * strength));
    // As a network of a low resolution gives it back.
    let factor = unit * (0.8 + 1.4 * strength) * between(rng, 0.9, 1.1);
    let mut part = coarsened(&warped, factor, FilterType::CatmullRom);
    let tint = [(); 3].map(|()| either_sign(rng, 0.025, 0.065) * strength);
    match_detail(&mut part, &target.picture, &mask, 1.2 * unit);
    match_colour(&mut part, &target.picture, &mask, tint);
    composed(target, &part, mask)
}

/// The landmarks with the lower lip moved down by a length, and the chin by half of it.
fn opened(landmarks: &Landmarks, length: f32) -> Vec<[f32; 2]> {
    let mut points = landmarks.points().to_vec();
    let scheme = landmarks.scheme();
    let middle = landmarks.centre(Part::MouthInner);
    for index in [scheme.part(Part::MouthOuter), scheme.part(Part::MouthInner)].concat() {
        if let Some([_, y]) = points.get_mut(index).filter(|[_, y]| *y > middle[1]) {
            *y += length;
        }
    }
    for index in scheme.part(Part::Chin) {
        if let Some([_, y]) = points.get_mut(index) {
            *y += 0.5 * length;
        }
    }
    points
}

/// A box with round corners from below the nose to the chin, upright as the mouth is: networks of
/// lip synchronisation paint boxes.
fn lower_face(landmarks: &Landmarks) -> Vec<[f32; 2]> {
    let [mouth, chin] = [Part::MouthOuter, Part::Chin].map(|part| landmarks.centre(part));
    let eyes = [Part::LeftEye, Part::RightEye].map(|part| landmarks.centre(part));
    let apart = paired(eyes[1], eyes[0], |right, left| right - left);
    let down = paired(chin, mouth, |chin, mouth| chin - mouth);
    let squared = |v: f32| v.signum() * v.abs().sqrt();
    (0..48)
        .map(|i| {
            let (sin, cos) = (i as f32 / 48.0 * std::f32::consts::TAU).sin_cos();
            let (across, along) = (0.72 * squared(cos), squared(sin));
            // Less far up to the nose than down to the chin.
            let along = if along < 0.0 {
                0.75 * along
            } else {
                0.88 * along
            };
            let aside = paired(mouth, apart, |mouth, apart| mouth + across * apart);
            paired(aside, down, |aside, down| aside + along * down)
        })
        .collect()
}
