use burn::{config::Config, module::Module};

use super::{AverageRecord, record::settings_of, weights::WeightMean};
use crate::{Error, Result};

/// The settings of an [`ExponentialMovingAverage`].
#[derive(Config, Debug)]
pub struct ExponentialMovingAverageConfig {
    /// The decay $d$: at least 0 and below 1. With 0, the average is the last weights. The average
    /// looks back over about $1 / (1 - d)$ updates: 0.999 suits tens of thousands of them, 0.99
    /// thousands.
    pub decay: f64,
    /// Whether the first weights count as any others, and not as if all weights before them had
    /// been the same. Default: false, as in PyTorch's and timm's averages.
    #[config(default = false)]
    pub debias: bool,
}

impl ExponentialMovingAverageConfig {
    /// An average that has seen nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where `decay` is negative, not below 1 or not a number.
    pub fn init(&self) -> Result<ExponentialMovingAverage> {
        if !(0.0..1.0).contains(&self.decay) {
            return Err(Error::Setting {
                field: "decay",
                rule: "be at least 0 and below 1",
                value: self.decay.to_string(),
            });
        }
        Ok(ExponentialMovingAverage {
            config: self.clone(),
            updates: 0,
            mean: WeightMean::default(),
        })
    }
}

/// The exponential moving average of a model's weights.
///
/// $$m_1 = \theta_1, \qquad m_t = d\\, m_{t-1} + (1 - d)\\, \theta_t,$$
///
/// with the weights $\theta_t$ after step $t$ and the decay $d$. With `debias`,
///
/// $$m_t = \frac{1 - d}{1 - d^t} \sum_{s \le t} d^{t-s}\\, \theta_s,$$
///
/// the mean in which every weight counts $d$ times its successor from the first one on; without,
/// $\theta_1$ counts $d^{t-1}$ however old it is, which shows while $t$ is not well above
/// $1 / (1 - d)$.
///
/// **Passes**: none. **Memory**: one copy of the trainable parameters, in at least 32 bits, and one
/// axpy an update. **When to use it**: where training ends at a high learning rate or is noisy, and
/// there is no validation loss that [`Swad`](super::Swad) could go by.
///
/// For frozen parameters and running statistics see the [module](crate::averaging#rules).
///
/// Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
/// Journal on Control and Optimization 30(4), 1992, for averages of the weights; the exponential one
/// of a net's weights is that of Tarvainen and Valpola, "Mean Teachers Are Better Role Models",
/// NeurIPS 2017, arXiv 1703.01780. The correction is Adam's (Kingma and Ba, ICLR 2015,
/// arXiv 1412.6980).
///
/// ```
/// use burn::{module::Module, nn::LinearConfig, tensor::Device};
/// use roga::averaging::ExponentialMovingAverageConfig;
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(2, 1).init(&device);
/// let mut average = ExponentialMovingAverageConfig::new(0.999).init()?;
///
/// // After every step of the optimizer:
/// average.update(&model)?;
///
/// // For validation, or in the end:
/// let averaged = average.average(&model)?.valid();
/// # assert_eq!(averaged.weight.val().into_data(), model.weight.val().into_data());
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ExponentialMovingAverage {
    config: ExponentialMovingAverageConfig,
    updates: u64,
    mean: WeightMean,
}

impl ExponentialMovingAverage {
    /// Takes the weights after a step. Nothing is waited for.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where the model has no trainable parameter on a device with autodiff, or
    /// is not the one of the updates before. Nothing has changed then.
    pub fn update<M: Module>(&mut self, model: &M) -> Result<()> {
        let decay = self.config.decay;
        let updates = self.updates.saturating_add(1);
        let weight = match self.config.debias {
            true => (1.0 - decay) / (1.0 - decay.powf(updates as f64)),
            false => 1.0 - decay,
        };
        self.mean.add(model, weight)?;
        self.updates = updates;
        Ok(())
    }

    /// The model with the averaged weights: a copy, with the same parameter ids and running
    /// statistics of its own, that may be trained on.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] before the first update, or with another model.
    pub fn average<M: Module>(&self, model: &M) -> Result<M> {
        self.mean.write(model)
    }

    /// How many updates it has seen.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The settings.
    pub fn config(&self) -> &ExponentialMovingAverageConfig {
        &self.config
    }

