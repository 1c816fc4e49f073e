//! Batches in parts, and batches put together: the same step.

use std::{cell::Cell, error::Error as _};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use roga::{
    Error,
    domain::{DomainBatches, JoinedBatch, MicroBatches},
    optim::{
        Ascent, Evaluation, NonFinite, Outcome, Pass, Quantity,
        RobustGradientAlignmentConfig as Config, StepReport, micro_batched,
    },
    perturbation::Adaptive,
};

use crate::problems::{
    Batch, EVALUATIONS, Mlp, Net, assert_close, batches, device, joined_losses, momentum, net_loss,
    optimizer_state, uneven, values,
};

/// Every evaluation and ascent, plain and adaptive, with and without weights and report.
fn configs() -> Vec<Config> {
    let mut configs = Vec::new();
    for evaluation in EVALUATIONS {
        for ascent in [Ascent::Domain, Ascent::Pooled] {
            for adaptive in [
                Adaptive::None,
                Adaptive::Weights { eta: 0.1 },
                Adaptive::All,
            ] {
                for weights in [None, Some(vec![1.0, 2.0, 4.0]), Some(vec![1.0, 0.0, 4.0])] {
                    for report in [true, false] {
                        let config = Config::new()
                            .with_rho(0.3)
                            .with_gamma(0.05)
                            .with_evaluation(evaluation)
                            .with_ascent(ascent)
                            .with_adaptive(adaptive)
                            .with_domain_weights(weights.clone());
                        configs.push(config.with_report(report));
                    }
                }
            }
        }
    }
    configs
}

fn mlp_joined(net: &Mlp, joined: &JoinedBatch<Batch>) -> Tensor<1> {
    joined_losses(net.forward(joined.batch().x.clone()), joined)
}

fn net_joined(net: &Net, joined: &JoinedBatch<Batch>) -> Tensor<1> {
    joined_losses(net.forward(joined.batch().x.clone()), joined)
}

#[track_caller]
fn same_numbers(a: &StepReport, b: &StepReport) {
    let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-5, "{a} is not {b}");
    let both = |a: Option<f64>, b: Option<f64>| {
        if let (Some(a), Some(b)) = (a, b) {
            close(a, b);
        }
    };
    assert_eq!((a.step, a.rho, a.gamma), (b.step, b.rho, b.gamma));
    assert_eq!(a.passes.clean, b.passes.clean);
    assert_eq!(a.passes.perturbed, b.passes.perturbed);
    if a.cosines.is_some() && b.cosines.is_some() {
        assert_eq!(a.conflicts, b.conflicts);
    }
    assert_eq!(a.points.len(), b.points.len());
    close(a.update_gradient_norm, b.update_gradient_norm);
    both(a.mean_gradient_norm, b.mean_gradient_norm);
    for (a, b) in a.domains.iter().zip(&b.domains) {
        assert_eq!((&a.name, a.weight), (&b.name, b.weight));
        close(a.loss, b.loss);
        both(a.gradient_norm, b.gradient_norm);
    }
    for (a, b) in a.points.iter().zip(&b.points) {
        assert_eq!(a.ascent, b.ascent);
        assert_eq!(a.losses.len(), b.losses.len());
        for ((a, loss), (b, other)) in a.losses.iter().zip(&b.losses) {
            assert_eq!(a, b);
            close(*loss, *other);
        }
        close(a.sharpness, b.sharpness);
        both(a.gradient_norm, b.gradient_norm);
        both(a.alignment, b.alignment);
    }
}

#[test]
fn joined_passes_are_the_same_step() {
    let device = device();
    for config in configs() {
        let (mut separate, mut joined) = (Mlp::new(&device), Mlp::new(&device));
        let mut one = config.init(momentum()).unwrap();
        let mut two = config.init(momentum()).unwrap();
        for step in 0..2 {
            let domains = uneven(step, &device);
            let expected = one.step(0.1, &mut separate, &domains, Mlp::loss).unwrap();
            let report = two.step_joined(0.1, &mut joined, &domains, mlp_joined);
            assert_close(&joined.values(), &separate.values(), 1e-6);
            same_numbers(&report.unwrap(), &expected);
        }
    }
}

