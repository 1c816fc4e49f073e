//! Where the parts of a drawn face are: one geometry, from which both the pixels are painted and
//! the landmarks are read off.
//!
//! Three frames: pixels; the view, in units of half the head's height round the head's centre,
//! upright; and the face, which is the view with the head's turn undone.

use super::{person::Person, shot::Shot};

/// One person in one shot.
pub(super) struct Anatomy<'a> {
    pub(super) person: &'a Person,
    pub(super) shot: &'a Shot,
    centre: [f32; 2],
    /// Half the head's height in pixels.
    pub(super) radius: f32,
    roll: (f32, f32),
    yaw: (f32, f32),
    pitch: (f32, f32),
    relief: Vec<Bump>,
}

/// A place on the head.
pub(super) struct Spot {
    /// In the frame of the face.
    pub(super) at: [f32; 2],
    /// Out of the head, in the view; of length 1.
    pub(super) normal: [f32; 3],
}

/// A hill of the relief: a Gaussian.
struct Bump {
    at: [f32; 2],
    wide: [f32; 2],
    height: f32,
}

fn bump(x: f32, y: f32, wide: f32, high: f32, height: f32) -> Bump {
    Bump {
        at: [x, y],
        wide: [wide, high],
        height,
    }
}

impl<'a> Anatomy<'a> {
    pub(super) fn new(person: &'a Person, shot: &'a Shot, size: u32) -> Self {
        let side = size as f32;
        Self {
            person,
            shot,
            centre: shot.centre.map(|v| v * side),
            radius: shot.radius * side,
            roll: shot.roll.sin_cos(),
            yaw: shot.yaw.sin_cos(),
            pitch: shot.pitch.sin_cos(),
            relief: relief(person),
        }
    }

    /// Half the width of the head at a height.
    pub(super) fn half_width(&self, y: f32) -> f32 {
        let p = self.person;
        let t = y.clamp(0.0, 1.0);
        let corner = (-((y - 0.62) / 0.22).powi(2)).exp();
        p.half_width * (1.0 - p.taper * t * t + p.square * corner)
    }

    /// From pixels to the view.
    pub(super) fn view(&self, x: f32, y: f32) -> [f32; 2] {
        let (sin, cos) = self.roll;
        let [x, y] = [
            (x - self.centre[0]) / self.radius,
            (y - self.centre[1]) / self.radius,
        ];
        [x * cos + y * sin, y * cos - x * sin]
    }

    /// From the view to pixels.
    fn pixel(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = self.roll;
        let [x, y] = [x * cos - y * sin, x * sin + y * cos];
        [
            x * self.radius + self.centre[0],
            y * self.radius + self.centre[1],
        ]
    }

    /// How far outside the head a place of the view is, in units of the view.
    pub(super) fn outside(&self, [x, y]: [f32; 2]) -> f32 {
        let s = x / self.half_width(y);
        let r = (s * s + y * y).sqrt();
        // The distance to an ellipse, to first order.
        let slope = ((s / self.person.half_width).powi(2) + y * y)
            .sqrt()
            .max(0.3);
        (r * r - r) / slope.max(1e-3)
    }

    /// The place on the head that is seen at a place of the view; at the rim for one beyond it.
    pub(super) fn spot(&self, [x, y]: [f32; 2]) -> Spot {
        let p = self.person;
        let (mut s, mut v) = (x / self.half_width(y), y);
        let squared = s * s + v * v;
        if squared > 0.98 {
            let back = (0.98 / squared).sqrt();
            (s, v) = (s * back, v * back);
        }
        let z = (1.0 - s * s - v * v).sqrt();
        let (sin, cos) = self.yaw;
        let (turned, depth) = (s * cos - z * sin, s * sin + z * cos);
        let (sin, cos) = self.pitch;
        let height = v * cos - depth * sin;
        let at = [turned * self.half_width(height), height];
        let [dx, dy] = self.slope(at);
        let normal = [s / p.half_width - dx, v - dy, z / 0.85];
        let length = normal.iter().map(|n| n * n).sum::<f32>().sqrt();
        Spot {
            at,
            normal: normal.map(|n| n / length),
        }
    }

    /// The pixel at which a place of the face is seen.
    pub(super) fn seen(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let height = y.clamp(-0.97, 0.97);
        let turned = (x / self.half_width(height)).clamp(-0.99, 0.99);
        let depth = (1.0 - turned * turned - height * height).max(0.0).sqrt();
        let (sin, cos) = self.pitch;
        let (v, depth) = (height * cos + depth * sin, depth * cos - height * sin);
        let (sin, cos) = self.yaw;
        let s = turned * cos + depth * sin;
        self.pixel([s * self.half_width(v), v])
    }

