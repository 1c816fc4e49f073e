use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
    train::{
        Interrupter, ItemLazy, TrainOutput, TrainingError,
        metric::{Adaptor, LossInput},
        train::WorkerFailure,
    },
};
use burn_std::ExecutionError;

use super::{
    StepInput,
    copies::{Copies, OwnStatistics},
    replicas::{Replicas, Synchronised, apart, device_of_replica},
};
use crate::{
    Error, Result,
    domain::{Concat, DomainBatches, JoinedBatch},
    optim::{
        DomainLoss, JoinedLoss, RobustGradient, StepReport,
        passes::{Joined, Noise, Passes, Separate},
    },
};

/// What a model of burn-train computes its training step with.
///
/// It is a field of the model, `#[module(skip)]`: clones share what it remembers, so that it is
/// the same one however often a strategy copies the model. [`step`](Self::step) is the body of
/// `TrainStep::step`; see the [module](super) for the whole.
#[derive(Clone)]
pub struct RobustTrainStep {
    gradient: RobustGradient,
    interrupter: Interrupter,
    /// The error, and the thread that it was met in.
    error: Arc<Mutex<Met>>,
    copies: Copies,
    replicas: Option<Replicas>,
    own: OwnStatistics,
}

impl RobustTrainStep {
    /// Of the passes of a step, and of the training that an error is to stop:
    /// `SupervisedTraining::interrupter`.
    pub fn new(gradient: RobustGradient, interrupter: Interrupter) -> Self {
        Self {
            gradient,
            interrupter,
            error: Arc::default(),
            copies: Copies::default(),
            replicas: None,
            own: OwnStatistics::default(),
        }
    }

    /// What replicas share under `ExecutionStrategy::ddp`, which has to be said there: else a step ends the
    /// training with an [`Error::Setting`]. Other strategies are not touched by it.
    ///
    /// ```no_run
    /// use burn::{
    ///     tensor::{Device, distributed::{DistributedConfig, ReduceOperation}},
    ///     train::{ExecutionStrategy, Interrupter},
    /// };
    /// use roga::{optim::RobustGradientAlignmentConfig, train::{Replicas, RobustTrainStep}};
    ///
    /// # fn of(devices: Vec<Device>, interrupter: Interrupter) -> roga::Result<()> {
    /// let mean = ReduceOperation::Mean;
    /// let strategy = ExecutionStrategy::ddp(devices.clone(), DistributedConfig { all_reduce_op: mean });
    /// let gradient = RobustGradientAlignmentConfig::new().init_gradient()?;
    /// let robust = RobustTrainStep::new(gradient, interrupter)
    ///     .with_replicas(Replicas::m_sharpness(devices, mean));
    /// # drop((strategy, robust));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_replicas(mut self, replicas: Replicas) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// All passes of a step, as [`RobustGradient::gradients`], for burn to optimize with.
    ///
    /// A step that is skipped yields no gradients, and burn's optimizers then change nothing; the
    /// learning rate scheduler goes on.
    ///
    /// An error cannot be returned from `TrainStep::step`. It yields no gradients, stops the
    /// training behind this step, and is kept: [`error`](Self::error). So do too many skipped
    /// steps in a row, `max_skipped_steps`.
    ///
    /// # Panics
    ///
    /// On a step after one that failed, if the training was not stopped: it listens to another
    /// interrupter. Where replicas are [synchronised](Replicas::synchronised), on an error.
    pub fn step<M, B, L>(
        &self,
        model: &M,
        domains: &DomainBatches<B>,
        loss: impl FnMut(&M, &B) -> L,
    ) -> TrainOutput<StepOutput>
    where
        M: Module,
        L: DomainLoss<M>,
    {
        let step = self.gradient.step_of(domains);
        let noise = Noise::new(self.gradient.config(), step);
        let mut passes = Separate::new(domains, loss, noise);
        self.run(step, model, domains, &mut passes)
    }

    /// As [`step`](Self::step), with joined passes: see
    /// [`RobustGradientAlignment::step_joined`](crate::optim::RobustGradientAlignment::step_joined).
    ///
    /// # Panics
    ///
    /// As [`step`](Self::step).
    pub fn step_joined<M, B, L>(
        &self,
        model: &M,
        domains: &DomainBatches<B>,
        loss: impl FnMut(&M, &JoinedBatch<B>) -> L,
    ) -> TrainOutput<StepOutput>
    where
        M: Module,
        B: Concat,
        L: JoinedLoss,
    {
        let step = self.gradient.step_of(domains);
        let noise = Noise::new(self.gradient.config(), step);
        let mut passes = Joined::new(domains, loss, noise);
        self.run(step, model, domains, &mut passes)
    }

    /// The error that has stopped the training.
    ///
    /// `LearningResult::error` has it as text, but burn's dashboard forgets it when it closes.
    pub fn error(&self) -> Option<Arc<Error>> {
        self.lock().as_ref().map(|(_, error)| error.clone())
    }

    /// The passes of a step.
    pub fn gradient(&self) -> &RobustGradient {
        &self.gradient
    }

