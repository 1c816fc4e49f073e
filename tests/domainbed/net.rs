//! The net, the batches and the weights of DomainBed's trajectories.

use burn::{
    module::{Module, Param},
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamConfig, ModuleOptimizer},
    tensor::{Device, Int, Tensor, TensorData, activation::relu},
};
use roga::domain::DomainBatches;

use crate::{fishr::AtHead, reference::Reference};

/// The layers of [`Net`] by their names in the file.
const LAYERS: [&str; 4] = ["0.input", "0.hiddens.0", "0.output", "1"];

pub const LEARNING_RATE: f64 = 1e-2;

pub fn adam() -> ModuleOptimizer {
    AdamConfig::new().with_epsilon(1e-8).init()
}

#[derive(Module, Debug)]
pub struct Net {
    layers: Vec<Linear>,
}

/// The rows of one domain.
#[derive(Debug, Clone)]
pub struct Batch {
    pub x: Tensor<2>,
    pub y: Tensor<1, Int>,
}

impl Net {
    pub fn begin(file: &Reference, device: &Device) -> Self {
        let layer = |name: &&str| {
            let weight = file.tensor::<2>(&format!("init/{name}.weight"), device);
            let [outputs, inputs] = weight.dims();
            let mut layer = LinearConfig::new(inputs, outputs).init(device);
            layer.weight = Param::from_tensor(weight.transpose());
            let bias = file.tensor(&format!("init/{name}.bias"), device);
            layer.bias = Some(Param::from_tensor(bias));
            layer
        };
        Self {
            layers: LAYERS.iter().map(layer).collect(),
        }
    }

    /// Features and logits.
    pub fn at_head(&self, batch: &Batch) -> AtHead {
        let [input, hidden, output, head] = &self.layers[..] else {
            unreachable!("there are four layers")
        };
        let hidden = hidden.forward(relu(input.forward(batch.x.clone())));
        let features = output.forward(relu(hidden));
        AtHead {
            logits: head.forward(features.clone()),
            features,
            labels: batch.y.clone(),
        }
    }

    pub fn loss(&self, batch: &Batch) -> Tensor<1> {
        cross_entropy(&self.at_head(batch))
    }

    /// The largest difference from the weights after a step of a method.
    pub fn difference(&self, file: &Reference, at: &str) -> f32 {
        let mut largest = 0.0f32;
        for (layer, name) in self.layers.iter().zip(LAYERS) {
            let weight = layer.weight.val().transpose().into_data();
            let bias = layer.bias.as_ref().unwrap().val().into_data();
            for (found, part) in [(weight, "weight"), (bias, "bias")] {
                let (expected, _) = file.floats(&format!("{at}/{name}.{part}"));
                assert_eq!(found.num_elements(), expected.len());
                for (found, expected) in found.iter::<f32>().zip(expected) {
                    largest = largest.max((found - expected).abs());
                }
            }
        }
        largest
    }
}

pub fn cross_entropy(at_head: &AtHead) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&at_head.logits.device())
        .forward(at_head.logits.clone(), at_head.labels.clone())
}

/// The batches of every step.
pub fn steps(file: &Reference, device: &Device) -> Vec<DomainBatches<Batch>> {
    let (x, shape) = file.floats("batch/x");
    let [steps, domains, rows, inputs] = shape[..] else {
        panic!("{shape:?}")
    };
    let y = file.integers("batch/y");
    let batch = |step: usize, domain: usize| {
        let at = (step * domains + domain) * rows;
        let y = TensorData::new(y[at..at + rows].to_vec(), [rows]);
        let x = x[at * inputs..(at + rows) * inputs].to_vec();
        Batch {
            x: Tensor::from_data(TensorData::new(x, [rows, inputs]), device),
            y: Tensor::from_data(y, device),
        }
    };
    let step = |step| DomainBatches::unnamed((0..domains).map(|domain| batch(step, domain)));
    (0..steps).map(|place| step(place).unwrap()).collect()
}
