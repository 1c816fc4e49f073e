//! Files of strangers: whatever is in them, they are read or refused, and nothing of them is obeyed.
//!
//! The readers here are those that `fuzz/` hands random bytes to. Every seed of theirs goes through
//! them here, and so does every input that once made one of them fail.
#![cfg(feature = "detector")]

mod average_record;
mod dataset_json;
mod landmarks;
mod listing;
mod manifest;
mod net;
mod picture;
mod place;
mod printed;
mod round_trip;
mod search_journal;
mod training_record;
mod weights;

use std::{fs, path::Path};

/// Hands all seeds of a reader to it, and every beginning of each, and each with a byte changed.
fn seeds(name: &str, read: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    // A published crate has no seeds.
    let Ok(seeds) = fs::read_dir(folder) else {
        return;
    };
    let mut count = 0;
    for seed in seeds {
        let seed = fs::read(seed.expect("the folder can be read").path());
        let seed = seed.expect("the seed can be read");
        assert!(seed.len() < 2048, "seeds are small");
        read(&seed);
        let some = seed.len().div_ceil(60).max(1);
        for place in (0..seed.len()).step_by(some) {
            read(&seed[..place]);
            let mut changed = seed.clone();
            changed[place] ^= 0x81;
            read(&changed);
        }
        count += 1;
    }
    assert!(count > 0, "{name} has no seed");
}

#[test]
fn a_record_with_the_right_checksum_is_read() {
    training_record::an_untouched_part_is_read();
}

macro_rules! readers {
    ($($name:ident),+) => {
        $(
            #[test]
            fn $name() {
                seeds(stringify!($name), $name::read);
            }
        )+

        /// Writes a file of `ROGA_HOSTILE=<reader>:<file>` through its reader, to see what a crash says.
        #[test]
        fn one_file() {
            let Ok(named) = std::env::var("ROGA_HOSTILE") else {
                return;
            };
            let (reader, file) = named.split_once(':').expect("it is <reader>:<file>");
            let bytes = fs::read(file).expect("the file can be read");
            match reader {
                $(stringify!($name) => $name::read(&bytes),)+
                _ => panic!("{reader} is no reader"),
            }
        }
    };
}

mod readers {
    use super::*;

    readers!(
        average_record,
        dataset_json,
        landmarks,
        manifest,
        picture,
        search_journal,
        training_record,
        weights
    );
}
