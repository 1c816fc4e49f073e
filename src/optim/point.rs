use burn::{module::Module, optim::GradientsParams};

use super::{
    RobustGradient,
    aggregation::{Aggregating, Parts},
    carried::Carried,
    clean::{Clean, Held},
    difference::{Aligning, Differences},
    evaluation::{Plan, Point, PointAscent},
    group::{Lengths, Perturbation},
    passes::{PassSum, Passes},
    readback::{Readback, Reading},
    summary::{PassReadings, PointReadings},
};
use crate::{
    Result,
    aggregation::Needs,
    gradient::{
        WeightedSum, accumulate_times, combine, combine_taking, finite_probe,
        has_parameters_of_16_bits, scale, shared, square_and_dot, squared_norm,
    },
    perturbation::{Adaptive, Length, Resolution, Term, ascent_scale, displaced, displaced_along},
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
    /// How the clean gradients are held.
    pub held: Held,
    /// Whether $G$ is $\bar g$ as it is.
    pub is_mean: bool,
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

    /// Whether there are ascents by domain.
    pub fn by_domain(&self) -> bool {
        let by_domain = |point: &Point| {
            matches!(
                point.ascent,
                PointAscent::Domain(_) | PointAscent::Consensus
            )
        };
        self.plan.points.iter().any(by_domain)
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
            held: Held::All,
            is_mean: false,
        }
    }
}

/// A point, and the model there.
struct Place<'a, M> {
    point: &'a Point,
    model: M,
    /// Of its parameters of 16 bits.
    resolution: Resolution,
}

impl<'a, M: Module> Place<'a, M> {
    /// At the end of this way.
    fn new(point: &'a Point, from: &M, way: Vec<Term<'_>>, counts: bool) -> Self {
        let (model, resolution) = displaced_along(from, way, counts);
        Self {
            point,
            model,
            resolution,
        }
    }
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
    /// Of the points that have been evaluated, in their order.
    pub readings: Vec<PointReadings>,
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
            readings: Vec::new(),
        }
    }
}

/// Steps 2 and 3.
impl RobustGradient {
    /// The points and the gradients there, but for those that have been evaluated.
    pub(crate) fn passes_at_points<M: Module>(
        &self,
        passes: &mut dyn Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
        sums: &mut Sums,
    ) -> Result<()> {
        let points = at.plan.points.iter().skip(sums.readings.len());
        let mut together = self.together(at, clean, points.clone()).into_iter();
        for point in points {
            if let (PointAscent::Domain(domain), Held::Again) = (point.ascent, at.held) {
                self.take_again(passes, at, clean, domain)?;
            }
            let place = match together.next() {
                Some(place) => place,
                None => self.place(at, clean, point),
            };
            self.passes_there(passes, readback, at, &clean.mean, place, sums)?;
        }
        Ok(())
    }

