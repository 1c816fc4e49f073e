use image::{Rgb, RgbImage};

use crate::{
    Error, Result,
    detector::{
        faces::MAX_SIDE,
        landmark::{Landmarks, Part, Scheme},
    },
};

/// Where ArcFace has the eyes, the nose and the corners of the mouth in a face of 112 pixels a
/// side (Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR
/// 2019, arXiv 1801.07698).
const TEMPLATE: [[f32; 2]; 5] = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];
/// The side of the template's face in pixels.
const TEMPLATE_SIDE: f32 = 112.0;

/// How a face is cut out of a picture: upright, at one size, as DeepfakeBench's preparation does.
///
/// Five points $p_i$ on the face are brought as near as a rotation, a scale and a shift allow to
/// the template's $q_i$,
///
/// $$ \min_{s, R, t} \sum_i \lVert s R p_i + t - q_i \rVert^2, \qquad
///    q_i = \frac{w}{m} \Bigl( \frac{a_i}{112} + \frac{m - 1}{2} \Bigr), $$
///
/// where $w$ is the crop's side, $m$ the margin's factor and $a_i$ ArcFace's points. In the plane
/// the minimum has a closed form; it is the one without a reflection of Umeyama, "Least-squares
/// estimation of transformation parameters between two point patterns", IEEE TPAMI 1991, doi
/// 10.1109/34.88573.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct AlignConfig {
    /// The crop's side in pixels, from 16 to 4096.
    #[config(default = 256)]
    pub size: u32,
    /// How many times the template's side the crop shows, from 1 to 4.
    #[config(default = 1.3)]
    pub margin: f32,
}

/// A face cut out, with its landmarks in the crop's pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignedFace {
    /// The crop; black where the picture has ended.
    pub picture: RgbImage,
    /// The landmarks.
    pub landmarks: Landmarks,
}

/// A rotation, scale and shift of the plane:
/// $(x, y) \mapsto (a x - b y + t_x, b x + a y + t_y)$.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Similarity {
    a: f64,
    b: f64,
    shift: [f64; 2],
}

impl AlignConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for the first that is out of its range.
    pub fn check(&self) -> Result<()> {
        let refused = |field, rule, value| Err(Error::Setting { field, rule, value });
        if !(16..=MAX_SIDE).contains(&self.size) {
            return refused("size", "be from 16 to 4096 pixels", self.size.to_string());
        }
        if !(1.0..=4.0).contains(&self.margin) {
            return refused("margin", "be from 1 to 4", self.margin.to_string());
        }
        Ok(())
    }

    /// Where the five points come to lie: the eyes on the picture's left and right, the nose, the
    /// corners of the mouth.
    pub fn template(&self) -> [[f32; 2]; 5] {
        let scale = self.size as f32 / self.margin;
        TEMPLATE.map(|point| point.map(|v| scale * (v / TEMPLATE_SIDE + 0.5 * (self.margin - 1.0))))
    }

    /// The rows $(s R_{i1}, s R_{i2}, t_i)$ of the map from a picture with these five points to
    /// the crop, for [`Landmarks::transformed`].
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range, or points that are not finite or nearly
    /// one point.
    pub fn map(&self, points: [[f32; 2]; 5]) -> Result<[[f32; 3]; 2]> {
        self.check()?;
        let Similarity { a, b, shift } = self.fit(points)?;
        Ok([[a, -b, shift[0]], [b, a, shift[1]]].map(|row| row.map(|v| v as f32)))
    }

    /// Cuts out a face by its landmarks, and takes them along.
    ///
    /// Of dlib's points, DeepfakeBench's five are taken: 37, 44, 30, 49 and 55. Of the other
    /// schemes, the eyes' middles, the nose's base and the mouth's corners.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] as [`map`](Self::map), or for an empty picture.
    pub fn align(&self, picture: &RgbImage, landmarks: &Landmarks) -> Result<AlignedFace> {
        let points = five_points(landmarks);
        Ok(AlignedFace {
            picture: self.align_points(picture, points)?,
            landmarks: landmarks.transformed(self.map(points)?)?,
        })
    }

    /// Cuts out a face by five points: the eyes on the picture's left and right, the nose, the
    /// corners of the mouth on the left and right.
    ///
    /// # Errors
    ///
    /// As [`align`](Self::align).
    pub fn align_points(&self, picture: &RgbImage, points: [[f32; 2]; 5]) -> Result<RgbImage> {
        self.check()?;
        let to_crop = self.fit(points)?;
        if picture.width().min(picture.height()) == 0 {
            return Err(Error::Setting {
                field: "picture",
                rule: "have pixels",
                value: format!("{} x {}", picture.width(), picture.height()),
            });
        }
        Ok(RgbImage::from_fn(self.size, self.size, |x, y| {
            let [x, y] = to_crop.undone([x, y].map(f64::from));
            sample(picture, x, y)
        }))
    }

    /// With $z = x + i y$ and the means taken off, the map is $z \mapsto c z$ with
    /// $c = \sum \bar p_i q_i / \sum |p_i|^2$.
    fn fit(&self, points: [[f32; 2]; 5]) -> Result<Similarity> {
        let [from, to] = [points, self.template()].map(|list| list.map(|p| p.map(f64::from)));
        let mean = |list: &[[f64; 2]; 5]| {
            let sum = list
                .iter()
                .fold([0.0; 2], |s, p| [s[0] + p[0], s[1] + p[1]]);
            sum.map(|v| v / 5.0)
        };
        let [p, q] = [mean(&from), mean(&to)];
        let (mut a, mut b, mut spread) = (0.0, 0.0, 0.0);
        for (from, to) in from.iter().zip(&to) {
            let [px, py] = [from[0] - p[0], from[1] - p[1]];
            let [qx, qy] = [to[0] - q[0], to[1] - q[1]];
            a += px * qx + py * qy;
            b += px * qy - py * qx;
            spread += px * px + py * py;
        }
        let [a, b] = [a / spread, b / spread];
        let scale = a.hypot(b);
        // A face of less than a pixel or of a million pixels is a mistake.
        if !scale.is_finite() || !(1e-3..=1e3).contains(&scale) {
            return Err(Error::Setting {
                field: "points",
                rule: "be five points of one face, apart from each other",
                value: format!("{points:?}"),
            });
        }
        Ok(Similarity {
            a,
            b,
            shift: [q[0] - a * p[0] + b * p[1], q[1] - b * p[0] - a * p[1]],
        })
    }
}

