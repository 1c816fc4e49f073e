use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use burn::{
    data::{dataloader::batcher::Batcher, dataset::Dataset},
    tensor::Device,
};

use super::{
    Part,
    draw::{Draw, Drawn},
};
use crate::{BoxError, Error, Result, domain::DomainBatches};

/// What is done to an item at random when it is handed over.
pub(super) type Augment<I> = Arc<dyn Fn(I, u64) -> I + Send + Sync>;

/// Turns drawn numbers into batches.
pub(super) struct Source<I, B> {
    pub domains: Vec<Domain<I>>,
    pub batcher: Arc<dyn Batcher<I, B>>,
    pub augment: Option<Augment<I>>,
    pub device: Device,
}

/// A domain as it is drawn from.
pub(super) struct Domain<I> {
    pub name: Arc<str>,
    pub dataset: Arc<dyn Dataset<I>>,
    pub batch_size: usize,
    /// The places of each class's items: one list of all, where classes do not matter.
    pub classes: Vec<Arc<[usize]>>,
}

impl<I, B> Source<I, B> {
    /// The streams of the domains, from their beginning.
    pub fn draws(&self, seed: u64) -> Vec<Draw> {
        self.domains
            .iter()
            .map(|domain| Draw::new(seed, &domain.name, &domain.classes, domain.batch_size))
            .collect()
    }

    /// The same on another device.
    pub fn on(&self, device: Device) -> Self {
        Self {
            domains: self.domains.clone(),
            batcher: self.batcher.clone(),
            augment: self.augment.clone(),
            device,
        }
    }

    /// The same with a part of every domain's items.
    pub fn part(&self, part: Part) -> Self {
        let mut source = self.on(self.device.clone());
        for classes in source.domains.iter_mut().map(|domain| &mut domain.classes) {
            for items in classes {
                *items = items.get(part.of(items.len())).unwrap_or_default().into();
            }
        }
        source
    }

    /// Refuses a part that left a domain or a class without items.
    pub fn check(&self) -> Result<()> {
        for domain in &self.domains {
            if domain.classes.iter().any(|items| items.is_empty()) {
                return Err(Error::Domains {
                    rule: "hold an item of each class in every slice",
                    found: format!("a slice of `{}` holds none", domain.name),
                });
            }
        }
        Ok(())
    }

    /// One batch of every domain. A panic in a data set or in the batcher is an error as well.
    pub fn batches(&self, drawn: Vec<Drawn>) -> Result<DomainBatches<B>> {
        let batches: Result<Vec<_>> = self
            .domains
            .iter()
            .zip(drawn)
            .map(|(domain, drawn)| {
                // Nothing of ours is left half-changed by an unwinding: all of it is read only.
                let batch = catch_unwind(AssertUnwindSafe(|| self.batch(domain, drawn)))
                    .unwrap_or_else(|panic| Err(told(&*panic)))
                    .map_err(|source| Error::Data {
                        domain: domain.name.to_string(),
                        source,
                    })?;
                Ok((domain.name.clone(), batch))
            })
            .collect();
        DomainBatches::new(batches?)
    }

    fn batch(&self, domain: &Domain<I>, drawn: Drawn) -> Result<B, BoxError> {
        let expected = drawn.indices.len();
        let mut items = domain.dataset.get_many(drawn.indices)?;
        if items.len() != expected {
            let found = items.len();
            return Err(format!("{expected} items were asked for, but {found} came").into());
        }
        if let Some(augment) = &self.augment {
            items = items
                .into_iter()
                .zip(drawn.seeds)
                .map(|(item, seed)| augment(item, seed))
                .collect();
        }
        Ok(self.batcher.batch(items, &self.device))
    }
}

/// The message of a panic.
fn told(panic: &(dyn Any + Send)) -> BoxError {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    format!("reading or batching its items panicked: {message}").into()
}

impl<I> Clone for Domain<I> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            dataset: self.dataset.clone(),
            batch_size: self.batch_size,
            classes: self.classes.clone(),
        }
    }
}

impl<I> fmt::Debug for Domain<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes: Vec<usize> = self.classes.iter().map(|items| items.len()).collect();
        f.debug_struct("Domain")
            .field("name", &self.name)
            .field("batch_size", &self.batch_size)
            .field("items_per_class", &classes)
            .finish_non_exhaustive()
    }
}
