use plotters::{
    coord::ranged1d::{Ranged, ValueFormatter},
    prelude::*,
};

use super::picture::{Area, Drawn, Label, short};

/// Six colours of Okabe and Ito's, darkened to stand out from white.
const COLORS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x8A, 0x65),
    RGBColor(0xB8, 0x4C, 0x8C),
    RGBColor(0x3A, 0x9B, 0xD9),
    RGBColor(0xB0, 0x80, 0x00),
];

/// Lengths of dashes and of the gaps between them; none is a whole line.
const DASHES: [Option<(u32, u32)>; 3] = [None, Some((8, 4)), Some((2, 4))];

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    color: RGBColor,
    width: u32,
    dashes: Option<(u32, u32)>,
}

impl Line {
    /// What stands for all of them.
    pub const MEAN: Self = Self {
        color: BLACK,
        width: 3,
        dashes: None,
    };

    /// The `index`th of 18 that can be told apart.
    pub fn of(index: usize) -> Self {
        // Neighbours differ in both.
        let dashes = (index + index / COLORS.len()) % DASHES.len();
        Self {
            color: *COLORS.get(index % COLORS.len()).unwrap_or(&BLACK),
            width: 2,
            dashes: DASHES.get(dashes).copied().flatten(),
        }
    }

    fn style(self) -> ShapeStyle {
        self.color.stroke_width(self.width)
    }

    /// Through points, with gaps where one is not finite; a point alone is a dot.
    pub fn draw<X, Y>(
        self,
        chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
        points: &[(f64, f64)],
    ) -> Drawn
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        for piece in points.split(|(x, y)| !(x + y).is_finite()) {
            match (piece, self.dashes) {
                ([], _) => {}
                ([point], _) => {
                    chart.draw_series([Circle::new(*point, 3, self.color.filled())])?;
                }
                (_, None) => {
                    chart.draw_series(LineSeries::new(piece.iter().copied(), self.style()))?;
                }
                (_, Some((dash, gap))) => {
                    let points = piece.iter().copied();
                    let dashed = DashedLineSeries::new(points, dash, gap, self.style());
                    chart.draw_series(dashed)?;
                }
            }
        }
        Ok(())
    }

    /// A line of a legend, from its left end on.
    pub fn legend(self, area: &Area<'_>, label: Label, text: &str, (x, y): (i32, i32)) -> Drawn {
        let (dash, gap) = self.dashes.unwrap_or((32, 0));
        let mut from = 0;
        while from < 32 {
            let to = (from + dash as i32).min(32);
            let ends = vec![(x + from, y), (x + to, y)];
            area.draw(&PathElement::new(ends, self.style()))?;
            from = to + gap.max(1) as i32;
        }
        label.draw(area, text, (x + 42, y))
    }
}

/// A range that holds all finite numbers, with some room and a length.
pub(super) fn range(numbers: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let finite = numbers.filter(|number| number.is_finite());
    let ends = finite.map(|number| (number, number));
    let ends = ends.reduce(|(low, high), (number, _)| (low.min(number), high.max(number)));
    let (low, high) = ends.unwrap_or((0.0, 1.0));
    let room = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
    let range = low - room..high + room;
    // The difference of numbers near the largest that there are.
    if (range.end - range.start).is_finite() {
        range
    } else {
        -1.0..1.0
    }
}

/// The axes of a chart of lines.
pub(super) fn axes<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    names: [&str; 2],
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(names[0])
        .y_desc(names[1])
        .x_labels(7)
        .y_labels(7)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 17))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighteen_lines_can_be_told_apart() {
        for index in 0..18 {
            for other in 0..index {
                let (one, other) = (Line::of(index), Line::of(other));
                let alike = one.color == other.color && one.dashes == other.dashes;
                assert!(!alike, "{index}");
            }
        }
        assert_eq!(Line::of(18), Line::of(0));
    }

    #[test]
    fn a_range_has_a_length() {
        let of = |numbers: &[f64]| range(numbers.iter().copied());
        for numbers in [
            &[][..],
            &[0.0],
            &[5.0, 5.0],
            &[f64::NAN],
            &[f64::MAX, f64::MIN],
        ] {
            let range = of(numbers);
            assert!(
                range.end > range.start && range.end.is_finite(),
                "{range:?}"
            );
        }
        let range = of(&[1.0, f64::INFINITY, 3.0]);
        assert!(range.start < 1.0 && range.start > 0.8 && range.end > 3.0 && range.end < 3.2);
    }
}
