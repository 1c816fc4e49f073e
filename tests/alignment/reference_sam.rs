//! Ten-step trajectories of other implementations of SAM, adaptive SAM, SAGM, GSAM, Friendly-SAM and
//! LookSAM: pytorch_optimizer 4.1.0, and the repositories of the papers.
//!
//! All rows of a step are one batch there. Weights are `[out, in]`.

use burn::{
    module::Module,
    nn::{Linear, loss::CrossEntropyLossConfig},
    optim::{
        AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig,
        decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    tensor::{
        Device, Tensor,
        activation::{log_softmax, tanh},
    },
};
use roga::{
    domain::{DomainBatches, JoinedBatch},
    gradient,
    optim::RobustGradientAlignmentConfig as Config,
    perturbation::{Adaptive, Displacement, ascent_scale, displaced},
};

use crate::{
    problems::{assert_close, device, values},
    reference::{Reference, Rows},
};

const TOLERANCE: f32 = 1e-5;

fn base(name: &str) -> (f64, ModuleOptimizer) {
    let decay = Some(WeightDecayConfig::new(5e-4));
    match name {
        "sgd" => (0.1, SgdConfig::new().init()),
        "sgdm" => {
            let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
            let config = SgdConfig::new().with_momentum(Some(momentum));
            (0.1, config.with_weight_decay(decay).init())
        }
        "adam" => {
            let config = AdamConfig::new().with_epsilon(1e-8);
            (1e-2, config.with_weight_decay(decay).init())
        }
        "adamw" => {
            let config = AdamWConfig::new().with_epsilon(1e-8);
            (1e-2, config.with_weight_decay(1e-2).init())
        }
        _ => panic!("no base optimizer is called {name}"),
    }
}

#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(reference: &Reference, device: &Device) -> Self {
        let layer = |layer: usize| {
            reference.linear(&format!("init/w{layer}"), &format!("init/b{layer}"), device)
        };
        Self {
            layers: (1..=3).map(layer).collect(),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (last, others) = self.layers.split_last().unwrap();
        let hidden = others.iter().fold(x, |x, layer| tanh(layer.forward(x)));
        last.forward(hidden)
    }

    fn loss(&self, (x, y): &Rows) -> Tensor<1> {
        CrossEntropyLossConfig::new()
            .init(&x.device())
            .forward(self.forward(x.clone()), y.clone())
    }

    #[track_caller]
    fn check(&self, reference: &Reference, path: &str) {
        for (place, layer) in self.valid().layers.iter().enumerate() {
            let weight = values(&layer.weight.val().transpose());
            let bias = values(&layer.bias.as_ref().unwrap().val());
            for (name, values) in [("w", weight), ("b", bias)] {
                let (expected, _) = reference.floats(&format!("{path}/{name}{}", place + 1));
                assert_close(&values, expected, TOLERANCE);
            }
        }
    }
}

/// All rows as one domain, every domain by itself, and joined passes.
fn follow(file: &str, runs: &[(&str, &[&str], Config)]) {
    let device = device();
    let reference = Reference::open(file);
    for (run, bases, config) in runs {
        for name in *bases {
            let path = format!("{name}/{run}");
            let (losses, _) = reference.floats(&format!("{path}/loss"));
            let (lr, optimizer) = base(name);
            let mut optims = [(); 3].map(|()| config.init(optimizer.clone()).unwrap());
            let mut nets = [(); 3].map(|()| Mlp::new(&reference, &device));
            for (step, rows) in reference.batches(&device).into_iter().enumerate() {
                let whole = |column: fn(&Rows) -> Tensor<2>| {
                    Tensor::cat(rows.iter().map(column).collect(), 0)
                };
                let labels = Tensor::cat(rows.iter().map(|(_, y)| y.clone()).collect(), 0);
                let one = DomainBatches::unnamed([(whole(|(x, _)| x.clone()), labels)]).unwrap();
                let domains = DomainBatches::unnamed(rows).unwrap();
                let [a, b, c] = &mut nets;
                let [of_a, of_b, of_c] = &mut optims;
                let joined = |net: &Mlp, joined: &JoinedBatch<Rows>| {
                    let (x, y) = joined.batch();
                    let of_label = log_softmax(net.forward(x.clone()), 1)
                        .gather(1, y.clone().unsqueeze_dim(1));
                    joined.means(of_label.squeeze_dim::<1>(1).neg())
                };
                let reports = [
                    of_a.step(lr, a, &one, Mlp::loss),
                    of_b.step(lr, b, &domains, Mlp::loss),
                    of_c.step_joined(lr, c, &domains, joined),
                ];
                for (report, net) in reports.into_iter().zip(&nets) {
                    let loss = report.unwrap().mean_loss() as f32;
                    assert_close(&[loss], &losses[step..=step], TOLERANCE);
                    net.check(&reference, &format!("{path}/step{step}"));
                }
            }
        }
    }
}

