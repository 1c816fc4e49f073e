//! Files that are there as a whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process,
};

/// Writes a file beside its place, syncs and renames it. Processes that write the same file do not meet.
/// An error names the file, and leaves in its place what was there.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.part", process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes.as_ref())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|error| {
        // A full disk is given its room back.
        fs::remove_file(&beside).ok();
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    })
}
