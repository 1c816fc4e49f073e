use burn::{config::Config, module::ParamGroup, optim::ModuleOptimizer};

use super::{
    Aggregated, AggregationConfig, Ascent, Draw, Evaluation, FriendlyAscent, PerturbationGroup,
    RobustGradient, RobustGradientAlignment, Schedule,
    evaluation::{Plan, Point, PointAscent},
    group::Perturbation,
};
use crate::{
    Error, Result,
    aggregation::{Aggregation, AndMask, CaGrad, Disam, GroupDro, Mgda, PcGrad, UpGrad, VRex},
    alignment::AlignmentConfig,
    perturbation::Adaptive,
};

/// The settings of robust gradient alignment.
///
/// With the domains' losses $L_i$, their gradients $g_i$ at $\theta$, domain weights $p_i$ that add
/// up to 1, and $\bar g = \sum_i p_i\\, g_i$, the base optimizer is handed
///
/// $$G = w_0\\, \bar g + w_1 P,$$
///
/// where $P$ is made of gradients at the ascending points
/// $\theta_i = \theta + \rho\\, g_i / \lVert g_i \rVert - \gamma\\, \bar g$; how, is its
/// [`Evaluation`].
///
/// # What it descends
///
/// To first order in $(\rho, \gamma)$, [`Evaluation::Own`] descends
///
/// $$\Phi = (w_0 + w_1) \bar L + w_1 \Bigl[ \rho\\, \mathrm{mean}_i \lVert g_i \rVert -
///   \tfrac{\gamma}{2} \lVert \bar g \rVert^2 \Bigr]:$$
///
/// $\rho$ flattens every domain's loss, $\gamma$ maximises the inner products between the domains'
/// gradients. $-\gamma H \bar g$ is *half* the gradient of
/// $-\gamma \langle \nabla \bar L, \nabla \bar L \rangle$: the derivative of the shift itself is
/// dropped. On quadratic losses the shift keeps descent only while
/// $\gamma\\, \lambda_{\max}(\bar H) < (w_0 + w_1) / w_1$.
///
/// # Source
///
/// Qiu, Jiang and Tan, "RoGA: Towards Generalizable Deepfake Detection through Robust Gradient
/// Alignment", ICME 2025, arXiv 2505.20653. **Only its abstract was at hand**: align
/// generalization gradient updates with ERM gradient updates by perturbing the parameters so that
/// the ascending points of the domains align, without further regularisation. The equations are
/// reconstructed from its closest relative, Le and Woo, "Gradient Alignment for Cross-Domain Face
/// Anti-Spoofing", CVPR 2024, arXiv 2402.18817.
///
/// # Named settings
///
/// [`erm`](Self::erm), [`sam`](Self::sam), [`asam`](Self::asam), [`sagm`](Self::sagm),
/// [`domain_sam`](Self::domain_sam), [`look_ahead`](Self::look_ahead), [`gsam`](Self::gsam), [`disam`](Self::disam),
/// [`friendly_sam`](Self::friendly_sam), [`look_sam`](Self::look_sam),
/// [`pcgrad`](Self::pcgrad), [`mgda`](Self::mgda), [`upgrad`](Self::upgrad),
/// [`cagrad`](Self::cagrad), [`group_dro`](Self::group_dro), [`vrex`](Self::vrex) and
/// [`and_mask`](Self::and_mask) are settings of the same code.
///
/// ```
/// use burn::optim::AdamWConfig;
/// use roga::optim::{Evaluation, RobustGradientAlignmentConfig};
///
/// let optim = RobustGradientAlignmentConfig::new()
///     .with_rho(0.05)
///     .with_evaluation(Evaluation::Sampled)
///     .init(AdamWConfig::new().init())?;
///
/// let refused = RobustGradientAlignmentConfig::new()
///     .with_rho(-0.05)
///     .init(AdamWConfig::new().init());
/// assert_eq!(
///     refused.unwrap_err().to_string(),
///     "rho must be finite and at least 0, but is -0.05"
/// );
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct RobustGradientAlignmentConfig {
    /// The radius $\rho$ of the ascent: finite, at least 0. Default: 0.05, as in SAM, SAGM and
    /// DISAM.
    #[config(default = 0.05)]
    pub rho: f64,
    /// The length $\gamma$ of the shift along $-\bar g$: finite, at least 0. Default: 5e-4, as in
    /// SAGM.
    #[config(default = 5e-4)]
    pub gamma: f64,
    /// How $\rho$ changes over training. Default: [`Schedule::Constant`].
    #[config(default = "Schedule::Constant")]
    pub rho_schedule: Schedule,
    /// How $\gamma$ changes over training. Default: [`Schedule::Constant`].
    #[config(default = "Schedule::Constant")]
    pub gamma_schedule: Schedule,
    /// How ascents are scaled by the parameters. Default: [`Adaptive::None`].
    #[config(default = "Adaptive::None")]
    pub adaptive: Adaptive,
    /// Groups of parameters with $\rho$ and $\gamma$ of their own, the later before the earlier:
    /// see [`with_group`](Self::with_group). Default: none.
    #[config(default = "Vec::new()")]
    pub groups: Vec<PerturbationGroup>,
    /// For how many steps training begins without perturbation, as empirical risk minimisation:
    /// $G = (w_0 + w_1)\\, \bar g$. Default: 0. GAC-FAS warms up for 2 or 10 epochs.
    #[config(default = 0)]
    pub warmup_steps: u64,
    /// Every how many steps the perturbed phase is run, at least 1: after the warm-up every
    /// $k$-th step, beginning with the first, and the plain step $G = (w_0 + w_1)\\, \bar g$ in
    /// between, or what [`reuse_weight`](Self::reuse_weight) makes of it. Default: 1, every step.
    #[config(default = 1)]
    pub interval: u64,
    /// Which losses are evaluated at which points. Default: [`Evaluation::All`].
    #[config(default = "Evaluation::All")]
    pub evaluation: Evaluation,
    /// Whose gradient is climbed. Default: [`Ascent::Domain`].
    #[config(default = "Ascent::Domain")]
    pub ascent: Ascent,
    /// How [`Evaluation::Sampled`] draws. Default: [`Draw::Permutation`].
    #[config(default = "Draw::Permutation")]
    pub draw: Draw,
    /// The weight $w_0$ of the clean gradient: finite, at least 0. Default: ½; with
    /// $w_1 = ½$, $G$ has ERM's scale, and a learning rate tuned for ERM carries over.
    #[config(default = 0.5)]
    pub clean_weight: f64,
    /// The weight $w_1$ of the perturbed gradient: finite, at least 0, and not 0 together with
    /// $w_0$. Default: ½. With 0, no perturbed pass is made.
    #[config(default = 0.5)]
    pub perturbed_weight: f64,
    /// The domains' weights $p_i$, in the order of the domains: finite, at least 0, not all 0.
    /// They are divided by their sum. Default: `None`, all the same, whatever the number of rows
    /// in a domain's batch.
    pub domain_weights: Option<Vec<f64>>,
    /// The seed of [`Evaluation::Sampled`]. Default: 0.
    #[config(default = 0)]
    pub seed: u64,
    /// Where given, the device's random numbers are seeded anew before every pass, from this
    /// seed, the step and the domain, so that dropout draws the same masks in the clean and in
    /// the perturbed passes of a mini-batch. It takes the device's random numbers over: on most
    /// backends for the whole process. A joined pass draws the masks of its whole batch, which are
    /// others than those of its parts. Default: `None`.
    pub noise_seed: Option<u64>,
    /// After how many skipped steps in a row an [`Error::NonFinite`] follows, at least 1; `None`:
    /// never. Default: 20.
    #[config(default = "Some(20)")]
    pub max_skipped_steps: Option<u64>,
    /// The weight $\alpha$ of the surrogate gap, as in GSAM: in perturbed steps
    /// $\alpha\\, \bar g_\perp$ is taken from $G$, the part of $\bar g$ that is orthogonal to $P$,
    /// $\bar g_\perp = \bar g - \langle \bar g, \hat P \rangle\\, \hat P$ with
    /// $\hat P = P / \lVert P \rVert$. It is climbed: the loss at the points stays as it is to first
    /// order, and comes nearer to that at $\theta$. No further pass; one gradient more in memory. Finite,
    /// at least 0. Default: `None`, as 0.
    pub gap_weight: Option<f64>,
    /// What a pooled ascent leaves out, as in Friendly-SAM. Default: `None`, nothing.
    pub friendly: Option<FriendlyAscent>,
    /// The weight $\alpha$ of what perturbed steps leave for the plain ones between them, as in
    /// LookSAM. In the plain steps of an [`interval`](Self::interval) above 1,
    ///
    /// $$P = \bar g + \alpha\\, \lVert \bar g \rVert\\, \hat v, \qquad
    ///   v = P' - \langle P', \hat g' \rangle\\, \hat g',$$
    ///
    /// with $P'$ and $\bar g'$ of the last perturbed step, $\hat v = v / \lVert v \rVert$, and
    /// $\hat v = 0$ where nothing but rounding is left of $v$ ($\lVert v \rVert \le 2 \cdot 10^{-6}
    /// \lVert P' \rVert$). The norms run over all parameters together. No further pass;
    /// $\hat v$ and its next value are two gradients more in memory. $\hat v$ is in the training's
    /// record, and a skipped step leaves it as it was; burn's own checkpoints do not hold it. Finite, at
    /// least 0. Default: `None`, as 0.
    pub reuse_weight: Option<f64>,
    /// What makes one gradient of the domains', and where. Default: `None`, their mean everywhere. See
    /// [`aggregation`](crate::aggregation).
    pub aggregation: Option<AggregationConfig>,
    /// An alignment loss $\varphi$ of the domains' gradients: $\lambda_t \nabla \varphi$ is added to
    /// $G$. Default: `None`. See [`alignment`](crate::alignment).
    pub alignment: Option<AlignmentConfig>,
    /// Whether a domain's clean gradient is taken again when its ascent is made, instead of kept until
    /// then: memory for time. Default: false.
    ///
    /// It counts where every domain has an ascending point of its own
    /// ([`Evaluation::All`], `Own`, `Others`, `Sampled` with [`Ascent::Domain`]): a step then holds four
    /// copies of the parameters, five with `All` and `Others`, whatever $K$, and makes one further pass over
    /// the mini-batches ($K$ in [`Passes::clean`](super::Passes::clean)). The report has no cosines and no
    /// conflicts; nor has it with [`Evaluation::Consensus`], which needs no further pass. With $\gamma = 0$
    /// and the [report](Self::report) off, gradients are not kept anyway, and none is taken again.
    ///
    /// $G$ is the same bit for bit where the closure gives the same gradient for the same model and batch.
    /// Dropout does so with a [`noise_seed`](Self::noise_seed); without, an ascent is along a gradient of
    /// other masks. Running statistics are those of the first clean passes: what a pass that is made again
    /// leaves is thrown away. An alignment loss and an aggregation need the gradients together, and refuse it.
    #[config(default = false)]
    pub recompute: bool,
    /// Whether the [`StepReport`](super::StepReport) holds norms, cosines, alignment and conflicts, at
    /// the price of their inner products and of $K$ gradients in memory. Off, nothing is computed for it: of
    /// norms it holds those that the step goes by, and a gradient is kept no longer than it is needed. With
    /// $\gamma = 0$ the passes at a domain's point follow its clean pass at once then, so that without a
    /// [`noise_seed`](Self::noise_seed) dropout draws its masks in another order.
    /// Default: true.
    #[config(default = true)]
    pub report: bool,
}

