use std::sync::Arc;

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};

use super::{
    ToDevice, Traffic,
    threads::at_once,
    worker::{Ask, Call, CleanPart, Given, Held, Number, PointsPart, Worker},
};
use crate::{
    Error, Result,
    gradient::{WeightedSum, accumulate, finite_probe, total},
    optim::{
        DomainLoss, RobustGradient,
        clean::{self, Clean},
        difference::Differences,
        evaluation::{Point, PointAscent},
        passes::{Noise, PassSum, Passes},
        point::{At, Sums, Task},
        readback::{Readback, Reading},
        rounds::Rounds,
        summary::CleanReadings,
    },
    perturbation::{Adaptive, RunningStatistics},
};

/// A step divided among devices.
pub(super) struct Division<'a, M, B, F> {
    pub names: &'a [&'a Arc<str>],
    /// All mini-batches, where every one is held by one device as a whole, which then is the one
    /// for its points; `None` where every device holds a part of every mini-batch.
    whole: Option<&'a [&'a B]>,
    workers: Vec<Worker<M, B>>,
    first: Device,
    loss: &'a F,
    noise: Noise,
    pub traffic: Traffic,
    calls: usize,
    /// The consensus direction, where the gradients that it is of did not meet.
    consensus: Option<GradientsParams>,
}

