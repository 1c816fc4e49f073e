use std::sync::Arc;

use burn::{
    config::Config,
    lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    module::{Module, Param},
    optim::{GradientsParams, ModuleOptimizer, OptimizerRecord},
    tensor::Tensor,
};
use serde::Serialize;

use super::{
    DomainLoss, NonFinite, Outcome, Pass, Quantity,
    gradient::check_trainable,
    readback::{Readback, Reading},
    step::check_learning_rate,
};
use crate::{
    Error, Result,
    domain::DomainBatches,
    gradient::{OnParameter, for_each_parameter, squared_norm, widen},
    perturbation::{Displacement, RunningStatistics, displaced, tie_shared_parameters},
};

/// The settings of [`Fish`].
#[derive(Config, Debug)]
pub struct FishConfig {
    /// How much of the way $\eta$ of the inner steps is gone: above 0, at most 1. Default: 0.5, as
    /// in DomainBed. With 1, the inner steps themselves are left.
    #[config(default = 0.5)]
    pub meta_lr: f64,
}

impl FishConfig {
    /// Fish round an inner optimizer.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where `meta_lr` is not above 0 and at most 1.
    pub fn init(&self, inner: impl Into<ModuleOptimizer>) -> Result<Fish> {
        if !(self.meta_lr > 0.0 && self.meta_lr <= 1.0) {
            return Err(Error::Setting {
                field: "meta_lr",
                rule: "be above 0 and at most 1",
                value: self.meta_lr.to_string(),
            });
        }
        Ok(Fish {
            config: self.clone(),
            inner: inner.into(),
        })
    }
}

/// Fish: gradient matching by steps over the domains one after the other.
///
/// From $\tilde\theta_0 = \theta$, the inner optimizer makes one step on each of the $K$ domains in
/// turn, and the weights go a part of the way:
///
/// $$\tilde\theta_i = \tilde\theta_{i-1} - \alpha\\, \nabla L_i(\tilde\theta_{i-1}), \qquad
///   \theta \leftarrow \theta + \eta\\, (\tilde\theta_K - \theta),$$
///
/// with the inner learning rate $\alpha$, here for plain gradient descent, and the outer one $\eta$.
/// Averaged over the orders of the domains, and to second order in $\alpha$, the way is
/// $-\alpha K \bar g + \frac{\alpha^2}{2} \nabla \sum_{i < j} \langle g_i, g_j \rangle$: it climbs
/// the inner products of the domains' gradients, without a second derivative.
///
/// * **The order of the domains** is that of the batches. Fish as published permutes it in every
///   step, DomainBed's does not.
/// * **The inner optimizer's state** (momentum) is carried on from step to step, as in DomainBed,
///   though it belongs to steps from other weights.
/// * **Frozen parameters** do not move, and a parameter that several layers share is one.
/// * **Running statistics** are those of the $K$ inner passes, in their order.
/// * **A loss, gradient or weight that is not finite** skips the step: nothing has changed, bit for
///   bit. So does an error of the closure.
///
/// **Passes**: $K$, one forward and backward over each mini-batch, as for ERM. **Memory**: three
/// copies of the parameters at the most (where the steps have led to, the way there, the new weights), the
/// inner optimizer's state once more, and one graph at a time; the domains' gradients are never held
/// together. **When to use it**: with many domains, or where
/// memory is short: its cost is ERM's. Where the strength of the alignment is to be a setting, that
/// of the inner products with [`RobustGradientAlignment`](super::RobustGradientAlignment) is
/// $\gamma$; Fish's is tied to the learning rate.
///
/// Source: Shi, Seely, Torr, Siddharth, Hannun, Usunier and Synnaeve, "Gradient Matching for Domain
/// Generalization", ICLR 2022, arXiv 2104.09937, algorithm 1.
///
/// ```
/// use burn::{
///     nn::{Linear, LinearConfig, loss::{MseLoss, Reduction}},
///     optim::AdamConfig,
///     tensor::{Device, Tensor},
/// };
/// use roga::{domain::DomainBatches, optim::FishConfig};
///
/// let device = Device::default().autodiff();
/// let mut model = LinearConfig::new(1, 1).init(&device);
/// let mut fish = FishConfig::new().init(AdamConfig::new().init())?;
///
/// let number = |x: f32| Tensor::<2>::from_floats([[x]], &device);
/// let domains = DomainBatches::new([
///     ("photo", (number(1.0), number(0.0))),
///     ("sketch", (number(2.0), number(3.0))),
/// ])?;
/// let report = fish.step(1e-2, &mut model, &domains, |model: &Linear, (x, y)| {
///     MseLoss::new().forward(model.forward(x.clone()), y.clone(), Reduction::Mean)
/// })?;
/// assert_eq!(report.domains.len(), 2);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone)]
pub struct Fish {
    config: FishConfig,
    inner: ModuleOptimizer,
}

