//! Records of trainings, and the trainings that go on from them.

use std::sync::OnceLock;

use burn::{
    lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig,
    optim::AdamConfig,
    tensor::{Bytes, Device, Tensor},
};
use burn_pack::{DType, Scalar, Tensor as Packed, Writer};
use roga::{
    domain::DomainBatches,
    optim::{
        RobustGradientAlignment, RobustGradientAlignmentConfig,
        RobustGradientAlignmentRecord as Record,
    },
};

use crate::{net::Net, printed};

fn domains() -> DomainBatches<Tensor<2>> {
    let device = Device::flex().autodiff();
    let rows = |x: f32| Tensor::<2>::from_floats([[x, 1.0], [0.5, x]], &device);
    DomainBatches::new([("a", rows(1.0)), ("b", rows(-2.0))]).expect("they have names of their own")
}

fn optimizer() -> RobustGradientAlignment {
    let base = AdamConfig::new().init();
    let config = RobustGradientAlignmentConfig::new();
    config.init(base).expect("its settings are good")
}

/// The record of a training of one step, in a file.
pub fn whole() -> Vec<u8> {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(trained).clone()
}

fn trained() -> Vec<u8> {
    let (mut net, mut optim) = (Net::new(), optimizer());
    let stepped = optim.step(1e-2, &mut net, &domains(), |net: &Net, rows| net.loss(rows));
    stepped.expect("nothing is wrong with it");
    let mut schedule = schedule();
    schedule.step();
    let record = optim.to_record().and_then(|record| record.with_model(&net));
    let record = record.map(|record| record.with_scheduler(schedule.to_record()).with_position(1));
    let bytes = record.and_then(Record::into_bytes);
    bytes.expect("it can be written").to_vec()
}

fn schedule() -> burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler {
    let config = CosineAnnealingLrSchedulerConfig::new(1e-3, 10);
    config.init().expect("its settings are good")
}

/// The parts of a record that are packs of burn's.
pub const PARTS: [&str; 3] = ["optimizer", "model", "scheduler"];

/// A part of a good record.
pub fn part(name: &str) -> Vec<u8> {
    let pack = burn_pack::Reader::from_bytes(Bytes::from_bytes_vec(whole())).expect("it is good");
    let part = pack.tensor_data(&format!("{name}.000000"));
    part.expect("it is there")
}

/// A record in the place of one of whose parts others' bytes stand, with the checksum that it has to
/// have: a checksum keeps damage out, and no malice.
pub fn forged(part: &str, bytes: &[u8]) -> Vec<u8> {
    let mut parts = PARTS.map(self::part);
    for (name, of) in PARTS.iter().zip(&mut parts) {
        if *name == part {
            *of = bytes.to_vec();
        }
    }
    let whole = burn_pack::Reader::from_bytes(Bytes::from_bytes_vec(whole())).expect("it is good");
    let mut crc = crc32fast::Hasher::new();
    let response = &whole.metadata()["response"];
    // Of one step, none skipped, at position 1, without notes.
    crc.update(format!("1 0 0 Some(1) {response} {{}}").as_bytes());
    for part in &parts {
        crc.update(&part.len().to_le_bytes());
        crc.update(part);
    }
    let tensors = PARTS
        .iter()
        .zip(parts)
        .filter(|(_, bytes)| !bytes.is_empty());
    let tensors = tensors.map(|(name, bytes)| {
        let (length, bytes) = (bytes.len(), Bytes::from_bytes_vec(bytes));
        Packed::new(format!("{name}.000000"), DType::U8, [length], None, bytes)
    });
    let mut writer = Writer::new(tensors.collect());
    for (name, text) in whole.metadata() {
        writer = writer.with_metadata(name, text);
    }
    for (name, number) in whole.scalars() {
        writer = writer.with_scalar(name, *number);
    }
    let sum = Scalar::UInt(u64::from(crc.finalize()));
    let bytes = writer.with_scalar("checksum", sum).into_bytes();
    bytes.expect("it can be written").to_vec()
}

/// The first byte says what the others are: a file, or a part of one.
pub fn read(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match PARTS.get(usize::from(*kind)) {
        Some(part) => go_on(&forged(part, rest)),
        None => go_on(rest),
    }
}

/// Asserts that parts which nobody has touched make a record that a training goes on from: else the
/// checksum would be made otherwise here than there.
pub fn an_untouched_part_is_read() {
    for name in PARTS {
        let record = Record::from_bytes(Bytes::from_bytes_vec(forged(name, &part(name))));
        let record = record.expect("the checksum is right");
        let mut optim = optimizer();
        optim
            .load_record(&record)
            .expect("it is of the same optimizer");
        record
            .load_model(Net::new())
            .expect("it is of the same model");
        record.scheduler().expect("there is one");
    }
}

/// What is said to a record with a forged part, by whatever refuses it first.
pub fn refused(part: &str, bytes: &[u8]) -> String {
    let record = Record::from_bytes(Bytes::from_bytes_vec(forged(part, bytes)));
    let record = record.expect("the checksum is right");
    let mut optim = optimizer();
    let stepped = record.load_model(Net::new()).and_then(|mut net| {
        optim.load_record(&record)?;
        optim.step(1e-2, &mut net, &domains(), |net: &Net, rows| net.loss(rows))
    });
    stepped.expect_err("it is refused").to_string()
}

/// All that is done with a record.
pub fn go_on(bytes: &[u8]) {
    let record = match Record::from_bytes(Bytes::from_bytes_vec(bytes.to_vec())) {
        Ok(record) => record,
        Err(error) => return printed::is_plain(error),
    };
    let mut net = match record.load_model(Net::new()) {
        Ok(net) => net,
        Err(error) => return printed::is_plain(error),
    };
    let mut optim = optimizer();
    if let Err(error) = optim.load_record(&record) {
        return printed::is_plain(error);
    }
    match record.scheduler() {
        Ok(record) => {
            schedule().load_record(record).step();
        }
        Err(error) => printed::is_plain(error),
    }
    let stepped = optim.step(1e-2, &mut net, &domains(), |net: &Net, rows| net.loss(rows));
    match stepped {
        Ok(_) => {
            let again = optim.to_record().and_then(|record| record.with_model(&net));
            let again = again.and_then(Record::into_bytes);
            assert!(again.and_then(Record::from_bytes).is_ok());
        }
        Err(error) => printed::is_plain(error),
    }
}