#[test]
fn joined_passes_call_the_closure_as_seldom_as_they_can() {
    let device = device();
    let evaluation = |evaluation| Config::new().with_evaluation(evaluation);
    for (config, expected) in [
        (Config::erm(), 1),
        (Config::sam(0.1), 2),
        (Config::asam(0.1), 2),
        (Config::sagm(0.1, 0.01), 2),
        (Config::look_ahead(0.01), 2),
        (Config::domain_sam(0.1), 6),
        (evaluation(Evaluation::All), 6),
        (evaluation(Evaluation::Own), 6),
        (evaluation(Evaluation::Others), 6),
        (evaluation(Evaluation::Sampled), 6),
        (evaluation(Evaluation::Consensus), 4),
        (evaluation(Evaluation::All).with_warmup_steps(1), 1),
        (
            evaluation(Evaluation::All).with_domain_weights(Some(vec![1.0, 0.0, 1.0])),
            5,
        ),
    ] {
        for report in [false, true] {
            let config = config.clone().with_report(report);
            let net = Mlp::new(&device);
            let calls = Cell::new(0);
            let robust = config.init_gradient().unwrap();
            let (_, joined) = robust
                .gradients_joined(&net, &uneven(0, &device), |net: &Mlp, joined| {
                    calls.set(calls.get() + 1);
                    mlp_joined(net, joined)
                })
                .unwrap();
            assert_eq!(joined.passes.calls, expected, "{config}");
            assert_eq!(calls.replace(0), expected);
            let robust = config.init_gradient().unwrap();
            let (_, separate) = robust
                .gradients(&net, &uneven(0, &device), |net: &Mlp, batch: &Batch| {
                    calls.set(calls.get() + 1);
                    net.loss(batch)
                })
                .unwrap();
            assert_eq!(separate.passes.calls, calls.get());
            assert_eq!(
                calls.get(),
                separate.passes.clean + separate.passes.perturbed
            );
            assert_eq!(joined.passes.clean, separate.passes.clean);
            assert_eq!(joined.passes.perturbed, separate.passes.perturbed);
        }
    }
}

#[test]
fn a_joined_batch_holds_the_rows_of_its_domains_in_their_order() {
    let device = device();
    let domains = uneven(0, &device);
    let config = Config::new().with_evaluation(Evaluation::Others);
    let mut seen = Vec::new();
    config
        .init_gradient()
        .unwrap()
        .gradients_joined(&Mlp::new(&device), &domains, |net: &Mlp, joined| {
            let rows = joined.rows().iter().map(|rows| rows.len());
            seen.push(rows.collect::<Vec<_>>());
            let mut begin = 0;
            for rows in joined.rows() {
                assert_eq!(rows.start, begin);
                begin = rows.end;
                let x = values(&joined.batch().x.clone().slice([rows.clone()]));
                let y = joined.batch().y.clone().slice([rows.clone()]);
                let of = domains.iter().map(|(_, batch)| batch);
                let of = of.filter(|batch| batch.x.dims()[0] == rows.len());
                let of = of.last().unwrap();
                assert_eq!(x, values(&of.x));
                assert_eq!(y.into_data(), of.y.to_data());
            }
            assert_eq!(joined.batch().x.dims()[0], begin);
            mlp_joined(net, joined)
        })
        .unwrap();
    let expected: [&[usize]; 6] = [&[5], &[3], &[7], &[3, 7], &[5, 7], &[5, 3]];
    assert_eq!(seen, expected);
}

