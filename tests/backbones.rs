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

/// The largest.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(found, expected)| (found - expected).abs())
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

/// The net of `tests/reference/backbone.pth`, and its state dict in the publisher's names.
fn tiny() -> (Backbone, State) {
    let config = ResNetConfig::new(vec![4, 8], vec![1, 1], 2).with_stem(Stem::Plain);
    let net = Backbone::ResNet(config.init(&Device::flex()).unwrap());
    let mut names = vec![("conv1.weight".to_string(), vec![4, 3, 3, 3])];
    let norm = |names: &mut Vec<(String, Vec<usize>)>, name: String, channels| {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            names.push((format!("{name}.{part}"), vec![channels]));
        }
    };
    norm(&mut names, "bn1".into(), 4);
    for (stage, outputs) in [(1, 4), (2, 8)] {
        for (layer, inputs) in [(1, 4), (2, outputs)] {
            let weight = format!("layer{stage}.0.conv{layer}.weight");
            names.push((weight, vec![outputs, inputs, 3, 3]));
            norm(&mut names, format!("layer{stage}.0.bn{layer}"), outputs);
        }
    }
    names.push(("layer2.0.downsample.0.weight".into(), vec![8, 4, 1, 1]));
    norm(&mut names, "layer2.0.downsample.1".into(), 8);
    names.push(("fc.weight".into(), vec![2, 8]));
    names.push(("fc.bias".into(), vec![2]));
    let case = Case {
        size: 8,
        gain: 1.0,
        map: [2, 8, 4, 4],
        tensors: names,
    };
    (net, case.state())
}

fn logits(net: &Backbone) -> Vec<f32> {
    values(net.forward(pictures(8, &Device::flex())))
}

/// What comes of a state dict in a file of safetensors.
fn read(net: Backbone, state: &State, head: Head) -> Result<Backbone, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write(&path, state);
    net.load_pretrained(path, head)
}

#[test]
fn a_checkpoint_of_torch_holds_the_same_as_safetensors() {
    let (net, state) = tiny();
    let expected = logits(&read(net, &state, Head::Loaded).unwrap());
    let (net, _) = tiny();
    // Its weights stand under `state_dict`, behind `module`, beside an optimizer's.
    let net = net
        .load_pretrained("tests/reference/backbone.pth", Head::Loaded)
        .unwrap();
    assert_eq!(logits(&net), expected);
}

#[test]
fn numbers_of_other_precisions_are_cast() {
    let (net, state) = tiny();
    let expected = logits(&read(net, &state, Head::Loaded).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let doubles: Vec<(_, _, Vec<u8>)> = state
        .iter()
        .map(|(name, shape, numbers)| {
            let bytes = numbers
                .iter()
                .flat_map(|number| f64::from(*number).to_le_bytes());
            (name, shape, bytes.collect())
        })
        .collect();
    let views = doubles.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F64, shape.to_vec(), bytes).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
    let net = tiny().0.load_pretrained(path, Head::Loaded).unwrap();
    assert_eq!(logits(&net), expected);
}

#[test]
fn pointwise_weights_may_be_matrices() {
    let mut state = cases()["timm/legacy_xception"].state();
    let pictures = pictures(64, &Device::flex());
    let expected = values(loaded(BackboneConfig::Xception, &state).forward(pictures.clone()));
    for (name, shape, _) in &mut state {
        if name.ends_with("pointwise.weight") {
            shape.truncate(2);
        }
        *name = name.replace("fc.", "last_linear.");
    }
    let net = loaded(BackboneConfig::Xception, &state);
    assert_eq!(values(net.forward(pictures)), expected);
}

#[test]
fn a_head_of_other_classes_stays_as_it_was() {
    let (net, mut state) = tiny();
    let [weight, bias] = [
        net.head().weight.val(),
        net.head().bias.as_ref().unwrap().val().unsqueeze(),
    ];
    for (name, shape, numbers) in &mut state {
        if name.starts_with("fc.") {
            shape[0] = 5;
            numbers.resize(shape.iter().product(), 1.0);
        }
    }
    let refused = read(net.clone(), &state, Head::Loaded)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("2 of another shape"), "{refused}");
    assert!(
        refused.contains("fc.weight: [8, 5] instead of [8, 2]"),
        "{refused}"
    );

    let net = read(net, &state, Head::Initialised).unwrap();
    assert_eq!(values(net.head().weight.val()), values(weight));
    assert_eq!(
        values(net.head().bias.as_ref().unwrap().val()),
        values::<2>(bias)
    );
    // And of none at all.
    state.retain(|(name, ..)| !name.starts_with("fc."));
    assert!(read(tiny().0, &state, Head::Initialised).is_ok());
}

