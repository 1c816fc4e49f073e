//! Numbers that are handed over as arguments.

use std::sync::Arc;

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    nn::{Linear, LinearConfig},
    optim::{GradientsParams, SgdConfig},
    tensor::{Device, Tensor},
};
use image::RgbImage;
use roga::{
    Error, Result,
    aggregation::{Aggregation, Aggregator, DomainStatistics},
    averaging::SwadConfig,
    detector::{
        InMemFaces,
        dataset::FaceSource,
        explain::HeatMap,
        forgery::Forgery,
        landmark::{Landmarks, Scheme},
        portrait::{PortraitConfig, Portraits},
    },
    diagnostic::{Conflict, sharpness},
    domain::{
        DomainBatches, DomainDataLoader, DomainDataLoaderBuilder, EpochLength, GroupSplit,
        JoinedDataLoader, MicroBatcher, MicroBatches,
    },
    gradient::{GramMatrix, clip_by_global_norm},
    metric::{Calibration, Roc, accuracy, log_loss, two_sided_p},
    optim::{FishConfig, RobustGradientAlignmentConfig as Config, Schedule},
    search::{Cost, Distribution, Parameter, SearchSpace},
};

use crate::{assert_named, device, domains, without_panic};

const FLOATS: [f64; 7] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -1.0,
    0.0,
    1e-300,
    1e300,
];

fn net() -> Linear {
    LinearConfig::new(2, 1).init(&device())
}

fn loss(model: &Linear, rows: &Tensor<2>) -> Tensor<1> {
    model.forward(rows.clone()).square().mean()
}

/// Tries all of them; one that is not a number must be refused.
#[track_caller]
fn every_float(name: &str, used: impl Fn(f64) -> Result<()>) {
    for value in FLOATS {
        let what = format!("{name} {value}");
        match without_panic(&what, || used(value)) {
            Ok(()) => assert!(!value.is_nan(), "{what} is taken"),
            Err(error) => assert_named(&what, &error, &[name]),
        }
    }
}

#[test]
fn lengths_rates_and_losses() {
    every_float("max_norm", |norm| {
        let model = net();
        let loss = loss(&model, &Tensor::from_floats([[1.0, 2.0]], &device()));
        let gradient = GradientsParams::from_grads(loss.backward(), &model);
        clip_by_global_norm(&model, gradient, norm).map(drop)
    });
    every_float("rho", |rho| {
        let batches: [Result<_>; 1] = [Ok(domains(2))];
        sharpness(&net(), batches, rho, loss).map(drop)
    });
    every_float("lr", |lr| {
        let mut optim = Config::new().init(SgdConfig::new().init())?;
        optim.step(lr, &mut net(), &domains(2), loss).map(drop)
    });
    every_float("lr", |lr| {
        let mut fish = FishConfig::new().init(SgdConfig::new().init())?;
        fish.step(lr, &mut net(), &domains(2), loss).map(drop)
    });
    every_float("lr", |lr| {
        let schedule = Schedule::LearningRate { reference: 0.1 };
        schedule.factor(3, Some(lr)).map(drop)
    });
    every_float("lr", |lr| {
        let gradient = Config::new()
            .with_rho_schedule(Schedule::LearningRate { reference: 0.1 })
            .init_gradient()?;
        gradient.set_learning_rate(lr);
        gradient.gradients(&net(), &domains(2), loss).map(drop)
    });
    every_float("loss", |loss| {
        let mut swad = SwadConfig::new().init()?;
        swad.update(&net())?;
        swad.evaluated(loss).map(drop)
    });
    every_float("seconds_per_pass", |seconds| {
        let cost = Cost::of(&Config::new(), 10, 3)?.at(seconds)?;
        assert!(!cost.to_string().is_empty());
        Ok(())
    });
}

