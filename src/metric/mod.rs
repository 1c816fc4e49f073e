//! Measures of how well scores tell two classes apart, in double precision.
//!
//! A score is the higher the more an item seems positive, and labels are `true` for positives: in
//! deepfake detection the forged pictures. All that goes by the order of the scores alone is read
//! off a [`Roc`]: its area, the average precision, the equal error rate, the true positive rate at
//! a false positive rate. [`accuracy`], [`log_loss`] and [`Calibration`] go by their values.
//! [`DetectionMetrics`] holds all of them for one test set, by frame and by video.
//!
//! How sure a number is, and whether one method is better than another on the same pictures:
//! [`DeLong`] for the AUC of independent items, [`ClusteredDeLong`] for that of clusters of them,
//! over one or several test sets, and [`Bootstrap`] for any metric of one test set.
//!
//! Nothing is defined on no item, on items of one class only, or with a score that is not a number:
//! each is an [`Error::Metric`](crate::Error::Metric), never a value that looks like one.

mod accuracy;
mod average_precision;
mod bootstrap;
mod calibration;
mod clustered;
mod deepfakebench;
mod delong;
mod detection;
mod equal_error_rate;
mod items;
mod log_loss;
mod ranking;
mod roc;
mod roc_band;
mod scored_set;
mod video;

pub use accuracy::*;
pub use bootstrap::*;
pub use calibration::*;
pub use clustered::*;
pub use deepfakebench::*;
pub use delong::*;
pub use detection::*;
pub use log_loss::*;
pub use roc::*;
pub use roc_band::*;
pub use scored_set::*;
pub use video::*;
