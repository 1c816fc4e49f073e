//! What the diagnostics say of problems whose numbers are known, and that they change nothing.

use burn::{module::Module, optim::SgdConfig, tensor::Tensor};
use roga::{
    Error,
    diagnostic::{Conflict, Direction, LandscapeConfig, conflict, sharpness},
    domain::DomainBatches,
    optim::RobustGradientAlignmentConfig as Config,
};

use crate::problems::{self, Batch, Loss, Net, Point, device, domains, net_loss};

/// Worked case B: gradients (3, 4) and (-9, 12) at (1, 1), cosine 0.28.
fn case_b() -> Vec<Loss> {
    let rows = |x: [[f32; 2]; 2], y: [f32; 2]| Loss::Rows {
        x: x.map(Vec::from).to_vec(),
        y: y.to_vec(),
    };
    vec![
        rows([[1.0, 0.0], [0.0, 2.0]], [-2.0, 0.0]),
        rows([[3.0, 0.0], [0.0, 1.0]], [6.0, -11.0]),
    ]
}

/// A gradient (3, 4) at (1, 1), and none.
fn case_c() -> Vec<Loss> {
    let bowl = |a: [f32; 2], c: [f32; 2]| Loss::Bowl {
        a: a.to_vec(),
        c: c.to_vec(),
    };
    vec![bowl([3.0, 4.0], [0.0, 0.0]), bowl([1.0, 1.0], [1.0, 1.0])]
}

fn loss_at(model: &Point, loss: &Loss) -> Tensor<1> {
    loss.at(model)
}

fn point() -> Point {
    Point::new(&[1.0, 1.0], &device())
}

/// Mini-batches for [`Net`].
fn batches() -> DomainBatches<Batch> {
    problems::batches(0, &device())
}

/// Some batches, none of which fails.
fn good<B>(batches: Vec<DomainBatches<B>>) -> impl Iterator<Item = roga::Result<DomainBatches<B>>> {
    batches.into_iter().map(Ok)
}

fn ascent(domain: &str, rho: f64) -> Direction {
    Direction::Ascent {
        domain: domain.into(),
        rho,
    }
}

#[track_caller]
fn close(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() < within, "{found}, not {expected}");
}

#[test]
fn conflict_of_known_gradients() {
    // In every other batch the second domain's gradient is turned round.
    let turned = vec![
        case_b()[0].clone(),
        Loss::Bowl {
            a: vec![1.0, 1.0],
            c: vec![-8.0, 13.0],
        },
    ];
    let batches = vec![domains(&case_b()), domains(&turned)];
    let found = conflict(&point(), good(batches), loss_at).unwrap();
    // (9, -12) is the other one's opposite.
    let pair = found.pair(1, 0).unwrap();
    assert_eq!((found.steps(), found.skipped()), (2, 0));
    assert_eq!((pair.domains, pair.conflicts), ((0, 1), 1));
    assert_eq!(pair.share(), Some(0.5));
    close(pair.cosine.mean().unwrap(), 0.0, 1e-6);
    close(pair.cosine.standard_error().unwrap(), 0.28, 1e-6);
    close(found.mean_cosine().unwrap(), 0.0, 1e-6);
    close(found.curve()[0].cosines[0], 0.28, 1e-6);
    close(found.curve()[1].mean_cosine().unwrap(), -0.28, 1e-6);
    close(found.domains()[1].gradient_norm.mean().unwrap(), 15.0, 1e-5);
    let cosines = found.cosines();
    assert_eq!((cosines[0][0], cosines[0][1]), (1.0, cosines[1][0]));
    assert!(found.pair(0, 0).is_none() && found.pair(0, 2).is_none());
}

