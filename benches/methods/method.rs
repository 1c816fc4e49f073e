//! The methods, and a training by one of them.

use std::hint::black_box;

use burn::{
    module::Module,
    optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer},
};
use roga::{
    Result,
    alignment::AlignmentConfig,
    detector::backbone::Classifier,
    domain::{Concat, DomainBatches},
    optim::{
        Evaluation, RobustGradientAlignment, RobustGradientAlignmentConfig as Config, StepReport,
    },
};

use super::net::{Batch, joined_loss, loss};

/// Small enough that the weights stay where they are.
const RATE: f64 = 1e-6;

/// How a step is made.
#[derive(Clone, Debug)]
pub enum How {
    /// Without the crate, as a loop of burn's own has it: one forward and backward for each domain.
    Loop,
    /// Without the crate: one forward and backward over all pictures, which are put together in every step.
    JoinedLoop,
    Separate(Config),
    Joined(Config),
}

#[derive(Clone, Debug)]
pub struct Method {
    pub name: &'static str,
    pub how: How,
    /// The number of domains that it needs.
    pub least: usize,
    /// Every how many steps it is perturbed.
    pub interval: usize,
}

impl Method {
    fn new(name: &'static str, how: How) -> Self {
        Self {
            name,
            how,
            least: 1,
            interval: 1,
        }
    }

    /// What the others are held against.
    pub fn plain() -> Self {
        Self::new("plain loop", How::Loop)
    }

    pub fn all() -> Vec<Self> {
        let separate = |name, config| Self::new(name, How::Separate(config));
        let joined = |name, config| Self::new(name, How::Joined(config));
        let roga = |evaluation| Config::new().with_evaluation(evaluation);
        let aligned = |config| Config::erm().with_alignment(Some(config));
        let sampled = || roga(Evaluation::Sampled);
        vec![
            Self::new("plain loop, joined", How::JoinedLoop),
            separate("ERM", Config::erm()),
            separate("ERM, report off", Config::erm().with_report(false)),
            joined("ERM, joined", Config::erm()),
            joined("ERM, joined, report off", Config::erm().with_report(false)),
            separate("SAM", Config::sam(0.05)),
            joined("SAM, joined", Config::sam(0.05)),
            joined(
                "SAM, joined, report off",
                Config::sam(0.05).with_report(false),
            ),
            separate("SAGM", Config::sagm(0.05, 5e-4)),
            joined("SAGM, joined", Config::sagm(0.05, 5e-4)),
            joined(
                "SAGM, joined, report off",
                Config::sagm(0.05, 5e-4).with_report(false),
            ),
            separate("RoGA, sampled", sampled()),
            separate("RoGA, sampled, report off", sampled().with_report(false)),
            Self {
                interval: 5,
                ..separate("RoGA, sampled, every 5th step", sampled().with_interval(5))
            },
            separate("RoGA, own", roga(Evaluation::Own)),
            separate("RoGA, consensus", roga(Evaluation::Consensus)),
            Self {
                least: 2,
                ..separate("RoGA, others", roga(Evaluation::Others))
            },
            separate("RoGA, all", roga(Evaluation::All)),
            joined("RoGA, all, joined", roga(Evaluation::All)),
            separate("PCGrad", Config::pcgrad(0)),
            separate("alignment: cosine", aligned(AlignmentConfig::cosine(0.1))),
            separate(
                "alignment: inner product",
                aligned(AlignmentConfig::inner_product(0.1)),
            ),
            separate(
                "alignment: variance",
                aligned(AlignmentConfig::variance(0.1)),
            ),
            separate(
                "alignment: norm",
                aligned(AlignmentConfig::gradient_norm(0.1)),
            ),
        ]
    }
}

enum Optimizer {
    Loop(ModuleOptimizer),
    JoinedLoop(ModuleOptimizer),
    Separate(RobustGradientAlignment),
    Joined(RobustGradientAlignment),
}

/// A net that is trained by a method, always on the same mini-batches.
pub struct Training<'a, N> {
    net: N,
    domains: &'a DomainBatches<Batch>,
    optimizer: Optimizer,
}

impl<'a, N: Module + Classifier> Training<'a, N> {
    pub fn new(net: N, domains: &'a DomainBatches<Batch>, how: &How) -> Result<Self> {
        let base = AdamWConfig::new().init();
        let optimizer = match how {
            How::Loop => Optimizer::Loop(base),
            How::JoinedLoop => Optimizer::JoinedLoop(base),
            How::Separate(config) => Optimizer::Separate(config.init(base)?),
            How::Joined(config) => Optimizer::Joined(config.init(base)?),
        };
        Ok(Self {
            net,
            domains,
            optimizer,
        })
    }

    /// A step, and how many passes over all pictures it made.
    pub fn step(&mut self) -> Result<f64> {
        let Self { net, domains, .. } = self;
        let batches = || domains.iter().map(|(_, batch)| batch);
        let report = match &mut self.optimizer {
            Optimizer::Loop(base) => {
                *net = plain_step(base, net, &batches().collect::<Vec<_>>());
                return Ok(1.0);
            }
            Optimizer::JoinedLoop(base) => {
                let joined = Batch::concat(&batches().collect::<Vec<_>>());
                *net = plain_step(base, net, &[&joined]);
                return Ok(1.0);
            }
            Optimizer::Separate(optim) => optim.step(RATE, net, domains, loss)?,
            Optimizer::Joined(optim) => optim.step_joined(RATE, net, domains, joined_loss)?,
        };
        assert!(!report.is_skipped(), "a step was skipped: {report:?}");
        Ok(passes(&report))
    }
}

/// Empirical risk minimisation as burn's users write it.
fn plain_step<N: Module + Classifier>(
    base: &mut ModuleOptimizer,
    net: &N,
    batches: &[&Batch],
) -> N {
    let mut gradients = GradientsAccumulator::new();
    for batch in batches {
        let loss = loss(net, batch) / batches.len() as f64;
        gradients.accumulate(net, GradientsParams::from_grads(loss.backward(), net));
        // A user writes it down.
        black_box(loss.inner().into_scalar::<f32>());
    }
    base.step(RATE, net.clone(), gradients.grads())
}

fn passes(report: &StepReport) -> f64 {
    let passes = &report.passes;
    let batches = passes.clean + passes.perturbed + passes.alignment;
    batches as f64 / report.domains.len() as f64
}
