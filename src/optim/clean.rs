use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::{
    RobustGradient,
    aggregation::Aggregating,
    difference::{Scale, parameters_squared_norm},
    evaluation::{Point, PointAscent},
    passes::{PassSum, Passes},
    point::{At, Sums},
    readback::{Readback, Reading},
    summary::CleanReadings,
};
use crate::{
    Result,
    aggregation::{Needs, combined},
    gradient::{GramMatrix, WeightedSum, finite_probe, gram, scale, shared, squared_norm},
    perturbation::{Adaptive, adaptive_squared_norm},
};

/// What the clean passes leave for the others.
pub(crate) struct Clean {
    /// Of every domain, as long as they are needed; none after a joined pass, as of the norms.
    pub gradients: Vec<GradientsParams>,
    /// $\lVert T g_i \rVert$.
    pub norms: Vec<Option<Tensor<1>>>,
    /// $\bar g$, as it was added up: nothing goes over all parameters only to scale it.
    pub mean: WeightedSum,
    /// $\lVert T \bar g \rVert$, where an ascent is pooled.
    pub mean_norm: Option<Tensor<1>>,
    /// What takes the place of $\bar g$ in $w_0\, \bar g$.
    pub aggregated: Option<GradientsParams>,
    /// What takes the place of $P$ in a plain step, where that is another one.
    pub plain: Option<GradientsParams>,
    /// What is climbed in the place of $\bar g$.
    pub climbed: Option<GradientsParams>,
    /// $\sum_i p_i\, \rho\, g_i / \lVert T g_i \rVert$, of the domains whose gradients are not kept,
    /// where they share the mean of their points.
    pub consensus: GradientsParams,
    /// $\lVert \theta \rVert^2$ and the parameters' resolution, where finite differences go by them.
    scale: Option<(Reading, f64)>,
}

/// What the host knows of the clean passes in the middle of a step, as far as it is needed.
pub(crate) struct Seen {
    pub losses: Vec<f64>,
    pub gram: Option<GramMatrix>,
    pub scale: Scale,
}

impl Clean {
    /// The mean gradient alone.
    pub fn of_mean(mean: WeightedSum, mean_norm: Option<Tensor<1>>) -> Self {
        Self {
            gradients: Vec::new(),
            norms: Vec::new(),
            mean,
            mean_norm,
            aggregated: None,
            plain: None,
            climbed: None,
            consensus: GradientsParams::new(),
            scale: None,
        }
    }

    /// Of the numbers that have been read back.
    pub fn seen(&self, needs: Needs, readings: &CleanReadings, read: &Readback) -> Seen {
        let losses = readings.losses.iter().filter(|_| needs != Needs::Nothing);
        let losses = losses.map(|loss| read.get(*loss));
        let (square, epsilon) = self.scale.unwrap_or_default();
        Seen {
            losses: losses.collect(),
            gram: (needs == Needs::Gram).then(|| read.gram_matrix(&readings.gram)),
            scale: Scale {
                norm: read.get(square).sqrt(),
                epsilon,
            },
        }
    }

    /// Puts the gradients together by the coefficients that an aggregation has found.
    pub fn aggregate<M: Module>(
        &mut self,
        model: &M,
        weights: &[f64],
        adaptive: Adaptive,
        aggregating: &Aggregating<'_>,
    ) -> Result<()> {
        let of = |coefficients: &Vec<f64>| {
            combined(
                aggregating.method,
                model,
                weights,
                coefficients,
                &self.gradients,
            )
        };
        let coefficients = &aggregating.coefficients;
        let aggregated = coefficients.clean.as_ref().map(of).transpose()?;
        let plain = coefficients.perturbed.as_ref();
        let plain = plain
            .filter(|_| coefficients.perturbed != coefficients.clean)
            .map(of)
            .transpose()?;
        if let Some(climbed) = coefficients.ascent.as_ref().map(of).transpose()? {
            self.climb(model, climbed, adaptive);
        }
        self.aggregated = aggregated;
        self.plain = plain;
        Ok(())
    }

    /// Climbs this in the place of $\bar g$.
    pub fn climb<M: Module>(&mut self, model: &M, climbed: GradientsParams, adaptive: Adaptive) {
        self.mean_norm = adaptive_squared_norm(model, &climbed, adaptive).map(Tensor::sqrt);
        self.climbed = Some(climbed);
    }

