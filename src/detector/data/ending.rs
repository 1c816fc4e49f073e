use std::io::{self, BufRead, Seek};

/// Whether a PNG file has all its chunks to the last, `IEND`. None is decoded.
pub(super) fn png_is_whole<R: BufRead + Seek>(file: &mut R, bytes: u64) -> io::Result<bool> {
    const SIGNATURE: u64 = 8;
    const LENGTH_KIND_AND_SUM: u64 = 12;
    let mut at = SIGNATURE;
    file.seek(io::SeekFrom::Start(at))?;
    while at + LENGTH_KIND_AND_SUM <= bytes {
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let [a, b, c, d, kind @ ..] = head;
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        at += LENGTH_KIND_AND_SUM + length;
        if &kind == b"IEND" {
            return Ok(at <= bytes);
        }
        file.seek_relative(length as i64 + 4)?;
    }
    Ok(false)
}

/// Whether a JPEG file has its marker of the end. The pictures of a preview, which have one of
/// their own, lie inside segments; what cameras write behind the end is not looked at.
///
/// Decoders paint what is missing grey and say nothing.
pub(super) fn jpeg_is_whole(file: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut rest = file.get(2..).unwrap_or_default();
    loop {
        // Between segments, filling; inside a scan, its data, where 0xff is followed by 0 or by
        // the number of a restart.
        let mut pairs = rest.array_windows().enumerate();
        let marker =
            pairs.find(|(_, [a, b])| *a == 0xff && !matches!(b, 0 | 0x01 | 0xd0..=0xd7 | 0xff));
        let Some((at, [_, marker])) = marker else {
            return false;
        };
        if *marker == END {
            return true;
        }
        let Some(&[high, low]) = rest.get(at + 2..at + 4) else {
            return false;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        rest = rest.get(at + 2 + length..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};

    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let picture = RgbImage::from_fn(40, 30, |x, y| image::Rgb([(x * y) as u8, 9, y as u8]));
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    #[test]
    fn every_cut_of_a_png_is_seen() {
        let whole = encoded(ImageFormat::Png);
        let is_whole =
            |bytes: &[u8]| png_is_whole(&mut Cursor::new(bytes), bytes.len() as u64).unwrap();
        assert!(is_whole(&whole));
        assert!((0..whole.len()).all(|len| !is_whole(&whole[..len])));
        assert!(is_whole(&[&whole[..], b"more"].concat()));
    }

    #[test]
    fn every_cut_of_a_jpeg_is_seen() {
        let whole = encoded(ImageFormat::Jpeg);
        assert!(jpeg_is_whole(&whole));
        assert!((0..whole.len()).all(|len| !jpeg_is_whole(&whole[..len])));
        assert!(jpeg_is_whole(
            &[&whole[..], b"a film behind the picture"].concat()
        ));
    }

    #[test]
    fn a_jpeg_whose_preview_alone_is_whole() {
        let picture = encoded(ImageFormat::Jpeg);
        let mut file = vec![0xff, 0xd8, 0xff, 0xe1];
        file.extend((picture.len() as u16 + 2).to_be_bytes());
        file.extend(&picture);
        file.extend(&picture[2..]);
        assert!(jpeg_is_whole(&file));
        assert!(!jpeg_is_whole(&file[..file.len() - 2]));
    }
}
