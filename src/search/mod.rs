//! Random search over hyper-parameters: [`SearchSpace`], its [`Journal`] and its [`Cost`].
//!
//! ```
//! use std::time::Duration;
//!
//! use roga::{
//!     domain::Seeds,
//!     optim::RobustGradientAlignmentConfig,
//!     search::{Cost, Distribution, Journal, Parameter, SearchSpace},
//! };
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Setting {
//!     learning_rate: f64,
//!     rho: f64,
//! }
//!
//! let (seeds, trials, steps, domains) = (Seeds::default(), 20, 300, 4);
//! let space = SearchSpace::new([
//!     ("learning_rate", Parameter::new(1e-3, Distribution::PowerOf10(-4.5, -2.5))),
//!     ("rho", Parameter::new(0.05, Distribution::LogUniform(0.01, 0.5))),
//! ])?;
//!
//! // What it will cost, before it starts.
//! let one = Cost::of(&RobustGradientAlignmentConfig::sagm(0.05, 5e-4), steps, domains)?;
//! let all = one.times(trials).timed_by(&one, Duration::from_secs(72));
//! assert_eq!(
//!     all.to_string(),
//!     "20 trials, 6,000 steps, 12,000 passes over a step's mini-batches, \
//!      about 24 min at 0.12 s a pass"
//! );
//!
//! # let folder = std::env::temp_dir().join(format!("roga-search-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("search.jsonl");
//! let mut journal: Journal<f64> = Journal::open(path, space, seeds.hyper_parameters)?;
//! for drawn in journal.pending(trials) {
//!     let setting: Setting = drawn.read()?;
//!     let score = 1.0 - (setting.rho - 0.1).abs() - setting.learning_rate; // a training
//!     journal.finish(drawn.index(), &score)?; // killed here, it goes on with the next
//! }
//! assert_eq!(journal.trials().count(), 20);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cost;
mod journal;
mod space;

pub use cost::*;
pub use journal::*;
pub use space::*;
