use std::collections::BTreeMap;

use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    module::{Module, ModuleVisitor, Param},
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};

use super::{
    DomainLoss, JoinedLoss, RobustGradient, RobustGradientAlignmentRecord, StepReport,
    record::Recorded,
};
use crate::{
    Error, Result,
    aggregation::Aggregator,
    alignment::AlignmentLoss,
    domain::{Concat, DomainBatches, JoinedBatch},
    perturbation::tie_shared_parameters,
};

/// Robust gradient alignment round a base optimizer.
///
/// Made by [`RobustGradientAlignmentConfig::init`](super::RobustGradientAlignmentConfig::init). In
/// an ordinary loop it takes the place of `backward` and of the optimizer's `step`:
///
/// ```
/// use burn::{
///     nn::{Linear, LinearConfig, loss::{MseLoss, Reduction}},
///     optim::SgdConfig,
///     tensor::{Device, Tensor},
/// };
/// use roga::{domain::DomainBatches, optim::RobustGradientAlignmentConfig};
///
/// let device = Device::default().autodiff();
/// let mut model = LinearConfig::new(1, 1).init(&device);
/// let mut optim = RobustGradientAlignmentConfig::new().init(SgdConfig::new().init())?;
///
/// let row = |x: f32, y: f32| (
///     Tensor::<2>::from_floats([[x]], &device),
///     Tensor::<2>::from_floats([[y]], &device),
/// );
/// let domains = DomainBatches::new([("a", row(1.0, 0.0)), ("b", row(2.0, 3.0))])?;
///
/// let report = optim.step(0.05, &mut model, &domains, |model: &Linear, (x, y)| {
///     MseLoss::new().forward(model.forward(x.clone()), y.clone(), Reduction::Mean)
/// })?;
/// assert_eq!((report.passes.clean, report.passes.perturbed), (2, 4));
/// # Ok::<(), roga::Error>(())
/// ```
///
/// # Rules
///
/// * **The base optimizer** sees one gradient, $G$, at $\theta$. Its momentum, weight decay,
///   gradient clipping, parameter groups and learning rates by group apply to $G$ and $\theta$ as
///   they would to an ordinary gradient; the passes see none of them.
/// * **Frozen parameters** are not perturbed, not counted in norms and not changed.
/// * **A parameter without a gradient in some domain** counts there as zero: it is not moved by
///   that domain's ascent, and its mean is still over all $K$ domains. Without a gradient in any
///   pass, it is not handed to the base optimizer, which then leaves it alone, weight decay
///   included.
/// * **A parameter that several layers share** is one parameter: its gradient is the sum over its
///   uses, it counts once in a norm, and after the step all uses have the same value (burn's
///   optimizers by themselves update the first use only).
/// * **Running statistics** (batch normalisation) are those of the $K$ clean passes, in the order
///   of the domains. The perturbed passes work on statistics of their own. A frozen batch
///   normalisation stays as it is.
/// * **A loss or gradient that is not finite**, in any pass, skips the step: nothing has changed,
///   bit for bit, and the report says which domain and which pass. A gradient whose norm is beyond
///   the range of its numbers' squares counts as one: above about $1.8 \cdot 10^{19}$ in 32 bits.
/// * **A domain of weight 0** goes through its clean pass, is reported and counts for running
///   statistics; it does not count in $G$, and no domain is evaluated at its point.
/// * **The number of the step**, by which schedules, warm-up, interval and
///   [`Evaluation::Sampled`](super::Evaluation::Sampled) go, is counted here from 0 on, skipped
///   steps included, and kept in the record.
/// * **An error of the closure**, or a panic, leaves model and optimizer as they were.
pub struct RobustGradientAlignment {
    gradient: RobustGradient,
    base: ModuleOptimizer,
    /// The parameters that a record had a state for, until the first step has found them.
    recorded: Recorded,
    /// Where the last step was made.
    device: Option<Device>,
}

impl RobustGradientAlignment {
    pub(crate) fn new(gradient: RobustGradient, base: ModuleOptimizer) -> Self {
        Self {
            gradient,
            base,
            recorded: Recorded::new(),
            device: None,
        }
    }

