#![no_main]

#[path = "../../tests/hostile_files/average_record.rs"]
mod average_record;
#[path = "../../tests/hostile_files/net.rs"]
mod net;
#[path = "../../tests/hostile_files/printed.rs"]
mod printed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| average_record::read(bytes));
