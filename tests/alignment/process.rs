//! Tests that need a process of their own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const PART: &str = "ROGA_TEST_PART";
const FOLDER: &str = "ROGA_TEST_FOLDER";

/// The part of its test that this process was begun for, and the folder of the test.
pub fn part() -> Option<(String, PathBuf)> {
    Some((env::var(PART).ok()?, env::var_os(FOLDER)?.into()))
}

/// Runs the test `name` once more, in a process of its own, as the given part.
pub fn run(name: &str, part: &str, folder: &Path) {
    run_with(name, part, folder, &[]);
}

/// As [`run`], with more in its environment.
pub fn run_with(name: &str, part: &str, folder: &Path, environment: &[(&str, &str)]) {
    let output = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(PART, part)
        .env(FOLDER, folder)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
