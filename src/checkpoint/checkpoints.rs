use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::FolderLock;
use crate::{Error, Result};

/// Where checkpoints are kept, and which of them.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct CheckpointsConfig {
    /// The folder. It is made where it is not there.
    pub folder: PathBuf,
    /// How many of the last ones are kept, at least 1. From 2 on, one that is damaged costs no more than
    /// the steps since the one before it.
    #[config(default = 2)]
    pub keep_last: usize,
    /// Whether the one of the highest score is kept beside them.
    #[config(default = true)]
    pub keep_best: bool,
}

impl CheckpointsConfig {
    /// Opens the folder, locks it, and removes what a process that was killed has left half written.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where none would be kept; [`Error::File`] where the folder cannot be made or
    /// read, and where another process is at work in it.
    pub fn init(&self) -> Result<Checkpoints> {
        if self.keep_last == 0 {
            return Err(Error::Setting {
                field: "keep_last",
                rule: "be at least 1",
                value: self.keep_last.to_string(),
            });
        }
        fs::create_dir_all(&self.folder).map_err(|error| Error::file(&self.folder, error))?;
        let checkpoints = Checkpoints {
            _lock: FolderLock::new(&self.folder)?,
            config: self.clone(),
        };
        for name in checkpoints.names()? {
            if name.starts_with(PART) {
                remove(&self.folder.join(name))?;
            }
        }
        Ok(checkpoints)
    }
}

/// The checkpoints of one training, in a folder of their own that is locked as long as this lives.
///
/// Their files are named `step-<step>[-score-<score>]-crc-<checksum>.bpk`: what is known of a
/// checkpoint comes and goes with it, in one renaming, and there is no list that could tell otherwise.
/// The checksum is the CRC-32 of the file, by which any flipped bit, any cut and any file of zeros is
/// found. Files of other names are left alone.
#[derive(Debug)]
pub struct Checkpoints {
    config: CheckpointsConfig,
    _lock: FolderLock,
}

/// A checkpoint that is whole.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checkpoint {
    /// How many steps were made.
    pub step: u64,
    /// Its score, where it has one.
    pub score: Option<f64>,
    /// The file, as it was written.
    pub path: PathBuf,
    /// An [`Error::File`] for each later one that is damaged, the last first.
    pub passed_over: Vec<Error>,
}

/// What the name of a file that is being written begins with.
const PART: &str = "part-";

impl Checkpoints {
    /// Writes a checkpoint of the training after so many steps.
    ///
    /// `write` is handed a path, beside those of the other checkpoints, to write a file to. The file is
    /// then synced, read again for its checksum, and renamed. Checkpoints of later steps are removed: a
    /// training that went on from an earlier one has given them up. So are those that are not kept any
    /// more. At every moment there is the new one or the one before.
    ///
    /// A score, higher for better, says which one is the best. One that is not finite counts as none.
    ///
    /// # Errors
    ///
    /// What `write` returns, and [`Error::File`] where the folder cannot be written to; what was half
    /// written is removed, and the checkpoints before are as they were.
    pub fn save(
        &self,
        step: u64,
        score: Option<f64>,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let part = self.config.folder.join(format!("{PART}{step}.{ENDING}"));
        let score = score.filter(|score| score.is_finite());
        let saved = write(&part).and_then(|()| self.publish(&part, step, score));
        if saved.is_err() {
            // Whoever frees a full disk is helped by it.
            _ = fs::remove_file(&part);
        }
        let path = saved?;
        self.prune(self.config.keep_last, self.config.keep_best)?;
        Ok(path)
    }

    /// Gives a file that is written its name.
    fn publish(&self, part: &Path, step: u64, score: Option<f64>) -> Result<PathBuf> {
        let of_part = |error: io::Error| Error::file(part, error);
        let file = File::options().read(true).write(true).open(part);
        let file = file.map_err(of_part)?;
        file.sync_all().map_err(of_part)?;
        let name = Name {
            step,
            score,
            checksum: checksum(file).map_err(of_part)?,
        };
        let path = self.config.folder.join(name.to_string());
        let before = self.list()?;
        for (later, _) in before.iter().filter(|(_, name)| name.step > step) {
            remove(later)?;
        }
        fs::rename(part, &path).map_err(|error| Error::file(&path, error))?;
        self.sync()?;
        let same_step = |(other, name): &&(PathBuf, Name)| name.step == step && *other != path;
        for (other, _) in before.iter().filter(same_step) {
            remove(other)?;
        }
        Ok(path)
    }

