use std::ops::Range;

use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

use super::evaluation::{Point, PointAscent};
use crate::{
    Error, Result,
    alignment::{AlignmentConfig, AlignmentLoss, Difference},
    gradient::{GramMatrix, OnParameter, combine, for_each_parameter, total, widen},
};

/// An alignment loss, in a step in which it counts.
#[derive(Debug)]
pub(crate) struct Aligning<'a> {
    pub config: &'a AlignmentConfig,
    pub loss: &'a dyn AlignmentLoss,
    /// $\lambda_t$.
    pub weight: f64,
}

/// The value of an alignment loss, and the finite differences that its gradient is made of.
#[derive(Debug, Clone)]
pub(crate) struct Differences {
    /// $\varphi$.
    pub loss: f64,
    /// Whether $\varphi'$ is finite.
    pub derivative_is_finite: bool,
    difference: Difference,
    directions: Vec<Direction>,
}

/// $v_i$, and how long the difference along it is.
#[derive(Debug, Clone)]
struct Direction {
    domain: usize,
    /// $2\, \varphi'_{ij}$, by domain.
    coefficients: Vec<(usize, f64)>,
    /// $h$, a power of two: multiplying with it rounds nothing.
    length: f64,
}

/// The parameters as a whole: what the length of a difference goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// $\lVert \theta \rVert$.
    pub norm: f64,
    /// The coarsest resolution among the parameters.
    pub epsilon: f64,
}

impl Differences {
    /// Of the domains that count: those of a weight above 0.
    pub fn new(
        aligning: &Aligning<'_>,
        weights: &[f64],
        gram: &GramMatrix,
        scale: Scale,
    ) -> Result<Self> {
        let Aligning { config, loss, .. } = aligning;
        let counted = weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight > 0.0);
        let domains: Vec<usize> = counted.map(|(domain, _)| domain).collect();
        let gram = &gram.of(&domains);
        let derivative = loss.derivative(gram);
        if derivative.domains() != domains.len() {
            return Err(Error::Setting {
                field: "alignment.loss",
                rule: "have a derivative of one row for each domain",
                value: format!("{} for {}", derivative.domains(), domains.len()),
            });
        }
        let step = config.relative_step_of(scale.epsilon);
        let step = if scale.norm > 0.0 {
            step * scale.norm
        } else {
            step
        };
        let direction = |(i, domain): (usize, &usize)| {
            let coefficients: Vec<f64> = derivative.row(i).iter().map(|d| 2.0 * d).collect();
            let norm = norm(&coefficients, gram);
            (norm > 0.0).then(|| Direction {
                domain: *domain,
                coefficients: domains.iter().copied().zip(coefficients).collect(),
                length: (step / norm).log2().round().exp2(),
            })
        };
        Ok(Self {
            loss: loss.value(gram),
            derivative_is_finite: derivative.is_finite(),
            difference: config.difference,
            directions: domains.iter().enumerate().filter_map(direction).collect(),
        })
    }

    /// Along the gradients of these numbers, whatever they are.
    pub fn along(gradients: Range<usize>) -> Self {
        let direction = |gradient| Direction {
            domain: gradient,
            coefficients: vec![(gradient, 1.0)],
            length: 1.0,
        };
        Self {
            loss: 0.0,
            derivative_is_finite: true,
            difference: Difference::OneSided,
            directions: gradients.map(direction).collect(),
        }
    }

    /// The points at which gradients are taken, and their coefficients in $\nabla \varphi$.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        self.directions.iter().enumerate().flat_map(|(i, along)| {
            let lengths: &[f64] = match self.difference {
                Difference::OneSided => &[1.0],
                Difference::Central => &[1.0, -1.0],
            };
            lengths.iter().map(move |sign| Point {
                ascent: PointAscent::Difference {
                    direction: i,
                    length: sign * along.length,
                },
                terms: vec![(along.domain, sign / (lengths.len() as f64 * along.length))],
            })
        })
    }

    /// $v_i$.
    pub fn direction<M: Module>(
        &self,
        model: &M,
        gradients: &[GradientsParams],
        direction: usize,
    ) -> GradientsParams {
        let direction = self.directions.get(direction).into_iter();
        let coefficients = direction.flat_map(|direction| &direction.coefficients);
        let terms = coefficients.filter(|(_, coefficient)| *coefficient != 0.0);
        let terms = terms.filter_map(|(domain, c)| Some((*c, gradients.get(*domain)?)));
        let terms: Vec<_> = terms.collect();
        combine(model, &terms)
    }

    /// What the gradients at $\theta$ count in $\nabla \varphi$, by domain.
    pub fn at_theta(&self) -> Vec<(usize, f64)> {
        match self.difference {
            Difference::OneSided => {
                let directions = self.directions.iter();
                directions
                    .map(|along| (along.domain, -1.0 / along.length))
                    .collect()
            }
            Difference::Central => Vec::new(),
        }
    }
}

/// $\lVert \sum_j c_j\, g_j \rVert$, but no less than what rounding leaves of the Gram matrix: a
/// difference along gradients that cancel out shall not become long.
fn norm(coefficients: &[f64], gram: &GramMatrix) -> f64 {
    const ROUNDING: f64 = 4.0 * f32::EPSILON as f64;
    let (mut square, mut magnitude) = (0.0, 0.0);
    for (i, a) in coefficients.iter().enumerate() {
        for (b, entry) in coefficients.iter().zip(gram.row(i)) {
            square += a * b * entry;
            magnitude += (a * b * entry).abs();
        }
    }
    square.max(ROUNDING * magnitude).sqrt()
}

/// $\lVert \theta \rVert^2$ of the trainable parameters, a tensor of shape `[1]`, and the coarsest
/// resolution among them.
pub(crate) fn parameters_squared_norm<M: Module>(model: &M) -> (Option<Tensor<1>>, f64) {
    #[derive(Default)]
    struct Norm {
        sums: Vec<Tensor<1>>,
        epsilon: f64,
    }

    impl OnParameter for Norm {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                let parameter = param.val().inner();
                let resolution = parameter.dtype().finfo().map_or(0.0, |info| info.epsilon);
                self.epsilon = self.epsilon.max(resolution);
                self.sums.push(widen(parameter).square().sum());
            }
        }
    }

    let mut norm = Norm::default();
    for_each_parameter(model, &mut norm);
    (total(norm.sums), norm.epsilon)
}
