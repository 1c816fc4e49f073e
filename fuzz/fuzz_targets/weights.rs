#![no_main]

#[path = "../../tests/hostile_files/place.rs"]
mod place;
#[path = "../../tests/hostile_files/printed.rs"]
mod printed;
#[path = "../../tests/hostile_files/weights.rs"]
mod weights;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weights::read(bytes));
