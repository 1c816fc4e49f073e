//! The data pipeline by itself: pictures a second.

use std::{path::Path, thread, time::Instant};

use image::RgbImage;
use roga::{
    Error, Result,
    detector::{
        augment::AugmentConfig,
        dataset::{DomainConfig, FaceSource},
        encode::EncodeConfig,
        faces::{Face, Faces, read_picture},
        forgery::Forgery,
        portrait::{PortraitConfig, Portraits},
    },
};
use serde::Serialize;

use super::alternation::Spread;

/// A stage of the pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub name: String,
    pub threads: usize,
    /// On all its threads together.
    pub pictures_per_second: Spread,
}

const STRENGTH: f32 = 0.7;

/// Of faces on disk, where there are, and else of drawn ones.
pub fn stages(folder: Option<&Path>, faces: usize, rounds: usize) -> Result<Vec<Stage>> {
    let source: Box<dyn FaceSource> = match folder {
        Some(folder) => Box::new(Faces::open(folder)?),
        None => Box::new(Portraits::new(
            PortraitConfig::new().with_size(256),
            7,
            faces,
            1,
        )?),
    };
    let indices: Vec<usize> = (0..faces.min(source.len())).collect();
    let kept: Vec<Face> = indices
        .iter()
        .map(|&index| source.face(index))
        .collect::<Result<_>>()?;
    let mut timing = Timing {
        pictures: kept.len(),
        rounds,
        stages: Vec::new(),
    };
    let made = match folder {
        Some(_) => "decode: a PNG of 256 pixels and its landmarks",
        None => "draw: a portrait of 256 pixels",
    };
    timing.of(made, |index| source.face(index).map(drop))?;
    decode(&kept, &mut timing)?;
    let donor = |index: usize| kept.get((index + 1) % kept.len());
    for forgery in Forgery::ALL {
        timing.of(&format!("forge: {}", forgery.name()), |index| {
            let forged = forgery.apply(&kept[index], donor(index), STRENGTH, index as u64);
            forged.map(drop)
        })?;
    }
    let encode = EncodeConfig::new();
    let encoded = |index: usize| -> Result<RgbImage> {
        let face: &Face = &kept[index];
        let encoded = encode.encode(face.picture(), face.landmarks(), index as u64)?;
        Ok(encoded.picture)
    };
    timing.of("encode: crop, 64 pixels, JPEG", |index| {
        encoded(index).map(drop)
    })?;
    let small: Vec<RgbImage> = (0..kept.len()).map(encoded).collect::<Result<_>>()?;
    let augment = AugmentConfig::deepfake_bench();
    timing.of("augment: as DeepfakeBench, 64 pixels", |index| {
        augment.apply(&small[index], index as u64).map(drop)
    })?;
    timing
        .stages
        .extend(whole(source.as_ref(), &indices, rounds)?);
    Ok(timing.stages)
}

/// Stages on one thread, each in several rounds over all pictures.
struct Timing {
    pictures: usize,
    rounds: usize,
    stages: Vec<Stage>,
}

impl Timing {
    fn of(&mut self, name: &str, mut act: impl FnMut(usize) -> Result<()>) -> Result<()> {
        let mut found = Vec::new();
        for _ in 0..self.rounds.max(1) {
            let began = Instant::now();
            (0..self.pictures).try_for_each(&mut act)?;
            found.push(self.pictures as f64 / began.elapsed().as_secs_f64());
        }
        let stage = Stage {
            name: name.into(),
            threads: 1,
            pictures_per_second: Spread::of(found),
        };
        eprintln!("{name}: {:.0} a second", stage.pictures_per_second.median);
        self.stages.push(stage);
        Ok(())
    }
}

/// Reading a drawn or decoded picture back from the formats that data sets come in.
fn decode(kept: &[Face], timing: &mut Timing) -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| file(Path::new("."), &error))?;
    for ending in ["png", "jpg"] {
        let path = |index: usize| folder.path().join(format!("{index}.{ending}"));
        for (index, face) in kept.iter().enumerate() {
            let saved = face.picture().save(path(index));
            saved.map_err(|error| file(&path(index), &error))?;
        }
        timing.of(&format!("decode: {ending} alone"), |index| {
            read_picture(path(index)).map(drop)
        })?;
    }
    Ok(())
}

fn file(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::File {
        path: path.into(),
        reason: error.to_string(),
    }
}

/// From faces in their source to real and forged inputs, and these augmented.
fn whole(source: &dyn FaceSource, indices: &[usize], rounds: usize) -> Result<Vec<Stage>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let augment = AugmentConfig::deepfake_bench();
    let mut stages = Vec::new();
    for threads in if cores > 1 { vec![1, cores] } else { vec![1] } {
        let mut found = Vec::new();
        for round in 0..rounds.max(1) {
            let config = DomainConfig::new(Forgery::FaceSwap)
                .with_threads(threads)
                .with_seed(round as u64);
            let began = Instant::now();
            let samples = config.build(source, indices)?;
            let part = samples.len().div_ceil(threads).max(1);
            thread::scope(|scope| {
                for part in samples.chunks(part) {
                    scope.spawn(|| {
                        for (number, sample) in part.iter().enumerate() {
                            let changed = augment.apply(&sample.picture, number as u64);
                            changed.expect("it is a picture");
                        }
                    });
                }
            });
            found.push(samples.len() as f64 / began.elapsed().as_secs_f64());
        }
        stages.push(Stage {
            name: "all of it: face swaps and the real faces behind them".into(),
            threads,
            pictures_per_second: Spread::of(found),
        });
    }
    Ok(stages)
}
