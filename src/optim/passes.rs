use std::marker::PhantomData;

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use rand::Rng;

use super::{DomainLoss, JoinedLoss, RobustGradientAlignmentConfig};
use crate::{
    Error, Result,
    domain::{Concat, DomainBatches, JoinedBatch, shuffle::random},
    gradient::{WeightedSum, finite_probe, in_order},
};

/// Forward and backward over the mini-batches of a step, at any point.
pub(crate) trait Passes<M: Module> {
    /// The loss and the gradient of one domain.
    fn one(&mut self, model: &M, domain: usize) -> Result<(Tensor<1>, GradientsParams)>;

    /// The losses of several domains, and the sum of their gradients with these coefficients.
    fn sum(&mut self, model: &M, terms: &[(usize, f64)]) -> Result<PassSum>;

    /// Whether a sum is one forward and backward.
    fn joins(&self) -> bool;

    /// How many times the closure was called.
    fn calls(&self) -> usize;
}

/// What the passes at one point yield.
pub(crate) struct PassSum {
    /// Of every term, shape `[1]`.
    pub losses: Vec<Tensor<1>>,
    /// What is finite where a term's gradient is, one for each. None where the gradient is the sum itself: of a
    /// single term, and after a joined pass.
    pub probes: Vec<Option<Tensor<1>>>,
    pub sum: WeightedSum,
}

/// Random numbers that are the same in all passes over a mini-batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    seed: Option<u64>,
    step: u64,
}

impl Noise {
    pub fn new(config: &RobustGradientAlignmentConfig, step: u64) -> Self {
        Self {
            seed: config.noise_seed,
            step,
        }
    }

    fn seed<M: Module>(&self, model: &M, domain: usize) {
        if let Some(seed) = self.seed {
            let seed = random([seed, self.step, domain as u64, 0]).next_u64();
            model.devices().iter().for_each(|device| device.seed(seed));
        }
    }
}

/// Every mini-batch by itself.
pub(crate) struct Separate<'a, B, F, L> {
    /// With their numbers.
    domains: Vec<(usize, (&'a str, &'a B))>,
    loss: F,
    noise: Noise,
    calls: usize,
    returns: PhantomData<L>,
}

impl<'a, B, F, L> Separate<'a, B, F, L> {
    pub fn new(domains: &'a DomainBatches<B>, loss: F, noise: Noise) -> Self {
        let domains = domains.iter().map(|(name, batch)| (&**name, batch));
        Self::of(domains.enumerate(), loss, noise)
    }

    /// Of some of the domains, with their numbers and names.
    pub fn of(
        domains: impl IntoIterator<Item = (usize, (&'a str, &'a B))>,
        loss: F,
        noise: Noise,
    ) -> Self {
        Self {
            domains: domains.into_iter().collect(),
            loss,
            noise,
            calls: 0,
            returns: PhantomData,
        }
    }
}

impl<M, B, L, F> Passes<M> for Separate<'_, B, F, L>
where
    M: Module,
    L: DomainLoss<M>,
    F: FnMut(&M, &B) -> L,
{
    fn one(&mut self, model: &M, domain: usize) -> Result<(Tensor<1>, GradientsParams)> {
        let mut domains = self.domains.iter();
        let Some((_, (name, batch))) = domains.find(|(number, _)| *number == domain) else {
            return Err(Error::Domains {
                rule: "be those of the mini-batches",
                found: format!("there is none of number {domain}"),
            });
        };
        self.noise.seed(model, domain);
        self.calls += 1;
        let (loss, gradient) = (self.loss)(model, batch).differentiate(model, name)?;
        Ok((loss, in_order(model, gradient)))
    }

    fn sum(&mut self, model: &M, terms: &[(usize, f64)]) -> Result<PassSum> {
        sum_one_by_one(self, model, terms)
    }

    fn joins(&self) -> bool {
        false
    }

    fn calls(&self) -> usize {
        self.calls
    }
}

