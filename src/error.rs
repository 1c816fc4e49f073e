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
/// Every message names the field, the rule and the value, or the domain and the pass. It is one
/// line: what a terminal would obey in names that come from data is written out as `\u{1b}`. An
/// error's source is whoever's it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work. It is refused when it is made.
    #[error("{field} must {rule}, but is {}", Printable(value))]
    Setting {
        /// The setting's name, as it is written in the configuration.
        field: &'static str,
        /// What holds for every value that works.
        rule: &'static str,
        /// The value that was refused.
        value: String,
    },

    /// The domains handed over cannot be worked on.
    #[error("domains must {rule}, but {}", Printable(found))]
    Domains {
        /// What holds for every set of domains that works.
        rule: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The model cannot be trained by gradients.
    #[error("the model must {rule}, but {}", Printable(found))]
    Model {
        /// What holds for every model that works.
        rule: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The loss of a domain cannot be differentiated.
    #[error(
        "the loss of domain `{}` must {rule}, but {}",
        Printable(domain),
        Printable(found)
    )]
    Loss {
        /// The domain's name.
        domain: String,
        /// What holds for every loss that works.
        rule: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The caller's closure returned an error. Nothing was changed.
    #[error("the loss closure failed on domain `{}`", Printable(domain))]
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
    #[error("the record must {rule}, but {}", Printable(found))]
    Record {
        /// What holds for every record that works.
        rule: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The device could not hand its numbers back.
    #[error(
        "reading the step's numbers back from the device failed: {}",
        Printable(_0)
    )]
    Device(String),

    /// The thread that passes on another device were to run on could not be started.
    #[error("a device's thread could not be started")]
    Thread(#[source] std::io::Error),

    /// A data set could not hand over an item.
    #[error("domain `{}` could not be read", Printable(domain))]
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
    #[error("{metric} is not defined: {}", Printable(reason))]
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
/// Control characters move the cursor or clear the screen, ends of lines let a name speak for the
/// program, and marks of direction let it read as another.
pub(crate) struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                // Marks of direction, and the ends of lines and paragraphs that are no controls.
                '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' => {
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

    #[test]
    fn neither_can_any_name_in_any_error() {
        const NAME: &str = "a\u{1b}[2J\nerror: \u{202e}b\u{9b}c\u{2028}\u{61c}";
        let (text, source) = (|| NAME.to_string(), || -> BoxError { "closed".into() });
        let rule = "be so";
        for error in [
            Error::Setting {
                field: "f",
                rule,
                value: text(),
            },
            Error::Domains {
                rule,
                found: text(),
            },
            Error::Model {
                rule,
                found: text(),
            },
            Error::Loss {
                domain: text(),
                rule,
                found: text(),
            },
            Error::Closure {
                domain: text(),
                source: source(),
            },
            Error::Record {
                rule,
                found: text(),
            },
            Error::Device(text()),
            Error::Data {
                domain: text(),
                source: source(),
            },
            Error::Metric {
                metric: "AUC",
                reason: text(),
            },
            Error::file(std::path::Path::new(NAME), NAME),
        ] {
            let said = error.to_string();
            assert!(said.contains("a\\u{1b}[2J\\nerror: \\u{202e}b\\u{9b}c\\u{2028}\\u{61c}"));
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    }

    #[test]
    fn neither_can_names_that_are_no_errors() {
        const NAME: &str = "\u{1b}[2J\n\u{202e}";
        for said in [
            NonFinite {
                domain: Some(NAME.into()),
                pass: crate::optim::Pass::Perturbed {
                    ascent: Some(NAME.into()),
                },
                quantity: crate::optim::Quantity::Loss,
            }
            .to_string(),
            crate::metric::VideoKey::new(NAME, NAME, NAME).to_string(),
            crate::search::Value::from(NAME).to_string(),
            crate::diagnostic::Direction::Ascent {
                domain: NAME.into(),
                rho: 0.1,
            }
            .to_string(),
        ] {
            assert!(said.contains(r"\u{1b}[2J\n\u{202e}"), "{said:?}");
            assert!(!said.contains(char::is_control), "{said:?}");
        }
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
