use std::cmp::Ordering;

use super::{
    check::CheckConfig,
    problem::{Problem, Problems},
    record::PictureRecord,
    select::SelectConfig,
    set::PictureSet,
};
use crate::Result;

/// What lists and folders say a data set holds. Nothing can be read from it before it has been
/// [checked](Self::check).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    records: Vec<PictureRecord>,
    problems: Problems,
}

impl Listing {
    /// A list of records from a reader of your own.
    pub fn new(records: Vec<PictureRecord>) -> Self {
        let mut listing = Self {
            records,
            problems: Problems::default(),
        };
        listing.sort();
        listing
    }

    /// The pictures, sorted by data set, domain, split, video and frame.
    pub fn records(&self) -> &[PictureRecord] {
        &self.records
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What was wrong with the lists themselves; [`check`](Self::check) returns it, too.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// Two lists as one. A file that both have under the same label in the same split is one
    /// picture: the lists of `FF-DF` and `FF-F2F` share their real ones.
    pub fn join(mut self, other: Self) -> Self {
        self.records.extend(other.records);
        self.records.sort_by(|a, b| {
            let key = |r: &PictureRecord| (r.split, r.label, r.domain.clone());
            a.file.cmp(&b.file).then_with(|| key(a).cmp(&key(b)))
        });
        self.records.dedup_by(|b, a| {
            (&a.file, a.split, a.label, &a.domain) == (&b.file, b.split, b.label, &b.domain)
        });
        self.problems.extend(other.problems);
        self.sort();
        self
    }

    /// Those pictures alone that are asked for, so that only they are checked.
    ///
    /// # Errors
    ///
    /// As [`SelectConfig::check`].
    pub fn select(mut self, which: &SelectConfig) -> Result<Self> {
        which.check()?;
        let mut taken = which.mask(self.records.iter()).into_iter();
        self.records.retain(|_| taken.next() == Some(true));
        Ok(self)
    }

    /// Looks at every picture and at the set as a whole.
    ///
    /// # Errors
    ///
    /// [`Error::Pictures`](crate::Error::Pictures) with all problems at once, unless they are to
    /// be skipped; also where no picture is left. [`Error::Setting`](crate::Error::Setting) for a
    /// setting out of its range.
    pub fn check(self, config: &CheckConfig) -> Result<PictureSet> {
        config.run(self.records, self.problems)
    }

    pub(super) fn push(&mut self, record: PictureRecord) {
        self.records.push(record);
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    #[cfg(test)]
    pub(super) fn records_mut(&mut self) -> &mut [PictureRecord] {
        &mut self.records
    }

    pub(super) fn sort(&mut self) {
        self.records.sort_by(in_order);
    }
}

fn in_order(a: &PictureRecord, b: &PictureRecord) -> Ordering {
    let key = |r: &PictureRecord| (r.split, r.compression);
    a.dataset
        .cmp(&b.dataset)
        .then_with(|| a.domain.cmp(&b.domain))
        .then_with(|| key(a).cmp(&key(b)))
        .then_with(|| a.video.cmp(&b.video))
        .then_with(|| a.frame.cmp(&b.frame))
        .then_with(|| a.id.cmp(&b.id))
}
