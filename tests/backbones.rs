//! Backbones against torchvision's and timm's: parameters, weights read from files, logits and
//! feature maps to $10^{-4}$.
//!
//! `tests/reference/backbones.py` wrote what they answer with weights of a formula. Here the same
//! formula fills a state dict of their names, which is read as any published file is.
#![cfg(feature = "detector")]

use std::{collections::HashMap, fs, path::Path};

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::loss::CrossEntropyLossConfig,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use proptest::prelude::*;
use roga::{
    Error,
    detector::backbone::{
        Backbone, BackboneConfig, Classifier, Head, Mismatch, ResNetConfig, Stem,
    },
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

const CLASSES: usize = 10;
const KEPT: usize = 7;
const PICTURES: u32 = 1_000_000;

/// A net as its publisher has it.
#[derive(Deserialize)]
struct Case {
    size: usize,
    gain: f64,
    map: [usize; 4],
    tensors: Vec<(String, Vec<usize>)>,
}

/// The same numbers as in the script.
fn uniform(stream: u32, count: usize) -> impl Iterator<Item = f64> {
    let offset = stream.wrapping_mul(0x9E37_79B9);
    (0..count as u32).map(move |index| {
        let mut x = index.wrapping_add(offset);
        x ^= x >> 16;
        x = x.wrapping_mul(0x7FEB_352D);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846C_A68B);
        x ^= x >> 16;
        f64::from(x) / 2f64.powi(32)
    })
}

fn numbers(index: usize, name: &str, shape: &[usize], gain: f64) -> Vec<f32> {
    let fan_in: usize = shape.iter().skip(1).product();
    let spread = (12.0 * gain / fan_in as f64).sqrt();
    let value = |u: f64| match name.rsplit(['.', '_']).next() {
        Some("var") => 0.5 + u,
        Some("mean" | "bias") => 0.4 * (u - 0.5),
        Some("scale") => 0.8 + 0.4 * u,
        _ if shape.len() == 1 => 0.8 + 0.4 * u,
        _ => (u - 0.5) * spread,
    };
    let drawn = uniform(index as u32, shape.iter().product());
    drawn.map(|u| value(u) as f32).collect()
}

type State = Vec<(String, Vec<usize>, Vec<f32>)>;

impl Case {
    fn state(&self) -> State {
        let tensors = self.tensors.iter().enumerate();
        let filled = tensors.map(|(index, (name, shape))| {
            let numbers = numbers(index, name, shape, self.gain);
            (name.clone(), shape.clone(), numbers)
        });
        filled.collect()
    }
}

fn cases() -> HashMap<String, Case> {
    serde_json::from_slice(&fs::read("tests/reference/backbones.json").unwrap()).unwrap()
}

fn write(path: &Path, state: &State) {
    let bytes = |numbers: &[f32]| -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    };
    let state: Vec<_> = state
        .iter()
        .map(|(name, shape, numbers)| (name, shape, bytes(numbers)))
        .collect();
    let views = state.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// The net with the weights, through a file of the publisher's names.
fn loaded(config: BackboneConfig, state: &State) -> Backbone {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write(&path, state);
    let net = config.init(CLASSES, &Device::flex()).unwrap();
    net.load_pretrained(path, Head::Loaded).unwrap()
}

fn pictures(size: usize, device: &Device) -> Tensor<4> {
    let shape = [2, 3, size, size];
    let pixels = uniform(PICTURES, shape.iter().product());
    let pixels: Vec<f32> = pixels.map(|u| (4.0 * (u - 0.5)) as f32).collect();
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// The largest difference, in units of 1 + the number's size.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(found, expected)| (found - expected).abs() / (1.0 + expected.abs()))
        .fold(0.0, f32::max)
}

#[track_caller]
fn answers_alike(name: &str, config: BackboneConfig) {
    let case = &cases()[name];
    let file = fs::read("tests/reference/backbones.safetensors").unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let expected = |what: &str| -> Vec<f32> {
        let view = file.tensor(&format!("{name}/{what}")).unwrap();
        let (numbers, _) = view.data().as_chunks::<4>();
        numbers
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    };
    let net = loaded(config, &case.state());
    let map = net.feature_map(pictures(case.size, &Device::flex()));
    assert_eq!(map.dims(), case.map);
    let logits = values(net.classify(map.clone()));
    let map: Vec<f32> = values(map).into_iter().step_by(KEPT).collect();
    let map = difference(&map, &expected("map"));
    let logits = difference(&logits, &expected("logits"));
    println!("{name}: map {map:e}, logits {logits:e}");
    assert!(
        map < 1e-4 && logits < 1e-4,
        "{name}: map {map}, logits {logits}"
    );
}

