use serde::{Deserialize, Serialize};

use super::{
    Aggregator, AndMask, CaGrad, Disam, DomainStatistics, GroupDro, Mask, Mean, Mgda, Needs,
    PcGrad, Sum, UpGrad, VRex,
};
use crate::{Error, Result};

macro_rules! aggregation {
    ($($(#[$doc:meta])* $method:ident,)*) => {
        /// The aggregators of this crate, and the name of the caller's own, as a setting.
        ///
        /// Every method is a type with a page of its own; `into` makes it one of these.
        ///
        /// ```
        /// use roga::aggregation::{Aggregation, CaGrad};
        ///
        /// let aggregation: Aggregation = CaGrad::new(0.4).into();
        /// assert_eq!(aggregation, Aggregation::CaGrad(CaGrad::new(0.4)));
        /// ```
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Aggregation {
            $($(#[$doc])* $method($method),)*
            /// A method of the caller's own, by its `Debug` text: see
            /// [`AggregationConfig::own`](crate::optim::AggregationConfig::own).
            Own(String),
        }

        impl Aggregation {
            /// The method, where it is built in.
            fn built_in(&self) -> Option<&dyn Aggregator> {
                match self {
                    $(Self::$method(method) => Some(method),)*
                    Self::Own(_) => None,
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

impl Aggregation {
    /// A method of the caller's own.
    pub(crate) fn own(aggregator: &dyn Aggregator) -> Self {
        Self::Own(format!("{aggregator:?}"))
    }
}

/// A method of the caller's own that is not there.
pub(crate) fn not_handed_over() -> Error {
    Error::Setting {
        field: "aggregation.method",
        rule: "be handed over by `set_aggregator`, since it is the caller's own",
        value: "not known".into(),
    }
}

/// One of the caller's own is a name alone here, and gives no coefficients.
impl Aggregator for Aggregation {
    fn check(&self) -> Result<()> {
        self.built_in().map_or(Ok(()), Aggregator::check)
    }

    fn needs(&self) -> Needs {
        self.built_in().map_or(Needs::Nothing, Aggregator::needs)
    }

    fn coefficients(
        &self,
        domains: &DomainStatistics<'_>,
        state: &mut Vec<f64>,
    ) -> Result<Vec<f64>> {
        let method = self.built_in().ok_or_else(not_handed_over)?;
        method.coefficients(domains, state)
    }

    fn mask(&self) -> Option<&dyn Mask> {
        self.built_in()?.mask()
    }
}
