//! The methods that are compared: settings of one optimizer wrapper.

use std::{fmt, str::FromStr};

use roga::optim::{Evaluation, RobustGradientAlignmentConfig};

use crate::{as_text::as_text, search::Setting};

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
    pub fn config(self, setting: &Setting, seed: u64) -> RobustGradientAlignmentConfig {
        type Config = RobustGradientAlignmentConfig;
        let (rho, gamma) = (setting.rho, setting.gamma);
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
        config
            .with_warmup_steps(setting.warmup_steps)
            .with_seed(seed)
    }

    /// Whether the update depends on ρ, and whether it depends on γ.
    pub fn depends_on(self) -> [bool; 2] {
        match self {
            Method::Erm => [false, false],
            Method::Sam | Method::Asam | Method::DomainSam => [true, false],
            Method::LookAhead => [false, true],
            Method::Sagm | Method::Roga(_) => [true, true],
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
#[derive(Debug, Clone, Copy)]
pub enum Methods {
    All,
    One(Method),
}

impl Methods {
    pub fn methods(self) -> Vec<Method> {
        match self {
            Self::All => NAMES.iter().map(|(_, method)| *method).collect(),
            Self::One(method) => vec![method],
        }
    }
}

impl FromStr for Methods {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "all" => Ok(Self::All),
            one => one.parse().map(Self::One),
        }
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

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::One(method) => method.fmt(f),
        }
    }
}

as_text!(Method);
as_text!(Methods);
