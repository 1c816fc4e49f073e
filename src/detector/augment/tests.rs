use image::Rgb;

use super::*;
use crate::detector::{encode::EncodeConfig, portrait::PortraitConfig};

fn portrait() -> RgbImage {
    let face = PortraitConfig::new().draw(1, 0, 0).unwrap();
    let encoded = EncodeConfig::new().encode(face.picture(), face.landmarks(), 1);
    encoded.unwrap().picture
}

/// Each operation alone, always, under its name.
fn alone() -> Vec<(&'static str, AugmentConfig)> {
    let none = AugmentConfig::none;
    let always = |low, high| Chance::new(1.0, [low, high]);
    vec![
        ("flip", none().with_flip(1.0)),
        ("rotation", none().with_rotation(always(-10.0, 10.0))),
        ("resize", none().with_resize(always(0.3, 0.8))),
        ("blur", none().with_blur(always(0.8, 1.4))),
        ("brightness", none().with_brightness(always(-0.2, 0.2))),
        ("contrast", none().with_contrast(always(-0.2, 0.2))),
        ("hue", none().with_hue(always(-40.0, 40.0))),
        ("noise", none().with_noise(always(0.02, 0.05))),
        ("jpeg", none().with_jpeg(Chance::new(1.0, [30, 60]))),
        ("cut_out", none().with_cut_out(always(0.2, 0.5))),
    ]
}

/// All of them, always.
fn all() -> AugmentConfig {
    let mut all = AugmentConfig::none();
    for (name, config) in alone() {
        match name {
            "flip" => all.flip = config.flip,
            "rotation" => all.rotation = config.rotation,
            "resize" => all.resize = config.resize,
            "blur" => all.blur = config.blur,
            "brightness" => all.brightness = config.brightness,
            "contrast" => all.contrast = config.contrast,
            "hue" => all.hue = config.hue,
            "noise" => all.noise = config.noise,
            "jpeg" => all.jpeg = config.jpeg,
            _ => all.cut_out = config.cut_out,
        }
    }
    all
}

#[test]
fn probability_0_leaves_every_bit() {
    let picture = portrait();
    let mut never = all().with_flip(0.0);
    for chance in [
        &mut never.rotation,
        &mut never.resize,
        &mut never.blur,
        &mut never.brightness,
        &mut never.contrast,
        &mut never.hue,
        &mut never.noise,
        &mut never.cut_out,
    ] {
        chance.probability = 0.0;
    }
    never.jpeg.probability = 0.0;
    for random in 0..50 {
        assert_eq!(never.apply(&picture, random).unwrap(), picture);
        assert_eq!(
            AugmentConfig::none().apply(&picture, random).unwrap(),
            picture
        );
    }
}

#[test]
fn each_operation_alone_changes_the_picture_and_is_a_function_of_its_number() {
    let picture = portrait();
    for (name, config) in alone() {
        let changed: Vec<RgbImage> = (0..6)
            .map(|random| config.apply(&picture, random).unwrap())
            .collect();
        for (random, changed) in (0..).zip(&changed) {
            assert!(
                *changed == config.apply(&picture, random).unwrap(),
                "{name}"
            );
        }
        // An amount of tone may be too small for any level to change.
        assert!(
            changed
                .iter()
                .filter(|changed| **changed != picture)
                .count()
                > 4,
            "{name}"
        );
        let same = changed.iter().filter(|other| **other == changed[0]).count();
        assert!(if name == "flip" { same == 6 } else { same < 3 }, "{name}");
    }
}

#[test]
fn a_flip_mirrors_and_happens_as_often_as_it_says() {
    let picture = portrait();
    let mirrored = imageops::flip_horizontal(&picture);
    let config = AugmentConfig::none().with_flip(0.5);
    let flips = (0..1000).filter(|&random| {
        let changed = config.apply(&picture, random).unwrap();
        assert!(changed == picture || changed == mirrored);
        changed == mirrored
    });
    // Four standard deviations.
    assert!(flips.count().abs_diff(500) < 64);
}

#[test]
fn a_blur_spreads_a_point_by_its_deviation() {
    let mut point = RgbImage::new(41, 41);
    point.put_pixel(20, 20, Rgb([255; 3]));
    let sigma = 1.2f64;
    let config = AugmentConfig::none().with_blur(Chance::new(1.0, [sigma as f32; 2]));
    let blurred = config.apply(&point, 0).unwrap();
    // As OpenCV has it, a deviation of 1.2 pixels goes with a kernel of 5.
    let weight = |d: i32| (-0.5 * f64::from(d * d) / (sigma * sigma)).exp();
    let sum: f64 = (-2..=2).map(weight).sum();
    for (dx, dy) in [(0, 0), (1, 0), (0, 2), (1, 1), (3, 0)] {
        let inside = dx.max(dy) <= 2;
        let expected = f64::from(u8::from(inside)) * 255.0 * weight(dx) * weight(dy) / (sum * sum);
        let found = f64::from(blurred.get_pixel(20 + dx as u32, 20 + dy as u32)[0]);
        assert!(
            (found - expected).abs() <= 0.51,
            "{dx} {dy}: {found} {expected}"
        );
    }
    let even = RgbImage::from_pixel(9, 7, Rgb([13, 250, 77]));
    for sigma in [0.1, 1.0, 20.0] {
        let config = AugmentConfig::none().with_blur(Chance::new(1.0, [sigma; 2]));
        assert_eq!(config.apply(&even, 0).unwrap(), even);
    }
}