    /// The gradient of the relief.
    fn slope(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let mut slope = [0.0; 2];
        for bump in &self.relief {
            let dx = (x - bump.at[0]) / bump.wide[0];
            let dy = (y - bump.at[1]) / bump.wide[1];
            let squared = dx * dx + dy * dy;
            if squared < 9.0 {
                let height = bump.height * (-0.5 * squared).exp();
                slope[0] -= height * dx / bump.wide[0];
                slope[1] -= height * dy / bump.wide[1];
            }
        }
        slope
    }

    /// The centre of an eye: side -1 on the picture's left, 1 on its right.
    pub(super) fn eye(&self, side: f32) -> [f32; 2] {
        [side * self.person.eyes.apart, self.person.eyes.height]
    }

    /// The heights of the upper and the lower lid at $t \in [-1, 1]$, from the nose outwards.
    pub(super) fn lids(&self, t: f32) -> [f32; 2] {
        let eyes = &self.person.eyes;
        let open = eyes.open * self.shot.lids;
        let arch = (1.0 - t * t).max(0.0);
        let tilt = -eyes.tilt * t * eyes.half_width;
        // The upper lid is highest towards the nose, the lower one lowest outwards.
        let upper = -open * arch.powf(0.75) * (1.0 - 0.15 * t);
        let lower = 0.62 * open * arch * (1.0 + 0.2 * t);
        [tilt + upper, tilt + lower]
    }

    /// The height of a brow's middle and its half thickness at $t \in [-1, 1]$, outwards.
    pub(super) fn brow(&self, t: f32) -> [f32; 2] {
        let brows = &self.person.brows;
        let arch = brows.arch * (1.0 - (t - 0.35).powi(2) / 1.1);
        let half = brows.thickness * (1.0 - 0.55 * (t + 0.2).max(0.0).powi(2)) * 0.72;
        [self.person.eyes.height - brows.gap - arch, half]
    }

    /// Half the width of a brow and its distance from the middle.
    pub(super) fn brow_span(&self) -> [f32; 2] {
        [
            self.person.eyes.half_width * 1.35,
            self.person.eyes.apart * 1.03,
        ]
    }

    /// The heights of the lips at $t \in [-1, 1]$: top, the opening's two edges, bottom.
    pub(super) fn lips(&self, t: f32) -> [f32; 4] {
        let mouth = &self.person.mouth;
        let arch = (1.0 - t * t).max(0.0);
        let line = mouth.height - self.shot.smile * (t * t - 0.4);
        let bow = 0.28 * mouth.upper * (-(t / 0.16).powi(2)).exp();
        let gape = self.shot.gape * arch;
        let top = line - mouth.upper * arch.powf(0.85) + bow - 0.25 * gape;
        [
            top,
            line - 0.25 * gape,
            line + 0.75 * gape,
            line + 0.75 * gape + mouth.lower * arch.powf(0.7),
        ]
    }

    /// Half the width of the mouth: a smile is wider.
    pub(super) fn mouth_half_width(&self) -> f32 {
        self.person.mouth.half_width * (1.0 + 1.2 * self.shot.smile)
    }

    /// How far the nose's tip leans to the side to which the head turns.
    pub(super) fn nose_lean(&self) -> f32 {
        0.35 * self.person.nose.height * self.yaw.0
    }

    /// The 97 landmarks, in the order of their scheme.
    pub(super) fn landmarks(&self) -> Vec<[f32; 2]> {
        let mut points = self.outline();
        for side in [-1.0, 1.0] {
            points.extend(self.eye_points(side));
        }
        for side in [-1.0, 1.0] {
            points.extend(self.brow_points(side));
        }
        points.extend(self.nose_points());
        points.extend(self.mouth_points());
        points
    }

    /// From the picture's left round the chin to its right, and back over the forehead.
    fn outline(&self) -> Vec<[f32; 2]> {
        let forehead = self.person.hair.line.min(0.62);
        let corner = |i: usize| {
            let angle = std::f32::consts::PI * (1.0 - i as f32 / 14.0);
            let (sin, cos) = angle.sin_cos();
            if i <= 14 {
                let y = 0.96 * sin;
                // The jaw is a silhouette: it does not move when the head turns.
                self.pixel([0.94 * cos * self.half_width(y), y])
            } else {
                let y = forehead * sin;
                self.seen([0.88 * cos * self.half_width(y), y])
            }
        };
        (0..28).map(corner).collect()
    }

    fn eye_points(&self, side: f32) -> Vec<[f32; 2]> {
        let [x, y] = self.eye(side);
        let half = self.person.eyes.half_width;
        let at = |t: f32, lid: f32| self.seen([x + side * t * half, y + lid]);
        let upper = [1.0, 0.5, 0.0, -0.5].map(|t| at(t, self.lids(t)[0]));
        let lower = [-1.0, -0.5, 0.0, 0.5].map(|t| at(t, self.lids(t)[1]));
        [upper, lower].concat()
    }