#[test]
fn resnet_18_answers_as_torchvision() {
    answers_alike("torchvision/resnet18", BackboneConfig::ResNet18);
}

#[test]
fn resnet_50_answers_as_torchvision() {
    answers_alike("torchvision/resnet50", BackboneConfig::ResNet50);
}

#[test]
fn xception_answers_as_timm() {
    answers_alike("timm/legacy_xception", BackboneConfig::Xception);
}

#[test]
fn efficientnet_b0_answers_as_torchvision_and_timm() {
    answers_alike(
        "torchvision/efficientnet_b0",
        BackboneConfig::EfficientNetB0,
    );
    answers_alike("timm/efficientnet_b0", BackboneConfig::EfficientNetB0);
}

#[test]
fn efficientnet_b4_answers_as_torchvision_and_timm() {
    answers_alike(
        "torchvision/efficientnet_b4",
        BackboneConfig::EfficientNetB4,
    );
    answers_alike("timm/efficientnet_b4", BackboneConfig::EfficientNetB4);
}

#[test]
fn convnext_tiny_answers_as_torchvision_and_timm() {
    answers_alike("torchvision/convnext_tiny", BackboneConfig::ConvNextTiny);
    answers_alike("timm/convnext_tiny", BackboneConfig::ConvNextTiny);
}

/// Names and lazy shapes of what a net can be trained in, none of it drawn.
#[derive(Default)]
struct Trainable {
    path: Vec<String>,
    numbers: usize,
    without_gradient: Vec<String>,
    gradients: GradientsParams,
}

impl ModuleVisitor for Trainable {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self
            .path
            .last()
            .is_some_and(|name| name.starts_with("running_"))
        {
            return;
        }
        self.numbers += param.lazy_shape().num_elements();
        let gradient = self.gradients.get::<D>(param.id);
        let magnitudes = gradient.map(|gradient| values(gradient.abs()));
        if !magnitudes.is_some_and(|all| {
            all.iter().all(|value| value.is_finite()) && all.iter().any(|value| *value > 0.0)
        }) {
            self.without_gradient.push(self.path.join("."));
        }
    }
}

#[test]
fn parameters_are_as_many_as_published() {
    for (config, expected) in [
        (BackboneConfig::ResNet18, 11_689_512),
        (BackboneConfig::ResNet34, 21_797_672),
        (BackboneConfig::ResNet50, 25_557_032),
        (BackboneConfig::Xception, 22_855_952),
        (BackboneConfig::EfficientNetB0, 5_288_548),
        (BackboneConfig::EfficientNetB1, 7_794_184),
        (BackboneConfig::EfficientNetB2, 9_109_994),
        (BackboneConfig::EfficientNetB3, 12_233_232),
        (BackboneConfig::EfficientNetB4, 19_341_616),
        (BackboneConfig::ConvNextTiny, 28_589_128),
    ] {
        let net = config.init(1000, &Device::flex()).unwrap();
        let mut trainable = Trainable::default();
        net.visit(&mut trainable);
        assert_eq!(trainable.numbers, expected, "{config}");
        assert_eq!(net.classes(), 1000, "{config}");
    }
}

#[test]
fn every_parameter_has_a_gradient() {
    for config in [
        BackboneConfig::Small,
        BackboneConfig::ResNet18,
        BackboneConfig::ResNet50,
        BackboneConfig::Xception,
        BackboneConfig::EfficientNetB0,
        BackboneConfig::ConvNextTiny,
        BackboneConfig::Frequency,
    ] {
        let device = Device::flex().autodiff();
        let net = config.init(2, &device).unwrap();
        let logits = net.forward(pictures(96, &device));
        let labels = Tensor::from_data([0, 1], &device);
        let loss = CrossEntropyLossConfig::new()
            .init(&device)
            .forward(logits, labels);
        let mut trainable = Trainable {
            gradients: GradientsParams::from_grads(loss.backward(), &net),
            ..Default::default()
        };
        net.visit(&mut trainable);
        assert_eq!(trainable.without_gradient, [""; 0], "{config}");
    }
}

#[test]
fn the_net_is_split_where_its_map_is_pooled() {
    for config in [
        BackboneConfig::Small,
        BackboneConfig::Frequency,
        BackboneConfig::ConvNextTiny,
    ] {
        let net = config.init(3, &Device::flex()).unwrap();
        let pictures = pictures(64, &Device::flex());
        let map = net.feature_map(pictures.clone());
        assert_eq!(map.dims()[1], net.features_len(), "{config}");
        let features = net.features(pictures.clone());
        assert_eq!(features.dims(), [2, net.features_len()], "{config}");
        let logits = values(net.forward(pictures));
        assert_eq!(values(net.classify(map)), logits, "{config}");
        assert_eq!(values(net.head().forward(features)), logits, "{config}");
    }
}
