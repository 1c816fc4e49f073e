//! What the methods cost: time and peak memory of a step of every method, held against empirical risk
//! minimisation in a plain loop without the crate, and the data pipeline by itself.
//!
//! The plain loop goes forward and backward over every domain's mini-batch, adds the gradients up and
//! makes a step. Joined, it has one forward and backward over all pictures.
//!
//!     cargo bench --bench methods
//!     cargo bench --bench methods -- --quick
//!     cargo bench --bench methods -- --nets resnet-18 --domains 4,16 --methods sampled,SAGM
//!
//! It prints tables in Markdown and writes them to the folder of `--output`, with all numbers as JSON
//! and a picture for each net.

mod alternation;
mod comparison;
#[path = "../heap/mod.rs"]
mod heap;
mod method;
mod net;
mod pipeline;
mod plot;
mod table;

use std::{error::Error, fs, path::PathBuf};

use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use roga::{Result, detector::backbone::BackboneConfig};

use self::{
    alternation::Clock,
    comparison::{Row, Setting, Split, compare, split},
    method::Method,
    net::Mlp,
    pipeline::stages,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every method, net and number of domains.
    Methods,
    /// The same pictures in few domains and in many.
    Split,
    /// Decoding, forging, augmenting.
    Pipeline,
}

/// Times and peak memory of the methods, and the speed of the data pipeline.
#[derive(Parser, Debug)]
struct Arguments {
    /// Small nets, few runs: a minute or two.
    #[arg(long)]
    quick: bool,
    /// What is measured.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "methods,split,pipeline"
    )]
    parts: Vec<Part>,
    /// `mlp`, or a backbone's name.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "mlp,resnet-18,efficientnet-b0"
    )]
    nets: Vec<String>,
    /// Methods whose name holds one of these; all where there is none.
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
    /// Numbers of domains.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16")]
    domains: Vec<usize>,
    /// Pictures in a step, of all domains together.
    #[arg(long, default_value_t = 32)]
    pictures: usize,
    /// The side of a picture in pixels.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Pairs of runs, the plain loop's and the method's in turn; rounds of the pipeline.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// What a run's time is.
    #[arg(long, value_enum, default_value_t = Clock::Wall)]
    clock: Clock,
    /// Faces that the pipeline works on.
    #[arg(long, default_value_t = 64)]
    faces: usize,
    /// Real faces with landmarks; drawn ones where there is no such folder.
    #[arg(long, default_value = "../shared/data/faces256")]
    folder: PathBuf,
    /// Where tables and pictures are written.
    #[arg(long, default_value = "target/benches/methods")]
    output: PathBuf,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = Self::parse();
        if arguments.quick {
            arguments.nets = vec!["mlp".into(), "small".into()];
            arguments.domains = vec![4];
            arguments.pictures = 16;
            arguments.size = 32;
            arguments.pairs = 3;
            arguments.faces = 8;
        }
        arguments
    }

    fn methods(&self) -> Vec<Method> {
        let wanted = |method: &Method| {
            let mut parts = self.methods.iter();
            self.methods.is_empty() || parts.any(|part| method.name.contains(part))
        };
        Method::all().into_iter().filter(wanted).collect()
    }

    /// The methods of one net, for every number of domains.
    fn compare(&self, net: &str, device: &Device) -> Result<Vec<Row>> {
        let methods = self.methods();
        let mut rows = Vec::new();
        for &domains in &self.domains {
            let setting = Setting {
                net,
                input: self.input(net),
                domains,
                pictures: (self.pictures / domains).max(1),
                pairs: self.pairs,
                clock: self.clock,
            };
            rows.extend(match backbone(net)? {
                None => compare(setting, &methods, device, |device| Ok(Mlp::new(device))),
                Some(net) => compare(setting, &methods, device, |device| net.init(2, device)),
            }?);
        }
        Ok(rows)
    }

    /// Twice the pictures, in four domains and in sixteen.
    fn split(&self, net: &str, device: &Device) -> Result<Vec<Split>> {
        const METHODS: [&str; 6] = [
            "plain loop, joined",
            "ERM",
            "ERM, joined",
            "SAGM, joined",
            "RoGA, sampled",
            "RoGA, consensus",
        ];
        let mut methods = self.methods();
        methods.retain(|method| METHODS.contains(&method.name));
        let setting = Setting {
            net,
            input: self.input(net),
            domains: 4,
            pictures: (self.pictures / 2).max(4),
            pairs: self.pairs,
            clock: self.clock,
        };
        match backbone(net)? {
            None => split(setting, &methods, device, |device| Ok(Mlp::new(device))),
            Some(net) => split(setting, &methods, device, |device| net.init(2, device)),
        }
    }

    fn input(&self, net: &str) -> [usize; 3] {
        match net {
            "mlp" => Mlp::INPUT,
            _ => [3, self.size, self.size],
        }
    }
}

/// `None` for the MLP.
fn backbone(net: &str) -> Result<Option<BackboneConfig>> {
    match net {
        "mlp" => Ok(None),
        _ => net.parse().map(Some),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read();
    heap::settle();
    let device = Device::flex().autodiff();
    let (mut rows, mut splits, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for net in &arguments.nets {
        if arguments.parts.contains(&Part::Methods) {
            rows.extend(arguments.compare(net, &device)?);
        }
        if arguments.parts.contains(&Part::Split) {
            splits.extend(arguments.split(net, &device)?);
        }
    }
    if arguments.parts.contains(&Part::Pipeline) {
        let folder = arguments.folder.is_dir().then_some(&*arguments.folder);
        data = stages(folder, arguments.faces, arguments.pairs)?;
    }
    let mut text = table::methods(&rows) + &table::splits(&splits);
    if !data.is_empty() {
        text += &table::stages(&data);
    }
    println!("{text}");
    let folder = &arguments.output;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("methods.md"), &text)?;
    let numbers = serde_json::json!({ "methods": rows, "splits": splits, "pipeline": data });
    fs::write(
        folder.join("methods.json"),
        serde_json::to_string_pretty(&numbers)?,
    )?;
    let drawn = arguments.nets.iter();
    for net in drawn.filter(|net| rows.iter().any(|row| &row.net == *net)) {
        plot::draw(&folder.join(format!("{net}.svg")), net, &rows)?;
    }
    println!("Written to {}.", folder.display());
    Ok(())
}