#[test]
fn with_batch_normalisation_the_statistics_are_those_of_the_clean_passes() {
    let device = device();
    for evaluation in EVALUATIONS {
        for ascent in [Ascent::Domain, Ascent::Pooled] {
            for report in [true, false] {
                let config = Config::new()
                    .with_rho(0.5)
                    .with_evaluation(evaluation)
                    .with_ascent(ascent)
                    .with_report(report);
                let (mut net, mut separate) = (Net::new(&device), Net::new(&device));
                let mut optim = config.init(momentum()).unwrap();
                let mut other = config.init(momentum()).unwrap();
                for step in 0..2 {
                    let domains = batches(step, &device);
                    let expected = net.clone().train();
                    let report = optim
                        .step_joined(0.1, &mut net, &domains, net_joined)
                        .unwrap();
                    other.step(0.1, &mut separate, &domains, net_loss).unwrap();
                    // One clean pass where the domains' gradients are not known one by one.
                    if report.passes.calls == 1 + report.points.len() {
                        let x = domains.iter().map(|(_, batch)| batch.x.clone());
                        expected.forward(Tensor::cat(x.collect(), 0));
                    } else {
                        for (_, batch) in domains.iter() {
                            expected.loss(batch);
                        }
                    }
                    let (net, expected) = (net.valid(), expected.valid());
                    for (seen, expected) in [
                        (&net.norm.running_mean, &expected.norm.running_mean),
                        (&net.norm.running_var, &expected.norm.running_var),
                    ] {
                        assert_eq!(values(&seen.value()), values(&expected.value()));
                    }
                }
                let joins = matches!(ascent, Ascent::Pooled)
                    || matches!(
                        evaluation,
                        Evaluation::All | Evaluation::Others | Evaluation::Consensus
                    );
                let weights = [&net, &separate].map(|net| values(&net.first.weight.val()));
                let away = weights[0]
                    .iter()
                    .zip(&weights[1])
                    .map(|(a, b)| (a - b).abs());
                let away = away.fold(0.0, f32::max);
                assert!(away > 1e-3 || away <= 1e-6, "{away}");
                let differs = away > 1e-3;
                assert_eq!(differs, joins, "{config}");
            }
        }
    }
}

/// √(w − w) is 0 with a derivative that is not finite.
fn infinite_slope(net: &Net) -> Tensor<1> {
    let weight = net.second.weight.val();
    (weight.clone() - weight.detach()).sum().sqrt()
}

#[test]
fn a_joined_pass_that_is_not_finite_changes_nothing_and_is_named() {
    let device = device();
    let names = ["a", "b", "c"];
    for config in [
        Config::erm(),
        Config::sam(0.1),
        Config::new(),
        Config::new().with_evaluation(Evaluation::Others),
        Config::new().with_evaluation(Evaluation::Sampled),
        Config::new().with_evaluation(Evaluation::Consensus),
    ] {
        for report in [true, false] {
            let config = config.clone().with_report(report);
            let mut net = Net::new(&device);
            let mut optim = config.init(momentum()).unwrap();
            let domains = batches(0, &device);
            let warm = optim.step_joined(0.1, &mut net, &domains, net_joined);
            let calls = warm.unwrap().passes.calls;
            for injected in 0..calls {
                for place in [None, Some(0), Some(1), Some(2)] {
                    let (state, base) = (net.state(), optimizer_state(optim.base()));
                    let call = Cell::new(0);
                    let hit = Cell::new(None);
                    let domains = batches(1, &device);
                    let report = optim
                        .step_joined(0.1, &mut net, &domains, |net: &Net, joined| {
                            let losses = net_joined(net, joined);
                            if call.replace(call.get() + 1) != injected {
                                return losses;
                            }
                            let count = joined.rows().len();
                            match place {
                                None => {
                                    hit.set(Some(count));
                                    losses + infinite_slope(net)
                                }
                                Some(place) if place < count => {
                                    hit.set(Some(count));
                                    let factors = (0..count)
                                        .map(|k| if k == place { f32::NAN } else { 1.0 })
                                        .collect::<Vec<_>>();
                                    losses * Tensor::<1>::from_floats(factors.as_slice(), &device)
                                }
                                Some(_) => losses,
                            }
                        })
                        .unwrap();
                    let Some(count) = hit.get() else {
                        assert!(!report.is_skipped());
                        continue;
                    };
                    assert_eq!(net.state(), state);
                    assert_eq!(optimizer_state(optim.base()), base);
                    let Outcome::Skipped(found) = &report.outcome else {
                        panic!("call {injected} of {config} went through");
                    };
                    let clean_calls = calls - report.points.len();
                    let (pass, of_pass) = match injected.checked_sub(clean_calls) {
                        None if clean_calls == 1 => (Pass::Clean, vec![0, 1, 2]),
                        None => (Pass::Clean, vec![injected]),
                        Some(point) => {
                            let point = &report.points[point];
                            let ascent = point.ascent.map(|domain| names[domain].into());
                            let of_pass = point.losses.iter().map(|(domain, _)| *domain);
                            (Pass::Perturbed { ascent }, of_pass.collect())
                        }
                    };
                    assert_eq!(of_pass.len(), count);
                    let expected = match place {
                        Some(place) => NonFinite {
                            domain: Some(names[of_pass[place]].into()),
                            pass,
                            quantity: Quantity::Loss,
                        },
                        // Of one domain alone it is that domain's, else that of all together.
                        None => NonFinite {
                            domain: found.domain.clone().filter(|_| count == 1),
                            pass,
                            quantity: Quantity::Gradient,
                        },
                    };
                    assert_eq!(*found, expected, "call {injected} of {config}");
                    if count == 1 {
                        assert_eq!(found.domain.as_deref(), Some(names[of_pass[0]]));
                    }
                }
            }
        }
    }
}

