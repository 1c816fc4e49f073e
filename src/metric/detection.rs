use burn::config::Config;
use serde::Serialize;

use super::{
    Calibration, FrameAggregation, Roc, VideoKey, VideoScores,
    accuracy::{accuracy, check_threshold},
    auc_standard_error,
    calibration::check_bins,
    log_loss,
    roc::check_fpr,
};
use crate::Result;

/// What [`DetectionMetrics`] are computed with.
#[derive(Config, Debug)]
pub struct DetectionMetricsConfig {
    /// From which probability on an item is called forged, for the accuracy. Default: 0.5.
    #[config(default = 0.5)]
    pub threshold: f64,
    /// The false positive rates that [`Roc::tpr_at_fpr`] is told for, each from 0 to 1. Default:
    /// 1 % and 0.1 %.
    #[config(default = "vec![0.01, 0.001]")]
    pub false_positive_rates: Vec<f64>,
    /// The number of bins of the [`Calibration`], at least 1. Default: 15.
    #[config(default = 15)]
    pub calibration_bins: usize,
    /// How the probabilities of a video's frames become the video's. Default: their mean.
    #[config(default = "FrameAggregation::Mean")]
    pub aggregation: FrameAggregation,
}

impl DetectionMetricsConfig {
    /// The metrics of a test set: the probabilities that its frames are forged, whether they are,
    /// and which videos they belong to, if they do.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) for a setting out of its range.
    /// [`Error::Metric`](crate::Error::Metric) where there is no frame, there are not as many
    /// probabilities, labels and keys, a probability is not from 0 to 1, all labels are the same,
    /// or a video's frames have different labels.
    pub fn measure<S: Copy + Into<f64>>(
        &self,
        probabilities: &[S],
        labels: &[bool],
        videos: Option<&[VideoKey]>,
    ) -> Result<DetectionMetrics> {
        self.check()?;
        let frame = self.level(probabilities, labels)?;
        let video = match videos {
            None => None,
            Some(keys) => {
                let videos = VideoScores::new(keys, probabilities, labels, self.aggregation)?;
                Some(VideoMetrics {
                    key: "dataset, method and id",
                    aggregation: self.aggregation,
                    frames: [
                        videos.frames().iter().min().copied().unwrap_or(0),
                        videos.frames().iter().max().copied().unwrap_or(0),
                    ],
                    metrics: self.level(videos.scores(), videos.labels())?,
                })
            }
        };
        Ok(DetectionMetrics {
            definitions: DEFINITIONS,
            threshold: self.threshold,
            calibration_bins: self.calibration_bins,
            frame,
            video,
        })
    }

    fn level<S: Copy + Into<f64>>(&self, scores: &[S], labels: &[bool]) -> Result<LevelMetrics> {
        let roc = Roc::new(scores, labels)?;
        let (negatives, positives) = roc.totals();
        let rates = self.false_positive_rates.iter().map(|&max_fpr| {
            let tpr = roc.tpr_at_fpr(max_fpr)?;
            Ok(TprAtFpr { max_fpr, tpr })
        });
        // A variance needs two items of each class; with one the AUC stands alone.
        let several = negatives > 1 && positives > 1;
        Ok(LevelMetrics {
            positives,
            negatives,
            auc: roc.auc(),
            auc_standard_error: several
                .then(|| auc_standard_error(scores, labels))
                .transpose()?,
            average_precision: roc.average_precision(),
            equal_error_rate: roc.equal_error_rate(),
            tpr_at_fpr: rates.collect::<Result<_>>()?,
            accuracy: accuracy(scores, labels, self.threshold)?,
            log_loss: log_loss(scores, labels)?,
            calibration_error: Calibration::new(scores, labels, self.calibration_bins)?
                .expected_error(),
        })
    }

    fn check(&self) -> Result<()> {
        check_threshold(self.threshold)?;
        check_bins("calibration_bins", self.calibration_bins)?;
        let mut rates = self.false_positive_rates.iter();
        rates.try_for_each(|rate| check_fpr("false_positive_rates", *rate))
    }
}

/// All numbers of one test set, by frame and by video, with what they were computed with.
///
/// It is made for result files: what can be chosen stands beside what came of it.
///
/// ```
/// use roga::metric::{DetectionMetricsConfig, VideoKey};
///
/// let video = |method, id| VideoKey::new("FaceForensics++", method, id);
/// let videos = [video("youtube", "000"), video("youtube", "000"), video("Deepfakes", "000_003")];
/// let metrics = DetectionMetricsConfig::new().measure(
///     &[0.25, 0.75, 0.625],
///     &[false, false, true],
///     Some(&videos),
/// )?;
/// assert_eq!(metrics.frame.auc, 0.5);
/// assert_eq!(metrics.video.unwrap().metrics.auc, 1.0);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectionMetrics {
    /// What the names mean where a name has several meanings in use.
    pub definitions: &'static str,
    /// From which probability on an item is called forged, for the accuracy.
    pub threshold: f64,
    /// The number of bins, of equal width, of the calibration error.
    pub calibration_bins: usize,
    /// Of single frames.
    pub frame: LevelMetrics,
    /// Of videos; none where the frames belong to none.
    pub video: Option<VideoMetrics>,
}

