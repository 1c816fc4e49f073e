use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use crate::gradient::{OnParameter, for_each_parameter, squared_norm, total, widen};

/// How an ascent is scaled by the parameters: the operator $T_\theta$ of
///
/// $$\varepsilon = \rho\\, \frac{T_\theta^2\\, g}{\lVert T_\theta\\, g \rVert},$$
///
/// a diagonal matrix, so that large weights move further than small ones and the sharpness that is
/// met does not depend on how a net's layers are scaled against each other. $\rho$ is then about
/// ten times that of a plain ascent: 0.5 to 2 instead of 0.05 to 0.2.
///
/// "Adaptive" has two meanings in circulation; both are here by name. The shift $-\gamma \bar g$ is
/// never scaled.
///
/// Source: Kwon, Kim, Park and Choi, "ASAM: Adaptive Sharpness-Aware Minimization for
/// Scale-Invariant Learning of Deep Neural Networks", ICML 2021, arXiv 2102.11600.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Adaptive {
    /// $T = 1$: a plain ascent.
    None,
    /// ASAM as it was published: $T = |w| + \eta$ for weights, $T = 1$ for biases and the
    /// parameters of normalisation layers.
    ///
    /// A *weight* is a parameter of two dimensions or more: the kernels of linear and
    /// convolutional layers, embeddings. What has one dimension is a bias, a scale or a shift.
    Weights {
        /// $\eta$: finite, at least 0. ASAM's is 0.01.
        eta: f64,
    },
    /// The simplification that is often copied: $T = |w|$ for every parameter. A parameter at 0
    /// is not moved by the ascent.
    All,
}

impl Adaptive {
    /// ASAM with its own $\eta = 0.01$.
    pub const ASAM: Self = Self::Weights { eta: 0.01 };

    /// $T$ for one parameter, in at least 32 bits; `None` where it is 1.
    pub(crate) fn scale<const D: usize>(self, parameter: &Tensor<D>) -> Option<Tensor<D>> {
        let magnitude = || widen(parameter.clone()).abs();
        match self {
            Self::Weights { eta } if D >= 2 => Some(magnitude().add_scalar(eta)),
            Self::None | Self::Weights { .. } => None,
            Self::All => Some(magnitude()),
        }
    }
}

/// $\lVert T_\theta\\, g \rVert^2$ over all parameters, a tensor of shape `[1]`; `None` where no
/// parameter has a gradient.
pub fn adaptive_squared_norm<M: Module>(
    model: &M,
    gradient: &GradientsParams,
    adaptive: Adaptive,
) -> Option<Tensor<1>> {
    struct Squares<'a> {
        gradient: &'a GradientsParams,
        adaptive: Adaptive,
        sums: Vec<Tensor<1>>,
    }

    impl OnParameter for Squares<'_> {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradient.get::<D>(param.id).map(widen) {
                let scaled = match self.adaptive.scale(&param.val().inner()) {
                    Some(scale) => gradient * scale,
                    None => gradient,
                };
                self.sums.push(scaled.square().sum());
            }
        }
    }

    if adaptive == Adaptive::None {
        return squared_norm(model, gradient);
    }
    let mut squares = Squares {
        gradient,
        adaptive,
        sums: Vec::new(),
    };
    for_each_parameter(model, &mut squares);
    total(squares.sums)
}
