use std::collections::BTreeMap;

use burn::{
    module::{Module, Param, ParamId},
    optim::GradientsParams,
    tensor::{Bytes, DType, Tensor, TensorData},
};

use super::algebra::{OnParameter, for_each_parameter, scale, widen};
use crate::{Error, Result};

/// Gradients or weights as they are kept from step to step: every parameter's as a vector of at
/// least 32 bits.
pub(crate) type Vectors = BTreeMap<ParamId, Tensor<1>>;

/// The same, read back.
pub(crate) type VectorsData = BTreeMap<ParamId, TensorData>;

/// A gradient to keep.
pub(crate) fn kept<M: Module>(model: &M, gradient: &GradientsParams) -> Vectors {
    let mut vectors = Vectors::new();
    move_to_gradient(model, &mut vectors, (1.0, gradient), 1.0);
    vectors
}

/// $v \leftarrow v + w\, (c\, g - v)$ for every parameter that $g$ has a gradient for; see
/// [`move_towards`].
pub(crate) fn move_to_gradient<M: Module>(
    model: &M,
    vectors: &mut Vectors,
    (coefficient, gradient): (f64, &GradientsParams),
    weight: f64,
) {
    struct Move<'a> {
        vectors: &'a mut Vectors,
        coefficient: f64,
        gradient: &'a GradientsParams,
        weight: f64,
    }

    impl OnParameter for Move<'_> {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradient.get::<D>(param.id) {
                let target = scale(widen(gradient), self.coefficient);
                move_towards(self.vectors, param.id, target, self.weight);
            }
        }
    }

    for_each_parameter(
        model,
        &mut Move {
            vectors,
            coefficient,
            gradient,
            weight,
        },
    );
}

/// $v \leftarrow v + w\, (t - v)$ for one parameter, and $v \leftarrow t$ where it is new.
pub(crate) fn move_towards<const D: usize>(
    vectors: &mut Vectors,
    id: ParamId,
    target: Tensor<D>,
    weight: f64,
) {
    let numbers = target.shape().num_elements();
    let target = widen(target).reshape([numbers]);
    let vector = match vectors.remove(&id) {
        Some(vector) if weight != 1.0 && vector.dims() == [numbers] => {
            let vector = vector.to_device(&target.device()).cast(target.dtype());
            vector.clone() + (target - vector).mul_scalar(weight)
        }
        _ => target,
    };
    vectors.insert(id, vector);
}

/// What is kept of the parameters that have a gradient here, in its shapes and on its devices.
pub(crate) fn like<M: Module>(
    model: &M,
    vectors: &Vectors,
    gradient: &GradientsParams,
) -> GradientsParams {
    struct Like<'a> {
        vectors: &'a Vectors,
        gradient: &'a GradientsParams,
        like: GradientsParams,
    }

    impl OnParameter for Like<'_> {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let id = param.id;
            let pair = self.vectors.get(&id).zip(self.gradient.get::<D>(id));
            let Some((vector, gradient)) = pair else {
                return;
            };
            // A parameter may have become another under the same id.
            if vector.dims() == [gradient.shape().num_elements()] {
                let vector = vector.clone().to_device(&gradient.device());
                let vector = vector.cast(widen(gradient.clone()).dtype());
                self.like.register(id, vector.reshape(gradient.dims()));
            }
        }
    }

    let mut like = Like {
        vectors,
        gradient,
        like: GradientsParams::new(),
    };
    for_each_parameter(model, &mut like);
    like.like
}

/// Waits for the device.
///
/// # Errors
///
/// [`Error::Device`].
pub(crate) fn read_back(vectors: &Vectors) -> Result<VectorsData> {
    let read = vectors.iter().map(|(id, vector)| {
        let data = vector.clone().try_into_data();
        let data = data.map_err(|error| Error::Device(format!("{error:?}")))?;
        Ok((*id, data))
    });
    read.collect()
}

/// The tensors of a file: `name.id`, one for each parameter.
pub(crate) fn packed(name: &str, vectors: &VectorsData) -> impl Iterator<Item = burn_pack::Tensor> {
    vectors.iter().map(move |(id, data)| {
        let id = id.val();
        burn_pack::Tensor::new(
            format!("{name}.{id}"),
            data.dtype(),
            data.shape().clone(),
            Some(id),
            Bytes::from_bytes_vec(data.as_bytes().to_vec()),
        )
    })
}

