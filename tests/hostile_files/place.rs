//! A folder for the files that readers are handed: one a thread.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("there is a place for files");
}

/// The folder.
pub fn folder() -> PathBuf {
    FOLDER.with(|folder| folder.path().to_path_buf())
}

/// Writes a file by its path below the folder.
pub fn write(name: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("the file can be written");
    path
}
