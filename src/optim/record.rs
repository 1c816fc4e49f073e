use std::{collections::BTreeMap, fmt, path::Path};

use burn::{
    config::Config,
    lr_scheduler::LrSchedulerRecord,
    module::{Module, Param},
    optim::{GradientsParams, ModuleOptimizer, OptimizerRecord},
    store::ModuleRecord,
    tensor::{Bytes, Device, Tensor as BurnTensor, TensorData},
};
use burn_pack::{DType, Scalar, Tensor, Writer};

use super::{
    RobustGradientAlignmentConfig, aggregation::Kept, carried::Carried, gradient::Progress,
};
use crate::{
    Error, Result,
    pack::{self, Pack},
};

/// All that a training which was interrupted needs to go on, in one record and one file.
///
/// [`RobustGradientAlignment::to_record`](super::RobustGradientAlignment::to_record) takes down the
/// base optimizer's state, the settings with their schedules, how many steps were made, from which
/// every random draw of [`Evaluation::Sampled`](super::Evaluation::Sampled) and every mask of
/// `noise_seed` follows, what settings carry from step to step ([`FriendlyAscent`](super::FriendlyAscent),
/// `reuse_weight`, [`GroupDro`](crate::aggregation::GroupDro)), and how many steps in a row were skipped. The rest of a training is added
/// to it: the [model](Self::with_model), the [learning rate's scheduler](Self::with_scheduler), the
/// [position of the domain data loader](Self::with_position).
///
/// Resumed in a new process, in the middle of an epoch, a training goes on as if it had never been
/// interrupted: bit for bit on flex. What it does not hold is the state of a device's own random
/// numbers: dropout goes on alike where `noise_seed` is given.
///
/// The file is a [burnpack](burn_pack). It is written beside its place and renamed, so that there
/// is never half a record in its place.
///
/// ```
/// use burn::{
///     lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig,
///     nn::LinearConfig,
///     optim::AdamWConfig,
///     tensor::Device,
/// };
/// use roga::optim::{RobustGradientAlignmentConfig, RobustGradientAlignmentRecord};
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(2, 1).init(&device);
/// let optim = RobustGradientAlignmentConfig::new().init(AdamWConfig::new().init())?;
/// let new_schedule = || CosineAnnealingLrSchedulerConfig::new(1e-3, 1000).init();
/// let schedule = new_schedule()?;
/// # let folder = std::env::temp_dir().join(format!("roga-record-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("training.bpk");
///
/// optim
///     .to_record()?
///     .with_model(&model)?
///     .with_scheduler(schedule.to_record())
///     .with_position(7) // loader.position()
///     .save(&path)?;
///
/// // In a new process: everything is made as before, and then
/// let record = RobustGradientAlignmentRecord::load(&path)?;
/// let model = record.load_model(LinearConfig::new(2, 1).init(&device))?;
/// let mut optim = RobustGradientAlignmentConfig::new().init(AdamWConfig::new().init())?;
/// optim.load_record(&record)?;
/// let schedule = new_schedule()?.load_record(record.scheduler()?);
/// assert_eq!(record.position()?, 7); // loader.set_position(record.position()?)
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RobustGradientAlignmentRecord {
    config: RobustGradientAlignmentConfig,
    /// What the base optimizer makes of some gradients: its kind and its settings, as far as they
    /// can be seen from outside. Empty before the first step.
    response: Vec<f64>,
    progress: Progress,
    position: Option<u64>,
    notes: BTreeMap<String, String>,
    base: Vec<u8>,
    /// The gradients that settings carry from step to step.
    carried: Option<Vec<u8>>,
    model: Option<Vec<u8>>,
    scheduler: Option<Vec<u8>>,
}

/// What the file says it is.
const FORMAT: &str = "roga training";
/// The version of the format. It grows where older readers would go on wrongly.
const VERSION: u64 = 3;

