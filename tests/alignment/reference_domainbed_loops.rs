//! Ten updates of DomainBed's Fish, IRM and Fishr.

use burn::{optim::GradientsParams, tensor::Tensor};
use roga::{domain::DomainBatches, optim::FishConfig};

use crate::{
    fishr::{AtHead, Fishr},
    irm,
    problems::device,
    reference::Reference,
    reference_domainbed::{FILE, LEARNING_RATE, Net, adam, cross_entropy},
};

/// When the penalty gets its weight, and Adam is begun anew.
const ANNEAL_STEP: usize = 5;

#[test]
fn fish() {
    let (file, device) = (Reference::open(FILE), device());
    let mut net = Net::new(&file, &device);
    let mut fish = FishConfig::new().init(adam()).unwrap();
    let mut last_losses = Vec::new();
    for (step, domains) in file.batches(&device).into_iter().enumerate() {
        let domains = DomainBatches::unnamed(domains).unwrap();
        let report = fish
            .step(LEARNING_RATE, &mut net, &domains, Net::loss)
            .unwrap();
        assert!(!report.is_skipped());
        last_losses.push(report.domains.last().unwrap().loss);
        net.check(&file, "Fish", step);
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
    let (file, device) = (Reference::open(FILE), device());
    let mut net = Net::new(&file, &device);
    let mut optimizer = adam();
    let mut penalties = Vec::new();
    for (step, domains) in file.batches(&device).iter().enumerate() {
        let at_heads: Vec<AtHead> = domains.iter().map(|rows| net.at_head(rows)).collect();
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
        net.check(&file, method, step);
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
