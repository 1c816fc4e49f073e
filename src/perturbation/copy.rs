use std::collections::HashSet;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{Tensor, container::TensorContainer},
};

use crate::gradient::widen;

/// The length of an ascent for each unit of its gradient, $\rho / \lVert g \rVert$, and 0 where
/// $\lVert g \rVert = 0$: what a gradient is multiplied by to become $\varepsilon$.
///
/// `norm` has shape `[1]` and stays on its device. Where it is not finite, neither is the result.
pub fn ascent_scale(norm: Tensor<1>, rho: f64) -> Tensor<1> {
    let zero = norm.clone().equal_elem(0.0);
    norm.recip().mul_scalar(rho).mask_fill(zero, 0.0)
}

/// A copy of the model at $\theta + \sum_k s_k\\, g_k$: same parameter ids, leaves of its own,
/// running statistics of its own.
///
/// * `displacement`: pairs of $s_k$, shape `[1]`, and $g_k$.
/// * Parameters that require no gradient, and parameters without a gradient in a term, are not
///   displaced by it. Running statistics never are.
/// * A parameter that several layers share is one leaf in the copy, so that its gradient is the
///   sum over all uses. Where its copies in `model` have come apart, the first is taken.
/// * Parameters of 16 bits are displaced in 32 bits and rounded once.
/// * The gradient-checkpointing strategy and the mark of a distributed parameter are kept.
///
/// ```
/// use burn::{nn::LinearConfig, optim::GradientsParams, tensor::{Device, Tensor}};
/// use roga::{gradient, perturbation};
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// let loss = model.forward(Tensor::<2>::from_floats([[3.0, 4.0]], &device)).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &model);
///
/// let norm = gradient::dot(&model, &grads, &grads).unwrap().sqrt();
/// let scale = perturbation::ascent_scale(norm, 0.1);
/// let ascended = perturbation::displaced(&model, &[(scale, &grads)]);
///
/// let step = (ascended.weight.val() - model.weight.val()).into_data();
/// step.assert_approx_eq(
///     &burn::tensor::TensorData::from([[0.06f32], [0.08]]),
///     burn::tensor::Tolerance::<f32>::absolute(1e-6),
/// );
/// ```
pub fn displaced<M: Module>(model: &M, displacement: &[(Tensor<1>, &GradientsParams)]) -> M {
    let mut mapper = Displace {
        displacement,
        shared: shared_parameters(model),
        leaves: TensorContainer::new(),
    };
    // `train` gives the copy running statistics of its own.
    model.clone().train().map(&mut mapper)
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
    displacement: &'a [(Tensor<1>, &'a GradientsParams)],
    shared: HashSet<ParamId>,
    leaves: TensorContainer<ParamId>,
}

impl Displace<'_> {
    fn leaf<const D: usize>(&self, id: ParamId, parameter: Tensor<D>) -> Tensor<D> {
        let strategy = parameter.gradient_checkpointing_strategy();
        let distributed = parameter.is_distributed();
        let mut leaf = Tensor::from_inner(self.displace(id, parameter.inner()));
        if let Some(strategy) = strategy {
            leaf = leaf.with_gradient_checkpointing_strategy(strategy);
        }
        leaf = leaf.require_grad();
        if distributed {
            leaf = leaf.set_distributed(id);
        }
        leaf
    }

    fn displace<const D: usize>(&self, id: ParamId, parameter: Tensor<D>) -> Tensor<D> {
        let dtype = parameter.dtype();
        let mut point = None;
        for (scale, gradient) in self.displacement {
            if let Some(gradient) = gradient.get::<D>(id) {
                let gradient = widen(gradient);
                let scale = scale
                    .clone()
                    .to_device(&gradient.device())
                    .cast(gradient.dtype());
                let step = gradient * scale.reshape([1; D]);
                let from = point.unwrap_or_else(|| widen(parameter.clone()));
                point = Some(from + step);
            }
        }
        point.map_or(parameter, |point| point.cast(dtype))
    }
}

impl ModuleMapper for Displace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let leaf = if self.shared.contains(&id) {
            let mut leaves = std::mem::take(&mut self.leaves);
            let leaf = first_leaf(&mut leaves, id, || self.leaf(id, tensor));
            self.leaves = leaves;
            leaf
        } else {
            self.leaf(id, tensor)
        };
        Param::from_mapped_value(id, leaf, mapper)
    }
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
