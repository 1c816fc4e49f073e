use std::{collections::BTreeMap, fmt};

use rand::Rng;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error, Result,
    domain::shuffle::{below, fnv1a, random},
    error::Printable,
};

/// What a random search draws from: named hyper-parameters, each with a default and a distribution.
///
/// Draw 0 is that of the defaults. Every other draw of a parameter depends on the seed, the number
/// of the draw and the parameter's name, and on nothing else: where a parameter or a draw is added,
/// all others stay what they were.
///
/// In a TOML file:
///
/// ```toml
/// learning_rate = { default = 5e-5, draw = { power-of-10 = [-5.0, -3.5] } }
/// batch_size    = { default = 32, draw = { power-of-2 = [3.0, 5.5] }, whole = true }
/// dropout       = { default = 0.0, draw = { choice = [0.0, 0.1, 0.5] } }
/// weight_decay  = { default = 0.0 } # is not searched over
/// ```
///
/// Source of the scheme: Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR
/// 2021, arXiv:2007.01434, appendix D.2.
///
/// ```
/// use roga::search::{Distribution, Parameter, SearchSpace};
///
/// let space = SearchSpace::new([
///     ("learning_rate", Parameter::new(5e-5, Distribution::PowerOf10(-5.0, -3.5))),
///     ("batch_size", Parameter::new(32, Distribution::PowerOf2(3.0, 5.5)).with_whole(true)),
/// ])?;
/// assert_eq!(space.draw(0, 0).get("batch_size"), Some(&32.into()));
///
/// let (_, learning_rate): (_, f64) = {
///     #[derive(serde::Deserialize)]
///     struct Setting { learning_rate: f64, batch_size: usize }
///     let setting: Setting = space.draw(0, 1).read()?;
///     (setting.batch_size, setting.learning_rate)
/// };
/// assert!((1e-5..3.2e-4).contains(&learning_rate));
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Parameters", try_from = "Parameters")]
pub struct SearchSpace {
    parameters: Parameters,
}

type Parameters = BTreeMap<String, Parameter>;

impl SearchSpace {
    /// The space of these parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where a name stands twice, and for a parameter that cannot be drawn.
    pub fn new<N: Into<String>>(
        parameters: impl IntoIterator<Item = (N, Parameter)>,
    ) -> Result<Self> {
        let mut named = Parameters::new();
        for (name, parameter) in parameters {
            let name = name.into();
            if named.contains_key(&name) {
                return refused("have names of their own", format!("`{name}` twice"));
            }
            named.insert(name, parameter);
        }
        named.try_into()
    }

    /// The parameters' names and what they are drawn from, in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Parameter)> {
        let parameters = self.parameters.iter();
        parameters.map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// The draw of that number; 0 is that of the defaults.
    pub fn draw(&self, seed: u64, index: u64) -> HyperParameters {
        let value = |(name, parameter): (&String, &Parameter)| {
            let mut random = random([seed, index, fnv1a(name), fnv1a("search")]);
            let value = match index {
                0 => parameter.default.clone(),
                _ => parameter.drawn(&mut random),
            };
            (name.clone(), value)
        };
        HyperParameters {
            index,
            values: self.parameters.iter().map(value).collect(),
        }
    }
}

impl TryFrom<Parameters> for SearchSpace {
    type Error = Error;

    fn try_from(parameters: Parameters) -> Result<Self> {
        for (name, parameter) in &parameters {
            parameter.check(name)?;
        }
        Ok(Self { parameters })
    }
}

impl From<SearchSpace> for Parameters {
    fn from(space: SearchSpace) -> Self {
        space.parameters
    }
}

/// A hyper-parameter of a [`SearchSpace`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its value in draw 0. It need not be one that could be drawn.
    pub default: Value,
    /// What it is drawn from in every other draw. Default: [`Distribution::Fixed`].
    #[serde(default)]
    pub draw: Distribution,
    /// Whether the numbers drawn from a range are rounded down to whole ones. Default: false.
    #[serde(default)]
    pub whole: bool,
}

impl Parameter {
    /// A parameter whose numbers are not rounded.
    pub fn new(default: impl Into<Value>, draw: Distribution) -> Self {
        Self {
            default: default.into(),
            draw,
            whole: false,
        }
    }

