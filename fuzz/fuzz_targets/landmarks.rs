#![no_main]

#[path = "../../tests/hostile_files/landmarks.rs"]
mod landmarks;
#[path = "../../tests/hostile_files/place.rs"]
mod place;
#[path = "../../tests/hostile_files/printed.rs"]
mod printed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| landmarks::read(bytes));