const DEFINITIONS: &str = "equal_error_rate: interpolated linearly; tpr_at_fpr: the largest TPR \
    with an FPR of at most max_fpr, not interpolated; average_precision: sum of steps; accuracy: \
    positive from the threshold on; log_loss: nats, probabilities at least 2^-52 from 0 and 1; \
    calibration_error: of the probability of being positive, bins of equal width, empty ones left \
    out; auc_standard_error: DeLong's, as if items were independent";

/// The numbers of a test set's videos, and how they were made of frames.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VideoMetrics {
    /// What makes a video one video.
    pub key: &'static str,
    /// How the probabilities of a video's frames became the video's.
    pub aggregation: FrameAggregation,
    /// The fewest and the most frames of a video.
    pub frames: [usize; 2],
    /// The numbers.
    pub metrics: LevelMetrics,
}

/// The numbers of a test set's frames, or of its videos.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelMetrics {
    /// How many are forged, at least 1.
    pub positives: usize,
    /// How many are real, at least 1.
    pub negatives: usize,
    /// [`Roc::auc`].
    pub auc: f64,
    /// Its standard error as if items were independent: [`auc_standard_error`]. None where a class
    /// has a single item.
    pub auc_standard_error: Option<f64>,
    /// [`Roc::average_precision`].
    pub average_precision: f64,
    /// [`Roc::equal_error_rate`], interpolated.
    pub equal_error_rate: f64,
    /// [`Roc::tpr_at_fpr`], not interpolated, for each false positive rate asked for.
    pub tpr_at_fpr: Vec<TprAtFpr>,
    /// [`accuracy`](super::accuracy()) at the threshold.
    pub accuracy: f64,
    /// [`log_loss`](super::log_loss()) in nats.
    pub log_loss: f64,
    /// [`Calibration::expected_error`].
    pub calibration_error: f64,
}

/// A true positive rate where the false positive rate is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TprAtFpr {
    /// The bound of the false positive rate.
    pub max_fpr: f64,
    /// The largest true positive rate within it.
    pub tpr: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn what_was_chosen_is_written_down() {
        let video = |id: &str| VideoKey::new("set", "method", id);
        let videos = ["a", "a", "b", "c", "c"].map(video);
        let labels = [false, false, true, true, true];
        let config = DetectionMetricsConfig::new()
            .with_threshold(0.25)
            .with_false_positive_rates(vec![0.5])
            .with_aggregation(FrameAggregation::Max);
        let probabilities = [0.25, 0.75, 0.5, 0.125, 1.0];
        let metrics = config
            .measure(&probabilities, &labels, Some(&videos))
            .unwrap();
        let written = serde_json::to_value(&metrics).unwrap();
        assert_eq!(written["threshold"], 0.25);
        assert_eq!(written["calibration_bins"], 15);
        assert_eq!(written["video"]["aggregation"], "max");
        assert_eq!(written["video"]["frames"], serde_json::json!([1, 2]));
        assert_eq!(written["video"]["metrics"]["auc"], 0.5);
        assert_eq!(
            written["video"]["metrics"]["auc_standard_error"],
            serde_json::Value::Null
        );
        assert_eq!(written["frame"]["accuracy"], 0.4);
        assert_eq!(
            written["frame"]["tpr_at_fpr"],
            serde_json::json!([{"max_fpr": 0.5, "tpr": 2.0 / 3.0}])
        );
        let alone = config.measure(&probabilities, &labels, None).unwrap();
        assert_eq!((alone.video, alone.frame), (None, metrics.frame));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let config = DetectionMetricsConfig::new();
        let set =
            |config: DetectionMetricsConfig| config.measure(&[0.1, 0.9], &[false, true], None);
        for (config, field) in [
            (config.clone().with_threshold(f64::NAN), "threshold"),
            (config.clone().with_calibration_bins(0), "calibration_bins"),
            (
                config.clone().with_false_positive_rates(vec![0.1, 1.5]),
                "false_positive_rates",
            ),
        ] {
            match set(config) {
                Err(Error::Setting { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{other:?}"),
            }
        }
        let keys = [VideoKey::new("", "", ""), VideoKey::new("", "", "")];
        for refused in [
            config.measure(&[0.1, 1.9], &[false, true], None),
            config.measure(&[0.1, 0.9], &[false, true], Some(&keys)),
            config.measure(&[0.1, 0.9], &[false, true], Some(&keys[..1])),
        ] {
            assert!(matches!(refused, Err(Error::Metric { .. })), "{refused:?}");
        }
    }
}
