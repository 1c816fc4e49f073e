use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::record::{Compression, PictureRecord, Split};
use crate::{Error, Result};

/// Which frames of a video are taken where it has more than are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameRule {
    /// Evenly spread, the first and the last among them: of $n$ frames, numbers
    /// $\lfloor i (n - 1) / (k - 1) \rfloor$ for $i = 0, \dots, k - 1$; the middle one for
    /// $k = 1$.
    #[default]
    Even,
    /// The first ones, as DeepfakeBench's loader takes them.
    First,
}

impl FrameRule {
    /// The `wanted` of `frames` frames, counted from 0 and rising; all where there are no more.
    pub(super) fn pick(self, frames: usize, wanted: usize) -> Vec<usize> {
        if frames <= wanted {
            return (0..frames).collect();
        }
        match (self, wanted) {
            (Self::First, _) => (0..wanted).collect(),
            (Self::Even, 0) => Vec::new(),
            (Self::Even, 1) => vec![(frames - 1) / 2],
            (Self::Even, _) => (0..wanted)
                .map(|i| (i as u128 * (frames as u128 - 1) / (wanted as u128 - 1)) as usize)
                .collect(),
        }
    }
}

/// Which pictures of a data set are used. As it is made, all are.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct SelectConfig {
    /// The data sets; all where it is empty.
    #[config(default = "Vec::new()")]
    pub datasets: Vec<String>,
    /// The domains, those of real pictures included; all where it is empty.
    #[config(default = "Vec::new()")]
    pub domains: Vec<String>,
    /// The split. Pictures without a split belong to none.
    #[config(default = "None")]
    pub split: Option<Split>,
    /// The compression of the video. Pictures without one are taken in any case: only
    /// FaceForensics++ and its kin have it.
    #[config(default = "None")]
    pub compression: Option<Compression>,
    /// How many frames of each video at most, at least 1.
    #[config(default = "None")]
    pub frames_per_video: Option<usize>,
    /// Which they are.
    #[config(default = "FrameRule::Even")]
    pub frame_rule: FrameRule,
}

impl SelectConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for no frames of a video.
    pub fn check(&self) -> Result<()> {
        if self.frames_per_video == Some(0) {
            return Err(Error::Setting {
                field: "frames_per_video",
                rule: "be at least 1",
                value: "0".into(),
            });
        }
        Ok(())
    }

    /// Of a sorted list, which are taken.
    pub(super) fn mask<'a>(
        &self,
        records: impl ExactSizeIterator<Item = &'a PictureRecord> + Clone,
    ) -> Vec<bool> {
        let mut taken: Vec<bool> = records.clone().map(|record| self.wants(record)).collect();
        let Some(wanted) = self.frames_per_video else {
            return taken;
        };
        let mut videos: HashMap<_, Vec<usize>> = HashMap::new();
        for ((index, record), _) in records.enumerate().zip(&taken).filter(|(_, taken)| **taken) {
            videos.entry(record.stream()).or_default().push(index);
        }
        for frames in videos.values() {
            let mut kept = self
                .frame_rule
                .pick(frames.len(), wanted)
                .into_iter()
                .peekable();
            for (number, index) in frames.iter().enumerate() {
                if let Some(taken) = taken.get_mut(*index) {
                    *taken = kept.next_if_eq(&number).is_some();
                }
            }
        }
        taken
    }

    fn wants(&self, record: &PictureRecord) -> bool {
        let among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted == name)
        };
        let level = self.compression;
        among(&self.datasets, &record.dataset)
            && among(&self.domains, &record.domain)
            && self.split.is_none_or(|split| record.split == Some(split))
            && record
                .compression
                .is_none_or(|c| level.is_none_or(|level| c == level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spread_evenly_or_are_the_first() {
        assert_eq!(FrameRule::Even.pick(300, 4), [0, 99, 199, 299]);
        assert_eq!(FrameRule::Even.pick(5, 2), [0, 4]);
        assert_eq!(FrameRule::Even.pick(9, 1), [4]);
        assert_eq!(FrameRule::First.pick(300, 4), [0, 1, 2, 3]);
        for rule in [FrameRule::Even, FrameRule::First] {
            assert_eq!(rule.pick(3, 8), [0, 1, 2], "fewer than wanted is normal");
            assert!(rule.pick(0, 8).is_empty());
        }
        let picked = FrameRule::Even.pick(300, 32);
        assert_eq!(picked[..4], [0, 9, 19, 28]);
        assert!(picked.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn no_frames_of_a_video_are_refused() {
        let config = SelectConfig::new().with_frames_per_video(Some(0));
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .starts_with("frames_per_video")
        );
    }
}
