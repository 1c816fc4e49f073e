use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    deepfakebench::class_of,
    list_file,
    listing::Listing,
    problem::{Fault, Problem},
    record::{Label, PictureRecord, frame_number},
    root::Root,
};
use crate::{Error, Result};

/// The longest line of a manifest, in bytes.
pub const MAX_LINE_BYTES: usize = 1 << 16;

/// The reader of a table of pictures: CSV with a line of names, or one JSON object a line
/// (`.jsonl`, `.ndjson`).
///
/// | column | what it says |
/// |---|---|
/// | `path` | the picture, from the root on; `/` and `\` part it |
/// | `label` | `real` or `fake`, 0 or 1, or a label of DeepfakeBench |
/// | `domain` | how it was forged, or where a real picture comes from; where it is empty, DeepfakeBench's label, or `real` |
/// | `group` | optional: the person, or several with `;` between |
/// | `video` | optional: the video's name |
/// | `split` | optional: `train`, `val` or `test` |
/// | `dataset` | optional: the data set, else the manifest's name |
/// | `frame` | optional: the number of the frame, else the file's name where it is a number |
/// | `compression` | optional: `raw`, `c23` or `c40` |
/// | `landmarks`, `mask` | optional: files from the root on |
///
/// Other columns are refused, as a misspelt one would be missed. Without a group, the video is the
/// group; without either, the picture is both.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct ManifestConfig {
    /// The folder that the paths begin at; without one, the manifest's own.
    #[config(default = "None")]
    pub root: Option<PathBuf>,
    /// What is taken off the beginning of the paths, where they were made on another machine.
    #[config(default = "String::new()")]
    pub strip: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    path: String,
    label: String,
    #[serde(default)]
    domain: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    video: Option<String>,
    #[serde(default)]
    split: Option<String>,
    #[serde(default)]
    dataset: Option<String>,
    #[serde(default)]
    frame: Option<u32>,
    #[serde(default)]
    compression: Option<String>,
    #[serde(default)]
    landmarks: Option<String>,
    #[serde(default)]
    mask: Option<String>,
}

impl ManifestConfig {
    /// Reads a manifest. Pictures are not looked at: that is [`Listing::check`]'s.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the root or the manifest cannot be read, the manifest is larger than
    /// [`MAX_LIST_BYTES`](super::MAX_LIST_BYTES), its first line is not one of names, or more than
    /// [`MAX_PROBLEMS`](super::MAX_PROBLEMS) of its lines are wrong. What is wrong with fewer is
    /// kept for the check.
    pub fn read(&self, manifest: impl AsRef<Path>) -> Result<Listing> {
        let manifest = manifest.as_ref();
        let beside = manifest.parent().filter(|folder| *folder != Path::new(""));
        let folder = self.root.as_deref().or(beside).unwrap_or(Path::new("."));
        let name = manifest.file_stem().and_then(|name| name.to_str());
        let mut reader = Reader {
            manifest,
            root: &Root::open(folder)?,
            strip: &self.strip,
            dataset: name.unwrap_or("manifest").into(),
            listing: Listing::default(),
        };
        let bytes = list_file::read(manifest)?;
        let extension = manifest.extension().and_then(|name| name.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("jsonl" | "ndjson" | "json") => reader.json_lines(&bytes)?,
            _ => reader.csv(&bytes)?,
        }
        reader.listing.sort();
        Ok(reader.listing)
    }
}

struct Reader<'a> {
    manifest: &'a Path,
    root: &'a Root,
    strip: &'a str,
    dataset: Arc<str>,
    listing: Listing,
}

