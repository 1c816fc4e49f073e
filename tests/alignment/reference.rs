//! The files of other implementations' trajectories.

use std::collections::HashMap;

use burn::{
    module::{Param, ParamId},
    nn::{Linear, LinearConfig},
    tensor::{Device, Int, Tensor, TensorData},
};
use safetensors::{Dtype, SafeTensors};

pub type Rows = (Tensor<2>, Tensor<1, Int>);

/// A file of tests/reference.
pub struct Reference {
    floats: HashMap<String, (Vec<f32>, Vec<usize>)>,
    doubles: HashMap<String, (Vec<f64>, Vec<usize>)>,
    integers: HashMap<String, Vec<i64>>,
}

impl Reference {
    pub fn open(name: &str) -> Self {
        let bytes = std::fs::read(format!("tests/reference/{name}.safetensors")).unwrap();
        let mut reference = Self {
            floats: HashMap::new(),
            doubles: HashMap::new(),
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
                Dtype::F64 => {
                    let (numbers, rest) = view.data().as_chunks::<8>();
                    assert!(rest.is_empty(), "{name} is cut off");
                    let numbers = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes));
                    let value = (numbers.collect(), view.shape().to_vec());
                    reference.doubles.insert(name, value);
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

    /// Numbers of 64 bits, where the file holds them.
    pub fn doubles(&self, name: &str) -> Option<&(Vec<f64>, Vec<usize>)> {
        self.doubles.get(name)
    }

    #[track_caller]
    pub fn integers(&self, name: &str) -> &[i64] {
        &self.integers[name]
    }

    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (numbers, shape) = self.floats(name);
        Tensor::from_data(TensorData::new(numbers.clone(), shape.clone()), device)
    }

    /// A layer whose weight is written `[out, in]`.
    pub fn linear(&self, weight: &str, bias: &str, device: &Device) -> Linear {
        let weight = self.tensor::<2>(weight, device);
        let [outputs, inputs] = weight.dims();
        let bias = self.tensor::<1>(bias, device);
        let mut linear = LinearConfig::new(inputs, outputs).init(device);
        let weight = weight.transpose().require_grad();
        linear.weight = Param::initialized(ParamId::new(), weight);
        linear.bias = Some(Param::initialized(ParamId::new(), bias.require_grad()));
        linear
    }

    /// The rows of every step, by domain.
    pub fn batches(&self, device: &Device) -> Vec<Vec<Rows>> {
        let (x, shape) = self.floats("batch/x");
        let [_, domains, rows, width] = shape[..] else {
            panic!("batch/x has {} dimensions", shape.len());
        };
        let y = self.integers("batch/y");
        let rows = x.chunks(rows * width).zip(y.chunks(rows)).map(|(x, y)| {
            let x = TensorData::new(x.to_vec(), [rows, width]);
            let y = TensorData::new(y.to_vec(), [rows]);
            (Tensor::from_data(x, device), Tensor::from_data(y, device))
        });
        let rows: Vec<Rows> = rows.collect();
        rows.chunks(domains).map(<[Rows]>::to_vec).collect()
    }
}
