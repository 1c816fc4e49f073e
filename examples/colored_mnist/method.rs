//! The methods that are compared, each a row: settings of one optimizer wrapper, and for some a
//! penalty beside the loss.

use clap::ValueEnum;
use roga::optim::{Evaluation, RobustGradientAlignmentConfig as Config};
use serde::{Deserialize, Serialize};

/// The lengths that perturbing methods go by.
#[derive(Clone, Copy, Debug, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Lengths {
    /// The radius ρ of the ascents
    #[arg(long, default_value_t = 0.05, allow_negative_numbers = true)]
    pub rho: f64,
    /// The shift γ along the mean gradient
    #[arg(long, default_value_t = 5e-4, allow_negative_numbers = true)]
    pub gamma: f64,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    Erm,
    Sam,
    Sagm,
    RogaOwn,
    RogaSampled,
    RogaConsensus,
    RogaAll,
}

impl Method {
    /// The name of its flag and its folder.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().into())
    }

    pub fn config(self, lengths: Lengths) -> Config {
        let Lengths { rho, gamma } = lengths;
        let roga = |evaluation| {
            Config::new()
                .with_rho(rho)
                .with_gamma(gamma)
                .with_evaluation(evaluation)
        };
        match self {
            Self::Erm => Config::erm(),
            Self::Sam => Config::sam(rho),
            Self::Sagm => Config::sagm(rho, gamma),
            Self::RogaOwn => roga(Evaluation::Own),
            Self::RogaSampled => roga(Evaluation::Sampled),
            Self::RogaConsensus => roga(Evaluation::Consensus),
            Self::RogaAll => roga(Evaluation::All),
        }
    }

    /// What is published of the IRM set-up: accuracy in percent and its standard deviation over 10
    /// restarts, of training, test and grey test.
    ///
    /// Ramé, Dancette and Cord, "Fishr: Invariant Gradient Variances for Out-of-Distribution
    /// Generalization", ICML 2022, arXiv 2109.02934, table 2.
    pub fn published(self) -> Option<[(f64, f64); 3]> {
        match self {
            Self::Erm => Some([(86.4, 0.2), (14.0, 0.7), (71.0, 0.7)]),
            _ => None,
        }
    }
}