impl<'a, M: Module, B: ToDevice, F> Division<'a, M, B, F> {
    /// Nobody holds anything yet.
    pub fn new(
        devices: &[Device],
        first: Device,
        names: &'a [&'a Arc<str>],
        loss: &'a F,
        noise: Noise,
    ) -> Self {
        let workers = devices.iter().enumerate();
        let workers = workers.map(|(place, device)| Worker::new(device.clone(), place == 0));
        Self {
            names,
            whole: None,
            workers: workers.collect(),
            first,
            loss,
            noise,
            traffic: Traffic::default(),
            calls: 0,
            consensus: None,
        }
    }

    /// Each device takes neighbouring domains, as many as the others or one more or less.
    pub fn by_domain(mut self, batches: &'a [&'a B]) -> Self {
        let devices = self.workers.len();
        for (domain, batch) in batches.iter().enumerate() {
            self.hold(domain * devices / batches.len(), domain, 1.0, batch);
        }
        self.whole = Some(batches);
        self
    }

    /// Gives a device a part of a domain's mini-batch.
    pub fn hold(&mut self, device: usize, domain: usize, share: f64, batch: &B) {
        if let Some(worker) = self.workers.get_mut(device) {
            let batch = worker.batch(batch, &mut self.traffic);
            worker.held.insert(domain, Held { share, batch });
        }
    }

    /// What all passes share, and the devices.
    fn parts(&mut self) -> (Call<'a, F>, &Device, &mut Vec<Worker<M, B>>, &mut Traffic) {
        let call = Call {
            names: self.names,
            loss: self.loss,
            noise: self.noise,
        };
        (call, &self.first, &mut self.workers, &mut self.traffic)
    }

    /// The device of a point that is not evaluated by all.
    fn holder(&self, point: &Point) -> Option<usize> {
        self.whole?;
        let domain = match point.ascent {
            PointAscent::Domain(domain) => domain,
            PointAscent::Difference { .. } => point.terms.first()?.0,
            PointAscent::None | PointAscent::Pooled | PointAscent::Consensus => return None,
        };
        let holds = |worker: &Worker<M, B>| worker.held.contains_key(&domain);
        self.workers.iter().position(holds)
    }

    /// Puts together what the devices have yielded at $\theta$.
    fn meet(
        &mut self,
        parts: Vec<CleanPart>,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        (ask, at_theta): (Ask<'_>, &M),
        sums: &mut Sums,
    ) -> Result<(Clean, CleanReadings)> {
        self.traffic.meetings += 1;
        let mut met: Vec<(Vec<Tensor<1>>, GradientsParams)> = Vec::new();
        met.resize_with(at.weights.len(), Default::default);
        let mut numbers: Vec<Option<Tensor<1>>> = Vec::new();
        let (mut mean, mut consensus) = (WeightedSum::new(), GradientsParams::new());
        let mut statistics = Vec::with_capacity(parts.len());
        for part in parts {
            self.calls += part.calls;
            self.traffic.received += part.bytes;
            statistics.push(part.statistics);
            for (domain, loss) in part.losses {
                if let Some((losses, _)) = met.get_mut(domain) {
                    losses.push(loss.to_device(&self.first));
                }
            }
            for (domain, gradient) in part.gradients {
                if let Some((_, sum)) = met.get_mut(domain) {
                    accumulate(at.model, sum, 1.0, gradient);
                }
            }
            // Devices hold domains in their order.
            numbers.extend(part.numbers);
            accumulate(at.model, &mut mean.sum, 1.0, part.mean);
            accumulate(at.model, &mut consensus, 1.0, part.consensus);
        }
        RunningStatistics::mean(at_theta, &statistics).write_to(at_theta);
        let met = met.into_iter().map(|(losses, sum)| (total(losses), sum));
        if ask.one_by_one {
            let mut received = Received(met.map(Some).collect());
            return gradient.clean_passes(&mut received, readback, at, at_theta, sums);
        }
        self.consensus = ask.consensus.then_some(consensus);
        let losses = met.map(|(loss, _)| readback.push(loss)).collect();
        let (mean_norm, mean_square) = gradient.mean_norms(readback, at, &mean);
        let numbers = numbers.into_iter().map(|number| readback.push(number));
        let numbers: Vec<Reading> = numbers.collect();
        let mut readings = CleanReadings {
            losses,
            gram: vec![Vec::new(); at.weights.len()],
            checks: Vec::new(),
            again: false,
            joined: None,
            mean_square,
        };
        match ask.numbers {
            Some(Number::Square) => {
                readings.gram = numbers.into_iter().map(|square| vec![square]).collect();
            }
            Some(Number::Check) => readings.checks = numbers,
            // Of parts of a gradient, neither the norm nor the domain is known.
            None => {
                let check = || readback.push(finite_probe(at.model, &mean.sum));
                readings.joined = Some(mean_square.unwrap_or_else(check));
            }
        }
        Ok((Clean::of_mean(mean, mean_norm), readings))
    }

    /// The passes at the points that all devices share, of which each takes what it holds.
    fn at_common_points<L>(
        &mut self,
        points: Vec<Point>,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
        sums: &mut Sums,
    ) -> Result<()>
    where
        F: Fn(&M, &B) -> L + Sync,
        L: DomainLoss<M>,
    {
        let mut task = Task::new(at, points);
        if let Some(consensus) = self.consensus.take() {
            // It is a direction of which ρ is the length: an ascent along a gradient of norm 1.
            clean.climbed = Some(consensus);
            clean.mean_norm = Some(Tensor::ones([1], &self.first.clone().inner()));
            let points = task.points.iter_mut();
            points.for_each(|point| point.ascent = PointAscent::Pooled);
        }
        let at = task.at(at.model);
        gradient.passes_at_points(&mut EachItsPart(self), readback, &at, clean, sums)
    }

    /// The passes at the points of which each has a device of its own.
    fn at_own_points<L>(
        &mut self,
        points: Vec<(usize, Point)>,
        gradient: &RobustGradient,
        at: &At<'_, M>,
        clean: &Clean,
    ) -> Result<Vec<PointsPart>>
    where
        F: Fn(&M, &B) -> L + Sync,
        L: DomainLoss<M>,
    {
        self.traffic.meetings += 1;
        let shifts = !at.perturbation.gamma.is_zero();
        let whole = self.whole.unwrap_or_default();
        let (call, first, workers, traffic) = self.parts();
        let mut jobs = Vec::with_capacity(workers.len());
        for (place, worker) in workers.iter_mut().enumerate() {
            let own = points.iter().filter(|(device, _)| *device == place);
            let own: Vec<Point> = own.map(|(_, point)| point.clone()).collect();
            if own.is_empty() {
                continue;
            }
            for (domain, _) in own.iter().flat_map(|point| &point.terms) {
                let known = worker.held.contains_key(domain) || worker.lent.contains_key(domain);
                if let (false, Some(batch)) = (known, whole.get(*domain)) {
                    let batch = worker.batch(batch, traffic);
                    worker.lent.insert(*domain, batch);
                }
            }
            let ascends = own.iter().any(|point| !point.is_difference());
            let mean = match ascends && (shifts || gradient.config().report) {
                true => WeightedSum {
                    unit: clean.mean.unit,
                    sum: worker.gradient(at.model, &clean.mean.sum, traffic),
                },
                false => WeightedSum::new(),
            };
            let given = given(worker, own, at, clean, mean, traffic);
            jobs.push((worker, given));
        }
        let parts = at_once(jobs, |(worker, given)| {
            worker.at_points(given, gradient, call, first)
        })?;
        Ok(parts.into_iter().flatten().collect())
    }
}

