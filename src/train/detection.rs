use std::sync::Arc;

use burn::{
    tensor::{
        Int, Tensor, TensorReadError, Transaction,
        activation::{sigmoid, softmax},
    },
    train::{
        ClassificationOutput,
        metric::{
            Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric,
            NumericAttributes, NumericEntry, SerializedEntry,
        },
    },
};
use burn_std::ExecutionError;

use super::metric::number;
use crate::{
    Result,
    metric::{Calibration, Roc, accuracy, log_loss},
};

/// What a [`DetectionMetric`] is computed from: a batch of scores and labels.
///
/// burn's `ClassificationOutput` is adapted to it as [`from_logits`](Self::from_logits) says; another
/// output implements `Adaptor<DetectionInput>`.
#[derive(Clone, Debug)]
pub struct DetectionInput {
    scores: Tensor<1>,
    labels: Tensor<1, Int>,
}

impl DetectionInput {
    /// Of scores `[batch]`, the higher the more positive, and labels `[batch]`, of which 0 is
    /// negative and any other positive.
    pub fn new(scores: Tensor<1>, labels: Tensor<1, Int>) -> Self {
        Self {
            scores: scores.without_autodiff(),
            labels: labels.without_autodiff(),
        }
    }

    /// Of a detector's logits `[batch, classes]` and the classes `[batch]`, of which 0 is real.
    ///
    /// The score is the probability of being forged: the softmax of all classes but 0; of a single
    /// logit its sigmoid.
    pub fn from_logits(logits: Tensor<2>, classes: Tensor<1, Int>) -> Self {
        let logits = logits.without_autodiff();
        let scores = match logits.dims()[1] {
            0 | 1 => sigmoid(logits),
            // Not one less the probability of class 0, which would round small ones to 0.
            count => softmax(logits, 1).narrow(1, 1, count - 1).sum_dim(1),
        };
        Self::new(scores.flatten(0, 1), classes)
    }
}

impl Adaptor<DetectionInput> for ClassificationOutput {
    /// Its output must be logits.
    fn adapt(&self) -> DetectionInput {
        DetectionInput::from_logits(self.output.clone(), self.targets.clone())
    }
}

/// A metric of [`crate::metric`] on the dashboard of burn's `Learner` and in its evaluation, over
/// all items of an epoch.
///
/// None is the mean of its batches' values: all scores are kept until the end of the epoch, and a
/// batch has no value. Values are shares of 1, not percent. They are exact, as on
/// [`crate::metric`].
///
/// **What is not defined is an error.** An epoch with no item, items of one class only, a score that
/// is not a number, or no probability where one is needed stops the training or the evaluation with
/// an error that says so, in `LearningResult::error`; burn's own AUROC would be 0.5. So may a
/// training that is interrupted within such a split.
///
/// ```no_run
/// # use burn::train::{ClassificationOutput, InferenceStep, LearnerModel, SupervisedTraining};
/// use roga::train::DetectionMetric;
///
/// # fn register<M: LearnerModel + InferenceStep<Output = ClassificationOutput>>(
/// #     training: SupervisedTraining<M>,
/// # ) -> roga::Result<SupervisedTraining<M>> {
/// # Ok(
/// training
///     .metric_valid_numeric(DetectionMetric::auc())
///     .metric_valid_numeric(DetectionMetric::equal_error_rate())
///     .metric_valid_numeric(DetectionMetric::tpr_at_fpr(0.01)?)
/// # )
/// # }
/// ```
#[derive(Clone)]
pub struct DetectionMetric {
    name: MetricName,
    description: &'static str,
    higher_is_better: bool,
    of: Arc<Of>,
    batches: Vec<DetectionInput>,
    value: Option<f64>,
}

type Of = dyn Fn(&[f64], &[bool]) -> Result<f64> + Send + Sync;

impl DetectionMetric {
    /// [`Roc::auc`].
    pub fn auc() -> Self {
        let of = |scores: &[f64], labels: &[bool]| Ok(Roc::new(scores, labels)?.auc());
        Self::new("AUC", "area under the ROC curve", true, of)
    }

    /// [`Roc::average_precision`].
    pub fn average_precision() -> Self {
        let of =
            |scores: &[f64], labels: &[bool]| Ok(Roc::new(scores, labels)?.average_precision());
        let description = "area under the precision-recall curve, as a sum of steps";
        Self::new("Average Precision", description, true, of)
    }

    /// [`Roc::equal_error_rate`].
    pub fn equal_error_rate() -> Self {
        let of = |scores: &[f64], labels: &[bool]| Ok(Roc::new(scores, labels)?.equal_error_rate());
        let description = "rate at which both kinds of error are as frequent, interpolated";
        Self::new("Equal Error Rate", description, false, of)
    }