#[test]
fn fractions_scores_and_distributions() {
    every_float("fractions", |fraction| {
        GroupSplit::new(["a", "b", "c"], &[fraction], 0).map(drop)
    });
    let (scores, labels) = ([0.2, 0.4, 0.9], [false, true, true]);
    let roc = Roc::new(&scores, &labels).unwrap();
    every_float("max_fpr", |rate| roc.tpr_at_fpr(rate).map(drop));
    every_float("threshold", |threshold| {
        accuracy(&scores, &labels, threshold).map(drop)
    });
    every_float("score", |score| {
        let auc = Roc::new(&[0.2, 0.4, score], &labels)?.auc();
        assert!((0.0..=1.0).contains(&auc));
        Ok(())
    });
    every_float("score", |score| {
        assert!(log_loss(&[0.2, 0.4, score], &labels)?.is_finite());
        Ok(())
    });
    for [difference, error] in FLOATS.map(|a| FLOATS.map(|b| [a, b])).concat() {
        two_sided_p(difference, error);
    }
    let ranges: [fn(f64, f64) -> Distribution; 4] = [
        Distribution::Uniform,
        Distribution::LogUniform,
        Distribution::PowerOf10,
        Distribution::PowerOf2,
    ];
    for range in ranges {
        for whole in [false, true] {
            let space = |default: f64, range: Distribution| {
                let parameter = Parameter::new(default, range).with_whole(whole);
                let space = SearchSpace::new([("p", parameter)])?;
                (0..9).for_each(|number| drop(space.draw(0, number)));
                Ok(())
            };
            every_float("search space", |low| space(1.0, range(low, 2.0)));
            every_float("search space", |high| space(1.0, range(1.0, high)));
            every_float("search space", |default| space(default, range(1.0, 2.0)));
        }
    }
}

#[test]
fn gradients_numbers_of_aggregations() {
    let methods = [
        Config::pcgrad(0),
        Config::mgda(),
        Config::upgrad(),
        Config::cagrad(0.5),
        Config::group_dro(0.5),
        Config::vrex(1.0),
        Config::disam(0.05, 0.1),
        Config::and_mask(0.5),
    ];
    let method = |config: Config| config.aggregation.unwrap().method;
    for method in methods.map(method) {
        let name = format!("{method:?}");
        for number in [FLOATS.to_vec(), vec![-1e300, f64::MIN_POSITIVE]].concat() {
            let tried = |weights: &[f64], losses: &[f64], gram: &GramMatrix| {
                let domains = DomainStatistics::new(0, weights)
                    .with_losses(losses)
                    .with_gram(gram);
                let what = format!("{name} of {number}");
                if let Ok(coefficients) =
                    without_panic(&what, || method.coefficients(&domains, &mut Vec::new()))
                {
                    assert_eq!(coefficients.len(), weights.len(), "{what}");
                }
            };
            let gram = GramMatrix::from_fn(2, |i, j| if i == j { 1.0 } else { -0.5 });
            tried(&[0.5, number], &[0.1, 0.2], &gram);
            tried(&[0.5, 0.5], &[0.1, number], &gram);
            tried(&[0.5, 0.5], &[0.1, number, 0.3], &gram);
            tried(&[], &[], &GramMatrix::from_fn(0, |_, _| number));
            tried(
                &[0.5, 0.5],
                &[0.1, 0.2],
                &GramMatrix::from_fn(2, |_, _| number),
            );
            let diagonal =
                GramMatrix::from_fn(2, |i, j| if (i, j) == (1, 1) { number } else { 0.5 });
            tried(&[0.5, 0.5], &[0.1, 0.2], &diagonal);
        }
    }
    let _: Aggregation = method(Config::upgrad());
    let gram = GramMatrix::from_rows(&[vec![f64::NAN]]).unwrap();
    assert!(!gram.is_finite() && gram.get(3, 4).is_nan() && gram.row(9).is_empty());
    assert!(GramMatrix::from_rows(&[vec![0.0, 1.0], vec![2.0, 0.0]]).is_err());
    assert!(GramMatrix::from_rows(&[vec![0.0, 1.0]]).is_err());
}

