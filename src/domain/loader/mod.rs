//! Data loaders that hand over one mini-batch per domain and step.

mod builder;
mod draw;
mod joined;
mod micro;
mod source;
mod workers;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::Device,
};

use self::{
    draw::{Draw, Drawn},
    source::Source,
    workers::Workers,
};
use crate::{Error, Result, domain::DomainBatches};

pub use self::{builder::*, joined::*, micro::*};

/// A data loader over several domains: every step hands over one full mini-batch of each.
///
/// It is made by a [`DomainDataLoaderBuilder`] and is a burn [`DataLoader`] of [`DomainBatches`].
///
/// * A domain is an endless stream: its data set shuffled, then shuffled anew, and so on. Step $s$
///   takes the items $sb$ to $(s + 1)b - 1$ of it. So small domains cycle, every batch is full, and
///   nothing is discarded at the end of an epoch.
/// * Steps are numbered over the whole of training, and batch $s$ of a domain is a pure function of
///   the seed, the domain's name and $s$: neither the other domains nor the number of workers
///   enter. (The batcher and the data sets must be functions of the items too. What is done to an
///   item at random belongs in [`augment`](DomainDataLoaderBuilder::augment).)
/// * The batches carry that number, [`DomainBatches::step`]. Slices side by side count their epochs
///   by the same length, that of the longest, so that their numbers keep together.
/// * So the state is one number, the [`position`](Self::position). Written down with a
///   checkpoint and [set](Self::set_position) again, it continues in the middle of an epoch.
///
/// [`iter`](DataLoader::iter) goes from the position to the end of its epoch and moves the position
/// along; an iterator that is dropped early is continued by the next. A step that failed is an
/// `Err` in its place, the iterator can go on behind it, and the position waits there until it does.
/// One iterator is meant to run at a time: each of several would set the position.
///
/// [`slice`](DataLoader::slice) divides the items of every domain (and class) in the proportion of
/// the range to [`num_items`](DataLoader::num_items), and the steps of an epoch as well; slices side
/// by side share no item and leave none out. A slice without any item of some domain says so when
/// it is iterated.
///
/// ```
/// use burn::{
///     data::{dataloader::{DataLoader, batcher::Batcher}, dataset::InMemDataset},
///     tensor::{Device, Tensor},
/// };
/// use roga::domain::DomainDataLoaderBuilder;
///
/// #[derive(Clone)]
/// struct Stack;
/// impl Batcher<f32, Tensor<1>> for Stack {
///     fn batch(&self, items: Vec<f32>, device: &Device) -> Tensor<1> {
///         Tensor::from_floats(items.as_slice(), device)
///     }
/// }
///
/// let loader = DomainDataLoaderBuilder::new(Stack)
///     .batch_size(2)
///     .seed(42)
///     .domain("photo", InMemDataset::new(vec![0.0, 0.1, 0.2, 0.3, 0.4]))
///     .domain("sketch", InMemDataset::new(vec![1.0, 1.1]))
///     .build()?;
///
/// for domains in loader.iter() {
///     for (_name, batch) in domains?.iter() {
///         assert_eq!(batch.dims(), [2]);
///     }
/// }
/// assert_eq!(loader.position(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DomainDataLoader<I, B> {
    source: Arc<Source<I, B>>,
    seed: u64,
    steps: u64,
    /// By how much the batches' numbers grow over an epoch: the steps of the longest slice, so that
    /// slices side by side number alike.
    numbers: u64,
    draws: Mutex<Vec<Draw>>,
    position: AtomicU64,
    num_workers: usize,
    workers: OnceLock<Workers>,
}

impl<I: 'static, B: Send + 'static> DomainDataLoader<I, B> {
    fn new(source: Source<I, B>, seed: u64, steps: usize, num_workers: usize) -> Self {
        let draws = source.draws(seed);
        Self {
            source: Arc::new(source),
            seed,
            steps: steps as u64,
            numbers: steps as u64,
            draws: Mutex::new(draws),
            position: AtomicU64::new(0),
            num_workers,
            workers: OnceLock::new(),
        }
    }

