//! Detection metrics inside burn's `Learner`.

use std::{fs, path::Path, sync::Arc};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    lr_scheduler::constant::ConstantLr,
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::SgdConfig,
    tensor::{Device, Int, Tensor},
    train::{
        ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, LearningResult,
        MultiDeviceOptim, SupervisedTraining, TrainOutput, TrainStep, metric::NumericEntry,
    },
};
use roga::{
    metric::{Roc, log_loss},
    train::DetectionMetric,
};

/// A feature and a class.
type Row = (f32, i32);
type Batch = (Tensor<2>, Tensor<1, Int>);

#[derive(Clone)]
struct Stack;

impl Batcher<Row, Batch> for Stack {
    fn batch(&self, rows: Vec<Row>, device: &Device) -> Batch {
        let (features, classes): (Vec<f32>, Vec<i32>) = rows.into_iter().unzip();
        let features = Tensor::<1>::from_floats(&features[..], device).unsqueeze_dim(1);
        (features, Tensor::from_ints(&classes[..], device))
    }
}

#[derive(Module, Debug)]
struct Net {
    linear: Linear,
}

impl Net {
    fn forward(&self, (features, classes): Batch) -> ClassificationOutput {
        let logits = self.linear.forward(features);
        let loss = CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(logits.clone(), classes.clone());
        ClassificationOutput::new(loss, logits, classes)
    }
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.forward(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.forward(batch)
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// The classes overlap, and come one after the other: most batches are of one class.
fn rows() -> Vec<Row> {
    let row = |item: i32| {
        let class = i32::from(item >= 12);
        ((2.3 * item as f32).sin() + 0.7 * class as f32, class)
    };
    (0..20).map(row).collect()
}

fn loader(rows: Vec<Row>) -> Arc<dyn DataLoader<Batch>> {
    DataLoaderBuilder::new(Stack)
        .batch_size(4)
        .set_device(device())
        .build(InMemDataset::new(rows))
}

fn launch(strategy: ExecutionStrategy, valid: Vec<Row>, directory: &Path) -> LearningResult<Net> {
    let training = SupervisedTraining::<Net>::new(directory, loader(rows()), loader(valid))
        .metric_train_numeric(DetectionMetric::auc())
        .metric_valid_numeric(DetectionMetric::auc())
        .metric_valid_numeric(DetectionMetric::log_loss())
        .metric_valid_numeric(DetectionMetric::tpr_at_fpr(0.1).unwrap())
        .with_application_logger(None)
        .with_training_strategy(strategy.into())
        .num_epochs(1);
    let net = Net {
        linear: LinearConfig::new(1, 2).init(&device()),
    };
    let optimizer = SgdConfig::new().init();
    training.launch(Learner::new(net, optimizer, ConstantLr::new(0.1)))
}

/// The value of the first epoch.
fn logged(directory: &Path, split: &str, name: &str) -> f64 {
    let path = directory
        .join(split)
        .join("epoch-1")
        .join(format!("{name}.log"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let last = text.lines().last().expect("a line");
    match NumericEntry::deserialize(last) {
        Ok(NumericEntry::Final(value)) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_dashboard_has_the_metric_of_the_whole_epoch() {
    for strategy in [
        ExecutionStrategy::single(device()),
        ExecutionStrategy::multi(vec![device(); 2], MultiDeviceOptim::OptimMainDevice),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let result = launch(strategy, rows(), directory.path());
        assert!(result.error.is_none(), "{:?}", result.error);

        let (features, _) = Stack.batch(rows(), &device());
        let probabilities =
            burn::tensor::activation::softmax(result.model.linear.forward(features), 1);
        let scores: Vec<f32> = probabilities
            .into_data()
            .iter::<f32>()
            .skip(1)
            .step_by(2)
            .collect();
        let labels: Vec<bool> = rows().iter().map(|(_, class)| *class == 1).collect();
        let roc = Roc::new(&scores, &labels).unwrap();
        assert_ne!(roc.auc(), 0.5);
        let close = |name: &str, expected: f64| {
            let found = logged(directory.path(), "valid", name);
            assert!((found - expected).abs() < 1e-6, "{name} {found} {expected}");
        };
        close("AUC", roc.auc());
        close("Log_Loss", log_loss(&scores, &labels).unwrap());
        close("TPR_at_FPR_0.1", roc.tpr_at_fpr(0.1).unwrap());
        // That of a model that changes from step to step.
        assert!((0.0..=1.0).contains(&logged(directory.path(), "train", "AUC")));
    }
}

#[test]
fn one_class_stops_the_training_with_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let real = rows()
        .into_iter()
        .filter(|(_, class)| *class == 0)
        .collect();
    let result = launch(ExecutionStrategy::single(device()), real, directory.path());
    let error = result.error.expect("an error").to_string();
    assert!(
        error.contains("ROC is not defined: all 12 labels are negative"),
        "{error}"
    );
}
