use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::Tensor,
};

use crate::{
    Error, Result,
    gradient::{OnParameter, Vectors, for_each_parameter, move_towards},
    perturbation::{leaf_like, tie_shared_parameters},
};

/// A mean of weights: that of every trainable parameter, as a vector of at least 32 bits.
#[derive(Debug, Clone, Default)]
pub(super) struct WeightMean {
    pub parameters: Vectors,
}

impl WeightMean {
    /// $m \leftarrow m + w\\, (\theta - m)$, and $m \leftarrow \theta$ for a parameter that is new.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where the model is not the one of the mean. Nothing has changed then.
    pub fn add<M: Module>(&mut self, model: &M, weight: f64) -> Result<()> {
        struct Add<'a> {
            mean: &'a mut WeightMean,
            weight: f64,
        }

        impl OnParameter for Add<'_> {
            fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if param.is_require_grad() {
                    let weights = param.base().inner();
                    move_towards(&mut self.mean.parameters, param.id, weights, self.weight);
                }
            }
        }

        self.check(model)?;
        let mean = self;
        for_each_parameter(model, &mut Add { mean, weight });
        Ok(())
    }

    /// $m \leftarrow m + w\\, (m' - m)$.
    pub fn merge(&mut self, other: Self, weight: f64) {
        for (id, weights) in other.parameters {
            move_towards(&mut self.parameters, id, weights, weight);
        }
    }

    /// A copy of the model with the mean in place of its trainable parameters: same parameter ids,
    /// leaves and running statistics of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where the model is not the one of the mean.
    pub fn write<M: Module>(&self, model: &M) -> Result<M> {
        struct Write<'a>(&'a WeightMean);

        impl ModuleMapper for Write<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let mean = self.0.parameters.get(&param.id).cloned();
                let Some(mean) = mean.filter(|_| param.is_require_grad()) else {
                    return param;
                };
                let (id, parameter, mapper) = param.consume();
                let mean = mean.to_device(&parameter.clone().inner().device());
                let mean = mean.reshape(parameter.dims()).cast(parameter.dtype());
                Param::from_mapped_value(id, leaf_like(id, &parameter, mean), mapper)
            }
        }

        if self.parameters.is_empty() {
            return Err(Error::Model {
                rule: "have been handed to `update` before an average is asked for",
                found: "nothing has been averaged yet".into(),
            });
        }
        self.check(model)?;
        // `train` gives the copy running statistics of its own.
        let averaged = model.clone().train().map(&mut Write(self));
        Ok(tie_shared_parameters(averaged))
    }

    /// Refuses a model without trainable parameters, and another than the one of the mean.
    fn check<M: Module>(&self, model: &M) -> Result<()> {
        struct Check<'a> {
            mean: &'a WeightMean,
            trainable: usize,
            known: usize,
            resized: Option<String>,
        }

        impl OnParameter for Check<'_> {
            fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if !param.is_require_grad() {
                    return;
                }
                self.trainable += 1;
                if let Some(mean) = self.mean.parameters.get(&param.id) {
                    self.known += 1;
                    let (shape, [numbers]) = (param.lazy_shape(), mean.dims());
                    if shape.num_elements() != numbers {
                        self.resized = Some(format!(
                            "a parameter of {numbers} numbers is of shape {:?} here",
                            shape.as_slice()
                        ));
                    }
                }
            }
        }

        let mut check = Check {
            mean: self,
            trainable: 0,
            known: 0,
            resized: None,
        };
        for_each_parameter(model, &mut check);
        let found = match check {
            Check { trainable: 0, .. } => {
                return Err(Error::Model {
                    rule: "have a trainable parameter on a device with autodiff",
                    found: "there is none (is it what `valid` gives?)".into(),
                });
            }
            Check {
                resized: Some(found),
                ..
            } => found,
            Check { known: 0, .. } if !self.parameters.is_empty() => {
                "it has none of the averaged parameters".into()
            }
            _ => return Ok(()),
        };
        Err(Error::Model {
            rule: "be the one whose weights are averaged",
            found,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use burn::{nn::BatchNorm, nn::BatchNormConfig, tensor::Device};

    use super::*;

    /// One vector of weights that stands in two places, a scalar to freeze, and statistics.
    #[derive(Module, Debug)]
    pub struct Net {
        pub weights: Param<Tensor<1>>,
        pub again: Param<Tensor<1>>,
        pub tail: Param<Tensor<1>>,
        pub norm: BatchNorm,
    }

    fn leaf(values: &[f32]) -> Tensor<1> {
        Tensor::<1>::from_floats(values, &Device::flex().autodiff()).require_grad()
    }

    impl Net {
        pub fn new(weights: &[f32]) -> Self {
            let weights = Param::from_tensor(leaf(weights));
            Self {
                again: weights.clone(),
                weights,
                tail: Param::from_tensor(leaf(&[0.0])),
                norm: BatchNormConfig::new(1).init(&Device::flex().autodiff()),
            }
        }

        /// The same net with other weights.
        pub fn with(&self, weights: &[f32]) -> Self {
            let weights = Param::initialized(self.weights.id, leaf(weights));
            Self {
                again: weights.clone(),
                weights,
                ..self.clone()
            }
        }

        /// With a frozen tail of this value.
        pub fn freeze_tail(mut self, value: f32) -> Self {
            let tail = leaf(&[value]).set_require_grad(false);
            self.tail = Param::initialized(self.tail.id, tail);
            self
        }
    }

    pub fn numbers(net: &Net) -> Vec<f32> {
        net.weights.val().into_data().iter::<f32>().collect()
    }

    pub fn bits(net: &Net) -> Vec<u32> {
        numbers(net).into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn running_statistics_are_a_copy_of_the_models() {
        let model = Net::new(&[1.0]);
        let device = Device::flex().autodiff();
        let forward = |model: &Net, x: f32| {
            let batch = Tensor::<2>::from_floats([[x], [x + 2.0]], &device);
            model.norm.forward(batch);
        };
        let running_mean = |model: &Net| {
            let mean = model.valid().norm.running_mean.value();
            mean.into_scalar::<f32>()
        };
        forward(&model, 4.0);
        let mut mean = WeightMean::default();
        mean.add(&model, 1.0).unwrap();
        let averaged = mean.write(&model).unwrap();
        // A tenth of the batch's mean, 5.
        assert_eq!(running_mean(&averaged), 0.5);
        // Passes of the averaged model bring its own statistics, and leave the model's alone.
        for _ in 0..200 {
            forward(&averaged, 9.0);
        }
        assert!((running_mean(&averaged) - 10.0).abs() < 1e-4);
        assert_eq!(running_mean(&model), 0.5);
    }
}
