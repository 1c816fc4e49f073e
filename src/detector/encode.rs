//! The one way by which real and forged faces become a network's input.
//!
//! Where forgeries differ from real pictures in size, format or compression, a network learns
//! that. Here both pass the same crop, the same resize and the same JPEG, with a quality drawn
//! without a look at the class. Where pictures of one data set are grey, all can be made grey.

use image::{
    ImageFormat, RgbImage,
    codecs::jpeg::JpegEncoder,
    imageops::{self, FilterType},
};
use rand::{RngExt, rngs::ChaCha8Rng};

use super::{
    landmark::Landmarks,
    raster,
    seed::{Purpose, generator},
};
use crate::{Error, Result};

/// How a picture of a face becomes a network's input.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct EncodeConfig {
    /// The side of the square result in pixels, from 16 to 1024.
    #[config(default = 64)]
    pub size: u32,
    /// What is kept round the face's box, in its longer sides, from 0 to 2.
    #[config(default = 0.12)]
    pub margin: f32,
    /// The greatest random shift and change of size of the crop, in its sides, from 0 to 0.25.
    #[config(default = 0.03)]
    pub jitter: f32,
    /// The least and the greatest quality of the JPEG, from 1 to 100.
    #[config(default = "[75, 95]")]
    pub quality: [u8; 2],
    /// Whether each pixel's luma, $0.299 R + 0.587 G + 0.114 B$ (ITU-R BT.601), stands in all
    /// three channels of the result: grey and coloured pictures are then treated alike.
    #[config(default = false)]
    pub grey: bool,
}

/// A network's input and what is known of its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The decoded picture, `size` pixels a side.
    pub picture: RgbImage,
    /// The JPEG's quality.
    pub quality: u8,
    /// The JPEG's size in bytes.
    pub bytes: usize,
}

/// The square of a picture that is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Crop {
    left: i64,
    top: i64,
    side: u32,
}

