use std::sync::Arc;

use super::{
    AggregationReport, AlignmentReport, DomainReport, NonFinite, Outcome, Pass, Passes,
    PointReport, Quantity, StepReport,
    aggregation::Coefficients,
    difference::Differences,
    evaluation::{Point, PointAscent},
    readback::{Readback, Reading},
};
use crate::gradient::cosine;

/// Everything that is read back in a step, as far as it is known.
pub(crate) struct StepReadings<'a> {
    pub step: u64,
    /// Whether the report is on.
    pub reported: bool,
    pub names: Vec<&'a Arc<str>>,
    /// $\rho$ and $\gamma$.
    pub lengths: [f64; 2],
    pub weights: &'a [f64],
    pub clean: CleanReadings,
    pub alignment: Option<AlignmentReadings>,
    pub points: Vec<PointReadings>,
    /// The lower triangle of the Gram matrix of the gradients at the points, where an aggregation
    /// looks at it.
    pub kept: Vec<Vec<Reading>>,
    pub coefficients: Option<Coefficients>,
    pub update: Reading,
    /// Finite where what the step leaves for the next ones is.
    pub carried: Reading,
}

/// The numbers of the clean passes.
pub(crate) struct CleanReadings {
    pub losses: Vec<Reading>,
    /// The lower triangle of the Gram matrix where it is needed or reported, else its diagonal where that is
    /// needed; either way the diagonal ends the rows. Else, and after a joined pass, the rows are empty.
    pub gram: Vec<Vec<Reading>>,
    /// By domain, finite where its gradient is, if its row is empty. None after a joined pass.
    pub checks: Vec<Reading>,
    /// Whether gradients are taken again for their ascents.
    pub again: bool,
    /// Finite where the gradient of a joined pass is.
    pub joined: Option<Reading>,
    /// $\lVert \bar g \rVert^2$, where it is known.
    pub mean_square: Option<Reading>,
}

/// The numbers of an alignment loss.
pub(crate) struct AlignmentReadings {
    pub weight: f64,
    loss: f64,
    derivative_is_finite: bool,
    /// $\lVert \nabla \varphi \rVert^2$, with the report on.
    pub square: Option<Reading>,
}

impl AlignmentReadings {
    /// Before the gradient is known.
    pub fn new(weight: f64, differences: &Differences) -> Self {
        Self {
            weight,
            loss: differences.loss,
            derivative_is_finite: differences.derivative_is_finite,
            square: None,
        }
    }
}

/// The numbers of the passes at one point.
pub(crate) struct PointReadings {
    pub point: Point,
    pub passes: Vec<PassReadings>,
    /// Finite where the gradient of a joined pass is.
    pub joined: Reading,
    /// What the sum of the point's gradients is to be multiplied by.
    pub unit: f64,
    /// The inner products of that sum with itself and with the mean gradient.
    pub alignment: Option<(Reading, Reading)>,
    /// How many entries of 16 bits were to be moved, and how many of them were not.
    pub resolution: Option<(Reading, Reading)>,
}

impl PointReadings {
    /// With readings that have become those of another one.
    pub fn read_from(mut self, first: usize) -> Self {
        let pair = |(one, other): (Reading, Reading)| (one.after(first), other.after(first));
        for pass in &mut self.passes {
            pass.loss = pass.loss.after(first);
            pass.gradient = pass.gradient.after(first);
        }
        self.joined = self.joined.after(first);
        self.alignment = self.alignment.map(pair);
        self.resolution = self.resolution.map(pair);
        self
    }

    /// The share of the entries of 16 bits that were to be moved and were not.
    fn unresolved(&self, read: &Readback) -> Option<f64> {
        let (wanted, lost) = self.resolution?;
        let wanted = read.get(wanted);
        Some(if wanted > 0.0 {
            read.get(lost) / wanted
        } else {
            0.0
        })
    }

    /// The pass, as a report names it.
    fn pass(&self, domains: &[DomainReport]) -> Pass {
        match self.point.ascent {
            PointAscent::Domain(domain) => Pass::Perturbed {
                ascent: domains.get(domain).map(|domain| domain.name.clone()),
            },
            PointAscent::Difference { .. } => Pass::Alignment,
            PointAscent::None | PointAscent::Pooled | PointAscent::Consensus => {
                Pass::Perturbed { ascent: None }
            }
        }
    }
}

/// The numbers of one perturbed pass.
pub(crate) struct PassReadings {
    pub domain: usize,
    pub loss: Reading,
    /// Finite where the gradient is.
    pub gradient: Reading,
}

