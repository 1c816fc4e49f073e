use super::{
    Draw, Evaluation, PerturbationGroup, RobustGradientAlignmentConfig, Schedule,
    evaluation::Plan,
    group::{Lengths, Perturbation},
};
use crate::{Error, Result};

/// How much a training costs: what a comparison at equal passes goes by.
///
/// Passes are forwards and backwards over all $K$ mini-batches of a step, the clean ones included:
/// $\frac1K$ of what [`Passes`](super::Passes) counts, skipped steps included.
///
/// What is not known without a model or a loop is taken as it mostly is: that a
/// [group](RobustGradientAlignmentConfig::groups) leaves some parameter in no group and matches one,
/// that a learning rate which [`Schedule::LearningRate`] goes by is above 0, and that an alignment loss
/// moves every domain.
impl RobustGradientAlignmentConfig {
    /// The passes of a perturbed step, at $K$ domains: 1 for ERM, 2 for SAM, $1 + K$ for
    /// [`Evaluation::All`]; one or two more with an alignment loss, one more where gradients are
    /// [taken again](Self::recompute).
    ///
    /// With [`Draw::Independent`] at a point that all domains share, it is the most that a step
    /// may make.
    ///
    /// ```
    /// use roga::optim::RobustGradientAlignmentConfig as Config;
    ///
    /// assert_eq!(Config::erm().passes_per_step(4)?, 1.0);
    /// assert_eq!(Config::sagm(0.05, 5e-4).passes_per_step(4)?, 2.0);
    /// assert_eq!(Config::new().passes_per_step(4)?, 5.0);
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] and [`Error::Domains`] for settings that cannot work, by themselves or
    /// with so many domains.
    pub fn passes_per_step(&self, domains: usize) -> Result<f64> {
        let mut config = self.clone();
        if config.draw == Draw::Independent {
            config.draw = Draw::Permutation;
        }
        let counter = Counter::new(&config, domains)?;
        let mini_batches = counter.mini_batches([1.0, 1.0], 0)? + counter.aligned();
        Ok(mini_batches as f64 / domains as f64)
    }

    /// The passes of a training of so many steps from its beginning, at $K$ domains: warm-up,
    /// interval, schedules and draws are counted as they come.
    ///
    /// ```
    /// use roga::optim::RobustGradientAlignmentConfig as Config;
    ///
    /// // 10 plain steps, and 90 of which every third is perturbed.
    /// let config = Config::sam(0.05).with_warmup_steps(10).with_interval(3);
    /// assert_eq!(config.passes(100, 4)?, 130.0);
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`passes_per_step`](Self::passes_per_step).
    pub fn passes(&self, steps: u64, domains: usize) -> Result<f64> {
        let total = Counter::new(self, domains)?.total(steps)?;
        Ok(total as f64 / domains as f64)
    }

    /// How many steps a training may have within a budget of passes, at $K$ domains: the most
    /// whose [`passes`](Self::passes) are not above it.
    ///
    /// ```
    /// use roga::optim::RobustGradientAlignmentConfig as Config;
    ///
    /// assert_eq!(Config::erm().steps_within(1000, 4)?, 1000);
    /// assert_eq!(Config::sam(0.05).steps_within(1000, 4)?, 500);
    /// assert_eq!(Config::new().steps_within(1000, 4)?, 200);
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`passes_per_step`](Self::passes_per_step).
    pub fn steps_within(&self, passes: u64, domains: usize) -> Result<u64> {
        let counter = Counter::new(self, domains)?;
        let budget = u128::from(passes) * domains as u128;
        // A step makes one pass at least.
        let (mut within, mut beyond) = (0, u128::from(passes) + 1);
        while beyond - within > 1 {
            let middle = within + (beyond - within) / 2;
            match counter.total(middle as u64)? <= budget {
                true => within = middle,
                false => beyond = middle,
            }
        }
        Ok(within as u64)
    }
}

/// Counts the mini-batches that go forward and backward.
struct Counter<'a> {
    config: &'a RobustGradientAlignmentConfig,
    weights: Vec<f64>,
}

