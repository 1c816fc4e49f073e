use serde::Serialize;

use super::items::probabilities;
use crate::{Error, Result};

/// How far probabilities are from the frequencies that they promise: the reliability diagram of the
/// positive class.
///
/// The probabilities $p_i$ that an item is positive are sorted into $M$ bins of equal width,
/// $B_m = (\frac{m-1}{M}, \frac mM]$, of which the first has 0 too. A bin of `n` items has their mean
/// probability and the part of them that is positive. Empty bins are left out.
///
/// It is the probability of being *positive* that is binned, as in reliability diagrams since
/// Murphy and Winkler (1977), not that of the class answered with, as for many classes in
/// Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599.
///
/// ```
/// use roga::metric::Calibration;
///
/// let labels = [false, false, true, true];
/// let sure = Calibration::new(&[0.0, 0.0, 1.0, 1.0], &labels, 15)?;
/// assert_eq!(sure.expected_error(), 0.0);
/// let timid = Calibration::new(&[0.25, 0.25, 0.75, 0.75], &labels, 15)?;
/// assert_eq!(timid.expected_error(), 0.25);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    bins: Vec<CalibrationBin>,
}

/// A bin of a [`Calibration`] that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// The number of its items, at least 1.
    pub items: usize,
    /// The mean of their probabilities of being positive, from 0 to 1.
    pub probability: f64,
    /// The part of them that is positive, from 0 to 1.
    pub frequency: f64,
}

impl Calibration {
    /// Sorts probabilities into bins of equal width. Usual numbers of bins are 10 and 15.
    ///
    /// # Errors
    ///
    /// [`Error::Metric`] where there is no item, there are not as many scores as labels, a score is
    /// not a probability from 0 to 1, or all labels are the same. [`Error::Setting`] where there are
    /// no bins.
    pub fn new<S: Copy + Into<f64>>(
        probabilities: &[S],
        labels: &[bool],
        bins: usize,
    ) -> Result<Self> {
        check_bins("bins", bins)?;
        let checked = self::probabilities("calibration", probabilities, labels)?;
        let bin_of = |probability: f64| ((probability * bins as f64).ceil() as usize).max(1) - 1;
        let mut items: Vec<(usize, f64, bool)> = checked
            .iter()
            .zip(labels)
            .map(|(&probability, &label)| (bin_of(probability), probability, label))
            .collect();
        // Stable, so that sums do not depend on the sort. Bins are found by sorting since their
        // number is the caller's.
        items.sort_by_key(|(bin, ..)| *bin);
        let bins = items.chunk_by(|(a, ..), (b, ..)| a == b).map(|bin| {
            let count = bin.len() as f64;
            let positives = bin.iter().filter(|(.., positive)| *positive).count();
            CalibrationBin {
                items: bin.len(),
                probability: bin
                    .iter()
                    .map(|(_, probability, _)| probability)
                    .sum::<f64>()
                    / count,
                frequency: positives as f64 / count,
            }
        });
        Ok(Self {
            bins: bins.collect(),
        })
    }

    /// The bins with items in them, probabilities rising.
    pub fn bins(&self) -> &[CalibrationBin] {
        &self.bins
    }

    /// The expected calibration error, from 0 to 1: the mean over the items of how far their bin's
    /// mean probability is from its frequency,
    ///
    /// $$ \mathrm{ECE} = \sum_m \frac{|B_m|}{n} \left| \bar p_m - \bar y_m \right|. $$
    ///
    /// It depends on the number of bins, and is biased upwards where they hold few items.
    ///
    /// Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using
    /// Bayesian Binning", AAAI 2015.
    pub fn expected_error(&self) -> f64 {
        let total: usize = self.bins.iter().map(|bin| bin.items).sum();
        let distances = self
            .bins
            .iter()
            .map(|bin| bin.items as f64 * (bin.probability - bin.frequency).abs());
        distances.sum::<f64>() / total as f64
    }
}

pub(super) fn check_bins(field: &'static str, bins: usize) -> Result<()> {
    if bins == 0 {
        return Err(Error::Setting {
            field,
            rule: "be at least 1",
            value: bins.to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::items::UNDEFINED, *};

    #[test]
    fn edges_belong_to_the_bin_below() {
        let labels = [false, true, false, true, true];
        let calibration = Calibration::new(&[0.0, 0.5, 0.25, 0.51, 1.0], &labels, 2).unwrap();
        let bins: Vec<_> = calibration.bins().iter().map(|bin| bin.items).collect();
        assert_eq!(bins, [3, 2]);
        let first = calibration.bins()[0];
        assert_eq!((first.probability, first.frequency), (0.25, 1.0 / 3.0));
    }

    #[test]
    fn one_bin_compares_the_means() {
        let labels = [false, true, false, false];
        let calibration = Calibration::new(&[0.5, 0.5, 0.75, 0.25], &labels, 1).unwrap();
        assert_eq!(calibration.expected_error(), 0.25);
    }

    #[test]
    fn what_has_none_is_refused() {
        let logits: (&[f64], &[bool]) = (&[0.1, 1.5], &[false, true]);
        for (scores, labels) in UNDEFINED.into_iter().chain([logits]) {
            let refused = Calibration::new(scores, labels, 15);
            assert!(matches!(refused, Err(Error::Metric { .. })), "{scores:?}");
        }
        let refused = Calibration::new(&[0.1, 0.2], &[true, false], 0);
        assert!(matches!(refused, Err(Error::Setting { field: "bins", .. })));
        // The number of bins is no allocation.
        let many = Calibration::new(&[0.1, 0.2], &[true, false], usize::MAX).unwrap();
        assert_eq!(many.bins().len(), 2);
    }
}
