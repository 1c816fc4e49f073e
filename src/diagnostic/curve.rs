use serde::Serialize;

/// The mean cosines of neighbouring steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurveBin {
    /// The number of its first step.
    pub first: u64,
    /// The number of its last step.
    pub last: u64,
    /// How many steps it holds.
    pub steps: u64,
    /// The mean cosine of every pair, in the order of
    /// [`Conflict::pairs`](super::Conflict::pairs).
    pub cosines: Vec<f64>,
}

impl CurveBin {
    /// The mean over the pairs; `None` of one domain.
    pub fn mean_cosine(&self) -> Option<f64> {
        let sum: f64 = self.cosines.iter().sum();
        (!self.cosines.is_empty()).then(|| sum / self.cosines.len() as f64)
    }

    /// Takes in the steps of another one.
    fn join(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.steps += other.steps;
        let share = other.steps as f64 / self.steps as f64;
        for (mean, other) in self.cosines.iter_mut().zip(&other.cosines) {
            *mean += (other - *mean) * share;
        }
    }
}

/// Bins of so many steps that they are never more than a bound, however long training is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    /// At least 2, so that bins as wide as the numbers of steps go are few enough.
    bound: usize,
    width: u64,
    /// In the order of their steps: step $s$ in the bin of $\lfloor s / w \rfloor$.
    bins: Vec<CurveBin>,
}

impl Curve {
    pub fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(2),
            width: 1,
            bins: Vec::new(),
        }
    }

    pub fn bins(&self) -> &[CurveBin] {
        &self.bins
    }

    pub fn add(&mut self, step: u64, cosines: Vec<f64>) {
        let bin = CurveBin {
            first: step,
            last: step,
            steps: 1,
            cosines,
        };
        let width = self.width;
        let place = self
            .bins
            .binary_search_by_key(&(step / width), |bin| bin.first / width);
        match place {
            Ok(place) => {
                if let Some(found) = self.bins.get_mut(place) {
                    found.join(&bin);
                }
            }
            Err(place) => self.bins.insert(place, bin),
        }
        while self.bins.len() > self.bound {
            self.widen();
        }
    }

    /// Twice as many steps in a bin.
    fn widen(&mut self) {
        self.width = self.width.saturating_mul(2);
        let width = self.width;
        self.bins.dedup_by(|bin, before| {
            let same = bin.first / width == before.first / width;
            if same {
                before.join(bin);
            }
            same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(bound: usize, steps: impl IntoIterator<Item = u64>) -> Curve {
        let mut curve = Curve::new(bound);
        for step in steps {
            curve.add(step, vec![step as f64, 1.0]);
        }
        curve
    }

    #[test]
    fn every_step_counts_once_and_bins_stay_few() {
        let curve = curve(10, 0..1000);
        assert!((5..=10).contains(&curve.bins.len()), "{}", curve.bins.len());
        assert_eq!(curve.bins.iter().map(|bin| bin.steps).sum::<u64>(), 1000);
        for bin in &curve.bins {
            assert_eq!(bin.last - bin.first + 1, bin.steps);
            let mean = (bin.first + bin.last) as f64 / 2.0;
            assert!((bin.cosines[0] - mean).abs() < 1e-9, "{bin:?}");
            assert!((bin.mean_cosine().unwrap() - (mean + 1.0) / 2.0).abs() < 1e-9);
        }
        let ends: Vec<u64> = curve.bins.iter().map(|bin| bin.first).collect();
        assert!(ends.is_sorted());
    }

    #[test]
    fn the_order_of_the_steps_changes_nothing_but_rounding() {
        let (forward, back) = (curve(4, 0..64), curve(4, (0..64).rev()));
        assert_eq!(forward.width, back.width);
        for (a, b) in forward.bins.iter().zip(&back.bins) {
            assert_eq!((a.first, a.last, a.steps), (b.first, b.last, b.steps));
            assert!((a.cosines[0] - b.cosines[0]).abs() < 1e-9);
        }
    }

    #[test]
    fn any_numbers_of_steps_are_borne() {
        let curve = curve(2, [u64::MAX, 0, u64::MAX - 1, 1 << 62, 7, 7]);
        assert_eq!(curve.bins.len(), 2);
        assert_eq!(curve.bins.iter().map(|bin| bin.steps).sum::<u64>(), 6);
    }
}
