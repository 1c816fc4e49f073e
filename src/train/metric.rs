use std::{ops::Add, sync::Arc};

use burn::{
    tensor::TensorReadError,
    train::metric::{
        Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
        NumericEntry, SerializedEntry, state::NumericMetricState,
    },
};

use crate::optim::StepReport;

/// What a [`StepMetric`] shows of a step: the numbers of its [`StepReport`].
///
/// A step that was skipped has none but `skipped`: what was not finite would stay in the mean of
/// the epoch. With the report off there is no `cosine`, `conflicts` and `alignment`; a plain step has
/// no `alignment` and no `sharpness`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepInput {
    /// See [`StepMetric::cosine`].
    pub cosine: Option<f64>,
    /// See [`StepMetric::conflicts`], as a share from 0 to 1.
    pub conflicts: Option<f64>,
    /// See [`StepMetric::alignment`].
    pub alignment: Option<f64>,
    /// See [`StepMetric::sharpness`].
    pub sharpness: Option<f64>,
    /// See [`StepMetric::gradient_norm`].
    pub gradient_norm: Option<f64>,
    /// See [`StepMetric::skipped`].
    pub skipped: bool,
}

impl From<&StepReport> for StepInput {
    fn from(report: &StepReport) -> Self {
        if report.is_skipped() {
            return Self {
                skipped: true,
                ..Self::default()
            };
        }
        let domains = report.domains.len();
        let pairs = (domains * (domains - 1) / 2) as f64;
        let conflicts = report.conflicts.as_ref().filter(|_| domains > 1);
        let points = report.points.len() as f64;
        let alignments = report.points.iter().filter_map(|point| point.alignment);
        Self {
            cosine: report.mean_cosine(),
            conflicts: conflicts.map(|conflicts| conflicts.len() as f64 / pairs),
            alignment: alignments.reduce(f64::add).map(|sum| sum / points),
            sharpness: report.mean_sharpness(),
            gradient_norm: Some(report.update_gradient_norm),
            skipped: false,
        }
    }
}

/// A number of every step's report, on the dashboard of burn's `Learner`.
///
/// The value of an epoch is the mean over its steps (and, on several devices, over their workers)
/// that have the number. It is registered as any metric of burn, for training only:
///
/// ```no_run
/// # use burn::train::{LearnerModel, SupervisedTraining, TrainStep};
/// # use roga::train::StepOutput;
/// use roga::train::StepMetric;
///
/// # fn register<M: LearnerModel + TrainStep<Output = StepOutput>>(training: SupervisedTraining<M>)
/// # -> SupervisedTraining<M> {
/// training
///     .metric_train_numeric(StepMetric::cosine())
///     .metric_train_numeric(StepMetric::sharpness())
/// # }
/// ```
#[derive(Clone)]
pub struct StepMetric {
    name: MetricName,
    description: &'static str,
    unit: Option<&'static str>,
    higher_is_better: bool,
    read: fn(&StepInput) -> Option<f64>,
    state: NumericMetricState,
    /// Whether the last step had the number, and whether any of the epoch had.
    seen: (bool, bool),
}

impl StepMetric {
    /// The mean cosine between the gradients of two domains,
    /// $\frac{2}{K (K - 1)} \sum_{i < j} \cos(g_i, g_j)$, in $[-1, 1]$.
    ///
    /// Near 1 the domains ask for the same step, below 0 for opposite ones. None of a single
    /// domain.
    ///
    /// Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
    /// arXiv:2001.06782, which calls a pair with a cosine below 0 conflicting.
    pub fn cosine() -> Self {
        let read = |input: &StepInput| input.cosine;
        let description = "mean cosine between the gradients of two domains";
        Self::new("Gradient Cosine", description, None, true, read)
    }

    /// The share of conflicting pairs of domains, $\langle g_i, g_j \rangle < 0$, of all
    /// $K (K - 1) / 2$, in percent.
    ///
    /// None of a single domain. Source: as [`cosine`](Self::cosine).
    pub fn conflicts() -> Self {
        let read = |input: &StepInput| Some(100.0 * input.conflicts?);
        let description = "share of the pairs of domains whose gradients conflict";
        Self::new("Gradient Conflicts", description, Some("%"), false, read)
    }