    /// Makes the renaming last, where a folder can be synced.
    fn sync(&self) -> Result<()> {
        let folder = &self.config.folder;
        match cfg!(unix) {
            true => File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| Error::file(folder, error)),
            false => Ok(()),
        }
    }

    /// The last checkpoint that is whole, or none where there is no checkpoint.
    ///
    /// Damaged ones are passed over, and stand in [`passed_over`](Checkpoint::passed_over). Their files
    /// stay until later ones take their place.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the folder cannot be read, and where all of them are damaged: a training
    /// is not begun anew unasked.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        let mut passed_over = Vec::new();
        for (path, name) in self.list()?.into_iter().rev() {
            match check(&path, &name) {
                Ok(()) => {
                    return Ok(Some(Checkpoint {
                        step: name.step,
                        score: name.score,
                        path,
                        passed_over,
                    }));
                }
                Err(error) => passed_over.push(error),
            }
        }
        if passed_over.is_empty() {
            return Ok(None);
        }
        let all: Vec<String> = passed_over.iter().map(Error::to_string).collect();
        Err(Error::file(
            &self.config.folder,
            format!(
                "every checkpoint is damaged ({}): remove the folder to train again",
                all.join("; ")
            ),
        ))
    }

    /// The checkpoint of the highest score, the first of several, or none where none has a score.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the folder cannot be read, and where it is damaged: the second best is
    /// not taken for the best.
    pub fn best(&self) -> Result<Option<Checkpoint>> {
        let all = self.list()?;
        let Some((path, name)) = best(&all) else {
            return Ok(None);
        };
        check(path, name)?;
        Ok(Some(Checkpoint {
            step: name.step,
            score: name.score,
            path: path.clone(),
            passed_over: Vec::new(),
        }))
    }

    /// Removes all but the last so many, and all but the best where it is to stay.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the folder cannot be read or written.
    pub fn prune(&self, last: usize, best_too: bool) -> Result<()> {
        let all = self.list()?;
        let kept = best(&all).filter(|_| best_too).map(|(path, _)| path);
        for (path, _) in all.iter().take(all.len().saturating_sub(last)) {
            if Some(path) != kept {
                remove(path)?;
            }
        }
        Ok(())
    }

    /// All of them, the last one last.
    fn list(&self) -> Result<Vec<(PathBuf, Name)>> {
        let names = self.names()?.into_iter();
        let mut list: Vec<(PathBuf, Name)> = names
            .filter_map(|name| Some((self.config.folder.join(&name), Name::read(&name)?)))
            .collect();
        list.sort_by(|(path, name), (other_path, other)| {
            (name.step, path).cmp(&(other.step, other_path))
        });
        Ok(list)
    }

    /// What is in the folder, but for names that are no text.
    fn names(&self) -> Result<Vec<String>> {
        let failed = |error: io::Error| Error::file(&self.config.folder, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.config.folder).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn best(all: &[(PathBuf, Name)]) -> Option<&(PathBuf, Name)> {
    let scored = all.iter().filter(|(_, name)| name.score.is_some());
    scored.reduce(|best, other| match other.1.score > best.1.score {
        true => other,
        false => best,
    })
}

/// What a file's name says of it.
#[derive(Clone, Debug, PartialEq)]
struct Name {
    step: u64,
    score: Option<f64>,
    checksum: u32,
}

const ENDING: &str = "bpk";

impl Name {
    /// None where it is not the name of a checkpoint.
    fn read(name: &str) -> Option<Self> {
        let name = name.strip_prefix("step-")?.strip_suffix(ENDING)?;
        let (name, checksum) = name.strip_suffix('.')?.rsplit_once("-crc-")?;
        let (step, score) = match name.split_once("-score-") {
            Some((step, score)) => {
                let score = score.parse().ok().filter(|score: &f64| score.is_finite())?;
                (step, Some(score))
            }
            None => (name, None),
        };
        Some(Self {
            step: step.parse().ok()?,
            score,
            checksum: u32::from_str_radix(checksum, 16).ok()?,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step-{}", self.step)?;
        if let Some(score) = self.score {
            // With an exponent where it is long without.
            write!(f, "-score-{score:?}")?;
        }
        write!(f, "-crc-{:08x}.{ENDING}", self.checksum)
    }
}

/// Refuses a file that is not what was written.
fn check(path: &Path, name: &Name) -> Result<()> {
    let unreadable = |error: io::Error| Error::file(path, format!("cannot be read: {error}"));
    let found = File::open(path).and_then(checksum).map_err(unreadable)?;
    match found == name.checksum {
        true => Ok(()),
        false => Err(Error::file(
            path,
            format!("is damaged: its checksum is {found:08x}, not that of its name"),
        )),
    }
}

fn checksum(mut file: File) -> io::Result<u32> {
    let mut checksum = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(checksum.finalize()),
            read => checksum.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file(path, format!("cannot be removed: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> CheckpointsConfig {
        CheckpointsConfig::new(folder.join("checkpoints"))
    }

    /// A checkpoint whose content tells its step.
    fn save(checkpoints: &Checkpoints, step: u64, score: Option<f64>) -> PathBuf {
        let write = |path: &Path| fs::write(path, content(step)).map_err(|e| Error::file(path, e));
        checkpoints.save(step, score, write).unwrap()
    }

    fn content(step: u64) -> String {
        format!("the training after {step} steps")
    }

    fn steps(checkpoints: &Checkpoints) -> Vec<u64> {
        let list = checkpoints.list().unwrap();
        list.iter().map(|(_, name)| name.step).collect()
    }

    #[test]
    fn the_last_and_the_best_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for (keep_best, expected) in [(true, vec![3, 9, 100]), (false, vec![9, 100])] {
            let config = config(folder.path()).with_keep_best(keep_best);
            let checkpoints = config.init().unwrap();
            for (step, score) in [
                (1, Some(0.25)),
                (2, None),
                (3, Some(0.5)),
                (4, Some(0.5)),
                (5, Some(f64::NAN)),
                (9, Some(-1e-300)),
                (100, None),
            ] {
                save(&checkpoints, step, score);
            }
            assert_eq!(steps(&checkpoints), expected);
            let latest = checkpoints.latest().unwrap().unwrap();
            assert_eq!((latest.step, latest.score), (100, None));
            assert_eq!(fs::read_to_string(latest.path).unwrap(), content(100));
            let best = checkpoints.best().unwrap().unwrap();
            let expected = match keep_best {
                true => (3, Some(0.5)),
                false => (9, Some(-1e-300)),
            };
            assert_eq!((best.step, best.score), expected);
            checkpoints.prune(1, false).unwrap();
            assert_eq!(steps(&checkpoints), [100]);
            checkpoints.prune(0, false).unwrap();
            assert!(checkpoints.latest().unwrap().is_none());
            assert!(checkpoints.best().unwrap().is_none());
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let scores = [0.1 + 0.2, -0.0, f64::MAX, f64::MIN_POSITIVE, -1e-9];
        for score in scores.into_iter().map(Some).chain([None]) {
            let name = Name {
                step: u64::MAX,
                score,
                checksum: 0x0000_00ff,
            };
            assert!(name.to_string().len() < 100, "{name}");
            assert_eq!(Name::read(&name.to_string()), Some(name));
        }
        for other in [
            "",
            ".lock",
            "part-7.bpk",
            "step-7.bpk",
            "step-7-crc-.bpk",
            "step--7-crc-00000000.bpk",
            "step-7-score-high-crc-00000000.bpk",
            "step-7-score-NaN-crc-00000000.bpk",
            "step-7-crc-00000000.bpk.1-0.tmp",
            "step-7-crc-00000000bpk",
        ] {
            assert_eq!(Name::read(other), None, "{other}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_named_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = config(folder.path()).init().unwrap();
        save(&checkpoints, 3, None);
        let last = save(&checkpoints, 5, Some(0.5));
        let whole = fs::read(&last).unwrap();
        let flipped = (0..8 * whole.len()).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        let zeros = [vec![0; whole.len()], [&whole[..], b"\0"].concat()];
        for damaged in flipped.chain(cut).chain(zeros) {
            fs::write(&last, damaged).unwrap();
            let latest = checkpoints.latest().unwrap().unwrap();
            assert_eq!(latest.step, 3);
            assert_eq!(fs::read_to_string(latest.path).unwrap(), content(3));
            let [error] = &latest.passed_over[..] else {
                panic!("{:?}", latest.passed_over)
            };
            assert!(matches!(error, Error::File { path, .. } if *path == last));
            assert!(error.to_string().contains("is damaged"), "{error}");
            // The second best is not the best.
            assert!(checkpoints.best().is_err());
        }
        // Training goes on from the one before it, and what is damaged goes.
        let next = save(&checkpoints, 4, None);
        assert_eq!(steps(&checkpoints), [3, 4]);
        assert!(!last.exists() && next.exists());
    }

    #[test]
    fn where_all_are_damaged_nothing_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = config(folder.path()).init().unwrap();
        let paths = [save(&checkpoints, 3, None), save(&checkpoints, 5, None)];
        paths.iter().for_each(|path| fs::write(path, "").unwrap());
        let error = checkpoints.latest().unwrap_err().to_string();
        for path in paths {
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
        }
        assert!(error.contains("every checkpoint is damaged"), "{error}");
    }

    #[test]
    fn what_fails_to_be_written_leaves_the_last_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = config(folder.path()).init().unwrap();
        save(&checkpoints, 3, None);
        let full = |path: &Path| {
            fs::write(path, "half").unwrap();
            Err(Error::file(path, "no space left on device"))
        };
        let error = checkpoints.save(4, None, full).unwrap_err();
        assert!(error.to_string().contains("part-4.bpk"), "{error}");
        assert!(checkpoints.save(4, None, |_| Ok(())).is_err(), "no file");
        assert_eq!(steps(&checkpoints), [3]);
        assert_eq!(checkpoints.names().unwrap().len(), 2, "and the lock");
    }

    #[test]
    fn a_process_killed_at_any_of_its_writes_loses_the_last_steps_alone() {
        // What may be there: half a file, all of it, and both it and what it takes the place of.
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let checkpoints = config.init().unwrap();
        let at = |name: &str| config.folder.join(name);
        save(&checkpoints, 3, None);
        fs::write(at("part-4.bpk"), "hal").unwrap();
        fs::write(at("part-4.bpk.17-0.tmp"), "hal").unwrap();
        fs::write(at("notes.txt"), "the user's own").unwrap();
        drop(checkpoints);
        let checkpoints = config.init().unwrap();
        assert_eq!(checkpoints.latest().unwrap().unwrap().step, 3);
        let mut names = checkpoints.names().unwrap();
        names.sort();
        assert_eq!(names[..2], [".lock", "notes.txt"]);
        assert_eq!(names.len(), 3);
        // The same step again, of another content.
        let other = |path: &Path| fs::write(path, "other").map_err(|e| Error::file(path, e));
        let other = checkpoints.save(3, None, other).unwrap();
        assert_eq!(checkpoints.latest().unwrap().unwrap().path, other);
        assert_eq!(steps(&checkpoints), [3]);
    }

    #[test]
    fn a_second_process_is_refused_and_so_is_keeping_none() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let first = config.init().unwrap();
        let error = config.init().unwrap_err().to_string();
        assert!(error.contains("is at work in this folder"), "{error}");
        drop(first);
        config.init().unwrap();
        let error = config.with_keep_last(0).init().unwrap_err().to_string();
        assert_eq!(error, "keep_last must be at least 1, but is 0");
    }
}
