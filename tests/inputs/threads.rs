//! What may be handed to other threads and shared among them.

use burn::tensor::Tensor;
use roga::{
    Error, aggregation, alignment, averaging, detector, diagnostic, domain, gradient, metric,
    optim, parallel, search,
};

fn shared<T: Send + Sync>() {}

macro_rules! shared {
    ($($type:ty),* $(,)?) => { $(shared::<$type>();)* };
}

/// The items and batches of the tests.
type Rows = Tensor<2>;

/// All that holds no gradient of burn's, which is not: what is asserted is that it compiles.
#[test]
fn everything_is_send_and_sync() {
    shared!(
        Error,
        aggregation::Aggregation,
        aggregation::AggregationState,
        aggregation::DomainStatistics<'_>,
        alignment::Alignment,
        alignment::AlignmentConfig,
        averaging::AverageRecord,
        averaging::ExponentialMovingAverage,
        averaging::Swad,
        diagnostic::Conflict,
        diagnostic::Landscape,
        diagnostic::LandscapeConfig,
        diagnostic::Sharpness,
        domain::DomainBatches<Rows>,
        domain::DomainDataLoader<f32, Rows>,
        domain::GroupSplit<String>,
        domain::JoinedBatch<Rows>,
        domain::JoinedDataLoader<Rows>,
        domain::LeaveOneDomainOut,
        domain::MicroBatches<Rows>,
        domain::Protocol,
        domain::Seeds,
        domain::Selection,
        gradient::GramMatrix,
        metric::Bootstrap,
        metric::Calibration,
        metric::ClusteredDeLong,
        metric::DeLong,
        metric::DetectionMetrics,
        metric::Roc,
        metric::RocBand,
        metric::VideoScores,
        optim::Fish,
        optim::FishReport,
        optim::RobustGradient,
        optim::RobustGradientAlignment,
        optim::RobustGradientAlignmentConfig,
        optim::RobustGradientAlignmentRecord,
        optim::StepReport,
        parallel::MSharpnessReport,
        parallel::ParallelGradient,
        parallel::ParallelReport,
        search::Cost,
        search::HyperParameters,
        search::SearchSpace,
    );
    shared!(
        detector::InMemFaces,
        detector::augment::AugmentConfig,
        detector::backbone::Backbone,
        detector::backbone::ConvNext,
        detector::backbone::EfficientNet,
        detector::backbone::FrequencyNet,
        detector::backbone::ResNet,
        detector::backbone::Xception,
        detector::compression::Compression,
        detector::data::Listing,
        detector::data::PictureSet,
        detector::data::VideoConfig,
        detector::dataset::DomainConfig,
        detector::dataset::Sample,
        detector::encode::EncodeConfig,
        detector::explain::HeatMap,
        detector::faces::Face,
        detector::faces::Faces,
        detector::forgery::Forgery,
        detector::gallery::Gallery,
        detector::landmark::Landmarks,
        detector::portrait::Portraits,
    );
    #[cfg(feature = "train")]
    shared!(
        roga::train::DetectionMetric,
        roga::train::RobustTrainStep,
        roga::train::StepMetric,
        roga::train::StepOutput,
    );
}
