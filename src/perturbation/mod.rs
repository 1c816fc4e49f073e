//! Perturbed copies of a model: the points at which gradients are taken again.
//!
//! The ascending point of domain $i$ is
//!
//! $$\theta_i = \theta + \varepsilon_i - \gamma\\, \bar g, \qquad
//!   \varepsilon_i = \rho\\, \frac{g_i}{\lVert g_i \rVert},$$
//!
//! with $\varepsilon_i = 0$ where $\lVert g_i \rVert = 0$. The norm runs over all trainable
//! parameters together. $\varepsilon_i$ and $\bar g$ are constants: nothing is differentiated
//! through them.
//!
//! Source: the ascent is that of SAM (Foret et al., "Sharpness-Aware Minimization for Efficiently
//! Improving Generalization", ICLR 2021, arXiv 2010.01412), the shift that of SAGM (Wang et al.,
//! "Sharpness-Aware Gradient Matching for Domain Generalization", CVPR 2023).

mod adaptive;
mod copy;
mod running;

pub use adaptive::*;
#[cfg(feature = "train")]
pub(crate) use copy::unmarked_leaf_like;
pub use copy::{Displacement, ascent_scale, displaced, tie_shared_parameters};
pub(crate) use copy::{Length, Resolution, Term, displaced_along, leaf_like};
pub(crate) use running::RunningStatistics;
