use std::collections::{HashMap, HashSet};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{Bool, DType, Tensor, container::TensorContainer},
};

use super::Adaptive;
use crate::gradient::{is_of_16_bits, multiplied, scale, total, widen};

/// The length of an ascent for each unit of its gradient, $\rho / \lVert g \rVert$, and 0 where
/// $\lVert g \rVert = 0$: what a gradient is multiplied by to become $\varepsilon$.
///
/// `norm` has shape `[1]` and stays on its device. Where it is not finite, neither is the result.
pub fn ascent_scale(norm: Tensor<1>, rho: f64) -> Tensor<1> {
    let zero = norm.clone().equal_elem(0.0);
    // A norm beyond its type's range is no reason to stay at θ in silence.
    let infinite = norm.clone().is_inf();
    let scale = norm.recip().mul_scalar(rho);
    scale.mask_fill(zero, 0.0).mask_fill(infinite, f32::NAN)
}

/// A term of the way from $\theta$ to another point: $s\\, f_p\\, T_\theta^2\\, g_p$ for every
/// parameter $p$.
///
/// $s$ and $g$ are what [`new`](Self::new) is given. By default $T_\theta = 1$ and $f_p = 1$.
#[derive(Debug, Clone)]
pub struct Displacement<'a> {
    length: Length<'a>,
    gradient: &'a GradientsParams,
}

impl<'a> Displacement<'a> {
    /// $s\\, g$, with $s$ a tensor of shape `[1]`.
    pub fn new(scale: Tensor<1>, gradient: &'a GradientsParams) -> Self {
        Self {
            length: Length::new(scale),
            gradient,
        }
    }

    /// $s\\, g$, with $s$ a number.
    pub fn constant(constant: f64, gradient: &'a GradientsParams) -> Self {
        Self {
            length: Length::constant(constant),
            gradient,
        }
    }

    /// With the operator $T_\theta$ of an adaptive ascent.
    pub fn with_adaptive(mut self, adaptive: Adaptive) -> Self {
        self.length = self.length.with_adaptive(adaptive);
        self
    }

    /// With a factor $f_p$ for some of the parameters; that of the others stays 1.
    pub fn with_factors(mut self, factors: &'a HashMap<ParamId, f64>) -> Self {
        self.length = self.length.with_factors(Some(factors));
        self
    }
}

/// What a gradient is multiplied by: $s\\, f_p\\, T_\theta^2$.
#[derive(Debug, Clone)]
pub(crate) struct Length<'a> {
    /// $s$, as the product of a number and of a tensor of shape `[1]`.
    constant: f64,
    scale: Option<Tensor<1>>,
    adaptive: Adaptive,
    factors: Option<&'a HashMap<ParamId, f64>>,
}

impl<'a> Length<'a> {
    pub fn new(scale: Tensor<1>) -> Self {
        Self {
            scale: Some(scale),
            ..Self::constant(1.0)
        }
    }

    pub fn constant(constant: f64) -> Self {
        Self {
            constant,
            scale: None,
            adaptive: Adaptive::None,
            factors: None,
        }
    }

    /// Of a gradient that is to be multiplied by this number itself.
    pub fn times(self, constant: f64) -> Self {
        Self {
            constant: self.constant * constant,
            ..self
        }
    }

    pub fn with_adaptive(self, adaptive: Adaptive) -> Self {
        Self { adaptive, ..self }
    }

    pub fn with_factors(self, factors: Option<&'a HashMap<ParamId, f64>>) -> Self {
        Self { factors, ..self }
    }
}

/// A term of the way to a point, which may be the last that needs its gradient.
pub(crate) struct Term<'a> {
    length: Length<'a>,
    gradient: Along<'a>,
}

enum Along<'a> {
    Kept(&'a GradientsParams),
    /// The copy of the model takes over its memory.
    Taken(GradientsParams),
}

impl<'a> Term<'a> {
    pub fn kept(length: Length<'a>, gradient: &'a GradientsParams) -> Self {
        Self {
            length,
            gradient: Along::Kept(gradient),
        }
    }

    pub fn taken(length: Length<'a>, gradient: GradientsParams) -> Self {
        Self {
            length,
            gradient: Along::Taken(gradient),
        }
    }

