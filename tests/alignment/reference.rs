//! The files of other implementations' trajectories.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};

/// A file of tests/reference.
pub struct Reference {
    floats: HashMap<String, (Vec<f32>, Vec<usize>)>,
    integers: HashMap<String, Vec<i64>>,
}

impl Reference {
    pub fn open(name: &str) -> Self {
        let bytes = std::fs::read(format!("tests/reference/{name}.safetensors")).unwrap();
        let mut reference = Self {
            floats: HashMap::new(),
            integers: HashMap::new(),
        };
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            match view.dtype() {
                Dtype::F32 => {
                    let (numbers, rest) = view.data().as_chunks::<4>();
                    assert!(rest.is_empty(), "{name} is cut off");
                    let numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
                    let value = (numbers.collect(), view.shape().to_vec());
                    reference.floats.insert(name, value);
                }
                Dtype::I64 => {
                    let (numbers, rest) = view.data().as_chunks::<8>();
                    assert!(rest.is_empty(), "{name} is cut off");
                    let numbers = numbers.iter().map(|bytes| i64::from_le_bytes(*bytes));
                    reference.integers.insert(name, numbers.collect());
                }
                other => panic!("{name} holds {other:?}"),
            }
        }
        reference
    }

    pub fn holds(&self, name: &str) -> bool {
        self.floats.contains_key(name)
    }

    #[track_caller]
    pub fn floats(&self, name: &str) -> &(Vec<f32>, Vec<usize>) {
        &self.floats[name]
    }

    #[track_caller]
    pub fn integers(&self, name: &str) -> &[i64] {
        &self.integers[name]
    }

    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (numbers, shape) = self.floats(name);
        Tensor::from_data(TensorData::new(numbers.clone(), shape.clone()), device)
    }
}
