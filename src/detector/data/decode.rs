use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::Path,
    time::SystemTime,
};

use image::{ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use serde::Serialize;

use super::{
    ending::{jpeg_is_whole, png_is_whole},
    problem::Fault,
};
use crate::detector::faces::MAX_SIDE;

/// What a picture's file may weigh, in bytes.
pub const MAX_PICTURE_BYTES: u64 = 1 << 26;

/// What a picture's file says of itself, before its pixels are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// `png` or `jpeg`: by its content, not by its name.
    pub format: &'static str,
    /// The file's size.
    pub bytes: u64,
    /// When it was last written to, where the file system knows.
    #[serde(skip)]
    modified: Option<SystemTime>,
}

/// Reads a picture's header, within the limits, and whether the file is whole.
pub(super) fn header(file: &Path) -> Result<Header, Fault> {
    // Asked before it is read: what is written to it meanwhile is seen later.
    let modified = modified(file)?;
    let (mut data, bytes) = open(file)?;
    let (reader, format) = reader(&mut data)?;
    let (width, height) = reader.into_dimensions().map_err(fault)?;
    check_whole(data, format, bytes)?;
    Ok(Header {
        width,
        height,
        format: match format {
            ImageFormat::Png => "png",
            _ => "jpeg",
        },
        bytes,
        modified,
    })
}

/// Reads a picture whose header was read before. One whose file is not the same any more, before or
/// after it is read, is refused.
pub(super) fn unchanged(file: &Path, known: &Header) -> Result<RgbImage, Fault> {
    check_unchanged(file, known)?;
    let picture = picture(file);
    check_unchanged(file, known)?;
    picture
}

/// By its size and time: files of the same of both are taken for the same.
pub(super) fn check_unchanged(file: &Path, known: &Header) -> Result<(), Fault> {
    let bytes = file.metadata().map_err(unreadable)?.len();
    match (bytes, modified(file)?) == (known.bytes, known.modified) {
        true => Ok(()),
        false => Err(Fault::Changed),
    }
}

fn modified(file: &Path) -> Result<Option<SystemTime>, Fault> {
    Ok(file.metadata().map_err(unreadable)?.modified().ok())
}

/// Reads a picture to its end, within the limits.
pub(crate) fn picture(file: &Path) -> Result<RgbImage, Fault> {
    let (mut data, bytes) = open(file)?;
    let (reader, format) = reader(&mut data)?;
    let picture = reader.decode().map_err(fault)?;
    check_whole(data, format, bytes)?;
    Ok(picture.into_rgb8())
}

fn open(file: &Path) -> Result<(BufReader<File>, u64), Fault> {
    let data = file.metadata().map_err(unreadable)?;
    if !data.is_file() {
        return Err(Fault::Undecodable("it is no file".into()));
    }
    let bytes = data.len();
    if bytes == 0 {
        return Err(Fault::Empty);
    }
    if bytes > MAX_PICTURE_BYTES {
        let text = format!("{bytes} bytes, more than {MAX_PICTURE_BYTES}");
        return Err(Fault::TooLarge(text));
    }
    let file = File::open(file).map_err(unreadable)?;
    Ok((BufReader::new(file), bytes))
}

type Reader<'a> = ImageReader<&'a mut BufReader<File>>;

fn reader(data: &mut BufReader<File>) -> Result<(Reader<'_>, ImageFormat), Fault> {
    let guessed = ImageReader::new(data).with_guessed_format();
    let mut reader = guessed.map_err(unreadable)?;
    let format = match reader.format() {
        Some(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        Some(other) => {
            let text = format!("it is {other:?}, not PNG or JPEG");
            return Err(Fault::Undecodable(text));
        }
        None => return Err(Fault::Undecodable("it is neither PNG nor JPEG".into())),
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    // Four channels of 16 bits, and as much again to work in.
    limits.max_alloc = Some(16 * u64::from(MAX_SIDE).pow(2));
    reader.limits(limits);
    Ok((reader, format))
}

fn check_whole(mut data: BufReader<File>, format: ImageFormat, bytes: u64) -> Result<(), Fault> {
    let whole = match format {
        ImageFormat::Png => png_is_whole(&mut data, bytes),
        _ => data.rewind().and_then(|()| {
            let mut all = Vec::new();
            data.take(MAX_PICTURE_BYTES).read_to_end(&mut all)?;
            Ok(jpeg_is_whole(&all))
        }),
    };
    match whole.map_err(unreadable)? {
        true => Ok(()),
        false => Err(Fault::Undecodable("it is cut short".into())),
    }
}

fn unreadable(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => Fault::Missing,
        _ => Fault::Undecodable(error.to_string()),
    }
}

fn fault(error: ImageError) -> Fault {
    match error {
        ImageError::Limits(_) => Fault::TooLarge(format!("more than {MAX_SIDE} pixels a side")),
        error => Fault::Undecodable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
        #[test]
        fn no_file_makes_the_decoder_panic(
            png in proptest::bool::ANY, at in 0usize..700,
            with in proptest::collection::vec(0u8.., 1..12), cut in 0usize..1400,
        ) {
            let picture = RgbImage::from_fn(24, 20, |x, y| image::Rgb([(x * y) as u8, 9, y as u8]));
            let mut bytes = io::Cursor::new(Vec::new());
            let format = if png { ImageFormat::Png } else { ImageFormat::Jpeg };
            picture.write_to(&mut bytes, format).unwrap();
            let mut bytes = bytes.into_inner();
            let at = at.min(bytes.len());
            bytes.splice(at..(at + with.len()).min(bytes.len()), with);
            bytes.truncate(cut);
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("a.png");
            std::fs::write(&file, bytes).unwrap();
            let (header, picture) = (header(&file), super::picture(&file));
            if let (Ok(header), Ok(picture)) = (header, picture) {
                assert_eq!((header.width, header.height), picture.dimensions());
            }
        }
    }
}
