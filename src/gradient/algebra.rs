use std::collections::HashSet;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{DType, Tensor},
};

use super::sweep::inner_products;

/// The inner product $\langle a, b \rangle$ over all parameters, as a tensor of shape `[1]` on the
/// device of the first parameter; `None` where no parameter has a gradient in both.
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
/// let squared_norm = gradient::dot(&model, &grads, &grads).unwrap();
/// assert_eq!(squared_norm.into_scalar::<f32>(), 25.0);
/// ```
pub fn dot<M: Module>(model: &M, a: &GradientsParams, b: &GradientsParams) -> Option<Tensor<1>> {
    inner_products(model, &[a, b], vec![(0, 1)]).pop().flatten()
}

/// The squared norm $\lVert g \rVert^2$ over all parameters, as [`dot`] of the gradient with
/// itself and cheaper.
pub fn squared_norm<M: Module>(model: &M, gradient: &GradientsParams) -> Option<Tensor<1>> {
    inner_products(model, &[gradient], vec![(0, 0)])
        .pop()
        .flatten()
}

/// $\lVert a \rVert^2$ and $\langle a, b \rangle$ in one sweep over the parameters.
pub(crate) fn square_and_dot<M: Module>(
    model: &M,
    a: &GradientsParams,
    b: &GradientsParams,
) -> [Option<Tensor<1>>; 2] {
    let mut products = inner_products(model, &[a, b], vec![(0, 0), (0, 1)]).into_iter();
    [(); 2].map(|()| products.next().flatten())
}

/// A number that is finite where every entry of the gradient is: their sum, at a fraction of the
/// price of a norm.
///
/// An infinity or a NaN among the entries never cancels out.
pub fn finite_probe<M: Module>(model: &M, gradient: &GradientsParams) -> Option<Tensor<1>> {
    struct Entries<'a> {
        gradient: &'a GradientsParams,
        sums: Vec<Tensor<1>>,
    }

    impl OnParameter for Entries<'_> {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(tensor) = self.gradient.get::<D>(param.id) {
                self.sums.push(widen(tensor).sum());
            }
        }
    }

    let mut entries = Entries {
        gradient,
        sums: Vec::new(),
    };
    for_each_parameter(model, &mut entries);
    total(entries.sums)
}

/// The Gram matrix $G_{ij} = \langle g_i, g_j \rangle$ of $K$ gradients: `gram[i][j]` for
/// $j \le i$, tensors of shape `[1]`, computed in one sweep over the parameters.
///
/// An entry is `None` where no parameter has a gradient in both.
pub fn gram<M: Module>(model: &M, gradients: &[GradientsParams]) -> Vec<Vec<Option<Tensor<1>>>> {
    let rows = 0..gradients.len();
    let pairs = rows.clone().flat_map(|i| (0..=i).map(move |j| (i, j)));
    let gradients: Vec<_> = gradients.iter().collect();
    let mut products = inner_products(model, &gradients, pairs.collect()).into_iter();
    rows.map(|i| products.by_ref().take(i + 1).collect())
        .collect()
}

/// The linear combination $\sum_k c_k\\, g_k$.
///
/// A parameter that no term has a gradient for has none in the result. Where all coefficients are
/// the same, the gradients are added first and scaled once; a coefficient of 1 scales nothing, so
/// that the combination $1 \cdot g$ is $g$ bit for bit. Gradients of 16 bits are combined in 32,
/// and the result is of 32 bits: [`like_parameters`] rounds it for an optimizer.
///
/// ```
/// use burn::{nn::LinearConfig, optim::GradientsParams, tensor::{Device, Tensor}};
/// use roga::gradient;
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(1, 1).with_bias(false).init(&device);
/// let gradient_at = |x: f32| {
///     let loss = model.forward(Tensor::<2>::from_floats([[x]], &device)).sum();
///     GradientsParams::from_grads(loss.backward(), &model)
/// };
/// let (a, b) = (gradient_at(1.0), gradient_at(3.0));
///
/// let mean = gradient::combine(&model, &[(0.5, &a), (0.5, &b)]);
/// assert_eq!(mean.get::<2>(model.weight.id).unwrap().into_scalar::<f32>(), 2.0);
/// ```
pub fn combine<M: Module>(model: &M, terms: &[(f64, &GradientsParams)]) -> GradientsParams {
    let terms = terms.iter();
    let terms = terms.map(|(coefficient, gradient)| (*coefficient, shared(model, gradient)));
    combine_taking(model, terms.collect())
}

