use std::ops::Range;

use burn::tensor::{Int, Tensor};

/// Batches that can be put together along their rows.
///
/// It is there for tensors, whose first dimension are the rows, and for pairs. For a batch of
/// several tensors it takes a few lines:
///
/// ```
/// use burn::tensor::{Int, Tensor};
/// use roga::domain::Concat;
///
/// struct Batch {
///     pictures: Tensor<4>,
///     labels: Tensor<1, Int>,
/// }
///
/// impl Concat for Batch {
///     fn rows(&self) -> usize {
///         self.labels.rows()
///     }
///
///     fn concat(batches: &[&Self]) -> Self {
///         let pictures: Vec<_> = batches.iter().map(|batch| &batch.pictures).collect();
///         let labels: Vec<_> = batches.iter().map(|batch| &batch.labels).collect();
///         Self {
///             pictures: Concat::concat(&pictures),
///             labels: Concat::concat(&labels),
///         }
///     }
/// }
/// ```
pub trait Concat: Sized {
    /// How many rows there are.
    fn rows(&self) -> usize;

    /// All rows, those of the first batch first. There is at least one batch.
    fn concat(batches: &[&Self]) -> Self;
}

impl<const D: usize> Concat for Tensor<D> {
    fn rows(&self) -> usize {
        self.dims()[0]
    }

    fn concat(batches: &[&Self]) -> Self {
        Tensor::cat(batches.iter().map(|batch| (*batch).clone()).collect(), 0)
    }
}

impl<const D: usize> Concat for Tensor<D, Int> {
    fn rows(&self) -> usize {
        self.dims()[0]
    }

    fn concat(batches: &[&Self]) -> Self {
        Tensor::cat(batches.iter().map(|batch| (*batch).clone()).collect(), 0)
    }
}

impl<A: Concat, B: Concat> Concat for (A, B) {
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn concat(batches: &[&Self]) -> Self {
        let first: Vec<&A> = batches.iter().map(|batch| &batch.0).collect();
        let second: Vec<&B> = batches.iter().map(|batch| &batch.1).collect();
        (A::concat(&first), B::concat(&second))
    }
}

/// The batches of several domains, put together for one forward and backward.
#[derive(Clone, Debug)]
pub struct JoinedBatch<B> {
    batch: B,
    rows: Vec<Range<usize>>,
}

impl<B: Concat> JoinedBatch<B> {
    /// Puts batches together; there is at least one.
    pub(crate) fn new(batches: &[&B]) -> Self {
        let mut end = 0;
        let rows = batches.iter().map(|batch| {
            let begin = end;
            end += batch.rows();
            begin..end
        });
        Self {
            rows: rows.collect(),
            batch: B::concat(batches),
        }
    }
}

impl<B> JoinedBatch<B> {
    /// All rows.
    pub fn batch(&self) -> &B {
        &self.batch
    }

    /// The rows of each domain.
    pub fn rows(&self) -> &[Range<usize>] {
        &self.rows
    }

    /// The domains' losses, shape `[domains]`, from a function of a domain's rows, which gives
    /// their mean loss, shape `[1]`.
    pub fn losses(&self, loss: impl FnMut(Range<usize>) -> Tensor<1>) -> Tensor<1> {
        Tensor::cat(self.rows.iter().cloned().map(loss).collect(), 0)
    }
}
