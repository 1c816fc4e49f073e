use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use super::{record::Label, set::PictureSet};
use crate::error::Printable;

/// What a data set holds, for people to look at and for a result's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Pictures of each data set, domain, class, split and compression.
    pub parts: Vec<Part>,
    /// Pictures in all.
    pub pictures: usize,
    /// Videos in all.
    pub videos: usize,
    /// People in all.
    pub persons: usize,
    /// Pictures with landmarks.
    pub with_landmarks: usize,
    /// Pictures with a mask.
    pub with_mask: usize,
    /// Pictures of each size in pixels, such as `256x256`.
    pub sizes: BTreeMap<String, usize>,
    /// Pictures of each format, `png` or `jpeg`.
    pub formats: BTreeMap<&'static str, usize>,
    /// The files' bytes.
    pub bytes: u64,
    /// Pictures that were left out by the check, and how many of each kind of problem there were.
    pub left_out: usize,
    /// See `left_out`.
    pub problems: BTreeMap<&'static str, usize>,
}

/// The pictures of one data set, domain, class, split and compression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The data set.
    pub dataset: String,
    /// The domain.
    pub domain: String,
    /// Real or fake.
    pub label: Label,
    /// The split, where there is one.
    pub split: Option<super::Split>,
    /// The compression, where there is one.
    pub compression: Option<super::Compression>,
    /// How many pictures.
    pub pictures: usize,
    /// Of how many videos.
    pub videos: usize,
    /// Of how many people.
    pub persons: usize,
    /// The fewest and the most frames a video has.
    pub frames_per_video: [usize; 2],
}

impl PictureSet {
    /// Counts what the set holds.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            pictures: self.len(),
            left_out: self.left_out(),
            problems: self.skipped().counts(),
            ..Summary::default()
        };
        let mut videos = BTreeSet::new();
        let mut persons = BTreeSet::new();
        let mut parts = BTreeMap::<_, (BTreeMap<&str, usize>, BTreeSet<&str>)>::new();
        for (record, header) in self.records().zip(self.headers()) {
            let size = format!("{}x{}", header.width, header.height);
            *summary.sizes.entry(size).or_default() += 1;
            *summary.formats.entry(header.format).or_default() += 1;
            summary.bytes += header.bytes;
            summary.with_landmarks += usize::from(record.landmarks.is_some());
            summary.with_mask += usize::from(record.mask.is_some());
            videos.insert(&*record.video);
            let key = (
                &record.dataset,
                record.label,
                &record.domain,
                record.split,
                record.compression,
            );
            let (frames, people) = parts.entry(key).or_default();
            *frames.entry(&record.video).or_default() += 1;
            for person in &record.persons {
                persons.insert(&**person);
                people.insert(&**person);
            }
        }
        summary.videos = videos.len();
        summary.persons = persons.len();
        for ((dataset, label, domain, split, compression), (frames, people)) in parts {
            let [least, most] = [frames.values().min(), frames.values().max()];
            summary.parts.push(Part {
                dataset: dataset.to_string(),
                domain: domain.to_string(),
                label,
                split,
                compression,
                pictures: frames.values().sum(),
                videos: frames.len(),
                persons: people.len(),
                frames_per_video: [least, most].map(|count| count.copied().unwrap_or(0)),
            });
        }
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} pictures of {} people in {} videos, {} MB; {} with landmarks, {} with masks",
            self.pictures,
            self.persons,
            self.videos,
            self.bytes / 1_000_000,
            self.with_landmarks,
            self.with_mask
        )?;
        for part in &self.parts {
            let [least, most] = part.frames_per_video;
            let split = part.split.map_or("-", super::Split::name);
            let compression = part.compression.map_or("-", super::Compression::name);
            writeln!(
                f,
                "  {} {} ({}, {split}, {compression}): {} pictures, {} videos of {least} to \
                 {most} frames, {} people",
                Printable(&part.dataset),
                Printable(&part.domain),
                part.label,
                part.pictures,
                part.videos,
                part.persons
            )?;
        }
        let listed = |counts: &mut dyn Iterator<Item = (&str, &usize)>| {
            let texts = counts.map(|(name, count)| format!("{count} {name}"));
            texts.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            f,
            "  sizes: {}",
            listed(&mut self.sizes.iter().map(|(k, v)| (&**k, v)))
        )?;
        writeln!(
            f,
            "  formats: {}",
            listed(&mut self.formats.iter().map(|(k, v)| (*k, v)))
        )?;
        if self.left_out > 0 || !self.problems.is_empty() {
            let problems = listed(&mut self.problems.iter().map(|(k, v)| (*k, v)));
            writeln!(f, "  left out: {} pictures ({problems})", self.left_out)?;
        }
        Ok(())
    }
}
