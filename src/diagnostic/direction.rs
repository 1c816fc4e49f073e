use std::{collections::HashSet, fmt};

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{measure::gram_matrix, sharpness::check_rho};
use crate::{
    Error, Result,
    domain::{
        DomainBatches,
        shuffle::{normal, random},
    },
    error::Printable,
    gradient::{accumulate, combine, widen},
    optim::DomainLoss,
    perturbation::displaced,
};

/// A direction in the space of a model's parameters.
///
/// Parameters that require no gradient are not moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Direction {
    /// Normal random numbers, *filter-normalised*: every filter is given the norm of the model's
    /// own,
    ///
    /// $$d_{l,f} \leftarrow \frac{d_{l,f}}{\lVert d_{l,f} \rVert} \lVert \theta_{l,f} \rVert,$$
    ///
    /// and biases and the parameters of normalisation layers, those of one dimension, stay where
    /// they are. So a unit of length means the same in nets whose layers are scaled differently.
    ///
    /// A *filter* is all that one output is made with: `weight[.., o]` of a linear layer and of any
    /// other parameter of two dimensions, `weight[o, ..]` of a convolution, `weight[:, o, ..]` of a
    /// transposed one, `weight[e, ..]` of an embedding.
    ///
    /// Li, Xu, Taylor, Studer and Goldstein, "Visualizing the Loss Landscape of Neural Nets",
    /// NeurIPS 2018, arXiv 1712.09913.
    Random {
        /// The same seed is the same direction on any device.
        seed: u64,
    },
    /// A domain's ascent, $d = \rho\\, g_i / \lVert g_i \rVert$, with $g_i$ the mean of its
    /// gradients over all batches: 1 along it is the domain's ascending point. 0 where the gradient
    /// is.
    Ascent {
        /// The domain's name.
        domain: String,
        /// $\rho$: finite, above 0.
        rho: f64,
    },
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random { seed } => write!(f, "random, seed {seed}"),
            Self::Ascent { domain, rho } => {
                write!(f, "ascent of {}, rho {rho}", Printable(domain))
            }
        }
    }
}

impl Direction {
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Random { .. } => Ok(()),
            Self::Ascent { rho, .. } => check_rho(*rho),
        }
    }

    /// The direction at a model.
    pub(super) fn at<M, B, L>(
        &self,
        model: &M,
        batches: &[DomainBatches<B>],
        loss: impl FnMut(&M, &B) -> L,
    ) -> Result<GradientsParams>
    where
        M: Module,
        L: DomainLoss<M>,
    {
        match self {
            Self::Random { seed } => filter_normalized(model, *seed),
            Self::Ascent { domain, rho } => {
                let gradient = mean_gradient(model, batches, domain, loss)?;
                let norm = gram_matrix(model, std::slice::from_ref(&gradient))?.norm(0);
                let scale = if norm == 0.0 { 0.0 } else { rho / norm };
                Ok(combine(model, &[(scale, &gradient)]))
            }
        }
    }
}

/// The mean of a domain's gradients over the batches.
fn mean_gradient<M, B, L>(
    model: &M,
    batches: &[DomainBatches<B>],
    domain: &str,
    mut loss: impl FnMut(&M, &B) -> L,
) -> Result<GradientsParams>
where
    M: Module,
    L: DomainLoss<M>,
{
    let mut mean = GradientsParams::new();
    for batch in batches {
        let named = batch.iter().find(|(name, _)| ***name == *domain);
        let (_, rows) = named.ok_or_else(|| Error::Setting {
            field: "domain",
            rule: "be one of those of the batches",
            value: format!("`{domain}`"),
        })?;
        // Running statistics of a pass stay with its copy.
        let copy = displaced(model, &[]);
        let (_, gradient) = loss(&copy, rows).differentiate(&copy, domain)?;
        accumulate(model, &mut mean, 1.0 / batches.len() as f64, gradient);
    }
    Ok(mean)
}

fn filter_normalized<M: Module>(model: &M, seed: u64) -> Result<GradientsParams> {
    let mut filters = Filters {
        // The last word tells these numbers from others of the same seed.
        random: random([seed, 0, 0, u64::from_le_bytes(*b"filters ")]),
        containers: Vec::new(),
        seen: HashSet::new(),
        direction: GradientsParams::new(),
    };
    model.visit(&mut filters);
    if filters.direction.is_empty() {
        return Err(Error::Model {
            rule: "have a trainable parameter of two dimensions or more, on a device with autodiff",
            found: "there is none that a random direction could move".into(),
        });
    }
    Ok(filters.direction)
}

struct Filters {
    random: ChaCha8Rng,
    /// The types of the modules that the visit is in.
    containers: Vec<String>,
    seen: HashSet<ParamId>,
    direction: GradientsParams,
}

