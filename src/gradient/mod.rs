//! Algebra over gradients: burn's `GradientsParams` as vectors of one space.
//!
//! A gradient is the concatenation of the gradients of all trainable parameters of a module; it
//! is never flattened. Every parameter counts once, a parameter that several layers share too. A
//! parameter without a gradient counts as zero.
//!
//! Inner products and norms run over **all** trainable parameters together, never tensor by
//! tensor:
//!
//! $$\langle a, b \rangle = \sum_p \sum_k a_{p,k}\\, b_{p,k}, \qquad \lVert a \rVert = \sqrt{\langle a, a \rangle}.$$
//!
//! They are sums in 32 bits for parameters of 16 bits, and stay on the device as tensors of shape
//! `[1]`: nothing here waits for it. Squares leave the range of 32 bits where a norm is above
//! about $1.8 \cdot 10^{19}$ (the norm is then infinite) or below about $10^{-22}$ (it is zero).

mod algebra;
mod clip;

pub(crate) use algebra::{WeightedSum, widen};
pub use algebra::{accumulate, combine, dot, finite_probe, gram, squared_norm};
pub use clip::*;
