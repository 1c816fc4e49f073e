//! The pictures: time and memory over the number of domains, one file for each net.

use std::{error::Error, path::Path};

use plotters::{coord::Shift, prelude::*};

use super::comparison::Row;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Okabe and Ito's, darkened to stand out from white.
const COLORS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x8A, 0x65),
    RGBColor(0xB8, 0x4C, 0x8C),
    RGBColor(0x3A, 0x9B, 0xD9),
    RGBColor(0xB0, 0x80, 0x00),
];
/// Lengths of dashes and of the gaps between them.
const DASHES: [(u32, u32); 4] = [(1000, 0), (8, 4), (2, 4), (14, 3)];

/// Where one method's points are.
struct Curve<'a> {
    name: &'a str,
    rows: Vec<&'a Row>,
}

/// Times and memory of one net.
pub fn draw(path: &Path, net: &str, rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows.iter().filter(|row| row.net == net) {
        match curves.iter_mut().find(|curve| curve.name == row.method) {
            Some(curve) => curve.rows.push(row),
            None => curves.push(Curve {
                name: row.method,
                rows: vec![row],
            }),
        }
    }
    let root = SVGBackend::new(path, (1250, 560)).into_drawing_area();
    root.fill(&WHITE)?;
    let (panels, legend) = root.split_horizontally(960);
    let (time, memory) = panels.split_horizontally(480);
    let caption = format!("{net}: a step, in the plain loop's");
    // Drawn in powers of two: twice the time is as far as half of it.
    panel(&time, &caption, &curves, f64::exp2, |row| {
        row.ratio.median.log2()
    })?;
    let caption = "peak memory above the plain loop's, in copies";
    panel(&memory, caption, &curves, |copies| copies, |row| row.copies)?;
    for (index, curve) in curves.iter().enumerate() {
        let y = 40 + 24 * index as i32;
        let (style, (dash, gap)) = line(index);
        let mut from = 10;
        while from < 50 {
            let to = (from + dash as i32).min(50);
            legend.draw(&PathElement::new(vec![(from, y), (to, y)], style))?;
            from = to + gap.max(1) as i32;
        }
        let label = ("sans-serif", 14).into_font();
        legend.draw(&Text::new(curve.name, (60, y - 7), label))?;
    }
    root.present()?;
    Ok(())
}

fn line(index: usize) -> (ShapeStyle, (u32, u32)) {
    let color = COLORS[index % COLORS.len()];
    // Neighbours differ in both.
    let dashes = (index + index / COLORS.len()) % DASHES.len();
    (color.stroke_width(2), DASHES[dashes])
}

/// Logarithmic to the right; `label` says what stands at a height.
fn panel(
    area: &Area<'_>,
    caption: &str,
    curves: &[Curve<'_>],
    label: impl Fn(f64) -> f64,
    value: impl Fn(&Row) -> f64,
) -> Result<(), Box<dyn Error>> {
    let all = || curves.iter().flat_map(|curve| curve.rows.iter().copied());
    let most = all().map(|row| row.domains).max().unwrap_or(1).max(2) as f64;
    let least = all().map(|row| row.domains).min().unwrap_or(1) as f64;
    let fold = |start: f64, of: fn(f64, f64) -> f64| all().map(&value).fold(start, of);
    let (low, high) = (fold(f64::MAX, f64::min), fold(f64::MIN, f64::max));
    let room = 0.05 * (high - low).max(0.1);
    let across = (least.min(most / 2.0)..most).log_scale().base(2.0);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(50)
        .build_cartesian_2d(across, low - room..high + room)?;
    chart
        .configure_mesh()
        .x_desc("domains K")
        .x_labels(5)
        .x_label_formatter(&|count| format!("{count:.0}"))
        .y_label_formatter(&|height| format!("{:.1}", label(*height)))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (index, curve) in curves.iter().enumerate() {
        let (style, (dash, gap)) = line(index);
        let points = || {
            let points = curve.rows.iter();
            points.map(|row| (row.domains as f64, value(row)))
        };
        chart.draw_series(DashedLineSeries::new(points(), dash, gap, style))?;
        chart.draw_series(points().map(|point| Circle::new(point, 2, style.filled())))?;
    }
    Ok(())
}
