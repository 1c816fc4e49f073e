//! Ten-step trajectories of a PyTorch transcription of the method: every evaluation, SAM, SAGM,
//! SAM by domain and look-ahead, on four base optimizers, with and without batch normalisation.
//!
//! The file was written by PyTorch 2.15 in 32 bits. Weights there are `[out, in]`.

use crate::{
    problems::{assert_close, device, values},
    reference::Reference,
};
use burn::{
    module::{Module, Param, ParamId},
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{
        AdamConfig, AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig,
        momentum::MomentumConfig,
    },
    tensor::{Device, Int, Tensor, TensorData, activation::tanh},
};
use roga::{
    domain::DomainBatches,
    optim::{Evaluation, RobustGradientAlignmentConfig as Config},
    perturbation::Adaptive,
};

const STEPS: usize = 10;
const DOMAINS: usize = 3;
const ROWS: usize = 6;
const TOLERANCE: f32 = 1e-5;
const RHO: f64 = 0.1;
const GAMMA: f64 = 0.05;

fn runs() -> Vec<(&'static str, Config)> {
    let roga = |evaluation| {
        Config::new()
            .with_rho(RHO)
            .with_gamma(GAMMA)
            .with_evaluation(evaluation)
    };
    vec![
        ("erm", Config::erm()),
        ("roga_all", roga(Evaluation::All)),
        ("roga_own", roga(Evaluation::Own)),
        ("roga_others", roga(Evaluation::Others)),
        ("roga_consensus", roga(Evaluation::Consensus)),
        (
            "roga_all_sum",
            roga(Evaluation::All)
                .with_clean_weight(1.0)
                .with_perturbed_weight(1.0),
        ),
        (
            "roga_all_adaptive",
            roga(Evaluation::All)
                .with_rho(5.0 * RHO)
                .with_adaptive(Adaptive::All),
        ),
        (
            "roga_all_adaptive_weights",
            roga(Evaluation::All)
                .with_rho(5.0 * RHO)
                .with_adaptive(Adaptive::ASAM),
        ),
        ("sagm", Config::sagm(RHO, GAMMA)),
        ("sam", Config::sam(RHO)),
        ("domain_sam", Config::domain_sam(RHO)),
        ("lookahead", Config::look_ahead(GAMMA)),
    ]
}

fn bases() -> Vec<(&'static str, f64, ModuleOptimizer)> {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let sgdm = SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(Some(WeightDecayConfig::new(5e-4)));
    vec![
        ("sgd", 0.1, SgdConfig::new().init()),
        ("sgdm", 0.1, sgdm.init()),
        ("adam", 1e-2, AdamConfig::new().with_epsilon(1e-8).init()),
        (
            "adamw",
            1e-2,
            AdamWConfig::new()
                .with_epsilon(1e-8)
                .with_weight_decay(1e-2)
                .init(),
        ),
    ]
}

/// The two nets of the reference.
#[derive(Module, Debug)]
pub struct ReferenceNet {
    pub layers: Vec<Linear>,
    norm: Option<BatchNorm>,
}

impl ReferenceNet {
    pub fn forward(&self, mut x: Tensor<2>) -> Tensor<2> {
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if let (Some(norm), 0) = (&self.norm, i) {
                x = norm.forward(x);
            }
            if i + 1 < self.layers.len() {
                x = tanh(x);
            }
        }
        x
    }

    /// The parameters under PyTorch's names and in its layout.
    pub fn parameters(&self) -> Vec<(String, Vec<f32>)> {
        let net = self.valid();
        let position = |i: usize| match (&net.norm, i) {
            (Some(_), 1) => 3,
            _ => 2 * i,
        };
        let mut parameters = Vec::new();
        for (i, layer) in net.layers.iter().enumerate() {
            let weight = layer.weight.val().transpose();
            parameters.push((format!("{}.weight", position(i)), values(&weight)));
            if let Some(bias) = &layer.bias {
                parameters.push((format!("{}.bias", position(i)), values(&bias.val())));
            }
        }
        if let Some(norm) = &net.norm {
            parameters.push(("1.weight".into(), values(&norm.gamma.val())));
            parameters.push(("1.bias".into(), values(&norm.beta.val())));
            let running_mean = norm.running_mean.value();
            parameters.push(("1.running_mean".into(), values(&running_mean)));
        }
        parameters
    }
}

