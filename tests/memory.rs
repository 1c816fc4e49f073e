//! What a step holds in memory, beside the model and the base optimizer's state, in copies of the
//! parameters: held against the table of the methods' pages.
//!
//! flex allocates on the heap, where every byte is counted. The net is all parameters and next to no
//! activations, in many layers, so that what is made of one parameter at a time does not count.

use std::{collections::BTreeMap, env, process::Command};

use burn::{
    module::{Module, Param},
    nn::{Linear, LinearConfig},
    optim::SgdConfig,
    tensor::{Device, Distribution, Tensor},
};
use peak_alloc::PeakAlloc;
use roga::{
    aggregation::{Sum, UpGrad},
    alignment::{AlignmentConfig, Difference},
    averaging::ExponentialMovingAverageConfig,
    domain::{DomainBatches, JoinedBatch},
    optim::{
        Aggregated, AggregationConfig, Evaluation, FishConfig,
        RobustGradientAlignmentConfig as Config,
    },
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const WIDTH: usize = 256;
const LAYERS: usize = 32;
/// Bytes of all parameters.
const COPY: usize = 4 * WIDTH * WIDTH * LAYERS;
/// Activations, what is made of one layer at a time, and all else.
const SLACK: f64 = 0.15;

#[derive(Module, Debug)]
struct Net {
    layers: Vec<Linear>,
}

impl Net {
    fn new(device: &Device) -> Self {
        device.seed(1);
        let numbers = Distribution::Normal(0.0, 1.0 / (WIDTH as f64).sqrt());
        let layer = |_| {
            let mut layer = LinearConfig::new(WIDTH, WIDTH)
                .with_bias(false)
                .init(device);
            layer.weight = Param::from_tensor(Tensor::random([WIDTH, WIDTH], numbers, device));
            layer
        };
        Self {
            layers: (0..LAYERS).map(layer).collect(),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let layers = self.layers.iter();
        layers.fold(x, |x, layer| layer.forward(x).tanh())
    }
}

fn loss(net: &Net, x: &Tensor<2>) -> Tensor<1> {
    net.forward(x.clone()).square().mean()
}

fn joined_loss(net: &Net, joined: &JoinedBatch<Tensor<2>>) -> Tensor<1> {
    let found = net.forward(joined.batch().clone()).square();
    joined.losses(|rows| found.clone().slice([rows]).mean())
}

fn batches(domains: usize, device: &Device) -> DomainBatches<Tensor<2>> {
    device.seed(2);
    let rows = |_| Tensor::random([2, WIDTH], Distribution::Normal(0.0, 1.0), device);
    DomainBatches::unnamed((0..domains).map(rows)).unwrap()
}

/// The most that is held at once while something is done, beyond what was there before, in copies of
/// the parameters.
fn peak(act: impl FnOnce()) -> f64 {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    act();
    (HEAP.peak_usage() - before) as f64 / COPY as f64
}

/// Of the third step: what the first leaves behind is no cost of a step, and LookSAM's second is a
/// plain one.
fn of_step(config: &Config, joined: bool, domains: usize) -> f64 {
    let device = Device::flex().autodiff();
    let (mut net, domains) = (Net::new(&device), batches(domains, &device));
    let mut optim = config.init(SgdConfig::new().init()).unwrap();
    let mut step = || {
        let report = match joined {
            false => optim.step(1e-3, &mut net, &domains, loss),
            true => optim.step_joined(1e-3, &mut net, &domains, joined_loss),
        };
        assert!(!report.unwrap().is_skipped());
    };
    step();
    step();
    peak(step)
}

fn of_fish(domains: usize) -> f64 {
    let device = Device::flex().autodiff();
    let (mut net, domains) = (Net::new(&device), batches(domains, &device));
    let mut fish = FishConfig::new().init(SgdConfig::new().init()).unwrap();
    let mut step = || _ = fish.step(1e-3, &mut net, &domains, loss).unwrap();
    step();
    peak(step)
}

/// What is held between steps.
fn of_average() -> f64 {
    let device = Device::flex().autodiff();
    let (mut net, domains) = (Net::new(&device), batches(2, &device));
    let mut optim = Config::erm().init(SgdConfig::new().init()).unwrap();
    let mut average = ExponentialMovingAverageConfig::new(0.9).init().unwrap();
    for _ in 0..2 {
        average.update(&net).unwrap();
        optim.step(1e-3, &mut net, &domains, loss).unwrap();
    }
    let with = HEAP.current_usage();
    drop(average);
    (with - HEAP.current_usage()) as f64 / COPY as f64
}

/// By the names that the table's rows begin with.
fn methods() -> Vec<(&'static str, Config)> {
    let roga = |evaluation| Config::new().with_evaluation(evaluation);
    let aligned = |config| Config::erm().with_alignment(Some(config));
    let sum = AggregationConfig::new(Sum.into());
    vec![
        ("ERM", Config::erm()),
        ("RoGA `Sampled`", roga(Evaluation::Sampled)),
        ("RoGA `All`", roga(Evaluation::All)),
        ("RoGA `Own`", roga(Evaluation::Own)),
        ("RoGA `Consensus`", roga(Evaluation::Consensus)),
        ("RoGA `Others`", roga(Evaluation::Others)),
        ("SAGM", Config::sagm(0.05, 1e-3)),
        ("SAM", Config::sam(0.05)),
        ("ASAM", Config::asam(0.5)),
        ("GSAM", Config::gsam(0.05, 0.2)),
        ("Friendly-SAM", Config::friendly_sam(0.05, 1.0, 0.9)),
        ("LookSAM", Config::look_sam(0.05, 2, 0.7)),
        ("per-domain SAM", Config::domain_sam(0.05)),
        ("DISAM", Config::disam(0.05, 0.1)),
        ("look-ahead", Config::look_ahead(1e-3)),
        ("UPGrad", Config::upgrad()),
        ("MGDA", Config::mgda()),
        ("CAGrad", Config::cagrad(0.5)),
        ("PCGrad", Config::pcgrad(0)),
        ("GroupDRO", Config::group_dro(0.1)),
        ("V-REx", Config::vrex(1.0)),
        ("AND-mask", Config::and_mask(0.5)),
        ("sum", Config::erm().with_aggregation(Some(sum))),
        (
            "alignment: inner product",
            aligned(AlignmentConfig::inner_product(0.1)),
        ),
        ("alignment: cosine", aligned(AlignmentConfig::cosine(0.1))),
        (
            "alignment: variance",
            aligned(AlignmentConfig::variance(0.1)),
        ),
        (
            "alignment: norm",
            aligned(AlignmentConfig::gradient_norm(0.1)),
        ),
    ]
}

/// A row of the table: what it says of $K$ domains' memory, and what of four domains'.
struct Row {
    /// Of `$K + a$, at least b`.
    formula: Option<[f64; 2]>,
    /// Alone and joined, where it says so.
    alone: f64,
    joined: Option<f64>,
}

impl Row {
    fn at(&self, domains: usize) -> f64 {
        let of = |[more, least]: [f64; 2]| (domains as f64 + more).max(least);
        self.formula.map_or(self.alone, of)
    }
}

/// $a$ and $b$ of a cell that begins with `$K + a$, at least b`.
fn formula(cell: &str) -> Option<[f64; 2]> {
    let (more, rest) = cell.strip_prefix("$K")?.split_once('$')?;
    let more = more.trim_start_matches(" + ");
    let least = rest.strip_prefix(", at least ").unwrap_or("0");
    let least = least.split(',').next()?;
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{cell}`"));
    let more = if more.is_empty() { 0.0 } else { number(more) };
    Some([more, number(least)])
}

/// `docs/methods/mod.md`, by the names that its rows begin with.
fn table() -> BTreeMap<String, Row> {
    let text = include_str!("../docs/methods/mod.md");
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, _, _, memory, measured, ..] = cells[..] else {
            panic!("`{row}` has too few cells");
        };
        let mut numbers = measured.split(", joined ").map(|number| number.parse());
        let Some(Ok(alone)) = numbers.next() else {
            continue;
        };
        table.insert(
            name.into(),
            Row {
                formula: formula(memory),
                alone,
                joined: numbers.next().map(Result::unwrap),
            },
        );
    }
    table
}

/// The row of a method.
fn row<'a>(table: &'a BTreeMap<String, Row>, method: &str) -> &'a Row {
    let found = table.iter().find(|(name, _)| {
        let rest = name.strip_prefix(method);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    });
    found
        .unwrap_or_else(|| panic!("the table has no row of {method}"))
        .1
}

/// What was measured, and where it is not what is said.
#[derive(Default)]
struct Comparison {
    wrong: Vec<String>,
}

impl Comparison {
    fn of(&mut self, what: &str, found: f64, said: f64) {
        println!("{what}: {found:.2} copies of the parameters");
        if (found - said).abs() > SLACK {
            self.wrong
                .push(format!("{what}: {found:.3} and not {said}"));
        }
    }
}

const ALONE: &str = "ROGA_MEMORY_ALONE";

#[test]
fn a_step_holds_what_the_table_says() {
    if env::var_os(ALONE).is_none() {
        // Threads come and go, and allocate: in a process of its own, with one of rayon's.
        let run = Command::new(env::current_exe().unwrap())
            .args(["--nocapture", "--test-threads", "1"])
            .envs([(ALONE, "1"), ("RAYON_NUM_THREADS", "1")])
            .output()
            .unwrap();
        let [said, error] = [&run.stdout, &run.stderr].map(|text| String::from_utf8_lossy(text));
        println!("{said}");
        assert!(run.status.success() && said.contains("1 passed"), "{error}");
        return;
    }
    let (table, mut compared) = (table(), Comparison::default());
    for (name, config) in methods() {
        let row = row(&table, name);
        assert_eq!(row.at(4), row.alone, "{name}");
        for domains in [4, 5] {
            let found = of_step(&config, false, domains);
            compared.of(&format!("{name}, K = {domains}"), found, row.at(domains));
        }
        let (joined, said) = (of_step(&config, true, 4), row.joined.unwrap_or(row.alone));
        compared.of(&format!("{name}, joined"), joined, said);
    }
    for domains in [4, 5] {
        compared.of("Fish", of_fish(domains), row(&table, "Fish").alone);
    }
    let average = row(&table, "exponential moving average");
    compared.of("average", of_average(), average.alone);
    combined(&mut compared);
    not_kept(&mut compared);
    within_goals(&mut compared);
    assert!(compared.wrong.is_empty(), "{:#?}", compared.wrong);
}

/// What the settings' own pages say of combinations.
fn combined(compared: &mut Comparison) {
    let cosine = || AlignmentConfig::cosine(0.1);
    let central = cosine().with_difference(Difference::Central);
    let roga = Config::new();
    let upgrad = |config: Config, of| {
        let aggregation = AggregationConfig::new(UpGrad::default().into()).with_of(of);
        config.with_aggregation(Some(aggregation))
    };
    let sagm = || Config::sagm(0.05, 1e-3);
    for (name, config, said) in [
        (
            "ERM without a report",
            Config::erm().with_report(false),
            2.0,
        ),
        ("central", Config::erm().with_alignment(Some(central)), 8.0),
        (
            "RoGA and alignment",
            roga.clone().with_alignment(Some(cosine())),
            9.0,
        ),
        ("RoGA, clean", upgrad(roga.clone(), Aggregated::Clean), 8.0),
        (
            "RoGA, perturbed",
            upgrad(roga.clone(), Aggregated::Perturbed),
            7.0,
        ),
        ("RoGA, both", upgrad(roga, Aggregated::Both), 8.0),
        (
            "SAGM, perturbed",
            upgrad(sagm(), Aggregated::Perturbed),
            7.0,
        ),
        ("SAGM, both", upgrad(sagm(), Aggregated::Both), 8.0),
        ("SAGM, ascent", upgrad(sagm(), Aggregated::Ascent), 6.0),
    ] {
        compared.of(name, of_step(&config, false, 4), said);
    }
}

/// Where no gradient is kept, memory does not grow with $K$.
fn not_kept(compared: &mut Comparison) {
    let of = |evaluation| Config::new().with_evaluation(evaluation);
    let streamed = |config: Config| config.with_report(false);
    let still = |evaluation| streamed(of(evaluation).with_gamma(0.0));
    let again = |evaluation| of(evaluation).with_recompute(true);
    for (name, config, said) in [
        ("SAM, streamed", streamed(Config::sam(0.05)), 4.0),
        (
            "per-domain SAM, streamed",
            streamed(Config::domain_sam(0.05)),
            4.0,
        ),
        ("`Own`, streamed", still(Evaluation::Own), 4.0),
        ("`Sampled`, streamed", still(Evaluation::Sampled), 4.0),
        ("`All`, streamed", still(Evaluation::All), 5.0),
        (
            "`Consensus`, streamed",
            streamed(of(Evaluation::Consensus)),
            4.0,
        ),
        ("`Consensus`, again", again(Evaluation::Consensus), 4.0),
        ("`Own`, again", again(Evaluation::Own), 4.0),
        ("`Sampled`, again", again(Evaluation::Sampled), 4.0),
        ("`All`, again", again(Evaluation::All), 5.0),
    ] {
        for domains in [4, 8] {
            let found = of_step(&config, false, domains);
            compared.of(&format!("{name}, K = {domains}"), found, said);
        }
    }
}

/// What a robust step may hold above one of empirical risk minimisation by domain, which holds a sum and a
/// gradient: $K + 2$ copies of the parameters, and 3 where gradients are not kept. All but what adds up at
/// a point keep to it above a joined step as well, which holds one gradient.
fn within_goals(compared: &mut Comparison) {
    let joined = of_step(&Config::erm(), true, 4);
    let by_domain = of_step(&Config::erm().with_report(false), false, 4);
    let mut hold = |name: String, config: &Config, domains, most: f64, ordinary: f64| {
        let above = of_step(config, false, domains) - ordinary;
        println!("{name}, K = {domains}: {above:.2} above an ordinary step");
        if above > most + SLACK {
            let found = format!("{name}: {above:.3} above an ordinary step, and at most {most}");
            compared.wrong.push(found);
        }
    };
    for domains in [2, 6] {
        for (name, config) in methods() {
            let most = domains as f64 + 2.0;
            hold(name.into(), &config, domains, most, by_domain);
            if name.starts_with("RoGA") || name.contains("SA") {
                hold(name.into(), &config, domains, most, joined);
            }
        }
        for (evaluation, ordinary) in [
            (Evaluation::Own, joined),
            (Evaluation::Sampled, joined),
            (Evaluation::Consensus, joined),
            (Evaluation::All, by_domain),
            (Evaluation::Others, by_domain),
        ] {
            let config = Config::new().with_evaluation(evaluation);
            let again = config.clone().with_recompute(true);
            let name = format!("{evaluation:?}, again");
            hold(name, &again, domains, 3.0, ordinary);
            let streamed = config.with_gamma(0.0).with_report(false);
            let name = format!("{evaluation:?}, streamed");
            hold(name, &streamed, domains, 3.0, ordinary);
        }
    }
}
