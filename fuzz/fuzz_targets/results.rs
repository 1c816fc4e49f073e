//! The tables in a folder of results: every step's report, and every picture's score.
#![no_main]

#[path = "../../examples/deepfake/log.rs"]
mod log;
#[path = "../../tests/hostile_files/place.rs"]
mod place;
#[path = "../../examples/deepfake/scores.rs"]
mod scores;

/// What the scores are of.
mod data {
    use std::sync::Arc;

    pub struct About {
        pub id: Arc<str>,
        pub forged: bool,
        pub video: Arc<str>,
    }

    impl About {
        pub fn person(&self) -> Arc<str> {
            self.id.clone()
        }
    }

    pub struct Domain {
        pub name: Arc<str>,
        pub about: Vec<About>,
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let table = place::write("table.csv", bytes);
    if let Ok(curves) = log::read(&table) {
        assert_eq!(curves.losses.len(), curves.cosines.len());
    }
    if let Ok(cosines) = log::domain_cosines(&table) {
        assert_eq!(cosines.names.len(), cosines.means.len());
    }
    if let Ok(all) = scores::Scores::read(&table) {
        for scores in &all {
            drop(scores.roc());
        }
        let again = place::folder().join("again.csv");
        scores::Scores::write(&again, &all).expect("what was read can be written");
        let read = scores::Scores::read(&again).expect("what was written can be read");
        assert_eq!(format!("{all:?}"), format!("{read:?}"));
    }
});