/// What a device takes for points of its own; with the directions of their differences.
fn given<'a, M: Module, B: ToDevice>(
    worker: &Worker<M, B>,
    mut points: Vec<Point>,
    at: &At<'a, M>,
    clean: &Clean,
    mean: WeightedSum,
    traffic: &mut Traffic,
) -> Given<'a> {
    let domains = at.weights.len();
    let mut directions: Vec<(usize, GradientsParams)> = Vec::new();
    for point in &mut points {
        let along = at.direction(clean, point);
        if let PointAscent::Difference { direction, .. } = &mut point.ascent {
            let known = directions.iter().position(|(of, _)| of == direction);
            let place = known.unwrap_or(directions.len());
            if let (None, Some(along)) = (known, along) {
                let along = worker.gradient(at.model, &along, traffic);
                directions.push((*direction, along));
            }
            *direction = place;
        }
    }
    let mut task = Task::new(at, points);
    let behind = domains..domains + directions.len();
    task.differences = (!directions.is_empty()).then(|| Differences::along(behind));
    Given {
        task,
        mean,
        directions: directions.into_iter().map(|(_, along)| along).collect(),
        domains,
    }
}

impl<M, B, F, L> Rounds<M> for Division<'_, M, B, F>
where
    M: Module,
    B: ToDevice,
    F: Fn(&M, &B) -> L + Sync,
    L: DomainLoss<M>,
{
    /// Together, on the devices that have them.
    fn held(&self, _gradient: &RobustGradient, _at: &At<'_, M>) -> clean::Held {
        clean::Held::All
    }

    fn clean(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
        sums: &mut Sums,
    ) -> Result<(Clean, CleanReadings)> {
        let is_whole = self.whole.is_some();
        let points = at.plan.points.iter();
        let by_domain = |point: &Point| matches!(point.ascent, PointAscent::Domain(_));
        let (mut keeps, mut consensus) = (false, false);
        for point in points {
            keeps |= by_domain(point);
            consensus |= point.ascent == PointAscent::Consensus;
        }
        let one_by_one =
            gradient.config().report || at.one_by_one() || (!is_whole && (keeps || consensus));
        let ascends = keeps || consensus;
        let number = match gradient.config().adaptive {
            Adaptive::None if ascends => Number::Square,
            _ => Number::Check,
        };
        let ask = Ask {
            weights: at.weights,
            adaptive: gradient.config().adaptive,
            one_by_one,
            numbers: (is_whole && !one_by_one).then_some(number),
            consensus: consensus && !one_by_one,
            keeps: keeps && is_whole,
        };
        let (call, first, workers, traffic) = self.parts();
        let jobs: Vec<_> = workers
            .iter_mut()
            .map(|worker| (worker.replica(at.model, traffic), worker))
            .collect();
        let parts = at_once(jobs, |(model, worker)| {
            worker.clean(model, call, ask, first)
        })?;
        self.meet(parts, gradient, readback, at, (ask, at_theta), sums)
    }

    fn at_points(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
        sums: &mut Sums,
    ) -> Result<()> {
        let (mut common, mut own) = (Vec::new(), Vec::new());
        for point in &at.plan.points {
            match self.holder(point) {
                Some(device) => own.push((device, point.clone())),
                None => common.push(point.clone()),
            }
        }
        if !common.is_empty() {
            self.at_common_points(common, gradient, readback, at, clean, sums)?;
        }
        if own.is_empty() {
            return Ok(());
        }
        for part in self.at_own_points(own, gradient, at, clean)? {
            self.calls += part.calls;
            self.traffic.received += part.bytes;
            let first = readback.absorb(part.readback);
            let of = part.sums;
            let points = of.readings.into_iter();
            let points = points.map(|point| point.read_from(first));
            sums.readings.extend(points);
            sums.kept.extend(of.kept);
            let parts = of.parts.into_iter();
            sums.parts.extend(parts.map(|part| part.read_from(first)));
            let pairs = [
                (&mut sums.perturbed, of.perturbed),
                (&mut sums.alignment, of.alignment),
            ];
            for (sum, part) in pairs {
                if !part.sum.is_empty() {
                    sum.add(at.model, part.unit, part.sum);
                }
            }
        }
        // Of one device's points, those of finite differences are the last.
        let readings = &mut sums.readings;
        readings.sort_by_key(|readings| readings.point.is_difference());
        Ok(())
    }

    fn calls(&self) -> usize {
        self.calls
    }
}

