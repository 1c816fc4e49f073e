//! The configuration file of the example `deepfake`.

use crate::settings::Settings;

/// Asserts that settings are read as they are written.
pub fn comes_back(settings: &Settings) {
    let text = settings.to_toml().expect("what was read can be written");
    let again: Settings = toml::from_str(&text).expect("what was written can be read");
    assert_eq!(again.to_toml().expect("it was written before"), text);
}