    /// Lets go of the gradients that these points do not need.
    pub fn release(&mut self, points: &[Point]) {
        for (domain, gradient) in self.gradients.iter_mut().enumerate() {
            let needs = |point: &Point| match point.ascent {
                PointAscent::Domain(of) => of == domain,
                PointAscent::Consensus | PointAscent::Difference { .. } => true,
                PointAscent::None | PointAscent::Pooled => false,
            };
            if !points.iter().any(needs) {
                *gradient = GradientsParams::new();
            }
        }
    }
}

/// What becomes of the domains' clean gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// All of them are in memory together: inner products of pairs need them, or ascents that come with
    /// a shift, whose mean gradient is known after the last of them.
    All,
    /// One at a time: it goes into sums, and the passes at its own point follow at once.
    One,
    /// One at a time, and each once more when its ascent is made.
    Again,
}

/// Step 1.
impl RobustGradient {
    /// How a step holds the clean gradients.
    pub(super) fn held<M: Module>(&self, at: &At<'_, M>) -> Held {
        let config = self.config();
        let points = &at.plan.points;
        let own = |point: &Point| matches!(point.ascent, PointAscent::Domain(_));
        let own = points.iter().any(own);
        let reported = config.report && !(config.recompute && at.by_domain());
        let shifted = own && !at.perturbation.gamma.is_zero();
        if !at.one_by_one() && config.takes_again(&at.plan, &at.perturbation) {
            Held::Again
        } else if at.one_by_one() || reported || shifted {
            Held::All
        } else {
            Held::One
        }
    }

