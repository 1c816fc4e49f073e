//! What can be set from the command line.

use std::{error::Error, path::PathBuf};

use burn::tensor::Device;
use clap::Parser;
use roga::detector::forgery::Forgery;
use serde::Serialize;
use serde_json::Value;

use crate::method::{Method, Methods};

/// Deepfake detection on a forgery never seen: ERM, SAM and robust gradient alignment compared.
///
/// The default draws its own portraits and needs no other file. A domain is a forgery: its fakes
/// and the real pictures they were made from.
#[derive(Parser, Debug)]
#[command(version)]
pub struct Args {
    /// A folder of real faces, `<set>/frames/<id>/*.png` with `<set>/landmarks/<id>/*.npy`, in
    /// the place of drawn portraits
    #[arg(long, value_name = "DIR")]
    faces: Option<PathBuf>,
    /// The forgeries, each a domain: at least three
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "face-swap,self-blending,mouth,generator"
    )]
    forgeries: Vec<Forgery>,
    /// The forgery to leave out of training, or `all` for each in its turn; by default the first
    #[arg(long, value_name = "FORGERY|all")]
    leave_out: Option<String>,
    /// The methods, or `all`: erm, sam, asam, sagm, domain-sam, look-ahead, roga-all, roga-own,
    /// roga-others, roga-sampled, roga-consensus
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "erm,sam,roga-all,roga-sampled"
    )]
    methods: Vec<Methods>,
    /// The seeds: each draws its own split of the people, forgeries, first weights and batches
    #[arg(long, value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
    /// Pixels of a side of the nets' pictures
    #[arg(long, default_value_t = 64)]
    size: u32,
    /// Steps of every training
    #[arg(long)]
    steps: Option<usize>,
    /// Pictures of a domain in a step, half of them real
    #[arg(long, default_value_t = 12)]
    batch: usize,
    /// Drawn people
    #[arg(long)]
    people: Option<usize>,
    /// Drawn pictures of each person
    #[arg(long, default_value_t = 2)]
    shots: usize,
    /// Samples of each class made from each picture of a face
    #[arg(long)]
    copies: Option<usize>,
    /// How plain the marks of a forgery are, from 0 to 1
    #[arg(long, default_value_t = 0.7)]
    strength: f32,
    /// The radius ρ of the ascents
    #[arg(long, default_value_t = 0.05, allow_negative_numbers = true)]
    rho: f64,
    /// The shift γ along the mean gradient
    #[arg(long, default_value_t = 5e-4, allow_negative_numbers = true)]
    gamma: f64,
    /// The learning rate that a half cosine begins with
    #[arg(long, default_value_t = 2e-3, allow_negative_numbers = true)]
    lr: f64,
    /// The device: flex (the CPU), or wgpu, vulkan, metal, cuda, rocm where the feature of that
    /// name was built in
    #[arg(long, default_value = "flex")]
    device: String,
    /// Threads that make pictures and batches; the results do not depend on it
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where the results are written. What the same command has left there, it goes on with
    #[arg(long, default_value = "deepfake-results")]
    pub output: PathBuf,
    /// Begin anew, whatever is in the output folder
    #[arg(long)]
    pub restart: bool,
    /// Train on each forgery alone, with ERM, and test on it: whether it can be learned at all
    #[arg(long)]
    alone: bool,
    /// A short run that shows that everything works, and nothing else
    #[arg(long)]
    quick: bool,
}

/// Everything that a result depends on.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    pub version: &'static str,
    pub faces: Option<PathBuf>,
    pub forgeries: Vec<Forgery>,
    pub leave_out: String,
    pub methods: Vec<Method>,
    pub seeds: Vec<u64>,
    pub size: u32,
    pub steps: usize,
    pub batch: usize,
    pub people: usize,
    pub shots: usize,
    pub copies: usize,
    pub strength: f32,
    /// The shares of the people to train on and to test on.
    pub shares: [f64; 2],
    pub rho: f64,
    pub gamma: f64,
    pub lr: f64,
    pub selection: &'static str,
    pub device: String,
    pub threads: usize,
    pub alone: bool,
    pub quick: bool,
}

