//! Ten updates of DomainBed's own algorithms (facebookresearch/DomainBed at b93c22a1), on its MLP
//! with a linear head.

use burn::{
    module::Module,
    nn::{Linear, loss::CrossEntropyLossConfig},
    optim::{AdamConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor, activation::relu},
};
use roga::aggregation::{AggregationState, Aggregator, AndMask, GroupDro, Mean, VRex, aggregate};

use crate::{
    fishr::AtHead,
    problems::{assert_close, device, values},
    reference::{Reference, Rows},
};

pub const FILE: &str = "reference_domainbed_f32";
pub const TOLERANCE: f32 = 1e-5;
pub const LEARNING_RATE: f64 = 1e-2;

const LAYERS: [&str; 4] = ["0.input", "0.hiddens.0", "0.output", "1"];

/// The featurizer, 4-6-6-6 with ReLU between its layers, and the head.
#[derive(Module, Debug)]
pub struct Net {
    layers: Vec<Linear>,
}

impl Net {
    pub fn new(reference: &Reference, device: &Device) -> Self {
        let layer = |name| {
            let [weight, bias] = ["weight", "bias"].map(|part| format!("init/{name}.{part}"));
            reference.linear(&weight, &bias, device)
        };
        Self {
            layers: LAYERS.map(layer).into(),
        }
    }

    /// What the head is given and gives.
    pub fn at_head(&self, (x, y): &Rows) -> AtHead {
        let [input, hidden, output, head] = &self.layers[..] else {
            panic!("the net has {} layers", self.layers.len());
        };
        let hidden = hidden.forward(relu(input.forward(x.clone())));
        let features = output.forward(relu(hidden));
        AtHead {
            logits: head.forward(features.clone()),
            features,
            labels: y.clone(),
        }
    }

    pub fn loss(&self, rows: &Rows) -> Tensor<1> {
        cross_entropy(&self.at_head(rows))
    }

    /// That the parameters are those of an algorithm after a step.
    #[track_caller]
    pub fn check(&self, reference: &Reference, algorithm: &str, step: usize) {
        for (name, layer) in LAYERS.iter().zip(&self.valid().layers) {
            let weight = values(&layer.weight.val().transpose());
            let bias = values(&layer.bias.as_ref().unwrap().val());
            for (part, values) in [("weight", weight), ("bias", bias)] {
                let path = format!("{algorithm}/step{step}/{name}.{part}");
                assert_close(&values, &reference.floats(&path).0, TOLERANCE);
            }
        }
    }
}

pub fn cross_entropy(at_head: &AtHead) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&at_head.logits.device())
        .forward(at_head.logits.clone(), at_head.labels.clone())
}

pub fn adam() -> ModuleOptimizer {
    AdamConfig::new().with_epsilon(1e-8).init()
}

/// A loop that makes its passes by itself. At `new_adam_at`, the optimizer is made anew.
fn follow(algorithm: &str, aggregator: &dyn Aggregator, new_adam_at: Option<usize>) {
    let device = device();
    let reference = Reference::open(FILE);
    let mut net = Net::new(&reference, &device);
    let mut optim = adam();
    let mut state = AggregationState::default();
    for (step, domains) in reference.batches(&device).iter().enumerate() {
        if new_adam_at == Some(step) {
            optim = adam();
        }
        let losses: Vec<Tensor<1>> = domains.iter().map(|rows| net.loss(rows)).collect();
        let gradients: Vec<GradientsParams> = losses
            .iter()
            .map(|loss| GradientsParams::from_grads(loss.backward(), &net))
            .collect();
        let weights = vec![1.0 / domains.len() as f64; domains.len()];
        let gradient = aggregate(aggregator, &mut state, &net, &weights, &losses, &gradients);
        net = optim.step(LEARNING_RATE, net, gradient.unwrap());
        net.check(&reference, algorithm, step);
    }
    assert_eq!(state.step, 10);
}

#[test]
fn erm() {
    follow("ERM", &Mean, None);
}

#[test]
fn group_dro() {
    follow("GroupDRO", &GroupDro { eta: 0.1 }, None);
}

#[test]
fn v_rex() {
    let method = VRex {
        lambda: 10.0,
        anneal_steps: 5,
    };
    follow("VREx", &method, Some(5));
}

#[test]
fn and_mask() {
    follow("ANDMask", &AndMask { tau: 1.0 }, None);
}
