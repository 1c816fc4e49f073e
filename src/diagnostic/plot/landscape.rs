use plotters::{prelude::*, style::text_anchor::HPos};

use super::{
    line::{Line, axes, range},
    picture::{Area, Drawn, GAP, Label, fitted, picture, short},
};
use crate::{
    Result,
    diagnostic::{Axis, Direction, Landscape},
};

/// A panel's square, in whole cells.
const SIDE: i32 = 260;
const CELL: i32 = 4;
/// A panel with its name, its axes and its scale.
const PANEL: (i32, i32) = (430, 350);
/// Above and below the panels.
const HEAD: i32 = 64;
const FOOT: i32 = 44;
/// How many panels stand side by side.
const COLUMNS: usize = 3;
/// How many shades there are, each of as large a share of the grid.
const LEVELS: usize = 10;

/// A landscape as a filled map for each domain, $a$ to the right and $b$ upwards, or along one
/// direction as a line for each domain. A gap is a loss that is not finite.
///
/// Every shade holds a tenth of the grid's points, so that neither a cliff nor a plain hides the
/// rest; the scale beside a map says which losses they are. A cross marks $\theta$, a circle the
/// least loss, a triangle the ascending point of a direction that is an ascent.
///
/// # Errors
///
/// As [`cosines`](super::cosines).
pub fn landscape(landscape: &Landscape) -> Result<String> {
    match landscape.second() {
        Some(second) => {
            let panels = landscape.domains().len();
            let columns = panels.clamp(1, COLUMNS);
            let rows = panels.div_ceil(columns).max(1);
            let size = (
                PANEL.0 * columns.max(2) as i32,
                HEAD + PANEL.1 * rows as i32 + FOOT,
            );
            picture("the landscape", size, |area| {
                maps(landscape, second, columns, area)
            })
        }
        None => {
            let legend = HEAD + 28 + ROW * landscape.domains().len() as i32;
            let size = (WIDTH, legend.max(520));
            picture("the landscape", size, |area| lines(landscape, area))
        }
    }
}

fn maps(landscape: &Landscape, second: &Axis, columns: usize, area: &Area<'_>) -> Drawn {
    let first = landscape.first();
    let geometry = format!(
        "lengths of 1 along a and b: {} and {}; cosine between them {}",
        short(first.norm),
        short(second.norm),
        landscape.cosine().map_or("–".into(), short),
    );
    heading(area, &geometry)?;
    for (index, name) in landscape.domains().iter().enumerate() {
        let (column, row) = (index % columns, index / columns);
        let map = Map {
            axes: [first, second],
            losses: landscape.losses(index),
            corner: (
                PANEL.0 * column as i32 + 70,
                HEAD + PANEL.1 * row as i32 + 30,
            ),
        };
        map.draw(area, name, landscape.least(index))?;
    }
    let rows = landscape.domains().len().div_ceil(columns).max(1) as i32;
    marks(area, HEAD + PANEL.1 * rows + FOOT / 2 - 6)
}

fn heading(area: &Area<'_>, note: &str) -> Drawn {
    let title = Label::new(22, HPos::Left);
    title.draw(area, "The domains' losses around the model", (18, 24))?;
    Label::new(15, HPos::Left).draw(area, note, (18, 50))
}

/// What the marks mean.
fn marks(area: &Area<'_>, y: i32) -> Drawn {
    let label = Label::new(15, HPos::Left);
    cross(area, (26, y))?;
    label.draw(area, "the model", (40, y))?;
    circle(area, (142, y))?;
    label.draw(area, "least loss", (156, y))?;
    triangle(area, (258, y))?;
    label.draw(area, "ascending point", (272, y))?;
    let corners = [(414, y - 7), (432, y + 7)];
    area.draw(&Rectangle::new(corners, GAP.filled()))?;
    label.draw(area, "not finite", (440, y))
}

/// One domain's losses.
struct Map<'a> {
    /// $a$ and $b$.
    axes: [&'a Axis; 2],
    losses: &'a [Vec<f64>],
    /// The upper left of its square.
    corner: (i32, i32),
}

