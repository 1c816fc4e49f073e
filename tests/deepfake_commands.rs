//! The example `deepfake` as its users run it, clumsy and hostile ones among them.

#[cfg(unix)]
#[path = "deepfake_commands/killed.rs"]
mod killed;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use image::{Rgb, RgbImage};
use serde_json::Value;
use toml::Table;

/// Settings with which a training takes a moment.
const TINY: [&str; 10] = [
    "--people", "12", "--steps", "3", "--size", "32", "--copies", "1", "--batch", "4",
];

/// The built example. Cargo builds an example that has tests of its own as those tests alone, so it
/// is built here, which does nothing where it is already.
fn deepfake() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = env::current_exe().expect("the test has a path");
        let profile = test.ancestors().nth(2).expect("it is in <profile>/deps");
        let target = profile.parent().expect("the profile is in a folder");
        let name = match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(name) => name,
            None => panic!("{} names no profile", profile.display()),
        };
        let arguments = ["build", "--example", "deepfake", "--profile", name];
        let built = Command::new(env!("CARGO"))
            .args(arguments)
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output();
        let program = profile
            .join("examples")
            .join(format!("deepfake{}", env::consts::EXE_SUFFIX));
        let failed = match &built {
            Ok(built) if built.status.success() && program.is_file() => return program,
            Ok(built) => String::from_utf8_lossy(&built.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        panic!(
            "{} is not there: build it with `cargo {}`\n{failed}",
            program.display(),
            arguments.join(" ")
        )
    })
}

/// An empty folder of a test.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("deepfake-commands")
        .join(test);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The example in a folder, with arguments parted by spaces.
fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(deepfake());
    command
        .args(arguments.split_whitespace())
        .current_dir(folder);
    command.stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    both.concat()
}

/// What a command that has to succeed prints to standard output.
fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a command that has to be refused, without a panic.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    let code = output.status.code();
    assert!(
        code == Some(1) || code == Some(2),
        "{command:?}: {code:?}\n{}",
        text(&output)
    );
    assert!(
        error.lines().any(|line| line.starts_with("error: ")) && !error.contains("panicked"),
        "{command:?}\n{error}"
    );
    error
}

fn tiny(folder: &Path, arguments: &str) -> Command {
    let mut command = command(folder, arguments);
    command.args(TINY);
    command
}

#[track_caller]
fn assert_all(text: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(text.contains(piece), "`{piece}` is not in:\n{text}");
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Results but for how long they took.
fn timeless(path: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(entries) => {
                entries.remove("seconds");
                entries.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = json(path);
    strip(&mut value);
    value
}

/// The files of a name below a folder, by their paths in it.
fn files(folder: &Path, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with(name) {
                let inside = path.strip_prefix(folder).unwrap().to_path_buf();
                found.insert(inside, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// The names in a folder that end so.
fn files_of(folder: &Path, end: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(end)).collect()
}

/// A picture that differs from others.
fn picture(path: &Path, number: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let shade = |x: u32, y: u32| (x * 3 + y * 5 + number * 37) as u8;
    let pixels = RgbImage::from_fn(96, 96, |x, y| Rgb([shade(x, y), shade(y, x), number as u8]));
    pixels.save(path).unwrap();
}

/// A trained detector that all tests share.
fn detector() -> &'static Path {
    static TRAINED: OnceLock<PathBuf> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = folder("detector");
        let said = ok(&mut tiny(
            &folder,
            "train --methods roga-all --output trained",
        ));
        assert_all(
            &said,
            &[
                "tested on face-swap",
                "| mouth | picture |",
                "trained/runs/detector",
            ],
        );
        folder.join("trained/runs/detector")
    })
}

/// `predict` with the shared detector.
fn predict(folder: &Path, arguments: &str) -> Command {
    let mut command = command(folder, "predict");
    command.arg(detector()).args(arguments.split_whitespace());
    command
}

// Settings.

#[test]
fn every_flag_is_a_key_of_the_file_and_every_key_a_flag() {
    let folder = folder("keys");
    let help = ok(&mut command(&folder, "compare --help"));
    let flags = help.lines().filter_map(|line| line.trim().split_once("--"));
    let flags = flags.filter(|(before, _)| before.is_empty() || *before == "-h, ");
    let end = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let mut flags: BTreeSet<&str> = flags
        .map(|(_, flag)| flag.split(end).next().unwrap())
        .collect();
    for other in ["config", "output", "restart", "help"] {
        assert!(flags.remove(other), "{other}");
    }
    fs::write(folder.join("settings.toml"), "no-such-key = 1\n").unwrap();
    let error = refused(&mut command(&folder, "--config settings.toml"));
    assert_all(&error, &["settings.toml", "unknown field `no-such-key`"]);
    let (_, known) = error.split_once("expected one of ").unwrap();
    let keys: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
    assert_eq!(flags, keys);
    assert!(keys.len() > 30);
}

#[test]
fn flags_go_over_the_file_and_what_is_in_force_is_written() {
    let folder = folder("layers");
    let file = "steps = 2\npeople = 12\nsize = 32\ncopies = 1\nbatch = 4\nmethods = [\"erm\"]\n\
                rho = 0.25\ngrey = true\nlevels = []\n";
    fs::write(folder.join("settings.toml"), file).unwrap();
    let run = "--config settings.toml --steps 1 --grey=false --output first";
    ok(&mut command(&folder, run));
    let first = fs::read_to_string(folder.join("first/config.toml")).unwrap();
    let table: Table = first.parse().unwrap();
    for (name, value) in [
        ("steps", toml::Value::Integer(1)),
        ("people", toml::Value::Integer(12)),
        ("rho", toml::Value::Float(0.25)),
        ("grey", toml::Value::Boolean(false)),
        ("gamma", toml::Value::Float(5e-4)),
    ] {
        assert_eq!(table[name], value, "{name}");
    }
    ok(&mut command(
        &folder,
        "--config first/config.toml --output second",
    ));
    assert_eq!(
        first,
        fs::read_to_string(folder.join("second/config.toml")).unwrap()
    );
    assert_eq!(
        timeless(&folder.join("first/results.json")),
        timeless(&folder.join("second/results.json"))
    );
    // The same file is what is gone on with.
    ok(&mut command(
        &folder,
        "--config first/config.toml --output first",
    ));
}

#[test]
fn quick_is_a_layer_below_the_flags() {
    let folder = folder("quick");
    let said = ok(&mut command(&folder, "inspect --quick --size 32"));
    assert_all(&said, &["36 people to train on, 24 others", "hash drawn"]);
    let said = ok(&mut command(
        &folder,
        "inspect --quick --size 32 --people 12",
    ));
    assert_all(&said, &["7 people to train on, 5 others"]);
    let counts = ok(&mut command(
        &folder,
        "inspect --quick --size 32 --people 12 --json",
    ));
    let counts: Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts["test_people"], 5);
}

