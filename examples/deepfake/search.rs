//! The settings of a training that are drawn at random.

use std::{fmt, str::FromStr};

use roga::search::{Distribution, Parameter, SearchSpace};
use serde::{Deserialize, Serialize};

use crate::{as_text::as_text, settings::Settings};

/// What may differ between the draws.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The number of the draw.
    #[serde(skip_deserializing)]
    pub draw: u64,
    pub rho: f64,
    pub gamma: f64,
    pub lr: f64,
    pub batch: usize,
    pub warmup_steps: u64,
}

impl Setting {
    /// Draw 0 is the settings as they are.
    pub fn draw(settings: &Settings, draw: u64) -> roga::Result<Self> {
        let of = |name: &str| {
            let searched = settings
                .search
                .iter()
                .find(|searched| searched.name == name);
            searched.map_or(Distribution::Fixed, |searched| {
                searched.distribution.clone()
            })
        };
        let drawn = of("batch");
        let whole = drawn != Distribution::Fixed;
        let batch = Parameter::new(settings.batch as i64, drawn).with_whole(whole);
        let space = SearchSpace::new([
            ("rho", Parameter::new(settings.rho, of("rho"))),
            ("gamma", Parameter::new(settings.gamma, of("gamma"))),
            ("lr", Parameter::new(settings.lr, of("lr"))),
            ("batch", batch),
            (
                "warmup_steps",
                Parameter::new(settings.warmup_steps as i64, Distribution::Fixed),
            ),
        ])?;
        let setting: Self = space.draw(settings.search_seed, draw).read()?;
        Ok(Self { draw, ..setting })
    }
}

/// A setting and what it is drawn from, as `rho=log-uniform:0.005:0.5`.
#[derive(Clone, Debug, PartialEq)]
pub struct Searched {
    name: String,
    distribution: Distribution,
}

/// The settings that can be drawn.
const NAMES: [&str; 4] = ["rho", "gamma", "lr", "batch"];

impl Searched {
    /// ρ from 0.005 to 0.5 and γ from 1e-5 to 1e-2, by their logarithms.
    pub fn rho_and_gamma() -> Vec<Self> {
        let searched = |name: &str, from, to| Self {
            name: name.into(),
            distribution: Distribution::LogUniform(from, to),
        };
        vec![searched("rho", 0.005, 0.5), searched("gamma", 1e-5, 1e-2)]
    }

    /// Whether a method's update depends on it.
    pub fn concerns(&self, depends_on: [bool; 2]) -> bool {
        let [rho, gamma] = depends_on;
        match self.name.as_str() {
            "rho" => rho,
            "gamma" => gamma,
            _ => true,
        }
    }
}

impl FromStr for Searched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "a searched setting must be NAME=DISTRIBUTION:FROM:TO with a name of {}, but is \
                 `{text}`",
                NAMES.join(", ")
            )
        };
        let (name, rest) = text.split_once('=').ok_or_else(refused)?;
        let mut parts = rest.split(':');
        let kind = parts.next().ok_or_else(refused)?;
        let numbers: Result<Vec<f64>, _> = parts.map(str::parse).collect();
        let (Ok([from, to]), true) = (numbers.as_deref(), NAMES.contains(&name)) else {
            return Err(refused());
        };
        let distribution = match kind {
            "uniform" => Distribution::Uniform(*from, *to),
            "log-uniform" => Distribution::LogUniform(*from, *to),
            "power-of-10" => Distribution::PowerOf10(*from, *to),
            "power-of-2" => Distribution::PowerOf2(*from, *to),
            _ => return Err(refused()),
        };
        Ok(Self {
            name: name.into(),
            distribution,
        })
    }
}

impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, from, to) = match &self.distribution {
            Distribution::Uniform(from, to) => ("uniform", from, to),
            Distribution::LogUniform(from, to) => ("log-uniform", from, to),
            Distribution::PowerOf10(from, to) => ("power-of-10", from, to),
            Distribution::PowerOf2(from, to) => ("power-of-2", from, to),
            // Nothing else is parsed.
            Distribution::Fixed | Distribution::Choice(_) => return f.write_str(&self.name),
        };
        write!(f, "{}={kind}:{from}:{to}", self.name)
    }
}

as_text!(Searched);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_is_written_as_it_is_read() {
        for text in [
            "rho=log-uniform:0.005:0.5",
            "batch=power-of-2:1:4",
            "lr=uniform:0:1",
        ] {
            assert_eq!(text.parse::<Searched>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "rho",
            "rho=log-uniform:1",
            "steps=uniform:1:2",
            "rho=normal:0:1",
            "rho=uniform:a:b",
        ] {
            assert!(
                text.parse::<Searched>()
                    .unwrap_err()
                    .contains("NAME=DISTRIBUTION"),
                "{text}"
            );
        }
    }

    #[test]
    fn draw_0_is_the_settings_as_they_are() {
        let settings = Settings::default();
        let none = Setting::draw(&settings, 0).unwrap();
        assert_eq!((none.rho, none.gamma), (settings.rho, settings.gamma));
        let one = Setting::draw(&settings, 1).unwrap();
        assert!(one.rho != none.rho && (0.005..0.5).contains(&one.rho));
        assert_eq!((one.lr, one.batch), (settings.lr, settings.batch));
    }
}
