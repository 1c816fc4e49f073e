use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use image::{RgbImage, imageops};
use rustface::{ImageData, Model};
use sha2::{Digest, Sha256};

use crate::{Error, Result, detector::faces::MAX_SIDE};

/// The SHA-256 of `seeta_fd_frontal_v1.0.bin`, the one model that SeetaFace has published.
///
/// `rustface` believes every number in a model, and reads where they point; so it is given no
/// other.
const MODEL: &str = "c4619d066ed35e84d9a8e842860b0dff567aba0cbb139881075538761db3ff5d";
/// The model's bytes.
const MODEL_BYTES: u64 = 1_209_904;

/// How faces are found in pictures that are no face crops.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct FaceDetectorConfig {
    /// The model: SeetaFace's `seeta_fd_frontal_v1.0.bin`. The crate has none of its own; it lies
    /// in the folder `model` of the crate `rustface`'s source, under the BSD 2-Clause licence.
    pub model: PathBuf,
    /// The smallest face's side in pixels, from 20 to 4096.
    #[config(default = 40)]
    pub smallest: u32,
    /// What a face must score, above 0; SeetaFace's scores reach from 0 to a hundred or so.
    #[config(default = 2.8)]
    pub threshold: f64,
    /// How many times the side of the face's box the crop shows, from 1 to 2.
    #[config(default = 1.3)]
    pub margin: f32,
}

/// A face found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaceBox {
    /// Its left border in pixels; it may lie beyond the picture's.
    pub left: i32,
    /// Its upper border.
    pub top: i32,
    /// The side of its square.
    pub side: u32,
    /// How sure it is.
    pub score: f64,
}

/// Finds faces seen from the front (Wu et al., "Funnel-Structured Cascade for Multi-View Face
/// Detection with Alignment-Awareness", Neurocomputing 2017, arXiv 1609.07304), by the crate
/// `rustface`.
///
/// That crate reads memory by unchecked addresses. They stay within bounds as long as boxes do not
/// drift off the picture; so do not use it on pictures that somebody may have made to harm you.
#[derive(Clone)]
pub struct FaceDetector {
    config: FaceDetectorConfig,
    model: Model,
}

impl fmt::Debug for FaceDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("FaceDetector");
        text.field("config", &self.config).finish_non_exhaustive()
    }
}

impl FaceDetectorConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for the first that is out of its range.
    pub fn check(&self) -> Result<()> {
        let refused = |field, rule, value| Err(Error::Setting { field, rule, value });
        if !(20..=MAX_SIDE).contains(&self.smallest) {
            return refused(
                "smallest",
                "be from 20 to 4096 pixels",
                self.smallest.to_string(),
            );
        }
        if !(self.threshold.is_finite() && self.threshold > 0.0) {
            return refused("threshold", "be above 0", self.threshold.to_string());
        }
        if !(1.0..=2.0).contains(&self.margin) {
            return refused("margin", "be from 1 to 2", self.margin.to_string());
        }
        Ok(())
    }

    /// Reads the model.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range; [`Error::File`] for a model that is not
    /// there or not the published one.
    pub fn init(&self) -> Result<FaceDetector> {
        self.check()?;
        let bytes = read_model(&self.model)?;
        let model =
            rustface::read_model(&bytes[..]).map_err(|error| refused(&self.model, &error))?;
        Ok(FaceDetector {
            config: self.clone(),
            model,
        })
    }
}

fn refused(model: &Path, what: &dyn fmt::Display) -> Error {
    Error::File {
        path: model.into(),
        reason: format!(
            "cannot be used as a face detector's model: {what}; it must be SeetaFace's \
             seeta_fd_frontal_v1.0.bin, which lies in the source of the crate rustface"
        ),
    }
}

fn read_model(path: &Path) -> Result<Vec<u8>> {
    let bytes = path
        .metadata()
        .map_err(|error| refused(path, &error))?
        .len();
    if bytes != MODEL_BYTES {
        let text = format!("it has {bytes} bytes in the place of {MODEL_BYTES}");
        return Err(refused(path, &text));
    }
    let bytes = std::fs::read(path).map_err(|error| refused(path, &error))?;
    match format!("{:x}", Sha256::digest(&bytes)) == MODEL {
        true => Ok(bytes),
        false => Err(refused(path, &"it is damaged or another one")),
    }
}

impl FaceDetector {
    /// The faces in a picture, the surest first.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a picture without pixels or with a side of more than [`MAX_SIDE`].
    pub fn find(&self, picture: &RgbImage) -> Result<Vec<FaceBox>> {
        let (width, height) = picture.dimensions();
        let refused = |rule| Error::Setting {
            field: "picture",
            rule,
            value: format!("{width} x {height}"),
        };
        if width.min(height) == 0 || width.max(height) > MAX_SIDE {
            return Err(refused("have sides from 1 to 4096 pixels"));
        }
        if width.min(height) < self.config.smallest {
            return Ok(Vec::new());
        }
        let grey = imageops::grayscale(picture);
        // Its own state is thrown away with it, whatever became of it.
        let found = catch_unwind(AssertUnwindSafe(|| {
            let mut detector = rustface::create_detector_with_model(self.model.clone());
            detector.set_min_face_size(self.config.smallest);
            detector.set_score_thresh(self.config.threshold);
            detector.detect(&ImageData::new(&grey, width, height))
        }));
        let found = found.map_err(|_| refused("be one that rustface can search"))?;
        let mut faces: Vec<FaceBox> = found
            .iter()
            .map(|face| FaceBox {
                left: face.bbox().x(),
                top: face.bbox().y(),
                side: face.bbox().width().max(face.bbox().height()),
                score: face.score(),
            })
            .filter(|face| face.side >= self.config.smallest && face.side <= MAX_SIDE)
            .collect();
        faces.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(faces)
    }

    /// The surest face of a picture with its surroundings, `size` pixels a side; none where there
    /// is no face. What of the crop lies outside the picture is black.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find), or [`Error::Setting`] for a size of 0 or of more than
    /// [`MAX_SIDE`].
    pub fn crop(&self, picture: &RgbImage, size: u32) -> Result<Option<RgbImage>> {
        if !(1..=MAX_SIDE).contains(&size) {
            return Err(Error::Setting {
                field: "size",
                rule: "be from 1 to 4096 pixels",
                value: size.to_string(),
            });
        }
        let Some(face) = self.find(picture)?.first().copied() else {
            return Ok(None);
        };
        let side = (face.side as f32 * self.config.margin).round() as u32;
        let beyond = i64::from(side.saturating_sub(face.side)) / 2;
        let mut square = RgbImage::new(side, side);
        let [x, y] = [face.left, face.top].map(|start| beyond - i64::from(start));
        imageops::replace(&mut square, picture, x, y);
        let filter = imageops::FilterType::Triangle;
        Ok(Some(imageops::resize(&square, size, size, filter)))
    }
}
