//! The methods that are compared: settings of one optimizer wrapper.

use std::{fmt, str::FromStr};

use roga::optim::{Evaluation, RobustGradientAlignmentConfig};
use serde::{Serialize, Serializer};

use crate::args::Settings;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Erm,
    Sam,
    Asam,
    Sagm,
    DomainSam,
    LookAhead,
    Roga(Evaluation),
}

const NAMES: [(&str, Method); 11] = [
    ("erm", Method::Erm),
    ("sam", Method::Sam),
    ("asam", Method::Asam),
    ("sagm", Method::Sagm),
    ("domain-sam", Method::DomainSam),
    ("look-ahead", Method::LookAhead),
    ("roga-all", Method::Roga(Evaluation::All)),
    ("roga-own", Method::Roga(Evaluation::Own)),
    ("roga-others", Method::Roga(Evaluation::Others)),
    ("roga-sampled", Method::Roga(Evaluation::Sampled)),
    ("roga-consensus", Method::Roga(Evaluation::Consensus)),
];

impl Method {
    pub fn config(self, settings: &Settings, seed: u64) -> RobustGradientAlignmentConfig {
        type Config = RobustGradientAlignmentConfig;
        let (rho, gamma) = (settings.rho, settings.gamma);
        let config = match self {
            Method::Erm => Config::erm(),
            Method::Sam => Config::sam(rho),
            // Its radius is in units of the parameters.
            Method::Asam => Config::asam(10.0 * rho),
            Method::Sagm => Config::sagm(rho, gamma),
            Method::DomainSam => Config::domain_sam(rho),
            Method::LookAhead => Config::look_ahead(gamma),
            Method::Roga(evaluation) => Config::new()
                .with_rho(rho)
                .with_gamma(gamma)
                .with_evaluation(evaluation),
        };
        config.with_seed(seed)
    }

    /// What a step costs, in passes over all mini-batches, with `domains` domains.
    pub fn passes(self, domains: usize) -> usize {
        match self {
            Method::Erm => 1,
            Method::Roga(Evaluation::All) => 1 + domains,
            Method::Roga(Evaluation::Others) => domains,
            _ => 2,
        }
    }

    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, method)| *method == self)
            .map_or("", |(name, _)| name)
    }
}

/// One method, or all of them.
#[derive(Debug, Clone)]
pub struct Methods(pub Vec<Method>);

impl FromStr for Methods {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(Self(match name {
            "all" => NAMES.iter().map(|(_, method)| *method).collect(),
            one => vec![one.parse()?],
        }))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, method)| *method).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!(
                "a method must be `all` or one of {}, but is `{name}`",
                names.join(", ")
            )
        })
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
