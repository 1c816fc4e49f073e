//! Problems whose gradients are known, and small nets, for the integration tests.

use burn::{
    module::{Module, Param, ParamId},
    nn::{
        BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig,
        loss::CrossEntropyLossConfig,
    },
    optim::{ModuleOptimizer, SgdConfig, momentum::MomentumConfig},
    tensor::{Device, Int, Tensor, TensorData, activation::tanh},
};
use burn_pack::Reader;
use roga::{
    domain::{Concat, DomainBatches, JoinedBatch},
    optim::{Evaluation, RobustGradientAlignmentConfig as Config, StepReport},
};

pub const EVALUATIONS: [Evaluation; 5] = [
    Evaluation::All,
    Evaluation::Own,
    Evaluation::Others,
    Evaluation::Sampled,
    Evaluation::Consensus,
];

/// The device of the tests: flex, the only one whose results are compared bit for bit.
pub fn device() -> Device {
    Device::flex().autodiff()
}

/// The parameters alone: $\theta \in \mathbb R^n$.
#[derive(Module, Debug)]
pub struct Point {
    pub theta: Param<Tensor<1>>,
}

impl Point {
    pub fn new(theta: &[f32], device: &Device) -> Self {
        Self {
            theta: Param::from_tensor(Tensor::from_floats(theta, device)),
        }
    }

    pub fn values(&self) -> Vec<f32> {
        values(&self.theta.val())
    }
}

/// A domain's loss as a function of the parameters.
#[derive(Debug, Clone)]
pub enum Loss {
    /// Mean squared error of linear rows: $\frac1n \sum_r (x_r \cdot \theta - y_r)^2$.
    Rows { x: Vec<Vec<f32>>, y: Vec<f32> },
    /// $\frac12 \sum_k a_k (\theta_k - c_k)^2$.
    Bowl { a: Vec<f32>, c: Vec<f32> },
    /// $s \cdot \sum_k \sin(f_k \theta_k + p_k)$: not a quadratic.
    Waves { s: f32, f: Vec<f32>, p: Vec<f32> },
}

impl Loss {
    pub fn at(&self, model: &Point) -> Tensor<1> {
        self.of(model.theta.val())
    }

    pub fn of(&self, theta: Tensor<1>) -> Tensor<1> {
        let device = theta.device();
        let vector = |v: &[f32]| Tensor::<1>::from_floats(v, &device);
        match self {
            Loss::Rows { x, y } => {
                let data = TensorData::new(x.concat(), [x.len(), x[0].len()]);
                let x = Tensor::<2>::from_data(data, &device);
                let residual =
                    x.matmul(theta.unsqueeze_dim::<2>(1)).squeeze_dim::<1>(1) - vector(y);
                residual.square().mean()
            }
            Loss::Bowl { a, c } => (vector(a) * (theta - vector(c)).square())
                .sum()
                .mul_scalar(0.5),
            Loss::Waves { s, f, p } => (vector(f) * theta + vector(p)).sin().sum().mul_scalar(*s),
        }
    }

    /// The waves' gradient, in 64 bits.
    pub fn gradient(&self, theta: &[f64]) -> Vec<f64> {
        let Loss::Waves { s, f, p } = self else {
            unreachable!("only the waves' is written down")
        };
        let (s, of) = (f64::from(*s), f.iter().zip(p).zip(theta));
        of.map(|((f, p), theta)| {
            let f = f64::from(*f);
            s * f * (f * theta + f64::from(*p)).cos()
        })
        .collect()
    }
}

pub fn domains(losses: &[Loss]) -> DomainBatches<Loss> {
    DomainBatches::unnamed(losses.iter().cloned()).unwrap()
}

/// Three domains that conflict and are no quadratics.
pub fn waves() -> Vec<Loss> {
    [(1.0, 0.3), (1.7, -0.8), (-0.6, 2.1)]
        .into_iter()
        .enumerate()
        .map(|(i, (s, p))| Loss::Waves {
            s,
            f: vec![1.0 + 0.3 * i as f32, 0.7, -1.2 + 0.2 * i as f32],
            p: vec![p, 0.4 - p, 1.0 + 0.5 * p],
        })
        .collect()
}

/// G at θ.
pub fn gradient_of(config: &Config, theta: &[f32], losses: &[Loss]) -> Vec<f32> {
    gradient_and_report(config, theta, losses).0
}