#[test]
fn a_setting_that_cannot_work_is_refused_by_its_name_rule_and_value() {
    let folder = folder("refused");
    for (arguments, pieces) in [
        ("--rho -1", &["--rho", "from 0 to 100", "-1"][..]),
        ("--rho NaN", &["--rho", "from 0 to 100", "NaN"]),
        (
            "--rho 1e30 --methods erm",
            &["--rho", "from 0 to 100", "1000000000000000000000000000000"],
        ),
        ("--gamma inf", &["--gamma", "from 0 to 100", "inf"]),
        ("--lr 0", &["--lr", "above 0 and at most 1", "is 0"]),
        ("--lr NaN", &["--lr", "NaN"]),
        ("--strength 2", &["--strength", "from 0 to 1", "is 2"]),
        ("--seeds=", &["--seeds", "empty string"]),
        (
            "--seeds 1,2,1",
            &["--seeds", "must differ", "1 stands twice"],
        ),
        ("--seeds 18446744073709551615", &["--seeds", "too large"]),
        (
            "--methods no-such",
            &["--methods", "roga-sampled", "no-such"],
        ),
        ("--backbone no-such", &["--backbone", "xception", "no-such"]),
        (
            "--forgeries no-such",
            &["--forgeries", "face-swap", "no-such"],
        ),
        (
            "--forgeries mouth,mouth",
            &["--forgeries", "must differ", "mouth stands twice"],
        ),
        ("--levels 90,0", &["--levels", "from 1 to 100", "is 0"]),
        (
            "--levels 90,90",
            &["--levels", "must differ", "90 stands twice"],
        ),
        ("--draws 2", &["--draws", "--selection"]),
        (
            "--draws 2 --selection oracle --search lr=uniform:-1:0",
            &["draw 1", "--lr", "above 0"],
        ),
        (
            "--search steps=uniform:1:2",
            &["--search", "steps=uniform:1:2"],
        ),
        (
            "--valid-share 0.7 --test-share 0.3",
            &["--valid-share", "leave people", "0.7"],
        ),
        (
            "--valid-share=-0.1",
            &["--valid-share", "at least 0", "-0.1"],
        ),
        ("--test-share 1", &["--test-share", "below 1", "is 1"]),
        ("--people 1", &["--people", "from 2", "is 1"]),
        ("--batch 1", &["--batch", "from 2", "is 1"]),
        (
            "--batch 9223372036854775807",
            &["--batch", "to 65536", "9223372036854775807"],
        ),
        ("--steps 0", &["--steps", "from 1", "is 0"]),
        ("--steps 18446744073709551615", &["--steps", "too large"]),
        ("--copies 0", &["--copies", "from 1", "is 0"]),
        ("--evaluations 0", &["--evaluations", "from 1", "is 0"]),
        ("--frames 0", &["--frames", "from 1", "is 0"]),
        ("--size 8", &["size", "from 16 to 1024", "is 8"]),
        ("--size 5000", &["size", "from 16 to 1024", "is 5000"]),
        ("--device no-such", &["--device", "flex", "no-such"]),
        ("--config no-such.toml", &["no-such.toml", "No such file"]),
        ("--no-such", &["--no-such"]),
    ] {
        let error = refused(&mut command(
            &folder,
            &format!("{arguments} --output results"),
        ));
        assert_all(&error, pieces);
    }
    assert!(!folder.join("results").exists());
    for (file, pieces) in [
        ("seeds = []", &["--seeds", "at least one"][..]),
        ("methods = []", &["--methods", "at least one"]),
        ("steps = \"many\"", &["settings.toml", "steps", "many"]),
        ("steps = 1\nsteps = 2", &["settings.toml", "steps"]),
        ("rho = nan", &["--rho", "NaN"]),
        ("= 3", &["settings.toml", "line 1"]),
    ] {
        fs::write(folder.join("settings.toml"), file).unwrap();
        let error = refused(&mut command(
            &folder,
            "--config settings.toml --output results",
        ));
        assert_all(&error, pieces);
    }
    let error = refused(&mut tiny(&folder, "--leave-out no-such --output results"));
    assert_all(
        &error,
        &[
            "--leave-out",
            "face-swap, self-blending, mouth, generator",
            "no-such",
        ],
    );
    let error = refused(&mut tiny(&folder, "--protocol cross --output results"));
    assert_all(
        &error,
        &["--protocol cross needs --test-faces or --test-data"],
    );
}

// Output folders.

#[test]
fn a_folder_is_gone_on_with_by_the_same_command_alone() {
    let folder = folder("output");
    let run = "compare --methods erm,roga-own --output results";
    ok(&mut tiny(&folder, run));
    let results = folder.join("results");
    let (was, seconds) = (
        timeless(&results.join("results.json")),
        json(&results.join("results.json")),
    );
    let said = ok(&mut tiny(&folder, run));
    assert!(
        !said.contains("step    3"),
        "nothing is trained again: {said}"
    );
    assert_eq!(was, timeless(&results.join("results.json")));
    let again = json(&results.join("results.json"));
    assert_eq!(seconds["runs"][0]["finished"], again["runs"][0]["finished"]);

    let error = refused(&mut tiny(&folder, &format!("{run} --rho 0.06")));
    assert_all(
        &error,
        &["results", "`rho` is 0.05 there and 0.06 here", "--restart"],
    );
    let error = refused(&mut tiny(&folder, "train --methods erm --output results"));
    assert_all(&error, &["results", "`compare`", "another folder"]);
    let mut evaluate = tiny(&folder, "evaluate --output results");
    assert_all(
        &refused(evaluate.arg(detector())),
        &["results", "`compare`"],
    );
    assert_eq!(was, timeless(&results.join("results.json")));

    let provenance = fs::read_to_string(results.join("provenance.json")).unwrap();
    fs::write(
        results.join("provenance.json"),
        provenance.replace("drawn", "c0ffee"),
    )
    .unwrap();
    let error = refused(&mut tiny(&folder, run));
    assert_all(&error, &["other data", "c0ffee", "drawn", "--restart"]);
    let said = ok(&mut tiny(&folder, &format!("{run} --restart")));
    assert_all(&said, &["step    3 of 3"]);
    assert_eq!(was, timeless(&results.join("results.json")));
}

