//! A trained detector on pictures whose classes are known.

use std::{collections::BTreeMap, error::Error, fmt::Write as _, fs, path::Path, sync::Arc};

use roga::{
    checkpoint::FolderLock,
    metric::{BootstrapConfig, DetectionMetrics, LevelMetrics, Roc},
};

use crate::{
    data::Data,
    detector::Detector,
    device::device,
    output::{self, Provenance},
    progress::Progress,
    scores::Scores,
    settings::Settings,
    terminal, training,
};

/// Scores the test parts of the settings' data, and writes the scores and every number of them.
pub fn evaluate(
    detector_path: &Path,
    settings: &Settings,
    output: &Path,
    restart: bool,
) -> Result<(), Box<dyn Error>> {
    let detector = Detector::open(detector_path, &device(&settings.device)?)?;
    let settings = detector.fitted(settings);
    Progress::new().say("the pictures are made or listed");
    let of = (detector_path, &detector);
    let (_lock, data) = unseen("evaluate", of, &settings, output, restart)?;
    let normalization = detector.config.backbone.normalization();
    let scores = training::score(&detector.net, normalization, &data.test, settings.threads)?;
    Scores::write(&output.join("scores.csv"), &scores)?;
    write(&scores, output)
}

/// The pictures of a command that looks at a detector with people whom it has never seen, and what
/// its results are from in its folder, which no other run may use meanwhile.
pub fn unseen(
    command: &str,
    (path, detector): (&Path, &Detector),
    settings: &Settings,
    output: &Path,
    restart: bool,
) -> Result<(FolderLock, Data), Box<dyn Error>> {
    let lock = output::prepare(output, command, settings, restart)?;
    let data = Data::to_test(settings)?;
    detector.check_unseen(&data.test)?;
    let provenance = Provenance {
        detector: Some(fs::canonicalize(path)?),
        ..Provenance::new(command, &data)
    };
    provenance.write(output)?;
    Ok((lock, data))
}

/// Writes and prints every number of test sets.
pub fn write(scores: &[Scores], output: &Path) -> Result<(), Box<dyn Error>> {
    let mut all: BTreeMap<Arc<str>, DetectionMetrics> = BTreeMap::new();
    let mut table = String::new();
    let mut line = |text: &str| _ = writeln!(table, "{text}");
    line(
        "| test set | level | AUC | 95 % | AP | EER | TPR at 1 % | TPR at 0.1 % | accuracy | log loss | ECE |",
    );
    line("|---|---|---|---|---|---|---|---|---|---|---|");
    for of in scores {
        let metrics = output::measure(of)?;
        // There is none of one person alone.
        let interval = BootstrapConfig::new()
            .init_clusters(&of.forged, &of.people)
            .and_then(|bootstrap| bootstrap.roc_interval(&of.scores, Roc::auc));
        let interval = interval.map_or(String::new(), |interval| {
            format!("{:.3} to {:.3}", interval.lower, interval.upper)
        });
        line(&row(
            &output::cell(&of.domain),
            "picture",
            &interval,
            &metrics.frame,
        ));
        if let Some(video) = &metrics.video {
            line(&row(&output::cell(&of.domain), "video", "", &video.metrics));
        }
        all.insert(of.domain.clone(), metrics);
    }
    line(
        "\n95 %: an interval of the picture AUC by a bootstrap over people. Videos, or photographs: the",
    );
    line(
        "mean probability of their pictures. EER is interpolated; accuracy at 0.5; log loss in nats.",
    );
    terminal::print(&terminal::shown(&table));
    output::write(&output.join("metrics.md"), &table)?;
    let json = serde_json::to_string_pretty(&all)?;
    Ok(output::write(&output.join("metrics.json"), &json)?)
}

fn row(name: &str, level: &str, interval: &str, of: &LevelMetrics) -> String {
    let tpr: Vec<String> = of
        .tpr_at_fpr
        .iter()
        .map(|at| format!("{:.3}", at.tpr))
        .collect();
    format!(
        "| {name} | {level} | {:.3} | {interval} | {:.3} | {:.3} | {} | {:.3} | {:.3} | {:.3} |",
        of.auc,
        of.average_precision,
        of.equal_error_rate,
        tpr.join(" | "),
        of.accuracy,
        of.log_loss,
        of.calibration_error
    )
}
