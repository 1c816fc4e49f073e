//! Curves of methods, with bands: ROC curves and the course of training.

use std::error::Error;

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

use super::palette::{colour, hex};

/// Pictures of the same methods.
#[derive(Debug, Clone, Default)]
pub struct CurveSection {
    pub groups: Vec<CurveGroup>,
    /// What the curves and their bands are.
    pub note: String,
}

/// Pictures that belong together: those of one domain left out.
#[derive(Debug, Clone, Default)]
pub struct CurveGroup {
    pub title: String,
    pub panels: Vec<Panel>,
}

/// One picture.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    /// The names of the axes.
    pub x: String,
    pub y: String,
    pub curves: Vec<Curve>,
    /// Both axes go from 0 to 1, and chance is their diagonal.
    pub roc: bool,
}

/// The curve of a method.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    pub method: String,
    pub points: Vec<(f64, f64)>,
    /// The lower and the upper end of the band at every point; none where there is no band.
    pub band: Vec<(f64, f64)>,
}

/// In units of the picture, about half a pixel each: places are drawn in whole units.
const SIZE: (u32, u32) = (880, 660);

impl CurveSection {
    /// The methods that have a curve, in the order in which they appear.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        let panels = self.groups.iter().flat_map(|group| &group.panels);
        panels.flat_map(|panel| panel.curves.iter().map(|curve| curve.method.as_str()))
    }

    /// `methods` are all of the page, so that one has the same colour everywhere.
    pub fn html(&self, methods: &[&str]) -> Result<Markup, Box<dyn Error>> {
        let groups = self.groups.iter().map(|group| group.html(methods));
        let groups: Vec<Markup> = groups.collect::<Result<_, _>>()?;
        let shown = |method: &str| self.methods().any(|shown| shown == method);
        Ok(html! {
            p.note { (self.note) }
            ul.legend {
                @for (index, method) in methods.iter().enumerate() {
                    @if shown(method) { li { (sample(index)) (method) } }
                }
            }
            div.groups { @for group in &groups { (group) } }
        })
    }
}

impl CurveGroup {
    fn html(&self, methods: &[&str]) -> Result<Markup, Box<dyn Error>> {
        let mut pictures = Vec::new();
        for panel in &self.panels {
            let label = format!("{}: {} over {}", self.title, panel.y, panel.x);
            pictures.push((label, panel.svg(methods)?));
        }
        Ok(html! {
            div.group {
                h3 { (self.title) }
                div.panels {
                    @for (label, svg) in &pictures {
                        div.chart role="img" aria-label=(label) { (PreEscaped(svg)) }
                    }
                }
            }
        })
    }
}

/// A piece of a method's line.
fn sample(index: usize) -> Markup {
    html! {
        svg viewBox="0 0 68 12" aria-hidden="true" {
            line x1="0" y1="6" x2="68" y2="6" stroke=(hex(index)) stroke-width="5" {}
        }
    }
}

impl Panel {
    fn svg(&self, methods: &[&str]) -> Result<String, Box<dyn Error>> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            let [x, y] = self.ranges();
            let mut chart = ChartBuilder::on(&area)
                .margin(10)
                .margin_right(26)
                .x_label_area_size(90)
                .y_label_area_size(120)
                .build_cartesian_2d(x, y)?;
            chart
                .configure_mesh()
                .x_desc(&self.x)
                .y_desc(&self.y)
                .x_labels(6)
                .y_labels(6)
                .x_label_formatter(&|x| number(*x))
                .y_label_formatter(&|y| number(*y))
                .label_style(("sans-serif", 31))
                .axis_desc_style(("sans-serif", 33))
                .light_line_style(TRANSPARENT)
                .draw()?;
            if self.roc {
                let chance = [(0.0, 0.0), (1.0, 1.0)];
                chart.draw_series(LineSeries::new(chance, BLACK.mix(0.4).stroke_width(2)))?;
            }
            for curve in &self.curves {
                let colour = colour_of(&curve.method, methods);
                let band = curve.band().into_iter();
                chart.draw_series(band.map(|band| Polygon::new(band, colour.mix(0.14))))?;
            }
            for curve in &self.curves {
                let colour = colour_of(&curve.method, methods);
                for piece in curve.pieces() {
                    chart.draw_series(LineSeries::new(piece, colour.stroke_width(4)))?;
                }
            }
            area.present()?;
        }
        // The page gives the size, and knows what a picture is.
        let open = svg.find('>').ok_or("the picture is empty")?;
        let head = format!("<svg viewBox=\"0 0 {} {}\"", SIZE.0, SIZE.1);
        svg.replace_range(..open, &head);
        Ok(svg)
    }

    /// Of both axes.
    fn ranges(&self) -> [std::ops::Range<f64>; 2] {
        if self.roc {
            return [0.0..1.0, 0.0..1.0];
        }
        let range = |numbers: Vec<f64>| {
            let finite = || numbers.iter().copied().filter(|number| number.is_finite());
            let (low, high) = (finite().fold(0.0, f64::min), finite().fold(0.0, f64::max));
            // An axis has a length.
            if high - low > 0.0 {
                low..high
            } else {
                0.0..1.0
            }
        };
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let bands = self.curves.iter().flat_map(|curve| &curve.band);
        let ends = bands.flat_map(|(low, high)| [*low, *high]);
        [
            range(points().map(|(x, _)| *x).collect()),
            range(points().map(|(_, y)| *y).chain(ends).collect()),
        ]
    }
}

