//! What is not finite, and closures that fail or panic, in every pass of every method.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use burn::{module::Module, tensor::Tensor};
use roga::{
    Error,
    aggregation::{Aggregation, AndMask, CaGrad, Disam, GroupDro, Mgda, PcGrad, Sum, UpGrad, VRex},
    alignment::{AlignmentConfig, Difference},
    domain::{DomainBatches, JoinedBatch},
    optim::{
        Aggregated, AggregationConfig, Ascent, Draw, Evaluation, FishConfig, NonFinite, Outcome,
        Pass, Quantity, RobustGradientAlignment, RobustGradientAlignmentConfig as Config,
        StepReport,
    },
    perturbation::Adaptive,
};

use crate::problems::{
    Batch, EVALUATIONS, Net, batches, device, joined_losses, momentum, optimizer_state, uneven,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// A batch with the number of its domain.
type Numbered = (usize, Batch);

fn numbered(step: usize) -> DomainBatches<Numbered> {
    let mut number = 0..;
    batches(step, &device()).map(|batch| (number.next().unwrap(), batch))
}

fn evaluations() -> Vec<Config> {
    let with = |evaluation| Config::new().with_evaluation(evaluation);
    let mut configs: Vec<Config> = EVALUATIONS.map(with).to_vec();
    configs.extend([
        with(Evaluation::Own).with_report(false),
        with(Evaluation::All).with_ascent(Ascent::Pooled),
        with(Evaluation::Sampled).with_draw(Draw::Derangement),
        with(Evaluation::Own).with_adaptive(Adaptive::ASAM),
        Config::erm(),
        Config::erm().with_report(false),
        Config::gsam(0.1, 0.3),
        Config::gsam(0.1, 0.3).with_report(false),
    ]);
    configs
}

fn aligned() -> Vec<Config> {
    let central = AlignmentConfig::variance(0.3).with_difference(Difference::Central);
    [
        Config::erm().with_alignment(Some(AlignmentConfig::cosine(0.3))),
        Config::sam(0.1).with_alignment(Some(central.clone())),
        Config::new()
            .with_evaluation(Evaluation::Own)
            .with_alignment(Some(central)),
    ]
    .to_vec()
}

fn aggregated() -> Vec<Config> {
    let methods: [Aggregation; 9] = [
        Sum.into(),
        PcGrad::default().into(),
        Mgda::Exact.into(),
        UpGrad::default().into(),
        CaGrad::default().into(),
        GroupDro { eta: 0.7 }.into(),
        VRex::default().into(),
        Disam::default().into(),
        AndMask { tau: 0.5 }.into(),
    ];
    let with = |base: Config, method, of| {
        base.with_aggregation(Some(AggregationConfig::new(method).with_of(of)))
    };
    let both = |method: Aggregation| {
        let own = Config::new().with_evaluation(Evaluation::Own);
        [
            with(own, method.clone(), Aggregated::Both),
            with(Config::sagm(0.1, 0.05), method, Aggregated::Both),
        ]
    };
    let ascent = with(
        Config::sam(0.1),
        Disam::default().into(),
        Aggregated::Ascent,
    );
    methods.into_iter().flat_map(both).chain([ascent]).collect()
}

/// What goes wrong in a pass.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The loss.
    Loss(f32),
    /// The gradient of one parameter.
    Gradient(f32),
    /// One entry of it.
    Entry(f32),
}

impl Fault {
    fn quantity(self) -> Quantity {
        match self {
            Self::Loss(_) => Quantity::Loss,
            Self::Gradient(_) | Self::Entry(_) => Quantity::Gradient,
        }
    }

    fn spoil(self, net: &Net, loss: Tensor<1>) -> Tensor<1> {
        let weight = net.second.weight.val();
        match self {
            Self::Loss(bad) => loss * bad,
            Self::Gradient(bad) => loss + steep(weight, bad),
            Self::Entry(bad) => loss + steep(weight.slice([1..2, 2..3]), bad),
        }
    }
}

/// √(w − w) is 0 with an infinite derivative; 0 · ∞ is NaN.
fn steep(weight: Tensor<2>, bad: f32) -> Tensor<1> {
    let zero = (weight.clone() - weight.detach()).sum();
    let factor = if bad.is_nan() { 0.0 } else { bad.signum() };
    zero.sqrt().mul_scalar(factor)
}

