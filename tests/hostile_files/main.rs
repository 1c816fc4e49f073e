//! Files of strangers: whatever is in them, they are read or refused, and nothing of them is obeyed.
//!
//! The readers here are those that `fuzz/` hands random bytes to. Every seed of theirs goes through
//! them here, and so does every input that once made one of them fail.
#![cfg(feature = "detector")]

mod average_record;
mod dataset_json;
mod landmarks;
mod listing;
mod manifest;
mod net;
mod picture;
mod place;
mod printed;
mod round_trip;
mod search_journal;
mod training_record;
mod weights;

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    module::Module,
    tensor::{Bytes, Device, Tensor},
};
use burn_pack::{DType, Reader, Scalar, Tensor as Packed, Writer};
use roga::detector::backbone::Classifier;

/// Hands all seeds of a reader to it, and every beginning of each, and each with a byte changed.
fn seeds(name: &str, read: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    // A published crate has no seeds.
    let Ok(seeds) = fs::read_dir(folder) else {
        return;
    };
    let mut count = 0;
    for seed in seeds {
        let seed = fs::read(seed.expect("the folder can be read").path());
        let seed = seed.expect("the seed can be read");
        assert!(seed.len() < 2048, "seeds are small");
        read(&seed);
        let some = seed.len().div_ceil(60).max(1);
        for place in (0..seed.len()).step_by(some) {
            read(&seed[..place]);
            let mut changed = seed.clone();
            changed[place] ^= 0x81;
            read(&changed);
        }
        count += 1;
    }
    assert!(count > 0, "{name} has no seed");
}

#[test]
fn a_record_with_the_right_checksum_is_read() {
    training_record::an_untouched_part_is_read();
}

/// A pack with one of its tensors, or its scalars, made otherwise.
fn changed(part: &str, change: impl Fn(&mut Packed, &mut Vec<u8>), rank: Option<u64>) -> Vec<u8> {
    let bytes = Bytes::from_bytes_vec(training_record::part(part));
    let reader = Reader::from_bytes(bytes).expect("it is good");
    let (scalars, texts) = (reader.scalars().clone(), reader.metadata().clone());
    let tensors = reader
        .into_tensors()
        .expect("it is good")
        .into_iter()
        .map(|mut tensor| {
            let mut data = tensor.to_bytes().expect("it is there").to_vec();
            change(&mut tensor, &mut data);
            let data = Bytes::from_bytes_vec(data);
            Packed::new(
                tensor.name,
                tensor.dtype,
                tensor.shape,
                tensor.param_id,
                data,
            )
        });
    let mut writer = Writer::new(tensors.collect());
    for (name, number) in scalars {
        let rank = rank.filter(|_| name == "1.__rank").map(Scalar::UInt);
        writer = writer.with_scalar(&name, rank.unwrap_or(number));
    }
    for (name, text) in texts {
        writer = writer.with_metadata(&name, &text);
    }
    writer.into_bytes().expect("it can be written").to_vec()
}

/// All that a pack says, whatever the order of its tensors.
fn contents(pack: Vec<u8>) -> impl PartialEq + std::fmt::Debug {
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(pack)).expect("it is good");
    let (scalars, texts) = (reader.scalars().clone(), reader.metadata().clone());
    let tensors = reader.into_tensors().expect("it is good").into_iter();
    let tensors: BTreeMap<_, _> = tensors
        .map(|tensor| {
            let data = tensor.to_bytes().expect("it is there").to_vec();
            let what = (tensor.dtype, tensor.shape.to_vec(), tensor.param_id, data);
            (tensor.name, what)
        })
        .collect();
    (tensors, scalars, texts)
}

