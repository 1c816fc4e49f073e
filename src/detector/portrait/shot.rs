//! One picture of a person: what changes from shot to shot.

use rand::{RngExt, rngs::ChaCha8Rng};

use super::person::{Colour, between};

/// Pose, expression, light, surroundings and camera.
pub(super) struct Shot {
    /// The head's centre and half its height, as fractions of the picture's side.
    pub(super) centre: [f32; 2],
    pub(super) radius: f32,
    /// Rotations in radians.
    pub(super) yaw: f32,
    pub(super) pitch: f32,
    pub(super) roll: f32,
    pub(super) smile: f32,
    pub(super) gape: f32,
    pub(super) lids: f32,
    pub(super) gaze: [f32; 2],
    /// From the head to the light: x right, y down, z to the camera; of length 1.
    pub(super) light: [f32; 3],
    pub(super) light_colour: Colour,
    pub(super) ambient: Colour,
    pub(super) backdrop: [Colour; 2],
    pub(super) backdrop_angle: f32,
    pub(super) backdrop_clutter: f32,
    pub(super) clothes: Colour,
    pub(super) stripes: f32,
    pub(super) collar: f32,
    pub(super) exposure: f32,
    pub(super) defocus: f32,
    pub(super) shot_noise: f32,
    pub(super) read_noise: f32,
}

impl Shot {
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        let warmth = between(rng, -0.16, 0.16);
        let strength = between(rng, 0.65, 1.15);
        let sky = between(rng, 0.22, 0.5);
        let tint = between(rng, -0.08, 0.08);
        Self {
            centre: [between(rng, 0.47, 0.53), between(rng, 0.46, 0.52)],
            radius: between(rng, 0.35, 0.40),
            yaw: between(rng, -0.24, 0.24),
            pitch: between(rng, -0.10, 0.10),
            roll: between(rng, -0.11, 0.11),
            smile: between(rng, -0.02, 0.07),
            gape: if rng.random_bool(0.3) {
                between(rng, 0.02, 0.06)
            } else {
                0.0
            },
            lids: between(rng, 0.8, 1.15),
            gaze: [between(rng, -0.25, 0.25), between(rng, -0.15, 0.15)],
            light: light(rng),
            light_colour: [1.0 + warmth, 1.0, 1.0 - warmth].map(|v| v * strength),
            ambient: [1.0 - tint, 1.0, 1.0 + tint].map(|v| v * sky),
            backdrop: [surface(rng, 0.03, 0.8), surface(rng, 0.03, 0.8)],
            backdrop_angle: between(rng, 0.0, std::f32::consts::TAU),
            backdrop_clutter: between(rng, 0.0, 0.6),
            clothes: surface(rng, 0.02, 0.6),
            stripes: if rng.random_bool(0.3) {
                between(rng, 0.2, 0.6)
            } else {
                0.0
            },
            collar: between(rng, 1.25, 1.55),
            exposure: between(rng, 0.80, 1.12),
            defocus: between(rng, 0.0, 0.5),
            shot_noise: between(rng, 0.0004, 0.0014),
            read_noise: between(rng, 0.002, 0.006),
        }
    }
}

/// From above the shoulders, in front, on either side.
fn light(rng: &mut ChaCha8Rng) -> [f32; 3] {
    let [x, y, z] = [
        between(rng, -0.9, 0.9),
        between(rng, -0.8, -0.05),
        between(rng, 0.55, 1.0),
    ];
    let length = (x * x + y * y + z * z).sqrt();
    [x / length, y / length, z / length]
}

/// A colour of any hue, mostly dull, as walls and clothes are.
fn surface(rng: &mut ChaCha8Rng, low: f32, high: f32) -> Colour {
    let value = (between(rng, low.ln(), high.ln())).exp();
    let dull = between(rng, 0.5, 1.0);
    std::array::from_fn(|_| value * (dull + (1.0 - dull) * 2.0 * rng.random::<f32>()))
}
