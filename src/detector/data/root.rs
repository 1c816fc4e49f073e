use std::{
    io,
    path::{self, Component, Path, PathBuf},
    sync::Arc,
};

use super::problem::Fault;
use crate::{Error, Result};

/// The longest path that is taken from a list, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;

/// A picture's path as a list has it, below the root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Below {
    /// With `/` between the parts.
    pub id: String,
    pub file: PathBuf,
}

/// The folder that the files of a set may not lie outside of.
#[derive(Debug)]
pub(super) struct Root {
    /// Behind all links.
    pub real: Arc<Path>,
    /// As it was given, from the file system's root on: lists may know it by that name.
    given: PathBuf,
}

impl Root {
    pub fn open(folder: &Path) -> Result<Self> {
        let failed = |error: io::Error| Error::File {
            path: folder.into(),
            reason: format!("cannot be opened as the root of a data set: {error}"),
        };
        Ok(Self {
            real: folder.canonicalize().map_err(failed)?.into(),
            given: path::absolute(folder).map_err(failed)?,
        })
    }

    /// Finds what a list's path means, without a look at the disk.
    ///
    /// Both `/` and `\` part a path. What stands in `strip` is taken off its beginning. Then an
    /// absolute path must lie below the root; a path that begins with `.` may name the root's own
    /// last folders again, as `./datasets/rgb/x` does under `/data/datasets/rgb`; all others begin
    /// at the root.
    pub fn below(&self, strip: &str, written: &str) -> Result<Below, Fault> {
        if written.is_empty() || written.len() > MAX_PATH_BYTES || written.contains('\0') {
            let bytes = written.len();
            return Err(Fault::Malformed(format!("a path of {bytes} bytes")));
        }
        let slashed = written.replace('\\', "/");
        let strip = strip.replace('\\', "/");
        let stripped = slashed
            .strip_prefix(strip.trim_end_matches('/'))
            .filter(|rest| !strip.is_empty() && rest.starts_with('/'));
        let parts = match stripped {
            Some(rest) => parts(rest)?,
            None => self.relative(&slashed)?,
        };
        // There a name with a colon is another drive's, or another stream of a file.
        if cfg!(windows) && parts.iter().any(|part| part.contains(':')) {
            return Err(Fault::OutsideRoot);
        }
        if parts.is_empty() {
            return Err(Fault::Malformed("a path that names no file".into()));
        }
        let id = parts.join("/");
        let file = self.real.join(&id);
        Ok(Below { id, file })
    }

    fn relative<'a>(&self, path: &'a str) -> Result<Vec<&'a str>, Fault> {
        let all = parts(path)?;
        let names = [&self.given, &*self.real].map(root_parts);
        if is_absolute(path) {
            let above = names.iter().find(|name| all.starts_with(name));
            let above = above.ok_or(Fault::OutsideRoot)?.len();
            return Ok(all.into_iter().skip(above).collect());
        }
        let ends_the_root = |start: &[&str]| names.iter().any(|name| name.ends_with(start));
        let shared = (1..=all.len())
            .rev()
            .find(|n| all.get(..*n).is_some_and(ends_the_root))
            .filter(|_| path.starts_with('.'));
        Ok(all.into_iter().skip(shared.unwrap_or(0)).collect())
    }
}

/// The names in a path; none of them leads upwards.
fn parts(path: &str) -> Result<Vec<&str>, Fault> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    match parts.contains(&"..") {
        true => Err(Fault::OutsideRoot),
        false => Ok(parts),
    }
}

/// The folders of the root, with those of Windows' drives as their paths have them.
fn root_parts(root: &Path) -> Vec<&str> {
    root.components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            Component::Prefix(prefix) => prefix.as_os_str().to_str(),
            _ => None,
        })
        .collect()
}

/// Absolute on this system or on Windows, where many lists are made.
fn is_absolute(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with('/') || matches!(bytes, [drive, b':', b'/', ..] if drive.is_ascii_alphabetic())
}