impl RobustGradientAlignmentRecord {
    pub(super) fn new(
        config: &RobustGradientAlignmentConfig,
        progress: Progress,
        carried: &Carried,
        base: &ModuleOptimizer,
        device: Option<&Device>,
    ) -> Result<Self> {
        let state = base.into_bytes().map_err(unwritable)?;
        let carried = carried.to_writer()?.map(Writer::into_bytes).transpose();
        let carried = carried.map_err(unwritable)?;
        Ok(Self {
            config: config.clone(),
            response: device.map_or_else(Vec::new, |device| response(base, device)),
            progress,
            position: None,
            notes: BTreeMap::new(),
            base: state.to_vec(),
            carried: carried.map(|bytes| bytes.to_vec()),
            model: None,
            scheduler: None,
        })
    }

    /// Adds the model: its parameters, their ids, its running statistics.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where the model cannot be written.
    pub fn with_model<M: Module>(mut self, model: &M) -> Result<Self> {
        // `valid` settles running statistics, for all clones.
        drop(model.valid());
        let record = model.clone().into_record();
        self.model = Some(record.into_bytes().map_err(unwritable)?.to_vec());
        Ok(self)
    }

    /// Adds the state of the learning rate's scheduler.
    pub fn with_scheduler(mut self, record: LrSchedulerRecord) -> Self {
        // Numbers by name, in memory: there is nothing that could fail.
        self.scheduler = record.into_bytes().ok().map(|bytes| bytes.to_vec());
        self
    }

