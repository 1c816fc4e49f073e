//! Averages of a model's weights over training: flatter minima at the price of one more copy.
//!
//! An average stands beside the loop and is no part of it: after a step of any optimizer it is
//! handed the model, and gives, when asked, a model with the averaged weights.
//!
//! | average | of what | memory, in copies of the weights |
//! |---|---|---|
//! | [`ExponentialMovingAverage`] | all weights, the late ones more | 1 |
//! | [`Swad`] | all weights between two steps that a validation loss decides on | $N_s + 1$, then 2 |
//!
//! # Rules
//!
//! * **Trainable parameters** are averaged, in 32 bits where they are of 16, and rounded once when
//!   the averaged model is made. A parameter that several layers share is averaged once.
//! * **Frozen parameters** are those of the model that the average is asked with. A parameter that
//!   is unfrozen on the way begins with the weights that it is first handed over with.
//! * **Running statistics** (batch normalisation) are not averaged: an averaged model gets a copy of
//!   those of the model it is asked with. They are the statistics of other weights: forward passes
//!   of the averaged model, on the training device, bring its own, see [`Swad`].
//! * **Nothing is waited for**: an average stays on the device. So it does not see a weight that is
//!   not finite, and one of them spoils it for good.
//!   [`RobustGradientAlignment`](crate::optim::RobustGradientAlignment) skips such a step.

mod exponential;
mod record;
mod swad;
mod weights;

pub use exponential::*;
pub use record::AverageRecord;
pub use swad::*;
