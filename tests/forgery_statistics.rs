//! Real and forged samples must not be told apart by what their files and pictures are like as a
//! whole: a network would learn that instead of the marks of forgery.
//!
//! Real faces are read from `faces256` and, for the forgeries that need no landmarks, grey
//! portraits from `congress/img/200x250`, in `$ROGA_DATA`, or in `../shared/data` next to the
//! repository; without them, their trials are reported as ignored.

use std::{env, path::PathBuf, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use roga::detector::{
    dataset::{DomainConfig, FaceSource, Sample},
    encode::EncodeConfig,
    faces::Faces,
    forgery::Forgery,
    gallery::GalleryConfig,
    portrait::{PortraitConfig, Portraits},
};

/// What a classifier that knows nothing of faces may reach.
const MAX_AUC: f64 = 0.6;

/// Width, height, JPEG quality and bytes, and mean and deviation of each channel. The tables of
/// quantisation are a function of the quality.
const FEATURES: [&str; 11] = [
    "width",
    "height",
    "quality",
    "bytes",
    "red mean",
    "green mean",
    "blue mean",
    "red deviation",
    "green deviation",
    "blue deviation",
    "luma deviation",
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let faces = data("faces256");
    let portraits = data("congress/img/200x250");
    let mut trials = Vec::new();
    for forgery in Forgery::ALL {
        trials.push(Trial::test(format!("drawn::{forgery}"), move || {
            let drawn = Portraits::new(PortraitConfig::new(), 2024, 150, 2)?;
            check(&drawn, DomainConfig::new(forgery))
        }));
        let (folder, missing) = (faces.clone(), faces.is_none());
        let trial = Trial::test(format!("real::{forgery}"), move || {
            let faces = Faces::open(folder.ok_or("no folder of faces")?)?;
            check(&faces, DomainConfig::new(forgery).with_copies(3))
        });
        trials.push(trial.with_ignored_flag(missing));
        if forgery.needs_landmarks() {
            continue;
        }
        let (folder, missing) = (portraits.clone(), portraits.is_none());
        let trial = Trial::test(format!("grey::{forgery}"), move || {
            let gallery = GalleryConfig::new().open(folder.ok_or("no folder of portraits")?)?;
            let encode = EncodeConfig::new().with_grey(true);
            check(&gallery, DomainConfig::new(forgery).with_encode(encode))
        });
        trials.push(trial.with_ignored_flag(missing));
    }
    for (name, folder) in [("real", &faces), ("grey", &portraits)] {
        if folder.is_none() && !arguments.list {
            eprintln!("{name}::* are ignored: no such pictures in $ROGA_DATA or ../shared/data");
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn data(folder: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = env::var_os("ROGA_DATA").map_or_else(beside, PathBuf::from);
    Some(data.join(folder)).filter(|folder| folder.is_dir())
}

fn check(source: &dyn FaceSource, config: DomainConfig) -> Result<(), Failed> {
    let faces: Vec<usize> = (0..source.len()).collect();
    let samples = config.build(source, &faces)?;
    let rows: Vec<[f64; 11]> = samples.iter().map(features).collect();
    let labels: Vec<bool> = samples.iter().map(|sample| sample.label == 1).collect();
    let mut report = String::new();
    let mut worst = 0.0f64;
    for (column, name) in FEATURES.iter().enumerate() {
        let scores: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        let auc = auc(&scores, &labels);
        worst = worst.max(auc.max(1.0 - auc));
        report += &format!("{name} {auc:.3}, ");
    }
    let regression = regression_auc(&samples, &rows, &labels);
    worst = worst.max(regression);
    report += &format!("regression {regression:.3}");
    println!("{} of {} samples: {report}", config.forgery, samples.len());
    if worst > MAX_AUC {
        Err(format!("{worst:.3} > {MAX_AUC}: {report}").into())
    } else {
        Ok(())
    }
}

fn features(sample: &Sample) -> [f64; 11] {
    let picture = &sample.picture;
    let moments = |value: &dyn Fn(&image::Rgb<u8>) -> f64| {
        let count = f64::from(picture.width() * picture.height());
        let mean = picture.pixels().map(value).sum::<f64>() / count;
        let variance = picture
            .pixels()
            .map(|p| (value(p) - mean).powi(2))
            .sum::<f64>()
            / count;
        (mean, variance.sqrt())
    };
    let [red, green, blue] = [0, 1, 2].map(|channel| moments(&|p| f64::from(p[channel])));
    let luma =
        moments(&|p| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]));
    [
        f64::from(picture.width()),
        f64::from(picture.height()),
        f64::from(sample.quality),
        sample.bytes as f64,
        red.0,
        green.0,
        blue.0,
        red.1,
        green.1,
        blue.1,
        luma.1,
    ]
}

/// The chance that a forged sample scores higher than a real one; ties count half.
fn auc(scores: &[f64], forged: &[bool]) -> f64 {
    let of = |class: bool| {
        let pairs = scores.iter().zip(forged).filter(move |(_, f)| **f == class);
        pairs.map(|(score, _)| *score).collect::<Vec<f64>>()
    };
    let (fakes, reals) = (of(true), of(false));
    let wins = |fake: &f64| -> f64 {
        let win = |real: &f64| {
            if fake > real {
                1.0
            } else if fake == real {
                0.5
            } else {
                0.0
            }
        };
        reals.iter().map(win).sum()
    };
    fakes.iter().map(wins).sum::<f64>() / (fakes.len() * reals.len()) as f64
}

/// The AUC of a logistic regression on the features, trained on
/// one half of the people and tested on the other, both ways.
fn regression_auc(samples: &[Sample], rows: &[[f64; 11]], forged: &[bool]) -> f64 {
    let mut people: Vec<&str> = samples.iter().map(|sample| &*sample.person).collect();
    people.sort_unstable();
    people.dedup();
    let half = |sample: &Sample| people.binary_search(&&*sample.person).unwrap_or(0) % 2;
    let standard = standardised(rows);
    let both = [0, 1].map(|test| {
        let side = |wanted: bool| -> Vec<usize> {
            (0..samples.len())
                .filter(|&i| (half(&samples[i]) == test) == wanted)
                .collect()
        };
        let weights = fitted(&standard, forged, &side(false));
        let tested = side(true);
        let scores: Vec<f64> = tested
            .iter()
            .map(|&i| score(&weights, &standard[i]))
            .collect();
        let labels: Vec<bool> = tested.iter().map(|&i| forged[i]).collect();
        auc(&scores, &labels)
    });
    0.5 * (both[0] + both[1])
}

/// Mean 0 and deviation 1 for each column, and a column of ones; a constant column becomes 0.
fn standardised(rows: &[[f64; 11]]) -> Vec<[f64; 12]> {
    let count = rows.len() as f64;
    let moments: [(f64, f64); 11] = std::array::from_fn(|i| {
        let mean = rows.iter().map(|row| row[i]).sum::<f64>() / count;
        let variance = rows.iter().map(|row| (row[i] - mean).powi(2)).sum::<f64>() / count;
        (mean, variance.sqrt().max(1e-9))
    });
    let scaled = |row: &[f64; 11]| {
        std::array::from_fn(|i| {
            if i < 11 {
                (row[i] - moments[i].0) / moments[i].1
            } else {
                1.0
            }
        })
    };
    rows.iter().map(scaled).collect()
}

fn score(weights: &[f64; 12], row: &[f64; 12]) -> f64 {
    weights.iter().zip(row).map(|(w, x)| w * x).sum()
}

/// Gradient descent on the logistic loss with a little weight decay.
fn fitted(rows: &[[f64; 12]], forged: &[bool], train: &[usize]) -> [f64; 12] {
    let mut weights = [0.0; 12];
    for _ in 0..3000 {
        let mut gradient = weights.map(|w| 1e-3 * w);
        for &i in train {
            let chance = 1.0 / (1.0 + (-score(&weights, &rows[i])).exp());
            let error = chance - if forged[i] { 1.0 } else { 0.0 };
            for (g, x) in gradient.iter_mut().zip(&rows[i]) {
                *g += error * x / train.len() as f64;
            }
        }
        for (w, g) in weights.iter_mut().zip(gradient) {
            *w -= 0.5 * g;
        }
    }
    weights
}
