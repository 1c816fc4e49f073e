//! A mean face laid into the frame of a picture, where nobody marked the face itself.

use super::landmark::{Landmarks, Scheme};
use crate::{Error, Result};

/// Where the face stands in an official portrait, head and shoulders in a frame of 4 : 5: left,
/// top, right and bottom in fractions of the frame.
///
/// Hair, ears and neck are left out. Set by eye on the mean of 813 portraits of the Congressional
/// Pictorial Directory: single faces lie beside it, most by a few hundredths of the frame.
pub const PORTRAIT_REGION: [f32; 4] = [0.26, 0.185, 0.75, 0.755];

impl Landmarks {
    /// The landmarks of a mean face, seen from the front, whose outline fills a region of the
    /// frame: [`Scheme::Portrait97`], whatever the picture shows.
    ///
    /// `region` is left, top, right, bottom in fractions of the frame. The fraction $f$ of a side
    /// of $n$ pixels lies at the coordinate $f n - \tfrac12$, as $(0, 0)$ is the centre of the
    /// first pixel. The proportions are the means over 142 people of the Face Research Lab London
    /// Set (DeBruine and Jones 2017, doi 10.6084/m9.figshare.5047666).
    ///
    /// Good for forgeries that [need no landmarks](crate::detector::forgery::Forgery::needs_landmarks),
    /// and for the crop.
    ///
    /// ```
    /// use roga::detector::{landmark::{Landmarks, Part}, template::PORTRAIT_REGION};
    ///
    /// let landmarks = Landmarks::in_frame(200, 250, PORTRAIT_REGION)?;
    /// let [left, top, right, bottom] = landmarks.face_box();
    /// assert!((left - (0.26 * 200.0 - 0.5)).abs() < 1e-3 && (bottom - (0.755 * 250.0 - 0.5)).abs() < 1e-3);
    /// assert!(landmarks.centre(Part::LeftEye)[1] < landmarks.centre(Part::Nose)[1]);
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the region does not rise from left to right and from top to bottom
    /// within 0 and 1.
    pub fn in_frame(width: u32, height: u32, region: [f32; 4]) -> Result<Self> {
        check_region(region)?;
        let [left, top, right, bottom] = region;
        let at =
            |low: f32, high: f32, v: f32, side: u32| (low + (high - low) * v) * side as f32 - 0.5;
        let points = mean_face()
            .into_iter()
            .map(|[x, y]| [at(left, right, x, width), at(top, bottom, y, height)]);
        Self::new(points.collect(), Scheme::Portrait97)
    }
}

/// Refuses regions that are none.
pub(crate) fn check_region(region: [f32; 4]) -> Result<()> {
    let [left, top, right, bottom] = region;
    let rises = |low: f32, high: f32| 0.0 <= low && low < high && high <= 1.0;
    if rises(left, right) && rises(top, bottom) {
        return Ok(());
    }
    Err(Error::Setting {
        field: "region",
        rule: "be left < right and top < bottom from 0 to 1",
        value: format!("{region:?}"),
    })
}

/// The 97 points of a face whose outline's box is the unit square, in the scheme's order.
fn mean_face() -> Vec<[f32; 2]> {
    let mut points = outline();
    for side in [-1.0, 1.0] {
        points.extend(eye(side));
    }
    for side in [-1.0, 1.0] {
        points.extend(brow(side));
    }
    points.extend(nose());
    points.extend(lips(0.176, 0.047, 0.049));
    points.extend(lips(0.11, 0.006, 0.006));
    points
}

/// A superellipse, widest below the eyes: from the picture's left round the chin.
fn outline() -> Vec<[f32; 2]> {
    const WIDEST: f32 = 0.46;
    let bent = |v: f32| v.signum() * v.abs().powf(2.0 / 2.3);
    let corner = |i: usize| {
        let (sin, cos) = (std::f32::consts::PI * (1.0 - i as f32 / 14.0)).sin_cos();
        let reach = if sin < 0.0 { WIDEST } else { 1.0 - WIDEST };
        [0.5 + 0.5 * bent(cos), WIDEST + reach * bent(sin)]
    };
    (0..28).map(corner).collect()
}

/// The upper lid from the outer corner to the inner, and back along the lower.
fn eye(side: f32) -> [[f32; 2]; 8] {
    [
        (1.0, 0.0),
        (0.5, -0.022),
        (0.0, -0.030),
        (-0.5, -0.020),
        (-1.0, 0.008),
        (-0.5, 0.016),
        (0.0, 0.022),
        (0.5, 0.018),
    ]
    .map(|(t, y)| [0.5 + side * (0.221 + 0.097 * t), 0.407 + y])
}

