//! What came of it: the accuracies, and a picture of what each net says of the plane.
use std::error::Error;

use burn::tensor::{Tensor, TensorData, activation::sigmoid};
use plotters::prelude::*;

use super::{Net, Points};

/// The plane is shown up to here, in squares of this side.
const EDGE: f32 = 4.0;
const SIDE: f32 = 0.05;
/// How many shades there are between those of the classes, -1 and 1.
const LEVELS: f32 = 20.0;
const SHADES: [RGBColor; 2] = [RGBColor(253, 226, 184), RGBColor(190, 226, 208)];
/// The colours of the domains; the last one, never seen, is faint.
const COLORS: [RGBAColor; 3] = [
    RGBAColor(20, 80, 190, 0.9),
    RGBAColor(190, 30, 80, 0.9),
    RGBAColor(60, 60, 60, 0.4),
];

/// A line for each method: its share of right answers in every domain.
pub fn print(nets: &[(&str, Net)], tests: &[(&str, Points)]) {
    for (method, net) in nets {
        print!("{method:4}");
        for (domain, points) in tests {
            print!("  {domain} {:.1} %", 100.0 * accuracy(net, points));
        }
        println!();
    }
}

fn accuracy(net: &Net, (points, class): &Points) -> f32 {
    let right = (net.forward(points.clone()) * class.clone()).greater_elem(0.0);
    right.float().mean().into_scalar()
}

/// A panel for each method, on the same points.
pub fn draw(
    path: &str,
    nets: &[(&str, Net)],
    domains: &[(&str, Points)],
    unseen: &Points,
) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (1060, 610)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = "One net, two domains that conflict, and one never seen";
    let root = root.margin(10, 0, 0, 0).titled(title, ("sans-serif", 22))?;
    let (panels, legend) = root.split_vertically(525);
    for (panel, (method, net)) in panels.split_evenly((1, nets.len())).iter().zip(nets) {
        let share = 100.0 * accuracy(net, unseen);
        let caption = format!("{method}: {share:.1} % right in the unseen domain");
        let mut chart = ChartBuilder::on(panel)
            .caption(caption, ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d(-EDGE..EDGE, -EDGE..EDGE)?;
        let plane = Plane::new(net);
        chart.draw_series(plane.shades())?;
        for ((_, points), color) in domains.iter().zip(COLORS).rev() {
            chart.draw_series(markers(points, color))?;
        }
        chart.draw_series(plane.boundary())?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(5)
            .y_labels(5)
            .x_desc("cue: tells the class everywhere")
            .y_desc("shortcut: does not")
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 16))
            .draw()?;
    }
    let text = |text: String, x| Text::new(text, (x, 12), ("sans-serif", 16));
    for (index, ((name, _), color)) in domains.iter().zip(COLORS).enumerate() {
        let x = 40 + 150 * index as i32;
        legend.draw(&Circle::new((x, 20), 5, color.filled()))?;
        legend.draw(&text(format!("{name} domain"), x + 12))?;
    }
    let styles = [BLACK.stroke_width(1), BLACK.filled()];
    for (index, (style, shade)) in styles.into_iter().zip(SHADES).enumerate() {
        let (x, class) = (500 + 290 * index as i32, ["-1", "1"][index]);
        legend.draw(&Circle::new((x, 20), 4, style))?;
        legend.draw(&text(format!("of class {class}"), x + 12))?;
        legend.draw(&Rectangle::new(
            [(x + 105, 12), (x + 129, 28)],
            shade.filled(),
        ))?;
        legend.draw(&text(format!("taken for class {class}"), x + 136))?;
    }
    root.present()?;
    Ok(())
}

/// Class 1 as discs, class -1 as rings.
fn markers((points, class): &Points, color: RGBAColor) -> Vec<Circle<(f32, f32), i32>> {
    let (points, class) = (points.to_data(), class.to_data());
    let points: Vec<f32> = points.iter().collect();
    let styles = class.iter::<f32>().map(|class| match class > 0.0 {
        true => color.filled(),
        false => color.stroke_width(1),
    });
    let inside = |at: &[f32]| at.iter().all(|x| x.abs() < EDGE);
    let shown = points.chunks(2).zip(styles).filter(|(at, _)| inside(at));
    shown
        .map(|(at, style)| Circle::new((at[0], at[1]), 3, style))
        .collect()
}

/// The probability of class 1 in every square, row by row from below.
struct Plane {
    side: usize,
    probabilities: Vec<f32>,
}

impl Plane {
    fn new(net: &Net) -> Self {
        let side = (2.0 * EDGE / SIDE).round() as usize;
        let centres = (0..side * side).flat_map(|square| {
            let (x, y) = corner(square % side, square / side);
            [x + SIDE / 2.0, y + SIDE / 2.0]
        });
        let centres = TensorData::new(centres.collect(), [side * side, 2]);
        let centres = Tensor::from_data(centres, &net.layers[0].weight.device());
        let probabilities = sigmoid(net.forward(centres)).into_data();
        Self {
            side,
            probabilities: probabilities.iter().collect(),
        }
    }

    /// A rectangle for every run of squares of one shade in a row.
    fn shades(&self) -> impl Iterator<Item = Rectangle<(f32, f32)>> {
        let level = |share: f32| (share * LEVELS).round() / LEVELS;
        let rows = self.probabilities.chunks(self.side).enumerate();
        rows.flat_map(move |(row, shares)| {
            let runs = shares.chunk_by(move |a, b| level(*a) == level(*b));
            runs.scan(0, move |column, run| {
                let from = corner(*column, row);
                *column += run.len();
                let corners = [from, corner(*column, row + 1)];
                Some(Rectangle::new(corners, mix(SHADES, level(run[0])).filled()))
            })
        })
    }

    /// The edges between squares that are taken for different classes.
    fn boundary(&self) -> impl Iterator<Item = PathElement<(f32, f32)>> {
        let last = self.side - 1;
        let squares = (0..self.side).flat_map(move |row| (0..self.side).map(move |c| (c, row)));
        squares.flat_map(move |(column, row)| {
            let positive = |column, row| self.probabilities[row * self.side + column] > 0.5;
            let here = positive(column, row);
            let right = column < last && positive(column + 1, row) != here;
            let above = row < last && positive(column, row + 1) != here;
            let far = corner(column + 1, row + 1);
            let right = right.then(|| [corner(column + 1, row), far]);
            let above = above.then(|| [corner(column, row + 1), far]);
            let edges = right.into_iter().chain(above);
            edges.map(|ends| PathElement::new(ends.to_vec(), BLACK.stroke_width(2)))
        })
    }
}

fn corner(column: usize, row: usize) -> (f32, f32) {
    (column as f32 * SIDE - EDGE, row as f32 * SIDE - EDGE)
}

fn mix([low, high]: [RGBColor; 2], share: f32) -> RGBColor {
    let mix = |low: u8, high: u8| (f32::from(low) * (1.0 - share) + f32::from(high) * share) as u8;
    RGBColor(mix(low.0, high.0), mix(low.1, high.1), mix(low.2, high.2))
}
