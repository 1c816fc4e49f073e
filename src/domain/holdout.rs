use std::sync::Arc;

use serde::Serialize;

use super::batch::check_names;
use crate::{Error, Result};

/// The leave-one-domain-out protocol: every domain is the test domain once, and the model is
/// trained on all the others.
///
/// This is how results are *reported*. How a checkpoint or a setting is *chosen* is another matter:
/// a [`Selection`](super::Selection).
///
/// An iterator of one [`DomainSplit`] per domain, in the order of the names.
/// Source: Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021,
/// arXiv:2007.01434.
///
/// ```
/// use roga::domain::LeaveOneDomainOut;
///
/// let tests: Vec<String> = LeaveOneDomainOut::new(["photo", "sketch", "cartoon"])?
///     .map(|split| split.test().concat())
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
        Some(DomainSplit {
            train,
            test: vec![test],
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.names.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for LeaveOneDomainOut {}

/// The domains to train on, and those to test on: one turn of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainSplit {
    pub(super) train: Vec<Arc<str>>,
    pub(super) test: Vec<Arc<str>>,
}

impl DomainSplit {
    /// The names of the domains to train on, at least one, in their order.
    pub fn train(&self) -> &[Arc<str>] {
        &self.train
    }

    /// The names of the domains to test on, at least one, in their order.
    ///
    /// With [`Protocol::WithinDomain`](super::Protocol::WithinDomain) it is the domain that is
    /// trained on, with all others a domain that is not.
    pub fn test(&self) -> &[Arc<str>] {
        &self.test
    }

    /// Divides what belongs to the domains, each thing under its domain's name.
    ///
    /// The test domains' comes back in a type of its own, which nothing that trains accepts.
    ///
    /// ```
    /// # use roga::domain::LeaveOneDomainOut;
    /// for split in LeaveOneDomainOut::new(["photo", "sketch"])? {
    ///     let data = [("photo", vec![1, 2]), ("sketch", vec![3])];
    ///     let parts = split.partition(data)?;
    ///     assert_eq!(parts.train.len(), 1); // for `DomainDataLoaderBuilder::domains`
    ///     for test in parts.test {
    ///         let (_name, _items) = test.for_testing();
    ///     }
    /// }
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where the names are not those of this split, each once, and where a
    /// domain is both trained and tested on: its parts are for [`training`](Self::training) and
    /// [`testing`](Self::testing).
    pub fn partition<N: Into<Arc<str>>, T>(
        &self,
        domains: impl IntoIterator<Item = (N, T)>,
    ) -> Result<HeldOut<T>> {
        if let Some(both) = self.test.iter().find(|name| self.train.contains(name)) {
            return Err(Error::Domains {
                rule: "be in parts where one is both trained and tested on",
                found: format!("`{both}` was handed over as a whole"),
            });
        }
        let domains = named(domains)?;
        let known = |name| self.train.contains(name) || self.test.contains(name);
        if let Some((other, _)) = domains.iter().find(|(name, _)| !known(name)) {
            return Err(not_of_the_split(format!("`{other}` is not among them")));
        }
        let (train, test) = domains
            .into_iter()
            .partition(|(name, _)| self.train.contains(name));
        Ok(HeldOut {
            train: complete(&self.train, train)?,
            test: set_apart(complete(&self.test, test)?),
        })
    }

    /// Of the training parts of all domains, or of their validation parts, those of the domains to
    /// train on; the others are dropped.
    ///
    /// With [`testing`](Self::testing), for domains that were divided into parts before, by a
    /// [`GroupSplit`](super::GroupSplit): so that no person of the test pictures is trained on, or
    /// because domains are tested on themselves.
    ///
    /// ```
    /// use roga::domain::{GroupSplit, Protocol, Seeds};
    ///
    /// let seeds = Seeds { hyper_parameters: 0, split: 7, run: 1 };
    /// let persons = ["ann", "bob", "cyd", "dan"]; // of every domain's four pictures
    /// let parts = GroupSplit::new(persons, &[0.5, 0.25, 0.25], seeds.split)?.indices(&persons);
    /// let of = |part: usize| ["photo", "sketch"].map(|domain| (domain, parts[part].clone()));
    ///
    /// for split in Protocol::WithinDomain.turns(["photo", "sketch"])? {
    ///     assert_eq!(split.train(), split.test());
    ///     let (train, validation) = (split.training(of(0))?, split.training(of(1))?);
    ///     assert_eq!((train[0].1.len(), validation[0].1.len()), (2, 1));
    ///     for test in split.testing(of(2))? {
    ///         assert_eq!(test.for_testing().1, parts[2]);
    ///     }
    /// }
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where a domain to train on is missing, or a name stands twice.
    pub fn training<N: Into<Arc<str>>, T>(
        &self,
        parts: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Vec<(Arc<str>, T)>> {
        complete(&self.train, named(parts)?)
    }

    /// Of the test parts of all domains, those of the domains to test on; the others are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where a domain to test on is missing, or a name stands twice.
    pub fn testing<N: Into<Arc<str>>, T>(
        &self,
        parts: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Vec<TestDomain<T>>> {
        Ok(set_apart(complete(&self.test, named(parts)?)?))
    }
}

fn named<N: Into<Arc<str>>, T>(
    domains: impl IntoIterator<Item = (N, T)>,
) -> Result<Vec<(Arc<str>, T)>> {
    let domains: Vec<(Arc<str>, T)> = domains
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
    check_names(domains.iter().map(|(name, _)| &**name))?;
    Ok(domains)
}

/// What belongs to the domains of these names, all of which have to be there.
fn complete<T>(names: &[Arc<str>], domains: Vec<(Arc<str>, T)>) -> Result<Vec<(Arc<str>, T)>> {
    let is_missing = |name: &&Arc<str>| domains.iter().all(|(present, _)| present != *name);
    if let Some(missing) = names.iter().find(is_missing) {
        return Err(not_of_the_split(format!("`{missing}` is missing")));
    }
    let wanted = domains.into_iter().filter(|(name, _)| names.contains(name));
    Ok(wanted.collect())
}

fn set_apart<T>(domains: Vec<(Arc<str>, T)>) -> Vec<TestDomain<T>> {
    let set_apart = |(name, value)| TestDomain { name, value };
    domains.into_iter().map(set_apart).collect()
}

fn not_of_the_split(found: String) -> Error {
    Error::Domains {
        rule: "be those that the split names",
        found,
    }
}

/// What belongs to the domains, the test domains' set apart.
#[derive(Clone, Debug)]
pub struct HeldOut<T> {
    /// The training domains', in the order in which they were handed over.
    pub train: Vec<(Arc<str>, T)>,
    /// The test domains', likewise.
    pub test: Vec<TestDomain<T>>,
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
            assert_eq!(split.test().len(), 1);
            assert!(!split.train().contains(&split.test()[0]));
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
        let [test] = <[_; 1]>::try_from(parts.test).unwrap();
        assert_eq!(&**test.name(), "b");
        assert_eq!(test.for_testing(), ("b".into(), 2));
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

    #[test]
    fn of_parts_those_of_the_split_are_taken() {
        let mut splits = LeaveOneDomainOut::new(["a", "b", "c"]).unwrap();
        let split = splits.nth(1).unwrap();
        let parts = |factor: i32| [("c", 3 * factor), ("b", 2 * factor), ("a", factor)];
        let train = split.training(parts(10)).unwrap();
        assert_eq!(train, [("c".into(), 30), ("a".into(), 10)]);
        let test: Vec<_> = split.testing(parts(1)).unwrap();
        let test: Vec<_> = test.into_iter().map(TestDomain::for_testing).collect();
        assert_eq!(test, [("b".into(), 2)]);
        let refused = split.training([("a", 1), ("b", 2)]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "domains must be those that the split names, but `c` is missing"
        );
        assert!(split.testing([("a", 1), ("c", 2)]).is_err());
        assert!(split.training([("a", 1), ("c", 2), ("a", 3)]).is_err());
    }

    #[test]
    fn a_domain_that_is_trained_and_tested_on_is_not_handed_over_as_a_whole() {
        let split = DomainSplit {
            train: vec!["a".into()],
            test: vec!["a".into()],
        };
        let refused = split.partition([("a", 1)]).unwrap_err().to_string();
        assert!(
            refused.ends_with("`a` was handed over as a whole"),
            "{refused}"
        );
    }
}
