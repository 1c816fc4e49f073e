use std::collections::{HashMap, HashSet};

use burn::{
    config::Config,
    module::{Module, ModuleVisitor, Param, ParamGroup, ParamId},
    tensor::Tensor,
};

use super::RobustGradientAlignmentConfig;
use crate::{Error, Result};

/// A group of parameters with $\rho$ and $\gamma$ of its own.
///
/// The ascent of a parameter $p$ is then
/// $\varepsilon_p = \rho_p\\, T^2 g_p / \lVert T g \rVert$: the norm stays that over all trainable
/// parameters, those with $\rho_p = 0$ included, as in PyTorch's SAM. Schedules multiply every
/// group's values alike.
#[derive(Config, Debug)]
pub struct PerturbationGroup {
    /// Which parameters. One that several groups match belongs to the last of them, as in burn's
    /// optimizers.
    pub group: ParamGroup,
    /// The radius of the ascent: finite, at least 0.
    pub rho: f64,
    /// The length of the shift: finite, at least 0.
    pub gamma: f64,
}

/// One of $\rho$ and $\gamma$ at a step, for every parameter.
#[derive(Debug, Clone)]
pub(crate) enum Lengths {
    /// The same for all.
    Uniform(f64),
    /// One for every trainable parameter.
    Grouped {
        /// That of parameters in no group.
        base: f64,
        of: HashMap<ParamId, f64>,
    },
}

impl Lengths {
    /// Whether no parameter is moved.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Uniform(length) => *length == 0.0,
            Self::Grouped { of, .. } => of.values().all(|length| *length == 0.0),
        }
    }

    /// That of parameters in no group.
    pub fn base(&self) -> f64 {
        match self {
            Self::Uniform(length) => *length,
            Self::Grouped { base, .. } => *base,
        }
    }

    /// What all parameters share, and what each has of its own.
    pub fn parts(&self) -> (f64, Option<&HashMap<ParamId, f64>>) {
        match self {
            Self::Uniform(length) => (*length, None),
            Self::Grouped { of, .. } => (1.0, Some(of)),
        }
    }
}

/// $\rho$ and $\gamma$ at a step.
#[derive(Debug, Clone)]
pub(crate) struct Perturbation {
    pub rho: Lengths,
    pub gamma: Lengths,
}

impl Perturbation {
    /// The settings' lengths, times the factors of their schedules.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where a group matches no parameter of the model, trainable or not.
    pub fn new<M: Module>(
        config: &RobustGradientAlignmentConfig,
        model: &M,
        [rho, gamma]: [f64; 2],
    ) -> Result<Self> {
        if config.groups.is_empty() {
            return Ok(Self {
                rho: Lengths::Uniform(config.rho * rho),
                gamma: Lengths::Uniform(config.gamma * gamma),
            });
        }
        let mut members = Members {
            groups: &config.groups,
            path: Vec::new(),
            of: HashMap::new(),
            matched: HashSet::new(),
        };
        model.visit(&mut members);
        let mut groups = config.groups.iter().enumerate();
        if let Some((_, unmatched)) = groups.find(|(place, _)| !members.matched.contains(place)) {
            return Err(Error::Setting {
                field: "groups",
                rule: "match a parameter of the model each",
                value: format!("without one for {:?}", unmatched.group),
            });
        }
        let lengths = |base: f64, of: fn(&PerturbationGroup) -> f64, factor: f64| {
            let length = |group: Option<&PerturbationGroup>| group.map_or(base, of);
            let of = members.of.iter();
            Lengths::Grouped {
                base: base * factor,
                of: of
                    .map(|(id, group)| (*id, length(*group) * factor))
                    .collect(),
            }
        };
        Ok(Self {
            rho: lengths(config.rho, |group| group.rho, rho),
            gamma: lengths(config.gamma, |group| group.gamma, gamma),
        })
    }
}

/// The group that every trainable parameter belongs to.
struct Members<'a> {
    groups: &'a [PerturbationGroup],
    path: Vec<String>,
    of: HashMap<ParamId, Option<&'a PerturbationGroup>>,
    matched: HashSet<usize>,
}

impl ModuleVisitor for Members<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let matching = |group: &PerturbationGroup| group.group.matches(&param.id, Some(&path));
        let groups = self.groups.iter().enumerate();
        let mut last = None;
        for (place, group) in groups.filter(|(_, group)| matching(group)) {
            self.matched.insert(place);
            last = Some(group);
        }
        // A parameter that several layers share belongs where it stands first.
        if param.is_require_grad() {
            self.of.entry(param.id).or_insert(last);
        }
    }
}