/// G at θ, and the report of its step.
pub fn gradient_and_report(
    config: &Config,
    theta: &[f32],
    losses: &[Loss],
) -> (Vec<f32>, StepReport) {
    let model = Point::new(theta, &device());
    let (gradients, report) = config
        .init_gradient()
        .unwrap()
        .gradients(&model, &domains(losses), |m, loss: &Loss| loss.at(m))
        .unwrap();
    assert!(!report.is_skipped());
    let gradient = gradients.get::<1>(model.theta.id).unwrap();
    (values(&gradient), report)
}

/// P alone.
pub fn perturbed(evaluation: Evaluation, rho: f64, gamma: f64) -> Config {
    Config::new()
        .with_rho(rho)
        .with_gamma(gamma)
        .with_evaluation(evaluation)
        .with_clean_weight(0.0)
        .with_perturbed_weight(1.0)
}

/// A net with every kind of part that has a rule of its own.
#[derive(Module, Debug)]
pub struct Net {
    pub first: Linear,
    pub norm: BatchNorm,
    pub dropout: Dropout,
    pub second: Linear,
}

impl Net {
    pub fn new(device: &Device) -> Self {
        let mut net = Self {
            first: LinearConfig::new(4, 6).init(device),
            norm: BatchNormConfig::new(6).init(device),
            dropout: DropoutConfig::new(0.0).init(),
            second: LinearConfig::new(6, 3).init(device),
        };
        net.first.weight = fixed([4, 6], 0.1, 0.6, device);
        net.first.bias = Some(fixed([6], 0.2, 0.1, device));
        net.second.weight = fixed([6, 3], 0.3, 0.6, device);
        net.second.bias = Some(fixed([3], 0.4, 0.1, device));
        net
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = tanh(self.norm.forward(self.first.forward(x)));
        self.second.forward(self.dropout.forward(x))
    }

    pub fn loss(&self, batch: &Batch) -> Tensor<1> {
        cross_entropy(self.forward(batch.x.clone()), batch.y.clone())
    }

    /// Everything the net holds: parameters and running statistics, bit for bit.
    pub fn state(&self) -> Vec<u32> {
        let net = self.valid();
        let mut state = Vec::new();
        let mut add = |v: Vec<f32>| state.extend(v.into_iter().map(f32::to_bits));
        add(values(&net.first.weight.val()));
        add(values(&net.first.bias.as_ref().unwrap().val()));
        add(values(&net.norm.gamma.val()));
        add(values(&net.norm.beta.val()));
        add(values(&net.second.weight.val()));
        add(values(&net.second.bias.as_ref().unwrap().val()));
        add(values(&net.norm.running_mean.value()));
        add(values(&net.norm.running_var.value()));
        state
    }
}

/// A mini-batch for [`Net`] and [`Mlp`].
#[derive(Debug, Clone)]
pub struct Batch {
    pub x: Tensor<2>,
    pub y: Tensor<1, Int>,
}

impl Concat for Batch {
    fn rows(&self) -> usize {
        self.x.rows()
    }

    fn concat(batches: &[&Self]) -> Self {
        let x: Vec<_> = batches.iter().map(|batch| &batch.x).collect();
        let y: Vec<_> = batches.iter().map(|batch| &batch.y).collect();
        Self {
            x: Concat::concat(&x),
            y: Concat::concat(&y),
        }
    }
}

pub fn net_loss(net: &Net, batch: &Batch) -> Tensor<1> {
    net.loss(batch)
}

/// The domains' losses of joined batches, out of the logits of all rows.
pub fn joined_losses(logits: Tensor<2>, joined: &JoinedBatch<Batch>) -> Tensor<1> {
    joined.losses(|rows| {
        let logits = logits.clone().slice([rows.clone()]);
        cross_entropy(logits, joined.batch().y.clone().slice([rows]))
    })
}

/// The same step with every mini-batch by itself and with joined passes: the nets and the reports.
pub fn apart_and_joined(config: &Config) -> ([Mlp; 2], [StepReport; 2]) {
    let device = device();
    let domains = uneven(0, &device);
    let [mut one, mut joined] = [(); 2].map(|()| Mlp::new(&device));
    let loss = |model: &Mlp, batch: &Batch| model.loss(batch);
    let mut optim = config.init(momentum()).unwrap();
    let apart = optim.step(0.05, &mut one, &domains, loss).unwrap();
    let loss = |model: &Mlp, batch: &JoinedBatch<Batch>| {
        joined_losses(model.forward(batch.batch().x.clone()), batch)
    };
    let mut optim = config.init(momentum()).unwrap();
    let report = optim.step_joined(0.05, &mut joined, &domains, loss);
    ([one, joined], [apart, report.unwrap()])
}

