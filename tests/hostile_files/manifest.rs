//! Tables of pictures: the same bytes as CSV and as JSON lines.

use roga::detector::data::ManifestConfig;

use crate::{listing, place};

pub fn read(bytes: &[u8]) {
    let config = ManifestConfig::new().with_root(Some(listing::root()));
    for name in ["list.csv", "list.jsonl"] {
        let manifest = place::write(name, bytes);
        listing::look(config.read(&manifest));
        let stripped = config.clone().with_strip("/elsewhere".into());
        listing::look(stripped.read(&manifest));
    }
}
