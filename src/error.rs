use std::{
    fmt::{self, Write},
    path::PathBuf,
};

#[cfg(feature = "detector")]
use crate::detector::backbone::Mismatch;
use crate::optim::NonFinite;

/// An error of any kind, from a caller's closure, a data set or a reader.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong in this crate.
///
/// Every message names the field, the rule and the value, or the domain and the pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work. It is refused when it is made.
    #[error("{field} must {rule}, but is {value}")]
    Setting {
        /// The setting's name, as it is written in the configuration.
        field: &'static str,
        /// What holds for every value that works.
        rule: &'static str,
        /// The value that was refused.
        value: String,
    },

    /// The domains handed over cannot be worked on.
    #[error("domains must {rule}, but {found}")]
    Domains {
        /// What holds for every set of domains that works.
        rule: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The model cannot be trained by gradients.
    #[error("the model must {rule}, but {found}")]
    Model {
        /// What holds for every model that works.
        rule: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The loss of a domain cannot be differentiated.
    #[error("the loss of domain `{domain}` must {rule}, but {found}")]
    Loss {
        /// The domain's name.
        domain: String,
        /// What holds for every loss that works.
        rule: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The caller's closure returned an error. Nothing was changed.
    #[error("the loss closure failed on domain `{domain}`")]
    Closure {
        /// The domain's name.
        domain: String,
        /// The closure's error.
        #[source]
        source: BoxError,
    },

    /// Too many steps in a row were not finite. The last one has changed nothing either.
    #[error("{skipped} steps in a row were skipped, since step {since}: {first}{}",
        last_if_other(.first, .last))]
    NonFinite {
        /// How many.
        skipped: u64,
        /// The number of the first of them.
        since: u64,
        /// What was not finite in the first of them.
        first: Box<NonFinite>,
        /// What was not finite in the last of them.
        last: Box<NonFinite>,
    },

    /// A record that a training cannot go on from.
    #[error("the record must {rule}, but {found}")]
    Record {
        /// What holds for every record that works.
        rule: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The device could not hand its numbers back.
    #[error("reading the step's numbers back from the device failed: {0}")]
    Device(String),

    /// A data set could not hand over an item.
    #[error("domain `{domain}` could not be read")]
    Data {
        /// The domain's name.
        domain: String,
        /// The data set's error.
        #[source]
        source: BoxError,
    },

    /// A loader could not hand over the batches of a step.
    #[error("the loader could not hand over a batch")]
    Batches(#[source] BoxError),

    /// A picture could not be drawn.
    #[cfg(feature = "plot")]
    #[error("the picture of {picture} could not be drawn")]
    Picture {
        /// What it is of.
        picture: &'static str,
        /// The drawing library's error.
        #[source]
        source: BoxError,
    },

    /// Scores and labels from which a metric is not defined.
    #[error("{metric} is not defined: {reason}")]
    Metric {
        /// The metric's name.
        metric: &'static str,
        /// Why it is not defined for these scores and labels.
        reason: String,
    },

    /// A file that cannot be used.
    #[error("{}: {}", Printable(&path.to_string_lossy()), Printable(reason))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and how it is mended.
        reason: String,
    },

    /// Published weights that are not those of the net.
    #[cfg(feature = "detector")]
    #[error("{}: the tensors must be those of the net, but there are {mismatch}",
        Printable(&path.to_string_lossy()))]
    Weights {
        /// The file.
        path: PathBuf,
        /// Everything in which they differ.
        mismatch: Box<Mismatch>,
    },

    /// Pictures of a data set that cannot be used: all of them, not the first.
    #[cfg(feature = "detector")]
    #[error(transparent)]
    Pictures(crate::detector::data::Problems),
}

impl Error {
    /// That a file cannot be used.
    pub(crate) fn file(path: &std::path::Path, reason: impl fmt::Display) -> Self {
        Self::File {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

/// What a row of skipped steps ended with, where that is not what it began with.
fn last_if_other(first: &NonFinite, last: &NonFinite) -> String {
    match first == last {
        true => String::new(),
        false => format!("; in the last of them {last}"),
    }
}

/// Text of a data set, with what a terminal would obey written out.
///
/// Control characters move the cursor or clear the screen, and marks of direction let a name read
/// as another.
pub(crate) struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    write!(f, "{}", c.escape_unicode())?;
                }
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_write_on_the_terminal() {
        let error = Error::File {
            path: "\u{1b}[2Jcat\u{202e}gnp.exe\u{9b}".into(),
            reason: "line\nline".into(),
        };
        assert_eq!(
            error.to_string(),
            "\\u{1b}[2Jcat\\u{202e}gnp.exe\\u{9b}: line\\nline"
        );
    }

    #[cfg(feature = "detector")]
    #[test]
    fn neither_can_the_names_of_published_tensors() {
        let error = Error::Weights {
            path: "\u{1b}[2J.pth".into(),
            mismatch: Box::new(Mismatch {
                unexpected: vec!["\u{1b}]0;title\u{7}".into()],
                ..Mismatch::default()
            }),
        };
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }
}
