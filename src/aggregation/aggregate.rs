use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Mask, Needs};
use crate::{
    Error, Result,
    gradient::{GramMatrix, OnParameter, combine, for_each_parameter, gram, widen},
    optim::readback::{Readback, Reading},
};

/// What an aggregation goes on from: empty before the first step, saved with the training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AggregationState {
    /// The number of the next step.
    pub step: u64,
    /// What the method keeps from step to step.
    pub kept: Vec<f64>,
}

/// The gradients of $K \ge 1$ domains to one, for a loop that makes its passes by itself.
///
/// * `weights`: $p_i$, finite and at least 0, adding up to 1.
/// * `losses`: $L_i$, of shape `[1]`.
/// * `gradients`: $g_i$, those of `model`'s parameters.
///
/// Waits for the device once where the method looks at losses or gradients, and not at all where it
/// does not. No tensor of $K$ times all parameters is ever built. The result is of 32 bits at
/// least: [`like_parameters`](crate::gradient::like_parameters) rounds it for parameters of 16.
///
/// ```
/// use burn::{
///     nn::LinearConfig,
///     optim::{GradientsParams, SgdConfig},
///     tensor::{Device, Tensor},
/// };
/// use roga::aggregation::{AggregationState, UpGrad, aggregate};
///
/// let device = Device::default().autodiff();
/// let mut model = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// let mut optim = SgdConfig::new().init();
/// let mut state = AggregationState::default();
///
/// let domains = [[[-4.0, 1.0]], [[6.0, 1.0]]].map(|row| Tensor::<2>::from_floats(row, &device));
/// for _ in 0..2 {
///     let losses = domains.each_ref().map(|x| model.forward(x.clone()).mean());
///     let gradients =
///         losses.each_ref().map(|loss| GradientsParams::from_grads(loss.backward(), &model));
///     let gradient =
///         aggregate(&UpGrad::default(), &mut state, &model, &[0.5, 0.5], &losses, &gradients)?;
///     model = optim.step(0.1, model, gradient);
/// }
/// assert_eq!(state.step, 2);
/// # Ok::<(), roga::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Setting`] where the method's parameters or the weights cannot work, [`Error::Domains`]
/// where there is no domain, there are not as many losses, gradients and weights, or the numbers
/// that the method looks at or finds are not finite, [`Error::Device`]. The state has not changed then.
pub fn aggregate<M: Module>(
    aggregator: &dyn Aggregator,
    state: &mut AggregationState,
    model: &M,
    weights: &[f64],
    losses: &[Tensor<1>],
    gradients: &[GradientsParams],
) -> Result<GradientsParams> {
    aggregator.check()?;
    check_domains(weights, losses.len(), gradients.len())?;
    let (losses, gram) = read(aggregator.needs(), model, losses, gradients)?;
    let mut domains = DomainStatistics::new(state.step, weights).with_losses(&losses);
    if let Some(gram) = &gram {
        domains = domains.with_gram(gram);
    }
    let mut kept = state.kept.clone();
    let coefficients = coefficients_of(aggregator, &domains, &mut kept)?;
    check_finite(&coefficients)?;
    let gradient = combined(aggregator, model, weights, &coefficients, gradients)?;
    state.step += 1;
    state.kept = kept;
    Ok(gradient)
}

/// What a method finds, once it is known to be one coefficient for each domain.
pub(crate) fn coefficients_of(
    aggregator: &dyn Aggregator,
    domains: &DomainStatistics<'_>,
    kept: &mut Vec<f64>,
) -> Result<Vec<f64>> {
    let coefficients = aggregator.coefficients(domains, kept)?;
    match coefficients.len() {
        found if found == domains.len() => Ok(coefficients),
        found => Err(Error::Setting {
            field: "aggregation.method",
            rule: "give one coefficient for each domain",
            value: format!("{found} for {}", domains.len()),
        }),
    }
}

fn check_finite(coefficients: &[f64]) -> Result<()> {
    let mut coefficients = coefficients.iter().enumerate();
    match coefficients.find(|(_, c)| !c.is_finite()) {
        None => Ok(()),
        Some((domain, c)) => Err(Error::Domains {
            rule: "have finite coefficients",
            found: format!("that of domain {domain} is {c}"),
        }),
    }
}

