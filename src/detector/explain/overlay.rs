use burn::config::Config;
use image::{Rgb, RgbImage};

use super::HeatMap;
use crate::{Error, Result};

/// How a heat map is laid over its picture.
///
/// Every channel of a pixel becomes $(1 - a)\\, p + a\\, c(h)$, with the picture's $p$, the opacity
/// $a$ and the colour $c(h)$ of the heat. The colours are those of "inferno": from black over red
/// to a pale yellow, of a lightness that rises evenly with the heat, so that they mean the same in
/// print and to those who see fewer colours.
///
/// Source of the colours: Smith and van der Walt, matplotlib's colour maps, SciPy 2015.
///
/// ```
/// use image::RgbImage;
/// use roga::detector::explain::{HeatMap, OverlayConfig};
///
/// let picture = RgbImage::new(64, 48);
/// let heat = HeatMap::new(2, 1, vec![0.0, 1.0])?;
/// let laid = OverlayConfig::new().lay(&heat, &picture)?;
/// assert_eq!(laid.dimensions(), (64, 48));
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct OverlayConfig {
    /// The opacity $a$ of the colours, from 0 (the picture alone) to 1 (the heat alone). Default: 0.5.
    #[config(default = 0.5)]
    pub opacity: f64,
}

impl OverlayConfig {
    /// Refuses an opacity out of its range.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where it is.
    pub fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.opacity) {
            return Ok(());
        }
        Err(Error::Setting {
            field: "opacity",
            rule: "be from 0 to 1",
            value: self.opacity.to_string(),
        })
    }

    /// The picture under the heat. A map of another size than the picture's is stretched, each
    /// pixel of the picture taking the number of the map at its place.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for an opacity out of its range.
    pub fn lay(&self, heat: &HeatMap, picture: &RgbImage) -> Result<RgbImage> {
        self.check()?;
        let (width, height) = picture.dimensions();
        let place = |at: u32, side: u32, cells: u32| {
            (u64::from(at) * u64::from(cells) / u64::from(side)) as u32
        };
        let mut laid = picture.clone();
        for (x, y, pixel) in laid.enumerate_pixels_mut() {
            let (column, row) = (
                place(x, width, heat.width()),
                place(y, height, heat.height()),
            );
            let Rgb(colour) = colour(heat.get(column, row).unwrap_or(0.0));
            for (under, over) in pixel.0.iter_mut().zip(colour) {
                let mixed =
                    (1.0 - self.opacity) * f64::from(*under) + self.opacity * f64::from(over);
                *under = mixed.round() as u8;
            }
        }
        Ok(laid)
    }
}

fn colour(heat: f32) -> Rgb<u8> {
    Rgb(colorous::INFERNO
        .eval_continuous(f64::from(heat))
        .into_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(4, 2, |x, y| Rgb([60 * x as u8, 200 * y as u8, 77]))
    }

    fn heat() -> HeatMap {
        HeatMap::new(4, 2, vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0]).unwrap()
    }

    #[test]
    fn opacity_leads_from_the_picture_to_the_heat() {
        let of = |opacity| {
            OverlayConfig::new()
                .with_opacity(opacity)
                .lay(&heat(), &picture())
        };
        assert_eq!(of(0.0).unwrap(), picture());
        let [half, full] = [0.5, 1.0].map(|opacity| of(opacity).unwrap());
        for ((half, full), under) in half.pixels().zip(full.pixels()).zip(picture().pixels()) {
            for channel in 0..3 {
                let mean = (u16::from(full[channel]) + u16::from(under[channel])).div_ceil(2);
                assert_eq!(u16::from(half[channel]), mean);
            }
        }
        for opacity in [-0.1, 1.1, f64::NAN] {
            assert!(of(opacity).unwrap_err().to_string().starts_with("opacity"));
        }
    }

    #[test]
    fn lightness_rises_with_the_heat() {
        let luminance = |heat: f32| {
            let linear = |byte: u8| (f64::from(byte) / 255.0).powf(2.2);
            let Rgb([r, g, b]) = colour(heat);
            0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
        };
        let steps: Vec<f64> = (0..=50).map(|step| luminance(step as f32 / 50.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_map_of_another_size_is_stretched() {
        let map = HeatMap::new(2, 1, vec![0.0, 1.0]).unwrap();
        let laid = OverlayConfig::new()
            .with_opacity(1.0)
            .lay(&map, &RgbImage::new(5, 3))
            .unwrap();
        for (x, _, pixel) in laid.enumerate_pixels() {
            assert_eq!(*pixel, colour(if x < 3 { 0.0 } else { 1.0 }));
        }
        let empty = OverlayConfig::new()
            .lay(&map, &RgbImage::new(0, 0))
            .unwrap();
        assert_eq!(empty.dimensions(), (0, 0));
    }
}
