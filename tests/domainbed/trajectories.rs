//! Ten updates of DomainBed's Fish, IRM and Fishr.

use burn::{
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use roga::optim::FishConfig;

use crate::{
    fishr::{AtHead, Fishr},
    irm,
    net::{LEARNING_RATE, Net, adam, cross_entropy, steps},
    reference::Reference,
};

/// When the penalty gets its weight, and Adam is begun anew.
const ANNEAL_STEP: usize = 5;

fn file() -> Reference {
    Reference::open("reference_domainbed_f32")
}

fn device() -> Device {
    Device::flex().autodiff()
}

#[test]
fn fish() {
    let (file, device) = (file(), device());
    let mut net = Net::begin(&file, &device);
    let mut fish = FishConfig::new().init(adam()).unwrap();
    let mut last_losses = Vec::new();
    for (step, domains) in steps(&file, &device).iter().enumerate() {
        let report = fish
            .step(LEARNING_RATE, &mut net, domains, Net::loss)
            .unwrap();
        assert!(!report.is_skipped());
        last_losses.push(report.domains.last().unwrap().loss);
        let difference = net.difference(&file, &format!("Fish/step{step}"));
        assert!(difference < 1e-5, "step {step}: {difference}");
    }
    assert_all(&file, "Fish", last_losses.len());
    // What DomainBed's update returns: the last domain's loss.
    assert!((last_losses[0] - 1.1204856918364978).abs() < 1e-6);
    assert!((last_losses[9] - 0.8955562007118342).abs() < 1e-5);
}

/// All updates that the file holds were compared.
fn assert_all(file: &Reference, method: &str, updates: usize) {
    let holds = |step: usize| file.holds(&format!("{method}/step{step}/1.bias"));
    assert!(updates == 10 && holds(9) && !holds(10));
}

/// The penalties of ten updates with the mean loss and a weighted penalty.
fn penalties(
    method: &str,
    weights: [f64; 2],
    mut penalty: impl FnMut(&[AtHead]) -> Tensor<1>,
) -> Vec<f64> {
    let (file, device) = (file(), device());
    let mut net = Net::begin(&file, &device);
    let mut optimizer = adam();
    let mut penalties = Vec::new();
    for (step, domains) in steps(&file, &device).iter().enumerate() {
        let at_heads = domains.iter().map(|(_, batch)| net.at_head(batch));
        let at_heads: Vec<AtHead> = at_heads.collect();
        let losses = at_heads.iter().map(cross_entropy).collect();
        let penalty = penalty(&at_heads);
        penalties.push(f64::from(penalty.clone().into_scalar::<f32>()));
        let weight = weights[usize::from(step >= ANNEAL_STEP)];
        let loss = Tensor::cat(losses, 0).mean() + penalty.mul_scalar(weight);
        if step == ANNEAL_STEP {
            optimizer = adam();
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        net = optimizer.step(LEARNING_RATE, net, gradients);
        let difference = net.difference(&file, &format!("{method}/step{step}"));
        assert!(difference < 1e-5, "{method}, step {step}: {difference}");
    }
    assert_all(&file, method, penalties.len());
    penalties
}

#[test]
fn irm_with_the_product_of_the_halves() {
    let penalties = penalties("IRM", [1.0, 10.0], |domains| {
        let of = |d: &AtHead| irm::penalty_of_halves(d.logits.clone(), d.labels.clone());
        Tensor::cat(domains.iter().map(of).collect(), 0).mean()
    });
    assert!((penalties[0] - 0.004437144963865187).abs() < 1e-7);
    assert!((penalties[9] + 0.00805257153190504).abs() < 1e-6);
}

#[test]
fn fishr_with_running_means() {
    let mut fishr = Fishr::new(0.95);
    // DomainBed has the mean over the head's 3 · (6 + 1) parameters.
    let penalties = penalties("Fishr", [0.0, 10.0], |domains| {
        fishr.penalty(domains).div_scalar(21.0)
    });
    assert!((penalties[0] - 0.0009765776578921244).abs() < 1e-8);
    assert!((penalties[9] - 0.004813272899291766).abs() < 1e-7);
}
