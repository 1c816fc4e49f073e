//! Everything that a result depends on: defaults, a configuration file, and flags over both.

use std::{
    error::Error,
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use roga::{
    detector::{
        backbone::BackboneConfig, data::Compression, encode::EncodeConfig, forgery::Forgery,
    },
    optim::Evaluation,
};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::{
    augment::{Augment, augmentation},
    limited::read_text,
    method::{Method, Methods},
    search::{Searched, Setting},
};

/// Declares every setting once: a flag, a key of the configuration file, and its default.
macro_rules! settings {
    (
        $($(#[doc = $doc:literal])+ $(#[arg($($arg:tt)+)])? $name:ident: $type:ty = $default:expr;)+
        optional:
        $($(#[doc = $odoc:literal])+ $(#[arg($($oarg:tt)+)])? $oname:ident: $otype:ty;)+
    ) => {
        /// What the command line sets.
        #[derive(clap::Args, Debug, Default)]
        pub struct Flags {
            /// A TOML file of settings by the names of their flags. Flags go over it
            #[arg(long, value_name = "FILE")]
            pub config: Option<PathBuf>,
            $(
                $(#[doc = $doc])+
                #[arg(long $(, $($arg)+)?)]
                $name: Option<$type>,
            )+
            $(
                $(#[doc = $odoc])+
                #[arg(long $(, $($oarg)+)?)]
                $oname: Option<$otype>,
            )+
        }

        impl Flags {
            /// Those that are given, by their names.
            fn given(&self) -> Result<Table, Box<dyn Error>> {
                let mut given = Table::new();
                $(give(&mut given, stringify!($name), &self.$name)?;)+
                $(give(&mut given, stringify!($oname), &self.$oname)?;)+
                Ok(given)
            }
        }

        /// The settings in force.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $name: $type,)+
            $(
                $(#[doc = $odoc])+
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $oname: Option<$otype>,
            )+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)+ $($oname: None,)+ }
            }
        }
    };
}

/// What TOML cannot hold, such as a whole number of 64 bits, is refused by the flag's name.
fn give<T: Serialize>(
    given: &mut Table,
    field: &str,
    value: &Option<T>,
) -> Result<(), Box<dyn Error>> {
    let name = field.replace('_', "-");
    if let Some(value) = value {
        let value = toml::Value::try_from(value).map_err(|error| format!("--{name}: {error}"))?;
        given.insert(name, value);
    }
    Ok(())
}

settings! {
    /// Sets of real and forged pictures in the place of faces to forge, comma-separated: a dataset
    /// JSON of DeepfakeBench, a CSV or JSON-lines manifest, or a folder
    /// `<domain>/<real|fake>/[<video>/]<picture>`
    #[arg(value_name = "PATH", value_delimiter = ',')]
    data: Vec<PathBuf> = Vec::new();
    /// The compression level of sets that have several: raw, c23, c40
    compression: Compression = Compression::C23;
    /// At most so many frames of a video, evenly spread
    frames: usize = 32;
    /// What is done about pictures that cannot be used: refuse, naming all of them, or skip
    on_problem: OnProblem = OnProblem::Refuse;
    /// The forgeries of faces, each a domain
    #[arg(value_delimiter = ',')]
    forgeries: Vec<Forgery> = vec![
        Forgery::FaceSwap,
        Forgery::SelfBlending,
        Forgery::Mouth,
        Forgery::Generator,
    ];
    /// JPEG qualities, each of which makes a domain of its own of every forgery; without any, one
    /// domain a forgery
    #[arg(value_delimiter = ',')]
    levels: Vec<u8> = Vec::new();
    /// leave-one-out, cross (train on all domains, test on --test-faces or --test-data), or within
    /// (train and test on the same domain)
    protocol: ProtocolName = ProtocolName::LeaveOneOut;
    /// The domains to leave out of training, one after the other, or `all`; by default the first
    #[arg(value_name = "DOMAIN", value_delimiter = ',')]
    leave_out: Vec<String> = Vec::new();
    /// Other sets to test on, as --data
    #[arg(value_name = "PATH", value_delimiter = ',')]
    test_data: Vec<PathBuf> = Vec::new();
    /// How a checkpoint and a draw of settings are chosen: last, training-domain, held-out-domain,
    /// or oracle, which looks at the test domain and says so over its table
    selection: SelectionName = SelectionName::Last;
    /// The share of the people to test on
    test_share: f64 = 0.4;
    /// The methods, or `all`: erm, sam, asam, sagm, domain-sam, look-ahead, roga-all, roga-own,
    /// roga-others, roga-sampled, roga-consensus
    #[arg(value_delimiter = ',')]
    methods: Vec<Methods> = vec![
        Methods::One(Method::Erm),
        Methods::One(Method::Sam),
        Methods::One(Method::Roga(Evaluation::All)),
        Methods::One(Method::Roga(Evaluation::Sampled)),
    ];
    /// The seeds of runs: each draws its own first weights and batches
    #[arg(value_delimiter = ',')]
    seeds: Vec<u64> = vec![1];
    /// The seed of splits and forgeries, the same for all runs
    split_seed: u64 = 1;
    /// Draws of settings for each method, of which --selection chooses one by trainings from the first
    /// seed; draw 0 is the settings as they are
    draws: usize = 1;
    /// What is drawn, of rho, gamma, lr and batch, as NAME=DISTRIBUTION:FROM:TO with uniform,
    /// log-uniform, power-of-10 or power-of-2
    #[arg(value_delimiter = ',')]
    search: Vec<Searched> = Searched::rho_and_gamma();
    /// The seed of the draws, the same for all runs
    search_seed: u64 = 0;
    /// What is equal between the methods: steps, passes (over the step's mini-batches), or both, in
    /// two tables
    equal: Equal = Equal::Steps;
    /// The detector's net: small, resnet-18, resnet-34, resnet-50, xception, efficientnet-b0 to
    /// efficientnet-b4, convnext-tiny, frequency
    #[arg(value_name = "NAME")]
    backbone: BackboneConfig = BackboneConfig::Small;
    /// Pixels of a side of the nets' pictures
    size: u32 = 64;
    /// Pictures in grey, in training and in tests
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    grey: bool = false;
    /// How pictures are changed at random in training: none, mirror, deepfake-bench, flip=P, and
    /// rotation, resize, blur, brightness, contrast, hue, noise, jpeg and cut-out=P:FROM:TO
    #[arg(value_delimiter = ',')]
    augment: Vec<Augment> = vec![Augment::Mirror];
    /// How often a training is evaluated on the validation part, evenly over its steps
    evaluations: usize = 10;
    /// Plain steps, as of ERM, before a method perturbs
    warmup_steps: usize = 0;
    /// Steps of every training
    steps: usize = 350;
    /// Pictures of a domain in a step, half of them real
    batch: usize = 12;
    /// Drawn people
    people: usize = 400;
    /// Drawn pictures of each person
    shots: usize = 2;
    /// How plain the marks of a forgery are, from 0 to 1
    strength: f32 = 0.7;
    /// The radius ρ of the ascents
    #[arg(allow_negative_numbers = true)]
    rho: f64 = 0.05;
    /// The shift γ along the mean gradient
    #[arg(allow_negative_numbers = true)]
    gamma: f64 = 5e-4;
    /// The learning rate that a half cosine begins with
    #[arg(allow_negative_numbers = true)]
    lr: f64 = 2e-3;
    /// The device: flex (the CPU), or wgpu, vulkan, metal, cuda, rocm where the feature of that
    /// name was built in
    device: String = "flex".into();
    /// Threads that make pictures and batches; the results do not depend on it
    threads: usize = 2;
    /// How many seconds of a training an interruption may cost; 0 for a checkpoint after every step
    seconds_at_stake: u64 = 10;
    /// Train on each forgery alone, with ERM, and test on it: whether it can be learned at all
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    alone: bool = false;
    /// A short run that shows that everything works, and nothing else
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    quick: bool = false;
    optional:
    /// A folder of real faces to forge, `<set>/frames/<id>/*.png` with
    /// `<set>/landmarks/<id>/*.npy`, in the place of drawn portraits
    #[arg(value_name = "DIR")]
    faces: PathBuf;
    /// The folder that relative paths of --data and --test-data begin in; by default that of the file
    #[arg(value_name = "DIR")]
    data_root: PathBuf;
    /// Other faces, forged alike, to test on: a folder as of --faces, or plain portraits without
    /// landmarks, for the forgeries that need none
    #[arg(value_name = "DIR")]
    test_faces: PathBuf;
    /// The share of the people to validate on; by default 0 with --selection last and one draw, else
    /// 0.15
    valid_share: f64;
    /// Weights to begin with, as torchvision or timm publish them (.safetensors, .pth)
    #[arg(value_name = "FILE")]
    pretrained: PathBuf;
    /// Samples of each class made from each picture of a face; by default 2, of --faces 8
    copies: usize;
    /// The same for the people to test on; by default --copies
    test_copies: usize;
}

impl Settings {
    /// Defaults, the file over them, and the flags over both.
    pub fn load(flags: &Flags) -> Result<Self, Box<dyn Error>> {
        let file = flags.config.as_deref().map(read).transpose()?;
        let given: Table = file.into_iter().flatten().chain(flags.given()?).collect();
        let quick = given.get("quick").and_then(toml::Value::as_bool) == Some(true);
        let base = if quick {
            Self::quick()
        } else {
            Self::default()
        };
        let all: Table = Table::try_from(base)?.into_iter().chain(given).collect();
        let mut settings: Self = all.try_into()?;
        if settings.alone {
            settings.protocol = ProtocolName::Within;
            settings.methods = vec![Methods::One(Method::Erm)];
        }
        settings.check()?;
        Ok(settings)
    }

    fn quick() -> Self {
        Self {
            steps: 24,
            people: 60,
            copies: Some(1),
            ..Self::default()
        }
    }

    /// The settings of a results folder or a detector.
    pub fn of_folder(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let path = folder.join(CONFIG);
        let failed = |error: String| format!("{}: {error}", path.display());
        let settings: Self = read(&path)?
            .try_into()
            .map_err(|error: toml::de::Error| failed(error.to_string()))?;
        settings
            .check()
            .map_err(|error| failed(error.to_string()))?;
        Ok(settings)
    }

    pub fn to_toml(&self) -> Result<String, Box<dyn Error>> {
        Ok(toml::to_string_pretty(self)?)
    }

    fn check(&self) -> Result<(), Box<dyn Error>> {
        self.check_numbers()?;
        at_least_one_and_once("--methods", &self.methods(), 1)?;
        at_least_one_and_once("--seeds", &self.seeds, 1)?;
        at_least_one_and_once("--forgeries", &self.forgeries, 1)?;
        at_least_one_and_once("--levels", &self.levels, 0)?;
        for level in &self.levels {
            within("--levels", 1..=100, *level)?;
        }
        if self.draws > 1 && self.selection == SelectionName::Last {
            return Err(
                "--draws above 1 must have a --selection that can choose among them: \
                        training-domain, held-out-domain or oracle"
                    .into(),
            );
        }
        self.encode().check()?;
        augmentation(&self.augment).map(drop)?;
        for draw in 0..self.draws {
            let setting = self.setting(draw)?;
            let drawn = check_drawn(setting.rho, setting.gamma, setting.lr, setting.batch);
            drawn.map_err(|error| format!("draw {draw}: {error}"))?;
            for method in self.methods() {
                method.config(&setting, 0).init_gradient()?;
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), String> {
        for (flag, range, value) in [
            ("--steps", 1..=1_000_000_000, self.steps),
            ("--evaluations", 1..=1_000_000, self.evaluations),
            ("--warmup-steps", 0..=1_000_000_000, self.warmup_steps),
            ("--draws", 1..=10_000, self.draws),
            ("--people", 2..=1_000_000, self.people),
            ("--shots", 1..=10_000, self.shots),
            ("--copies", 1..=10_000, self.copies()),
            ("--test-copies", 1..=10_000, self.test_copies()),
            ("--frames", 1..=1_000_000, self.frames),
            ("--threads", 0..=1024, self.threads),
        ] {
            within(flag, range, value)?;
        }
        check_drawn(self.rho, self.gamma, self.lr, self.batch)?;
        within("--strength", 0.0..=1.0, self.strength)?;
        let (valid, test) = (self.valid_share(), self.test_share);
        if !(test > 0.0 && test < 1.0) {
            return Err(format!(
                "--test-share must be above 0 and below 1, but is {test}"
            ));
        }
        if !(valid >= 0.0 && valid + test < 1.0) {
            return Err(format!(
                "--valid-share must be at least 0 and leave people to train on beside a --test-share \
                 of {test}, but is {valid}"
            ));
        }
        Ok(())
    }

    /// What a training is made with; draw 0 is the settings as they are.
    pub fn setting(&self, draw: usize) -> roga::Result<Setting> {
        Setting::draw(self, draw as u64)
    }

    /// The methods, each once, in their order.
    pub fn methods(&self) -> Vec<Method> {
        let mut methods = Vec::new();
        for method in self.methods.iter().flat_map(|methods| methods.methods()) {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        methods
    }

    /// A folder holds few pictures of many people: more samples are made of each.
    pub fn copies(&self) -> usize {
        let default = if self.faces.is_some() { 8 } else { 2 };
        self.copies.unwrap_or(default)
    }

    pub fn test_copies(&self) -> usize {
        self.test_copies.unwrap_or(self.copies())
    }

    /// Of the people, to train, to validate and to test on. Whom is tested on does not depend on
    /// whether there is a part to validate on.
    pub fn shares(&self) -> [f64; 3] {
        let (valid, test) = (self.valid_share(), self.test_share);
        [1.0 - valid - test, valid, test]
    }

    pub fn valid_share(&self) -> f64 {
        let chooses = self.selection != SelectionName::Last || self.draws > 1;
        self.valid_share.unwrap_or(if chooses { 0.15 } else { 0.0 })
    }

    /// How pictures become the net's input.
    pub fn encode(&self) -> EncodeConfig {
        EncodeConfig::new()
            .with_size(self.size)
            .with_grey(self.grey)
    }

    /// What the tables have equal.
    pub fn tables(&self) -> Vec<Equal> {
        match self.equal {
            Equal::Both => vec![Equal::Steps, Equal::Passes],
            one => vec![one],
        }
    }

    /// The steps of a method's training in a table.
    pub fn steps_of(&self, method: Method, domains: usize, equal: Equal) -> roga::Result<usize> {
        if equal == Equal::Steps {
            return Ok(self.steps);
        }
        let setting = self.setting(0)?;
        let config = |method: Method| method.config(&setting, 0);
        let passes = config(Method::Sam).passes(self.steps as u64, domains)?;
        let within = config(method).steps_within(passes as u64, domains)?;
        Ok(within.max(1) as usize)
    }

    /// Whether the domain is to be left out in its turn.
    pub fn leaves_out(&self, place: usize, domain: &str) -> bool {
        match self.leave_out.is_empty() {
            true => place == 0,
            false => self
                .leave_out
                .iter()
                .any(|name| name == "all" || name == domain),
        }
    }

    /// What every training of a command depends on: what may be added to or taken away without a
    /// training that is there already being another one is left out.
    pub fn decisive(&self, command: &str) -> Result<Table, toml::ser::Error> {
        let mut settings = Table::try_from(self)?;
        let named = match command {
            "compare" => &NAMED[..],
            _ => &[],
        };
        for free in FREE.iter().chain(named) {
            settings.remove(*free);
        }
        Ok(settings)
    }
}

/// What may be drawn, in the ranges outside which nothing is learned or no memory is enough.
fn check_drawn(rho: f64, gamma: f64, lr: f64, batch: usize) -> Result<(), String> {
    within("--rho", 0.0..=100.0, rho)?;
    within("--gamma", 0.0..=100.0, gamma)?;
    within("--batch", 2..=65_536, batch)?;
    match lr > 0.0 && lr <= 1.0 {
        true => Ok(()),
        false => Err(format!("--lr must be above 0 and at most 1, but is {lr}")),
    }
}

fn within<T: PartialOrd + Display>(
    flag: &str,
    range: RangeInclusive<T>,
    value: T,
) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => {
            let (least, most) = range.into_inner();
            Err(format!(
                "{flag} must be from {least} to {most}, but is {value}"
            ))
        }
    }
}

fn at_least_one_and_once<T: PartialEq + Display>(
    flag: &str,
    values: &[T],
    least: usize,
) -> Result<(), String> {
    if values.len() < least {
        return Err(format!("{flag} must be at least one, but there is none"));
    }
    let twice = (1..values.len()).find(|&place| values[..place].contains(&values[place]));
    match twice {
        None => Ok(()),
        Some(place) => {
            let value = &values[place];
            Err(format!("{flag} must differ, but {value} stands twice"))
        }
    }
}

/// The configuration in force, beside every result.
pub const CONFIG: &str = "config.toml";

/// Settings that say which trainings there are and how fast, not what they are.
const FREE: [&str; 6] = [
    "leave-out",
    "threads",
    "equal",
    "draws",
    "on-problem",
    "seconds-at-stake",
];

/// Settings that a comparison's trainings bear in their folders' names.
const NAMED: [&str; 2] = ["methods", "seeds"];

fn read(path: &Path) -> Result<Table, Box<dyn Error>> {
    let text = read_text(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let failed = |error| format!("{}: {error}", path.display());
    // Its keys and values are checked here, where the file can be named.
    toml::from_str::<Settings>(&text).map_err(failed)?;
    Ok(text.parse().map_err(failed)?)
}

/// A choice by name, as a flag and as a key.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])+ $variant:ident,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[doc = $vdoc])+ $variant,)+
        }
    };
}

choice! {
    /// What is done about pictures that cannot be used.
    OnProblem {
        /// Name all of them and stop
        Refuse,
        /// Leave them out and count them
        Skip,
    }
}

choice! {
    /// What is trained on and what is tested on.
    ProtocolName {
        /// All domains but one, and that one
        LeaveOneOut,
        /// All domains, and other data
        Cross,
        /// Each domain, and other people of it
        Within,
    }
}

choice! {
    /// How checkpoints and settings are chosen.
    SelectionName {
        /// The last step
        Last,
        /// The best mean over the training domains' validation parts
        TrainingDomain,
        /// The best mean over trainings that leave one more domain out
        HeldOutDomain,
        /// The best on the test domain: an upper bound, no result
        Oracle,
    }
}

choice! {
    /// What the compared methods have equal.
    Equal {
        /// Steps
        Steps,
        /// Passes over a step's mini-batches: as many as SAM makes in --steps
        Passes,
        /// Both, in two tables
        Both,
    }
}

#[cfg(test)]
#[path = "../../tests/hostile_files/config.rs"]
mod config;

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::{config::comes_back, *};

    /// A file of settings.
    fn of_text(text: &[u8]) -> Result<Settings, Box<dyn Error>> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), text).unwrap();
        Settings::of_folder(folder.path())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn what_is_written_is_read(
            (rho, gamma, lr, share) in (0.0..100.0, 0.0..100.0, 1e-9..1.0, 0.01..0.4),
            (steps, batch, draws, seeds) in
                (1..1_000_000_000usize, 2..65_536usize, 1..4usize, prop::collection::hash_set(0..1u64 << 63, 1..4)),
            leave_out in prop::collection::vec(any::<String>(), 0..4),
            data in prop::collection::vec("[^\\x00]{0,9}", 0..3),
            searched in (0.001..0.5, 0.5..1.0),
            flip in 0.0..1.0,
        ) {
            let (from, to) = searched;
            let settings = Settings {
                rho,
                gamma,
                lr,
                test_share: share,
                steps,
                batch,
                draws,
                seeds: seeds.into_iter().collect(),
                leave_out,
                data: data.into_iter().map(PathBuf::from).collect(),
                search: vec![format!("rho=log-uniform:{from}:{to}").parse().unwrap()],
                selection: SelectionName::TrainingDomain,
                augment: vec![format!("flip={flip}").parse().unwrap(), Augment::Mirror],
                ..Settings::default()
            };
            settings.check().unwrap();
            comes_back(&settings);
            let read = of_text(settings.to_toml().unwrap().as_bytes()).unwrap();
            prop_assert_eq!(read.to_toml().unwrap(), settings.to_toml().unwrap());
        }

        #[test]
        fn no_file_makes_the_reader_panic(key in 0..60usize, value in "[0-9einf.+-]{0,8}|\\PC{0,8}") {
            let text = Settings::default().to_toml().unwrap();
            let mut lines: Vec<String> = text.lines().map(String::from).collect();
            let key = key % lines.len();
            if let Some((name, _)) = lines[key].split_once(" = ") {
                lines[key] = format!("{name} = {value}");
            }
            if let Ok(settings) = of_text(lines.join("\n").as_bytes()) {
                comes_back(&settings);
            }
        }
    }

    /// Those of `fuzz/`, which a published crate has not.
    #[test]
    fn the_seeds_of_the_fuzzer_are_read() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/config");
        let Ok(seeds) = fs::read_dir(seeds) else {
            return;
        };
        for seed in seeds {
            let text = fs::read(seed.unwrap().path()).unwrap();
            comes_back(&of_text(&text).unwrap());
            for end in 0..text.len() {
                if let Ok(settings) = of_text(&text[..end]) {
                    comes_back(&settings);
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_none_and_a_nest_that_never_ends() {
        for text in [
            "rho = nan".to_string(),
            "lr = inf".into(),
            "batch = -5".into(),
            "seeds = [18446744073709551616]".into(),
            "search = [\"rho=uniform:nan:1\"]\ndraws = 2".into(),
            "search = [\"batch=power-of-2:1:1e308\"]\ndraws = 2".into(),
            "augment = [\"flip=nan\"]".into(),
            "augment = [\"blur=1:nan:inf\"]".into(),
            "\u{1b}[2J = 1".into(),
            format!("data = {}", "[".repeat(100_000)),
            format!("data.{}x = 1", "a.".repeat(100_000)),
        ] {
            assert!(
                of_text(text.as_bytes()).is_err(),
                "{}",
                &text[..20.min(text.len())]
            );
        }
    }
}
