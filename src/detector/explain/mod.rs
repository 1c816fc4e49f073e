//! Why a net decides as it does: heat maps over its picture.
//!
//! [`grad_cam`] asks which places of the last feature map raise a class, [`input_gradient`] which
//! pixels change it most. Both work on any net, handed over as closures, and give a [`HeatMap`] for
//! every picture, which an [`OverlayConfig`] lays over it.
//!
//! A heat map says where a net looks, not whether it is right to look there.

mod grad_cam;
mod gradient;
mod heat_map;
mod input_gradient;
mod overlay;
mod target;

pub use grad_cam::*;
pub use heat_map::*;
pub use input_gradient::*;
pub use overlay::*;
pub use target::*;