    /// The term for one parameter, in at least 32 bits; `None` where it is zero throughout.
    fn of<const D: usize>(&mut self, id: ParamId, parameter: &Tensor<D>) -> Option<Tensor<D>> {
        let gradient = match &mut self.gradient {
            Along::Kept(gradient) => gradient.get::<D>(id),
            Along::Taken(gradient) => gradient.remove::<D>(id),
        };
        let length = &self.length;
        let factor = length.factors.and_then(|of| of.get(&id)).copied();
        let constant = length.constant * factor.unwrap_or(1.0);
        if constant == 0.0 {
            return None;
        }
        let gradient = widen(gradient?);
        let step = match &length.scale {
            None => scale(gradient, constant),
            Some(tensor) => multiplied(gradient, scale(tensor.clone(), constant)),
        };
        Some(match length.adaptive.scale(parameter) {
            Some(operator) => step * operator.square(),
            None => step,
        })
    }
}

/// A copy of the model at $\theta + \sum_k s_k\\, g_k$: same parameter ids, leaves of its own,
/// running statistics of its own.
///
/// * `displacement`: the terms of the way from $\theta$.
/// * Parameters that require no gradient, and parameters without a gradient in a term, are not
///   displaced by it. Running statistics never are.
/// * A parameter that several layers share is one leaf in the copy, so that its gradient is the
///   sum over all uses. Where its copies in `model` have come apart, the first is taken.
/// * Parameters of 16 bits are displaced in 32 bits and rounded once.
/// * The gradient-checkpointing strategy and the mark of a distributed parameter are kept.
///
/// ```
/// use burn::{nn::LinearConfig, optim::GradientsParams, tensor::{Device, Tensor}};
/// use roga::{gradient, perturbation::{self, Displacement}};
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// let loss = model.forward(Tensor::<2>::from_floats([[3.0, 4.0]], &device)).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &model);
///
/// let norm = gradient::dot(&model, &grads, &grads).unwrap().sqrt();
/// let ascent = Displacement::new(perturbation::ascent_scale(norm, 0.1), &grads);
/// let ascended = perturbation::displaced(&model, &[ascent]);
///
/// let step = (ascended.weight.val() - model.weight.val()).into_data();
/// step.assert_approx_eq(
///     &burn::tensor::TensorData::from([[0.06f32], [0.08]]),
///     burn::tensor::Tolerance::<f32>::absolute(1e-6),
/// );
/// ```
pub fn displaced<M: Module>(model: &M, displacement: &[Displacement<'_>]) -> M {
    let terms = displacement.iter();
    let terms = terms.map(|term| Term::kept(term.length.clone(), term.gradient));
    displaced_along(model, terms.collect(), false).0
}

/// As [`displaced`], and, where that is to be counted, how much of the way the parameters of 16 bits could not go.
pub(crate) fn displaced_along<M: Module>(
    model: &M,
    terms: Vec<Term<'_>>,
    counts: bool,
) -> (M, Resolution) {
    let mut mapper = Displace {
        terms,
        counts,
        shared: shared_parameters(model),
        leaves: TensorContainer::new(),
        wanted: Vec::new(),
        lost: Vec::new(),
    };
    // `train` gives the copy running statistics of its own.
    let displaced = model.clone().train().map(&mut mapper);
    let resolution = Resolution {
        wanted: total(mapper.wanted),
        lost: total(mapper.lost),
    };
    (displaced, resolution)
}

/// How many entries of parameters of 16 bits were to be moved, and how many of them rounding has
/// left where they were: tensors of shape `[1]`, `None` without parameters of 16 bits, and where it is not counted.
pub(crate) struct Resolution {
    pub wanted: Option<Tensor<1>>,
    pub lost: Option<Tensor<1>>,
}

/// Gives every use of a shared parameter the value of its first use.
///
/// burn's optimizers update the first use of a parameter that several layers share, and leave the
/// others behind. Call this after a step of a base optimizer on gradients of this crate;
/// [`RobustGradientAlignment::step`](crate::optim::RobustGradientAlignment::step) does it by
/// itself. A model without shared parameters comes back as it was.
pub fn tie_shared_parameters<M: Module>(model: M) -> M {
    struct Tie {
        shared: HashSet<ParamId>,
        leaves: TensorContainer<ParamId>,
    }

    impl ModuleMapper for Tie {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !self.shared.contains(&param.id) {
                return param;
            }
            let (id, tensor, mapper) = param.consume();
            let leaf = first_leaf(&mut self.leaves, id, || tensor);
            Param::from_mapped_value(id, leaf, mapper)
        }
    }

    let shared = shared_parameters(&model);
    if shared.is_empty() {
        return model;
    }
    model.map(&mut Tie {
        shared,
        leaves: TensorContainer::new(),
    })
}

