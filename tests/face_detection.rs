//! The face detector's settings and its model file, as far as they are told without the model.

use roga::detector::data::FaceDetectorConfig;

/// Of the model that SeetaFace has published.
const MODEL_BYTES: usize = 1_209_904;

#[test]
fn no_model_or_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    let config = FaceDetectorConfig::new(path.clone());
    let said = || config.init().unwrap_err().to_string();
    assert!(said().contains("model.bin: cannot be used"));
    std::fs::write(&path, "short").unwrap();
    assert!(said().contains("5 bytes"));
    std::fs::write(&path, vec![7; MODEL_BYTES]).unwrap();
    assert!(said().contains("damaged") && said().contains("seeta_fd_frontal_v1.0.bin"));
}

#[test]
fn settings_out_of_range_are_named() {
    let new = || FaceDetectorConfig::new("model.bin".into());
    for (config, field) in [
        (new().with_smallest(19), "smallest"),
        (new().with_threshold(f64::NAN), "threshold"),
        (new().with_margin(0.5), "margin"),
    ] {
        assert!(config.init().unwrap_err().to_string().starts_with(field));
    }
}