/// Passes at one point, of which every device takes what it holds.
struct EachItsPart<'d, 'a, M, B, F>(&'d mut Division<'a, M, B, F>);

impl<M, B, F, L> Passes<M> for EachItsPart<'_, '_, M, B, F>
where
    M: Module,
    B: ToDevice,
    F: Fn(&M, &B) -> L + Sync,
    L: DomainLoss<M>,
{
    fn one(&mut self, _model: &M, domain: usize) -> Result<(Tensor<1>, GradientsParams)> {
        Err(not_met(domain))
    }

    fn sum(&mut self, model: &M, terms: &[(usize, f64)]) -> Result<PassSum> {
        let (call, first, workers, traffic) = self.0.parts();
        let mut jobs = Vec::with_capacity(workers.len());
        for worker in workers.iter_mut() {
            let held = terms.iter().copied().enumerate();
            let held = held.filter(|(_, (domain, _))| worker.held.contains_key(domain));
            let (places, terms): (Vec<usize>, Vec<(usize, f64)>) = held.unzip();
            if !terms.is_empty() {
                let replica = worker.replica(model, traffic);
                jobs.push((worker, replica, places, terms));
            }
        }
        let several = terms.len() > 1;
        let parts = at_once(jobs, |(worker, replica, places, terms)| {
            let part = worker.sum(&replica, (&terms, several), call, first)?;
            Ok((places, part))
        })?;
        let Division {
            first,
            traffic,
            calls,
            ..
        } = &mut *self.0;
        traffic.meetings += 1;
        let mut of_terms = vec![(Vec::new(), Vec::new()); terms.len()];
        let mut sum = WeightedSum::new();
        for (places, (part, called, bytes)) in parts {
            *calls += called;
            traffic.received += bytes;
            let mut probes = part.probes.into_iter();
            for (place, loss) in places.into_iter().zip(part.losses) {
                if let Some((losses, of_term)) = of_terms.get_mut(place) {
                    losses.push(loss.to_device(first));
                    let probe = probes.next().flatten();
                    of_term.extend(probe.map(|probe| probe.to_device(first)));
                }
            }
            sum.add(model, part.sum.unit, part.sum.sum);
        }
        let mut passes = PassSum {
            losses: Vec::with_capacity(terms.len()),
            probes: Vec::with_capacity(terms.len()),
            sum,
        };
        for ((domain, _), (losses, probes)) in terms.iter().zip(of_terms) {
            let loss = total(losses).ok_or_else(|| not_met(*domain))?;
            passes.losses.push(loss);
            if several {
                passes.probes.push(total(probes));
            }
        }
        Ok(passes)
    }

    fn joins(&self) -> bool {
        false
    }

    fn calls(&self) -> usize {
        self.0.calls
    }
}

/// Clean passes that were made on other devices, each to be taken once.
struct Received(Vec<Option<(Option<Tensor<1>>, GradientsParams)>>);

impl<M: Module> Passes<M> for Received {
    fn one(&mut self, _model: &M, domain: usize) -> Result<(Tensor<1>, GradientsParams)> {
        let taken = self.0.get_mut(domain).and_then(Option::take);
        let pass = taken.and_then(|(loss, gradient)| Some((loss?, gradient)));
        pass.ok_or_else(|| not_met(domain))
    }

    fn sum(&mut self, _model: &M, terms: &[(usize, f64)]) -> Result<PassSum> {
        Err(not_met(terms.first().map_or(0, |(domain, _)| *domain)))
    }

    fn joins(&self) -> bool {
        false
    }

    fn calls(&self) -> usize {
        0
    }
}

fn not_met(domain: usize) -> Error {
    Error::Domains {
        rule: "be held by a device each",
        found: format!("there is no pass of number {domain}"),
    }
}
