//! A detector on disk: its net's weights, and how pictures become the net's input.

use std::{collections::BTreeSet, error::Error, path::Path};

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use image::RgbImage;
use roga::detector::{
    backbone::{Backbone, BackboneConfig, Classifier, Head, Normalization},
    compression::Compression,
    encode::EncodeConfig,
    landmark::Landmarks,
};
use serde::{Deserialize, Serialize};

use crate::{
    data::{Domain, check_unseen},
    limited, output,
    settings::Settings,
};

pub type Net = Backbone;

/// The net that all methods start from.
pub fn start(settings: &Settings, seed: u64, device: &Device) -> Result<Net, Box<dyn Error>> {
    device.seed(seed);
    let mut net = settings.backbone.init(CLASSES.len(), device)?;
    if let Some(weights) = &settings.pretrained {
        net = net.load_pretrained(weights, Head::Initialised)?;
    }
    // Parameters are drawn when they are first used: now, for all methods.
    let size = settings.size as usize;
    net.valid()
        .forward(Tensor::zeros([1, 3, size, size], device));
    Ok(net)
}

/// The classes, in the order of the logits.
const CLASSES: [&str; 2] = ["real", "forged"];

/// What a detector has to be told of pictures.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DetectorConfig {
    /// The version of the crate that trained it.
    pub version: String,
    pub backbone: BackboneConfig,
    /// The classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Whether pictures were cropped by their landmarks in training. Where not, the square in their
    /// middle was taken.
    pub by_landmarks: bool,
    /// The quality of the JPEG that pictures are put through, where they were in training.
    pub jpeg: Option<u8>,
    pub encode: EncodeConfig,
}

impl DetectorConfig {
    pub fn new(settings: &Settings) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            backbone: settings.backbone,
            classes: CLASSES.map(String::from).to_vec(),
            by_landmarks: settings.data.is_empty(),
            jpeg: settings.data.is_empty().then(|| {
                let [least, most] = settings.encode().quality;
                least.midpoint(most)
            }),
            encode: settings.encode(),
        }
    }

    /// Writes it, and the people of the training, beside the net's weights.
    pub fn save(
        &self,
        weights: &Path,
        train: &[Domain],
        valid: &[Domain],
    ) -> Result<(), Box<dyn Error>> {
        let people: BTreeSet<&str> = train.iter().chain(valid).flat_map(Domain::people).collect();
        let people: Vec<&str> = people.into_iter().collect();
        let people = serde_json::to_string(&people)?;
        output::write(&weights.with_file_name(PEOPLE), &people)?;
        let path = weights.with_file_name(DETECTOR);
        Ok(output::write(&path, &toml::to_string_pretty(self)?)?)
    }

    /// The net's input of a picture, by the chain of its training: the face, where it was cropped by
    /// landmarks and there are any, or the square in the middle.
    pub fn input(
        &self,
        picture: &RgbImage,
        landmarks: Option<&Landmarks>,
    ) -> roga::Result<RgbImage> {
        let encode = &self.encode;
        let input = match landmarks.filter(|_| self.by_landmarks) {
            Some(landmarks) => encode.face(picture, landmarks),
            None => encode.middle(picture),
        }?;
        match self.jpeg {
            Some(quality) => Ok(Compression::jpeg(quality).apply(&input, 0)?.picture),
            None => Ok(input),
        }
    }
}

/// The name of the file beside a net's weights.
const DETECTOR: &str = "detector.toml";

/// Beside them, whom the net was trained and validated on.
const PEOPLE: &str = "people.json";

/// A trained detector.
pub struct Detector {
    pub config: DetectorConfig,
    pub net: Net,
    pub device: Device,
    /// Whom it was trained and validated on, where that is known.
    people: Vec<String>,
}

impl Detector {
    /// Reads a folder of a training, or a file of weights in it.
    pub fn open(path: &Path, device: &Device) -> Result<Self, Box<dyn Error>> {
        let weights = match path.is_dir() {
            true => path.join(WEIGHTS),
            false => path.to_path_buf(),
        };
        let beside = weights.with_file_name(DETECTOR);
        // Of a path that is nowhere, the name beside it would be no help.
        let missing = if path.exists() { &beside } else { path };
        let text = limited::read_text(&beside).map_err(|error| {
            format!(
                "{}: {error}; a detector is a folder with {WEIGHTS} and {DETECTOR}, as `train` \
                 and `compare` write them",
                missing.display()
            )
        })?;
        let failed = |error: String| format!("{}: {error}", beside.display());
        let config: DetectorConfig =
            toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
        config
            .encode
            .check()
            .map_err(|error| failed(error.to_string()))?;
        if config.classes != CLASSES {
            return Err(failed(format!("classes must be {CLASSES:?}")).into());
        }
        let net = config.backbone.init(CLASSES.len(), device)?;
        let net = net.load_trained(&weights)?;
        let people = match limited::read(&weights.with_file_name(PEOPLE)) {
            Ok(people) => serde_json::from_slice(&people)?,
            Err(_) => Vec::new(),
        };
        Ok(Self {
            config,
            net,
            device: device.clone(),
            people,
        })
    }

    /// Settings with the net and the pictures' form that are the detector's.
    pub fn fitted(&self, settings: &Settings) -> Settings {
        Settings {
            backbone: self.config.backbone,
            size: self.config.encode.size,
            grey: self.config.encode.grey,
            ..settings.clone()
        }
    }

    /// Refuses test domains with people whom it was trained on.
    pub fn check_unseen(&self, test: &[Domain]) -> Result<(), Box<dyn Error>> {
        check_unseen(&self.people.iter().map(String::as_str).collect(), test)
    }

    /// The scores of inputs: the logit of "forged" less that of "real".
    pub fn scores(&self, inputs: &[&RgbImage]) -> Vec<f64> {
        let pictures = tensor(inputs, self.config.backbone.normalization(), &self.device);
        scores(self.net.forward(pictures))
    }
}

/// The logit of "forged" less that of "real", of logits `[batch, 2]`.
pub fn scores(logits: Tensor<2>) -> Vec<f64> {
    let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
    logits.chunks(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Pictures of one size as `[batch, 3, height, width]`, normalized.
pub fn tensor(pictures: &[&RgbImage], normalization: Normalization, device: &Device) -> Tensor<4> {
    let (width, height) = pictures
        .first()
        .map_or((0, 0), |picture| picture.dimensions());
    let (width, height) = (width as usize, height as usize);
    let mut numbers = Vec::with_capacity(pictures.len() * 3 * height * width);
    let Normalization { mean, std } = normalization;
    for picture in pictures {
        for channel in 0..3 {
            let (scale, shift) = (255.0 * std[channel], mean[channel] / std[channel]);
            let plane = picture.as_raw().iter().skip(channel).step_by(3);
            numbers.extend(plane.map(|byte| f32::from(*byte) / scale - shift));
        }
    }
    let data = TensorData::new(numbers, [pictures.len(), 3, height, width]);
    Tensor::from_data(data, device)
}

/// The name of the file of weights in a training's folder.
pub const WEIGHTS: &str = "weights.bpk";
