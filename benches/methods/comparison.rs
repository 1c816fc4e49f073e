//! Methods held against a plain loop over the same mini-batches: time, passes and memory.

use burn::{module::Module, tensor::Device};
use peak_alloc::PeakAlloc;
use roga::{Result, detector::backbone::Classifier};
use serde::Serialize;

use super::{
    alternation::{Clock, Spread, alternate, repeats},
    method::{Method, Training},
    net::batches,
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What was found of one method.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub net: String,
    pub parameters: usize,
    pub method: &'static str,
    pub domains: usize,
    /// In a domain's mini-batch.
    pub pictures: usize,
    /// Over all pictures, in a step; the mean over an interval.
    pub passes: f64,
    /// Of a step.
    pub seconds: Spread,
    /// To a step of the plain loop, run in turn.
    pub ratio: Spread,
    /// The most that a step holds on the heap beside what was there before it, in bytes.
    pub peak: f64,
    /// That above the plain loop's, in copies of the parameters.
    pub copies: f64,
}

/// What a comparison is made on.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    pub net: &'a str,
    pub input: [usize; 3],
    pub domains: usize,
    pub pictures: usize,
    pub pairs: usize,
    pub clock: Clock,
}

/// The plain loop's row, then the methods'.
pub fn compare<N: Module + Classifier>(
    setting: Setting<'_>,
    methods: &[Method],
    device: &Device,
    net: impl Fn(&Device) -> Result<N>,
) -> Result<Vec<Row>> {
    let parameters = net(device)?.num_params();
    let counts = [setting.domains, setting.pictures];
    let domains = batches(device, counts, setting.input)?;
    let mut plain = Training::new(net(device)?, &domains, &Method::plain().how)?;
    let mut step = || _ = plain.step().expect("it makes a step");
    step();
    let least = repeats(setting.clock, &mut step);
    let base = peak(&mut step);
    let mut rows = Vec::new();
    let methods = methods.iter().filter(|m| m.least <= setting.domains);
    for method in [&Method::plain()].into_iter().chain(methods) {
        let mut training = Training::new(net(device)?, &domains, &method.how)?;
        let mut passes = 0.0;
        let mut highest = 0.0_f64;
        for _ in 0..method.interval {
            training.step()?;
        }
        for _ in 0..method.interval {
            highest = highest.max(peak(|| passes += training.step().expect("it made a step")));
        }
        let whole = least.div_ceil(method.interval) * method.interval;
        let paired = alternate(setting.clock, [setting.pairs, whole], &mut step, || {
            training.step().expect("it made a step");
        });
        let row = Row {
            net: setting.net.into(),
            parameters,
            method: method.name,
            domains: setting.domains,
            pictures: setting.pictures,
            passes: passes / method.interval as f64,
            seconds: paired.second,
            ratio: paired.ratio,
            peak: highest,
            copies: (highest - base) / (4 * parameters) as f64,
        };
        eprintln!(
            "{} K = {} {}: {:.3} s, {:.3} times the plain loop, {:+.2} copies",
            row.net, row.domains, row.method, row.seconds.median, row.ratio.median, row.copies
        );
        rows.push(row);
    }
    Ok(rows)
}

/// The most bytes that are held at once while something is done, beyond what was there before.
fn peak(act: impl FnOnce()) -> f64 {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    act();
    HEAP.peak_usage().saturating_sub(before) as f64
}

/// The same pictures in few domains and in many.
#[derive(Clone, Debug, Serialize)]
pub struct Split {
    pub net: String,
    pub method: &'static str,
    /// Domains, and pictures of each.
    pub few: [usize; 2],
    pub many: [usize; 2],
    /// Of a step with few.
    pub seconds: Spread,
    /// A step with many to one with few, run in turn.
    pub ratio: Spread,
}

/// How much more a step takes for the same pictures in four times as many domains.
pub fn split<N: Module + Classifier>(
    setting: Setting<'_>,
    methods: &[Method],
    device: &Device,
    net: impl Fn(&Device) -> Result<N>,
) -> Result<Vec<Split>> {
    let few = [setting.domains, setting.pictures];
    let many = [4 * setting.domains, setting.pictures / 4];
    let domains = [few, many].map(|counts| batches(device, counts, setting.input));
    let [of_few, of_many] = domains;
    let (of_few, of_many) = (of_few?, of_many?);
    let mut rows = Vec::new();
    for method in [&Method::plain()].into_iter().chain(methods) {
        let mut one = Training::new(net(device)?, &of_few, &method.how)?;
        let mut other = Training::new(net(device)?, &of_many, &method.how)?;
        let mut one = || _ = one.step().expect("it made a step");
        let mut other = || _ = other.step().expect("it made a step");
        one();
        other();
        let runs = [setting.pairs, repeats(setting.clock, &mut one)];
        let paired = alternate(setting.clock, runs, &mut one, &mut other);
        eprintln!(
            "{} {}: {:.3}",
            setting.net, method.name, paired.ratio.median
        );
        rows.push(Split {
            net: setting.net.into(),
            method: method.name,
            few,
            many,
            seconds: paired.first,
            ratio: paired.ratio,
        });
    }
    Ok(rows)
}
