//! Warps between faces and masks of their parts.

use delaunator::{Point, triangulate};
use image::Rgb32FImage;

use super::Canvas;
use crate::detector::{
    landmark::{Landmarks, Part, bounds, chosen},
    raster::{Plane, blur_plane, fill, paired, sample},
};

/// `source` moved so that the points `from` come to lie at `to`: affine on each triangle of the
/// Delaunay triangulation of `to`. Beyond the points, `under`.
pub(super) fn piecewise_affine(
    source: &Rgb32FImage,
    under: &Rgb32FImage,
    from: &[[f32; 2]],
    to: &[[f32; 2]],
) -> Rgb32FImage {
    let sites: Vec<Point> = to
        .iter()
        .map(|p| Point {
            x: f64::from(p[0]),
            y: f64::from(p[1]),
        })
        .collect();
    let mut warped = under.clone();
    let triangulation = triangulate(&sites);
    let (triangles, _) = triangulation.triangles.as_chunks();
    for [a, b, c] in triangles {
        let corners = |of: &[[f32; 2]]| Some([*of.get(*a)?, *of.get(*b)?, *of.get(*c)?]);
        if let (Some(from), Some(to)) = (corners(from), corners(to)) {
            fill_triangle(&mut warped, source, from, to);
        }
    }
    warped
}

fn fill_triangle(
    picture: &mut Rgb32FImage,
    source: &Rgb32FImage,
    from: [[f32; 2]; 3],
    to: [[f32; 2]; 3],
) {
    let [left, top, right, bottom] = bounds(&to);
    let (width, height) = picture.dimensions();
    let columns = left.max(0.0).ceil() as u32..=right.min(width as f32 - 1.0).max(-1.0) as u32;
    let rows = top.max(0.0).ceil() as u32..=bottom.min(height as f32 - 1.0).max(-1.0) as u32;
    if right < 0.0 || bottom < 0.0 {
        return;
    }
    let [a, b, c] = to;
    let area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
    if area.abs() < 1e-6 {
        return;
    }
    for y in rows {
        for x in columns.clone() {
            let (px, py) = (x as f32 - a[0], y as f32 - a[1]);
            let v = (px * (c[1] - a[1]) - (c[0] - a[0]) * py) / area;
            let w = ((b[0] - a[0]) * py - px * (b[1] - a[1])) / area;
            // Shared edges belong to both sides: better twice than a gap.
            if v < -1e-4 || w < -1e-4 || v + w > 1.0 + 1e-4 {
                continue;
            }
            let u = 1.0 - v - w;
            let at = |a: f32, b: f32, c: f32| u * a + v * b + w * c;
            let [[ax, ay], [bx, by], [cx, cy]] = from;
            picture.put_pixel(x, y, sample(source, at(ax, bx, cx), at(ay, by, cy)));
        }
    }
}

/// The points of a mesh between the scheme's parts.
pub(super) fn mesh_points(landmarks: &Landmarks) -> Vec<[f32; 2]> {
    chosen(landmarks.points(), &landmarks.scheme().mesh())
}

/// The face's outline, shrunk towards its centre by a factor.
pub(super) fn shrunk_outline(landmarks: &Landmarks, factor: f32) -> Vec<[f32; 2]> {
    let centre = landmarks.centre(Part::Outline);
    let outline = landmarks.part(Part::Outline);
    let towards = |point| {
        paired(centre, point, |centre, point| {
            centre + factor * (point - centre)
        })
    };
    outline.into_iter().map(towards).collect()
}

/// The insides of polygons as one mask with soft edges, as far as they are face.
pub(super) fn region_mask(target: &Canvas, polygons: &[Vec<[f32; 2]>], sigma: f32) -> Plane {
    let (width, height) = target.picture.dimensions();
    let mut inside = Plane::new(width, height);
    for polygon in polygons {
        for (inside, new) in inside.iter_mut().zip(fill(width, height, polygon).iter()) {
            *inside = inside.max(*new);
        }
    }
    let mut mask = blur_plane(&inside, sigma);
    let face = shrunk_outline(target.landmarks, 0.94);
    let face = soft_mask(&target.picture, &face, sigma);
    for (mask, face) in mask.pixels_mut().zip(face.pixels()) {
        mask[0] *= face[0];
    }
    mask
}

/// A polygon as a mask with soft edges.
pub(super) fn soft_mask(picture: &Rgb32FImage, polygon: &[[f32; 2]], sigma: f32) -> Plane {
    blur_plane(&fill(picture.width(), picture.height(), polygon), sigma)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn ramp() -> Rgb32FImage {
        Rgb32FImage::from_fn(32, 32, |x, y| Rgb([x as f32, y as f32, 0.0]))
    }

    #[test]
    fn a_shift_of_all_points_shifts_the_picture() {
        let to = [
            [4.0, 4.0],
            [20.0, 4.0],
            [4.0, 20.0],
            [20.0, 20.0],
            [11.0, 13.0],
        ];
        let from = to.map(|[x, y]| [x + 3.0, y + 1.5]);
        let under = Rgb32FImage::new(32, 32);
        let warped = piecewise_affine(&ramp(), &under, &from, &to);
        for y in 4..=20 {
            for x in 4..=20 {
                let pixel = warped.get_pixel(x, y);
                assert!((pixel[0] - x as f32 - 3.0).abs() < 1e-3);
                assert!((pixel[1] - y as f32 - 1.5).abs() < 1e-3);
            }
        }
        assert_eq!(*warped.get_pixel(2, 2), Rgb([0.0; 3]));
    }

    #[test]
    fn points_outside_the_picture_and_on_a_line_are_borne() {
        let under = ramp();
        let far = [[-1e5, -1e5], [1e5, -1e5], [0.0, 1e5]];
        piecewise_affine(&ramp(), &under, &far, &far);
        let beyond = [[-9.0, -9.0], [-5.0, -9.0], [-9.0, -5.0]];
        assert_eq!(piecewise_affine(&ramp(), &under, &far, &beyond), under);
        let line = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]];
        assert_eq!(piecewise_affine(&ramp(), &under, &line, &line), under);
        assert_eq!(piecewise_affine(&ramp(), &under, &[], &[]), under);
    }
}
