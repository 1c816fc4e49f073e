//! Landmarks: points on a face, and which of them are its eyes, its mouth, its outline.

use std::{fs, ops::RangeInclusive, path::Path};

use crate::{Error, Result};

/// Which point of a list of landmarks is which.
///
/// Faces are warped onto each other only where they share a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// The 189 points of the templates of WebMorph, by which the Face Research Lab London set is
    /// delineated (DeBruine and Jones 2017, doi 10.6084/m9.figshare.5047666).
    WebMorph189,
    /// The 97 points of the portraits this crate draws.
    Portrait97,
    /// The 68 points of iBUG 300-W (Sagonas et al. 2013, doi 10.1109/ICCVW.2013.59) that dlib's
    /// usual predictor places. It has none on the forehead: its outline ends at the brows.
    Dlib68,
    /// [`Dlib68`](Self::Dlib68) and 13 points of the hairline, 68 to 80: what DeepfakeBench's
    /// preparation writes.
    Dlib81,
}

/// A part of a face that a [`Scheme`] knows the points of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The face's outline without hair and ears: a closed polygon.
    Outline,
    /// The lids of the eye on the picture's left.
    LeftEye,
    /// The lids of the eye on the picture's right.
    RightEye,
    /// The brow on the picture's left.
    LeftBrow,
    /// The brow on the picture's right.
    RightBrow,
    /// The nose.
    Nose,
    /// The outer edge of the lips: a closed polygon.
    MouthOuter,
    /// The inner edge of the lips: a closed polygon.
    MouthInner,
    /// The lowest point of the chin.
    Chin,
}

impl Part {
    /// Every part, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Outline,
        Self::LeftEye,
        Self::RightEye,
        Self::LeftBrow,
        Self::RightBrow,
        Self::Nose,
        Self::MouthOuter,
        Self::MouthInner,
        Self::Chin,
    ];
}

impl Scheme {
    const ALL: [Self; 4] = [
        Self::WebMorph189,
        Self::Portrait97,
        Self::Dlib68,
        Self::Dlib81,
    ];

    /// The number of points of a face.
    pub fn len(self) -> usize {
        match self {
            Self::WebMorph189 => 189,
            Self::Portrait97 => 97,
            Self::Dlib68 => 68,
            Self::Dlib81 => 81,
        }
    }

    /// Always `false`: every scheme has points.
    pub fn is_empty(self) -> bool {
        false
    }

    /// The indices of a part's points; polygons in the order of their corners.
    #[allow(clippy::reversed_empty_ranges)]
    pub fn part(self, part: Part) -> Vec<usize> {
        let ranges: &[RangeInclusive<usize>] = match self {
            Self::WebMorph189 => webmorph(part),
            Self::Portrait97 => portrait(part),
            Self::Dlib68 => dlib(part, &[0..=16, 26..=17]),
            // The hairline's points are not numbered along it.
            Self::Dlib81 => dlib(
                part,
                &[
                    0..=16,
                    78..=78,
                    74..=74,
                    79..=79,
                    73..=72,
                    80..=80,
                    71..=68,
                    76..=75,
                    77..=77,
                ],
            ),
        };
        ranges
            .iter()
            // A range written backwards is walked backwards.
            .flat_map(|range| -> Vec<usize> {
                let (start, end) = (*range.start(), *range.end());
                if start <= end {
                    (start..=end).collect()
                } else {
                    (end..=start).rev().collect()
                }
            })
            .collect()
    }

    /// The indices of the points between which faces are warped: those of all parts.
    pub fn mesh(self) -> Vec<usize> {
        let mut mesh: Vec<usize> = Part::ALL.iter().flat_map(|&p| self.part(p)).collect();
        mesh.sort_unstable();
        mesh.dedup();
        mesh
    }

    /// The scheme of so many points.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a number that no scheme has.
    pub fn of_len(len: usize) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.len() == len)
            .ok_or(Error::Setting {
                field: "landmarks",
                rule: "be 68, 81, 97 or 189 points",
                value: len.to_string(),
            })
    }
}

