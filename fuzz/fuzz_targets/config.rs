//! The configuration file of the example `deepfake`.
#![no_main]

#[path = "../../examples/deepfake/as_text.rs"]
mod as_text;
#[path = "../../examples/deepfake/augment.rs"]
mod augment;
#[path = "../../tests/hostile_files/config.rs"]
mod config;
#[path = "../../examples/deepfake/limited.rs"]
mod limited;
#[path = "../../examples/deepfake/method.rs"]
mod method;
#[path = "../../tests/hostile_files/place.rs"]
mod place;
#[path = "../../examples/deepfake/search.rs"]
mod search;
#[path = "../../examples/deepfake/settings.rs"]
mod settings;

/// What the settings' augmentations change.
mod data {
    use std::sync::Arc;

    #[derive(Clone)]
    pub struct Item {
        pub picture: Arc<image::RgbImage>,
        pub forged: bool,
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    place::write(settings::CONFIG, bytes);
    if let Ok(settings) = settings::Settings::of_folder(&place::folder()) {
        config::comes_back(&settings);
        let item = data::Item {
            picture: image::RgbImage::new(9, 7).into(),
            forged: true,
        };
        let changed = augment::augmentation(&settings.augment);
        assert!(changed.expect("it was checked")(item, 3).forged);
    }
});
