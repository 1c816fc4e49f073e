//! Files of settings and results, which may be anybody's, within a limit.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// What such a file may weigh, in bytes.
const MAX_BYTES: u64 = 1 << 28;

/// Reads a file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let too_large = || io::Error::other(format!("it has more than {MAX_BYTES} bytes"));
    let file = File::open(path)?;
    if file.metadata()?.len() > MAX_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(too_large()),
        false => Ok(bytes),
    }
}

/// Reads a file of text.
pub fn read_text(path: &Path) -> io::Result<String> {
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no text of UTF-8");
    String::from_utf8(read(path)?).map_err(no_text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_of_gigabytes_and_one_of_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        fs::write(&path, "ü").unwrap();
        assert_eq!(read_text(&path).unwrap(), "ü");
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(read(&path).unwrap(), [0xff]);
        assert!(read_text(&path).is_err());
        // It has no bytes on the disk.
        File::create(&path).unwrap().set_len(4 << 30).unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert_eq!(said, "it has more than 268435456 bytes");
    }
}