    /// The mean over the ascending points of the cosine between the gradient there and the mean
    /// gradient $\bar g$ at $\theta$, in $[-1, 1]$.
    ///
    /// What gradient alignment drives up. None of a plain step, such as ERM's.
    ///
    /// Source: Le and Woo, "Gradient Alignment for Cross-Domain Face Anti-Spoofing", CVPR 2024,
    /// arXiv:2402.18817.
    pub fn alignment() -> Self {
        let read = |input: &StepInput| input.alignment;
        let description = "mean cosine of the perturbed gradients with the mean gradient";
        Self::new("Gradient Alignment", description, None, true, read)
    }

    /// The mean over the ascending points of the losses' rise from $\theta$ to the point,
    /// $L_j(\theta_i) - L_j(\theta)$: any number, in the unit of the loss.
    ///
    /// None of a plain step, such as ERM's.
    ///
    /// Source: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
    /// Generalization", ICLR 2021, arXiv:2010.01412.
    pub fn sharpness() -> Self {
        let read = |input: &StepInput| input.sharpness;
        let description = "mean rise of the loss at the ascending points";
        Self::new("Sharpness", description, None, false, read)
    }

    /// The norm $\lVert G \rVert \ge 0$ of what the base optimizer is handed.
    ///
    /// Before gradient clipping; on several devices, before their sum.
    pub fn gradient_norm() -> Self {
        let read = |input: &StepInput| input.gradient_norm;
        let description = "norm of the gradient for the base optimizer";
        Self::new("Gradient Norm", description, None, false, read)
    }

    /// The share of steps that were skipped because a pass was not finite, in percent.
    pub fn skipped() -> Self {
        let read = |input: &StepInput| Some(if input.skipped { 100.0 } else { 0.0 });
        let description = "share of the steps with a pass that was not finite";
        Self::new("Skipped Steps", description, Some("%"), false, read)
    }

    fn new(
        name: &str,
        description: &'static str,
        unit: Option<&'static str>,
        higher_is_better: bool,
        read: fn(&StepInput) -> Option<f64>,
    ) -> Self {
        Self {
            name: Arc::new(name.into()),
            description,
            unit,
            higher_is_better,
            read,
            state: NumericMetricState::new(),
            seen: (false, false),
        }
    }

    /// burn's own format of a float takes every negative number for a tiny one.
    fn formatted(&self) -> String {
        let unit = self.unit.map_or(String::new(), |unit| format!(" {unit}"));
        let number = |entry: Option<NumericEntry>| match entry {
            Some(entry) => number(entry.current()) + &unit,
            None => SerializedEntry::NOT_AVAILABLE.into(),
        };
        let (epoch, batch) = (number(self.running_value()), number(self.value()));
        format!("epoch {epoch} - batch {batch}")
    }
}

/// Four digits behind the point, or as a power of ten where these would say nothing.
pub(super) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 {
        format!("{value:.3e}")
    } else {
        format!("{value:.4}")
    }
}

impl Metric for StepMetric {
    type Input = StepInput;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn description(&self) -> Option<String> {
        Some(self.description.into())
    }

    fn attributes(&self) -> MetricAttributes {
        let attributes = NumericAttributes {
            unit: self.unit.map(Into::into),
            higher_is_better: self.higher_is_better,
        };
        attributes.into()
    }

    fn update(
        &mut self,
        input: &StepInput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let value = (self.read)(input);
        self.seen.0 = value.is_some();
        let serialized = match value {
            Some(value) => {
                self.seen.1 = true;
                self.state.update(value, 1);
                self.state.current_value().serialize()
            }
            None => SerializedEntry::NOT_AVAILABLE.into(),
        };
        Ok(SerializedEntry::new(self.formatted(), serialized))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        let serialized = match self.seen.1 {
            true => self.final_value().serialize(),
            false => SerializedEntry::NOT_AVAILABLE.into(),
        };
        Ok(SerializedEntry::new(self.formatted(), serialized))
    }

    fn clear(&mut self) {
        self.state.reset();
        self.seen = (false, false);
    }
}

impl Numeric for StepMetric {
    fn value(&self) -> Option<NumericEntry> {
        self.seen.0.then(|| self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.seen.1.then(|| self.state.running_value())
    }

    /// Not a number where no step of the epoch had one.
    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

impl std::fmt::Debug for StepMetric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepMetric")
            .field("name", &self.name)
            .field("epoch", &self.running_value())
            .finish_non_exhaustive()
    }
}
