//! The donor's expression on the target's own face.

use image::{Rgb32FImage, imageops::FilterType};
use rand::rngs::ChaCha8Rng;

use super::{
    Canvas, between, composed, either_sign, match_colour, match_detail,
    warp::{piecewise_affine, region_mask},
};
use crate::detector::{
    landmark::{Landmarks, Part, bounds, chosen},
    raster::{Plane, coarsened, paired},
};

pub(super) fn forge(
    target: &Canvas,
    donor: &Canvas,
    strength: f32,
    rng: &mut ChaCha8Rng,
) -> (Rgb32FImage, Plane) {
    let unit = target.unit;
    let share = between(rng, 0.8, 1.2) * (0.5 + 0.5 * strength);
    let posed = expressed(target, donor.landmarks, share);
    let mesh = target.landmarks.scheme().mesh();
    let [from, to] = [target.landmarks.points(), &posed].map(|points| chosen(points, &mesh));
    let warped = piecewise_affine(&target.picture, &target.picture, &from, &to);

    let regions = regions(target, &posed, unit * between(rng, 3.0, 4.5));
    let mask = region_mask(target, &regions, unit * (1.4 - 1.2 * strength));
    // The face is rendered anew from a texture of a lower resolution, under a light that was
    // estimated.
    let factor = unit * (0.8 + 1.3 * strength) * between(rng, 0.9, 1.1);
    let mut part = coarsened(&warped, factor, FilterType::CatmullRom);
    let tint = [(); 3].map(|()| either_sign(rng, 0.03, 0.07) * strength);
    match_detail(&mut part, &target.picture, &mask, 1.2 * unit);
    match_colour(&mut part, &target.picture, &mask, tint);
    composed(target, &part, mask)
}

/// The target's landmarks with a share of the donor's expression.
///
/// One picture does not tell a person's features from what they do with them. Where the eyes and
/// the mouth are and how wide they are is taken for the person's and stays; their shape, and how
/// high the brows are above the eyes, for the expression.
fn expressed(target: &Canvas, donor: &Landmarks, share: f32) -> Vec<[f32; 2]> {
    let (landmarks, scheme) = (target.landmarks, target.landmarks.scheme());
    let posed = aligned(donor.points(), landmarks.points());
    let mut points = landmarks.points().to_vec();
    for (part, anchor) in [
        (Part::LeftEye, Part::LeftEye),
        (Part::RightEye, Part::RightEye),
        (Part::LeftBrow, Part::LeftEye),
        (Part::RightBrow, Part::RightEye),
        (Part::MouthOuter, Part::MouthOuter),
        (Part::MouthInner, Part::MouthOuter),
    ] {
        let anchor = scheme.part(anchor);
        let [(old, old_width), (new, new_width)] =
            [landmarks.points(), &posed].map(|points| middle_and_width(points, &anchor));
        let scale = (old_width / new_width.max(1e-3)).clamp(0.7, 1.4);
        for index in scheme.part(part) {
            let both = landmarks.points().get(index).zip(posed.get(index));
            let Some(((from, posed), point)) = both.zip(points.get_mut(index)) else {
                continue;
            };
            let new = paired(*posed, new, |posed, new| scale * (posed - new));
            let old = paired(*from, old, |from, old| from - old);
            let change = paired(new, old, |new, old| share * (new - old));
            // Never so far that it would fold the face.
            let most = 4.0 * target.unit;
            let damping = most / (most + change[0].hypot(change[1]));
            *point = paired(*from, change, |from, change| from + damping * change);
        }
    }
    points
}

/// The middle of the box round some points, and its width.
fn middle_and_width(points: &[[f32; 2]], indices: &[usize]) -> ([f32; 2], f32) {
    let [left, top, right, bottom] = bounds(&chosen(points, indices));
    ([0.5 * (left + right), 0.5 * (top + bottom)], right - left)
}