    /// Adds the position of the domain data loader.
    pub fn with_position(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// Adds a text of the training's own, under a name.
    pub fn with_note(mut self, name: &str, text: impl Into<String>) -> Self {
        self.notes.insert(name.into(), text.into());
        self
    }

    /// How many steps were made, those that were skipped included.
    pub fn steps(&self) -> u64 {
        self.progress.steps
    }

    /// The settings it was taken with.
    pub fn config(&self) -> &RobustGradientAlignmentConfig {
        &self.config
    }

    /// The model's parameters and running statistics, loaded into a model of the same structure.
    ///
    /// The parameters get the ids that the optimizer's state is kept under.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where the record holds no model, or another one.
    pub fn load_model<M: Module>(&self, model: M) -> Result<M> {
        let bytes = part(&self.model, "the model")?;
        let bytes = || Bytes::from_bytes_vec(bytes.clone());
        Pack::new(bytes())
            .and_then(|pack| pack::check_module(pack, &model))
            .map_err(|error| damaged("the model", error))?;
        let record = ModuleRecord::from_bytes(bytes());
        let record = record.map_err(|error| damaged("the model", error))?;
        // `valid` settles running statistics: what is pending would be written over the record's.
        drop(model.valid());
        model
            .try_load_record(record)
            .map_err(|error| Error::Record {
                rule: "hold a model of the same structure",
                found: format!("{error:?}"),
            })
    }

    /// The state of the learning rate's scheduler.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where the record holds none.
    pub fn scheduler(&self) -> Result<LrSchedulerRecord> {
        let bytes = part(&self.scheduler, "the scheduler")?;
        LrSchedulerRecord::from_bytes(Bytes::from_bytes_vec(bytes.clone()))
            .map_err(|error| damaged("the scheduler", error))
    }

    /// The position of the domain data loader.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where the record holds none.
    pub fn position(&self) -> Result<u64> {
        part(&self.position, "the loader's position").copied()
    }

    /// A text of the training's own.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }

    /// How far training was.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The gradients that are carried on.
    pub(super) fn load_carried(&self) -> Result<Carried> {
        let Some(bytes) = &self.carried else {
            return Ok(Carried::default());
        };
        let carried = Carried::from_bytes(Bytes::from_bytes_vec(bytes.clone()));
        carried.map_err(|error| damaged("what is carried from step to step", error))
    }

    /// A base optimizer with the state of the record's, and the parameters that it has a state for.
    pub(super) fn load_base(&self, base: &ModuleOptimizer) -> Result<(ModuleOptimizer, Recorded)> {
        self.check_response(base)?;
        let bytes = || Bytes::from_bytes_vec(self.base.clone());
        let what = "the base optimizer's state";
        let expected = State::read(bytes()).map_err(|error| damaged(what, error))?;
        let record = OptimizerRecord::from_bytes(bytes()).map_err(|error| damaged(what, error))?;
        let base = base.clone().load_record(record);
        // burn passes over what it cannot put back, without a word.
        let loaded = base.into_bytes().map_err(unwritable)?;
        let loaded = State::read(loaded).map_err(|error| damaged(what, error))?;
        expected.check(&loaded)?;
        Ok((base, loaded.parameters))
    }

    /// Refuses a base optimizer that makes other steps than the record's.
    fn check_response(&self, base: &ModuleOptimizer) -> Result<()> {
        if self.response.is_empty() {
            return Ok(());
        }
        // burn reads the state back there as well.
        let here = response(base, &Device::default());
        let same = |(here, there): (&f64, &f64)| {
            let scale = here.abs().max(there.abs());
            // Two devices need not round alike.
            (here - there).abs() <= 1e-4 * scale
                || here == there
                || (here.is_nan() && there.is_nan())
        };
        if here.len() == self.response.len() && here.iter().zip(&self.response).all(same) {
            return Ok(());
        }
        Err(Error::Record {
            rule: "be of the same base optimizer",
            found:
                "this one makes other steps of the same gradients: it is of another kind, or its \
                    settings are others"
                    .into(),
        })
    }

    /// Refuses settings under which training would not go on as it was.
    pub(super) fn check(&self, config: &RobustGradientAlignmentConfig) -> Result<()> {
        // Writing and reading may change the last bit of a number: both forms count.
        let ours = config.decisive().into_iter();
        let ours = ours.zip(read_again(config)?.decisive());
        let recorded = self.config.decisive().into_iter();
        let recorded = recorded.zip(read_again(&self.config)?.decisive());
        let unfelt = match config.goes_plainly_as(&self.config, self.steps()) {
            true => RobustGradientAlignmentConfig::UNFELT_IN_PLAIN_STEPS,
            false => &[],
        };
        for ((here, here_again), (there, there_again)) in ours.zip(recorded) {
            let there_too = |here| [&there, &there_again].contains(&here);
            let felt = !unfelt.contains(&here.0);
            if felt && !there_too(&here) && !there_too(&here_again) {
                let ((field, here), (_, there)) = (here, there);
                return Err(Error::Record {
                    rule: "be of the same settings",
                    found: format!("`{field}` is {there} in the record and {here} here"),
                });
            }
        }
        Ok(())
    }

    /// Writes the file. `.bpk` is added to a path without an extension.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it cannot be written; what was in its place is still there then.
    pub fn save(self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.into_writer()
            .write_to_file(path)
            .map_err(|error| Error::file(path, error))
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it cannot be read, is something else, or is of a later version.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let pack = Pack::open(path).map_err(|error| Error::file(path, error))?;
        Self::from_pack(pack).map_err(|error| Error::file(path, error))
    }

    /// The file in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where it cannot be written.
    pub fn into_bytes(self) -> Result<Bytes> {
        self.into_writer().into_bytes().map_err(unwritable)
    }

    /// A record from a file in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where the bytes are something else, or of a later version.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        let pack = Pack::new(bytes).map_err(|found| Error::Record {
            rule: "be a burnpack",
            found,
        })?;
        Self::from_pack(pack)
    }

    /// A checksum of all but the settings, whose numbers reading may change in the last bit. What is
    /// damaged must not reach burn's readers, which panic on some of it.
    fn checksum(&self) -> u64 {
        let Progress {
            steps,
            skipped,
            skipped_since,
            ref skipped_for,
            ref kept,
        } = self.progress;
        let mut crc = crc32fast::Hasher::new();
        let numbers = format!(
            "{steps} {skipped} {skipped_since} {:?} {} {:?}",
            self.position,
            numbers(&self.response),
            self.notes
        );
        crc.update(numbers.as_bytes());
        // Of trainings without, the checksum is as it always was.
        if *kept != Kept::default() {
            crc.update(format!("{kept:?}").as_bytes());
        }
        if let Some(skipped_for) = skipped_for {
            crc.update(format!("{skipped_for:?}").as_bytes());
        }
        let parts = [
            Some(&self.base),
            self.carried.as_ref(),
            self.model.as_ref(),
            self.scheduler.as_ref(),
        ];
        for part in parts.into_iter().flatten() {
            crc.update(&part.len().to_le_bytes());
            crc.update(part);
        }
        u64::from(crc.finalize())
    }

    fn into_writer(self) -> Writer {
        let checksum = self.checksum();
        let parts = [
            ("optimizer", Some(self.base)),
            ("carried", self.carried),
            ("model", self.model),
            ("scheduler", self.scheduler),
        ];
        let parts = parts.into_iter().flat_map(|(name, bytes)| {
            let bytes = bytes.unwrap_or_default();
            let pieces = bytes.chunks(PIECE).enumerate().map(|(place, piece)| {
                let name = format!("{name}.{place:06}");
                let bytes = Bytes::from_bytes_vec(piece.to_vec());
                Tensor::new(name, DType::U8, [piece.len()], None, bytes)
            });
            pieces.collect::<Vec<_>>()
        });
        let Progress {
            steps,
            skipped,
            skipped_since,
            skipped_for,
            kept,
        } = self.progress;
        let skipped_for = skipped_for.and_then(|what| serde_json::to_string(&what).ok());
        let mut writer = Writer::new(parts.collect())
            .with_metadata("format", FORMAT)
            .with_metadata("config", &self.config.to_string())
            .with_metadata("response", &numbers(&self.response))
            .with_metadata(KEPT[0], &numbers(&kept.clean))
            .with_metadata(KEPT[1], &numbers(&kept.perturbed))
            .with_scalar("version", Scalar::UInt(VERSION))
            .with_scalar("steps", Scalar::UInt(steps))
            .with_scalar("skipped", Scalar::UInt(skipped))
            .with_scalar("skipped_since", Scalar::UInt(skipped_since));
        writer = writer.with_scalar("checksum", Scalar::UInt(checksum));
        if let Some(skipped_for) = skipped_for {
            writer = writer.with_metadata("skipped_for", &skipped_for);
        }
        if let Some(position) = self.position {
            writer = writer.with_scalar("position", Scalar::UInt(position));
        }
        for (name, text) in &self.notes {
            writer = writer.with_metadata(&format!("{NOTE}{name}"), text);
        }
        writer
    }

    fn from_pack(pack: Pack) -> Result<Self> {
        let reader = &pack.reader;
        let metadata = reader.metadata().clone();
        let scalars = reader.scalars().clone();
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err(Error::Record {
                rule: "be one of a robust training",
                found: "it is of something else (a model's, or another optimizer's?)".into(),
            });
        }
        let number = |name: &'static str| {
            let scalar = scalars.get(name).copied();
            scalar.and_then(|scalar| u64::try_from(scalar).ok())
        };
        let required = |name: &'static str| part(&number(name), name).copied();
        let version = required("version")?;
        if version > VERSION {
            return Err(Error::Record {
                rule: "be of a version that this crate knows",
                found: format!("it is of version {version}, and the last one known is {VERSION}"),
            });
        }
        let text = |name: &str| metadata.get(name).cloned();
        let settings = text("config");
        let settings = part(&settings, "its settings")?;
        let config = RobustGradientAlignmentConfig::load_binary(settings.as_bytes())
            .map_err(|error| damaged("its settings", error))?;
        let response = text("response");
        let response = part(&response, "the base optimizer's response")?;
        let response = read_numbers(response, "the base optimizer's response")?;
        // Records of before there were aggregations hold none.
        let kept = |name| read_numbers(&text(name).unwrap_or_default(), "what is aggregated by");
        let notes = metadata.iter().filter_map(|(name, text)| {
            let name = name.strip_prefix(NOTE)?;
            Some((name.to_string(), text.clone()))
        });
        let notes = notes.collect();
        let position = number("position");
        let skipped_for = text("skipped_for").map(|text| serde_json::from_str(&text));
        let skipped_for = skipped_for
            .transpose()
            .map_err(|error| damaged("what a step was skipped for", error))?;
        let progress = Progress {
            steps: required("steps")?,
            skipped: required("skipped")?,
            skipped_since: required("skipped_since")?,
            skipped_for,
            kept: Kept {
                clean: kept(KEPT[0])?,
                perturbed: kept(KEPT[1])?,
            },
        };
        let mut parts = BTreeMap::new();
        for tensor in pack.tensors().map_err(|e| damaged("a part", e))? {
            // Pieces come in the order of their names.
            let name = tensor
                .name
                .split('.')
                .next()
                .unwrap_or_default()
                .to_string();
            let bytes = tensor.to_bytes().map_err(|e| damaged("a part", e))?;
            let part: &mut Vec<u8> = parts.entry(name).or_default();
            part.extend_from_slice(&bytes);
        }
        let base = parts.remove("optimizer");
        let record = Self {
            config,
            response,
            progress,
            position,
            notes,
            base: part(&base, "the base optimizer's state")?.clone(),
            carried: parts.remove("carried"),
            model: parts.remove("model"),
            scheduler: parts.remove("scheduler"),
        };
        let checksum = required("checksum")?;
        match record.checksum() == checksum {
            true => Ok(record),
            false => Err(Error::Record {
                rule: "be whole",
                found: "its checksum is that of another one".into(),
            }),
        }
    }
}

