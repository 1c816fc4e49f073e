use burn::{module::Module, optim::GradientsParams};

use super::{
    RobustGradient,
    clean::Clean,
    difference::Differences,
    point::{At, Part, Sums},
    readback::Readback,
    summary::{AlignmentReadings, StepReadings},
};
use crate::{
    Result,
    aggregation::{DomainStatistics, Needs, combined},
    gradient::{
        GramMatrix, combine, combine_taking, dot, gram, has_parameters_of_16_bits, like_parameters,
        shared, squared_norm, times,
    },
};

/// Step 4, and what the host has to do for it and for the points.
impl RobustGradient {
    /// Between steps 1 and 2: what settings make of the clean passes' numbers. Where they need them on
    /// the host, it waits for the device, and the step ends with a clean pass that is not finite.
    /// Whether the step goes on.
    pub(super) fn look_at_theta<M: Module>(
        &self,
        at: &mut At<'_, M>,
        clean: &mut Clean,
        readings: &mut StepReadings<'_>,
        readback: &mut Readback,
    ) -> Result<bool> {
        if at.looks() {
            readback.wait()?;
            if readings.report(readback, 0).is_skipped() {
                return Ok(false);
            }
        }
        let seen = clean.seen(at.needs(), &readings.clean, readback);
        if let Some(aggregating) = at.aggregating.as_mut().filter(|_| at.parts.any()) {
            let mut domains = DomainStatistics::new(readings.step, at.weights);
            domains = domains.with_losses(&seen.losses);
            if let Some(gram) = &seen.gram {
                domains = domains.with_gram(gram);
            }
            aggregating.of_clean_passes(&domains, at.parts)?;
            clean.aggregate(at.model, at.weights, self.config().adaptive, aggregating)?;
        }
        if let (Some(aligning), Some(gram)) = (&at.aligning, &seen.gram) {
            let differences = Differences::new(aligning, at.weights, gram, seen.scale)?;
            at.plan.points.extend(differences.points());
            readings.alignment = Some(AlignmentReadings::new(aligning.weight, &differences));
            at.differences = Some(differences);
            if readings.report(readback, 0).is_skipped() {
                return Ok(false);
            }
        }
        clean.release(&at.plan.points);
        if let Some(friendly) = self.config().friendly {
            friendly.turn(at, clean, self.config().adaptive);
        }
        Ok(true)
    }

    /// After step 3: what an aggregation makes of the gradients at the points, as
    /// [`look_at_theta`](Self::look_at_theta).
    pub(super) fn look_at_points<M: Module>(
        &self,
        at: &mut At<'_, M>,
        sums: &mut Sums,
        readings: &mut StepReadings<'_>,
        readback: &mut Readback,
    ) -> Result<bool> {
        let Some(aggregating) = at.aggregating.as_mut().filter(|_| !sums.kept.is_empty()) else {
            return Ok(true);
        };
        let needs = aggregating.method.needs();
        if needs == Needs::Gram {
            readings.kept = readback.push_rows(&gram(at.model, &sums.kept));
        }
        if needs != Needs::Nothing {
            readback.wait()?;
            if readings.report(readback, 0).is_skipped() {
                return Ok(false);
            }
        }
        // The weights at the points need not add up to 1 in every draw. A domain without a point has
        // none, so that what a method keeps stays as long from step to step.
        let sum: f64 = sums.parts.iter().map(|part| part.weight).sum();
        let of = |domain: usize| sums.parts.iter().position(|part| part.domain == domain);
        let places: Vec<Option<usize>> = (0..at.weights.len()).map(of).collect();
        let of_each = |number: &dyn Fn(&Part) -> f64| -> Vec<f64> {
            let part = |place: &Option<usize>| place.and_then(|place| sums.parts.get(place));
            places
                .iter()
                .map(|it| part(it).map_or(0.0, number))
                .collect()
        };
        let shares = of_each(&|part| part.weight / sum);
        let losses = match needs {
            Needs::Nothing => Vec::new(),
            _ => of_each(&|part| part.loss(readback)),
        };
        let gram = (needs == Needs::Gram).then(|| readback.gram_matrix(&readings.kept));
        let gram = gram.map(|of_parts| {
            let place = |domain: usize| places.get(domain).copied().flatten();
            GramMatrix::from_fn(at.weights.len(), |i, j| {
                let pair = place(i).zip(place(j));
                pair.map_or(0.0, |(i, j)| of_parts.get(i, j))
            })
        });
        let mut domains = DomainStatistics::new(readings.step, &shares).with_losses(&losses);
        if let Some(gram) = &gram {
            domains = domains.with_gram(gram);
        }
        let mut by_domain = aggregating.of_points(&domains)?;
        by_domain.iter_mut().for_each(|c| *c *= sum);
        let of_part = |part: &Part, of: &[f64]| of.get(part.domain).copied().unwrap_or(0.0);
        let parts = sums.parts.iter();
        let (shares, coefficients): (Vec<f64>, Vec<f64>) = parts
            .map(|part| (of_part(part, &shares), of_part(part, &by_domain)))
            .unzip();
        aggregating.coefficients.perturbed = Some(by_domain);
        let kept = std::mem::take(&mut sums.kept);
        let method = aggregating.method;
        sums.perturbed.sum = combined(method, at.model, &shares, &coefficients, &kept)?;
        Ok(true)
    }

