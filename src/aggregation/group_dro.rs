use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Needs, at_least_zero};
use crate::{Error, Result};

/// Group distributionally robust optimisation: domains of high loss gain weight from step to step,
///
/// $$q_i \leftarrow \frac{q_i\\, e^{\eta L_i}}{\sum_j q_j\\, e^{\eta L_j}}, \qquad G = \sum_i q_i\\, g_i,$$
///
/// from $q = p$ on: exponentiated ascent on $\max_q \sum_i q_i L_i$, which ends at the worst
/// domain's loss.
///
/// Looks at the losses: no further pass. Keeps the $K$ numbers $q$.
///
/// Use it where the worst domain is what counts and its loss can still be lowered. It learns a
/// domain of noisy labels, whose loss stays high, before all others.
///
/// Source: Sagawa, Koh, Hashimoto and Liang, "Distributionally Robust Neural Networks for Group
/// Shifts", ICLR 2020, arXiv 1911.08731; as in DomainBed, where the $q$ of a step follow from its
/// own losses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupDro {
    /// $\eta$: finite, at least 0. Default: 0.01, as in DomainBed.
    pub eta: f64,
}

impl Default for GroupDro {
    fn default() -> Self {
        Self { eta: 0.01 }
    }
}

impl Aggregator for GroupDro {
    fn check(&self) -> Result<()> {
        at_least_zero("aggregation.eta", self.eta)
    }

    fn needs(&self) -> Needs {
        Needs::Losses
    }

    fn coefficients(
        &self,
        domains: &DomainStatistics<'_>,
        state: &mut Vec<f64>,
    ) -> Result<Vec<f64>> {
        let losses = domains.losses()?;
        let before = match state.len() {
            0 => domains.weights(),
            kept if kept == domains.len() => &**state,
            kept => {
                return Err(Error::Domains {
                    rule: "stay as many from step to step",
                    found: format!("there are {} after {kept}", domains.len()),
                });
            }
        };
        // Exponents of at most 0, whatever the losses.
        let worst = losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let grown = before.iter().zip(losses);
        let grown: Vec<f64> = grown
            .map(|(q, loss)| q * (self.eta * (loss - worst)).exp())
            .collect();
        let sum: f64 = grown.iter().sum();
        *state = grown.iter().map(|q| q / sum).collect();
        Ok(state.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_grow_with_the_losses_so_far() {
        let method = GroupDro { eta: 0.1 };
        let mut q = Vec::new();
        for (step, losses) in [[1.0, 2.0], [3.0, 1.0]].iter().enumerate() {
            let domains = DomainStatistics::new(step as u64, &[0.5, 0.5]).with_losses(losses);
            let coefficients = method.coefficients(&domains, &mut q).unwrap();
            assert_eq!(coefficients, q);
        }
        // q₁ / q₂ = exp(0.1 (4 − 3)).
        assert!(
            (q[0] / q[1] - 0.1f64.exp()).abs() < 1e-15 && q[0] + q[1] == 1.0,
            "{q:?}"
        );
    }

    #[test]
    fn no_loss_is_too_large_and_none_that_is_not_finite_is_kept() {
        let mut q = vec![0.5, 0.5];
        let mut step = |losses: &[f64]| {
            let domains = DomainStatistics::new(0, &[0.5, 0.5]).with_losses(losses);
            let found = GroupDro { eta: 1.0 }.coefficients(&domains, &mut q);
            found.map_err(|error| error.to_string())
        };
        assert!(step(&[1.0, f64::NAN]).is_err());
        assert_eq!(step(&[1e6, 1e6]).unwrap(), [0.5, 0.5]);
        assert_eq!(step(&[1e6, 0.0]).unwrap(), [1.0, 0.0]);
        let mut three = vec![0.2; 3];
        let domains = DomainStatistics::new(0, &[0.5, 0.5]).with_losses(&[1.0, 1.0]);
        let refused = GroupDro::default().coefficients(&domains, &mut three);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "domains must stay as many from step to step, but there are 2 after 3"
        );
    }
}