#[test]
fn joined_losses_that_cannot_work_are_refused() {
    let device = device();
    let mut net = Net::new(&device);
    let state = net.state();
    let mut optim = Config::sam(0.1)
        .with_report(false)
        .init(momentum())
        .unwrap();
    let base = optimizer_state(optim.base());
    let domains = batches(0, &device);
    let outer = net.clone().train();
    let mut error = |loss: &dyn Fn(&Net, &JoinedBatch<Batch>) -> Tensor<1>| {
        let error = optim
            .step_joined(0.1, &mut net, &domains, loss)
            .unwrap_err();
        assert!(matches!(error, Error::Loss { .. }));
        assert_eq!(net.state(), state);
        assert_eq!(optimizer_state(optim.base()), base);
        assert_eq!(optim.gradient().steps(), 0);
        error.to_string()
    };
    for (numbers, of) in [(1, 0..1), (2, 0..2)] {
        assert_eq!(
            error(&|net, joined| net_joined(net, joined).slice([of.clone()])),
            format!(
                "the loss of domain `a`, `b`, `c` must be one number for each domain, a tensor of \
                 shape [domains], but its shape is [{numbers}] for 3 domains"
            )
        );
    }
    let four = error(&|net, joined| {
        let losses = net_joined(net, joined);
        Tensor::cat(vec![losses.clone(), losses.slice(0..1)], 0)
    });
    assert!(four.contains("its shape is [4] for 3 domains"), "{four}");
    let rule = "must depend on the trainable parameters";
    let detached = error(&|net, joined| net_joined(net, joined).detach());
    assert!(detached.contains(rule), "{detached}");
    let captured = error(&|_, joined| net_joined(&outer, joined));
    assert!(captured.contains(rule), "{captured}");

    let failed = optim
        .step_joined(0.1, &mut net, &domains, |_: &Net, _| {
            Err::<Tensor<1>, _>("the reader is gone")
        })
        .unwrap_err();
    assert_eq!(
        failed.to_string(),
        "the loss closure failed on domain `a`, `b`, `c`"
    );
    assert_eq!(failed.source().unwrap().to_string(), "the reader is gone");
    // In the perturbed pass.
    let call = Cell::new(0);
    let failed = optim
        .step_joined(0.1, &mut net, &domains, |net: &Net, joined| {
            match call.replace(call.get() + 1) {
                0 => Ok(net_joined(net, joined)),
                _ => Err("the reader is gone"),
            }
        })
        .unwrap_err();
    assert!(matches!(failed, Error::Closure { .. }));
    assert_eq!(net.state(), state);
    assert_eq!(optimizer_state(optim.base()), base);
}

/// The rows of a batch in parts of these sizes.
fn in_parts(batch: &Batch, sizes: &[usize]) -> MicroBatches<Batch> {
    let mut begin = 0;
    let parts = sizes.iter().map(|size| {
        let rows = begin..begin + size;
        begin = rows.end;
        let part = Batch {
            x: batch.x.clone().slice([rows.clone()]),
            y: batch.y.clone().slice([rows]),
        };
        (*size, part)
    });
    let parts = MicroBatches::new(parts.collect::<Vec<_>>()).unwrap();
    assert_eq!(begin, batch.x.dims()[0]);
    parts
}

const SIZES: [&[usize]; 3] = [&[2, 2, 1], &[3], &[1, 6]];

fn uneven_parts(step: usize, device: &Device) -> DomainBatches<MicroBatches<Batch>> {
    let mut sizes = SIZES.into_iter();
    uneven(step, device).map(|batch| in_parts(&batch, sizes.next().unwrap()))
}

