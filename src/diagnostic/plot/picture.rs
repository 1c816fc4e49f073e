use std::borrow::Cow;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    BoxError, Error, Result,
    diagnostic::table::{letter_width, width},
    error::Printable,
};

/// Where a picture is drawn, in pixels.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What drawing ends in.
pub(super) type Drawn = Result<(), BoxError>;

/// What cannot be shown: no number.
pub(super) const GAP: RGBColor = RGBColor(0xC8, 0xC8, 0xC8);

/// A picture on white, as SVG.
pub(super) fn picture(
    of: &'static str,
    size: (i32, i32),
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String> {
    let mut svg = String::new();
    let size = (size.0.unsigned_abs(), size.1.unsigned_abs());
    let drawn = || -> Drawn {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
        Ok(())
    };
    drawn().map_err(|source| Error::Picture {
        picture: of,
        source,
    })?;
    Ok(svg)
}

/// A line of text; its size is about that of the letters' height and depth, in pixels.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub size: i32,
    pub horizontal: HPos,
    pub turned: bool,
    pub white: bool,
}

impl Label {
    pub const fn new(size: i32, horizontal: HPos) -> Self {
        Self {
            size,
            horizontal,
            turned: false,
            white: false,
        }
    }

    /// Draws it, centred on a height.
    pub fn draw(self, area: &Area<'_>, text: &str, at: (i32, i32)) -> Drawn {
        let color = if self.white { WHITE } else { BLACK };
        let style = TextStyle::from(("sans-serif", self.size))
            .color(&color)
            .pos(Pos::new(self.horizontal, VPos::Center));
        let style = match self.turned {
            true => style.transform(FontTransform::Rotate270),
            false => style,
        };
        area.draw(&Text::new(Cow::from(text), at, style))?;
        Ok(())
    }
}

/// A domain's name, cut to so many letters; what XML cannot hold is written out.
pub(super) fn fitted(name: &str, letters: usize) -> String {
    let name = Printable(name).to_string();
    if width(&name) <= letters {
        return name;
    }
    let mut room = letters.saturating_sub(1);
    let fits = |letter: &char| {
        let letter = letter_width(*letter);
        let fits = letter <= room;
        room = room.saturating_sub(letter);
        fits
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

/// A number in about three digits.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    if size < 1e-12 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&size) {
        return format!("{number:.1e}");
    }
    let decimals = (2.0 - size.log10().floor()).clamp(0.0, 5.0) as usize;
    let text = format!("{number:.decimals$}");
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_their_room() {
        let cut = ["photo", "photograph", "\u{1b}[0m", "写真写真写真"].map(|name| fitted(name, 8));
        assert_eq!(cut, ["photo", "photogr…", "\\u{1b}[…", "写真写…"]);
        assert_eq!(fitted("ab", 0), "…");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [
            0.0, -1e-17, 0.25, -1.5, 12.345, 3000.0, 1e-5, 2.5e7, 0.001234,
        ]
        .map(short);
        assert_eq!(
            shown,
            [
                "0", "0", "0.25", "-1.5", "12.3", "3000", "1.0e-5", "2.5e7", "0.00123"
            ]
        );
        assert_eq!(short(f64::NAN), "NaN");
    }
}