impl CleanReadings {
    /// $\langle g_i, g_j \rangle$, where all of them were read.
    pub fn inner_product(&self, i: usize, j: usize, read: &Readback) -> f64 {
        let row = self.gram.get(i.max(j));
        row.and_then(|row| row.get(i.min(j)))
            .map_or(0.0, |entry| read.get(*entry))
    }
}

impl<'a> StepReadings<'a> {
    /// After the clean passes.
    pub fn new(
        step: u64,
        reported: bool,
        names: Vec<&'a Arc<str>>,
        lengths: [f64; 2],
        weights: &'a [f64],
        clean: CleanReadings,
    ) -> Self {
        Self {
            step,
            reported,
            names,
            lengths,
            weights,
            clean,
            alignment: None,
            points: Vec::new(),
            kept: Vec::new(),
            coefficients: None,
            update: Reading::default(),
            carried: Reading::default(),
        }
    }

    /// The report of the numbers that were read back, after so many calls of the closure.
    pub fn report(&self, read: &Readback, calls: usize) -> StepReport {
        let domains: Vec<DomainReport> = (self.names.iter())
            .zip(self.weights)
            .zip(self.clean.losses.iter().zip(&self.clean.gram))
            .map(|((name, weight), (loss, row))| DomainReport {
                name: (*name).clone(),
                weight: *weight,
                loss: read.get(*loss),
                gradient_norm: row.last().map(|square| read.get(*square).sqrt()),
            })
            .collect();
        let mean_square = self.clean.mean_square.filter(|_| self.reported);
        let mean_gradient_norm = mean_square.map(|square| read.get(square).sqrt());
        // After a joined pass the gradients of the domains are not known one by one, and those that were
        // not in memory together not in pairs.
        let mut rows = self.clean.gram.iter().enumerate();
        let one_by_one = self.reported && rows.all(|(i, row)| row.len() == i + 1);
        let cosines = one_by_one.then(|| self.cosines(&domains, read));
        let [rho, gamma] = self.lengths;
        let mini_batches = |difference: bool| {
            let points = self.points.iter();
            let points = points.filter(|readings| readings.point.is_difference() == difference);
            points.map(|readings| readings.passes.len()).sum()
        };
        StepReport {
            step: self.step,
            rho,
            gamma,
            conflicts: one_by_one.then(|| self.conflicts(read)),
            cosines,
            alignment: self.alignment(read),
            aggregation: self
                .coefficients
                .clone()
                .map(|coefficients| AggregationReport {
                    clean: coefficients.clean,
                    perturbed: coefficients.perturbed,
                    ascent: coefficients.ascent,
                }),
            mean_gradient_norm,
            update_gradient_norm: read.get(self.update).sqrt(),
            passes: Passes {
                clean: domains.len() + self.taken_again(),
                perturbed: mini_batches(false),
                alignment: mini_batches(true),
                calls,
            },
            outcome: match self.non_finite(&domains, read) {
                Some(found) => Outcome::Skipped(found),
                None => Outcome::Applied,
            },
            points: self.points(&domains, mean_gradient_norm, read),
            domains,
        }
    }

    /// How many clean gradients were taken again.
    fn taken_again(&self) -> usize {
        let own = |of: &&PointReadings| matches!(of.point.ascent, PointAscent::Domain(_));
        match self.clean.again {
            true => self.points.iter().filter(own).count(),
            false => 0,
        }
    }

    fn alignment(&self, read: &Readback) -> Option<AlignmentReport> {
        let readings = self.alignment.as_ref()?;
        let differences = self.points.iter();
        let differences = differences.filter(|readings| readings.point.is_difference());
        Some(AlignmentReport {
            loss: readings.loss,
            weight: readings.weight,
            gradient_norm: readings.square.map(|square| read.get(square).sqrt()),
            unresolved: differences
                .filter_map(|point| point.unresolved(read))
                .reduce(f64::max),
        })
    }

    fn cosines(&self, domains: &[DomainReport], read: &Readback) -> Vec<Vec<f64>> {
        let norms = domains
            .iter()
            .map(|domain| domain.gradient_norm.unwrap_or(0.0));
        let norms = norms.enumerate();
        let row = |(i, norm): (usize, f64)| {
            let entry = |(j, other)| cosine(self.clean.inner_product(i, j, read), norm, other);
            norms.clone().map(entry).collect()
        };
        norms.clone().map(row).collect()
    }

