//! Ctrl-C: the first one ends a training behind its step, with a checkpoint, the second one at once.

use std::{
    env,
    error::Error,
    fmt,
    process::{self, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::terminal;

static ASKED: AtomicBool = AtomicBool::new(false);

/// What a shell says of a process that Ctrl-C has ended.
const CODE: u8 = 130;

/// From here on Ctrl-C is waited for. Before, where there is nothing to keep, it ends the process.
pub fn listen() -> Result<(), Box<dyn Error>> {
    Ok(ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) {
            process::exit(CODE.into());
        }
        terminal::warn("\nthe step is finished and kept; Ctrl-C once more ends at once");
    })?)
}

/// Whether the training is to end behind this step.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// That a training has ended as it was asked to.
#[derive(Debug)]
pub struct Interrupted {
    pub step: u64,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step;
        write!(f, "interrupted behind step {step}, which is kept")
    }
}

impl Error for Interrupted {}

/// The end of a process whose training was interrupted: says how to go on.
pub fn end(interrupted: &Interrupted) -> ExitCode {
    let command = go_on(env::args());
    terminal::warn(&format!("{interrupted}. To go on: {command}"));
    CODE.into()
}

/// The same command, for a shell, without what would begin anew.
fn go_on(arguments: impl Iterator<Item = String>) -> String {
    let arguments = arguments.filter(|argument| argument != "--restart");
    let arguments: Vec<String> = arguments.map(|argument| quoted(&argument)).collect();
    arguments.join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:=+@%".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.into(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_goes_on_can_be_pasted() {
        let arguments = [
            "deepfake",
            "--restart",
            "--output",
            "it's here",
            "--seeds=1,2",
        ];
        assert_eq!(
            go_on(arguments.into_iter().map(String::from)),
            r"deepfake --output 'it'\''s here' --seeds=1,2"
        );
        assert_eq!(quoted(""), "''");
    }
}