const MAX_DOMAINS: usize = 4096;

impl RobustGradientAlignmentConfig {
    /// Empirical risk minimisation: $G = \bar g$. One pass over the mini-batches.
    pub fn erm() -> Self {
        Self::new()
            .with_rho(0.0)
            .with_gamma(0.0)
            .with_clean_weight(1.0)
            .with_perturbed_weight(0.0)
    }

    /// Sharpness-aware minimisation: $G = \nabla \bar L(\theta + \rho\\, \bar g / \lVert \bar g \rVert)$.
    ///
    /// Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021, arXiv 2010.01412.
    pub fn sam(rho: f64) -> Self {
        Self::new()
            .with_rho(rho)
            .with_gamma(0.0)
            .with_ascent(Ascent::Pooled)
            .with_clean_weight(0.0)
            .with_perturbed_weight(1.0)
    }

    /// Adaptive SAM, with $\eta = 0.01$:
    /// $G = \nabla \bar L(\theta + \rho\\, T^2 \bar g / \lVert T \bar g \rVert)$.
    ///
    /// Kwon, Kim, Park and Choi, ICML 2021, arXiv 2102.11600; see [`Adaptive`].
    pub fn asam(rho: f64) -> Self {
        Self::sam(rho).with_adaptive(Adaptive::ASAM)
    }