    fn conflicts(&self, read: &Readback) -> Vec<(usize, usize)> {
        let k = self.clean.gram.len();
        (0..k)
            .flat_map(|i| (i + 1..k).map(move |j| (i, j)))
            .filter(|&(i, j)| self.clean.inner_product(i, j, read) < 0.0)
            .collect()
    }

    fn points(
        &self,
        domains: &[DomainReport],
        mean_norm: Option<f64>,
        read: &Readback,
    ) -> Vec<PointReport> {
        let at_theta = |domain: usize| domains.get(domain).map_or(0.0, |domain| domain.loss);
        let perturbed = self.points.iter();
        perturbed
            .filter(|readings| !readings.point.is_difference())
            .map(|readings| {
                let point = &readings.point;
                let losses: Vec<(usize, f64)> = readings
                    .passes
                    .iter()
                    .map(|pass| (pass.domain, read.get(pass.loss)))
                    .collect();
                let total: f64 = point.terms.iter().map(|(_, coefficient)| coefficient).sum();
                let rise: f64 = point
                    .terms
                    .iter()
                    .zip(&losses)
                    .map(|((domain, c), (_, loss))| c * (loss - at_theta(*domain)))
                    .sum();
                let alignment = readings.alignment.zip(mean_norm);
                PointReport {
                    ascent: match point.ascent {
                        PointAscent::Domain(domain) => Some(domain),
                        _ => None,
                    },
                    losses,
                    gradient_norm: alignment
                        .map(|((square, _), _)| readings.unit * read.get(square).sqrt() / total),
                    alignment: alignment.map(|((square, with_mean), mean_norm)| {
                        cosine(read.get(with_mean), read.get(square).sqrt(), mean_norm)
                    }),
                    sharpness: rise / total,
                    unresolved: readings.unresolved(read),
                }
            })
            .collect()
    }

    /// The first number that is not finite, in the order of the passes.
    fn non_finite(&self, domains: &[DomainReport], read: &Readback) -> Option<NonFinite> {
        let name = |domain: usize| domains.get(domain).map(|domain| domain.name.clone());
        let pass = |domain: Option<Arc<str>>, pass: Pass, loss: f64, gradient: f64| {
            [(Quantity::Loss, loss), (Quantity::Gradient, gradient)]
                .map(|(quantity, number)| (domain.clone(), pass.clone(), quantity, number))
        };
        let clean = domains.iter().enumerate().flat_map(|(place, domain)| {
            let check = self.clean.checks.get(place).copied().unwrap_or_default();
            let gradient = domain.gradient_norm.unwrap_or_else(|| read.get(check));
            let name = Some(domain.name.clone());
            pass(name, Pass::Clean, domain.loss, gradient)
        });
        let joined = self.clean.joined.map(|gradient| read.get(gradient));
        let joined = pass(None, Pass::Clean, 0.0, joined.unwrap_or(0.0));
        let coefficients = self.coefficients.iter();
        let coefficients = coefficients
            .flat_map(|it| [&it.clean, &it.perturbed, &it.ascent])
            .flatten()
            .flat_map(|coefficients| coefficients.iter().enumerate())
            .map(|(domain, coefficient)| {
                let quantity = Quantity::Coefficient;
                (name(domain), Pass::Combination, quantity, *coefficient)
            });
        let alignment = self.alignment.iter().flat_map(|readings| {
            let derivative = if readings.derivative_is_finite {
                0.0
            } else {
                f64::NAN
            };
            pass(None, Pass::Alignment, readings.loss, derivative)
        });
        let at_points = self.points.iter().flat_map(|readings| {
            let at_point = readings.pass(domains);
            let joined = pass(None, at_point.clone(), 0.0, read.get(readings.joined));
            let of_each = readings.passes.iter().flat_map(move |each| {
                let (loss, gradient) = (read.get(each.loss), read.get(each.gradient));
                pass(name(each.domain), at_point.clone(), loss, gradient)
            });
            of_each.chain(joined)
        });
        // Squares may leave the range of numbers that are finite themselves.
        let squares = self.kept.iter().filter_map(|row| row.last());
        let combined = squares
            .chain([&self.update, &self.carried])
            .flat_map(|square| pass(None, Pass::Combination, 0.0, read.get(*square)));
        clean
            .chain(joined)
            .chain(coefficients)
            .chain(alignment)
            .chain(at_points)
            .chain(combined)
            .find(|(.., number)| !number.is_finite())
            .map(|(domain, pass, quantity, _)| NonFinite {
                domain,
                pass,
                quantity,
            })
    }
}
