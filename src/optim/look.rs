use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::{
    RobustGradient, RobustGradientAlignmentConfig,
    combination::projected,
    point::At,
    readback::{Readback, Reading},
};
use crate::{
    gradient::{WeightedSum, combine, kept, like, squared_norm, times},
    perturbation::ascent_scale,
};

/// A part below this share of the whole is what rounding has left.
const ROUNDING: f64 = 16.0 * f32::EPSILON as f64;

impl RobustGradientAlignmentConfig {
    /// $\alpha$, where there are steps in which it counts.
    fn reuses(&self) -> Option<f64> {
        self.reuse_weight
            .filter(|weight| *weight != 0.0 && self.interval > 1)
    }
}

/// What perturbed steps leave for the plain ones between them.
impl RobustGradient {
    /// The weight $w_1 \alpha$ in a plain step, where something is kept.
    pub(super) fn reuse_weight<M>(&self, at: &At<'_, M>, step: u64) -> Option<f64> {
        let weight = self.config().reuses()?;
        let reuses = !self.config().is_perturbed(step) && !at.carried.direction.is_empty();
        reuses.then_some(self.config().perturbed_weight * weight)
    }

    /// The weight $w_1 \alpha$, and $\lVert \bar g \rVert\, \hat v$; `None` in perturbed steps, and where
    /// nothing is kept.
    pub(super) fn reused<M: Module>(
        &self,
        at: &At<'_, M>,
        mean: &WeightedSum,
        step: u64,
    ) -> Option<(f64, GradientsParams)> {
        let weight = self.reuse_weight(at, step)?;
        let norm = squared_norm(at.model, &mean.sum)?.sqrt();
        let direction = like(at.model, &at.carried.direction, &mean.sum);
        Some((weight * mean.unit, times(at.model, direction, norm)))
    }

    /// Keeps $\hat v$ of a perturbed step, by $\bar g$ or a multiple of it. The reading is finite where it is.
    pub(super) fn keep_direction<M: Module>(
        &self,
        at: &mut At<'_, M>,
        mean: &GradientsParams,
        perturbed: &WeightedSum,
        step: u64,
        readback: &mut Readback,
    ) -> Reading {
        if self.config().reuses().is_none() || !self.config().is_perturbed(step) {
            return Reading::default();
        }
        // Its length is that of every later gradient: the coefficient of the sum does not matter.
        let (direction, square) = orthogonal(at.model, &perturbed.sum, mean);
        at.carried.direction = kept(at.model, &direction);
        readback.push(square)
    }
}

/// The direction $\hat v = v / \lVert v \rVert$ of
/// $v = p - \langle p, \hat g \rangle\, \hat g$, and $\lVert v \rVert^2$. $\hat v$ is 0 where $v$ is,
/// but for rounding: made as long as a gradient, that would be a direction of its own.
fn orthogonal<M: Module>(
    model: &M,
    gradient: &GradientsParams,
    to: &GradientsParams,
) -> (GradientsParams, Option<Tensor<1>>) {
    let along = projected(model, gradient, to);
    let along = along.iter().map(|along| (-1.0, along));
    let terms: Vec<_> = [(1.0, gradient)].into_iter().chain(along).collect();
    let orthogonal = combine(model, &terms);
    let squares = squared_norm(model, &orthogonal).zip(squared_norm(model, gradient));
    let Some((square, whole)) = squares else {
        return (orthogonal, None);
    };
    let rounding = square
        .clone()
        .lower_equal(whole.mul_scalar(ROUNDING * ROUNDING));
    let scale = ascent_scale(square.clone().sqrt(), 1.0).mask_fill(rounding, 0.0);
    (times(model, orthogonal, scale), Some(square))
}
