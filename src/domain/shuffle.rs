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
pub(super) fn shuffle<T>(items: &mut [T], random: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        let bound = last as u128 + 1;
        let chosen = (u128::from(random.next_u64()) * bound) >> 64;
        items.swap(last, chosen as usize);
    }
}
