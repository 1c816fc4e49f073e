//! Arithmetic on pictures of floats, as the renderer, the forgeries and the encode chain need it.

use image::{
    GrayImage, ImageBuffer, Luma, Rgb, Rgb32FImage, RgbImage,
    imageops::{self, FilterType},
};

/// One number a pixel: a mask in $[0, 1]$, or one channel.
pub(crate) type Plane = ImageBuffer<Luma<f32>, Vec<f32>>;

/// The bytes of a picture as numbers in $[0, 1]$.
pub(crate) fn to_float(picture: &RgbImage) -> Rgb32FImage {
    let mut float = Rgb32FImage::new(picture.width(), picture.height());
    for (number, byte) in float.iter_mut().zip(picture.iter()) {
        *number = f32::from(*byte) / 255.0;
    }
    float
}

/// Numbers in $[0, 1]$ as the bytes of a picture.
pub(crate) fn to_bytes(picture: &Rgb32FImage) -> RgbImage {
    let mut bytes = RgbImage::new(picture.width(), picture.height());
    for (byte, number) in bytes.iter_mut().zip(picture.iter()) {
        *byte = to_byte(*number);
    }
    bytes
}

/// A mask as a grey picture.
pub(crate) fn mask_to_bytes(mask: &Plane) -> GrayImage {
    let mut bytes = GrayImage::new(mask.width(), mask.height());
    for (byte, number) in bytes.iter_mut().zip(mask.iter()) {
        *byte = to_byte(*number);
    }
    bytes
}

/// The channels of two colours, or the coordinates of two points, made one, each with each.
#[inline]
pub(crate) fn paired<const N: usize>(
    mut a: [f32; N],
    b: [f32; N],
    made: impl Fn(f32, f32) -> f32,
) -> [f32; N] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = made(*a, b);
    }
    a
}

