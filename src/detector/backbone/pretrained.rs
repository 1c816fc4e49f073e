use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fmt, fs,
    path::Path,
};

use burn::module::Module;
use burn_store::{
    Applier, ApplyError, ApplyResult, FloatCastAdapter, KeyRemapper, ModuleAdapter, ModuleStore,
    PyTorchToBurnAdapter, PytorchStore, SafetensorsStore, burn_pack::Tensor,
};

use super::{classifier::Classifier, named::Backbone};
use crate::{Error, Result, error::Printable};

/// What becomes of a net's head when published weights are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It stays as it was initialised: for other classes than those of the weights.
    Initialised,
    /// It is read like the rest.
    Loaded,
}

/// In what a file's tensors are not those of a net.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Parameters of the net that the file has not, by their names here.
    pub missing: Vec<String>,
    /// Tensors of the file that the net has not, by their names there.
    pub unexpected: Vec<String>,
    /// Tensors of the file that have another shape than the net's.
    pub misshapen: Vec<Misshapen>,
}

/// A tensor of another shape than the net's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// Its name in the file.
    pub name: String,
    /// Its shape in the file; of the weights of a linear layer `[inputs, outputs]`.
    pub found: Vec<usize>,
    /// Its shape in the net.
    pub expected: Vec<usize>,
}

impl Backbone {
    /// Reads weights as torchvision and timm publish them, from a file of safetensors
    /// (`.safetensors`) or of `torch.save` (`.pth`, `.pt`, `.bin`).
    ///
    /// Names are those of torchvision's `resnet18` to `50`, `efficientnet_b0` to `b4` and
    /// `convnext_tiny`, of timm's nets of the same names, and of timm's `legacy_xception` and the
    /// file it comes from, which DeepfakeBench uses too. A training's checkpoint whose weights
    /// stand under `state_dict`, `model_state_dict` or `model`, and names behind `module`, are
    /// read as well. Numbers of another precision are cast to that of the net's device.
    ///
    /// A file that `torch.save` wrote under a name of 21 characters before the dot is refused, and
    /// renaming it does not help: the `zip` crate, up to 9.8.1 at least, takes the second entry of
    /// such an archive's directory for the first. Written under another name, or as safetensors,
    /// it is read.
    ///
    /// Running statistics are shared by a net's clones, and a clone's are read along.
    ///
    /// ```no_run
    /// use burn::tensor::Device;
    /// use roga::detector::backbone::{BackboneConfig, Head};
    ///
    /// let net = BackboneConfig::EfficientNetB4.init(2, &Device::default())?;
    /// let net = net.load_pretrained("efficientnet_b4.safetensors", Head::Initialised)?;
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a file that cannot be read, is damaged, is larger than 2 GiB or is of
    /// another kind; [`Error::Weights`] with everything that is missing, unexpected or of another
    /// shape.
    pub fn load_pretrained(self, path: impl AsRef<Path>, head: Head) -> Result<Self> {
        let path = path.as_ref();
        let unusable = |reason: String| Error::File {
            path: path.into(),
            reason,
        };
        let renamer = KeyRemapper::from_patterns(self.names())
            .map_err(|error| unusable(format!("its names cannot be mapped: {error}")))?;
        let (mut tensors, names) = renamer.remap(state_dict(read(path)?));
        let is_read = |name: &str| head == Head::Loaded || !name.starts_with("head.");
        tensors.retain(|tensor| is_read(&tensor.name));
        let doubled = doubled(&tensors);
        let tensors = tensors.into_iter().map(with_our_rank).collect();

        let float = self.head().weight.lazy_device().settings().float_dtype;
        let adapter = PyTorchToBurnAdapter.chain(FloatCastAdapter::to(float.into()));
        let mut applier = Applier::new(tensors, None, Some(Box::new(adapter)), true);
        let net = self.map(&mut applier);
        let mut found = applier.into_result();
        found.missing.retain(|(name, _)| is_read(name));
        found.unused.extend(doubled);
        let mismatch = Mismatch::new(found, &names).map_err(unusable)?;
        if mismatch == Mismatch::default() {
            return Ok(net);
        }
        Err(Error::Weights {
            path: path.into(),
            mismatch: Box::new(mismatch),
        })
    }
}

/// The largest file that is read.
const MAX_BYTES: u64 = 2 << 30;

/// How many names of each kind an error writes out.
const SHOWN: usize = 5;

/// What helps with a file that torch reads and its reader here does not.
const MEND: &str = "write it as safetensors, or by torch.save under a name of another length";

