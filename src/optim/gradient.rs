use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

use super::{
    DomainLoss, JoinedLoss, NonFinite, Outcome, RobustGradientAlignmentConfig, StepReport,
    evaluation::{Plan, Point, PointAscent},
    group::{Lengths, Perturbation},
    passes::{Joined, Noise, PassSum, Passes, Separate},
    readback::{Readback, Reading},
    summary::{CleanReadings, PassReadings, PointReadings, StepReadings},
};
use crate::{
    Error, Result,
    domain::{Concat, DomainBatches, JoinedBatch},
    gradient::{WeightedSum, combine, dot, gram, like_parameters, squared_norm},
    perturbation::{
        Adaptive, Displacement, RunningStatistics, adaptive_squared_norm, ascent_scale, displaced,
        displaced_with_resolution,
    },
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
/// and every step. Callers at the same time should hand over numbered batches.
#[derive(Debug, Clone)]
pub struct RobustGradient {
    config: RobustGradientAlignmentConfig,
    state: Arc<State>,
}

/// What changes from step to step.
#[derive(Debug)]
struct State {
    steps: AtomicU64,
    /// How many steps in a row were skipped, and the first of them.
    skipped: AtomicU64,
    skipped_since: AtomicU64,
    /// The bits of the learning rate; those of a NaN where it is not known.
    lr: AtomicU64,
}

impl RobustGradient {
    /// Of settings that have been checked.
    pub(crate) fn new(config: RobustGradientAlignmentConfig) -> Self {
        Self::resumed(config, Progress::default())
    }

    /// Of settings that have been checked, some steps on.
    pub(crate) fn resumed(config: RobustGradientAlignmentConfig, progress: Progress) -> Self {
        let state = State {
            steps: AtomicU64::new(progress.steps),
            skipped: AtomicU64::new(progress.skipped),
            skipped_since: AtomicU64::new(progress.skipped_since),
            lr: AtomicU64::new(f64::NAN.to_bits()),
        };
        Self {
            config,
            state: Arc::new(state),
        }
    }

    /// A clone that counts by itself from now on.
    pub(crate) fn split_off(&self) -> Self {
        Self::resumed(self.config.clone(), self.progress())
    }

    /// How far training is.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            steps: self.steps(),
            skipped: self.state.skipped.load(Ordering::Relaxed),
            skipped_since: self.state.skipped_since.load(Ordering::Relaxed),
        }
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
        let step = domains.step().unwrap_or_else(|| self.steps());
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
        let step = domains.step().unwrap_or_else(|| self.steps());
        self.gradients_joined_of(step, model, domains, loss)
    }

    pub(super) fn gradients_of<M, B, L>(
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
        let passes = Separate::new(domains, loss, Noise::new(&self.config, step));
        self.run(step, model, domains, passes)
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
        let passes = Joined::new(domains, loss, Noise::new(&self.config, step));
        self.run(step, model, domains, passes)
    }

    /// Steps 1 to 4.
    fn run<M: Module, B>(
        &self,
        step: u64,
        model: &M,
        domains: &DomainBatches<B>,
        mut passes: impl Passes<M>,
    ) -> Result<(GradientsParams, StepReport)> {
        let weights = self.config.weights_of(domains.len())?;
        check_trainable(model)?;
        let perturbation = self.perturbation(step, model)?;
        let plan = Plan::new(&self.config, &perturbation, &weights, step)?;
        let at = At {
            model,
            weights: &weights,
            plan: &plan,
            perturbation: &perturbation,
        };
        let mut readback = Readback::default();
        let at_theta = displaced(model, &[]);
        let clean = self.clean_passes(&mut passes, &mut readback, &at, &at_theta)?;
        let (perturbed, points) = self.perturbed_passes(&mut passes, &mut readback, &at, &clean)?;
        drop(clean.gradients);
        // Rounded before it is looked at: what fits into 32 bits need not fit into 16.
        let gradient = like_parameters(model, self.combine(model, clean.mean, perturbed));
        let update = readback.push(squared_norm(model, &gradient));

        let readings = StepReadings {
            step,
            lengths: [&perturbation.rho, &perturbation.gamma].map(|lengths| match lengths {
                Lengths::Uniform(length) => *length,
                Lengths::Grouped { base, .. } => *base,
            }),
            weights: &weights,
            clean: clean.readings,
            plan: &plan,
            points,
            update,
            calls: passes.calls(),
        };
        let report = readings.report(domains.names(), &readback.wait()?);
        self.count(&report)?;
        if report.is_skipped() {
            return Ok((GradientsParams::new(), report));
        }
        RunningStatistics::of(&at_theta).write_to(model);
        Ok((gradient, report))
    }

    /// $\rho$ and $\gamma$ of the step; 0 in a plain one, which refuses what cannot work as well.
    fn perturbation<M: Module>(&self, step: u64, model: &M) -> Result<Perturbation> {
        let lr = f64::from_bits(self.state.lr.load(Ordering::Relaxed));
        let lr = (!lr.is_nan()).then_some(lr);
        Perturbation::new(&self.config, model, self.config.factors(step, lr)?)
    }

    /// Counts the step; an error where too many in a row were skipped.
    fn count(&self, report: &StepReport) -> Result<()> {
        let state = &self.state;
        let next = report.step.saturating_add(1);
        state.steps.store(next, Ordering::Relaxed);
        let Outcome::Skipped(last) = &report.outcome else {
            state.skipped.store(0, Ordering::Relaxed);
            return Ok(());
        };
        let before = state.skipped.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            state.skipped_since.store(report.step, Ordering::Relaxed);
        }
        let skipped = before + 1;
        match self.config.max_skipped_steps {
            Some(limit) if skipped >= limit => Err(Error::NonFinite {
                skipped,
                since: state.skipped_since.load(Ordering::Relaxed),
                last: Box::<NonFinite>::new(last.clone()),
            }),
            _ => Ok(()),
        }
    }

    /// Step 1: the domains' gradients at $\theta$, their mean and their inner products.
    ///
    /// Where no ascent needs the gradients one by one, joined passes are one pass.
    fn clean_passes<M: Module>(
        &self,
        passes: &mut impl Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
    ) -> Result<Clean> {
        let by_domain = |point: &Point| {
            matches!(
                point.ascent,
                PointAscent::Domain(_) | PointAscent::Consensus
            )
        };
        if passes.joins() && !at.plan.points.iter().any(by_domain) {
            return self.clean_pass(passes, readback, at, at_theta);
        }
        let mut losses = Vec::with_capacity(at.weights.len());
        let mut gradients = Vec::with_capacity(at.weights.len());
        for domain in 0..at.weights.len() {
            let (loss, gradient) = passes.one(at_theta, domain)?;
            losses.push(readback.push(loss));
            gradients.push(gradient);
        }
        let terms = at.weights.iter().copied().zip(&gradients);
        let terms: Vec<_> = terms.filter(|(weight, _)| *weight > 0.0).collect();
        let mean = combine(at_theta, &terms);
        let gram: Vec<Vec<Option<Tensor<1>>>> = if self.config.report {
            gram(at_theta, &gradients)
        } else {
            let square = |gradient| vec![squared_norm(at_theta, gradient)];
            gradients.iter().map(square).collect()
        };
        // The last entry of a row is the gradient's inner product with itself.
        let squares = gram.iter().map(|row| row.last().cloned().flatten());
        let squares: Vec<Option<Tensor<1>>> = match self.config.adaptive {
            Adaptive::None => squares.collect(),
            adaptive if at.plan.points.iter().any(by_domain) => gradients
                .iter()
                .map(|gradient| adaptive_squared_norm(at.model, gradient, adaptive))
                .collect(),
            _ => vec![None; gradients.len()],
        };
        let mut read = |number: &Option<Tensor<1>>| readback.push(number.clone());
        let gram = gram
            .iter()
            .map(|row| row.iter().map(&mut read).collect())
            .collect();
        let (mean_norm, mean_square) = self.mean_norms(readback, at, &mean);
        Ok(Clean {
            gradients,
            norms: squares.into_iter().map(|s| s.map(Tensor::sqrt)).collect(),
            mean,
            mean_norm,
            readings: CleanReadings {
                losses,
                gram,
                joined: None,
                mean_square,
            },
        })
    }

    /// Step 1 in one pass: the mean gradient alone.
    fn clean_pass<M: Module>(
        &self,
        passes: &mut impl Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
    ) -> Result<Clean> {
        let terms: Vec<(usize, f64)> = at.weights.iter().copied().enumerate().collect();
        let PassSum {
            losses,
            probes,
            sum,
        } = passes.sum(at_theta, &terms)?;
        let mean = combine(at_theta, &[(sum.unit, &sum.sum)]);
        let (mean_norm, mean_square) = self.mean_norms(readback, at, &mean);
        let mut push = |number: Option<Tensor<1>>| readback.push(number);
        Ok(Clean {
            gradients: Vec::new(),
            norms: Vec::new(),
            mean,
            mean_norm,
            readings: CleanReadings {
                losses: losses.into_iter().map(|loss| push(Some(loss))).collect(),
                gram: vec![Vec::new(); at.weights.len()],
                joined: Some(push(probes.into_iter().next().flatten())),
                mean_square,
            },
        })
    }

    /// The norm that the pooled ascent goes by, where it is needed, and $\lVert \bar g \rVert^2$,
    /// where it is reported.
    fn mean_norms<M: Module>(
        &self,
        readback: &mut Readback,
        at: &At<'_, M>,
        mean: &GradientsParams,
    ) -> (Option<Tensor<1>>, Option<Reading>) {
        let pooled = |point: &Point| point.ascent == PointAscent::Pooled;
        let pooled = at.plan.points.iter().any(pooled);
        let adaptive = self.config.adaptive;
        let plain = self.config.report || (pooled && adaptive == Adaptive::None);
        let square = plain.then(|| squared_norm(at.model, mean)).flatten();
        let norm = match (pooled, adaptive) {
            (false, _) => None,
            (true, Adaptive::None) => square.clone(),
            (true, adaptive) => adaptive_squared_norm(at.model, mean, adaptive),
        };
        let reported = self.config.report.then(|| readback.push(square));
        (norm.map(Tensor::sqrt), reported)
    }

    /// Steps 2 and 3: the points and the gradients there; $P$ out of them.
    fn perturbed_passes<M: Module>(
        &self,
        passes: &mut impl Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &Clean,
    ) -> Result<(WeightedSum, Vec<PointReadings>)> {
        let model = at.model;
        let mut perturbed = WeightedSum::new();
        let mut readings = Vec::with_capacity(at.plan.points.len());
        for point in &at.plan.points {
            let displacement = self.displacement(at, clean, point);
            let (at_point, resolution) = displaced_with_resolution(model, &displacement);
            let PassSum {
                losses,
                mut probes,
                sum,
            } = passes.sum(&at_point, &point.terms)?;
            // A joined pass has one gradient for all of its domains.
            let joined = (probes.len() < losses.len()).then(|| probes.pop().flatten());
            let mut probes = probes.into_iter();
            let of_each = point.terms.iter().zip(losses).map(|((domain, _), loss)| {
                let gradient = probes.next().flatten();
                PassReadings {
                    domain: *domain,
                    loss: readback.push(loss),
                    gradient: readback.push(gradient),
                }
            });
            let of_each = of_each.collect();
            let alignment = self.config.report.then(|| {
                let square = squared_norm(model, &sum.sum);
                let with_mean = dot(model, &sum.sum, &clean.mean);
                (readback.push(square), readback.push(with_mean))
            });
            readings.push(PointReadings {
                passes: of_each,
                joined: readback.push(joined.flatten()),
                unit: sum.unit,
                alignment,
                resolution: resolution
                    .wanted
                    .zip(resolution.lost)
                    .map(|(wanted, lost)| {
                        let [wanted, lost] = [wanted, lost].map(|number| readback.push(number));
                        (wanted, lost)
                    }),
            });
            perturbed.add(model, sum.unit, sum.sum);
        }
        Ok((perturbed, readings))
    }

    /// The way from $\theta$ to a point: $\varepsilon - \gamma\, \bar g$.
    fn displacement<'a, M>(
        &self,
        at: &At<'a, M>,
        clean: &'a Clean,
        point: &Point,
    ) -> Vec<Displacement<'a>> {
        let (rho, of_parameter) = at.perturbation.rho.parts();
        let ascent = |norm: &Tensor<1>, weight: f64, gradient: &'a GradientsParams| {
            let scale = ascent_scale(norm.clone(), rho * weight);
            let ascent = Displacement::new(scale, gradient).with_adaptive(self.config.adaptive);
            match of_parameter {
                Some(factors) => ascent.with_factors(factors),
                None => ascent,
            }
        };
        let of_domain = |domain: usize, weight: f64| {
            let norm = clean.norms[domain].as_ref()?;
            Some(ascent(norm, weight, &clean.gradients[domain]))
        };
        let mut displacement: Vec<_> = match point.ascent {
            PointAscent::None => Vec::new(),
            PointAscent::Domain(domain) => of_domain(domain, 1.0).into_iter().collect(),
            PointAscent::Consensus => (0..at.weights.len())
                .filter_map(|domain| of_domain(domain, at.weights[domain]))
                .collect(),
            PointAscent::Pooled => {
                let norm = clean.mean_norm.iter();
                norm.map(|norm| ascent(norm, 1.0, &clean.mean)).collect()
            }
        };
        if !at.perturbation.gamma.is_zero() {
            let (gamma, of_parameter) = at.perturbation.gamma.parts();
            let shift = Displacement::constant(-gamma, &clean.mean);
            displacement.push(match of_parameter {
                Some(factors) => shift.with_factors(factors),
                None => shift,
            });
        }
        displacement
    }

    /// Step 4: $G = w_0\, \bar g + w_1 P$; without perturbed passes, $P$ is $\bar g$.
    fn combine<M: Module>(
        &self,
        model: &M,
        mean: GradientsParams,
        perturbed: WeightedSum,
    ) -> GradientsParams {
        let (w0, w1) = (self.config.clean_weight, self.config.perturbed_weight);
        if perturbed.sum.is_empty() {
            return combine(model, &[(w0 + w1, &mean)]);
        }
        let terms = [(w0, &mean), (w1 * perturbed.unit, &perturbed.sum)];
        let counting: Vec<_> = terms.into_iter().filter(|(w, _)| *w != 0.0).collect();
        combine(model, &counting)
    }
}

/// How far a training is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub steps: u64,
    pub skipped: u64,
    pub skipped_since: u64,
}

/// What a step begins with.
struct At<'a, M> {
    model: &'a M,
    weights: &'a [f64],
    plan: &'a Plan,
    perturbation: &'a Perturbation,
}

/// What the clean passes leave for the others.
struct Clean {
    /// Of every domain; empty after a joined pass, as are the norms.
    gradients: Vec<GradientsParams>,
    /// $\lVert T g_i \rVert$.
    norms: Vec<Option<Tensor<1>>>,
    mean: GradientsParams,
    /// $\lVert T \bar g \rVert$, where an ascent is pooled.
    mean_norm: Option<Tensor<1>>,
    readings: CleanReadings,
}

fn check_trainable<M: Module>(model: &M) -> Result<()> {
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
