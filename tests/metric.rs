//! The metrics against values computed elsewhere.
//!
//! `metrics.json` holds values of scikit-learn and of DeepfakeBench's own function;
//! `metrics_beyond.json` those of the same cases that DeepfakeBench does not have, from scikit-learn
//! and from the definitions written in NumPy, DeLong's pair by pair.

use roga::metric::{
    BootstrapConfig, Calibration, DeLong, DeepfakeBenchMetrics, DetectionMetricsConfig, Roc,
    accuracy, deepfakebench_videos, log_loss,
};
use serde_json::Value;

const TOLERANCE: f64 = 1e-12;

#[track_caller]
fn close(found: f64, expected: &Value) {
    let expected = expected.as_f64().expect("a number");
    assert!((found - expected).abs() < TOLERANCE, "{found} {expected}");
}

#[track_caller]
fn all_close(found: impl IntoIterator<Item = f64>, expected: &Value) {
    let found: Vec<f64> = found.into_iter().collect();
    let expected = expected.as_array().expect("a list");
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.into_iter().zip(expected) {
        close(found, expected);
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().expect("a list").iter();
    list.map(|number| number.as_f64().expect("a number"))
        .collect()
}

struct Case {
    value: Value,
    probabilities: Vec<f64>,
    labels: Vec<bool>,
}

fn cases() -> Vec<Case> {
    let text = include_str!("reference/metrics.json");
    let reference: Value = serde_json::from_str(text).expect("it is JSON");
    let cases = reference["cases"].as_array().expect("a list").iter();
    cases
        .map(|case| Case {
            value: case.clone(),
            probabilities: numbers(&case["probs"]),
            labels: numbers(&case["labels"])
                .iter()
                .map(|label| *label == 1.0)
                .collect(),
        })
        .collect()
}

fn beyond() -> Value {
    serde_json::from_str(include_str!("reference/metrics_beyond.json")).expect("it is JSON")
}

fn case(name: &Value) -> Case {
    let of_name = cases().into_iter().find(|case| case.value["name"] == *name);
    of_name.expect("a case of that name")
}

#[test]
fn curves_of_scikit_learn() {
    assert_eq!(cases().len(), 8);
    for case in cases() {
        let frame = &case.value["frame"];
        let roc = Roc::new(&case.probabilities, &case.labels).unwrap();
        all_close(roc.corners().map(|point| point.fpr), &frame["fpr"]);
        all_close(roc.corners().map(|point| point.tpr), &frame["tpr"]);
        close(roc.auc(), &frame["auc"]);
        close(roc.average_precision(), &frame["ap"]);
    }
}

#[test]
fn deepfakebench() {
    let mut videos = 0;
    for case in cases() {
        let frame = &case.value["frame"];
        let metrics = match case.value["paths"].as_array() {
            None => DeepfakeBenchMetrics::of_videos(&case.probabilities, &case.labels).unwrap(),
            Some(paths) => {
                videos += 1;
                let paths: Vec<&str> = paths.iter().filter_map(Value::as_str).collect();
                let expected = &case.value["video"];
                let found = deepfakebench_videos(&case.probabilities, &case.labels, &paths);
                let found = found.unwrap();
                assert_eq!(serde_json::json!(found.keys()), expected["ids"]);
                all_close(found.scores().iter().copied(), &expected["probs"]);
                let labels = found
                    .labels()
                    .iter()
                    .map(|label| f64::from(u8::from(*label)));
                all_close(labels, &expected["labels"]);
                let of_videos = DeepfakeBenchMetrics::of_videos(found.scores(), found.labels());
                close(of_videos.unwrap().eer, &expected["eer"]);
                let metrics =
                    DeepfakeBenchMetrics::new(&case.probabilities, &case.labels, &paths).unwrap();
                close(metrics.video_auc, &expected["auc"]);
                metrics
            }
        };
        close(metrics.auc, &frame["auc"]);
        close(metrics.eer, &frame["eer"]);
        close(metrics.ap, &frame["ap"]);
        close(metrics.acc, &frame["acc"]);
    }
    assert_eq!(videos, 1);
}

#[test]
fn beyond_deepfakebench() {
    let expected = beyond();
    let expected = expected["cases"].as_array().expect("a list");
    assert_eq!(expected.len(), 8);
    for expected in expected {
        let Case {
            probabilities,
            labels,
            ..
        } = case(&expected["name"]);
        let roc = Roc::new(&probabilities, &labels).unwrap();
        close(roc.equal_error_rate(), &expected["equal_error_rate"]);
        for (max_fpr, tpr) in expected["tpr_at_fpr"].as_object().expect("a table") {
            close(roc.tpr_at_fpr(max_fpr.parse().unwrap()).unwrap(), tpr);
        }
        close(
            log_loss(&probabilities, &labels).unwrap(),
            &expected["log_loss"],
        );
        for bins in [10, 15] {
            let calibration = Calibration::new(&probabilities, &labels, bins).unwrap();
            let expected = &expected[format!("calibration_error_{bins}")];
            close(calibration.expected_error(), expected);
        }

        let all = DetectionMetricsConfig::new()
            .measure(&probabilities, &labels, None)
            .unwrap();
        close(all.frame.equal_error_rate, &expected["equal_error_rate"]);
        close(all.frame.tpr_at_fpr[0].tpr, &expected["tpr_at_fpr"]["0.01"]);
        close(
            all.frame.tpr_at_fpr[1].tpr,
            &expected["tpr_at_fpr"]["0.001"],
        );
        close(all.frame.log_loss, &expected["log_loss"]);
        close(
            all.frame.calibration_error,
            &expected["calibration_error_15"],
        );
        assert_eq!(all.frame.auc, roc.auc());
        assert_eq!(
            all.frame.accuracy,
            accuracy(&probabilities, &labels, 0.5).unwrap()
        );
    }
}

/// Two methods on the same 200 items, one of them with many ties.
#[test]
fn delong() {
    let expected = &beyond()["delong"];
    let (a, b) = (case(&expected["a"]), case(&expected["b"]));
    assert_eq!(a.labels, b.labels);
    let test = DeLong::new(&a.probabilities, &b.probabilities, &a.labels).unwrap();
    all_close(test.auc, &expected["auc"]);
    all_close(test.variance, &expected["variance"]);
    close(test.covariance, &expected["covariance"]);
    close(test.difference, &expected["difference"]);
    close(test.standard_error, &expected["standard_error"]);
    close(test.z, &expected["z"]);
    close(test.p, &expected["p"]);

    let bootstrap = BootstrapConfig::new()
        .with_replicates(2000)
        .init(&a.labels)
        .unwrap();
    let interval = bootstrap
        .roc_difference(&a.probabilities, &b.probabilities, Roc::auc)
        .unwrap();
    let ratio = interval.standard_error / test.standard_error;
    assert!((0.93..1.07).contains(&ratio), "{ratio}");
    // Both say that the methods differ.
    assert!(interval.upper < 0.0 && test.p < 0.05, "{interval:?}");
}
