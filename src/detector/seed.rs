//! A random generator of its own for every thing that is made, so that what is made first does
//! not matter.

use rand::{Rng, rngs::ChaCha8Rng};

use crate::domain::shuffle::random;

/// What a generator is for. Generators for different purposes have nothing in common.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Identity = 1,
    Shot,
    Forge,
    EncodeReal,
    EncodeForged,
    Apply,
    Encode,
    Augment,
    Compress,
}

/// The generator for a purpose and a quadruple of numbers.
pub(crate) fn generator(purpose: Purpose, numbers: [u64; 4]) -> ChaCha8Rng {
    let mut rng = random(numbers);
    rng.set_stream(purpose as u64);
    rng
}

/// About normal: the sum of four even numbers, made to have variance 1. Bounded, and quick.
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let bits = rng.next_u64();
    let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
    (sum as f32 / 65535.0 - 2.0) * 3f32.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_numbers_set_generators_apart() {
        let first = |purpose, numbers| generator(purpose, numbers).next_u64();
        let one = first(Purpose::Shot, [1, 2, 3, 4]);
        assert_eq!(one, first(Purpose::Shot, [1, 2, 3, 4]));
        assert_ne!(one, first(Purpose::Forge, [1, 2, 3, 4]));
        assert_ne!(one, first(Purpose::Shot, [1, 2, 4, 3]));
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut rng = generator(Purpose::Shot, [3, 0, 0, 0]);
        let numbers: Vec<f32> = (0..10000).map(|_| normal(&mut rng)).collect();
        assert!((numbers.iter().sum::<f32>() / 10000.0).abs() < 0.05);
        let squares: f32 = numbers.iter().map(|n| n * n).sum();
        assert!((squares / 10000.0 - 1.0).abs() < 0.05);
    }
}
