use std::{collections::BTreeMap, fmt, path::Path};

use burn::{
    config::Config,
    module::{Module, Param},
    tensor::{Bytes, Tensor},
};
use burn_pack::{Scalar, Writer};

use super::weights::WeightMean;
use crate::{
    Error, Result,
    gradient::{OnParameter, VectorsData, for_each_parameter, packed, read_back, unpacked},
    pack::Pack,
};

/// The state of an [`ExponentialMovingAverage`](super::ExponentialMovingAverage) or a
/// [`Swad`](super::Swad), to go on from where a training was interrupted.
///
/// It stands beside the record of the training itself, which holds the model and its parameter ids
/// ([`RobustGradientAlignmentRecord`](crate::optim::RobustGradientAlignmentRecord)). The file is a
/// [burnpack](burn_pack), written beside its place and renamed.
///
/// ```
/// use burn::{nn::LinearConfig, tensor::Device};
/// use roga::averaging::{AverageRecord, ExponentialMovingAverageConfig};
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(2, 1).init(&device);
/// let mut average = ExponentialMovingAverageConfig::new(0.999).init()?;
/// average.update(&model)?;
/// let bytes = average.to_record()?.into_bytes()?; // or `save`, and `load` below
///
/// // In a new process, with the model that training goes on with:
/// let mut average = ExponentialMovingAverageConfig::new(0.999).init()?;
/// average.load_record(&AverageRecord::from_bytes(bytes)?, &model)?;
/// # assert_eq!(average.updates(), 1);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone)]
pub struct AverageRecord {
    settings: String,
    numbers: BTreeMap<String, Scalar>,
    /// By the mean's name and the parameter's id.
    means: BTreeMap<String, VectorsData>,
}

/// What the file says it is.
const FORMAT: &str = "roga average";
/// The version of the format. It grows where older readers would go on wrongly.
const VERSION: u64 = 1;

/// The settings as they are kept in a record.
pub(super) fn settings_of(kind: &str, config: &impl Config) -> String {
    let settings = serde_json::to_string(config).unwrap_or_default();
    format!("{kind} {settings}")
}

impl AverageRecord {
    pub(super) fn new(settings: String) -> Self {
        Self {
            settings,
            numbers: BTreeMap::new(),
            means: BTreeMap::new(),
        }
    }

    pub(super) fn with_number(mut self, name: &str, number: impl Into<Scalar>) -> Self {
        self.numbers.insert(name.into(), number.into());
        self
    }

    /// Adds a mean under a name.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where it cannot be read back.
    pub(super) fn with_mean(mut self, name: &str, mean: &WeightMean) -> Result<Self> {
        self.means.insert(name.into(), read_back(&mean.parameters)?);
        Ok(self)
    }

    /// Refuses settings other than the record's.
    pub(super) fn check(&self, settings: &str) -> Result<()> {
        match self.settings == settings {
            true => Ok(()),
            false => Err(Error::Record {
                rule: "be of the same settings",
                found: format!("it is of {}, and here is {settings}", self.settings),
            }),
        }
    }

