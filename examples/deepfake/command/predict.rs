//! The probability that pictures nobody has labelled are forged.

use std::{
    error::Error,
    ffi::OsStr,
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use image::RgbImage;
use roga::detector::{data::VideoConfig, faces::read_picture, landmark::Landmarks};
use serde::Serialize;

use crate::{
    detector::{Detector, DetectorConfig},
    device::device,
    parallel::in_parallel,
    settings::OnProblem,
    stranger, terminal,
};

#[derive(Args)]
pub struct PredictArgs {
    /// The folder of a training, with weights.bpk and detector.toml
    detector: PathBuf,
    /// Pictures, videos, or folders of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// A line for each picture, and for each video the mean of its frames
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Where the lines are written; by default to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Frames of a video, evenly spread
    #[arg(long, default_value_t = 32)]
    frames: usize,
    /// What is done about files that cannot be used
    #[arg(long, value_enum, default_value_t = OnProblem::Refuse)]
    on_problem: OnProblem,
    /// The device
    #[arg(long, default_value = "flex")]
    device: String,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// path,frames,score,probability
    Csv,
    /// The same as JSON lines
    Jsonl,
}

/// A line.
#[derive(Serialize)]
struct Prediction {
    path: String,
    /// Of a video; of a picture 1.
    frames: usize,
    /// The logit of "forged" less that of "real"; of a video, of its mean probability.
    score: f64,
    /// From 0 to 1, that it is forged.
    probability: f64,
}

/// Writes a line for every picture and video.
pub fn predict(args: &PredictArgs) -> Result<(), Box<dyn Error>> {
    let detector = Detector::open(&args.detector, &device(&args.device)?)?;
    let mut files = Vec::new();
    for path in &args.paths {
        list(path, &mut files)?;
    }
    for file in &mut files {
        // A spreadsheet would take the beginning for that of a formula; this is the same file.
        if file
            .to_string_lossy()
            .starts_with(['=', '+', '-', '@', '\t', '\r'])
        {
            *file = Path::new(".").join(&file);
        }
    }
    if files.is_empty() {
        return Err("there is no .png, .jpg, .jpeg file and no video".into());
    }
    let lines: Box<dyn Write> = match &args.output {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.map_err(|e| format!("{}: {e}", stranger::path(path)))?)
        }
        None => Box::new(io::stdout().lock()),
    };
    let shown = args.output.is_none() && io::stdout().is_terminal();
    let mut lines = Lines::new(args.format, lines, shown);
    let mut problems = Vec::new();
    let mut rest = &files[..];
    while let Some(first) = rest.first() {
        let together = rest.iter().take(BATCH).take_while(|file| !is_video(file));
        let (now, later) = rest.split_at(together.count().max(1));
        rest = later;
        let made = match is_video(first) {
            true => vec![video(&detector, first, args.frames)],
            false => pictures(&detector, now),
        };
        let (good, bad): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        problems.extend(
            bad.into_iter()
                .filter_map(Result::err)
                .map(|e| e.to_string()),
        );
        // Where one is refused, the rest is only looked through for more of them.
        if problems.is_empty() || args.on_problem == OnProblem::Skip {
            good.into_iter()
                .flatten()
                .try_for_each(|line| lines.write(&line))?;
        }
    }
    lines.out.flush()?;
    let (found, count) = (problems.len(), files.len());
    let listed = problems.join("\n  ");
    match args.on_problem {
        _ if problems.is_empty() => Ok(()),
        OnProblem::Skip => {
            terminal::warn(&format!(
                "{found} of {count} files were left out\n  {listed}"
            ));
            Ok(())
        }
        OnProblem::Refuse => {
            Err(format!("{found} of {count} files cannot be used\n  {listed}").into())
        }
    }
}

/// Pictures that are scored at once.
const BATCH: usize = 32;

struct Lines {
    format: Format,
    out: Box<dyn Write>,
    /// On a terminal, which obeys control codes. CSV has no other way to write them.
    shown: bool,
    begun: bool,
}

impl Lines {
    fn new(format: Format, out: Box<dyn Write>, shown: bool) -> Self {
        Self {
            format,
            out,
            shown,
            begun: false,
        }
    }