/// A number in $[0, 1]$ as a byte; beyond, the nearest.
pub(crate) fn to_byte(value: f32) -> u8 {
    (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8
}

/// The luma of an sRGB pixel (ITU-R BT.601).
pub(crate) fn luma(pixel: &Rgb<f32>) -> f32 {
    0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
}

/// The luma in all three channels.
pub(crate) fn grey(mut picture: RgbImage) -> RgbImage {
    for pixel in picture.pixels_mut() {
        let luma = luma(&Rgb(pixel.0.map(f32::from)));
        *pixel = Rgb([(luma + 0.5) as u8; 3]);
    }
    picture
}

/// The value between pixels, bilinear; beyond the border, the border's.
pub(crate) fn sample(picture: &Rgb32FImage, x: f32, y: f32) -> Rgb<f32> {
    let (width, height) = picture.dimensions();
    let x = x.clamp(0.0, (width - 1) as f32);
    let y = y.clamp(0.0, (height - 1) as f32);
    let (left, top) = (x as u32, y as u32);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (fx, fy) = (x - left as f32, y - top as f32);
    let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
    let [a, b, c, d] = corners.map(|(x, y)| picture.get_pixel(x, y));
    Rgb(std::array::from_fn(|i| {
        let above = a[i] + (b[i] - a[i]) * fx;
        let below = c[i] + (d[i] - c[i]) * fx;
        above + (below - above) * fy
    }))
}

/// [`sample`] for a plane, 0 beyond the border.
pub(crate) fn sample_plane(plane: &Plane, x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let at = |x: f32, y: f32| {
        let inside = x >= 0.0 && y >= 0.0 && x < plane.width() as f32 && y < plane.height() as f32;
        if inside {
            plane.get_pixel(x as u32, y as u32)[0]
        } else {
            0.0
        }
    };
    let above = at(left, top) * (1.0 - fx) + at(left + 1.0, top) * fx;
    let below = at(left, top + 1.0) * (1.0 - fx) + at(left + 1.0, top + 1.0) * fx;
    above * (1.0 - fy) + below * fy
}

/// A Gaussian blur; none for a standard deviation too small to be seen.
pub(crate) fn blur(picture: &Rgb32FImage, sigma: f32) -> Rgb32FImage {
    if sigma < 0.1 {
        picture.clone()
    } else {
        imageops::blur(picture, sigma)
    }
}

/// [`blur`] for a plane.
pub(crate) fn blur_plane(plane: &Plane, sigma: f32) -> Plane {
    if sigma < 0.1 {
        plane.clone()
    } else {
        imageops::blur(plane, sigma)
    }
}

/// `over` where the mask is 1, `under` where it is 0.
pub(crate) fn blend(under: &Rgb32FImage, over: &Rgb32FImage, mask: &Plane) -> Rgb32FImage {
    let mut blended = under.clone();
    for ((pixel, over), mask) in blended.pixels_mut().zip(over.pixels()).zip(mask.pixels()) {
        for (value, over) in pixel.0.iter_mut().zip(over.0) {
            *value += (over - *value) * mask[0];
        }
    }
    blended
}

/// 1 inside a polygon, 0 outside (even-odd rule).
pub(crate) fn fill(width: u32, height: u32, polygon: &[[f32; 2]]) -> Plane {
    let mut plane = Plane::new(width, height);
    let mut crossings = Vec::new();
    for y in 0..height {
        crossings.clear();
        let level = y as f32;
        let ends = polygon.iter().cycle().skip(1);
        for (&[x0, y0], &[x1, y1]) in polygon.iter().zip(ends) {
            if (y0 <= level) != (y1 <= level) {
                crossings.push(x0 + (level - y0) / (y1 - y0) * (x1 - x0));
            }
        }
        crossings.sort_by(f32::total_cmp);
        for [start, end] in crossings.as_chunks().0 {
            let start = start.ceil().max(0.0);
            let end = end.floor().min(width as f32 - 1.0);
            let mut x = start;
            while x <= end {
                plane.put_pixel(x as u32, y, Luma([1.0]));
                x += 1.0;
            }
        }
    }
    plane
}

/// The mean and the standard deviation of each channel, weighted by a mask.
///
/// Where the mask is empty, both are 0.
pub(crate) fn moments(picture: &Rgb32FImage, mask: &Plane) -> [(f32, f32); 3] {
    let mut sums = [[0f64; 2]; 3];
    let mut weight = 0f64;
    let pixels = picture.pixels().zip(mask.pixels());
    for (pixel, mask) in pixels.filter(|(_, mask)| mask[0] > 0.0) {
        let mask = f64::from(mask[0]);
        weight += mask;
        for (sum, value) in sums.iter_mut().zip(pixel.0) {
            let value = f64::from(value);
            sum[0] += mask * value;
            sum[1] += mask * value * value;
        }
    }
    sums.map(|[sum, squares]| {
        if weight == 0.0 {
            return (0.0, 0.0);
        }
        let mean = sum / weight;
        let variance = (squares / weight - mean * mean).max(0.0);
        (mean as f32, variance.sqrt() as f32)
    })
}

/// The picture shrunk by a factor, to 8 pixels a side at the least, and brought back to its size
/// by a filter.
pub(crate) fn coarsened(picture: &Rgb32FImage, factor: f32, back: FilterType) -> Rgb32FImage {
    let (width, height) = picture.dimensions();
    let shrunk = |side: u32| ((side as f32 / factor.max(1.0)) as u32).max(8);
    let small = imageops::resize(picture, shrunk(width), shrunk(height), FilterType::Triangle);
    imageops::resize(&small, width, height, back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_linear_between_pixels() {
        let picture = Rgb32FImage::from_fn(4, 4, |x, y| Rgb([x as f32, y as f32, 1.0]));
        assert_eq!(sample(&picture, 1.25, 2.5), Rgb([1.25, 2.5, 1.0]));
        assert_eq!(sample(&picture, -3.0, 9.0), Rgb([0.0, 3.0, 1.0]));
    }

    #[test]
    fn fill_covers_a_square() {
        let square = [[1.0, 1.0], [3.5, 1.0], [3.5, 4.5], [1.0, 4.5]];
        let plane = fill(6, 6, &square);
        let area: f32 = plane.pixels().map(|p| p[0]).sum();
        assert_eq!(area, 12.0);
        assert_eq!(fill(6, 6, &[]).pixels().map(|p| p[0]).sum::<f32>(), 0.0);
    }

    #[test]
    fn fill_is_cut_at_the_border() {
        let square = [[-9.0, -9.0], [99.0, -9.0], [99.0, 99.0], [-9.0, 99.0]];
        assert!(fill(5, 3, &square).pixels().all(|p| p[0] == 1.0));
    }

    #[test]
    fn moments_of_a_masked_half() {
        let picture = Rgb32FImage::from_fn(4, 1, |x, _| Rgb([x as f32; 3]));
        let mask = Plane::from_fn(4, 1, |x, _| Luma([if x < 2 { 1.0 } else { 0.0 }]));
        assert_eq!(moments(&picture, &mask)[0], (0.5, 0.5));
        assert_eq!(moments(&picture, &Plane::new(4, 1))[0], (0.0, 0.0));
    }

    #[test]
    fn grey_is_the_luma_and_leaves_grey_alone() {
        let colours = RgbImage::from_fn(3, 1, |x, _| {
            Rgb(std::array::from_fn(|i| 255 * u8::from(i == x as usize)))
        });
        let lumas: Vec<u8> = grey(colours).pixels().map(|p| p[1]).collect();
        assert_eq!(lumas, [76, 150, 29]);
        let ramp = RgbImage::from_fn(256, 1, |x, _| Rgb([x as u8; 3]));
        assert_eq!(grey(ramp.clone()), ramp);
    }

    #[test]
    fn bytes_survive_the_way_through_floats() {
        let picture = RgbImage::from_fn(16, 16, |x, y| Rgb([(x + 16 * y) as u8, 3, 250]));
        assert_eq!(to_bytes(&to_float(&picture)), picture);
    }
}