    /// Sharpness-aware gradient matching:
    /// $G = \frac12 \bar g + \frac12 \nabla \bar L(\theta + \rho\\, \bar g / \lVert \bar g \rVert - \gamma\\, \bar g)$.
    ///
    /// Wang, Zhang, Lei and Zhang, CVPR 2023; $\gamma$ is called $\alpha$ there.
    pub fn sagm(rho: f64, gamma: f64) -> Self {
        Self::new()
            .with_rho(rho)
            .with_gamma(gamma)
            .with_ascent(Ascent::Pooled)
    }

    /// SAM of every domain by itself:
    /// $G = \sum_i p_i \nabla L_i(\theta + \rho\\, g_i / \lVert g_i \rVert)$.
    pub fn domain_sam(rho: f64) -> Self {
        Self::new()
            .with_rho(rho)
            .with_gamma(0.0)
            .with_evaluation(Evaluation::Own)
            .with_clean_weight(0.0)
            .with_perturbed_weight(1.0)
    }

    /// Look-ahead: $G = \frac12 \bar g + \frac12 \nabla \bar L(\theta - \gamma\\, \bar g)$.
    pub fn look_ahead(gamma: f64) -> Self {
        Self::new().with_rho(0.0).with_gamma(gamma)
    }

    /// Surrogate-gap guided SAM:
    /// $G = P - \alpha\\, (\bar g - \langle \bar g, \hat P \rangle\\, \hat P)$ with SAM's
    /// $P = \nabla \bar L(\theta + \rho\\, \bar g / \lVert \bar g \rVert)$.
    ///
    /// Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022,
    /// arXiv 2203.08065; there $\rho$ follows the learning rate
    /// ([`Schedule::LearningRate`]), and $\alpha$ is 0.1 to 0.4.
    pub fn gsam(rho: f64, alpha: f64) -> Self {
        Self::sam(rho).with_gap_weight(Some(alpha))
    }

