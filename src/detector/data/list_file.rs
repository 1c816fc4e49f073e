use std::{fs::File, io::Read, path::Path};

use super::listing::Listing;
use crate::{Error, Result};

/// What a list of pictures may weigh, in bytes.
pub const MAX_LIST_BYTES: u64 = 1 << 29;
/// The pictures a data set may have.
pub const MAX_RECORDS: usize = 20_000_000;
/// How much of a list may be wrong: that many problems are kept for the check, and with one more the
/// list is refused.
pub const MAX_PROBLEMS: usize = 1_000_000;

/// The bytes of a list, without a byte order mark.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let refused = |reason: String| Error::File {
        path: path.into(),
        reason,
    };
    let failed = |error: std::io::Error| refused(format!("cannot be read: {error}"));
    let too_large = || refused("is larger than 512 MiB: part it into several lists".into());
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > MAX_LIST_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_LIST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_LIST_BYTES {
        return Err(too_large());
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

/// Refuses more pictures than [`MAX_RECORDS`], and more problems than [`MAX_PROBLEMS`].
pub(super) fn check_count(path: &Path, listing: &Listing) -> Result<()> {
    let reason = match (listing.len(), listing.problems().len()) {
        (..=MAX_RECORDS, ..=MAX_PROBLEMS) => return Ok(()),
        (..=MAX_RECORDS, _) => {
            format!("has more than {MAX_PROBLEMS} problems: it may be something else")
        }
        _ => format!("names more than {MAX_RECORDS} pictures: part it into several sets"),
    };
    Err(Error::File {
        path: path.into(),
        reason,
    })
}

/// Refuses JSON of more values than a list of [`MAX_RECORDS`] pictures, each with a mask, has:
/// a value of two bytes takes a hundred once it is read.
pub(super) fn check_values(path: &Path, json: &[u8]) -> Result<()> {
    let values = json.iter().filter(|byte| **byte == b',').count();
    match values <= 2 * MAX_RECORDS {
        true => Ok(()),
        false => Err(Error::File {
            path: path.into(),
            reason: format!("names more than {MAX_RECORDS} pictures: part it into several sets"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::detector::data::problem::{Fault, Problem};

    fn refused(result: Result<()>) -> String {
        result.expect_err("it is refused").to_string()
    }

    #[test]
    fn a_list_that_is_wrong_in_a_million_places() {
        let mut listing = Listing::default();
        for _ in 0..MAX_PROBLEMS {
            listing.problem(Problem::at(PathBuf::new(), Fault::Missing));
        }
        assert!(check_count(Path::new("list"), &listing).is_ok());
        listing.problem(Problem::at(PathBuf::new(), Fault::Missing));
        let said = refused(check_count(Path::new("list"), &listing));
        assert_eq!(
            said,
            "list: has more than 1000000 problems: it may be something else"
        );
    }

    #[test]
    fn json_of_empty_values_alone() {
        let mut json = vec![b','; 2 * MAX_RECORDS];
        assert!(check_values(Path::new("list"), &json).is_ok());
        json.push(b',');
        let said = refused(check_values(Path::new("list"), &json));
        assert!(said.contains("more than 20000000 pictures"), "{said}");
    }

    #[test]
    fn a_file_of_a_byte_more_than_half_a_gibibyte() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.json");
        // It has no bytes on the disk.
        let file = File::create(&list).unwrap();
        file.set_len(4 << 30).unwrap();
        let said = refused(read(&list).map(drop));
        assert!(said.contains("larger than 512 MiB"), "{said}");
    }
}
