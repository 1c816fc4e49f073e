use std::{collections::BTreeSet, fmt};

use burn::tensor::{Bytes, Device, Tensor};
use burn_pack::Writer;

use crate::{
    Result,
    gradient::{Vectors, packed, read_back, unpacked},
    pack::Pack,
};

/// The gradients that a training carries from step to step, on the device.
#[derive(Clone, Default)]
pub(crate) struct Carried {
    /// $m$ of a [`FriendlyAscent`](super::FriendlyAscent).
    pub mean: Vectors,
    /// $\hat v$ of the last perturbed step, which plain steps reuse.
    pub direction: Vectors,
}

/// What they are called in a file.
const MEAN: &str = "mean";
const DIRECTION: &str = "direction";

impl Carried {
    /// A burnpack of them; `None` where there are none.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) where they cannot be read back.
    pub fn to_writer(&self) -> Result<Option<Writer>> {
        let mut tensors = Vec::new();
        for (name, vectors) in [(MEAN, &self.mean), (DIRECTION, &self.direction)] {
            tensors.extend(packed(name, &read_back(vectors)?));
        }
        Ok((!tensors.is_empty()).then(|| Writer::new(tensors)))
    }

    pub fn from_bytes(bytes: Bytes) -> Result<Self, String> {
        let mut carried = Self::default();
        for tensor in Pack::new(bytes)?.tensors()? {
            let (name, id, data) = unpacked(&tensor).map_err(|error| error.to_string())?;
            let vectors = match name {
                MEAN => &mut carried.mean,
                DIRECTION => &mut carried.direction,
                _ => return Err(format!("nothing is carried as `{name}`")),
            };
            // Where burn reads the base optimizer's state as well; a step takes them to the model.
            let dtype = data.dtype();
            vectors.insert(id, Tensor::from_data(data, (&Device::default(), dtype)));
        }
        Ok(carried)
    }

    /// The ids of the parameters they are of.
    pub fn parameters(&self) -> BTreeSet<u64> {
        let ids = self.mean.keys().chain(self.direction.keys());
        ids.map(|id| id.val()).collect()
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried")
            .field("mean", &self.mean.len())
            .field("direction", &self.direction.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;

    use super::*;

    fn carried() -> Carried {
        let vector = |numbers: &[f32]| Tensor::<1>::from_floats(numbers, &Device::flex());
        Carried {
            mean: Vectors::from([(ParamId::from(3), vector(&[1.0, -2.0]))]),
            direction: Vectors::from([
                (ParamId::from(3), vector(&[0.0, 0.5])),
                (ParamId::from(8), vector(&[4.0])),
            ]),
        }
    }

    fn bytes(carried: &Carried) -> Vec<u8> {
        let writer = carried.to_writer().unwrap().unwrap();
        writer.into_bytes().unwrap().to_vec()
    }

    fn numbers(vectors: &Vectors) -> Vec<(u64, Vec<f32>)> {
        let read = |vector: &Tensor<1>| vector.to_data().iter::<f32>().collect();
        let vectors = vectors.iter();
        vectors
            .map(|(id, vector)| (id.val(), read(vector)))
            .collect()
    }

    #[test]
    fn what_is_carried_comes_back() {
        let read = Carried::from_bytes(Bytes::from_bytes_vec(bytes(&carried()))).unwrap();
        assert_eq!(numbers(&read.mean), numbers(&carried().mean));
        assert_eq!(numbers(&read.direction), numbers(&carried().direction));
        assert_eq!(read.parameters(), BTreeSet::from([3, 8]));
        assert!(Carried::default().to_writer().unwrap().is_none());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_other_numbers() {
        let whole = bytes(&carried());
        for length in 0..whole.len() {
            let cut = Bytes::from_bytes_vec(whole[..length].to_vec());
            assert!(Carried::from_bytes(cut).is_err(), "{length}");
        }
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0xff;
            drop(Carried::from_bytes(Bytes::from_bytes_vec(bytes)));
        }
        let other = packed("other", &read_back(&carried().mean).unwrap()).collect();
        let other = Writer::new(other).into_bytes().unwrap();
        let error = Carried::from_bytes(other).unwrap_err();
        assert!(error.contains("nothing is carried as `other`"), "{error}");
    }
}