#[allow(clippy::reversed_empty_ranges)]
fn webmorph(part: Part) -> &'static [RangeInclusive<usize>] {
    match part {
        Part::Outline => &[
            109..=109,
            134..=144,
            112..=112,
            187..=187,
            113..=113,
            188..=188,
            114..=114,
            133..=125,
            111..=111,
            186..=186,
            110..=110,
            185..=185,
        ],
        Part::LeftEye => &[18..=22, 30..=28],
        Part::RightEye => &[23..=27, 33..=31],
        Part::LeftBrow => &[71..=76, 84..=83],
        Part::RightBrow => &[77..=82, 86..=85],
        Part::Nose => &[50..=70, 179..=182],
        Part::MouthOuter => &[87..=93, 108..=104],
        Part::MouthInner => &[94..=98, 103..=99],
        Part::Chin => &[129..=129],
    }
}

fn portrait(part: Part) -> &'static [RangeInclusive<usize>] {
    match part {
        Part::Outline => &[0..=27],
        Part::LeftEye => &[28..=35],
        Part::RightEye => &[36..=43],
        Part::LeftBrow => &[44..=51],
        Part::RightBrow => &[52..=59],
        Part::Nose => &[60..=72],
        Part::MouthOuter => &[73..=84],
        Part::MouthInner => &[85..=96],
        Part::Chin => &[7..=7],
    }
}

/// The points that both of dlib's schemes have, with the outline of one of them.
fn dlib(part: Part, outline: &'static [RangeInclusive<usize>]) -> &'static [RangeInclusive<usize>] {
    match part {
        Part::Outline => outline,
        Part::LeftEye => &[36..=41],
        Part::RightEye => &[42..=47],
        Part::LeftBrow => &[17..=21],
        Part::RightBrow => &[22..=26],
        Part::Nose => &[27..=35],
        Part::MouthOuter => &[48..=59],
        Part::MouthInner => &[60..=67],
        Part::Chin => &[8..=8],
    }
}

/// Points on a face in the pixels of its picture: x to the right, y down, $(0, 0)$ the centre of
/// the first pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Landmarks {
    points: Vec<[f32; 2]>,
    scheme: Scheme,
}

/// What a landmark file may weigh: more than a thousand times what it needs.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// What the header of a landmark file may weigh. `numpy` writes 128 bytes.
const MAX_HEADER_BYTES: usize = 512;
/// How far from its picture a landmark may lie, in pixels.
const MAX_COORDINATE: f32 = 1e5;

impl Landmarks {
    /// Points under a scheme.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where their number is not the scheme's, or a coordinate is not finite
    /// or beyond $\pm 10^5$.
    pub fn new(points: Vec<[f32; 2]>, scheme: Scheme) -> Result<Self> {
        if points.len() != scheme.len() {
            return Err(Error::Setting {
                field: "landmarks",
                rule: "be as many as their scheme has",
                value: format!("{} points for {scheme:?}", points.len()),
            });
        }
        let bad = |v: &f32| !v.is_finite() || v.abs() > MAX_COORDINATE;
        if let Some(point) = points.iter().find(|p| p.iter().any(bad)) {
            return Err(Error::Setting {
                field: "landmarks",
                rule: "be finite and within 100000 pixels",
                value: format!("{point:?}"),
            });
        }
        Ok(Self { points, scheme })
    }

    /// Reads a `.npy` file of shape `[n, 2]`, of 32- or 64-bit floats or integers; the scheme
    /// follows from $n$.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a file that cannot be read, is no such array, is cut short, or holds a
    /// number that is not finite.
    pub fn read_npy(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let at_path = |reason: String| Error::File {
            path: path.into(),
            reason,
        };
        let bytes = read_limited(path)?;
        let numbers = parse_npy(&bytes).map_err(at_path)?;
        let points: Vec<[f32; 2]> = numbers.as_chunks().0.to_vec();
        Scheme::of_len(points.len())
            .and_then(|scheme| Self::new(points, scheme))
            .map_err(|error| at_path(error.to_string()))
    }

    /// All points, in the scheme's order.
    pub fn points(&self) -> &[[f32; 2]] {
        &self.points
    }

    /// Which point is which.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The points of a part.
    pub fn part(&self, part: Part) -> Vec<[f32; 2]> {
        chosen(&self.points, &self.scheme.part(part))
    }

    /// The mean of a part's points.
    pub fn centre(&self, part: Part) -> [f32; 2] {
        let points = self.part(part);
        let sum = points
            .iter()
            .fold([0.0; 2], |s, p| [s[0] + p[0], s[1] + p[1]]);
        sum.map(|v| v / points.len() as f32)
    }

    /// The least box round the outline: left, top, right, bottom.
    pub fn face_box(&self) -> [f32; 4] {
        bounds(&self.part(Part::Outline))
    }

