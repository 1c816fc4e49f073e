use burn::tensor::Tensor;

use crate::{Error, Result};

/// A number in $[0, 1]$ for every pixel of a picture: 1 where the heat is greatest, 0 where there
/// is none.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    width: u32,
    height: u32,
    values: Vec<f32>,
    peak: f32,
}

impl HeatMap {
    /// Divides heat by its peak. A map without any heat stays 0.
    ///
    /// `heat` holds `height` rows of `width` numbers of at least 0, the topmost row first.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where there is no pixel, there are not as many numbers as pixels, or one
    /// is negative or not finite.
    pub fn new(width: u32, height: u32, heat: Vec<f32>) -> Result<Self> {
        let refused = |rule, value| {
            Err(Error::Setting {
                field: "heat",
                rule,
                value,
            })
        };
        if heat.is_empty() || heat.len() as u64 != u64::from(width) * u64::from(height) {
            let value = format!("{} numbers for {width} x {height} pixels", heat.len());
            return refused("be one number for each of at least one pixel", value);
        }
        if let Some(bad) = heat.iter().find(|heat| !heat.is_finite() || **heat < 0.0) {
            return refused("be finite and at least 0", bad.to_string());
        }
        let peak = heat.iter().copied().fold(0.0, f32::max);
        let values = heat.into_iter().map(|heat| match peak {
            0.0 => 0.0,
            peak => heat / peak,
        });
        Ok(Self {
            width,
            height,
            values: values.collect(),
            peak,
        })
    }

    /// One map for every picture of a batch of heat, `[batch, 1, height, width]`.
    pub(super) fn batch(heat: Tensor<4>) -> Result<Vec<Self>> {
        let [_, _, height, width] = heat.dims();
        let numbers = heat
            .try_into_data()
            .map_err(|error| Error::Device(format!("{error:?}")))?;
        let numbers: Vec<f32> = numbers.iter::<f32>().collect();
        numbers
            .chunks(height * width)
            .map(|heat| Self::new(width as u32, height as u32, heat.to_vec()))
            .collect()
    }

    /// The pixels of a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The number of rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `height` rows of `width` numbers in $[0, 1]$, the topmost row first. The largest is 1, unless
    /// all are 0.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The heat that 1 stands for: maps of different pictures are alike only in this unit.
    pub fn peak(&self) -> f32 {
        self.peak
    }

    /// The number of a pixel; `None` outside the map.
    pub fn get(&self, x: u32, y: u32) -> Option<f32> {
        let inside = x < self.width && y < self.height;
        let place = y as usize * self.width as usize + x as usize;
        self.values.get(place).copied().filter(|_| inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_divided_by_its_peak() {
        let map = HeatMap::new(2, 2, vec![0.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!(map.values(), [0.0, 0.25, 1.0, 0.5]);
        assert_eq!((map.peak(), map.width(), map.height()), (4.0, 2, 2));
        assert_eq!((map.get(1, 0), map.get(0, 1)), (Some(0.25), Some(1.0)));
        assert_eq!((map.get(2, 0), map.get(0, 2)), (None, None));
    }

    #[test]
    fn no_heat_stays_none() {
        let map = HeatMap::new(1, 3, vec![0.0; 3]).unwrap();
        assert_eq!((map.values(), map.peak()), (&[0.0; 3][..], 0.0));
    }

    #[test]
    fn the_smallest_heat_is_still_seen() {
        let tiny = f32::from_bits(1);
        let map = HeatMap::new(2, 1, vec![0.0, tiny]).unwrap();
        assert_eq!(map.values(), [0.0, 1.0]);
    }

    #[test]
    fn what_is_no_heat_is_refused() {
        for (width, height, heat) in [
            (0, 0, vec![]),
            (0, 1, vec![0.0]),
            (2, 2, vec![0.0; 3]),
            (u32::MAX, u32::MAX, vec![0.0; 1]),
            (2, 1, vec![0.0, -1.0]),
            (2, 1, vec![0.0, f32::NAN]),
            (2, 1, vec![0.0, f32::INFINITY]),
        ] {
            let refused = HeatMap::new(width, height, heat).unwrap_err();
            assert!(refused.to_string().starts_with("heat must"), "{refused}");
        }
    }
}
