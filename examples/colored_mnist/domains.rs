//! DomainBed's sets of digits: Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR
//! 2021, arXiv 2007.01434.

use std::sync::Arc;

use burn::{
    data::{
        dataloader::batcher::Batcher,
        dataset::{Dataset, DatasetError},
    },
    tensor::{Device, Int, Tensor, TensorData},
};
use clap::ValueEnum;
use rand::{SeedableRng, rngs::ChaCha8Rng, seq::SliceRandom};
use roga::domain::GroupSplit;
use serde::{Deserialize, Serialize};

use crate::{
    coloring::{Colored, channels, colored, grey},
    mnist::{Digits, SIDE},
    rotation::rotated,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// ColoredMNIST: the colour tells the label in 90 %, 80 % and 10 % of the cases
    Colored,
    /// RotatedMNIST: digits turned by 0 to 75 degrees
    Rotated,
}

/// The domains' names and the shares of digits whose colour is not that of the label.
const FLIPS: [(&str, f64); 3] = [("+90%", 0.1), ("+80%", 0.2), ("-90%", 0.9)];
/// The domains' names and by how many degrees their digits are turned.
const ANGLES: [(&str, f64); 6] = [
    ("0", 0.0),
    ("15", 15.0),
    ("30", 30.0),
    ("45", 45.0),
    ("60", 60.0),
    ("75", 75.0),
];

/// The share of a domain that is never trained on.
const HOLDOUT: f64 = 0.2;

/// A domain in its two parts.
pub struct Domain {
    pub name: Arc<str>,
    /// Trained on, or tested on.
    pub inner: Part,
    /// What checkpoints and settings are chosen by.
    pub outer: Part,
}

#[derive(Clone, Debug)]
pub struct Part(Arc<Vec<Picture>>);

#[derive(Debug)]
struct Picture {
    pixels: Vec<u8>,
    /// None for pictures of one channel.
    color: Option<bool>,
    label: u8,
}

impl Set {
    pub fn name(self) -> &'static str {
        match self {
            Self::Colored => "ColoredMNIST",
            Self::Rotated => "RotatedMNIST",
        }
    }

    pub fn domain_names(self) -> Vec<Arc<str>> {
        let names = match self {
            Self::Colored => FLIPS.map(|(name, _)| name).to_vec(),
            Self::Rotated => ANGLES.map(|(name, _)| name).to_vec(),
        };
        names.into_iter().map(Arc::from).collect()
    }

    pub fn channels(self) -> usize {
        match self {
            Self::Colored => 2,
            Self::Rotated => 1,
        }
    }

    pub fn classes(self) -> usize {
        match self {
            Self::Colored => 2,
            Self::Rotated => 10,
        }
    }

    /// All digits, shuffled, go to the domains in turn; each domain is then divided.
    pub fn domains(self, digits: &Digits, seed: u64) -> roga::Result<Vec<Domain>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut all: Vec<usize> = (0..digits.len()).collect();
        all.shuffle(&mut random);
        let names = self.domain_names();
        let of_turn = |turn: usize| -> Vec<usize> {
            let places = all.iter().skip(turn).step_by(names.len());
            places.copied().collect()
        };
        let mut domains = Vec::new();
        for (turn, name) in names.iter().enumerate() {
            let pictures = match self {
                Self::Colored => in_color(digits, &of_turn(turn), FLIPS[turn].1, &mut random),
                Self::Rotated => turned(digits, &of_turn(turn), ANGLES[turn].1),
            };
            domains.push(Domain::divided(name.clone(), pictures, seed + turn as u64)?);
        }
        Ok(domains)
    }
}

fn in_color(digits: &Digits, places: &[usize], flip: f64, random: &mut ChaCha8Rng) -> Vec<Picture> {
    let labels: Vec<u8> = places.iter().map(|place| digits.label(*place)).collect();
    let pictures = places.iter().zip(colored(&labels, flip, random));
    let picture = |(place, colored): (&usize, Colored)| Picture {
        pixels: digits.picture(*place).to_vec(),
        color: Some(colored.color),
        label: colored.label.into(),
    };
    pictures.map(picture).collect()
}

fn turned(digits: &Digits, places: &[usize], degrees: f64) -> Vec<Picture> {
    let picture = |place: &usize| Picture {
        pixels: rotated(digits.picture(*place), degrees),
        color: None,
        label: digits.label(*place),
    };
    places.iter().map(picture).collect()
}

impl Domain {
    fn divided(name: Arc<str>, pictures: Vec<Picture>, seed: u64) -> roga::Result<Self> {
        let places: Vec<usize> = (0..pictures.len()).collect();
        let split = GroupSplit::new(places.iter().copied(), &[1.0 - HOLDOUT, HOLDOUT], seed)?;
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        for (place, picture) in pictures.into_iter().enumerate() {
            match split.part_of(&place) {
                Some(0) => inner.push(picture),
                _ => outer.push(picture),
            }
        }
        Ok(Self {
            name,
            inner: Part(inner.into()),
            outer: Part(outer.into()),
        })
    }
}

/// A picture of a part.
#[derive(Clone, Debug)]
pub struct Drawn {
    part: Part,
    place: usize,
}