impl Fish {
    /// One inner step on each domain, and the part of the way.
    ///
    /// * `lr`: the inner learning rate $\alpha$, or one for every parameter group.
    /// * `domains`: one mini-batch for each of $K \ge 1$ domains.
    /// * `loss`: the mean loss of a model on a batch, see [`DomainLoss`]. It must use the model that
    ///   it is given.
    ///
    /// # Errors
    ///
    /// [`Error::Loss`], [`Error::Closure`], [`Error::Setting`] where `lr` is not finite,
    /// [`Error::Model`] where there is nothing to train, [`Error::Device`]. Nothing has changed then.
    pub fn step<M, B, L>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: &mut M,
        domains: &DomainBatches<B>,
        mut loss: impl FnMut(&M, &B) -> L,
    ) -> Result<FishReport>
    where
        M: Module,
        L: DomainLoss<M>,
    {
        let lr = lr.into();
        check_learning_rate(&lr, model)?;
        check_trainable(model)?;
        let mut readback = Readback::default();
        let mut inner = self.inner.clone();
        let mut led_to = displaced(model, &[]);
        let mut readings = Vec::with_capacity(domains.len());
        for (name, batch) in domains.iter() {
            let (loss, gradient) = loss(&led_to, batch).differentiate(&led_to, name)?;
            let gradient_square = squared_norm(&led_to, &gradient);
            readings.push(InnerReadings {
                name: name.clone(),
                loss: readback.push(loss),
                gradient_square: readback.push(gradient_square),
            });
            led_to = tie_shared_parameters(inner.step(lr.clone(), led_to, gradient));
        }
        let way = way(model, &led_to);
        let square = readback.push(squared_norm(model, &way));
        readback.wait()?;
        let report = FishReport::new(readings, square, &readback);
        if !report.is_skipped() {
            let statistics = RunningStatistics::of(&led_to);
            *model = match self.config.meta_lr {
                1.0 => led_to,
                part => displaced(model, &[Displacement::constant(part, &way)]),
            };
            statistics.write_to(model);
            self.inner = inner;
        }
        Ok(report)
    }

    /// The inner optimizer's state. The model is to be kept with it, for its parameter ids.
    pub fn to_record(&self) -> OptimizerRecord {
        self.inner.to_record()
    }

    /// Goes on where the record was taken, with the same settings and inner optimizer.
    pub fn load_record(mut self, record: OptimizerRecord) -> Self {
        self.inner = self.inner.load_record(record);
        self
    }

    /// The settings.
    pub fn config(&self) -> &FishConfig {
        &self.config
    }
}

impl std::fmt::Debug for Fish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fish")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What a step of [`Fish`] saw and did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FishReport {
    /// The inner steps, in their order.
    pub domains: Vec<InnerStep>,
    /// The length of the inner steps' way, $\lVert \tilde\theta_K - \theta \rVert$.
    pub distance: f64,
    /// Whether the step counts, and why not.
    pub outcome: Outcome,
}

/// An inner step of [`Fish`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InnerStep {
    /// The domain's name.
    pub name: Arc<str>,
    /// Its loss $L_i(\tilde\theta_{i-1})$, before the step on it.
    pub loss: f64,
    /// The norm of its gradient there.
    pub gradient_norm: f64,
}

