//! The colours and dashes that tell methods apart, on white and on black, and without colour.

use std::fmt::Write as _;

use plotters::style::RGBColor;

/// A line: its colour on white, that on black, and its dashes. No two lines have both in common, and
/// no two colours are one in the style sheet, which finds a line by the colour it is drawn with.
struct Line {
    light: RGBColor,
    dark: &'static str,
    dashes: &'static str,
}

const fn line(light: [u8; 3], dark: &'static str, dashes: &'static str) -> Line {
    let [red, green, blue] = light;
    Line {
        light: RGBColor(red, green, blue),
        dark,
        dashes,
    }
}

/// Blue, vermilion, green, purple, ochre, grey: at least 3:1 against their grounds.
const LINES: [Line; 12] = [
    line([0x00, 0x6E, 0xB0], "#5BB8EE", "none"),
    line([0xD0, 0x55, 0x00], "#FF9650", "16 6"),
    line([0x00, 0x7D, 0x5C], "#3FD0A5", "5 5"),
    line([0xA2, 0x3B, 0x8C], "#E890D6", "18 5 4 5"),
    line([0x86, 0x6A, 0x00], "#E5C650", "none"),
    line([0x4A, 0x4A, 0x4A], "#CDD1D8", "16 6"),
    line([0x00, 0x6E, 0xB1], "#5BB8EF", "5 5"),
    line([0xD0, 0x55, 0x01], "#FF9651", "18 5 4 5"),
    line([0x00, 0x7D, 0x5D], "#3FD0A6", "none"),
    line([0xA2, 0x3B, 0x8D], "#E890D7", "16 6"),
    line([0x86, 0x6A, 0x01], "#E5C651", "5 5"),
    line([0x4A, 0x4A, 0x4B], "#CDD1D9", "18 5 4 5"),
];

/// The colour of the `index`th method on white.
pub fn colour(index: usize) -> RGBColor {
    LINES[index % LINES.len()].light
}

/// The same as it is written in the picture.
pub fn hex(index: usize) -> String {
    let RGBColor(red, green, blue) = colour(index);
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// The style sheet of the lines.
pub fn style() -> String {
    let (mut dashes, mut dark) = (String::new(), String::new());
    for (index, line) in LINES.iter().enumerate() {
        let hex = hex(index);
        _ = writeln!(
            dashes,
            "[stroke=\"{hex}\"]{{stroke-dasharray:{}}}",
            line.dashes
        );
        _ = writeln!(
            dark,
            "[stroke=\"{hex}\"]{{stroke:{dark}}} [fill=\"{hex}\"]{{fill:{dark}}}",
            dark = line.dark
        );
    }
    format!("{dashes}@media screen and (prefers-color-scheme:dark){{\n{dark}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of WCAG 2.
    fn luminance(hex: &str) -> f64 {
        let channel = |place: usize| {
            let byte = u8::from_str_radix(&hex[place..place + 2], 16).unwrap();
            let value = f64::from(byte) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn lines_stand_out_and_apart() {
        for (index, line) in LINES.iter().enumerate() {
            assert!(contrast(&hex(index), "#FFFFFF") > 4.0, "{index}");
            assert!(contrast(line.dark, "#15181D") > 4.0, "{index}");
            for (other, before) in LINES[..index].iter().enumerate() {
                assert_ne!(hex(index), hex(other));
                let same = index % 6 == other % 6 && line.dashes == before.dashes;
                assert!(!same, "{index} and {other}");
            }
        }
    }
}
