//! Burnpacks of strangers: what has to hold before burn's readers, which take a file at its word,
//! are handed one.

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Bool, Bytes, Int, Tensor},
};
use burn_pack::{DType, Reader, Tensor as Packed};

/// A pack whose header and names have been read, and how many bytes there are of it.
pub(crate) struct Pack {
    pub reader: Reader,
    bytes: u64,
}

impl Pack {
    /// Opens a file; `.bpk` is added to a path without an extension that is not there.
    pub fn open(path: &Path) -> Result<Self, String> {
        let path = match path.extension().is_none() && !path.exists() {
            true => path.with_extension(burn_pack::EXTENSION),
            false => path.to_path_buf(),
        };
        let file = fs::metadata(&path).map_err(|error| format!("cannot be read: {error}"))?;
        // A pipe would never end.
        if !file.is_file() {
            return Err("is no file".into());
        }
        Ok(Self {
            reader: Reader::from_file_exact(&path).map_err(|error| error.to_string())?,
            bytes: file.len(),
        })
    }

    /// A pack in memory.
    pub fn new(bytes: Bytes) -> Result<Self, String> {
        let length = bytes.len() as u64;
        Ok(Self {
            reader: Reader::from_bytes(bytes).map_err(|error| error.to_string())?,
            bytes: length,
        })
    }

    /// The tensors, none of which has been read yet.
    ///
    /// Their places in a file may overlap: a small file could name a thousand tensors that are each
    /// all of it. Quantized ones, which none of this crate's files holds, have no checked length.
    pub fn tensors(self) -> Result<Vec<Packed>, String> {
        let tensors = self.reader.into_tensors().map_err(|e| e.to_string())?;
        let mut claimed = 0u64;
        for tensor in &tensors {
            if matches!(tensor.dtype, DType::QFloat(_)) {
                return Err(format!("`{}` is quantized", tensor.name));
            }
            claimed = claimed.saturating_add(tensor.byte_len() as u64);
        }
        match claimed > self.bytes {
            true => Err(format!(
                "its tensors claim {claimed} bytes, and it has {}",
                self.bytes
            )),
            false => Ok(tensors),
        }
    }
}

/// Refuses a pack of another module's parameters, as far as burn would panic on them.
///
/// What is missing, unknown or of another shape, burn says itself.
pub(crate) fn check_module<M: Module>(pack: Pack, module: &M) -> Result<(), String> {
    let tensors = pack.tensors()?;
    check_shared(&tensors)?;
    let mut kinds = Kinds {
        path: Vec::new(),
        found: tensors.iter().map(|t| (&*t.name, t.dtype)).collect(),
        wrong: None,
    };
    module.visit(&mut kinds);
    match kinds.wrong {
        None => Ok(()),
        Some((name, dtype)) => Err(format!("`{name}` must not hold numbers of type {dtype:?}")),
    }
}

/// Refuses parameters of one id that differ in shape: the gradient of one would be taken for that
/// of the other.
fn check_shared(tensors: &[Packed]) -> Result<(), String> {
    let mut shapes = BTreeMap::new();
    for tensor in tensors {
        let Some(id) = tensor.param_id else { continue };
        let shape: &[usize] = &tensor.shape;
        if *shapes.entry(id).or_insert(shape) != shape {
            return Err(format!("`{}` is another parameter of one id", tensor.name));
        }
    }
    Ok(())
}

/// What each parameter holds in a pack, and the first that is of another kind in the module.
struct Kinds<'a> {
    path: Vec<String>,
    found: BTreeMap<&'a str, DType>,
    wrong: Option<(String, DType)>,
}

impl Kinds<'_> {
    fn expect(&mut self, fits: impl Fn(&DType) -> bool) {
        let name = self.path.join(".");
        if let Some(dtype) = self.found.get(&*name).filter(|dtype| !fits(dtype)) {
            self.wrong = Some((name, *dtype));
        }
    }
}