/// A tensor of a file: its name, its parameter and its numbers.
///
/// # Errors
///
/// A tensor that [`packed`] has not made.
pub(crate) fn unpacked(
    tensor: &burn_pack::Tensor,
) -> Result<(&str, ParamId, TensorData), burn_pack::Error> {
    let refused = |what: &str| {
        let name = &tensor.name;
        burn_pack::Error::ValidationError(format!("`{name}` is {what}"))
    };
    let name = tensor.name.rsplit_once('.').map(|(name, _)| name);
    let (name, id) = name
        .zip(tensor.param_id)
        .ok_or_else(|| refused("kept of no parameter"))?;
    if !matches!(tensor.dtype, DType::F32 | DType::F64) || tensor.shape.num_dims() != 1 {
        return Err(refused("no vector of floats"));
    }
    let data = TensorData::try_from_bytes(tensor.to_bytes()?, tensor.shape.clone(), tensor.dtype);
    let data = data.map_err(|error| refused(&format!("damaged: {error}")))?;
    Ok((name, ParamId::from(id), data))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, FloatDType};

    use super::*;

    #[derive(Module, Debug)]
    struct Net {
        weight: Param<Tensor<2>>,
        again: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    fn net() -> Net {
        let device = Device::flex();
        let weight = Param::from_tensor(Tensor::zeros([1, 2], &device));
        Net {
            again: weight.clone(),
            weight,
            bias: Param::from_tensor(Tensor::zeros([1], &device)),
        }
    }

    fn gradient(net: &Net, weight: [f32; 2], bias: Option<f32>) -> GradientsParams {
        let device = Device::flex();
        let mut gradient = GradientsParams::new();
        gradient.register(net.weight.id, Tensor::<2>::from_floats([weight], &device));
        if let Some(bias) = bias {
            gradient.register(net.bias.id, Tensor::<1>::from_floats([bias], &device));
        }
        gradient
    }

    fn numbers(vectors: &Vectors, id: ParamId) -> Vec<f32> {
        vectors[&id].to_data().iter::<f32>().collect()
    }

    #[test]
    fn they_move_part_of_the_way_and_a_parameter_without_a_gradient_stays() {
        let net = net();
        let mut vectors = kept(&net, &gradient(&net, [1.0, 2.0], None));
        assert_eq!(vectors.len(), 1);
        move_to_gradient(
            &net,
            &mut vectors,
            (2.0, &gradient(&net, [1.5, 0.0], Some(4.0))),
            0.25,
        );
        // The first time it is the gradient itself.
        assert_eq!(numbers(&vectors, net.weight.id), [1.5, 1.5]);
        assert_eq!(numbers(&vectors, net.bias.id), [8.0]);
        move_to_gradient(
            &net,
            &mut vectors,
            (1.0, &gradient(&net, [1.5, 1.5], None)),
            0.5,
        );
        assert_eq!(numbers(&vectors, net.bias.id), [8.0]);
    }

    #[test]
    fn they_come_back_for_parameters_with_a_gradient_in_their_shapes() {
        let net = net();
        let vectors = kept(&net, &gradient(&net, [1.0, 2.0], Some(3.0)));
        let back = like(&net, &vectors, &gradient(&net, [0.0, 0.0], None));
        assert_eq!(back.len(), 1);
        assert_eq!(back.get::<2>(net.weight.id).unwrap().dims(), [1, 2]);
        // Of 16 bits, they stay of 32.
        let mut half = GradientsParams::new();
        let bias = Tensor::<1>::ones([1], &Device::flex()).cast(FloatDType::F16);
        half.register(net.bias.id, bias);
        let back = like(&net, &vectors, &half);
        assert_eq!(back.get::<1>(net.bias.id).unwrap().dtype(), DType::F32);
        // What is of another size under the same id is another parameter.
        let mut other = GradientsParams::new();
        other.register(net.bias.id, Tensor::<1>::ones([2], &Device::flex()));
        assert!(like(&net, &vectors, &other).is_empty());
        let mut moved = vectors.clone();
        move_to_gradient(&net, &mut moved, (1.0, &other), 0.5);
        assert_eq!(numbers(&moved, net.bias.id), [1.0, 1.0]);
    }

    #[test]
    fn a_file_of_them_comes_back_and_other_tensors_are_refused() {
        let net = net();
        let data = read_back(&kept(&net, &gradient(&net, [1.0, -2.5], Some(3.0)))).unwrap();
        let tensors: Vec<_> = packed("a.b", &data).collect();
        let back = tensors.iter().map(|tensor| {
            let (name, id, data) = unpacked(tensor).unwrap();
            assert_eq!(name, "a.b");
            (id, data)
        });
        assert_eq!(back.collect::<VectorsData>(), data);

        let tensor = |name: &str, dtype, shape: &[usize], id| {
            let bytes = Bytes::from_bytes_vec(vec![0; 4]);
            burn_pack::Tensor::new(name.into(), dtype, shape.to_vec(), id, bytes)
        };
        assert!(unpacked(&tensor("a.7", DType::F32, &[1], Some(7))).is_ok());
        for other in [
            tensor("a", DType::F32, &[1], Some(7)),
            tensor("a.7", DType::F32, &[1], None),
            tensor("a.7", DType::I32, &[1], Some(7)),
            tensor("a.7", DType::F32, &[1, 1], Some(7)),
        ] {
            assert!(unpacked(&other).is_err());
        }
    }
}
