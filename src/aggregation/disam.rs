use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Needs, at_least_zero};
use crate::Result;

/// The weights of domain-inspired sharpness-aware minimisation: less of the domains whose loss is
/// high,
///
/// $$G = \nabla \bigl[ \textstyle\sum_i p_i L_i - \lambda\\, \mathrm{Var}_i L_i \bigr]
///   = \sum_i \Bigl( p_i - \frac{2\lambda}{K} (L_i - \hat L) \Bigr)\\, g_i, \qquad
///   \hat L = \frac1K \sum_i L_i.$$
///
/// Made for the *ascent* of a perturbation, which should not be led by the domain that has
/// converged least; as the descent it raises the losses' variance. $K$ counts the domains whose
/// weight is not 0, and the others are left out.
///
/// Looks at the losses: no further pass.
///
/// Source: Zhang, Fan, Yao, Zhang and Wang, "Domain-Inspired Sharpness-Aware Minimization Under
/// Domain Shifts", ICLR 2024, arXiv 2405.18861.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disam {
    /// $\lambda$: finite, at least 0. Default: 0.1.
    pub lambda: f64,
}

impl Default for Disam {
    fn default() -> Self {
        Self { lambda: 0.1 }
    }
}

impl Aggregator for Disam {
    fn check(&self) -> Result<()> {
        at_least_zero("aggregation.lambda", self.lambda)
    }

    fn needs(&self) -> Needs {
        Needs::Losses
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        let losses = domains.losses()?;
        let terms = || domains.weights().iter().zip(losses);
        let counted = || terms().filter(|(p, _)| **p != 0.0).map(|(_, loss)| loss);
        let count = counted().count() as f64;
        let mean = counted().sum::<f64>() / count;
        let coefficient = |(p, loss): (&f64, &f64)| match *p == 0.0 {
            true => 0.0,
            false => p - 2.0 * self.lambda / count * (loss - mean),
        };
        Ok(terms().map(coefficient).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_loss_counts_least() {
        let domains = DomainStatistics::new(0, &[0.5, 0.25, 0.25, 0.0]);
        let domains = domains.with_losses(&[3.0, 1.0, 2.0, 9.0]);
        let found = Disam { lambda: 0.75 }.coefficients(&domains, &mut Vec::new());
        assert_eq!(found.unwrap(), [0.0, 0.75, 0.25, 0.0]);
    }
}