impl Drawn {
    /// Any picture of the same part: with it as a loader's change of items, batches are drawn with
    /// replacement, as DomainBed's are.
    pub fn with_replacement(self, random: u64) -> Self {
        let place = (u128::from(random) * self.part.len() as u128) >> 64;
        Self {
            place: place as usize,
            ..self
        }
    }
}

impl Dataset<Drawn> for Part {
    fn get(&self, place: usize) -> Result<Drawn, DatasetError> {
        let part = self.clone();
        Ok(Drawn { part, place })
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Clone, Debug)]
pub struct Batch {
    /// `[rows, channels, 28, 28]`
    pub pictures: Tensor<4>,
    /// `[rows]`
    pub labels: Tensor<1, Int>,
}

#[derive(Clone)]
pub struct Stack;

impl Batcher<Drawn, Batch> for Stack {
    fn batch(&self, items: Vec<Drawn>, device: &Device) -> Batch {
        let pictures = items.iter().map(|drawn| &drawn.part.0[drawn.place]);
        stacked(pictures, device)
    }
}

impl Part {
    /// The first pictures, at most so many, in batches.
    pub fn batches(
        &self,
        most: usize,
        rows: usize,
        device: &Device,
    ) -> impl Iterator<Item = Batch> {
        let pictures = &self.0[..most.min(self.len())];
        pictures
            .chunks(rows)
            .map(|rows| stacked(rows.iter(), device))
    }
}

fn stacked<'a>(pictures: impl Iterator<Item = &'a Picture>, device: &Device) -> Batch {
    let (mut pixels, mut labels) = (Vec::new(), Vec::<i64>::new());
    for picture in pictures {
        labels.push(picture.label.into());
        pixels.extend(match picture.color {
            Some(color) => channels(&picture.pixels, Some(color)),
            None => grey(&picture.pixels),
        });
    }
    let rows = labels.len();
    let shape = [rows, pixels.len() / (SIDE * SIDE * rows), SIDE, SIDE];
    Batch {
        pictures: Tensor::from_data(TensorData::new(pixels, shape), device),
        labels: Tensor::from_data(TensorData::new(labels, [rows]), device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mnist::{FILES, tests::drawn};

    fn domains(set: Set, count: usize, seed: u64) -> Vec<Domain> {
        let folder = drawn(count);
        let digits = Digits::read(folder.path(), FILES[0]).unwrap();
        set.domains(&digits, seed).unwrap()
    }

    #[test]
    fn parts_are_of_the_published_sizes() {
        // Of 70,000 digits: 23,334, 23,333 and 23,333; and four times 11,667, twice 11,666.
        for (set, sizes) in [
            (Set::Colored, vec![234, 233, 233]),
            (Set::Rotated, vec![117, 117, 117, 117, 116, 116]),
        ] {
            let domains = domains(set, 700, 1);
            let size = |domain: &Domain| domain.inner.len() + domain.outer.len();
            assert_eq!(domains.iter().map(size).collect::<Vec<_>>(), sizes);
            for domain in &domains {
                let share = domain.outer.len() as f64 / size(domain) as f64;
                assert!((share - 0.2).abs() < 0.01, "{share}");
            }
            let batch = domains[0]
                .inner
                .batches(9, 5, &Device::flex())
                .last()
                .unwrap();
            assert_eq!(batch.pictures.dims(), [4, set.channels(), SIDE, SIDE]);
        }
    }

    #[test]
    fn colours_are_as_often_wrong_as_they_should_be() {
        for (domain, (_, flip)) in domains(Set::Colored, 9000, 2).iter().zip(FLIPS) {
            let pictures = || domain.inner.0.iter().chain(domain.outer.0.iter());
            let flipped = pictures().filter(|of| of.color != Some(of.label == 1));
            let n = pictures().count() as f64;
            let error = flipped.count() as f64 / n - flip;
            // Four standard errors.
            assert!(
                error.abs() < 4.0 * (flip * (1.0 - flip) / n).sqrt(),
                "{flip}: {error}"
            );
            let ones = pictures().filter(|of| of.label == 1).count() as f64 / n;
            assert!((ones - 0.5).abs() < 0.05, "{ones}");
        }
    }

    #[test]
    fn the_seed_decides_the_domains_and_their_parts() {
        let labels = |seed| -> Vec<u8> {
            let domains = domains(Set::Rotated, 300, seed);
            let pictures = domains.iter().flat_map(|domain| domain.outer.0.iter());
            pictures.map(|picture| picture.label).collect()
        };
        assert_eq!(labels(1), labels(1));
        assert_ne!(labels(1), labels(2));
    }

    #[test]
    fn items_are_drawn_with_replacement_and_evenly() {
        let part = domains(Set::Rotated, 60, 1)[0].inner.clone();
        let drawn = Drawn { part, place: 0 };
        let places = (0..64).map(|i| drawn.clone().with_replacement(i << 58).place);
        let places: Vec<usize> = places.collect();
        assert_eq!(drawn.part.len(), 8);
        assert!((0..8).all(|place| places.iter().filter(|p| **p == place).count() == 8));
    }
}
