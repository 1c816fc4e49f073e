use std::sync::Arc;

use crate::{Error, Result};

/// One mini-batch for each of $K$ named domains: what one step of training sees.
///
/// The order of the domains is kept. It decides the order of the passes, and so in which order
/// running statistics are updated, and which of `domain_weights` belongs to which domain.
///
/// ```
/// use roga::domain::DomainBatches;
///
/// let batches = DomainBatches::new([("photo", vec![1, 2]), ("sketch", vec![3])])?;
/// assert_eq!(batches.len(), 2);
/// assert!(DomainBatches::new([("photo", 1), ("photo", 2)]).is_err());
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DomainBatches<B> {
    domains: Vec<(Arc<str>, B)>,
    step: Option<u64>,
    /// The steps of an epoch of the loader's slice that they are of, and those of the longest slice, where that has more.
    shorter: Option<[u64; 2]>,
}

impl<B> DomainBatches<B> {
    /// Names the batches.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where there is no domain, or a name stands twice.
    pub fn new<N: Into<Arc<str>>>(batches: impl IntoIterator<Item = (N, B)>) -> Result<Self> {
        let domains: Vec<(Arc<str>, B)> = batches
            .into_iter()
            .map(|(name, batch)| (name.into(), batch))
            .collect();
        check_names(domains.iter().map(|(name, _)| &**name))?;
        Ok(Self {
            domains,
            step: None,
            shorter: None,
        })
    }

    /// Names the batches `domain 0`, `domain 1`, ….
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where there is no batch.
    pub fn unnamed(batches: impl IntoIterator<Item = B>) -> Result<Self> {
        Self::new(
            batches
                .into_iter()
                .enumerate()
                .map(|(index, batch)| (format!("domain {index}"), batch)),
        )
    }

    /// Says which step of training the batches are for, counted from 0 over all epochs.
    ///
    /// [`RobustGradient`](crate::optim::RobustGradient) takes the number of its step from here,
    /// where there is one.
    pub fn with_step(mut self, step: u64) -> Self {
        self.step = Some(step);
        self
    }

    /// Of a slice of a loader that has fewer steps in an epoch than the longest of its slices.
    #[cfg(feature = "dataset")]
    pub(crate) fn of_shorter_slice(mut self, steps: u64, longest: u64) -> Self {
        self.shorter = (steps < longest).then_some([steps, longest]);
        self
    }

    /// Refuses batches of a slice that ends before others.
    #[cfg(feature = "train")]
    pub(crate) fn check_slice(&self) -> Result<()> {
        match self.shorter {
            Some([steps, longest]) => Err(Error::Domains {
                rule: "be of slices of a loader with as many steps each under `ExecutionStrategy::ddp`: an epoch's steps a \
                       multiple of the devices",
                found: format!("a slice of {steps} beside one of {longest}"),
            }),
            None => Ok(()),
        }
    }

    /// Which step of training the batches are for, where a loader has numbered them.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// The number of domains, $K$: at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.domains.len()
    }

    /// The domains' names and batches, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &B)> {
        self.domains.iter().map(|(name, batch)| (name, batch))
    }

    /// The domains' names, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.domains.iter().map(|(name, _)| name)
    }

    /// The batches under the same names, each changed by a function.
    pub fn map<C>(self, mut change: impl FnMut(B) -> C) -> DomainBatches<C> {
        DomainBatches {
            domains: self
                .domains
                .into_iter()
                .map(|(name, batch)| (name, change(batch)))
                .collect(),
            step: self.step,
            shorter: self.shorter,
        }
    }
}

/// Refuses an empty list of domains and names that stand twice.
pub(crate) fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::Domains {
                rule: "have names of their own",
                found: format!("`{name}` stands twice"),
            });
        }
    }
    if seen.is_empty() {
        return Err(Error::Domains {
            rule: "be at least one",
            found: "there is none".into(),
        });
    }
    Ok(())
}
