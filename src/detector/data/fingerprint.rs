use std::{fs::File, io};

use sha2::{Digest, Sha256};

use super::{
    decode::check_unchanged,
    problem::Fault,
    root::inside,
    set::{PictureSet, in_file},
};
use crate::{Result, detector::dataset::in_parallel};

/// What of the pictures' files is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashContent {
    /// Their sizes: fast.
    #[default]
    Sizes,
    /// Their bytes: every file is read.
    Bytes,
}

impl PictureSet {
    /// A number for the set, for a result's file: the SHA-256, in hexadecimal digits, of all
    /// pictures' names, labels, domains, splits and files, sorted by name.
    ///
    /// It depends neither on where the root is nor on the order of the lists.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) for a file that cannot be read, or whose bytes are asked for
    /// and that has changed since the set was checked.
    pub fn hash(&self, content: HashContent) -> Result<String> {
        let records: Vec<_> = self.records().zip(self.headers()).collect();
        let mut lines = in_parallel(0, &records, |(record, header)| {
            let file = match content {
                HashContent::Sizes => header.bytes.to_string(),
                HashContent::Bytes => inside(&record.root, &record.file)
                    .and_then(|file| {
                        let mut hash = Sha256::new();
                        let opened = File::open(&file);
                        let copied = opened.and_then(|mut f| io::copy(&mut f, &mut hash));
                        copied.map_err(|error| Fault::Undecodable(error.to_string()))?;
                        check_unchanged(&file, header)?;
                        Ok(format!("{:x}", hash.finalize()))
                    })
                    .map_err(|fault| in_file(record, fault))?,
            };
            let split = record.split.map_or("", super::Split::name);
            // A name may hold any character but NUL.
            Ok([
                &*record.id,
                &*record.dataset,
                &*record.domain,
                record.label.name(),
                split,
                &*file,
            ]
            .join("\0"))
        })?;
        lines.sort_unstable();
        let mut hash = Sha256::new();
        for line in lines {
            hash.update(line);
            hash.update("\n\0");
        }
        Ok(format!("{:x}", hash.finalize()))
    }
}