/// All that a step may change, bit for bit.
type State = (Vec<u32>, Vec<(String, Vec<u8>)>);

/// A training after its first step, and the calls of the closure in its second.
struct Course {
    config: Config,
    net: Net,
    optim: RobustGradientAlignment,
    /// The domain and the pass of every call.
    calls: Vec<(usize, Pass)>,
    /// The state and the report after the second step, where nothing goes wrong.
    good: (State, StepReport),
}

impl Course {
    fn new(config: Config) -> Self {
        let mut net = Net::new(&device());
        // Many a step in a row is going to be skipped.
        let unlimited = config.clone().with_max_skipped_steps(None);
        let mut optim = unlimited.init(momentum()).unwrap();
        let loss = |net: &Net, (_, batch): &Numbered| net.loss(batch);
        optim.step(0.05, &mut net, &numbered(0), loss).unwrap();
        let mut twin = (net.clone().train(), optim.clone());
        let mut domains = Vec::new();
        let report = twin.1.step(
            0.05,
            &mut twin.0,
            &numbered(1),
            |net: &Net, (domain, batch)| {
                domains.push(*domain);
                net.loss(batch)
            },
        );
        let report = report.unwrap();
        assert!(!report.is_skipped(), "{config}");
        let passes = passes(&report);
        assert_eq!(passes.len(), domains.len(), "{config}");
        Self {
            calls: domains.into_iter().zip(passes).collect(),
            good: (state(&twin.0, &twin.1), report),
            config,
            net,
            optim,
        }
    }

    fn state(&self) -> State {
        state(&self.net, &self.optim)
    }

    /// A second step in which something is wrong where `fault` says so: what was found. Steps that are
    /// skipped count, and their numbers are what draws go by.
    fn spoilt(&mut self, mut fault: impl FnMut(usize, usize) -> Option<Fault>) -> NonFinite {
        let before = self.state();
        self.optim.gradient().set_steps(1);
        let mut call = 0;
        let loss = |net: &Net, (domain, batch): &Numbered| {
            call += 1;
            let loss = net.loss(batch);
            match fault(call - 1, *domain) {
                Some(fault) => fault.spoil(net, loss),
                None => loss,
            }
        };
        let report = self
            .optim
            .step(0.05, &mut self.net, &numbered(1), loss)
            .unwrap();
        assert!(
            self.state() == before,
            "{} has changed something",
            self.config
        );
        match report.outcome {
            Outcome::Skipped(found) => found,
            Outcome::Applied => panic!("{} went through", self.config),
        }
    }

    /// The second step, at last: as if nothing had gone wrong before.
    fn ends_as_if_nothing_had_been(mut self) {
        self.optim.gradient().set_steps(1);
        let loss = |net: &Net, (_, batch): &Numbered| net.loss(batch);
        let report = self
            .optim
            .step(0.05, &mut self.net, &numbered(1), loss)
            .unwrap();
        assert!((self.state(), report) == self.good, "{}", self.config);
    }
}

fn state(net: &Net, optim: &RobustGradientAlignment) -> State {
    (net.state(), optimizer_state(optim.base()))
}

/// The passes of a step in their order.
fn passes(report: &StepReport) -> Vec<Pass> {
    let clean = vec![Pass::Clean; report.passes.clean];
    let at_points = report.points.iter().flat_map(|point| {
        let ascent = point.ascent.map(|domain| NAMES[domain].into());
        vec![Pass::Perturbed { ascent }; point.losses.len()]
    });
    let alignment = vec![Pass::Alignment; report.passes.alignment];
    clean
        .into_iter()
        .chain(at_points)
        .chain(alignment)
        .collect()
}

fn every_pass(configs: Vec<Config>, faults: &[Fault]) {
    for config in configs {
        let mut course = Course::new(config);
        for (place, (domain, pass)) in course.calls.clone().into_iter().enumerate() {
            for fault in faults {
                let found = course.spoilt(|call, _| (call == place).then_some(*fault));
                let expected = NonFinite {
                    domain: Some(NAMES[domain].into()),
                    pass: pass.clone(),
                    quantity: fault.quantity(),
                };
                assert_eq!(
                    found, expected,
                    "{fault:?} in call {place} of {}",
                    course.config
                );
            }
        }
        course.ends_as_if_nothing_had_been();
    }
}

