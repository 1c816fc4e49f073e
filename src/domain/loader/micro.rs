use burn::{data::dataloader::batcher::Batcher, tensor::Device};

use crate::{Error, Result, domain::MicroBatches};

/// Batches items in parts of at most so many: a batcher of [`MicroBatches`] out of any batcher.
///
/// ```
/// use burn::{data::dataloader::batcher::Batcher, tensor::{Device, Tensor}};
/// use roga::domain::{MicroBatcher, MicroBatches};
///
/// #[derive(Clone)]
/// struct Stack;
/// impl Batcher<f32, Tensor<1>> for Stack {
///     fn batch(&self, items: Vec<f32>, device: &Device) -> Tensor<1> {
///         Tensor::from_floats(items.as_slice(), device)
///     }
/// }
///
/// let batcher = MicroBatcher::new(Stack, 2)?;
/// let batch: MicroBatches<Tensor<1>> = batcher.batch(vec![1.0, 2.0, 3.0], &Device::default());
/// let parts: Vec<_> = batch.iter().map(|(share, part)| (share, part.dims()[0])).collect();
/// assert_eq!(parts, [(2.0 / 3.0, 2), (1.0 / 3.0, 1)]);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MicroBatcher<T> {
    batcher: T,
    size: usize,
}

impl<T> MicroBatcher<T> {
    /// In parts of at most `size` items.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where `size` is 0.
    pub fn new(batcher: T, size: usize) -> Result<Self> {
        if size == 0 {
            return Err(Error::Setting {
                field: "size",
                rule: "be at least 1",
                value: "0".into(),
            });
        }
        Ok(Self { batcher, size })
    }
}

impl<I, B, T> Batcher<I, MicroBatches<B>> for MicroBatcher<T>
where
    I: Send + Sync,
    B: Send + Sync,
    T: Batcher<I, B>,
{
    fn batch(&self, items: Vec<I>, device: &Device) -> MicroBatches<B> {
        let mut items = items.into_iter().peekable();
        let mut parts = Vec::new();
        while items.peek().is_some() {
            let part: Vec<I> = items.by_ref().take(self.size).collect();
            parts.push((part.len(), self.batcher.batch(part, device)));
        }
        MicroBatches::of(parts)
    }
}
