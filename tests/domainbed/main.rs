//! Fish, IRM and Fishr held against DomainBed's own code, and the penalties against finite
//! differences.

mod finite_differences;
mod net;
#[path = "../alignment/reference.rs"]
mod reference;
mod trajectories;

#[path = "../../examples/colored_mnist/fishr.rs"]
mod fishr;
#[path = "../../examples/colored_mnist/irm.rs"]
mod irm;
#[path = "../../examples/colored_mnist/residual.rs"]
mod residual;
