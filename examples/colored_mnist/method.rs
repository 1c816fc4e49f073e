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

/// What of the methods is tuned; 0 where a method has none of it.
#[derive(Clone, Copy, Debug, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Tuned {
    /// The radius ρ of the ascents
    #[arg(long, default_value_t = Self::default().rho, allow_negative_numbers = true)]
    pub rho: f64,
    /// The shift γ along the mean gradient
    #[arg(long, default_value_t = Self::default().gamma, allow_negative_numbers = true)]
    pub gamma: f64,
    /// The weight of the alignment losses
    #[arg(long, value_name = "WEIGHT", default_value_t = Self::default().align, allow_negative_numbers = true)]
    pub align: f64,
    /// Steps of ERM before a method perturbs or aligns
    #[arg(long, value_name = "STEPS", default_value_t = Self::default().warmup)]
    pub warmup: u64,
}

impl Tuned {
    const NOTHING: Self = Self {
        rho: 0.0,
        gamma: 0.0,
        align: 0.0,
        warmup: 0,
    };
}

impl Default for Tuned {
    fn default() -> Self {
        Self {
            rho: 0.05,
            gamma: 5e-4,
            align: 1.0,
            warmup: 0,
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
    FriendlySam,
    LookSam,
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

    /// What of it the method depends on.
    pub fn tuned(self, tuned: Tuned) -> Tuned {
        match self {
            Self::Sam | Self::FriendlySam | Self::LookSam => Tuned {
                gamma: 0.0,
                align: 0.0,
                ..tuned
            },
            Self::Sagm
            | Self::RogaOwn
            | Self::RogaSampled
            | Self::RogaConsensus
            | Self::RogaAll => Tuned {
                align: 0.0,
                ..tuned
            },
            Self::AlignInnerProduct | Self::AlignCosine | Self::AlignVariance | Self::AlignNorm => {
                Tuned {
                    rho: 0.0,
                    gamma: 0.0,
                    ..tuned
                }
            }
            _ => Tuned::NOTHING,
        }
    }

    /// Its settings. Those of V-REx are a matter of the set-up.
    pub fn config(self, tuned: Tuned, vrex: VRex) -> Config {
        let Tuned {
            rho,
            gamma,
            align,
            warmup,
        } = tuned;
        let roga = |evaluation| {
            let config = Config::new().with_rho(rho).with_gamma(gamma);
            let config = config.with_evaluation(evaluation);
            config.with_warmup_steps(warmup)
        };
        let aligned = |loss: AlignmentConfig| {
            let loss = loss.with_warmup_steps(warmup);
            Config::erm().with_alignment(Some(loss))
        };
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
            Self::Sam => Config::sam(rho).with_warmup_steps(warmup),
            Self::FriendlySam => Config::friendly_sam(rho, 1.0, 0.9).with_warmup_steps(warmup),
            Self::LookSam => Config::look_sam(rho, 5, 0.7).with_warmup_steps(warmup),
            Self::Sagm => Config::sagm(rho, gamma).with_warmup_steps(warmup),
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

    /// Whether something is added to the loss.
    pub fn adds(self) -> bool {
        self.penalty().is_some() || self.degree().is_some()
    }

    /// The power of the losses' scale that what the optimizer adds to them goes by; none where it adds
    /// nothing.
    pub fn degree(self) -> Option<i32> {
        match self {
            Self::AlignCosine => Some(0),
            Self::AlignNorm => Some(1),
            Self::VRex | Self::AlignInnerProduct | Self::AlignVariance => Some(2),
            _ => None,
        }
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
    fn settings_depend_on_what_is_tuned_and_on_nothing_else() {
        let changes: [fn(&mut Tuned); 4] = [
            |tuned| tuned.rho = 0.1,
            |tuned| tuned.gamma = 0.1,
            |tuned| tuned.align = 0.1,
            |tuned| tuned.warmup = 3,
        ];
        for method in Method::value_variants() {
            let config = |tuned| format!("{:?}", method.config(tuned, VRex::default()));
            let plain = Tuned::default();
            assert_eq!(config(method.tuned(plain)), config(plain), "{method:?}");
            for change in changes {
                let mut changed = plain;
                change(&mut changed);
                let depends = method.tuned(changed) != method.tuned(plain);
                assert_eq!(config(changed) != config(plain), depends, "{method:?}");
            }
        }
    }

    #[test]
    fn no_two_rows_have_the_same_settings() {
        let of = |method: &Method| {
            let config = method.config(Tuned::default(), VRex::default());
            format!("{:?} {config:?}", method.penalty())
        };
        let all = Method::value_variants().iter().map(of);
        let different: std::collections::BTreeSet<String> = all.collect();
        assert_eq!(different.len(), Method::value_variants().len());
    }
}
