//! What a terminal is handed.

use std::fmt::Display;

/// Asserts that a text has no code that a terminal would obey but the ends of its lines, and no mark
/// that turns the direction of writing.
#[track_caller]
pub fn is_plain(text: impl Display) {
    let text = text.to_string();
    let obeyed = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(obeyed), "{text:?}");
}
