//! Where a detector looks: heat maps laid over pictures.

use std::{error::Error, fs, path::PathBuf};

use burn::tensor::Tensor;
use clap::Args;
use image::{RgbImage, imageops};
use roga::detector::{
    backbone::Classifier,
    explain::{HeatMap, OverlayConfig, Target, grad_cam, input_gradient},
};

use super::predict;
use crate::{
    detector::{Detector, tensor},
    device::device,
    stranger, terminal,
};

#[derive(Args)]
pub struct ExplainArgs {
    /// The folder of a training, with weights.bpk and detector.toml
    detector: PathBuf,
    /// Pictures
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    /// Where the heat maps are written: the picture, Grad-CAM and the input gradient side by side
    #[arg(long, value_name = "DIR", default_value = "deepfake-explained")]
    output: PathBuf,
    /// How much of the picture the colours cover, from 0 to 1
    #[arg(long, default_value_t = 0.5)]
    opacity: f64,
    /// The device
    #[arg(long, default_value = "flex")]
    device: String,
}

/// Writes a picture for every picture, and prints its score.
pub fn explain(args: &ExplainArgs) -> Result<(), Box<dyn Error>> {
    let overlay = OverlayConfig::new().with_opacity(args.opacity);
    overlay.check()?;
    let detector = Detector::open(&args.detector, &device(&args.device)?)?;
    fs::create_dir_all(&args.output)
        .map_err(|e| format!("--output {}: {e}", args.output.display()))?;
    for (number, path) in args.pictures.iter().enumerate() {
        let input = predict::input(&detector.config, path)?;
        let score = detector.scores(&[&input])[0];
        let [cam, gradient] = heat(&detector, &input)?;
        let panels = [
            input.clone(),
            overlay.lay(&cam, &input)?,
            overlay.lay(&gradient, &input)?,
        ];
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        let name = format!("{number:03}-{}.png", stem.unwrap_or_default());
        let file = args.output.join(name);
        let saved = side_by_side(&panels).save(&file);
        saved.map_err(|error| format!("{}: {error}", stranger::path(&file)))?;
        let [path, file] = [path, &file].map(|path| stranger::path(path));
        terminal::say(&format!("{path}: score {score:+.3}, {file}"));
    }
    Ok(())
}

/// Grad-CAM and the input gradient of "forged" against "real".
pub fn heat(detector: &Detector, input: &RgbImage) -> Result<[HeatMap; 2], Box<dyn Error>> {
    let forged = Target::Difference { of: 1, to: 0 };
    let normalization = detector.config.backbone.normalization();
    let pictures = || -> Tensor<4> { tensor(&[input], normalization, &detector.device) };
    let net = &detector.net;
    let mut cam = grad_cam(
        pictures(),
        forged,
        |pictures| net.feature_map(pictures),
        |map| net.classify(map),
    )?;
    let mut gradient = input_gradient(pictures(), forged, |pictures| net.forward(pictures))?;
    Ok([cam.remove(0), gradient.remove(0)])
}

/// Pictures of one size in a row, enlarged to be seen.
fn side_by_side(panels: &[RgbImage]) -> RgbImage {
    let size = panels.first().map_or(1, |panel| panel.width());
    let scale = SHOWN.div_ceil(size);
    let mut row = RgbImage::new(size * scale * panels.len() as u32, size * scale);
    for (place, panel) in panels.iter().enumerate() {
        let side = size * scale;
        let larger = imageops::resize(panel, side, side, imageops::FilterType::Nearest);
        imageops::replace(&mut row, &larger, i64::from(side) * place as i64, 0);
    }
    row
}

/// The least pixels of a panel's side.
const SHOWN: u32 = 256;