/// The file itself, behind all links, where it lies below the root.
pub(super) fn inside(root: &Path, file: &Path) -> Result<PathBuf, Fault> {
    let real = file.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::Missing,
        _ => Fault::Undecodable(error.to_string()),
    })?;
    match real.starts_with(root) {
        true => Ok(real),
        false => Err(Fault::OutsideRoot),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root(given: &str, real: &str) -> Root {
        Root {
            real: Path::new(real).into(),
            given: given.into(),
        }
    }

    fn id(written: &str) -> Result<String, Fault> {
        let root = root("/data/datasets/rgb", "/mnt/7/rgb");
        root.below("", written).map(|below| below.id)
    }

    #[test]
    fn all_ways_to_write_a_path_are_one() {
        for written in [
            r"UADFV\real\frames\1\000.png",
            "UADFV/real/frames/1/000.png",
            "UADFV//real/./frames/1/000.png",
            "./UADFV/real/frames/1/000.png",
            "./datasets/rgb/UADFV/real/frames/1/000.png",
            r".\datasets\rgb\UADFV\real\frames\1\000.png",
            "./rgb/UADFV/real/frames/1/000.png",
            "/data/datasets/rgb/UADFV/real/frames/1/000.png",
            "/mnt/7/rgb/UADFV/real/frames/1/000.png",
        ] {
            assert_eq!(
                id(written).unwrap(),
                "UADFV/real/frames/1/000.png",
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_stripped_may_be_anywhere() {
        let root = root("/here", "/here");
        for (strip, written) in [
            (r"C:\sets\rgb", r"C:\sets\rgb\a\0.png"),
            ("/home/ann/rgb/", "/home/ann/rgb/a/0.png"),
            ("../sets", "../sets/a/0.png"),
        ] {
            let found = root.below(strip, written).unwrap();
            assert_eq!(found.id, "a/0.png");
            assert_eq!(found.file, Path::new("/here/a/0.png"));
        }
        let apart = root.below("/home/a", "/home/ann/0.png");
        assert_eq!(apart, Err(Fault::OutsideRoot));
    }

    #[test]
    fn ways_out_are_refused() {
        for written in [
            "../0.png",
            "a/../../0.png",
            r"a\..\b.png",
            "/etc/passwd",
            "/data/datasets/rgb2/0.png",
            r"C:\Windows\0.png",
            "/data/datasets/rgb/../0.png",
        ] {
            assert_eq!(id(written), Err(Fault::OutsideRoot), "{written}");
        }
        for written in ["", "./", "a\0b", &"a/".repeat(4096)] {
            assert!(matches!(id(written), Err(Fault::Malformed(_))));
        }
    }

    /// Pieces of paths, among them all that have led out of some root.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "..",
                ".",
                "/",
                "\\",
                "//",
                "C:",
                "c:/",
                "\0",
                "~",
                "...",
                "..%2f",
                "\u{2025}",
                "\u{ff0e}\u{ff0e}",
                "data",
                "datasets",
                "rgb",
                "mnt",
                "7",
                "rgb2",
                "/etc/passwd",
                "\u{202e}",
                " ",
                "\n",
                "..;",
                "%00",
            ])
            .prop_map(String::from),
            "\\PC{0,4}",
        ];
        let pieces =
            prop::collection::vec((piece, prop::sample::select(vec!["", "/", "\\"])), 0..9);
        pieces.prop_map(|pieces| pieces.iter().map(|(a, b)| format!("{a}{b}")).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn no_path_leaves_the_root(written in pieces(), strip in pieces(), long in 0..100usize) {
            for written in [written.clone(), format!("{strip}/{written}"), written.repeat(long)] {
                let root = root("/data/datasets/rgb", "/mnt/7/rgb");
                let Ok(Below { id, file }) = root.below(&strip, &written) else {
                    continue;
                };
                prop_assert!(written.len() <= MAX_PATH_BYTES && !id.contains(['\\', '\0']));
                let rest = file.strip_prefix("/mnt/7/rgb").unwrap();
                prop_assert!(rest.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(rest, Path::new(&id));
                prop_assert!(id.split('/').all(|part| !part.is_empty() && part != ".." && part != "."));
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn no_link_leads_out_of_the_root() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let outer = folder.path().canonicalize().unwrap();
        let root = outer.join("rgb");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::create_dir_all(outer.join("rgb2")).unwrap();
        for file in [outer.join("rgb2/0.png"), root.join("a/0.png")] {
            std::fs::write(file, "x").unwrap();
        }
        for (to, link) in [
            ("../rgb2/0.png", "file.png"),
            ("..", "up"),
            ("/", "top"),
            ("up", "twice"),
            ("a", "within"),
            ("loop.png", "loop.png"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        for (written, expected) in [
            ("file.png", Err(Fault::OutsideRoot)),
            ("up/rgb2/0.png", Err(Fault::OutsideRoot)),
            ("twice/rgb2/0.png", Err(Fault::OutsideRoot)),
            ("top/etc/passwd", Err(Fault::OutsideRoot)),
            ("up/rgb/a/0.png", Ok(root.join("a/0.png"))),
            ("within/0.png", Ok(root.join("a/0.png"))),
            ("within/1.png", Err(Fault::Missing)),
        ] {
            assert_eq!(inside(&root, &root.join(written)), expected, "{written}");
        }
        assert!(inside(&root, &root.join("loop.png")).is_err());
    }
}