#[test]
fn a_detector_is_of_the_method_and_seed_asked_for() {
    let folder = folder("train");
    ok(&mut tiny(&folder, "train --methods erm --output results"));
    for (other, pieces) in [
        ("--methods sam", ["`methods`", "erm", "sam"]),
        ("--methods erm --seeds 2", ["`seeds`", "[1]", "[2]"]),
    ] {
        let error = refused(&mut tiny(
            &folder,
            &format!("train {other} --output results"),
        ));
        assert_all(&error, &pieces);
    }
}

#[test]
fn damaged_files_are_named() {
    let folder = folder("damaged");
    let run = "--methods erm --output results";
    ok(&mut tiny(&folder, run));
    let training = folder.join("results/runs/without-face-swap/erm/seed-1-steps-3");
    let damaged = |name: &str, keep: usize, expected: &str| {
        let was = fs::read(training.join(name)).unwrap();
        fs::write(training.join(name), &was[..keep]).unwrap();
        assert_all(&refused(&mut tiny(&folder, run)), &[expected]);
        fs::write(training.join(name), was).unwrap();
    };
    for keep in [0, 20] {
        damaged("finished.json", keep, "finished.json is damaged");
        damaged("steps.csv", keep, "steps.csv");
        damaged("scores.csv", keep, "scores.csv");
    }
    fs::remove_file(training.join("scores.csv")).unwrap();
    damaged("weights.bpk", 99, "weights.bpk");
    fs::remove_file(training.join("finished.json")).unwrap();
    let checkpoint = files_of(&training.join("checkpoints"), ".bpk").remove(0);
    damaged(&format!("checkpoints/{checkpoint}"), 99, &checkpoint);
    let predict = format!("predict {}", training.display());
    damaged_detector(&folder, &training, &predict);
    fs::remove_dir_all(&training).unwrap();
    ok(&mut tiny(&folder, run));
    for name in ["provenance.json", "results.json"] {
        fs::write(folder.join("results").join(name), "{").unwrap();
    }
    assert_all(
        &refused(&mut command(&folder, "report results")),
        &["results.json"],
    );
    assert_all(
        &refused(&mut command(&folder, "repro results")),
        &["provenance.json"],
    );
}

fn damaged_detector(folder: &Path, training: &Path, predict: &str) {
    picture(&folder.join("a.png"), 1);
    let config = fs::read_to_string(training.join("detector.toml")).unwrap();
    for (from, to, piece) in [
        (
            "size = 32",
            "size = 5000",
            "detector.toml: size must be from 16 to 1024",
        ),
        ("\"small\"", "\"resnet-18\"", "weights.bpk"),
        ("\"small\"", "\"no-such\"", "no-such"),
        ("\"forged\"", "\"cat\"", "classes"),
        ("[encode]", "[", "detector.toml"),
    ] {
        fs::write(training.join("detector.toml"), config.replace(from, to)).unwrap();
        assert_all(
            &refused(&mut command(folder, &format!("{predict} a.png"))),
            &[piece],
        );
    }
    fs::write(training.join("detector.toml"), config).unwrap();
}

#[test]
fn what_is_not_of_the_example_stays() {
    let folder = folder("foreign");
    fs::create_dir_all(folder.join("mine/runs/1")).unwrap();
    fs::write(folder.join("mine/runs/1/weights"), "years of work").unwrap();
    let run = "compare --output mine --restart";
    assert_all(
        &refused(&mut tiny(&folder, run)),
        &["mine", "`runs`", "another folder"],
    );
    fs::write(folder.join("mine/config.toml"), "[model]\nlayers = 3\n").unwrap();
    assert_all(
        &refused(&mut tiny(&folder, run)),
        &["mine", "config.toml", "another folder"],
    );
    let mut evaluate = tiny(&folder, "evaluate --output mine");
    assert_all(&refused(evaluate.arg(detector())), &["mine", "config.toml"]);
    let kept = fs::read_to_string(folder.join("mine/runs/1/weights")).unwrap();
    assert_eq!(kept, "years of work");

    fs::write(folder.join("file"), "").unwrap();
    for command in ["compare", "train"] {
        let error = refused(&mut tiny(
            &folder,
            &format!("{command} --output file/results"),
        ));
        assert_all(&error, &["--output file/results"]);
    }
    let error = refused(&mut tiny(&folder, "forge --output file/forged"));
    assert_all(&error, &["--output file/forged"]);
}

