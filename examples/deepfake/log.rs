//! Every step's report as a row of a CSV file, from which a training's losses are read again.

use std::{
    error::Error,
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
};

use roga::optim::{Outcome, StepReport};

/// What the curves are drawn from: a column of every step.
#[derive(Debug, Default, Clone)]
pub struct Curves {
    pub losses: Vec<f64>,
    /// The mean cosine between two domains' gradients; not a number with one domain.
    pub cosines: Vec<f64>,
    pub skipped: usize,
}

/// The file, while it is written.
pub struct StepLog {
    csv: csv::Writer<File>,
    pub curves: Curves,
}

impl StepLog {
    /// A new file.
    pub fn create(path: &Path, domains: &[Arc<str>]) -> Result<Self, Box<dyn Error>> {
        let mut csv = csv::Writer::from_writer(File::create(path)?);
        csv.write_record(header(domains))?;
        Ok(Self {
            csv,
            curves: Curves::default(),
        })
    }

    /// The first `bytes` of a file: rows of steps that were made after the record are dropped.
    pub fn go_on(path: &Path, bytes: u64) -> Result<Self, Box<dyn Error>> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() < bytes {
            return Err(format!("{} is shorter than its record says", path.display()).into());
        }
        file.set_len(bytes)?;
        let curves = read(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            csv: csv::Writer::from_writer(file),
            curves,
        })
    }

    pub fn push(&mut self, lr: f64, report: &StepReport) -> Result<(), Box<dyn Error>> {
        let row = row(lr, report);
        self.curves.losses.push(report.mean_loss());
        self.curves
            .cosines
            .push(report.mean_cosine().unwrap_or(f64::NAN));
        self.curves.skipped += usize::from(report.is_skipped());
        Ok(self.csv.write_record(row)?)
    }

    /// Writes what is still in memory; how long the file is then.
    pub fn flush(&mut self) -> Result<u64, Box<dyn Error>> {
        self.csv.flush()?;
        let mut file = self.csv.get_ref();
        file.flush()?;
        Ok(file.stream_position()?)
    }
}

/// The columns of a finished file.
pub fn read(path: &Path) -> Result<Curves, Box<dyn Error>> {
    let mut csv = csv::Reader::from_path(path)?;
    let place = |name: &str, header: &csv::StringRecord| {
        let place = header.iter().position(|column| column == name);
        place.ok_or_else(|| format!("{} has no column `{name}`", path.display()))
    };
    let header = csv.headers()?.clone();
    let columns = ["loss", "cosine", "outcome"].map(|name| place(name, &header));
    let [loss, cosine, outcome] = columns;
    let (loss, cosine, outcome) = (loss?, cosine?, outcome?);
    let mut curves = Curves::default();
    for row in csv.records() {
        let row = row?;
        let number = |place: usize| row[place].parse().unwrap_or(f64::NAN);
        curves.losses.push(number(loss));
        curves.cosines.push(number(cosine));
        curves.skipped += usize::from(row[outcome] != *"applied");
    }
    Ok(curves)
}

fn header(domains: &[Arc<str>]) -> Vec<String> {
    let mut header: Vec<String> = [
        "step",
        "lr",
        "rho",
        "gamma",
        "outcome",
        "loss",
        "cosine",
        "conflicts",
        "sharpness",
        "alignment",
        "mean_norm",
        "update_norm",
        "clean",
        "perturbed",
    ]
    .map(String::from)
    .into();
    for domain in domains {
        header.extend([format!("loss {domain}"), format!("norm {domain}")]);
    }
    for (place, a) in domains.iter().enumerate() {
        header.extend(domains[..place].iter().map(|b| format!("cosine {a} {b}")));
    }
    header
}

/// Empty where there is no such number.
fn row(lr: f64, report: &StepReport) -> Vec<String> {
    let or_empty = |number: Option<f64>| number.map_or_else(String::new, |n| n.to_string());
    let alignments: Option<Vec<f64>> = report.points.iter().map(|p| p.alignment).collect();
    let alignment = alignments
        .filter(|all| !all.is_empty())
        .map(|all| all.iter().sum::<f64>() / all.len() as f64);
    let conflicts = report.conflicts.as_ref().map(Vec::len);
    let mut row = vec![
        report.step.to_string(),
        lr.to_string(),
        report.rho.to_string(),
        report.gamma.to_string(),
        match &report.outcome {
            Outcome::Applied => "applied".into(),
            Outcome::Skipped(reason) => reason.to_string(),
        },
        report.mean_loss().to_string(),
        or_empty(report.mean_cosine()),
        conflicts.map_or_else(String::new, |count| count.to_string()),
        or_empty(report.mean_sharpness()),
        or_empty(alignment),
        or_empty(report.mean_gradient_norm),
        report.update_gradient_norm.to_string(),
        report.passes.clean.to_string(),
        report.passes.perturbed.to_string(),
    ];
    for domain in &report.domains {
        row.extend([domain.loss.to_string(), or_empty(domain.gradient_norm)]);
    }
    for (place, cosines) in report.cosines.iter().flatten().enumerate() {
        row.extend(cosines[..place].iter().map(f64::to_string));
    }
    row
}
