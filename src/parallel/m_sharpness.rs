use burn::{module::Module, optim::GradientsParams};
use serde::Serialize;

use super::{ParallelGradient, ToDevice, Traffic, threads::at_once, worker::Worker};
use crate::{
    Result,
    domain::{DomainBatches, MicroBatches},
    gradient::{accumulate, like_parameters},
    optim::{DomainLoss, RobustGradient, StepReport},
    perturbation::RunningStatistics,
};

/// What every device saw in a step of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MSharpnessReport {
    /// The devices' reports, in their order.
    pub steps: Vec<StepReport>,
    /// What was moved between them.
    pub traffic: Traffic,
}

impl MSharpnessReport {
    /// Whether the step was skipped: a pass on one of the devices was not finite.
    pub fn is_skipped(&self) -> bool {
        self.steps.iter().any(StepReport::is_skipped)
    }
}

impl ParallelGradient {
    /// Data-parallel with ascents of each device's own, *m-sharpness*: every device computes
    /// $G_w$ of its own parts of the mini-batches, and they meet once:
    ///
    /// $$G = \sum_w \alpha_w\\, G_w, \qquad \alpha_w = \sum_i p_i\\, \frac{n_{i,w}}{n_i},$$
    ///
    /// with the rows $n_{i,w}$ that device $w$ has of domain $i$: the mean where all have as many.
    ///
    /// It is not the step of the whole mini-batches: each device climbs its own loss, which is the
    /// sharpness over groups of $m$ examples that Foret et al. ("Sharpness-Aware Minimization for
    /// Efficiently Improving Generalization", ICLR 2021, arXiv 2010.01412) found to generalise better
    /// the smaller $m$ is; Andriushchenko and Flammarion ("Towards Understanding Sharpness-Aware
    /// Minimization", ICML 2022, arXiv 2206.06232) look at why. The traffic is that of plain
    /// data-parallel training whatever the evaluation.
    ///
    /// A pass that is not finite on any device skips the step on all. Running statistics are the mean
    /// over the devices; of what settings keep from step to step, the first device's stays.
    ///
    /// # Errors
    ///
    /// As [`data_parallel`](Self::data_parallel).
    pub fn m_sharpness<M, B, L>(
        &self,
        model: &M,
        domains: &DomainBatches<MicroBatches<B>>,
        loss: impl Fn(&M, &B) -> L + Sync,
    ) -> Result<(GradientsParams, MSharpnessReport)>
    where
        M: Module,
        B: ToDevice,
        L: DomainLoss<M>,
    {
        self.check_parts(domains)?;
        let first = self.first(model)?;
        let weights = self.gradient.config().weights_of(domains.len())?;
        let step = self.step_of(domains);
        let mut traffic = Traffic::default();
        let mut jobs = Vec::with_capacity(self.devices().len());
        for (place, device) in self.devices().iter().enumerate() {
            let worker = Worker::new(device.clone(), place == 0);
            let parts = domains.iter().zip(&weights);
            let parts = parts.filter_map(|((name, parts), weight)| {
                let (share, part) = parts.iter().nth(place)?;
                let part = worker.batch(part, &mut traffic);
                Some((weight * share, (name.clone(), part)))
            });
            let (shares, parts): (Vec<f64>, Vec<_>) = parts.unzip();
            let replica = worker.replica(model, &mut traffic);
            let own = self.gradient.split();
            let share: f64 = shares.iter().sum();
            jobs.push((worker, replica, own, DomainBatches::new(parts)?, share));
        }
        let parts = at_once(jobs, |(worker, replica, own, batches, share)| {
            let found = own.gradients_of(step, &replica, &batches, &loss)?;
            let (gradients, report) = found;
            let (gradients, bytes) = worker.to_first(&replica, gradients, &first);
            let statistics = RunningStatistics::of(&replica);
            Ok((share, gradients, report, statistics, own, bytes))
        })?;
        traffic.meetings = 1;
        let mut sum = GradientsParams::new();
        let (mut steps, mut statistics, mut owns) = (Vec::new(), Vec::new(), Vec::new());
        for (share, gradients, report, of_part, own, bytes) in parts {
            traffic.received += bytes;
            accumulate(model, &mut sum, share, gradients);
            steps.push(report);
            statistics.push(of_part);
            owns.push(own);
        }
        let report = MSharpnessReport { steps, traffic };
        self.settle(model, sum, report, &statistics, &owns)
    }

    /// Counts the step, and keeps what it has left if it counts.
    fn settle<M: Module>(
        &self,
        model: &M,
        sum: GradientsParams,
        report: MSharpnessReport,
        statistics: &[RunningStatistics],
        owns: &[RobustGradient],
    ) -> Result<(GradientsParams, MSharpnessReport)> {
        let skipped = report.steps.iter().find(|step| step.is_skipped());
        if let Some(step) = skipped.or(report.steps.first()) {
            self.gradient.count(step)?;
        }
        if report.is_skipped() {
            return Ok((GradientsParams::new(), report));
        }
        if let Some(first) = owns.first() {
            self.gradient.keep_of(first);
        }
        RunningStatistics::mean(model, statistics).write_to(model);
        Ok((like_parameters(model, sum), report))
    }
}
