//! What strangers have named, in texts of this program.

use std::path::Path;

use crate::terminal::{escaped, is_hidden};

/// A name in a text, where an end of line would let it speak for the program.
pub fn name(name: &str) -> String {
    escaped(name, is_hidden)
}

/// A path, as [`name`].
pub fn path(path: &Path) -> String {
    name(&path.to_string_lossy())
}

/// JSON with the same meaning and nothing that a terminal would obey: what serde leaves as it is in
/// texts can be escaped there.
pub fn json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        match is_hidden(c) && c != '\n' {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::terminal::shown;

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(name("ü \"q\" 人\n\tok"), "ü \"q\" 人\\u{a}\\u{9}ok");
        assert_eq!(path(Path::new("a/\u{1b}")), "a/\\u{1b}");
    }

    const HOSTILE: &str =
        "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{61c}\u{200e}\u{2028}-\u{202e}\u{2066}-\u{2069}]{0,9}";

    proptest! {
        #[test]
        fn nothing_is_obeyed_and_json_says_the_same(text in any::<String>(), hostile in HOSTILE) {
            let text = format!("{text}{hostile}");
            prop_assert!(!name(&text).contains(is_hidden));
            prop_assert!(!shown(&text).contains(|c| is_hidden(c) && c != '\n' && c != '\t'));
            let pretty = serde_json::to_string_pretty(&[&text]).unwrap();
            prop_assert!(!json(&pretty).contains(|c| is_hidden(c) && c != '\n'));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json(&pretty)).unwrap(), [text]);
        }
    }
}
