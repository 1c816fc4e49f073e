use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Tensor, container::TensorContainer},
};

/// What the passes have done to a model's running statistics.
///
/// burn keeps them behind a lock that clones of a module share. The passes run on copies that
/// share nothing with the model, and what they leave is written to the model once it is known
/// that the step counts.
#[derive(Debug)]
pub(crate) struct RunningStatistics {
    values: TensorContainer<ParamId>,
}

impl RunningStatistics {
    /// Takes every float value that requires no gradient.
    pub(crate) fn of<M: Module>(model: &M) -> Self {
        struct Take {
            values: TensorContainer<ParamId>,
        }

        impl ModuleVisitor for Take {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if !param.is_require_grad() {
                    self.values.register(param.id, param.base());
                }
            }
        }

        let mut take = Take {
            values: TensorContainer::new(),
        };
        // Updates of a pass stay pending until the next one: `valid` settles them, in place.
        drop(model.valid());
        model.visit(&mut take);
        Self {
            values: take.values,
        }
    }

    /// Writes the values to the running statistics of a model.
    ///
    /// Only what clones share is reached: frozen parameters belong to the clone that is mapped
    /// here, and stay as they are in `model`.
    pub(crate) fn write_to<M: Module>(&self, model: &M) {
        struct Write<'a> {
            values: &'a TensorContainer<ParamId>,
        }

        impl ModuleMapper for Write<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                match self.values.get::<Tensor<D>>(&param.id) {
                    Some(value) => param.map(|_| value),
                    None => param,
                }
            }
        }

        drop(model.valid());
        drop(model.clone().map(&mut Write {
            values: &self.values,
        }));
    }

    /// The mean of what several copies of a model are left with; of one copy, that itself.
    pub(crate) fn mean<M: Module>(model: &M, copies: &[Self]) -> Self {
        struct Mean<'a> {
            copies: &'a [RunningStatistics],
            values: TensorContainer<ParamId>,
        }

        impl ModuleVisitor for Mean<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let of_copy = |copy: &RunningStatistics| copy.values.get::<Tensor<D>>(&param.id);
                let values = self.copies.iter().filter_map(of_copy);
                let sum = values.reduce(|sum, value| {
                    let device = sum.device();
                    sum + value.to_device(&device)
                });
                if let Some(sum) = sum {
                    let mean = match self.copies.len() {
                        1 => sum,
                        copies => sum.div_scalar(copies as f64),
                    };
                    self.values.register(param.id, mean);
                }
            }
        }

        let mut mean = Mean {
            copies,
            values: TensorContainer::new(),
        };
        model.visit(&mut mean);
        Self {
            values: mean.values,
        }
    }
}
