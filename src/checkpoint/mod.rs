//! Checkpoints of a training on disk: whatever ends the process, what was made is still there.
//!
//! [`Checkpoints`] is a folder of files, each of which is there as a whole or not at all. It keeps the
//! last ones and the best one, and tells a damaged file from a whole one. [`FolderLock`] keeps a second
//! process out of a folder; a folder of checkpoints has one of its own.
//!
//! A process may be killed at any moment, in the middle of writing a checkpoint too, and the disk may be
//! full: the checkpoint before is what a training goes on from. A training that goes on from any of them
//! ends as one that was never interrupted, if all that it depends on is in them: see
//! [`RobustGradientAlignmentRecord`](crate::optim::RobustGradientAlignmentRecord).
//!
//! ```
//! use burn::{nn::LinearConfig, optim::AdamWConfig, tensor::{Device, Tensor}};
//! use roga::{
//!     checkpoint::CheckpointsConfig,
//!     domain::DomainBatches,
//!     optim::{RobustGradientAlignmentConfig, RobustGradientAlignmentRecord},
//! };
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # let device = Device::default().autodiff();
//! # let x = |x: f32| Tensor::<2>::from_floats([[x]], &device);
//! # let domains = DomainBatches::new([("photo", x(0.5)), ("sketch", x(2.0))])?;
//! let mut model = LinearConfig::new(1, 1).init(&device);
//! let mut optim = RobustGradientAlignmentConfig::new().init(AdamWConfig::new().init())?;
//!
//! let checkpoints = CheckpointsConfig::new(folder.join("checkpoints")).init()?;
//! if let Some(latest) = checkpoints.latest()? {
//!     for damaged in &latest.passed_over {
//!         eprintln!("passed over: {damaged}");
//!     }
//!     let record = RobustGradientAlignmentRecord::load(&latest.path)?;
//!     model = record.load_model(model)?;
//!     optim.load_record(&record)?;
//! }
//! for step in optim.gradient().steps()..10 {
//!     optim.step(1e-2, &mut model, &domains, |model: &burn::nn::Linear, x: &Tensor<2>| {
//!         model.forward(x.clone()).square().mean()
//!     })?;
//!     if (step + 1) % 5 == 0 {
//!         let score = 0.5; // on validation data
//!         let record = optim.to_record()?.with_model(&model)?;
//!         checkpoints.save(step + 1, Some(score), |path| record.save(path))?;
//!     }
//! }
//! assert_eq!(checkpoints.latest()?.unwrap().step, 10);
//! assert_eq!(checkpoints.best()?.unwrap().step, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoints;
mod folder_lock;

pub use checkpoints::{Checkpoint, Checkpoints, CheckpointsConfig};
pub use folder_lock::FolderLock;
