//! Colours that agree with the labels more than the digits do.

use rand::RngExt;

/// The share of labels that are wrong.
pub const LABEL_NOISE: f64 = 0.25;

/// A digit's label and its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colored {
    /// Whether the digit is below 5; wrong for a share of [`LABEL_NOISE`].
    pub label: bool,
    /// The channel that shows the digit: the label, or the other one for a share of `flip`.
    pub color: bool,
}

/// Labels and colours of digits. The colour tells the label in $1 - $`flip` of the cases, the digit
/// in 0.75 of them.
pub fn colored(digits: &[u8], flip: f64, random: &mut impl RngExt) -> Vec<Colored> {
    let labels: Vec<bool> = digits
        .iter()
        .map(|digit| (*digit < 5) ^ random.random_bool(LABEL_NOISE))
        .collect();
    let color = |label: bool| Colored {
        label,
        color: label ^ random.random_bool(flip),
    };
    labels.into_iter().map(color).collect()
}

/// A picture in two channels, from 0 to 1: the one of the colour shows it, or both without one.
pub fn channels(picture: &[u8], color: Option<bool>) -> Vec<f32> {
    let grey = grey(picture);
    let channel = |channel: bool| match color.is_none_or(|color| color == channel) {
        true => grey.clone(),
        false => vec![0.0; grey.len()],
    };
    [channel(false), channel(true)].concat()
}

/// A picture in one channel, from 0 to 1.
pub fn grey(picture: &[u8]) -> Vec<f32> {
    let pixels = picture.iter();
    pixels.map(|pixel| f32::from(*pixel) / 255.0).collect()
}