    /// Sharpness-aware minimisation led by no single domain: the ascent goes along
    /// $\sum_i \bigl( p_i - \frac{2\lambda}{K} (L_i - \hat L) \bigr)\\, g_i$. See [`Disam`].
    ///
    /// Zhang, Fan, Yao, Zhang and Wang, ICLR 2024, arXiv 2405.18861.
    pub fn disam(rho: f64, lambda: f64) -> Self {
        let ascent = AggregationConfig::new(Disam { lambda }.into()).with_of(Aggregated::Ascent);
        Self::sam(rho).with_aggregation(Some(ascent))
    }

    /// Friendly sharpness-aware minimisation: SAM whose ascent goes along
    /// $\bar g - \sigma\\, m$, with $m$ the running mean of $\bar g$. See [`FriendlyAscent`].
    ///
    /// Li, Zhou, He, Cheng and Huang, CVPR 2024, arXiv 2403.12350; usual are
    /// $\sigma = 1$ and $\lambda = 0.9$.
    pub fn friendly_sam(rho: f64, sigma: f64, lambda: f64) -> Self {
        Self::sam(rho).with_friendly(Some(FriendlyAscent { sigma, lambda }))
    }

    /// SAM in every $k$-th step, and between them
    /// $G = \bar g + \alpha\\, \lVert \bar g \rVert\\, \hat v$, with $\hat v$ the direction of the part
    /// of SAM's gradient that was orthogonal to $\bar g$. See [`reuse_weight`](Self::reuse_weight).
    ///
    /// Liu, Mai, Chen, Hsieh and You, "Towards Efficient and Scalable Sharpness-Aware
    /// Minimization", CVPR 2022, arXiv 2203.02714; usual are $k$ from 5 to 10 and $\alpha = 0.7$.
    pub fn look_sam(rho: f64, interval: u64, alpha: f64) -> Self {
        Self::sam(rho)
            .with_interval(interval)
            .with_reuse_weight(Some(alpha))
    }