/// As [`combine`], taking the gradients apart: where nothing else holds them, their memory becomes
/// that of the result.
pub(crate) fn combine_taking<M: Module>(
    model: &M,
    terms: Vec<(f64, GradientsParams)>,
) -> GradientsParams {
    struct Combine {
        terms: Vec<(f64, GradientsParams)>,
        common: Option<f64>,
        combined: GradientsParams,
    }

    impl OnParameter for Combine {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let id = param.id;
            let combined = self
                .terms
                .iter_mut()
                .filter_map(|(coefficient, gradient)| {
                    let gradient = widen(gradient.remove::<D>(id)?);
                    Some(match self.common {
                        Some(_) => gradient,
                        None => scale(gradient, *coefficient),
                    })
                })
                .reduce(|sum, term| sum + term);
            if let Some(combined) = combined {
                let combined = scale(combined, self.common.unwrap_or(1.0));
                self.combined.register(id, combined);
            }
        }
    }

    let mut combine = Combine {
        common: terms
            .first()
            .map(|(first, _)| *first)
            .filter(|first| terms.iter().all(|(coefficient, _)| coefficient == first)),
        terms,
        combined: GradientsParams::new(),
    };
    for_each_parameter(model, &mut combine);
    combine.combined
}

/// The same gradient again, in the same memory.
pub(crate) fn shared<M: Module>(model: &M, gradient: &GradientsParams) -> GradientsParams {
    struct Shared<'a> {
        gradient: &'a GradientsParams,
        shared: GradientsParams,
    }

    impl OnParameter for Shared<'_> {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(tensor) = self.gradient.get::<D>(param.id) {
                self.shared.register(param.id, tensor);
            }
        }
    }

    let mut shared = Shared {
        gradient,
        shared: GradientsParams::new(),
    };
    for_each_parameter(model, &mut shared);
    shared.shared
}

/// The gradient with the numbers of every parameter one after the other in memory.
///
/// A backward pass leaves those of convolutions as views with their dimensions swapped, and on flex
/// every operation on such a view costs several times as much. What is in order stays where it is.
pub(crate) fn in_order<M: Module>(model: &M, gradient: GradientsParams) -> GradientsParams {
    struct InOrder {
        gradient: GradientsParams,
    }

    impl OnParameter for InOrder {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D < 2 {
                return;
            }
            if let Some(tensor) = self.gradient.remove::<D>(param.id) {
                let dims = tensor.dims();
                let flat: Tensor<1> = tensor.reshape([dims.iter().product::<usize>()]);
                self.gradient.register(param.id, flat.reshape::<D, _>(dims));
            }
        }
    }

    let mut in_order = InOrder { gradient };
    for_each_parameter(model, &mut in_order);
    in_order.gradient
}

/// Adds $c\\, g$ to a sum, taking $g$ apart: $s \leftarrow s + c\\, g$.
///
/// Where the sum has no gradient for a parameter yet, $c\\, g$ becomes it. Gradients of 16 bits
/// are added up in 32, as in [`combine`].
pub fn accumulate<M: Module>(
    model: &M,
    sum: &mut GradientsParams,
    coefficient: f64,
    gradient: GradientsParams,
) {
    let coefficient = Coefficient::Number(coefficient);
    add(model, sum, coefficient, gradient);
}

/// As [`accumulate`], with $c$ a tensor of shape `[1]`.
pub(crate) fn accumulate_times<M: Module>(
    model: &M,
    sum: &mut GradientsParams,
    coefficient: &Tensor<1>,
    gradient: GradientsParams,
) {
    let coefficient = Coefficient::OnDevice(coefficient);
    add(model, sum, coefficient, gradient);
}

#[derive(Clone, Copy)]
enum Coefficient<'a> {
    Number(f64),
    OnDevice(&'a Tensor<1>),
}

fn add<M: Module>(
    model: &M,
    sum: &mut GradientsParams,
    coefficient: Coefficient<'_>,
    gradient: GradientsParams,
) {
    struct Add<'a> {
        sum: &'a mut GradientsParams,
        coefficient: Coefficient<'a>,
        gradient: GradientsParams,
    }

    impl OnParameter for Add<'_> {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let id = param.id;
            if let Some(gradient) = self.gradient.remove::<D>(id).map(widen) {
                let term = match self.coefficient {
                    Coefficient::Number(number) => scale(gradient, number),
                    Coefficient::OnDevice(number) => multiplied(gradient, number.clone()),
                };
                let sum = match self.sum.remove::<D>(id) {
                    Some(sum) => widen(sum) + term,
                    None => term,
                };
                self.sum.register(id, sum);
            }
        }
    }

    for_each_parameter(
        model,
        &mut Add {
            sum,
            coefficient,
            gradient,
        },
    );
}

