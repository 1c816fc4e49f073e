//! The nets, their mini-batches and their loss.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    tensor::{
        Device, Distribution, Int, Tensor,
        activation::{log_softmax, relu},
    },
};
use roga::{
    Result,
    detector::backbone::Classifier,
    domain::{DomainBatches, JoinedBatch},
};

pub type Batch = (Tensor<4>, Tensor<1, Int>);

/// 256-256-128-2: 98,946 parameters.
#[derive(Module, Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
    head: Linear,
}

impl Mlp {
    /// The channels and sides of what it takes for a picture.
    pub const INPUT: [usize; 3] = [1, 16, 16];

    pub fn new(device: &Device) -> Self {
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self {
            first: linear(256, 256),
            second: linear(256, 128),
            head: linear(128, 2),
        }
    }
}

impl Classifier for Mlp {
    fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4> {
        let hidden = relu(self.first.forward(pictures.flatten::<2>(1, 3)));
        let hidden = relu(self.second.forward(hidden));
        hidden.unsqueeze_dims(&[2, 3])
    }

    fn head(&self) -> &Linear {
        &self.head
    }

    fn pool(&self, map: Tensor<4>) -> Tensor<2> {
        map.flatten(1, 3)
    }
}

/// As many domains, of as many random pictures each.
pub fn batches(
    device: &Device,
    [domains, pictures]: [usize; 2],
    [channels, height, width]: [usize; 3],
) -> Result<DomainBatches<Batch>> {
    device.seed(1);
    let noise = Distribution::Normal(0.0, 1.0);
    DomainBatches::unnamed((0..domains).map(|_| {
        let pixels = Tensor::random([pictures, channels, height, width], noise, device);
        let labels = Tensor::<1, Int>::arange(0..pictures as i64, device) % 2;
        (pixels, labels)
    }))
}

fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&logits.device())
        .forward(logits, labels)
}

pub fn loss<N: Classifier>(net: &N, (pixels, labels): &Batch) -> Tensor<1> {
    cross_entropy(net.forward(pixels.clone()), labels.clone())
}

pub fn joined_loss<N: Classifier>(net: &N, joined: &JoinedBatch<Batch>) -> Tensor<1> {
    let (pixels, labels) = joined.batch();
    let of_label = log_softmax(net.forward(pixels.clone()), 1);
    let of_label = of_label.gather(1, labels.clone().unsqueeze_dim(1));
    joined.means(of_label.squeeze_dim::<1>(1).neg())
}