    /// The geometric mean of the face box's sides: the length by which forgeries scale, so that
    /// they do the same to a face at every size.
    pub fn face_size(&self) -> f32 {
        let [left, top, right, bottom] = self.face_box();
        ((right - left) * (bottom - top)).sqrt()
    }

    /// The points moved by $p \mapsto A p + t$, where the rows of `affine` are
    /// $(A_{i1}, A_{i2}, t_i)$.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where a point leaves the range of [`Landmarks::new`].
    pub fn transformed(&self, affine: [[f32; 3]; 2]) -> Result<Self> {
        let moved = |p: &[f32; 2]| affine.map(|[a, b, t]| a * p[0] + b * p[1] + t);
        Self::new(self.points.iter().map(moved).collect(), self.scheme)
    }

    /// The points in a picture that was resized by two factors, pixel centres kept:
    /// $x \mapsto s_x (x + \tfrac12) - \tfrac12$.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where a point leaves the range of [`Landmarks::new`].
    pub fn scaled(&self, [sx, sy]: [f32; 2]) -> Result<Self> {
        self.transformed([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5]])
    }
}

/// Those of a scheme's points that have these indices.
pub(crate) fn chosen(points: &[[f32; 2]], indices: &[usize]) -> Vec<[f32; 2]> {
    let point = |index: &usize| points.get(*index).copied();
    indices.iter().filter_map(point).collect()
}

/// The least box round some points: left, top, right, bottom.
pub(crate) fn bounds(points: &[[f32; 2]]) -> [f32; 4] {
    let start = [
        f32::INFINITY,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NEG_INFINITY,
    ];
    points.iter().fold(start, |b, p| {
        [
            b[0].min(p[0]),
            b[1].min(p[1]),
            b[2].max(p[0]),
            b[3].max(p[1]),
        ]
    })
}

fn read_limited(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let failed = |error: std::io::Error| Error::File {
        path: path.into(),
        reason: format!("cannot be read: {error}"),
    };
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::File {
            path: path.into(),
            reason: "is no file".into(),
        });
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::File {
            path: path.into(),
            reason: "is larger than 1 MiB, too large for landmarks".into(),
        });
    }
    Ok(bytes)
}

/// The numbers of an array of shape `[n, 2]`, row by row.
fn parse_npy(bytes: &[u8]) -> Result<Vec<f32>, String> {
    check_npy_header(bytes)?;
    let file = npyz::NpyFile::new(bytes).map_err(|e| format!("is not a .npy array: {e}"))?;
    let &[rows, 2] = file.shape() else {
        return Err(format!(
            "must have shape [n, 2], but has {:?}",
            file.shape()
        ));
    };
    let column_major = file.order() == npyz::Order::Fortran;
    let npyz::DType::Plain(kind) = file.dtype() else {
        return Err("must hold plain numbers, but holds records".into());
    };
    let cut = |e: std::io::Error| format!("cannot be read to its end: {e}");
    // No allocation before the bytes are known to be there.
    if rows.saturating_mul(2 * kind.size_field()) > bytes.len() as u64 {
        return Err(format!("claims {rows} points, but is cut short"));
    }
    let numbers: Vec<f32> = match (kind.type_char(), kind.size_field()) {
        (npyz::TypeChar::Float, 4) => file.into_vec::<f32>().map_err(cut)?,
        (npyz::TypeChar::Float, 8) => narrowed(file.into_vec::<f64>().map_err(cut)?, |v| v as f32),
        (npyz::TypeChar::Int, 4) => narrowed(file.into_vec::<i32>().map_err(cut)?, |v| v as f32),
        (npyz::TypeChar::Int, 8) => narrowed(file.into_vec::<i64>().map_err(cut)?, |v| v as f32),
        _ => return Err(format!("must hold f4, f8, i4 or i8, but holds {kind}")),
    };
    if !column_major {
        return Ok(numbers);
    }
    let (xs, ys) = numbers.split_at(numbers.len() / 2);
    Ok(xs.iter().zip(ys).flat_map(|(&x, &y)| [x, y]).collect())
}

fn narrowed<T>(numbers: Vec<T>, narrow: impl Fn(T) -> f32) -> Vec<f32> {
    numbers.into_iter().map(narrow).collect()
}

fn not_npy(bytes: &[u8]) -> String {
    format!("is not a .npy array ({} bytes)", bytes.len())
}

