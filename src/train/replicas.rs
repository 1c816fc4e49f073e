use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{
        Device, Tensor,
        distributed::{CollectiveTensor, ReduceOperation, all_reduce},
    },
};

use crate::{
    Result,
    gradient::{OnParameter, WeightedSum, for_each_parameter, widen},
    optim::passes::{PassSum, Passes},
    perturbation::unmarked_leaf_like,
};

/// What the replicas of a model share under `ExecutionStrategy::ddp`, and on which devices they are.
///
/// What they share comes together in all-reduces that this crate asks for. burn has a way of its own, by which a
/// backward pass on a worker's model brings its gradients together. It is made for one such pass a step: of several on
/// the same parameters, it brings those of the first together alone (burn 0.22). All passes are therefore made on
/// copies that it does not see.
///
/// Running statistics are those of a replica's own mini-batches; the trained model has those of the first device's.
///
/// Every replica must have as many steps, the loader's a multiple of the number of devices: one that has a step more
/// would wait for the others for ever. Of the slices of a [domain data loader](crate::domain::DomainDataLoader) it is an
/// error in the first step.
#[derive(Debug, Clone)]
pub struct Replicas {
    devices: Vec<Device>,
    operation: ReduceOperation,
    synchronised: bool,
}

impl Replicas {
    /// m-sharpness, what to take where nothing speaks for the other: every replica climbs the losses of its own
    /// mini-batches, and $G$ is what the replicas bring together, in one all-reduce a step of every parameter. As under
    /// `ExecutionStrategy::multi`.
    ///
    /// A replica that skips its step, or meets an error, takes part with zeros: the others wait for it. So does a
    /// parameter without a gradient.
    ///
    /// * `devices`: the strategy's.
    /// * `operation`: whether gradients are averaged, or added up as under `multi`.
    pub fn m_sharpness(devices: Vec<Device>, operation: ReduceOperation) -> Self {
        Self {
            devices,
            operation,
            synchronised: false,
        }
    }

    /// The ascents are those of all replicas' mini-batches: a domain's loss is the mean of the replicas' losses (or
    /// their sum), and its gradient, at every point, that of this loss. All replicas are at the same points, find
    /// the same $G$, and report the same numbers; with the mean, and as many rows on every replica, it
    /// is the step of one device on all rows.
    ///
    /// That is an all-reduce of every parameter, and one of a few numbers, for the gradient of each domain at $\theta$ and
    /// for that of each point. A parameter without a gradient has zeros.
    ///
    /// All replicas make the same passes: where one skips its step, all do. Batches have to be
    /// [numbered](crate::domain::DomainBatches::with_step), as those of the domain data loader are. An error on one of
    /// them is a panic, for which burn ends the training.
    ///
    /// * `devices`: the strategy's.
    /// * `operation`: whether losses and gradients are averaged or added up.
    pub fn synchronised(devices: Vec<Device>, operation: ReduceOperation) -> Self {
        Self {
            devices,
            operation,
            synchronised: true,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.devices.len()
    }

    /// Whether this is the first of the devices.
    pub(super) fn is_first(&self, device: Device) -> bool {
        let first = self.devices.first().map(|first| first.clone().inner());
        first == Some(device.inner())
    }

    pub(super) fn are_synchronised(&self) -> bool {
        self.synchronised
    }

    /// A gradient brought together with those of the other replicas. A parameter without one has zeros.
    pub(super) fn met<M: Module>(&self, model: &M, gradient: GradientsParams) -> GradientsParams {
        /// All of them are under way before the first is waited for.
        struct Launch<'a> {
            gradient: GradientsParams,
            replicas: &'a Replicas,
            resolve: Vec<Resolve>,
        }

        impl OnParameter for Launch<'_> {
            fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if !param.is_require_grad() {
                    return;
                }
                let id = param.id;
                let zeros = || param.val().inner().zeros_like();
                let gradient = self.gradient.remove::<D>(id).unwrap_or_else(zeros);
                let reduced = self.replicas.all_reduce(gradient);
                (self.resolve).push(Box::new(move |met| met.register(id, reduced.resolve())));
            }
        }

        let mut launch = Launch {
            gradient,
            replicas: self,
            resolve: Vec::new(),
        };
        for_each_parameter(model, &mut launch);
        let mut met = GradientsParams::new();
        for resolve in launch.resolve {
            resolve(&mut met);
        }
        met
    }

    /// Numbers of shape `[1]` brought together with those of the other replicas.
    fn met_numbers(&self, numbers: Vec<Tensor<1>>) -> Vec<Tensor<1>> {
        let count = numbers.len();
        let mut numbers = numbers.into_iter().map(widen);
        let Some(first) = numbers.next() else {
            return Vec::new();
        };
        let dtype = first.dtype();
        let alike = std::iter::once(first).chain(numbers.map(|number| number.cast(dtype)));
        let met = self.all_reduce(Tensor::cat(alike.collect(), 0)).resolve();
        (0..count).map(|it| met.clone().narrow(0, it, 1)).collect()
    }

    fn all_reduce<const D: usize>(&self, tensor: Tensor<D>) -> CollectiveTensor<D> {
        let devices = self.devices.iter().map(|it| it.clone().inner());
        all_reduce(tensor, self.operation, devices.collect())
    }
}

/// Waits for a parameter's gradient and registers it.
type Resolve = Box<dyn FnOnce(&mut GradientsParams)>;

/// Passes whose losses and gradients are those of all replicas.
pub(super) struct Synchronised<'a, M: Module> {
    pub passes: &'a mut dyn Passes<M>,
    pub replicas: &'a Replicas,
}

impl<M: Module> Passes<M> for Synchronised<'_, M> {
    fn one(&mut self, model: &M, domain: usize) -> Result<(Tensor<1>, GradientsParams)> {
        let (loss, gradient) = self.passes.one(model, domain)?;
        let gradient = self.replicas.met(model, gradient);
        let losses = self.replicas.met_numbers(vec![loss.clone()]);
        Ok((losses.into_iter().next().unwrap_or(loss), gradient))
    }

    fn sum(&mut self, model: &M, terms: &[(usize, f64)]) -> Result<PassSum> {
        let of_this = self.passes.sum(model, terms)?;
        let WeightedSum { unit, sum } = of_this.sum;
        let sum = self.replicas.met(model, sum);
        let mut numbers = of_this.losses;
        let count = numbers.len();
        // All replicas see what one of them would skip its step for.
        if let Some(zero) = numbers.first().map(Tensor::zeros_like) {
            let probes = of_this.probes.into_iter();
            numbers.extend(probes.map(|probe| probe.unwrap_or_else(|| zero.clone())));
        }
        let mut losses = self.replicas.met_numbers(numbers);
        let probes = losses.split_off(count);
        Ok(PassSum {
            losses,
            probes: probes.into_iter().map(Some).collect(),
            sum: WeightedSum { unit, sum },
        })
    }

    fn joins(&self) -> bool {
        self.passes.joins()
    }

    fn calls(&self) -> usize {
        self.passes.calls()
    }
}

/// The device of a model whose gradients backward passes bring together with those of other replicas.
pub(super) fn device_of_replica<M: Module>(model: &M) -> Option<Device> {
    struct Marked(Option<Device>);

    impl ModuleVisitor for Marked {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_none() && param.is_require_grad() && param.val().is_distributed() {
                self.0 = Some(param.val().device());
            }
        }
    }

    let mut marked = Marked(None);
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
