#![no_main]

#[path = "../../tests/hostile_files/place.rs"]
mod place;
#[path = "../../tests/hostile_files/printed.rs"]
mod printed;
#[path = "../../tests/hostile_files/search_journal.rs"]
mod search_journal;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| search_journal::read(bytes));
