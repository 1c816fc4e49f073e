//! A step on the devices of two processes against the step on one device.

use burn::{
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use roga::{
    aggregation::PcGrad,
    optim::{
        Aggregated, AggregationConfig, Evaluation, RobustGradientAlignmentConfig as Config,
        StepReport,
    },
    parallel::{ParallelGradient, Traffic},
};

mod common;

#[path = "../../parallel/batches.rs"]
mod of_devices;

use common::{Server, problems};
use of_devices::parts;
use problems::{Batch, EVALUATIONS, Mlp, assert_close, batches, momentum};

fn loss(net: &Mlp, batch: &Batch) -> Tensor<1> {
    net.loss(batch)
}

fn settings() -> Vec<Config> {
    let of = |evaluation| {
        let config = Config::new().with_rho(0.3).with_gamma(0.05);
        config.with_evaluation(evaluation)
    };
    let pcgrad = AggregationConfig::new(PcGrad::default().into()).with_of(Aggregated::Both);
    let mut settings = vec![
        Config::erm(),
        Config::sagm(0.3, 0.05),
        Config::asam(0.3),
        of(Evaluation::Own).with_gamma(0.0),
        of(Evaluation::Own).with_aggregation(Some(pcgrad)),
    ];
    settings.extend(EVALUATIONS.map(of));
    let quiet: Vec<_> = settings
        .iter()
        .cloned()
        .map(|config| config.with_report(false))
        .collect();
    settings.extend(quiet);
    settings
}

/// Three steps from the same weights: where they end.
fn training(
    device: &Device,
    mut gradients: impl FnMut(&Mlp, usize) -> (GradientsParams, StepReport),
) -> Vec<f32> {
    let mut net = Mlp::new(device);
    let mut base = momentum();
    for step in 0..3 {
        let (found, report) = gradients(&net, step);
        assert!(!report.is_skipped(), "{:?}", report.outcome);
        net = base.step(0.1, net, found);
    }
    net.values()
}

fn alone(config: &Config) -> Vec<f32> {
    let device = Device::flex().autodiff();
    let gradient = config.init_gradient().unwrap();
    training(&device, |net, step| {
        gradient
            .gradients(net, &batches(step, &device), loss)
            .unwrap()
    })
}

/// By all ways to divide a step over these devices, the first of which has the model.
fn divided(devices: &[Device]) {
    let first = &devices[0];
    for config in settings() {
        let expected = alone(&config);
        let gradient = config.init_gradient().unwrap();
        let gradient = ParallelGradient::new(gradient, devices.to_vec()).unwrap();
        let mut moved = Traffic::default();
        let by_domain = training(first, |net, step| {
            let (gradients, report) = gradient
                .domain_parallel(net, &batches(step, first), loss)
                .unwrap();
            moved = report.traffic;
            (gradients, report.step)
        });
        assert_close(&by_domain, &expected, 1e-5);
        assert!(moved.sent > 0 && moved.received > 0);

        let gradient = config.init_gradient().unwrap();
        let gradient = ParallelGradient::new(gradient, devices.to_vec()).unwrap();
        let by_data = training(first, |net, step| {
            let domains = parts(batches(step, first), 2);
            let (gradients, report) = gradient.data_parallel(net, &domains, loss).unwrap();
            (gradients, report.step)
        });
        assert_close(&by_data, &expected, 1e-5);
    }
}

#[test]
fn a_device_of_this_process_and_one_of_another() {
    let server = Server::start(1);
    divided(&[Device::flex().autodiff(), server.device(0)]);
}

#[test]
fn two_devices_of_another_process() {
    let server = Server::start(2);
    divided(&[server.device(0), server.device(1)]);
}

#[test]
fn devices_of_two_other_processes() {
    let servers = [Server::start(1), Server::start(1)];
    divided(&servers.each_ref().map(|server| server.device(0)));
}
