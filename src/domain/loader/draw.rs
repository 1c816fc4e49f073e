use std::sync::Arc;

use rand::{Rng, rngs::ChaCha8Rng};

use crate::domain::shuffle::{fnv1a, random, shuffle};

/// Which items a domain hands over at which step: a pure function of the seed, the domain's name
/// and the step.
///
/// The slots of a domain are numbered over the whole of training: step $s$ takes the slots
/// $sb, …, (s + 1)b - 1$. Slot $m$ belongs to class $m \bmod C$ and is item number
/// $\lfloor m / C \rfloor$ of that class's shuffled cycles. A domain that is not drawn class by
/// class is one with $C = 1$. So the remainder of $b / C$ rotates by itself, and every part of a
/// batch is as balanced as it can be.
pub(super) struct Draw {
    classes: Vec<Cycles>,
    batch_size: usize,
    key: Key,
}

/// What one domain hands over at one step.
pub(super) struct Drawn {
    /// The items' places in the domain's data set.
    pub indices: Vec<usize>,
    /// A random number for each item, for what is done to it at random.
    pub seeds: Vec<u64>,
}

impl Draw {
    /// `classes` are the places of each class's items; none of them is empty.
    pub fn new(seed: u64, name: &str, classes: &[Arc<[usize]>], batch_size: usize) -> Self {
        let key = Key {
            seed,
            domain: fnv1a(name),
        };
        let classes = (0..)
            .zip(classes)
            .map(|(class, items)| Cycles::new(key, class, items.clone()))
            .collect();
        Self {
            classes,
            batch_size,
            key,
        }
    }

    /// The items of a step. Amortised over consecutive steps, $O(1)$ an item.
    #[expect(
        clippy::indexing_slicing,
        reason = "the remainder of a division by the number of classes"
    )]
    pub fn step(&mut self, step: u64) -> Drawn {
        let first = u128::from(step) * self.batch_size as u128;
        let count = self.classes.len() as u128;
        let mut seeds = self.key.random(SEEDS, step);
        Drawn {
            indices: (first..first + self.batch_size as u128)
                .map(|slot| self.classes[(slot % count) as usize].at(slot / count))
                .collect(),
            seeds: (0..self.batch_size).map(|_| seeds.next_u64()).collect(),
        }
    }
}

/// The infinite concatenation of shuffles of the same items.
struct Cycles {
    key: Key,
    class: u64,
    items: Arc<[usize]>,
    cycle: Option<u64>,
    order: Vec<usize>,
}

impl Cycles {
    fn new(key: Key, class: u64, items: Arc<[usize]>) -> Self {
        Self {
            key,
            class,
            items,
            cycle: None,
            order: Vec::new(),
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the remainder of a division by the number of items"
    )]
    fn at(&mut self, position: u128) -> usize {
        let len = self.items.len() as u128;
        let cycle = (position / len) as u64;
        if self.cycle != Some(cycle) {
            self.order.clear();
            self.order.extend_from_slice(&self.items);
            shuffle(&mut self.order, &mut self.key.random(self.class, cycle));
            self.cycle = Some(cycle);
        }
        self.order[(position % len) as usize]
    }
}

/// The class under which the random numbers of the items themselves are drawn: no domain has as
/// many classes.
const SEEDS: u64 = u64::MAX;

/// What all random numbers of a domain begin with.
///
/// The domain enters by its name, not by its place: where a domain is left out, the others are
/// drawn as before, so that two runs differ by the domain alone.
#[derive(Clone, Copy)]
struct Key {
    seed: u64,
    domain: u64,
}

