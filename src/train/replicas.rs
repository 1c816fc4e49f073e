use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

use crate::{
    gradient::{OnParameter, accumulate, for_each_parameter, total},
    perturbation::unmarked_leaf_like,
};

/// What the replicas of a model share under `ExecutionStrategy::ddp`, where burn brings together the
/// gradients of every backward pass on the devices' models, by a collective operation.
///
/// Other strategies are not touched by it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// m-sharpness: every replica climbs the losses of its own mini-batches, and $G$ is what the replicas
    /// bring together, in one all-reduce a step. As under `ExecutionStrategy::multi`.
    #[default]
    MSharpness,
    /// The ascents are those of all replicas' mini-batches: the gradient of every pass is brought
    /// together, in as many all-reduces as [`calls`](crate::optim::Passes::calls) a step, so that all
    /// replicas are at the same points and have the same $G$. Losses stay those of a replica: a
    /// method that goes by them (GroupDRO, V-REx, DISAM) would lead the replicas apart.
    Synchronised,
}

/// Whether backward passes on the model bring its gradients together with those of other replicas.
pub(super) fn is_replica<M: Module>(model: &M) -> bool {
    struct Marked(bool);

    impl ModuleVisitor for Marked {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad() && param.val().is_distributed();
        }
    }

    let mut marked = Marked(false);
    model.visit(&mut marked);
    marked.0
}

/// The model with parameters whose gradients stay where they are.
pub(super) fn apart<M: Module>(model: M) -> M {
    struct Unmark;

    impl ModuleMapper for Unmark {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !param.is_require_grad() {
                return param;
            }
            let (id, tensor, mapper) = param.consume();
            let leaf = unmarked_leaf_like(&tensor, tensor.clone().inner());
            Param::from_mapped_value(id, leaf, mapper)
        }
    }

    model.map(&mut Unmark)
}

/// Brings a step's gradient together with those of the other replicas, in the way in which burn does
/// that with any gradient: it is that of a loss, $\sum_p \langle \theta_p, G_p \rangle$.
///
/// A step without a gradient takes part with zeros, since the others wait for it.
pub(super) fn meet<M: Module>(model: &M, gradient: GradientsParams) -> GradientsParams {
    struct Products {
        is_empty: bool,
        gradient: GradientsParams,
        /// Of parameters that are no part of it.
        apart: GradientsParams,
        products: Vec<Tensor<1>>,
    }

    impl OnParameter for Products {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !param.is_require_grad() {
                return;
            }
            let (id, parameter) = (param.id, param.val());
            let gradient = self.gradient.remove::<D>(id);
            if !parameter.is_distributed() {
                if let Some(gradient) = gradient {
                    self.apart.register(id, gradient);
                }
                return;
            }
            let zeros = || parameter.clone().inner().zeros_like();
            if let Some(gradient) = gradient.or_else(|| self.is_empty.then(zeros)) {
                let product = parameter * Tensor::from_inner(gradient);
                self.products.push(product.sum());
            }
        }
    }

    let mut products = Products {
        is_empty: gradient.is_empty(),
        gradient,
        apart: GradientsParams::new(),
        products: Vec::new(),
    };
    for_each_parameter(model, &mut products);
    let Some(loss) = total(products.products) else {
        return products.apart;
    };
    let mut met = GradientsParams::from_grads(loss.backward(), model);
    accumulate(model, &mut met, 1.0, products.apart);
    met
}