#[test]
fn conflict_over_a_training_is_the_fold_of_its_reports() {
    let mut model = point();
    let mut optim = Config::new().init(SgdConfig::new().init()).unwrap();
    let mut folded = Conflict::with_bins(4).unwrap();
    let mut cosines = Vec::new();
    for _ in 0..10 {
        let report = optim
            .step(0.01, &mut model, &domains(&case_b()), loss_at)
            .unwrap();
        folded.add(&report).unwrap();
        cosines.push(report.mean_cosine().unwrap());
    }
    let mean = |cosines: &[f64]| cosines.iter().sum::<f64>() / cosines.len() as f64;
    close(folded.mean_cosine().unwrap(), mean(&cosines), 1e-12);
    let bins = folded.curve().iter().map(|bin| (bin.first, bin.last));
    assert_eq!(bins.collect::<Vec<_>>(), [(0, 3), (4, 7), (8, 9)]);
    close(folded.curve()[2].cosines[0], mean(&cosines[8..]), 1e-12);
}

#[test]
fn sharpness_of_quadratics() {
    let found = sharpness(
        &point(),
        good(vec![domains(&case_b()), domains(&case_b())]),
        0.1,
        loss_at,
    )
    .unwrap();
    // ρ ‖g‖ + ρ² gᵀHg / 2 ‖g‖², with Hessians diag(1, 4), diag(9, 1) and their mean.
    let of = |domain: usize| found.domains()[domain].sharpness;
    close(of(0).mean().unwrap(), 0.5146, 2e-6);
    close(of(1).mean().unwrap(), 1.5194, 2e-5);
    let pooled = 0.1 * 73f64.sqrt() + 0.005 * (45.0 + 160.0) / 73.0;
    close(found.pooled().mean().unwrap(), pooled, 1e-5);
    assert_eq!(of(0).standard_error(), Some(0.0));
    assert_eq!((found.batches(), found.rho()), (2, 0.1));
}

#[test]
fn landscape_of_quadratics_towards_two_ascents() {
    let landscape = LandscapeConfig::new()
        .with_first(ascent("domain 0", 0.1))
        .with_second(Some(ascent("domain 1", 0.2)))
        .with_extent(2.0)
        .with_points(5)
        .measure(&point(), &[domains(&case_b()), domains(&case_b())], loss_at)
        .unwrap();
    assert_eq!(landscape.first().coordinates, [-2.0, -1.0, 0.0, 1.0, 2.0]);
    close(landscape.first().norm, 0.1, 1e-7);
    close(landscape.second().unwrap().norm, 0.2, 1e-7);
    close(landscape.cosine().unwrap(), 0.28, 1e-6);
    for (row, b) in [-2.0, -1.0, 0.0, 1.0, 2.0].into_iter().enumerate() {
        for (column, a) in [-2.0, -1.0, 0.0, 1.0, 2.0].into_iter().enumerate() {
            let x = 1.0 + 0.06 * a - 0.12 * b;
            let y: f64 = 1.0 + 0.08 * a + 0.16 * b;
            let first = 0.5 * ((x + 2.0).powi(2) + (2.0 * y).powi(2));
            let second = 0.5 * ((3.0 * x - 6.0).powi(2) + (y + 11.0).powi(2));
            close(landscape.losses(0)[row][column], first, 1e-5);
            close(landscape.losses(1)[row][column], second, 1e-4);
        }
    }
    close(landscape.loss(0).unwrap(), 6.5, 1e-6);
    // Lower against the own ascent, and for the first against the second's too.
    let (a, b, least) = landscape.least(0).unwrap();
    assert_eq!((a, b), (-2.0, -2.0));
    assert_eq!(least, landscape.losses(0)[0][0]);
}

#[test]
fn one_domain_and_one_direction() {
    let alone = || domains(&case_b()[..1]);
    let found = conflict(&point(), good(vec![alone()]), loss_at).unwrap();
    assert_eq!((found.mean_cosine(), found.pairs().len()), (None, 0));
    assert_eq!(found.cosines(), [[1.0]]);
    assert_eq!(found.curve()[0].mean_cosine(), None);

    let found = sharpness(&point(), good(vec![alone()]), 0.1, loss_at).unwrap();
    let pooled = found.pooled().mean().unwrap();
    close(found.domains()[0].sharpness.mean().unwrap(), pooled, 1e-6);

    let line = LandscapeConfig::new()
        .with_first(ascent("domain 0", 0.1))
        .with_second(None)
        .with_points(3);
    let line = line.measure(&point(), &[alone()], loss_at).unwrap();
    assert_eq!((line.losses(0).len(), line.losses(0)[0].len()), (1, 3));
    assert_eq!((line.second(), line.cosine()), (None, None));
    // As far up as the sharpness says.
    let rise = line.losses(0)[0][2] - line.loss(0).unwrap();
    close(rise, pooled, 1e-6);
    assert!(line.losses(1).is_empty() && line.loss(1).is_none());
}

