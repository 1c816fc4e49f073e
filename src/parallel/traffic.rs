use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Bool, Int, Tensor},
};
use serde::Serialize;

use crate::gradient::{OnParameter, for_each_parameter};

/// What a step has moved between the first device, where gradients meet, and all others together.
///
/// Counted are parameters, gradients and batches, in bytes, as they were handed to burn; numbers
/// of a few bytes (losses, norms) are not. Workers on the first device itself move nothing, nor do
/// those whose device burn takes for the same: on the CPU the bytes are those that devices of their
/// own would have moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// How many times gradients of all devices have met on the first one.
    pub meetings: u64,
    /// Parameters and gradients, to the other devices.
    pub sent: u64,
    /// Gradients, from the other devices.
    pub received: u64,
    /// Batches, to the other devices.
    pub batches: u64,
}

/// The size of a model: parameters, frozen ones too, and running statistics.
pub(super) fn model_bytes<M: Module>(model: &M) -> u64 {
    #[derive(Default)]
    struct Size(usize);

    macro_rules! visit {
        ($($visit:ident: $tensor:ty),*) => {
            $(fn $visit<const D: usize>(&mut self, param: &Param<$tensor>) {
                let tensor = param.val();
                self.0 += tensor.shape().num_elements() * tensor.dtype().size();
            })*
        };
    }

    impl ModuleVisitor for Size {
        visit!(
            visit_float: Tensor<D>,
            visit_int: Tensor<D, Int>,
            visit_bool: Tensor<D, Bool>
        );
    }

    let mut size = Size::default();
    model.visit(&mut size);
    size.0 as u64
}

/// The size of a gradient.
pub(super) fn gradient_bytes<M: Module>(model: &M, gradient: &GradientsParams) -> u64 {
    struct Size<'a> {
        gradient: &'a GradientsParams,
        bytes: usize,
    }

    impl OnParameter for Size<'_> {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(tensor) = self.gradient.get::<D>(param.id) {
                self.bytes += tensor.shape().num_elements() * tensor.dtype().size();
            }
        }
    }

    let mut size = Size { gradient, bytes: 0 };
    for_each_parameter(model, &mut size);
    size.bytes as u64
}
