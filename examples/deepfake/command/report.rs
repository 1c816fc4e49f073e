//! A folder of results as one page.

use std::{error::Error, path::Path};

use crate::{data::Data, device::device, report, settings::Settings, terminal};

/// Writes `report.html` into the folder. The worst mistakes need the pictures: where they cannot be
/// had any more, the page has none.
pub fn report(folder: &Path) -> Result<(), Box<dyn Error>> {
    if !folder.join("results.json").is_file() {
        return Err(format!(
            "{}: has no results.json: a page is made of a folder that `compare` has written",
            folder.display()
        )
        .into());
    }
    let settings = Settings::of_folder(folder)?;
    let device = device(&settings.device)?;
    let mistakes =
        Data::new(&settings).and_then(|data| report::galleries(folder, &data.test, &device));
    let mistakes = mistakes.unwrap_or_else(|error| {
        terminal::warn(&format!("the page shows no mistakes: {error}"));
        Vec::new()
    });
    terminal::say(&report::write(folder, mistakes)?.display().to_string());
    Ok(())
}
