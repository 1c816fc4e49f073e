use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

use super::{
    DomainLoss, JoinedLoss, NonFinite, Outcome, RobustGradientAlignmentConfig, StepReport,
    aggregation::{Aggregating, Kept, Parts},
    carried::Carried,
    clean::Held,
    difference::Aligning,
    evaluation::{Plan, Point, PointAscent},
    group::{Lengths, Perturbation},
    passes::{Joined, Noise, Passes, Separate},
    point::{At, Sums},
    readback::Readback,
    rounds::{InTurn, Rounds},
    summary::StepReadings,
};
use crate::{
    Error, Result,
    aggregation::{Aggregation, Aggregator, not_handed_over},
    alignment::{Alignment, AlignmentLoss},
    domain::{Concat, DomainBatches, JoinedBatch},
    gradient::squared_norm,
    perturbation::{RunningStatistics, displaced},
};

/// The robust gradient $G$ alone: everything before the base optimizer's step.
///
/// Made by
/// [`RobustGradientAlignmentConfig::init_gradient`](super::RobustGradientAlignmentConfig::init_gradient).
/// It is for loops that hand gradients on by themselves: `TrainStep::step` of a burn-train model,
/// gradient accumulation, an optimizer of one's own.
///
/// # The number of the step
///
/// Schedules, warm-up, interval and [`Evaluation::Sampled`](super::Evaluation::Sampled) go by the
/// number of the step. Where the batches carry one ([`DomainBatches::step`], as those of the domain
/// data loader do), it is theirs; so it is the same on however many devices a step is divided, and
/// it goes on where a loader goes on. Else steps are counted here.
///
/// Clones count together: burn-train clones a model, and with it what it holds, for every device
/// and every step. Callers at the same time should hand over numbered batches; of what settings keep
/// from step to step, what the last of them has kept stays.
#[derive(Debug, Clone)]
pub struct RobustGradient {
    config: RobustGradientAlignmentConfig,
    /// The caller's, where the settings name one.
    own_alignment_loss: Option<Arc<dyn AlignmentLoss>>,
    /// Likewise.
    own_aggregator: Option<Arc<dyn Aggregator>>,
    state: Arc<State>,
}

/// What changes from step to step.
#[derive(Debug)]
struct State {
    steps: AtomicU64,
    /// How many steps in a row were skipped, and the first of them.
    skipped: AtomicU64,
    skipped_since: AtomicU64,
    /// What was not finite in it.
    skipped_for: Mutex<Option<NonFinite>>,
    /// What an aggregation keeps.
    kept: Mutex<Kept>,
    /// What other settings keep.
    carried: Mutex<Carried>,
    /// The bits of the learning rate; those of a NaN where it is not known.
    lr: AtomicU64,
}

impl RobustGradient {
    /// Of settings that have been checked.
    pub(crate) fn new(config: RobustGradientAlignmentConfig) -> Self {
        Self::resumed(config, Progress::default(), Carried::default())
    }

    /// Of settings that have been checked, some steps on.
    pub(crate) fn resumed(
        config: RobustGradientAlignmentConfig,
        progress: Progress,
        carried: Carried,
    ) -> Self {
        let state = State {
            steps: AtomicU64::new(progress.steps),
            skipped: AtomicU64::new(progress.skipped),
            skipped_since: AtomicU64::new(progress.skipped_since),
            skipped_for: Mutex::new(progress.skipped_for),
            kept: Mutex::new(progress.kept),
            carried: Mutex::new(carried),
            lr: AtomicU64::new(f64::NAN.to_bits()),
        };
        Self {
            config,
            own_alignment_loss: None,
            own_aggregator: None,
            state: Arc::new(state),
        }
    }

    /// A clone that counts by itself from now on, from this progress.
    pub(crate) fn split_off(&self, progress: Progress, carried: Carried) -> Self {
        Self {
            own_alignment_loss: self.own_alignment_loss.clone(),
            own_aggregator: self.own_aggregator.clone(),
            ..Self::resumed(self.config.clone(), progress, carried)
        }
    }

    /// A clone that counts by itself from here on.
    pub(crate) fn split(&self) -> Self {
        let own = self.split_off(self.progress(), self.carried().clone());
        if let Some(lr) = self.learning_rate() {
            own.set_learning_rate(lr);
        }
        own
    }

