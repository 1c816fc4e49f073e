//! The numbers of steps: those that batches carry, those that are counted, and who counts with
//! whom.

use burn::optim::SgdConfig;
use roga::{
    domain::DomainBatches,
    optim::{
        Draw, Evaluation, Outcome, RobustGradient, RobustGradientAlignmentConfig as Config,
        Schedule,
    },
};

use crate::problems::{Loss, Point, device, domains, values, waves};

const THETA: [f32; 3] = [0.3, -0.8, 1.1];

/// A sequence that differs in every step.
fn config() -> Config {
    Config::new()
        .with_rho(0.4)
        .with_rho_schedule(Schedule::Linear {
            from: 0.25,
            to: 1.0,
            steps: 24,
        })
        .with_evaluation(Evaluation::Sampled)
        .with_draw(Draw::Independent)
        .with_warmup_steps(2)
        .with_interval(3)
}

fn step(robust: &RobustGradient, domains: &DomainBatches<Loss>) -> (u64, Vec<f32>) {
    let model = Point::new(&THETA, &device());
    let (gradients, report) = robust
        .gradients(&model, domains, |model: &Point, loss: &Loss| loss.at(model))
        .unwrap();
    (
        report.step,
        values(&gradients.get::<1>(model.theta.id).unwrap()),
    )
}

fn numbered(number: u64) -> DomainBatches<Loss> {
    domains(&waves()).with_step(number)
}

#[test]
fn a_gradient_goes_by_the_numbers_of_its_batches() {
    let counted = config().init_gradient().unwrap();
    let sequence: Vec<_> = (0..24)
        .map(|_| step(&counted, &domains(&waves())))
        .collect();
    assert!((0..24).all(|number| sequence[number].0 == number as u64));

    // In any order, of any instance, as often as it comes.
    let robust = config().init_gradient().unwrap();
    for number in [23, 5, 5, 0, 11, 17, 2] {
        assert_eq!(step(&robust, &numbered(number)), sequence[number as usize]);
        assert_eq!(robust.steps(), number + 1);
    }
    // Batches without a number are counted on from the last one with.
    assert_eq!(step(&robust, &domains(&waves())), sequence[3]);
    assert_eq!(step(&robust, &domains(&waves())), sequence[4]);
    robust.set_steps(20);
    assert_eq!(step(&robust, &domains(&waves())), sequence[20]);
    // A number is kept where batches are changed.
    let changed = numbered(7).map(|loss| loss);
    assert_eq!(changed.step(), Some(7));
    assert_eq!(step(&robust, &changed), sequence[7]);
}

#[test]
fn clones_of_a_gradient_count_together() {
    let counted = config().init_gradient().unwrap();
    let sequence: Vec<_> = (0..12)
        .map(|_| step(&counted, &domains(&waves())))
        .collect();
    let robust = config().init_gradient().unwrap();
    for expected in &sequence[..6] {
        assert_eq!(step(&robust.clone(), &domains(&waves())), *expected);
    }
    let other = robust.clone();
    assert_eq!(step(&other, &numbered(9)), sequence[9]);
    assert_eq!(robust.steps(), 10);
    assert_eq!(step(&robust, &domains(&waves())), sequence[10]);
    other.set_steps(3);
    assert_eq!(step(&robust, &domains(&waves())), sequence[3]);
}

#[test]
fn an_optimizer_counts_by_itself_and_so_does_its_clone() {
    let good = |model: &Point, loss: &Loss| loss.at(model);
    let bad = |model: &Point, loss: &Loss| loss.at(model) * f32::NAN;
    let config = config().with_max_skipped_steps(Some(4));
    let mut optim = config.init(SgdConfig::new().init()).unwrap();
    let mut model = Point::new(&THETA, &device());
    for number in 0..5 {
        // Its own steps are what it counts: not those of the loader, which may have begun before.
        let batches = numbered(100 + number);
        let report = optim.step(0.1, &mut model, &batches, good).unwrap();
        assert_eq!(report.step, number);
    }
    optim
        .step(0.1, &mut model, &domains(&waves()), bad)
        .unwrap();
    let (mut clone, mut of_clone) = (optim.clone(), model.clone());
    assert_eq!(clone.gradient().steps(), 6);
    let mut last = None;
    for number in 6..10 {
        let report = clone
            .step(0.1, &mut of_clone, &domains(&waves()), good)
            .unwrap();
        assert_eq!((report.step, &report.outcome), (number, &Outcome::Applied));
        last = Some(report);
    }
    assert_eq!(optim.gradient().steps(), 6);
    // The clone's good steps have ended the clone's row of skipped ones alone.
    for expected in [true, true, false] {
        let result = optim.step(0.1, &mut model, &domains(&waves()), bad);
        assert_eq!(result.is_ok(), expected);
    }
    assert_eq!(clone.gradient().steps(), 10);
    // The same steps on the original lead to the same place.
    optim.gradient().set_steps(6);
    for _ in 6..10 {
        let report = optim
            .step(0.1, &mut model, &domains(&waves()), good)
            .unwrap();
        if report.step == 9 {
            assert_eq!(Some(report), last);
        }
    }
    assert_eq!(model.values(), of_clone.values());
}

#[cfg(feature = "dataset")]
#[test]
fn a_loaders_position_is_the_number_of_the_step() {
    use burn::{
        data::{
            dataloader::{DataLoader, batcher::Batcher},
            dataset::InMemDataset,
        },
        tensor::Device,
    };
    use roga::domain::DomainDataLoaderBuilder;

    #[derive(Clone)]
    struct Keep;

    impl Batcher<usize, Loss> for Keep {
        fn batch(&self, items: Vec<usize>, _: &Device) -> Loss {
            waves()[items[0]].clone()
        }
    }

    let loader = |workers: usize| {
        (0..3)
            .fold(DomainDataLoaderBuilder::new(Keep), |builder, domain| {
                builder.domain(format!("{domain}"), InMemDataset::new(vec![domain; 4]))
            })
            .num_workers(workers)
            .build()
            .unwrap()
    };
    let counted = config().init_gradient().unwrap();
    let sequence: Vec<_> = (0..24)
        .map(|_| step(&counted, &domains(&waves())))
        .collect();
    for workers in [0, 2] {
        let loader = loader(workers);
        loader.set_position(6);
        let robust = config().init_gradient().unwrap();
        let mut numbers = Vec::new();
        for _ in 0..2 {
            for domains in loader.iter() {
                let seen = step(&robust, &domains.unwrap());
                assert_eq!(seen, sequence[seen.0 as usize]);
                numbers.push(seen.0);
            }
        }
        assert_eq!(numbers, [6, 7, 8, 9, 10, 11]);
        assert_eq!(robust.steps(), loader.position());
    }
}
