use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator},
        dataset::DatasetError,
    },
    tensor::Device,
};

use super::{Counted, Part, WithProgress, done};
use crate::{
    Error, Result,
    domain::{DomainBatches, EpochLength, batch::check_names},
};

/// Several existing data loaders as one: every step hands over the next batch of each.
///
/// For loaders that are there already; over data sets a [`DomainDataLoader`](super::DomainDataLoader)
/// does more. A loader that ends before the epoch does is iterated again: burn's then shuffle anew.
/// Every epoch iterates all of them from their beginning. Batches, their order and their sizes are
/// those of the loaders: the last batch of a pass may be smaller, and the order of burn's
/// multi-threaded loader is not the same in every run. There is no position to continue from.
/// Batches are numbered ([`DomainBatches::step`]) from 0 on, over all epochs, or from
/// [`set_step`](Self::set_step) on.
///
/// The lengths of an epoch are, in batches: [`Longest`](EpochLength::Longest), until each loader has
/// ended once; [`Shortest`](EpochLength::Shortest), until the first ends;
/// [`Steps(n)`](EpochLength::Steps), $n$.
///
/// [`num_items`](DataLoader::num_items) is that of the longest or the shortest loader, and for
/// `Steps(n)` it counts the steps.
///
/// ```
/// # use burn::{data::{dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher}, dataset::InMemDataset}, tensor::Device};
/// # #[derive(Clone)]
/// # struct Keep;
/// # impl Batcher<i32, Vec<i32>> for Keep {
/// #     fn batch(&self, items: Vec<i32>, _: &Device) -> Vec<i32> { items }
/// # }
/// # let loader = |items| DataLoaderBuilder::new(Keep).batch_size(2).shuffle(1).build(InMemDataset::new(items));
/// # let (photos, sketches) = (loader(vec![1, 2, 3, 4]), loader(vec![5, 6]));
/// use roga::domain::{EpochLength, JoinedDataLoader};
///
/// let loader = JoinedDataLoader::new([("photo", photos), ("sketch", sketches)], EpochLength::Longest)?;
/// assert_eq!(loader.iter().count(), 2);
/// # Ok::<(), roga::Error>(())
/// ```
pub struct JoinedDataLoader<B> {
    loaders: Vec<(Arc<str>, Arc<dyn DataLoader<B>>)>,
    epoch: EpochLength,
    step: AtomicU64,
}

impl<B: 'static> JoinedDataLoader<B> {
    /// Joins loaders, each under its domain's name.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where there is no loader, a name stands twice, or a loader is empty;
    /// [`Error::Setting`] for `Steps(0)`.
    pub fn new<N: Into<Arc<str>>>(
        loaders: impl IntoIterator<Item = (N, Arc<dyn DataLoader<B>>)>,
        epoch: EpochLength,
    ) -> Result<Self> {
        epoch.check()?;
        let loaders: Vec<_> = loaders
            .into_iter()
            .map(|(name, loader)| (name.into(), loader))
            .collect();
        check_names(loaders.iter().map(|(name, _)| &**name))?;
        let joined = Self {
            loaders,
            epoch,
            step: AtomicU64::new(0),
        };
        joined.check()?;
        Ok(joined)
    }

    /// Sets the number that the next batches carry: for a training that goes on.
    pub fn set_step(&self, step: u64) {
        self.step.store(step, Ordering::Release);
    }

    /// Refuses a loader without items.
    fn check(&self) -> Result<()> {
        match self
            .loaders
            .iter()
            .find(|(_, loader)| loader.num_items() == 0)
        {
            Some((name, _)) => Err(Error::Domains {
                rule: "hold an item each",
                found: format!("the loader of `{name}` holds none"),
            }),
            None => Ok(()),
        }
    }

    fn map(
        &self,
        epoch: EpochLength,
        change: impl Fn(&dyn DataLoader<B>) -> Arc<dyn DataLoader<B>>,
    ) -> Arc<dyn DataLoader<DomainBatches<B>>> {
        Arc::new(Self {
            loaders: self
                .loaders
                .iter()
                .map(|(name, loader)| (name.clone(), change(&**loader)))
                .collect(),
            epoch,
            step: AtomicU64::new(self.step.load(Ordering::Acquire)),
        })
    }
}

