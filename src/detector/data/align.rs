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
    let points = landmarks.points();
    let corners = |eyes: [[f32; 2]; 2], [nose, left, right]: [usize; 3]| {
        [eyes[0], eyes[1], points[nose], points[left], points[right]]
    };
    match landmarks.scheme() {
        Scheme::Dlib68 | Scheme::Dlib81 => corners([points[37], points[44]], [30, 49, 55]),
        Scheme::WebMorph189 => corners([points[0], points[1]], [55, 87, 93]),
        Scheme::Portrait97 => {
            let eyes = [Part::LeftEye, Part::RightEye].map(|eye| landmarks.centre(eye));
            corners(eyes, [67, 73, 79])
        }
    }
}
