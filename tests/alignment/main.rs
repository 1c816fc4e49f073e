//! The method held against its formulas, against PyTorch, and against the mistakes of others.

mod aggregated;
mod aggregation;
mod alignment_losses;
mod budget;
mod carried;
#[cfg(feature = "dataset")]
mod determinism;
mod diagnostic;
#[cfg(feature = "plot")]
mod diagnostic_pictures;
mod half;
mod identities;
mod non_finite;
mod norms;
mod numbers;
mod parts;
mod penalties;
mod problems;
mod process;
mod recomputed;
#[cfg(feature = "dataset")]
mod record;
mod reference;
mod reference_domainbed;
mod reference_domainbed_loops;
mod reference_sam;
mod reference_torchjd;
mod reference_trajectories;
mod rules;
mod settings;
mod worked_cases;

#[path = "../../examples/colored_mnist/fishr.rs"]
mod fishr;
#[path = "../../examples/colored_mnist/irm.rs"]
mod irm;
#[path = "../../examples/colored_mnist/residual.rs"]
mod residual;