    /// Sets whether numbers are rounded down to whole ones.
    pub fn with_whole(mut self, whole: bool) -> Self {
        self.whole = whole;
        self
    }

    fn drawn(&self, random: &mut impl Rng) -> Value {
        let number = match &self.draw {
            Distribution::Fixed => return self.default.clone(),
            Distribution::Choice(values) => {
                // A space without a value to choose is refused.
                let chosen = values.get(below(values.len(), random));
                return chosen.unwrap_or(&self.default).clone();
            }
            Distribution::Uniform(low, high) => uniform(*low, *high, random),
            Distribution::LogUniform(low, high) => {
                let drawn = uniform(low.ln(), high.ln(), random).exp();
                // Taking the logarithm and back may go beyond the ends by a rounding.
                drawn.clamp(*low, *high)
            }
            Distribution::PowerOf10(low, high) => 10f64.powf(uniform(*low, *high, random)),
            Distribution::PowerOf2(low, high) => uniform(*low, *high, random).exp2(),
        };
        match self.whole {
            true => Value::Whole(number.floor() as i64),
            false => Value::Number(number),
        }
    }

    fn check(&self, name: &str) -> Result<()> {
        let of_it = |value: &dyn fmt::Display| format!("{value} for `{name}`");
        let (low, high, ends) = match &self.draw {
            Distribution::Fixed | Distribution::Choice(_) if self.whole => {
                return refused(
                    "have whole numbers from a range only",
                    of_it(&"`whole` without one"),
                );
            }
            Distribution::Choice(values) if values.is_empty() => {
                return refused("have a value to choose", of_it(&"none"));
            }
            Distribution::Fixed => return check_finite(&self.default, name),
            Distribution::Choice(values) => {
                let mut values = values.iter().chain([&self.default]);
                return values.try_for_each(|value| check_finite(value, name));
            }
            Distribution::Uniform(low, high) => (*low, *high, [*low, *high]),
            Distribution::LogUniform(low, _) if *low <= 0.0 => {
                return refused("begin a log-uniform range above 0", of_it(low));
            }
            Distribution::LogUniform(low, high) => (*low, *high, [*low, *high]),
            Distribution::PowerOf10(low, high) => {
                (*low, *high, [*low, *high].map(|x| 10f64.powf(x)))
            }
            Distribution::PowerOf2(low, high) => (*low, *high, [*low, *high].map(f64::exp2)),
        };
        if !(low <= high && (high - low).is_finite() && ends.iter().all(|end| end.is_finite())) {
            return refused(
                "have ranges of finite numbers, from the lower to the higher",
                of_it(&format!("[{low}, {high}]")),
            );
        }
        if self.whole && ends.iter().any(|end| end.abs() > LARGEST_WHOLE) {
            let found = format!("[{low}, {high}]");
            return refused("have whole numbers below 2^53", of_it(&found));
        }
        match self.default {
            Value::Number(_) if self.whole => refused(
                "have a whole default of whole numbers",
                of_it(&self.default),
            ),
            Value::Whole(_) | Value::Number(_) => check_finite(&self.default, name),
            Value::Flag(_) | Value::Text(_) => {
                refused("have a number as default of a range", of_it(&self.default))
            }
        }
    }
}

/// Up to here every whole number is a double.
const LARGEST_WHOLE: f64 = (1u64 << 53) as f64;

fn check_finite(value: &Value, name: &str) -> Result<()> {
    match value {
        Value::Number(number) if !number.is_finite() => {
            refused("have finite numbers", format!("{number} for `{name}`"))
        }
        _ => Ok(()),
    }
}

/// A number from `low` to `high`.
fn uniform(low: f64, high: f64, random: &mut impl Rng) -> f64 {
    let unit = (random.next_u64() >> 11) as f64 / LARGEST_WHOLE;
    (low + (high - low) * unit).min(high)
}

fn refused<T>(rule: &'static str, value: String) -> Result<T> {
    Err(Error::Setting {
        field: "search space",
        rule,
        value,
    })
}

