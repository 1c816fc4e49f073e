use burn::config::Config;

use super::{Ascent, RobustGradientAlignmentConfig};
use crate::{
    Error, Result,
    aggregation::{Aggregation, Aggregator, DomainStatistics, coefficients_of},
};

/// Which gradients of a step are aggregated.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Aggregated {
    /// The clean ones: $A(g_1, \dots, g_K)$ takes the place of $\bar g$ in $w_0\\, \bar g$.
    Clean,
    /// The perturbed ones: $A$ of $K$ gradients takes the place of $P$. Where there are several points,
    /// they are the mean gradients at the points, else those of the domains at the one point.
    Perturbed,
    /// Both, each by itself.
    Both,
    /// The direction of a pooled ascent: $\varepsilon = \rho\\, A / \lVert A \rVert$ with
    /// $A = A(g_1, \dots, g_K)$.
    Ascent,
}

/// An aggregation as a part of a training: which, and of which gradients.
///
/// In a plain step (of ERM, of a warm-up, between perturbed steps) the points are $\theta$ itself, and
/// $P$ is made of the clean gradients: by $A$ where perturbed gradients are aggregated, else as
/// $\bar g$. The shift $-\gamma\\, \bar g$ and [`Evaluation::Consensus`](super::Evaluation::Consensus)
/// stay with the mean.
///
/// # Cost
///
/// No further pass. A method that looks at losses or at the Gram matrix waits for the device once more
/// for the clean gradients, and once for the perturbed ones. In memory: for the clean ones and the
/// ascent, one gradient more; for the perturbed ones, $K - 2$ more at a point that all domains share,
/// and none where each has its own, since the clean gradients have gone by then. What a method keeps
/// from step to step ([`GroupDro`](crate::aggregation::GroupDro)), for clean and for perturbed
/// gradients by themselves, is in the training's record, and a skipped step leaves it as it was; burn's
/// own checkpoints hold it with `RobustTrainStep::checkpointed_with`. With
/// [`step_joined`](super::RobustGradientAlignment::step_joined), the passes whose gradients are
/// aggregated stay by themselves.
///
/// ```
/// use burn::optim::AdamWConfig;
/// use roga::{
///     aggregation::UpGrad,
///     optim::{Aggregated, AggregationConfig, RobustGradientAlignmentConfig},
/// };
///
/// // RoGA whose perturbed gradients do not conflict.
/// let aggregation = AggregationConfig::new(UpGrad::default().into()).with_of(Aggregated::Perturbed);
/// let optim = RobustGradientAlignmentConfig::new()
///     .with_aggregation(Some(aggregation))
///     .init(AdamWConfig::new().init())?;
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct AggregationConfig {
    /// $A$.
    pub method: Aggregation,
    /// Of which gradients. Default: [`Aggregated::Both`].
    #[config(default = "Aggregated::Both")]
    pub of: Aggregated,
}

/// What a stateful method keeps from step to step, for each kind of gradients.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Kept {
    pub clean: Vec<f64>,
    pub perturbed: Vec<f64>,
}

/// The coefficients of a step, by domain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coefficients {
    pub clean: Option<Vec<f64>>,
    pub perturbed: Option<Vec<f64>>,
    pub ascent: Option<Vec<f64>>,
}

/// An aggregation at a step; none for the mean.
#[derive(Debug, Clone)]
pub(crate) struct Aggregating<'a> {
    pub method: &'a dyn Aggregator,
    of: Aggregated,
    /// Of the next step, if this one counts.
    pub kept: Kept,
    pub coefficients: Coefficients,
}

impl<'a> Aggregating<'a> {
    pub fn new(method: &'a dyn Aggregator, of: Aggregated, kept: Kept) -> Self {
        Self {
            method,
            of,
            kept,
            coefficients: Coefficients::default(),
        }
    }

    pub fn of_clean(&self) -> bool {
        matches!(self.of, Aggregated::Clean | Aggregated::Both)
    }

    pub fn of_perturbed(&self) -> bool {
        matches!(self.of, Aggregated::Perturbed | Aggregated::Both)
    }

    pub fn of_ascent(&self) -> bool {
        self.of == Aggregated::Ascent
    }

    /// The coefficients of clean gradients, for the parts of the step that ask for them.
    pub fn of_clean_passes(&mut self, domains: &DomainStatistics<'_>, parts: Parts) -> Result<()> {
        let Kept { clean, perturbed } = &mut self.kept;
        let of = |asked: bool, kept: &mut Vec<f64>| {
            let coefficients = asked.then(|| coefficients_of(self.method, domains, kept));
            coefficients.transpose()
        };
        self.coefficients = Coefficients {
            clean: of(parts.clean, clean)?,
            perturbed: of(parts.perturbed, perturbed)?,
            ascent: of(parts.ascent, clean)?,
        };
        Ok(())
    }

    /// The coefficients of the gradients at the points.
    pub fn of_points(&mut self, domains: &DomainStatistics<'_>) -> Result<Vec<f64>> {
        coefficients_of(self.method, domains, &mut self.kept.perturbed)
    }
}

/// The parts of a step that are made of aggregated clean gradients.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parts {
    /// $w_0\\, \bar g$.
    pub clean: bool,
    /// $w_1 P$, in a plain step.
    pub perturbed: bool,
    /// The pooled ascent.
    pub ascent: bool,
}

impl Parts {
    pub fn any(self) -> bool {
        self.clean || self.perturbed || self.ascent
    }
}

impl AggregationConfig {
    /// A method of the caller's own.
    ///
    /// The settings keep its `Debug` text, by which a record knows it: what the method depends on
    /// should stand there. The method itself is handed to
    /// [`RobustGradientAlignment::set_aggregator`](super::RobustGradientAlignment::set_aggregator).
    /// See [`Aggregator`] for one.
    pub fn own(aggregator: &dyn Aggregator) -> Self {
        Self::new(Aggregation::own(aggregator))
    }

    /// Refuses what cannot work, or has no effect, with the other settings.
    pub(crate) fn check(&self, config: &RobustGradientAlignmentConfig) -> Result<()> {
        self.method.check()?;
        let refused = |rule, value: String| {
            Err(Error::Setting {
                field: "aggregation",
                rule,
                value,
            })
        };
        let of = format!("{:?}", self.of);
        match self.of {
            Aggregated::Ascent if config.ascent != Ascent::Pooled => {
                return refused("be of an ascent that is pooled, where it is of one", of);
            }
            Aggregated::Clean if config.clean_weight == 0.0 => {
                return refused("not be of clean gradients where clean_weight is 0", of);
            }
            Aggregated::Perturbed if config.perturbed_weight == 0.0 => {
                return refused(
                    "not be of perturbed gradients where perturbed_weight is 0",
                    of,
                );
            }
            _ => {}
        }
        let weights = config.domain_weights.iter().flatten();
        let counting: Vec<&f64> = weights.filter(|weight| **weight > 0.0).collect();
        let uniform = counting.array_windows().all(|[one, other]| one == other);
        match self.method {
            Aggregation::Mgda(_) if !uniform => Err(Error::Setting {
                field: "domain_weights",
                rule: "be the same or 0, since the aggregation takes no account of them",
                value: format!("{:?}", config.domain_weights.as_deref().unwrap_or_default()),
            }),
            _ => Ok(()),
        }
    }
}
