//! Shapes, drawn in several styles: the class is the shape, the domain is the style.

use burn::{
    data::dataloader::batcher::Batcher,
    tensor::{Device, Int, Tensor, TensorData},
};
use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};

/// Pixels of a side.
pub const SIZE: usize = 12;
/// Bar, column, ring and cross.
pub const CLASSES: usize = 4;

/// The styles to train on.
pub const SEEN: [Style; 3] = [Style::Chalk, Style::Ink, Style::Grain];

/// How a shape is drawn.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// Bright on black.
    Chalk,
    /// Dark on white.
    Ink,
    /// Bright on grey, with noise.
    Grain,
    /// Brighter or darker than a ground that runs from dark to bright, faintly.
    Faded,
}

#[derive(Clone, Debug)]
pub struct Picture {
    pixels: Vec<f32>,
    class: usize,
}

/// As many pictures of one style, as many of each class.
pub fn pictures(style: Style, count: usize, seed: u64) -> Vec<Picture> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(style as u64);
    (0..count)
        .map(|index| picture(style, index % CLASSES, &mut random))
        .collect()
}

fn picture(style: Style, class: usize, random: &mut impl Rng) -> Picture {
    let mut near = |middle: f32, spread: f32| middle + random.random_range(-spread..spread);
    let (x0, y0) = (near(5.5, 1.5), near(5.5, 1.5));
    let (radius, width) = (near(3.0, 0.7), near(0.8, 0.2));
    let (shade, slope) = (near(0.0, 1.0), near(0.0, 0.04));
    let pixel = |place: usize| {
        let (x, y) = ((place % SIZE) as f32 - x0, (place / SIZE) as f32 - y0);
        let inside = x.abs().max(y.abs()) < radius + width;
        let distance = match class {
            0 => y.abs(),
            1 => x.abs(),
            2 => (x.hypot(y) - radius).abs(),
            _ => x.abs().min(y.abs()),
        };
        let ink = if inside {
            (1.0 + width - distance).clamp(0.0, 1.0)
        } else {
            0.0
        };
        match style {
            Style::Chalk => ink,
            Style::Ink => 1.0 - ink,
            Style::Grain => 0.4 + 0.5 * ink,
            Style::Faded => 0.5 + slope * x + 0.35 * shade.signum() * ink,
        }
    };
    let mut pixels: Vec<f32> = (0..SIZE * SIZE).map(pixel).collect();
    let noise = if matches!(style, Style::Grain) {
        0.2
    } else {
        0.05
    };
    pixels
        .iter_mut()
        .for_each(|pixel| *pixel += random.random_range(-noise..noise));
    Picture { pixels, class }
}

#[derive(Clone, Debug)]
pub struct Batch {
    pub pictures: Tensor<4>,
    pub classes: Tensor<1, Int>,
}

#[derive(Clone)]
pub struct Stack;

impl Batcher<Picture, Batch> for Stack {
    fn batch(&self, pictures: Vec<Picture>, device: &Device) -> Batch {
        let count = pictures.len();
        let classes: Vec<i32> = pictures
            .iter()
            .map(|picture| picture.class as i32)
            .collect();
        let pixels: Vec<f32> = pictures
            .into_iter()
            .flat_map(|picture| picture.pixels)
            .collect();
        Batch {
            pictures: Tensor::from_data(TensorData::new(pixels, [count, 1, SIZE, SIZE]), device),
            classes: Tensor::from_data(TensorData::new(classes, [count]), device),
        }
    }
}
