use burn::tensor::{Tensor, Transaction};

use crate::{Error, Result, gradient::GramMatrix};

/// Numbers that stay on the device until all of them are read back in one wait.
///
/// A step waits at its end, and before that where a setting needs numbers on the host to go on.
#[derive(Default)]
pub(crate) struct Readback {
    read: Vec<f64>,
    pending: Vec<Tensor<1>>,
}

/// A number that is going to be read back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading(Option<usize>);

impl Reading {
    /// The same number, where so many stand before those it was among.
    pub fn after(self, first: usize) -> Self {
        Self(self.0.map(|index| first + index))
    }
}

impl Readback {
    /// Registers all of another's numbers, of which none has been read. How many stand before them:
    /// see [`Reading::after`].
    pub fn absorb(&mut self, other: Self) -> usize {
        let first = self.read.len() + self.pending.len();
        for number in other.pending {
            self.push(number);
        }
        first
    }

    /// Registers a tensor of shape `[1]`; `None` reads as 0.
    pub fn push(&mut self, number: impl Into<Option<Tensor<1>>>) -> Reading {
        Reading(number.into().map(|tensor| {
            let device = self.pending.first().map(|first| first.device());
            let tensor = match device {
                Some(device) => tensor.to_device(&device),
                None => tensor,
            };
            self.pending.push(tensor);
            self.read.len() + self.pending.len() - 1
        }))
    }

    /// Registers the rows of [`gram`](crate::gradient::gram).
    pub fn push_rows(&mut self, rows: &[Vec<Option<Tensor<1>>>]) -> Vec<Vec<Reading>> {
        let mut push = |number: &Option<Tensor<1>>| self.push(number.clone());
        let rows = rows.iter();
        rows.map(|row| row.iter().map(&mut push).collect())
            .collect()
    }

    /// The Gram matrix whose lower triangle was registered.
    pub fn gram_matrix(&self, rows: &[Vec<Reading>]) -> GramMatrix {
        let reading = |i: usize, j: usize| rows.get(i)?.get(j).copied();
        GramMatrix::from_fn(rows.len(), |i, j| {
            self.get(reading(i, j).unwrap_or_default())
        })
    }

    /// Waits for the device, once, for all that was registered since the last time.
    pub fn wait(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let transaction = std::mem::take(&mut self.pending)
            .into_iter()
            .fold(Transaction::default(), Transaction::register);
        let data = transaction
            .try_execute()
            .map_err(|error| Error::Device(format!("{error:?}")))?;
        self.read
            .extend(data.iter().flat_map(|data| data.iter::<f64>()));
        Ok(())
    }

    /// A number; 0 where there was none, and before it is read.
    pub fn get(&self, reading: Reading) -> f64 {
        reading
            .0
            .and_then(|index| self.read.get(index))
            .copied()
            .unwrap_or(0.0)
    }
}
