use std::{fmt, sync::Arc};

use burn::{config::Config, module::Module, optim::GradientsParams};
use serde::Serialize;

use super::{
    Direction, LossValue,
    estimate::number,
    measure::{check_same, forward, gram_matrix, no_batches},
    table::Table,
};
use crate::{
    Error, Result,
    domain::DomainBatches,
    error::Printable,
    optim::DomainLoss,
    perturbation::{Displacement, displaced},
};

/// The settings of a loss landscape: the domains' losses
///
/// $$L_i(\theta + a\\, d_1 + b\\, d_2), \qquad a, b \in [-e, e],$$
///
/// on a grid of $n \times n$ points, or of $n$ along one direction.
///
/// Random directions show how flat the surroundings are; two domains' ascents show what each of
/// them does to the other, and whether their ascending points lie in the same valley. Of a net
/// with thousands of parameters two directions are a very thin slice: compare models by it, do not
/// prove by it.
///
/// Source: Li, Xu, Taylor, Studer and Goldstein, "Visualizing the Loss Landscape of Neural Nets",
/// NeurIPS 2018, arXiv 1712.09913.
///
/// ```
/// use burn::{nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
/// use roga::{diagnostic::{Direction, LandscapeConfig}, domain::DomainBatches};
///
/// let device = Device::default().autodiff();
/// let model = LinearConfig::new(2, 1).init(&device);
/// let x = |x: [f32; 2]| Tensor::<2>::from_floats([x], &device);
/// let batches = [DomainBatches::new([("photo", x([3.0, 4.0])), ("sketch", x([1.0, 0.0]))])?];
///
/// let ascent = |domain: &str| Direction::Ascent { domain: domain.into(), rho: 0.05 };
/// let landscape = LandscapeConfig::new()
///     .with_first(ascent("photo"))
///     .with_second(Some(ascent("sketch")))
///     .with_points(5)
///     .measure(&model, &batches, |model: &Linear, x: &Tensor<2>| {
///         model.forward(x.clone()).square().mean()
///     })?;
/// println!("{landscape}");
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct LandscapeConfig {
    /// $d_1$. Default: random, seed 0.
    #[config(default = "Direction::Random { seed: 0 }")]
    pub first: Direction,
    /// $d_2$, another than $d_1$; `None` for a line. Default: random, seed 1.
    #[config(default = "Some(Direction::Random { seed: 1 })")]
    pub second: Option<Direction>,
    /// How far the grid reaches to both sides of $\theta$, $e$, in lengths of the directions:
    /// finite, above 0. Default: 1.
    #[config(default = 1.0)]
    pub extent: f64,
    /// How many points there are along a direction, $n$: odd, so that $\theta$ is one of them, from
    /// 3 to 1001. Default: 21.
    #[config(default = 21)]
    pub points: usize,
}

