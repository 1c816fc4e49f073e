use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Needs, at_least_zero, non_negative::dot};
use crate::Result;

/// Risk extrapolation by variance: the gradient of the mean loss and $\lambda$ times the losses'
/// variance over the domains,
///
/// $$G = \nabla \Bigl[ \bar L + \lambda \sum_i p_i (L_i - \bar L)^2 \Bigr]
///   = \sum_i p_i \bigl( 1 + 2 \lambda (L_i - \bar L) \bigr)\\, g_i, \qquad \bar L = \sum_i p_i L_i,$$
///
/// whose coefficients are $\frac1K + \frac{2\lambda}{K}(L_i - \bar L)$ where domains weigh the same.
/// They add up to 1, and are negative for a domain whose loss is $\frac{1}{2\lambda}$ below the mean.
///
/// Looks at the losses: no further pass. For the first `anneal_steps` steps $\lambda$ is 1; it then
/// jumps. DomainBed makes a new Adam at the jump, and so should a loop here: its moments are those
/// of other gradients.
///
/// Use it where the domains differ in how a spurious feature goes with the label, as in
/// ColoredMNIST, with a $\lambda$ that was searched for.
///
/// Source: Krueger et al., "Out-of-Distribution Generalization via Risk Extrapolation (REx)", ICML
/// 2021, arXiv 2003.00688.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VRex {
    /// $\lambda$ after the annealing: finite, at least 0. Default: 10, as in DomainBed.
    pub lambda: f64,
    /// For how many steps $\lambda = 1$. Default: 500, as in DomainBed.
    pub anneal_steps: u64,
}

impl Default for VRex {
    fn default() -> Self {
        Self {
            lambda: 10.0,
            anneal_steps: 500,
        }
    }
}

impl Aggregator for VRex {
    fn check(&self) -> Result<()> {
        at_least_zero("aggregation.lambda", self.lambda)
    }

    fn needs(&self) -> Needs {
        Needs::Losses
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        let losses = domains.losses()?;
        let lambda = match domains.step() < self.anneal_steps {
            true => 1.0,
            false => self.lambda,
        };
        let mean = dot(domains.weights(), losses);
        let terms = domains.weights().iter().zip(losses);
        let coefficient = |(p, loss): (&f64, &f64)| p * (1.0 + 2.0 * lambda * (loss - mean));
        Ok(terms.map(coefficient).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_jumps_after_the_annealing() {
        let method = VRex {
            lambda: 10.0,
            anneal_steps: 5,
        };
        let at = |step| {
            let domains = DomainStatistics::new(step, &[0.5, 0.5]).with_losses(&[0.5, 1.0]);
            method.coefficients(&domains, &mut Vec::new()).unwrap()
        };
        assert_eq!((at(4), at(5)), (vec![0.25, 0.75], vec![-2.0, 3.0]));
    }
}
