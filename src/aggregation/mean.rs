use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Needs};
use crate::Result;

/// The mean: $G = \sum_i p_i\\, g_i$, the gradient of empirical risk minimisation.
///
/// Looks at nothing and waits for nothing. Use it unless the domains' gradients conflict, and as
/// what every other method is compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Mean;

impl Aggregator for Mean {
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        Ok(domains.weights().to_vec())
    }
}
