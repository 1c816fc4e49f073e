#![no_main]

#[path = "../../tests/hostile_files/net.rs"]
mod net;
#[path = "../../tests/hostile_files/printed.rs"]
mod printed;
#[path = "../../tests/hostile_files/training_record.rs"]
mod training_record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| training_record::read(bytes));
