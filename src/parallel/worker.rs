use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};

use super::{
    ToDevice, Traffic,
    traffic::{gradient_bytes, model_bytes},
};
use crate::{
    Result,
    gradient::{WeightedSum, accumulate, combine, finite_probe, scale, times, widen},
    optim::{
        DomainLoss, RobustGradient,
        clean::Clean,
        passes::{Noise, PassSum, Passes, Separate},
        point::{Sums, Task},
        readback::Readback,
    },
    perturbation::{Adaptive, RunningStatistics, adaptive_squared_norm, ascent_scale, displaced},
};

/// What all passes of a step share.
pub(super) struct Call<'a, F> {
    pub names: &'a [&'a Arc<str>],
    pub loss: &'a F,
    pub noise: Noise,
}

impl<F> Clone for Call<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Call<'_, F> {}

/// A mini-batch on a device, or a part of one.
pub(super) struct Held<B> {
    /// The part's share of the mini-batch's rows.
    pub share: f64,
    pub batch: B,
}

/// A device's part in a step.
pub(super) struct Worker<M, B> {
    pub device: Device,
    /// Whether it is the first, where gradients meet.
    pub is_first: bool,
    /// By domain.
    pub held: BTreeMap<usize, Held<B>>,
    /// What its points need of mini-batches that others hold, by domain.
    pub lent: BTreeMap<usize, B>,
    /// The model at $\theta$.
    pub at_theta: Option<M>,
    /// $g_i$ and $\lVert T g_i \rVert$ of what it holds, for its points, by domain.
    pub gradients: BTreeMap<usize, (GradientsParams, Option<Tensor<1>>)>,
}

/// What the clean passes are to yield.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub weights: &'a [f64],
    pub adaptive: Adaptive,
    /// The gradients one by one. Else their weighted sum.
    pub one_by_one: bool,
    /// What is to be known of every gradient, where it is whole.
    pub numbers: Option<Number>,
    /// $\sum_i p_i\, g_i / \lVert T g_i \rVert$.
    pub consensus: bool,
    /// Whether the device's own points need its gradients.
    pub keeps: bool,
}

/// A number of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// $\lVert g_i \rVert^2$, by which ascents go.
    Square,
    /// One that is finite where the gradient is.
    Check,
}

/// What the clean passes on a device have yielded.
pub(super) struct CleanPart {
    /// Of the held parts, times their shares, by domain.
    pub losses: Vec<(usize, Tensor<1>)>,
    /// What was asked for of every gradient, in the order of the domains.
    pub numbers: Vec<Option<Tensor<1>>>,
    pub gradients: Vec<(usize, GradientsParams)>,
    pub mean: GradientsParams,
    pub consensus: GradientsParams,
    pub statistics: RunningStatistics,
    pub calls: usize,
    pub bytes: u64,
}

/// What the passes at a device's own points have yielded.
pub(super) struct PointsPart {
    pub sums: Sums,
    pub readback: Readback,
    pub calls: usize,
    pub bytes: u64,
}

/// What a device's own points take from the first device.
pub(super) struct Given<'a> {
    pub task: Task<'a>,
    /// $\bar g$, where it is needed.
    pub mean: WeightedSum,
    /// The directions of finite differences, numbered behind the domains.
    pub directions: Vec<GradientsParams>,
    pub domains: usize,
}

impl<M: Module, B: ToDevice> Worker<M, B> {
    /// Holds nothing yet.
    pub fn new(device: Device, is_first: bool) -> Self {
        Self {
            device,
            is_first,
            held: BTreeMap::new(),
            lent: BTreeMap::new(),
            at_theta: None,
            gradients: BTreeMap::new(),
        }
    }

    /// A copy of a model on the device.
    pub fn replica(&self, model: &M, traffic: &mut Traffic) -> M {
        if !self.is_first {
            traffic.sent += model_bytes(model);
        }
        // Uses of a shared parameter come apart where they are moved, and `displaced` ties them.
        displaced(&model.clone().fork(&self.device), &[])
    }

    /// A copy of a gradient on the device.
    pub fn gradient(
        &self,
        model: &M,
        gradient: &GradientsParams,
        traffic: &mut Traffic,
    ) -> GradientsParams {
        if !self.is_first {
            traffic.sent += gradient_bytes(model, gradient);
        }
        combine(model, &[(1.0, gradient)]).to_device(&self.device, model)
    }

    /// A copy of a batch on the device.
    pub fn batch(&self, batch: &B, traffic: &mut Traffic) -> B {
        if !self.is_first {
            traffic.batches += batch.bytes();
        }
        batch.to_device(&self.device)
    }

    /// A gradient on the first device, and how many bytes that has moved.
    pub fn to_first(
        &self,
        model: &M,
        gradient: GradientsParams,
        first: &Device,
    ) -> (GradientsParams, u64) {
        let bytes = match self.is_first {
            true => 0,
            false => gradient_bytes(model, &gradient),
        };
        (gradient.to_device(first, model), bytes)
    }