impl Curve {
    /// The outline of the band: up along its lower end, back along its upper.
    fn band(&self) -> Option<Vec<(f64, f64)>> {
        let ends = self.points.iter().zip(&self.band);
        let ends = ends.filter(|((x, _), (low, high))| (x + low + high).is_finite());
        let lower = ends.clone().map(|((x, _), (low, _))| (*x, *low));
        let upper = ends.rev().map(|((x, _), (_, high))| (*x, *high));
        let outline: Vec<(f64, f64)> = lower.chain(upper).collect();
        (outline.len() > 3).then_some(outline)
    }

    /// The points between which all are finite.
    fn pieces(&self) -> impl Iterator<Item = Vec<(f64, f64)>> {
        let pieces = self.points.split(|(x, y)| !(x + y).is_finite());
        pieces.filter(|piece| piece.len() > 1).map(<[_]>::to_vec)
    }
}

fn colour_of(method: &str, methods: &[&str]) -> RGBColor {
    let place = methods.iter().position(|known| *known == method);
    colour(place.unwrap_or(methods.len()))
}

/// As short as it is exact for a mark of an axis.
fn number(mark: f64) -> String {
    // What rounding has left of zero.
    let zero = mark.abs() < 1e-12;
    if !zero && !(1e-3..1e6).contains(&mark.abs()) {
        return format!("{mark:.1e}");
    }
    let text = format!("{mark:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_short() {
        let marks = [0.0, -2.8e-17, 0.25, -1.5, 3000.0, 1e-5, 2.5e7].map(number);
        assert_eq!(marks, ["0", "0", "0.25", "-1.5", "3000", "1.0e-5", "2.5e7"]);
    }

    #[test]
    fn what_is_not_finite_is_a_gap() {
        let curve = Curve {
            points: vec![
                (0.0, 1.0),
                (1.0, 2.0),
                (2.0, f64::NAN),
                (3.0, 1.0),
                (4.0, 0.0),
            ],
            band: vec![
                (0.0, 1.0),
                (1.0, f64::INFINITY),
                (0.0, 1.0),
                (0.0, 2.0),
                (0.0, 1.0),
            ],
            ..Curve::default()
        };
        let pieces: Vec<_> = curve.pieces().collect();
        assert_eq!(
            pieces,
            [vec![(0.0, 1.0), (1.0, 2.0)], vec![(3.0, 1.0), (4.0, 0.0)]]
        );
        let band = curve.band().unwrap();
        assert_eq!(band.len(), 8);
        let panel = Panel {
            curves: vec![curve],
            ..Panel::default()
        };
        assert_eq!(panel.ranges(), [0.0..4.0, 0.0..2.0]);
    }

    #[test]
    fn an_axis_without_length_is_drawn() {
        for points in [vec![], vec![(0.0, 0.0)], vec![(f64::NAN, 1.0)]] {
            let curve = Curve {
                points,
                ..Curve::default()
            };
            let panel = Panel {
                curves: vec![curve],
                ..Panel::default()
            };
            assert!(panel.svg(&[]).unwrap().starts_with("<svg viewBox="));
        }
    }
}
