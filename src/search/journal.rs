use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{HyperParameters, SearchSpace};
use crate::{Error, Result, error::Printable};

/// The trials of a random search, in a file that it goes on from.
///
/// A file of JSON lines: the space and the seed, then a line for every finished trial. A line is
/// written as a whole and synced before [`finish`](Self::finish) returns, so that a search which is
/// killed loses no more than the trial it was at.
///
/// What a trial holds is what its line says, also in the process that wrote it: a search that was
/// interrupted and one that was not end alike.
#[derive(Debug)]
pub struct Journal<T> {
    path: PathBuf,
    file: File,
    space: SearchSpace,
    seed: u64,
    trials: BTreeMap<u64, Trial<T>>,
    torn: Option<String>,
}

/// A finished trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial<T> {
    /// What it was trained with.
    pub hyper_parameters: HyperParameters,
    /// What came out.
    pub result: T,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u64,
    seed: u64,
    space: SearchSpace,
}

/// What the file says it is.
const FORMAT: &str = "roga search";
/// The version of the format. It grows where older readers would go on wrongly.
const VERSION: u64 = 1;
/// What a journal may weigh, in bytes.
const MAX_BYTES: u64 = 1 << 28;
/// How much of a torn line is shown, in letters.
const SHOWN: usize = 200;

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Begins a journal, or goes on with the one that is there.
    ///
    /// A last line that was torn, because the process or the machine was stopped while it was
    /// written, is cut off: see [`torn`](Self::torn). How many trials there will be is not part of
    /// a journal: a search can be made longer.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the file cannot be read or written, where another process has it open,
    /// where it is something else or larger than 256 MiB, and where it is of another space or seed,
    /// with what differs. The file is left as it was.
    pub fn open(path: impl AsRef<Path>, space: SearchSpace, seed: u64) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let unusable = |reason: String| Error::File {
            path: path.clone(),
            reason,
        };
        let io = |error: std::io::Error| unusable(error.to_string());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io)?;
        // Not every file system has locks: without one, two searches are the caller's to avoid.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(unusable("another process is at this search".into()));
        }
        let mut bytes = Vec::new();
        if file.metadata().map_err(io)?.len() > MAX_BYTES {
            return Err(unusable(format!("it has more than {MAX_BYTES} bytes")));
        }
        file.read_to_end(&mut bytes).map_err(io)?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let (whole, rest) = bytes.split_at(end.map_or(0, |newline| newline + 1));

        let header = header_line(&space, seed).map_err(unusable)?;
        let text = std::str::from_utf8(whole).map_err(|error| unusable(error.to_string()))?;
        let trials = match text.is_empty() {
            // The first line may be torn as well; anything else is not ours to cut off.
            true if header.as_bytes().starts_with(rest) => BTreeMap::new(),
            true => return Err(unusable("it is not the journal of a search".into())),
            false => read_trials(text, &header).map_err(unusable)?,
        };
        let torn = (!rest.is_empty()).then(|| {
            let number = text.lines().count() + 1;
            let line: String = String::from_utf8_lossy(rest).chars().take(SHOWN).collect();
            let line = Printable(&line);
            format!("line {number} was torn and is cut off: `{line}`")
        });
        let mut journal = Self {
            file,
            space,
            seed,
            trials,
            torn,
            path: path.clone(),
        };
        if !rest.is_empty() {
            journal.file.set_len(whole.len() as u64).map_err(io)?;
        }
        if whole.is_empty() {
            journal.append(&header)?;
        }
        Ok(journal)
    }

    /// What was cut off when the journal was opened, if anything was: the line's number and the
    /// first 200 letters of what was left of it, as they can be printed. Its trial is pending again.
    pub fn torn(&self) -> Option<&str> {
        self.torn.as_deref()
    }

    /// The finished trials, in the order of their draws.
    pub fn trials(&self) -> impl ExactSizeIterator<Item = &Trial<T>> {
        self.trials.values()
    }

    /// Of the first draws, as many as `trials`, those that are not finished yet.
    pub fn pending(&self, trials: u64) -> Vec<HyperParameters> {
        (0..trials)
            .filter(|index| !self.trials.contains_key(index))
            .map(|index| self.space.draw(self.seed, index))
            .collect()
    }

    /// Writes a finished trial down, and returns once it is on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it cannot be written, where the result could not be read again (a
    /// number in it is not finite), and where the draw is finished already. The journal is then as
    /// it was before.
    pub fn finish(&mut self, index: u64, result: &T) -> Result<()> {
        if self.trials.contains_key(&index) {
            return Err(self.unusable(format!("trial {index} is finished already")));
        }
        #[derive(Serialize)]
        struct Line<'a, T> {
            hyper_parameters: HyperParameters,
            result: &'a T,
        }
        let hyper_parameters = self.space.draw(self.seed, index);
        let line = serde_json::to_string(&Line {
            hyper_parameters,
            result,
        });
        let again =
            |error| self.unusable(format!("trial {index} could not be read again: {error}"));
        let line = line.map_err(again)? + "\n";
        let trial = serde_json::from_str(&line).map_err(again)?;
        self.append(&line)?;
        self.trials.insert(index, trial);
        Ok(())
    }

    fn append(&mut self, line: &str) -> Result<()> {
        let file = &mut self.file;
        let before = file.seek(SeekFrom::End(0));
        let before = before.map_err(|error| self.unusable(error.to_string()))?;
        let file = &mut self.file;
        let written = file.write_all(line.as_bytes());
        written
            .and_then(|()| self.file.sync_all())
            .map_err(|error| {
                // A line that is half there, on a full disk, must not stand before the next one.
                let cut = self.file.set_len(before);
                let cut = cut.map_or_else(
                    |error| format!("; cutting it off: {error}"),
                    |()| String::new(),
                );
                self.unusable(format!("{error}{cut}"))
            })
    }

    fn unusable(&self, reason: String) -> Error {
        Error::File {
            path: self.path.clone(),
            reason,
        }
    }
}