    /// Whether $G$ is $\bar g$ as it is: a plain step to which nothing is added, and whose parameters are not of
    /// 16 bits, for which it would be rounded.
    pub(super) fn is_mean<M: Module>(&self, at: &At<'_, M>, step: u64) -> bool {
        let config = self.config();
        at.plan.points.is_empty()
            && !at.one_by_one()
            && self.reuse_weight(at, step).is_none()
            && config.clean_weight + config.perturbed_weight == 1.0
            && !has_parameters_of_16_bits(at.model)
    }

    /// $G = w_0\, \bar g + w_1 P - \alpha\, \bar g_\perp + \lambda_t \nabla \varphi$; without perturbed
    /// passes, $P$ is made of the clean gradients and of what perturbed steps have left, and there is
    /// no $\bar g_\perp$.
    pub(super) fn combine<M: Module>(
        &self,
        at: &mut At<'_, M>,
        clean: Clean,
        sums: Sums,
        readings: &mut StepReadings<'_>,
        readback: &mut Readback,
    ) -> GradientsParams {
        let alignment = at.alignment_gradient(&clean, &sums.alignment);
        drop(clean.gradients);
        let (w0, w1) = (self.config().clean_weight, self.config().perturbed_weight);
        let perturbed = &sums.perturbed;
        readings.carried =
            self.keep_direction(at, &clean.mean.sum, perturbed, readings.step, readback);
        if at.is_mean {
            return clean.mean.combined(at.model);
        }
        let mean = (clean.mean.unit, &clean.mean.sum);
        let of_clean = clean.aggregated.as_ref().map_or(mean, |it| (1.0, it));
        let of_plain = match (&clean.plain, at.parts.perturbed) {
            (Some(gradient), _) => (1.0, gradient),
            (None, true) => of_clean,
            (None, false) => mean,
        };
        let term =
            |weight: f64, (unit, gradient): (f64, _)| (weight * unit, shared(at.model, gradient));
        let mut terms = match perturbed.sum.is_empty() {
            true if std::ptr::eq(of_clean.1, of_plain.1) => vec![term(w0 + w1, of_clean)],
            true => vec![term(w0, of_clean), term(w1, of_plain)],
            false => vec![
                term(w0, of_clean),
                term(w1, (perturbed.unit, &perturbed.sum)),
            ],
        };
        if let Some(gap) = self.config().gap_weight.filter(|gap| *gap != 0.0)
            && !perturbed.sum.is_empty()
        {
            terms.push(term(-gap, mean));
            let along = projected(at.model, &clean.mean.sum, &perturbed.sum);
            terms.extend(along.map(|along| (gap * clean.mean.unit, along)));
        }
        terms.extend(self.reused(at, &clean.mean, readings.step));
        if let (Some(readings), Some(gradient)) = (&mut readings.alignment, alignment) {
            let square = || readback.push(squared_norm(at.model, &gradient));
            readings.square = self.config().report.then(square);
            terms.push((readings.weight, gradient));
        }
        terms.retain(|(weight, _)| *weight != 0.0);
        // What is left of them becomes G.
        drop((clean.mean, clean.aggregated, clean.plain, sums));
        // Rounded before it is looked at: what fits into 32 bits need not fit into 16.
        like_parameters(at.model, combine_taking(at.model, terms))
    }
}

/// The part of a gradient along another, $\langle g, \hat p \rangle\, \hat p$; `None` where they have
/// no parameter in common.
pub(super) fn projected<M: Module>(
    model: &M,
    gradient: &GradientsParams,
    along: &GradientsParams,
) -> Option<GradientsParams> {
    let square = squared_norm(model, along)?;
    let zero = square.clone().equal_elem(0.0);
    let share = (dot(model, gradient, along)? / square).mask_fill(zero, 0.0);
    Some(times(model, combine(model, &[(1.0, along)]), share))
}
