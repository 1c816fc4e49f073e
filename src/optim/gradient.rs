use std::sync::atomic::{AtomicU64, Ordering};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::{
    DomainLoss, RobustGradientAlignmentConfig, StepReport,
    evaluation::{Plan, Point, PointAscent},
    readback::Readback,
    summary::{CleanReadings, PassReadings, PointReadings, StepReadings},
};
use crate::{
    Error, Result,
    domain::DomainBatches,
    gradient::{WeightedSum, combine, dot, finite_probe, gram, squared_norm},
    perturbation::{RunningStatistics, ascent_scale, displaced},
};

/// The robust gradient $G$ alone: everything before the base optimizer's step.
///
/// Made by
/// [`RobustGradientAlignmentConfig::init_gradient`](super::RobustGradientAlignmentConfig::init_gradient).
/// It is for loops that hand gradients on by themselves: `TrainStep::step` of a burn-train model,
/// gradient accumulation, an optimizer of one's own.
///
/// It counts its steps, which [`Evaluation::Sampled`](super::Evaluation::Sampled) draws by.
#[derive(Debug)]
pub struct RobustGradient {
    config: RobustGradientAlignmentConfig,
    steps: AtomicU64,
}

impl Clone for RobustGradient {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            steps: AtomicU64::new(self.steps()),
        }
    }
}

impl RobustGradient {
    /// Of settings that have been checked.
    pub(crate) fn new(config: RobustGradientAlignmentConfig) -> Self {
        Self {
            config,
            steps: AtomicU64::new(0),
        }
    }

    /// The settings.
    pub fn config(&self) -> &RobustGradientAlignmentConfig {
        &self.config
    }

    /// How many steps have been computed, those that were skipped included.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
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
        let step = self.steps();
        let weights = self.domain_weights(domains.len())?;
        let plan = Plan::new(&self.config, &weights, step)?;
        let mut passes = Passes {
            domains: domains
                .iter()
                .map(|(name, batch)| (&**name, batch))
                .collect(),
            loss,
            noise_seed: self.config.noise_seed,
            step,
            readback: Readback::default(),
        };

        check_trainable(model)?;
        let at_theta = displaced(model, &[]);
        let clean = self.clean_passes(&mut passes, &at_theta, &weights, &plan)?;
        let (perturbed, points) = self.perturbed_passes(&mut passes, model, &clean, &plan)?;
        drop(clean.gradients);
        let gradient = self.combine(model, clean.mean, perturbed);
        let update = passes.readback.push(squared_norm(model, &gradient));

