//! Random changes of pictures while a network is trained, so that it learns what survives them.
//!
//! Every operation has a probability and a range, see [`Chance`]. They are drawn from one random
//! number without a look at what the picture shows, real or forged, and each operation draws for
//! itself: turning one off leaves the others as they were. In the order in which they are applied:
//!
//! | operation | what it does | unit of its range |
//! |---|---|---|
//! | flip | $(x, y) \mapsto (W - 1 - x, y)$ | |
//! | rotation | turns about the centre, counter-clockwise, bilinear; the border is repeated | degrees, $[-180, 180]$ |
//! | resize | shrinks both sides by $s$, averaging, and enlarges to the old size, bicubic | $s \in [0.01, 1]$ |
//! | blur | Gaussian of standard deviation $\sigma$, cut off at $\sigma / 0.3 - 1$ pixels, as in OpenCV | pixels, $[0, 20]$ |
//! | brightness | $v \mapsto v + b$ | $b \in [-1, 1]$ of the full scale |
//! | contrast | $v \mapsto \tfrac12 + (1 + c)(v - \tfrac12)$ | $c \in [-1, 1]$ |
//! | hue | turns colours about the axis of greys, luma kept | degrees, $[-180, 180]$ |
//! | noise | $v \mapsto v + \sigma n$, $n \sim \mathcal N(0, 1)$ | $\sigma \in [0, 1]$ of the full scale |
//! | JPEG | compresses and decompresses, without subsampling of colours | quality, $\{1, \dots, 100\}$ |
//! | cut-out | fills a square with grey: a share of the shorter side wide, its middle anywhere | share, $[0, 1]$ |
//!
//! Here $v$ is a channel, $0$ for black and $1$ for white; results are clamped to that range and
//! rounded. The picture keeps its size, and a grey one stays grey.

mod chance;
mod geometry;
mod tone;

use image::{RgbImage, imageops};

pub use self::chance::Chance;
pub(super) use self::geometry::shrunk;
use self::{
    chance::{check_probability, happens},
    geometry::{cut_out, resized, rotated},
    tone::{brightened, contrasted, hue_turned, noisy},
};
use super::{
    encode::jpeg,
    seed::{Purpose, generator},
};
use crate::{Error, Result};

/// Which operations change a picture, how likely and how far.
///
/// ```
/// use roga::detector::augment::{AugmentConfig, Chance};
///
/// let augment = AugmentConfig::none()
///     .with_flip(0.5)
///     .with_jpeg(Chance::new(0.5, [40, 100]));
/// let picture = image::RgbImage::new(64, 48);
/// let changed = augment.apply(&picture, 7)?;
/// assert_eq!(changed.dimensions(), (64, 48));
/// assert_eq!(changed, augment.apply(&picture, 7)?);
/// # Ok::<(), roga::Error>(())
/// ```
///
/// In training, the random number comes from the loader's
/// [`augment`](crate::domain::DomainDataLoaderBuilder::augment): it depends on the loader's seed,
/// the domain, the step and the place in the batch, never on the number of workers.
///
/// ```
/// # use burn::{data::{dataloader::batcher::Batcher, dataset::InMemDataset}, tensor::Device};
/// # use image::RgbImage;
/// # #[derive(Clone)]
/// # struct Keep;
/// # impl Batcher<RgbImage, Vec<RgbImage>> for Keep {
/// #     fn batch(&self, items: Vec<RgbImage>, _: &Device) -> Vec<RgbImage> { items }
/// # }
/// # let pictures = vec![RgbImage::new(64, 64)];
/// use roga::{detector::augment::AugmentConfig, domain::DomainDataLoaderBuilder};
///
/// let augment = AugmentConfig::deepfake_bench();
/// augment.check()?;
/// let loader = DomainDataLoaderBuilder::new(Keep)
///     .augment(move |picture: RgbImage, random| augment.apply(&picture, random).expect("a picture"))
///     .domain("face-swap", InMemDataset::new(pictures))
///     .build()?;
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct AugmentConfig {
    /// The probability of a flip from left to right, from 0 to 1.
    #[config(default = 0.0)]
    pub flip: f64,
    /// A rotation, in degrees from −180 to 180.
    #[config(default = "Chance::never(0.0)")]
    pub rotation: Chance,
    /// A loss of resolution: the factor by which the sides are shrunk, from 0.01 to 1.
    #[config(default = "Chance::never(1.0)")]
    pub resize: Chance,
    /// A Gaussian blur: its standard deviation in pixels, from 0 to 20; below 0.1 none.
    #[config(default = "Chance::never(0.0)")]
    pub blur: Chance,
    /// A change of brightness, from −1 to 1 of the full scale.
    #[config(default = "Chance::never(0.0)")]
    pub brightness: Chance,
    /// A change of contrast, from −1, all grey, to 1, twice as much.
    #[config(default = "Chance::never(0.0)")]
    pub contrast: Chance,
    /// A turn of the hue, in degrees from −180 to 180.
    #[config(default = "Chance::never(0.0)")]
    pub hue: Chance,
    /// Noise: its standard deviation, from 0 to 1 of the full scale.
    #[config(default = "Chance::never(0.0)")]
    pub noise: Chance,
    /// A JPEG: its quality, from 1 to 100.
    #[config(default = "Chance::never(100)")]
    pub jpeg: Chance<u8>,
    /// A square cut out (DeVries and Taylor, "Improved Regularization of Convolutional Neural
    /// Networks with Cutout", 2017, arXiv 1708.04552): its side, from 0 to 1 of the picture's
    /// shorter one.
    #[config(default = "Chance::never(0.0)")]
    pub cut_out: Chance,
}