#[test]
fn batches_in_parts_are_the_same_step() {
    let device = device();
    for config in configs() {
        let (mut whole, mut parts) = (Mlp::new(&device), Mlp::new(&device));
        let mut one = config.init(momentum()).unwrap();
        let mut two = config.init(momentum()).unwrap();
        for step in 0..2 {
            let expected = one
                .step(0.1, &mut whole, &uneven(step, &device), Mlp::loss)
                .unwrap();
            let domains = uneven_parts(step, &device);
            let report = two.step(0.1, &mut parts, &domains, micro_batched(Mlp::loss));
            assert_close(&parts.values(), &whole.values(), 1e-6);
            let report = report.unwrap();
            same_numbers(&report, &expected);
            assert_eq!(report.passes, expected.passes);
        }
    }
}

#[test]
fn all_parts_of_a_pass_are_seen_at_one_point() {
    let device = device();
    for evaluation in EVALUATIONS {
        let config = Config::new().with_rho(0.3).with_evaluation(evaluation);
        let robust = config.init_gradient().unwrap();
        let mut seen: Vec<(usize, Vec<f32>)> = Vec::new();
        let (_, report) = robust
            .gradients(
                &Mlp::new(&device),
                &uneven_parts(0, &device),
                micro_batched(|net: &Mlp, batch: &Batch| {
                    seen.push((batch.x.dims()[0], net.values()));
                    net.loss(batch)
                }),
            )
            .unwrap();
        let clean = (0..3).map(|domain| (None, domain));
        let perturbed = report.points.iter().enumerate().flat_map(|(place, point)| {
            let domains = point.losses.iter();
            domains.map(move |(domain, _)| (Some(place), *domain))
        });
        let mut seen = seen.into_iter();
        let mut of_points: Vec<(Option<usize>, Vec<f32>)> = Vec::new();
        for (place, domain) in clean.chain(perturbed) {
            for size in SIZES[domain] {
                let (rows, parameters) = seen.next().unwrap();
                assert_eq!(rows, *size);
                match of_points.iter().find(|(known, _)| *known == place) {
                    Some((_, known)) => assert_eq!(parameters, *known),
                    None => of_points.push((place, parameters)),
                }
            }
        }
        assert!(seen.next().is_none());
        // And no two points are the same.
        for (i, (_, point)) in of_points.iter().enumerate() {
            assert!(of_points[..i].iter().all(|(_, other)| other != point));
        }
    }
}

#[test]
fn what_fails_in_a_part_is_named() {
    let device = device();
    let mut net = Mlp::new(&device);
    let before = net.values();
    let mut optim = Config::new().init(momentum()).unwrap();
    let domains = uneven_parts(0, &device);

    let call = Cell::new(0);
    let failing = |net: &Mlp, batch: &Batch| match call.replace(call.get() + 1) {
        // Parts 0, 1, 2 of `a`, 0 of `b`, 0 and 1 of `c`.
        5 => Err("the reader is gone"),
        _ => Ok(net.loss(batch)),
    };
    let error = optim.step(0.1, &mut net, &domains, micro_batched(failing));
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "the loss closure failed on domain `c`");
    let part = error.source().unwrap();
    assert_eq!(
        part.to_string(),
        "the loss closure failed on domain `part 1`"
    );
    assert_eq!(part.source().unwrap().to_string(), "the reader is gone");

    let call = Cell::new(0);
    let wrong = |net: &Mlp, batch: &Batch| match call.replace(call.get() + 1) {
        2 => net.forward(batch.x.clone()).reshape([-1]),
        _ => net.loss(batch),
    };
    let error = optim.step(0.1, &mut net, &domains, micro_batched(wrong));
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "the loss closure failed on domain `a`");
    assert_eq!(
        error.source().unwrap().to_string(),
        "the loss of domain `part 2` must be one number, a tensor of shape [1], but its shape is [3]"
    );

    let call = Cell::new(0);
    let poisoned = |net: &Mlp, batch: &Batch| match call.replace(call.get() + 1) {
        4 => net.loss(batch) * f32::NAN,
        _ => net.loss(batch),
    };
    let report = optim.step(0.1, &mut net, &domains, micro_batched(poisoned));
    let Outcome::Skipped(found) = report.unwrap().outcome else {
        panic!("a part that is not finite went through");
    };
    assert_eq!(
        found.to_string(),
        "the loss of domain `c` is not finite in the clean pass"
    );
    assert_eq!(net.values(), before);

    for (parts, found) in [
        (vec![], "a batch has no parts"),
        (vec![(1, ()), (0, ())], "part 1 of a batch has no rows"),
    ] {
        assert_eq!(
            MicroBatches::new(parts).unwrap_err().to_string(),
            format!(
                "domains must have batches of at least one part, each of at least one row, but {found}"
            )
        );
    }
}

