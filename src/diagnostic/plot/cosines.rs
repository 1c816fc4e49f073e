use plotters::{prelude::*, style::text_anchor::HPos};

use super::picture::{Area, Drawn, GAP, Label, fitted, picture};
use crate::{
    Result,
    diagnostic::{Conflict, PairConflict, table::width},
};

/// The edge of the picture.
const MARGIN: i32 = 18;
/// From the top to the first row.
const HEAD: i32 = 92;
/// Below the last row.
const FOOT: i32 = 20;
/// The scale on the right.
const SCALE: i32 = 90;
const NAME: Label = Label::new(17, HPos::Right);
const NUMBER: Label = Label::new(17, HPos::Center);
const SMALL: Label = Label::new(14, HPos::Center);

/// The domains' mean cosines as a heat map, domain by domain: red at -1, white at 0, blue at 1,
/// and below each the share of the steps in which the pair conflicts.
///
/// # Errors
///
/// [`Error::Picture`](crate::Error::Picture) where the drawing library fails.
pub fn cosines(conflict: &Conflict) -> Result<String> {
    let map = HeatMap::new(conflict);
    picture("the cosines", map.size(), |area| map.draw(area))
}

struct HeatMap<'a> {
    conflict: &'a Conflict,
    names: Vec<String>,
    /// The left edge and the width of the squares.
    left: i32,
    side: i32,
}

impl<'a> HeatMap<'a> {
    fn new(conflict: &'a Conflict) -> Self {
        let domains = conflict.domains().iter();
        let names: Vec<String> = domains.map(|domain| fitted(&domain.name, 26)).collect();
        let letters = names.iter().map(|name| width(name)).max().unwrap_or(0);
        let count = names.len().max(1) as i32;
        Self {
            conflict,
            names,
            left: MARGIN + 9 * letters as i32 + 44,
            side: (440 / count).clamp(50, 96),
        }
    }

    fn size(&self) -> (i32, i32) {
        let squares = self.side * self.names.len() as i32;
        // The title has to fit as well.
        let width = (self.left + squares + SCALE).max(520);
        (width, HEAD + squares.max(self.side) + FOOT)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let title = Label::new(22, HPos::Left);
        title.draw(area, "Cosines between the domains' gradients", (MARGIN, 24))?;
        let note = format!(
            "means over {} steps; in %: the steps in which the two conflict",
            self.conflict.steps()
        );
        Label::new(15, HPos::Left).draw(area, &note, (MARGIN, 50))?;
        for (i, name) in self.names.iter().enumerate() {
            let middle = i as i32 * self.side + self.side / 2;
            NAME.draw(area, name, (self.left - 40, HEAD + middle))?;
            let number = (i + 1).to_string();
            NUMBER.draw(area, &number, (self.left - 18, HEAD + middle))?;
            NUMBER.draw(area, &number, (self.left + middle, HEAD - 14))?;
        }
        for (i, row) in self.conflict.cosines().iter().enumerate() {
            for (j, cosine) in row.iter().enumerate() {
                let pair = self.conflict.pair(i, j);
                self.square(area, (j as i32, i as i32), *cosine, pair)?;
            }
        }
        self.scale(area)
    }

    fn square(
        &self,
        area: &Area<'_>,
        (column, row): (i32, i32),
        cosine: f64,
        pair: Option<&PairConflict>,
    ) -> Drawn {
        let corner = (self.left + column * self.side, HEAD + row * self.side);
        let far = (corner.0 + self.side - 1, corner.1 + self.side - 1);
        area.draw(&Rectangle::new([corner, far], color(cosine).filled()))?;
        let white = cosine.abs() > 0.6;
        let (x, y) = (corner.0 + self.side / 2, corner.1 + self.side / 2);
        let number = match cosine.is_nan() {
            true => "–".to_string(),
            false => format!("{:.2}", cosine + 0.0),
        };
        let Some(share) = pair.and_then(PairConflict::share) else {
            return Label { white, ..NUMBER }.draw(area, &number, (x, y));
        };
        Label { white, ..NUMBER }.draw(area, &number, (x, y - 8))?;
        let share = format!("{:.0} %", 100.0 * share);
        Label { white, ..SMALL }.draw(area, &share, (x, y + 11))
    }

    /// From 1 at the top to -1.
    fn scale(&self, area: &Area<'_>) -> Drawn {
        let x = self.left + self.side * self.names.len() as i32 + 22;
        let height = (self.side * self.names.len() as i32).clamp(self.side, 240);
        for line in 0..height {
            let cosine = 1.0 - 2.0 * f64::from(line) / f64::from(height - 1);
            let corners = [(x, HEAD + line), (x + 16, HEAD + line + 1)];
            area.draw(&Rectangle::new(corners, color(cosine).filled()))?;
        }
        let mark = Label::new(15, HPos::Left);
        for (text, share) in [("1", 0), ("0", 1), ("-1", 2)] {
            let inset = 6 * (1 - share);
            mark.draw(area, text, (x + 24, HEAD + share * height / 2 + inset))?;
        }
        Ok(())
    }
}

fn color(cosine: f64) -> RGBColor {
    if cosine.is_nan() {
        return GAP;
    }
    let (red, green, blue) = colorous::RED_BLUE
        .eval_continuous((0.5 + 0.5 * cosine).clamp(0.0, 1.0))
        .as_tuple();
    RGBColor(red, green, blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn red_conflicts_and_blue_agrees() {
        let [low, middle, high] = [-1.0, 0.0, 1.0].map(color);
        assert!(low.0 > low.2 && high.2 > high.0, "{low:?} {high:?}");
        assert!(middle.0 > 0xE0 && middle.1 > 0xE0 && middle.2 > 0xE0);
        assert_eq!(color(f64::NAN), GAP);
    }
}