impl Similarity {
    fn undone(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [x, y] = [x - self.shift[0], y - self.shift[1]];
        let square = self.a * self.a + self.b * self.b;
        [
            (self.a * x + self.b * y) / square,
            (self.a * y - self.b * x) / square,
        ]
    }
}

/// The value between pixels, bilinear, black beyond the border.
fn sample(picture: &RgbImage, x: f64, y: f64) -> Rgb<u8> {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let mut sum = [0.5; 3];
    for (dx, dy, weight) in [
        (0.0, 0.0, (1.0 - fx) * (1.0 - fy)),
        (1.0, 0.0, fx * (1.0 - fy)),
        (0.0, 1.0, (1.0 - fx) * fy),
        (1.0, 1.0, fx * fy),
    ] {
        let (x, y) = (left + dx, top + dy);
        if x < 0.0 || y < 0.0 {
            continue;
        }
        // Beyond `u32` the cast ends at its greatest number, which no picture has.
        let Some(pixel) = picture.get_pixel_checked(x as u32, y as u32) else {
            continue;
        };
        for (sum, value) in sum.iter_mut().zip(pixel.0) {
            *sum += weight * f64::from(value);
        }
    }
    Rgb(sum.map(|v| v as u8))
}

/// Eyes, nose and mouth's corners, from the picture's left to its right.
fn five_points(landmarks: &Landmarks) -> [[f32; 2]; 5] {
    let point = |index: usize| *landmarks.points().get(index).unwrap_or(&[0.0; 2]);
    match landmarks.scheme() {
        Scheme::Dlib68 | Scheme::Dlib81 => [37, 44, 30, 49, 55].map(point),
        Scheme::WebMorph189 => [0, 1, 55, 87, 93].map(point),
        Scheme::Portrait97 => {
            let [nose, left, right] = [67, 73, 79].map(point);
            let eye = |eye| landmarks.centre(eye);
            [eye(Part::LeftEye), eye(Part::RightEye), nose, left, right]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::portrait::PortraitConfig;

    fn near<const N: usize, const M: usize>(a: [[f32; N]; M], b: [[f32; N]; M], tolerance: f32) {
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((a - b).abs() <= tolerance, "{a} is not {b}");
        }
    }

    #[test]
    fn the_template_is_deepfakebenchs() {
        // Numbers made with numpy.
        let expected = [
            [96.8696, 120.4331],
            [158.8251, 120.0904],
            [128.0443, 155.6687],
            [102.5922, 191.9393],
            [153.8987, 191.6556],
        ];
        near(AlignConfig::new().template(), expected, 1e-3);
        let bare = AlignConfig::new().with_size(112).with_margin(1.0);
        near(bare.template(), TEMPLATE, 1e-4);
    }

    #[test]
    fn the_map_is_umeyamas() {
        // By the singular value decomposition of Umeyama's paper, in numpy.
        let turned = [
            [412.5, 301.25],
            [530.75, 322.0],
            [468.0, 380.5],
            [405.25, 431.0],
            [499.5, 452.75],
        ];
        let mirrored = [
            [100.0, 40.0],
            [40.0, 44.0],
            [73.0, 80.0],
            [95.0, 120.0],
            [50.0, 121.0],
        ];
        let new = AlignConfig::new;
        for (config, points, expected) in [
            (
                new(),
                turned,
                [
                    [0.525_727_4, 0.091_078_9, -149.853_23],
                    [-0.091_078_9, 0.525_727_4, -0.316_954_5],
                ],
            ),
            (
                new().with_size(380).with_margin(1.5),
                turned,
                [
                    [0.676_326_4, 0.117_169_2, -167.446_6],
                    [-0.117_169_2, 0.676_326_4, 24.925_585],
                ],
            ),
            (
                new(),
                mirrored,
                [
                    [0.289_442_9, -0.001_577_3, 107.449_64],
                    [0.001_577_3, 0.289_442_9, 132.399_6],
                ],
            ),
        ] {
            near(config.map(points).unwrap(), expected, 2e-4);
        }
    }

    #[test]
    fn pixels_go_where_the_map_says() {
        let ramp = RgbImage::from_fn(120, 120, |x, y| Rgb([x as u8, y as u8, 200]));
        let config = AlignConfig::new().with_size(64).with_margin(2.0);
        let points = config
            .template()
            .map(|[x, y]| [1.7 * x + 5.0, 1.7 * y + 8.0]);
        let crop = config.align_points(&ramp, points).unwrap();
        for (x, y) in [(0, 0), (20, 33), (63, 63)] {
            let [r, g, b] = crop.get_pixel(x, y).0;
            assert!(
                (f32::from(r) - (1.7 * x as f32 + 5.0)).abs() < 0.6,
                "{r} at {x}"
            );
            assert!(
                (f32::from(g) - (1.7 * y as f32 + 8.0)).abs() < 0.6,
                "{g} at {y}"
            );
            assert_eq!(b, 200);
        }
        let beyond = config
            .align_points(&ramp, points.map(|[x, y]| [x - 500.0, y]))
            .unwrap();
        assert!(beyond.pixels().all(|pixel| pixel.0 == [0; 3]));
    }

    #[test]
    fn a_face_and_its_landmarks_come_to_the_template() {
        let face = PortraitConfig::new().with_size(200).draw(3, 1, 2).unwrap();
        let config = AlignConfig::new();
        let aligned = config.align(face.picture(), face.landmarks()).unwrap();
        assert_eq!(aligned.picture.dimensions(), (256, 256));
        near(five_points(&aligned.landmarks), config.template(), 12.0);
        // What is aligned already stays where it is.
        let [[a, b, x], [c, d, y]] = config.map(config.template()).unwrap();
        near(
            [[a, b, x], [c, d, y]],
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            1e-4,
        );
    }

    #[test]
    fn points_that_are_no_face() {
        let new = AlignConfig::new;
        let picture = RgbImage::new(10, 10);
        for points in [[[5.0, 5.0]; 5], [[f32::NAN, 1.0]; 5], [[1e38, -1e38]; 5]] {
            let error = new().align_points(&picture, points).unwrap_err();
            assert!(error.to_string().starts_with("points must"), "{error}");
        }
        let points = new().template();
        assert!(new().align_points(&RgbImage::new(0, 4), points).is_err());
        assert!(new().with_size(15).map(points).is_err());
        assert!(new().with_margin(f32::NAN).check().is_err());
    }
}
