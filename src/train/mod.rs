//! Training inside burn's `Learner`: its schedulers, checkpoints, early stopping, dashboard and
//! multi-device strategies.
//!
//! A model keeps a [`RobustTrainStep`], which is the body of its `TrainStep::step`, and the
//! training's loader hands over one mini-batch per domain. Nothing else changes:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use burn::{
//!     data::dataloader::DataLoader,
//!     lr_scheduler::constant::ConstantLr,
//!     module::Module,
//!     nn::{Linear, LinearConfig, loss::{MseLoss, Reduction}},
//!     optim::AdamWConfig,
//!     tensor::{Device, Tensor},
//!     train::{
//!         InferenceStep, Learner, RegressionOutput, SupervisedTraining, TrainOutput, TrainStep,
//!         metric::LossMetric,
//!     },
//! };
//! use roga::{
//!     domain::DomainBatches,
//!     optim::RobustGradientAlignmentConfig,
//!     train::{RobustTrainStep, StepMetric, StepOutput},
//! };
//!
//! type Batch = (Tensor<2>, Tensor<2>);
//!
//! #[derive(Module, Debug)]
//! struct Net {
//!     linear: Linear,
//!     #[module(skip)]
//!     robust: RobustTrainStep, // added
//! }
//!
//! impl Net {
//!     fn forward(&self, (x, y): Batch) -> RegressionOutput {
//!         let output = self.linear.forward(x);
//!         let loss = MseLoss::new().forward(output.clone(), y.clone(), Reduction::Mean);
//!         RegressionOutput::new(loss, output, y)
//!     }
//! }
//!
//! impl TrainStep for Net {
//!     type Input = DomainBatches<Batch>; // was `Batch`
//!     type Output = StepOutput; // was `RegressionOutput`
//!
//!     fn step(&self, domains: DomainBatches<Batch>) -> TrainOutput<StepOutput> {
//!         // was: let item = self.forward(batch); TrainOutput::new(self, item.loss.backward(), item)
//!         self.robust.step(self, &domains, |net, batch| net.forward(batch.clone()).loss)
//!     }
//! }
//!
//! impl InferenceStep for Net {
//!     type Input = Batch;
//!     type Output = RegressionOutput;
//!
//!     fn step(&self, batch: Batch) -> RegressionOutput {
//!         self.forward(batch)
//!     }
//! }
//!
//! # fn train(
//! #     train: Arc<dyn DataLoader<DomainBatches<Batch>>>,
//! #     valid: Arc<dyn DataLoader<Batch>>,
//! # ) -> roga::Result<()> {
//! let training = SupervisedTraining::<Net>::new("artifacts", train, valid)
//!     .metrics((LossMetric::new(),))
//!     .metric_train_numeric(StepMetric::cosine()) // added, as the next
//!     .metric_train_numeric(StepMetric::conflicts())
//!     .num_epochs(10);
//! let gradient = RobustGradientAlignmentConfig::new().init_gradient()?; // added
//! let net = Net {
//!     linear: LinearConfig::new(1, 1).init(&Device::default().autodiff()),
//!     robust: RobustTrainStep::new(gradient, training.interrupter()), // added
//! };
//! let result = training.launch(Learner::new(net, AdamWConfig::new().init(), ConstantLr::new(1e-3)));
//! # Ok(())
//! # }
//! ```
//!
//! A model in which layers share a parameter overrides `TrainStep::optimize`, and
//! `optimize_multi` for several devices, to end with
//! [`tie_shared_parameters`](crate::perturbation::tie_shared_parameters).
//!
//! burn computes a step before it asks its scheduler for the learning rate.
//! [`Schedule::LearningRate`](crate::optim::Schedule::LearningRate) therefore has to be told, by
//! [`set_learning_rate`](crate::optim::RobustGradient::set_learning_rate) once before the training
//! and in `TrainStep::optimize`, and lags a step behind. All other schedules go by the number of
//! the step, which the loader's batches carry.
//!
//! # Several devices
//!
//! Under `ExecutionStrategy::multi` each device has a worker with a slice of the loader of its own:
//! the slices share no item. In every step each worker computes the gradient $G$ of its own
//! mini-batches, and one step of the optimizer is made of all: m-sharpness. Synchronised ascents, and
//! devices that divide the domains, are outside the `Learner`, in [`parallel`](crate::parallel).
//!
//! * **burn adds the workers' gradients, it does not average them.** With $N$ devices an SGD step
//!   is $N$ times as long: divide its learning rate by $N$. Adam's kind divides by the gradient's
//!   own size and needs no change. Gradient clipping sees the sum.
//! * An epoch has $1 / N$ of the steps, and schedules count these. Where the loader's steps are not
//!   a multiple of $N$, the slices differ by a step, and in the last step of an epoch there are
//!   fewer workers, hence a smaller sum; the numbers of the steps keep together.
//! * A worker that skips its step adds nothing; the others' gradients count. `max_skipped_steps`
//!   counts the workers' steps, and a good one of any worker ends the row.
//! * `noise_seed` takes the random numbers of a device over. Devices that share theirs, as those of
//!   the CPU do, disturb each other: the masks of a mini-batch's passes then differ, and no run is
//!   like another.
//! * With more than two devices burn adds in the order in which the workers finish: results then
//!   differ in the last bits from run to run.
//! * Running statistics (batch normalisation) are the mean over the workers of what each is left
//!   with, as in burn's own training; those of a skipped step do not count.
//!
//! Under `ExecutionStrategy::ddp` every device has a model of its own, and collectives bring together what they
//! share. What that is has to be said, by [`with_replicas`](RobustTrainStep::with_replicas):
//!
//! * [`Replicas::m_sharpness`]: each worker with ascents of its own, as under `multi`, and one all-reduce a step, of $G$;
//! * [`Replicas::synchronised`]: the ascents are those of all workers' mini-batches, and the step that of one device with
//!   all of them, by an all-reduce for the gradient of each domain and of each point.
//!
//! burn's own way, in which a backward pass brings its gradients together, is not taken: it does so for the first of
//! several passes on the same parameters alone. Nor may a worker have more steps than another, as under `multi`: it would
//! wait for ever, and slices of the domain data loader of which one is shorter are an error in the first step.
//!
//! burn 0.22 implements collectives for CUDA alone, and this crate has been run with them on none. `tests/remote` runs both
//! on two devices of another process that a CPU serves, with an all-reduce of the tests' own: steps and whole trainings of the `Learner` end
//! within $10^{-5}$ of those on one device.
//!
//! # Resuming
//!
//! burn's checkpoints hold the model, the optimizer and the scheduler of the end of an epoch. What the
//! steps keep (GroupDRO's weights $q$, an aggregator's of one's own) is among them with the scheduler
//! that [`checkpointed_with`](RobustTrainStep::checkpointed_with) makes of yours; without it a resumed
//! training begins with none. The checkpoints
//! do not hold the place in the data, nor what early stopping has seen. The place is a function of
//! the epoch: with
//! [`set_position`](crate::domain::DomainDataLoader::set_position)`(epoch * steps_per_epoch)` on
//! the loader that the training is made with, resumed equals uninterrupted, bit for bit on flex.
//! (burn moves the loader to the device, so that the position of the one it was made from stays as
//! it is.)

mod checkpoint;
mod copies;
mod detection;
mod metric;
mod replicas;
mod step;

pub use detection::*;
pub use metric::*;
pub use replicas::Replicas;
pub use step::*;
