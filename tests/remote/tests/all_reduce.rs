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

/// They are asked for; no backend of a CPU can make them, so that the devices are lost by them.
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
    let workers = devices.map(|device| {
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
                |net: &Mlp, batch: &Batch| net.loss(batch),
            );
            output.item.report().unwrap().passes
        })
    });
    for worker in workers {
        assert_eq!(worker.join().unwrap().calls, 12);
    }
    assert_eq!(ALL_REDUCES.0.load(Ordering::SeqCst), 2 * 4);
}