#[test]
fn pytorch_optimizer() {
    let all: &[&str] = &["sgd", "sgdm", "adam", "adamw"];
    follow(
        "reference_sam_f32",
        &[
            ("erm", all, Config::erm()),
            ("sam_rho0.05", all, Config::sam(0.05)),
            ("sam_rho0.5", &["sgd"], Config::sam(0.5)),
            // Its "adaptive" scales every parameter, without η.
            (
                "asam_rho0.5",
                all,
                Config::sam(0.5).with_adaptive(Adaptive::All),
            ),
            (
                "gsam_a0.4",
                &["sgd", "sgdm", "adamw"],
                Config::gsam(0.1, 0.4),
            ),
            (
                "gsam_adaptive",
                &["sgd"],
                Config::gsam(0.5, 0.4).with_adaptive(Adaptive::All),
            ),
            ("fsam", all, Config::friendly_sam(0.1, 1.0, 0.9)),
        ],
    );
}

/// Its LookSAM takes norms by tensor. The values are of a net with one tensor, where that is the
/// norm of all parameters, and of the formulas: `tests/reference/look_sam.py`.
#[test]
fn look_sam_by_the_norm_of_all_parameters() {
    let all: &[&str] = &["sgd", "sgdm", "adam", "adamw"];
    follow(
        "reference_look_sam_f32",
        &[
            ("looksam_k3", all, Config::look_sam(0.1, 3, 0.7)),
            ("looksam_k2_rho0.5", all, Config::look_sam(0.5, 2, 0.3)),
            (
                "looksam_k4_adaptive",
                all,
                Config::look_sam(0.5, 4, 0.7).with_adaptive(Adaptive::All),
            ),
        ],
    );
}

#[test]
fn the_repositories_of_the_papers() {
    let bases: &[&str] = &["sgd", "sgdm", "adamw"];
    follow(
        "reference_sagm_asam_f32",
        &[
            ("sam_davda54_rho0.05", bases, Config::sam(0.05)),
            (
                "asam_davda54_rho0.5",
                bases,
                Config::sam(0.5).with_adaptive(Adaptive::All),
            ),
            ("asam_orig_rho0.5_eta0.01", bases, Config::asam(0.5)),
            ("sagm_a0.001_rho0.05", bases, Config::sagm(0.05, 0.001)),
            ("sagm_a0.05_rho0.05", bases, Config::sagm(0.05, 0.05)),
        ],
    );
}

/// SAM with centralised ascents (Yong et al., ECCV 2020), a setting of pytorch_optimizer: a
/// combination of the crate's parts.
#[test]
fn centralised_ascents() {
    let device = device();
    let reference = Reference::open("reference_sam_f32");
    let (lr, mut optimizer) = base("sgd");
    let mut net = Mlp::new(&reference, &device);
    for (step, rows) in reference.batches(&device).into_iter().enumerate() {
        let domains = DomainBatches::unnamed(rows).unwrap();
        let gradient_at = |net: &Mlp| {
            let erm = Config::erm().init_gradient().unwrap();
            erm.gradients(net, &domains, Mlp::loss).unwrap().0
        };
        let mut gradient = gradient_at(&net);
        let norm = gradient::squared_norm(&net, &gradient).unwrap().sqrt();
        for layer in &net.layers {
            let of_weight = gradient.remove::<2>(layer.weight.id).unwrap();
            let centred = of_weight.clone() - of_weight.mean_dim(0);
            gradient.register(layer.weight.id, centred);
        }
        let ascent = Displacement::new(ascent_scale(norm, 0.05), &gradient);
        let perturbed: GradientsParams = gradient_at(&displaced(&net, &[ascent]));
        net = optimizer.step(lr, net, perturbed);
        net.check(&reference, &format!("sgd/sam_gc/step{step}"));
    }
}