/// Each with the checksum that it has to have. By itself, burn panics on all but the first, which it takes
/// for other numbers.
#[test]
fn lies_in_the_parts_of_a_record() {
    // What changes nothing changes nothing, but for the order, which is a hash map's, of the tensors.
    let same = changed("optimizer", |_, _| (), None);
    assert_eq!(contents(same), contents(training_record::part("optimizer")));
    let whole = |tensor: &mut Packed, data: &mut Vec<u8>| {
        if tensor.name.starts_with("1.") || tensor.name == "weight" {
            tensor.dtype = DType::I32;
        }
        assert!(!data.is_empty());
    };
    let flat = |tensor: &mut Packed, _: &mut Vec<u8>| {
        if tensor.name.starts_with("1.") {
            tensor.shape = [4].into();
        }
    };
    let wide = |tensor: &mut Packed, data: &mut Vec<u8>| {
        if tensor.name.starts_with("1.") {
            tensor.shape = [2, 3].into();
            data.resize(24, 0);
        }
    };
    let nobody = |tensor: &mut Packed, _: &mut Vec<u8>| tensor.param_id = None;
    let one = |tensor: &mut Packed, _: &mut Vec<u8>| tensor.param_id = Some(1);
    let none = |_: &mut Packed, _: &mut Vec<u8>| ();
    for (lie, bytes, said) in [
        (
            "whole numbers as momentum",
            changed("optimizer", whole, None),
            "is of type I32",
        ),
        (
            "whole numbers as weights",
            changed("model", whole, None),
            "numbers of type I32",
        ),
        (
            "a momentum of one dimension",
            changed("optimizer", flat, None),
            "shape [4]",
        ),
        (
            "a momentum of one, and it says so",
            changed("optimizer", flat, Some(1)),
            "another shape than [2, 2]",
        ),
        (
            "a momentum of another size",
            changed("optimizer", wide, None),
            "another shape than [2, 2]",
        ),
        (
            "nine dimensions",
            changed("optimizer", none, Some(9)),
            "more than 8 dimensions",
        ),
        (
            "2^64 - 1 dimensions",
            changed("optimizer", none, Some(u64::MAX)),
            "more than 8 dimensions",
        ),
        (
            "a momentum of nobody's",
            changed("optimizer", nobody, None),
            "the state of no parameter",
        ),
        (
            "a bias that is the weight",
            changed("model", one, None),
            "another parameter of one id",
        ),
    ] {
        let part = if lie.contains("weight") {
            "model"
        } else {
            "optimizer"
        };
        let refused = training_record::refused(part, &bytes);
        assert!(refused.contains(said), "{lie}: {refused}");
    }
}

#[test]
fn weights_of_another_precision() {
    let path = place::folder().join("net.bpk");
    let net = weights::net();
    let halves = net
        .clone()
        .into_record()
        .into_bytes()
        .expect("it can be written");
    let tensors = Reader::from_bytes(halves).and_then(Reader::into_tensors);
    let tensors = tensors
        .expect("it was just written")
        .into_iter()
        .map(|mut tensor| {
            if tensor.name.contains("head.") {
                let numbers = tensor.shape.iter().product::<usize>();
                let zeros = Bytes::from_bytes_vec(vec![0; 8 * numbers]);
                tensor = Packed::new(
                    tensor.name,
                    DType::F64,
                    tensor.shape,
                    tensor.param_id,
                    zeros,
                );
            }
            tensor
        });
    let written = Writer::new(tensors.collect()).write_to_file(&path);
    written.expect("it can be written");
    let net = net.load_trained(&path).expect("it is the same net");
    let logits = net.forward(Tensor::zeros([1, 3, 8, 8], &Device::flex()));
    assert_eq!(logits.into_data().iter::<f32>().collect::<Vec<_>>(), [0.0]);
}

macro_rules! readers {
    ($($name:ident),+) => {
        $(
            #[test]
            fn $name() {
                seeds(stringify!($name), $name::read);
            }
        )+

        /// Writes a file of `ROGA_HOSTILE=<reader>:<file>` through its reader, to see what a crash says.
        #[test]
        fn one_file() {
            let Ok(named) = std::env::var("ROGA_HOSTILE") else {
                return;
            };
            let (reader, file) = named.split_once(':').expect("it is <reader>:<file>");
            let bytes = fs::read(file).expect("the file can be read");
            match reader {
                $(stringify!($name) => $name::read(&bytes),)+
                _ => panic!("{reader} is no reader"),
            }
        }
    };
}

mod readers {
    use super::*;

    readers!(
        average_record,
        dataset_json,
        landmarks,
        manifest,
        picture,
        search_journal,
        training_record,
        weights
    );
}
