use std::{fs::File, io::Read, path::Path};

use crate::{Error, Result};

/// What a list of pictures may weigh, in bytes.
pub const MAX_LIST_BYTES: u64 = 1 << 29;
/// The pictures a data set may have.
pub const MAX_RECORDS: usize = 20_000_000;

/// The bytes of a list, without a byte order mark.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let refused = |reason: String| Error::File {
        path: path.into(),
        reason,
    };
    let failed = |error: std::io::Error| refused(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_LIST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_LIST_BYTES {
        return Err(refused(
            "is larger than 512 MiB: part it into several lists".into(),
        ));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

/// Refuses more pictures than [`MAX_RECORDS`].
pub(super) fn check_count(path: &Path, records: usize) -> Result<()> {
    if records <= MAX_RECORDS {
        return Ok(());
    }
    Err(Error::File {
        path: path.into(),
        reason: format!("names more than {MAX_RECORDS} pictures: part it into several sets"),
    })
}
