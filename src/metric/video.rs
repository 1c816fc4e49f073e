use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::Hash,
};

use serde::{Deserialize, Serialize};

use super::items::numbers;
use crate::{Error, Result, error::Printable};

/// What makes a video one video: the data set, the method and its name there.
///
/// The name alone is not enough: the four forgeries of a pair of FaceForensics++ are all called
/// `000_003`. Written as `dataset/method/id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VideoKey {
    /// The data set, such as `FaceForensics++`.
    pub dataset: String,
    /// The method of forgery, or what the data set calls its real videos.
    pub method: String,
    /// The video's name among those of the method.
    pub id: String,
}

impl VideoKey {
    /// Of a data set, a method and a name.
    pub fn new(
        dataset: impl Into<String>,
        method: impl Into<String>,
        id: impl Into<String>,
    ) -> Self {
        Self {
            dataset: dataset.into(),
            method: method.into(),
            id: id.into(),
        }
    }
}

impl fmt::Display for VideoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{}/{}/{}", self.dataset, self.method, self.id);
        Printable(&name).fmt(f)
    }
}

/// How the scores of a video's frames become one score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameAggregation {
    /// Their mean, as most of the field does.
    #[default]
    Mean,
    /// The highest: a video is forged if any frame is.
    Max,
}

/// Scores and labels of videos, made of those of their frames.
///
/// Which frames are one video is the caller's choice of key, usually [`VideoKey`]; people or shots
/// work too.
///
/// ```
/// use roga::metric::{FrameAggregation, Roc, VideoScores};
///
/// let frames = ["a", "a", "b", "b"];
/// let labels = [false, false, true, true];
/// let videos = VideoScores::new(&frames, &[0.25, 0.75, 0.5, 1.0], &labels, FrameAggregation::Mean)?;
/// assert_eq!(videos.scores(), [0.5, 0.75]);
/// assert_eq!(Roc::new(videos.scores(), videos.labels())?.auc(), 1.0);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct VideoScores<K = VideoKey> {
    keys: Vec<K>,
    scores: Vec<f64>,
    labels: Vec<bool>,
    frames: Vec<usize>,
}

impl<K: Clone + fmt::Debug + Hash + Ord> VideoScores<K> {
    /// Of frames that belong to videos with these keys, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there is no frame, there are not as many keys, scores and labels,
    /// a score is not a number, a video's frames have different labels, or a video's mean is not
    /// defined because it has both infinities. One class only is refused by the metrics.
    pub fn new<S: Copy + Into<f64>>(
        keys: &[K],
        scores: &[S],
        labels: &[bool],
        aggregation: FrameAggregation,
    ) -> Result<Self> {
        let videos = Self::gather(keys, scores, labels, aggregation)?;
        for (key, video) in &videos {
            if ![0, video.frames].contains(&video.positives) {
                return Err(refused(format!(
                    "video {key:?} has frames of both classes: is its key one video's?"
                )));
            }
        }
        Ok(Self::of(videos))
    }

    /// As [`new`](Self::new), but a video is positive only if all its frames are.
    pub(super) fn with_mixed_labels<S: Copy + Into<f64>>(
        keys: &[K],
        scores: &[S],
        labels: &[bool],
    ) -> Result<Self> {
        let videos = Self::gather(keys, scores, labels, FrameAggregation::Mean)?;
        Ok(Self::of(videos))
    }

