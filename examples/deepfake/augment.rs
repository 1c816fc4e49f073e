//! How pictures are changed at random in training, as flags and the configuration file write it.

use std::{fmt, str::FromStr, sync::Arc};

use image::imageops;
use roga::detector::augment::{AugmentConfig, Chance};

use crate::{as_text::as_text, data::Item};

/// A preset, or an operation with its probability and its range.
#[derive(Clone, Debug, PartialEq)]
pub enum Augment {
    None,
    /// Every second picture mirrored.
    Mirror,
    /// As DeepfakeBench's default does.
    DeepfakeBench,
    Operation {
        name: &'static str,
        probability: f64,
        range: Option<[f64; 2]>,
    },
}

/// The operations that have a range, in the units of [`AugmentConfig`].
const RANGED: [&str; 9] = [
    "rotation",
    "resize",
    "blur",
    "brightness",
    "contrast",
    "hue",
    "noise",
    "jpeg",
    "cut-out",
];

/// What all of them together do to an item.
pub fn augmentation(all: &[Augment]) -> roga::Result<impl Fn(Item, u64) -> Item + use<>> {
    let mut config = AugmentConfig::none();
    let mut mirrored = false;
    for augment in all {
        match augment {
            Augment::None => (),
            Augment::Mirror => mirrored = true,
            Augment::DeepfakeBench => config = AugmentConfig::deepfake_bench(),
            Augment::Operation {
                name,
                probability,
                range,
            } => set(&mut config, name, *probability, range.unwrap_or_default()),
        }
    }
    config.check()?;
    let changes = config != AugmentConfig::none();
    Ok(move |item: Item, random: u64| {
        let item = match mirrored && !random.is_multiple_of(2) {
            true => Item {
                picture: Arc::new(imageops::flip_horizontal(&*item.picture)),
                ..item
            },
            false => item,
        };
        // It fails on empty pictures only, once the settings are checked.
        match changes.then(|| config.apply(&item.picture, random)) {
            Some(Ok(picture)) => Item {
                picture: Arc::new(picture),
                ..item
            },
            _ => item,
        }
    })
}

fn set(config: &mut AugmentConfig, name: &str, probability: f64, [from, to]: [f64; 2]) {
    let chance = Chance::new(probability, [from as f32, to as f32]);
    match name {
        "flip" => config.flip = probability,
        "rotation" => config.rotation = chance,
        "resize" => config.resize = chance,
        "blur" => config.blur = chance,
        "brightness" => config.brightness = chance,
        "contrast" => config.contrast = chance,
        "hue" => config.hue = chance,
        "noise" => config.noise = chance,
        "jpeg" => config.jpeg = Chance::new(probability, [from as u8, to as u8]),
        _ => config.cut_out = chance,
    }
}

impl FromStr for Augment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "an augmentation must be none, mirror, deepfake-bench, flip=PROBABILITY, or \
                 NAME=PROBABILITY:FROM:TO with a name of {}, but is `{text}`",
                RANGED.join(", ")
            )
        };
        let Some((name, numbers)) = text.split_once('=') else {
            return match text {
                "none" => Ok(Self::None),
                "mirror" => Ok(Self::Mirror),
                "deepfake-bench" => Ok(Self::DeepfakeBench),
                _ => Err(refused()),
            };
        };
        let numbers: Result<Vec<f64>, _> = numbers.split(':').map(str::parse).collect();
        let known = RANGED.into_iter().find(|known| *known == name);
        match (known, numbers.as_deref()) {
            (None, Ok([probability])) if name == "flip" => Ok(Self::Operation {
                name: "flip",
                probability: *probability,
                range: None,
            }),
            (Some(name), Ok([probability, from, to])) => Ok(Self::Operation {
                name,
                probability: *probability,
                range: Some([*from, *to]),
            }),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Mirror => f.write_str("mirror"),
            Self::DeepfakeBench => f.write_str("deepfake-bench"),
            Self::Operation {
                name,
                probability,
                range,
            } => {
                write!(f, "{name}={probability}")?;
                match range {
                    Some([from, to]) => write!(f, ":{from}:{to}"),
                    None => Ok(()),
                }
            }
        }
    }
}

as_text!(Augment);

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "none",
            "mirror",
            "deepfake-bench",
            "flip=0.5",
            "jpeg=0.5:40:90",
        ] {
            assert_eq!(text.parse::<Augment>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "sharpen",
            "flip=0.5:1:2",
            "jpeg=0.5",
            "blur=a:1:2",
            "crop=1:0:1",
        ] {
            assert!(text.parse::<Augment>().unwrap_err().contains("PROBABILITY"));
        }
    }

    #[test]
    fn operations_out_of_their_range_are_refused() {
        for text in [
            "flip=1.5",
            "noise=0.5:-1:0.1",
            "jpeg=1:0:50",
            "rotation=1:0:999",
        ] {
            assert!(augmentation(&[text.parse().unwrap()]).is_err(), "{text}");
        }
    }

    #[test]
    fn pictures_are_changed_as_named() {
        let picture = Arc::new(RgbImage::from_fn(8, 8, |x, _| Rgb([(x * 30) as u8; 3])));
        let item = Item {
            picture: picture.clone(),
            forged: true,
        };
        let changed = |augments: &[&str], random| {
            let augments: Vec<Augment> = augments.iter().map(|a| a.parse().unwrap()).collect();
            augmentation(&augments).unwrap()(item.clone(), random).picture
        };
        assert_eq!(changed(&["none"], 1), picture);
        assert_eq!(changed(&["mirror"], 2), picture);
        let mirrored = Arc::new(imageops::flip_horizontal(&*picture));
        assert_eq!(changed(&["mirror"], 1), mirrored);
        assert_eq!(changed(&["flip=1"], 4), mirrored);
        assert_ne!(changed(&["mirror", "noise=1:0.1:0.1"], 2), picture);
    }
}
