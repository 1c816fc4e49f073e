//! Every number of every `Config`, at every value that cannot be meant.
//!
//! The numbers are found in what a configuration is written as, so that one with a new field needs no
//! new line here; a new configuration does, and its absence is seen.

use std::{any::type_name, collections::BTreeSet, fmt, fs, path::Path};

use burn::{
    module::ParamGroup,
    nn::{Linear, LinearConfig},
    optim::SgdConfig,
    tensor::{Device, Tensor},
};
use image::{Rgb, RgbImage};
use roga::{
    Result,
    aggregation::{Aggregation, AndMask, CaGrad, Disam, GroupDro, PcGrad, UpGrad, VRex},
    alignment::AlignmentConfig,
    averaging::{ExponentialMovingAverageConfig, SwadConfig},
    checkpoint::CheckpointsConfig,
    detector::{
        augment::{AugmentConfig, Chance},
        backbone::{
            ConvNextConfig, EfficientNetConfig, FrequencyConfig, ResNetConfig, XceptionConfig,
        },
        compression::Compression,
        data::{
            AlignConfig, CheckConfig, DeepfakeBenchConfig, FolderConfig, Listing, ManifestConfig,
            SelectConfig, VideoConfig,
        },
        dataset::{DomainConfig, FaceSource},
        encode::EncodeConfig,
        explain::{HeatMap, OverlayConfig},
        forgery::Forgery,
        gallery::GalleryConfig,
        portrait::{PortraitConfig, Portraits},
    },
    diagnostic::{Direction, LandscapeConfig},
    metric::{BootstrapConfig, DetectionMetricsConfig, Roc, RocBandConfig, ScoredSet},
    optim::{
        AggregationConfig, Ascent, Evaluation, FishConfig, FriendlyAscent,
        RobustGradientAlignmentConfig as Config, Schedule,
    },
    perturbation::Adaptive,
};
use serde::{Serialize, de::DeserializeOwned};
use toml::Value;

use crate::{assert_named, device, domains, without_panic};

/// Where a number is: names and places.
type Place = Vec<String>;

fn numbers(value: &Value, at: &Place, found: &mut Vec<Place>) {
    let below = |name: String| [&at[..], &[name]].concat();
    match value {
        Value::Integer(_) | Value::Float(_) => found.push(at.clone()),
        Value::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                numbers(value, &below(place.to_string()), found);
            }
        }
        Value::Table(table) => {
            for (name, value) in table {
                numbers(value, &below(name.clone()), found);
            }
        }
        _ => {}
    }
}

fn number<'a>(value: &'a mut Value, place: &[String]) -> &'a mut Value {
    place.iter().fold(value, |value, name| match value {
        Value::Array(values) => &mut values[name.parse::<usize>().unwrap()],
        other => &mut other[name.as_str()],
    })
}

/// Whether no option is left out, burn's groups of parameters aside.
fn is_whole(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => false,
        serde_json::Value::Array(values) => values.iter().all(is_whole),
        serde_json::Value::Object(fields) => {
            let mut fields = fields.iter();
            fields.all(|(name, value)| name == "group" || is_whole(value))
        }
        _ => true,
    }
}

const FLOATS: [f64; 8] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -1.0,
    -1e300,
    0.0,
    1e-300,
    1e300,
];

const WHOLE: [i64; 4] = [i64::MIN, -1, 0, i64::MAX];

/// The configurations that were tried.
#[derive(Default)]
struct Table {
    names: BTreeSet<&'static str>,
}