    /// All passes, and one step of the base optimizer.
    ///
    /// * `lr`: the learning rate, or one for every parameter group, as burn's own schedulers give.
    /// * `domains`: one mini-batch for each of $K \ge 1$ domains.
    /// * `loss`: the mean loss of a model on a batch, see [`DomainLoss`]. It is called once for
    ///   every pass, and must use the model that it is given: a copy, at another point.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`](crate::Error::Domains), [`Error::Model`](crate::Error::Model),
    /// [`Error::Loss`](crate::Error::Loss), [`Error::Closure`](crate::Error::Closure),
    /// [`Error::Setting`](crate::Error::Setting) where `domain_weights` are not one for each
    /// domain, a group matches no parameter or `lr` is not finite,
    /// [`Error::NonFinite`](crate::Error::NonFinite) after too many skipped steps in a row,
    /// [`Error::Device`](crate::Error::Device). Nothing has changed then.
    pub fn step<M, B, L>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: &mut M,
        domains: &DomainBatches<B>,
        loss: impl FnMut(&M, &B) -> L,
    ) -> Result<StepReport>
    where
        M: Module,
        L: DomainLoss<M>,
    {
        let lr = self.learning_rate(lr, model)?;
        let step = self.gradient.steps();
        let (gradients, report) = self.gradient.gradients_of(step, model, domains, loss)?;
        self.base_step(lr, model, gradients, &report);
        Ok(report)
    }

    /// As [`step`](Self::step), with the passes that evaluate several domains at one point joined
    /// into one forward and backward.
    ///
    /// `loss` is called with the rows of several domains at once, and gives their mean losses, one
    /// each ([`JoinedLoss`]). The step is the same, up to rounding, where nothing depends on a
    /// batch's statistics; it is a choice, since batch normalisation sees the joined batch,
    /// and of a gradient that is not finite the report cannot say which domain's it is. Where
    /// ascents by domain need the gradients one by one, the clean passes stay by themselves, each
    /// a joined batch of one domain. Else they are one as well, and the report has no cosines, no
    /// conflicts and no norms by domain.
    ///
    /// ```
    /// use burn::{
    ///     nn::{Linear, LinearConfig, loss::MseLoss},
    ///     optim::SgdConfig,
    ///     tensor::{Device, Tensor},
    /// };
    /// use roga::{
    ///     domain::{DomainBatches, JoinedBatch},
    ///     optim::RobustGradientAlignmentConfig,
    /// };
    ///
    /// type Rows = (Tensor<2>, Tensor<2>);
    ///
    /// let device = Device::default().autodiff();
    /// let mut model = LinearConfig::new(1, 1).init(&device);
    /// let mut optim = RobustGradientAlignmentConfig::sagm(0.05, 5e-4)
    ///     .init(SgdConfig::new().init())?;
    ///
    /// let rows = |x: &[f32]| Tensor::<1>::from_floats(x, &device).unsqueeze_dim::<2>(1);
    /// let domains = DomainBatches::new([
    ///     ("photo", (rows(&[1.0, 0.5]), rows(&[0.0, 0.1]))),
    ///     ("sketch", (rows(&[2.0]), rows(&[3.0]))),
    /// ])?;
    /// let report = optim.step_joined(0.05, &mut model, &domains, |model: &Linear, joined: &JoinedBatch<Rows>| {
    ///     let (x, y) = joined.batch();
    ///     let errors = MseLoss::new().forward_no_reduction(model.forward(x.clone()), y.clone());
    ///     joined.means(errors.squeeze_dim(1))
    /// })?;
    /// assert_eq!(report.passes.calls, 2);
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn step_joined<M, B, L>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: &mut M,
        domains: &DomainBatches<B>,
        loss: impl FnMut(&M, &JoinedBatch<B>) -> L,
    ) -> Result<StepReport>
    where
        M: Module,
        B: Concat,
        L: JoinedLoss,
    {
        let lr = self.learning_rate(lr, model)?;
        let step = self.gradient.steps();
        let (gradients, report) = self
            .gradient
            .gradients_joined_of(step, model, domains, loss)?;
        self.base_step(lr, model, gradients, &report);
        Ok(report)
    }

    /// The rates of a step, once they are known to be finite.
    fn learning_rate<M: Module>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: &M,
    ) -> Result<ModuleLearningRate> {
        let lr = lr.into();
        check_learning_rate(&lr, model)?;
        self.gradient.set_learning_rate(lr.base());
        self.device = model.devices().into_iter().next();
        if !self.recorded.is_empty() {
            check_recorded(&self.recorded, model)?;
            self.recorded.clear();
        }
        Ok(lr)
    }

    /// Step 5.
    fn base_step<M: Module>(
        &mut self,
        lr: ModuleLearningRate,
        model: &mut M,
        gradients: GradientsParams,
        report: &StepReport,
    ) {
        if !report.is_skipped() {
            let updated = self.base.step(lr, model.clone(), gradients);
            *model = tie_shared_parameters(updated);
        }
    }

    /// All that a training needs to go on where it was interrupted.
    ///
    /// # Errors
    ///
    /// [`Error::Record`](crate::Error::Record) where the state cannot be written,
    /// [`Error::Device`](crate::Error::Device) where it cannot be read back.
    pub fn to_record(&self) -> Result<RobustGradientAlignmentRecord> {
        let gradient = &self.gradient;
        let device = self.device.as_ref();
        let carried = gradient.carried().clone();
        let (config, progress) = (gradient.config(), gradient.progress());
        RobustGradientAlignmentRecord::new(config, progress, &carried, &self.base, device)
    }

    /// Goes on where the record was taken.
    ///
    /// The model must be the record's, too, or one with the same parameter ids: see
    /// [`RobustGradientAlignmentRecord::load_model`].
    ///
    /// **A warm-up for several methods**: while all of the record's steps were plain, by its settings
    /// (those of [`erm`](super::RobustGradientAlignmentConfig::erm), or within `warmup_steps`) and by
    /// these, the settings of perturbations may be others, $\rho$, $\gamma$, the evaluation and the
    /// weights (with the same sum) among them. The training goes on, bit for bit, as if those steps had
    /// been made with these.
    ///
    /// # Errors
    ///
    /// [`Error::Record`](crate::Error::Record), with nothing changed, where the record is of other
    /// settings (those of reports and of the end to skipping are free to change) or of another base
    /// optimizer.
    pub fn load_record(&mut self, record: &RobustGradientAlignmentRecord) -> Result<()> {
        record.check(self.gradient.config())?;
        let (base, mut recorded) = record.load_base(&self.base)?;
        let carried = record.load_carried()?;
        for id in carried.parameters() {
            recorded.entry(id).or_default();
        }
        self.gradient = self.gradient.split_off(record.progress(), carried);
        self.base = base;
        self.recorded = recorded;
        Ok(())
    }

    /// Hands over the alignment loss of the caller's own that the settings name: see
    /// [`AlignmentConfig::own`](crate::alignment::AlignmentConfig::own).
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) where the settings name another, or none.
    pub fn set_alignment_loss(&mut self, loss: impl AlignmentLoss + 'static) -> Result<()> {
        self.gradient.set_alignment_loss(loss)
    }

    /// Hands over the aggregation of the caller's own that the settings name: see
    /// [`AggregationConfig::own`](super::AggregationConfig::own).
    ///
    /// # Errors
    ///
    /// As [`RobustGradient::set_aggregator`].
    pub fn set_aggregator(&mut self, aggregator: impl Aggregator + 'static) -> Result<()> {
        self.gradient.set_aggregator(aggregator)
    }

    /// The passes alone: see [`RobustGradient`].
    pub fn gradient(&self) -> &RobustGradient {
        &self.gradient
    }

    /// The base optimizer.
    pub fn base(&self) -> &ModuleOptimizer {
        &self.base
    }
}