    /// All that it needs to go on.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where the weights cannot be read back.
    pub fn to_record(&self) -> Result<AverageRecord> {
        AverageRecord::new(self.settings())
            .with_number("updates", self.updates)
            .with_mean("average", &self.mean)
    }

    /// Goes on where the record was taken: bit for bit.
    ///
    /// `model` is the one that training goes on with: its parameter ids must be those of the record,
    /// as after
    /// [`RobustGradientAlignmentRecord::load_model`](crate::optim::RobustGradientAlignmentRecord::load_model).
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where the record is of other settings or of another model. Nothing has
    /// changed then.
    pub fn load_record<M: Module>(&mut self, record: &AverageRecord, model: &M) -> Result<()> {
        record.check(&self.settings())?;
        let (updates, mean) = (record.number("updates")?, record.mean("average", model)?);
        (self.updates, self.mean) = (updates, mean);
        Ok(())
    }

    fn settings(&self) -> String {
        settings_of("exponential moving average", &self.config)
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        module::{Module, Param},
        tensor::{DType, Device, Tensor, TensorData},
    };

    use super::*;
    use crate::averaging::weights::tests::{Net, bits, numbers};

    fn average_of(config: &ExponentialMovingAverageConfig, sequence: &[f32]) -> f32 {
        let mut model = Net::new(&[0.0]);
        let mut average = config.init().unwrap();
        for value in sequence {
            model = model.with(&[*value]);
            average.update(&model).unwrap();
        }
        numbers(&average.average(&model).unwrap())[0]
    }

    #[test]
    fn three_weights_by_hand() {
        let config = ExponentialMovingAverageConfig::new(0.5);
        // 1, then ½ + 1 = 1.5, then 0.75 + 2 = 2.75.
        assert_eq!(average_of(&config, &[1.0, 2.0, 4.0]), 2.75);
        // (⅛ · 1 + ¼ · 2 + ½ · 4) / ⅞.
        let debiased = average_of(&config.with_debias(true), &[1.0, 2.0, 4.0]);
        assert!((debiased - 3.0).abs() < 1e-6, "{debiased}");
    }

    #[test]
    fn without_decay_it_is_the_last_weights_bit_for_bit() {
        for debias in [false, true] {
            let config = ExponentialMovingAverageConfig::new(0.0).with_debias(debias);
            assert_eq!(average_of(&config, &[0.1, 1e9, 0.3]), 0.3);
        }
    }

    #[test]
    fn ten_steps_are_those_of_64_bits() {
        for debias in [false, true] {
            let (decay, mut expected) = (0.9f64, [0.0f64; 3]);
            let config = ExponentialMovingAverageConfig::new(decay).with_debias(debias);
            let mut average = config.init().unwrap();
            let mut model = Net::new(&[0.0; 3]);
            let mut total = 0.0;
            for step in 0..10 {
                let weights = [0.3, -1.0, 7.0].map(|scale| scale * (1.3 * f64::from(step)).sin());
                model = model.with(&weights.map(|weight| weight as f32));
                average.update(&model).unwrap();
                // The sum of the formula, and the sum of its coefficients.
                let weight = if debias || step > 0 { 1.0 - decay } else { 1.0 };
                total = decay * total + weight;
                for (sum, weights) in expected.iter_mut().zip(weights) {
                    *sum = decay * *sum + weight * weights;
                }
            }
            let averaged = numbers(&average.average(&model).unwrap());
            for (averaged, sum) in averaged.iter().zip(expected) {
                let expected = sum / total;
                let error = (f64::from(*averaged) - expected).abs();
                assert!(error < 1e-6, "{averaged} and {expected}");
            }
        }
    }

    #[test]
    fn frozen_parameters_are_those_of_the_model_and_shared_ones_stay_one() {
        let first = Net::new(&[1.0]).freeze_tail(5.0);
        let second = first.with(&[3.0]).freeze_tail(6.0);
        let mut average = ExponentialMovingAverageConfig::new(0.5).init().unwrap();
        average.update(&first).unwrap();
        average.update(&second).unwrap();
        let averaged = average.average(&second).unwrap();
        assert_eq!(numbers(&averaged), [2.0]);
        assert_eq!(averaged.tail.val().into_scalar::<f32>(), 6.0);
        assert!(!averaged.tail.is_require_grad());
        assert!(averaged.weights.is_require_grad());
        assert_eq!(averaged.weights.id, averaged.again.id);
        assert_eq!(averaged.again.val().into_scalar::<f32>(), 2.0);
        // The model itself has not moved.
        assert_eq!(numbers(&second), [3.0]);
    }