impl LandscapeConfig {
    /// Measures the landscape around a model.
    ///
    /// * `batches`: those whose mean losses are measured, the same at every point.
    /// * `loss`: as for
    ///   [`RobustGradientAlignment::step`](crate::optim::RobustGradientAlignment::step), without
    ///   gradients of its own. At the points of the grid it is given a frozen model: dropout draws
    ///   nothing, BatchNorm normalises by its running statistics, those of $\theta$.
    ///
    /// Losses that are not finite are kept as they are.
    ///
    /// Passes: $n^2$ forward over all batches, without a graph, and for each ascent one forward and
    /// backward over its domain's batches, as in training. Memory: the directions and one copy of the
    /// model. The model is left as it is, bit for bit.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for settings that cannot work; [`Error::Domains`] where there is no
    /// batch, or the domains change; [`Error::Model`] where a random direction has no parameter to
    /// move; [`Error::Loss`] and [`Error::Closure`] for the loss.
    pub fn measure<M, B, L>(
        &self,
        model: &M,
        batches: &[DomainBatches<B>],
        mut loss: impl FnMut(&M, &B) -> L,
    ) -> Result<Landscape>
    where
        M: Module,
        L: DomainLoss<M> + LossValue,
    {
        self.check()?;
        let domains = domains_of(batches)?;
        // Of a model that was made for validation too: its parameters can be moved.
        let model = &displaced(model, &[]);
        let mut vectors = Vec::new();
        for direction in [Some(&self.first), self.second.as_ref()]
            .into_iter()
            .flatten()
        {
            vectors.push(direction.at(model, batches, &mut loss)?);
        }
        let coordinates = self.coordinates();
        let rows = match self.second {
            Some(_) => coordinates.clone(),
            None => vec![0.0],
        };
        let mut losses = vec![Vec::with_capacity(rows.len()); domains.len()];
        for b in &rows {
            losses.iter_mut().for_each(|rows| rows.push(Vec::new()));
            for a in &coordinates {
                let terms = [*a, *b].into_iter().zip(&vectors);
                let terms = terms.map(|(length, vector)| Displacement::constant(length, vector));
                let point = displaced(model, &terms.collect::<Vec<_>>()).freeze();
                let at_point = forward(&point, batches, &mut loss)?;
                for (rows, loss) in losses.iter_mut().zip(at_point) {
                    rows.last_mut().into_iter().for_each(|row| row.push(loss));
                }
            }
        }
        let (norms, cosine) = geometry(model, &vectors)?;
        let mut axes = [Some(&self.first), self.second.as_ref()]
            .into_iter()
            .flatten()
            .zip(norms)
            .map(|(direction, norm)| Axis {
                direction: direction.clone(),
                norm,
                coordinates: coordinates.clone(),
            });
        Ok(Landscape {
            domains,
            first: axes.next().ok_or_else(no_batches)?,
            second: axes.next(),
            cosine,
            losses,
        })
    }

    /// $n$ numbers from $-e$ to $e$, with 0 exactly in the middle.
    fn coordinates(&self) -> Vec<f64> {
        let last = self.points as f64 - 1.0;
        let coordinate = |place| self.extent * (2.0 * place as f64 - last) / last;
        (0..self.points).map(coordinate).collect()
    }

    /// Refuses settings that cannot work, as [`measure`](Self::measure) does.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], with the field, the rule and the value.
    pub fn check(&self) -> Result<()> {
        let refused = |field, rule, value| Err(Error::Setting { field, rule, value });
        if !(self.extent.is_finite() && self.extent > 0.0) {
            return refused("extent", "be finite and above 0", self.extent.to_string());
        }
        if !(3..=1001).contains(&self.points) || self.points.is_multiple_of(2) {
            let rule = "be odd and from 3 to 1001";
            return refused("points", rule, self.points.to_string());
        }
        self.first.check()?;
        if let Some(second) = &self.second {
            second.check()?;
            if *second == self.first {
                return refused("second", "be another than first", second.to_string());
            }
        }
        Ok(())
    }
}

/// The domains' names, the same in all batches.
fn domains_of<B>(batches: &[DomainBatches<B>]) -> Result<Vec<Arc<str>>> {
    let first = batches.first().ok_or_else(no_batches)?;
    for batch in batches {
        let [before, now] = [first, batch].map(|batch| batch.names().map(|name| &**name));
        check_same(before, now)?;
    }
    Ok(first.names().cloned().collect())
}

/// The directions' norms, and the cosine between them where there are two.
fn geometry<M: Module>(model: &M, vectors: &[GradientsParams]) -> Result<(Vec<f64>, Option<f64>)> {
    let gram = gram_matrix(model, vectors)?;
    let norms = (0..vectors.len()).map(|i| gram.norm(i)).collect();
    Ok((norms, (vectors.len() > 1).then(|| gram.cosine(0, 1))))
}

/// The domains' losses on a grid around a model: see [`LandscapeConfig`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Landscape {
    domains: Vec<Arc<str>>,
    first: Axis,
    second: Option<Axis>,
    cosine: Option<f64>,
    losses: Vec<Vec<Vec<f64>>>,
}

