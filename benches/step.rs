//! What a step costs beside its forward and backward passes.
//!
//! ResNet-18, four domains of eight pictures of 64 pixels, AdamW. `whole` is a step; `own` is the
//! same step with a closure that hands over stored gradients, so that everything but forward and
//! backward remains: inner products, perturbed copies, sums, the report, the wait for the device
//! and the base optimizer. `base` is the base optimizer's step alone.
//!
//!     cargo bench --bench step

use std::{hint::black_box, time::Duration};

use burn::{
    nn::loss::CrossEntropyLossConfig,
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Distribution, Int, Tensor},
};
use criterion::{Criterion, criterion_group, criterion_main};
use roga::{
    detector::backbone::{Classifier, ResNet, ResNetConfig},
    domain::DomainBatches,
    gradient,
    optim::{Evaluation, RobustGradientAlignmentConfig as Config},
};

type Batch = (Tensor<4>, Tensor<1, Int>);

fn loss(net: &ResNet, (pictures, labels): &Batch) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&pictures.device())
        .forward(net.forward(pictures.clone()), labels.clone())
}

fn step(c: &mut Criterion) {
    let device = Device::flex().autodiff();
    let mut net = ResNetConfig::resnet18(2)
        .init(&device)
        .expect("the sizes are valid");
    let batch = || {
        let pictures = Tensor::random([8, 3, 64, 64], Distribution::Default, &device);
        (pictures, Tensor::<1, Int>::zeros([8], &device))
    };
    let domains = DomainBatches::unnamed((0..4).map(|_| batch())).expect("there are four domains");
    let stored: Vec<(Tensor<1>, GradientsParams)> = domains
        .iter()
        .map(|(_, batch)| {
            let loss = loss(&net, batch);
            let gradients = GradientsParams::from_grads(loss.backward(), &net);
            (loss.inner(), gradients)
        })
        .collect();
    let indices = DomainBatches::unnamed(0..4usize).expect("there are four domains");
    let handed_over = |net: &ResNet, domain: &usize| {
        let (loss, gradients) = &stored[*domain];
        (loss.clone(), gradient::combine(net, &[(1.0, gradients)]))
    };

    let mut group = c.benchmark_group("step/resnet18/4x8x64px");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(10));
    for (name, config) in [
        ("erm", Config::erm()),
        (
            "sampled",
            Config::new().with_evaluation(Evaluation::Sampled),
        ),
        ("all", Config::new()),
        ("all/report off", Config::new().with_report(false)),
    ] {
        let init = || {
            config
                .init(AdamWConfig::new().init())
                .expect("the settings are valid")
        };
        let mut optim = init();
        group.bench_function(format!("{name}/whole"), |b| {
            b.iter(|| black_box(optim.step(1e-6, &mut net, &domains, loss)))
        });
        let mut optim = init();
        group.bench_function(format!("{name}/own"), |b| {
            b.iter(|| black_box(optim.step(1e-6, &mut net, &indices, handed_over)))
        });
    }
    let mut base = AdamWConfig::new().init();
    group.bench_function("base", |b| {
        b.iter(|| {
            let gradients = gradient::combine(&net, &[(1.0, &stored[0].1)]);
            net = base.step(1e-6, net.clone(), gradients);
        })
    });
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