    /// Projecting conflicting gradients: see [`PcGrad`]. One pass.
    pub fn pcgrad(seed: u64) -> Self {
        Self::aggregated(PcGrad { seed })
    }

    /// The shortest vector of the gradients' convex hull: see [`Mgda`]. One pass.
    pub fn mgda() -> Self {
        Self::aggregated(Mgda::Exact)
    }

    /// The mean of the gradients projected on their dual cone: see [`UpGrad`]. One pass.
    pub fn upgrad() -> Self {
        Self::aggregated(UpGrad::default())
    }

    /// Conflict-averse gradient descent: see [`CaGrad`]. One pass.
    pub fn cagrad(c: f64) -> Self {
        Self::aggregated(CaGrad::new(c))
    }

    /// Weights that grow with the domains' losses: see [`GroupDro`]. One pass.
    pub fn group_dro(eta: f64) -> Self {
        Self::aggregated(GroupDro { eta })
    }

    /// Mean and variance of the losses: see [`VRex`], whose `anneal_steps` are 500. One pass.
    pub fn vrex(lambda: f64) -> Self {
        Self::aggregated(VRex {
            lambda,
            ..VRex::default()
        })
    }

    /// The mean gradient where its signs agree: see [`AndMask`]. One pass.
    pub fn and_mask(tau: f64) -> Self {
        Self::aggregated(AndMask { tau })
    }

    fn aggregated(method: impl Into<Aggregation>) -> Self {
        Self::erm().with_aggregation(Some(AggregationConfig::new(method.into())))
    }

    /// Gives a group of parameters $\rho$ and $\gamma$ of its own; 0 leaves it unperturbed.
    ///
    /// Groups are burn's own. Of several that match a parameter, the last is taken.
    ///
    /// ```
    /// use burn::module::ParamGroup;
    /// use roga::optim::RobustGradientAlignmentConfig;
    ///
    /// // Normalisation layers and biases stay where they are.
    /// let config = RobustGradientAlignmentConfig::new().with_group(
    ///     ParamGroup::from_any_predicates(vec!["norm", "bias"]),
    ///     0.0,
    ///     0.0,
    /// );
    /// ```
    pub fn with_group(mut self, group: ParamGroup, rho: f64, gamma: f64) -> Self {
        self.groups.push(PerturbationGroup { group, rho, gamma });
        self
    }

    /// The wrapper round a base optimizer: any of burn's, or any group of them.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], with the field, the rule and the value, for settings that cannot work.
    pub fn init(&self, base: impl Into<ModuleOptimizer>) -> Result<RobustGradientAlignment> {
        Ok(RobustGradientAlignment::new(
            self.init_gradient()?,
            base.into(),
        ))
    }

