//! MNIST's digits, from its own files.

use std::{
    error::Error,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

/// Pixels of a side of a picture.
pub const SIDE: usize = 28;
pub const PIXELS: usize = SIDE * SIDE;

/// More pictures are in none of MNIST's files: a header that names more is not believed.
const MOST: usize = 60_000;

/// Pictures and labels of the part to train on and of the part to test on.
pub const FILES: [[&str; 2]; 2] = [
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
    ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
];

/// Pictures of handwritten digits and what they show.
#[derive(Debug, Default)]
pub struct Digits {
    /// Rows from the top, each from the left, 0 for the background.
    pixels: Vec<u8>,
    /// From 0 to 9.
    labels: Vec<u8>,
}

impl Digits {
    /// Those of the two files of a part in a folder, each as it is or as `.gz`.
    pub fn read(folder: &Path, [pictures, answers]: [&str; 2]) -> Result<Self, Box<dyn Error>> {
        let (pictures, answers) = (place(folder, pictures)?, place(folder, answers)?);
        let (count, pixels) = read(&pictures, &[SIDE, SIDE])?;
        let (answered, labels) = read(&answers, &[])?;
        if answered != count {
            return Err(format!(
                "{} must name a digit for each of the {count} pictures, but names {answered}",
                answers.display()
            )
            .into());
        }
        if let Some(place) = labels.iter().position(|label| *label > 9) {
            return Err(format!(
                "{}: label {place} must be from 0 to 9, but is {}",
                answers.display(),
                labels[place]
            )
            .into());
        }
        Ok(Self { pixels, labels })
    }

    /// The digits of both.
    pub fn and(mut self, other: Self) -> Self {
        self.pixels.extend(other.pixels);
        self.labels.extend(other.labels);
        self
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn picture(&self, index: usize) -> &[u8] {
        &self.pixels[index * PIXELS..][..PIXELS]
    }

    pub fn label(&self, index: usize) -> u8 {
        self.labels[index]
    }
}

/// A file by its name, or by its name and `.gz`.
fn place(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let places = [name.into(), format!("{name}.gz")].map(|name| folder.join(name));
    let found = places.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        format!(
            "--data {} must be a folder with MNIST's four files, but has neither {name} nor \
             {name}.gz",
            folder.display()
        )
    })
}