/// A direction and the coordinates of the grid along it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Axis {
    /// The direction.
    pub direction: Direction,
    /// Its norm over all parameters: what 1 along it means.
    pub norm: f64,
    /// In ascending order, 0 in the middle.
    pub coordinates: Vec<f64>,
}

impl Landscape {
    /// The domains' names, in the order of the batches.
    pub fn domains(&self) -> &[Arc<str>] {
        &self.domains
    }

    /// Along $d_1$.
    pub fn first(&self) -> &Axis {
        &self.first
    }

    /// Along $d_2$; `None` of a line.
    pub fn second(&self) -> Option<&Axis> {
        self.second.as_ref()
    }

    /// The cosine between $d_1$ and $d_2$, in $[-1, 1]$, and 0 where one of them is zero; `None` of
    /// a line. The axes of a picture stand at right angles whatever it is.
    pub fn cosine(&self) -> Option<f64> {
        self.cosine
    }

    /// A domain's losses: a row for each coordinate $b$ along $d_2$, one row of a line, and in it a
    /// loss for each coordinate $a$ along $d_1$. Empty of a domain that there is not.
    ///
    /// As JSON, losses that are not finite are `null`.
    pub fn losses(&self, domain: usize) -> &[Vec<f64>] {
        self.losses.get(domain).map_or(&[], Vec::as_slice)
    }

    /// A domain's loss at $\theta$.
    pub fn loss(&self, domain: usize) -> Option<f64> {
        let rows = self.losses(domain);
        let row = rows.get(rows.len() / 2)?;
        row.get(row.len() / 2).copied()
    }

    /// Where a domain's loss is least, $(a, b)$ and the loss, among the finite ones.
    pub fn least(&self, domain: usize) -> Option<(f64, f64, f64)> {
        let finite = self.finite(domain);
        finite.min_by(|(.., one), (.., other)| one.total_cmp(other))
    }

    /// $(a, b)$ and the loss, wherever it is finite.
    fn finite(&self, domain: usize) -> impl Iterator<Item = (f64, f64, f64)> {
        let rows = self
            .second
            .as_ref()
            .map_or(&[0.0][..], |axis| &axis.coordinates);
        let rows = rows.iter().zip(self.losses(domain));
        rows.flat_map(|(b, row)| {
            let row = self.first.coordinates.iter().zip(row);
            row.map(|(a, loss)| (*a, *b, *loss))
        })
        .filter(|(.., loss)| loss.is_finite())
    }
}

impl fmt::Display for Landscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, axis) in [("a", Some(&self.first)), ("b", self.second.as_ref())] {
            let Some(axis) = axis else { continue };
            let mut coordinates = axis.coordinates.iter().copied();
            let least = coordinates.next().unwrap_or(0.0);
            let greatest = coordinates.next_back().unwrap_or(0.0);
            let Axis {
                direction, norm, ..
            } = axis;
            let direction = direction.to_string();
            let direction = Printable(&direction);
            let norm = number(*norm);
            writeln!(
                f,
                "{name} from {least} to {greatest}: {direction}, norm {norm}"
            )?;
        }
        if let Some(cosine) = self.cosine {
            writeln!(f, "cosine between them {cosine:.3}")?;
        }
        let head = [
            "domain",
            "at θ",
            "least",
            "at (a, b)",
            "greatest",
            "not finite",
        ];
        let mut table = Table::new(head);
        for (index, name) in self.domains.iter().enumerate() {
            let least = self.least(index);
            let losses = || self.finite(index).map(|(.., loss)| loss);
            let points: usize = self.losses(index).iter().map(Vec::len).sum();
            table.row([
                name.to_string(),
                self.loss(index).map_or("-".into(), number),
                least.map_or("-".into(), |(.., loss)| number(loss)),
                least.map_or("-".into(), |(a, b, _)| format!("({a:.2}, {b:.2})")),
                losses().reduce(f64::max).map_or("-".into(), number),
                (points - losses().count()).to_string(),
            ]);
        }
        write!(f, "\n{table}")
    }
}