/// A sum, by a pass for each of its terms.
fn sum_one_by_one<M: Module>(
    passes: &mut dyn Passes<M>,
    model: &M,
    terms: &[(usize, f64)],
) -> Result<PassSum> {
    let mut of_terms = PassSum {
        losses: Vec::with_capacity(terms.len()),
        probes: Vec::with_capacity(terms.len()),
        sum: WeightedSum::new(),
    };
    for &(domain, coefficient) in terms {
        let (loss, gradient) = passes.one(model, domain)?;
        of_terms.losses.push(loss);
        if terms.len() > 1 {
            of_terms.probes.push(finite_probe(model, &gradient));
        }
        of_terms.sum.add(model, coefficient, gradient);
    }
    Ok(of_terms)
}

/// The mini-batches of a point as one.
pub(crate) struct Joined<'a, B, F, L> {
    domains: Vec<(&'a str, &'a B)>,
    loss: F,
    noise: Noise,
    calls: usize,
    /// The last batches that were put together, which are mostly the next as well.
    last: Option<(Vec<usize>, JoinedBatch<B>)>,
    returns: PhantomData<L>,
}

impl<'a, B: Concat, F, L> Joined<'a, B, F, L> {
    pub fn new(domains: &'a DomainBatches<B>, loss: F, noise: Noise) -> Self {
        let domains = domains.iter().map(|(name, batch)| (&**name, batch));
        Self {
            domains: domains.collect(),
            loss,
            noise,
            calls: 0,
            last: None,
            returns: PhantomData,
        }
    }

    /// The domains' losses, shape `[terms]`, and the gradient of their sum with the coefficients.
    fn pass<M>(&mut self, model: &M, terms: &[(usize, f64)]) -> Result<(Tensor<1>, GradientsParams)>
    where
        M: Module,
        L: JoinedLoss,
        F: FnMut(&M, &JoinedBatch<B>) -> L,
    {
        let domains: Vec<usize> = terms.iter().map(|(domain, _)| *domain).collect();
        let chosen = domains.iter().filter_map(|i| self.domains.get(*i).copied());
        let (names, batches): (Vec<&str>, Vec<&B>) = chosen.unzip();
        let names = names.join("`, `");
        let batch = match self.last.take() {
            Some((last, batch)) if last == domains => batch,
            _ => JoinedBatch::new(&batches),
        };
        self.noise
            .seed(model, domains.first().copied().unwrap_or(0));
        self.calls += 1;
        let losses = (self.loss)(model, &batch).losses(terms.len(), &names);
        self.last = Some((domains, batch));
        differentiate_sum(model, losses?, terms, &names)
    }
}

/// The domains' losses, and the gradient of their sum with the coefficients.
fn differentiate_sum<M: Module>(
    model: &M,
    losses: Tensor<1>,
    terms: &[(usize, f64)],
    names: &str,
) -> Result<(Tensor<1>, GradientsParams)> {
    let coefficients: Vec<f64> = terms.iter().map(|(_, coefficient)| *coefficient).collect();
    let data = TensorData::new(coefficients, [terms.len()]);
    let weighted = losses.clone() * Tensor::from_data(data, (&losses.device(), losses.dtype()));
    let gradient = GradientsParams::from_grads(weighted.sum().backward(), model);
    let losses = losses.inner();
    (losses.clone().narrow(0, 0, 1), gradient)
        .differentiate(model, names)
        .map(|(_, gradient)| (losses, in_order(model, gradient)))
}

impl<M, B, L, F> Passes<M> for Joined<'_, B, F, L>
where
    M: Module,
    B: Concat,
    L: JoinedLoss,
    F: FnMut(&M, &JoinedBatch<B>) -> L,
{
    fn one(&mut self, model: &M, domain: usize) -> Result<(Tensor<1>, GradientsParams)> {
        self.pass(model, &[(domain, 1.0)])
    }

    fn sum(&mut self, model: &M, terms: &[(usize, f64)]) -> Result<PassSum> {
        let (losses, gradient) = self.pass(model, terms)?;
        let place = |place| losses.clone().narrow(0, place, 1);
        Ok(PassSum {
            losses: (0..terms.len()).map(place).collect(),
            probes: Vec::new(),
            sum: WeightedSum::of(gradient),
        })
    }

    fn joins(&self) -> bool {
        true
    }

    fn calls(&self) -> usize {
        self.calls
    }
}
