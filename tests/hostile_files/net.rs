//! A net of few numbers whose parameters have always the same ids.

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Device, Tensor},
};

#[derive(Module, Debug)]
pub struct Net {
    pub weight: Param<Tensor<2>>,
    pub bias: Param<Tensor<1>>,
}

impl Net {
    pub fn new() -> Self {
        let device = Device::flex().autodiff();
        let weight = Tensor::from_floats([[0.5, -1.0], [0.25, 2.0]], &device);
        let bias = Tensor::from_floats([0.0, 1.0], &device);
        Self {
            weight: Param::initialized(ParamId::from(1), weight.require_grad()),
            bias: Param::initialized(ParamId::from(2), bias.require_grad()),
        }
    }

    pub fn loss(&self, rows: &Tensor<2>) -> Tensor<1> {
        let found = rows.clone().matmul(self.weight.val()) + self.bias.val().unsqueeze();
        found.powi_scalar(2).mean()
    }
}
