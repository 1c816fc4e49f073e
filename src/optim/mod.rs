//! The optimizer wrapper: [`RobustGradientAlignment`], its settings, its passes, its report.
//!
//! # One mechanism
//!
//! Every method of the family is the same sequence:
//!
//! 1. gradients $g_i = \nabla L_i(\theta)$ of the $K$ domains at $\theta$, the *clean passes*;
//! 2. a map from them to points $\theta_i$ ([`perturbation`](crate::perturbation),
//!    [`alignment`](crate::alignment));
//! 3. gradients $\nabla L_j(\theta_i)$ at those points, the *perturbed passes*;
//! 4. one gradient out of all of them, $G = w_0\\, \bar g + w_1 P + \lambda_t \nabla \varphi$, where an
//!    [`aggregation`](crate::aggregation) may take the place of $\bar g$ and of the mean in $P$;
//! 5. a step of the base optimizer with $G$, at $\theta$.
//!
//! Steps 1 to 4 are [`RobustGradient`], for loops that hand gradients on by themselves; step 5 is
//! added by [`RobustGradientAlignment`].

mod aggregation;
mod budget;
mod carried;
pub(crate) mod clean;
mod combination;
mod config;
pub(crate) mod difference;
pub(crate) mod evaluation;
mod fish;
mod friendly;
mod gradient;
mod group;
mod look;
mod loss;
pub(crate) mod passes;
pub(crate) mod point;
pub(crate) mod readback;
mod record;
mod report;
pub(crate) mod rounds;
mod schedule;
mod step;
pub(crate) mod summary;

#[cfg(feature = "train")]
pub(crate) use aggregation::Kept;
pub use aggregation::{Aggregated, AggregationConfig};
pub use config::*;
pub use evaluation::*;
pub use fish::*;
pub use friendly::FriendlyAscent;
#[cfg(feature = "train")]
pub(crate) use gradient::Progress;
pub use gradient::RobustGradient;
pub use group::PerturbationGroup;
pub use loss::*;
pub use record::*;
pub use report::*;
pub use schedule::*;
pub use step::*;