    /// The domains' names, in the order of the batches.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.source.domains.iter().map(|domain| &domain.name)
    }

    /// The number of steps of an epoch: at least 1.
    pub fn steps_per_epoch(&self) -> usize {
        self.steps as usize
    }

    /// The number of the step that is handed over next, counted from the beginning of training.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Sets the number of the step that the next iterator begins with.
    ///
    /// It lies in epoch $\lfloor s / L \rfloor$, for $L$ [steps per epoch](Self::steps_per_epoch).
    pub fn set_position(&self, step: u64) {
        self.position.store(step, Ordering::Release);
    }

    /// With batches whose numbers grow by so much over an epoch, or by its steps if they are more.
    fn with_numbers(mut self, numbers: u64) -> Self {
        self.numbers = numbers.max(self.steps);
        self
    }

    /// The number of a step's batches.
    fn number(&self, step: u64) -> u64 {
        let (epoch, place) = (step / self.steps, step % self.steps);
        epoch.saturating_mul(self.numbers).saturating_add(place)
    }

    fn numbered(&self, step: u64, batches: DomainBatches<B>) -> DomainBatches<B> {
        let batches = batches.with_step(self.number(step));
        batches.of_shorter_slice(self.steps, self.numbers)
    }

    /// Items of all domains a step.
    fn items_per_step(&self) -> usize {
        let sizes = self.source.domains.iter().map(|domain| domain.batch_size);
        sizes.fold(0, usize::saturating_add)
    }

    /// Where the epoch that `step` lies in begins and where it ends.
    fn epoch(&self, step: u64) -> (u64, u64) {
        let begin = step - step % self.steps;
        (begin, begin.saturating_add(self.steps))
    }

    fn draw(&self, step: u64) -> Vec<Drawn> {
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        draws.iter_mut().map(|draw| draw.step(step)).collect()
    }

    /// The threads, if there are any.
    fn workers(&self) -> Option<&Workers> {
        let workers = self.workers.get_or_init(|| Workers::new(self.num_workers));
        (workers.len() > 0).then_some(workers)
    }
}

impl<I: 'static, B: Send + 'static> DataLoader<DomainBatches<B>> for DomainDataLoader<I, B> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<DomainBatches<B>> + 'a> {
        let next = self.position();
        let (begin, end) = self.epoch(next);
        Box::new(WithProgress(Epoch {
            loader: self,
            begin,
            next,
            ordered: next,
            end,
            waiting: VecDeque::new(),
            dropped: Arc::default(),
        }))
    }

    /// Items of all domains that an epoch hands over, those handed over again included.
    fn num_items(&self) -> usize {
        self.steps_per_epoch().saturating_mul(self.items_per_step())
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<DomainBatches<B>>> {
        let source = self.source.on(device.clone());
        let loader = Self::new(source, self.seed, self.steps_per_epoch(), self.num_workers)
            .with_numbers(self.numbers);
        loader.set_position(self.position());
        Arc::new(loader)
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<DomainBatches<B>>> {
        let part = Part::new(start, end, self.num_items());
        let source = self.source.part(part);
        let steps = part.of(self.steps_per_epoch()).len().max(1);
        let loader = Self::new(source, self.seed, steps, self.num_workers)
            .with_numbers(part.share(self.numbers));
        // The same epoch, and as far into it.
        let (begin, _) = self.epoch(self.position());
        let into = u128::from(self.position() - begin) * steps as u128 / u128::from(self.steps);
        let begin = (begin / self.steps).saturating_mul(loader.steps);
        loader.set_position(begin.saturating_add(into as u64));
        Arc::new(loader)
    }
}

impl<I, B> fmt::Debug for DomainDataLoader<I, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainDataLoader")
            .field("domains", &self.source.domains)
            .field("device", &self.source.device)
            .field("seed", &self.seed)
            .field("steps", &self.steps)
            .field("position", &self.position)
            .field("num_workers", &self.num_workers)
            .finish_non_exhaustive()
    }
}

/// One pass from the loader's position to the end of its epoch.
struct Epoch<'a, I, B> {
    loader: &'a DomainDataLoader<I, B>,
    begin: u64,
    next: u64,
    /// The first step that no worker was asked for yet.
    ordered: u64,
    end: u64,
    /// The replies of the steps that workers were asked for, in order.
    waiting: VecDeque<mpsc::Receiver<Result<DomainBatches<B>>>>,
    /// Tells the workers that nobody waits for the steps still in the queue.
    dropped: Arc<AtomicBool>,
}

