use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::{
    RobustGradient,
    aggregation::{Aggregating, Parts},
    carried::Carried,
    clean::Clean,
    difference::{Aligning, Differences},
    evaluation::{Plan, Point, PointAscent},
    group::Perturbation,
    passes::{PassSum, Passes},
    readback::{Readback, Reading},
    summary::{PassReadings, PointReadings},
};
use crate::{
    Result,
    aggregation::Needs,
    gradient::{WeightedSum, combine, dot, squared_norm},
    perturbation::{Displacement, ascent_scale, displaced_with_resolution},
};

/// Where a step is.
pub(crate) struct At<'a, M> {
    pub model: &'a M,
    pub weights: &'a [f64],
    pub perturbation: Perturbation,
    pub plan: Plan,
    /// The aggregation, if it is not the mean, and the parts that it makes of clean gradients.
    pub aggregating: Option<Aggregating<'a>>,
    pub parts: Parts,
    /// The alignment loss, in steps in which it counts.
    pub aligning: Option<Aligning<'a>>,
    /// Of the alignment loss, once the Gram matrix is known.
    pub differences: Option<Differences>,
    /// Of the steps before; in the end of the next step, if this one counts.
    pub carried: Carried,
}

impl<M> At<'_, M> {
    /// What the host has to know of the clean passes before the step can go on.
    pub fn needs(&self) -> Needs {
        let aggregating = self.aggregating.iter().filter(|_| self.parts.any());
        let aggregating = aggregating.map(|it| it.method.needs());
        let aligning = self.aligning.iter().map(|_| Needs::Gram);
        aggregating.chain(aligning).max().unwrap_or(Needs::Nothing)
    }

    /// Whether it waits for that.
    pub fn looks(&self) -> bool {
        self.needs() != Needs::Nothing
    }

    /// Whether something but ascents needs the domains' clean gradients one by one.
    pub fn one_by_one(&self) -> bool {
        self.aligning.is_some() || self.parts.any()
    }

    /// Whether the gradients at a point are kept for an aggregation, and not added up.
    fn keeps(&self, point: &Point) -> bool {
        let aggregates = self.aggregating.iter().any(|it| it.of_perturbed());
        aggregates && !point.is_difference()
    }
}

/// The passes at some of a step's points: what they need to know of it but the model.
pub(crate) struct Task<'a> {
    weights: &'a [f64],
    perturbation: Perturbation,
    aggregating: Option<Aggregating<'a>>,
    pub points: Vec<Point>,
    pub differences: Option<Differences>,
}

impl<'a> Task<'a> {
    pub fn new<M>(at: &At<'a, M>, points: Vec<Point>) -> Self {
        Self {
            weights: at.weights,
            perturbation: at.perturbation.clone(),
            aggregating: at.aggregating.clone(),
            points,
            differences: at.differences.clone(),
        }
    }

    /// For this model.
    pub fn at<'b, M>(self, model: &'b M) -> At<'b, M>
    where
        'a: 'b,
    {
        At {
            model,
            weights: self.weights,
            perturbation: self.perturbation,
            plan: Plan {
                points: self.points,
            },
            aggregating: self.aggregating,
            parts: Parts::default(),
            aligning: None,
            differences: self.differences,
            carried: Carried::default(),
        }
    }
}

/// A point, and the model there.
struct Place<'a, M> {
    model: &'a M,
    point: &'a Point,
    /// $\bar g$.
    mean: &'a GradientsParams,
}

/// What comes of the gradients at the points.
pub(crate) struct Sums {
    /// $P$.
    pub perturbed: WeightedSum,
    /// The part of $\nabla \varphi$ that is not of $\theta$.
    pub alignment: WeightedSum,
    /// The mean gradients that an aggregation is going to make $P$ of.
    pub kept: Vec<GradientsParams>,
    /// What they are of.
    pub parts: Vec<Part>,
}

/// A part of the perturbed passes: a point, or a domain at the one point that all share.
pub(crate) struct Part {
    pub domain: usize,
    /// The sum of its coefficients.
    pub weight: f64,
    losses: Vec<(Reading, f64)>,
}

impl Part {
    fn new(point: &Point, terms: &[(usize, f64)], passes: &[PassReadings]) -> Self {
        let first = terms.first().map_or(0, |(domain, _)| *domain);
        let losses = passes.iter().zip(terms);
        Self {
            domain: match point.ascent {
                PointAscent::Domain(domain) => domain,
                _ => first,
            },
            weight: terms.iter().map(|(_, coefficient)| coefficient).sum(),
            losses: losses.map(|(pass, (_, c))| (pass.loss, *c)).collect(),
        }
    }

    /// With readings that have become those of another one.
    pub fn read_from(mut self, first: usize) -> Self {
        for (loss, _) in &mut self.losses {
            *loss = loss.after(first);
        }
        self
    }

    /// The mean loss.
    pub fn loss(&self, read: &Readback) -> f64 {
        let losses = self.losses.iter();
        losses
            .map(|(loss, c)| read.get(*loss) * c / self.weight)
            .sum()
    }
}

impl Sums {
    pub fn new() -> Self {
        Self {
            perturbed: WeightedSum::new(),
            alignment: WeightedSum::new(),
            kept: Vec::new(),
            parts: Vec::new(),
        }
    }
}

