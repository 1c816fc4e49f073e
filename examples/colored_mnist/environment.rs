//! The environments of the IRM set-up: Arjovsky, Bottou, Gulrajani and Lopez-Paz, "Invariant Risk
//! Minimization", arXiv 1907.02893, section 5.2.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{SeedableRng, rngs::ChaCha8Rng, seq::SliceRandom};

use crate::{
    coloring::{channels, colored},
    mnist::{Digits, SIDE},
    model::INPUTS,
};

/// Digits whose colour tells the label: how often, differs between environments.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `[rows, 392]`: two channels of 14 × 14 pixels.
    pub pictures: Tensor<2>,
    /// `[rows]`
    pub labels: Tensor<1, Int>,
}

/// The shares of digits whose colour is not that of the label, where training is.
pub const FLIPS: [f64; 2] = [0.2, 0.1];
const FLIP_OF_TEST: f64 = 0.9;

/// A restart's data.
pub struct Environments {
    pub train: [Environment; 2],
    pub test: Environment,
    /// The digits of the test in both channels: their colour tells nothing.
    pub grey: Environment,
}

impl Environments {
    /// From MNIST's training part: the last sixth (10,000) are for the test; the others are shuffled
    /// and go to the training environments in turn.
    pub fn new(digits: &Digits, seed: u64, device: &Device) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let test = digits.len() - digits.len() / 6..digits.len();
        let mut train: Vec<usize> = (0..test.start).collect();
        train.shuffle(&mut random);
        let test: Vec<usize> = test.collect();
        let mut environment = |places: &[usize], flip, grey| {
            Environment::new(digits, places, flip, grey, &mut random, device)
        };
        let every_second =
            |first: usize| -> Vec<usize> { train.iter().skip(first).step_by(2).copied().collect() };
        Self {
            train: [0, 1].map(|turn| environment(&every_second(turn), FLIPS[turn], false)),
            test: environment(&test, FLIP_OF_TEST, false),
            grey: environment(&test, FLIP_OF_TEST, true),
        }
    }
}

impl Environment {
    fn new(
        digits: &Digits,
        places: &[usize],
        flip: f64,
        grey: bool,
        random: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let labels: Vec<u8> = places.iter().map(|place| digits.label(*place)).collect();
        let colored = colored(&labels, flip, random);
        let every_second = |picture: &[u8]| -> Vec<u8> {
            let rows = picture.chunks(SIDE).step_by(2);
            rows.flat_map(|row| row.iter().step_by(2).copied())
                .collect()
        };
        let rows = places.iter().zip(&colored);
        let pixels: Vec<f32> = rows
            .flat_map(|(place, colored)| {
                let picture = every_second(digits.picture(*place));
                channels(&picture, (!grey).then_some(colored.color))
            })
            .collect();
        let labels: Vec<i64> = colored.iter().map(|row| row.label.into()).collect();
        let rows = labels.len();
        Self {
            pictures: Tensor::from_data(TensorData::new(pixels, [rows, INPUTS]), device),
            labels: Tensor::from_data(TensorData::new(labels, [rows]), device),
        }
    }

    pub fn rows(&self) -> usize {
        self.pictures.dims()[0]
    }

    /// For nets that are not trained.
    pub fn inner(&self) -> Self {
        Self {
            pictures: self.pictures.clone().inner(),
            labels: self.labels.clone().inner(),
        }
    }

    /// Parts of so many rows, the last of what is left.
    pub fn parts(&self, rows: usize) -> impl Iterator<Item = Self> {
        let all = self.rows();
        (0..all).step_by(rows).map(move |first| {
            let part = first..all.min(first + rows);
            Self {
                pictures: self.pictures.clone().slice([part.clone()]),
                labels: self.labels.clone().slice([part]),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mnist::{FILES, tests::drawn};

    /// Of every row: whether it is labelled 1, which channels show something, and the picture.
    fn rows(environment: &Environment) -> Vec<(bool, [bool; 2], Vec<f32>)> {
        let labels = environment.labels.to_data().convert::<i64>();
        let pictures = environment.pictures.to_data();
        let pictures = pictures.as_slice::<f32>().unwrap().chunks(INPUTS);
        let labels = labels.as_slice::<i64>().unwrap().iter();
        let row = |(label, picture): (&i64, &[f32])| {
            let (first, second) = picture.split_at(INPUTS / 2);
            let shown = [first, second].map(|channel| channel.iter().any(|pixel| *pixel > 0.0));
            let grey = first.iter().zip(second).map(|(a, b)| a.max(*b)).collect();
            (*label == 1, shown, grey)
        };
        labels.zip(pictures).map(row).collect()
    }

    #[test]
    fn labels_and_colours_are_as_often_wrong_as_they_should_be() {
        let folder = drawn(12_000);
        let digits = Digits::read(folder.path(), FILES[0]).unwrap();
        let environments = Environments::new(&digits, 1, &Device::flex());
        let [first, second] = &environments.train;
        assert_eq!([first, second].map(Environment::rows), [5000, 5000]);
        let cases = [(first, 0.2), (second, 0.1), (&environments.test, 0.9)];
        for (environment, flip) in cases {
            let rows = rows(environment);
            let n = rows.len() as f64;
            let flipped = rows.iter().filter(|(label, shown, _)| shown[1] != *label);
            let error = flipped.count() as f64 / n - flip;
            // Four standard errors.
            assert!(
                error.abs() < 4.0 * (flip * (1.0 - flip) / n).sqrt(),
                "{flip}: {error}"
            );
            assert!(rows.iter().all(|(_, shown, _)| shown[0] != shown[1]));
        }
        let digit_of = |index: usize| index * 7 % 10 < 5;
        for environment in [&environments.test, &environments.grey] {
            let wrong = rows(environment).into_iter().enumerate();
            let wrong = wrong.filter(|(i, (label, ..))| *label != digit_of(10_000 + i));
            let error = wrong.count() as f64 / 2000.0 - 0.25;
            assert!(
                error.abs() < 4.0 * (0.25_f64 * 0.75 / 2000.0).sqrt(),
                "{error}"
            );
        }
        let grey = rows(&environments.grey);
        assert!(grey.iter().all(|(_, shown, _)| *shown == [true, true]));
        let pictures = |rows: Vec<(bool, [bool; 2], Vec<f32>)>| -> Vec<Vec<f32>> {
            rows.into_iter().map(|(.., picture)| picture).collect()
        };
        assert_eq!(pictures(grey), pictures(rows(&environments.test)));
    }

    #[test]
    fn every_digit_is_in_one_environment_and_the_seed_says_in_which() {
        let folder = drawn(600);
        let digits = Digits::read(folder.path(), FILES[0]).unwrap();
        let first_rows = |seed| {
            let environments = Environments::new(&digits, seed, &Device::flex());
            let [first, second] = environments.train.each_ref().map(rows);
            let mut all: Vec<Vec<u32>> = first
                .iter()
                .chain(&second)
                .map(|(.., picture)| picture.iter().map(|pixel| pixel.to_bits()).collect())
                .collect();
            let order = all.clone();
            all.sort();
            (order, all)
        };
        let (order, all) = first_rows(1);
        assert_eq!(all.len(), 500);
        let (same_order, _) = first_rows(1);
        let (other_order, same) = first_rows(2);
        assert!(order == same_order && order != other_order && all == same);
    }
}
