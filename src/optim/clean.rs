use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::{
    RobustGradient,
    aggregation::Aggregating,
    difference::{Scale, parameters_squared_norm},
    evaluation::{Point, PointAscent},
    passes::{PassSum, Passes},
    point::At,
    readback::{Readback, Reading},
    summary::CleanReadings,
};
use crate::{
    Result,
    aggregation::{Needs, combined},
    gradient::{GramMatrix, combine, gram, squared_norm},
    perturbation::{Adaptive, adaptive_squared_norm},
};

/// What the clean passes leave for the others.
pub(crate) struct Clean {
    /// Of every domain, as long as they are needed; none after a joined pass, as of the norms.
    pub gradients: Vec<GradientsParams>,
    /// $\lVert T g_i \rVert$.
    pub norms: Vec<Option<Tensor<1>>>,
    pub mean: GradientsParams,
    /// $\lVert T \bar g \rVert$, where an ascent is pooled.
    pub mean_norm: Option<Tensor<1>>,
    /// What takes the place of $\bar g$ in $w_0\, \bar g$.
    pub aggregated: Option<GradientsParams>,
    /// What takes the place of $P$ in a plain step, where that is another one.
    pub plain: Option<GradientsParams>,
    /// What is climbed in the place of $\bar g$.
    pub climbed: Option<GradientsParams>,
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
    pub fn of_mean(mean: GradientsParams, mean_norm: Option<Tensor<1>>) -> Self {
        Self {
            gradients: Vec::new(),
            norms: Vec::new(),
            mean,
            mean_norm,
            aggregated: None,
            plain: None,
            climbed: None,
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
        let pooled = |point: &Point| point.ascent == PointAscent::Pooled;
        if !points.iter().any(pooled) {
            self.climbed = None;
        }
    }
}

/// Step 1.
impl RobustGradient {
    /// The domains' gradients at $\theta$, their mean and their inner products.
    ///
    /// Where nothing needs the gradients one by one, joined passes are one pass.
    pub(crate) fn clean_passes<M: Module>(
        &self,
        passes: &mut impl Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
    ) -> Result<(Clean, CleanReadings)> {
        let by_domain = |point: &Point| {
            matches!(
                point.ascent,
                PointAscent::Domain(_) | PointAscent::Consensus
            )
        };
        let by_domain = at.plan.points.iter().any(by_domain);
        if passes.joins() && !by_domain && !at.one_by_one() {
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
        let gram: Vec<Vec<Option<Tensor<1>>>> = if self.config().report || at.needs() == Needs::Gram
        {
            gram(at_theta, &gradients)
        } else {
            let square = |gradient| vec![squared_norm(at_theta, gradient)];
            gradients.iter().map(square).collect()
        };
        // The last entry of a row is the gradient's inner product with itself.
        let squares = gram.iter().map(|row| row.last().cloned().flatten());
        let squares: Vec<Option<Tensor<1>>> = match self.config().adaptive {
            Adaptive::None => squares.collect(),
            adaptive if by_domain => gradients
                .iter()
                .map(|gradient| adaptive_squared_norm(at.model, gradient, adaptive))
                .collect(),
            _ => vec![None; gradients.len()],
        };
        let gram = readback.push_rows(&gram);
        let scale = at.aligning.is_some().then(|| {
            let (square, epsilon) = parameters_squared_norm(at.model);
            (readback.push(square), epsilon)
        });
        let (mean_norm, mean_square) = self.mean_norms(readback, at, &mean);
        let clean = Clean {
            gradients,
            norms: squares.into_iter().map(|s| s.map(Tensor::sqrt)).collect(),
            scale,
            ..Clean::of_mean(mean, mean_norm)
        };
        let readings = CleanReadings {
            losses,
            gram,
            joined: None,
            mean_square,
        };
        Ok((clean, readings))
    }

    /// In one pass: the mean gradient alone.
    fn clean_pass<M: Module>(
        &self,
        passes: &mut impl Passes<M>,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
    ) -> Result<(Clean, CleanReadings)> {
        let terms: Vec<(usize, f64)> = at.weights.iter().copied().enumerate().collect();
        let PassSum {
            losses,
            probes,
            sum,
        } = passes.sum(at_theta, &terms)?;
        let mean = combine(at_theta, &[(sum.unit, &sum.sum)]);
        let (mean_norm, mean_square) = self.mean_norms(readback, at, &mean);
        let mut push = |number: Option<Tensor<1>>| readback.push(number);
        let clean = Clean::of_mean(mean, mean_norm);
        let readings = CleanReadings {
            losses: losses.into_iter().map(|loss| push(Some(loss))).collect(),
            gram: vec![Vec::new(); at.weights.len()],
            joined: Some(push(probes.into_iter().next().flatten())),
            mean_square,
        };
        Ok((clean, readings))
    }

    /// The norm that the pooled ascent goes by, where it is needed, and $\lVert \bar g \rVert^2$,
    /// where it is reported.
    pub(crate) fn mean_norms<M: Module>(
        &self,
        readback: &mut Readback,
        at: &At<'_, M>,
        mean: &GradientsParams,
    ) -> (Option<Tensor<1>>, Option<Reading>) {
        let pooled = |point: &Point| point.ascent == PointAscent::Pooled;
        let pooled = at.plan.points.iter().any(pooled);
        let adaptive = self.config().adaptive;
        let plain = self.config().report || (pooled && adaptive == Adaptive::None);
        let square = plain.then(|| squared_norm(at.model, mean)).flatten();
        let norm = match (pooled, adaptive) {
            (false, _) => None,
            (true, Adaptive::None) => square.clone(),
            (true, adaptive) => adaptive_squared_norm(at.model, mean, adaptive),
        };
        let reported = self.config().report.then(|| readback.push(square));
        (norm.map(Tensor::sqrt), reported)
    }
}
