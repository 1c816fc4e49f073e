#[cfg(feature = "flex")]
use burn::tensor::Device;
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
/// A piece of a parameter is multiplied at a time, so that what is read by several pairs, and products that are
/// written down, are in a processor's cache.
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
                let Some((a, b)) = piece(i).zip(piece(j)) else {
                    continue;
                };
                let product = inner_product(a, b, i == j);
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

/// The inner product of two vectors, or of one with itself: shape `[1]`.
///
/// On flex it is the product of a row and a column, which writes no products down and takes 0.6 of the time.
/// On other backends that has not been measured.
fn inner_product(a: Tensor<1>, b: Tensor<1>, same: bool) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if a.device() == Device::flex() {
        return row_by_column(a, b);
    }
    let products = if same { a.square() } else { a * b };
    products.sum()
}

#[cfg(feature = "flex")]
fn row_by_column(a: Tensor<1>, b: Tensor<1>) -> Tensor<1> {
    let numbers = a.shape().num_elements();
    let product = a.reshape([1, numbers]).matmul(b.reshape([numbers, 1]));
    product.reshape([1])
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{DType, Distribution};

    use super::*;

    fn number(tensor: Tensor<1>) -> f64 {
        assert_eq!(tensor.dims(), [1]);
        tensor.into_scalar::<f64>()
    }

    #[test]
    fn a_row_by_a_column_is_the_sum_of_products() {
        let device = Device::flex();
        for length in [1, 2, 3, 8, 17, 1023, 1025, PIECE, PIECE + 1, 3 * PIECE + 5] {
            // Parts of longer vectors, as large parameters are cut.
            let vector = || {
                let vector = Tensor::<1>::random([length + 3], Distribution::Default, &device);
                vector.narrow(0, 3, length)
            };
            let (a, b) = (vector(), vector());
            let wide = |tensor: &Tensor<1>| tensor.clone().cast(DType::F64);
            let exact = number((wide(&a) * wide(&b)).sum());
            let found = number(row_by_column(a.clone(), b.clone()));
            assert!(
                (found / exact - 1.0).abs() < 2e-6,
                "{length}: {found}, and not {exact}"
            );
            let wide = number(row_by_column(wide(&a), wide(&b)));
            assert!((wide / exact - 1.0).abs() < 1e-13);
            let square = number(inner_product(a.clone(), a.clone(), true));
            assert!((square / number(a.square().sum()) - 1.0).abs() < 2e-6);
        }
    }

    #[test]
    fn what_is_not_finite_is_not_finite_in_the_product() {
        let of = |numbers: [f32; 3]| Tensor::<1>::from_floats(numbers, &Device::flex());
        let square = |numbers| number(row_by_column(of(numbers), of(numbers)));
        assert!(square([1.0, f32::NAN, 0.0]).is_nan());
        assert_eq!(square([1.0, f32::INFINITY, 0.0]), f64::INFINITY);
        assert_eq!(square([1.0, 1e20, 0.0]), f64::INFINITY);
        assert_eq!(square([0.0, 1e-30, 0.0]), 0.0);
        let product = row_by_column(of([0.0, 1.0, 2.0]), of([f32::INFINITY, 1.0, 1.0]));
        assert!(number(product).is_nan());
    }
}