/// Ends a comparison once it has come so far; whether it was still running.
fn interrupt(folder: &Path, run: &str, reached: impl Fn() -> bool, signal: &str) -> bool {
    let mut child = command(folder, run).stdout(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while !reached() && begin.elapsed() < Duration::from_secs(60) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    !child.wait().unwrap().success()
}

fn assert_same_results(whole: &Path, mended: &Path) {
    for name in ["steps.csv", "scores.csv"] {
        let (whole, mended) = (files(whole, name), files(mended, name));
        assert!(!whole.is_empty());
        assert!(whole == mended, "{name}");
    }
    let [whole, mended] = [whole, mended].map(|of| timeless(&of.join("results.json")));
    assert_eq!(whole, mended);
}

const KILLED: &str = "--people 12 --steps 10 --size 32 --copies 1 --batch 4 --methods erm,roga-all \
                      --seeds 1,2 --selection training-domain --evaluations 2";

#[cfg(unix)]
#[test]
fn interrupted_and_run_again_equals_uninterrupted() {
    let folder = folder("interrupted");
    ok(&mut command(&folder, &format!("{KILLED} --output whole")));
    let run = format!("{KILLED} --output mended");
    for (signal, reached) in [
        ("-KILL", "erm/seed-1-steps-10/weights.bpk"),
        ("-INT", "erm/seed-2-steps-10/steps.csv"),
        ("-KILL", "roga-all/seed-1-steps-10/weights.bpk"),
    ] {
        let reached = format!("mended/runs/without-face-swap/{reached}");
        let there = || folder.join(&reached).exists();
        assert!(
            interrupt(&folder, &run, there, signal),
            "{reached} came too late"
        );
    }
    ok(&mut command(&folder, &run));
    assert_same_results(&folder.join("whole"), &folder.join("mended"));
}

/// Kills a run once a training has written its first checkpoint, and runs it again: it goes on from there,
/// and ends as one that was left alone.
#[cfg(unix)]
#[track_caller]
fn killed_after_a_checkpoint(folder: &Path, run: &str, training: &str, goes_on: &str) {
    let checkpoints = folder.join("mended/runs/without-face-swap").join(training);
    let checkpoints = checkpoints.join("checkpoints");
    let whole = |name: &String| name.starts_with("step-");
    let written = || checkpoints.exists() && files_of(&checkpoints, ".bpk").iter().any(whole);
    let mended = format!("{run} --output mended");
    assert!(interrupt(folder, &mended, written, "-KILL"));
    let said = ok(&mut command(folder, &mended));
    assert_all(&said, &[goes_on]);
    ok(&mut command(folder, &format!("{run} --output whole")));
    assert_same_results(&folder.join("whole"), &folder.join("mended"));
}

#[cfg(unix)]
#[test]
fn interrupted_in_a_training_and_run_again_equals_uninterrupted() {
    let folder = folder("recorded");
    let run =
        "--people 12 --steps 60 --size 32 --batch 4 --copies 1 --methods erm --seconds-at-stake 0";
    killed_after_a_checkpoint(&folder, run, "erm/seed-1-steps-60", "goes on after step");
}

/// What a comparison shares of a warm-up, made by each training alone.
///
/// Where the learning rate is searched, trainings begin with other steps, and share none; with one
/// draw, it is the one that is set.
#[test]
fn a_shared_warm_up_changes_nothing() {
    let folder = folder("warm-up");
    let run = "--people 12 --steps 6 --warmup-steps 4 --size 32 --copies 1 --batch 4 \
               --methods erm,sam,roga-all --seeds 1,2 --equal both --evaluations 3 \
               --selection training-domain --output";
    let shared = ok(&mut command(&folder, &format!("{run} shared")));
    let alone = "alone --search lr=uniform:0.001:0.01";
    let alone = ok(&mut command(&folder, &format!("{run} {alone}")));
    // Of 6 steps: ERM, SAM and RoGA, which perturb in 2. Of 8, as many passes as SAM has: ERM. RoGA's
    // passes are spent after the first perturbed step of 5.
    assert_all(&alone, &["10 trials, 62 steps, 84 passes"]);
    assert_all(&shared, &["10 trials, 46 steps, 68 passes"]);
    let [shared, alone] = ["shared", "alone"].map(|output| folder.join(output));
    let warmed = files(&shared, "steps.csv").into_iter();
    let (warm, trainings): (BTreeMap<_, _>, BTreeMap<_, _>) =
        warmed.partition(|(path, _)| path.to_string_lossy().contains("warm-up"));
    assert_eq!(warm.len(), 6);
    assert_eq!(trainings, files(&alone, "steps.csv"));
    assert_eq!(files(&shared, "scores.csv"), files(&alone, "scores.csv"));
}

#[cfg(unix)]
#[test]
fn interrupted_in_a_warm_up_and_run_again_equals_uninterrupted() {
    let folder = folder("warm-up-interrupted");
    let run = "--people 12 --steps 40 --warmup-steps 30 --size 32 --copies 1 --batch 4 \
               --methods erm,sam --seconds-at-stake 0";
    let said = "the warm-up goes on after step";
    killed_after_a_checkpoint(&folder, run, "warm-up/seed-1-steps-40", said);
}

// Comparisons.

#[test]
fn selections_choose_among_draws() {
    let folder = folder("selections");
    let some = "--forgeries face-swap,mouth,generator --draws 2 --evaluations 2 --seeds 1,2";
    for selection in ["training-domain", "held-out-domain", "oracle"] {
        let run = format!("--methods sam --selection {selection} --output {selection} {some}");
        let said = ok(&mut tiny(&folder, &run));
        let oracle = said.contains("**ORACLE: chosen on the test domain");
        assert_eq!(oracle, selection == "oracle", "{said}");
        let results = json(&folder.join(selection).join("results.json"));
        let candidates = results["choices"][0]["candidates"].as_array().unwrap();
        assert_eq!(candidates.len(), 2);
        let runs = folder.join(selection).join("runs");
        let held_out = runs.join("without-face-swap-nor-mouth").exists();
        assert_eq!(held_out, selection == "held-out-domain");
        let chosen = results["choices"][0]["draw"].as_u64().unwrap();
        assert_eq!(results["runs"][0]["run"]["setting"]["draw"], chosen);
        assert_all(&said, &["2 to validate on"]);
        // The chosen draw's training counts once.
        let mut shares: Vec<&str> = said
            .lines()
            .filter(|line| line.contains(" % of all"))
            .collect();
        let last = shares.pop().unwrap();
        assert!(last.contains(" 100.0 % of all"), "{said}");
        assert!(
            shares.iter().all(|line| !line.contains(" 100.0 %")),
            "{said}"
        );
    }
}

#[test]
fn equal_both_gives_two_tables() {
    let folder = folder("equal");
    let said = ok(&mut tiny(
        &folder,
        "--equal both --methods erm,roga-all --output results",
    ));
    assert_eq!(said.matches("| method | AUC unseen |").count(), 2, "{said}");
    assert_all(&said, &["Equal steps.", "Equal passes over", "| 6 | 6 |"]);
    let passes = ok(&mut tiny(
        &folder,
        "--equal passes --methods erm --output passes",
    ));
    assert_eq!(
        passes.matches("| method | AUC unseen |").count(),
        1,
        "{passes}"
    );
}

#[test]
fn every_level_makes_a_domain() {
    let folder = folder("levels");
    let run = "--levels 90,40 --forgeries mouth,generator --methods erm --output results";
    ok(&mut tiny(&folder, run));
    let results = json(&folder.join("results/results.json"));
    let run = &results["runs"][0]["run"];
    assert_eq!(run["test"][0], "mouth/jpeg-90");
    let others = ["mouth/jpeg-40", "generator/jpeg-90", "generator/jpeg-40"];
    assert_eq!(run["train"].as_array().unwrap().len(), 3);
    for other in others {
        assert!(
            run["train"].as_array().unwrap().contains(&other.into()),
            "{other}"
        );
    }
    assert!(
        folder
            .join("results/roc-without-mouth-jpeg-90.svg")
            .is_file()
    );
}

#[test]
fn hostile_names_of_domains_are_names() {
    let folder = folder("names");
    set(&folder);
    let write = |domains: [&str; 3]| {
        let mut list = csv::Writer::from_path(folder.join("list.csv")).unwrap();
        list.write_record(["path", "label", "domain", "group"])
            .unwrap();
        for entry in fs::read_dir(folder.join("forged/real")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let kinds = [("real", "real", "real"), ("mouth", "fake", domains[0])];
            let more = [
                ("face-swap", "fake", domains[1]),
                ("mask-mouth", "fake", domains[2]),
            ];
            for (from, class, domain) in kinds.into_iter().chain(more) {
                let path = format!("forged/{from}/{name}");
                list.write_record([&path, class, domain, &name]).unwrap();
            }
        }
        list.flush().unwrap();
    };
    let run = "--data list.csv --leave-out all --size 32 --steps 1 --batch 4 --methods erm";
    write(["../../up", "<b>\u{1b}[31m\n|", "c\u{202e}, \"d\""]);
    let said = ok(&mut command(&folder, &format!("{run} --output results")));
    assert!(!said.contains(['\u{1b}', '\u{202e}']));
    let runs = fs::read_dir(folder.join("results/runs")).unwrap();
    let runs: BTreeSet<String> = runs
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = ["without-..-..-up", "without--b--[31m--", "without-c-, -d-"];
    assert_eq!(runs, expected.map(String::from).into());
    ok(&mut command(&folder, "report results"));
    let page = fs::read_to_string(folder.join("results/report.html")).unwrap();
    assert!(!page.contains("<b>") && page.contains("&lt;b&gt;"));
    // One net must not stand for another.
    for domains in [["a/b", "a-b", "c"], ["c", "Mouth", "mouth"]] {
        write(domains);
        let error = refused(&mut command(&folder, &format!("{run} --output other")));
        assert_all(&error, &["differ as folders"]);
    }
}

#[test]
fn within_a_domain_and_across_to_other_faces() {
    let folder = folder("protocols");
    let some = "--forgeries mouth,generator,self-blending --methods erm";
    ok(&mut tiny(
        &folder,
        &format!("--protocol within {some} --output within"),
    ));
    for run in json(&folder.join("within/results.json"))["runs"]
        .as_array()
        .unwrap()
    {
        assert_eq!(run["run"]["train"], run["run"]["test"]);
    }
    for number in 0..4 {
        picture(&folder.join(format!("plain faces, é/{number}.png")), number);
    }
    let mut cross = tiny(&folder, &format!("--protocol cross {some} --output cross"));
    let output = cross
        .arg("--test-faces")
        .arg("plain faces, é")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let results = json(&folder.join("cross/results.json"));
    let tested = results["runs"][0]["run"]["test"].as_array().unwrap();
    assert!(!tested.is_empty());
    for name in tested {
        assert!(
            name.as_str().unwrap().starts_with("plain faces, é/"),
            "{name}"
        );
    }
    assert_ne!(json(&folder.join("cross/provenance.json"))["data"], "drawn");
}

// Detectors.

#[test]
fn every_backbone_is_trained_evaluated_and_explained() {
    let folder = folder("backbones");
    picture(&folder.join("a.png"), 1);
    for backbone in ["frequency", "resnet-18"] {
        let some =
            "--people 8 --steps 1 --size 32 --copies 1 --batch 2 --forgeries mouth,generator";
        let run = format!("train --methods erm --grey --backbone {backbone} {some}");
        ok(&mut command(&folder, &format!("{run} --output {backbone}")));
        let net = format!("{backbone}/runs/detector");
        let evaluated = format!("evaluated-{backbone}");
        // The detector, not the settings, says what the net is and takes.
        let run = format!("evaluate {net} --people 8 --forgeries mouth --output {evaluated}");
        assert_all(&ok(&mut command(&folder, &run)), &["| mouth | picture |"]);
        let config = fs::read_to_string(folder.join(evaluated).join("config.toml")).unwrap();
        let backbone = format!("backbone = \"{backbone}\"");
        assert_all(&config, &[&backbone, "grey = true", "size = 32"]);
        ok(&mut command(&folder, &format!("explain {net} a.png")));
    }
}

#[test]
fn predictions_are_probabilities_whatever_the_files_are_called() {
    let folder = folder("predict");
    let names = [
        "a.png",
        "b, \"quoted\" ü.png",
        "sub folder/c.png",
        "nul\u{1b}[31m\u{202e}.png",
    ];
    for (number, name) in (0..).zip(names) {
        picture(&folder.join("in").join(name), number);
    }
    fs::write(folder.join("in/read me.txt"), "no picture").unwrap();
    #[cfg(unix)]
    for (to, link) in [
        (".", "in/loop"),
        ("nowhere", "in/dangling.png"),
        ("a.png", "in/link.png"),
    ] {
        std::os::unix::fs::symlink(to, folder.join(link)).unwrap();
    }
    let csv = ok(&mut predict(&folder, "in"));
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<(String, usize, f64, f64)> = rows.deserialize().map(Result::unwrap).collect();
    let elsewhere = ok(predict(&folder, "../in/../in").current_dir(folder.join("in")));
    assert_eq!(elsewhere.replace("../in/../in/", "in/"), csv);
    let json_lines = ok(&mut predict(&folder, "in --format jsonl"));
    let parsed: Vec<Value> = json_lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(parsed.len(), rows.len());
    for ((path, frames, score, probability), line) in rows.iter().zip(&parsed) {
        assert!((0.0..=1.0).contains(probability) && *frames == 1);
        assert!((probability - 1.0 / (1.0 + (-score).exp())).abs() < 1e-12);
        assert_eq!(line["path"], **path);
        let (score, also) = (*score, line["score"].as_f64().unwrap());
        // serde_json reads the last bit of a number as it likes.
        assert!(
            (score - also).abs() <= f64::EPSILON * score.abs(),
            "{score} and {also}"
        );
    }
    let paths: BTreeSet<&str> = rows
        .iter()
        .map(|row| row.0.strip_prefix("in/").unwrap())
        .collect();
    let links = ["link.png"].into_iter().filter(|_| cfg!(unix));
    assert_eq!(paths, names.into_iter().chain(links).collect());
}

/// Files that are no pictures: without a byte, of text, and with a header that promises gigabytes.
fn spoil(folder: &Path) {
    fs::write(folder.join("zero.png"), "").unwrap();
    fs::write(folder.join("text.png"), "no picture").unwrap();
    picture(&folder.join("huge.png"), 1);
    let mut file = fs::read(folder.join("huge.png")).unwrap();
    // Width and height follow the signature, the chunk's length and its name.
    file[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let header = crc32fast::hash(&file[12..29]).to_be_bytes();
    file[29..33].copy_from_slice(&header);
    fs::write(folder.join("huge.png"), file).unwrap();
}

#[test]
fn files_that_cannot_be_used_are_all_named_or_skipped() {
    let folder = folder("problems");
    let pictures = folder.join("in");
    picture(&pictures.join("a.png"), 1);
    picture(&pictures.join("z.png"), 2);
    spoil(&pictures);
    let output = predict(&folder, "in").output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let problems = [
        "zero.png: has no bytes",
        "text.png: cannot be decoded",
        "huge.png: is too large",
    ];
    assert_all(&text(&output), &["3 of 5 files cannot be used"]);
    assert_all(&text(&output), &problems);
    let output = predict(&folder, "in --on-problem skip").output().unwrap();
    assert!(output.status.success());
    assert_all(
        &String::from_utf8_lossy(&output.stderr),
        &["3 of 5 files were left out"],
    );
    assert_all(&String::from_utf8_lossy(&output.stderr), &problems);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3);
    for (path, piece) in [
        ("missing.png", "missing.png: does not exist"),
        ("missing.mp4", "missing.mp4"),
        ("in/zero.png", "in/zero.png: has no bytes"),
        ("no-such-folder/", "no-such-folder"),
    ] {
        assert_all(&refused(&mut predict(&folder, path)), &[piece]);
    }
    fs::create_dir(folder.join("empty")).unwrap();
    assert_all(&refused(&mut predict(&folder, "empty")), &["no .png"]);
    let error = refused(&mut predict(&folder, "in/a.png --output no-such/lines.csv"));
    assert_all(&error, &["no-such/lines.csv"]);
    let error = refused(&mut command(&folder, "predict in in/a.png"));
    assert_all(&error, &["in/detector.toml", "weights.bpk"]);
    let error = refused(predict(&folder, "").arg("\u{1b}]0;title\u{7}.png"));
    assert_all(&error, &[r"\u{1b}]0;title\u{7}.png"]);
    assert!(!error.contains(['\u{1b}', '\u{7}']));
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_enough_is_no_error() {
    let folder = folder("pipe");
    for number in 0..40 {
        picture(&folder.join(format!("in/{number}.png")), number);
    }
    let mut many = predict(&folder, "");
    many.args(["in"; 3]);
    for mut command in [many, command(&folder, "inspect --people 12 --size 32")] {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{command:?}: {errors}");
        assert!(errors.is_empty(), "{errors}");
    }
    // One line is read and no more.
    let run = "compare --methods erm --output results";
    let mut child = tiny(&folder, run).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(
        child.wait().unwrap().success(),
        "a terminal that is gone is no reason to stop"
    );
    assert!(folder.join("results/results.json").is_file());
}

#[test]
fn explanations_are_pictures_side_by_side() {
    let folder = folder("explain");
    picture(&folder.join("é, b.png"), 1);
    let mut explain = command(&folder, "explain --output shown");
    let said = ok(explain.arg(detector()).arg("é, b.png"));
    assert_all(&said, &["é, b.png: score ", "000-é, b.png"]);
    let shown = image::open(folder.join("shown/000-é, b.png"))
        .unwrap()
        .into_rgb8();
    assert_eq!(shown.dimensions(), (3 * 256, 256));
    let mut refusal = command(&folder, "explain");
    assert_all(
        &refused(refusal.arg(detector()).arg("shown")),
        &["shown", "it is no file"],
    );
    let mut refusal = command(&folder, "explain --opacity 2");
    assert_all(
        &refused(refusal.arg(detector()).arg("a.png")),
        &["opacity", "from 0 to 1", "2"],
    );
}

// Diagnoses.

/// `diagnose` with the shared detector, on the data of its training.
fn diagnose(folder: &Path, arguments: &str) -> Command {
    let mut command = tiny(folder, "diagnose --batches 2 --points 3");
    command.arg(detector()).args(arguments.split_whitespace());
    command
}

#[test]
fn a_diagnosis_is_numbers_and_pictures() {
    let folder = folder("diagnose");
    let said = ok(&mut diagnose(&folder, "--output found"));
    assert_all(
        &said,
        &[
            "face-swap, self-blending",
            "random, seed 1",
            "all, pooled",
            "Gradients over training",
            "are in found",
        ],
    );
    let found = folder.join("found");
    let text = fs::read_to_string(found.join("diagnosis.txt")).unwrap();
    assert!(said.contains(&text));
    let conflict = json(&found.join("conflict.json"));
    assert_eq!(conflict["steps"], 2);
    let pairs = conflict["pairs"].as_array().unwrap();
    // Of four domains.
    assert_eq!(pairs.len(), 6);
    for pair in pairs {
        let cosine = pair["cosine"]["mean"].as_f64().unwrap();
        assert!((-1.0..=1.0).contains(&cosine) && cosine != 0.0, "{pair}");
    }
    let sharpness = json(&found.join("sharpness.json"));
    assert_eq!(sharpness["rho"], 0.05);
    assert_eq!(sharpness["domains"].as_array().unwrap().len(), 4);
    let landscape = json(&found.join("landscape.json"));
    let losses = landscape["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 4);
    let grid = losses[0].as_array().unwrap();
    assert!(grid.len() == 3 && grid[0].as_array().unwrap().len() == 3);
    // Every step of the training.
    let training = json(&found.join("training-conflict.json"));
    assert_eq!(training["steps"], 3);
    let pictures = [
        "cosines",
        "landscape",
        "training-cosines",
        "training-cosine-curves",
    ];
    for picture in pictures {
        let svg = fs::read_to_string(found.join(format!("{picture}.svg"))).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.contains("</svg>"),
            "{picture}"
        );
    }
    // The same again, number for number.
    ok(&mut diagnose(&folder, "--output again"));
    for name in ["conflict.json", "sharpness.json", "landscape.json"] {
        assert_eq!(
            json(&found.join(name)),
            json(&folder.join("again").join(name))
        );
    }
}

#[test]
fn a_landscape_goes_towards_the_ascents_of_domains() {
    let folder = folder("diagnose-towards");
    ok(&mut diagnose(
        &folder,
        "--towards mouth,face-swap --rho 0.1 --output two",
    ));
    let landscape = json(&folder.join("two/landscape.json"));
    for (axis, domain) in [("first", "mouth"), ("second", "face-swap")] {
        let axis = &landscape[axis];
        assert_eq!(axis["direction"]["Ascent"]["domain"], domain);
        let norm = axis["norm"].as_f64().unwrap();
        assert!((norm - 0.1).abs() < 1e-5, "{norm}");
    }
    // At a point that a domain's gradient leads to, its loss is higher.
    let mouth = landscape["domains"].as_array().unwrap();
    let mouth = mouth.iter().position(|name| name == "mouth").unwrap();
    let row = &landscape["losses"][mouth][1];
    assert!(row[2].as_f64() > row[1].as_f64(), "{row}");

    // Weights alone, without the training's steps, and a line.
    let copy = folder.join("alone");
    fs::create_dir(&copy).unwrap();
    for file in ["weights.bpk", "detector.toml", "people.json"] {
        fs::copy(detector().join(file), copy.join(file)).unwrap();
    }
    let said = ok(&mut tiny(
        &folder,
        "diagnose alone --batches 1 --points 3 --towards mouth --output one",
    ));
    assert_all(&said, &["nothing over training", "steps.csv"]);
    assert_eq!(
        json(&folder.join("one/landscape.json"))["second"],
        Value::Null
    );
    assert!(!folder.join("one/training-cosines.svg").exists());
}

#[test]
fn a_diagnosis_that_cannot_be_made_is_refused() {
    let folder = folder("diagnose-refused");
    let error = refused(&mut tiny(&folder, "diagnose no-such"));
    assert_all(&error, &["no-such", "a detector is a folder with"]);
    for (arguments, pieces) in [
        ("--data no-such", &["no-such"][..]),
        ("--towards no-such", &["--towards", "mouth", "no-such"]),
        ("--towards mouth,mouth", &["second", "another than first"]),
        ("--towards a,b,c", &["--towards", "one or two", "is 3"]),
        ("--points 4", &["points", "odd", "4"]),
        ("--extent 0", &["extent", "above 0"]),
        ("--batches 0", &["--batches", "at least 1"]),
        ("--rho 0", &["--rho", "above 0"]),
        (
            "--split-seed 2",
            &["nobody must be trained on and tested on"],
        ),
    ] {
        let mut command = tiny(&folder, "diagnose");
        command.arg(detector()).args(arguments.split_whitespace());
        assert_all(&refused(&mut command), pieces);
    }
    // Steps that somebody has written over.
    let copy = folder.join("copy");
    fs::create_dir(&copy).unwrap();
    for file in ["weights.bpk", "detector.toml", "people.json"] {
        fs::copy(detector().join(file), copy.join(file)).unwrap();
    }
    fs::write(copy.join("steps.csv"), "step,loss a,norm a\nx,1,1\n").unwrap();
    let error = refused(&mut tiny(&folder, "diagnose copy --batches 1 --points 3"));
    assert_all(&error, &["steps.csv", "`x` is no step"]);
}

// Reports and repetitions.

#[test]
fn a_page_holds_everything_and_loads_nothing() {
    let folder = folder("report");
    ok(&mut tiny(
        &folder,
        "--methods erm,roga-all --seeds 1,2 --output results",
    ));
    ok(&mut command(&folder, "report results"));
    let page = fs::read_to_string(folder.join("results/report.html")).unwrap();
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"));
    for section in [
        "results", "roc", "training", "cosines", "mistakes", "settings",
    ] {
        assert_all(&page, &[&format!("<section id=\"{section}\"")]);
    }
    for (results, piece) in [("no-such", "no-such"), (".", "results.json")] {
        assert_all(
            &refused(&mut command(&folder, &format!("report {results}"))),
            &[piece],
        );
    }
}

#[test]
fn a_result_is_made_again() {
    let folder = folder("repro");
    ok(&mut tiny(&folder, "--methods roga-all --output results"));
    let said = ok(&mut command(&folder, "repro results --output again"));
    assert_all(
        &said,
        &[
            "step    3 of 3",
            "results.json is the same, number for number",
        ],
    );
    let error = refused(&mut command(
        &folder,
        "repro results --output ./results/../results",
    ));
    assert_all(&error, &["the folder itself"]);
    let trained = detector().ancestors().nth(2).unwrap();
    let said = ok(command(&folder, "repro --output trained").arg(trained));
    assert_all(&said, &["metrics.json is the same"]);

    let config = folder.join("results/config.toml");
    let was = fs::read_to_string(&config).unwrap();
    fs::write(&config, was.replace("rho = 0.05", "rho = 0.5")).unwrap();
    let error = refused(&mut command(&folder, "repro results --output tampered"));
    assert_all(
        &error,
        &["results.json differs at /settings/rho: 0.05 and 0.5"],
    );
    fs::write(&config, was).unwrap();
    let provenance = folder.join("results/provenance.json");
    let was = fs::read_to_string(&provenance).unwrap();
    fs::write(&provenance, was.replace("drawn", "c0ffee")).unwrap();
    let error = refused(&mut command(&folder, "repro results --output other"));
    assert_all(&error, &["the data is not what it was", "c0ffee", "drawn"]);
    fs::write(&provenance, was.replace("compare", "rm")).unwrap();
    let error = refused(&mut command(&folder, "repro results --output other"));
    assert_all(&error, &["`rm` is no command"]);
}

// Data.

/// Forged faces as a set of two domains.
fn set(folder: &Path) {
    let run = "forge --people 8 --size 32 --count 4 --forgeries mouth,face-swap --output forged";
    ok(&mut command(folder, run));
    for forgery in ["mouth", "face-swap"] {
        for (from, class) in [("real", "real"), (forgery, "fake")] {
            let to = folder.join("set").join(forgery).join(class);
            fs::create_dir_all(&to).unwrap();
            for entry in fs::read_dir(folder.join("forged").join(from)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
}

/// A name that clears the screen, speaks for the program, and reads from the right to the left.
#[cfg(unix)]
const HOSTILE: &str = "=a\u{1b}[2J\nerror: all is lost\u{202e}b\u{9b}c|\u{2028}\u{61c}";

/// What a command prints must not have any of it but as it is written in Rust or JSON.
#[cfg(unix)]
#[track_caller]
fn is_not_obeyed(output: &Output) {
    let said = text(output);
    let obeyed = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!said.contains(obeyed), "{said:?}");
    assert!(
        !said.lines().any(|line| line.starts_with("error: all")),
        "{said}"
    );
}

/// In file names, domains, people, videos and data sets, wherever one is printed.
#[cfg(unix)]
#[test]
fn nothing_of_a_data_set_is_obeyed() {
    let folder = folder("obeyed");
    set(&folder);
    let real = folder.join("forged/real");
    let mut list = csv::Writer::from_path(folder.join("list.csv")).unwrap();
    let head = ["path", "label", "domain", "group", "video", "dataset"];
    list.write_record(head).unwrap();
    for (number, entry) in fs::read_dir(&real).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let person = format!("{number}{HOSTILE}");
        for (from, class, domain) in [
            ("real", "real", "real"),
            ("mouth", "fake", HOSTILE),
            ("face-swap", "fake", "b"),
        ] {
            let path = format!("forged/{from}/{number}{HOSTILE}.png");
            fs::rename(
                folder.join("forged").join(from).join(&name),
                folder.join(&path),
            )
            .unwrap();
            let row = [&*path, class, domain, &person, HOSTILE, HOSTILE];
            list.write_record(row).unwrap();
        }
    }
    list.flush().unwrap();
    let small = "--size 32 --steps 2 --batch 4 --methods erm --data list.csv";
    for run in [
        "inspect --size 32 --data list.csv",
        "inspect --size 32 --data list.csv --json",
        &format!("{small} --leave-out all --output results"),
        &format!("train {small} --output trained"),
        "evaluate trained/runs/detector --data list.csv --test-share 0.5 --output evaluated",
        "report results",
    ] {
        let output = command(&folder, run).output().unwrap();
        let refused = run.starts_with("evaluate");
        assert_eq!(
            output.status.success(),
            !refused,
            "{run}\n{}",
            text(&output)
        );
        is_not_obeyed(&output);
    }
    // Whom a detector knows is named where it is tested on them.
    for file in [
        "results/report.html",
        "results/results.md",
        "trained/metrics.md",
    ] {
        let page = fs::read_to_string(folder.join(file)).unwrap();
        assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{file}");
    }
    let svg = fs::read_dir(folder.join("results")).unwrap();
    for file in svg
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "svg"))
    {
        let name = file.to_string_lossy();
        assert!(
            !name.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{name:?}"
        );
        assert!(
            !fs::read_to_string(&file)
                .unwrap()
                .contains(['\u{1b}', '\u{202e}'])
        );
    }
    let scores = folder.join("trained/runs/detector/scores.csv");
    for row in csv::Reader::from_path(scores).unwrap().records() {
        let row = row.unwrap();
        assert!(
            !row.iter().take(4).any(|cell| cell.starts_with('=')),
            "{row:?}"
        );
    }

    let net = folder.join("trained/runs/detector");
    let picture = folder.join(format!("forged/real/0{HOSTILE}.png"));
    let missing = folder.join(format!("{HOSTILE}.png"));
    let mut commands = vec![
        command(&folder, "predict --format jsonl"),
        command(&folder, "explain"),
    ];
    for command in &mut commands {
        let output = command.arg(&net).arg(&picture).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        is_not_obeyed(&output);
    }
    for what in ["predict", "explain", "frames --output frames"] {
        let mut command = command(&folder, what);
        if !what.starts_with("frames") {
            command.arg(&net);
        }
        let output = command.arg(&missing).output().unwrap();
        assert!(!output.status.success());
        is_not_obeyed(&output);
    }
    // A spreadsheet would take the name for a formula.
    fs::copy(&picture, folder.join("=1+1.png")).unwrap();
    let csv = ok(command(&folder, "predict").arg(&net).arg("=1+1.png"));
    assert_all(&csv, &["\n./=1+1.png,1,"]);
    fs::write(
        folder.join("list.csv"),
        format!("path,label\n{HOSTILE:?},{HOSTILE:?}\n"),
    )
    .unwrap();
    let output = command(&folder, "inspect --data list.csv")
        .output()
        .unwrap();
    is_not_obeyed(&output);
}

#[test]
fn forgeries_have_a_picture_and_a_mask_for_every_person() {
    let folder = folder("forge");
    let some = "forge --people 6 --size 32 --forgeries mouth,face-swap";
    ok(&mut command(
        &folder,
        &format!("{some} --count 3 --sheet sheet.png --output forged"),
    ));
    let sheet = image::open(folder.join("sheet.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (5 * 128, 3 * 128));
    let names = |of: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(folder.join("forged").join(of)).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let real = names("real");
    assert_eq!(real.len(), 3);
    for of in ["mouth", "mask-mouth", "face-swap", "mask-face-swap"] {
        assert_eq!(names(of), real, "{of}");
    }
    // A donor need not be shown.
    ok(&mut command(
        &folder,
        &format!("{some} --count 1 --output one"),
    ));
    for (arguments, pieces) in [
        ("", &["--sheet", "--output"][..]),
        ("--count 0 --sheet a.png", &["--count", "at least 1"]),
        ("--sheet no-such/a.png", &["no-such/a.png"]),
        ("--sheet a.txt", &["a.txt"]),
    ] {
        assert_all(
            &refused(&mut command(&folder, &format!("{some} {arguments}"))),
            pieces,
        );
    }
}

#[test]
fn sets_are_summed_up_trained_on_and_their_problems_listed_at_once() {
    let folder = folder("inspect");
    set(&folder);
    let said = ok(&mut command(&folder, "inspect --data set --size 32"));
    assert_all(
        &said,
        &[
            "16 png",
            "train mouth: 2 forged and 2 real pictures of 2 people",
        ],
    );
    let list = "path,label,domain,group\nset/mouth/real/drawn-0-0-0.png,real,mouth,a\n\
                set/mouth/fake/drawn-0-0-0.png,fake,mouth,a\n\
                set/mouth/real/drawn-0-1-2.png,real,mouth,b\n\
                set/mouth/fake/drawn-0-1-2.png,fake,mouth,b\n";
    fs::write(folder.join("list.csv"), list).unwrap();
    let said = ok(&mut command(&folder, "inspect --data list.csv --size 32"));
    assert_all(
        &said,
        &[
            "4 png",
            "test mouth: 1 forged and 1 real pictures of 1 people",
        ],
    );
    let run = "--data set --size 32 --steps 2 --batch 4 --methods erm --output results";
    ok(&mut command(&folder, run));
    let changed = folder.join("set/mouth/fake/drawn-0-0-0.png");
    picture(&changed, 1);
    assert_all(
        &refused(&mut command(&folder, run)),
        &["other data", "--restart"],
    );

    spoil(&folder.join("set/mouth/fake"));
    let error = refused(&mut command(&folder, "inspect --data set --size 32"));
    assert_all(
        &error,
        &[
            "3 problems",
            "zero.png: has no bytes",
            "text.png",
            "huge.png",
        ],
    );
    let skip = "inspect --data set --size 32 --on-problem skip";
    assert_all(&ok(&mut command(&folder, skip)), &["left out: 3 pictures"]);
    let summary = ok(&mut command(&folder, &format!("{skip} --json")));
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["left_out"], 3);
    fs::write(
        folder.join("list.csv"),
        "path,label,lable\na.png,real,real\n",
    )
    .unwrap();
    let error = refused(&mut command(&folder, "inspect --data list.csv"));
    assert_all(&error, &["list.csv", "lable"]);
    for (arguments, piece) in [
        ("--data no-such", "no-such"),
        ("--faces no-such", "no-such"),
    ] {
        assert_all(
            &refused(&mut command(&folder, &format!("inspect {arguments}"))),
            &[piece],
        );
    }
}