#[test]
fn a_domain_without_a_gradient() {
    let batches = || good(vec![domains(&case_c())]);
    let found = conflict(&point(), batches(), loss_at).unwrap();
    assert_eq!(found.pairs()[0].cosine.mean(), Some(0.0));
    assert_eq!(found.pairs()[0].conflicts, 0);
    let found = sharpness(&point(), batches(), 0.1, loss_at).unwrap();
    assert_eq!(found.domains()[1].sharpness.mean(), Some(0.0));
    let flat = LandscapeConfig::new()
        .with_first(ascent("domain 1", 0.1))
        .with_second(Some(ascent("domain 0", 0.1)))
        .with_points(3)
        .measure(&point(), &[domains(&case_c())], loss_at)
        .unwrap();
    assert_eq!((flat.first().norm, flat.cosine()), (0.0, Some(0.0)));
    let row = &flat.losses(0)[0];
    assert!(row.iter().all(|loss| loss == &row[0]));
}

#[test]
fn the_model_stays_as_it_is() {
    let net = Net::new(&device());
    // A pass whose statistics are still pending.
    net.loss(batches().iter().next().unwrap().1).backward();
    let before = net.state();
    let all = || good(vec![batches(), batches()]);
    let found = conflict(&net, all(), net_loss).unwrap();
    assert!(found.domains()[0].gradient_norm.mean().unwrap() > 0.0);
    sharpness(&net, all(), 0.1, net_loss).unwrap();
    let names: Vec<String> = batches().names().map(|name| name.to_string()).collect();
    let landscape = LandscapeConfig::new()
        .with_first(ascent(&names[0], 0.1))
        .with_points(3)
        .measure(&net, &[batches(), batches()], net_loss)
        .unwrap();
    assert_eq!(net.state(), before);

    // At θ the loss is that of a net that is not trained, and elsewhere another.
    let frozen = net.clone().train().freeze();
    let (_, first) = batches()
        .iter()
        .next()
        .map(|(n, b)| (n.clone(), b.clone()))
        .unwrap();
    let loss: f32 = frozen.loss(&first).into_scalar();
    close(landscape.loss(0).unwrap(), f64::from(loss), 1e-6);
    assert_ne!(landscape.losses(0)[1][0], landscape.losses(0)[1][1]);
    assert_ne!(landscape.losses(0)[0][1], landscape.losses(0)[1][1]);
    assert_eq!(net.state(), before);
}

#[test]
fn a_random_direction_is_as_long_as_the_weights() {
    let net = Net::new(&device());
    let landscape = LandscapeConfig::new()
        .with_points(3)
        .measure(&net, &[batches()], net_loss)
        .unwrap();
    let squares = [&net.first.weight, &net.second.weight].map(|weight| {
        let square: f32 = weight.val().inner().square().sum().into_scalar();
        f64::from(square)
    });
    let norm = squares.iter().sum::<f64>().sqrt();
    close(landscape.first().norm / norm, 1.0, 1e-5);
    close(landscape.second().unwrap().norm / norm, 1.0, 1e-5);
    assert!(landscape.cosine().unwrap().abs() < 0.6);
    let error = LandscapeConfig::new()
        .measure(&point(), &[domains(&case_b())], loss_at)
        .unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error}");
}

