//! A small convolutional net as a model of burn-train.

use burn::{
    module::Module,
    nn::{
        GroupNorm, GroupNormConfig, Linear, LinearConfig, PaddingConfig2d, Relu,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig},
    },
    tensor::{Device, Tensor},
    train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep},
};
use roga::{
    domain::DomainBatches,
    train::{RobustTrainStep, StepOutput},
};

use crate::data::{Batch, CLASSES};

#[derive(Module, Debug)]
pub struct Net {
    first: Conv2d,
    norm: GroupNorm,
    second: Conv2d,
    pool: AdaptiveAvgPool2d,
    head: Linear,
    #[module(skip)]
    robust: RobustTrainStep,
}

impl Net {
    pub fn new(robust: RobustTrainStep, device: &Device) -> Self {
        Self {
            first: Conv2dConfig::new([1, 12], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            norm: GroupNormConfig::new(4, 12).init(device),
            second: Conv2dConfig::new([12, 24], [3, 3])
                .with_stride([2, 2])
                .init(device),
            pool: AdaptiveAvgPool2dConfig::new([2, 2]).init(),
            head: LinearConfig::new(24 * 4, CLASSES).init(device),
            robust,
        }
    }

    pub fn forward(&self, pictures: Tensor<4>) -> Tensor<2> {
        let x = Relu.forward(self.norm.forward(self.first.forward(pictures)));
        let x = self.pool.forward(Relu.forward(self.second.forward(x)));
        self.head.forward(x.flatten(1, 3))
    }

    fn classify(&self, batch: &Batch) -> ClassificationOutput {
        let logits = self.forward(batch.pictures.clone());
        let loss = CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(logits.clone(), batch.classes.clone());
        ClassificationOutput::new(loss, logits, batch.classes.clone())
    }
}

/// All there is of robust gradient alignment.
impl TrainStep for Net {
    type Input = DomainBatches<Batch>;
    type Output = StepOutput;

    fn step(&self, domains: DomainBatches<Batch>) -> TrainOutput<StepOutput> {
        self.robust
            .step(self, &domains, |net, batch| net.classify(batch).loss)
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.classify(&batch)
    }
}
