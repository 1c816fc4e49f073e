//! Files that are there as a whole or not at all.

use std::{fs, io, path::Path, process};

/// Writes a file beside its place and renames it. Processes that write the same file do not meet.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.part", process::id()));
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}
