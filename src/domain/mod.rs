//! Domains: named sources of data that a model is trained or tested on.
//!
//! # Protocol and selection
//!
//! Two questions, with a type each, because mixing them up is how test domains leak:
//!
//! | | question | answers |
//! |---|---|---|
//! | [`Protocol`] | What is trained on, and what is the result reported on? | leave one domain out; trained on these, tested on those; within a domain |
//! | [`Selection`] | Which checkpoint of which setting is the result? | by validation on the training domains; by a training domain held out; the last; ORACLE |
//!
//! They are chosen independently. "Leave one domain out" is the name of a protocol here
//! ([`LeaveOneDomainOut`]): one domain is the test. Selection by cross-validation, which leaves out
//! one *more* domain, of those to train on, is [`Selection::HeldOutDomain`], and its trainings are
//! [`Fold`]s. Whatever is selected by the test domain is called ORACLE wherever it is shown.
//!
//! An experiment is then:
//!
//! 1. [`Protocol::turns`]: for every turn, the domains to train on and to test on;
//! 2. a [`GroupSplit`] of the persons or videos with [`Seeds::split`], into training, validation and
//!    test parts; [`DomainSplit::training`] and [`DomainSplit::testing`] hand out those of the turn;
//! 3. for every setting ([`search`](crate::search), from [`Seeds::hyper_parameters`]) a training
//!    with [`Seeds::run`], whose checkpoints are scored on the validation parts: a [`Candidate`]
//!    each;
//! 4. [`Selection::choose`], and only then [`TestDomain::for_testing`].
//!
//! Repetitions ([`Seeds::trial`]) have other splits and other runs, and never other
//! hyper-parameters.

mod batch;
mod epoch;
mod holdout;
mod join;
#[cfg(feature = "dataset")]
mod loader;
mod micro;
mod protocol;
mod seeds;
mod selection;
pub(crate) mod shuffle;
mod split;

pub use batch::*;
pub use epoch::*;
pub use holdout::*;
pub use join::*;
#[cfg(feature = "dataset")]
pub use loader::*;
pub use micro::*;
pub use protocol::*;
pub use seeds::*;
pub use selection::*;
pub use split::*;
