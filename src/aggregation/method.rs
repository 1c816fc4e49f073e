use serde::{Deserialize, Serialize};

use super::{
    Aggregator, AndMask, CaGrad, Disam, DomainStatistics, GroupDro, Mask, Mean, Mgda, Needs,
    PcGrad, Sum, UpGrad, VRex,
};
use crate::Result;

macro_rules! aggregation {
    ($($(#[$doc:meta])* $method:ident,)*) => {
        /// The aggregators of this crate, as a setting.
        ///
        /// Every method is a type with a page of its own; `into` makes it one of these.
        ///
        /// ```
        /// use roga::aggregation::{Aggregation, CaGrad};
        ///
        /// let aggregation: Aggregation = CaGrad { c: 0.4 }.into();
        /// assert_eq!(aggregation, Aggregation::CaGrad(CaGrad { c: 0.4 }));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Aggregation {
            $($(#[$doc])* $method($method),)*
        }

        impl Aggregation {
            fn method(&self) -> &dyn Aggregator {
                match self {
                    $(Self::$method(method) => method,)*
                }
            }
        }

        $(impl From<$method> for Aggregation {
            fn from(method: $method) -> Self {
                Self::$method(method)
            }
        })*
    };
}

aggregation! {
    /// $\sum_i p_i\\, g_i$.
    Mean,
    /// $K \sum_i p_i\\, g_i$.
    Sum,
    /// Projecting conflicting gradients.
    PcGrad,
    /// The multiple gradient descent algorithm.
    Mgda,
    /// Unconflicting projection of gradients.
    UpGrad,
    /// Conflict-averse gradient descent.
    CaGrad,
    /// Group distributionally robust optimisation.
    GroupDro,
    /// Risk extrapolation by variance.
    VRex,
    /// The weights of domain-inspired sharpness-aware minimisation.
    Disam,
    /// The AND-mask.
    AndMask,
}

impl Default for Aggregation {
    /// [`Mean`].
    fn default() -> Self {
        Self::Mean(Mean)
    }
}

impl Aggregator for Aggregation {
    fn check(&self) -> Result<()> {
        self.method().check()
    }

    fn needs(&self) -> Needs {
        self.method().needs()
    }

    fn coefficients(
        &self,
        domains: &DomainStatistics<'_>,
        state: &mut Vec<f64>,
    ) -> Result<Vec<f64>> {
        self.method().coefficients(domains, state)
    }

    fn mask(&self) -> Option<&dyn Mask> {
        self.method().mask()
    }
}
