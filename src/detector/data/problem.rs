use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::record::Split;
use crate::error::Printable;

/// How many problems are written out; the rest is counted.
pub const PROBLEMS_WRITTEN: usize = 20;

/// What is wrong with a picture, with what a list says of it, or with the set as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such file.
    Missing,
    /// The file has no bytes.
    Empty,
    /// The file or the picture in it is larger than the limits allow.
    TooLarge(String),
    /// The file cannot be opened, is no picture, or is cut short.
    Undecodable(String),
    /// The file lies outside the root: through `..`, an absolute path or a link.
    OutsideRoot,
    /// A label that is neither real nor fake and no name of a method.
    UnknownLabel(String),
    /// A split that is none of `train`, `val` and `test`.
    UnknownSplit(String),
    /// A part of a list that is not as the format has it.
    Malformed(String),
    /// The same picture once more in the same split.
    Duplicate,
    /// A person in two splits.
    InTwoSplits(Split, Split),
    /// A domain of forgeries without real pictures, or a set of one class only.
    OneClass,
    /// Landmarks that cannot be read, or are not there and must be.
    Landmarks(String),
    /// A mask that cannot be read, has not its picture's size, or is not there and must be.
    Mask(String),
    /// The file was written to after the set was checked.
    Changed,
}

impl Fault {
    /// The fault in two or three words, by which faults are counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::TooLarge(_) => "too large",
            Self::Undecodable(_) => "undecodable",
            Self::OutsideRoot => "outside the root",
            Self::UnknownLabel(_) => "unknown label",
            Self::UnknownSplit(_) => "unknown split",
            Self::Malformed(_) => "malformed",
            Self::Duplicate => "twice",
            Self::InTwoSplits(..) => "in two splits",
            Self::OneClass => "one class only",
            Self::Landmarks(_) => "landmarks",
            Self::Mask(_) => "mask",
            Self::Changed => "changed",
        }
    }

    /// How it is mended.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Missing => "check the root and the list's paths, or take it off the list",
            Self::Empty | Self::Undecodable(_) => "make the picture anew as a PNG or JPEG file",
            Self::TooLarge(_) => "crop or scale it down",
            Self::OutsideRoot => {
                "move it below the root, set `root` to a folder that holds it, or set `strip` to \
                 what the list's paths begin with"
            }
            Self::UnknownLabel(_) => {
                "rename it to `real`, `fake` or a label of DeepfakeBench (case matters)"
            }
            Self::UnknownSplit(_) => "rename it to `train`, `val` or `test`",
            Self::Malformed(_) => "correct the list or make it anew",
            Self::Duplicate => "leave one of them",
            Self::InTwoSplits(..) => "leave the person in one split, or select one split",
            Self::OneClass => "add the pictures of the other class, or set `both_classes` to false",
            Self::Landmarks(_) => "make the landmarks anew, or set `landmarks` to `ignore`",
            Self::Mask(_) => "make the mask anew, or set `masks` to `ignore`",
            Self::Changed => "begin again when nothing is written to the data any more",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::Empty => f.write_str("has no bytes"),
            Self::TooLarge(what) => write!(f, "is too large: {}", Printable(what)),
            Self::Undecodable(why) => write!(f, "cannot be decoded: {}", Printable(why)),
            Self::OutsideRoot => f.write_str("lies outside the root"),
            Self::UnknownLabel(label) => {
                write!(
                    f,
                    "has the label `{}`, which is not known",
                    Printable(label)
                )
            }
            Self::UnknownSplit(split) => {
                write!(
                    f,
                    "has the split `{}`, which is not known",
                    Printable(split)
                )
            }
            Self::Malformed(how) => write!(f, "is malformed: {}", Printable(how)),
            Self::Duplicate => f.write_str("stands twice in the same split"),
            Self::InTwoSplits(first, second) => write!(f, "is in both {first} and {second}"),
            Self::OneClass => f.write_str("has pictures of one class only"),
            Self::Landmarks(why) => write!(f, "has unusable landmarks: {}", Printable(why)),
            Self::Mask(why) => write!(f, "has an unusable mask: {}", Printable(why)),
            Self::Changed => f.write_str("has changed since the set was checked"),
        }
    }
}

/// A fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The picture, or the list or folder that names it.
    pub file: PathBuf,
    /// Where in the list, or which person or domain; empty where the file says it all.
    pub place: String,
    /// What is wrong.
    pub fault: Fault,
}

impl Problem {
    /// What is wrong with a file as a whole.
    pub(super) fn at(file: impl Into<PathBuf>, fault: Fault) -> Self {
        Self {
            file: file.into(),
            place: String::new(),
            fault,
        }
    }

    /// What is wrong at a place of a list.
    pub(super) fn in_list(
        file: impl Into<PathBuf>,
        place: impl Into<String>,
        fault: Fault,
    ) -> Self {
        Self {
            file: file.into(),
            place: place.into(),
            fault,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Printable(&self.file.to_string_lossy()))?;
        if !self.place.is_empty() {
            write!(f, ", {}", Printable(&self.place))?;
        }
        write!(f, ": {}; {}", self.fault, self.fault.mend())
    }
}

/// All problems of a data set. The first [`PROBLEMS_WRITTEN`] are written out, the rest counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in the order of the files.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many there are of each [kind](Fault::kind).
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for problem in &self.0 {
            *counts.entry(problem.fault.kind()).or_default() += 1;
        }
        counts
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.0.extend(problems);
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .counts()
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        write!(f, "{} problems ({})", self.len(), counts.join(", "))?;
        for problem in self.0.iter().take(PROBLEMS_WRITTEN) {
            write!(f, "\n  {problem}")?;
        }
        match self.len().saturating_sub(PROBLEMS_WRITTEN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_written() {
        let mut problems = Problems::default();
        for i in 0..25 {
            problems.push(Problem::at(format!("{i}.png"), Fault::Missing));
        }
        problems.push(Problem::in_list(
            "list.json",
            "FF-\u{1b}[31m",
            Fault::UnknownLabel("\u{7}".into()),
        ));
        let text = problems.to_string();
        assert!(text.starts_with("26 problems (25 missing, 1 unknown label)\n  0.png: does not"));
        assert!(text.ends_with("\n  and 6 more"));
        assert_eq!(text.lines().count(), 22);
        let last = problems.iter().last().unwrap().to_string();
        assert!(last.starts_with(r"list.json, FF-\u{1b}[31m: has the label `\u{7}`"));
    }
}