impl Reader<'_> {
    fn csv(&mut self, bytes: &[u8]) -> Result<()> {
        let mut csv = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(bytes);
        let refused = |reason: String| Error::File {
            path: self.manifest.into(),
            reason,
        };
        let names = csv
            .headers()
            .map_err(|error| refused(error.to_string()))?
            .clone();
        for needed in ["path", "label"] {
            if !names.iter().any(|name| name == needed) {
                let text = "must begin with a line of names, `path` and `label` among them";
                return Err(refused(text.into()));
            }
        }
        for record in csv.into_records() {
            let line = |at: Option<&csv::Position>| at.map_or(0, csv::Position::line);
            let (line, row) = match record {
                Ok(record) => (
                    line(record.position()),
                    match record.as_slice().len() {
                        0..=MAX_LINE_BYTES => {
                            let row = record.deserialize::<Row>(Some(&names));
                            row.map_err(|error| error.to_string())
                        }
                        len => Err(too_long(len)),
                    },
                ),
                Err(error) => (line(error.position()), Err(error.to_string())),
            };
            self.row(line, row)?;
        }
        Ok(())
    }

    fn json_lines(&mut self, bytes: &[u8]) -> Result<()> {
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            let row = match line.len() {
                0 => continue,
                1..=MAX_LINE_BYTES => json_row(line).map_err(|error| error.to_string()),
                len => Err(too_long(len)),
            };
            self.row(number as u64 + 1, row)?;
        }
        Ok(())
    }

    fn row(&mut self, line: u64, row: Result<Row, String>) -> Result<()> {
        match row
            .map_err(Fault::Malformed)
            .and_then(|row| self.record(row))
        {
            Ok(record) => self.listing.push(record),
            Err(fault) => {
                let place = format!("line {line}");
                let problem = Problem::in_list(self.manifest, place, fault);
                self.listing.problem(problem);
            }
        }
        list_file::check_count(self.manifest, &self.listing)
    }

    fn record(&self, row: Row) -> Result<PictureRecord, Fault> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let file = |path: Option<String>| {
            given(path)
                .map(|path| self.root.below(self.strip, &path).map(|below| below.file))
                .transpose()
        };
        let below = self.root.below(self.strip, &row.path)?;
        let written = row.label;
        let label = match &*written {
            "0" | "real" => Label::Real,
            "1" | "fake" => Label::Fake,
            other => class_of(other).ok_or_else(|| Fault::UnknownLabel(other.into()))?,
        };
        let domain = match given(row.domain) {
            Some(domain) => domain,
            None if class_of(&written).is_some() => written,
            None if label == Label::Real => label.name().into(),
            None => return Err(Fault::Malformed("a fake without a domain".into())),
        };
        let video = given(row.video).unwrap_or_else(|| below.id.clone());
        let group = given(row.group).unwrap_or_else(|| video.clone());
        let split = given(row.split).map(|split| {
            let unknown = |_| Fault::UnknownSplit(split.clone());
            split.parse().map_err(unknown)
        });
        let compression = given(row.compression).map(|name| {
            let unknown = |error| Fault::Malformed(format!("compression `{name}` {error}"));
            name.parse().map_err(unknown)
        });
        let dataset = given(row.dataset).map_or_else(|| self.dataset.clone(), Into::into);
        let persons = group
            .split(';')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        Ok(PictureRecord {
            label,
            persons: persons.map(Into::into).collect(),
            video: format!("{dataset}/{domain}/{video}").into(),
            domain: domain.into(),
            dataset,
            frame: row.frame.or_else(|| frame_number(&below.id)),
            split: split.transpose()?,
            compression: compression.transpose()?,
            landmarks: file(row.landmarks)?,
            mask: file(row.mask)?,
            root: self.root.real.clone(),
            file: below.file,
            id: below.id,
        })
    }
}

/// A label or a person may be written as a number.
fn json_row(line: &[u8]) -> serde_json::Result<Row> {
    let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line)?;
    for (name, value) in &mut row {
        if name != "frame" && value.is_number() {
            *value = value.to_string().into();
        }
    }
    serde_json::from_value(row.into())
}