/// `points`, turned, scaled and shifted to where they come nearest to `to` in the least squares.
fn aligned(points: &[[f32; 2]], to: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let mean = |points: &[[f32; 2]]| -> [f32; 2] {
        let sum = |of: fn(&[f32; 2]) -> f32| points.iter().map(of).sum::<f32>();
        [sum(|[x, _]| *x), sum(|[_, y]| *y)].map(|sum| sum / points.len() as f32)
    };
    let (from_mean, to_mean) = (mean(points), mean(to));
    let (mut cos, mut sin, mut squares) = (0.0, 0.0, 0.0);
    for (p, q) in points.iter().zip(to) {
        let p = paired(*p, from_mean, |p, mean| p - mean);
        let q = paired(*q, to_mean, |q, mean| q - mean);
        cos += p[0] * q[0] + p[1] * q[1];
        sin += p[0] * q[1] - p[1] * q[0];
        squares += p[0] * p[0] + p[1] * p[1];
    }
    let (cos, sin) = (cos / squares.max(1e-6), sin / squares.max(1e-6));
    let moved = |p: &[f32; 2]| {
        let [x, y] = [p[0] - from_mean[0], p[1] - from_mean[1]];
        [
            to_mean[0] + cos * x - sin * y,
            to_mean[1] + sin * x + cos * y,
        ]
    };
    points.iter().map(moved).collect()
}

/// What is rendered anew: boxes with round corners about the mouth and about the eyes and brows,
/// before and after.
fn regions(target: &Canvas, posed: &[[f32; 2]], margin: f32) -> [Vec<[f32; 2]>; 2] {
    let scheme = target.landmarks.scheme();
    let eyes = [
        Part::LeftEye,
        Part::LeftBrow,
        Part::RightEye,
        Part::RightBrow,
    ];
    [&[Part::MouthOuter][..], &eyes].map(|parts| {
        let indices: Vec<usize> = parts.iter().flat_map(|&part| scheme.part(part)).collect();
        let both = [target.landmarks.points(), posed];
        let points = both.map(|points| chosen(points, &indices));
        round_box(bounds(&points.concat()), margin)
    })
}

/// A superellipse that reaches beyond the sides of a box by a margin.
fn round_box([left, top, right, bottom]: [f32; 4], margin: f32) -> Vec<[f32; 2]> {
    let squared = |v: f32| v.signum() * v.abs().sqrt();
    (0..48)
        .map(|i| {
            let (sin, cos) = (i as f32 / 48.0 * std::f32::consts::TAU).sin_cos();
            [
                0.5 * (left + right) + (0.5 * (right - left) + margin) * squared(cos),
                0.5 * (top + bottom) + (0.5 * (bottom - top) + margin) * squared(sin),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{landmark::Scheme, portrait::PortraitConfig};

    #[test]
    fn a_pose_is_taken_away() {
        let face = PortraitConfig::new().draw(1, 0, 0).unwrap();
        let points = face.landmarks().points();
        let turned = face
            .landmarks()
            .transformed([[0.8, -0.6, 9.0], [0.6, 0.8, -4.0]]);
        let back = aligned(turned.unwrap().points(), points);
        for (a, b) in back.iter().zip(points) {
            assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1e-3, "{a:?} {b:?}");
        }
    }

    #[test]
    fn only_mouth_eyes_and_brows_move_and_the_same_expression_moves_nothing() {
        let config = PortraitConfig::new();
        let [target, donor] = [0, 1].map(|person| config.draw(1, person, 0).unwrap());
        let target = Canvas::new(&target);
        let still = target.landmarks.points();
        for (a, b) in expressed(&target, target.landmarks, 1.0).iter().zip(still) {
            assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1e-3, "{a:?} {b:?}");
        }
        let posed = expressed(&target, donor.landmarks(), 1.0);
        let scheme = Scheme::Portrait97;
        for part in [Part::Outline, Part::Nose, Part::Chin] {
            assert!(scheme.part(part).iter().all(|&i| posed[i] == still[i]));
        }
        for part in [Part::MouthOuter, Part::LeftEye, Part::RightBrow] {
            assert!(scheme.part(part).iter().any(|&i| posed[i] != still[i]));
        }
    }
}