fn check_domains(weights: &[f64], losses: usize, gradients: usize) -> Result<()> {
    let count = weights.len();
    if count == 0 || losses != count || gradients != count {
        return Err(Error::Domains {
            rule: "be at least one, each with a weight, a loss and a gradient",
            found: format!("there are {count}, {losses} and {gradients} of them"),
        });
    }
    let sum: f64 = weights.iter().sum();
    if !(weights.iter().all(|p| *p >= 0.0) && (sum - 1.0).abs() < 1e-6) {
        return Err(Error::Setting {
            field: "weights",
            rule: "be at least 0 and add up to 1",
            value: format!("{weights:?}"),
        });
    }
    Ok(())
}

/// What a method looks at, in one wait for the device.
fn read<M: Module>(
    needs: Needs,
    model: &M,
    losses: &[Tensor<1>],
    gradients: &[GradientsParams],
) -> Result<(Vec<f64>, Option<GramMatrix>)> {
    if needs == Needs::Nothing {
        return Ok((Vec::new(), None));
    }
    let mut readback = Readback::default();
    let losses: Vec<Reading> = losses
        .iter()
        .map(|loss| readback.push(loss.clone().inner()))
        .collect();
    let rows = (needs == Needs::Gram).then(|| readback.push_rows(&gram(model, gradients)));
    readback.wait()?;
    let losses = losses.into_iter().map(|loss| readback.get(loss)).collect();
    let gram = rows.map(|rows| readback.gram_matrix(&rows));
    Ok((losses, gram))
}

/// $G = m \odot \sum_i c_i\\, g_i$.
pub(crate) fn combined<M: Module>(
    aggregator: &dyn Aggregator,
    model: &M,
    weights: &[f64],
    coefficients: &[f64],
    gradients: &[GradientsParams],
) -> Result<GradientsParams> {
    let terms: Vec<(f64, &GradientsParams)> = coefficients.iter().copied().zip(gradients).collect();
    let combined = combine(model, &terms);
    let Some(mask) = aggregator.mask() else {
        return Ok(combined);
    };
    let mut masked = Masked {
        mask,
        weights,
        gradients,
        combined,
        refused: None,
    };
    for_each_parameter(model, &mut masked);
    match masked.refused {
        None => Ok(masked.combined),
        Some((found, expected)) => Err(Error::Setting {
            field: "aggregation.method",
            rule: "give a mask as long as a parameter's gradient",
            value: format!("{found} for {expected}"),
        }),
    }
}

struct Masked<'a> {
    mask: &'a dyn Mask,
    weights: &'a [f64],
    gradients: &'a [GradientsParams],
    combined: GradientsParams,
    /// The length of a mask that does not fit, and that of the gradient.
    refused: Option<(usize, usize)>,
}

