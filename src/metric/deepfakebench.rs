use serde::Serialize;

use super::{Roc, VideoScores, accuracy::share_correct};
use crate::{Error, Result};

/// The metrics of a test set as DeepfakeBench computes them, to compare with numbers that it has
/// printed. Three differ from this crate's own, and are worse; see each.
///
/// Source: Yan et al., "DeepfakeBench: A Comprehensive Benchmark of Deepfake Detection", NeurIPS
/// 2023, arXiv:2307.01426.
///
/// ```
/// use roga::metric::DeepfakeBenchMetrics;
///
/// let paths = ["real/frames/000/00.png", "fake/frames/000_003/00.png", r"fake\frames\001\00.png"];
/// let set = DeepfakeBenchMetrics::new(&[0.25, 0.75, 0.5], &[false, true, true], &paths)?;
/// assert_eq!((set.auc, set.acc, set.video_auc), (1.0, 2.0 / 3.0, 1.0));
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DeepfakeBenchMetrics {
    /// The accuracy at 0.5, but a probability of exactly 0.5 is called real: [`accuracy`] has it
    /// forged.
    ///
    /// [`accuracy`]: super::accuracy()
    pub acc: f64,
    /// The area under the ROC curve of the frames: [`Roc::auc`].
    pub auc: f64,
    /// The false positive rate at the curve's corner nearest to $\mathrm{FPR} = 1 - \mathrm{TPR}$,
    /// the first of several, not interpolated. A constant score has 0: see
    /// [`Roc::equal_error_rate`].
    pub eer: f64,
    /// The average precision: [`Roc::average_precision`].
    pub ap: f64,
    /// The area under the ROC curve of [`deepfakebench_videos`]. For detectors of whole videos it is
    /// `auc`.
    pub video_auc: f64,
}

impl DeepfakeBenchMetrics {
    /// Of the frames of a test set: their probabilities of being forged, whether they are, and
    /// their paths.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there is no frame, there are not as many probabilities, labels and
    /// paths, a probability is not a number, all frames or all videos are of one class, or a path
    /// names no folder.
    pub fn new<S: Copy + Into<f64>, P: AsRef<str>>(
        probabilities: &[S],
        labels: &[bool],
        paths: &[P],
    ) -> Result<Self> {
        let videos = deepfakebench_videos(probabilities, labels, paths)?;
        let video_auc = Roc::new(videos.scores(), videos.labels())?.auc();
        Ok(Self {
            video_auc,
            ..Self::of_videos(probabilities, labels)?
        })
    }

    /// Of a detector that scores whole videos: `video_auc` is `auc`.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there is no video, there are not as many probabilities as labels, a
    /// probability is not a number, or all videos are of one class.
    pub fn of_videos<S: Copy + Into<f64>>(probabilities: &[S], labels: &[bool]) -> Result<Self> {
        let roc = Roc::new(probabilities, labels)?;
        let auc = roc.auc();
        Ok(Self {
            acc: share_correct(probabilities, labels, |probability| probability > 0.5)?,
            auc,
            eer: nearest_corner(&roc),
            ap: roc.average_precision(),
            video_auc: auc,
        })
    }

    /// The row `avg` of its tables: the plain mean over test sets, however large each is.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there are none.
    pub fn average(sets: &[Self]) -> Result<Self> {
        if sets.is_empty() {
            return Err(refused("there are no test sets".into()));
        }
        let mean =
            |metric: fn(&Self) -> f64| sets.iter().map(metric).sum::<f64>() / sets.len() as f64;
        Ok(Self {
            acc: mean(|set| set.acc),
            auc: mean(|set| set.auc),
            eer: mean(|set| set.eer),
            ap: mean(|set| set.ap),
            video_auc: mean(|set| set.video_auc),
        })
    }
}

fn nearest_corner(roc: &Roc) -> f64 {
    let distance = |fpr: f64, tpr: f64| (1.0 - tpr - fpr).abs();
    // Where several are as near, `min_by` has the first.
    let nearest = roc
        .corners()
        .min_by(|a, b| distance(a.fpr, a.tpr).total_cmp(&distance(b.fpr, b.tpr)));
    nearest.map_or(0.0, |point| point.fpr)
}

/// Videos as DeepfakeBench groups them: by the name of the folder that a frame lies in, and nothing
/// else.
///
/// The mean of the frames' probabilities, under a label that is forged where all frames are. Videos
/// of the same name are merged: on FaceForensics++ the four forgeries of each pair.
/// [`VideoScores::new`] with a [`VideoKey`](super::VideoKey) keeps them apart.
///
/// Paths may have `/`, `\` or both.
///
/// # Errors
///
/// [`Error::Metric`] where there is no frame, there are not as many probabilities, labels and paths,
/// a probability is not a number, or a path names no folder.
pub fn deepfakebench_videos<S: Copy + Into<f64>, P: AsRef<str>>(
    probabilities: &[S],
    labels: &[bool],
    paths: &[P],
) -> Result<VideoScores<String>> {
    let folders: Vec<String> = paths.iter().map(folder).collect::<Result<_>>()?;
    VideoScores::with_mixed_labels(&folders, probabilities, labels)
}

fn folder(path: &impl AsRef<str>) -> Result<String> {
    let path = path.as_ref();
    let folder = path
        .rsplit(['/', '\\'])
        .nth(1)
        .filter(|name| !name.is_empty());
    folder
        .map(Into::into)
        .ok_or_else(|| refused(format!("path `{path}` names no folder")))
}

fn refused(reason: String) -> Error {
    Error::Metric {
        metric: "DeepfakeBench's video AUC",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_either_system() {
        for path in [
            "a/frames/000/01.png",
            r"a\frames\000\01.png",
            r".\a/frames\000/01.png",
        ] {
            assert_eq!(folder(&path).unwrap(), "000");
        }
        for path in ["01.png", "/01.png", ""] {
            assert!(matches!(folder(&path), Err(Error::Metric { .. })), "{path}");
        }
    }

    #[test]
    fn one_name_is_one_video() {
        let paths = [
            "Deepfakes/000_003/0.png",
            "FaceSwap/000_003/0.png",
            "youtube/000/0.png",
        ];
        let videos = deepfakebench_videos(&[1.0, 0.5, 0.25], &[true, true, false], &paths).unwrap();
        assert_eq!(videos.keys(), ["000", "000_003"]);
        assert_eq!(videos.scores(), [0.25, 0.75]);
        // A real frame among forged ones makes the video real: the integer part of the mean.
        let videos =
            deepfakebench_videos(&[1.0, 0.5, 0.25], &[true, false, false], &paths).unwrap();
        assert_eq!(videos.labels(), [false, false]);
    }

    #[test]
    fn the_average_is_over_test_sets() {
        let one = DeepfakeBenchMetrics::of_videos(&[0.1, 0.9], &[false, true]).unwrap();
        let other =
            DeepfakeBenchMetrics::of_videos(&[0.5, 0.5, 0.5], &[false, true, true]).unwrap();
        let average = DeepfakeBenchMetrics::average(&[one, other]).unwrap();
        assert_eq!(average.auc, 0.75);
        assert_eq!(average.acc, (1.0 + 1.0 / 3.0) / 2.0);
        assert_eq!(average.eer, 0.0);
        let refused = DeepfakeBenchMetrics::average(&[]);
        assert!(matches!(refused, Err(Error::Metric { .. })));
    }
}