#[test]
fn everything_that_differs_is_listed_at_once() {
    let (net, mut state) = tiny();
    state.retain(|(name, ..)| !name.starts_with("bn1.") && name != "layer1.0.conv2.weight");
    state.push(("aux.weight".into(), vec![1], vec![0.0]));
    state.push(("head.weight".into(), vec![2, 8], vec![0.0; 16]));
    for (name, shape, _) in &mut state {
        if name == "layer2.0.bn1.bias" {
            *shape = vec![2, 4];
        }
    }
    let error = read(net, &state, Head::Loaded).unwrap_err();
    let Error::Weights { mismatch, path } = &error else {
        panic!("{error}");
    };
    assert!(path.ends_with("weights.safetensors"));
    let Mismatch {
        missing,
        unexpected,
        misshapen,
    } = &**mismatch;
    let norm = ["beta", "gamma", "running_mean", "running_var"].map(|it| format!("norm.{it}"));
    assert_eq!(missing[0], "blocks.0.second.weight");
    assert_eq!(missing[1..], norm);
    assert_eq!(unexpected.len(), 2);
    assert!(unexpected.contains(&"aux.weight".into()));
    assert_eq!(misshapen.len(), 1);
    assert_eq!(misshapen[0].name, "layer2.0.bn1.bias");
    assert_eq!(
        (&misshapen[0].found[..], &misshapen[0].expected[..]),
        (&[2, 4][..], &[8][..])
    );
    let text = error.to_string();
    assert!(
        text.contains("5 missing: blocks.0.second.weight, norm.beta"),
        "{text}"
    );
    assert!(
        text.contains("layer2.0.bn1.bias: [2, 4] instead of [8]"),
        "{text}"
    );
}

#[test]
fn a_file_of_another_net_names_the_first_of_many() {
    let state = cases()["timm/efficientnet_b0"].state();
    let error = read(tiny().0, &state, Head::Loaded)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("28 missing: ") && error.contains(" and 23 more"),
        "{error}"
    );
    assert!(error.len() < 1000, "{error}");
}

#[test]
fn files_that_are_no_weights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mut refused = vec![
        folder.path().join("absent.pth"),
        folder.path().into(),
        file("empty.pth", b""),
        file("empty.safetensors", b""),
        file("garbage.pth", &[0x93; 4000]),
        file("garbage.safetensors", &[0x93; 4000]),
        file("text.pth", b"<html>404: Not Found</html>"),
        file(
            "long.safetensors",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, b'{'],
        ),
        file("weights.onnx", b"weights"),
        file("weights", b"weights"),
    ];
    let sparse = folder.path().join("huge.pth");
    fs::File::create(&sparse).unwrap().set_len(3 << 30).unwrap();
    refused.push(sparse);
    for path in refused {
        let error = tiny().0.load_pretrained(&path, Head::Loaded).unwrap_err();
        assert!(
            matches!(error, Error::File { .. }),
            "{}: {error}",
            path.display()
        );
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

/// Should the reader learn to read it, its one tensor is found to be none of the net's.
#[test]
fn a_file_that_only_torch_reads_says_how_it_is_mended() {
    let path = "tests/reference/backbone-21-character.pth";
    match tiny().0.load_pretrained(path, Head::Loaded).unwrap_err() {
        Error::File { reason, .. } => {
            assert!(reason.contains("write it as safetensors"), "{reason}")
        }
        Error::Weights { mismatch, .. } => assert_eq!(mismatch.unexpected, ["a"]),
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn damaged_files_never_panic(
        torch in any::<bool>(),
        kept in 0.0..1.2,
        flips in prop::collection::vec((0.0..1.0, any::<u8>()), 0..6),
    ) {
        let (net, state) = tiny();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if torch { "weights.pth" } else { "weights.safetensors" });
        if torch {
            fs::copy("tests/reference/backbone.pth", &path).unwrap();
        } else {
            write(&path, &state);
        }
        let mut bytes = fs::read(&path).unwrap();
        // Headers and names are where damage does the most.
        for (place, byte) in flips {
            let place = (place * place * bytes.len() as f64) as usize;
            bytes[place] = byte;
        }
        bytes.truncate((kept * bytes.len() as f64) as usize);
        fs::write(&path, &bytes).unwrap();
        match net.load_pretrained(&path, Head::Loaded) {
            Ok(net) => assert_eq!(net.forward(pictures(8, &Device::flex())).dims(), [2, 2]),
            Err(error) => assert!(matches!(error, Error::File { .. } | Error::Weights { .. })),
        }
    }
}
