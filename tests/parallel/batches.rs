//! Batches that go to several devices.

use burn::tensor::Device;
use roga::{
    domain::{DomainBatches, MicroBatches},
    parallel::ToDevice,
};

use crate::problems::Batch;

impl ToDevice for Batch {
    fn to_device(&self, device: &Device) -> Self {
        Self {
            x: ToDevice::to_device(&self.x, device),
            y: ToDevice::to_device(&self.y, device),
        }
    }

    fn bytes(&self) -> u64 {
        self.x.bytes() + self.y.bytes()
    }
}

/// The mini-batches in parts, the first the larger by what is left over.
pub fn parts(domains: DomainBatches<Batch>, parts: usize) -> DomainBatches<MicroBatches<Batch>> {
    domains.map(|batch| {
        let rows = batch.x.dims()[0];
        let mut begin = 0;
        let part = (0..parts).map(|part| {
            let n = match part {
                0 => rows - (parts - 1) * (rows / parts),
                _ => rows / parts,
            };
            let of_part = begin..begin + n;
            begin += n;
            let x = batch.x.clone().slice([of_part.clone()]);
            let y = batch.y.clone().slice([of_part]);
            (n, Batch { x, y })
        });
        MicroBatches::new(part.collect::<Vec<_>>()).unwrap()
    })
}