fn too_long(bytes: usize) -> String {
    format!("a line of {bytes} bytes, more than {MAX_LINE_BYTES}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::data::{Compression, Split};

    fn read(name: &str, text: impl AsRef<[u8]>) -> Result<Listing> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        ManifestConfig::new().read(file)
    }

    const CSV: &str = "path,label,domain,group,video,split,compression,landmarks\n\
        a\\071\\003.png,fake,swap,071;054,071_054,train,c40,a/003.npy\n\
        ./b/1.jpg,0,,071,,,,\n\
        c/2.png,FF-NT,,,v,test,,\n";
    const JSON: &str = r#"{"path": "a/071/003.png", "label": 1, "domain": "swap",
        "group": "071;054", "video": "071_054", "split": "train", "compression": "c40",
        "landmarks": "a\\003.npy"}
        {"path": "b/1.jpg", "label": 0, "group": "071"}
        {"path": "c/2.png", "label": "FF-NT", "video": "v", "split": "test", "mask": null}"#;

    #[test]
    fn both_kinds_of_table() {
        let lines = JSON.replace(",\n", ",");
        for (name, text) in [("faces.csv", CSV), ("faces.jsonl", &lines)] {
            let listing = read(name, text).unwrap();
            assert!(listing.problems().is_empty(), "{}", listing.problems());
            let [third, second, first] = listing.records() else {
                panic!("{listing:?}");
            };
            assert_eq!((first.label, &*first.domain), (Label::Fake, "swap"));
            let people: Vec<&str> = first.persons.iter().map(|p| &**p).collect();
            assert_eq!(people, ["071", "054"], "zeros are kept");
            assert_eq!(&*first.video, "faces/swap/071_054");
            assert_eq!((first.split, first.frame), (Some(Split::Train), Some(3)));
            assert_eq!(first.compression, Some(Compression::C40));
            assert!(first.landmarks.as_ref().unwrap().ends_with("a/003.npy"));
            assert_eq!((second.label, &*second.id), (Label::Real, "b/1.jpg"));
            assert_eq!((third.label, &*third.domain), (Label::Fake, "FF-NT"));
            assert_eq!(&*third.persons[0], "v");
        }
    }

    #[test]
    fn all_bad_lines_are_listed_with_their_numbers() {
        let text = b"path,label,domain,split\n\
            a.png,real,x,\n\
            b.png,forged,x,\n\
            c.png,real\n\
            \xff.png,real,x,\n\
            ../d.png,real,x,\n\
            /etc/e.png,real,x,\n\
            f.png,fake,,\n\
            g.png,real,x,validation\n\
            ,real,x,\n\
            h.png,real,x,test\n";
        let listing = read("list.csv", text).unwrap();
        assert_eq!(listing.len(), 2);
        let places: Vec<&str> = listing.problems().iter().map(|p| &*p.place).collect();
        let lines = ["3", "4", "5", "6", "7", "8", "9", "10"];
        assert_eq!(places, lines.map(|line| format!("line {line}")));
        assert_eq!(
            listing.problems().counts(),
            [
                ("malformed", 4),
                ("outside the root", 2),
                ("unknown label", 1),
                ("unknown split", 1)
            ]
            .into()
        );
    }

    #[test]
    fn bad_json_lines() {
        let long = format!("{{\"path\": \"{}\"}}", "a".repeat(MAX_LINE_BYTES));
        let text = format!(
            "{{\"path\": \"a.png\", \"label\": \"real\"}}\n\n[]\n{{\"path\": 3}}\n{long}\n\
             {{\"path\": \"b.png\", \"label\": \"real\", \"lable\": 1}}\nx\u{1b}[2J"
        );
        let listing = read("list.jsonl", text).unwrap();
        assert_eq!(listing.len(), 1);
        let places: Vec<&str> = listing.problems().iter().map(|p| &*p.place).collect();
        assert_eq!(places, ["line 3", "line 4", "line 5", "line 6", "line 7"]);
        let text = listing.problems().to_string();
        assert!(
            text.contains("`lable`") && !text.contains('\u{1b}'),
            "{text}"
        );
    }

    #[test]
    fn no_line_of_names() {
        for text in ["", "a.png,real\n", "path,class\n"] {
            let error = read("list.csv", text).unwrap_err().to_string();
            assert!(
                error.contains("list.csv") && error.contains("`label`"),
                "{error}"
            );
        }
        let extra = read("list.csv", "path,label,colour\na.png,real,red\n").unwrap();
        assert!(extra.problems().to_string().contains("colour"));
    }

    #[test]
    fn a_quote_that_never_ends() {
        let text = format!(
            "path,label\n\"a.png,real\n{}",
            "b.png,real\n".repeat(10_000)
        );
        let listing = read("list.csv", text).unwrap();
        assert!(listing.is_empty());
        assert_eq!(listing.problems().len(), 1);
    }
}
