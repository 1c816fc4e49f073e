use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

use super::algebra::{OnParameter, for_each_parameter, widen};

/// How many numbers of each gradient are looked at together, about: as many as stay in a processor's
/// cache while all pairs of a handful of gradients are multiplied, and as take a GPU long enough.
const PIECE: usize = 1 << 17;
/// Into how many pieces a parameter is cut at most: each costs a GPU some launches.
const MOST_PIECES: usize = 16;
/// Up to how many numbers parameters are put together before they are multiplied.
const SMALL: usize = 1 << 14;
const TOGETHER: usize = 1 << 16;

/// The inner products of pairs of gradients over all parameters, in one sweep over them: tensors of
/// shape `[1]` on the device of the first parameter, `None` where no parameter has a gradient in both.
///
/// Products are made of a piece of a parameter at a time, so that they are in no other memory than a
/// processor's cache when they are added up.
pub(super) fn inner_products<M: Module>(
    model: &M,
    gradients: &[&GradientsParams],
    pairs: Vec<(usize, usize)>,
) -> Vec<Option<Tensor<1>>> {
    let mut sweep = Sweep {
        gradients,
        sums: vec![None; pairs.len()],
        pairs,
        small: vec![Vec::new(); gradients.len()],
        together: 0,
    };
    for_each_parameter(model, &mut sweep);
    sweep.multiply_small();
    sweep.sums
}

struct Sweep<'a> {
    gradients: &'a [&'a GradientsParams],
    pairs: Vec<(usize, usize)>,
    /// By pair.
    sums: Vec<Option<Tensor<1>>>,
    /// Of every gradient, the same small parameters.
    small: Vec<Vec<Tensor<1>>>,
    together: usize,
}

impl OnParameter for Sweep<'_> {
    fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let flat = |gradient: &&GradientsParams| {
            let tensor = widen(gradient.get::<D>(param.id)?);
            let numbers = tensor.shape().num_elements();
            Some(tensor.reshape([numbers]))
        };
        let tensors: Vec<Option<Tensor<1>>> = self.gradients.iter().map(flat).collect();
        let first = tensors.iter().flatten().next();
        let numbers = first.map_or(0, |tensor| tensor.shape().num_elements());
        let all: Option<Vec<&Tensor<1>>> = tensors.iter().map(Option::as_ref).collect();
        match all {
            Some(all) if numbers <= SMALL => self.put_aside(&all, numbers),
            _ => self.multiply(&tensors, numbers),
        }
    }
}

impl Sweep<'_> {
    fn put_aside(&mut self, tensors: &[&Tensor<1>], numbers: usize) {
        let first = self.small.iter().flatten().next();
        let fits = first.zip(tensors.first()).is_none_or(|(first, tensor)| {
            first.device() == tensor.device() && first.dtype() == tensor.dtype()
        });
        if !fits || self.together + numbers > TOGETHER {
            self.multiply_small();
        }
        for (small, tensor) in self.small.iter_mut().zip(tensors) {
            small.push((*tensor).clone());
        }
        self.together += numbers;
    }

    fn multiply_small(&mut self) {
        let joined = |tensors: &mut Vec<Tensor<1>>| match tensors.len() {
            0 | 1 => tensors.pop(),
            _ => Some(Tensor::cat(std::mem::take(tensors), 0)),
        };
        let tensors: Vec<_> = self.small.iter_mut().map(joined).collect();
        let numbers = std::mem::take(&mut self.together);
        self.multiply(&tensors, numbers);
    }

    /// Adds the inner products of vectors of so many numbers.
    fn multiply(&mut self, tensors: &[Option<Tensor<1>>], numbers: usize) {
        let length = PIECE.max(numbers.div_ceil(MOST_PIECES));
        for start in (0..numbers).step_by(length) {
            let of = |tensor: &Tensor<1>| match numbers <= length {
                true => tensor.clone(),
                false => tensor.clone().narrow(0, start, length.min(numbers - start)),
            };
            let pieces = tensors.iter();
            let pieces: Vec<_> = pieces.map(|it| it.as_ref().map(of)).collect();
            for (&(i, j), sum) in self.pairs.iter().zip(&mut self.sums) {
                let piece = |place: usize| pieces.get(place).cloned().flatten();
                let product = match (piece(i), piece(j)) {
                    (Some(a), _) if i == j => a.square(),
                    (Some(a), Some(b)) => a * b,
                    _ => continue,
                };
                let product = product.sum();
                *sum = Some(match sum.take() {
                    Some(sum) => {
                        let product = product.to_device(&sum.device()).cast(sum.dtype());
                        sum + product
                    }
                    None => product,
                });
            }
        }
    }
}
