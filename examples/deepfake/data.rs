//! The pictures: drawn or read, forged, split by person, and as tensors.

use std::{collections::BTreeSet, error::Error, sync::Arc};

use burn::{
    data::dataloader::batcher::Batcher,
    tensor::{Device, Int, Tensor, TensorData},
};
use image::imageops;
use roga::detector::{
    InMemFaces,
    dataset::{DomainConfig, FaceSource, Sample, split_by_person},
    encode::EncodeConfig,
    faces::Faces,
    forgery::Forgery,
    portrait::{PortraitConfig, Portraits},
};
use serde::Serialize;

use crate::args::Settings;

/// The samples of domains, each under its forgery's name.
pub type Domains = Vec<(Arc<str>, Vec<SharedSample>)>;

/// The samples of every forgery, of people to train on and of people to test on.
pub struct Pictures {
    pub train: Domains,
    pub test: Domains,
    people: [usize; 2],
}

/// How many pictures and people there are.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    pub train_people: usize,
    pub test_people: usize,
    /// Of each forgery, half of them real.
    pub train_pictures: usize,
    pub test_pictures: usize,
}

/// Where the faces come from.
pub fn source(settings: &Settings) -> Result<InMemFaces, Box<dyn Error>> {
    let Some(folder) = &settings.faces else {
        let portraits = Portraits::new(PortraitConfig::new(), 0, settings.people, settings.shots)?;
        return Ok(InMemFaces::new(&portraits, settings.threads)?);
    };
    let faces = Faces::open(folder)?;
    let skipped = faces.skipped();
    if skipped.pictures > 0 {
        println!(
            "{} pictures have no landmarks and are left out (sets: {})",
            skipped.pictures,
            skipped.sets.join(", ")
        );
    }
    Ok(InMemFaces::new(&faces, settings.threads)?)
}

/// How the samples of a forgery are made.
pub fn domain(settings: &Settings, forgery: Forgery, seed: u64) -> DomainConfig {
    DomainConfig::new(forgery)
        .with_strength(settings.strength)
        .with_encode(EncodeConfig::new().with_size(settings.size))
        .with_copies(settings.copies)
        .with_seed(seed)
        .with_threads(settings.threads)
}

impl Pictures {
    pub fn new(
        source: &dyn FaceSource,
        settings: &Settings,
        seed: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let parts = split_by_person(source, &settings.shares, seed)?;
        let build = |part: &[usize]| -> Result<Domains, Box<dyn Error>> {
            settings
                .forgeries
                .iter()
                .map(|forgery| {
                    let samples = domain(settings, *forgery, seed).build(source, part)?;
                    let shared = samples.into_iter().map(Arc::new).map(SharedSample);
                    Ok((forgery.name().into(), shared.collect()))
                })
                .collect()
        };
        let [train, test] = &parts[..] else {
            return Err("the people are split into two parts".into());
        };
        let people = [train, test].map(|part| {
            let people: BTreeSet<&str> = part.iter().map(|&face| source.person(face)).collect();
            people.len()
        });
        Ok(Self {
            train: build(train)?,
            test: build(test)?,
            people,
        })
    }

    pub fn counts(&self) -> Counts {
        let pictures = |domains: &[(Arc<str>, Vec<SharedSample>)]| {
            domains.first().map_or(0, |(_, samples)| samples.len())
        };
        Counts {
            train_people: self.people[0],
            test_people: self.people[1],
            train_pictures: pictures(&self.train),
            test_pictures: pictures(&self.test),
        }
    }

    pub fn description(&self) -> String {
        let counts = self.counts();
        format!(
            "{} people to train on, {} others to test on; of each forgery {} pictures to train on, {} to test on, half of them real",
            counts.train_people, counts.test_people, counts.train_pictures, counts.test_pictures
        )
    }
}

/// Pictures as numbers from −1 to 1, `[batch, 3, size, size]`, and labels `[batch]`.
#[derive(Debug, Clone)]
pub struct PictureBatch {
    pub pictures: Tensor<4>,
    pub labels: Tensor<1, Int>,
}

#[derive(Debug, Clone)]
pub struct PictureBatcher;

impl Batcher<SharedSample, PictureBatch> for PictureBatcher {
    fn batch(&self, samples: Vec<SharedSample>, device: &Device) -> PictureBatch {
        let size = samples
            .first()
            .map_or(0, |sample| sample.0.picture.width() as usize);
        let mut numbers = Vec::with_capacity(samples.len() * 3 * size * size);
        for sample in &samples {
            let bytes = sample.0.picture.as_raw();
            for channel in 0..3 {
                let plane = bytes.iter().skip(channel).step_by(3);
                numbers.extend(plane.map(|byte| f32::from(*byte) / 127.5 - 1.0));
            }
        }
        let labels: Vec<i32> = samples
            .iter()
            .map(|sample| i32::from(sample.0.label))
            .collect();
        PictureBatch {
            pictures: Tensor::from_data(
                TensorData::new(numbers, [samples.len(), 3, size, size]),
                device,
            ),
            labels: Tensor::from_data(TensorData::new(labels, [samples.len()]), device),
        }
    }
}

/// A sample that data sets hand on without copying its picture.
#[derive(Debug, Clone)]
pub struct SharedSample(pub Arc<Sample>);

/// Every second picture mirrored.
pub fn mirror(sample: SharedSample, random: u64) -> SharedSample {
    if random.is_multiple_of(2) {
        return sample;
    }
    let picture = imageops::flip_horizontal(&sample.0.picture);
    let fields = (*sample.0).clone();
    SharedSample(Arc::new(Sample { picture, ..fields }))
}
