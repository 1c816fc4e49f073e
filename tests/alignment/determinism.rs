//! The same seed, the same bits: however many threads load and compute.

use std::fs;

use burn::{
    data::{
        dataloader::{DataLoader, batcher::Batcher},
        dataset::InMemDataset,
    },
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    optim::AdamWConfig,
    tensor::{Device, Tensor, TensorData, activation::relu},
};
use roga::{
    alignment::AlignmentConfig,
    domain::{DomainDataLoader, DomainDataLoaderBuilder, EpochLength},
    optim::{Evaluation, RobustGradientAlignmentConfig as Config},
};

use crate::{
    problems::{device, values},
    process,
};

/// Large enough that convolutions and matrix products are divided among threads.
#[derive(Module, Debug)]
struct Net {
    first: Conv2d,
    norm: BatchNorm,
    second: Conv2d,
    dropout: Dropout,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let convolution = |channels| {
            let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
            let config = Conv2dConfig::new(channels, [3, 3]).with_padding(padding);
            config.init(device)
        };
        Self {
            first: convolution([3, 16]),
            norm: BatchNormConfig::new(16).init(device),
            second: convolution([16, 16]),
            dropout: DropoutConfig::new(0.2).init(),
            head: LinearConfig::new(16 * 16 * 16, 64).init(device),
        }
    }

    fn loss(&self, pictures: &Tensor<4>) -> Tensor<1> {
        let hidden = relu(self.norm.forward(self.first.forward(pictures.clone())));
        let hidden = self.dropout.forward(relu(self.second.forward(hidden)));
        let scores = self.head.forward(hidden.flatten::<2>(1, 3));
        (scores - 0.5).square().mean()
    }

    /// Parameters and running statistics.
    fn bytes(&self) -> Vec<u8> {
        let net = self.valid();
        let numbers = [
            values(&net.first.weight.val()),
            values(&net.norm.gamma.val()),
            values(&net.norm.running_mean.value()),
            values(&net.norm.running_var.value()),
            values(&net.second.weight.val()),
            values(&net.head.weight.val()),
        ];
        numbers
            .concat()
            .into_iter()
            .flat_map(f32::to_le_bytes)
            .collect()
    }
}

#[derive(Clone)]
struct Stack;

impl Batcher<f32, Tensor<4>> for Stack {
    fn batch(&self, items: Vec<f32>, device: &Device) -> Tensor<4> {
        let pixel =
            |item: f32| (0..3 * 16 * 16).map(move |place| (item + 0.37 * place as f32).sin());
        let pixels: Vec<f32> = items.iter().flat_map(|item| pixel(*item)).collect();
        Tensor::from_data(TensorData::new(pixels, [items.len(), 3, 16, 16]), device)
    }
}

fn loader(workers: usize) -> DomainDataLoader<f32, Tensor<4>> {
    let items =
        |domain: usize| InMemDataset::new((0..20).map(|i| (i * (domain + 1)) as f32).collect());
    (0..3)
        .fold(DomainDataLoaderBuilder::new(Stack), |builder, domain| {
            builder.domain(format!("{domain}"), items(domain))
        })
        .batch_size(8)
        .seed(3)
        .num_workers(workers)
        .epoch(EpochLength::Steps(4))
        .augment(|item, random| item + (random % 7) as f32)
        .set_device(device())
        .build()
        .unwrap()
}

/// The bits of a training's end, and of everything that was reported on the way.
fn trained(config: &Config, workers: usize) -> Vec<u8> {
    let device = device();
    device.seed(11);
    let mut net = Net::new(&device);
    let mut optim = config.init(AdamWConfig::new().init()).unwrap();
    let mut bytes = Vec::new();
    for domains in loader(workers).iter() {
        let loss = |net: &Net, pictures: &Tensor<4>| net.loss(pictures);
        let report = optim.step(1e-3, &mut net, &domains.unwrap(), loss).unwrap();
        bytes.extend(format!("{report:?}").into_bytes());
    }
    bytes.extend(net.bytes());
    bytes
}

fn configs() -> [Config; 4] {
    let own = Config::new().with_evaluation(Evaluation::Own);
    [
        Config::new(),
        own.clone().with_noise_seed(Some(5)),
        Config::upgrad(),
        own.with_alignment(Some(AlignmentConfig::cosine(0.1))),
    ]
}

/// Random numbers of a device are those of the whole process, and `RAYON_NUM_THREADS` is read once:
/// each training has a process of its own.
#[test]
fn threads_that_load_or_compute_change_no_bit() {
    const NAME: &str = "determinism::threads_that_load_or_compute_change_no_bit";
    if let Some((part, folder)) = process::part() {
        let (_, workers) = part.split_once('-').unwrap();
        let workers = workers.parse().unwrap();
        let trained: Vec<Vec<u8>> = configs().iter().map(|c| trained(c, workers)).collect();
        for (place, bytes) in trained.iter().enumerate() {
            assert!(
                !trained[..place].contains(bytes),
                "two methods are the same"
            );
        }
        return fs::write(folder.join(part), trained.concat()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let parts = ["1-0", "1-2", "2-1", "2-5"];
    let ends = parts.map(|part| {
        let (threads, _) = part.split_once('-').unwrap();
        process::run_with(NAME, part, folder.path(), &[("RAYON_NUM_THREADS", threads)]);
        fs::read(folder.path().join(part)).unwrap()
    });
    for (part, end) in parts.iter().zip(&ends) {
        assert!(!end.is_empty() && *end == ends[0], "{part} ends otherwise");
    }
}
