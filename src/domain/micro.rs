use crate::{Error, Result};

/// A domain's batch in parts, for batches that do not fit into memory as a whole.
///
/// With [`micro_batched`](crate::optim::micro_batched) round the loss closure, every pass goes
/// through the parts one after the other: the ascents are those of the whole batch and stay fixed
/// over its parts, and the loss is the mean over all rows,
/// $L = \sum_m \frac{n_m}{n} L_m$. Where nothing depends on a batch's statistics, the step is that
/// of the whole batch, up to rounding; batch normalisation sees each part by itself.
#[derive(Clone, Debug)]
pub struct MicroBatches<B> {
    parts: Vec<(usize, B)>,
}

impl<B> MicroBatches<B> {
    /// From pairs of a part's number of rows $n_m$ and the part.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where there is no part, or one without rows.
    pub fn new(parts: impl IntoIterator<Item = (usize, B)>) -> Result<Self> {
        let parts: Vec<(usize, B)> = parts.into_iter().collect();
        let refuse = |found: String| Error::Domains {
            rule: "have batches of at least one part, each of at least one row",
            found,
        };
        if parts.is_empty() {
            return Err(refuse("a batch has no parts".into()));
        }
        if let Some(empty) = parts.iter().position(|(rows, _)| *rows == 0) {
            return Err(refuse(format!("part {empty} of a batch has no rows")));
        }
        Ok(Self { parts })
    }

    #[cfg(feature = "dataset")]
    pub(super) fn of(parts: Vec<(usize, B)>) -> Self {
        Self { parts }
    }

    /// The parts, each with its share $n_m / n$ of the rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (f64, &B)> {
        let rows: f64 = self.parts.iter().map(|(rows, _)| *rows as f64).sum();
        self.parts
            .iter()
            .map(move |(part, batch)| (*part as f64 / rows, batch))
    }
}