fn cross_entropy(logits: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&logits.device())
        .forward(logits, y)
}

/// A net whose rows know nothing of each other.
#[derive(Module, Debug)]
pub struct Mlp {
    pub first: Linear,
    pub second: Linear,
}

impl Mlp {
    pub fn new(device: &Device) -> Self {
        let Net { first, second, .. } = Net::new(device);
        Self { first, second }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.second.forward(tanh(self.first.forward(x)))
    }

    pub fn loss(&self, batch: &Batch) -> Tensor<1> {
        cross_entropy(self.forward(batch.x.clone()), batch.y.clone())
    }

    pub fn values(&self) -> Vec<f32> {
        let net = self.valid();
        let mut all = Vec::new();
        for layer in [&net.first, &net.second] {
            all.extend(values(&layer.weight.val()));
            all.extend(values(&layer.bias.as_ref().unwrap().val()));
        }
        all
    }
}

/// Three domains of 5, 3 and 7 rows, other ones in every step.
pub fn uneven(step: usize, device: &Device) -> DomainBatches<Batch> {
    let rows = [5, 3, 7].into_iter().enumerate().map(|(d, n)| {
        let x: Vec<f32> = (0..4 * n)
            .map(|k| (0.9 * step as f32 + 1.1 * d as f32 + 0.53 * (k * (d + 2)) as f32).sin())
            .collect();
        let y: Vec<i32> = (0..n).map(|r| (r * (d + 1) + step) as i32 % 3).collect();
        let batch = Batch {
            x: Tensor::from_data(TensorData::new(x, [n, 4]), device),
            y: Tensor::from_data(TensorData::new(y, [n]), device),
        };
        (["a", "b", "c"][d], batch)
    });
    DomainBatches::new(rows).unwrap()
}

pub fn momentum() -> ModuleOptimizer {
    SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new()))
        .init()
}

/// The state of a base optimizer: every number and tensor by name, bit for bit.
pub fn optimizer_state(optimizer: &ModuleOptimizer) -> Vec<(String, Vec<u8>)> {
    let reader = Reader::from_bytes(optimizer.into_bytes().unwrap()).unwrap();
    let numbers = reader.scalars().iter();
    let mut state: Vec<_> = numbers
        .map(|(name, number)| (name.clone(), format!("{number:?}").into_bytes()))
        .collect();
    for tensor in reader.into_tensors().unwrap() {
        state.push((tensor.name.clone(), tensor.to_bytes().unwrap().to_vec()));
    }
    state.sort();
    state
}

/// Three domains of five rows, other ones in every step.
pub fn batches(step: usize, device: &Device) -> DomainBatches<Batch> {
    DomainBatches::new((0..3).map(|d| {
        let rows: Vec<f32> = (0..20)
            .map(|k| (0.7 * step as f32 + 1.3 * d as f32 + 0.37 * (k * (d + 1)) as f32).sin())
            .collect();
        let labels: Vec<i32> = (0..5).map(|r| (r * (d + 1) + step) as i32 % 3).collect();
        let batch = Batch {
            x: Tensor::from_data(TensorData::new(rows, [5, 4]), device),
            y: Tensor::from_data(TensorData::new(labels, [5]), device),
        };
        (["a", "b", "c"][d], batch)
    }))
    .unwrap()
}

pub fn fixed<const D: usize>(
    shape: [usize; D],
    seed: f32,
    scale: f32,
    device: &Device,
) -> Param<Tensor<D>> {
    let n: usize = shape.iter().product();
    let data = (0..n)
        .map(|i| scale * (seed + 1.7 * i as f32 + 0.3 * (i * i % 20) as f32).sin())
        .collect::<Vec<f32>>();
    let tensor = Tensor::from_data(TensorData::new(data, shape), device).require_grad();
    Param::initialized(ParamId::new(), tensor)
}

pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len());
    let worst = actual
        .iter()
        .zip(expected)
        .map(|(a, e)| (a - e).abs())
        .fold(0.0f32, |worst, d| {
            if d.is_nan() {
                f32::INFINITY
            } else {
                worst.max(d)
            }
        });
    assert!(
        worst <= tolerance,
        "{actual:?} is {worst:e} away from {expected:?}, more than {tolerance:e}"
    );
}
