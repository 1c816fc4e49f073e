//! The diagnostics as pictures: SVG, as text.
//!
//! Colours are told apart by colour-blind readers too, and nothing is told by colour alone: heat
//! maps hold their numbers, lines have dashes. Long names are cut, in the tables they are whole.
//!
//! ```
//! # use burn::{nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
//! # use roga::domain::DomainBatches;
//! use roga::diagnostic::{self, plot};
//! # let device = Device::default().autodiff();
//! # let model = LinearConfig::new(1, 1).init(&device);
//! # let x = |x: f32| Tensor::<2>::from_floats([[x]], &device);
//! # let batch = || DomainBatches::new([("photo", x(1.0)), ("sketch", x(-2.0))]);
//! # let batches = (0..3).map(|_| batch());
//! # let loss = |model: &Linear, x: &Tensor<2>| model.forward(x.clone()).mean();
//! # let folder = std::env::temp_dir();
//!
//! let conflict = diagnostic::conflict(&model, batches, loss)?;
//! std::fs::write(folder.join("cosines.svg"), plot::cosines(&conflict)?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cosine_curves;
mod cosines;
mod landscape;
mod line;
mod picture;

pub use cosine_curves::cosine_curves;
pub use cosines::cosines;
pub use landscape::landscape;
