//! What a step costs beside its forward and backward passes.
//!
//! Every step is a whole one: what the closure takes for forward and backward, and what the base
//! optimizer takes, is measured inside it, and the rest is the step's own work: inner products,
//! perturbed copies, sums, the report, the wait for the device. Criterion shows the own work; a line
//! for each method shows its share of the step, how often two gradients could have been added up
//! meanwhile, which is the least that a step does for every domain but one, and how many times a plain loop's
//! step it takes: one with a pass over all domains, each as long as the step's own, as many sums as there are
//! domains, and the base optimizer. Times that are taken inside one step slow down together, so that these
//! ratios are steadier than those of two programmes.
//!
//! `operations` times the parts that own work is made of, one by one.
//!
//! ResNet-18, four domains of eight pictures, AdamW; a net of three linear layers and 98,946
//! parameters, four domains of 128 rows; and the time of sixteen domains of four pictures against that
//! of four of sixteen. `PIXELS`, `PICTURES` and `ROWS` change the sizes; with `STEPS` no more is
//! measured than so many steps after one, of the methods that `METHODS` names (without their own commas), where
//! ten would take long.
//!
//!     cargo bench --bench step
//!     PIXELS=256 cargo bench --bench step -- 'resnet18/4x8/(erm|sampled)$'
//!     PIXELS=256 PICTURES=16 STEPS=2 METHODS=erm,sampled,own cargo bench --bench step
//!     ROWS=512 cargo bench --bench step -- 'mlp/4x512'

mod heap;

use std::{
    cell::Cell,
    env,
    hint::black_box,
    time::{Duration, Instant},
};

use burn::{
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Distribution, Int, Tensor, activation::relu},
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use roga::{
    detector::backbone::{Classifier, ResNetConfig},
    domain::DomainBatches,
    gradient::{accumulate, combine, dot, finite_probe, gram, squared_norm},
    optim::{Evaluation, RobustGradient, RobustGradientAlignmentConfig as Config},
    perturbation::{Displacement, displaced},
};

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let layer = |from, to| LinearConfig::new(from, to).init(device);
        Self {
            first: layer(256, 256),
            second: layer(256, 128),
            last: layer(128, 2),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = relu(self.first.forward(x));
        self.last.forward(relu(self.second.forward(hidden)))
    }
}

/// Random rows and their labels.
fn batches<const D: usize>(
    domains: usize,
    shape: [usize; D],
    device: &Device,
) -> DomainBatches<(Tensor<D>, Tensor<1, Int>)> {
    let batch = |_| {
        let rows = Tensor::random(shape, Distribution::Default, device);
        (rows, Tensor::<1, Int>::zeros([shape[0]], device))
    };
    DomainBatches::unnamed((0..domains).map(batch)).expect("there is a domain")
}

fn cross_entropy(logits: Tensor<2>, labels: &Tensor<1, Int>) -> Tensor<1> {
    let loss = CrossEntropyLossConfig::new().init(&logits.device());
    loss.forward(logits, labels.clone())
}

fn gradient_of(config: &Config) -> RobustGradient {
    config.init_gradient().expect("the settings are valid")
}

/// The mean gradient, in memory of its own.
fn gradient<M: Module, B>(
    net: &M,
    domains: &DomainBatches<B>,
    loss: &impl Fn(&M, &B) -> Tensor<1>,
) -> GradientsParams {
    let robust = gradient_of(&Config::erm().with_report(false));
    let step = robust.gradients(net, domains, |net: &M, batch: &B| loss(net, batch));
    step.expect("the passes succeed").0
}

/// What the least that can be done to a gradient takes: every number of it added to a sum, in place.
fn sweep<M: Module, B>(
    net: &M,
    domains: &DomainBatches<B>,
    loss: &impl Fn(&M, &B) -> Tensor<1>,
) -> Duration {
    const SWEEPS: u32 = 5;
    let one = gradient(net, domains, loss);
    let copy = || combine(net, &[(0.5, &one)]);
    let mut sum = copy();
    let others = [(); SWEEPS as usize].map(|()| copy());
    let start = Instant::now();
    for other in others {
        accumulate(net, &mut sum, 1.0, other);
    }
    start.elapsed() / SWEEPS
}

/// What steps took in all.
#[derive(Default)]
struct Times {
    steps: u32,
    domains: usize,
    mini_batches: usize,
    passes: Duration,
    base: Duration,
    own: Duration,
}

