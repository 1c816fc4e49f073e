//! MNIST's files from the network, by burn's own downloader.

use std::{error::Error, fs, path::Path, thread};

use burn::data::network::downloader::download_file_as_bytes;

use crate::{mnist::FILES, output::write};

/// Where burn takes them from as well.
const MIRROR: &str = "https://storage.googleapis.com/cvdf-datasets/mnist";

/// Puts those of the four files into a folder that are not there.
pub fn download(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for name in FILES.as_flattened() {
        let path = folder.join(format!("{name}.gz"));
        if path.exists() || folder.join(name).exists() {
            continue;
        }
        let url = format!("{MIRROR}/{name}.gz");
        // The downloader panics where there is no network.
        let bytes = thread::spawn(move || download_file_as_bytes(&url, name)).join();
        let bytes = bytes.map_err(|_| format!("{MIRROR}/{name}.gz could not be downloaded"))?;
        write(&path, &bytes)?;
    }
    Ok(())
}