/// What each operation's random numbers begin with.
enum Operation {
    Flip,
    Rotation,
    Resize,
    Blur,
    Brightness,
    Contrast,
    Hue,
    Noise,
    Jpeg,
    CutOut,
}

impl AugmentConfig {
    /// The names of [`preset`](Self::preset).
    pub const PRESETS: [&str; 2] = ["none", "deepfake-bench"];

    /// No operation at all.
    pub fn none() -> Self {
        Self::new()
    }

    /// What detectors are trained with in DeepfakeBench (Yan et al., NeurIPS 2023 Datasets and
    /// Benchmarks, arXiv 2307.01426), made for pictures of 256 pixels: a flip, a rotation by 10°
    /// at most and a blur by a kernel of 3 to 7 pixels, each for every second picture, changes of
    /// brightness and contrast by a tenth or of hue by 40°, and a JPEG of quality 40 to 100 for
    /// every second. On smaller pictures the same blur and JPEG take more of a face.
    ///
    /// Where theirs takes one of three changes of colour, here each happens by itself, as often
    /// as there; of theirs, the one along principal components of colour is left out. Its resize
    /// to the network's size is not random and is left to the reader.
    pub fn deepfake_bench() -> Self {
        let one_in_three = 0.5 / 3.0;
        Self::new()
            .with_flip(0.5)
            .with_rotation(Chance::new(0.5, [-10.0, 10.0]))
            // The standard deviations of OpenCV's kernels of 3 and 7 pixels.
            .with_blur(Chance::new(0.5, [0.8, 1.4]))
            .with_brightness(Chance::new(one_in_three, [-0.1, 0.1]))
            .with_contrast(Chance::new(one_in_three, [-0.1, 0.1]))
            .with_hue(Chance::new(one_in_three, [-40.0, 40.0]))
            .with_jpeg(Chance::new(0.5, [40, 100]))
    }

    /// The settings of a name among [`PRESETS`](Self::PRESETS).
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for another name.
    pub fn preset(name: &str) -> Result<Self> {
        match name {
            "none" => Ok(Self::none()),
            "deepfake-bench" => Ok(Self::deepfake_bench()),
            _ => Err(Error::Setting {
                field: "augmentation",
                rule: "be none or deepfake-bench",
                value: name.into(),
            }),
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for the first probability or range that is out of its bounds.
    pub fn check(&self) -> Result<()> {
        const ANGLE: &str = "have a range that rises within -180 and 180 degrees";
        const TONE: &str = "have a range that rises within -1 and 1";
        const SHARE: &str = "have a range that rises within 0 and 1";
        check_probability("flip", self.flip)?;
        self.rotation.check("rotation", [-180.0, 180.0], ANGLE)?;
        let rule = "have a range that rises within 0.01 and 1";
        self.resize.check("resize", [0.01, 1.0], rule)?;
        let rule = "have a range that rises within 0 and 20 pixels";
        self.blur.check("blur", [0.0, 20.0], rule)?;
        self.brightness.check("brightness", [-1.0, 1.0], TONE)?;
        self.contrast.check("contrast", [-1.0, 1.0], TONE)?;
        self.hue.check("hue", [-180.0, 180.0], ANGLE)?;
        self.noise.check("noise", [0.0, 1.0], SHARE)?;
        let rule = "have a range that rises within 1 and 100";
        self.jpeg.check("jpeg", [1, 100], rule)?;
        self.cut_out.check("cut_out", [0.0, 1.0], SHARE)
    }

    /// The picture after the operations that `random` draws: the same picture and number, the same
    /// result, bit for bit on one machine.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range, or a picture without pixels or larger
    /// than a JPEG can hold.
    pub fn apply(&self, picture: &RgbImage, random: u64) -> Result<RgbImage> {
        self.check()?;
        if picture.is_empty() {
            return Err(Error::Setting {
                field: "picture",
                rule: "have a pixel at least",
                value: format!("{} x {}", picture.width(), picture.height()),
            });
        }
        let rng = |operation| generator(Purpose::Augment, [random, operation as u64, 0, 0]);
        let amount = |operation, chance: &Chance| chance.draw(&mut rng(operation));
        let mut picture = picture.clone();
        if happens(self.flip, &mut rng(Operation::Flip)) {
            imageops::flip_horizontal_in_place(&mut picture);
        }
        if let Some(degrees) = amount(Operation::Rotation, &self.rotation) {
            picture = rotated(&picture, degrees);
        }
        if let Some(scale) = amount(Operation::Resize, &self.resize) {
            picture = resized(&picture, scale);
        }
        if let Some(sigma) = amount(Operation::Blur, &self.blur).filter(|&sigma| sigma >= 0.1) {
            picture = imageops::blur(&picture, sigma);
        }
        if let Some(brightness) = amount(Operation::Brightness, &self.brightness) {
            picture = brightened(picture, brightness);
        }
        if let Some(contrast) = amount(Operation::Contrast, &self.contrast) {
            picture = contrasted(picture, contrast);
        }
        if let Some(degrees) = amount(Operation::Hue, &self.hue) {
            picture = hue_turned(picture, degrees);
        }
        let mut grains = rng(Operation::Noise);
        if let Some(sigma) = self.noise.draw(&mut grains) {
            picture = noisy(picture, sigma, &mut grains);
        }
        if let Some(quality) = self.jpeg.draw(&mut rng(Operation::Jpeg)) {
            picture = jpeg(&picture, quality)?.picture;
        }
        let mut place = rng(Operation::CutOut);
        if let Some(share) = self.cut_out.draw(&mut place) {
            picture = cut_out(picture, share, &mut place);
        }
        Ok(picture)
    }
}

#[cfg(test)]
mod tests;
