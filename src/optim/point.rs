use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::{
    RobustGradient,
    clean::Clean,
    difference::{Aligning, Differences},
    evaluation::{Plan, Point, PointAscent},
    group::Perturbation,
    passes::{PassSum, Passes},
    readback::Readback,
    summary::{PassReadings, PointReadings},
};
use crate::{
    Result,
    gradient::{WeightedSum, combine, dot, squared_norm},
    perturbation::{Displacement, ascent_scale, displaced_with_resolution},
};

/// Where a step is.
pub(crate) struct At<'a, M> {
    pub model: &'a M,
    pub weights: &'a [f64],
    pub perturbation: Perturbation,
    /// The alignment loss, in steps in which it counts.
    pub aligning: Option<Aligning<'a>>,
    pub plan: Plan,
    /// Of the alignment loss, once the Gram matrix is known.
    pub differences: Option<Differences>,
}

impl<M> At<'_, M> {
    /// Whether the host has to look at the clean passes before the step can go on.
    pub fn looks(&self) -> bool {
        self.aligning.is_some()
    }
}

/// The sums of the gradients at the points.
pub(crate) struct Sums {
    /// $P$.
    pub perturbed: WeightedSum,
    /// The part of $\nabla \varphi$ that is not of $\theta$.
    pub alignment: WeightedSum,
}

/// Steps 2 and 3.
impl RobustGradient {
    /// The points and the gradients there.
    pub(super) fn passes_at_points<M: Module>(
        &self,
        passes: &mut impl Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &Clean,
    ) -> Result<(Sums, Vec<PointReadings>)> {
        let mut sums = Sums {
            perturbed: WeightedSum::new(),
            alignment: WeightedSum::new(),
        };
        let mut readings = Vec::with_capacity(at.plan.points.len());
        for point in &at.plan.points {
            let direction = at.direction(clean, point);
            let displacement = self.displacement(at, clean, point, direction.as_ref());
            let (at_point, resolution) = displaced_with_resolution(at.model, &displacement);
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
            let is_reported = self.config().report && !point.is_difference();
            let alignment = is_reported.then(|| {
                let square = squared_norm(at.model, &sum.sum);
                let with_mean = dot(at.model, &sum.sum, &clean.mean);
                (readback.push(square), readback.push(with_mean))
            });
            readings.push(PointReadings {
                point: point.clone(),
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
            let into = match point.is_difference() {
                false => &mut sums.perturbed,
                true => &mut sums.alignment,
            };
            into.add(at.model, sum.unit, sum.sum);
        }
        Ok((sums, readings))
    }

    /// The way from $\theta$ to a point: $\varepsilon - \gamma\, \bar g$, or along the direction of a
    /// finite difference.
    fn displacement<'a, M>(
        &self,
        at: &'a At<'_, M>,
        clean: &'a Clean,
        point: &Point,
        direction: Option<&'a GradientsParams>,
    ) -> Vec<Displacement<'a>> {
        let (rho, of_parameter) = at.perturbation.rho.parts();
        let ascent = |norm: &Tensor<1>, weight: f64, gradient: &'a GradientsParams| {
            let scale = ascent_scale(norm.clone(), rho * weight);
            let ascent = Displacement::new(scale, gradient).with_adaptive(self.config().adaptive);
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
            PointAscent::Difference { length, .. } => {
                let along = direction.map(|direction| Displacement::constant(length, direction));
                return along.into_iter().collect();
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
}

impl<M: Module> At<'_, M> {
    /// $v_i$, at a point of a finite difference.
    fn direction(&self, clean: &Clean, point: &Point) -> Option<GradientsParams> {
        let PointAscent::Difference { direction, .. } = point.ascent else {
            return None;
        };
        let differences = self.differences.as_ref()?;
        Some(differences.direction(self.model, &clean.gradients, direction))
    }

    /// $\nabla \varphi$, taking apart what was summed up at the points; `None` where it is zero.
    pub fn alignment_gradient(
        &self,
        clean: &Clean,
        at_points: &WeightedSum,
    ) -> Option<GradientsParams> {
        let at_theta = self.differences.as_ref()?.at_theta();
        let at_theta = at_theta
            .iter()
            .map(|(domain, c)| (*c, &clean.gradients[*domain]));
        let terms: Vec<_> = [(at_points.unit, &at_points.sum)]
            .into_iter()
            .chain(at_theta)
            .collect();
        (!at_points.sum.is_empty()).then(|| combine(self.model, &terms))
    }
}
