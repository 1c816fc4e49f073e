//! Levels of compression as domains.
//!
//! A detector that is to hold up where pictures were sent through messengers and platforms can be
//! trained with each way of compression as a domain: the same pictures, real and forged alike, at
//! each level.

use std::{collections::BTreeSet, sync::Arc};

use image::{
    RgbImage,
    imageops::{self, FilterType},
};
use rand::{Rng, RngExt};

use super::{
    augment::shrunk,
    dataset::Sample,
    encode::{Encoded, check_quality, jpeg},
    seed::{Purpose, generator},
};
use crate::{Error, Result};

/// A level of compression: a range of JPEG's quality, and how much of the resolution is lost.
///
/// A picture is shrunk by a factor $s$, compressed with a quality $q$, decompressed, and enlarged
/// to its old size, bicubic. $s$ and $q$ are drawn evenly from their ranges without a look at
/// the class.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct Compression {
    /// The domain's name, of one character at least.
    pub name: String,
    /// The least and the greatest quality of the JPEG, from 1 to 100.
    pub quality: [u8; 2],
    /// The least and the greatest factor by which the sides are shrunk, from 0.01 to 1.
    #[config(default = "[1.0, 1.0]")]
    pub scale: [f32; 2],
}

impl Compression {
    /// A JPEG of one quality under the name `jpeg-<quality>`, as `jpeg-60`.
    pub fn jpeg(quality: u8) -> Self {
        Self::new(format!("jpeg-{quality}"), [quality; 2])
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for the first that is out of its range.
    pub fn check(&self) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::Setting {
                field: "name",
                rule: "have a character at least",
                value: "empty".into(),
            });
        }
        check_quality(self.quality)?;
        let [low, high] = self.scale;
        if 0.01 <= low && low <= high && high <= 1.0 {
            return Ok(());
        }
        Err(Error::Setting {
            field: "scale",
            rule: "rise from 0.01 to 1 at most",
            value: format!("{:?}", self.scale),
        })
    }

    /// The picture at this level, of the same size: the same picture and random number, the same
    /// result.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range, or a picture without pixels or larger
    /// than a JPEG can hold.
    pub fn apply(&self, picture: &RgbImage, random: u64) -> Result<Encoded> {
        self.check()?;
        let mut rng = generator(Purpose::Compress, [random, 0, 0, 0]);
        let scale = rng.random_range(self.scale[0]..=self.scale[1]);
        let quality = rng.random_range(self.quality[0]..=self.quality[1]);
        let (width, height) = picture.dimensions();
        let small = if picture.is_empty() {
            picture.clone()
        } else {
            shrunk(picture, scale)
        };
        let mut encoded = jpeg(&small, quality)?;
        encoded.picture = imageops::resize(&encoded.picture, width, height, FilterType::CatmullRom);
        Ok(encoded)
    }
}

