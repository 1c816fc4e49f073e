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
/// writing are shown, not obeyed. The ends of lines are the text's own.
pub fn shown(text: &str) -> String {
    escaped(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// A text in which some letters are written out.
pub fn escaped(text: &str, escape: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match escape(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

/// Control codes, marks of direction, and ends of lines and paragraphs.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
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
