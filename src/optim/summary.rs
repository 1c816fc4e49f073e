use std::sync::Arc;

use super::{
    DomainReport, NonFinite, Outcome, Pass, Passes, PointReport, Quantity, StepReport,
    evaluation::{Plan, PointAscent},
    readback::{Reading, Readings},
};

/// Everything that is read back in a step, before it is.
pub(crate) struct StepReadings<'a> {
    pub step: u64,
    /// $\rho$ and $\gamma$.
    pub lengths: [f64; 2],
    pub weights: &'a [f64],
    pub clean: CleanReadings,
    pub plan: &'a Plan,
    pub points: Vec<PointReadings>,
    pub update: Reading,
    /// How many times the closure was called.
    pub calls: usize,
}

/// The numbers of the clean passes.
pub(crate) struct CleanReadings {
    pub losses: Vec<Reading>,
    /// The lower triangle of the Gram matrix with the report on, else its diagonal; either way the
    /// diagonal ends the rows. Empty rows after a joined pass.
    pub gram: Vec<Vec<Reading>>,
    /// Finite where the gradient of a joined pass is.
    pub joined: Option<Reading>,
    pub mean_square: Option<Reading>,
}

/// The numbers of the passes at one point.
pub(crate) struct PointReadings {
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

/// The numbers of one perturbed pass.
pub(crate) struct PassReadings {
    pub domain: usize,
    pub loss: Reading,
    /// Finite where the gradient is.
    pub gradient: Reading,
}

impl StepReadings<'_> {
    /// The report of the numbers that were read back.
    pub fn report<'n>(
        &self,
        names: impl Iterator<Item = &'n Arc<str>>,
        read: &Readings,
    ) -> StepReport {
        let domains: Vec<DomainReport> = names
            .zip(self.weights)
            .zip(self.clean.losses.iter().zip(&self.clean.gram))
            .map(|((name, weight), (loss, row))| DomainReport {
                name: name.clone(),
                weight: *weight,
                loss: read.get(*loss),
                gradient_norm: row.last().map(|square| read.get(*square).sqrt()),
            })
            .collect();
        let mean_gradient_norm = self.clean.mean_square.map(|square| read.get(square).sqrt());
        // After a joined pass the gradients of the domains are not known one by one.
        let one_by_one = self.clean.joined.is_none() && mean_gradient_norm.is_some();
        let cosines = one_by_one.then(|| self.cosines(&domains, read));
        let points = self.points(&domains, mean_gradient_norm, read);
        let [rho, gamma] = self.lengths;
        StepReport {
            step: self.step,
            rho,
            gamma,
            conflicts: one_by_one.then(|| self.conflicts(read)),
            cosines,
            mean_gradient_norm,
            update_gradient_norm: read.get(self.update).sqrt(),
            passes: Passes {
                clean: domains.len(),
                perturbed: points.iter().map(|point| point.losses.len()).sum(),
                calls: self.calls,
            },
            outcome: match self.non_finite(&domains, read) {
                Some(found) => Outcome::Skipped(found),
                None => Outcome::Applied,
            },
            domains,
            points,
        }
    }

    fn inner_product(&self, i: usize, j: usize, read: &Readings) -> f64 {
        read.get(self.clean.gram[i.max(j)][i.min(j)])
    }

    fn cosines(&self, domains: &[DomainReport], read: &Readings) -> Vec<Vec<f64>> {
        let norm = |i: usize| domains[i].gradient_norm.unwrap_or(0.0);
        let entry = |i, j| cosine(self.inner_product(i, j, read), norm(i), norm(j));
        let all = 0..domains.len();
        all.clone()
            .map(|i| all.clone().map(|j| entry(i, j)).collect())
            .collect()
    }

    fn conflicts(&self, read: &Readings) -> Vec<(usize, usize)> {
        let k = self.clean.gram.len();
        (0..k)
            .flat_map(|i| (i + 1..k).map(move |j| (i, j)))
            .filter(|&(i, j)| self.inner_product(i, j, read) < 0.0)
            .collect()
    }

    fn points(
        &self,
        domains: &[DomainReport],
        mean_norm: Option<f64>,
        read: &Readings,
    ) -> Vec<PointReport> {
        self.plan
            .points
            .iter()
            .zip(&self.points)
            .map(|(point, readings)| {
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
                    .map(|((domain, c), (_, loss))| c * (loss - domains[*domain].loss))
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
                    unresolved: readings.resolution.map(|(wanted, lost)| {
                        let wanted = read.get(wanted);
                        if wanted > 0.0 {
                            read.get(lost) / wanted
                        } else {
                            0.0
                        }
                    }),
                }
            })
            .collect()
    }

    /// The first number that is not finite, in the order of the passes.
    fn non_finite(&self, domains: &[DomainReport], read: &Readings) -> Option<NonFinite> {
        let name = |domain: usize| domains[domain].name.clone();
        let clean = domains.iter().map(|domain| {
            (
                Some(domain.name.clone()),
                Pass::Clean,
                domain.loss,
                domain.gradient_norm.unwrap_or(0.0),
            )
        });
        let joined = self.clean.joined.map(|gradient| read.get(gradient));
        let joined = (None, Pass::Clean, 0.0, joined.unwrap_or(0.0));
        let perturbed = self
            .plan
            .points
            .iter()
            .zip(&self.points)
            .flat_map(|(point, readings)| {
                let ascent = match point.ascent {
                    PointAscent::Domain(domain) => Some(name(domain)),
                    _ => None,
                };
                let pass = Pass::Perturbed { ascent };
                let joined = (None, pass.clone(), 0.0, read.get(readings.joined));
                let of_each = readings.passes.iter().map(move |each| {
                    let (loss, gradient) = (read.get(each.loss), read.get(each.gradient));
                    (Some(name(each.domain)), pass.clone(), loss, gradient)
                });
                of_each.chain([joined])
            });
        let combined = (None, Pass::Combination, 0.0, read.get(self.update));
        clean
            .chain([joined])
            .chain(perturbed)
            .chain([combined])
            .find_map(|(domain, pass, loss, gradient)| {
                let quantity = match (loss.is_finite(), gradient.is_finite()) {
                    (false, _) => Quantity::Loss,
                    (true, false) => Quantity::Gradient,
                    (true, true) => return None,
                };
                Some(NonFinite {
                    domain,
                    pass,
                    quantity,
                })
            })
    }
}

/// $\langle a, b \rangle / (\lVert a \rVert \lVert b \rVert)$, and 0 where one of them is zero.
fn cosine(inner_product: f64, a: f64, b: f64) -> f64 {
    let norms = a * b;
    if norms == 0.0 {
        0.0
    } else {
        (inner_product / norms).clamp(-1.0, 1.0)
    }
}