/// In the loss, in a gradient, in one entry of it.
fn everywhere() -> Vec<Fault> {
    let faults = |bad| [Fault::Loss(bad), Fault::Gradient(bad), Fault::Entry(bad)];
    BAD.into_iter().flat_map(faults).collect()
}

#[test]
fn what_is_not_finite_in_any_pass_of_any_evaluation_changes_nothing() {
    every_pass(evaluations(), &everywhere());
}

#[test]
fn what_is_not_finite_in_any_pass_of_an_alignment_loss_changes_nothing() {
    every_pass(aligned(), &everywhere());
}

#[test]
fn what_is_not_finite_in_any_pass_of_an_aggregation_changes_nothing() {
    let faults = [
        Fault::Loss(f32::NAN),
        Fault::Loss(f32::INFINITY),
        Fault::Entry(f32::NAN),
    ];
    every_pass(aggregated(), &faults);
}

#[test]
fn a_domain_that_is_never_finite_is_named() {
    for config in [evaluations(), aligned(), aggregated()].concat() {
        let mut course = Course::new(config);
        for (bad, fault) in (0..3).flat_map(|bad| everywhere().into_iter().map(move |f| (bad, f))) {
            let found = course.spoilt(|_, domain| (domain == bad).then_some(fault));
            assert_eq!(found.domain.as_deref(), Some(NAMES[bad]));
            assert_eq!(
                (found.pass, found.quantity),
                (Pass::Clean, fault.quantity())
            );
        }
        course.ends_as_if_nothing_had_been();
    }
}

#[test]
fn a_closure_that_fails_or_panics_in_any_pass_changes_nothing() {
    for config in [evaluations(), aligned(), aggregated()].concat() {
        let mut course = Course::new(config);
        let before = course.state();
        for (place, (domain, _)) in course.calls.clone().into_iter().enumerate() {
            course.optim.gradient().set_steps(1);
            let call = Cell::new(0);
            let is_it = || call.replace(call.get() + 1) == place;
            let failing = |net: &Net, (_, batch): &Numbered| match is_it() {
                true => Err("the reader is gone"),
                false => Ok(net.loss(batch)),
            };
            let failed = course
                .optim
                .step(0.05, &mut course.net, &numbered(1), failing);
            let Err(Error::Closure { domain: named, .. }) = failed else {
                panic!("{failed:?} of {}", course.config);
            };
            assert_eq!(named, NAMES[domain]);
            assert!(
                course.state() == before,
                "{} has changed something",
                course.config
            );

            call.set(0);
            let panicking = |net: &Net, (_, batch): &Numbered| {
                assert!(!is_it(), "as intended");
                net.loss(batch)
            };
            let (net, optim) = (&mut course.net, &mut course.optim);
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                optim.step(0.05, net, &numbered(1), panicking)
            }));
            assert!(panicked.is_err());
            assert!(
                course.state() == before,
                "{} has changed something",
                course.config
            );
        }
        course.ends_as_if_nothing_had_been();
    }
}

/// The number of the domain with so many rows, of [`uneven`].
fn of_rows(rows: usize) -> usize {
    [5, 3, 7].iter().position(|of| *of == rows).unwrap()
}