/// The upper edge from the outer end to the inner, and back along the lower.
fn brow(side: f32) -> [[f32; 2]; 8] {
    [
        (1.0, 0.045),
        (0.33, -0.028),
        (-0.33, -0.030),
        (-1.0, -0.004),
        (-1.0, 0.030),
        (-0.33, 0.012),
        (0.33, 0.010),
        (1.0, 0.050),
    ]
    .map(|(t, y)| [0.5 + side * (0.258 + 0.156 * t), 0.312 + y])
}

/// The bridge down to the tip, round the wings, the wings' upper ends, and between the eyes.
fn nose() -> [[f32; 2]; 13] {
    [
        (0.0, 0.371),
        (0.0, 0.430),
        (0.0, 0.490),
        (0.0, 0.545),
        (0.0, 0.590),
        (-0.125, 0.600),
        (-0.065, 0.622),
        (0.0, 0.633),
        (0.065, 0.622),
        (0.125, 0.600),
        (-0.100, 0.555),
        (0.100, 0.555),
        (0.0, 0.330),
    ]
    .map(|(x, y)| [0.5 + x, y])
}

/// An edge of the lips: from the left corner along the upper side, and back along the lower.
fn lips(half_width: f32, above: f32, below: f32) -> [[f32; 2]; 12] {
    std::array::from_fn(|i| {
        let (sin, cos) = (std::f32::consts::PI * (1.0 + i as f32 / 6.0)).sin_cos();
        let reach = if sin < 0.0 { above } else { below };
        [0.503 + half_width * cos, 0.757 + reach * sin]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{faces::Face, landmark::Part};
    use image::RgbImage;

    #[test]
    fn the_outline_fills_the_region_and_the_parts_lie_in_order() {
        let landmarks = Landmarks::in_frame(100, 200, [0.1, 0.2, 0.9, 0.8]).unwrap();
        let expected = [9.5, 39.5, 89.5, 159.5];
        for (found, expected) in landmarks.face_box().into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
        let at = |part| landmarks.centre(part);
        assert!(at(Part::LeftBrow)[1] < at(Part::LeftEye)[1]);
        assert!(at(Part::RightEye)[1] < at(Part::Nose)[1]);
        assert!(at(Part::Nose)[1] < at(Part::MouthInner)[1]);
        assert!(at(Part::MouthOuter)[1] < at(Part::Chin)[1]);
        assert_eq!(at(Part::Chin)[1], landmarks.face_box()[3]);
        assert!(at(Part::LeftEye)[0] < at(Part::RightEye)[0]);
        // Mirrored points lie on the other side, as those of a face from the front do.
        for (left, right) in [
            (Part::LeftEye, Part::RightEye),
            (Part::LeftBrow, Part::RightBrow),
        ] {
            for (l, r) in landmarks.part(left).iter().zip(landmarks.part(right)) {
                assert!((l[0] + r[0] - 99.0).abs() < 1e-3 && (l[1] - r[1]).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn outlines_and_mouths_are_closed_in_the_order_of_drawn_portraits() {
        use crate::detector::portrait::PortraitConfig;
        let drawn = PortraitConfig::new().draw(1, 0, 0).unwrap();
        let landmarks = Landmarks::in_frame(128, 128, PORTRAIT_REGION).unwrap();
        for part in Part::ALL {
            let normal = |landmarks: &Landmarks| -> Vec<[f32; 2]> {
                let [left, top, right, bottom] = landmarks.face_box();
                let points = landmarks.part(part).into_iter();
                let scaled =
                    |[x, y]: [f32; 2]| [(x - left) / (right - left), (y - top) / (bottom - top)];
                points.map(scaled).collect()
            };
            for (a, b) in normal(&landmarks).iter().zip(normal(drawn.landmarks())) {
                assert!(
                    (a[0] - b[0]).hypot(a[1] - b[1]) < 0.2,
                    "{part:?} {a:?} {b:?}"
                );
            }
        }
    }

    #[test]
    fn frames_too_small_for_a_face_and_regions_that_are_none_are_refused() {
        for region in [
            [0.5, 0.1, 0.5, 0.9],
            [0.1, 0.9, 0.9, 0.1],
            [-0.1, 0.1, 0.9, 0.9],
            [0.1, 0.1, 1.1, 0.9],
            [0.1, f32::NAN, 0.9, 0.9],
        ] {
            let error = Landmarks::in_frame(200, 250, region).unwrap_err();
            assert!(error.to_string().starts_with("region"), "{error}");
        }
        for (width, height) in [(0, 0), (1, 1), (20, 25)] {
            let landmarks = Landmarks::in_frame(width, height, PORTRAIT_REGION).unwrap();
            assert!(Face::new(RgbImage::new(width, height), landmarks).is_err());
        }
    }
}