impl fmt::Debug for RobustGradientAlignmentRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RobustGradientAlignmentRecord")
            .field("config", &self.config)
            .field("progress", &self.progress)
            .field("position", &self.position)
            .field("notes", &self.notes)
            .field("model", &self.model.is_some())
            .field("scheduler", &self.scheduler.is_some())
            .finish_non_exhaustive()
    }
}

/// A parameter to try an optimizer on.
#[derive(Module, Debug)]
struct Probe {
    weight: Param<BurnTensor<2>>,
}

/// What a new base optimizer of these settings makes of a parameter and three gradients, all
/// numbers of all steps. Momentum, decay and clipping show; what holds for some groups of
/// parameters does not, unless they hold this one.
fn response(base: &ModuleOptimizer, device: &Device) -> Vec<f64> {
    // Whatever the device's default float type is.
    let tensor = |numbers: [[f32; 2]; 2], device: &Device| {
        BurnTensor::<2>::from_data(TensorData::from(numbers), (device, DType::F32))
    };
    let device = device.clone().autodiff();
    let mut probe = Probe {
        weight: Param::from_tensor(tensor([[0.5, -1.5], [2.0, 0.25]], &device)),
    };
    let mut base = base.clone();
    let mut numbers = Vec::new();
    for gradient in [
        [[1.0, -0.5], [0.25, 3.0]],
        [[0.5, 0.75], [-2.0, 1.0]],
        [[-0.1, 0.3], [0.2, -40.0]],
    ] {
        let mut gradients = GradientsParams::new();
        gradients.register(probe.weight.id, tensor(gradient, &device).inner());
        // A large step: decay by a ten-thousandth is to show.
        probe = base.step(10.0, probe, gradients);
        numbers.extend(probe.weight.val().into_data().iter::<f64>());
    }
    numbers
}

