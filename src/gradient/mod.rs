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
//! Sums are of 32 bits for parameters of 16 bits. Inner products and norms stay on the device as tensors of shape
//! `[1]`: nothing here waits for it. Squares leave the range of 32 bits where a norm is above
//! about $1.8 \cdot 10^{19}$ (the norm is then infinite) or below about $10^{-22}$ (it is zero).

mod algebra;
mod clip;
mod matrix;
mod sweep;
mod vectors;

pub(crate) use algebra::{
    OnParameter, WeightedSum, accumulate_times, combine_taking, for_each_parameter,
    has_parameters_of_16_bits, in_order, is_of_16_bits, multiplied, scale, shared, square_and_dot,
    total, widen,
};
pub use algebra::{accumulate, combine, dot, finite_probe, gram, like_parameters, squared_norm};
pub use clip::clip_by_global_norm;
pub(crate) use clip::times;
pub use matrix::GramMatrix;
pub(crate) use matrix::cosine;
pub(crate) use vectors::{
    Vectors, VectorsData, kept, like, move_to_gradient, move_towards, packed, read_back, unpacked,
};
