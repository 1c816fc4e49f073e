use burn::{config::Config, module::Module};

use super::{Ascent, RobustGradientAlignmentConfig, clean::Clean, point::At};
use crate::{
    Error, Result,
    gradient::{combine, like, move_to_gradient},
    perturbation::Adaptive,
};

/// A pooled ascent that leaves out what the gradients of all steps have in common, as in
/// Friendly-SAM:
///
/// $$\varepsilon = \rho\\, \frac{d}{\lVert d \rVert}, \qquad d = \bar g - \sigma\\, m, \qquad
///   m \leftarrow \lambda\\, m + (1 - \lambda)\\, \bar g.$$
///
/// The running mean $m$ stands for the gradient of all data; what is climbed is what the step's
/// batches have of their own. In the first step there is no $m$ yet: $\bar g$ is climbed and becomes
/// it. $d$ is taken with the $m$ of the steps before, as in the authors' code; with $\sigma = 1$ the
/// $m$ that holds $\bar g$ already gives the same direction.
///
/// $m$ is moved in every step that counts, plain ones (of a warm-up, between perturbed steps)
/// included. A parameter without a gradient in a step is not moved by the ascent, and its part of
/// $m$ stays. Where an [aggregation](super::Aggregated::Ascent) makes the direction, $\sigma\\, m$ is
/// taken from that.
///
/// No further pass and no wait; $m$ and its next value are two gradients more in memory. $m$ is in
/// the training's record, and a skipped step leaves it as it was; burn's own checkpoints do not hold
/// it.
///
/// Source: Li, Zhou, He, Cheng and Huang, "Friendly Sharpness-Aware Minimization", CVPR 2024, arXiv
/// 2403.12350.
///
/// ```
/// use burn::optim::AdamWConfig;
/// use roga::optim::{FriendlyAscent, RobustGradientAlignmentConfig};
///
/// // SAGM with a friendly ascent.
/// let optim = RobustGradientAlignmentConfig::sagm(0.05, 5e-4)
///     .with_friendly(Some(FriendlyAscent::new().with_lambda(0.95)))
///     .init(AdamWConfig::new().init())?;
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug, Copy, PartialEq)]
pub struct FriendlyAscent {
    /// How much $\sigma$ of the running mean is left out: finite, at least 0. Default: 1. With 0,
    /// the ascent is SAM's.
    #[config(default = 1.0)]
    pub sigma: f64,
    /// How much $\lambda$ of the running mean is kept in a step: at least 0, below 1. Default: 0.9.
    #[config(default = 0.9)]
    pub lambda: f64,
}

impl FriendlyAscent {
    /// Refuses what cannot work, or has no effect, with the other settings.
    pub(super) fn check(&self, config: &RobustGradientAlignmentConfig) -> Result<()> {
        let refused = |field, rule, value: String| Err(Error::Setting { field, rule, value });
        if !(self.sigma.is_finite() && self.sigma >= 0.0) {
            let rule = "be finite and at least 0";
            return refused("friendly.sigma", rule, self.sigma.to_string());
        }
        if !(0.0..1.0).contains(&self.lambda) {
            let rule = "be at least 0 and below 1";
            return refused("friendly.lambda", rule, self.lambda.to_string());
        }
        if config.ascent != Ascent::Pooled {
            let rule = "be of an ascent that is pooled";
            return refused("friendly", rule, format!("{:?}", config.ascent));
        }
        Ok(())
    }

    /// Turns a pooled ascent away from the running mean, and moves that on.
    pub(super) fn turn<M: Module>(
        &self,
        at: &mut At<'_, M>,
        clean: &mut Clean,
        adaptive: Adaptive,
    ) {
        if self.sigma == 0.0 {
            return;
        }
        let mean = &mut at.carried.mean;
        // Before there is a mean, the ascent is SAM's.
        if clean.mean_norm.is_some() && !mean.is_empty() {
            let (unit, climbed) = match &clean.climbed {
                Some(climbed) => (1.0, climbed),
                None => (clean.mean.unit, &clean.mean.sum),
            };
            let common = like(at.model, mean, climbed);
            let own = combine(at.model, &[(unit, climbed), (-self.sigma, &common)]);
            clean.climb(at.model, own, adaptive);
        }
        let to = (clean.mean.unit, &clean.mean.sum);
        move_to_gradient(at.model, mean, to, 1.0 - self.lambda);
    }
}