    /// Everything before the base optimizer's step.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init).
    pub fn init_gradient(&self) -> Result<RobustGradient> {
        self.check()?;
        Ok(RobustGradient::new(self.clone()))
    }

    /// Whether a step of this plan takes clean gradients again.
    pub(super) fn takes_again(&self, plan: &Plan, perturbation: &Perturbation) -> bool {
        let own = |point: &Point| matches!(point.ascent, PointAscent::Domain(_));
        let kept = self.report || !perturbation.gamma.is_zero();
        self.recompute && kept && plan.points.iter().any(own)
    }

    /// Whether any parameter is perturbed in any step.
    pub(super) fn perturbs(&self) -> bool {
        let groups = self
            .groups
            .iter()
            .flat_map(|group| [group.rho, group.gamma]);
        let mut lengths = groups.chain([self.rho, self.gamma]);
        lengths.any(|length| length != 0.0)
    }

    /// The settings that plain steps do not depend on, where the sum of the weights of the clean and of
    /// the perturbed gradient is the same.
    pub(super) const UNFELT_IN_PLAIN_STEPS: &[&str] = &[
        "rho",
        "gamma",
        "rho_schedule",
        "gamma_schedule",
        "adaptive",
        "groups",
        "warmup_steps",
        "interval",
        "evaluation",
        "ascent",
        "draw",
        "clean_weight",
        "perturbed_weight",
        "seed",
        "reuse_weight",
    ];

    /// Whether the first steps of both, one at least, are plain, along the same multiple of the mean
    /// gradient.
    pub(super) fn goes_plainly_as(&self, other: &Self, steps: u64) -> bool {
        let plain = |of: &Self| {
            let perturbs = of.perturbs() && of.perturbed_weight != 0.0;
            of.aggregation.is_none() && (!perturbs || of.warmup_steps >= steps)
        };
        let multiple = |of: &Self| of.clean_weight + of.perturbed_weight;
        steps > 0 && plain(self) && plain(other) && multiple(self) == multiple(other)
    }

    /// The factors of $\rho$ and $\gamma$ at a step; 0 in a plain one, which refuses what cannot work
    /// as well.
    pub(super) fn factors(&self, step: u64, lr: Option<f64>) -> Result<[f64; 2]> {
        let since = step.saturating_sub(self.warmup_steps);
        let perturbed = self.is_perturbed(step);
        let factor = |schedule: Schedule| -> Result<f64> {
            let factor = schedule.factor(since, lr)?;
            Ok(if perturbed { factor } else { 0.0 })
        };
        Ok([factor(self.rho_schedule)?, factor(self.gamma_schedule)?])
    }

    /// Whether it is the turn of the perturbed phase.
    pub(super) fn is_perturbed(&self, step: u64) -> bool {
        let since = step.checked_sub(self.warmup_steps);
        since.is_some_and(|since| since.is_multiple_of(self.interval))
    }

    /// $p_i$, adding up to 1.
    pub(crate) fn weights_of(&self, domains: usize) -> Result<Vec<f64>> {
        // What is planned is a table of K rows and columns.
        if domains > MAX_DOMAINS {
            return Err(Error::Domains {
                rule: "be at most 4096",
                found: format!("there are {domains}"),
            });
        }
        match &self.domain_weights {
            None => Ok(vec![1.0 / domains as f64; domains]),
            Some(weights) if weights.len() == domains => {
                let sum: f64 = weights.iter().sum();
                Ok(weights.iter().map(|weight| weight / sum).collect())
            }
            Some(weights) => Err(Error::Setting {
                field: "domain_weights",
                rule: "be one for each domain",
                value: format!("{} for {domains} domains", weights.len()),
            }),
        }
    }

