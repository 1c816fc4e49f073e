use std::path::Path;

use burn::{module::Module, store::ModuleRecord};

use super::named::Backbone;
use crate::{
    Error, Result,
    pack::{self, Pack},
};

impl Backbone {
    /// Reads weights that burn's [`save_file`](Module::save_file) wrote, of a net of the same
    /// structure. Numbers of another precision are cast to that of the net.
    ///
    /// burn's own [`try_load_file`](Module::try_load_file) takes a file at its word and panics
    /// where its numbers are of another kind than the net's; here that is an error.
    ///
    /// ```no_run
    /// use burn::tensor::Device;
    /// use roga::detector::backbone::BackboneConfig;
    ///
    /// let net = BackboneConfig::Small.init(2, &Device::default())?;
    /// let net = net.load_trained("weights.bpk")?;
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a file that cannot be read, is damaged, or is of another net.
    pub fn load_trained(self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Pack::open(path)
            .and_then(|pack| pack::check_module(pack, &self))
            .map_err(|error| Error::file(path, error))?;
        ModuleRecord::load(path)
            // One weight of another precision, and the net could not be called.
            .and_then(|record| self.try_load_record(record.cast_to_module_dtype()))
            .map_err(|error| Error::file(path, error))
    }
}
