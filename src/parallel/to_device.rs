use burn::tensor::{Bool, Device, Int, Tensor};

/// Batches that can be moved to another device.
///
/// It is there for tensors and pairs. For a batch of several tensors it takes a few lines:
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use roga::parallel::ToDevice;
///
/// struct Batch {
///     pictures: Tensor<4>,
///     labels: Tensor<1, Int>,
/// }
///
/// impl ToDevice for Batch {
///     fn to_device(&self, device: &Device) -> Self {
///         Self {
///             pictures: ToDevice::to_device(&self.pictures, device),
///             labels: ToDevice::to_device(&self.labels, device),
///         }
///     }
///
///     fn bytes(&self) -> u64 {
///         self.pictures.bytes() + self.labels.bytes()
///     }
/// }
/// ```
pub trait ToDevice: Sized + Send {
    /// A copy on the device; on the device where it is, it need not be one.
    fn to_device(&self, device: &Device) -> Self;

    /// How many bytes that moves.
    fn bytes(&self) -> u64;
}

macro_rules! tensors_to_device {
    ($($tensor:ty),*) => {
        $(impl<const D: usize> ToDevice for $tensor {
            fn to_device(&self, device: &Device) -> Self {
                self.clone().to_device(device)
            }

            fn bytes(&self) -> u64 {
                (self.shape().num_elements() * self.dtype().size()) as u64
            }
        })*
    };
}

tensors_to_device!(Tensor<D>, Tensor<D, Int>, Tensor<D, Bool>);

impl<A: ToDevice, B: ToDevice> ToDevice for (A, B) {
    fn to_device(&self, device: &Device) -> Self {
        (self.0.to_device(device), self.1.to_device(device))
    }

    fn bytes(&self) -> u64 {
        self.0.bytes() + self.1.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_all_tensors() {
        let device = Device::flex();
        let x = Tensor::<2>::zeros([3, 4], &device);
        let y = Tensor::<1, Int>::zeros([3], &device);
        let of_integers = 3 * y.dtype().size() as u64;
        assert_eq!((x, y).bytes(), 3 * 4 * 4 + of_integers);
    }
}