    fn write(&mut self, line: &Prediction) -> io::Result<()> {
        if self.format == Format::Jsonl {
            let json = stranger::json(&serde_json::to_string(line)?);
            return writeln!(self.out, "{json}");
        }
        let path = match self.shown {
            true => stranger::name(&line.path),
            false => line.path.clone(),
        };
        let mut csv = csv::WriterBuilder::new()
            .has_headers(!self.begun)
            .from_writer(&mut self.out);
        csv.serialize(Prediction { path, ..*line })?;
        self.begun = true;
        csv.flush()
    }
}

/// A line for every picture: read on all threads, scored at once.
fn pictures(detector: &Detector, files: &[PathBuf]) -> Vec<Result<Prediction, Box<dyn Error>>> {
    let config = &detector.config;
    let read = in_parallel(0, files, |file| {
        input(config, file).map_err(|error| error.to_string())
    });
    let inputs: Vec<&RgbImage> = read
        .iter()
        .filter_map(|input| input.as_ref().ok())
        .collect();
    let mut scores = match inputs.is_empty() {
        true => Vec::new(),
        false => detector.scores(&inputs),
    }
    .into_iter();
    let line = |(path, input): (&PathBuf, &Result<RgbImage, String>)| {
        input.as_ref().map_err(Clone::clone)?;
        let score = scores.next().ok_or("a picture has no score")?;
        Ok(Prediction {
            path: path.display().to_string(),
            frames: 1,
            score,
            probability: probability(score),
        })
    };
    files.iter().zip(&read).map(line).collect()
}

fn video(detector: &Detector, path: &Path, frames: usize) -> Result<Prediction, Box<dyn Error>> {
    let mut inputs = Vec::new();
    VideoConfig::new()
        .with_frames(frames)
        .read(path, |_, frame| {
            inputs.push(detector.config.input(&frame, None)?);
            Ok(())
        })?;
    let mut sum = 0.0;
    for inputs in inputs.chunks(BATCH) {
        let inputs: Vec<&RgbImage> = inputs.iter().collect();
        sum += detector
            .scores(&inputs)
            .into_iter()
            .map(probability)
            .sum::<f64>();
    }
    let probability = sum / inputs.len() as f64;
    Ok(Prediction {
        path: path.display().to_string(),
        frames: inputs.len(),
        score: (probability / (1.0 - probability)).ln(),
        probability,
    })
}

fn probability(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// A picture as the net takes it: by its landmarks, where they lie where DeepfakeBench puts them.
pub fn input(config: &DetectorConfig, path: &Path) -> Result<RgbImage, Box<dyn Error>> {
    let picture = read_picture(path)?;
    let landmarks = landmarks_of(path).map(Landmarks::read_npy).transpose()?;
    Ok(config.input(&picture, landmarks.as_ref())?)
}

/// `…/landmarks/…/x.npy` of `…/frames/…/x.png`, where there is such a file.
fn landmarks_of(path: &Path) -> Option<PathBuf> {
    let parts = path.with_extension("npy");
    // The last, whatever the folders above the data are called.
    let parts: Vec<&OsStr> = parts.iter().collect();
    let place = parts.iter().rposition(|part| *part == "frames")?;
    let beside: PathBuf = parts
        .iter()
        .enumerate()
        .map(|(index, part)| match index == place {
            true => OsStr::new("landmarks"),
            false => part,
        })
        .collect();
    beside.is_file().then_some(beside)
}

/// The pictures and videos of a path, those of a folder sorted.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let failed = |error: io::Error| format!("{}: {error}", stranger::path(path));
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let entries: io::Result<Vec<PathBuf>> = fs::read_dir(path)
        .map_err(failed)?
        .map(|entry| Ok(entry?.path()))
        .collect();
    let mut entries = entries.map_err(failed)?;
    entries.sort();
    for entry in entries {
        // Links are not followed into folders: they may lead round in a circle.
        if entry.is_dir() && !entry.is_symlink() {
            list(&entry, files)?;
        } else if entry.is_file() && (is_video(&entry) || has_extension(&entry, &PICTURES)) {
            files.push(entry);
        }
    }
    Ok(())
}

const PICTURES: [&str; 3] = ["png", "jpg", "jpeg"];
const VIDEOS: [&str; 5] = ["mp4", "avi", "mov", "mkv", "webm"];

fn is_video(path: &Path) -> bool {
    has_extension(path, &VIDEOS)
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|e| known.contains(&e.to_ascii_lowercase().as_str()))
}