impl<B: 'static> DataLoader<DomainBatches<B>> for JoinedDataLoader<B> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<DomainBatches<B>> + 'a> {
        Box::new(WithProgress(Epoch {
            loader: self,
            passes: Vec::new(),
            step: 0,
            over: false,
        }))
    }

    fn num_items(&self) -> usize {
        let items = self.loaders.iter().map(|(_, loader)| loader.num_items());
        match self.epoch {
            EpochLength::Longest => items.max().unwrap_or(0),
            EpochLength::Shortest => items.min().unwrap_or(0),
            EpochLength::Steps(steps) => steps,
        }
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<DomainBatches<B>>> {
        self.map(self.epoch, |loader| loader.to_device(device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<DomainBatches<B>>> {
        let part = Part::new(start, end, self.num_items());
        let epoch = match self.epoch {
            EpochLength::Steps(steps) => EpochLength::Steps(part.of(steps).len().max(1)),
            epoch => epoch,
        };
        self.map(epoch, |loader| {
            let items = part.of(loader.num_items());
            loader.slice(items.start, items.end)
        })
    }
}

impl<B> fmt::Debug for JoinedDataLoader<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.loaders.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("JoinedDataLoader")
            .field("domains", &names)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// One pass over the joined loaders.
struct Epoch<'a, B> {
    loader: &'a JoinedDataLoader<B>,
    passes: Vec<Pass<'a, B>>,
    step: usize,
    over: bool,
}

/// A loader being iterated, once or again and again.
struct Pass<'a, B> {
    name: &'a Arc<str>,
    loader: &'a dyn DataLoader<B>,
    batches: Box<dyn DataLoaderIterator<B> + 'a>,
    /// Whether the first pass is over.
    ended: bool,
}

impl<B> Pass<'_, B> {
    /// The next batch of this pass, if there is one.
    fn go_on(&mut self) -> Result<Option<B>> {
        let batch = self.batches.next().transpose();
        let batch = batch.map_err(|error| Error::Data {
            domain: self.name.to_string(),
            source: error.into(),
        })?;
        self.ended |= batch.is_none();
        Ok(batch)
    }

    /// The first batch of a new pass.
    fn begin_again(&mut self) -> Result<B> {
        self.batches = self.loader.iter();
        self.go_on()?.ok_or_else(|| Error::Domains {
            rule: "hand over a batch each",
            found: format!("the loader of `{}` ended without one", self.name),
        })
    }

    fn done(&self) -> f64 {
        if self.ended {
            1.0
        } else {
            done(&*self.batches)
        }
    }
}

impl<B: 'static> Epoch<'_, B> {
    fn step(&mut self) -> Result<Option<DomainBatches<B>>> {
        if self.step == 0 {
            self.loader.check()?;
            self.passes = passes(self.loader);
        }
        let batches: Result<Vec<Option<B>>> = self.passes.iter_mut().map(Pass::go_on).collect();
        let batches = batches?;
        if self.ended() {
            return Ok(None);
        }
        self.step += 1;
        let named: Result<Vec<_>> = self
            .passes
            .iter_mut()
            .zip(batches)
            .map(|(pass, batch)| {
                let batch = batch.map_or_else(|| pass.begin_again(), Ok)?;
                Ok((pass.name.clone(), batch))
            })
            .collect();
        let batches = DomainBatches::new(named?)?;
        let step = self.loader.step.fetch_add(1, Ordering::AcqRel);
        Ok(Some(batches.with_step(step)))
    }

    fn ended(&self) -> bool {
        match self.loader.epoch {
            EpochLength::Longest => self.passes.iter().all(|pass| pass.ended),
            EpochLength::Shortest => self.passes.iter().any(|pass| pass.ended),
            EpochLength::Steps(_) => false,
        }
    }
}

fn passes<B>(loader: &JoinedDataLoader<B>) -> Vec<Pass<'_, B>> {
    loader
        .loaders
        .iter()
        .map(|(name, loader)| Pass {
            name,
            loader: &**loader,
            batches: loader.iter(),
            ended: false,
        })
        .collect()
}

impl<B: 'static> Iterator for Epoch<'_, B> {
    type Item = Result<DomainBatches<B>, DatasetError>;

    /// An error ends the epoch: where a loader stands after one is its own affair.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.loader.epoch == EpochLength::Steps(self.step) {
            return None;
        }
        let batches = self.step().transpose();
        self.over = !matches!(batches, Some(Ok(_)));
        batches.map(|batches| batches.map_err(DatasetError::new))
    }
}

impl<B: 'static> Counted for Epoch<'_, B> {
    fn counted(&self) -> (usize, usize) {
        let total = self.loader.num_items();
        let parts = self.passes.iter().map(Pass::done);
        let part = match self.loader.epoch {
            _ if self.passes.is_empty() => 0.0,
            EpochLength::Longest => parts.fold(1.0, f64::min),
            EpochLength::Shortest => parts.fold(0.0, f64::max),
            EpochLength::Steps(_) => return (self.step, total),
        };
        ((total as f64 * part) as usize, total)
    }
}
