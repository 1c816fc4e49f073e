use std::sync::Arc;

use super::batch::check_names;
use crate::{Error, Result};

/// The leave-one-domain-out protocol: every domain is the test domain once, and the model is
/// trained on all the others.
///
/// This is how results are *reported*. How a checkpoint or a setting is *chosen* is another matter,
/// and must be settled on the training domains: a choice on the test domain is an oracle's.
///
/// An iterator of one [`DomainSplit`] per domain, in the order of the names.
/// Source: Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021,
/// arXiv:2007.01434.
///
/// ```
/// use roga::domain::LeaveOneDomainOut;
///
/// let tests: Vec<String> = LeaveOneDomainOut::new(["photo", "sketch", "cartoon"])?
///     .map(|split| split.test().to_string())
///     .collect();
/// assert_eq!(tests, ["photo", "sketch", "cartoon"]);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeaveOneDomainOut {
    names: Vec<Arc<str>>,
    next: usize,
}

impl LeaveOneDomainOut {
    /// Begins with the first domain left out.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where there are fewer than two domains, or a name stands twice.
    pub fn new<N: Into<Arc<str>>>(names: impl IntoIterator<Item = N>) -> Result<Self> {
        let names: Vec<Arc<str>> = names.into_iter().map(Into::into).collect();
        check_names(names.iter().map(|name| &**name))?;
        if let [only] = &names[..] {
            return Err(Error::Domains {
                rule: "be at least two for one to be left out",
                found: format!("`{only}` is the only one"),
            });
        }
        Ok(Self { names, next: 0 })
    }
}

impl Iterator for LeaveOneDomainOut {
    type Item = DomainSplit;

    fn next(&mut self) -> Option<DomainSplit> {
        let test = self.names.get(self.next)?.clone();
        let mut train = self.names.clone();
        train.remove(self.next);
        self.next += 1;
        Some(DomainSplit { train, test })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.names.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for LeaveOneDomainOut {}

/// The domains to train on, and the one to test on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSplit {
    train: Vec<Arc<str>>,
    test: Arc<str>,
}

impl DomainSplit {
    /// The names of the domains to train on, at least one, in their order.
    pub fn train(&self) -> &[Arc<str>] {
        &self.train
    }

    /// The name of the domain to test on.
    pub fn test(&self) -> &Arc<str> {
        &self.test
    }

    /// Divides what belongs to the domains, each thing under its domain's name.
    ///
    /// The test domain's comes back in a type of its own, which nothing that trains accepts.
    ///
    /// ```
    /// # use roga::domain::LeaveOneDomainOut;
    /// for split in LeaveOneDomainOut::new(["photo", "sketch"])? {
    ///     let data = [("photo", vec![1, 2]), ("sketch", vec![3])];
    ///     let parts = split.partition(data)?;
    ///     assert_eq!(parts.train.len(), 1); // for `DomainDataLoaderBuilder::domains`
    ///     let (_name, _items) = parts.test.for_testing();
    /// }
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where the names are not those of this split, each once.
    pub fn partition<N: Into<Arc<str>>, T>(
        &self,
        domains: impl IntoIterator<Item = (N, T)>,
    ) -> Result<HeldOut<T>> {
        let domains: Vec<(Arc<str>, T)> = domains
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect();
        check_names(domains.iter().map(|(name, _)| &**name))?;
        let refused = |found| Error::Domains {
            rule: "be those that the split names",
            found,
        };
        let mut test = None;
        let mut train = Vec::with_capacity(self.train.len());
        for (name, value) in domains {
            if name == self.test {
                test = Some(TestDomain { name, value });
            } else if self.train.contains(&name) {
                train.push((name, value));
            } else {
                return Err(refused(format!("`{name}` is not among them")));
            }
        }
        if let Some(missing) = self.train.iter().find(|name| is_missing(&train, name)) {
            return Err(refused(format!("`{missing}` is missing")));
        }
        let test = test.ok_or_else(|| refused(format!("`{}` is missing", self.test)))?;
        Ok(HeldOut { train, test })
    }
}

fn is_missing<T>(domains: &[(Arc<str>, T)], name: &Arc<str>) -> bool {
    domains.iter().all(|(present, _)| present != name)
}

/// What belongs to the domains, the test domain's set apart.
#[derive(Clone, Debug)]
pub struct HeldOut<T> {
    /// The training domains', in the order in which they were handed over.
    pub train: Vec<(Arc<str>, T)>,
    /// The test domain's.
    pub test: TestDomain<T>,
}

/// What belongs to a test domain.
///
/// It is of no use but to [`for_testing`](Self::for_testing), so that whoever trains on it has to
/// write that down.
#[derive(Clone, Debug)]
#[must_use]
pub struct TestDomain<T> {
    name: Arc<str>,
    value: T,
}

impl<T> TestDomain<T> {
    /// The domain's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The domain's name and what belongs to it, once training and every choice are over.
    pub fn for_testing(self) -> (Arc<str>, T) {
        (self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_is_left_out_once() {
        let splits = LeaveOneDomainOut::new(["a", "b", "c"]).unwrap();
        assert_eq!(splits.len(), 3);
        for split in splits {
            assert_eq!(split.train().len(), 2);
            assert!(!split.train().contains(split.test()));
        }
    }

    #[test]
    fn names_that_cannot_work_are_refused() {
        for names in [&[][..], &["a"], &["a", "a"]] {
            let refused = LeaveOneDomainOut::new(names.iter().copied());
            assert!(matches!(refused, Err(Error::Domains { .. })), "{names:?}");
        }
    }

    #[test]
    fn the_test_domain_is_set_apart() {
        let mut splits = LeaveOneDomainOut::new(["a", "b", "c"]).unwrap();
        let split = splits.nth(1).unwrap();
        let parts = split.partition([("c", 3), ("b", 2), ("a", 1)]).unwrap();
        assert_eq!(parts.train, [("c".into(), 3), ("a".into(), 1)]);
        assert_eq!(&**parts.test.name(), "b");
        assert_eq!(parts.test.for_testing(), ("b".into(), 2));
    }

    #[test]
    fn other_domains_are_refused() {
        let split = LeaveOneDomainOut::new(["a", "b"]).unwrap().next().unwrap();
        for names in [
            &["a"][..],
            &["b"],
            &["a", "b", "c"],
            &["a", "b", "b"],
            &["a", "c"],
        ] {
            let refused = split.partition(names.iter().map(|&name| (name, ())));
            assert!(matches!(refused, Err(Error::Domains { .. })), "{names:?}");
        }
    }
}
