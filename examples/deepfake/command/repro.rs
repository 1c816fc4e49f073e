//! A result, made again.

use std::{error::Error, fs, path::Path};

use serde_json::Value;

use super::{compare, evaluate, train};
use crate::{limited, output::Provenance, settings::Settings, terminal};

/// Runs what a folder of results is from again, in another folder, and says whether the same came
/// out.
pub fn repro(folder: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let was = Provenance::read(folder)?;
    if fs::canonicalize(output)
        .is_ok_and(|output| fs::canonicalize(folder).is_ok_and(|f| f == output))
    {
        return Err(format!(
            "--output {} is the folder itself, which would be compared with itself: choose another",
            output.display()
        )
        .into());
    }
    if was.version != env!("CARGO_PKG_VERSION") {
        terminal::say(&format!(
            "made by version {}, and this is {}: other numbers are to be expected",
            was.version,
            env!("CARGO_PKG_VERSION")
        ));
    }
    let settings = Settings::of_folder(folder)?;
    let result = match was.command.as_str() {
        "compare" => {
            compare::compare(&settings, output, false)?;
            "results.json"
        }
        "train" => {
            train::train(&settings, output, false)?;
            "metrics.json"
        }
        "evaluate" => {
            let detector = was.detector.as_deref().ok_or("the detector is not named")?;
            evaluate::evaluate(detector, &settings, output, false)?;
            "metrics.json"
        }
        other => return Err(format!("`{other}` is no command that can be run again").into()),
    };
    let is = Provenance::read(output)?;
    if was.data != is.data {
        return Err(format!(
            "the data is not what it was: its hash was {} and is {}",
            was.data, is.data
        )
        .into());
    }
    match difference(&folder.join(result), &output.join(result))? {
        None => terminal::say(&format!("{result} is the same, number for number")),
        Some(place) => return Err(format!("{result} differs at {place}").into()),
    }
    Ok(())
}

/// The first place at which two results differ, but for how long they took.
fn difference(ours: &Path, theirs: &Path) -> Result<Option<String>, Box<dyn Error>> {
    let read = |path: &Path| -> Result<Value, Box<dyn Error>> {
        let file = limited::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_slice(&file)?)
    };
    let (ours, theirs) = (read(ours)?, read(theirs)?);
    // A setting that differs says why the rest does.
    let settings = differs(&ours["settings"], &theirs["settings"], "/settings");
    Ok(settings.or_else(|| differs(&ours, &theirs, "")))
}

fn differs(a: &Value, b: &Value, at: &str) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.filter(|name| *name != "seconds").find_map(|name| {
                let [a, b] = [a, b].map(|of| of.get(name).unwrap_or(&Value::Null));
                differs(a, b, &format!("{at}/{name}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(index, (a, b))| differs(a, b, &format!("{at}/{index}"))),
        (a, b) if a == b => None,
        (a, b) => Some(format!("{at}: {a} and {b}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_named_and_time_does_not_count() {
        let a = json!({"runs": [{"auc": 0.5, "seconds": 1}], "seconds": 2});
        let b = json!({"runs": [{"auc": 0.5, "seconds": 3}], "seconds": 4});
        assert_eq!(differs(&a, &b, ""), None);
        let c = json!({"runs": [{"auc": 0.6, "seconds": 3}], "seconds": 4});
        assert_eq!(differs(&a, &c, "").unwrap(), "/runs/0/auc: 0.5 and 0.6");
        assert!(differs(&a, &json!({"runs": []}), "").is_some());
    }
}