impl EncodeConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for the first that is out of its range.
    pub fn check(&self) -> Result<()> {
        let refused = |field, rule, value: String| Err(Error::Setting { field, rule, value });
        if !(16..=1024).contains(&self.size) {
            return refused("size", "be from 16 to 1024 pixels", self.size.to_string());
        }
        if !(0.0..=2.0).contains(&self.margin) {
            return refused("margin", "be from 0 to 2", self.margin.to_string());
        }
        if !(0.0..=0.25).contains(&self.jitter) {
            return refused("jitter", "be from 0 to 0.25", self.jitter.to_string());
        }
        check_quality(self.quality)
    }

    /// Crops round the landmarks, resizes, compresses and decompresses.
    ///
    /// What of the crop lies outside the picture repeats its border. `seed` draws the crop's
    /// jitter and the quality.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range or an empty picture.
    pub fn encode(&self, picture: &RgbImage, landmarks: &Landmarks, seed: u64) -> Result<Encoded> {
        let mut rng = generator(Purpose::Encode, [seed, 0, 0, 0]);
        self.encode_from(picture, landmarks, &mut rng)
    }

    /// [`encode`](Self::encode) from a generator's state.
    pub(crate) fn encode_from(
        &self,
        picture: &RgbImage,
        landmarks: &Landmarks,
        rng: &mut ChaCha8Rng,
    ) -> Result<Encoded> {
        self.check()?;
        let crop = self.crop(landmarks, rng);
        let input = self.cut(picture, crop)?;
        let quality = rng.random_range(self.quality[0]..=self.quality[1]);
        jpeg(&input, quality)
    }

    /// The crop of a face without jitter and without a JPEG: for pictures that are to be judged.
    ///
    /// What of the crop lies outside the picture repeats its border.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range or an empty picture.
    pub fn face(&self, picture: &RgbImage, landmarks: &Landmarks) -> Result<RgbImage> {
        self.check()?;
        let still = Self {
            jitter: 0.0,
            ..self.clone()
        };
        // Without jitter nothing of the generator is seen.
        let crop = still.crop(landmarks, &mut generator(Purpose::Encode, [0; 4]));
        still.cut(picture, crop)
    }

    /// The square in a picture's middle, resized: for pictures that are crops of faces already.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range or an empty picture.
    ///
    /// ```
    /// use roga::detector::encode::EncodeConfig;
    ///
    /// let crop = image::RgbImage::new(256, 300);
    /// assert_eq!(EncodeConfig::new().middle(&crop)?.dimensions(), (64, 64));
    /// # Ok::<(), roga::Error>(())
    /// ```
    pub fn middle(&self, picture: &RgbImage) -> Result<RgbImage> {
        self.check()?;
        let (width, height) = picture.dimensions();
        let side = width.min(height);
        let crop = Crop {
            left: i64::from((width - side) / 2),
            top: i64::from((height - side) / 2),
            side,
        };
        self.cut(picture, crop)
    }

    pub(crate) fn crop(&self, landmarks: &Landmarks, rng: &mut ChaCha8Rng) -> Crop {
        let [left, top, right, bottom] = landmarks.face_box();
        let mut jitter = || self.jitter * (2.0 * rng.random::<f32>() - 1.0);
        let side = (right - left).max(bottom - top) * (1.0 + 2.0 * self.margin);
        let [x, y] = [jitter() * side, jitter() * side];
        let side = side * (1.0 + jitter());
        Crop {
            left: (0.5 * (left + right - side) + x).round() as i64,
            top: (0.5 * (top + bottom - side) + y).round() as i64,
            side: (side.round() as u32).max(2),
        }
    }

    pub(crate) fn cut(&self, picture: &RgbImage, crop: Crop) -> Result<RgbImage> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 || crop.side > 4 * super::faces::MAX_SIDE {
            return Err(Error::Setting {
                field: "picture",
                rule: "show a face of 1 to 4096 pixels",
                value: format!("{width} x {height}, with a face of {} pixels", crop.side),
            });
        }
        let inside = |start: i64, step: u32, end: u32| {
            (start + i64::from(step)).clamp(0, i64::from(end) - 1) as u32
        };
        let square = RgbImage::from_fn(crop.side, crop.side, |x, y| {
            *picture.get_pixel(inside(crop.left, x, width), inside(crop.top, y, height))
        });
        let resized = imageops::resize(&square, self.size, self.size, FilterType::Triangle);
        Ok(if self.grey {
            raster::grey(resized)
        } else {
            resized
        })
    }
}

/// Refuses ranges of JPEG's quality.
pub(crate) fn check_quality(quality: [u8; 2]) -> Result<()> {
    let [low, high] = quality;
    if (1..=high).contains(&low) && high <= 100 {
        return Ok(());
    }
    Err(Error::Setting {
        field: "quality",
        rule: "rise from 1 to 100 at most",
        value: format!("{quality:?}"),
    })
}