impl Clone for RobustGradientAlignment {
    /// A wrapper with the same settings and the same state, which counts by itself.
    fn clone(&self) -> Self {
        Self {
            gradient: self.gradient.split(),
            base: self.base.clone(),
            recorded: self.recorded.clone(),
            device: self.device.clone(),
        }
    }
}

impl std::fmt::Debug for RobustGradientAlignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RobustGradientAlignment")
            .field("gradient", &self.gradient)
            .finish_non_exhaustive()
    }
}

/// Refuses a model that lacks a parameter which the base optimizer has a recorded state for: its
/// momentum would be lost without a word. And one whose parameters have other shapes.
fn check_recorded<M: Module>(recorded: &Recorded, model: &M) -> Result<()> {
    let refused = |found: String| {
        Err(Error::Model {
            rule: "be the one of the record that was loaded (`record.load_model(model)`)",
            found,
        })
    };
    let Shapes(shapes) = Shapes::of(model);
    let missing = recorded.keys().filter(|id| !shapes.contains_key(id));
    let missing = missing.count();
    if missing > 0 {
        return refused(format!(
            "the record holds the optimizer's state of {missing} parameters that are not in it"
        ));
    }
    for (shape, (rank, states)) in shapes
        .iter()
        .filter_map(|(id, s)| Some((s, recorded.get(id)?)))
    {
        // An average over a dimension leaves it with a size of 1.
        let fits = |state: &Vec<usize>| {
            let sizes = state.iter().zip(shape);
            state.len() == shape.len() && sizes.clone().all(|(size, of)| *size == 1 || size == of)
        };
        if rank.is_some_and(|rank| rank != shape.len()) || !states.iter().all(fits) {
            return refused(format!(
                "the record holds the optimizer's state of a parameter of another shape than {shape:?}"
            ));
        }
    }
    Ok(())
}

/// The shapes of a model's float parameters, by their ids.
struct Shapes(BTreeMap<u64, Vec<usize>>);

impl Shapes {
    fn of<M: Module>(model: &M) -> Self {
        let mut shapes = Self(BTreeMap::new());
        model.visit(&mut shapes);
        shapes
    }
}

impl ModuleVisitor for Shapes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // Not the shape that is recorded, which a transposed layout has turned.
        let shape = param.val().dims();
        self.0.insert(param.id.val(), shape.into());
    }
}

/// Refuses a learning rate that is not finite, of any parameter.
pub(super) fn check_learning_rate<M: Module>(lr: &ModuleLearningRate, model: &M) -> Result<()> {
    struct Rates<'a> {
        lr: &'a ModuleLearningRate,
        path: Vec<String>,
        refused: Option<f64>,
    }

    impl ModuleVisitor for Rates<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.into());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let rate = self.lr.lr_from_param(param.id, Some(&self.path.join(".")));
            if !rate.is_finite() {
                self.refused = Some(rate);
            }
        }
    }

    let mut rates = Rates {
        lr,
        path: Vec::new(),
        refused: None,
    };
    model.visit(&mut rates);
    let base = Some(lr.base()).filter(|base| !base.is_finite());
    match rates.refused.or(base) {
        None => Ok(()),
        Some(rate) => Err(Error::Setting {
            field: "lr",
            rule: "be finite",
            value: rate.to_string(),
        }),
    }
}