/// The tensors of a file, none of which has been read yet.
fn read(path: &Path) -> Result<Vec<Tensor>> {
    let unusable = |reason: String| Error::File {
        path: path.into(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    let bytes = metadata.len();
    if !metadata.is_file() || bytes == 0 {
        return Err(unusable("is no file or an empty one".into()));
    }
    if bytes > MAX_BYTES {
        let reason = format!("weights must have at most {MAX_BYTES} bytes, but these have {bytes}");
        return Err(unusable(reason));
    }
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    let tensors = match extension.to_ascii_lowercase().as_str() {
        "safetensors" => all(SafetensorsStore::from_file(path).map_indices_contiguous(false)),
        "pth" | "pt" | "bin" => all(PytorchStore::from_file(path).map_indices_contiguous(false))
            .map_err(|reason| format!("{reason}; if torch reads it, {MEND}")),
        _ => Err("weights must end in .safetensors, .pth, .pt or .bin".into()),
    };
    let tensors = tensors.map_err(unusable)?;
    // A view can repeat what is stored, and would be read at the size that it claims.
    if let Some(claims) = tensors.iter().find(|it| it.byte_len() as u64 > bytes) {
        let reason = format!("`{}` claims more bytes than the file has", claims.name);
        return Err(unusable(reason));
    }
    Ok(tensors)
}

fn all<S: ModuleStore>(mut store: S) -> Result<Vec<Tensor>, String> {
    let tensors = store.get_all_tensors().map_err(|error| error.to_string())?;
    Ok(tensors.values().cloned().collect())
}

/// What is a net's among a checkpoint's tensors, named as in the net.
fn state_dict(mut tensors: Vec<Tensor>) -> Vec<Tensor> {
    // How often a batch norm was trained is not asked for by any net.
    tensors.retain(|tensor| !tensor.name.ends_with("num_batches_tracked"));
    for wrapper in ["state_dict.", "model_state_dict.", "model.", "module."] {
        if tensors.iter().any(|it| it.name.starts_with(wrapper)) {
            tensors.retain(|it| it.name.starts_with(wrapper));
            for tensor in &mut tensors {
                tensor.name.drain(..wrapper.len());
            }
        }
    }
    tensors
}

/// The same numbers, where a publisher's shape differs in sizes of 1 alone.
fn with_our_rank(mut tensor: Tensor) -> Tensor {
    let sizes: &[usize] = &tensor.shape;
    let ours = match *sizes {
        // torchvision's layer scales.
        [channels, 1, 1] if tensor.name.ends_with(".scale") => Some(vec![channels]),
        // The convolutions of 1×1 in Cadene's file.
        [outputs, inputs] if tensor.name.ends_with(".pointwise.weight") => {
            Some(vec![outputs, inputs, 1, 1])
        }
        _ => None,
    };
    if let Some(ours) = ours {
        tensor.shape = ours.into();
    }
    tensor
}

/// Names that more than one tensor has.
fn doubled(tensors: &[Tensor]) -> Vec<String> {
    let mut seen = HashSet::new();
    let again = tensors.iter().filter(|tensor| !seen.insert(&tensor.name));
    again.map(|tensor| tensor.name.clone()).collect()
}

/// Patterns of published names, and what stands for them here.
pub(super) fn owned(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = names
        .iter()
        .map(|(from, to)| (from.to_string(), to.to_string()));
    owned.collect()
}

impl Mismatch {
    /// Of what was found, with the names of the file for ours. A tensor that cannot be read at all
    /// is an error.
    fn new(found: ApplyResult, names: &[(String, String)]) -> Result<Self, String> {
        let published: HashMap<&str, &str> = names
            .iter()
            .map(|(ours, published)| (ours.as_str(), published.as_str()))
            .collect();
        let published = |ours: &str| {
            // What burn calls a norm's weight and bias.
            let norm = ours.replace(".gamma", ".weight").replace(".beta", ".bias");
            let name = published.get(ours).or_else(|| published.get(norm.as_str()));
            name.map_or_else(|| ours.to_string(), |name| name.to_string())
        };
        let mut mismatch = Self {
            missing: found.missing.into_iter().map(|(name, _)| name).collect(),
            unexpected: found.unused.iter().map(|name| published(name)).collect(),
            misshapen: Vec::new(),
        };
        for error in found.errors {
            match error {
                ApplyError::ShapeMismatch {
                    path,
                    expected,
                    found,
                } => mismatch.misshapen.push(Misshapen {
                    name: published(&path),
                    found: found.to_vec(),
                    expected: expected.to_vec(),
                }),
                other => return Err(other.to_string()),
            }
        }
        Ok(mismatch)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let misshapen: Vec<String> = self.misshapen.iter().map(Misshapen::to_string).collect();
        let mut separator = "";
        for (what, names) in [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &misshapen),
        ] {
            if names.is_empty() {
                continue;
            }
            let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
            let shown = shown.join(", ");
            // Names come from the file.
            write!(
                f,
                "{separator}{} {what}: {}",
                names.len(),
                Printable(&shown)
            )?;
            if names.len() > SHOWN {
                write!(f, " and {} more", names.len() - SHOWN)?;
            }
            separator = "; ";
        }
        Ok(())
    }
}

impl fmt::Display for Misshapen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            found,
            expected,
        } = self;
        write!(f, "{name}: {found:?} instead of {expected:?}")
    }
}
