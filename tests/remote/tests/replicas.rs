//! Steps on a model as a worker under `ExecutionStrategy::ddp` has it: burn marks parameters on devices that
//! can have collectives alone, and remote ones are such. What serves them has none here, so that nothing
//! comes from another replica.

use burn::train::Interrupter;
use roga::{
    domain::DomainBatches,
    optim::RobustGradientAlignmentConfig as Config,
    train::{Replicas, RobustTrainStep},
};

mod common;

use common::{
    Server, marked,
    problems::{Batch, Mlp, batches, values},
};

/// The gradient of a step, every parameter's numbers or none, and whether the passes were on marked parameters;
/// or the error that has stopped the training.
fn step(
    net: &Mlp,
    domains: &DomainBatches<Batch>,
    config: &Config,
    replicas: Option<Replicas>,
) -> Result<(Vec<Option<Vec<f32>>>, bool), String> {
    let gradient = config.init_gradient().unwrap();
    let mut step = RobustTrainStep::new(gradient, Interrupter::new());
    if let Some(replicas) = replicas {
        step = step.with_replicas(replicas);
    }
    let mut of_passes = Vec::new();
    let output = step.step(net, domains, |net: &Mlp, batch: &Batch| {
        of_passes.push(net.first.weight.val().is_distributed());
        net.loss(batch)
    });
    if let Some(error) = step.error() {
        return Err(error.to_string());
    }
    let of_layers = [&net.first, &net.second].map(|layer| {
        let weight = output.grads.get::<2>(layer.weight.id);
        let bias = output.grads.get::<1>(layer.bias.as_ref().unwrap().id);
        [weight.map(|it| values(&it)), bias.map(|it| values(&it))]
    });
    assert!(
        of_passes.iter().all(|it| *it == of_passes[0]),
        "{of_passes:?}"
    );
    Ok((of_layers.concat(), of_passes[0]))
}

fn settings() -> [Config; 3] {
    [
        Config::erm(),
        Config::sagm(0.3, 0.05),
        Config::new().with_rho(0.3),
    ]
}

#[test]
fn synchronised_passes_are_on_what_burn_has_marked() {
    let server = Server::start(1);
    let device = server.device(0);
    let domains = batches(0, &device);
    for config in settings() {
        let net = Mlp::new(&device);
        let of = |net: &Mlp| step(net, &domains, &config, Some(Replicas::Synchronised));
        let (expected, on_marked) = of(&net).unwrap();
        assert!(!on_marked && expected.iter().all(Option::is_some));
        let net = marked(net);
        assert!(net.first.weight.val().is_distributed());
        assert_eq!(of(&net).unwrap(), (expected, true));
    }
}

#[test]
fn what_replicas_share_has_to_be_said() {
    let server = Server::start(1);
    let device = server.device(0);
    let (net, domains) = (marked(Mlp::new(&device)), batches(0, &device));
    assert_eq!(
        step(&net, &domains, &Config::new(), None).unwrap_err(),
        "replicas must be said under `ExecutionStrategy::ddp`, by `with_replicas`, but is none"
    );
}
