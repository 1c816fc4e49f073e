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
    pub(crate) fn write_to<M: Module>(mut self, model: &M) {
        struct Write<'a> {
            values: &'a mut TensorContainer<ParamId>,
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
            values: &mut self.values,
        }));
    }
}