        let readings = StepReadings {
            weights: &weights,
            clean: clean.readings,
            plan: &plan,
            points,
            update,
        };
        let report = readings.report(domains.names(), &passes.readback.wait()?);
        self.steps.store(step + 1, Ordering::Relaxed);
        if report.is_skipped() {
            return Ok((GradientsParams::new(), report));
        }
        RunningStatistics::of(&at_theta).write_to(model);
        Ok((gradient, report))
    }

    /// $p_i$, adding up to 1.
    fn domain_weights(&self, domains: usize) -> Result<Vec<f64>> {
        match &self.config.domain_weights {
            None => Ok(vec![1.0 / domains as f64; domains]),
            Some(weights) if weights.len() == domains => {
                let sum: f64 = weights.iter().sum();
                Ok(weights.iter().map(|weight| weight / sum).collect())
            }
            Some(weights) => Err(Error::Setting {
                field: "domain_weights",
                rule: "be one for each domain",
                value: format!("{} for {domains} domains", weights.len()),
            }),
        }
    }

    /// Step 1: the domains' gradients at $\theta$, their mean and their inner products.
    fn clean_passes<'w, M, B, L, F>(
        &self,
        passes: &mut Passes<'_, B, F>,
        at_theta: &M,
        weights: &'w [f64],
        plan: &Plan,
    ) -> Result<Clean<'w>>
    where
        M: Module,
        L: DomainLoss<M>,
        F: FnMut(&M, &B) -> L,
    {
        let mut losses = Vec::with_capacity(weights.len());
        let mut gradients = Vec::with_capacity(weights.len());
        for domain in 0..weights.len() {
            let (loss, gradient) = passes.run(at_theta, domain)?;
            losses.push(passes.readback.push(loss));
            gradients.push(gradient);
        }
        let terms = weights.iter().copied().zip(&gradients);
        let terms: Vec<_> = terms.filter(|(weight, _)| *weight > 0.0).collect();
        let mean = combine(at_theta, &terms);
        let pooled = |point: &Point| point.ascent == PointAscent::Pooled;
        let mean_square = (self.config.report || plan.points.iter().any(pooled))
            .then(|| squared_norm(at_theta, &mean))
            .flatten();
        let gram: Vec<Vec<Option<Tensor<1>>>> = if self.config.report {
            gram(at_theta, &gradients)
        } else {
            let square = |gradient| vec![squared_norm(at_theta, gradient)];
            gradients.iter().map(square).collect()
        };
        // The last entry of a row is the gradient's inner product with itself.
        let squares = gram.iter().map(|row| row.last().cloned().flatten());
        let norms = squares.map(|square| square.map(Tensor::sqrt)).collect();
        let mut read = |number: &Option<Tensor<1>>| passes.readback.push(number.clone());
        let readings = CleanReadings {
            losses,
            mean_square: self.config.report.then(|| read(&mean_square)),
            gram: gram
                .iter()
                .map(|row| row.iter().map(&mut read).collect())
                .collect(),
        };
        Ok(Clean {
            gradients,
            norms,
            mean,
            mean_norm: mean_square.map(Tensor::sqrt),
            weights,
            readings,
        })
    }

    /// Steps 2 and 3: the points and the gradients there; $P$ out of them.
    fn perturbed_passes<M, B, L, F>(
        &self,
        passes: &mut Passes<'_, B, F>,
        model: &M,
        clean: &Clean<'_>,
        plan: &Plan,
    ) -> Result<(WeightedSum, Vec<PointReadings>)>
    where
        M: Module,
        L: DomainLoss<M>,
        F: FnMut(&M, &B) -> L,
    {
        let mut perturbed = WeightedSum::new();
        let mut readings = Vec::with_capacity(plan.points.len());
        for point in &plan.points {
            let at_point = displaced(model, &self.displacement(clean, point));
            let mut at_this = WeightedSum::new();
            let mut seen = Vec::with_capacity(point.terms.len());
            for &(domain, coefficient) in &point.terms {
                let (loss, gradient) = passes.run(&at_point, domain)?;
                seen.push(PassReadings {
                    domain,
                    loss: passes.readback.push(loss),
                    gradient: passes.readback.push(finite_probe(model, &gradient)),
                });
                at_this.add(model, coefficient, gradient);
            }
            let alignment = self.config.report.then(|| {
                let square = squared_norm(model, &at_this.sum);
                let with_mean = dot(model, &at_this.sum, &clean.mean);
                (
                    passes.readback.push(square),
                    passes.readback.push(with_mean),
                )
            });
            readings.push(PointReadings {
                passes: seen,
                unit: at_this.unit,
                alignment,
            });
            perturbed.add(model, at_this.unit, at_this.sum);
        }
        Ok((perturbed, readings))
    }

    /// The way from $\theta$ to a point: $\varepsilon - \gamma\, \bar g$.
    fn displacement<'a>(
        &self,
        clean: &'a Clean<'_>,
        point: &Point,
    ) -> Vec<(Tensor<1>, &'a GradientsParams)> {
        let rho = self.config.rho;
        let of_domain = |domain: usize, weight: f64| {
            let norm = clean.norms[domain].clone()?;
            let scale = ascent_scale(norm, rho * weight);
            Some((scale, &clean.gradients[domain]))
        };
        let mut displacement: Vec<_> = match point.ascent {
            PointAscent::None => Vec::new(),
            PointAscent::Domain(domain) => of_domain(domain, 1.0).into_iter().collect(),
            PointAscent::Consensus => (0..clean.weights.len())
                .filter_map(|domain| of_domain(domain, clean.weights[domain]))
                .collect(),
            PointAscent::Pooled => clean
                .mean_norm
                .iter()
                .map(|norm| (ascent_scale(norm.clone(), rho), &clean.mean))
                .collect(),
        };
        if let (Some(norm), true) = (
            clean.norms.iter().flatten().next(),
            self.config.gamma != 0.0,
        ) {
            let shift = norm.zeros_like().sub_scalar(self.config.gamma);
            displacement.push((shift, &clean.mean));
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

/// What the clean passes leave for the others.
struct Clean<'w> {
    gradients: Vec<GradientsParams>,
    norms: Vec<Option<Tensor<1>>>,
    mean: GradientsParams,
    mean_norm: Option<Tensor<1>>,
    weights: &'w [f64],
    readings: CleanReadings,
}

/// The mini-batches and the closure that all passes share.
struct Passes<'a, B, F> {
    domains: Vec<(&'a str, &'a B)>,
    loss: F,
    noise_seed: Option<u64>,
    step: u64,
    readback: Readback,
}

impl<B, F> Passes<'_, B, F> {
    /// One forward and backward of one mini-batch.
    fn run<M, L>(&mut self, model: &M, domain: usize) -> Result<(Tensor<1>, GradientsParams)>
    where
        M: Module,
        L: DomainLoss<M>,
        F: FnMut(&M, &B) -> L,
    {
        let (name, batch) = self.domains[domain];
        if let Some(seed) = self.noise_seed {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(self.step);
            rng.set_word_pos(2 * domain as u128);
            let seed: u64 = rng.random();
            model.devices().iter().for_each(|device| device.seed(seed));
        }
        (self.loss)(model, batch).differentiate(model, name)
    }
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