    /// [`Roc::tpr_at_fpr`].
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) where `max_fpr` is not from 0 to 1.
    pub fn tpr_at_fpr(max_fpr: f64) -> Result<Self> {
        let of =
            move |scores: &[f64], labels: &[bool]| Roc::new(scores, labels)?.tpr_at_fpr(max_fpr);
        let description = "true positive rate within a false positive rate";
        Self::new(format!("TPR at FPR {max_fpr}"), description, true, of).checked()
    }

    /// [`accuracy`](crate::metric::accuracy()) at a threshold.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) where the threshold is not a number.
    pub fn accuracy(threshold: f64) -> Result<Self> {
        let of = move |scores: &[f64], labels: &[bool]| accuracy(scores, labels, threshold);
        let description = "share of the items on their side of a threshold";
        Self::new(format!("Accuracy at {threshold}"), description, true, of).checked()
    }

    /// [`log_loss`](crate::metric::log_loss()), in nats. Scores must be probabilities.
    pub fn log_loss() -> Self {
        let description = "mean negative log likelihood of the labels";
        Self::new("Log Loss", description, false, log_loss)
    }

    /// [`Calibration::expected_error`] over bins of equal width. Scores must be probabilities.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) where there are no bins.
    pub fn calibration_error(bins: usize) -> Result<Self> {
        let of = move |scores: &[f64], labels: &[bool]| {
            Ok(Calibration::new(scores, labels, bins)?.expected_error())
        };
        let description = "mean distance of probabilities from frequencies";
        Self::new(
            format!("Calibration Error of {bins} Bins"),
            description,
            false,
            of,
        )
        .checked()
    }

    fn new(
        name: impl Into<String>,
        description: &'static str,
        higher_is_better: bool,
        of: impl Fn(&[f64], &[bool]) -> Result<f64> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: Arc::new(name.into()),
            description,
            higher_is_better,
            of: Arc::new(of),
            batches: Vec::new(),
            value: None,
        }
    }

    /// Refuses a setting now that the metric would refuse at the end of the first epoch.
    fn checked(self) -> Result<Self> {
        (self.of)(&[0.0, 1.0], &[false, true])?;
        Ok(self)
    }

    /// The scores and labels of the epoch so far, in one wait for the device.
    fn read(&self) -> Result<(Vec<f64>, Vec<bool>), TensorReadError> {
        let Some(first) = self.batches.first() else {
            return Ok((Vec::new(), Vec::new()));
        };
        // The workers of several devices hand over tensors of each.
        let device = first.scores.device();
        let batches = || self.batches.iter().cloned();
        let scores = batches().map(|batch| batch.scores.to_device(&device));
        let labels = batches().map(|batch| batch.labels.to_device(&device));
        let mut read = Transaction::default()
            .register(Tensor::cat(scores.collect(), 0))
            .register(Tensor::cat(labels.collect(), 0))
            .try_execute()?
            .into_iter();
        let (Some(scores), Some(labels)) = (read.next(), read.next()) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let labels = labels.try_into_vec_as::<i64>()?;
        let labels = labels.into_iter().map(|label| label != 0).collect();
        Ok((scores.try_into_vec_as::<f64>()?, labels))
    }
}

impl Metric for DetectionMetric {
    type Input = DetectionInput;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn description(&self) -> Option<String> {
        Some(self.description.into())
    }

    fn attributes(&self) -> MetricAttributes {
        let attributes = NumericAttributes {
            unit: None,
            higher_is_better: self.higher_is_better,
        };
        attributes.into()
    }

    fn update(
        &mut self,
        input: &DetectionInput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.batches.push(input.clone());
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        let (scores, labels) = self.read()?;
        // The only error that burn's metrics have.
        let value = (self.of)(&scores, &labels).map_err(|error| ExecutionError::WithContext {
            reason: error.to_string(),
        })?;
        self.value = Some(value);
        let formatted = format!(
            "epoch {} - batch {}",
            number(value),
            SerializedEntry::NOT_AVAILABLE
        );
        Ok(SerializedEntry::new(
            formatted,
            self.final_value().serialize(),
        ))
    }

    fn clear(&mut self) {
        self.batches.clear();
        self.value = None;
    }
}

impl Numeric for DetectionMetric {
    fn value(&self) -> Option<NumericEntry> {
        None
    }

    fn running_value(&self) -> Option<NumericEntry> {
        None
    }

    /// Not a number before the end of the epoch.
    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.value.unwrap_or(f64::NAN))
    }
}