    #[test]
    fn half_precision_is_averaged_in_32_bits() {
        let mut model = Net::new(&[1.0]);
        let config = ExponentialMovingAverageConfig::new(0.999);
        let mut average = config.init().unwrap();
        let half = |value: f32| {
            let device = Device::flex().autodiff();
            let data = TensorData::from([value]);
            Tensor::<1>::from_data(data, (&device, DType::F16)).require_grad()
        };
        for value in [1.0, 2.0, 2.0, 2.0] {
            let ids = (model.weights.id, model.again.id);
            model.weights = Param::initialized(ids.0, half(value));
            model.again = Param::initialized(ids.1, half(value));
            average.update(&model).unwrap();
        }
        // A thousandth of 1 three times: in f16 each would be rounded.
        let mean = average.mean.parameters[&model.weights.id].clone();
        let mean = mean.into_scalar::<f32>();
        assert!((mean - (2.0 - 0.999f32.powi(3))).abs() < 1e-6, "{mean}");
        let averaged = average.average(&model).unwrap();
        assert_eq!(averaged.weights.val().dtype(), DType::F16);
    }

    #[test]
    fn resumed_it_is_the_uninterrupted_one_bit_for_bit() {
        for debias in [false, true] {
            let config = ExponentialMovingAverageConfig::new(0.97).with_debias(debias);
            let mut whole = config.init().unwrap();
            let mut model = Net::new(&[0.1, 0.2]);
            let mut resumed = config.init().unwrap();
            for step in 0..9 {
                model = model.with(&[0.1 + 0.37 * step as f32, (step as f32).sqrt()]);
                whole.update(&model).unwrap();
                resumed.update(&model).unwrap();
                if step == 4 {
                    let bytes = resumed.to_record().unwrap().into_bytes().unwrap();
                    let record = AverageRecord::from_bytes(bytes).unwrap();
                    resumed = config.init().unwrap();
                    resumed.load_record(&record, &model).unwrap();
                    assert_eq!(resumed.updates(), 5);
                }
            }
            let [whole, resumed] = [whole, resumed].map(|it| bits(&it.average(&model).unwrap()));
            assert_eq!(whole, resumed);
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for decay in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            let error = ExponentialMovingAverageConfig::new(decay).init();
            let expected = format!("decay must be at least 0 and below 1, but is {decay}");
            assert_eq!(error.unwrap_err().to_string(), expected);
        }
        let mut average = ExponentialMovingAverageConfig::new(0.5).init().unwrap();
        let model = Net::new(&[1.0]);
        let unseen = average.average(&model).unwrap_err().to_string();
        assert!(unseen.contains("nothing has been averaged yet"), "{unseen}");
        let frozen = average.update(&model.valid()).unwrap_err().to_string();
        assert!(frozen.contains("have a trainable parameter"), "{frozen}");
        average.update(&model).unwrap();
        let other = average.update(&Net::new(&[1.0])).unwrap_err().to_string();
        assert!(other.contains("none of the averaged parameters"), "{other}");
        let resized = average.average(&model.with(&[1.0, 2.0])).unwrap_err();
        let resized = resized.to_string();
        assert!(resized.contains("a parameter of 1 numbers"), "{resized}");
        assert_eq!(average.updates(), 1);
    }

    #[test]
    fn a_record_of_something_else_is_refused() {
        let model = Net::new(&[1.0, 2.0]);
        let config = ExponentialMovingAverageConfig::new(0.5);
        let mut average = config.init().unwrap();
        average.update(&model).unwrap();
        let record = average.to_record().unwrap();
        let refused = |config: &ExponentialMovingAverageConfig, model: &Net| {
            let mut average = config.init().unwrap();
            let error = average.load_record(&record, model).unwrap_err();
            assert_eq!(average.updates(), 0);
            error.to_string()
        };
        let settings = refused(&config.clone().with_debias(true), &model);
        assert!(settings.contains("be of the same settings"), "{settings}");
        let other = refused(&config, &Net::new(&[1.0, 2.0]));
        assert!(other.contains("be of the same model"), "{other}");
        let resized = refused(&config, &model.with(&[1.0]));
        assert!(resized.contains("be of the same model"), "{resized}");
    }
}