/// What a hyper-parameter is drawn from. With $U(a, b)$ uniform from $a$ to $b$, and $a \le b$
/// finite:
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// The default, in every draw.
    #[default]
    Fixed,
    /// $U(a, b)$.
    Uniform(f64, f64),
    /// $e^{U(\ln a, \ln b)}$, with $a > 0$.
    LogUniform(f64, f64),
    /// $10^{U(a, b)}$.
    #[serde(rename = "power-of-10")]
    PowerOf10(f64, f64),
    /// $2^{U(a, b)}$.
    #[serde(rename = "power-of-2")]
    PowerOf2(f64, f64),
    /// One of these values, at least one, each as likely as the others.
    Choice(Vec<Value>),
}

/// The value of a hyper-parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// Any finite number.
    Number(f64),
    /// A name.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.pad(&Printable(text).to_string()),
        }
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// One draw of a [`SearchSpace`]: a setting to train with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HyperParameters {
    index: u64,
    values: BTreeMap<String, Value>,
}

impl HyperParameters {
    /// The number of the draw.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The value of a parameter, if it is in the space.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The parameters' names and values, in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (&**name, value))
    }

    /// All values as a type of the caller's, with a field for every parameter.
    ///
    /// With serde's `deny_unknown_fields` on it, no parameter of the space can go unread.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where a field is not in the space, or of another kind.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        let read = serde_json::to_value(&self.values).and_then(serde_json::from_value);
        read.or_else(|error| refused("fit what is read from it", error.to_string()))
    }
}

impl fmt::Display for HyperParameters {
    /// `rho 0.05, steps 300`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{} {value}", Printable(name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What DomainBed searches over for a residual net, and one of every other kind.
    fn space() -> SearchSpace {
        let dropout = [0.0, 0.1, 0.5].map(Value::from).to_vec();
        SearchSpace::new([
            (
                "lr",
                Parameter::new(5e-5, Distribution::PowerOf10(-5.0, -3.5)),
            ),
            (
                "batch_size",
                Parameter::new(32, Distribution::PowerOf2(3.0, 5.5)).with_whole(true),
            ),
            (
                "dropout",
                Parameter::new(0.0, Distribution::Choice(dropout)),
            ),
            ("weight_decay", Parameter::new(0.0, Distribution::Fixed)),
            (
                "rho",
                Parameter::new(0.05, Distribution::LogUniform(0.01, 0.5)),
            ),
            (
                "clean_weight",
                Parameter::new(0.5, Distribution::Uniform(-1.0, 3.0)),
            ),
        ])
        .unwrap()
    }