/// The gradient in the types of the model's parameters, as burn's optimizers want it: what was
/// combined in 32 bits is rounded, once, for parameters of 16 bits. Others stay as they are.
pub fn like_parameters<M: Module>(model: &M, gradient: GradientsParams) -> GradientsParams {
    struct Like {
        gradient: GradientsParams,
    }

    impl OnParameter for Like {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let dtype = param.val().dtype();
            let differs = |gradient: &Tensor<D>| gradient.dtype() != dtype;
            if self
                .gradient
                .get::<D>(param.id)
                .as_ref()
                .is_some_and(differs)
                && let Some(gradient) = self.gradient.remove::<D>(param.id)
            {
                self.gradient.register(param.id, gradient.cast(dtype));
            }
        }
    }

    let mut like = Like { gradient };
    for_each_parameter(model, &mut like);
    like.gradient
}

/// Whether [`like_parameters`] rounds: whether a parameter is of 16 bits.
pub(crate) fn has_parameters_of_16_bits<M: Module>(model: &M) -> bool {
    #[derive(Default)]
    struct Half(bool);

    impl OnParameter for Half {
        fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= is_of_16_bits(param.val().dtype());
        }
    }

    let mut half = Half::default();
    for_each_parameter(model, &mut half);
    half.0
}

/// A sum $\sum_k c_k\\, g_k$ that is added up one gradient at a time.
///
/// It is kept as $u \cdot s$, with the largest coefficient so far as the unit $u$: gradients of the same
/// coefficient are added up as they are, and scaled once in the end, by who uses the sum; and the
/// squares of $s$ fit where those of the gradients do.
#[derive(Debug)]
pub(crate) struct WeightedSum {
    /// $u$.
    pub unit: f64,
    /// $s$.
    pub sum: GradientsParams,
}

impl WeightedSum {
    pub fn new() -> Self {
        Self::of(GradientsParams::new())
    }

    /// The gradient itself.
    pub fn of(gradient: GradientsParams) -> Self {
        Self {
            unit: 1.0,
            sum: gradient,
        }
    }

    /// $u\\, s$.
    pub fn combined<M: Module>(self, model: &M) -> GradientsParams {
        combine_taking(model, vec![(self.unit, self.sum)])
    }

    /// Adds $c\\, g$; $c$ is not 0.
    pub fn add<M: Module>(&mut self, model: &M, coefficient: f64, gradient: GradientsParams) {
        if self.sum.is_empty() {
            self.unit = coefficient;
        } else if coefficient.abs() > self.unit.abs() {
            let before = std::mem::take(&mut self.sum);
            self.sum = combine_taking(model, vec![(self.unit / coefficient, before)]);
            self.unit = coefficient;
        }
        accumulate(model, &mut self.sum, coefficient / self.unit, gradient);
    }
}

/// What is done for every parameter once.
pub(crate) trait OnParameter {
    fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>);
}

/// Walks over the float parameters of a module, those that several layers share once.
pub(crate) fn for_each_parameter<M: Module, O: OnParameter>(model: &M, on: &mut O) {
    struct Once<'a, O> {
        on: &'a mut O,
        seen: HashSet<ParamId>,
    }

    impl<O: OnParameter> ModuleVisitor for Once<'_, O> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.seen.insert(param.id) {
                self.on.on(param);
            }
        }
    }

    model.visit(&mut Once {
        on,
        seen: HashSet::new(),
    });
}

/// The tensor in at least 32 bits: what squares and small steps need.
pub(crate) fn widen<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match is_of_16_bits(tensor.dtype()) {
        true => tensor.cast(DType::F32),
        false => tensor,
    }
}

pub(crate) fn is_of_16_bits(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// `c * tensor`, and the tensor itself where `c` is 1.
pub(crate) fn scale<const D: usize>(tensor: Tensor<D>, coefficient: f64) -> Tensor<D> {
    if coefficient == 1.0 {
        tensor
    } else {
        tensor.mul_scalar(coefficient)
    }
}

/// `c * tensor`, with `c` a tensor of shape `[1]`.
pub(crate) fn multiplied<const D: usize>(tensor: Tensor<D>, coefficient: Tensor<1>) -> Tensor<D> {
    let coefficient = coefficient.to_device(&tensor.device());
    let coefficient = coefficient.cast(tensor.dtype());
    tensor * coefficient.reshape([1; D])
}

/// The sum of tensors of shape `[1]`, on the device and in the type of the first.
pub(crate) fn total(sums: Vec<Tensor<1>>) -> Option<Tensor<1>> {
    let (device, dtype) = sums.first().map(|sum| (sum.device(), sum.dtype()))?;
    sums.into_iter()
        .map(|sum| sum.to_device(&device).cast(dtype))
        .reduce(|total, sum| total + sum)
}
