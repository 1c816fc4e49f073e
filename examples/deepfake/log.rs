//! Every step's report as a row of a CSV file, from which a training's losses are read again.

use std::{
    error::Error,
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use roga::{
    diagnostic::Conflict,
    optim::{DomainReport, NonFinite, Outcome, Pass, Passes, Quantity, StepReport},
};

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
        curves.skipped += usize::from(&row[outcome] != APPLIED);
    }
    Ok(curves)
}

/// The mean cosines of a finished file.
pub fn domain_cosines(path: &Path) -> Result<DomainCosines, Box<dyn Error>> {
    let mut csv = csv::Reader::from_path(path)?;
    let Columns {
        names,
        pairs,
        first,
    } = Columns::of(csv.headers()?).ok_or_else(|| without_pairs(path))?;
    let mut sums = vec![vec![(0usize, 0.0); names.len()]; names.len()];
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

fn without_pairs(path: &Path) -> String {
    format!("{} has no column for each pair of domains", path.display())
}

/// The domains and their pairs, as the columns of a file.
struct Columns {
    names: Vec<String>,
    pairs: Vec<(usize, usize)>,
    /// The first pair's.
    first: usize,
}

impl Columns {
    /// None where there are not as many columns as pairs: a few names would be millions of them.
    fn of(header: &csv::StringRecord) -> Option<Self> {
        let names: Vec<String> = header
            .iter()
            .filter_map(|column| column.strip_prefix("loss ").map(String::from))
            .collect();
        let pairs = names.len().checked_mul(names.len().saturating_sub(1))? / 2;
        let first = header.len().checked_sub(pairs)?;
        // The pairs are the last columns, in the order of `header`.
        let pairs = (0..names.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        Some(Self {
            first,
            names,
            pairs: pairs.collect(),
        })
    }

    /// A row as the report that it is of, as far as gradients are compared by it.
    fn report(&self, row: &csv::StringRecord) -> Result<StepReport, Box<dyn Error>> {
        let cell = |place: usize| row.get(place).unwrap_or_default();
        let number = |place: usize| cell(place).parse().ok();
        let count = self.names.len();
        let mut cosines = vec![vec![1.0; count]; count];
        let mut known = true;
        for (place, &(a, b)) in self.pairs.iter().enumerate() {
            known &= !cell(self.first + place).is_empty();
            let cosine = number(self.first + place).unwrap_or(f64::NAN);
            (cosines[a][b], cosines[b][a]) = (cosine, cosine);
        }
        // Before the pairs, a loss and a norm of every domain.
        let of_domains = self.first.saturating_sub(2 * count);
        let domains = self
            .names
            .iter()
            .enumerate()
            .map(|(place, name)| DomainReport {
                name: name.as_str().into(),
                weight: 1.0 / count as f64,
                loss: number(of_domains + 2 * place).unwrap_or(f64::NAN),
                gradient_norm: number(of_domains + 2 * place + 1),
            });
        let step = cell(0);
        Ok(StepReport {
            step: step.parse().map_err(|_| format!("`{step}` is no step"))?,
            rho: 0.0,
            gamma: 0.0,
            domains: domains.collect(),
            cosines: known.then_some(cosines),
            conflicts: None,
            points: Vec::new(),
            alignment: None,
            aggregation: None,
            mean_gradient_norm: None,
            update_gradient_norm: 0.0,
            passes: Passes {
                clean: count,
                perturbed: 0,
                alignment: 0,
                calls: count,
            },
            outcome: match cell(OUTCOME) {
                APPLIED => Outcome::Applied,
                // For what, its text alone knows.
                _ => Outcome::Skipped(NonFinite {
                    domain: None,
                    pass: Pass::Clean,
                    quantity: Quantity::Gradient,
                }),
            },
        })
    }
}

/// How the domains' gradients stood to each other over the training of a finished file.
pub fn conflict(path: &Path) -> Result<Conflict, Box<dyn Error>> {
    let failed = |error: Box<dyn Error>| format!("{}: {error}", path.display());
    let mut csv = csv::Reader::from_path(path).map_err(|error| failed(error.into()))?;
    let mut conflict = Conflict::new();
    let mut read = || -> Result<(), Box<dyn Error>> {
        let columns = Columns::of(csv.headers()?).ok_or_else(|| without_pairs(path))?;
        for row in csv.records() {
            conflict.add(&columns.report(&row?)?)?;
        }
        Ok(())
    };
    read().map_err(failed)?;
    Ok(conflict)
}

/// The place of the column that says what became of a step, and what it says of one that counts.
const OUTCOME: usize = 4;
const APPLIED: &str = "applied";

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
            Outcome::Applied => APPLIED.into(),
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

    #[test]
    fn gradients_over_training_are_those_of_the_reports() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("steps.csv");
        let names = ["a", "a a", "b"];
        let mut log = StepLog::create(&path, &names.map(Arc::from))?;
        let header = header(&names.map(Arc::from));
        let columns = Columns::of(&csv::StringRecord::from(header.clone())).unwrap();
        let mut expected = Conflict::new();
        for step in 0..5u64 {
            let cell = |place: usize| match place {
                0 => step.to_string(),
                OUTCOME if step == 3 => "skipped".into(),
                OUTCOME => APPLIED.into(),
                place => ((place as f64 * (step + 2) as f64).sin()).to_string(),
            };
            let cells: Vec<String> = (0..header.len()).map(cell).collect();
            let report = columns.report(&csv::StringRecord::from(cells))?;
            log.push(0.1, &report)?;
            expected.add(&report)?;
        }
        log.flush()?;
        let found = conflict(&path)?;
        assert_eq!(found, expected);
        assert_eq!((found.steps(), found.skipped()), (4, 1));
        // Of "a" and "b": the last pair but one.
        let of = |step: f64| ((header.len() - 2) as f64 * (step + 2.0)).sin();
        let mean = [0.0, 1.0, 2.0, 4.0].map(of).iter().sum::<f64>() / 4.0;
        assert!((found.cosines()[2][0] - mean).abs() < 1e-12);
        let loss = found.domains()[0].loss.mean().unwrap();
        let of = |step: f64| (14.0 * (step + 2.0)).sin();
        let mean = [0.0, 1.0, 2.0, 4.0].map(of).iter().sum::<f64>() / 4.0;
        assert!((loss - mean).abs() < 1e-12);
        Ok(())
    }
}