#[test]
fn a_jpeg_loses_more_at_a_lower_quality() {
    let picture = portrait();
    let error = |quality: u8| {
        let config = AugmentConfig::none().with_jpeg(Chance::new(1.0, [quality; 2]));
        let changed = config.apply(&picture, 0).unwrap();
        let squares = changed.iter().zip(picture.iter());
        let sum: f64 = squares
            .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
            .sum();
        (sum / picture.len() as f64).sqrt()
    };
    let errors = [100, 90, 60, 30, 5].map(error);
    assert!(
        errors.windows(2).all(|pair| pair[0] < pair[1]),
        "{errors:?}"
    );
    assert!(errors[0] < 2.0 && errors[4] > 8.0, "{errors:?}");
}

#[test]
fn an_operation_turned_off_leaves_the_draws_of_the_others() {
    let picture = portrait();
    let both = AugmentConfig::none()
        .with_rotation(Chance::new(0.5, [-10.0, 10.0]))
        .with_brightness(Chance::new(0.5, [-0.2, 0.2]));
    let first = both.clone().with_brightness(Chance::never(0.0));
    let second = both.clone().with_rotation(Chance::never(0.0));
    for random in 0..20 {
        let turned = first.apply(&picture, random).unwrap();
        let expected = second.apply(&turned, random).unwrap();
        assert_eq!(both.apply(&picture, random).unwrap(), expected);
    }
}

#[test]
fn extremes_and_tiny_and_odd_pictures_are_borne() {
    let extremes = |upper: bool| {
        let end = |low: f32, high: f32| Chance::new(1.0, [if upper { high } else { low }; 2]);
        AugmentConfig::none()
            .with_flip(1.0)
            .with_rotation(end(-180.0, 180.0))
            .with_resize(end(0.01, 1.0))
            .with_blur(end(0.0, 20.0))
            .with_brightness(end(-1.0, 1.0))
            .with_contrast(end(-1.0, 1.0))
            .with_hue(end(-180.0, 180.0))
            .with_noise(end(0.0, 1.0))
            .with_jpeg(Chance::new(1.0, [if upper { 100 } else { 1 }; 2]))
            .with_cut_out(end(0.0, 1.0))
    };
    for (width, height) in [(1, 1), (1, 9), (7, 1), (3, 2), (33, 17)] {
        let picture = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 200]));
        for config in [extremes(false), extremes(true), all()] {
            for random in 0..10 {
                let changed = config.apply(&picture, random).unwrap();
                assert_eq!(changed.dimensions(), (width, height));
            }
        }
    }
    for (width, height) in [(0, 0), (0, 5), (5, 0)] {
        let error = all().apply(&RgbImage::new(width, height), 0).unwrap_err();
        assert!(error.to_string().starts_with("picture must"), "{error}");
    }
}

#[test]
fn grey_pictures_stay_grey() {
    let picture = crate::detector::raster::grey(portrait());
    for random in 0..20 {
        let changed = all().apply(&picture, random).unwrap();
        assert!(changed.pixels().all(|p| p[0] == p[1] && p[1] == p[2]));
    }
}