impl Settings {
    pub fn new(args: &Args) -> Result<Self, Box<dyn Error>> {
        let quick = |full: usize, quick: usize| if args.quick { quick } else { full };
        // A folder holds few pictures of many people: more samples are made of each.
        let copies = if args.faces.is_some() { 8 } else { 2 };
        let first = || {
            let first = args.forgeries.first();
            first.map_or_else(String::new, |forgery| forgery.to_string())
        };
        let settings = Self {
            version: env!("CARGO_PKG_VERSION"),
            faces: args.faces.clone(),
            forgeries: args.forgeries.clone(),
            leave_out: args.leave_out.clone().unwrap_or_else(first),
            methods: methods(&args.methods),
            seeds: args.seeds.clone(),
            size: args.size,
            steps: args.steps.unwrap_or(quick(350, 24)),
            batch: args.batch,
            people: args.people.unwrap_or(quick(400, 60)),
            shots: args.shots,
            copies: args.copies.unwrap_or(quick(copies, 1)),
            strength: args.strength,
            shares: [0.6, 0.4],
            rho: args.rho,
            gamma: args.gamma,
            lr: args.lr,
            selection: "last step",
            device: args.device.clone(),
            threads: args.threads,
            alone: args.alone,
            quick: args.quick,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Box<dyn Error>> {
        let known = |name: &str| self.forgeries.iter().any(|forgery| forgery.name() == name);
        if self.leave_out != "all" && !known(&self.leave_out) {
            return Err(format!(
                "--leave-out must be `all` or one of --forgeries, but is `{}`",
                self.leave_out
            )
            .into());
        }
        for (flag, rule, holds, value) in [
            (
                "--forgeries",
                "be at least three",
                self.forgeries.len() >= 3,
                self.forgeries.len(),
            ),
            ("--methods", "be at least one", !self.methods.is_empty(), 0),
            ("--seeds", "be at least one", !self.seeds.is_empty(), 0),
            ("--steps", "be at least 1", self.steps > 0, self.steps),
            ("--batch", "be at least 2", self.batch >= 2, self.batch),
        ] {
            if !holds {
                return Err(format!("{flag} must {rule}, but is {value}").into());
            }
        }
        if !(self.lr.is_finite() && self.lr > 0.0 && self.lr <= 1.0) {
            return Err(format!("--lr must be above 0 and at most 1, but is {}", self.lr).into());
        }
        for (place, forgery) in self.forgeries.iter().enumerate() {
            if self.forgeries[..place].contains(forgery) {
                return Err(
                    format!("--forgeries must differ, but `{forgery}` stands twice").into(),
                );
            }
        }
        for method in &self.methods {
            method.config(self, 0).init_gradient()?;
        }
        Ok(())
    }

    /// What every training depends on: what may be added to or taken away without a training that
    /// is there already being another one is left out.
    pub fn decisive(&self) -> serde_json::Result<Value> {
        let mut settings = serde_json::to_value(self)?;
        if let Some(settings) = settings.as_object_mut() {
            for free in ["methods", "seeds", "leave_out", "threads"] {
                settings.remove(free);
            }
        }
        Ok(settings)
    }

    /// Whether this forgery is to be left out in its turn.
    pub fn leaves_out(&self, forgery: &str) -> bool {
        self.leave_out == "all" || self.leave_out == forgery
    }

    /// How many forgeries are left out, one after the other.
    pub fn turns(&self) -> usize {
        match self.leave_out.as_str() {
            "all" => self.forgeries.len(),
            _ => 1,
        }
    }
}

/// Each once, in their order.
fn methods(chosen: &[Methods]) -> Vec<Method> {
    let mut methods = Vec::new();
    for method in chosen.iter().flat_map(|methods| methods.0.iter()) {
        if !methods.contains(method) {
            methods.push(*method);
        }
    }
    methods
}

/// The device of this name, where its feature was built in.
pub fn device(name: &str) -> Result<Device, Box<dyn Error>> {
    match name {
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu_options()
            .init()
            .map_err(|e| format!("wgpu: {e:?}"))?),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(Default::default())),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(Default::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(Default::default())),
        #[cfg(feature = "rocm")]
        "rocm" => Ok(Device::rocm(Default::default())),
        "wgpu" | "vulkan" | "metal" | "cuda" | "rocm" => Err(format!(
            "--device {name} was not built in: run cargo with `--features {name}`"
        )
        .into()),
        _ => Err(format!(
            "--device must be flex, wgpu, vulkan, metal, cuda or rocm, but is `{name}`"
        )
        .into()),
    }
}
