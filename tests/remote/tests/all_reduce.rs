//! How often a step on replicas asks for an all-reduce. By itself: a process has one log.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use burn::{
    module::Module,
    tensor::{Device, distributed::ReduceOperation},
    train::Interrupter,
};
use log::{LevelFilter, Log, Metadata, Record};
use roga::{
    domain::JoinedBatch,
    optim::RobustGradientAlignmentConfig as Config,
    train::{Replicas, RobustTrainStep},
};

mod common;

use common::{
    Server, marked,
    problems::{Batch, Mlp, batches, joined_losses},
};

/// Counts what burn's remote devices say of the all-reduces that they are about to send.
struct AllReduces(AtomicUsize);

impl Log for AllReduces {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.args().to_string().starts_with("All-reduce on") {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

static ALL_REDUCES: AllReduces = AllReduces(AtomicUsize::new(0));

fn asked_for(
    replicas: &Replicas,
    devices: &[Device],
    factors: [f32; 2],
) -> (Vec<(usize, bool)>, usize) {
    let before = ALL_REDUCES.0.load(Ordering::SeqCst);
    let net = Mlp::new(&Device::flex().autodiff());
    let workers = devices.iter().cloned().zip(factors);
    let workers = workers.map(|(device, factor)| {
        let (net, replicas) = (net.clone(), replicas.clone());
        thread::spawn(move || {
            let domains = batches(0, &device).with_step(0);
            let config = Config::new().with_rho(0.3);
            let gradient = config.init_gradient().unwrap();
            let robust = RobustTrainStep::new(gradient, Interrupter::new());
            let robust = robust.with_replicas(replicas);
            let output = robust.step(
                &marked(net.fork(&device)),
                &domains,
                |net: &Mlp, batch: &Batch| {
                    assert!(!net.first.weight.val().is_distributed());
                    net.loss(batch) * factor
                },
            );
            let report = output.item.report().unwrap();
            (report.passes.calls, report.is_skipped())
        })
    });
    let workers: Vec<_> = workers.collect();
    let reports = workers.into_iter().map(|worker| worker.join().unwrap());
    let reports = reports.collect();
    (reports, ALL_REDUCES.0.load(Ordering::SeqCst) - before)
}

/// Of a step with joined passes whose ascent is pooled.
fn joined_sagm(replicas: &Replicas, devices: &[Device]) -> usize {
    let before = ALL_REDUCES.0.load(Ordering::SeqCst);
    let net = Mlp::new(&Device::flex().autodiff());
    let workers = devices.iter().cloned().map(|device| {
        let (net, replicas) = (net.clone(), replicas.clone());
        thread::spawn(move || {
            let domains = batches(0, &device).with_step(0);
            let gradient = Config::sagm(0.3, 0.05).init_gradient().unwrap();
            let robust = RobustTrainStep::new(gradient, Interrupter::new());
            let robust = robust.with_replicas(replicas);
            let net = marked(net.fork(&device));
            let output =
                robust.step_joined(&net, &domains, |net: &Mlp, joined: &JoinedBatch<_>| {
                    joined_losses(net.forward(joined.batch().x.clone()), joined)
                });
            assert!(!output.item.report().unwrap().is_skipped());
        })
    });
    let workers: Vec<_> = workers.collect();
    workers.into_iter().for_each(|it| it.join().unwrap());
    ALL_REDUCES.0.load(Ordering::SeqCst) - before
}

/// The parameters are four; m-sharp replicas bring $G$ together alone, whatever becomes of a step, synchronised
/// ones the gradients of three clean passes and at three points, and a handful of numbers with each. Joined, a pooled
/// ascent is two.
#[test]
fn replicas_ask_for_an_all_reduce_a_step_or_a_point() {
    log::set_logger(&ALL_REDUCES).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let server = Server::with_all_reduce(2);
    let devices = [server.device(0), server.device(1)];
    let mean = ReduceOperation::Mean;
    let m_sharp = Replicas::m_sharpness(devices.to_vec(), mean);
    let synchronised = Replicas::synchronised(devices.to_vec(), mean);
    let done = (12, false);
    assert_eq!(
        asked_for(&m_sharp, &devices, [1.0, 1.0]),
        (vec![done, done], 2 * 4)
    );
    assert_eq!(
        asked_for(&m_sharp, &devices, [1.0, f32::NAN]),
        (vec![done, (12, true)], 2 * 4)
    );
    assert_eq!(
        asked_for(&synchronised, &devices, [1.0, 1.0]),
        (vec![done, done], 2 * (3 + 3) * (4 + 1))
    );
    assert_eq!(joined_sagm(&synchronised, &devices), 2 * 2 * (4 + 1));
}
