//! A step on several devices against the step on one, its errors, and what it moves.
//!
//! On the CPU burn has one device of a backend: the devices here are threads with copies of the model
//! of their own.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
};

use burn::{
    module::{Module, ParamGroup},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use roga::{
    Error, Result,
    aggregation::{Aggregation, Disam, GroupDro, PcGrad, UpGrad, VRex},
    alignment::{AlignmentConfig, Difference},
    domain::{DomainBatches, MicroBatches},
    gradient::accumulate,
    optim::{
        Aggregated, AggregationConfig, Draw, Evaluation, NonFinite, Outcome, Pass, Quantity,
        RobustGradient, RobustGradientAlignmentConfig as Config, Schedule, StepReport,
        micro_batched,
    },
    parallel::{MSharpnessReport, ParallelGradient, ParallelReport, Traffic},
    perturbation::Adaptive,
};

#[path = "parallel/batches.rs"]
mod of_devices;
#[path = "alignment/problems.rs"]
#[allow(dead_code)]
mod problems;

use of_devices::parts;
use problems::{Batch, EVALUATIONS, Mlp, Net, assert_close, device, momentum};

/// The size of an [`Mlp`]'s parameters, and of a gradient.
const P: u64 = 4 * (4 * 6 + 6 + 6 * 3 + 3);

fn loss(net: &Mlp, batch: &Batch) -> Tensor<1> {
    net.loss(batch)
}

/// Domains of different sizes, other ones in every step.
fn batches(domains: usize, step: usize) -> DomainBatches<Batch> {
    let of_domain = |d: usize| {
        let n = 4 + (3 * d) % 4;
        let x = (0..4 * n).map(|k| {
            let k = (k * (d + 2)) as f32;
            (0.9 * step as f32 + 1.1 * d as f32 + 0.53 * k).sin()
        });
        let y = (0..n).map(|r| (r * (d + 1) + step) as i32 % 3);
        let (x, y): (Vec<f32>, Vec<i32>) = (x.collect(), y.collect());
        Batch {
            x: Tensor::from_data(TensorData::new(x, [n, 4]), &device()),
            y: Tensor::from_data(TensorData::new(y, [n]), &device()),
        }
    };
    DomainBatches::unnamed((0..domains).map(of_domain)).unwrap()
}

fn evaluation(evaluation: Evaluation) -> Config {
    Config::new()
        .with_rho(0.3)
        .with_gamma(0.05)
        .with_evaluation(evaluation)
}

/// What all ways to divide a step are held against, for three domains and more.
fn settings() -> Vec<Config> {
    let aggregated = |config: Config, method: Aggregation, of| {
        config.with_aggregation(Some(AggregationConfig::new(method).with_of(of)))
    };
    let own = || evaluation(Evaluation::Own);
    let both = Aggregated::Both;
    let central = AlignmentConfig::variance(0.3).with_difference(Difference::Central);
    let mut settings = vec![
        Config::erm(),
        Config::sam(0.3),
        Config::asam(0.3),
        Config::sagm(0.3, 0.05),
        Config::gsam(0.3, 0.2),
        Config::look_ahead(0.1),
        Config::friendly_sam(0.3, 1.0, 0.9),
        Config::look_sam(0.3, 2, 0.7),
        Config::disam(0.3, 0.2),
        Config::group_dro(0.7),
        own().with_gamma(0.0),
        own().with_adaptive(Adaptive::ASAM),
        evaluation(Evaluation::Consensus).with_adaptive(Adaptive::All),
        own().with_group(
            ParamGroup::from_any_predicates(vec!["bias".to_string()]),
            0.0,
            0.2,
        ),
        own().with_interval(2),
        evaluation(Evaluation::Sampled).with_draw(Draw::Independent),
        evaluation(Evaluation::Sampled).with_draw(Draw::Derangement),
        aggregated(own(), PcGrad::default().into(), both),
        aggregated(own(), GroupDro { eta: 0.7 }.into(), both),
        aggregated(
            evaluation(Evaluation::All),
            UpGrad::default().into(),
            Aggregated::Perturbed,
        ),
        aggregated(Config::sagm(0.3, 0.05), VRex::default().into(), both),
        aggregated(
            Config::sam(0.3),
            Disam { lambda: 0.1 }.into(),
            Aggregated::Ascent,
        ),
        Config::erm().with_alignment(Some(AlignmentConfig::cosine(0.3))),
        own().with_alignment(Some(central.clone())),
        Config::sagm(0.3, 0.05).with_alignment(Some(central)),
    ];
    settings.extend(EVALUATIONS.map(evaluation));
    let quiet = settings.clone().into_iter();
    settings.extend(quiet.map(|config| config.with_report(false)));
    settings
}

/// The devices of so many workers.
fn devices(count: usize) -> Vec<Device> {
    vec![device(); count]
}

fn parallel(config: &Config, count: usize) -> ParallelGradient {
    let gradient = config.init_gradient().unwrap();
    ParallelGradient::new(gradient, devices(count)).unwrap()
}

/// Three steps of a base optimizer with momentum: where they end, every $G$, and the reports.
fn training(
    mut gradients: impl FnMut(&Mlp, usize) -> (GradientsParams, StepReport),
) -> (Vec<f32>, Vec<StepReport>) {
    let mut net = Mlp::new(&device());
    let mut base = momentum();
    let mut reports = Vec::new();
    let mut numbers = Vec::new();
    for step in 0..3 {
        let (found, report) = gradients(&net, step);
        assert!(!report.is_skipped(), "{:?}", report.outcome);
        numbers.extend(flat(&net, &found));
        reports.push(report);
        net = base.step(0.1, net, found);
    }
    numbers.extend(net.values());
    (numbers, reports)
}

fn flat(net: &Mlp, gradient: &GradientsParams) -> Vec<f32> {
    let mut flat = Vec::new();
    for layer in [&net.first, &net.second] {
        let weight = gradient.get::<2>(layer.weight.id).unwrap();
        let bias = layer.bias.as_ref().unwrap();
        let bias = gradient.get::<1>(bias.id).unwrap();
        flat.extend(problems::values(&weight));
        flat.extend(problems::values(&bias));
    }
    flat
}

/// Differences of finite length divide what rounding leaves by that.
fn tolerance(config: &Config) -> f32 {
    match config.alignment {
        None => 1e-5,
        Some(_) => 1e-4,
    }
}

/// Every number that a report has, as text with its place.
fn numbers(report: &StepReport) -> Vec<(String, f64)> {
    fn walk(value: &serde_json::Value, path: String, into: &mut Vec<(String, f64)>) {
        match value {
            serde_json::Value::Array(values) => (values.iter().enumerate())
                .for_each(|(i, value)| walk(value, format!("{path}.{i}"), into)),
            serde_json::Value::Object(values) => {
                (values.iter()).for_each(|(key, value)| walk(value, format!("{path}.{key}"), into))
            }
            value => into.extend(value.as_f64().map(|number| (path, number))),
        }
    }
    let mut numbers = Vec::new();
    walk(
        &serde_json::to_value(report).unwrap(),
        String::new(),
        &mut numbers,
    );
    numbers
}

/// That reports say the same, but for what is named.
#[track_caller]
fn assert_alike(found: &[StepReport], expected: &[StepReport], but: &[&str], config: &Config) {
    for (found, expected) in found.iter().zip(expected) {
        let keep = |numbers: Vec<(String, f64)>| -> Vec<(String, f64)> {
            let but = |path: &str| but.iter().any(|name| path.contains(name));
            numbers.into_iter().filter(|(path, _)| !but(path)).collect()
        };
        let (found, expected) = (keep(numbers(found)), keep(numbers(expected)));
        assert_eq!(found.len(), expected.len(), "{config:?}");
        for ((path, one), (other, two)) in found.iter().zip(&expected) {
            assert_eq!(path, other);
            let tolerance = f64::from(tolerance(config)) * two.abs().max(1.0);
            assert!(
                (one - two).abs() <= tolerance,
                "{path}: {one}, {two}, {config:?}"
            );
        }
    }
}

/// On one device.
fn alone(config: &Config, domains: usize) -> (Vec<f32>, Vec<StepReport>) {
    let gradient = config.init_gradient().unwrap();
    training(|net, step| {
        gradient
            .gradients(net, &batches(domains, step), loss)
            .unwrap()
    })
}

fn by_domain(config: &Config, domains: usize, count: usize) -> (Vec<f32>, Vec<StepReport>) {
    let gradient = parallel(config, count);
    training(|net, step| {
        let found = gradient.domain_parallel(net, &batches(domains, step), loss);
        let (gradients, report) = found.unwrap();
        (gradients, report.step)
    })
}

#[test]
fn domain_parallel_is_the_step_of_one_device_in_every_setting() {
    for config in settings() {
        let (expected, reports) = alone(&config, 4);
        for count in [2, 3] {
            let (found, of_devices) = by_domain(&config, 4, count);
            assert_close(&found, &expected, tolerance(&config));
            assert_alike(&of_devices, &reports, &[], &config);
        }
    }
}

#[test]
fn domain_parallel_is_the_step_of_one_device_for_every_number_of_domains() {
    for of in EVALUATIONS {
        for report in [true, false] {
            for domains in 1..=5 {
                if of == Evaluation::Others && domains == 1 {
                    continue;
                }
                let config = evaluation(of).with_report(report);
                let (expected, reports) = alone(&config, domains);
                for count in 1..=domains.min(3) {
                    let (found, of_devices) = by_domain(&config, domains, count);
                    assert_close(&found, &expected, 1e-5);
                    assert_alike(&of_devices, &reports, &[], &config);
                }
            }
        }
    }
}

#[test]
fn domains_weigh_what_they_are_given() {
    for of in EVALUATIONS {
        for report in [true, false] {
            let config = evaluation(of)
                .with_domain_weights(Some(vec![1.0, 0.0, 3.0, 0.5]))
                .with_report(report);
            let (expected, reports) = alone(&config, 4);
            let (found, of_devices) = by_domain(&config, 4, 2);
            assert_close(&found, &expected, 1e-5);
            assert_alike(&of_devices, &reports, &[], &config);
        }
    }
}

#[test]
fn data_parallel_is_the_step_of_the_whole_mini_batches_in_every_setting() {
    for config in settings() {
        let (expected, reports) = alone(&config, 3);
        for count in [2, 3] {
            let gradient = parallel(&config, count);
            let (found, of_devices) = training(|net, step| {
                let domains = parts(batches(3, step), count);
                let (gradients, report) = gradient.data_parallel(net, &domains, loss).unwrap();
                (gradients, report.step)
            });
            assert_close(&found, &expected, tolerance(&config));
            // Every device calls the closure, and none knows a whole gradient's norm.
            let but: &[&str] = match config.report {
                true => &["calls"],
                false => &["calls", "domains"],
            };
            assert_alike(&of_devices, &reports, but, &config);
        }
    }
}

#[test]
fn data_parallel_is_the_step_of_micro_batches() {
    for of in EVALUATIONS {
        let gradient = evaluation(of).init_gradient().unwrap();
        let (expected, _) = training(|net, step| {
            let domains = parts(batches(3, step), 2);
            gradient
                .gradients(net, &domains, micro_batched(loss))
                .unwrap()
        });
        let gradient = parallel(&evaluation(of), 2);
        let (found, _) = training(|net, step| {
            let domains = parts(batches(3, step), 2);
            let (gradients, report) = gradient.data_parallel(net, &domains, loss).unwrap();
            (gradients, report.step)
        });
        assert_close(&found, &expected, 1e-5);
    }
}

/// $G$ of each device's parts alone, by itself.
fn of_parts(
    config: &Config,
    net: &Mlp,
    domains: &DomainBatches<MicroBatches<Batch>>,
    count: usize,
) -> Vec<Vec<f32>> {
    let of_part = |part: usize| {
        let own = domains.iter().map(|(name, parts)| {
            let (_, batch) = parts.iter().nth(part).unwrap();
            (name.clone(), batch.clone())
        });
        let gradient = config.init_gradient().unwrap();
        let own = DomainBatches::new(own).unwrap();
        flat(net, &gradient.gradients(net, &own, loss).unwrap().0)
    };
    (0..count).map(of_part).collect()
}

#[test]
fn m_sharpness_is_the_mean_of_the_devices_own_gradients() {
    let net = Mlp::new(&device());
    for config in settings() {
        // Four rows a domain: as many on each device.
        let four = batches(3, 0).map(|batch| Batch {
            x: batch.x.narrow(0, 0, 4),
            y: batch.y.narrow(0, 0, 4),
        });
        let domains = parts(four, 2);
        let (found, report) = parallel(&config, 2)
            .m_sharpness(&net, &domains, loss)
            .unwrap();
        let own = of_parts(&config, &net, &domains, 2);
        let mean = own[0].iter().zip(&own[1]).map(|(a, b)| 0.5 * (a + b));
        assert_close(&flat(&net, &found), &mean.collect::<Vec<_>>(), 1e-6);
        assert_eq!(report.steps.len(), 2);
        let one_meeting = Traffic {
            meetings: 1,
            sent: P,
            received: P,
            batches: report.traffic.batches,
        };
        assert_eq!(report.traffic, one_meeting);
    }
}

#[test]
fn m_sharpness_weighs_devices_by_their_rows_and_is_another_step() {
    let net = Mlp::new(&device());
    let config = evaluation(Evaluation::Own);
    let domains = parts(batches(3, 0), 3);
    let gradient = parallel(&config, 3);
    let (found, _) = gradient.m_sharpness(&net, &domains, loss).unwrap();
    let mut expected = vec![0.0; 51];
    for (device, own) in of_parts(&config, &net, &domains, 3).iter().enumerate() {
        let shares = domains
            .iter()
            .map(|(_, parts)| parts.iter().nth(device).unwrap().0);
        let share = shares.sum::<f64>() / 3.0;
        let terms = expected.iter_mut().zip(own);
        terms.for_each(|(sum, own)| *sum += share as f32 * own);
    }
    let found = flat(&net, &found);
    assert_close(&found, &expected, 1e-6);
    let (synchronised, _) = gradient.data_parallel(&net, &domains, loss).unwrap();
    let apart = flat(&net, &synchronised);
    let distance = found.iter().zip(&apart).map(|(a, b)| (a - b).abs());
    assert!(distance.fold(0.0, f32::max) > 1e-3);
}

/// Traffic between the first device and the others, for two devices and the four domains of
/// [`batches`] (4, 7, 6 and 5 rows), of which each has two.
#[test]
fn a_domain_parallel_step_moves_what_its_documentation_says() {
    let rows = |rows: u64| {
        let y = batches(1, 0).iter().next().unwrap().1.y.clone();
        rows * (4 * 4 + y.dtype().size() as u64)
    };
    // Of domains 2 and 3 those that are held, then those of 0 and 1 that come to the points.
    let (held, all) = (rows(6 + 5), rows(4 + 7 + 6 + 5));
    let traffic = |meetings, sent, received, batches| Traffic {
        meetings,
        sent: sent * P,
        received: received * P,
        batches,
    };
    let quiet = |of| evaluation(of).with_report(false);
    let aligned = Config::erm().with_alignment(Some(AlignmentConfig::cosine(0.3)));
    let cases = [
        (Config::erm().with_report(false), traffic(1, 1, 1, held)),
        (Config::erm(), traffic(1, 1, 2, held)),
        (Config::sam(0.1).with_report(false), traffic(2, 2, 2, held)),
        (quiet(Evaluation::Own), traffic(2, 2, 2, held)),
        (
            quiet(Evaluation::Own).with_gamma(0.0),
            traffic(2, 1, 2, held),
        ),
        (quiet(Evaluation::All), traffic(2, 2, 2, all)),
        (quiet(Evaluation::Others), traffic(2, 2, 2, all)),
        (quiet(Evaluation::Consensus), traffic(2, 2, 3, held)),
        // The Gram matrix of the report: the two gradients instead of their sum.
        (evaluation(Evaluation::Own), traffic(2, 2, 3, held)),
        (evaluation(Evaluation::All), traffic(2, 2, 3, all)),
        // The directions of two points.
        (aligned, traffic(2, 3, 3, held)),
    ];
    let net = Mlp::new(&device());
    for (config, expected) in cases {
        let (_, report) = parallel(&config, 2)
            .domain_parallel(&net, &batches(4, 0), loss)
            .unwrap();
        assert_eq!(report.traffic, expected, "{config:?}");
    }
    // One device moves nothing.
    let (_, report) = parallel(&evaluation(Evaluation::All), 1)
        .domain_parallel(&net, &batches(4, 0), loss)
        .unwrap();
    assert_eq!(report.traffic, traffic(2, 0, 0, 0));
}

#[test]
fn a_data_parallel_step_moves_what_its_documentation_says() {
    let net = Mlp::new(&device());
    // Meetings, and what goes out to each other device and comes in from it.
    for (config, [meetings, out, back]) in [
        (Config::sam(0.1).with_report(false), [2, 2, 2]),
        (Config::sam(0.1), [2, 2, 4]),
        (evaluation(Evaluation::Own).with_report(false), [4, 4, 6]),
        (
            evaluation(Evaluation::Consensus).with_report(false),
            [2, 2, 4],
        ),
    ] {
        for count in [2, 3] {
            let domains = parts(batches(3, 0), count);
            let (_, report) = parallel(&config, count)
                .data_parallel(&net, &domains, loss)
                .unwrap();
            let others = count as u64 - 1;
            let Traffic {
                meetings: met,
                sent,
                received,
                ..
            } = report.traffic;
            let expected = (meetings, out * others * P, back * others * P);
            assert_eq!((met, sent, received), expected, "{config:?}");
        }
    }
}

#[test]
fn every_device_has_a_thread_and_some_of_the_domains() {
    let seen = Mutex::new(HashSet::new());
    let watched = |net: &Mlp, batch: &Batch| {
        let rows = batch.x.dims()[0];
        seen.lock().unwrap().insert((thread::current().id(), rows));
        net.loss(batch)
    };
    let net = Mlp::new(&device());
    let config = Config::erm();
    let found = parallel(&config, 3).domain_parallel(&net, &batches(4, 0), watched);
    found.unwrap();
    let seen = seen.into_inner().unwrap();
    // Domains 0 and 1 here, the others on threads of their own.
    let threads: HashSet<_> = seen.iter().map(|(thread, _)| *thread).collect();
    assert_eq!((seen.len(), threads.len()), (4, 3));
    let here = seen.iter().filter(|(id, _)| *id == thread::current().id());
    let here: HashSet<usize> = here.map(|(_, rows)| *rows).collect();
    assert_eq!(here, HashSet::from([4, 7]));
}

#[test]
fn two_runs_give_the_same_bits() {
    for config in [evaluation(Evaluation::All), Config::sagm(0.1, 0.05)] {
        assert_eq!(by_domain(&config, 4, 3).0, by_domain(&config, 4, 3).0);
    }
}

#[test]
fn running_statistics_are_the_mean_over_the_devices() {
    let domains = || {
        let batches = batches(4, 0);
        batches.map(|batch| batch)
    };
    let net = Net::new(&device());
    let ids = net.clone();
    let config = evaluation(Evaluation::Own);
    let loss = |net: &Net, batch: &Batch| net.loss(batch);
    parallel(&config, 2)
        .domain_parallel(&net, &domains(), loss)
        .unwrap();
    let mut mean = [0.0; 6];
    for of_device in [0..2, 2..4] {
        let alone = Net::new(&device());
        let held = domains();
        let held = held.iter().skip(of_device.start).take(of_device.len());
        let held = DomainBatches::new(held.map(|(name, batch)| (name.clone(), batch.clone())));
        let gradient = config.init_gradient().unwrap();
        gradient.gradients(&alone, &held.unwrap(), loss).unwrap();
        let values = problems::values(&alone.valid().norm.running_mean.value());
        mean.iter_mut()
            .zip(values)
            .for_each(|(sum, v)| *sum += 0.5 * v);
    }
    let found = problems::values(&net.valid().norm.running_mean.value());
    assert_close(&found, &mean, 1e-6);
    // What clones share is what has changed, and nothing else has.
    assert_eq!(ids.state()[..24], Net::new(&device()).state()[..24]);
}

/// What three ways to divide a step make of a loss, on two devices.
fn three_ways<L>(
    config: &Config,
    net: &Net,
    loss: impl Fn(&Net, &Batch) -> L + Sync,
) -> [Result<Vec<StepReport>>; 3]
where
    L: roga::optim::DomainLoss<Net>,
{
    let steps = |found: Result<(GradientsParams, ParallelReport)>| {
        found.map(|(gradients, report)| {
            assert_eq!(report.step.is_skipped(), gradients.is_empty());
            vec![report.step]
        })
    };
    let of_each = |found: Result<(GradientsParams, MSharpnessReport)>| {
        found.map(|(gradients, report)| {
            assert_eq!(report.is_skipped(), gradients.is_empty());
            report.steps
        })
    };
    let halves = parts(batches(3, 0), 2);
    [
        steps(parallel(config, 2).domain_parallel(net, &batches(3, 0), &loss)),
        steps(parallel(config, 2).data_parallel(net, &halves, &loss)),
        of_each(parallel(config, 2).m_sharpness(net, &halves, &loss)),
    ]
}

/// Whether a batch is of the domain whose batches hold this many rows in all, or a part of it.
fn is_of(batch: &Batch, domain: usize) -> bool {
    let of_domain = batches(3, 0);
    let (_, whole) = of_domain.iter().nth(domain).unwrap();
    let (whole, part) = (problems::values(&whole.x), problems::values(&batch.x));
    whole.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_loss_that_is_not_finite_on_another_device_skips_the_step_and_is_named() {
    for report in [true, false] {
        for config in [
            evaluation(Evaluation::Own),
            evaluation(Evaluation::Consensus),
            Config::sagm(0.1, 0.05),
        ] {
            let config = config.with_report(report);
            let net = Net::new(&device());
            let before = net.state();
            // The last domain: on the second device, where devices have domains.
            let spoilt = |net: &Net, batch: &Batch| match is_of(batch, 2) {
                true => net.loss(batch) * f32::NAN,
                false => net.loss(batch),
            };
            for found in three_ways(&config, &net, spoilt) {
                let steps = found.unwrap();
                let first = steps.iter().find(|step| step.is_skipped()).unwrap();
                let named = NonFinite {
                    domain: Some("domain 2".into()),
                    pass: Pass::Clean,
                    quantity: Quantity::Loss,
                };
                assert_eq!(first.outcome, Outcome::Skipped(named));
                assert_eq!(net.state(), before);
            }
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_at_a_point_on_another_device_is_named() {
    // Away from θ the derivative of the root is infinite.
    let net = Net::new(&device());
    let theta = net.second.weight.val().inner();
    let spoilt = |net: &Net, batch: &Batch| {
        let weight = net.second.weight.val();
        let moved = (weight.clone().inner() - theta.clone()).abs().sum();
        let moved = moved.into_scalar::<f32>() > 0.0;
        match is_of(batch, 2) && moved {
            true => net.loss(batch) + (weight.clone() - weight.detach()).sum().sqrt(),
            false => net.loss(batch),
        }
    };
    for (config, ascent) in [
        (evaluation(Evaluation::Own), Some("domain 2".into())),
        (Config::sagm(0.1, 0.05), None),
    ] {
        let before = net.state();
        let [by_domain, by_data, of_each] = three_ways(&config, &net, spoilt);
        for found in [by_domain, by_data, of_each] {
            let steps = found.unwrap();
            let first = steps.iter().find(|step| step.is_skipped()).unwrap();
            let named = NonFinite {
                domain: Some("domain 2".into()),
                pass: Pass::Perturbed {
                    ascent: ascent.clone(),
                },
                quantity: Quantity::Gradient,
            };
            assert_eq!(first.outcome, Outcome::Skipped(named));
            assert_eq!(net.state(), before);
        }
    }
}

#[test]
fn skipped_steps_are_counted_and_too_many_are_an_error() {
    let config = evaluation(Evaluation::Own).with_max_skipped_steps(Some(2));
    let gradient = parallel(&config, 2);
    let net = Mlp::new(&device());
    let spoilt = |net: &Mlp, batch: &Batch| net.loss(batch) * f32::NAN;
    let (gradients, _) = gradient
        .domain_parallel(&net, &batches(2, 0), spoilt)
        .unwrap();
    assert!(gradients.is_empty());
    let error = gradient.domain_parallel(&net, &batches(2, 1), spoilt);
    assert!(matches!(error, Err(Error::NonFinite { skipped: 2, .. })));
    assert_eq!(gradient.gradient().steps(), 2);
}

#[test]
fn an_error_of_the_closure_on_another_device_leaves_all_as_it_was() {
    let net = Net::new(&device());
    let before = net.state();
    let failing = |net: &Net, batch: &Batch| match is_of(batch, 2) {
        true => Err(std::io::Error::other("gone")),
        false => Ok(net.loss(batch)),
    };
    for found in three_ways(&evaluation(Evaluation::All), &net, failing) {
        let error = found.unwrap_err();
        assert!(matches!(&error, Error::Closure { domain, .. } if domain == "domain 2"));
        assert_eq!(net.state(), before);
    }
}

#[test]
fn a_panic_of_the_closure_on_another_device_goes_on_and_leaves_all_as_it_was() {
    let net = Net::new(&device());
    let before = net.state();
    let here = thread::current().id();
    let panicking = |net: &Net, batch: &Batch| {
        assert!(thread::current().id() == here, "another device");
        net.loss(batch)
    };
    let gradient = parallel(&evaluation(Evaluation::All), 2);
    let batches = batches(3, 0);
    let step = || {
        gradient
            .domain_parallel(&net, &batches, panicking)
            .map(|_| ())
    };
    let panicked = catch_unwind(AssertUnwindSafe(step)).unwrap_err();
    assert_eq!(*panicked.downcast_ref::<&str>().unwrap(), "another device");
    assert_eq!(net.state(), before);
    // The next step is none the worse for it.
    let loss = |net: &Net, batch: &Batch| net.loss(batch);
    gradient.domain_parallel(&net, &batches, loss).unwrap();
}

#[test]
fn what_cannot_be_divided_is_refused() {
    let gradient = || Config::new().init_gradient().unwrap();
    let error = ParallelGradient::new(gradient(), []).unwrap_err();
    assert_eq!(
        error.to_string(),
        "devices must be at least one, but is none"
    );

    let net = Mlp::new(&device());
    let many = parallel(&Config::new(), 3);
    let error = many
        .domain_parallel(&net, &batches(2, 0), loss)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "domains must be at least as many as the devices that they are dealt to, but there are 2 for 3"
    );
    let halves = parts(batches(2, 0), 2);
    let errors = [
        many.data_parallel(&net, &halves, loss).unwrap_err(),
        many.m_sharpness(&net, &halves, loss).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(
            error.to_string(),
            "domains must have mini-batches of one part for each device, but `domain 0` has 2 for 3"
        );
    }
    // A model without parameters is on no device.
    let nothing = burn::nn::Relu::new();
    let found = many.domain_parallel(&nothing, &batches(3, 0), |_: &burn::nn::Relu, b: &Batch| {
        b.x.clone().mean()
    });
    assert!(matches!(found, Err(Error::Model { .. })));
}

#[test]
fn steps_go_by_the_numbers_of_the_batches() {
    let config = evaluation(Evaluation::Sampled);
    let gradient: RobustGradient = config.init_gradient().unwrap();
    let net = Mlp::new(&device());
    let (expected, _) = gradient
        .gradients(&net, &batches(4, 0).with_step(7), loss)
        .unwrap();
    let (found, report) = parallel(&config, 2)
        .domain_parallel(&net, &batches(4, 0).with_step(7), loss)
        .unwrap();
    assert_eq!(report.step.step, 7);
    assert_close(&flat(&net, &found), &flat(&net, &expected), 1e-5);
}

#[test]
fn the_learning_rate_is_known_on_every_device() {
    let config =
        evaluation(Evaluation::Own).with_rho_schedule(Schedule::LearningRate { reference: 0.1 });
    let gradient = parallel(&config, 2);
    gradient.gradient().set_learning_rate(0.05);
    let net = Mlp::new(&device());
    let (_, report) = gradient
        .m_sharpness(&net, &parts(batches(3, 0), 2), loss)
        .unwrap();
    assert!(report.steps.iter().all(|step| step.rho == 0.15));
    let (_, report) = gradient
        .domain_parallel(&net, &batches(3, 0), loss)
        .unwrap();
    assert_eq!(report.step.rho, 0.15);
}

/// Layers that share a parameter share it on every device.
#[test]
fn a_shared_parameter_is_one_on_every_device() {
    #[derive(Module, Debug)]
    struct Tied {
        one: burn::nn::Linear,
        other: burn::nn::Linear,
    }
    let one = burn::nn::LinearConfig::new(4, 4).init(&device());
    let net = Tied {
        other: one.clone(),
        one,
    };
    let loss = |net: &Tied, batch: &Batch| {
        let hidden = net.one.forward(batch.x.clone()).tanh();
        net.other.forward(hidden).square().mean()
    };
    for config in [evaluation(Evaluation::Own), Config::sagm(0.3, 0.05)] {
        let gradient = config.init_gradient().unwrap();
        let (expected, _) = gradient.gradients(&net, &batches(3, 0), loss).unwrap();
        let (found, _) = parallel(&config, 3)
            .domain_parallel(&net, &batches(3, 0), loss)
            .unwrap();
        let mut difference = GradientsParams::new();
        accumulate(&net, &mut difference, 1.0, expected);
        accumulate(&net, &mut difference, -1.0, found);
        let difference = difference.get::<2>(net.one.weight.id).unwrap();
        assert_close(&problems::values(&difference), &[0.0; 16], 1e-5);
    }
}
