//! What a step costs beside its forward and backward passes.
//!
//! Every step is a whole one: what the closure takes for forward and backward, and what the base
//! optimizer takes, is measured inside it, and the rest is the step's own work: inner products,
//! perturbed copies, sums, the report, the wait for the device. Criterion shows the own work; a line
//! for each method shows its share of the step, and how often two gradients could have been added up
//! meanwhile, which is the least that a step does for every domain but one.
//!
//! `operations` times the parts that own work is made of, one by one.
//!
//! ResNet-18, four domains of eight pictures, AdamW; a net of three linear layers and 98,946
//! parameters, four domains of 128 rows; and the time of sixteen domains of four pictures against that
//! of four of sixteen.
//!
//!     cargo bench --bench step
//!     PIXELS=224 cargo bench --bench step -- 'resnet18/4x8/(erm|sampled)$'

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
    optim::{Evaluation, RobustGradientAlignmentConfig as Config},
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

/// The mean gradient, in memory of its own.
fn gradient<M: Module, B>(
    net: &M,
    domains: &DomainBatches<B>,
    loss: &impl Fn(&M, &B) -> Tensor<1>,
) -> GradientsParams {
    let robust = Config::erm().with_report(false).init_gradient();
    let robust = robust.expect("the settings are valid");
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
    let mut sum = gradient(net, domains, loss);
    let others = [(); SWEEPS as usize].map(|()| gradient(net, domains, loss));
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
    passes: Duration,
    base: Duration,
    own: Duration,
}

impl Times {
    fn add<M: Module, B>(
        &mut self,
        config: &Config,
        net: &mut M,
        base: &mut ModuleOptimizer,
        domains: &DomainBatches<B>,
        loss: &impl Fn(&M, &B) -> Tensor<1>,
    ) -> Duration {
        let robust = config.init_gradient().expect("the settings are valid");
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
        self.passes += passes.get();
        self.own += own;
        own
    }

    fn print(&self, name: &str, sweep: Duration) {
        let [passes, base, own] = [self.passes, self.base, self.own].map(|it| it.as_secs_f64());
        let whole = passes + base + own;
        let sweep = sweep.as_secs_f64() * f64::from(self.steps);
        println!(
            "{name}: own work {:.2} % of the step, as long as {:.1} sums of two gradients, each {:.2} %; \
             base optimizer {:.2} %; {:.3} of its passes' time",
            100.0 * own / whole,
            own / sweep,
            100.0 * sweep / whole,
            100.0 * base / whole,
            whole / passes,
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
    let mut group = c.benchmark_group(format!("own work/{what}"));
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    let sweep = sweep(&net, domains, &loss);
    for (name, config) in methods() {
        let mut base = AdamWConfig::new().init();
        let mut times = Times::default();
        group.bench_function(name, |b| {
            b.iter_custom(|steps| {
                let step = |_| times.add(&config, &mut net, &mut base, domains, &loss);
                (0..steps).map(step).sum()
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

fn step(c: &mut Criterion) {
    let device = Device::flex().autodiff();
    let pixels = env::var("PIXELS").ok();
    let pixels = pixels.and_then(|pixels| pixels.parse().ok()).unwrap_or(64);
    let net = || {
        let net = ResNetConfig::resnet18(2).init(&device);
        net.expect("the sizes are valid")
    };
    let pictures = |domains, rows| batches(domains, [rows, 3, pixels, pixels], &device);
    of_methods(c, "resnet18/4x8", net(), &pictures(4, 8), |net, (x, y)| {
        cross_entropy(net.forward(x.clone()), y)
    });
    operations(c, "resnet18", &net(), &pictures(4, 8), |net, (x, y)| {
        cross_entropy(net.forward(x.clone()), y)
    });
    let rows = batches(4, [128, 256], &device);
    of_methods(c, "mlp/4x128", Mlp::new(&device), &rows, |net, (x, y)| {
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
