//! The curves of training and the ROC curves, as pictures.

use std::error::Error;

use plotters::prelude::*;

use crate::{log::Curves, output::Outcome};

/// Loss and mean cosine over training.
pub fn training_curves(
    turn: &str,
    steps: usize,
    runs: &[&Outcome],
) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (960, 460)).into_drawing_area();
        area.fill(&WHITE)?;
        let title = format!("Training {turn}, means over {SMOOTHED} steps");
        let area = area.titled(&title, ("sans-serif", 20))?;
        let columns: [(&str, Column); 2] = [
            ("mean loss", |curves| &curves.losses),
            ("mean cosine between two domains' gradients", |curves| {
                &curves.cosines
            }),
        ];
        for (panel, (name, column)) in area.split_evenly((1, 2)).iter().zip(columns) {
            let smoothed = runs.iter().map(|run| (*run, smooth(column(&run.curves))));
            let smoothed: Vec<(&Outcome, Vec<f64>)> = smoothed.collect();
            let values = smoothed.iter().flat_map(|(_, values)| values);
            let values = values.copied().filter(|value| value.is_finite());
            let range = values.fold(0.0f64..1e-9, |range, value| {
                range.start.min(value)..range.end.max(value)
            });
            let mut chart = ChartBuilder::on(panel)
                .margin(12)
                .x_label_area_size(40)
                .y_label_area_size(52)
                .build_cartesian_2d(0.0..steps as f64, range)?;
            chart
                .configure_mesh()
                .x_desc("step")
                .y_desc(name)
                .x_label_formatter(&|step| format!("{step:.0}"))
                .light_line_style(TRANSPARENT)
                .draw()?;
            for (index, (run, values)) in smoothed.into_iter().enumerate() {
                let color = Palette99::pick(index).stroke_width(2);
                let points = values.into_iter().enumerate();
                let points = points.filter(|(_, value)| value.is_finite());
                chart
                    .draw_series(LineSeries::new(
                        points.map(|(step, value)| (step as f64, value)),
                        color,
                    ))?
                    .label(run.run.method.name())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// The ROC curves of one turn's first test domain.
pub fn roc_curves(turn: &str, runs: &[&Outcome]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (640, 600)).into_drawing_area();
        area.fill(&WHITE)?;
        let title = format!("ROC, trained {turn}");
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .x_desc("real pictures taken for forged")
            .y_desc("forged pictures found")
            .draw()?;
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLACK.mix(0.3)))?;
        for (index, run) in runs.iter().enumerate() {
            let color = Palette99::pick(index).stroke_width(2);
            let roc = run.scores[0].roc()?;
            let points = roc.points().map(|point| (point.fpr, point.tpr));
            chart
                .draw_series(LineSeries::new(points, color))?
                .label(format!("{} {:.3}", run.run.method, run.unseen))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

/// One of the numbers of every step.
type Column = fn(&Curves) -> &[f64];

/// Over how many steps the curves of training are averaged.
const SMOOTHED: usize = 20;

/// Means over the last steps.
fn smooth(values: &[f64]) -> Vec<f64> {
    let windows = (1..=values.len()).map(|end| &values[end.saturating_sub(SMOOTHED)..end]);
    windows
        .map(|window| window.iter().sum::<f64>() / window.len() as f64)
        .collect()
}