#[test]
fn joined_passes_that_are_not_finite_change_nothing() {
    let device = device();
    for config in [evaluations(), aligned()].concat() {
        let unlimited = config.clone().with_max_skipped_steps(None);
        let (mut net, mut optim) = (Net::new(&device), unlimited.init(momentum()).unwrap());
        let losses = |net: &Net, joined: &JoinedBatch<Batch>| {
            joined_losses(net.forward(joined.batch().x.clone()), joined)
        };
        optim
            .step_joined(0.05, &mut net, &uneven(0, &device), losses)
            .unwrap();
        let mut domains: Vec<Vec<usize>> = Vec::new();
        let (mut twin, mut twin_net) = (optim.clone(), net.clone().train());
        let report = twin.step_joined(0.05, &mut twin_net, &uneven(1, &device), |net, joined| {
            domains.push(
                joined
                    .rows()
                    .iter()
                    .map(|rows| of_rows(rows.len()))
                    .collect(),
            );
            losses(net, joined)
        });
        let passes = passes(&report.unwrap());
        let before = state(&net, &optim);
        let mut first = 0;
        for (place, of_call) in domains.iter().enumerate() {
            let pass = &passes[first];
            first += of_call.len();
            for (within, domain) in of_call.iter().enumerate() {
                for bad in BAD {
                    optim.gradient().set_steps(1);
                    let mut call = 0;
                    let spoilt = |net: &Net, joined: &JoinedBatch<Batch>| {
                        call += 1;
                        let mut factors = vec![1.0; joined.rows().len()];
                        if call == place + 1 {
                            factors[within] = bad;
                        }
                        losses(net, joined) * Tensor::from_floats(&*factors, &device)
                    };
                    let report = optim.step_joined(0.05, &mut net, &uneven(1, &device), spoilt);
                    let Outcome::Skipped(found) = report.unwrap().outcome else {
                        panic!("call {place} of {config} went through");
                    };
                    assert_eq!(found.domain.as_deref(), Some(NAMES[*domain]), "{config}");
                    assert_eq!((&found.pass, found.quantity), (pass, Quantity::Loss));
                    assert!(state(&net, &optim) == before, "{config}");
                }
                // A gradient is that of all domains of the pass.
                optim.gradient().set_steps(1);
                let mut call = 0;
                let spoilt = |net: &Net, joined: &JoinedBatch<Batch>| {
                    call += 1;
                    let losses = losses(net, joined);
                    match call == place + 1 {
                        true => losses + steep(net.second.weight.val(), f32::NAN),
                        false => losses,
                    }
                };
                let report = optim.step_joined(0.05, &mut net, &uneven(1, &device), spoilt);
                let Outcome::Skipped(found) = report.unwrap().outcome else {
                    panic!("call {place} of {config} went through");
                };
                let alone = (of_call.len() == 1).then_some(NAMES[*domain]);
                assert_eq!(found.domain.as_deref(), alone, "{config}");
                assert_eq!((&found.pass, found.quantity), (pass, Quantity::Gradient));
                assert!(state(&net, &optim) == before, "{config}");
            }
        }
        assert_eq!(first, passes.len(), "{config}");
    }
}

#[test]
fn fish_changes_nothing_where_any_inner_pass_goes_wrong() {
    let mut net = Net::new(&device());
    let mut fish = FishConfig::new().init(momentum()).unwrap();
    let loss = |net: &Net, (_, batch): &Numbered| net.loss(batch);
    fish.step(0.05, &mut net, &numbered(0), loss).unwrap();
    let before = net.state();
    let (mut twin, mut twin_net) = (fish.clone(), net.clone().train());
    let good = twin.step(0.05, &mut twin_net, &numbered(1), loss).unwrap();
    for (place, name) in NAMES.into_iter().enumerate() {
        for fault in everywhere() {
            let spoilt = |net: &Net, (domain, batch): &Numbered| match *domain == place {
                true => fault.spoil(net, net.loss(batch)),
                false => net.loss(batch),
            };
            let report = fish.step(0.05, &mut net, &numbered(1), spoilt).unwrap();
            let expected = NonFinite {
                domain: Some(name.into()),
                pass: Pass::Inner,
                quantity: fault.quantity(),
            };
            assert_eq!(report.outcome, Outcome::Skipped(expected));
            assert_eq!(net.state(), before);
        }
        let failing = |net: &Net, (domain, batch): &Numbered| match *domain == place {
            true => Err("the reader is gone"),
            false => Ok(net.loss(batch)),
        };
        let failed = fish.step(0.05, &mut net, &numbered(1), failing);
        assert!(matches!(failed, Err(Error::Closure { domain, .. }) if domain == name));
        let panicking = |net: &Net, (domain, batch): &Numbered| {
            assert!(*domain != place, "as intended");
            net.loss(batch)
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            fish.step(0.05, &mut net, &numbered(1), panicking)
        }));
        assert!(panicked.is_err());
        assert_eq!(net.state(), before);
    }
    // The inner optimizer's state is as before, too.
    let report = fish.step(0.05, &mut net, &numbered(1), loss).unwrap();
    assert_eq!((net.state(), report), (twin_net.state(), good));
}
