//! Rotation of pictures, byte for byte that of Pillow's `Image.rotate` with bilinear resampling, which
//! the published RotatedMNIST is made with. (Resampling of other libraries rounds otherwise, or takes
//! what is outside for black where this repeats the edge.)

use crate::mnist::{PIXELS, SIDE};

/// A square picture turned counter-clockwise about its middle, 0 where nothing comes from inside.
pub fn rotated(picture: &[u8], degrees: f64) -> Vec<u8> {
    if degrees == 0.0 {
        return picture.to_vec();
    }
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    // The map back has fifteen decimals there, rounded as they are written.
    let [sin, cos] = [sin, cos].map(|x| format!("{x:.15}").parse().unwrap_or(x));
    let middle = SIDE as f64 / 2.0;
    let offset = [
        -cos * middle - sin * middle + middle,
        sin * middle - cos * middle + middle,
    ];
    let pixel = |place: usize| {
        let [x, y] = [place % SIDE, place / SIDE].map(|place| place as f64 + 0.5);
        let from = [
            cos * x + sin * y + offset[0],
            -sin * x + cos * y + offset[1],
        ];
        bilinear(picture, from)
    };
    (0..PIXELS).map(pixel).collect()
}

/// Between the four pixels round a place, whose coordinates are 0.5 in the middle of the first one.
fn bilinear(picture: &[u8], [x, y]: [f64; 2]) -> u8 {
    let inside = 0.0..SIDE as f64;
    if !inside.contains(&x) || !inside.contains(&y) {
        return 0;
    }
    let (x, y) = (x - 0.5, y - 0.5);
    let [left, top] = [x, y].map(|place| place.floor() as isize);
    let at = |x: isize, y: isize| {
        let [x, y] = [x, y].map(|place| place.clamp(0, SIDE as isize - 1) as usize);
        f64::from(picture[y * SIDE + x])
    };
    let between = |a: f64, b: f64, share: f64| a + (b - a) * share;
    let row = |y: isize| between(at(left, y), at(left + 1, y), x - left as f64);
    // Cut off, not rounded.
    between(row(top), row(top + 1), y - top as f64) as u8
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn the_bytes_are_pillows() {
        let file = include_bytes!("../../tests/reference/reference_rotate.safetensors");
        let file = SafeTensors::deserialize(file).unwrap();
        let pictures = |name: &str| file.tensor(name).unwrap().data().to_vec();
        for degrees in [0, 15, 30, 45, 60, 75] {
            let expected = pictures(&format!("rot{degrees}"));
            let digits = pictures("digits");
            let turned = digits
                .chunks(PIXELS)
                .flat_map(|digit| rotated(digit, degrees.into()));
            let turned: Vec<u8> = turned.collect();
            let wrong = turned.iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert_eq!((turned.len(), wrong), (16 * PIXELS, 0), "{degrees}°");
        }
    }
}