#[test]
fn settings_out_of_range_are_refused_with_field_rule_and_value() {
    let none = AugmentConfig::none;
    let nan = f32::NAN;
    let range = |low, high| Chance::new(0.5, [low, high]);
    for (config, text) in [
        (
            none().with_flip(1.5),
            "flip must have a probability from 0 to 1, but is 1.5",
        ),
        (
            none().with_flip(f64::NAN),
            "flip must have a probability from 0 to 1, but is NaN",
        ),
        (
            none().with_rotation(Chance::new(-0.1, [0.0, 1.0])),
            "rotation must have a probability from 0 to 1, but is -0.1",
        ),
        (
            none().with_rotation(range(-190.0, 10.0)),
            "rotation must have a range that rises within -180 and 180 degrees, but is [-190.0, 10.0]",
        ),
        (
            none().with_resize(range(0.0, 1.0)),
            "resize must have a range that rises within 0.01 and 1, but is [0.0, 1.0]",
        ),
        (
            none().with_blur(range(2.0, 1.0)),
            "blur must have a range that rises within 0 and 20 pixels, but is [2.0, 1.0]",
        ),
        (
            none().with_brightness(range(nan, 0.1)),
            "brightness must have a range that rises within -1 and 1, but is [NaN, 0.1]",
        ),
        (
            none().with_contrast(range(0.0, nan)),
            "contrast must have a range that rises within -1 and 1, but is [0.0, NaN]",
        ),
        (
            none().with_hue(range(0.0, f32::INFINITY)),
            "hue must have a range that rises within -180 and 180 degrees, but is [0.0, inf]",
        ),
        (
            none().with_noise(range(-0.1, 0.1)),
            "noise must have a range that rises within 0 and 1, but is [-0.1, 0.1]",
        ),
        (
            none().with_jpeg(Chance::new(0.5, [0, 90])),
            "jpeg must have a range that rises within 1 and 100, but is [0, 90]",
        ),
        (
            none().with_cut_out(range(0.1, 1.1)),
            "cut_out must have a range that rises within 0 and 1, but is [0.1, 1.1]",
        ),
    ] {
        assert_eq!(config.check().unwrap_err().to_string(), text);
        assert!(config.apply(&RgbImage::new(4, 4), 0).is_err());
    }
}

#[test]
fn presets_have_names_and_settings_go_through_json() {
    for name in AugmentConfig::PRESETS {
        let config = AugmentConfig::preset(name).unwrap();
        config.check().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<AugmentConfig>(&json).unwrap(),
            config
        );
    }
    assert_eq!(
        AugmentConfig::preset("none").unwrap(),
        AugmentConfig::none()
    );
    assert!(AugmentConfig::preset("strong").is_err());
    let picture = portrait();
    let config = AugmentConfig::deepfake_bench();
    let same = (0..400).filter(|&random| config.apply(&picture, random).unwrap() == picture);
    // Of (1/2)^4 (5/6)^3 of the pictures, not a bit changes.
    assert!(same.count().abs_diff(14) < 15);
}

/// Through the loader: what was augmented how, of pictures that each have a class.
#[test]
fn any_number_of_workers_augments_alike_and_classes_are_treated_alike() {
    use burn::{
        data::{
            dataloader::{DataLoader, batcher::Batcher},
            dataset::InMemDataset,
        },
        tensor::Device,
    };

    use crate::domain::{DomainDataLoaderBuilder, EpochLength};

    #[derive(Clone)]
    struct Keep;
    type Item = (RgbImage, u8);
    impl Batcher<Item, Vec<Item>> for Keep {
        fn batch(&self, items: Vec<Item>, _: &Device) -> Vec<Item> {
            items
        }
    }

    let picture = RgbImage::from_fn(12, 9, |x, y| Rgb([(20 * x) as u8, (25 * y) as u8, 90]));
    let items: Vec<Item> = (0..8).map(|i| (picture.clone(), i % 2)).collect();
    let augmented = |config: &AugmentConfig, workers| -> Vec<Item> {
        let config = config.clone();
        let loader = DomainDataLoaderBuilder::new(Keep)
            .batch_size(4)
            .seed(3)
            .num_workers(workers)
            .epoch(EpochLength::Steps(20))
            .class_balanced(|item: &Item| item.1)
            .augment(move |(picture, class): Item, random| {
                (config.apply(&picture, random).unwrap(), class)
            })
            .domain("a", InMemDataset::new(items.clone()))
            .domain("b", InMemDataset::new(items.clone()))
            .build()
            .unwrap();
        let epochs = (0..2).flat_map(|_| loader.iter().collect::<Vec<_>>());
        let batches = epochs.flat_map(|batches| {
            let batches = batches.unwrap();
            let all: Vec<Item> = batches
                .iter()
                .flat_map(|(_, batch)| batch.clone())
                .collect();
            all
        });
        batches.collect()
    };
    let config = all().with_flip(0.5);
    let none = augmented(&config, 0);
    assert_eq!(none.len(), 2 * 20 * 2 * 4);
    for workers in [1, 3] {
        assert!(none == augmented(&config, workers), "{workers} workers");
    }
    assert!(none[..160] != none[160..], "epochs differ");

    let mirrored = imageops::flip_horizontal(&picture);
    let flips = augmented(&AugmentConfig::none().with_flip(0.5), 0);
    for class in [0, 1] {
        let of_it = flips.iter().filter(|(_, c)| *c == class);
        let (count, flipped) = of_it.fold((0usize, 0usize), |(count, flipped), (p, _)| {
            (count + 1, flipped + usize::from(*p == mirrored))
        });
        // Four standard deviations.
        assert_eq!(count, 160);
        assert!(flipped.abs_diff(80) < 26, "{flipped} of class {class}");
    }
}