    /// The videos by key, each with its score.
    fn gather<'a, S: Copy + Into<f64>>(
        keys: &'a [K],
        scores: &[S],
        labels: &[bool],
        aggregation: FrameAggregation,
    ) -> Result<Vec<(&'a K, Video)>> {
        let scores = numbers("video score", scores, labels)?;
        if keys.len() != scores.len() {
            let (keys, scores) = (keys.len(), scores.len());
            return Err(refused(format!(
                "there are {keys} keys and {scores} scores"
            )));
        }
        let mut videos: HashMap<&K, Video> = HashMap::new();
        for ((key, score), label) in keys.iter().zip(scores).zip(labels) {
            let frame = Video {
                score,
                frames: 1,
                positives: usize::from(*label),
            };
            match videos.entry(key) {
                Entry::Vacant(entry) => _ = entry.insert(frame),
                Entry::Occupied(mut entry) => entry.get_mut().add(frame, aggregation),
            }
        }
        let mut videos: Vec<(&K, Video)> = videos.into_iter().collect();
        for (key, video) in &mut videos {
            if aggregation == FrameAggregation::Mean {
                video.score /= video.frames as f64;
            }
            if video.score.is_nan() {
                return Err(refused(format!(
                    "video {key:?} has scores of both infinities"
                )));
            }
        }
        videos.sort_unstable_by_key(|(key, _)| *key);
        Ok(videos)
    }

    fn of(videos: Vec<(&K, Video)>) -> Self {
        Self {
            keys: videos.iter().map(|(key, _)| (*key).clone()).collect(),
            scores: videos.iter().map(|(_, video)| video.score).collect(),
            labels: videos
                .iter()
                .map(|(_, video)| video.positives == video.frames)
                .collect(),
            frames: videos.iter().map(|(_, video)| video.frames).collect(),
        }
    }

    /// The videos' keys, sorted.
    pub fn keys(&self) -> &[K] {
        &self.keys
    }

    /// The videos' scores, in the order of the keys.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// The videos' labels, in the order of the keys.
    pub fn labels(&self) -> &[bool] {
        &self.labels
    }

    /// How many frames each video has, in the order of the keys: at least 1.
    pub fn frames(&self) -> &[usize] {
        &self.frames
    }
}

struct Video {
    score: f64,
    frames: usize,
    positives: usize,
}

impl Video {
    fn add(&mut self, frame: Self, aggregation: FrameAggregation) {
        self.score = match aggregation {
            FrameAggregation::Mean => self.score + frame.score,
            FrameAggregation::Max => self.score.max(frame.score),
        };
        self.frames += frame.frames;
        self.positives += frame.positives;
    }
}

fn refused(reason: String) -> Error {
    Error::Metric {
        metric: "video score",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_one_name_stay_apart() {
        let key = |method| VideoKey::new("FaceForensics++", method, "000_003");
        let keys = [
            key("NeuralTextures"),
            key("Deepfakes"),
            key("NeuralTextures"),
        ];
        let labels = [true; 3];
        let videos = VideoScores::new(
            &keys,
            &[0.5_f32, 0.25, 1.0],
            &labels,
            FrameAggregation::Mean,
        )
        .unwrap();
        assert_eq!(videos.keys(), [key("Deepfakes"), key("NeuralTextures")]);
        assert_eq!(videos.scores(), [0.25, 0.75]);
        assert_eq!(videos.labels(), [true, true]);
        assert_eq!(videos.frames(), [1, 2]);
        assert_eq!(
            videos.keys()[0].to_string(),
            "FaceForensics++/Deepfakes/000_003"
        );
        let highest =
            VideoScores::new(&keys, &[0.5_f32, 0.25, 1.0], &labels, FrameAggregation::Max).unwrap();
        assert_eq!(highest.scores(), [0.25, 1.0]);
    }

    #[test]
    fn what_is_no_video_is_refused() {
        let score = |keys: &[&str], scores: &[f64], labels: &[bool]| match VideoScores::new(
            keys,
            scores,
            labels,
            FrameAggregation::Mean,
        ) {
            Err(Error::Metric { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        let both = [true, false];
        assert!(
            score(&["a", "a"], &[0.1, 0.2], &both).starts_with("video \"a\" has frames of both")
        );
        assert_eq!(
            score(&["a"], &[0.1, 0.2], &both),
            "there are 1 keys and 2 scores"
        );
        assert_eq!(score(&[], &[], &[]), "there are no scores");
        assert_eq!(
            score(&["a", "b"], &[0.1], &both),
            "there are 1 scores and 2 labels"
        );
        assert_eq!(
            score(&["a", "b"], &[0.1, f64::NAN], &both),
            "score 1 is not a number"
        );
        let infinite = [f64::INFINITY, f64::NEG_INFINITY];
        assert!(score(&["a", "a"], &infinite, &[true, true]).contains("both infinities"));
    }
}