fn header_line(space: &SearchSpace, seed: u64) -> Result<String, String> {
    let header = Header {
        format: FORMAT.into(),
        version: VERSION,
        seed,
        space: space.clone(),
    };
    let line = serde_json::to_string(&header).map_err(|error| error.to_string())?;
    Ok(line + "\n")
}

/// The trials of the whole lines of a journal that begins as `header` does.
fn read_trials<T: DeserializeOwned>(
    text: &str,
    header: &str,
) -> Result<BTreeMap<u64, Trial<T>>, String> {
    let mut lines = (1..).zip(text.lines());
    let there = lines.next().map_or("", |(_, line)| line);
    check_header(there, header)?;
    let mut trials = BTreeMap::new();
    for (number, line) in lines {
        let trial: Trial<T> =
            serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
        let index = trial.hyper_parameters.index();
        if trials.insert(index, trial).is_some() {
            return Err(format!("line {number}: trial {index} stands twice"));
        }
    }
    Ok(trials)
}

/// Refuses the journal of another search.
fn check_header(there: &str, here: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u64,
    }
    let kind: Option<Kind> = serde_json::from_str(there).ok();
    let Some(kind) = kind.filter(|kind| kind.format == FORMAT) else {
        return Err("it is not the journal of a search".into());
    };
    if kind.version > VERSION {
        return Err(format!(
            "it is of version {}, and the last one known is {VERSION}",
            kind.version
        ));
    }
    // Both as they are read: reading may change the last bit of a number.
    let read =
        |line| serde_json::from_str::<Header>(line).map_err(|error| format!("line 1: {error}"));
    let (there, here) = (read(there)?, read(here)?);
    if there.seed != here.seed {
        let (there, here) = (there.seed, here.seed);
        return Err(format!(
            "it is of another search: its seed is {there}, here it is {here}"
        ));
    }
    let parameters = |header: &Header| -> BTreeMap<String, String> {
        let parameters = header.space.iter();
        parameters
            .map(|(name, parameter)| {
                let text = serde_json::to_string(parameter).unwrap_or_default();
                (name.to_string(), text)
            })
            .collect()
    };
    let (there, here) = (parameters(&there), parameters(&here));
    for name in there.keys().chain(here.keys()) {
        let of = |side: &BTreeMap<String, String>| side.get(name).cloned();
        let (there, here) = (of(&there), of(&here));
        if there != here {
            let [there, here] = [there, here].map(|p| p.unwrap_or_else(|| "not there".into()));
            return Err(format!(
                "it is of another search: its `{name}` is {there}, here it is {here}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::search::{Distribution, Parameter};

    fn space() -> SearchSpace {
        SearchSpace::new([
            (
                "lr",
                Parameter::new(1e-3, Distribution::PowerOf10(-4.5, -2.5)),
            ),
            ("rho", Parameter::new(0.05, Distribution::Uniform(0.0, 0.3))),
        ])
        .unwrap()
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Scores {
        auc: f64,
        curve: Vec<f64>,
    }

    /// A training: a number of all bits, from what was drawn.
    fn train(drawn: &HyperParameters) -> Scores {
        #[derive(Deserialize)]
        struct Setting {
            lr: f64,
            rho: f64,
        }
        let Setting { lr, rho } = drawn.read().unwrap();
        let auc = (lr * 1e4).sin().abs().sqrt() / (1.0 + rho);
        Scores {
            auc,
            curve: vec![auc / 3.0, 0.1 + auc],
        }
    }

    fn search(path: &Path, trials: u64) -> Result<Vec<Trial<Scores>>> {
        let mut journal = Journal::open(path, space(), 5)?;
        for drawn in journal.pending(trials) {
            journal.finish(drawn.index(), &train(&drawn))?;
        }
        Ok(journal.trials().cloned().collect())
    }

    fn in_folder(test: impl FnOnce(&Path)) {
        let folder = tempfile::tempdir().unwrap();
        test(&folder.path().join("search.jsonl"));
    }

    fn reason(result: Result<impl Sized>) -> String {
        match result {
            Err(Error::File { reason, .. }) => reason,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was not refused"),
        }
    }

    #[test]
    fn a_line_is_a_trial() {
        in_folder(|path| {
            let trials = search(path, 3).unwrap();
            assert_eq!(trials.len(), 3);
            let text = fs::read_to_string(path).unwrap();
            assert_eq!(text.lines().count(), 4);
            assert!(
                text.starts_with(r#"{"format":"roga search","version":1,"seed":5,"space":{"lr""#)
            );
            let line = text.lines().nth(1).unwrap();
            let begins = r#"{"hyper_parameters":{"index":0,"values":{"lr":0.001,"rho":0.05}},"result":{"auc":"#;
            assert!(line.starts_with(begins), "{line}");
        });
    }

    #[test]
    fn killed_at_any_byte_it_ends_alike() {
        let (mut whole, mut trials) = (Vec::new(), Vec::new());
        in_folder(|path| {
            trials = search(path, 3).unwrap();
            whole = fs::read(path).unwrap();
        });
        assert_eq!(trials.len(), 3);
        let newlines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        for killed in 0..=whole.len() {
            in_folder(|path| {
                fs::write(path, &whole[..killed]).unwrap();
                let journal = Journal::<Scores>::open(path, space(), 5).unwrap();
                let finished = newlines(&whole[..killed]).saturating_sub(1);
                assert_eq!(journal.trials().len(), finished);
                assert_eq!(journal.pending(3).len(), 3 - finished);
                let torn = killed > 0 && whole[killed - 1] != b'\n';
                assert_eq!(journal.torn().is_some(), torn, "{:?}", journal.torn());
                drop(journal);
                // Every line is synced: to go on from every byte would take long on a slow disk.
                if killed % 11 != 0 {
                    return;
                }
                assert_eq!(search(path, 3).unwrap(), trials);
                assert_eq!(fs::read(path).unwrap(), whole);
            });
        }
    }

    #[test]
    fn what_was_torn_is_named() {
        in_folder(|path| {
            search(path, 2).unwrap();
            let mut bytes = fs::read(path).unwrap();
            bytes.truncate(bytes.len() - 2);
            fs::write(path, &bytes).unwrap();
            let journal = Journal::<Scores>::open(path, space(), 5).unwrap();
            let torn = journal.torn().unwrap();
            assert!(
                torn.starts_with("line 3 was torn and is cut off: `{"),
                "{torn}"
            );
            assert_eq!(journal.pending(2)[0].index(), 1);
        });
    }

    #[test]
    fn a_line_that_would_write_on_the_terminal() {
        in_folder(|path| {
            search(path, 1).unwrap();
            let mut bytes = fs::read(path).unwrap();
            bytes.extend("\u{1b}[2J\u{202e}".as_bytes());
            bytes.extend([b'x'; 1000]);
            fs::write(path, bytes).unwrap();
            let journal = Journal::<Scores>::open(path, space(), 5).unwrap();
            let torn = journal.torn().unwrap();
            assert!(torn.contains(r"`\u{1b}[2J\u{202e}xxx"), "{torn}");
            assert!(torn.len() < 300, "{torn}");
        });
    }

    #[test]
    fn a_journal_of_gigabytes() {
        in_folder(|path| {
            // It has no bytes on the disk.
            File::create(path).unwrap().set_len(8 << 30).unwrap();
            let said = reason(Journal::<Scores>::open(path, space(), 5));
            assert_eq!(said, "it has more than 268435456 bytes");
        });
    }

    #[test]
    fn a_search_can_be_made_longer() {
        in_folder(|path| {
            let short = search(path, 3).unwrap();
            let long = search(path, 5).unwrap();
            assert_eq!(long[..3], short);
            assert_eq!(long.len(), 5);
        });
    }

    #[test]
    fn trials_may_finish_in_any_order() {
        in_folder(|path| {
            let mut journal = Journal::open(path, space(), 5).unwrap();
            for index in [4, 0, 2] {
                journal
                    .finish(index, &train(&space().draw(5, index)))
                    .unwrap();
            }
            let finished: Vec<u64> = journal
                .trials()
                .map(|t| t.hyper_parameters.index())
                .collect();
            assert_eq!(finished, [0, 2, 4]);
            drop(journal);
            let in_order = Journal::<Scores>::open(path, space(), 5).unwrap();
            let pending: Vec<u64> = in_order.pending(6).iter().map(|p| p.index()).collect();
            assert_eq!(pending, [1, 3, 5]);
        });
    }

    #[test]
    fn another_search_is_refused_with_what_differs() {
        in_folder(|path| {
            search(path, 2).unwrap();
            let before = fs::read(path).unwrap();
            let open = |space, seed| reason(Journal::<Scores>::open(path, space, seed));
            assert_eq!(
                open(space(), 6),
                "it is of another search: its seed is 5, here it is 6"
            );
            let with = |rho: Parameter, more: Option<(&str, Parameter)>| {
                let lr = Parameter::new(1e-3, Distribution::PowerOf10(-4.5, -2.5));
                SearchSpace::new([("lr", lr), ("rho", rho)].into_iter().chain(more)).unwrap()
            };
            let rho = |high| Parameter::new(0.05, Distribution::Uniform(0.0, high));
            let other = open(with(rho(0.5), None), 5);
            assert!(other.contains("its `rho` is {"), "{other}");
            assert!(
                other.contains("[0.0,0.3]") && other.contains("[0.0,0.5]"),
                "{other}"
            );
            let gamma = Parameter::new(0.0, Distribution::Fixed);
            let added = open(with(rho(0.3), Some(("gamma", gamma))), 5);
            assert!(
                added.contains("its `gamma` is not there, here it is {"),
                "{added}"
            );
            assert_eq!(fs::read(path).unwrap(), before);
        });
    }

    #[test]
    fn what_is_no_journal_is_refused_and_left_as_it_is() {
        let header = header_line(&space(), 5).unwrap();
        let twice = "{\"hyper_parameters\":{\"index\":1,\"values\":{}},\
                     \"result\":{\"auc\":1,\"curve\":[]}}\n";
        for (bytes, said) in [
            ("a,b,c".to_string(), "it is not the journal of a search"),
            ("a,b,c\n".into(), "it is not the journal of a search"),
            (
                "{\"format\":\"other\",\"version\":1}\n".into(),
                "it is not the journal of a search",
            ),
            (
                header.replace("\"version\":1", "\"version\":2"),
                "it is of version 2",
            ),
            (header.clone() + "{\"hyper\n{\"", "line 2: "),
            (header.clone() + "\n", "line 2: "),
            (
                header.clone() + twice + twice,
                "line 3: trial 1 stands twice",
            ),
        ] {
            in_folder(|path| {
                fs::write(path, &bytes).unwrap();
                let refused = reason(Journal::<Scores>::open(path, space(), 5));
                assert!(refused.starts_with(said), "{refused}");
                assert_eq!(fs::read_to_string(path).unwrap(), bytes);
            });
        }
        in_folder(|path| {
            fs::write(path, [0xff, b'\n']).unwrap();
            assert!(Journal::<Scores>::open(path, space(), 5).is_err());
            let folder = path.parent().unwrap();
            assert!(Journal::<Scores>::open(folder, space(), 5).is_err());
        });
    }

    #[test]
    fn a_result_that_could_not_be_read_again_is_refused() {
        in_folder(|path| {
            let mut journal = Journal::open(path, space(), 5).unwrap();
            let before = fs::read(path).unwrap();
            let diverged = Scores {
                auc: f64::NAN,
                curve: Vec::new(),
            };
            let refused = reason(journal.finish(1, &diverged));
            assert!(
                refused.starts_with("trial 1 could not be read again"),
                "{refused}"
            );
            assert_eq!(fs::read(path).unwrap(), before);
            let fine = train(&space().draw(5, 1));
            journal.finish(1, &fine).unwrap();
            let twice = reason(journal.finish(1, &fine));
            assert_eq!(twice, "trial 1 is finished already");
        });
    }

    #[test]
    fn two_at_once_are_refused() {
        in_folder(|path| {
            let first = Journal::<Scores>::open(path, space(), 5).unwrap();
            let second = Journal::<Scores>::open(path, space(), 5);
            assert_eq!(reason(second), "another process is at this search");
            drop(first);
            assert!(Journal::<Scores>::open(path, space(), 5).is_ok());
        });
    }
}