    fn brow_points(&self, side: f32) -> Vec<[f32; 2]> {
        let [half, apart] = self.brow_span();
        let at = |t: f32, edge: f32| {
            let [y, thick] = self.brow(t);
            self.seen([side * (apart + t * half), y + edge * thick])
        };
        let upper = [1.0, 0.33, -0.33, -1.0].map(|t| at(t, -1.0));
        let lower = [-1.0, -0.33, 0.33, 1.0].map(|t| at(t, 1.0));
        [upper, lower].concat()
    }

    fn nose_points(&self) -> Vec<[f32; 2]> {
        let nose = &self.person.nose;
        let (lean, wing, tip) = (self.nose_lean(), nose.half_width, nose.tip);
        [
            [0.0, 0.0],
            [0.25 * lean, 0.25 * tip],
            [0.5 * lean, 0.5 * tip],
            [0.75 * lean, 0.75 * tip],
            [lean, tip - 0.02],
            [0.6 * lean - wing, tip],
            [0.6 * lean - 0.5 * wing, tip + 0.05],
            [0.8 * lean, tip + 0.065],
            [0.6 * lean + 0.5 * wing, tip + 0.05],
            [0.6 * lean + wing, tip],
            [0.5 * lean - 0.75 * wing, 0.62 * tip],
            [0.5 * lean + 0.75 * wing, 0.62 * tip],
            [0.0, -0.10],
        ]
        .map(|p| self.seen(p))
        .to_vec()
    }

    fn mouth_points(&self) -> Vec<[f32; 2]> {
        let half = self.mouth_half_width();
        type Edge = fn([f32; 4]) -> f32;
        let at = |t: f32, edge: Edge| self.seen([t * half, edge(self.lips(t))]);
        let ring = |upper: Edge, lower: Edge, reach: f32| {
            let there = [-1.0, -0.66, -0.33, 0.0, 0.33, 0.66, 1.0].map(|t| at(reach * t, upper));
            let back = [0.66, 0.33, 0.0, -0.33, -0.66].map(|t| at(reach * t, lower));
            [&there[..], &back].concat()
        };
        let outer = ring(|[edge, ..]| edge, |[.., edge]| edge, 1.0);
        let inner = ring(|[_, edge, ..]| edge, |[.., edge, _]| edge, 0.9);
        [outer, inner].concat()
    }
}

/// Sockets, cheeks, nose, lips and chin as hills on the egg that is the head.
fn relief(person: &Person) -> Vec<Bump> {
    let (eyes, nose, mouth) = (&person.eyes, &person.nose, &person.mouth);
    let mut relief = vec![
        bump(
            0.0,
            0.45 * nose.tip,
            nose.bridge,
            0.55 * nose.tip,
            0.62 * nose.height,
        ),
        bump(0.0, nose.tip - 0.03, 0.075, 0.075, nose.height * 0.8),
        bump(0.0, mouth.height - 0.11, 0.035, 0.06, -0.018),
        bump(
            0.0,
            mouth.height - 0.5 * mouth.upper,
            0.15,
            0.5 * mouth.upper,
            0.03,
        ),
        bump(
            0.0,
            mouth.height + 0.5 * mouth.lower,
            0.13,
            0.5 * mouth.lower,
            0.035,
        ),
        bump(0.0, mouth.height + mouth.lower + 0.06, 0.14, 0.035, -0.03),
        bump(0.0, 0.86, 0.14, 0.09, person.chin),
        bump(0.0, eyes.height - 0.16, 0.32, 0.07, 0.03),
    ];
    for side in [-1.0, 1.0] {
        let x = side * eyes.apart;
        relief.extend([
            bump(x, eyes.height - 0.01, 0.16, 0.09, -eyes.socket),
            bump(x, eyes.height, 0.10, 0.055, 0.6 * eyes.socket),
            bump(side * 0.42, 0.30, 0.15, 0.13, person.cheek),
            bump(
                side * 0.72 * nose.half_width,
                nose.tip,
                0.045,
                0.05,
                0.4 * nose.height,
            ),
            bump(side * 0.40, 0.58, 0.12, 0.18, -0.04 * person.age),
        ]);
    }
    relief
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::ChaCha8Rng};

    #[test]
    fn seen_is_the_inverse_of_spot() {
        for seed in 0..20 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (person, shot) = (Person::new(&mut rng), Shot::new(&mut rng));
            let anatomy = Anatomy::new(&person, &shot, 128);
            for at in [[0.0, 0.0], [0.3, 0.1], [-0.2, 0.6], [0.1, -0.3]] {
                let [x, y] = anatomy.seen(at);
                let back = anatomy.spot(anatomy.view(x, y)).at;
                assert!((back[0] - at[0]).abs() < 0.02, "{at:?} {back:?}");
                assert!((back[1] - at[1]).abs() < 0.02, "{at:?} {back:?}");
            }
        }
    }
}