impl Map<'_> {
    fn draw(&self, area: &Area<'_>, name: &str, least: Option<(f64, f64, f64)>) -> Drawn {
        let (left, top) = self.corner;
        let centre = left + SIDE / 2;
        let title = Label::new(18, HPos::Center);
        title.draw(area, &fitted(name, 34), (centre, top - 16))?;
        let levels = Levels::new(self.losses);
        self.shades(area, &levels)?;
        let frame = [(left, top), (left + SIDE, top + SIDE)];
        area.draw(&Rectangle::new(frame, BLACK.stroke_width(1)))?;
        self.ticks(area)?;
        levels.draw(area, (left + SIDE + 12, top))?;
        for (axis, unit) in self.axes.iter().zip([(1.0, 0.0), (0.0, 1.0)]) {
            if matches!(axis.direction, Direction::Ascent { .. }) {
                self.mark(area, unit, triangle)?;
            }
        }
        if let Some((a, b, _)) = least {
            self.mark(area, (a, b), circle)?;
        }
        self.mark(area, (0.0, 0.0), cross)
    }

    /// Of how many points the grid is, along $b$ and $a$.
    fn points(&self) -> (usize, usize) {
        (self.losses.len(), self.losses.first().map_or(0, Vec::len))
    }

    /// The loss at shares of the square from the left and from below, between the points of the
    /// grid from all four around; not finite where one of them is not.
    fn loss(&self, across: f64, up: f64) -> f64 {
        let (rows, columns) = self.points();
        let split = |share: f64, points: usize| {
            let place = share * points.saturating_sub(1) as f64;
            let before = (place as usize).min(points.saturating_sub(2));
            (before, place - before as f64)
        };
        let ((row, up), (column, across)) = (split(up, rows), split(across, columns));
        let at = |row: usize, column: usize| {
            let found = self.losses.get(row).and_then(|row| row.get(column));
            found.copied().unwrap_or(f64::NAN)
        };
        let of_row = |row| at(row, column) * (1.0 - across) + at(row, column + 1) * across;
        of_row(row) * (1.0 - up) + of_row(row + 1) * up
    }

    /// A rectangle for every run of cells of one shade.
    fn shades(&self, area: &Area<'_>, levels: &Levels) -> Drawn {
        let cells = SIDE / CELL;
        let share = |cell: i32| (f64::from(cell) + 0.5) / f64::from(cells);
        for row in 0..cells {
            let up = 1.0 - share(row);
            let shades = (0..cells).map(|column| levels.of(self.loss(share(column), up)));
            let shades: Vec<Option<usize>> = shades.collect();
            let mut column = 0;
            for run in shades.chunk_by(|one, other| one == other) {
                let length = run.len() as i32;
                let x = self.corner.0 + column * CELL;
                let y = self.corner.1 + row * CELL;
                let corners = [(x, y), (x + length * CELL, y + CELL)];
                let color = run.first().copied().flatten().map_or(GAP, shade);
                area.draw(&Rectangle::new(corners, color.filled()))?;
                column += length;
            }
        }
        Ok(())
    }

    /// Where coordinates lie in the picture; `None` outside.
    fn place(&self, (a, b): (f64, f64)) -> Option<(i32, i32)> {
        let share = |axis: &Axis, coordinate: f64| {
            let (first, last) = (axis.coordinates.first()?, axis.coordinates.last()?);
            let share = (coordinate - first) / (last - first);
            (0.0..=1.0).contains(&share).then_some(share)
        };
        let [first, second] = self.axes;
        let (across, up) = (share(first, a)?, share(second, b)?);
        let pixels = |share: f64| (share * f64::from(SIDE)).round() as i32;
        Some((
            self.corner.0 + pixels(across),
            self.corner.1 + SIDE - pixels(up),
        ))
    }

    fn mark(
        &self,
        area: &Area<'_>,
        at: (f64, f64),
        draw: impl Fn(&Area<'_>, (i32, i32)) -> Drawn,
    ) -> Drawn {
        self.place(at).map_or(Ok(()), |at| draw(area, at))
    }

    fn ticks(&self, area: &Area<'_>) -> Drawn {
        let [first, second] = self.axes;
        let (left, top) = self.corner;
        let (bottom, centre) = (top + SIDE, SIDE / 2);
        let ends = |axis: &Axis| {
            let ends = [axis.coordinates.first(), axis.coordinates.last()];
            ends.map(|end| end.copied().unwrap_or(0.0))
        };
        let [low, high] = ends(first);
        for (number, x) in [(low, 0), (0.0, centre), (high, SIDE)] {
            let text = short(number);
            Label::new(14, HPos::Center).draw(area, &text, (left + x, bottom + 11))?;
        }
        let [low, high] = ends(second);
        for (number, y) in [(low, SIDE), (0.0, centre), (high, 0)] {
            let text = short(number);
            Label::new(14, HPos::Right).draw(area, &text, (left - 6, top + y))?;
        }
        let name = format!("a: {}", first.direction);
        let across = Label::new(15, HPos::Center);
        across.draw(area, &fitted(&name, 38), (left + centre, bottom + 30))?;
        let name = format!("b: {}", second.direction);
        let up = Label {
            turned: true,
            ..across
        };
        up.draw(area, &fitted(&name, 38), (left - 48, top + centre))
    }
}

