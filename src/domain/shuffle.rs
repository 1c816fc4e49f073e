use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};

/// The random numbers that belong to these words, the same in every release and on every machine.
pub(crate) fn random(words: [u64; 4]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (bytes, word) in seed.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
}

/// Fisher-Yates, written out because `rand` may change the numbers its own shuffle draws in any
/// release: a seed would then mean other batches and other splits.
pub(crate) fn shuffle<T>(items: &mut [T], random: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last + 1, random));
    }
}

/// A number below a bound, evenly but for a part in $2^{64}$.
pub(crate) fn below(bound: usize, random: &mut impl Rng) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

/// A standard normal number, by Box and Muller.
pub(crate) fn normal(random: &mut impl Rng) -> f64 {
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    // The library's functions are the same on every machine.
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - uniform()));
    radius * libm::cos(std::f64::consts::TAU * uniform())
}

/// The 64-bit FNV-1a hash: the standard library's is free to change.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