impl ModuleVisitor for Filters {
    fn enter_module(&mut self, _name: &str, container_type: &str) {
        self.containers.push(container_type.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(axis) = filter_axis(self.containers.last().map(String::as_str), D) else {
            return;
        };
        if !param.is_require_grad() || !self.seen.insert(param.id) {
            return;
        }
        let weight = widen(param.val().inner());
        let count = weight.shape().num_elements();
        let normals: Vec<f64> = (0..count).map(|_| normal(&mut self.random)).collect();
        let normals = TensorData::new(normals, weight.dims());
        let normals = Tensor::from_data(normals, (&weight.device(), weight.dtype()));
        let own = filter_norms(normals.clone(), axis);
        // No filter of normal numbers is zero, but one that holds no number.
        let scale = filter_norms(weight, axis) / own.clone();
        let scale = scale.mask_fill(own.equal_elem(0.0), 0.0);
        self.direction.register(param.id, normals * scale);
    }
}

/// The dimension that counts the filters of a parameter; `None` of one that has no filters.
fn filter_axis(container: Option<&str>, dimensions: usize) -> Option<usize> {
    let layer = container.and_then(|container| container.strip_prefix("Struct:"));
    match (layer, dimensions) {
        (_, 0 | 1) => None,
        (Some("Embedding"), _) => Some(0),
        (Some("ConvTranspose1d" | "ConvTranspose2d" | "ConvTranspose3d"), _) => Some(1),
        (_, 2) => Some(1),
        _ => Some(0),
    }
}

/// The norm of every filter, of size 1 in all other dimensions.
fn filter_norms<const D: usize>(tensor: Tensor<D>, axis: usize) -> Tensor<D> {
    let others = (0..D).filter(|dimension| *dimension != axis);
    others
        .fold(tensor.square(), |sum, dimension| sum.sum_dim(dimension))
        .sqrt()
}

#[cfg(test)]
mod tests {
    use burn::{
        nn::{
            BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, Linear, LinearConfig,
            conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig},
        },
        tensor::{Device, Tolerance},
    };

    use super::*;

    #[derive(Module, Debug)]
    struct Layers {
        linear: Linear,
        convolution: Conv2d,
        transposed: ConvTranspose2d,
        embedding: Embedding,
        norm: BatchNorm,
    }

    impl Layers {
        fn new() -> Self {
            let device = Device::flex().autodiff();
            device.seed(3);
            Self {
                linear: LinearConfig::new(3, 5).init(&device),
                convolution: Conv2dConfig::new([2, 4], [3, 3]).init(&device),
                transposed: ConvTranspose2dConfig::new([2, 3], [2, 2]).init(&device),
                embedding: EmbeddingConfig::new(6, 2).init(&device),
                norm: BatchNormConfig::new(4).init(&device),
            }
        }
    }

    /// Of every filter, by hand.
    fn norms<const D: usize>(tensor: Tensor<D>, axis: usize) -> TensorData {
        let first = tensor.swap_dims(0, axis).flatten::<2>(1, D - 1);
        first.square().sum_dim(1).sqrt().into_data()
    }

    #[test]
    fn every_filter_has_the_norm_of_the_models_own() {
        let model = Layers::new();
        let direction = filter_normalized(&model, 7).unwrap();
        let close = |direction: TensorData, own: TensorData| {
            direction.assert_approx_eq(&own, Tolerance::<f32>::relative(1e-5));
        };
        let of_linear = direction.get::<2>(model.linear.weight.id).unwrap();
        close(
            norms(of_linear, 1),
            norms(model.linear.weight.val().inner(), 1),
        );
        let of_convolution = direction.get::<4>(model.convolution.weight.id).unwrap();
        close(
            norms(of_convolution, 0),
            norms(model.convolution.weight.val().inner(), 0),
        );
        let of_transposed = direction.get::<4>(model.transposed.weight.id).unwrap();
        close(
            norms(of_transposed, 1),
            norms(model.transposed.weight.val().inner(), 1),
        );
        let of_embedding = direction.get::<2>(model.embedding.weight.id).unwrap();
        close(
            norms(of_embedding, 0),
            norms(model.embedding.weight.val().inner(), 0),
        );
        let still = [
            model.norm.gamma.id,
            model.norm.beta.id,
            model.linear.bias.as_ref().unwrap().id,
        ];
        assert!(still.iter().all(|id| direction.get::<1>(*id).is_none()));
    }

    #[test]
    fn a_seed_is_a_direction() {
        let model = Layers::new();
        let of = |seed| {
            let direction = filter_normalized(&model, seed).unwrap();
            let of_linear = direction.get::<2>(model.linear.weight.id).unwrap();
            of_linear.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).iter().any(|x| *x > 0.0) && of(1).iter().any(|x| *x < 0.0));
    }

    #[test]
    fn what_is_frozen_is_not_moved() {
        let mut model = Layers::new();
        model.linear = model.linear.freeze();
        let direction = filter_normalized(&model, 7).unwrap();
        assert!(direction.get::<2>(model.linear.weight.id).is_none());
        let error = filter_normalized(&model.freeze(), 7).unwrap_err();
        assert!(matches!(error, Error::Model { .. }), "{error}");
    }
}
