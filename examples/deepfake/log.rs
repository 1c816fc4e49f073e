//! Every step's report as a row of a CSV file, from which a training's losses are read again.

use std::{
    error::Error,
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
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

/// How alike the gradients of $K$ domains were.
#[derive(Debug, Clone)]
pub struct DomainCosines {
    pub names: Vec<String>,
    /// $K \times K$, each the mean of a training's steps; not a number where no step knows it.
    pub means: Vec<Vec<f64>>,
}

/// The file, while it is written.
pub struct StepLog {
    csv: csv::Writer<File>,
    path: PathBuf,
}

impl StepLog {
    /// A new file.
    pub fn create(path: &Path, domains: &[Arc<str>]) -> Result<Self, Box<dyn Error>> {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut csv = csv::Writer::from_writer(file);
        csv.write_record(header(domains))?;
        let path = path.into();
        Ok(Self { csv, path })
    }

    /// The first `bytes` of a file: rows of steps that were made after the record are dropped.
    pub fn go_on(path: &Path, bytes: u64) -> Result<Self, Box<dyn Error>> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let mut file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        if file.metadata()?.len() < bytes {
            return Err(format!("{} is shorter than its record says", path.display()).into());
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            csv: csv::Writer::from_writer(file),
            path: path.into(),
        })
    }

    pub fn push(&mut self, lr: f64, report: &StepReport) -> Result<(), Box<dyn Error>> {
        let pushed = self.csv.write_record(row(lr, report));
        Ok(pushed.map_err(|error| format!("{}: {error}", self.path.display()))?)
    }

    /// Writes what is still in memory, and returns once it is on the disk; how long the file is then.
    pub fn flush(&mut self) -> Result<u64, Box<dyn Error>> {
        let flushed = self.csv.flush().and_then(|()| {
            let mut file = self.csv.get_ref();
            file.sync_data()?;
            file.stream_position()
        });
        Ok(flushed.map_err(|error| format!("{}: {error}", self.path.display()))?)
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

/// The mean cosines of a finished file.
pub fn domain_cosines(path: &Path) -> Result<DomainCosines, Box<dyn Error>> {
    let mut csv = csv::Reader::from_path(path)?;
    let header = csv.headers()?.clone();
    let names: Vec<String> = header
        .iter()
        .filter_map(|column| column.strip_prefix("loss ").map(String::from))
        .collect();
    let pairs = names.len().checked_mul(names.len().saturating_sub(1));
    if pairs.is_none_or(|pairs| pairs / 2 > header.len()) {
        // A few names would be millions of pairs.
        return Err(format!("{} has no column for each pair of domains", path.display()).into());
    }
    let mut sums = vec![vec![(0usize, 0.0); names.len()]; names.len()];
    // The pairs are the last columns, in the order of `header`.
    let pairs = (0..names.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let pairs: Vec<(usize, usize)> = pairs.collect();
    let first = header.len() - pairs.len();
    for row in csv.records() {
        let row = row?;
        for (&(a, b), cell) in pairs.iter().zip(row.iter().skip(first)) {
            if let Some(cosine) = cell.parse().ok().filter(|cosine: &f64| cosine.is_finite()) {
                let (count, sum) = &mut sums[a][b];
                (*count, *sum) = (*count + 1, *sum + cosine);
            }
        }
    }
    let mean = |a: usize, b: usize| match sums[a.max(b)][a.min(b)] {
        _ if a == b => 1.0,
        (count, sum) => sum / count as f64,
    };
    let all = 0..names.len();
    let rows = all
        .clone()
        .map(|a| all.clone().map(|b| mean(a, b)).collect());
    let means = rows.collect();
    Ok(DomainCosines { names, means })
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
    for place in 0..report.domains.len() {
        let cosines = report.cosines.as_ref().map(|rows| &rows[place]);
        row.extend((0..place).map(|other| or_empty(cosines.map(|row| row[other]))));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_read_by_their_pairs() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("steps.csv");
        let mut csv = csv::Writer::from_path(&path)?;
        // Names that make the columns' names ambiguous.
        let names = ["a", "a a", "b, \"c\""].map(Arc::from);
        let header = header(&names);
        csv.write_record(&header)?;
        let pairs = header.len() - 3;
        for cosines in [["0.5", "-0.5", "1"], ["0.25", "", "NaN"]] {
            let row = (0..header.len()).map(|place| match place.checked_sub(pairs) {
                Some(pair) => cosines[pair],
                None => "0",
            });
            csv.write_record(row)?;
        }
        csv.flush()?;
        let DomainCosines { names, means } = domain_cosines(&path)?;
        assert_eq!(names, ["a", "a a", "b, \"c\""]);
        let expected = [[1.0, 0.375, -0.5], [0.375, 1.0, 1.0], [-0.5, 1.0, 1.0]];
        assert_eq!(means, expected);
        assert_eq!(read(&path)?.cosines, [0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_hundred_thousand_domains_and_no_cosines() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("steps.csv");
        std::fs::write(&path, "loss x,".repeat(100_000) + "outcome\n")?;
        let said = domain_cosines(&path).unwrap_err().to_string();
        assert!(
            said.ends_with("no column for each pair of domains"),
            "{said}"
        );
        assert!(read(&path).is_err());
        Ok(())
    }
}