impl Table {
    /// Tries every number of a configuration. `used` does with it what it is for; that its result is a
    /// defined one is its own to assert.
    fn every_number<C>(&mut self, config: C, used: impl Fn(&C) -> Result<()>)
    where
        C: Serialize + DeserializeOwned + fmt::Debug,
    {
        let name = type_name::<C>().rsplit("::").next().unwrap();
        self.names.insert(name);
        let json = serde_json::to_value(&config).unwrap();
        assert!(
            is_whole(&json),
            "give all options of {name} a value: {json}"
        );
        used(&config).unwrap_or_else(|error| panic!("{config:?} is to work, but {error}"));
        let written = Value::try_from(&config).unwrap();
        let mut places = Vec::new();
        numbers(&written, &Vec::new(), &mut places);
        for place in places {
            let mut written = written.clone();
            let bad: Vec<Value> = match number(&mut written, &place) {
                Value::Float(_) => FLOATS.map(Value::Float).to_vec(),
                _ => WHOLE.map(Value::Integer).to_vec(),
            };
            for bad in bad {
                *number(&mut written, &place) = bad.clone();
                let what = format!("{name} with {bad} at {place:?}");
                let Ok(config) = written.clone().try_into::<C>() else {
                    // What the field's type does not hold.
                    assert!(matches!(bad, Value::Integer(_)), "{what} cannot be read");
                    continue;
                };
                let finite = match bad {
                    // From an infinite threshold on, all items are called positive, or none.
                    Value::Float(bad) if place.last().is_some_and(|name| name == "threshold") => {
                        !bad.is_nan()
                    }
                    Value::Float(bad) => bad.is_finite(),
                    _ => true,
                };
                match without_panic(&what, || used(&config)) {
                    Ok(()) => assert!(finite, "{what} is taken"),
                    Err(error) => {
                        let names: Vec<&str> = place.iter().map(String::as_str).collect();
                        let is_name = |name: &&str| name.parse::<usize>().is_err();
                        let names: Vec<&str> = names.into_iter().filter(is_name).collect();
                        assert_named(&what, &error, &names);
                    }
                }
            }
        }
    }
}

#[test]
fn every_number_of_every_config_is_refused_by_name_or_has_a_defined_result() {
    let mut table = Table::default();
    training(&mut table);
    averages_and_metrics(&mut table);
    pictures(&mut table);
    backbones(&mut table);
    data_sets(&mut table);
    let mut missing = configs();
    missing.retain(|name| !table.names.contains(&**name));
    // Parts of the training's own, which is tried with them.
    for part in [
        "AggregationConfig",
        "AlignmentConfig",
        "FriendlyAscent",
        "PerturbationGroup",
    ] {
        assert!(missing.remove(part), "{part}");
    }
    #[cfg(not(feature = "face-detection"))]
    missing.remove("FaceDetectorConfig");
    assert!(missing.is_empty(), "never tried: {missing:?}");
}

