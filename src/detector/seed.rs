//! A random generator of its own for every thing that is made, so that what is made first does
//! not matter.

use rand::rngs::ChaCha8Rng;

use crate::domain::shuffle::random;

/// What a generator is for. Generators for different purposes have nothing in common.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Identity = 1,
    Shot,
    Forge,
    EncodeReal,
    EncodeForged,
}

/// The generator for a purpose and a quadruple of numbers.
pub(crate) fn generator(purpose: Purpose, numbers: [u64; 4]) -> ChaCha8Rng {
    let mut rng = random(numbers);
    rng.set_stream(purpose as u64);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn purposes_and_numbers_set_generators_apart() {
        let first = |purpose, numbers| generator(purpose, numbers).next_u64();
        let one = first(Purpose::Shot, [1, 2, 3, 4]);
        assert_eq!(one, first(Purpose::Shot, [1, 2, 3, 4]));
        assert_ne!(one, first(Purpose::Forge, [1, 2, 3, 4]));
        assert_ne!(one, first(Purpose::Shot, [1, 2, 4, 3]));
    }
}
