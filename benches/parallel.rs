//! The time of a step divided among devices, against the step on one.
//!
//! On the CPU a device is a thread: how much two of them gain depends on what is left of the cores
//! by one pass, whose products of matrices already use all of them. `RAYON_NUM_THREADS=1` gives each
//! device one core.
//!
//!     RAYON_NUM_THREADS=1 cargo bench --bench parallel

use std::{hint::black_box, time::Duration};

use burn::{
    nn::loss::CrossEntropyLossConfig,
    tensor::{Device, Distribution, Int, Tensor},
};
use criterion::{Criterion, criterion_group, criterion_main};
use roga::{
    detector::backbone::{Classifier, ResNet, ResNetConfig},
    domain::DomainBatches,
    optim::{Evaluation, RobustGradientAlignmentConfig as Config},
    parallel::ParallelGradient,
};

type Batch = (Tensor<4>, Tensor<1, Int>);

fn loss(net: &ResNet, (pictures, labels): &Batch) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&pictures.device())
        .forward(net.forward(pictures.clone()), labels.clone())
}

fn step(c: &mut Criterion) {
    let device = Device::flex().autodiff();
    let net = ResNetConfig::resnet18(2)
        .init(&device)
        .expect("the sizes are valid");
    let batch = |_| {
        let pictures = Tensor::random([8, 3, 64, 64], Distribution::Default, &device);
        (pictures, Tensor::<1, Int>::zeros([8], &device))
    };
    let domains = DomainBatches::unnamed((0..4).map(batch)).expect("there are four domains");
    let mut group = c.benchmark_group("parallel");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    let own = Config::new().with_evaluation(Evaluation::Own);
    for (name, config) in [("erm", Config::erm()), ("own", own)] {
        let config = config.with_report(false);
        for count in [1, 2] {
            let gradient = config.init_gradient().expect("valid settings");
            let devices = vec![device.clone(); count];
            let gradient = ParallelGradient::new(gradient, devices).expect("a device");
            group.bench_function(format!("{name}, {count}"), |bencher| {
                bencher.iter(|| black_box(gradient.domain_parallel(&net, &domains, loss)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
