use burn::tensor::{Tensor, Transaction};

use crate::{Error, Result};

/// Numbers that stay on the device until all of them are read back in one wait.
#[derive(Default)]
pub(crate) struct Readback {
    tensors: Vec<Tensor<1>>,
}

/// A number that is going to be read back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading(Option<usize>);

/// The numbers that were read back.
pub(crate) struct Readings(Vec<f64>);

impl Readback {
    /// Registers a tensor of shape `[1]`; `None` reads as 0.
    pub fn push(&mut self, number: impl Into<Option<Tensor<1>>>) -> Reading {
        Reading(number.into().map(|tensor| {
            let device = self.tensors.first().map(|first| first.device());
            let tensor = match device {
                Some(device) => tensor.to_device(&device),
                None => tensor,
            };
            self.tensors.push(tensor);
            self.tensors.len() - 1
        }))
    }

    /// Waits for the device, once.
    pub fn wait(self) -> Result<Readings> {
        let transaction = self
            .tensors
            .into_iter()
            .fold(Transaction::default(), Transaction::register);
        let data = transaction
            .try_execute()
            .map_err(|error| Error::Device(format!("{error:?}")))?;
        Ok(Readings(
            data.iter().flat_map(|data| data.iter::<f64>()).collect(),
        ))
    }
}

impl Readings {
    pub fn get(&self, reading: Reading) -> f64 {
        reading
            .0
            .and_then(|index| self.0.get(index))
            .copied()
            .unwrap_or(0.0)
    }
}