impl<'a> Counter<'a> {
    fn new(config: &'a RobustGradientAlignmentConfig, domains: usize) -> Result<Self> {
        config.check()?;
        if domains == 0 {
            return Err(Error::Domains {
                rule: "be at least one",
                found: "there is none".into(),
            });
        }
        Ok(Self {
            weights: config.weights_of(domains)?,
            config,
        })
    }

    /// Those of a step, with the factors of $\rho$ and $\gamma$.
    fn mini_batches(&self, [rho, gamma]: [f64; 2], step: u64) -> Result<u128> {
        let config = self.config;
        let longest = |base: f64, of: fn(&PerturbationGroup) -> f64| {
            config.groups.iter().map(of).fold(base, f64::max)
        };
        let perturbation = Perturbation {
            rho: Lengths::Uniform(rho * longest(config.rho, |group| group.rho)),
            gamma: Lengths::Uniform(gamma * longest(config.gamma, |group| group.gamma)),
        };
        let plan = Plan::new(config, &perturbation, &self.weights, step)?;
        let perturbed: usize = plan.points.iter().map(|point| point.terms.len()).sum();
        let again = match config.takes_again(&plan, &perturbation) {
            true => plan.points.len(),
            false => 0,
        };
        Ok((self.weights.len() + again + perturbed) as u128)
    }

    /// Those of a step that comes in training, whatever the learning rate.
    fn of_step(&self, step: u64) -> Result<u128> {
        let factors = self.config.factors(step, Some(1.0))?;
        self.mini_batches(factors, step)
    }

    /// Those of an alignment loss, in a step in which it counts.
    fn aligned(&self) -> u128 {
        let Some(alignment) = &self.config.alignment else {
            return 0;
        };
        let counting = self.weights.iter().filter(|weight| **weight > 0.0).count();
        match alignment.weight == 0.0 {
            true => 0,
            false => (counting * alignment.points()) as u128,
        }
    }

    /// Those of an alignment loss in the first steps.
    fn aligned_total(&self, steps: u64) -> Result<u128> {
        let Some(alignment) = &self.config.alignment else {
            return Ok(0);
        };
        let warmup = alignment.warmup_steps.min(steps);
        let end = end(alignment.weight_schedule);
        let counted = alignment
            .warmup_steps
            .saturating_add(end)
            .clamp(warmup, steps);
        let counts = |step: u64| Ok(alignment.weight_at(step, Some(1.0))? != 0.0);
        let mut aligned = 0;
        for step in warmup..counted {
            aligned += u128::from(counts(step)?);
        }
        // From its schedule's end on, the weight is what it is.
        if counted < steps && counts(counted)? {
            aligned += u128::from(steps - counted);
        }
        Ok(aligned * self.aligned())
    }

    /// Those of the first steps.
    fn total(&self, steps: u64) -> Result<u128> {
        let config = self.config;
        let plain = self.mini_batches([0.0, 0.0], 0)?;
        let warmup = config.warmup_steps.min(steps);
        let counted = self.settled().clamp(warmup, steps);
        let mut total = u128::from(warmup) * plain + self.aligned_total(steps)?;
        for step in warmup..counted {
            total += self.of_step(step)?;
        }
        if counted == steps {
            return Ok(total);
        }
        let perturbed_before = |step: u64| (step - config.warmup_steps).div_ceil(config.interval);
        let perturbed = perturbed_before(steps) - perturbed_before(counted);
        total += u128::from(steps - counted - perturbed) * plain;
        if perturbed > 0 {
            let first = config.warmup_steps + perturbed_before(counted) * config.interval;
            total += u128::from(perturbed) * self.of_step(first)?;
        }
        Ok(total)
    }

    /// From which step on all perturbed steps cost the same.
    fn settled(&self) -> u64 {
        let config = self.config;
        if config.evaluation == Evaluation::Sampled && config.draw == Draw::Independent {
            return u64::MAX;
        }
        let end = end(config.rho_schedule).max(end(config.gamma_schedule));
        config.warmup_steps.saturating_add(end)
    }
}

/// From which step of it on a schedule's factor stays as it is.
fn end(schedule: Schedule) -> u64 {
    match schedule {
        Schedule::Constant | Schedule::LearningRate { .. } => 0,
        Schedule::Linear { steps, .. } | Schedule::Cosine { steps, .. } => steps,
    }
}