/// The samples at each level of compression: a domain for each, under the level's name.
///
/// Every domain holds all samples in their order, so that the domains differ by nothing but
/// compression. The samples have been through a JPEG of their own before: let that be of a high
/// [quality](super::encode::EncodeConfig::quality).
///
/// ```
/// use roga::detector::{
///     compression::{Compression, by_compression},
///     dataset::DomainConfig,
///     forgery::Forgery,
///     portrait::{PortraitConfig, Portraits},
/// };
///
/// let portraits = Portraits::new(PortraitConfig::new(), 7, 2, 1)?;
/// let samples = DomainConfig::new(Forgery::Generator).build(&portraits, &[0, 1])?;
/// let small = Compression::new("small".into(), [40, 60]).with_scale([0.4, 0.6]);
/// let domains = by_compression(&samples, &[Compression::jpeg(90), small], 7)?;
/// assert_eq!(&*domains[0].0, "jpeg-90");
/// assert_eq!(domains[1].1.len(), samples.len());
/// # Ok::<(), roga::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Domains`] where there is no level, or two have one name; what [`Compression::apply`]
/// returns.
pub fn by_compression(
    samples: &[Sample],
    levels: &[Compression],
    seed: u64,
) -> Result<Vec<(Arc<str>, Vec<Sample>)>> {
    let names: BTreeSet<&str> = levels.iter().map(|level| &*level.name).collect();
    if names.is_empty() || names.len() < levels.len() {
        return Err(Error::Domains {
            rule: "be one level of compression each, under a name of its own",
            found: format!(
                "there are {} levels and {} names",
                levels.len(),
                names.len()
            ),
        });
    }
    let at = |level: &Compression, index: usize, sample: &Sample| -> Result<Sample> {
        let random = generator(Purpose::Compress, [seed, index as u64, 0, 1]).next_u64();
        let encoded = level.apply(&sample.picture, random)?;
        Ok(Sample {
            picture: encoded.picture,
            quality: encoded.quality,
            bytes: encoded.bytes,
            ..sample.clone()
        })
    };
    let domain = |level: &Compression| -> Result<(Arc<str>, Vec<Sample>)> {
        let samples = samples.iter().enumerate();
        let compressed: Result<_> = samples.map(|(i, sample)| at(level, i, sample)).collect();
        Ok((level.name.as_str().into(), compressed?))
    };
    levels.iter().map(domain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{
        dataset::DomainConfig,
        encode::EncodeConfig,
        forgery::Forgery,
        portrait::{PortraitConfig, Portraits},
    };

    fn samples(forgery: Forgery) -> Vec<Sample> {
        let source = Portraits::new(PortraitConfig::new(), 3, 4, 1).unwrap();
        let encode = EncodeConfig::new().with_quality([98, 98]);
        let config = DomainConfig::new(forgery).with_encode(encode);
        config.build(&source, &[0, 1, 2, 3]).unwrap()
    }

    #[test]
    fn levels_have_their_quality_and_lose_the_more_the_lower_it_is() {
        let samples = samples(Forgery::Generator);
        let levels = [90, 60, 30].map(Compression::jpeg);
        let domains = by_compression(&samples, &levels, 1).unwrap();
        let names: Vec<&str> = domains.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["jpeg-90", "jpeg-60", "jpeg-30"]);
        let mut bytes = usize::MAX;
        let mut error = 0.0;
        for ((_, domain), quality) in domains.iter().zip([90, 60, 30]) {
            let mut sum = 0.0;
            for (new, old) in domain.iter().zip(&samples) {
                assert_eq!(new.quality, quality);
                assert_eq!((new.label, new.source), (old.label, old.source));
                assert_eq!(new.picture.dimensions(), (64, 64));
                let pixels = new.picture.iter().zip(old.picture.iter());
                sum += pixels.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
            }
            let total = domain.iter().map(|sample| sample.bytes).sum();
            assert!(total < bytes && sum > error, "{quality}: {total} {sum}");
            (bytes, error) = (total, sum);
        }
        assert_eq!(domains, by_compression(&samples, &levels, 1).unwrap());
        let last = by_compression(&samples, &levels[2..], 1).unwrap();
        assert_eq!(last[0], domains[2], "a level left out leaves the others");
    }

    #[test]
    fn ranges_are_drawn_alike_for_both_classes() {
        let face = PortraitConfig::new().draw(1, 0, 0).unwrap();
        let level = Compression::new("all".into(), [40, 80]).with_scale([0.5, 1.0]);
        let mut qualities = BTreeSet::new();
        for random in 0..200 {
            let compressed = level.apply(face.picture(), random).unwrap();
            assert!((40..=80).contains(&compressed.quality));
            assert_eq!(compressed.picture.dimensions(), (128, 128));
            qualities.insert(compressed.quality);
        }
        assert!(qualities.len() > 30);
        // A forged picture that equals a real one is compressed to the same bits.
        let mut twins = samples(Forgery::Generator);
        for pair in twins.chunks_exact_mut(2) {
            pair[1].picture = pair[0].picture.clone();
        }
        let swapped: Vec<Sample> = twins
            .iter()
            .map(|sample| Sample {
                label: 1 - sample.label,
                ..sample.clone()
            })
            .collect();
        let pictures = |samples: &[Sample]| -> Vec<RgbImage> {
            let domains = by_compression(samples, std::slice::from_ref(&level), 5).unwrap();
            domains[0]
                .1
                .iter()
                .map(|sample| sample.picture.clone())
                .collect()
        };
        assert_eq!(pictures(&twins), pictures(&swapped));
    }

    #[test]
    fn shrinking_takes_the_detail_that_a_high_quality_keeps() {
        let face = PortraitConfig::new().draw(1, 0, 0).unwrap();
        let roughness = |picture: &RgbImage| -> u64 {
            let rows = picture
                .rows()
                .map(|row| row.map(|p| p[1]).collect::<Vec<_>>());
            rows.flat_map(|row| {
                row.windows(2)
                    .map(|w| u64::from(w[0].abs_diff(w[1])))
                    .collect::<Vec<_>>()
            })
            .sum()
        };
        let whole = Compression::jpeg(95).apply(face.picture(), 0).unwrap();
        let half = Compression::jpeg(95)
            .with_scale([0.5, 0.5])
            .apply(face.picture(), 0)
            .unwrap();
        assert!(half.bytes < whole.bytes * 2 / 3);
        assert!(roughness(&half.picture) < roughness(&whole.picture) * 9 / 10);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let new = |quality| Compression::new("a".into(), quality);
        for (level, text) in [
            (
                new([0, 10]),
                "quality must rise from 1 to 100 at most, but is [0, 10]",
            ),
            (
                new([90, 80]),
                "quality must rise from 1 to 100 at most, but is [90, 80]",
            ),
            (
                new([90, 101]),
                "quality must rise from 1 to 100 at most, but is [90, 101]",
            ),
            (
                new([50, 60]).with_scale([f32::NAN, 1.0]),
                "scale must rise from 0.01 to 1 at most, but is [NaN, 1.0]",
            ),
            (
                new([50, 60]).with_scale([0.5, 1.5]),
                "scale must rise from 0.01 to 1 at most, but is [0.5, 1.5]",
            ),
            (
                Compression::new(String::new(), [5, 6]),
                "name must have a character at least, but is empty",
            ),
        ] {
            assert_eq!(level.check().unwrap_err().to_string(), text);
            assert!(by_compression(&samples(Forgery::Mouth)[..1], &[level], 0).is_err());
        }
        assert!(by_compression(&[], &[], 0).is_err());
        let twice = [Compression::jpeg(50), Compression::jpeg(50)];
        assert!(by_compression(&[], &twice, 0).is_err());
        for (width, height) in [(0, 0), (0, 3), (1, 1), (3, 1)] {
            let result = Compression::jpeg(50).apply(&RgbImage::new(width, height), 0);
            assert_eq!(result.is_ok(), width > 0 && height > 0);
        }
    }
}