#[test]
fn what_is_not_finite() {
    let bad = || {
        let mut losses = case_b();
        losses[1] = Loss::Bowl {
            a: vec![f32::NAN, 1.0],
            c: vec![0.0, 0.0],
        };
        domains(&losses)
    };
    let some = || good(vec![bad(), domains(&case_b()), bad()]);
    let found = conflict(&point(), some(), loss_at).unwrap();
    assert_eq!((found.steps(), found.skipped()), (1, 2));
    close(found.mean_cosine().unwrap(), 0.28, 1e-6);
    let found = sharpness(&point(), some(), 0.1, loss_at).unwrap();
    assert_eq!((found.batches(), found.skipped()), (1, 2));
    close(found.domains()[0].sharpness.mean().unwrap(), 0.5146, 2e-6);

    let found = conflict(&point(), good(vec![bad(); 30]), loss_at).unwrap();
    assert_eq!((found.steps(), found.mean_cosine()), (0, None));
    assert!(found.cosines()[0][1].is_nan() && found.curve().is_empty());
    assert!(found.to_string().contains("skipped 30"), "{found}");
    assert!(serde_json::to_string(&found).unwrap().contains("null"));

    let line = LandscapeConfig::new()
        .with_first(ascent("domain 0", 1.0))
        .with_second(None)
        .with_points(5)
        .measure(
            &Point::new(&[1.0], &device()),
            &[domains(&case_b()[..1])],
            |model: &Point, _: &Loss| model.theta.val().log().sum(),
        )
        .unwrap();
    let line = &line.losses(0)[0];
    assert_eq!((line[0], line[2]), (f64::NEG_INFINITY, 0.0));
    close(line[4], 2f64.ln(), 1e-6);
}

