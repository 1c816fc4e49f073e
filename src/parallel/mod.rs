//! The robust step on several devices, outside burn's `Learner`.
//!
//! [`ParallelGradient`] gives the $G$ of a step that a list of burn's devices share, each on a thread
//! of its own, in one of three ways:
//!
//! | | each device has | points | it equals |
//! |---|---|---|---|
//! | [`domain_parallel`](ParallelGradient::domain_parallel) | some of the domains | those of its domains | the step on one device |
//! | [`data_parallel`](ParallelGradient::data_parallel) | a part of every domain's mini-batch | the same on all (*synchronised*) | the step on one device |
//! | [`m_sharpness`](ParallelGradient::m_sharpness) | a part of every domain's mini-batch | of its own | the mean of the devices' steps |
//!
//! Inside the `Learner`, `ExecutionStrategy::multi` is m-sharpness: see the module `train` of the
//! feature of that name.
//!
//! # Gradients meet once for the mean and once for $G$
//!
//! With $P$ bytes of gradient, $N$ devices and $K$ domains, and the report off
//! ([`report`](crate::optim::RobustGradientAlignmentConfig::report)), a step moves between the first
//! device and *each* other one, beside the batches:
//!
//! | | out: $\theta$ | in: gradients at $\theta$ | out: for the points | in: gradients there | meetings |
//! |---|---|---|---|---|---|
//! | domain-parallel, ascents by domain | $P$ | $P$ | $P$, none where $\gamma = 0$ | $P$ | 2 |
//! | domain-parallel, consensus | $P$ | $2 P$ | $P$ | $P$ | 2 |
//! | both, pooled or no ascent | $P$ | $P$ | $P$ | $P$ | 2 |
//! | data-parallel, ascents by domain | $P$ | $K P$ | $K P$ | $K P$ | $1 + K$ |
//! | data-parallel, consensus | $P$ | $K P$ | $P$ | $P$ | 2 |
//! | m-sharpness | $P$ | – | – | $P$ | 1 |
//!
//! Domain-parallel moves this little because a device that has a domain's gradient is the one that
//! goes to its point: gradients of single domains stay where they are. For
//! [`Evaluation::All`](crate::optim::Evaluation::All) and its like it is the other domains' batches
//! that come to the point, and batches are mostly much smaller than gradients.
//!
//! Some settings need the domains' gradients one by one, on one device: the report, whose cosines and
//! conflicts are their Gram matrix, aggregations, and alignment losses. In these, a domain-parallel step
//! brings in every gradient of another device instead of their sum, $K P$ in all, and an alignment loss
//! takes a direction out to each of its points. Aggregations of the perturbed gradients bring in those
//! one by one as well, and at a point that all domains share their passes run one after the other.
//!
//! [`Traffic`] has the bytes and the meetings of a step, counted.
//!
//! # What holds for all
//!
//! * The model stays on the first device, and $\theta$ goes out in every step, so that any base optimizer
//!   can make its step there. Meetings go over the first device too: with many devices it is what
//!   they wait for. [`scaling`](crate::scaling) has the model of that, beside the one of
//!   collectives.
//! * Batches are moved by [`ToDevice`], a copy to the device that needs it.
//! * A device stands for a thread. The same one several times is several threads on it: on a CPU whose
//!   backend uses all cores for one pass already, this is for tests.
//! * `noise_seed` takes the random numbers of a device over. Threads that share a device, as those of
//!   the CPU do, disturb each other: the masks of a mini-batch's passes then differ, and no run is
//!   like another. Without random numbers in the model, the same call gives the same bits on flex.
//! * [`recompute`](crate::optim::RobustGradientAlignmentConfig::recompute) has no effect: what a device
//!   keeps are the gradients of its own domains.
//! * An error or a panic on one device ends the step on all, once all have come to an end.

mod division;
mod gradient;
mod m_sharpness;
mod threads;
mod to_device;
mod traffic;
mod worker;

pub use gradient::*;
pub use m_sharpness::*;
pub use to_device::ToDevice;
pub use traffic::Traffic;