impl std::fmt::Debug for DetectionMetric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DetectionMetric")
            .field("name", &self.name)
            .field("batches", &self.batches.len())
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use burn::{data::dataloader::Progress, tensor::Device};

    use super::*;
    use crate::Error;

    fn metadata() -> MetricMetadata {
        MetricMetadata {
            progress: Progress::new(0, 1, None),
            iteration: None,
            lr: None,
        }
    }

    fn batch(scores: &[f32], labels: &[i32]) -> DetectionInput {
        let device = Device::flex();
        DetectionInput::new(
            Tensor::from_floats(scores, &device),
            Tensor::from_ints(labels, &device),
        )
    }

    fn all() -> Vec<DetectionMetric> {
        vec![
            DetectionMetric::auc(),
            DetectionMetric::average_precision(),
            DetectionMetric::equal_error_rate(),
            DetectionMetric::tpr_at_fpr(0.5).unwrap(),
            DetectionMetric::accuracy(0.5).unwrap(),
            DetectionMetric::log_loss(),
            DetectionMetric::calibration_error(10).unwrap(),
        ]
    }

    /// Batches of one class each: no mean of their values could be the epoch's.
    #[test]
    fn of_an_epoch_and_not_of_its_batches() {
        let (scores, labels) = ([0.25, 0.5, 0.5, 0.75], [false, false, true, true]);
        let roc = Roc::new(&scores, &labels).unwrap();
        let expected = [
            roc.auc(),
            roc.average_precision(),
            roc.equal_error_rate(),
            roc.tpr_at_fpr(0.5).unwrap(),
            accuracy(&scores, &labels, 0.5).unwrap(),
            log_loss(&scores, &labels).unwrap(),
            Calibration::new(&scores, &labels, 10)
                .unwrap()
                .expected_error(),
        ];
        for (mut metric, expected) in all().into_iter().zip(expected) {
            for epoch in 0..2 {
                for input in [
                    batch(&[0.25, 0.5], &[0, 0]),
                    batch(&[0.5], &[1]),
                    batch(&[0.75], &[3]),
                ] {
                    let entry = metric.update(&input, &metadata()).unwrap();
                    assert!(entry.is_not_available());
                    assert!(metric.value().is_none() && metric.running_value().is_none());
                }
                let entry = metric.compute().unwrap();
                assert_eq!(
                    metric.final_value().current(),
                    expected,
                    "{epoch} {metric:?}"
                );
                assert_eq!(entry.serialized, format!("{expected},final"));
                metric.clear();
                assert!(metric.final_value().current().is_nan());
            }
        }
    }

    #[test]
    fn what_is_not_defined_is_an_error() {
        let reason = |mut metric: DetectionMetric, batches: &[DetectionInput]| {
            for input in batches {
                metric.update(input, &metadata()).unwrap();
            }
            metric.compute().unwrap_err().to_string()
        };
        for metric in all() {
            let empty = reason(metric.clone(), &[]);
            assert!(empty.contains("there are no scores"), "{empty}");
            let one = reason(
                metric.clone(),
                &[batch(&[0.1, 0.2], &[1, 1]), batch(&[0.3], &[1])],
            );
            assert!(one.contains("all 3 labels are positive"), "{one}");
            let nan = reason(metric, &[batch(&[0.1, f32::NAN], &[0, 1])]);
            assert!(nan.contains("score 1 is not a number"), "{nan}");
        }
        let logit = reason(DetectionMetric::log_loss(), &[batch(&[-3.0, 2.0], &[0, 1])]);
        assert!(
            logit.contains("must be a probability from 0 to 1, but is -3"),
            "{logit}"
        );
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (refused, expected) in [
            (DetectionMetric::tpr_at_fpr(1.5), "max_fpr"),
            (DetectionMetric::accuracy(f64::NAN), "threshold"),
            (DetectionMetric::calibration_error(0), "bins"),
        ] {
            match refused {
                Err(Error::Setting { field, .. }) => assert_eq!(field, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn probabilities_of_logits() {
        let device = Device::flex().autodiff();
        let scores = |logits: Tensor<2>| {
            let classes = Tensor::from_ints([0, 1], &device);
            let loss = Tensor::from_floats([0.0], &device);
            let output = ClassificationOutput::new(loss, logits, classes);
            let input: DetectionInput = output.adapt();
            let scores = input.scores.into_data();
            scores.try_into_vec_as::<f64>().unwrap()
        };
        let close = |found: Vec<f64>, expected: [f64; 2]| {
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
            }
        };
        // e^-20 of two classes, which one less the other would lose.
        let two = scores(Tensor::from_floats(
            [[20.0, 0.0], [0.0, 3f32.ln()]],
            &device,
        ));
        close(two, [(-20f64).exp(), 0.75]);
        let one = scores(Tensor::from_floats([[0.0], [3f32.ln()]], &device));
        close(one, [0.5, 0.75]);
        let four = scores(Tensor::from_floats(
            [[0.0; 4], [0.0, 0.0, 0.0, 2f32.ln()]],
            &device,
        ));
        close(four, [0.75, 0.8]);
    }
}
