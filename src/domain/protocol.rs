use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DomainSplit, LeaveOneDomainOut, batch::check_names};
use crate::{Error, Result};

/// Which domains are trained on and which are tested on: how results are *reported*.
///
/// ```
/// use roga::domain::Protocol;
///
/// let domains = ["ff++/deepfakes", "ff++/face2face", "celeb-df", "dfdc"];
/// let protocol = Protocol::CrossDomain {
///     train: vec!["ff++".into()], // all domains of that data set
///     test: vec!["celeb-df".into(), "dfdc".into()],
/// };
/// let turns = protocol.turns(domains)?;
/// assert_eq!(turns.len(), 1);
/// assert_eq!(turns[0].train().join(" "), "ff++/deepfakes ff++/face2face");
/// assert_eq!(Protocol::LeaveOneDomainOut.turns(domains)?.len(), 4);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Protocol {
    /// Every domain is the test domain once, and the model is trained on all the others: see
    /// [`LeaveOneDomainOut`](super::LeaveOneDomainOut).
    LeaveOneDomainOut,
    /// Trained once on some domains, and tested on others.
    ///
    /// A name stands for the domain of that name, or for a whole data set: for all domains whose
    /// name begins with it and a `/`. Domains that are not named have no part.
    CrossDomain {
        /// The domains, or data sets, to train on: at least one.
        train: Vec<Arc<str>>,
        /// Those to test on: at least one, and none of the former.
        test: Vec<Arc<str>>,
    },
    /// Every domain by itself: the model is trained on one part of it and tested on another.
    ///
    /// The parts are those of a [`GroupSplit`](super::GroupSplit), so that no person or video is in
    /// two of them; they go through [`DomainSplit::training`] and [`DomainSplit::testing`].
    WithinDomain,
}

impl Protocol {
    /// The trainings that the protocol asks for, from the names of all domains at hand.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where there are too few domains, a name stands twice or is not that of a
    /// domain or data set at hand, and where a domain would be both trained and tested on across
    /// domains.
    pub fn turns<N: Into<Arc<str>>>(
        &self,
        domains: impl IntoIterator<Item = N>,
    ) -> Result<Vec<DomainSplit>> {
        let domains: Vec<Arc<str>> = domains.into_iter().map(Into::into).collect();
        check_names(domains.iter().map(|name| &**name))?;
        match self {
            Self::LeaveOneDomainOut => Ok(LeaveOneDomainOut::new(domains)?.collect()),
            Self::CrossDomain { train, test } => {
                let (train, test) = (members(train, &domains)?, members(test, &domains)?);
                match test.iter().find(|name| train.contains(name)) {
                    Some(both) => Err(Error::Domains {
                        rule: "be either trained or tested on",
                        found: format!("`{both}` is in both lists"),
                    }),
                    None => Ok(vec![DomainSplit { train, test }]),
                }
            }
            Self::WithinDomain => {
                let by_itself = |name: Arc<str>| DomainSplit {
                    train: vec![name.clone()],
                    test: vec![name],
                };
                Ok(domains.into_iter().map(by_itself).collect())
            }
        }
    }
}

/// The domains that the names of domains and data sets stand for.
fn members(names: &[Arc<str>], domains: &[Arc<str>]) -> Result<Vec<Arc<str>>> {
    let mut members = Vec::new();
    for name in names {
        let of_set = |domain: &str| {
            let rest = domain.strip_prefix(&**name);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let before = members.len();
        let named = |domain: &&Arc<str>| *domain == name || of_set(domain);
        members.extend(domains.iter().filter(named).cloned());
        if members.len() == before {
            return Err(Error::Domains {
                rule: "be named as they are, or by their data set",
                found: format!("`{name}` is none of `{}`", domains.join("`, `")),
            });
        }
    }
    check_names(members.iter().map(|name| &**name))?;
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAINS: [&str; 5] = ["ff/a", "ff/b", "ffx", "celeb", "dfdc"];

    fn cross(train: &[&str], test: &[&str]) -> Result<Vec<DomainSplit>> {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let protocol = Protocol::CrossDomain {
            train: names(train),
            test: names(test),
        };
        protocol.turns(DOMAINS)
    }

    #[test]
    fn leaving_one_out_is_that_of_the_iterator() {
        let turns = Protocol::LeaveOneDomainOut.turns(DOMAINS).unwrap();
        let iterated: Vec<_> = LeaveOneDomainOut::new(DOMAINS).unwrap().collect();
        assert_eq!(turns, iterated);
    }

    #[test]
    fn across_domains_there_is_one_turn_with_several_tests() {
        let turns = cross(&["celeb"], &["dfdc", "ff/b"]).unwrap();
        assert_eq!(turns.len(), 1);
        assert_eq!(turns[0].train(), ["celeb".into()]);
        assert_eq!(turns[0].test(), ["dfdc".into(), "ff/b".into()]);
        // The domains without a part are handed over to nobody.
        let data = DOMAINS.map(|name| (name, ()));
        assert_eq!(turns[0].testing(data).unwrap().len(), 2);
    }

    #[test]
    fn a_data_set_is_all_of_its_domains_and_no_other() {
        let turns = cross(&["ff"], &["celeb"]).unwrap();
        assert_eq!(turns[0].train(), ["ff/a".into(), "ff/b".into()]);
    }

    #[test]
    fn within_a_domain_it_is_its_own_test() {
        let turns = Protocol::WithinDomain.turns(DOMAINS).unwrap();
        assert_eq!(turns.len(), 5);
        for (turn, name) in turns.iter().zip(DOMAINS) {
            assert_eq!(turn.train(), [name.into()]);
            assert_eq!(turn.test(), [name.into()]);
        }
    }

    #[test]
    fn names_that_cannot_work_are_refused() {
        for (train, test, said) in [
            (&["ff"][..], &["ff/a"][..], "`ff/a` is in both lists"),
            (&["ff", "ff/a"], &["celeb"], "`ff/a` stands twice"),
            (&["celeb"], &["uadfv"], "`uadfv` is none of `ff/a`"),
            (&["f"], &["celeb"], "`f` is none of"),
            (&[], &["celeb"], "there is none"),
            (&["celeb"], &[], "there is none"),
        ] {
            let refused = cross(train, test).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        for protocol in [Protocol::LeaveOneDomainOut, Protocol::WithinDomain] {
            assert!(protocol.turns(["a", "a"]).is_err());
            assert!(protocol.turns(Vec::<String>::new()).is_err());
        }
    }

    #[test]
    fn it_is_written_by_name() {
        let text = r#"{"cross-domain":{"train":["ff"],"test":["celeb"]}}"#;
        let protocol: Protocol = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&protocol).unwrap(), text);
        let read = serde_json::from_str::<Protocol>("\"leave-one-domain-out\"");
        assert_eq!(read.unwrap(), Protocol::LeaveOneDomainOut);
    }
}