    /// All points, made at once from $\theta - \gamma\, \bar g$, which is made once for them: the same bits as one
    /// by one. None where that cannot be, or would hold more: every clean gradient becomes its point.
    ///
    /// An adaptive ascent goes by its operator at $\theta$; parameters of 16 bits are rounded once.
    fn together<'a, M: Module>(
        &self,
        at: &At<'_, M>,
        clean: &mut Clean,
        points: impl Iterator<Item = &'a Point> + Clone,
    ) -> Vec<Place<'a, M>> {
        let own = |point: &Point| matches!(point.ascent, PointAscent::Domain(_));
        let are_own = points.clone().all(own) && points.clone().count() > 1;
        let become_points = at.held == Held::All && at.differences.is_none();
        let to_the_bit =
            self.config().adaptive == Adaptive::None && !has_parameters_of_16_bits(at.model);
        let shift = at.shift(&clean.mean);
        let Some(shift) = shift.filter(|_| are_own && become_points && to_the_bit) else {
            return Vec::new();
        };
        let (shifted, _) = displaced_along(at.model, vec![shift], false);
        let place = |point| {
            let ascent = self.ascent(at, clean, point);
            Place::new(point, &shifted, ascent.into_iter().collect(), false)
        };
        points.map(place).collect()
    }

    /// With the last clean gradient, before the next is taken: the passes at its own point, or its part
    /// of the point that all share.
    pub(super) fn ascend_at_once<M: Module>(
        &self,
        passes: &mut dyn Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
        sums: &mut Sums,
    ) -> Result<()> {
        let last = clean.gradients.len().saturating_sub(1);
        for point in &at.plan.points {
            match point.ascent {
                PointAscent::Domain(domain) if domain == last => {
                    let place = self.place(at, clean, point);
                    self.passes_there(passes, readback, at, &clean.mean, place, sums)?;
                }
                PointAscent::Consensus => self.add_to_consensus(at, clean, last),
                _ => {}
            }
        }
        Ok(())
    }

    /// A domain's clean gradient once more, for its ascent. Running statistics are those of a copy.
    fn take_again<M: Module>(
        &self,
        passes: &mut dyn Passes<M>,
        at: &At<'_, M>,
        clean: &mut Clean,
        domain: usize,
    ) -> Result<()> {
        let (_, again) = passes.one(&displaced(at.model, &[]), domain)?;
        let norm = self.ascent_norm(at, &again, squared_norm(at.model, &again));
        let places = clean.gradients.get_mut(domain);
        if let Some((gradient, of)) = places.zip(clean.norms.get_mut(domain)) {
            (*gradient, *of) = (again, norm);
        }
        Ok(())
    }

    /// A point, and the model there.
    fn place<'a, M: Module>(
        &self,
        at: &At<'_, M>,
        clean: &mut Clean,
        point: &'a Point,
    ) -> Place<'a, M> {
        let way = self.way(at, clean, point);
        Place::new(point, at.model, way, self.config().report)
    }

    /// The gradients at one point.
    fn passes_there<M: Module>(
        &self,
        passes: &mut dyn Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        mean: &WeightedSum,
        place: Place<'_, M>,
        sums: &mut Sums,
    ) -> Result<()> {
        let Place {
            point,
            model,
            resolution,
        } = place;
        let resolution = resolution.wanted.zip(resolution.lost);
        let mut readings = PointReadings {
            point: point.clone(),
            passes: Vec::with_capacity(point.terms.len()),
            joined: Reading::default(),
            unit: 1.0,
            alignment: None,
            resolution: resolution
                .map(|(wanted, lost)| (readback.push(wanted), readback.push(lost))),
        };
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
                probes,
                sum,
            } = passes.sum(&model, terms)?;
            let adds_up = !keeps && !point.is_difference();
            if adds_up {
                self.align(readback, at, &sum.sum, mean, &mut readings);
                readings.unit = sum.unit;
            }
            let probes = probes.into_iter().map(|probe| readback.push(probe));
            let mut checks: Vec<Reading> = probes.collect();
            if checks.is_empty() {
                // The gradient is the sum itself, whose square tells where it is read.
                let square = readings.alignment.filter(|_| adds_up);
                let check = match square {
                    Some((square, _)) => square,
                    None => readback.push(finite_probe(at.model, &sum.sum)),
                };
                // A joined pass has one for all of its domains.
                match terms.len() {
                    1 => checks.push(check),
                    _ => readings.joined = check,
                }
            }
            let mut checks = checks.into_iter();
            let of_terms = terms
                .iter()
                .zip(losses)
                .map(|((domain, _), loss)| PassReadings {
                    domain: *domain,
                    loss: readback.push(loss),
                    gradient: checks.next().unwrap_or_default(),
                });
            let of_terms: Vec<PassReadings> = of_terms.collect();
            if keeps {
                let part = Part::new(point, terms, &of_terms);
                let scale = sum.unit / part.weight;
                let terms = vec![(scale, sum.sum)];
                sums.kept.push(combine_taking(at.model, terms));
                sums.parts.push(part);
            } else if point.is_difference() {
                sums.alignment.add(at.model, sum.unit, sum.sum);
            } else {
                sums.perturbed.add(at.model, sum.unit, sum.sum);
            }
            readings.passes.extend(of_terms);
        }
        if keeps && self.config().report {
            let parts = sums.parts.iter().map(|part| part.weight).zip(&sums.kept);
            let parts: Vec<_> = parts.skip(first_kept).collect();
            let sum = combine(at.model, &parts);
            self.align(readback, at, &sum, mean, &mut readings);
        }
        sums.readings.push(readings);
        Ok(())
    }

    /// The inner products of a point's gradient that are reported.
    fn align<M: Module>(
        &self,
        readback: &mut Readback,
        at: &At<'_, M>,
        sum: &GradientsParams,
        mean: &WeightedSum,
        readings: &mut PointReadings,
    ) {
        readings.alignment = self.config().report.then(|| {
            let [square, with_mean] = square_and_dot(at.model, sum, &mean.sum);
            let with_mean = with_mean.map(|product| scale(product, mean.unit));
            (readback.push(square), readback.push(with_mean))
        });
    }

    /// The way from $\theta$ to a point: $-\gamma\, \bar g + \varepsilon$, or along the direction of a
    /// finite difference. What no later point needs is taken from the clean gradients.
    fn way<'a, M: Module>(
        &self,
        at: &'a At<'_, M>,
        clean: &'a mut Clean,
        point: &Point,
    ) -> Vec<Term<'a>> {
        if let Some(length) = self.along_mean(at, clean, point) {
            return vec![Term::kept(length.times(clean.mean.unit), &clean.mean.sum)];
        }
        if let PointAscent::Difference { length, .. } = point.ascent {
            let direction = at.direction(clean, point).into_iter();
            let along = |direction| Term::taken(Length::constant(length), direction);
            return direction.map(along).collect();
        }
        // The shift first, as where it is made before the ascents.
        let ascent = self.ascent(at, clean, point);
        at.shift(&clean.mean).into_iter().chain(ascent).collect()
    }

    /// $\varepsilon$, by the gradients that it is made of.
    fn ascent<'a, M: Module>(
        &self,
        at: &'a At<'_, M>,
        clean: &mut Clean,
        point: &Point,
    ) -> Option<Term<'a>> {
        let (length, gradient) = match point.ascent {
            PointAscent::None | PointAscent::Difference { .. } => return None,
            PointAscent::Domain(domain) => self.of_domain(at, clean, domain)?,
            PointAscent::Consensus => {
                if at.held == Held::All {
                    for domain in 0..clean.gradients.len() {
                        self.add_to_consensus(at, clean, domain);
                    }
                }
                let sum = std::mem::take(&mut clean.consensus);
                (Length::constant(1.0), sum)
            }
            PointAscent::Pooled => {
                let length = Length::new(ascent_scale(clean.mean_norm.clone()?, at.rho()));
                match clean.climbed.take() {
                    Some(climbed) => (length, climbed),
                    None => {
                        let WeightedSum { unit, sum } = &clean.mean;
                        (length.times(*unit), shared(at.model, sum))
                    }
                }
            }
        };
        let length = length
            .with_adaptive(self.config().adaptive)
            .with_factors(at.perturbation.rho.parts().1);
        Some(Term::taken(length, gradient))
    }

    /// $\rho / \lVert \bar g \rVert - \gamma$, where ascent and shift both go along $\bar g$ by one
    /// length for all parameters.
    fn along_mean<M: Module>(
        &self,
        at: &At<'_, M>,
        clean: &Clean,
        point: &Point,
    ) -> Option<Length<'static>> {
        let Perturbation { rho, gamma } = &at.perturbation;
        let (Lengths::Uniform(rho), Lengths::Uniform(gamma)) = (rho, gamma) else {
            return None;
        };
        let mean = clean.climbed.is_none() && self.config().adaptive == Adaptive::None;
        let mean = mean && point.ascent == PointAscent::Pooled;
        let scale = ascent_scale(clean.mean_norm.clone().filter(|_| mean)?, *rho);
        Some(Length::new(scale.sub_scalar(*gamma)))
    }

    /// The ascent of a domain: its length and its direction.
    fn of_domain<M: Module>(
        &self,
        at: &At<'_, M>,
        clean: &mut Clean,
        domain: usize,
    ) -> Option<(Length<'static>, GradientsParams)> {
        let gradient = clean.gradients.get_mut(domain)?;
        let gradient = at.last_use(gradient);
        let norm = clean.norms.get(domain)?.clone()?;
        Some((Length::new(ascent_scale(norm, at.rho())), gradient))
    }

    /// Adds a domain's ascent to the mean of all.
    fn add_to_consensus<M: Module>(&self, at: &At<'_, M>, clean: &mut Clean, domain: usize) {
        let weight = at.weights.get(domain).copied().unwrap_or(0.0);
        let norm = clean.norms.get(domain).cloned().flatten();
        let Some((gradient, norm)) = clean.gradients.get_mut(domain).zip(norm) else {
            return;
        };
        let gradient = at.last_use(gradient);
        let scale = ascent_scale(norm, at.rho() * weight);
        accumulate_times(at.model, &mut clean.consensus, &scale, gradient);
    }
}

impl<M: Module> At<'_, M> {
    /// $-\gamma\, \bar g$; `None` where it moves no parameter.
    fn shift<'a>(&'a self, mean: &'a WeightedSum) -> Option<Term<'a>> {
        let gamma = &self.perturbation.gamma;
        let (length, factors) = gamma.parts();
        let length = Length::constant(-length * mean.unit).with_factors(factors);
        (!gamma.is_zero()).then(|| Term::kept(length, &mean.sum))
    }

    /// $\rho$, of parameters in no group.
    fn rho(&self) -> f64 {
        self.perturbation.rho.parts().0
    }

    /// A clean gradient, for an ascent: finite differences alone need it again.
    fn last_use(&self, gradient: &mut GradientsParams) -> GradientsParams {
        match self.differences {
            None => std::mem::take(gradient),
            Some(_) => shared(self.model, gradient),
        }
    }

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