    /// Every setting that decides what training does, by name.
    pub(super) fn decisive(&self) -> Vec<(&'static str, String)> {
        macro_rules! fields {
            ($($field:ident),*) => {{
                let Self { $($field,)* max_skipped_steps: _, recompute: _, report: _ } = self;
                vec![$((stringify!($field), format!("{:?}", $field))),*]
            }};
        }
        fields!(
            rho,
            gamma,
            rho_schedule,
            gamma_schedule,
            adaptive,
            groups,
            warmup_steps,
            interval,
            evaluation,
            ascent,
            draw,
            clean_weight,
            perturbed_weight,
            domain_weights,
            seed,
            noise_seed,
            gap_weight,
            friendly,
            reuse_weight,
            aggregation,
            alignment
        )
    }

    pub(super) fn check(&self) -> Result<()> {
        for (field, value) in [
            ("rho", self.rho),
            ("gamma", self.gamma),
            ("clean_weight", self.clean_weight),
            ("perturbed_weight", self.perturbed_weight),
        ]
        .into_iter()
        .chain(self.groups.iter().flat_map(|group| {
            let PerturbationGroup { rho, gamma, .. } = *group;
            [("groups.rho", rho), ("groups.gamma", gamma)]
        }))
        .chain(self.gap_weight.map(|gap| ("gap_weight", gap)))
        .chain(self.reuse_weight.map(|reuse| ("reuse_weight", reuse)))
        .chain(match self.adaptive {
            Adaptive::Weights { eta } => Some(("adaptive.eta", eta)),
            Adaptive::None | Adaptive::All => None,
        }) {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Setting {
                    field,
                    rule: "be finite and at least 0",
                    value: value.to_string(),
                });
            }
        }
        if self.clean_weight == 0.0 && self.perturbed_weight == 0.0 {
            return Err(Error::Setting {
                field: "perturbed_weight",
                rule: "be above 0 where clean_weight is 0",
                value: "0".into(),
            });
        }
        for (asks, rule) in [
            (
                self.gap_weight.unwrap_or(0.0) != 0.0,
                "be above 0 where there is a gap_weight",
            ),
            (
                self.reuse_weight.unwrap_or(0.0) != 0.0,
                "be above 0 where there is a reuse_weight",
            ),
            (
                self.friendly.is_some(),
                "be above 0 where the ascent is friendly",
            ),
        ] {
            if asks && self.perturbed_weight == 0.0 {
                return Err(Error::Setting {
                    field: "perturbed_weight",
                    rule,
                    value: "0".into(),
                });
            }
        }
        if let Some(friendly) = &self.friendly {
            friendly.check(self)?;
        }
        if self.recompute && (self.alignment.is_some() || self.aggregation.is_some()) {
            return Err(Error::Setting {
                field: "recompute",
                rule: "be off where an alignment loss or an aggregation needs the gradients together",
                value: "true".into(),
            });
        }
        self.rho_schedule.check("rho_schedule")?;
        self.gamma_schedule.check("gamma_schedule")?;
        if let Some(alignment) = &self.alignment {
            alignment.check()?;
        }
        if let Some(aggregation) = &self.aggregation {
            aggregation.check(self)?;
        }
        for (field, value) in [
            ("interval", Some(self.interval)),
            ("max_skipped_steps", self.max_skipped_steps),
        ] {
            if value == Some(0) {
                return Err(Error::Setting {
                    field,
                    rule: "be at least 1",
                    value: "0".into(),
                });
            }
        }
        if let Some(weights) = &self.domain_weights {
            let valid = weights.iter().all(|p| p.is_finite() && *p >= 0.0);
            let sum: f64 = weights.iter().sum();
            if !(valid && sum.is_finite() && sum > 0.0) {
                return Err(Error::Setting {
                    field: "domain_weights",
                    rule: "be finite and at least 0, with a finite sum above 0",
                    value: format!("{weights:?}"),
                });
            }
        }
        Ok(())
    }
}