impl Times {
    fn add<M: Module, B>(
        &mut self,
        robust: &RobustGradient,
        net: &mut M,
        base: &mut ModuleOptimizer,
        domains: &DomainBatches<B>,
        loss: &impl Fn(&M, &B) -> Tensor<1>,
    ) -> Duration {
        let passes = Cell::new(Duration::ZERO);
        let start = Instant::now();
        let step = robust.gradients(net, domains, |net: &M, batch: &B| {
            let start = Instant::now();
            let loss = loss(net, batch);
            let gradients = GradientsParams::from_grads(loss.backward(), net);
            let loss = loss.inner();
            passes.set(passes.get() + start.elapsed());
            (loss, gradients)
        });
        let (gradients, report) = step.expect("the passes succeed");
        let own = start.elapsed().saturating_sub(passes.get());
        assert!(!report.is_skipped());
        let start = Instant::now();
        *net = base.step(1e-6, net.clone(), gradients);
        self.base += start.elapsed();
        self.steps += 1;
        self.domains = report.domains.len();
        self.mini_batches += report.passes.clean + report.passes.perturbed;
        self.passes += passes.get();
        self.own += own;
        own
    }

    fn print(&self, name: &str, sweep: Duration) {
        let [passes, base, own] = [self.passes, self.base, self.own].map(|it| it.as_secs_f64());
        let whole = passes + base + own;
        let sweep = sweep.as_secs_f64() * f64::from(self.steps);
        // In as many steps.
        let domains = self.domains as f64;
        let plain = f64::from(self.steps) * domains * passes / self.mini_batches as f64;
        println!(
            "{name}: own work {:.2} % of the step, as long as {:.1} sums of two gradients, each {:.2} %; \
             base optimizer {:.2} %; {:.3} of its passes' time, {:.3} of a plain loop's",
            100.0 * own / whole,
            own / sweep,
            100.0 * sweep / whole,
            100.0 * base / whole,
            whole / passes,
            whole / (plain + domains * sweep + base),
        );
    }
}

fn methods() -> Vec<(&'static str, Config)> {
    let roga = |evaluation| Config::new().with_evaluation(evaluation);
    let lean = |config: Config| config.with_report(false);
    vec![
        ("erm", Config::erm()),
        ("erm, report off", lean(Config::erm())),
        ("sampled", roga(Evaluation::Sampled)),
        ("sampled, report off", lean(roga(Evaluation::Sampled))),
        (
            "sampled every 5th step",
            roga(Evaluation::Sampled).with_interval(5),
        ),
        ("own", roga(Evaluation::Own)),
        ("consensus", roga(Evaluation::Consensus)),
        ("consensus, report off", lean(roga(Evaluation::Consensus))),
        ("all", roga(Evaluation::All)),
        ("all, report off", lean(roga(Evaluation::All))),
    ]
}

fn of_methods<M: Module, B>(
    c: &mut Criterion,
    what: &str,
    mut net: M,
    domains: &DomainBatches<B>,
    loss: impl Fn(&M, &B) -> Tensor<1>,
) {
    if let Some(steps) = number("STEPS") {
        let sweep = sweep(&net, domains, &loss);
        let named = env::var("METHODS").unwrap_or_default();
        let named: Vec<&str> = named.split(',').filter(|name| !name.is_empty()).collect();
        for (name, config) in methods() {
            if !(named.is_empty() || named.contains(&name.replace(',', "").as_str())) {
                continue;
            }
            let (robust, mut base) = (gradient_of(&config), AdamWConfig::new().init());
            let mut add = |times: &mut Times| {
                times.add(&robust, &mut net, &mut base, domains, &loss);
            };
            let mut times = Times::default();
            add(&mut Times::default());
            (0..steps * config.interval).for_each(|_| add(&mut times));
            times.print(&format!("{what}/{name}"), sweep);
        }
        return;
    }
    let mut group = c.benchmark_group(format!("own work/{what}"));
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    let sweep = sweep(&net, domains, &loss);
    for (name, config) in methods() {
        let (robust, mut base) = (gradient_of(&config), AdamWConfig::new().init());
        let mut times = Times::default();
        group.bench_function(name, |b| {
            b.iter_custom(|steps| {
                // Whole intervals, and the mean of their steps.
                let step = |_| times.add(&robust, &mut net, &mut base, domains, &loss);
                let own: Duration = (0..steps * config.interval).map(step).sum();
                own / config.interval as u32
            })
        });
        if times.own > Duration::ZERO {
            times.print(&format!("{what}/{name}"), sweep);
        }
    }
    group.finish();
}

