//! The methods that are compared, each a row: settings of one optimizer wrapper, and for some a
//! penalty beside the loss.

use burn::tensor::Tensor;
use clap::{ValueEnum, builder::PossibleValue};
use roga::{
    aggregation::{GroupDro, PcGrad, UpGrad, VRex},
    alignment::AlignmentConfig,
    optim::{AggregationConfig, Evaluation, RobustGradientAlignmentConfig as Config},
};
use serde::{Deserialize, Serialize};

use crate::{
    fishr::{AtHead, Fishr},
    irm,
};

/// The lengths and weights that methods go by; 0 where a method has none.
#[derive(Clone, Copy, Debug, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Lengths {
    /// The radius ρ of the ascents
    #[arg(long, default_value_t = Self::default().rho, allow_negative_numbers = true)]
    pub rho: f64,
    /// The shift γ along the mean gradient
    #[arg(long, default_value_t = Self::default().gamma, allow_negative_numbers = true)]
    pub gamma: f64,
    /// The weight of the alignment losses
    #[arg(long, value_name = "WEIGHT", default_value_t = Self::default().align, allow_negative_numbers = true)]
    pub align: f64,
}

impl Default for Lengths {
    fn default() -> Self {
        Self {
            rho: 0.05,
            gamma: 5e-4,
            align: 1.0,
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    Erm,
    Irm,
    #[value(name = "vrex")]
    #[serde(rename = "vrex")]
    VRex,
    Fishr,
    GroupDro,
    PcGrad,
    UpGrad,
    Sam,
    Sagm,
    RogaOwn,
    RogaSampled,
    RogaConsensus,
    RogaAll,
    AlignInnerProduct,
    AlignCosine,
    AlignVariance,
    AlignNorm,
}

/// What is added to the loss, as a function of what the domains give at the net's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// Of every domain by itself.
    Irm,
    /// Of all domains together.
    Fishr,
}

impl Method {
    /// The name of its flag and its folder.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.as_ref().map_or("", PossibleValue::get_name).into()
    }

    /// Those of the lengths that the method depends on.
    pub fn lengths(self, Lengths { rho, gamma, align }: Lengths) -> Lengths {
        let [rho, gamma, align] = match self {
            Self::Sam => [rho, 0.0, 0.0],
            Self::Sagm
            | Self::RogaOwn
            | Self::RogaSampled
            | Self::RogaConsensus
            | Self::RogaAll => [rho, gamma, 0.0],
            Self::AlignInnerProduct | Self::AlignCosine | Self::AlignVariance | Self::AlignNorm => {
                [0.0, 0.0, align]
            }
            _ => [0.0; 3],
        };
        Lengths { rho, gamma, align }
    }

    /// Its settings. Those of V-REx are a matter of the set-up.
    pub fn config(self, lengths: Lengths, vrex: VRex) -> Config {
        let Lengths { rho, gamma, align } = lengths;
        let roga = |evaluation| {
            Config::new()
                .with_rho(rho)
                .with_gamma(gamma)
                .with_evaluation(evaluation)
        };
        let aligned = |loss| Config::erm().with_alignment(Some(loss));
        let aggregated = |method| {
            let aggregation = AggregationConfig::new(method);
            Config::erm().with_aggregation(Some(aggregation))
        };
        match self {
            Self::Erm | Self::Irm | Self::Fishr => Config::erm(),
            Self::VRex => aggregated(vrex.into()),
            Self::GroupDro => aggregated(GroupDro::default().into()),
            Self::PcGrad => aggregated(PcGrad::default().into()),
            Self::UpGrad => aggregated(UpGrad::default().into()),
            Self::Sam => Config::sam(rho),
            Self::Sagm => Config::sagm(rho, gamma),
            Self::RogaOwn => roga(Evaluation::Own),
            Self::RogaSampled => roga(Evaluation::Sampled),
            Self::RogaConsensus => roga(Evaluation::Consensus),
            Self::RogaAll => roga(Evaluation::All),
            Self::AlignInnerProduct => aligned(AlignmentConfig::inner_product(align)),
            Self::AlignCosine => aligned(AlignmentConfig::cosine(align)),
            Self::AlignVariance => aligned(AlignmentConfig::variance(align)),
            Self::AlignNorm => aligned(AlignmentConfig::gradient_norm(align)),
        }
    }

    /// Whether what is added to the loss weighs more after some steps.
    pub fn anneals(self) -> bool {
        self.penalty().is_some() || self == Self::VRex
    }

    pub fn penalty(self) -> Option<Penalty> {
        match self {
            Self::Irm => Some(Penalty::Irm),
            Self::Fishr => Some(Penalty::Fishr),
            _ => None,
        }
    }
}

impl Penalty {
    /// The penalty of the IRM set-up's published code, of full batches: IRM's is the mean over the
    /// domains, Fishr's the sum.
    pub fn of(self, domains: &[AtHead]) -> Tensor<1> {
        match self {
            Self::Irm => {
                let penalties = domains
                    .iter()
                    .map(|domain| irm::penalty(domain.logits.clone(), domain.labels.clone()));
                Tensor::cat(penalties.collect(), 0).mean()
            }
            Self::Fishr => Fishr::new(0.0).penalty(domains) * domains.len() as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_depend_on_the_lengths_that_are_named() {
        let lengths = Lengths::default();
        for method in Method::value_variants() {
            let of = method.lengths(lengths);
            let config = |lengths| format!("{:?}", method.config(lengths, VRex::default()));
            assert_eq!(config(of), config(lengths), "{method:?}");
            let other = Lengths {
                rho: 0.1,
                gamma: 0.1,
                align: 0.1,
            };
            let depends = of
                != Lengths {
                    rho: 0.0,
                    gamma: 0.0,
                    align: 0.0,
                };
            assert_eq!(config(of) != config(other), depends, "{method:?}");
        }
    }

    #[test]
    fn no_two_rows_have_the_same_settings() {
        let of = |method: &Method| {
            let config = method.config(Lengths::default(), VRex::default());
            format!("{:?} {config:?}", method.penalty())
        };
        let all = Method::value_variants().iter().map(of);
        let different: std::collections::BTreeSet<String> = all.collect();
        assert_eq!(different.len(), Method::value_variants().len());
    }
}