impl OnParameter for Masked<'_> {
    fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let id = param.id;
        let Some(combined) = self.combined.remove::<D>(id) else {
            return;
        };
        let flat = |gradient: Tensor<D>| gradient.reshape([-1]);
        let gradients: Vec<Tensor<1>> = self
            .gradients
            .iter()
            .map(|gradient| match gradient.get::<D>(id) {
                Some(gradient) => flat(widen(gradient)),
                None => flat(combined.zeros_like()),
            })
            .collect();
        let shape = combined.shape();
        let length = shape.num_elements();
        let masked = match self.mask.of(self.weights, &gradients) {
            Some(mask) if mask.dims() != [length] => {
                let [found] = mask.dims();
                self.refused.get_or_insert((found, length));
                combined
            }
            Some(mask) => (flat(combined) * mask).reshape(shape),
            None => combined,
        };
        self.combined.register(id, masked);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::aggregation::{AndMask, GroupDro, Mean, Mgda};

    #[derive(Module, Debug)]
    struct Two {
        a: Param<Tensor<2>>,
        b: Param<Tensor<1>>,
    }

    fn two(device: &Device) -> Two {
        Two {
            a: Param::from_tensor(Tensor::zeros([1, 2], device)),
            b: Param::from_tensor(Tensor::zeros([1], device)),
        }
    }

    fn numbers(gradient: &GradientsParams, model: &Two) -> (Vec<f32>, Vec<f32>) {
        let a = gradient.get::<2>(model.a.id).unwrap().into_data();
        let b = gradient.get::<1>(model.b.id).unwrap().into_data();
        (a.try_to_vec().unwrap(), b.try_to_vec().unwrap())
    }

    /// Two domains; the second has no gradient for `b`.
    fn domains(model: &Two, device: &Device) -> ([Tensor<1>; 2], [GradientsParams; 2]) {
        let number = |x: f32| Tensor::<1>::from_floats([x], device);
        let gradients = [[1.0, 4.0], [3.0, -2.0]].map(|a| {
            let mut gradient = GradientsParams::new();
            gradient.register(model.a.id, Tensor::<2>::from_floats([a], device));
            gradient
        });
        let [mut first, second] = gradients;
        first.register(model.b.id, number(2.0));
        ([number(0.5), number(1.5)], [first, second])
    }

    #[test]
    fn a_parameter_without_a_gradient_counts_as_zero() {
        let device = Device::flex();
        let model = two(&device);
        let (losses, gradients) = domains(&model, &device);
        let of = |aggregator: &dyn Aggregator| {
            let mut state = AggregationState::default();
            let weights = [0.5, 0.5];
            let found = aggregate(
                aggregator, &mut state, &model, &weights, &losses, &gradients,
            );
            numbers(&found.unwrap(), &model)
        };
        assert_eq!(of(&Mean), (vec![2.0, 1.0], vec![1.0]));
        assert_eq!(of(&AndMask { tau: 1.0 }), (vec![4.0, 0.0], vec![0.0]));
        // G = ((21, −5), (−5, 13)): w₁ = 18 / 44.
        let (a, b) = of(&Mgda::Exact);
        let w = 18.0 / 44.0;
        for (found, expected) in [
            (a[0], 3.0 - 2.0 * w),
            (a[1], 6.0 * w - 2.0),
            (b[0], 2.0 * w),
        ] {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn what_cannot_be_aggregated_changes_no_state() {
        let device = Device::flex();
        let model = two(&device);
        let (losses, gradients) = domains(&model, &device);
        let mut state = AggregationState::default();
        let mut refused = |method: GroupDro, weights: &[f64], losses: &[Tensor<1>]| {
            let found = aggregate(&method, &mut state, &model, weights, losses, &gradients);
            assert_eq!(state, AggregationState::default());
            found.map(drop).unwrap_err().to_string()
        };
        let method = GroupDro::default();
        let halves = [0.5, 0.5];
        assert_eq!(
            refused(GroupDro { eta: -1.0 }, &halves, &losses),
            "aggregation.eta must be finite and at least 0, but is -1"
        );
        assert_eq!(
            refused(method, &[0.5], &losses),
            "domains must be at least one, each with a weight, a loss and a gradient, \
             but there are 1, 2 and 2 of them"
        );
        assert_eq!(
            refused(method, &[0.5, f64::NAN], &losses),
            "weights must be at least 0 and add up to 1, but is [0.5, NaN]"
        );
        let nan = losses
            .each_ref()
            .map(|loss| loss.clone().mul_scalar(f32::NAN));
        assert_eq!(
            refused(method, &halves, &nan),
            "domains must have finite losses, but that of domain 0 is NaN"
        );
    }

    /// Of the caller's own: a state that grows, and these coefficients.
    #[derive(Debug)]
    struct Own(Vec<f64>);

    impl Aggregator for Own {
        fn needs(&self) -> Needs {
            Needs::Nothing
        }

        fn coefficients(&self, _: &DomainStatistics<'_>, kept: &mut Vec<f64>) -> Result<Vec<f64>> {
            kept.push(1.0);
            Ok(self.0.clone())
        }
    }

    #[test]
    fn coefficients_that_are_too_few_or_not_finite_change_no_state() {
        let device = Device::flex();
        let model = two(&device);
        let (losses, gradients) = domains(&model, &device);
        let mut state = AggregationState::default();
        let mut of = |coefficients: &[f64]| {
            let own = Own(coefficients.to_vec());
            let found = aggregate(&own, &mut state, &model, &[0.5; 2], &losses, &gradients);
            (found.map_err(|error| error.to_string()), state.clone())
        };
        for (coefficients, error) in [
            (
                &[0.5][..],
                "aggregation.method must give one coefficient for each domain, but is 1 for 2",
            ),
            (
                &[0.5, f64::NAN],
                "domains must have finite coefficients, but that of domain 1 is NaN",
            ),
        ] {
            let (found, state) = of(coefficients);
            assert_eq!(found.unwrap_err(), error);
            assert_eq!(state, AggregationState::default());
        }
        let (found, state) = of(&[2.0, 0.5]);
        assert_eq!(
            numbers(&found.unwrap(), &model),
            (vec![3.5, 7.0], vec![4.0])
        );
        assert_eq!((state.step, &state.kept[..]), (1, &[1.0][..]));
    }
}
