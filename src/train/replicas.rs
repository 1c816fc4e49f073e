use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{
        Device, Tensor,
        distributed::{ReduceOperation, all_reduce},
    },
};

use crate::{
    gradient::{OnParameter, for_each_parameter},
    perturbation::unmarked_leaf_like,
};

/// What the replicas of a model share under `ExecutionStrategy::ddp`, where burn brings together the
/// gradients of every backward pass on the workers' models by a collective operation.
#[derive(Debug, Clone)]
pub enum Replicas {
    /// m-sharpness: every replica climbs the losses of its own mini-batches, and $G$ is what the replicas
    /// bring together, in one all-reduce a step. As under `ExecutionStrategy::multi`.
    ///
    /// A replica that skips its step, or meets an error, takes part with zeros: the others wait for it.
    /// A parameter without a gradient has zeros as well.
    MSharpness {
        /// The strategy's.
        devices: Vec<Device>,
        /// Whether gradients are averaged, or added up as under `multi`.
        operation: ReduceOperation,
    },
    /// The ascents are those of all replicas' mini-batches: the gradient of every pass is brought
    /// together, in as many all-reduces a step as [`calls`](crate::optim::Passes::calls), so that all
    /// replicas are at the same points and have the same $G$.
    ///
    /// Losses stay those of a replica: a method that goes by them (GroupDRO, V-REx, DISAM) would lead the
    /// replicas apart. All must make the same passes: an error on one of them is a panic, for which burn ends
    /// the training.
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

/// Waits for a parameter's gradient and registers it.
type Resolve = Box<dyn FnOnce(&mut GradientsParams)>;

/// Brings a step's gradient together with those of the other replicas.
///
/// burn's own way, a backward pass on marked parameters, is none here: while one replica is in it, another's
/// passes would wait for it, and it for them.
pub(super) fn all_reduced<M: Module>(
    model: &M,
    gradient: GradientsParams,
    devices: &[Device],
    operation: ReduceOperation,
) -> GradientsParams {
    /// All of them are under way before the first is waited for.
    struct Launch {
        gradient: GradientsParams,
        devices: Vec<Device>,
        operation: ReduceOperation,
        resolve: Vec<Resolve>,
    }

    impl OnParameter for Launch {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !param.is_require_grad() {
                return;
            }
            let id = param.id;
            let zeros = || param.val().inner().zeros_like();
            let gradient = self.gradient.remove::<D>(id).unwrap_or_else(zeros);
            let reduced = all_reduce(gradient, self.operation, self.devices.clone());
            (self.resolve).push(Box::new(move |met| met.register(id, reduced.resolve())));
        }
    }

    let mut launch = Launch {
        gradient,
        devices: devices
            .iter()
            .map(|device| device.clone().inner())
            .collect(),
        operation,
        resolve: Vec::new(),
    };
    for_each_parameter(model, &mut launch);
    let mut met = GradientsParams::new();
    for resolve in launch.resolve {
        resolve(&mut met);
    }
    met
}
