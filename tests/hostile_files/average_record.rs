//! Records of averages of weights, with the averages that go on from them.

use burn::tensor::Bytes;
use roga::averaging::{AverageRecord, ExponentialMovingAverageConfig, SwadConfig};

use crate::{net::Net, printed};

pub fn exponential() -> ExponentialMovingAverageConfig {
    ExponentialMovingAverageConfig::new(0.5)
}

pub fn swad() -> SwadConfig {
    SwadConfig::new()
        .with_optimum_patience(2)
        .with_overfit_patience(1)
}

pub fn read(bytes: &[u8]) {
    let record = match AverageRecord::from_bytes(Bytes::from_bytes_vec(bytes.to_vec())) {
        Ok(record) => record,
        Err(error) => return printed::is_plain(error),
    };
    let again = record.clone().into_bytes();
    let again = again.expect("what was read can be written");
    assert!(AverageRecord::from_bytes(again).is_ok());
    let net = Net::new();
    let mut average = exponential().init().expect("its settings are good");
    let loaded = average.load_record(&record, &net);
    let averaged = loaded
        .and_then(|()| average.update(&net))
        .and_then(|()| average.average(&net));
    averaged.map(drop).unwrap_or_else(printed::is_plain);
    let mut average = swad().init().expect("its settings are good");
    let loaded = average.load_record(&record, &net);
    let averaged = loaded
        .and_then(|()| average.update(&net))
        .and_then(|()| average.evaluated(1.0))
        .and_then(|_| average.average(&net));
    averaged.map(drop).unwrap_or_else(printed::is_plain);
}
