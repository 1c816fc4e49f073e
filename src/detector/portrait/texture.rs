//! Noise that looks like skin, hair and cloth: smooth random functions of the plane.

use rand::{RngExt, rngs::ChaCha8Rng};

/// The side of the table of random numbers; the texture repeats after as many units.
const SIDE: usize = 128;

/// A smooth random function of the plane with values in about $[-1, 1]$.
pub(super) struct Texture {
    table: Box<[[f32; SIDE]; SIDE]>,
}

impl Texture {
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut table = Box::new([[0.0; SIDE]; SIDE]);
        for number in table.as_flattened_mut() {
            *number = 2.0 * rng.random::<f32>() - 1.0;
        }
        Self { table }
    }

    /// Noise with features of about one unit.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (fx, fy) = (ease(x - left), ease(y - top));
        let wrap = |v: f32, step: i64| (v as i64 + step).rem_euclid(SIDE as i64) as usize;
        let (x0, x1) = (wrap(left, 0), wrap(left, 1));
        let (y0, y1) = (wrap(top, 0), wrap(top, 1));
        // Every place is in the table, as the compiler sees, too.
        let at = |x: usize, y: usize| self.table.get(y).and_then(|row| row.get(x));
        let at = |x, y| at(x, y).copied().unwrap_or(0.0);
        let above = at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx;
        let below = at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx;
        above * (1.0 - fy) + below * fy
    }

    /// Octaves of noise: each of twice the frequency and `gain` times the amplitude of the last.
    pub(super) fn octaves(&self, x: f32, y: f32, count: usize, gain: f32) -> f32 {
        let (mut sum, mut amplitude, mut frequency) = (0.0, 1.0, 1.0);
        for octave in 0..count {
            // Each octave looks elsewhere in the table, or their lattices would show as one.
            let apart = 17.3 * octave as f32;
            sum += amplitude * self.at(x * frequency + apart, y * frequency - apart);
            amplitude *= gain;
            frequency *= 2.0;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn is_smooth_and_bounded() {
        let texture = Texture::new(&mut ChaCha8Rng::seed_from_u64(1));
        for i in 0..1000 {
            let x = i as f32 * 0.37 - 150.0;
            let value = texture.at(x, -x);
            assert!(value.abs() <= 1.0);
            assert!((texture.at(x + 1e-3, -x) - value).abs() < 0.02);
        }
    }
}
