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
    ///
    /// Where every row has a loss of its own, [`means`](Self::means) takes fewer operations.
    pub fn losses(&self, loss: impl FnMut(Range<usize>) -> Tensor<1>) -> Tensor<1> {
        Tensor::cat(self.rows.iter().cloned().map(loss).collect(), 0)
    }

    /// The domains' losses, shape `[domains]`: the means over their rows of the rows' losses, shape
    /// `[rows]`.
    ///
    /// Domains of as many rows each are averaged in one operation. Cross entropy by row:
    ///
    /// ```
    /// use burn::tensor::{Int, Tensor, activation::log_softmax};
    /// use roga::domain::JoinedBatch;
    ///
    /// fn cross_entropy<X>(logits: Tensor<2>, joined: &JoinedBatch<(X, Tensor<1, Int>)>) -> Tensor<1> {
    ///     let (_, labels) = joined.batch();
    ///     let of_label = log_softmax(logits, 1).gather(1, labels.clone().unsqueeze_dim(1));
    ///     joined.means(of_label.squeeze_dim::<1>(1).neg())
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// Where there is not one loss for each row.
    pub fn means(&self, losses: Tensor<1>) -> Tensor<1> {
        let (domains, numbers) = (self.rows.len(), losses.dims()[0]);
        let rows = self.rows.last().map_or(0, |last| last.end);
        assert_eq!(numbers, rows, "there must be one loss for each row");
        let of_each = rows / domains.max(1);
        if self.rows.iter().all(|rows| rows.len() == of_each) {
            let means = losses.reshape([domains, of_each]).mean_dim(1);
            return means.squeeze_dim(1);
        }
        self.losses(|rows| losses.clone().slice([rows]).mean())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    fn means(sizes: &[usize]) -> Vec<f32> {
        let device = Device::default();
        let batches: Vec<Tensor<1>> = (sizes.iter())
            .map(|rows| Tensor::zeros([*rows], &device))
            .collect();
        let joined = JoinedBatch::new(&batches.iter().collect::<Vec<_>>());
        let losses = Tensor::<1, Int>::arange(0..joined.batch().rows() as i64, &device);
        let means = joined.means(losses.float()).into_data();
        means.try_to_vec().unwrap()
    }

    #[test]
    fn the_mean_of_a_domain_is_that_of_its_rows() {
        assert_eq!(means(&[2, 2, 2]), [0.5, 2.5, 4.5]);
        assert_eq!(means(&[1, 3, 2]), [0.0, 2.0, 4.5]);
        assert_eq!(means(&[4]), [1.5]);
    }

    #[test]
    #[should_panic(expected = "one loss for each row")]
    fn losses_of_other_rows_are_refused() {
        let rows = Tensor::<1>::zeros([3], &Device::default());
        JoinedBatch::new(&[&rows]).means(rows.clone().narrow(0, 0, 2));
    }
}