/// The losses between which the shades change.
struct Levels {
    least: f64,
    greatest: f64,
    /// Ascending.
    edges: Vec<f64>,
}

impl Levels {
    fn new(losses: &[Vec<f64>]) -> Self {
        let finite = losses.iter().flatten().filter(|loss| loss.is_finite());
        let mut finite: Vec<f64> = finite.copied().collect();
        finite.sort_by(f64::total_cmp);
        let edge = |level: usize| finite.get(level * finite.len() / LEVELS).copied();
        Self {
            least: finite.first().copied().unwrap_or(f64::NAN),
            greatest: finite.last().copied().unwrap_or(f64::NAN),
            edges: (1..LEVELS).filter_map(edge).collect(),
        }
    }

    /// The shade of a loss, from 0; `None` where it is not finite.
    fn of(&self, loss: f64) -> Option<usize> {
        let below = self.edges.iter().filter(|edge| loss > **edge).count();
        loss.is_finite().then_some(below)
    }

    /// The scale: shades from below, and the losses between them.
    fn draw(&self, area: &Area<'_>, (x, y): (i32, i32)) -> Drawn {
        let height = SIDE / LEVELS as i32;
        for level in 0..LEVELS {
            let top = y + SIDE - height * (level as i32 + 1);
            let corners = [(x, top), (x + 14, top + height)];
            area.draw(&Rectangle::new(corners, shade(level).filled()))?;
        }
        let ends = [(self.least, 0), (self.greatest, LEVELS)];
        let edges = self.edges.iter().zip(1..);
        let marks = edges.map(|(edge, level)| (*edge, level)).chain(ends);
        for (loss, level) in marks.filter(|(loss, _)| loss.is_finite()) {
            let at = (x + 19, y + SIDE - height * level as i32);
            Label::new(13, HPos::Left).draw(area, &short(loss), at)?;
        }
        Ok(())
    }
}

/// Dark is low.
fn shade(level: usize) -> RGBColor {
    let share = level as f64 / (LEVELS - 1) as f64;
    let (red, green, blue) = colorous::VIRIDIS
        .eval_continuous(share.clamp(0.0, 1.0))
        .as_tuple();
    RGBColor(red, green, blue)
}

/// White on black, to be seen on any shade.
fn outlined(area: &Area<'_>, points: Vec<(i32, i32)>) -> Drawn {
    area.draw(&PathElement::new(points.clone(), BLACK.stroke_width(5)))?;
    area.draw(&PathElement::new(points, WHITE.stroke_width(2)))?;
    Ok(())
}

fn cross(area: &Area<'_>, (x, y): (i32, i32)) -> Drawn {
    let bars = [[(x - 7, y), (x + 7, y)], [(x, y - 7), (x, y + 7)]];
    for (color, width) in [(BLACK, 5), (WHITE, 2)] {
        for bar in bars {
            area.draw(&PathElement::new(bar.to_vec(), color.stroke_width(width)))?;
        }
    }
    Ok(())
}

fn circle(area: &Area<'_>, at: (i32, i32)) -> Drawn {
    area.draw(&Circle::new(at, 5, BLACK.stroke_width(5)))?;
    area.draw(&Circle::new(at, 5, WHITE.stroke_width(2)))?;
    Ok(())
}

fn triangle(area: &Area<'_>, (x, y): (i32, i32)) -> Drawn {
    let corners = [(x - 6, y + 5), (x, y - 6), (x + 6, y + 5), (x - 6, y + 5)];
    outlined(area, corners.to_vec())
}

/// Of a picture of lines, and of a row of its legend.
const WIDTH: i32 = 960;
const ROW: i32 = 26;
/// Where the legend begins.
const CHART: i32 = 660;

