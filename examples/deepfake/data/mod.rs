//! Pictures to train, validate and test on, whatever they come from.

mod files;
mod made;

use std::{collections::BTreeSet, error::Error, sync::Arc};

use burn::{
    data::{
        dataloader::batcher::Batcher,
        dataset::{Dataset, DatasetError},
    },
    tensor::{Device, Int, Tensor, TensorData},
};
use image::RgbImage;
use roga::detector::backbone::Normalization;
use serde::Serialize;

use crate::{detector::tensor, settings::Settings, stranger};

pub use files::{open, pictures};
pub use made::{config, source};

/// What is known of a picture.
#[derive(Clone, Debug)]
pub struct About {
    pub id: Arc<str>,
    pub forged: bool,
    /// Whose face it is, and who else has a part in it.
    pub people: Vec<Arc<str>>,
    /// The video, or the photograph, that it was taken from.
    pub video: Arc<str>,
}

impl About {
    /// Whose face it is.
    pub fn person(&self) -> Arc<str> {
        self.people.first().cloned().unwrap_or_default()
    }
}

/// Pictures that are in memory, or read when they are asked for.
pub trait Pictures: Send + Sync {
    fn picture(&self, index: usize) -> roga::Result<Arc<RgbImage>>;
}

impl Pictures for Vec<Arc<RgbImage>> {
    fn picture(&self, index: usize) -> roga::Result<Arc<RgbImage>> {
        Ok(self[index].clone())
    }
}

/// Real pictures and forged ones of one kind.
#[derive(Clone)]
pub struct Domain {
    pub name: Arc<str>,
    pub about: Vec<About>,
    /// Where among `pictures` each is.
    pub places: Vec<usize>,
    pub pictures: Arc<dyn Pictures>,
}

impl Domain {
    pub fn picture(&self, index: usize) -> roga::Result<Arc<RgbImage>> {
        self.pictures.picture(self.places[index])
    }

    /// Those of its pictures for whose index it holds.
    pub fn only(&self, holds: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.about.len()).filter(|i| holds(*i)).collect();
        Self {
            name: self.name.clone(),
            about: kept.iter().map(|&i| self.about[i].clone()).collect(),
            places: kept.iter().map(|&i| self.places[i]).collect(),
            pictures: self.pictures.clone(),
        }
    }

    pub fn people(&self) -> BTreeSet<&str> {
        let people = self.about.iter().flat_map(|about| &about.people);
        people.map(|person| &**person).collect()
    }
}

/// A picture and its class.
#[derive(Clone, Debug)]
pub struct Item {
    pub picture: Arc<RgbImage>,
    pub forged: bool,
}

impl Dataset<Item> for Domain {
    fn get(&self, index: usize) -> Result<Item, DatasetError> {
        let picture = self.picture(index).map_err(DatasetError::new)?;
        let forged = self.about[index].forged;
        Ok(Item { picture, forged })
    }

    fn len(&self) -> usize {
        self.about.len()
    }
}

/// The domains' parts. Nobody is in two of them.
pub struct Data {
    pub train: Vec<Domain>,
    /// Empty where nothing is chosen by it.
    pub valid: Vec<Domain>,
    pub test: Vec<Domain>,
    /// Those of `test` on which domains that were trained on are tested.
    pub test_seen: Vec<Domain>,
    /// Of what the pictures are made or read from.
    pub hash: String,
}

/// How many pictures and people there are.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    pub train_people: usize,
    pub valid_people: usize,
    pub test_people: usize,
    /// Of each domain, in the mean.
    pub train_pictures: usize,
    pub valid_pictures: usize,
    pub test_pictures: usize,
}

impl Data {
    pub fn new(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        if settings.data.is_empty() && !settings.test_data.is_empty() {
            return Err("--test-data needs --data to train on".into());
        }
        let data = match settings.data.is_empty() {
            true => made::data(settings)?,
            false => files::data(settings)?,
        };
        data.check_people()?;
        Ok(data)
    }

    /// What a detector is tested on: of sets on disk all that their makers do not train on, of faces
    /// to forge the people to test on.
    pub fn to_test(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        match settings.data.is_empty() && settings.test_data.is_empty() {
            true => made::data(settings),
            false => files::to_test(settings),
        }
    }

    /// Whom is trained or validated on.
    pub fn people_to_train(&self) -> BTreeSet<&str> {
        let domains = self.train.iter().chain(&self.valid);
        domains.flat_map(Domain::people).collect()
    }

    /// Refuses people who are trained or validated on and tested on too.
    fn check_people(&self) -> Result<(), Box<dyn Error>> {
        check_unseen(&self.people_to_train(), &self.test)
    }

    pub fn counts(&self) -> Counts {
        let people = |domains: &[Domain]| {
            let people: BTreeSet<&str> = domains.iter().flat_map(Domain::people).collect();
            people.len()
        };
        let pictures = |domains: &[Domain]| {
            let sum: usize = domains.iter().map(|domain| domain.about.len()).sum();
            sum / domains.len().max(1)
        };
        Counts {
            train_people: people(&self.train),
            valid_people: people(&self.valid),
            test_people: people(&self.test),
            train_pictures: pictures(&self.train),
            valid_pictures: pictures(&self.valid),
            test_pictures: pictures(&self.test),
        }
    }

    pub fn description(&self) -> String {
        let counts = self.counts();
        let valid = match counts.valid_people {
            0 => String::new(),
            people => format!(", {people} to validate on"),
        };
        format!(
            "{} people to train on{valid}, {} others to test on; of each domain {} pictures to \
             train on, {} to test on",
            counts.train_people, counts.test_people, counts.train_pictures, counts.test_pictures
        )
    }
}

/// Refuses test domains with people whom a training has seen.
pub fn check_unseen(seen: &BTreeSet<&str>, test: &[Domain]) -> Result<(), Box<dyn Error>> {
    let tested: BTreeSet<&str> = test.iter().flat_map(Domain::people).collect();
    let both: Vec<&str> = tested.intersection(seen).copied().collect();
    match both.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "nobody must be trained on and tested on, but {} people are, `{}` among them: test on \
             other people, or with the split of the training (--split-seed, --test-share)",
            both.len(),
            stranger::name(first)
        )
        .into()),
    }
}

/// Pictures as the net takes them, `[batch, 3, size, size]`, and labels `[batch]`.
#[derive(Debug, Clone)]
pub struct PictureBatch {
    pub pictures: Tensor<4>,
    pub labels: Tensor<1, Int>,
}

#[derive(Debug, Clone)]
pub struct PictureBatcher(pub Normalization);

impl Batcher<Item, PictureBatch> for PictureBatcher {
    fn batch(&self, items: Vec<Item>, device: &Device) -> PictureBatch {
        let labels: Vec<i32> = items.iter().map(|item| i32::from(item.forged)).collect();
        let pictures: Vec<&RgbImage> = items.iter().map(|item| &*item.picture).collect();
        PictureBatch {
            pictures: tensor(&pictures, self.0, device),
            labels: Tensor::from_data(TensorData::new(labels, [items.len()]), device),
        }
    }
}
