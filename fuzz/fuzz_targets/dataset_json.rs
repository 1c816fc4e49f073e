#![no_main]

#[path = "../../tests/hostile_files/dataset_json.rs"]
mod dataset_json;
#[path = "../../tests/hostile_files/listing.rs"]
mod listing;
#[path = "../../tests/hostile_files/place.rs"]
mod place;
#[path = "../../tests/hostile_files/printed.rs"]
mod printed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataset_json::read(bytes));