    pub(super) fn number<T: TryFrom<Scalar>>(&self, name: &str) -> Result<T> {
        let number = self.numbers.get(name).copied();
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| missing(name))
    }

    /// The mean of this name, on the devices of the model's parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where it is not there, or of another model.
    pub(super) fn mean<M: Module>(&self, name: &str, model: &M) -> Result<WeightMean> {
        struct Load<'a> {
            data: &'a VectorsData,
            mean: WeightMean,
        }

        impl OnParameter for Load<'_> {
            fn on<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some(data) = self.data.get(&param.id) else {
                    return;
                };
                if data.num_elements() == param.lazy_shape().num_elements() {
                    let device = param.base().inner().device();
                    let weights = Tensor::from_data(data.clone(), (&device, data.dtype()));
                    self.mean.parameters.insert(param.id, weights);
                }
            }
        }

        let mut load = Load {
            data: self.means.get(name).ok_or_else(|| missing(name))?,
            mean: WeightMean::default(),
        };
        for_each_parameter(model, &mut load);
        let lost = load.data.len() - load.mean.parameters.len();
        match lost {
            0 => Ok(load.mean),
            lost => Err(Error::Record {
                rule: "be of the same model",
                found: format!("{lost} of its parameters are not in this one, or of another size"),
            }),
        }
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
        self.into_writer()
            .into_bytes()
            .map_err(|error| Error::Record {
                rule: "be written",
                found: error.to_string(),
            })
    }

    /// A record from a file in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where the bytes are something else, damaged, or of a later version.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        Self::from_pack(Pack::new(bytes).map_err(damaged)?)
    }

    fn into_writer(self) -> Writer {
        let means = self.means.iter();
        let tensors = means.flat_map(|(name, mean)| packed(name, mean));
        let names: Vec<&str> = self.means.keys().map(String::as_str).collect();
        let writer = Writer::new(tensors.collect())
            .with_metadata("format", FORMAT)
            .with_metadata("settings", &self.settings)
            .with_metadata("means", &names.join(" "))
            .with_scalar("version", Scalar::UInt(VERSION));
        let numbers = self.numbers.iter();
        numbers.fold(writer, |writer, (name, number)| {
            writer.with_scalar(name, *number)
        })
    }

    fn from_pack(pack: Pack) -> Result<Self> {
        let reader = &pack.reader;
        let text = |name: &str| reader.metadata().get(name).cloned();
        if text("format").as_deref() != Some(FORMAT) {
            return Err(Error::Record {
                rule: "be one of an average of weights",
                found: "it is of something else".into(),
            });
        }
        let mut record = Self::new(text("settings").ok_or_else(|| missing("settings"))?);
        record.numbers = reader.scalars().clone();
        let version: u64 = record.number("version")?;
        if version > VERSION {
            return Err(Error::Record {
                rule: "be of a version that this crate knows",
                found: format!("it is of version {version}, and the last one known is {VERSION}"),
            });
        }
        let names = text("means").ok_or_else(|| missing("means"))?;
        let names = names.split_whitespace().map(String::from);
        record.means = names.map(|name| (name, BTreeMap::new())).collect();
        for tensor in pack.tensors().map_err(damaged)? {
            let (name, id, data) = unpacked(&tensor).map_err(damaged)?;
            let mean = record.means.get_mut(name);
            let mean = mean.ok_or_else(|| damaged(format!("`{name}` is no mean of it")))?;
            mean.insert(id, data);
        }
        Ok(record)
    }
}

impl fmt::Debug for AverageRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AverageRecord")
            .field("settings", &self.settings)
            .field("numbers", &self.numbers)
            .field("means", &self.means.keys())
            .finish_non_exhaustive()
    }
}

fn missing(what: &str) -> Error {
    Error::Record {
        rule: "hold what is asked of it",
        found: format!("`{what}` is not in it"),
    }
}

fn damaged(error: impl fmt::Display) -> Error {
    Error::Record {
        rule: "be whole",
        found: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::averaging::{ExponentialMovingAverageConfig, weights::tests::Net};

    fn record() -> AverageRecord {
        let mut average = ExponentialMovingAverageConfig::new(0.5).init().unwrap();
        average.update(&Net::new(&[1.0, 2.0])).unwrap();
        average.to_record().unwrap()
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("average.bpk");
        let record = record();
        record.clone().save(&path).unwrap();
        let read = AverageRecord::load(&path).unwrap();
        assert_eq!(read.settings, record.settings);
        let data = |record: &AverageRecord| record.means["average"].values().next().cloned();
        assert_eq!(data(&read), data(&record));
        let nowhere = AverageRecord::load(folder.path().join("none.bpk"));
        assert!(matches!(nowhere, Err(Error::File { .. })));
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let whole = record().into_bytes().unwrap().to_vec();
        for length in 0..whole.len() {
            let cut = Bytes::from_bytes_vec(whole[..length].to_vec());
            assert!(AverageRecord::from_bytes(cut).is_err(), "{length}");
        }
        // Whatever a byte becomes: an error or a record, no panic.
        let model = Net::new(&[1.0, 2.0]);
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0xff;
            if let Ok(record) = AverageRecord::from_bytes(Bytes::from_bytes_vec(bytes)) {
                let mut average = ExponentialMovingAverageConfig::new(0.5).init().unwrap();
                drop(average.load_record(&record, &model));
            }
        }
        let other = Writer::new(Vec::new()).into_bytes().unwrap();
        let error = AverageRecord::from_bytes(other).unwrap_err().to_string();
        assert!(error.contains("of something else"), "{error}");
    }
}
