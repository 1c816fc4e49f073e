//! Videos as folders of pictures, from which `domain/class/video/picture` sets are made.

use std::{error::Error, fs, path::PathBuf};

use clap::Args;
use image::RgbImage;
#[cfg(feature = "face-detection")]
use roga::detector::data::{FaceDetector, FaceDetectorConfig};
use roga::{Error as RogaError, detector::data::VideoConfig};

use crate::{stranger, terminal};

#[derive(Args)]
pub struct FramesArgs {
    /// Videos
    #[arg(required = true)]
    videos: Vec<PathBuf>,
    /// Where every video gets a folder of its name
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Frames of a video, evenly spread
    #[arg(long, default_value_t = 32)]
    frames: usize,
    /// SeetaFace's model: frames are cropped round the surest face, and those without one left out
    #[cfg(feature = "face-detection")]
    #[arg(long, value_name = "FILE")]
    face_model: Option<PathBuf>,
    /// The side of a face's crop in pixels
    #[cfg(feature = "face-detection")]
    #[arg(long, default_value_t = 256)]
    size: u32,
}

/// Finds the part of a frame to keep.
type Crop = Box<dyn Fn(RgbImage) -> roga::Result<Option<RgbImage>>>;

impl FramesArgs {
    #[cfg(feature = "face-detection")]
    fn crop(&self) -> roga::Result<Crop> {
        let Some(model) = &self.face_model else {
            return Ok(Box::new(|frame| Ok(Some(frame))));
        };
        let (detector, size): (FaceDetector, u32) =
            (FaceDetectorConfig::new(model.clone()).init()?, self.size);
        Ok(Box::new(move |frame| detector.crop(&frame, size)))
    }

    #[cfg(not(feature = "face-detection"))]
    fn crop(&self) -> roga::Result<Crop> {
        Ok(Box::new(|frame| Ok(Some(frame))))
    }
}

/// Writes `<output>/<video>/<frame>.png`.
pub fn frames(args: &FramesArgs) -> Result<(), Box<dyn Error>> {
    let crop = args.crop()?;
    for video in &args.videos {
        let name = video.file_stem().ok_or("a video must have a name")?;
        let folder = args.output.join(name);
        if folder.exists() {
            return Err(format!(
                "{} is there already: two videos of one name, or an earlier run",
                folder.display()
            )
            .into());
        }
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let (mut kept, mut without) = (0, 0);
        let reader = VideoConfig::new().with_frames(args.frames);
        reader.read(video, |number, frame| {
            let Some(picture) = crop(frame)? else {
                without += 1;
                return Ok(());
            };
            let path = folder.join(format!("{number:03}.png"));
            kept += 1;
            picture.save(&path).map_err(|error| RogaError::File {
                path,
                reason: format!("cannot be written: {error}"),
            })
        })?;
        let text = format!("{}: {kept} frames", stranger::path(&folder));
        terminal::say(&match without {
            0 => text,
            without => format!("{text}, {without} without a face"),
        });
    }
    Ok(())
}