/// Steps 2 and 3.
impl RobustGradient {
    /// The points and the gradients there.
    pub(crate) fn passes_at_points<M: Module>(
        &self,
        passes: &mut impl Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
    ) -> Result<(Sums, Vec<PointReadings>)> {
        let mut sums = Sums::new();
        let mut readings = Vec::with_capacity(at.plan.points.len());
        for (place, point) in at.plan.points.iter().enumerate() {
            let direction = at.direction(clean, point);
            let displacement = self.displacement(at, clean, point, direction.as_ref());
            let (at_point, resolution) = displaced_with_resolution(at.model, &displacement);
            let resolution = resolution.wanted.zip(resolution.lost);
            drop(displacement);
            if at.differences.is_none() {
                clean.release(at.plan.points.get(place + 1..).unwrap_or_default());
            }
            let mut of_point = PointReadings {
                point: point.clone(),
                passes: Vec::with_capacity(point.terms.len()),
                joined: Reading::default(),
                unit: 1.0,
                alignment: None,
                resolution: resolution
                    .map(|(wanted, lost)| (readback.push(wanted), readback.push(lost))),
            };
            let place = Place {
                model: &at_point,
                point,
                mean: &clean.mean,
            };
            self.passes_at(passes, readback, at, &place, &mut of_point, &mut sums)?;
            readings.push(of_point);
        }
        Ok((sums, readings))
    }

    /// The gradients at one point.
    fn passes_at<M: Module>(
        &self,
        passes: &mut impl Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        place: &Place<'_, M>,
        readings: &mut PointReadings,
        sums: &mut Sums,
    ) -> Result<()> {
        let Place { model, point, mean } = *place;
        let keeps = at.keeps(point);
        // At a point that all domains share, it is their gradients that are kept.
        let of_domains = keeps && !matches!(point.ascent, PointAscent::Domain(_));
        let size = if of_domains {
            1
        } else {
            point.terms.len().max(1)
        };
        let first_kept = sums.kept.len();
        for terms in point.terms.chunks(size) {
            let PassSum {
                losses,
                mut probes,
                sum,
            } = passes.sum(model, terms)?;
            // A joined pass has one gradient for all of its domains.
            if probes.len() < losses.len() {
                readings.joined = readback.push(probes.pop().flatten());
            }
            let mut probes = probes.into_iter();
            let of_terms = terms
                .iter()
                .zip(losses)
                .map(|((domain, _), loss)| PassReadings {
                    domain: *domain,
                    loss: readback.push(loss),
                    gradient: readback.push(probes.next().flatten()),
                });
            let of_terms: Vec<PassReadings> = of_terms.collect();
            if keeps {
                let part = Part::new(point, terms, &of_terms);
                let scale = sum.unit / part.weight;
                sums.kept.push(combine(at.model, &[(scale, &sum.sum)]));
                sums.parts.push(part);
            } else if point.is_difference() {
                sums.alignment.add(at.model, sum.unit, sum.sum);
            } else {
                self.align(readback, at, &sum.sum, mean, readings);
                readings.unit = sum.unit;
                sums.perturbed.add(at.model, sum.unit, sum.sum);
            }
            readings.passes.extend(of_terms);
        }
        if keeps && self.config().report {
            let parts = sums.parts.iter().map(|part| part.weight).zip(&sums.kept);
            let parts: Vec<_> = parts.skip(first_kept).collect();
            let sum = combine(at.model, &parts);
            self.align(readback, at, &sum, mean, readings);
        }
        Ok(())
    }

    /// The inner products of a point's gradient that are reported.
    fn align<M: Module>(
        &self,
        readback: &mut Readback,
        at: &At<'_, M>,
        sum: &GradientsParams,
        mean: &GradientsParams,
        readings: &mut PointReadings,
    ) {
        readings.alignment = self.config().report.then(|| {
            let square = squared_norm(at.model, sum);
            let with_mean = dot(at.model, sum, mean);
            (readback.push(square), readback.push(with_mean))
        });
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
            let norm = clean.norms.get(domain)?.as_ref()?;
            Some(ascent(norm, weight, clean.gradients.get(domain)?))
        };
        let mut displacement: Vec<_> = match point.ascent {
            PointAscent::None => Vec::new(),
            PointAscent::Domain(domain) => of_domain(domain, 1.0).into_iter().collect(),
            PointAscent::Consensus => (at.weights.iter().enumerate())
                .filter_map(|(domain, weight)| of_domain(domain, *weight))
                .collect(),
            PointAscent::Pooled => {
                let climbed = clean.climbed.as_ref().unwrap_or(&clean.mean);
                let norm = clean.mean_norm.iter();
                norm.map(|norm| ascent(norm, 1.0, climbed)).collect()
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
    pub fn direction(&self, clean: &Clean, point: &Point) -> Option<GradientsParams> {
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
            .filter_map(|(domain, c)| Some((*c, clean.gradients.get(*domain)?)));
        let terms: Vec<_> = [(at_points.unit, &at_points.sum)]
            .into_iter()
            .chain(at_theta)
            .collect();
        (!at_points.sum.is_empty()).then(|| combine(self.model, &terms))
    }
}
