use serde::{Deserialize, Serialize};

use super::{Aggregator, DomainStatistics, Needs};
use crate::Result;

/// The sum: $G = K \sum_i p_i\\, g_i$, which is $\sum_i g_i$ where domains weigh the same.
/// $K$ counts the domains whose weight is not 0.
///
/// Looks at nothing and waits for nothing. Its scale grows with the number of domains: use it to
/// compare with code that adds losses up, with the learning rate that was tuned there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum;

impl Aggregator for Sum {
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn coefficients(&self, domains: &DomainStatistics<'_>, _: &mut Vec<f64>) -> Result<Vec<f64>> {
        let counted = domains.weights().iter().filter(|p| **p != 0.0);
        let count = counted.count() as f64;
        Ok(domains.weights().iter().map(|p| count * p).collect())
    }
}
