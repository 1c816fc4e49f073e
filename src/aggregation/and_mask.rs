use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Mask, Needs};
use crate::{Error, Result};

/// The AND-mask: an entry of the mean gradient is kept where the domains agree on its sign,
///
/// $$G = \frac{m \odot \bar g}{\mathrm{mean}\\, m + 10^{-10}}, \qquad
///   m = \Bigl[\\, \Bigl| \sum_i p_i\\, \mathrm{sign}\\, g_i \Bigr| \ge \tau \Bigr],$$
///
/// parameter by parameter: what is kept of one is scaled up by the part of its entries that are. An
/// entry of zero agrees with none.
///
/// Looks at nothing beforehand, and needs all $K$ gradients in memory. $\tau = 0$ is the mean.
///
/// Use it with few domains and features that are either in all of them or not. With $\tau = 1$ and
/// many domains hardly an entry is left, and what is, is scaled up by as much.
///
/// Source: Parascandolo, Neitz, Orvieto, Gresele and Schölkopf, "Learning explanations that are
/// hard to vary", ICLR 2021, arXiv 2009.00329; as in DomainBed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AndMask {
    /// $\tau$, in $[0, 1]$. Default: 1, as in DomainBed: all domains agree.
    pub tau: f64,
}

impl Default for AndMask {
    fn default() -> Self {
        Self { tau: 1.0 }
    }
}

impl Aggregator for AndMask {
    fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.tau) {
            return Ok(());
        }
        Err(Error::Setting {
            field: "aggregation.tau",
            rule: "be in [0, 1]",
            value: self.tau.to_string(),
        })
    }

    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        Ok(domains.weights().to_vec())
    }

    fn mask(&self) -> Option<&dyn Mask> {
        Some(self)
    }
}

impl Mask for AndMask {
    fn of(&self, weights: &[f64], gradients: &[Tensor<1>]) -> Option<Tensor<1>> {
        // Room for the rounding of a sum of weights.
        let threshold = self.tau - 1e-5;
        let signs = gradients.iter().zip(weights);
        let agreement = signs
            .map(|(gradient, p)| gradient.clone().sign().mul_scalar(*p))
            .reduce(|sum, sign| sum + sign)?;
        let kept = agreement.abs().greater_equal_elem(threshold).float();
        let part = kept.clone().mean().add_scalar(1e-10);
        Some(kept / part)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[track_caller]
    fn masks(tau: f64, weights: &[f64], gradients: &[[f32; 4]], expected: [f32; 4]) {
        let device = Device::flex();
        let tensors: Vec<Tensor<1>> = gradients
            .iter()
            .map(|gradient| Tensor::from_floats(*gradient, &device))
            .collect();
        let mask = AndMask { tau }.of(weights, &tensors).unwrap();
        assert_eq!(mask.into_data().try_to_vec::<f32>().unwrap(), expected);
    }

    #[test]
    fn what_all_agree_on_is_kept_and_scaled_up() {
        let rows = [
            [1.0, -1.0, 2.0, 0.0],
            [3.0, 1.0, 4.0, 1.0],
            [5.0, 2.0, -1.0, 1.0],
        ];
        let third = [1.0 / 3.0; 3];
        masks(1.0, &third, &rows, [4.0, 0.0, 0.0, 0.0]);
        masks(0.5, &third, &rows, [2.0, 0.0, 0.0, 2.0]);
        masks(0.0, &third, &rows, [1.0; 4]);
        masks(
            1.0,
            &[0.0, 0.9, 0.1],
            &rows,
            [4.0 / 3.0, 4.0 / 3.0, 0.0, 4.0 / 3.0],
        );
        // Nothing is kept, and nothing is divided by 0.
        masks(1.0, &third, &[[1.0; 4], [-1.0; 4], [1.0; 4]], [0.0; 4]);
    }

    #[test]
    fn many_domains_that_agree_are_not_lost_to_rounding() {
        masks(
            1.0,
            &[1.0 / 49.0; 49],
            &[[0.5, 1.0, 2.0, 3.0]; 49],
            [1.0; 4],
        );
    }

    #[test]
    fn a_threshold_that_cannot_work_is_refused() {
        for tau in [-0.1, 1.1, f64::NAN] {
            let error = AndMask { tau }.check().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("aggregation.tau must be in [0, 1], but is {tau}")
            );
        }
    }
}
