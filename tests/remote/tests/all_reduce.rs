//! How often a step on replicas asks for an all-reduce. By itself: a process has one log.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use burn::{tensor::distributed::ReduceOperation, train::Interrupter};
use log::{LevelFilter, Log, Metadata, Record};
use roga::{
    optim::RobustGradientAlignmentConfig as Config,
    train::{Replicas, RobustTrainStep},
};

mod common;

use common::{
    Server, marked,
    problems::{Batch, Mlp, batches},
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

/// Of a worker that skips its step as well, and of none of its passes. They are asked for; no backend of a CPU can make them, so that the devices are lost by them.
#[test]
fn a_step_has_one_all_reduce_of_every_parameter() {
    log::set_logger(&ALL_REDUCES).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let server = Server::start(2);
    let devices = [server.device(0), server.device(1)];
    let replicas = Replicas::MSharpness {
        devices: devices.to_vec(),
        operation: ReduceOperation::Mean,
    };
    let workers = devices.into_iter().zip([1.0, f32::NAN]);
    let workers = workers.map(|(device, factor)| {
        let replicas = replicas.clone();
        thread::spawn(move || {
            let domains = batches(0, &device);
            let config = Config::new().with_rho(0.3);
            let gradient = config.init_gradient().unwrap();
            let robust = RobustTrainStep::new(gradient, Interrupter::new());
            let robust = robust.with_replicas(replicas);
            let output = robust.step(
                &marked(Mlp::new(&device)),
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
    assert_eq!(reports.collect::<Vec<_>>(), [(12, false), (12, true)]);
    assert_eq!(ALL_REDUCES.0.load(Ordering::SeqCst), 2 * 4);
}