impl ModuleVisitor for Kinds<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        self.expect(DType::is_float);
    }

    fn visit_int<const D: usize>(&mut self, _: &Param<Tensor<D, Int>>) {
        self.expect(|dtype| dtype.is_int() || dtype.is_uint());
    }

    fn visit_bool<const D: usize>(&mut self, _: &Param<Tensor<D, Bool>>) {
        self.expect(DType::is_bool);
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Device};
    use burn_pack::Writer;

    use super::*;

    fn tensor(name: &str, dtype: DType, shape: &[usize], id: u64) -> Packed {
        let size = shape.iter().product::<usize>() * dtype.size();
        let bytes = Bytes::from_bytes_vec(vec![0; size]);
        Packed::new(name.into(), dtype, shape.to_vec(), Some(id), bytes)
    }

    fn pack(tensors: Vec<Packed>) -> Vec<u8> {
        Writer::new(tensors).into_bytes().unwrap().to_vec()
    }

    fn open(bytes: &[u8]) -> Result<Pack, String> {
        Pack::new(Bytes::from_bytes_vec(bytes.to_vec()))
    }

    /// Ends of tensors are 64-bit numbers in the header, which all have the same length there.
    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = bytes.windows(from.len()).position(|piece| piece == from);
        let mut bytes = bytes.to_vec();
        let at = at.expect("it is in the header");
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    }

    #[test]
    fn a_thousand_tensors_that_are_each_the_whole_file() {
        let whole = pack(vec![
            tensor("a", DType::U8, &[2000], 1),
            tensor("b", DType::U8, &[2000], 2),
        ]);
        assert_eq!(open(&whole).unwrap().tensors().unwrap().len(), 2);
        // In CBOR 0x19 is a number of two bytes: `b` from 2048 to 4048 becomes 0 to 2000. The file
        // is cut behind `a`.
        let from = [0x82, 0x19, 0x08, 0x00, 0x19, 0x0f, 0xd0];
        let mut lie = replaced(&whole, &from, &[0x82, 0x19, 0, 0, 0x19, 0x07, 0xd0]);
        lie.truncate(lie.len() - 2000);
        let error = open(&lie).unwrap().tensors().unwrap_err();
        assert!(
            error.starts_with("its tensors claim 4000 bytes, and it has "),
            "{error}"
        );
    }

    #[test]
    fn a_tensor_that_claims_more_than_there_is() {
        let whole = pack(vec![tensor("a", DType::U8, &[2000], 1)]);
        // Of shape [2^16 - 1], to that place.
        let shape = replaced(&whole, &[0x81, 0x19, 0x07, 0xd0], &[0x81, 0x19, 0xff, 0xff]);
        let lie = replaced(
            &shape,
            &[0x82, 0x00, 0x19, 0x07, 0xd0],
            &[0x82, 0x00, 0x19, 0xff, 0xff],
        );
        let error = open(&lie).err().expect("it is refused");
        assert!(error.contains("truncated"), "{error}");
    }

    #[test]
    fn numbers_of_another_kind_than_the_parameters() {
        let model = LinearConfig::new(2, 3).init(&Device::default());
        for (dtype, fits) in [(DType::F32, true), (DType::F64, true), (DType::I64, false)] {
            let bytes = pack(vec![tensor("weight", dtype, &[2, 3], 1)]);
            let checked = check_module(open(&bytes).unwrap(), &model);
            assert_eq!(checked.is_ok(), fits, "{checked:?}");
        }
    }

    #[test]
    fn two_shapes_under_one_id() {
        let model = LinearConfig::new(2, 3).init(&Device::default());
        let of = |id| {
            let weight = tensor("weight", DType::F32, &[2, 3], 1);
            pack(vec![weight, tensor("bias", DType::F32, &[3], id)])
        };
        assert!(check_module(open(&of(2)).unwrap(), &model).is_ok());
        let error = check_module(open(&of(1)).unwrap(), &model).unwrap_err();
        assert!(error.contains("another parameter of one id"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_and_nothing_are_no_packs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Pack::open(folder.path()).is_err());
        assert!(Pack::open(&folder.path().join("no")).is_err());
    }
}
