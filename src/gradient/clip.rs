use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

use super::algebra::{OnParameter, for_each_parameter, squared_norm, widen};
use crate::{Error, Result};

/// Clips a gradient by its global norm: $g \leftarrow g \cdot \min(1, c / \lVert g \rVert)$.
///
/// burn's own [`GradientClipping`](burn::grad_clipping::GradientClipping) clips every parameter by
/// itself, which turns the gradient; this keeps its direction. Nothing waits for the device. A
/// gradient whose norm is not finite comes out not finite.
///
/// # Errors
///
/// [`Error::Setting`] where `max_norm` is not finite or not above 0.
///
/// ```
/// use burn::{nn::LinearConfig, optim::GradientsParams, tensor::{Device, Tensor}};
/// use roga::gradient;
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// let loss = model.forward(Tensor::<2>::from_floats([[3.0, 4.0]], &device)).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &model);
///
/// let clipped = gradient::clip_by_global_norm(&model, grads, 1.0)?;
/// let squared_norm = gradient::dot(&model, &clipped, &clipped).unwrap().into_scalar::<f32>();
/// assert!((squared_norm - 1.0).abs() < 1e-6);
/// # Ok::<(), roga::Error>(())
/// ```
pub fn clip_by_global_norm<M: Module>(
    model: &M,
    gradient: GradientsParams,
    max_norm: f64,
) -> Result<GradientsParams> {
    if !(max_norm.is_finite() && max_norm > 0.0) {
        return Err(Error::Setting {
            field: "max_norm",
            rule: "be finite and above 0",
            value: max_norm.to_string(),
        });
    }
    let Some(squared_norm) = squared_norm(model, &gradient) else {
        return Ok(gradient);
    };
    // A norm that is not a number is not below anything, and goes on into the gradient.
    let norm = squared_norm.sqrt();
    let below = norm.clone().lower_equal_elem(max_norm);
    let factor = norm
        .clone()
        .recip()
        .mul_scalar(max_norm)
        .mask_fill(below, 1.0);
    Ok(times(model, gradient, factor))
}

/// $s\, g$, with $s$ a tensor of shape `[1]`, in the gradient's own types.
pub(crate) fn times<M: Module>(
    model: &M,
    gradient: GradientsParams,
    factor: Tensor<1>,
) -> GradientsParams {
    struct Times {
        gradient: GradientsParams,
        factor: Tensor<1>,
    }

    impl OnParameter for Times {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let id = param.id;
            if let Some(tensor) = self.gradient.remove::<D>(id) {
                let dtype = tensor.dtype();
                let wide = widen(tensor);
                let factor = self.factor.clone().to_device(&wide.device());
                let factor = factor.cast(wide.dtype()).reshape([1; D]);
                self.gradient.register(id, (wide * factor).cast(dtype));
            }
        }
    }

    let mut times = Times { gradient, factor };
    for_each_parameter(model, &mut times);
    times.gradient
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[derive(Module, Debug)]
    struct Two {
        a: Param<Tensor<1>>,
        b: Param<Tensor<1>>,
    }

    fn clipped(a: f32, b: f32, max_norm: f64) -> Result<[f32; 2]> {
        let device = Device::flex();
        let number = |x: f32| Tensor::<1>::from_floats([x], &device);
        let model = Two {
            a: Param::from_tensor(number(0.0)),
            b: Param::from_tensor(number(0.0)),
        };
        let mut gradient = GradientsParams::new();
        gradient.register(model.a.id, number(a));
        gradient.register(model.b.id, number(b));
        let clipped = clip_by_global_norm(&model, gradient, max_norm)?;
        let read = |id| clipped.get::<1>(id).map_or(f32::NAN, |x| x.into_scalar());
        Ok([read(model.a.id), read(model.b.id)])
    }

    #[test]
    fn the_norm_is_that_of_all_parameters() {
        let [a, b] = clipped(3.0, 4.0, 1.0).unwrap();
        assert!((a - 0.6).abs() < 1e-6 && (b - 0.8).abs() < 1e-6);
    }

    #[test]
    fn what_is_below_stays_bit_for_bit() {
        assert_eq!(clipped(3.0, 4.0, 5.0).unwrap(), [3.0, 4.0]);
        assert_eq!(clipped(0.0, 0.0, 1.0).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        assert!(clipped(f32::NAN, 1.0, 1.0).unwrap()[0].is_nan());
        assert!(!clipped(f32::INFINITY, 1.0, 1.0).unwrap()[0].is_finite());
    }

    #[test]
    fn norms_that_cannot_work_are_refused() {
        for max_norm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = clipped(3.0, 4.0, max_norm).unwrap_err().to_string();
            assert!(
                error.starts_with("max_norm must be finite and above 0"),
                "{error}"
            );
        }
    }
}