    fn separate<'s, F, L>(&'s self, call: Call<'s, F>) -> Separate<'s, B, &'s F, L> {
        let held = self.held.iter().map(|(domain, held)| (domain, &held.batch));
        let batches = held.chain(&self.lent);
        let named = batches.filter_map(|(domain, batch)| {
            let name = call.names.get(*domain)?;
            Some((*domain, (&***name, batch)))
        });
        Separate::of(named, call.loss, call.noise)
    }

    /// The passes at $\theta$ over what it holds.
    pub fn clean<F, L>(
        &mut self,
        model: M,
        call: Call<'_, F>,
        ask: Ask<'_>,
        first: &Device,
    ) -> Result<CleanPart>
    where
        F: Fn(&M, &B) -> L,
        L: DomainLoss<M>,
    {
        let mut passes = self.separate(call);
        let (mut losses, mut numbers, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
        let (mut mean, mut consensus) = (GradientsParams::new(), GradientsParams::new());
        let mut kept = BTreeMap::new();
        for (&domain, held) in &self.held {
            let (loss, gradient) = passes.one(&model, domain)?;
            let weight = ask.weights.get(domain).copied().unwrap_or(0.0);
            losses.push((domain, scale(widen(loss), held.share)));
            let square = (ask.consensus || ask.keeps)
                .then(|| adaptive_squared_norm(&model, &gradient, ask.adaptive))
                .flatten();
            numbers.extend(ask.numbers.map(|number| match number {
                Number::Square => square.clone(),
                Number::Check => finite_probe(&model, &gradient),
            }));
            let norm = square.map(Tensor::sqrt);
            if let (true, Some(norm)) = (ask.consensus, norm.clone()) {
                let direction = combine(&model, &[(1.0, &gradient)]);
                let direction = times(&model, direction, ascent_scale(norm, 1.0));
                accumulate(&model, &mut consensus, weight, direction);
            }
            if ask.one_by_one {
                gradients.push((domain, combine(&model, &[(held.share, &gradient)])));
            } else if weight > 0.0 {
                let copy = combine(&model, &[(1.0, &gradient)]);
                accumulate(&model, &mut mean, weight * held.share, copy);
            }
            if ask.keeps {
                kept.insert(domain, (gradient, norm));
            }
        }
        let calls = Passes::<M>::calls(&passes);
        let mut bytes = 0;
        let mut to_first = |gradient| {
            let (gradient, moved) = self.to_first(&model, gradient, first);
            bytes += moved;
            gradient
        };
        let gradients = gradients.into_iter();
        let gradients = gradients
            .map(|(domain, it)| (domain, to_first(it)))
            .collect();
        let (mean, consensus) = (to_first(mean), to_first(consensus));
        let statistics = RunningStatistics::of(&model);
        self.gradients = kept;
        self.at_theta = Some(model);
        Ok(CleanPart {
            losses,
            numbers,
            gradients,
            mean,
            consensus,
            statistics,
            calls,
            bytes,
        })
    }

    /// The passes at a point over what it holds, with the point's terms: their losses times the shares, and,
    /// where the point has `several` terms, of each what is finite where its gradient is.
    pub fn sum<F, L>(
        &self,
        model: &M,
        (terms, several): (&[(usize, f64)], bool),
        call: Call<'_, F>,
        first: &Device,
    ) -> Result<(PassSum, usize, u64)>
    where
        F: Fn(&M, &B) -> L,
        L: DomainLoss<M>,
    {
        let share = |domain| self.held.get(domain).map_or(1.0, |held| held.share);
        let of_parts: Vec<(usize, f64)> = terms
            .iter()
            .map(|(domain, coefficient)| (*domain, coefficient * share(domain)))
            .collect();
        let mut passes = self.separate(call);
        let mut sum = Passes::<M>::sum(&mut passes, model, &of_parts)?;
        for ((domain, _), loss) in terms.iter().zip(&mut sum.losses) {
            *loss = scale(widen(loss.clone()), share(domain));
        }
        if several && sum.probes.is_empty() {
            // Its own term alone, of several.
            sum.probes.push(finite_probe(model, &sum.sum.sum));
        }
        let (gradient, bytes) = self.to_first(model, sum.sum.sum, first);
        sum.sum.sum = gradient;
        Ok((sum, Passes::<M>::calls(&passes), bytes))
    }

    /// The passes at its own points.
    pub fn at_points<F, L>(
        &mut self,
        given: Given<'_>,
        gradient: &RobustGradient,
        call: Call<'_, F>,
        first: &Device,
    ) -> Result<Option<PointsPart>>
    where
        F: Fn(&M, &B) -> L,
        L: DomainLoss<M>,
    {
        let mut kept = std::mem::take(&mut self.gradients);
        let Some(model) = &self.at_theta else {
            return Ok(None);
        };
        let of_domain = |domain| kept.remove(&domain).unwrap_or_default();
        let (gradients, norms): (Vec<_>, Vec<_>) = (0..given.domains).map(of_domain).unzip();
        let mut clean = Clean::of_mean(given.mean, None);
        clean.norms = norms;
        clean.gradients = gradients;
        clean.gradients.extend(given.directions);
        let mut readback = Readback::default();
        let mut passes = self.separate(call);
        let at = given.task.at(model);
        let mut sums = Sums::new();
        gradient.passes_at_points(&mut passes, &mut readback, &at, &mut clean, &mut sums)?;
        let calls = Passes::<M>::calls(&passes);
        let mut bytes = 0;
        let sent = [&mut sums.perturbed.sum, &mut sums.alignment.sum];
        for sum in sent.into_iter().chain(&mut sums.kept) {
            let (moved, size) = self.to_first(model, std::mem::take(sum), first);
            *sum = moved;
            bytes += size;
        }
        Ok(Some(PointsPart {
            sums,
            readback,
            calls,
            bytes,
        }))
    }
}
