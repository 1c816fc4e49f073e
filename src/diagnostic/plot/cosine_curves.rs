use plotters::{prelude::*, style::text_anchor::HPos};

use super::{
    line::{Line, axes, range},
    picture::{Area, Drawn, Label, fitted, picture},
};
use crate::{Result, diagnostic::Conflict};

const SIZE: (i32, i32) = (980, 460);
/// Where the legend begins.
const CHART: i32 = 640;
/// How many pairs have a line of their own: those of the lowest mean cosines.
const NAMED: usize = 6;
/// What the others are in.
const BAND: RGBColor = RGBColor(0xDA, 0xDA, 0xDA);

/// The cosines over the steps: their mean, the six pairs of domains with the lowest mean cosines by
/// name, and a grey band that holds the others.
///
/// # Errors
///
/// As [`cosines`](super::cosines).
pub fn cosine_curves(conflict: &Conflict) -> Result<String> {
    picture("the cosines' curves", SIZE, |area| draw(conflict, area))
}

fn draw(conflict: &Conflict, area: &Area<'_>) -> Drawn {
    let title = Label::new(22, HPos::Left);
    title.draw(
        area,
        "Cosines between the domains' gradients over training",
        (18, 24),
    )?;
    if conflict.pairs().is_empty() {
        let note = "There is no pair of domains.";
        return Label::new(17, HPos::Left).draw(area, note, (18, 60));
    }
    let bins = conflict.curve();
    let curve = |pair: usize| -> Vec<(f64, f64)> {
        let cosine = |cosines: &[f64]| cosines.get(pair).copied().unwrap_or(f64::NAN);
        bins.iter()
            .map(|bin| (middle(bin.first, bin.last), cosine(&bin.cosines)))
            .collect()
    };
    let steps = bins
        .iter()
        .flat_map(|bin| [bin.first as f64, bin.last as f64]);
    let cosines = bins.iter().flat_map(|bin| bin.cosines.iter().copied());
    let mut chart = ChartBuilder::on(area)
        .margin_top(48)
        .margin_left(10)
        .margin_right((SIZE.0 - CHART) as u32)
        .margin_bottom(8)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(range(steps), range(cosines.chain([0.0])))?;
    axes(&mut chart, ["step", "cosine"])?;
    let zero = chart.x_range();
    let zero = [(zero.start, 0.0), (zero.end, 0.0)];
    chart.draw_series(LineSeries::new(zero, BLACK.mix(0.5)))?;

    let order = lowest_first(conflict);
    let (named, others) = order.split_at(order.len().min(NAMED));
    let others: Vec<_> = others.iter().map(|pair| curve(*pair)).collect();
    chart.draw_series([Polygon::new(band(&others), BAND)])?;
    for (index, pair) in named.iter().enumerate() {
        Line::of(index).draw(&mut chart, &curve(*pair))?;
    }
    let mean = bins.iter().map(|bin| {
        let mean = bin.mean_cosine().unwrap_or(f64::NAN);
        (middle(bin.first, bin.last), mean)
    });
    // Of one pair, the mean is that pair.
    let several = order.len() > 1;
    if several {
        Line::MEAN.draw(&mut chart, &mean.collect::<Vec<_>>())?;
    }

    let mean = several.then(|| (Line::MEAN, format!("mean of {} pairs", order.len())));
    let named = named.iter().enumerate();
    let named = named.map(|(index, pair)| (Line::of(index), name(conflict, *pair)));
    let at = |row: usize| (CHART + 14, 70 + 28 * row as i32);
    let label = Label::new(16, HPos::Left);
    for (row, (line, text)) in mean.into_iter().chain(named).enumerate() {
        line.legend(area, label, &text, at(row))?;
    }
    if others.is_empty() {
        return Ok(());
    }
    let (x, y) = at(NAMED + 1);
    area.draw(&Rectangle::new(
        [(x, y - 8), (x + 32, y + 8)],
        BAND.filled(),
    ))?;
    let text = format!("{} others, higher in the mean", others.len());
    label.draw(area, &text, (x + 42, y))
}

/// From the lowest of several curves over the same steps to the highest: its outline.
fn band(curves: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let steps = curves.first().map_or(0, Vec::len);
    let bound = |step: usize, choose: fn(f64, f64) -> f64| {
        let at_step = curves.iter().filter_map(|curve| curve.get(step));
        at_step
            .copied()
            .reduce(|(x, one), (_, other)| (x, choose(one, other)))
    };
    let lower = (0..steps).filter_map(|step| bound(step, f64::min));
    let upper = (0..steps).rev().filter_map(|step| bound(step, f64::max));
    lower.chain(upper).collect()
}

fn middle(first: u64, last: u64) -> f64 {
    (first as f64 + last as f64) / 2.0
}

/// The pairs by their mean cosines.
fn lowest_first(conflict: &Conflict) -> Vec<usize> {
    let mean = |pair: &usize| {
        let pair = conflict.pairs().get(*pair);
        pair.and_then(|pair| pair.cosine.mean()).unwrap_or(f64::NAN)
    };
    let mut order: Vec<usize> = (0..conflict.pairs().len()).collect();
    order.sort_by(|one, other| mean(one).total_cmp(&mean(other)));
    order
}

fn name(conflict: &Conflict, pair: usize) -> String {
    let domain = |index: usize| {
        let domain = conflict.domains().get(index);
        domain.map_or(String::new(), |domain| fitted(&domain.name, 14))
    };
    let pair = conflict.pairs().get(pair).map(|pair| pair.domains);
    let (first, second) = pair.unwrap_or_default();
    format!("{}, {}", domain(first), domain(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_goes_there_and_back() {
        let curves = [vec![(0.0, 1.0), (1.0, -1.0)], vec![(0.0, 0.5), (1.0, 2.0)]];
        let outline = [(0.0, 0.5), (1.0, -1.0), (1.0, 2.0), (0.0, 1.0)];
        assert_eq!(band(&curves), outline);
        assert!(band(&[]).is_empty());
    }
}
