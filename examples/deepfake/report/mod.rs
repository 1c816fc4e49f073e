//! One self-contained HTML page of what a folder of results holds.
//!
//! [`page()`] is a pure function from [`ReportData`]; [`collect()`] reads a folder.

mod collect;
mod cosine;
mod curve;
mod mistake;
mod page;
mod palette;
mod table;

use std::{
    error::Error,
    path::{Path, PathBuf},
};

pub use collect::collect;
pub use cosine::{CosineGroup, CosineMatrix};
pub use curve::{Curve, CurveGroup, CurveSection, Panel};
pub use mistake::{Gallery, galleries};
pub use page::{ReportData, page};
pub use table::ResultTable;

use crate::{output, terminal};

/// Writes the page of a folder of results into it; gives back where.
pub fn write(folder: &Path, mistakes: Vec<Gallery>) -> Result<PathBuf, Box<dyn Error>> {
    let data = ReportData {
        mistakes,
        ..collect(folder)?
    };
    let path = folder.join("report.html");
    // What browsers would show as nothing, or from the right to the left.
    output::write(&path, terminal::shown(&page(&data)?))?;
    Ok(path)
}