/// Compresses and decompresses.
pub(crate) fn jpeg(picture: &RgbImage, quality: u8) -> Result<Encoded> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality)
        .encode_image(picture)
        .and_then(|()| image::load_from_memory_with_format(&file, ImageFormat::Jpeg))
        .map(|decoded| Encoded {
            picture: decoded.into_rgb8(),
            quality,
            bytes: file.len(),
        })
        .map_err(|error| Error::Setting {
            field: "picture",
            rule: "be one that JPEG can hold",
            value: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{landmark::Scheme, portrait::PortraitConfig};

    fn rng() -> ChaCha8Rng {
        generator(Purpose::Encode, [9, 0, 0, 0])
    }

    #[test]
    fn result_has_the_size_and_a_quality_of_the_range() {
        let face = PortraitConfig::new().draw(1, 1, 1).unwrap();
        let config = EncodeConfig::new().with_size(96).with_quality([60, 62]);
        for seed in 0..20 {
            let encoded = config
                .encode(face.picture(), face.landmarks(), seed)
                .unwrap();
            assert_eq!(encoded.picture.dimensions(), (96, 96));
            assert!((60..=62).contains(&encoded.quality));
            assert!(encoded.bytes > 500);
        }
    }

    #[test]
    fn what_is_to_be_judged_is_cropped_without_chance() {
        let face = PortraitConfig::new().draw(1, 1, 1).unwrap();
        let config = EncodeConfig::new().with_size(48);
        let still = config.face(face.picture(), face.landmarks()).unwrap();
        assert_eq!(still.dimensions(), (48, 48));
        let other = config.clone().with_jitter(0.2).with_quality([1, 1]);
        assert_eq!(still, other.face(face.picture(), face.landmarks()).unwrap());

        let mut wide = RgbImage::from_pixel(300, 100, image::Rgb([10, 10, 10]));
        for x in 100..200 {
            (0..100).for_each(|y| wide.put_pixel(x, y, image::Rgb([200, 0, 0])));
        }
        let middle = config.middle(&wide).unwrap();
        assert!(middle.pixels().all(|pixel| pixel.0 == [200, 0, 0]));
        assert!(config.middle(&RgbImage::new(0, 3)).is_err());
    }

    #[test]
    fn the_crop_knows_only_the_landmarks() {
        let face = PortraitConfig::new().draw(1, 1, 1).unwrap();
        let config = EncodeConfig::new();
        let crop = config.crop(face.landmarks(), &mut rng());
        assert_eq!(crop, config.crop(face.landmarks(), &mut rng()));
        let [left, top, right, bottom] = face.landmarks().face_box();
        let side = crop.side as f32;
        assert!(side > (bottom - top).max(right - left) && side < 1.4 * (bottom - top));
        assert!((crop.left as f32) < left && crop.left as f32 + side > right);
        assert!((crop.top as f32) < top && crop.top as f32 + side > bottom);
    }

    #[test]
    fn a_face_at_the_border_repeats_it() {
        let picture = RgbImage::from_pixel(20, 20, image::Rgb([200, 100, 50]));
        let mut points = vec![[10.0, 10.0]; 97];
        points[0] = [-30.0, -30.0];
        points[14] = [40.0, 40.0];
        let marks = Landmarks::new(points, Scheme::Portrait97).unwrap();
        let encoded = EncodeConfig::new().encode(&picture, &marks, 1).unwrap();
        assert!(encoded.picture.pixels().all(|p| p[0].abs_diff(200) < 6));
    }

    #[test]
    fn grey_is_grey_after_the_jpeg_and_is_the_same_for_a_grey_picture() {
        let face = PortraitConfig::new().draw(1, 1, 1).unwrap();
        let config = EncodeConfig::new().with_grey(true);
        let encoded = |picture: &RgbImage, config: &EncodeConfig| {
            config.encode(picture, face.landmarks(), 4).unwrap()
        };
        let grey = encoded(face.picture(), &config);
        assert!(grey.picture.pixels().all(|p| p[0] == p[1] && p[1] == p[2]));
        assert_ne!(
            grey,
            encoded(face.picture(), &config.clone().with_grey(false))
        );
        let before = raster::grey(face.picture().clone());
        assert_eq!(
            encoded(&before, &config),
            encoded(&before, &config.clone().with_grey(false))
        );
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let new = EncodeConfig::new;
        for (config, field) in [
            (new().with_size(8), "size"),
            (new().with_margin(f32::NAN), "margin"),
            (new().with_jitter(-0.1), "jitter"),
            (new().with_quality([90, 80]), "quality"),
            (new().with_quality([0, 80]), "quality"),
            (new().with_quality([90, 101]), "quality"),
        ] {
            assert!(config.check().unwrap_err().to_string().starts_with(field));
        }
        assert!(new().check().is_ok());
    }
}