/// As they are written.
fn numbers(numbers: &[f64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
    numbers.join(" ")
}

fn read_numbers(text: &str, what: &str) -> Result<Vec<f64>> {
    let numbers = text.split_whitespace().map(str::parse);
    let numbers = numbers.collect::<Result<_, _>>();
    numbers.map_err(|error| damaged(what, error))
}

/// The settings, written and read.
fn read_again(config: &RobustGradientAlignmentConfig) -> Result<RobustGradientAlignmentConfig> {
    RobustGradientAlignmentConfig::load_binary(config.to_string().as_bytes())
        .map_err(|error| damaged("its settings", error))
}

/// How many bytes of a part are one tensor of the file: a burnpack holds large files, but no large
/// tensor.
const PIECE: usize = 1 << 30;

/// What the numbers that an aggregation keeps are called in the file, of clean and of perturbed
/// gradients.
const KEPT: [&str; 2] = ["aggregation.clean", "aggregation.perturbed"];

/// What a note's name begins with in the file.
const NOTE: &str = "note.";

/// What the state of an optimizer is made of.
struct State {
    /// Every number and tensor, and the type of a tensor.
    names: BTreeMap<String, Option<DType>>,
    parameters: Recorded,
}

/// Of every parameter that a state is recorded of, by its id: its number of dimensions, where that
/// is known, and the shapes of the state's tensors.
pub(super) type Recorded = BTreeMap<u64, (Option<usize>, Vec<Vec<usize>>)>;

/// What burn calls a parameter's number of dimensions in an optimizer's state.
const RANK: &str = "__rank";
/// The most dimensions that burn's optimizers work on: with more, they panic.
const MAX_RANK: usize = 8;

impl State {
    fn read(bytes: Bytes) -> Result<Self, String> {
        let pack = Pack::new(bytes)?;
        let scalars = pack.reader.scalars().clone();
        let mut names: BTreeMap<String, Option<DType>> =
            scalars.keys().map(|name| (name.clone(), None)).collect();
        let mut parameters = Recorded::new();
        let parameter = |name: &str| name.split('.').next().and_then(|id| id.parse().ok());
        for id in scalars.keys().filter_map(|name| parameter(name)) {
            let rank = scalars.get(&format!("{id}.{RANK}")).copied();
            let rank = rank.map(|rank| usize::try_from(rank).unwrap_or(usize::MAX));
            if rank.is_some_and(|rank| rank > MAX_RANK) {
                return Err(format!(
                    "parameter {id} has more than {MAX_RANK} dimensions"
                ));
            }
            parameters.entry(id).or_insert((rank, Vec::new()));
        }
        for tensor in pack.tensors()? {
            let name = tensor.name;
            let id = parameter(&name).filter(|id| tensor.param_id == Some(*id));
            let id = id.ok_or_else(|| format!("`{name}` is the state of no parameter"))?;
            let (rank, shapes) = parameters.entry(id).or_default();
            let shape = tensor.shape.to_vec();
            let same = *rank.get_or_insert(shape.len()) == shape.len();
            if !(same && shape.len() <= MAX_RANK && tensor.dtype.is_float()) {
                let dtype = tensor.dtype;
                return Err(format!("`{name}` is of type {dtype:?} and shape {shape:?}"));
            }
            shapes.push(shape);
            names.insert(name, Some(tensor.dtype));
        }
        Ok(Self { names, parameters })
    }

    /// Refuses a state that burn has put back otherwise than it was recorded.
    fn check(&self, loaded: &Self) -> Result<()> {
        let lost = |name: &&String| !loaded.names.contains_key(*name);
        let lost = self.names.keys().filter(lost).count();
        let added = loaded
            .names
            .keys()
            .filter(|name| !self.names.contains_key(*name))
            .count();
        if lost + added > 0 {
            return Err(Error::Record {
                rule: "be of the same base optimizer",
                found: format!(
                    "it holds {} numbers and tensors of state, {lost} of which this one has no use \
                     for, and lacks {added} of its own",
                    self.names.len()
                ),
            });
        }
        let mut pairs = self.names.iter().zip(loaded.names.values());
        match pairs.find(|((_, recorded), loaded)| recorded != loaded) {
            None => Ok(()),
            Some(((name, recorded), loaded)) => Err(Error::Record {
                rule: "hold a state that burn puts back in its own type",
                found: format!(
                    "`{name}` is of {recorded:?} and comes back as {loaded:?}: configure the \
                     device's default float type, `Device::configure`"
                ),
            }),
        }
    }
}

fn part<'a, T>(part: &'a Option<T>, what: &'static str) -> Result<&'a T> {
    part.as_ref().ok_or_else(|| Error::Record {
        rule: "hold what is asked of it",
        found: format!("{what} is not in it"),
    })
}

fn damaged(what: &str, error: impl fmt::Display) -> Error {
    Error::Record {
        rule: "be whole",
        found: format!("{what} cannot be read: {error}"),
    }
}

fn unwritable(error: impl fmt::Display) -> Error {
    Error::Record {
        rule: "be written",
        found: error.to_string(),
    }
}
