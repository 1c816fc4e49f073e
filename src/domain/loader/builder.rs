use std::{collections::BTreeMap, fmt, sync::Arc};

use burn::{
    data::{
        dataloader::batcher::Batcher,
        dataset::{Dataset, DatasetError},
    },
    tensor::Device,
};

use super::{
    DomainDataLoader,
    source::{Augment, Domain, Source},
};
use crate::{
    Error, Result,
    domain::{EpochLength, batch::check_names},
};

/// The places of each class's items, the classes in their order.
type Classes = Vec<Arc<[usize]>>;

/// Sorts a data set's items by class.
type ReadClasses<I> = Arc<dyn Fn(&dyn Dataset<I>) -> Result<Classes, DatasetError>>;

/// Makes a [`DomainDataLoader`].
///
/// It is set like burn's `DataLoaderBuilder`; the domains are its data sets, each under a name.
///
/// ```
/// # use burn::{data::{dataloader::{DataLoader, batcher::Batcher}, dataset::InMemDataset}, tensor::Device};
/// # #[derive(Clone)]
/// # struct Keep;
/// # impl Batcher<(f32, bool), Vec<(f32, bool)>> for Keep {
/// #     fn batch(&self, items: Vec<(f32, bool)>, _: &Device) -> Vec<(f32, bool)> { items }
/// # }
/// # let (swapped, mouths) = (vec![(0.1, true), (0.2, false)], vec![(0.3, true), (0.4, false)]);
/// use roga::domain::{DomainDataLoaderBuilder, DomainSource, EpochLength};
///
/// let loader = DomainDataLoaderBuilder::new(Keep)
///     .batch_size(8)
///     .seed(42)
///     .num_workers(2)
///     .epoch(EpochLength::Steps(100))
///     .class_balanced(|(_picture, fake): &(f32, bool)| *fake)
///     .domain("face-swap", InMemDataset::new(swapped))
///     .domain_with("mouth", DomainSource::new(InMemDataset::new(mouths)).with_batch_size(4))
///     .build()?;
/// assert_eq!(loader.num_items(), 100 * (8 + 4));
/// # Ok::<(), roga::Error>(())
/// ```
pub struct DomainDataLoaderBuilder<I, B> {
    batcher: Arc<dyn Batcher<I, B>>,
    batch_size: usize,
    seed: u64,
    num_workers: usize,
    epoch: EpochLength,
    read_classes: Option<ReadClasses<I>>,
    augment: Option<Augment<I>>,
    device: Option<Device>,
    domains: Vec<(Arc<str>, DomainSource<I>)>,
}

const MAX_WORKERS: usize = 1024;

impl<I: 'static, B: Send + 'static> DomainDataLoaderBuilder<I, B> {
    /// Begins with the batcher of all domains: batch size 1, seed 0, no workers, epochs as long as
    /// the longest domain, items drawn regardless of their class, on the default device.
    pub fn new(batcher: impl Batcher<I, B> + 'static) -> Self {
        Self {
            batcher: Arc::new(batcher),
            batch_size: 1,
            seed: 0,
            num_workers: 0,
            epoch: EpochLength::default(),
            read_classes: None,
            augment: None,
            device: None,
            domains: Vec::new(),
        }
    }

    /// Sets the number of items each domain hands over a step: from 1 to $2^{24}$.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Sets the seed of all shuffles.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the number of threads that make batches ahead, two each at most, from 0 to 1024. With 0
    /// they are made when they are asked for.
    ///
    /// The number changes the speed, never the batches or their order.
    pub fn num_workers(mut self, num_workers: usize) -> Self {
        self.num_workers = num_workers;
        self
    }

    /// Sets the length of an epoch.
    pub fn epoch(mut self, epoch: EpochLength) -> Self {
        self.epoch = epoch;
        self
    }

    /// Draws the same number of items from every class of a domain.
    ///
    /// Of $b$ items a step, each of a domain's $C$ classes has $\lfloor b / C \rfloor$ or
    /// $\lceil b / C \rceil$, and who has more rotates over the steps; every class cycles by itself
    /// with shuffles of its own. Classes take turns within a batch.
    ///
    /// The class is read from every item once, when the loader is built. Where items are expensive
    /// to read, [`DomainSource::with_classes`] says the classes without reading any.
    pub fn class_balanced<C: Ord>(mut self, class: impl Fn(&I) -> C + 'static) -> Self {
        self.read_classes = Some(Arc::new(move |dataset| {
            let classes: Result<Vec<C>, _> = (0..dataset.len())
                .map(|index| Ok(class(&dataset.get(index)?)))
                .collect();
            Ok(by_class(classes?))
        }));
        self
    }

    /// Changes every item at random when it is handed over, on the worker that makes its batch.
    ///
    /// The function is given the item and a random number to seed its generator with. The number
    /// is a pure function of the loader's seed, the domain's name, the step and the item's place in
    /// the batch: every time an item comes round it is another one, and a resumed run and any number
    /// of workers see the same.
    pub fn augment(mut self, augment: impl Fn(I, u64) -> I + Send + Sync + 'static) -> Self {
        self.augment = Some(Arc::new(augment));
        self
    }

    /// Sets the device that batches are made on.
    pub fn set_device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Adds a domain.
    pub fn domain(self, name: impl Into<Arc<str>>, dataset: impl Dataset<I> + 'static) -> Self {
        self.domain_with(name, DomainSource::new(dataset))
    }