impl FishReport {
    fn new(readings: Vec<InnerReadings>, square: Reading, read: &Readback) -> Self {
        let domains = readings.into_iter().map(|reading| InnerStep {
            name: reading.name,
            loss: read.get(reading.loss),
            gradient_norm: read.get(reading.gradient_square).sqrt(),
        });
        let domains: Vec<InnerStep> = domains.collect();
        let distance = read.get(square).sqrt();
        let non_finite = |domain: Option<&Arc<str>>, quantity| NonFinite {
            domain: domain.cloned(),
            pass: Pass::Inner,
            quantity,
        };
        let of_domain = domains.iter().find_map(|step| {
            let quantity = match (step.loss.is_finite(), step.gradient_norm.is_finite()) {
                (false, _) => Quantity::Loss,
                (true, false) => Quantity::Gradient,
                (true, true) => return None,
            };
            Some(non_finite(Some(&step.name), quantity))
        });
        let of_weights = || (!distance.is_finite()).then(|| non_finite(None, Quantity::Weights));
        Self {
            outcome: match of_domain.or_else(of_weights) {
                Some(found) => Outcome::Skipped(found),
                None => Outcome::Applied,
            },
            domains,
            distance,
        }
    }

    /// Whether the step was skipped: nothing has changed.
    pub fn is_skipped(&self) -> bool {
        matches!(self.outcome, Outcome::Skipped(_))
    }
}

struct InnerReadings {
    name: Arc<str>,
    loss: Reading,
    gradient_square: Reading,
}

/// $\tilde\theta - \theta$, in at least 32 bits.
fn way<M: Module>(from: &M, to: &M) -> GradientsParams {
    /// $\pm$ the weights of a model are added.
    struct Add<'a> {
        way: &'a mut GradientsParams,
        start: bool,
    }

    impl OnParameter for Add<'_> {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !param.is_require_grad() {
                return;
            }
            let weights = widen(param.base().inner());
            let way = match self.way.remove::<D>(param.id) {
                Some(start) => weights - start,
                None if self.start => weights,
                None => return,
            };
            self.way.register(param.id, way);
        }
    }

    let mut way = GradientsParams::new();
    for (model, start) in [(from, true), (to, false)] {
        let way = &mut way;
        for_each_parameter(model, &mut Add { way, start });
    }
    way
}

#[cfg(test)]
mod tests {
    use burn::{
        module::{ModuleMapper, ModuleVisitor},
        nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
        optim::{AdamConfig, SgdConfig, momentum::MomentumConfig},
        tensor::{Device, TensorData},
    };

    use super::*;

    #[derive(Module, Debug)]
    struct Net {
        first: Linear,
        norm: BatchNorm,
        second: Linear,
    }

    /// The same weights in every net.
    struct Fixed(f32);