    fn number(drawn: &HyperParameters, name: &str) -> f64 {
        match drawn.get(name) {
            Some(Value::Number(number)) => *number,
            Some(Value::Whole(number)) => *number as f64,
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn draw_0_is_that_of_the_defaults() {
        for seed in [0, 1, 42] {
            let drawn = space().draw(seed, 0);
            assert_eq!(
                drawn.to_string(),
                "batch_size 32, clean_weight 0.5, dropout 0, lr 0.00005, rho 0.05, weight_decay 0"
            );
        }
    }

    #[test]
    fn draws_are_the_same_in_every_release() {
        // From a restatement in Python: ChaCha8 keyed with the four words.
        let golden = [
            (
                0,
                1,
                [
                    30.0,
                    1.431555539344377,
                    0.5,
                    0.00021553566135458702,
                    0.012592188865662202,
                ],
            ),
            (
                0,
                2,
                [
                    13.0,
                    2.004631210986992,
                    0.5,
                    0.00013135651891235033,
                    0.01080710799603229,
                ],
            ),
            (
                7,
                1,
                [
                    13.0,
                    2.7538631979228465,
                    0.5,
                    4.884134736215481e-05,
                    0.15802077182634455,
                ],
            ),
        ];
        for (seed, index, values) in golden {
            let drawn = space().draw(seed, index);
            let names = ["batch_size", "clean_weight", "dropout", "lr", "rho"];
            let found = names.map(|name| number(&drawn, name));
            // Powers and logarithms need not be the same in the last bit on every machine.
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-14 * b.abs();
            assert!(found.iter().zip(&values).all(near), "{found:?}");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_number_and_name_alone() {
        let all = space();
        let one = |name: &'static str| {
            let parameter = all
                .iter()
                .find(|(other, _)| *other == name)
                .unwrap()
                .1
                .clone();
            SearchSpace::new([(name, parameter)]).unwrap()
        };
        for index in 0..20 {
            let drawn = all.draw(3, index);
            for name in ["lr", "dropout", "rho"] {
                assert_eq!(one(name).draw(3, index).get(name), drawn.get(name));
            }
        }
        // Alike but for the name, the seed or the number, they are others.
        let range = || Parameter::new(0.0, Distribution::Uniform(0.0, 1.0));
        let twins = SearchSpace::new([("a", range()), ("b", range())]).unwrap();
        let drawn = twins.draw(0, 1);
        assert_ne!(drawn.get("a"), drawn.get("b"));
        assert_ne!(drawn.get("a"), twins.draw(0, 2).get("a"));
        assert_ne!(drawn.get("a"), twins.draw(1, 1).get("a"));
    }

    /// The mean and the variance of what is drawn, after `map`, and how often each value came.
    fn moments(name: &str, map: fn(f64) -> f64) -> (f64, f64, Vec<f64>) {
        let space = space();
        let drawn: Vec<f64> = (1..=4000)
            .map(|i| map(number(&space.draw(0, i), name)))
            .collect();
        let n = drawn.len() as f64;
        let mean = drawn.iter().sum::<f64>() / n;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (mean, variance, drawn)
    }

    /// Within five standard errors those of the uniform distribution from `low` to `high`, and all
    /// within the range.
    fn uniform_in(name: &str, map: fn(f64) -> f64, low: f64, high: f64) {
        let (mean, variance, drawn) = moments(name, map);
        let expected = (high - low).powi(2) / 12.0;
        let error = (expected / drawn.len() as f64).sqrt();
        assert!(
            (mean - (low + high) / 2.0).abs() < 5.0 * error,
            "{name}: {mean}"
        );
        assert!(
            (variance / expected - 1.0).abs() < 0.08,
            "{name}: {variance}"
        );
        let rounding = 1e-12;
        let inside = |x: &f64| (low - rounding..=high + rounding).contains(x);
        assert!(drawn.iter().all(inside), "{name}");
    }

    #[test]
    fn numbers_are_distributed_as_they_are_said_to_be() {
        uniform_in("clean_weight", |x| x, -1.0, 3.0);
        uniform_in("lr", f64::log10, -5.0, -3.5);
        uniform_in("rho", f64::ln, 0.01f64.ln(), 0.5f64.ln());
        let (_, _, dropout) = moments("dropout", |x| x);
        for value in [0.0, 0.1, 0.5] {
            let count = dropout.iter().filter(|x| **x == value).count();
            // A third of 4000, and five standard errors of 30.
            assert!(count.abs_diff(1333) < 150, "{value}: {count}");
        }
        let (_, _, fixed) = moments("weight_decay", |x| x);
        assert!(fixed.iter().all(|x| *x == 0.0));
    }

    #[test]
    fn whole_numbers_are_powers_rounded_down() {
        let (_, _, sizes) = moments("batch_size", |x| x);
        assert!(
            sizes
                .iter()
                .all(|x| x.fract() == 0.0 && (8.0..=45.0).contains(x))
        );
        // 2^U below 16 with probability 1 / 2.5 of U from 3 to 5.5.
        let small = sizes.iter().filter(|x| **x < 16.0).count();
        assert!(small.abs_diff(1600) < 155, "{small}");
        assert!(sizes.contains(&8.0) && sizes.contains(&45.0));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        use Distribution as D;
        let nan = f64::NAN;
        for (parameter, said) in [
            (Parameter::new(1.0, D::Uniform(1.0, 0.0)), "[1, 0] for `x`"),
            (
                Parameter::new(1.0, D::Uniform(nan, 0.0)),
                "[NaN, 0] for `x`",
            ),
            (
                Parameter::new(1.0, D::Uniform(-1e308, 1e308)),
                "finite numbers",
            ),
            (
                Parameter::new(1.0, D::PowerOf10(0.0, 400.0)),
                "finite numbers",
            ),
            (
                Parameter::new(1.0, D::LogUniform(0.0, 1.0)),
                "above 0, but is 0 for `x`",
            ),
            (
                Parameter::new(1.0, D::LogUniform(0.5, f64::INFINITY)),
                "finite numbers",
            ),
            (
                Parameter::new(1, D::PowerOf2(0.0, 60.0)).with_whole(true),
                "below 2^53",
            ),
            (
                Parameter::new(1.5, D::PowerOf2(0.0, 6.0)).with_whole(true),
                "1.5 for `x`",
            ),
            (Parameter::new("a", D::Uniform(0.0, 1.0)), "a for `x`"),
            (Parameter::new(true, D::Uniform(0.0, 1.0)), "true for `x`"),
            (Parameter::new(1, D::Choice(Vec::new())), "none for `x`"),
            (
                Parameter::new(1, D::Choice(vec![nan.into()])),
                "NaN for `x`",
            ),
            (Parameter::new(nan, D::Fixed), "NaN for `x`"),
            (
                Parameter::new(1, D::Fixed).with_whole(true),
                "without one for `x`",
            ),
        ] {
            let refused = SearchSpace::new([("x", parameter)])
                .unwrap_err()
                .to_string();
            assert!(refused.starts_with("search space must "), "{refused}");
            assert!(refused.contains(said), "{refused}");
        }
        let one = || Parameter::new(1.0, D::Fixed);
        let twice = SearchSpace::new([("x", one()), ("x", one())]);
        assert!(twice.unwrap_err().to_string().ends_with("`x` twice"));
        // The ends of a range are in it.
        let point = Parameter::new(1.0, D::LogUniform(0.3, 0.3));
        let point = SearchSpace::new([("x", point)]).unwrap().draw(0, 1);
        assert_eq!(point.get("x"), Some(&0.3.into()));
    }

    #[test]
    fn it_is_written_and_read_alike_and_a_wrong_one_is_not_read() {
        let text = serde_json::to_string(&space()).unwrap();
        assert_eq!(serde_json::from_str::<SearchSpace>(&text).unwrap(), space());
        let read = |text: &str| serde_json::from_str::<SearchSpace>(text);
        let good = r#"{"x": {"default": 1, "draw": {"power-of-2": [0, 3]}, "whole": true}}"#;
        let drawn = read(good).unwrap().draw(0, 5);
        assert!(matches!(drawn.get("x"), Some(Value::Whole(1..=8))));
        for (text, said) in [
            (
                r#"{"x": {"default": 1, "draw": {"power-of-3": [0, 3]}}}"#,
                "power-of-3",
            ),
            (r#"{"x": {"default": 1, "hwole": true}}"#, "hwole"),
            (r#"{"x": {"draw": "fixed"}}"#, "default"),
            (
                r#"{"x": {"default": 1, "draw": {"uniform": [3, 0]}}}"#,
                "[3, 0] for `x`",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn values_are_read_as_the_caller_s_type() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Setting {
            rho: f64,
            steps: u32,
            method: String,
            joined: bool,
        }
        let space = |rho: Value| {
            SearchSpace::new([
                ("rho", Parameter::new(rho, Distribution::Fixed)),
                ("steps", Parameter::new(300, Distribution::Fixed)),
                ("method", Parameter::new("sam", Distribution::Fixed)),
                ("joined", Parameter::new(true, Distribution::Fixed)),
            ])
            .unwrap()
        };
        // A whole number is a number, too.
        for (rho, expected) in [(0.05.into(), 0.05), (1.into(), 1.0)] {
            let setting: Setting = space(rho).draw(0, 3).read().unwrap();
            assert_eq!((setting.rho, setting.steps), (expected, 300));
            assert_eq!((&setting.method[..], setting.joined), ("sam", true));
        }
        let wrong = space("wide".into()).draw(0, 3).read::<Setting>();
        assert!(wrong.unwrap_err().to_string().contains("wide"));
        let missing = super::tests::space().draw(0, 3).read::<Setting>();
        assert!(missing.unwrap_err().to_string().contains("batch_size"));
    }
}