impl Key {
    fn random(self, class: u64, number: u64) -> ChaCha8Rng {
        random([self.seed, self.domain, class, number])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(len: usize) -> Vec<Arc<[usize]>> {
        vec![(0..len).collect()]
    }

    fn stream(draw: &mut Draw, steps: std::ops::Range<u64>) -> Vec<usize> {
        steps.flat_map(|step| draw.step(step).indices).collect()
    }

    #[test]
    fn every_cycle_holds_every_item_once_in_a_new_order() {
        let mut draw = Draw::new(1, "a", &all(10), 4);
        let items = stream(&mut draw, 0..10);
        let cycles: Vec<&[usize]> = items.chunks(10).collect();
        for cycle in &cycles {
            let mut sorted = cycle.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert!(cycles.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_step_does_not_depend_on_the_steps_before_it() {
        let mut forward = Draw::new(7, "a", &all(9), 4);
        let expected: Vec<_> = (0..30).map(|step| forward.step(step).indices).collect();
        let mut backward = Draw::new(7, "a", &all(9), 4);
        for step in (0..30).rev() {
            assert_eq!(backward.step(step as u64).indices, expected[step]);
        }
    }

    #[test]
    fn seed_name_and_cycle_change_the_order() {
        let of = |seed, name| stream(&mut Draw::new(seed, name, &all(50), 50), 0..1);
        assert_ne!(of(1, "a"), of(2, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        assert_eq!(of(1, "a"), of(1, "a"));
    }

    #[test]
    fn classes_are_balanced_and_the_remainder_rotates() {
        // Class 0 is 0..3, class 1 is 3..20, class 2 is 20..25.
        let classes: [Arc<[usize]>; 3] = [(0..3).collect(), (3..20).collect(), (20..25).collect()];
        let mut draw = Draw::new(3, "a", &classes, 4);
        let class = |item: usize| usize::from(item >= 3) + usize::from(item >= 20);
        let mut totals = [0; 3];
        for step in 0..51 {
            let mut counts = [0; 3];
            for item in draw.step(step).indices {
                counts[class(item)] += 1;
                totals[class(item)] += 1;
            }
            assert!(counts.iter().all(|&count| count == 1 || count == 2));
            assert!(totals.iter().max().unwrap() - totals.iter().min().unwrap() <= 1);
        }
        assert_eq!(totals, [68, 68, 68]);
        // Each class cycles by itself: its first three items are the whole class.
        let mut first: Vec<_> = stream(&mut draw, 0..3)
            .into_iter()
            .filter(|&item| class(item) == 0)
            .take(3)
            .collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2]);
    }

    #[test]
    fn classes_are_shuffled_apart() {
        let classes: [Arc<[usize]>; 2] = [(0..50).collect(), (50..100).collect()];
        let items = Draw::new(3, "a", &classes, 100).step(0).indices;
        assert!(items.chunks(2).any(|pair| pair[0] + 50 != pair[1]));
    }

    #[test]
    fn the_last_step_there_is_can_be_drawn() {
        let mut draw = Draw::new(0, "a", &all(3), usize::from(u8::MAX));
        assert_eq!(draw.step(u64::MAX).indices.len(), 255);
    }

    #[test]
    fn first_items_are_uniform() {
        let mut counts = [0_u32; 5];
        for seed in 0..5000 {
            counts[Draw::new(seed, "a", &all(5), 1).step(0).indices[0]] += 1;
        }
        // Five standard deviations of a binomial count of mean 1000.
        assert!(counts.iter().all(|&count| count.abs_diff(1000) < 142));
    }

    /// A seed means the same batches in every release and on every machine. The numbers are from
    /// a ChaCha8 written down in Python.
    #[test]
    fn the_order_is_pinned() {
        let mut draw = Draw::new(42, "face-swap", &all(8), 8);
        assert_eq!(draw.step(0).indices, [6, 5, 4, 0, 1, 7, 3, 2]);
        assert_eq!(draw.step(1).indices, [4, 0, 2, 5, 1, 7, 6, 3]);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn every_item_has_a_random_number_of_its_own() {
        let mut draw = Draw::new(42, "a", &all(2), 3);
        let mut seeds: Vec<u64> = (0..20).flat_map(|step| draw.step(step).seeds).collect();
        assert_eq!(draw.step(19).seeds, seeds[57..]);
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 60);
    }
}