/// What own work is made of.
fn operations<M: Module, B>(
    c: &mut Criterion,
    what: &str,
    net: &M,
    domains: &DomainBatches<B>,
    loss: impl Fn(&M, &B) -> Tensor<1>,
) {
    let gradients: Vec<_> = (0..4).map(|_| gradient(net, domains, &loss)).collect();
    let [one, two, ..] = &gradients[..] else {
        unreachable!("there are four")
    };
    let read = |number: Option<Tensor<1>>| number.map(Tensor::into_scalar::<f32>);
    let mut group = c.benchmark_group(format!("operations/{what}"));
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    group.bench_function("sum of two gradients, in place", |b| {
        b.iter_batched(
            || (combine(net, &[(0.5, one)]), combine(net, &[(0.5, two)])),
            |(mut sum, other)| {
                accumulate(net, &mut sum, 1.0, other);
                sum
            },
            BatchSize::PerIteration,
        )
    });
    group.bench_function("sum of two gradients, in new memory", |b| {
        b.iter(|| combine(net, &[(1.0, one), (1.0, two)]))
    });
    group.bench_function("check that all is finite", |b| {
        b.iter(|| read(finite_probe(net, one)))
    });
    group.bench_function("squared norm", |b| b.iter(|| read(squared_norm(net, one))));
    group.bench_function("inner product", |b| b.iter(|| read(dot(net, one, two))));
    group.bench_function("Gram matrix of four", |b| {
        b.iter(|| {
            let numbers = gram(net, &gradients).into_iter().flatten();
            numbers.map(read).collect::<Vec<_>>()
        })
    });
    let along = |gradient| Displacement::constant(1e-3, gradient);
    group.bench_function("copy of the model, displaced along one", |b| {
        b.iter(|| displaced(net, &[along(one)]))
    });
    group.bench_function("copy of the model, displaced along two", |b| {
        b.iter(|| displaced(net, &[along(one), along(two)]))
    });
    group.finish();
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} must be a number, but is `{text}`")))
}

fn step(c: &mut Criterion) {
    heap::settle();
    let device = Device::flex().autodiff();
    let size = |name, usual| number(name).unwrap_or(usual) as usize;
    let [pixels, count, rows] = [size("PIXELS", 64), size("PICTURES", 8), size("ROWS", 128)];
    let net = || {
        let net = ResNetConfig::resnet18(2).init(&device);
        net.expect("the sizes are valid")
    };
    let pictures = |domains, rows| batches(domains, [rows, 3, pixels, pixels], &device);
    let what = format!("resnet18/4x{count}");
    of_methods(c, &what, net(), &pictures(4, count), |net, (x, y)| {
        cross_entropy(net.forward(x.clone()), y)
    });
    let what = format!("mlp/4x{rows}");
    let rows = batches(4, [rows, 256], &device);
    of_methods(c, &what, Mlp::new(&device), &rows, |net, (x, y)| {
        cross_entropy(net.forward(x.clone()), y)
    });

    if number("STEPS").is_some() {
        return;
    }
    operations(c, "resnet18", &net(), &pictures(4, 8), |net, (x, y)| {
        cross_entropy(net.forward(x.clone()), y)
    });

    let mut group = c.benchmark_group("step/resnet18");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    for (name, config) in [
        ("erm", Config::erm()),
        (
            "sampled",
            Config::new().with_evaluation(Evaluation::Sampled),
        ),
    ] {
        for (domains, rows) in [(4, 16), (16, 4)] {
            let (mut net, batches) = (net(), pictures(domains, rows));
            let optim = config.init(AdamWConfig::new().init());
            let mut optim = optim.expect("the settings are valid");
            group.bench_function(format!("{name}/{domains}x{rows}"), |b| {
                b.iter(|| {
                    let loss = |net: &_, (x, y): &(Tensor<4>, Tensor<1, Int>)| {
                        cross_entropy(Classifier::forward(net, x.clone()), y)
                    };
                    black_box(optim.step(1e-6, &mut net, &batches, loss))
                })
            });
        }
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