/// Refuses headers that would cost the parser much: it nests as deeply as the text does, and
/// multiplies the shape's numbers unchecked.
fn check_npy_header(bytes: &[u8]) -> Result<(), String> {
    let Some(&[magic @ .., version, _, a, b, c, d]) = bytes.first_chunk::<12>() else {
        return Err(not_npy(bytes));
    };
    if &magic != b"\x93NUMPY" {
        return Err(not_npy(bytes));
    }
    let (start, len) = match version {
        1 => (10, usize::from(u16::from_le_bytes([a, b]))),
        _ => (12, u32::from_le_bytes([a, b, c, d]) as usize),
    };
    if len > MAX_HEADER_BYTES {
        return Err(format!(
            "has a header of {len} bytes, more than {MAX_HEADER_BYTES}"
        ));
    }
    let Some(header) = bytes.get(start..start + len) else {
        return Err("is cut short in its header".into());
    };
    let count = |wanted: fn(&u8) -> bool| header.iter().filter(|&b| wanted(b)).count();
    if count(u8::is_ascii_digit) > 12 || count(|b| b"([{".contains(b)) > 8 {
        return Err("must have shape [n, 2], but its header claims far more".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn header(kind: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
    }

    fn read(bytes: &[u8]) -> Result<Landmarks> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("face.npy");
        fs::write(&path, bytes).unwrap();
        Landmarks::read_npy(path)
    }

    fn reason(bytes: &[u8]) -> String {
        match read(bytes) {
            Err(Error::File { reason, path }) => {
                assert!(path.ends_with("face.npy"));
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn groups_lie_within_their_scheme() {
        for scheme in Scheme::ALL {
            assert_eq!(Scheme::of_len(scheme.len()).unwrap(), scheme);
            for part in Part::ALL {
                let indices = scheme.part(part);
                assert!(!indices.is_empty());
                assert!(
                    indices.iter().all(|&i| i < scheme.len()),
                    "{scheme:?} {part:?}"
                );
            }
            assert!(scheme.mesh().len() >= 60);
        }
        assert_eq!(Scheme::WebMorph189.part(Part::Outline).len(), 30);
        assert_eq!(Scheme::Dlib68.mesh(), (0..68).collect::<Vec<_>>());
        assert_eq!(Scheme::Dlib81.mesh(), (0..81).collect::<Vec<_>>());
    }

    #[test]
    fn all_number_kinds_and_orders_read_the_same() {
        let n = 97;
        let rows: Vec<f64> = (0..2 * n).map(f64::from).collect();
        let columns: Vec<f64> = (0..2 * n).map(|i| f64::from(i % n * 2 + i / n)).collect();
        let data = |numbers: &[f64], f: fn(f64) -> Vec<u8>| -> Vec<u8> {
            numbers.iter().flat_map(|&v| f(v)).collect()
        };
        let shape = "(97, 2)";
        let expected = read(&npy(
            &header("<f4", "False", shape),
            &data(&rows, |v| (v as f32).to_le_bytes().to_vec()),
        ))
        .unwrap();
        assert_eq!(expected.points()[3], [6.0, 7.0]);
        let f8 = data(&rows, |v| v.to_le_bytes().to_vec());
        let i4 = data(&rows, |v| (v as i32).to_le_bytes().to_vec());
        let i8 = data(&rows, |v| (v as i64).to_le_bytes().to_vec());
        let big = data(&rows, |v| v.to_be_bytes().to_vec());
        let fortran = data(&columns, |v| v.to_le_bytes().to_vec());
        for (kind, order, bytes) in [
            ("<f8", "False", f8),
            ("<i4", "False", i4),
            ("<i8", "False", i8),
            (">f8", "False", big),
            ("<f8", "True", fortran),
        ] {
            let landmarks = read(&npy(&header(kind, order, shape), &bytes)).unwrap();
            assert_eq!(landmarks, expected, "{kind} {order}");
        }
    }

    #[test]
    fn empty_file() {
        assert!(reason(b"").contains("not a .npy array (0 bytes)"));
    }

    #[test]
    fn truncated() {
        let bytes = npy(&header("<f4", "False", "(97, 2)"), &[0; 100]);
        assert!(reason(&bytes).contains("cut short"));
        assert!(reason(&bytes[..40]).contains("cut short"));
    }

    #[test]
    fn wrong_shape_and_kind() {
        let data = [0; 97 * 8];
        for shape in ["(97, 3)", "(194,)", "(2, 97)", "()"] {
            let text = reason(&npy(&header("<f4", "False", shape), &data));
            assert!(text.contains("shape [n, 2]"), "{text}");
        }
        assert!(reason(&npy(&header("<u2", "False", "(97, 2)"), &data)).contains("f4, f8"));
        assert!(reason(&npy(&header("<f4", "False", "(70, 2)"), &data)).contains("97 or 189"));
    }

    #[test]
    fn header_that_lies_about_its_size() {
        let huge = header("<f4", "False", "(4294967295, 4294967295, 4294967295)");
        assert!(reason(&npy(&huge, &[])).contains("far more"));
        let nested = format!("{}{}", "(".repeat(200), ")".repeat(200));
        assert!(reason(&npy(&nested, &[])).contains("far more"));
        let mut long = npy(&header("<f4", "False", "(97, 2)"), &[]);
        long[9] = 0xff;
        assert!(reason(&long).contains("header of"));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("face.npy");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        if made.is_ok_and(|status| status.success()) {
            let error = Landmarks::read_npy(&pipe).unwrap_err().to_string();
            assert!(error.contains("is no file"), "{error}");
        }
    }

    #[test]
    fn two_to_the_sixtieth_points() {
        // More digits than any shape of two numbers has, and as many as are let through.
        for (shape, said) in [
            ("(1152921504606846976, 2)", "far more"),
            ("(9999999999, 2)", "cut short"),
        ] {
            let text = reason(&npy(&header("<f4", "False", shape), &[0; 64]));
            assert!(text.contains(said), "{shape}: {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_numpy_would_write_is_read_as_it_is(
            scheme in proptest::sample::select(&Scheme::ALL[..]),
            seed in 0u32.., version in 1u8..=3,
        ) {
            let number = |place: u32| {
                let bits = seed.wrapping_add(place).wrapping_mul(0x9e37_79b9);
                (f64::from(bits) / f64::from(u32::MAX) - 0.5) as f32 * MAX_COORDINATE
            };
            let points: Vec<[f32; 2]> = (0..scheme.len() as u32)
                .map(|point| [number(2 * point), number(2 * point + 1)])
                .collect();
            let data: Vec<u8> = points.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
            let header = header("<f4", "False", &format!("({}, 2)", scheme.len()));
            let mut bytes = npy(&header, &data);
            if version > 1 {
                bytes[6] = version;
                // The header's length is of four bytes then.
                bytes.splice(10..10, [0, 0]);
            }
            let landmarks = read(&bytes).unwrap();
            proptest::prop_assert_eq!(landmarks.points(), &points[..]);
            proptest::prop_assert_eq!(landmarks.scheme(), scheme);
        }

        #[test]
        fn no_file_makes_the_reader_panic(
            at in 0usize..100, with in proptest::collection::vec(0u8.., 1..20), cut in 0usize..900,
        ) {
            let mut bytes = npy(&header("<f4", "False", "(97, 2)"), &[0; 97 * 8]);
            bytes.splice(at..(at + with.len()).min(bytes.len()), with);
            bytes.truncate(cut);
            let _ = parse_npy(&bytes);
        }

        #[test]
        fn no_header_makes_the_reader_panic(
            kind in "[<>|][fiubOSVc?m][0-9]{0,3}", order in "True|False|1|\\(\\)",
            shape in "\\([0-9]{0,5},[0-9]{0,6},?[0-9]{0,2}\\)|[0-9]{1,9}|\\[\\]",
        ) {
            let _ = parse_npy(&npy(&header(&kind, &order, &shape), &[0; 97 * 8]));
        }
    }

    #[test]
    fn not_finite() {
        let mut data = vec![0; 97 * 8];
        data[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(reason(&npy(&header("<f4", "False", "(97, 2)"), &data)).contains("finite"));
    }

    #[test]
    fn missing_file_is_named() {
        let error = Landmarks::read_npy("nowhere/face.npy").unwrap_err();
        assert!(error.to_string().contains("nowhere/face.npy"), "{error}");
    }

    #[test]
    fn scaling_keeps_pixel_centres() {
        let landmarks = Landmarks::new(vec![[0.0, 3.0]; 97], Scheme::Portrait97).unwrap();
        let half = landmarks.scaled([0.5, 0.5]).unwrap();
        assert_eq!(half.points()[0], [-0.25, 1.25]);
        assert!(landmarks.scaled([f32::NAN, 1.0]).is_err());
        assert!(Landmarks::new(vec![[0.0; 2]; 3], Scheme::Portrait97).is_err());
    }
}