#[test]
fn points_and_pictures() {
    let face = portraits(1).face(0).unwrap();
    every_float("strength", |strength| {
        let forged = Forgery::SelfBlending.apply(&face, None, strength as f32, 1)?;
        assert_eq!(forged.picture.dimensions(), face.picture().dimensions());
        Ok(())
    });
    let moved = |at: usize, x: f64| {
        let mut points = face.landmarks().points().to_vec();
        points[at] = [x as f32, 3.0];
        Landmarks::new(points, Scheme::Portrait97)
    };
    for at in [0, 40, 96] {
        every_float("landmarks", |x| {
            let landmarks = moved(at, x)?;
            let face = roga::detector::faces::Face::new(face.picture().clone(), landmarks)?;
            for forgery in Forgery::ALL {
                let donor = portraits(2).face(1)?;
                forgery.apply(&face, Some(&donor), 0.5, 1)?;
            }
            Ok(())
        });
    }
    every_float("landmarks", |scale| {
        face.landmarks().scaled([scale as f32, 1.0]).map(drop)
    });
    every_float("region", |left| {
        Landmarks::in_frame(64, 64, [left as f32, 0.1, 0.9, 0.9]).map(drop)
    });
    every_float("heat", |heat| {
        HeatMap::new(2, 1, vec![0.5, heat as f32]).map(drop)
    });
    let none = Landmarks::new(Vec::new(), Scheme::Dlib68).unwrap_err();
    assert_named("no landmarks", &none, &["landmarks"]);
    let empty = roga::detector::faces::Face::new(RgbImage::new(0, 0), face.landmarks().clone());
    assert_named("no picture", &empty.unwrap_err(), &["picture"]);
}

fn portraits(people: usize) -> Portraits {
    Portraits::new(PortraitConfig::new().with_size(64), 1, people, 1).unwrap()
}

#[derive(Clone)]
struct Stack;

impl Batcher<f32, Tensor<1>> for Stack {
    fn batch(&self, items: Vec<f32>, device: &Device) -> Tensor<1> {
        Tensor::from_floats(items.as_slice(), device)
    }
}

fn loader(batch_size: usize, workers: usize) -> Result<DomainDataLoader<f32, Tensor<1>>> {
    DomainDataLoaderBuilder::new(Stack)
        .batch_size(batch_size)
        .num_workers(workers)
        .domain("one", InMemDataset::new(vec![0.0, 1.0, 2.0]))
        .domain("two", InMemDataset::new(vec![3.0]))
        .set_device(Device::flex())
        .build()
}

/// Tries 0, 1 and the greatest of all.
#[track_caller]
fn every_count(name: &str, used: impl Fn(usize) -> Result<()>) {
    for count in [0, 1, usize::MAX] {
        let what = format!("{name} {count}");
        if let Err(error) = without_panic(&what, || used(count)) {
            assert_named(&what, &error, &[name]);
        }
    }
}

