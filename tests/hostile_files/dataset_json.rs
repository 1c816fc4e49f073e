//! Lists as DeepfakeBench writes them.

use roga::detector::data::DeepfakeBenchConfig;

use crate::{listing, place};

pub fn read(bytes: &[u8]) {
    let list = place::write("list.json", bytes);
    let config = DeepfakeBenchConfig::new(listing::root());
    listing::look(config.read(&list));
    for strip in ["..", "/elsewhere/rgb", r"C:\rgb\"] {
        listing::look(config.clone().with_strip(strip.into()).read(&list));
    }
}