    /// Adds a domain with settings of its own.
    pub fn domain_with(mut self, name: impl Into<Arc<str>>, source: DomainSource<I>) -> Self {
        self.domains.push((name.into(), source));
        self
    }

    /// Adds domains, each with its name.
    pub fn domains<N: Into<Arc<str>>, D: Dataset<I> + 'static>(
        self,
        domains: impl IntoIterator<Item = (N, D)>,
    ) -> Self {
        domains.into_iter().fold(self, |builder, (name, dataset)| {
            builder.domain(name, dataset)
        })
    }

    /// Makes the loader.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where there is no domain, a name stands twice, a data set is empty, or a
    /// domain that is to be drawn class by class has one class only or not one class an item;
    /// [`Error::Setting`] for a batch size or a number of steps or workers out of its range;
    /// [`Error::Data`] where an item could not be read for its class.
    pub fn build(self) -> Result<DomainDataLoader<I, B>> {
        check_names(self.domains.iter().map(|(name, _)| &**name))?;
        if self.num_workers > MAX_WORKERS {
            return Err(Error::Setting {
                field: "num_workers",
                rule: "be at most 1024",
                value: self.num_workers.to_string(),
            });
        }
        let domains: Result<Vec<_>> = self
            .domains
            .into_iter()
            .map(|(name, source)| source.domain(name, self.batch_size, &self.read_classes))
            .collect();
        let domains = domains?;
        let sizes = domains
            .iter()
            .map(|domain| (domain.dataset.len(), domain.batch_size));
        let steps = self.epoch.steps(sizes)?;
        let source = Source {
            domains,
            batcher: self.batcher,
            augment: self.augment,
            device: self.device.unwrap_or_default(),
        };
        Ok(DomainDataLoader::new(
            source,
            self.seed,
            steps,
            self.num_workers,
        ))
    }
}

impl<I, B> fmt::Debug for DomainDataLoaderBuilder<I, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainDataLoaderBuilder")
            .field("batch_size", &self.batch_size)
            .field("seed", &self.seed)
            .field("num_workers", &self.num_workers)
            .field("epoch", &self.epoch)
            .field("class_balanced", &self.read_classes.is_some())
            .field("augmented", &self.augment.is_some())
            .field("device", &self.device)
            .field("domains", &self.domains)
            .finish_non_exhaustive()
    }
}

/// A domain's data set with settings of its own.
pub struct DomainSource<I> {
    dataset: Arc<dyn Dataset<I>>,
    batch_size: Option<usize>,
    /// How many items the classes were given for, and the places of each class's items.
    classes: Option<(usize, Classes)>,
}

impl<I> DomainSource<I> {
    /// Begins without settings of its own.
    pub fn new(dataset: impl Dataset<I> + 'static) -> Self {
        Self {
            dataset: Arc::new(dataset),
            batch_size: None,
            classes: None,
        }
    }

    /// Sets the number of this domain's items a step, in place of the loader's.
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = Some(batch_size);
        self
    }

    /// Draws the same number of items from each of these classes, one named for every item in the
    /// data set's order. No item is read for it.
    pub fn with_classes<C: Ord>(mut self, classes: impl IntoIterator<Item = C>) -> Self {
        let classes: Vec<C> = classes.into_iter().collect();
        self.classes = Some((classes.len(), by_class(classes)));
        self
    }

    fn domain(
        self,
        name: Arc<str>,
        batch_size: usize,
        read_classes: &Option<ReadClasses<I>>,
    ) -> Result<Domain<I>> {
        let len = self.dataset.len();
        let refused = |rule, found: String| Err(Error::Domains { rule, found });
        if len == 0 {
            return refused("hold an item each", format!("`{name}` holds none"));
        }
        let classes = match (self.classes, read_classes) {
            (Some((named, _)), _) if named != len => {
                let found = format!("`{name}` has {len} items and {named} classes for them");
                return refused("have one class an item", found);
            }
            (Some((_, classes)), _) => Some(classes),
            (None, Some(read)) => Some(read(&*self.dataset).map_err(|error| Error::Data {
                domain: name.to_string(),
                source: error.into(),
            })?),
            (None, None) => None,
        };
        if classes.as_ref().is_some_and(|classes| classes.len() < 2) {
            return refused(
                "have two classes each to be drawn class by class",
                format!("`{name}` has one"),
            );
        }
        Ok(Domain {
            name,
            dataset: self.dataset,
            batch_size: self.batch_size.unwrap_or(batch_size),
            classes: classes.unwrap_or_else(|| vec![(0..len).collect()]),
        })
    }
}

impl<I> fmt::Debug for DomainSource<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainSource")
            .field("items", &self.dataset.len())
            .field("batch_size", &self.batch_size)
            .field(
                "classes",
                &self.classes.as_ref().map(|(_, list)| list.len()),
            )
            .finish_non_exhaustive()
    }
}

/// The places of each class, the classes in their order.
fn by_class<C: Ord>(classes: Vec<C>) -> Classes {
    let mut places = BTreeMap::<C, Vec<usize>>::new();
    for (place, class) in classes.into_iter().enumerate() {
        places.entry(class).or_default().push(place);
    }
    places.into_values().map(Into::into).collect()
}
