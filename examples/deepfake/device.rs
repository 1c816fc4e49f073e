//! The device of a name.

use std::error::Error;

use burn::tensor::Device;

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