/// How many items of a shape an IDX file of bytes has, and the bytes.
fn read(path: &Path, shape: &[usize]) -> Result<(usize, Vec<u8>), Box<dyn Error>> {
    let refused = |reason: String| format!("{}: {reason}", path.display());
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refused("it ends before its data do".into()),
        _ => refused(error.to_string()),
    };
    let file = File::open(path).map_err(failed)?;
    let mut file: Box<dyn Read> = match path.extension() {
        Some(ending) if ending == "gz" => Box::new(GzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut next = || -> Result<usize, String> {
        let mut word = [0; 4];
        file.read_exact(&mut word).map_err(failed)?;
        Ok(u32::from_be_bytes(word) as usize)
    };
    // Two zeros, the type of the numbers (8: bytes), the number of dimensions.
    let (kind, wanted) = (next()?, 0x0800 + 1 + shape.len());
    if kind != wanted {
        let reason =
            format!("an IDX file of MNIST begins with {wanted:#06x}, this with {kind:#06x}");
        return Err(refused(reason).into());
    }
    let count = next()?;
    if !(1..=MOST).contains(&count) {
        return Err(refused(format!("it must have 1 to {MOST} items, but says {count}")).into());
    }
    for side in shape {
        let found = next()?;
        if found != *side {
            return Err(refused(format!("pictures must be {SIDE} × {SIDE}, not {found}")).into());
        }
    }
    let bytes = count * shape.iter().product::<usize>();
    let mut data = vec![0; bytes];
    file.read_exact(&mut data).map_err(failed)?;
    if file.read(&mut [0]).map_err(failed)? != 0 {
        return Err(refused(format!("it goes on after its {count} items")).into());
    }
    Ok((count, data))
}

#[cfg(test)]
pub mod tests {
    use std::{fs, io::Write};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// An IDX file.
    fn idx(shape: &[usize], data: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, shape.len() as u8];
        file.extend(shape.iter().flat_map(|side| (*side as u32).to_be_bytes()));
        file.extend(data);
        file
    }

    /// A folder with so many digits to train on: a digit is a square whose place says which, on
    /// noise. Some of them are beside it to be tested on.
    pub fn drawn(count: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for ([pictures, answers], count) in FILES.into_iter().zip([count, count.div_ceil(6)]) {
            let label = |index: usize| (index * 7 % 10) as u8;
            let pixel = |index: usize, place: usize| {
                let (y, x) = (place / SIDE, place % SIDE);
                let digit = usize::from(label(index));
                let inside = y / 6 == 1 + digit / 4 && x / 6 == 1 + digit % 4;
                if inside {
                    255
                } else {
                    (index * 31 + place * 17) % 40
                }
            };
            let pixels: Vec<u8> = (0..count * PIXELS)
                .map(|i| pixel(i / PIXELS, i % PIXELS) as u8)
                .collect();
            let labels: Vec<u8> = (0..count).map(label).collect();
            let write = |name: &str, file: Vec<u8>| {
                fs::write(folder.path().join(name), file).unwrap();
            };
            write(pictures, idx(&[count, SIDE, SIDE], &pixels));
            write(answers, idx(&[count], &labels));
        }
        folder
    }

    #[test]
    fn plain_and_compressed_files_are_the_same() {
        let folder = drawn(12);
        let plain = Digits::read(folder.path(), FILES[0]).unwrap();
        for name in FILES[0] {
            let path = folder.path().join(name);
            let file = File::create(folder.path().join(format!("{name}.gz"))).unwrap();
            let mut gz = GzEncoder::new(file, Compression::fast());
            gz.write_all(&fs::read(&path).unwrap()).unwrap();
            gz.finish().unwrap();
            fs::remove_file(path).unwrap();
        }
        let compressed = Digits::read(folder.path(), FILES[0]).unwrap();
        assert_eq!((plain.len(), plain.label(3)), (12, 1));
        assert_eq!(plain.picture(11), compressed.picture(11));
        assert_eq!(plain.labels, compressed.labels);
        // The digit 1: the second square of the first row of squares.
        assert_eq!(plain.picture(3)[6 * SIDE + 12], 255);
    }

    #[test]
    fn hostile_files_are_refused() {
        let images = idx(&[2, SIDE, SIDE], &[0; 2 * PIXELS]);
        let labels = idx(&[2], &[1, 2]);
        let mut huge = images.clone();
        huge[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let cases: [(&[u8], &[u8], &str); 11] = [
            (&images[..images.len() - 1], &labels, "ends before its data"),
            (&images[..10], &labels, "ends before its data"),
            (&[], &labels, "ends before its data"),
            (
                &[images.clone(), vec![0]].concat(),
                &labels,
                "goes on after its 2 items",
            ),
            (&huge, &labels, "1 to 60000 items, but says 4294967295"),
            (&idx(&[0, SIDE, SIDE], &[]), &labels, "but says 0"),
            (&idx(&[2, 28, 14], &[0; 784]), &labels, "28 × 28, not 14"),
            (&labels, &labels, "begins with 0x0803, this with 0x0801"),
            (b"<!DOCTYPE html><html>", &labels, "this with 0x3c21444f"),
            (
                &images,
                &idx(&[3], &[1, 2, 3]),
                "for each of the 2 pictures, but names 3",
            ),
            (
                &images,
                &idx(&[2], &[1, 10]),
                "label 1 must be from 0 to 9, but is 10",
            ),
        ];
        for (images, labels, said) in cases {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILES[0][0]), images).unwrap();
            fs::write(folder.path().join(FILES[0][1]), labels).unwrap();
            let error = Digits::read(folder.path(), FILES[0])
                .unwrap_err()
                .to_string();
            assert!(error.contains(said), "{error}");
            let error = Digits::read(folder.path(), FILES[1])
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("has neither t10k-images-idx3-ubyte nor"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_compressed_wrongly_is_refused() {
        let folder = drawn(6);
        fs::remove_file(folder.path().join(FILES[0][0])).unwrap();
        let path = folder.path().join("train-images-idx3-ubyte.gz");
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&idx(&[6, SIDE, SIDE], &[0; 6 * PIXELS]))
            .unwrap();
        let whole = gz.finish().unwrap();
        for file in [&whole[..whole.len() / 2], b"no gzip"] {
            fs::write(&path, file).unwrap();
            assert!(Digits::read(folder.path(), FILES[0]).is_err());
        }
    }
}