    /// How far training is.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            steps: self.steps(),
            skipped: self.state.skipped.load(Ordering::Relaxed),
            skipped_since: self.state.skipped_since.load(Ordering::Relaxed),
            skipped_for: self.skipped_for().clone(),
            kept: self.kept().clone(),
        }
    }

    /// Goes on from this progress, with all clones.
    #[cfg(feature = "train")]
    pub(crate) fn resume(&self, progress: Progress) {
        let state = &self.state;
        state.steps.store(progress.steps, Ordering::Relaxed);
        state.skipped.store(progress.skipped, Ordering::Relaxed);
        let since = progress.skipped_since;
        state.skipped_since.store(since, Ordering::Relaxed);
        *self.skipped_for() = progress.skipped_for;
        *self.kept() = progress.kept;
    }

    /// The settings.
    pub fn config(&self) -> &RobustGradientAlignmentConfig {
        &self.config
    }

    /// The number of the next step: how many have been computed, those that were skipped included,
    /// or one more than the number of the last numbered batches.
    pub fn steps(&self) -> u64 {
        self.state.steps.load(Ordering::Relaxed)
    }

    /// Sets the number of the next step, for a training that is resumed with batches that carry
    /// none.
    pub fn set_steps(&self, steps: u64) {
        self.state.steps.store(steps, Ordering::Relaxed);
    }

    /// Says what the learning rate is, for
    /// [`Schedule::LearningRate`](super::Schedule::LearningRate).
    /// [`RobustGradientAlignment::step`](super::RobustGradientAlignment::step) knows it by itself.
    pub fn set_learning_rate(&self, lr: f64) {
        self.state.lr.store(lr.to_bits(), Ordering::Relaxed);
    }

    /// Hands over the alignment loss of the caller's own that the settings name: see
    /// [`AlignmentConfig::own`](crate::alignment::AlignmentConfig::own).
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the settings name another, or none.
    pub fn set_alignment_loss(&mut self, loss: impl AlignmentLoss + 'static) -> Result<()> {
        let named = self.config.alignment.as_ref().map(|config| &config.loss);
        if named != Some(&Alignment::own(&loss)) {
            return Err(Error::Setting {
                field: "alignment.loss",
                rule: "be the one that is handed over, `AlignmentConfig::own(&loss, weight)`",
                value: format!("{named:?}, and {loss:?} is handed over"),
            });
        }
        self.own_alignment_loss = Some(Arc::new(loss));
        Ok(())
    }

    /// Hands over the aggregation of the caller's own that the settings name: see
    /// [`AggregationConfig::own`](super::AggregationConfig::own).
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the settings name another, or none, or where it refuses its own
    /// parameters.
    pub fn set_aggregator(&mut self, aggregator: impl Aggregator + 'static) -> Result<()> {
        let config = self.config.aggregation.as_ref();
        let named = config.map(|config| &config.method);
        if named != Some(&Aggregation::own(&aggregator)) {
            return Err(Error::Setting {
                field: "aggregation.method",
                rule: "be the one that is handed over, `AggregationConfig::own(&aggregator)`",
                value: format!("{named:?}, and {aggregator:?} is handed over"),
            });
        }
        aggregator.check()?;
        self.own_aggregator = Some(Arc::new(aggregator));
        Ok(())
    }

    /// All passes: the gradient $G$ for a base optimizer, and what was seen.
    ///
    /// The parameters of `model` are not changed. Its running statistics become those of the clean
    /// passes. Where the step is skipped, they stay as they are, and the gradients are empty, so
    /// that a base optimizer that is handed them changes nothing.
    ///
    /// A model in which layers share a parameter needs
    /// [`tie_shared_parameters`](crate::perturbation::tie_shared_parameters) after the base
    /// optimizer's step.
    ///
    /// # Errors
    ///
    /// As [`RobustGradientAlignment::step`](super::RobustGradientAlignment::step). Nothing has
    /// changed then.
    pub fn gradients<M, B, L>(
        &self,
        model: &M,
        domains: &DomainBatches<B>,
        loss: impl FnMut(&M, &B) -> L,
    ) -> Result<(GradientsParams, StepReport)>
    where
        M: Module,
        L: DomainLoss<M>,
    {
        let step = self.step_of(domains);
        self.gradients_of(step, model, domains, loss)
    }

    /// As [`gradients`](Self::gradients), with joined passes: see
    /// [`RobustGradientAlignment::step_joined`](super::RobustGradientAlignment::step_joined).
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    pub fn gradients_joined<M, B, L>(
        &self,
        model: &M,
        domains: &DomainBatches<B>,
        loss: impl FnMut(&M, &JoinedBatch<B>) -> L,
    ) -> Result<(GradientsParams, StepReport)>
    where
        M: Module,
        B: Concat,
        L: JoinedLoss,
    {
        let step = self.step_of(domains);
        self.gradients_joined_of(step, model, domains, loss)
    }

    /// The number of the step on these batches.
    pub(crate) fn step_of<B>(&self, domains: &DomainBatches<B>) -> u64 {
        domains.step().unwrap_or_else(|| self.steps())
    }

    pub(crate) fn gradients_of<M, B, L>(
        &self,
        step: u64,
        model: &M,
        domains: &DomainBatches<B>,
        loss: impl FnMut(&M, &B) -> L,
    ) -> Result<(GradientsParams, StepReport)>
    where
        M: Module,
        L: DomainLoss<M>,
    {
        let mut passes = Separate::new(domains, loss, Noise::new(&self.config, step));
        self.gradients_by(step, model, domains.names().collect(), &mut passes)
    }

    pub(super) fn gradients_joined_of<M, B, L>(
        &self,
        step: u64,
        model: &M,
        domains: &DomainBatches<B>,
        loss: impl FnMut(&M, &JoinedBatch<B>) -> L,
    ) -> Result<(GradientsParams, StepReport)>
    where
        M: Module,
        B: Concat,
        L: JoinedLoss,
    {
        let mut passes = Joined::new(domains, loss, Noise::new(&self.config, step));
        self.gradients_by(step, model, domains.names().collect(), &mut passes)
    }

    /// By these passes over the mini-batches of domains of these names.
    pub(crate) fn gradients_by<M: Module>(
        &self,
        step: u64,
        model: &M,
        names: Vec<&Arc<str>>,
        passes: &mut dyn Passes<M>,
    ) -> Result<(GradientsParams, StepReport)> {
        self.run(step, model, names, &mut InTurn(passes))
    }

    /// Steps 1 to 4.
    pub(crate) fn run<M: Module>(
        &self,
        step: u64,
        model: &M,
        names: Vec<&Arc<str>>,
        rounds: &mut dyn Rounds<M>,
    ) -> Result<(GradientsParams, StepReport)> {
        let weights = self.config.weights_of(names.len())?;
        check_trainable(model)?;
        let lr = self.learning_rate();
        let perturbation = Perturbation::new(&self.config, model, self.config.factors(step, lr)?)?;
        let plan = Plan::new(&self.config, &perturbation, &weights, step)?;
        let aggregating = self.aggregating()?;
        let mut at = At {
            model,
            weights: &weights,
            parts: self.parts(&plan, aggregating.as_ref()),
            aggregating,
            aligning: self.aligning(step, lr)?,
            plan,
            perturbation,
            differences: None,
            carried: self.carried().clone(),
            held: Held::All,
            is_mean: false,
        };
        at.is_mean = self.is_mean(&at, step);
        at.held = rounds.held(self, &at);
        let (mut readback, mut sums) = (Readback::default(), Sums::new());
        let at_theta = displaced(model, &[]);
        let (mut clean, of_clean) = rounds.clean(self, &mut readback, &at, &at_theta, &mut sums)?;
        let lengths = [&at.perturbation.rho, &at.perturbation.gamma].map(Lengths::base);
        let mut readings =
            StepReadings::new(step, self.config.report, names, lengths, &weights, of_clean);
        let mut gradient = GradientsParams::new();
        if self.look_at_theta(&mut at, &mut clean, &mut readings, &mut readback)? {
            rounds.at_points(self, &mut readback, &at, &mut clean, &mut sums)?;
            readings.points = std::mem::take(&mut sums.readings);
            if self.look_at_points(&mut at, &mut sums, &mut readings, &mut readback)? {
                gradient = self.combine(&mut at, clean, sums, &mut readings, &mut readback);
                let update = readings.clean.mean_square.filter(|_| at.is_mean);
                readings.update =
                    update.unwrap_or_else(|| readback.push(squared_norm(model, &gradient)));
                readback.wait()?;
            }
        }
        readings.coefficients = at.aggregating.as_ref().map(|it| it.coefficients.clone());
        let report = readings.report(&readback, rounds.calls());
        self.count(&report)?;
        if report.is_skipped() {
            return Ok((GradientsParams::new(), report));
        }
        if let Some(aggregating) = at.aggregating {
            *self.kept() = aggregating.kept;
        }
        *self.carried() = at.carried;
        RunningStatistics::of(&at_theta).write_to(model);
        Ok((gradient, report))
    }

    /// Goes on with what steps of another one keep.
    pub(crate) fn keep_of(&self, other: &Self) {
        *self.kept() = other.kept().clone();
        *self.carried() = other.carried().clone();
    }

    /// What an aggregation has kept.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        let kept = self.state.kept.lock();
        kept.unwrap_or_else(PoisonError::into_inner)
    }

    /// The gradients of the steps before.
    pub(crate) fn carried(&self) -> MutexGuard<'_, Carried> {
        let carried = self.state.carried.lock();
        carried.unwrap_or_else(PoisonError::into_inner)
    }

    /// The aggregation of a step, where it is not the mean.
    fn aggregating(&self) -> Result<Option<Aggregating<'_>>> {
        let Some(config) = &self.config.aggregation else {
            return Ok(None);
        };
        let method: &dyn Aggregator = match (&config.method, &self.own_aggregator) {
            (Aggregation::Mean(_), _) => return Ok(None),
            (Aggregation::Own(_), Some(own)) => &**own,
            (Aggregation::Own(_), None) => return Err(not_handed_over()),
            (built_in, _) => built_in,
        };
        let aggregating = Aggregating::new(method, config.of, self.kept().clone());
        Ok(Some(aggregating))
    }

    /// The parts of a step that are made of aggregated clean gradients.
    fn parts(&self, plan: &Plan, aggregating: Option<&Aggregating<'_>>) -> Parts {
        let Some(aggregating) = aggregating else {
            return Parts::default();
        };
        let pooled = |point: &Point| point.ascent == PointAscent::Pooled;
        let is_plain = plan.points.is_empty();
        Parts {
            clean: aggregating.of_clean() && self.config.clean_weight != 0.0,
            perturbed: aggregating.of_perturbed()
                && is_plain
                && self.config.perturbed_weight != 0.0,
            ascent: aggregating.of_ascent() && plan.points.iter().any(pooled),
        }
    }

    /// The alignment loss of a step in which it counts.
    fn aligning(&self, step: u64, lr: Option<f64>) -> Result<Option<Aligning<'_>>> {
        let Some(config) = &self.config.alignment else {
            return Ok(None);
        };
        let loss = match (config.loss.built_in(), &self.own_alignment_loss) {
            (Some(loss), _) => loss,
            (None, Some(loss)) => &**loss,
            (None, None) => {
                return Err(Error::Setting {
                    field: "alignment.loss",
                    rule: "be handed over by `set_alignment_loss`, since it is the caller's own",
                    value: "not known".into(),
                });
            }
        };
        let weight = config.weight_at(step, lr)?;
        Ok((weight != 0.0).then_some(Aligning {
            config,
            loss,
            weight,
        }))
    }

    fn learning_rate(&self) -> Option<f64> {
        let lr = f64::from_bits(self.state.lr.load(Ordering::Relaxed));
        (!lr.is_nan()).then_some(lr)
    }

    fn skipped_for(&self) -> MutexGuard<'_, Option<NonFinite>> {
        let skipped_for = self.state.skipped_for.lock();
        skipped_for.unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the step; an error where too many in a row were skipped.
    pub(crate) fn count(&self, report: &StepReport) -> Result<()> {
        let state = &self.state;
        let next = report.step.saturating_add(1);
        state.steps.store(next, Ordering::Relaxed);
        let Outcome::Skipped(last) = &report.outcome else {
            state.skipped.store(0, Ordering::Relaxed);
            *self.skipped_for() = None;
            return Ok(());
        };
        let before = state.skipped.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            state.skipped_since.store(report.step, Ordering::Relaxed);
            *self.skipped_for() = Some(last.clone());
        }
        let skipped = before + 1;
        match self.config.max_skipped_steps {
            Some(limit) if skipped >= limit => Err(Error::NonFinite {
                skipped,
                since: state.skipped_since.load(Ordering::Relaxed),
                // Records of before it was known hold none.
                first: Box::new(self.skipped_for().as_ref().unwrap_or(last).clone()),
                last: Box::new(last.clone()),
            }),
            _ => Ok(()),
        }
    }
}

/// How far a training is.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Progress {
    pub steps: u64,
    pub skipped: u64,
    pub skipped_since: u64,
    pub skipped_for: Option<NonFinite>,
    pub kept: Kept,
}

pub(super) fn check_trainable<M: Module>(model: &M) -> Result<()> {
    #[derive(Default)]
    struct Trainable(bool);

    impl ModuleVisitor for Trainable {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad();
        }
    }

    let mut trainable = Trainable::default();
    model.visit(&mut trainable);
    if trainable.0 {
        return Ok(());
    }
    Err(Error::Model {
        rule: "have a trainable parameter on a device with autodiff",
        found: "all of them are frozen, or on a device without autodiff, or there is none".into(),
    })
}