impl<I: 'static, B: Send + 'static> Epoch<'_, I, B> {
    /// Asks the workers for steps until two each are under way: one in work, one in stock.
    fn order(&mut self, workers: &Workers) {
        while self.ordered < self.end && self.waiting.len() < 2 * workers.len() {
            let drawn = self.loader.draw(self.ordered);
            let (reply, waiting) = mpsc::sync_channel(1);
            let source = self.loader.source.clone();
            let dropped = self.dropped.clone();
            workers.run(Box::new(move || {
                if !dropped.load(Ordering::Acquire) {
                    // Nobody receives it where the iterator was dropped meanwhile.
                    let _ = reply.send(source.batches(drawn));
                }
            }));
            self.waiting.push_back(waiting);
            self.ordered += 1;
        }
    }

    fn take(&mut self) -> Result<DomainBatches<B>> {
        let Some(workers) = self.loader.workers() else {
            return self.loader.source.batches(self.loader.draw(self.next));
        };
        self.order(workers);
        let reply = self.waiting.pop_front().and_then(|reply| reply.recv().ok());
        reply.unwrap_or_else(|| {
            Err(Error::Domains {
                rule: "be read by the loader's workers",
                found: "a worker has ended".into(),
            })
        })
    }
}

impl<I: 'static, B: Send + 'static> Iterator for Epoch<'_, I, B> {
    type Item = Result<DomainBatches<B>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            self.loader.set_position(self.end);
            return None;
        }
        if let Err(error) = self.loader.source.check() {
            self.next = self.end;
            return Some(Err(DatasetError::new(error)));
        }
        let batches = self
            .take()
            .map(|batches| self.loader.numbered(self.next, batches));
        self.next += 1;
        if batches.is_ok() {
            self.loader.set_position(self.next);
        }
        Some(batches.map_err(DatasetError::new))
    }
}

impl<I, B> Drop for Epoch<'_, I, B> {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Release);
    }
}

impl<I: 'static, B: Send + 'static> Counted for Epoch<'_, I, B> {
    fn counted(&self) -> (usize, usize) {
        let items = self.loader.items_per_step();
        let processed = (self.next - self.begin) as usize;
        (processed.saturating_mul(items), self.loader.num_items())
    }
}

/// An iterator that knows how many items it has handed over, and of how many.
trait Counted {
    fn counted(&self) -> (usize, usize);
}

/// A [`Counted`] iterator as burn wants it: its `Progress` is named in this file only.
struct WithProgress<T>(T);

impl<T: Iterator> Iterator for WithProgress<T> {
    type Item = T::Item;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl<O, T> DataLoaderIterator<O> for WithProgress<T>
where
    T: Iterator<Item = Result<O, DatasetError>> + Counted,
{
    fn progress(&self) -> Progress {
        let (processed, total) = self.0.counted();
        Progress::new(processed, total, Some("items".into()))
    }
}

/// How much of its items an iterator has handed over: from 0 to 1.
fn done<O>(iterator: &dyn DataLoaderIterator<O>) -> f64 {
    let progress = iterator.progress();
    progress.items_processed as f64 / progress.items_total.max(1) as f64
}

/// The range from `start` to `end` of `total` items, and the same part of anything else.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    total: usize,
}

impl Part {
    fn new(start: usize, end: usize, total: usize) -> Self {
        let end = end.min(total);
        Self {
            start: start.min(end),
            end,
            total,
        }
    }

    /// How much of `len` the part is, rounded up.
    fn share(self, len: u64) -> u64 {
        let part = (self.end - self.start) as u128 * u128::from(len);
        part.div_ceil(self.total.max(1) as u128) as u64
    }

    /// This part of `len` items. Parts side by side meet without a gap.
    fn of(self, len: usize) -> std::ops::Range<usize> {
        let scale = |place| (place as u128 * len as u128 / self.total.max(1) as u128) as usize;
        scale(self.start)..scale(self.end)
    }
}

#[cfg(test)]
mod tests;