#[test]
fn counts() {
    let (scores, labels) = ([0.2, 0.4, 0.9], [false, true, true]);
    every_count("bins", |bins| {
        let calibration = Calibration::new(&scores, &labels, bins)?;
        assert!(calibration.expected_error().is_finite());
        Ok(())
    });
    every_count("bins", |bins| Conflict::with_bins(bins).map(drop));
    every_count("size", |size| {
        let batcher = MicroBatcher::new(Stack, size)?;
        assert!(batcher.batch(vec![1.0, 2.0], &Device::flex()).iter().len() > 0);
        Ok(())
    });
    every_count("rows", |rows| {
        let batches = MicroBatches::new([(rows, ()), (rows, ())])?;
        let shares: f64 = batches.iter().map(|(share, ())| share).sum();
        assert_eq!(shares, 1.0);
        Ok(())
    });
    every_count("epoch", |steps| {
        EpochLength::Steps(steps).steps([(3, 1)]).map(drop)
    });
    every_count("batch_size", |size| {
        EpochLength::Longest.steps([(3, size)]).map(drop)
    });
    every_count("batch_size", |size| {
        let loader = loader(size, 0)?;
        assert!(loader.iter().all(|domains| domains.is_ok()));
        Ok(())
    });
    every_count("num_workers", |workers| {
        let loader = loader(1, workers)?;
        assert_eq!(loader.iter().filter(|domains| domains.is_ok()).count(), 3);
        Ok(())
    });
    every_count("domains", |domains| {
        Config::new().passes_per_step(domains).map(drop)
    });
    every_count("domains", |domains| {
        Config::new().passes(7, domains).map(drop)
    });
    every_count("passes", |passes| {
        let steps = Config::new().steps_within(passes as u64, 3)?;
        assert!(steps as usize <= passes);
        Ok(())
    });
    for (name, of) in [("people", [1, 0]), ("shots", [0, 1])] {
        every_count(name, |count| {
            let [people, shots] = of.map(|counts| if counts == 1 { count } else { 1 });
            Portraits::new(PortraitConfig::new(), 1, people, shots).map(drop)
        });
    }
    every_count("threads", |threads| {
        let faces = InMemFaces::new(&portraits(3), threads)?;
        assert_eq!(faces.len(), 3);
        Ok(())
    });
}

#[test]
fn places_that_are_not_there() {
    let portraits = portraits(2);
    let kept = InMemFaces::new(&portraits, 1).unwrap();
    for source in [&portraits as &dyn FaceSource, &kept] {
        for index in [2, usize::MAX] {
            assert_eq!(source.person(index), "");
            assert!(matches!(
                source.face(index),
                Err(Error::Setting { field: "faces", .. })
            ));
        }
    }
    for (start, end) in [(0, 0), (3, 1), (5, usize::MAX), (usize::MAX, usize::MAX)] {
        let slice = loader(1, 0).unwrap().slice(start, end);
        let what = format!("a slice from {start} to {end}");
        without_panic(&what, || Ok(slice.iter().take(9).count())).unwrap();
    }
}

#[test]
fn numbers_of_steps_at_the_end_of_all_numbers() {
    for last in [u64::MAX - 1, u64::MAX] {
        let numbered = loader(1, 0).unwrap();
        numbered.set_position(last);
        without_panic("a position", || Ok(numbered.iter().take(9).count())).unwrap();
        let one: Arc<dyn DataLoader<Tensor<1>>> = DataLoaderBuilder::new(Stack)
            .batch_size(1)
            .build(InMemDataset::new(vec![0.0, 1.0]));
        let joined = JoinedDataLoader::new([("one", one)], EpochLength::Longest).unwrap();
        joined.set_step(last);
        without_panic("a step", || Ok(joined.iter().take(9).count())).unwrap();

        let config = Config::new()
            .with_warmup_steps(u64::MAX)
            .with_interval(u64::MAX);
        let mut optim = config.init(SgdConfig::new().init()).unwrap();
        optim.gradient().set_steps(last);
        for _ in 0..3 {
            optim.step(0.1, &mut net(), &domains(2), loss).unwrap();
        }
        assert_eq!(optim.gradient().steps(), u64::MAX);
        let numbered = domains(2).with_step(last);
        let gradient = Config::new().init_gradient().unwrap();
        gradient.gradients(&net(), &numbered, loss).unwrap();
        let _: DomainBatches<Tensor<2>> = numbered;
    }
}

#[cfg(feature = "train")]
#[test]
fn metrics_of_the_dashboard() {
    use roga::train::DetectionMetric;

    every_float("max_fpr", |rate| {
        DetectionMetric::tpr_at_fpr(rate).map(drop)
    });
    every_float("threshold", |threshold| {
        DetectionMetric::accuracy(threshold).map(drop)
    });
    every_count("bins", |bins| {
        DetectionMetric::calibration_error(bins).map(drop)
    });
}