    fn run<M: Module, B>(
        &self,
        step: u64,
        model: &M,
        domains: &DomainBatches<B>,
        passes: &mut dyn Passes<M>,
    ) -> TrainOutput<StepOutput> {
        let device = device_of_replica(model);
        let replicas = self.replicas.as_ref().filter(|_| device.is_some());
        let found = if self.is_stopped() {
            None
        } else if device.is_some() && replicas.is_none() {
            self.stop(Error::Setting {
                field: "replicas",
                rule: "be said under `ExecutionStrategy::ddp`, by `with_replicas`",
                value: "none".into(),
            });
            None
        } else {
            let copy = match replicas {
                Some(replicas) => apart(self.own.isolate(model, replicas.count())),
                None => self.copies.isolate(model),
            };
            let found = self.passes(step, &copy, domains, passes, replicas);
            let found = found.map_err(|error| self.stop(error)).ok();
            match (&found, replicas) {
                (None, _) => {}
                (Some((_, report)), _) if report.is_skipped() => {}
                (Some(_), Some(replicas)) => {
                    let is_first = device.is_some_and(|device| replicas.is_first(device));
                    self.own.settle(&copy, model, is_first);
                }
                (Some(_), None) => self.copies.settle(&copy, model),
            }
            found
        };
        let (grads, report) = match found {
            Some((grads, report)) => (grads, Some(report)),
            None => (GradientsParams::new(), None),
        };
        let grads = match replicas {
            // Whatever has come of this replica's passes: the others wait for it.
            Some(replicas) if !replicas.are_synchronised() => replicas.met(model, grads),
            Some(_) if report.is_none() => self.leave(),
            Some(_) | None => grads,
        };
        let item = StepOutput { report };
        TrainOutput { grads, item }
    }

    fn passes<M: Module, B>(
        &self,
        step: u64,
        copy: &M,
        domains: &DomainBatches<B>,
        passes: &mut dyn Passes<M>,
        replicas: Option<&Replicas>,
    ) -> Result<(GradientsParams, StepReport)> {
        let names = domains.names().collect();
        if replicas.is_some() {
            // The longer slice would wait for the shorter one.
            domains.check_slice()?;
        }
        let Some(replicas) = replicas.filter(|it| it.are_synchronised()) else {
            return self.gradient.gradients_by(step, copy, names, passes);
        };
        if domains.step().is_none() {
            // Counted by the clones together, it would be another one on every replica.
            return Err(Error::Domains {
                rule: "carry the number of their step, `DomainBatches::with_step`, where replicas are synchronised",
                found: "they carry none".into(),
            });
        }
        let passes = &mut Synchronised { passes, replicas };
        self.gradient.gradients_by(step, copy, names, passes)
    }

    /// Ends the worker of a replica whose passes the others wait for.
    #[expect(
        clippy::panic,
        reason = "burn ends a training under `ddp` for a worker that panics, and for nothing else"
    )]
    fn leave(&self) -> GradientsParams {
        let error = self.error();
        panic!(
            "a replica's step failed: {}",
            error.map_or_else(String::new, |error| with_causes(&error))
        )
    }

    fn stop(&self, error: Error) {
        let failure = WorkerFailure {
            device_id: 0,
            message: with_causes(&error),
        };
        *self.lock() = Some((thread::current().id(), Arc::new(error)));
        self.interrupter.fail(TrainingError::Workers(vec![failure]));
    }

    /// Whether the step of another worker has stopped the training. Forgets an error whose training
    /// is over, as the interrupter does.
    #[expect(
        clippy::panic,
        reason = "burn's `TrainStep::step` cannot fail, and a training that goes on after an error \
                  must not go unseen"
    )]
    fn is_stopped(&self) -> bool {
        let mut error = self.lock();
        let stopped = self.interrupter.should_stop();
        match error.as_ref().filter(|_| stopped) {
            Some((thread, error)) if *thread == thread::current().id() => panic!(
                "a training step failed and the training went on, because it listens to another \
                 interrupter: {}",
                with_causes(error)
            ),
            Some(_) => true,
            None => {
                *error = None;
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Met> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for RobustTrainStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RobustTrainStep")
            .field("config", self.gradient.config())
            .field("error", &self.error())
            .finish_non_exhaustive()
    }
}

/// An error, if one was met, and the thread it was met in.
type Met = Option<(ThreadId, Arc<Error>)>;

fn with_causes(error: &Error) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(reason) = cause {
        message += &format!(": {reason}");
        cause = reason.source();
    }
    message
}

/// What a step hands to burn's metrics: the report, unless the step failed.
///
/// It is adapted to every [`StepMetric`](super::StepMetric) and to burn's `LossMetric`, which
/// shows the domains' mean loss $\bar L(\theta)$.
#[derive(Clone, Debug)]
pub struct StepOutput {
    report: Option<StepReport>,
}

impl StepOutput {
    /// The step's report; `None` if it failed.
    pub fn report(&self) -> Option<&StepReport> {
        self.report.as_ref()
    }
}

impl From<StepReport> for StepOutput {
    fn from(report: StepReport) -> Self {
        Self {
            report: Some(report),
        }
    }
}

impl ItemLazy for StepOutput {
    /// The report was read back with the step: nothing is pending.
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<StepInput> for StepOutput {
    fn adapt(&self) -> StepInput {
        self.report().map(StepInput::from).unwrap_or_default()
    }
}

impl Adaptor<LossInput> for StepOutput {
    /// A loss of no item, which leaves the epoch's mean as it is, where the step was skipped.
    fn adapt(&self) -> LossInput {
        let applied = self.report().filter(|report| !report.is_skipped());
        let losses: Vec<f32> = applied
            .map(|report| report.mean_loss() as f32)
            .into_iter()
            .collect();
        // On the CPU, which burn's training always has: the number comes from there.
        LossInput::new(Tensor::from_floats(losses.as_slice(), &Device::flex()))
    }
}