/// The configurations that the source has.
fn configs() -> BTreeSet<String> {
    fn walk(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            for derived in source.split("#[derive(").skip(1) {
                let (traits, after) = derived.split_once(")]").unwrap();
                let item = after.lines().find(|line| line.starts_with("pub "));
                let item = item.and_then(|item| item.strip_prefix("pub struct "));
                let is_config = |name: &str| name.trim().rsplit("::").next() == Some("Config");
                if let (true, Some(item)) = (traits.split(',').any(is_config), item) {
                    let end = |c: char| !c.is_alphanumeric();
                    found.insert(item.split(end).next().unwrap().into());
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 25, "{found:?}");
    found
}

fn loss(model: &Linear, rows: &Tensor<2>) -> Tensor<1> {
    model.forward(rows.clone()).square().mean()
}

fn net() -> Linear {
    LinearConfig::new(2, 1).init(&device())
}

fn assert_finite(model: &Linear) {
    let numbers = model.weight.val().into_data();
    assert!(numbers.iter::<f32>().all(f32::is_finite));
}

/// Two steps, and what they cost.
fn train(config: &Config) -> Result<()> {
    let mut model = net();
    let mut optim = config.init(SgdConfig::new().init())?;
    for _ in 0..2 {
        optim.step(0.1, &mut model, &domains(3), loss)?;
        assert_finite(&model);
    }
    let (step, passes) = (config.passes_per_step(3)?, config.passes(10, 3)?);
    assert!(step >= 1.0 && (10.0..=10.0 * step + 1e-9).contains(&passes));
    assert!(config.steps_within(20, 3)? <= 20);
    Ok(())
}

fn training(table: &mut Table) {
    let alignment = AlignmentConfig::cosine(0.1)
        .with_weight_schedule(Schedule::Linear {
            from: 0.5,
            to: 1.0,
            steps: 3,
        })
        .with_relative_step(Some(1e-3));
    let whole = |method: Aggregation| {
        Config::new()
            .with_rho_schedule(Schedule::Cosine {
                from: 1.0,
                to: 0.5,
                steps: 3,
            })
            .with_gamma_schedule(Schedule::LearningRate { reference: 0.1 })
            .with_adaptive(Adaptive::Weights { eta: 0.01 })
            .with_group(ParamGroup::from_predicate("bias"), 0.1, 0.01)
            .with_evaluation(Evaluation::Own)
            .with_ascent(Ascent::Pooled)
            .with_friendly(Some(FriendlyAscent::new()))
            .with_interval(2)
            .with_reuse_weight(Some(0.5))
            .with_domain_weights(Some(vec![1.0, 2.0, 1.0]))
            .with_noise_seed(Some(1))
            .with_gap_weight(Some(0.1))
            .with_alignment(Some(alignment.clone()))
            .with_aggregation(Some(AggregationConfig::new(method)))
    };
    let methods: [Aggregation; 7] = [
        PcGrad::default().into(),
        UpGrad::default().into(),
        CaGrad::default().into(),
        GroupDro::default().into(),
        VRex::default().into(),
        Disam::default().into(),
        AndMask::default().into(),
    ];
    for method in methods {
        table.every_number(whole(method), train);
    }
    let folder = tempfile::tempdir().unwrap();
    table.every_number(CheckpointsConfig::new(folder.path().into()), |config| {
        config.init().map(drop)
    });
    table.every_number(FishConfig::new(), |config| {
        let mut model = net();
        let mut fish = config.init(SgdConfig::new().init())?;
        fish.step(0.1, &mut model, &domains(3), loss)?;
        assert_finite(&model);
        Ok(())
    });
    let ascent = |domain: &str| Direction::Ascent {
        domain: domain.into(),
        rho: 0.05,
    };
    let landscape = LandscapeConfig::new()
        .with_first(ascent("domain 0"))
        .with_second(Some(ascent("domain 1")))
        .with_points(3);
    let random = landscape
        .clone()
        .with_second(Some(Direction::Random { seed: 1 }));
    for config in [landscape, random] {
        table.every_number(config, |config| {
            let landscape = config.measure(&net(), &[domains(2)], loss)?;
            assert!(landscape.loss(0).is_some_and(f64::is_finite));
            Ok(())
        });
    }
}

fn averages_and_metrics(table: &mut Table) {
    table.every_number(ExponentialMovingAverageConfig::new(0.9), |config| {
        let (mut average, net) = (config.init()?, net());
        average.update(&net)?;
        average.update(&net)?;
        assert_finite(&average.average(&net)?);
        Ok(())
    });
    table.every_number(SwadConfig::new(), |config| {
        let (mut swad, net) = (config.init()?, net());
        for loss in [0.5, 0.4, 0.6, 0.7] {
            swad.update(&net)?;
            swad.evaluated(loss)?;
        }
        assert_finite(&swad.average(&net)?);
        Ok(())
    });
    const SCORES: [f64; 6] = [0.1, 0.6, 0.4, 0.9, 0.2, 0.7];
    const LABELS: [bool; 6] = [false, false, true, true, false, true];
    table.every_number(BootstrapConfig::new().with_replicates(10), |config| {
        let interval = config.init(&LABELS)?.roc_interval(&SCORES, Roc::auc)?;
        assert!(interval.lower <= interval.upper);
        Ok(())
    });
    let band = RocBandConfig::new().with_replicates(10).with_points(3);
    table.every_number(band, |config| {
        let band = config.band(&[ScoredSet {
            scores: &SCORES,
            labels: &LABELS,
            clusters: &[0, 0, 0, 1, 1, 1],
        }])?;
        assert!(band.tpr.iter().all(|tpr| tpr.is_finite()));
        Ok(())
    });
    table.every_number(DetectionMetricsConfig::new(), |config| {
        let metrics = config.measure(&SCORES, &LABELS, None)?;
        assert!(metrics.frame.calibration_error.is_finite());
        Ok(())
    });
}

/// Two people of 64 pixels.
fn portraits() -> Portraits {
    Portraits::new(PortraitConfig::new().with_size(64), 1, 2, 1).unwrap()
}

fn pictures(table: &mut Table) {
    let picture = RgbImage::from_fn(16, 12, |x, y| Rgb([x as u8 * 9, y as u8 * 20, 77]));
    table.every_number(PortraitConfig::new().with_size(64), |config| {
        config.draw(1, 2, 3).map(drop)
    });
    let face = portraits().face(0).unwrap();
    table.every_number(EncodeConfig::new(), |config| {
        config.encode(face.picture(), face.landmarks(), 1).map(drop)
    });
    table.every_number(AlignConfig::new().with_size(32), |config| {
        config.align(face.picture(), face.landmarks()).map(drop)
    });
    let domain = DomainConfig::new(Forgery::FaceSwap);
    table.every_number(domain, |config| {
        let samples = config.build(&portraits(), &[0, 1])?;
        assert_eq!(samples.len(), 4 * config.copies);
        Ok(())
    });
    let level = Compression::new("c".into(), [50, 60]).with_scale([0.5, 1.0]);
    table.every_number(level, |config| config.apply(&picture, 1).map(drop));
    let augment = AugmentConfig::deepfake_bench()
        .with_resize(Chance::new(0.5, [0.5, 1.0]))
        .with_noise(Chance::new(0.5, [0.0, 0.1]))
        .with_cut_out(Chance::new(0.5, [0.1, 0.2]));
    table.every_number(augment, |config| {
        (0..4).try_for_each(|random| config.apply(&picture, random).map(drop))
    });
    let heat = HeatMap::new(2, 1, vec![0.0, 1.0]).unwrap();
    table.every_number(OverlayConfig::new(), |config| {
        config.lay(&heat, &picture).map(drop)
    });
}

fn backbones(table: &mut Table) {
    let device = Device::flex();
    table.every_number(ResNetConfig::new(vec![4, 8], vec![1, 1], 2), |config| {
        config.init(&device).map(drop)
    });
    table.every_number(ConvNextConfig::new(vec![4, 8], vec![1, 1], 2), |config| {
        config.init(&device).map(drop)
    });
    let frequency = FrequencyConfig::new(2)
        .with_channels(vec![4])
        .with_blocks(vec![1]);
    table.every_number(frequency, |config| config.init(&device).map(drop));
    table.every_number(EfficientNetConfig::new(0.1, 0.1, 2), |config| {
        config.init(&device).map(drop)
    });
    table.every_number(XceptionConfig::new(2), |config| {
        config.init(&device).map(drop)
    });
}

fn data_sets(table: &mut Table) {
    table.every_number(GalleryConfig::new(), GalleryConfig::check);
    table.every_number(VideoConfig::new(), VideoConfig::check);
    let select = SelectConfig::new()
        .with_split(Some(roga::detector::data::Split::Test))
        .with_compression(Some(roga::detector::data::Compression::C23))
        .with_frames_per_video(Some(3));
    table.every_number(select, SelectConfig::check);
    table.every_number(CheckConfig::new(), |config| {
        let empty = Listing::new(Vec::new()).check(config);
        assert!(empty.unwrap_err().to_string().contains("no pictures"));
        Ok(())
    });
    // Without numbers.
    let root = || "nowhere".into();
    table.every_number(FolderConfig::new(root()), |_| Ok(()));
    table.every_number(DeepfakeBenchConfig::new(root()), |_| Ok(()));
    table.every_number(ManifestConfig::new().with_root(Some(root())), |_| Ok(()));
    #[cfg(feature = "face-detection")]
    table.every_number(
        roga::detector::data::FaceDetectorConfig::new(root()),
        roga::detector::data::FaceDetectorConfig::check,
    );
}