struct Displace<'a> {
    terms: Vec<Term<'a>>,
    counts: bool,
    shared: HashSet<ParamId>,
    leaves: TensorContainer<ParamId>,
    wanted: Vec<Tensor<1>>,
    lost: Vec<Tensor<1>>,
}

impl Displace<'_> {
    fn displace<const D: usize>(&mut self, id: ParamId, parameter: Tensor<D>) -> Tensor<D> {
        let half = is_of_16_bits(parameter.dtype());
        let steps = self.terms.iter_mut();
        let steps = steps.filter_map(|term| term.of(id, &parameter));
        let mut wanted: Option<Tensor<D, Bool>> = None;
        let point = steps.fold(None, |point: Option<Tensor<D>>, step| {
            if half && self.counts {
                // However small: it need not be seen in 32 bits either.
                let moves = step.clone().not_equal_elem(0.0);
                wanted = Some(match wanted.take() {
                    Some(wanted) => wanted.bool_or(moves),
                    None => moves,
                });
            }
            Some(point.unwrap_or_else(|| widen(parameter.clone())) + step)
        });
        let Some(point) = point else {
            return parameter;
        };
        if !half {
            return point;
        }
        let rounded = point.cast(parameter.dtype());
        if let Some(wanted) = wanted {
            let lost = rounded.clone().equal(parameter).bool_and(wanted.clone());
            self.wanted.push(wanted.float().cast(DType::F32).sum());
            self.lost.push(lost.float().cast(DType::F32).sum());
        }
        rounded
    }
}

impl ModuleMapper for Displace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let place = |displace: &mut Self| {
            let value = displace.displace(id, tensor.clone().inner());
            leaf_like(id, &tensor, value)
        };
        let leaf = if self.shared.contains(&id) {
            let mut leaves = std::mem::take(&mut self.leaves);
            let leaf = first_leaf(&mut leaves, id, || place(self));
            self.leaves = leaves;
            leaf
        } else {
            place(self)
        };
        Param::from_mapped_value(id, leaf, mapper)
    }
}

/// A leaf of another value in a parameter's place, with the parameter's marks.
pub(crate) fn leaf_like<const D: usize>(
    id: ParamId,
    parameter: &Tensor<D>,
    value: Tensor<D>,
) -> Tensor<D> {
    let leaf = unmarked_leaf_like(parameter, value);
    match parameter.is_distributed() {
        true => leaf.set_distributed(id),
        false => leaf,
    }
}

/// As [`leaf_like`], without the mark of a distributed parameter.
pub(crate) fn unmarked_leaf_like<const D: usize>(
    parameter: &Tensor<D>,
    value: Tensor<D>,
) -> Tensor<D> {
    let leaf = Tensor::from_inner(value);
    let leaf = match parameter.gradient_checkpointing_strategy() {
        Some(strategy) => leaf.with_gradient_checkpointing_strategy(strategy),
        None => leaf,
    };
    leaf.require_grad()
}

/// The leaf kept for this parameter, made at its first use.
fn first_leaf<const D: usize>(
    leaves: &mut TensorContainer<ParamId>,
    id: ParamId,
    make: impl FnOnce() -> Tensor<D>,
) -> Tensor<D> {
    leaves.get(&id).unwrap_or_else(|| {
        let leaf = make();
        leaves.register(id, leaf.clone());
        leaf
    })
}

/// The float parameters that stand in more than one place of the module.
fn shared_parameters<M: Module>(model: &M) -> HashSet<ParamId> {
    #[derive(Default)]
    struct Shared {
        seen: HashSet<ParamId>,
        twice: HashSet<ParamId>,
    }

    impl ModuleVisitor for Shared {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !self.seen.insert(param.id) {
                self.twice.insert(param.id);
            }
        }
    }

    let mut shared = Shared::default();
    model.visit(&mut shared);
    shared.twice
}