#[cfg(feature = "dataset")]
mod loaded {
    use burn::{
        data::{
            dataloader::{DataLoader, batcher::Batcher},
            dataset::InMemDataset,
        },
        tensor::TensorData,
    };
    use roga::domain::{DomainDataLoader, DomainDataLoaderBuilder, MicroBatcher};

    use super::*;

    #[derive(Clone, Debug)]
    struct Rows;

    impl Batcher<u32, Batch> for Rows {
        fn batch(&self, items: Vec<u32>, device: &Device) -> Batch {
            let numbers = items
                .iter()
                .flat_map(|item| (0..4).map(move |k| (1.3 * (4 * item + k) as f32).sin()));
            let labels: Vec<i32> = items.iter().map(|item| *item as i32 % 3).collect();
            let n = items.len();
            Batch {
                x: Tensor::from_data(TensorData::new(numbers.collect::<Vec<_>>(), [n, 4]), device),
                y: Tensor::from_data(TensorData::new(labels, [n]), device),
            }
        }
    }

    fn loader<B: Send + 'static>(
        batcher: impl Batcher<u32, B> + 'static,
        workers: usize,
    ) -> DomainDataLoader<u32, B> {
        DomainDataLoaderBuilder::new(batcher)
            .batch_size(5)
            .seed(7)
            .num_workers(workers)
            .set_device(device())
            .domain("a", InMemDataset::new((0..13).collect()))
            .domain("b", InMemDataset::new((20..27).collect()))
            .build()
            .unwrap()
    }

    #[test]
    fn batches_in_parts_out_of_a_loader_are_its_batches() {
        let config = Config::new().with_rho(0.3);
        for (size, expected) in [
            (1, vec![1; 5]),
            (2, vec![2, 2, 1]),
            (5, vec![5]),
            (usize::MAX, vec![5]),
        ] {
            for workers in [0, 2] {
                let whole = loader(Rows, workers);
                let parts = loader(MicroBatcher::new(Rows, size).unwrap(), workers);
                assert_eq!(whole.num_items(), parts.num_items());
                let (mut net, mut same) = (Mlp::new(&device()), Mlp::new(&device()));
                let mut one = config.init(momentum()).unwrap();
                let mut two = config.init(momentum()).unwrap();
                let mut steps = 0;
                for (whole, parts) in whole.iter().zip(parts.iter()) {
                    let (whole, parts) = (whole.unwrap(), parts.unwrap());
                    assert_eq!(whole.step(), parts.step());
                    for ((name, batch), (other, parts)) in whole.iter().zip(parts.iter()) {
                        assert_eq!(name, other);
                        let sizes: Vec<usize> =
                            parts.iter().map(|(_, part)| part.x.dims()[0]).collect();
                        assert_eq!(sizes, expected);
                        for ((share, _), size) in parts.iter().zip(sizes) {
                            assert_eq!(share, size as f64 / 5.0);
                        }
                        let x = parts.iter().map(|(_, part)| part.x.clone());
                        assert_eq!(values(&Tensor::cat(x.collect(), 0)), values(&batch.x));
                    }
                    one.step(0.1, &mut net, &whole, Mlp::loss).unwrap();
                    two.step(0.1, &mut same, &parts, micro_batched(Mlp::loss))
                        .unwrap();
                    assert_close(&same.values(), &net.values(), 1e-6);
                    steps += 1;
                }
                assert_eq!(steps, 3);
            }
        }
        assert_eq!(
            MicroBatcher::new(Rows, 0).unwrap_err().to_string(),
            "size must be at least 1, but is 0"
        );
        // Nothing to batch: an error of the step, not a panic.
        let none = MicroBatcher::new(Rows, 2).unwrap().batch(vec![], &device());
        let error = config
            .init(momentum())
            .unwrap()
            .step(
                0.1,
                &mut Mlp::new(&device()),
                &DomainBatches::unnamed([none]).unwrap(),
                micro_batched(Mlp::loss),
            )
            .unwrap_err();
        assert_eq!(
            error.source().unwrap().to_string(),
            "domains must have batches of at least one part, but a batch has none"
        );
    }
}
