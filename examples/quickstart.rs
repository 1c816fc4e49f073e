//! Two domains conflict: a cue tells the class in both, a shortcut runs with the class in one and
//! mostly against it in the other. The same net is trained by ERM and by RoGA, and tried on a
//! domain never seen: `cargo run --release --example quickstart -- [picture.svg] [seed]`.
use burn::nn::{Linear, LinearConfig};
use burn::optim::AdamConfig;
use burn::prelude::{Device, Module, Tensor};
use burn::tensor::Distribution;
use burn::tensor::activation::{relu, softplus};
use roga::{domain::DomainBatches, optim::RobustGradientAlignmentConfig};

#[path = "quickstart/report.rs"]
mod report;

/// Points of the plane and their classes, -1 or 1.
type Points = (Tensor<2>, Tensor<2>);

#[derive(Module, Debug)]
struct Net {
    layers: [Linear; 3],
}

impl Net {
    fn new(device: &Device) -> Self {
        let layer = |(input, output)| LinearConfig::new(input, output).init(device);
        Self {
            layers: [(2, 32), (32, 32), (32, 1)].map(layer),
        }
    }

    fn forward(&self, points: Tensor<2>) -> Tensor<2> {
        let [first, second, last] = &self.layers;
        last.forward(relu(second.forward(relu(first.forward(points)))))
    }

    fn loss(&self, (points, class): &Points) -> Tensor<1> {
        softplus(-class.clone() * self.forward(points.clone()), 1.0).mean()
    }
}

/// Points whose second coordinate, the shortcut, runs with the class at a given rate.
fn draw(count: usize, rate: f64, device: &Device) -> Points {
    let sign = |rate| Tensor::random([count, 1], Distribution::Bernoulli(rate), device) * 2 - 1;
    let noise = |size| Tensor::random([count, 1], Distribution::Normal(0.0, size), device);
    let class: Tensor<2> = sign(0.5);
    let (cue, shortcut) = (class.clone(), class.clone() * sign(rate) * 2);
    let points = Tensor::cat(vec![cue + noise(1.0), shortcut + noise(0.5)], 1);
    (points, class)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or("quickstart.svg".into());
    let seed = args.next().map_or(Ok(2), |seed| seed.parse())?;
    let device = Device::default();
    device.seed(seed);
    // How often the shortcut runs with the class. Only the first two are trained on.
    let rates = [("first", 0.975), ("second", 0.35), ("unseen", 0.025)];
    let points = rates.map(|(name, rate)| (name, draw(300, rate, &device)));
    let tests = rates.map(|(name, rate)| (name, draw(5000, rate, &device)));
    let domains = DomainBatches::new(points[..2].to_vec())?;

    let erm = RobustGradientAlignmentConfig::erm(); // as without a wrapper
    let roga = RobustGradientAlignmentConfig::new().with_rho(4.0);
    let mut trained = Vec::new();
    for (name, method) in [("ERM", erm), ("RoGA", roga)] {
        device.seed(seed); // the same weights at the start
        let mut net = Net::new(&device.clone().autodiff());
        let mut optim = method.init(AdamConfig::new().init())?; // any of burn's optimizers, wrapped
        for _ in 0..400 {
            optim.step(0.01, &mut net, &domains, Net::loss)?; // given every domain and the loss
        }
        trained.push((name, net.valid()));
    }
    report::print(&trained, &tests);
    report::draw(&path, &trained, &points, &tests[2].1)?;
    println!("{path}");
    Ok(())
}
