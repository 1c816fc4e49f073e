//! What is said on the terminal.

use std::io::{self, Write};

/// A line for whoever looks on. A terminal that is gone is no reason to stop.
pub fn say(text: &str) {
    print(&format!("{}\n", shown(text)));
}

/// The same as it is, without an end of line.
pub fn print(text: &str) {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).ok();
    out.flush().ok();
}

/// A line of what has gone wrong, apart from the results.
pub fn warn(text: &str) {
    writeln!(io::stderr(), "{}", shown(text)).ok();
}

/// Names of files and domains are strangers': their control codes and marks that turn the direction of
/// writing are shown, not obeyed.
pub fn shown(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match hidden(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_shown_and_text_is_left_as_it_is() {
        assert_eq!(
            shown("a\u{1b}[31m\r\u{202e}b"),
            r"a\u{1b}[31m\u{d}\u{202e}b"
        );
        let plain = "ü, \"q\" ± 1\n\t人 ok";
        assert_eq!(shown(plain), plain);
    }
}