fn lines(landscape: &Landscape, area: &Area<'_>) -> Drawn {
    let axis = landscape.first();
    heading(area, &format!("length of 1 along a: {}", short(axis.norm)))?;
    let curve = |domain: usize| -> Vec<(f64, f64)> {
        let row = landscape.losses(domain).first();
        let losses = row.map_or(&[][..], Vec::as_slice);
        let coordinates = axis.coordinates.iter().copied();
        coordinates.zip(losses.iter().copied()).collect()
    };
    let all = 0..landscape.domains().len();
    let losses = all
        .clone()
        .flat_map(|domain| curve(domain).into_iter().map(|(_, loss)| loss));
    let name = format!("a: {}", axis.direction);
    let mut chart = ChartBuilder::on(area)
        .margin_top(HEAD)
        .margin_left(10)
        .margin_right((WIDTH - CHART) as u32)
        .margin_bottom(8)
        .x_label_area_size(44)
        .y_label_area_size(66)
        .build_cartesian_2d(range(axis.coordinates.iter().copied()), range(losses))?;
    axes(&mut chart, [&fitted(&name, 60), "loss"])?;
    let height = chart.y_range();
    let model = [(0.0, height.start), (0.0, height.end)];
    chart.draw_series(LineSeries::new(model, BLACK.mix(0.5)))?;
    for domain in all.clone() {
        Line::of(domain).draw(&mut chart, &curve(domain))?;
    }
    for (domain, name) in landscape.domains().iter().enumerate() {
        let at = (CHART + 14, HEAD + 14 + ROW * domain as i32);
        let label = Label::new(16, HPos::Left);
        Line::of(domain).legend(area, label, &fitted(name, 26), at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(coordinates: [f64; 3]) -> Axis {
        Axis {
            direction: Direction::Random { seed: 0 },
            norm: 1.0,
            coordinates: coordinates.to_vec(),
        }
    }

    #[test]
    fn a_goes_to_the_right_and_b_upwards() {
        // The loss is a + 10 b.
        let rows = [-2.0, 0.0, 2.0].map(|b| [-1.0, 0.0, 1.0].map(|a| a + 10.0 * b).to_vec());
        let map = Map {
            axes: [&axis([-1.0, 0.0, 1.0]), &axis([-2.0, 0.0, 2.0])],
            losses: &rows,
            corner: (100, 50),
        };
        let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.25)];
        let losses = corners.map(|(across, up)| map.loss(across, up));
        assert_eq!(losses, [-21.0, -19.0, 19.0, 21.0, -10.0]);
        let places = [(-1.0, -2.0), (1.0, -2.0), (0.0, 2.0), (0.0, 0.0)].map(|at| map.place(at));
        let (middle, side) = (SIDE / 2, SIDE);
        assert_eq!(
            places,
            [
                Some((100, 50 + side)),
                Some((100 + side, 50 + side)),
                Some((100 + middle, 50)),
                Some((100 + middle, 50 + middle))
            ]
        );
        assert_eq!(map.place((1.1, 0.0)), None);
    }

    #[test]
    fn a_gap_reaches_to_its_neighbours_and_no_further() {
        let mut rows = vec![vec![1.0; 3]; 3];
        rows[2][2] = f64::INFINITY;
        let map = Map {
            axes: [&axis([-1.0, 0.0, 1.0]), &axis([-1.0, 0.0, 1.0])],
            losses: &rows,
            corner: (0, 0),
        };
        assert_eq!(map.loss(0.4, 0.9), 1.0);
        assert!(!map.loss(0.6, 0.6).is_finite());
    }

    #[test]
    fn shades_hold_alike_many_points() {
        let losses = vec![
            (0..100)
                .map(|loss| f64::from(loss).exp())
                .collect::<Vec<_>>(),
        ];
        let levels = Levels::new(&losses);
        for level in 0..LEVELS {
            let held = losses[0]
                .iter()
                .filter(|loss| levels.of(**loss) == Some(level));
            assert!((9..=11).contains(&held.count()), "{level}");
        }
        assert_eq!(levels.of(f64::NAN), None);
        let flat = Levels::new(&[vec![0.5; 9]]);
        assert_eq!(flat.of(0.5), Some(0));
        assert_eq!(Levels::new(&[]).of(1.0), Some(0));
    }
}