pub fn net(reference: &Reference, model: &str, device: &Device) -> ReferenceNet {
    let leaf = |tensor: Tensor<2>| Param::initialized(ParamId::new(), tensor.require_grad());
    let vector = |name: &str| {
        let tensor = reference.tensor::<1>(&format!("init/{model}/{name}"), device);
        Param::initialized(ParamId::new(), tensor.require_grad())
    };
    let linear = |position: usize, bias: bool| {
        let weight = reference.tensor::<2>(&format!("init/{model}/{position}.weight"), device);
        let [outputs, inputs] = weight.dims();
        let mut linear = LinearConfig::new(inputs, outputs)
            .with_bias(bias)
            .init(device);
        linear.weight = leaf(weight.transpose());
        linear.bias = bias.then(|| vector(&format!("{position}.bias")));
        linear
    };
    if model == "mlp" {
        return ReferenceNet {
            layers: vec![linear(0, true), linear(2, true), linear(4, true)],
            norm: None,
        };
    }
    let mut norm = BatchNormConfig::new(6).init(device);
    norm.gamma = vector("1.weight");
    norm.beta = vector("1.bias");
    ReferenceNet {
        layers: vec![linear(0, false), linear(3, true)],
        norm: Some(norm),
    }
}

pub fn batches(
    reference: &Reference,
    device: &Device,
) -> Vec<DomainBatches<(Tensor<2>, Tensor<1, Int>)>> {
    let (x, shape) = reference.floats("batch/x");
    assert_eq!(shape[..3], [STEPS, DOMAINS, ROWS]);
    let y = reference.integers("batch/y");
    let mut domains = x.chunks(ROWS * shape[3]).zip(y.chunks(ROWS)).map(|(x, y)| {
        let x = TensorData::new(x.to_vec(), [ROWS, shape[3]]);
        let y = TensorData::new(y.to_vec(), [ROWS]);
        (Tensor::from_data(x, device), Tensor::from_data(y, device))
    });
    (0..STEPS)
        .map(|_| DomainBatches::unnamed(domains.by_ref().take(DOMAINS)).unwrap())
        .collect()
}

pub fn loss_of(net: &ReferenceNet, (x, y): &(Tensor<2>, Tensor<1, Int>)) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&x.device())
        .forward(net.forward(x.clone()), y.clone())
}

fn follow(model: &str) -> usize {
    let device = device();
    let reference = Reference::open("reference_roga_f32");
    let batches = batches(&reference, &device);
    let mut compared = 0;
    for (run, config) in runs() {
        if !reference.holds(&format!("{model}/sgd/{run}/loss")) {
            continue;
        }
        for (base, lr, optimizer) in bases() {
            let path = format!("{model}/{base}/{run}");
            let (losses, _) = reference.floats(&format!("{path}/loss"));
            let mut net = net(&reference, model, &device);
            let mut optim = config.init(optimizer).unwrap();
            for (step, domains) in batches.iter().enumerate() {
                let report = optim.step(lr, &mut net, domains, loss_of).unwrap();
                let seen: Vec<f32> = report.domains.iter().map(|d| d.loss as f32).collect();
                assert_close(&seen, &losses[step * DOMAINS..][..DOMAINS], TOLERANCE);
                for (name, values) in net.parameters() {
                    let (expected, _) = reference.floats(&format!("{path}/step{step}/{name}"));
                    assert_close(&values, expected, TOLERANCE);
                    compared += 1;
                }
            }
        }
    }
    compared
}

#[test]
fn multilayer_perceptron() {
    assert_eq!(follow("mlp"), 12 * 4 * STEPS * 6);
}

#[test]
fn batch_normalisation() {
    // Without the adaptive runs.
    assert_eq!(follow("bn"), 10 * 4 * STEPS * 6);
}