    /// The domains' gradients at $\theta$, their mean and their inner products.
    ///
    /// Where nothing needs the gradients one by one, joined passes are one pass.
    pub(crate) fn clean_passes<M: Module>(
        &self,
        passes: &mut dyn Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
        sums: &mut Sums,
    ) -> Result<(Clean, CleanReadings)> {
        if passes.joins() && !at.by_domain() && !at.one_by_one() {
            return self.clean_pass(passes, readback, at, at_theta);
        }
        let mut clean = Clean::of_mean(WeightedSum::new(), None);
        let (mut losses, mut gram_rows, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        for (domain, weight) in at.weights.iter().enumerate() {
            let (loss, gradient) = passes.one(at_theta, domain)?;
            losses.push(readback.push(loss));
            if at.held != Held::All {
                let row = self.square(at, &gradient);
                let square = row.first().cloned().flatten();
                clean.norms.push(self.ascent_norm(at, &gradient, square));
                checks.push(readback.push(check(at_theta, &gradient, &row)));
                gram_rows.push(row);
                if *weight > 0.0 {
                    let gradient = shared(at_theta, &gradient);
                    clean.mean.add(at_theta, *weight, gradient);
                }
            }
            clean.gradients.push(gradient);
            if at.held == Held::One {
                self.ascend_at_once(passes, readback, at, &mut clean, sums)?;
            }
            if at.held != Held::All
                && let Some(gradient) = clean.gradients.get_mut(domain)
            {
                *gradient = GradientsParams::new();
            }
        }
        if at.held == Held::All {
            gram_rows = self.products(at, &clean.gradients);
            for (gradient, row) in clean.gradients.iter().zip(&gram_rows) {
                // The last entry of a row is the gradient's inner product with itself.
                let square = row.last().cloned().flatten();
                clean.norms.push(self.ascent_norm(at, gradient, square));
                checks.push(readback.push(check(at_theta, gradient, row)));
            }
            let needed = at.by_domain() || at.one_by_one();
            for (weight, gradient) in at.weights.iter().zip(&mut clean.gradients) {
                let gradient = match needed {
                    true => shared(at_theta, gradient),
                    false => std::mem::take(gradient),
                };
                if *weight > 0.0 {
                    clean.mean.add(at_theta, *weight, gradient);
                }
            }
        }
        let gram = readback.push_rows(&gram_rows);
        clean.scale = at.aligning.is_some().then(|| {
            let (square, epsilon) = parameters_squared_norm(at.model);
            (readback.push(square), epsilon)
        });
        let (mean_norm, mean_square) = self.mean_norms(readback, at, &clean.mean);
        clean.mean_norm = mean_norm;
        let readings = CleanReadings {
            losses,
            gram,
            checks,
            again: at.held == Held::Again,
            joined: None,
            mean_square,
        };
        Ok((clean, readings))
    }

    /// The inner products of the clean gradients: of all pairs, or each with itself where that is needed.
    fn products<M: Module>(
        &self,
        at: &At<'_, M>,
        gradients: &[GradientsParams],
    ) -> Vec<Vec<Option<Tensor<1>>>> {
        if self.config().report || at.needs() == Needs::Gram {
            return gram(at.model, gradients);
        }
        let gradients = gradients.iter();
        gradients
            .map(|gradient| self.square(at, gradient))
            .collect()
    }

    /// A clean gradient's inner product with itself, where the report or an ascent goes by it.
    fn square<M: Module>(
        &self,
        at: &At<'_, M>,
        gradient: &GradientsParams,
    ) -> Vec<Option<Tensor<1>>> {
        let config = self.config();
        let ascends = at.by_domain() && config.adaptive == Adaptive::None;
        match config.report || ascends {
            true => vec![squared_norm(at.model, gradient)],
            false => Vec::new(),
        }
    }

    /// $\lVert T g_i \rVert$, where an ascent goes by it.
    pub(super) fn ascent_norm<M: Module>(
        &self,
        at: &At<'_, M>,
        gradient: &GradientsParams,
        square: Option<Tensor<1>>,
    ) -> Option<Tensor<1>> {
        let square = match self.config().adaptive {
            _ if !at.by_domain() => None,
            Adaptive::None => square,
            adaptive => adaptive_squared_norm(at.model, gradient, adaptive),
        };
        square.map(Tensor::sqrt)
    }

    /// In one pass: the mean gradient alone.
    fn clean_pass<M: Module>(
        &self,
        passes: &mut dyn Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
    ) -> Result<(Clean, CleanReadings)> {
        let terms: Vec<(usize, f64)> = at.weights.iter().copied().enumerate().collect();
        let PassSum {
            losses, sum: mean, ..
        } = passes.sum(at_theta, &terms)?;
        let (mean_norm, mean_square) = self.mean_norms(readback, at, &mean);
        let joined =
            mean_square.unwrap_or_else(|| readback.push(finite_probe(at.model, &mean.sum)));
        let losses = losses.into_iter();
        let readings = CleanReadings {
            losses: losses.map(|loss| readback.push(loss)).collect(),
            gram: vec![Vec::new(); at.weights.len()],
            checks: Vec::new(),
            again: false,
            joined: Some(joined),
            mean_square,
        };
        Ok((Clean::of_mean(mean, mean_norm), readings))
    }

    /// The norm that the pooled ascent goes by, where it is needed, and $\lVert \bar g \rVert^2$, where that
    /// is known: for the report, an ascent, or as $\lVert G \rVert^2$.
    pub(crate) fn mean_norms<M: Module>(
        &self,
        readback: &mut Readback,
        at: &At<'_, M>,
        mean: &WeightedSum,
    ) -> (Option<Tensor<1>>, Option<Reading>) {
        let pooled = |point: &Point| point.ascent == PointAscent::Pooled;
        let pooled = at.plan.points.iter().any(pooled);
        let adaptive = self.config().adaptive;
        let ascends = pooled && adaptive == Adaptive::None;
        let known = self.config().report || at.is_mean || ascends;
        let of_mean = |square: Tensor<1>| scale(square, mean.unit.powi(2));
        let square = known.then(|| squared_norm(at.model, &mean.sum)).flatten();
        let square = square.map(of_mean);
        let norm = match (pooled, adaptive) {
            (false, _) => None,
            (true, Adaptive::None) => square.clone(),
            (true, adaptive) => adaptive_squared_norm(at.model, &mean.sum, adaptive).map(of_mean),
        };
        let square = known.then(|| readback.push(square));
        (norm.map(Tensor::sqrt), square)
    }
}

/// What is finite where a clean gradient is, if its inner product with itself, which ends the row, is not
/// there to tell.
fn check<M: Module>(
    model: &M,
    gradient: &GradientsParams,
    row: &[Option<Tensor<1>>],
) -> Option<Tensor<1>> {
    match row {
        [] => finite_probe(model, gradient),
        _ => None,
    }
}
