use std::{
    fs::{File, TryLockError},
    io::{Read, Write},
    path::Path,
};

use crate::{Error, Result};

/// Keeps other processes out of a folder, as long as it lives.
///
/// It is a lock of the operating system on the file `.lock` in the folder, which stays there: a process
/// that is killed leaves no lock behind. Not every file system has locks; without one, two processes in
/// one folder are the caller's to avoid.
///
/// ```
/// use roga::checkpoint::FolderLock;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let lock = FolderLock::new(folder)?;
/// assert!(FolderLock::new(folder).is_err());
/// drop(lock);
/// assert!(FolderLock::new(folder).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FolderLock {
    /// Locked until it is closed.
    _file: File,
}

/// The file that is locked. The number of the process that has done so is in it.
const LOCK: &str = ".lock";

impl FolderLock {
    /// Locks a folder that is there.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where another process, or this one, has locked it, and where the file of the lock
    /// cannot be made.
    pub fn new(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join(LOCK);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options
            .open(&path)
            .map_err(|error| Error::file(&path, error))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let mut holder = String::new();
            // Where a lock keeps readers out too, the number is not known.
            let holder = match file.read_to_string(&mut holder) {
                Ok(_) if !holder.is_empty() => format!("process {holder}"),
                _ => "another process".into(),
            };
            return Err(Error::file(
                folder,
                format!("{holder} is at work in this folder: wait for its end, or choose another"),
            ));
        }
        // Who it is helps, and is no reason to fail.
        let number = std::process::id().to_string();
        _ = file
            .set_len(0)
            .and_then(|()| file.write_all(number.as_bytes()));
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let lock = FolderLock::new(folder.path()).unwrap();
            let refused = FolderLock::new(folder.path()).unwrap_err();
            let expected = format!(
                "{}: process {} is at work in this folder: wait for its end, or choose another",
                folder.path().display(),
                std::process::id()
            );
            assert_eq!(refused.to_string(), expected);
            drop(lock);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_locked() {
        let folder = tempfile::tempdir().unwrap();
        let error = FolderLock::new(folder.path().join("no such")).unwrap_err();
        assert!(error.to_string().contains("no such"), "{error}");
    }
}