    impl ModuleMapper for Fixed {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !param.is_require_grad() {
                return param;
            }
            let shape = param.lazy_shape();
            let weights = (0..shape.num_elements()).map(|_| {
                self.0 += 1.3;
                self.0.sin()
            });
            let data = TensorData::new(weights.collect::<Vec<f32>>(), shape);
            param.map(|weights| Tensor::from_data(data, &weights.device()).require_grad())
        }
    }

    impl Net {
        fn new() -> Self {
            let device = Device::flex().autodiff();
            let net = Self {
                first: LinearConfig::new(2, 3).init(&device),
                norm: BatchNormConfig::new(3).init(&device),
                second: LinearConfig::new(3, 1).init(&device),
            };
            net.map(&mut Fixed(0.0))
        }

        fn loss(&self, x: &Tensor<2>) -> Tensor<1> {
            let hidden = self.norm.forward(self.first.forward(x.clone())).tanh();
            (self.second.forward(hidden) - 1.0).square().mean()
        }

        /// Parameters and running statistics, bit for bit.
        fn state(&self) -> Vec<u32> {
            struct Bits(Vec<u32>);
            impl ModuleVisitor for Bits {
                fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                    let data = param.base().into_data();
                    self.0.extend(data.iter::<f32>().map(f32::to_bits));
                }
            }
            let mut bits = Bits(Vec::new());
            self.valid().visit(&mut bits);
            bits.0
        }
    }

    fn batches() -> DomainBatches<Tensor<2>> {
        let device = Device::flex().autodiff();
        let rows = |a: f32| {
            let rows = [[a, 1.0], [0.5, -a], [a - 1.0, 0.3]];
            Tensor::<2>::from_floats(rows, &device)
        };
        DomainBatches::new([("a", rows(1.0)), ("b", rows(-2.0)), ("c", rows(0.4))]).unwrap()
    }

    fn momentum() -> ModuleOptimizer {
        let momentum = MomentumConfig {
            momentum: 0.9,
            dampening: 0.0,
            nesterov: false,
        };
        SgdConfig::new().with_momentum(Some(momentum)).init()
    }

    #[test]
    fn two_domains_by_hand() {
        let device = Device::flex().autodiff();
        let mut model = LinearConfig::new(1, 1).with_bias(false).init(&device);
        model.weight = Param::from_tensor(Tensor::from_floats([[1.0]], &device));
        // w², then (2w − 3)², as everywhere in the worked cases: x and y.
        let domains = DomainBatches::new([("one", (1.0, 0.0)), ("two", (2.0, 3.0))]).unwrap();
        let mut fish = FishConfig::new().init(SgdConfig::new().init()).unwrap();
        let loss = |model: &Linear, (x, y): &(f32, f32)| {
            let weight = model.weight.val().reshape([1]);
            (weight.mul_scalar(*x) - *y).square()
        };
        let report = fish.step(0.05, &mut model, &domains, loss).unwrap();
        // 1 − 0.05 · 2 = 0.9; there 4 (1.8 − 3) = −4.8: 1.14; half of the way is 1.07.
        let weight = model.weight.val().into_scalar::<f32>();
        assert!((weight - 1.07).abs() < 1e-6, "{weight}");
        assert!((report.distance - 0.14).abs() < 1e-6);
        let seen = |step: &InnerStep| (step.loss, step.gradient_norm);
        for (seen, expected) in report
            .domains
            .iter()
            .map(seen)
            .zip([(1.0, 2.0), (1.44, 4.8)])
        {
            let error = (seen.0 - expected.0).abs() + (seen.1 - expected.1).abs();
            assert!(error < 1e-5, "{seen:?} and {expected:?}");
        }
    }

    #[test]
    fn one_domain_the_whole_way_is_the_inner_optimizer_bit_for_bit() {
        let mut batches = batches();
        let name = batches.names().next().unwrap().clone();
        let batch = batches.iter().next().unwrap().1.clone();
        batches = DomainBatches::new([(name, batch.clone())]).unwrap();
        for inner in [momentum(), AdamConfig::new().init()] {
            let (mut model, mut expected) = (Net::new(), Net::new());
            let config = FishConfig::new().with_meta_lr(1.0);
            let mut fish = config.init(inner.clone()).unwrap();
            let mut plain = inner;
            for _ in 0..5 {
                fish.step(0.1, &mut model, &batches, Net::loss).unwrap();
                let gradients = expected.loss(&batch).backward();
                let gradients = GradientsParams::from_grads(gradients, &expected);
                expected = plain.step(0.1, expected, gradients);
            }
            assert_eq!(model.state(), expected.state());
        }
    }

    #[test]
    fn every_setting_the_order_and_the_state_count() {
        let after = |config: FishConfig, inner: ModuleOptimizer, domains: &DomainBatches<_>| {
            let mut model = Net::new();
            let mut fish = config.init(inner).unwrap();
            for _ in 0..2 {
                fish.step(0.1, &mut model, domains, Net::loss).unwrap();
            }
            model.state()
        };
        let config = FishConfig::new;
        let plain = || SgdConfig::new().init();
        let reversed: Vec<_> = batches()
            .iter()
            .map(|(n, b)| (n.clone(), b.clone()))
            .collect();
        let reversed = DomainBatches::new(reversed.into_iter().rev()).unwrap();
        let states = [
            after(config(), plain(), &batches()),
            after(config().with_meta_lr(0.3), plain(), &batches()),
            after(config().with_meta_lr(1.0), plain(), &batches()),
            after(config(), momentum(), &batches()),
            after(config(), plain(), &reversed),
        ];
        for (place, state) in states.iter().enumerate() {
            assert!(!states[..place].contains(state), "{place}");
        }
    }

    #[test]
    fn what_is_not_finite_changes_nothing() {
        for bad in [f32::NAN, f32::INFINITY] {
            for (domain, inner) in ["a", "b", "c"].into_iter().zip([0, 1, 2]) {
                let (mut model, mut expected) = (Net::new(), Net::new());
                let mut fish = FishConfig::new().init(momentum()).unwrap();
                let mut plain = fish.clone();
                let mut calls = 0;
                let spoilt = |model: &Net, batch: &Tensor<2>| {
                    calls += 1;
                    let factor = if calls == inner + 1 { bad } else { 1.0 };
                    model.loss(batch).mul_scalar(factor)
                };
                let before = model.state();
                let report = fish.step(0.1, &mut model, &batches(), spoilt).unwrap();
                let Outcome::Skipped(found) = &report.outcome else {
                    panic!("{report:?}");
                };
                assert_eq!(found.domain.as_deref(), Some(domain));
                assert_eq!(
                    (found.quantity, &found.pass),
                    (Quantity::Loss, &Pass::Inner)
                );
                assert_eq!(model.state(), before);
                // The optimizer's state is as before, too.
                for (fish, model) in [(&mut fish, &mut model), (&mut plain, &mut expected)] {
                    fish.step(0.1, model, &batches(), Net::loss).unwrap();
                }
                assert_eq!(model.state(), expected.state());
            }
        }
        // Finite gradients and weights that are not.
        let mut model = Net::new();
        let before = model.state();
        let mut fish = FishConfig::new().init(SgdConfig::new().init()).unwrap();
        let report = fish.step(1e39, &mut model, &batches(), Net::loss).unwrap();
        assert!(report.is_skipped());
        assert_eq!(model.state(), before);
    }

    #[test]
    fn an_error_of_the_closure_changes_nothing() {
        let mut model = Net::new();
        let before = model.state();
        let mut fish = FishConfig::new().init(momentum()).unwrap();
        let mut calls = 0;
        let failing = |model: &Net, batch: &Tensor<2>| {
            calls += 1;
            match calls {
                2 => Err("no more rows"),
                _ => Ok(model.loss(batch)),
            }
        };
        let error = fish.step(0.1, &mut model, &batches(), failing).unwrap_err();
        assert!(matches!(error, Error::Closure { domain, .. } if domain == "b"));
        assert_eq!(model.state(), before);
        let detached = |model: &Net, batch: &Tensor<2>| model.loss(batch).detach();
        let error = fish
            .step(0.1, &mut model, &batches(), detached)
            .unwrap_err();
        assert!(matches!(error, Error::Loss { .. }));
        for lr in [f64::NAN, f64::INFINITY] {
            let error = fish
                .step(lr, &mut model, &batches(), Net::loss)
                .unwrap_err();
            assert_eq!(error.to_string(), format!("lr must be finite, but is {lr}"));
        }
        assert_eq!(model.state(), before);
    }

    #[test]
    fn frozen_parameters_stay_and_running_statistics_are_those_of_the_inner_passes() {
        let mut model = Net::new();
        model.first = model.first.no_grad();
        let frozen = model.first.weight.val().into_data();
        let mut fish = FishConfig::new().init(momentum()).unwrap();
        fish.step(0.1, &mut model, &batches(), Net::loss).unwrap();
        assert_eq!(model.first.weight.val().into_data(), frozen);
        // Below the frozen layer nothing moves: the statistics are those of three plain passes.
        let mut expected = Net::new();
        expected.first = expected.first.no_grad();
        for (_, batch) in batches().iter() {
            expected.loss(batch);
        }
        let [statistics, expected] = [&model, &expected].map(|net| {
            let norm = net.valid().norm;
            [norm.running_mean, norm.running_var].map(|state| state.value().into_data())
        });
        assert_eq!(statistics, expected);
    }

    #[test]
    fn resumed_it_is_the_uninterrupted_one_bit_for_bit() {
        let mut model = Net::new();
        let mut fish = FishConfig::new().init(momentum()).unwrap();
        fish.step(0.1, &mut model, &batches(), Net::loss).unwrap();
        let bytes = fish.to_record().into_bytes().unwrap();
        let mut resumed_model = model.clone().train();
        let resumed = FishConfig::new().init(momentum()).unwrap();
        let mut resumed = resumed.load_record(OptimizerRecord::from_bytes(bytes).unwrap());
        for (fish, model) in [(&mut fish, &mut model), (&mut resumed, &mut resumed_model)] {
            fish.step(0.1, model, &batches(), Net::loss).unwrap();
        }
        assert_eq!(model.state(), resumed_model.state());
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for meta_lr in [0.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
            let config = FishConfig::new().with_meta_lr(meta_lr);
            let error = config.init(momentum()).unwrap_err().to_string();
            let expected = format!("meta_lr must be above 0 and at most 1, but is {meta_lr}");
            assert_eq!(error, expected);
        }
        let mut frozen = Net::new().no_grad();
        let mut fish = FishConfig::new().init(momentum()).unwrap();
        assert!(fish.step(0.1, &mut frozen, &batches(), Net::loss).is_err());
    }
}