#[test]
fn what_cannot_work_is_refused() {
    let none = || good(Vec::<DomainBatches<Loss>>::new());
    let empty = [
        conflict(&point(), none(), loss_at).unwrap_err(),
        sharpness(&point(), none(), 0.1, loss_at).unwrap_err(),
        LandscapeConfig::new()
            .measure(&point(), &[], loss_at)
            .unwrap_err(),
    ];
    for error in empty {
        let text = "domains must have at least one batch, but there is none";
        assert_eq!(error.to_string(), text);
    }

    let own = DomainBatches::<Loss>::unnamed([]);
    let error = conflict(&point(), [own], loss_at).unwrap_err();
    assert!(matches!(error, Error::Domains { .. }), "{error}");
    let other: [Result<DomainBatches<Loss>, _>; 1] = [Err(std::io::Error::other("no such file"))];
    let Error::Batches(source) = sharpness(&point(), other, 0.1, loss_at).unwrap_err() else {
        panic!("not the loader's error");
    };
    assert_eq!(source.to_string(), "no such file");

    let mut changed = case_b();
    changed.push(case_c()[0].clone());
    let changed = || vec![domains(&case_b()), domains(&changed)];
    let of_landscape = LandscapeConfig::new().with_first(ascent("domain 0", 0.1));
    for error in [
        conflict(&point(), good(changed()), loss_at).unwrap_err(),
        sharpness(&point(), good(changed()), 0.1, loss_at).unwrap_err(),
        of_landscape
            .measure(&point(), &changed(), loss_at)
            .unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("be the same in every step"),
            "{error}"
        );
    }

    let settings = [
        (LandscapeConfig::new().with_points(4), "points"),
        (LandscapeConfig::new().with_points(1), "points"),
        (LandscapeConfig::new().with_extent(f64::NAN), "extent"),
        (
            LandscapeConfig::new().with_first(ascent("domain 0", 0.0)),
            "rho",
        ),
        (
            LandscapeConfig::new().with_first(ascent("nowhere", 0.1)),
            "domain",
        ),
        (
            LandscapeConfig::new().with_second(Some(Direction::Random { seed: 0 })),
            "second",
        ),
    ];
    for (config, name) in settings {
        match config.measure(&point(), &[domains(&case_b())], loss_at) {
            Err(Error::Setting { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    let error = sharpness(&point(), none(), f64::INFINITY, loss_at).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rho must be finite and above 0, but is inf"
    );
    assert!(Conflict::with_bins(1).is_err());
}

#[test]
fn a_loss_that_cannot_be_taken() {
    let model = point();
    let measure = LandscapeConfig::new().with_first(ascent("domain 0", 0.1));
    let line = measure.clone().with_second(None).with_points(3);
    let fails = |_: &Point, _: &Loss| Err::<Tensor<1>, _>("out of cheese");
    let error = line.measure(&model, &[domains(&case_b())], fails);
    assert!(matches!(error, Err(Error::Closure { .. })), "{error:?}");
    let mut calls = 0;
    let error = line.measure(&model, &[domains(&case_b())], |model: &Point, _: &Loss| {
        calls += 1;
        let theta = model.theta.val();
        if calls == 1 { theta.sum() } else { theta }
    });
    let Err(error) = error else {
        panic!("two numbers are no loss");
    };
    assert!(error.to_string().contains("be one number"), "{error}");
}

#[test]
fn a_report_without_cosines_is_no_part_of_a_fold() {
    let of = |config: Config| {
        let robust = config.init_gradient().unwrap();
        let gradients = robust.gradients(&point(), &domains(&case_b()), loss_at);
        gradients.unwrap().1
    };
    let mut folded = Conflict::new();
    let error = folded
        .add(&of(Config::erm().with_report(false)))
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Setting {
                field: "report",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(folded, Conflict::new());
    // Any report with them will do.
    folded.add(&of(Config::new())).unwrap();
    close(folded.mean_cosine().unwrap(), 0.28, 1e-6);
    // A report that was put together by hand, and badly.
    let mut ragged = of(Config::erm());
    ragged.cosines = Some(vec![Vec::new()]);
    assert!(folded.add(&ragged).is_err());
}

#[test]
fn tables_and_json() {
    let batches = || good(vec![domains(&case_b()); 2]);
    let found = conflict(&point(), batches(), loss_at).unwrap();
    let expected = "\
domains 2, steps 2, skipped 0, mean cosine 0.280

domain              loss   gradient norm
domain 0   6.500 ± 0.000   5.000 ± 0.000
domain 1  76.500 ± 0.000  15.000 ± 0.000

pair                       cosine  conflict
domain 0, domain 1  0.280 ± 0.000       0 %
";
    assert_eq!(found.to_string(), expected);
    let json: serde_json::Value = serde_json::to_value(&found).unwrap();
    assert_eq!(json["pairs"][0]["conflicts"], 0);
    assert_eq!(json["curve"][1]["first"], 1);
    assert_eq!(json["domains"][1]["loss"]["count"], 2);

    let found = sharpness(&point(), batches(), 0.1, loss_at).unwrap();
    let expected = "\
rho 0.1, batches 2, skipped 0

domain                 loss      sharpness
domain 0      6.500 ± 0.000  0.515 ± 0.000
domain 1     76.500 ± 0.000  1.519 ± 0.000
all, pooled                  0.868 ± 0.000
";
    assert_eq!(found.to_string(), expected);
    assert_eq!(serde_json::to_value(&found).unwrap()["rho"], 0.1);

    let landscape = LandscapeConfig::new()
        .with_first(ascent("domain 0", 0.1))
        .with_second(Some(ascent("domain 1", 0.1)))
        .with_points(3)
        .measure(&point(), &[domains(&case_b())], loss_at)
        .unwrap();
    let expected = "\
a from -1 to 1: ascent of domain 0, rho 0.1, norm 0.100
b from -1 to 1: ascent of domain 1, rho 0.1, norm 0.100
cosine between them 0.280

domain      at θ   least       at (a, b)  greatest  not finite
domain 0   6.500   5.911  (-1.00, -1.00)     7.191           0
domain 1  76.500  74.593  (-1.00, -1.00)    78.433           0
";
    assert_eq!(landscape.to_string(), expected);
    let json = serde_json::to_value(&landscape).unwrap();
    assert_eq!(json["losses"][0].as_array().unwrap().len(), 3);
    assert_eq!(json["first"]["direction"]["Ascent"]["rho"], 0.1);
}

/// Trained nets are at hand as `valid` has left them.
#[test]
fn a_model_for_validation_is_measured_alike() {
    let net = Net::new(&device());
    let all = || good(vec![batches()]);
    let of_valid = conflict(&net.valid(), all(), net_loss).unwrap();
    assert_eq!(conflict(&net, all(), net_loss).unwrap(), of_valid);
    let landscape = |net: &Net| {
        let config = LandscapeConfig::new().with_points(3);
        config.measure(net, &[batches()], net_loss).unwrap()
    };
    assert_eq!(landscape(&net), landscape(&net.valid()));
    // Where nothing can be trained, nothing has a gradient.
    let error = conflict(&net.freeze(), all(), net_loss).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error}");
}
