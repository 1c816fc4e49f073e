//! A comparison that is killed, interrupted, damaged or refused room on the disk, and started again by
//! the same command, ends as one that never was.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use burn::tensor::Bytes;
use burn_pack::Reader;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::{assert_all, command, folder, ok, picture, refused, set, text, timeless};

/// Three trainings, each of which takes a moment, with a checkpoint after every step.
const RUN: &str = "--people 12 --steps 12 --size 32 --copies 1 --batch 4 --methods erm,sam,roga-all \
                   --selection training-domain --evaluations 3 --seconds-at-stake 0 --output";

/// Its trainings, in their order.
const TRAININGS: [&str; 3] = ["erm", "sam", "roga-all"];

fn training(output: &Path, method: &str) -> PathBuf {
    let training = format!("runs/without-face-swap/{method}/seed-1-steps-12");
    output.join(training)
}

/// All files of an output folder by their paths in it, but for locks and for what a process that was
/// killed has left half written.
fn all_files(output: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let mut found = BTreeMap::new();
    let mut open = vec![output.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if name != ".lock" && !name.ends_with(".part") && !name.ends_with(".tmp") {
                let inside = path.strip_prefix(output).unwrap().to_path_buf();
                found.insert(inside, path);
            }
        }
    }
    found
}

/// The steps of the checkpoints of a training, the last one last.
fn checkpoints(training: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(training.join("checkpoints")) else {
        return Vec::new();
    };
    let entries = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?.strip_prefix("step-")?;
        Some((name.split('-').next()?.parse().ok()?, path))
    });
    let mut checkpoints: Vec<(u64, PathBuf)> = entries.collect();
    checkpoints.sort();
    checkpoints
}

/// Tables without their column of times and the captions' time in all.
fn timeless_table(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| match line.strip_suffix('|') {
        Some(row) => row.rsplit_once('|').map_or(line, |(row, _)| row),
        None if line.ends_with("in all.") => line.split_once("people.").map_or(line, |(l, _)| l),
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Every number of a file of tensors, whatever the parameters are called in it: of a record the parts,
/// the optimizer's state by the names of the model's parameters. How long it took is left out.
fn numbers(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let reader = Reader::from_file(file).unwrap();
    let mut numbers = BTreeMap::new();
    for (name, text) in reader.metadata() {
        if name != "note.seconds" {
            numbers.insert(name.clone(), text.clone().into_bytes());
        }
    }
    for (name, number) in reader.scalars() {
        if name != "checksum" {
            numbers.insert(name.clone(), format!("{number:?}").into_bytes());
        }
    }
    let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for tensor in reader.into_tensors().unwrap() {
        let bytes = tensor.to_bytes().unwrap().to_vec();
        match tensor.name.rsplit_once('.') {
            Some((part @ ("model" | "optimizer" | "scheduler"), piece)) => {
                assert_eq!(piece.len(), 6, "{}", tensor.name);
                parts.entry(part.into()).or_default().extend(bytes);
            }
            _ => {
                numbers.insert(tensor.name, bytes);
            }
        }
    }
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for (part, bytes) in parts {
        let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes)).unwrap();
        let named = |name: &str, ids: &BTreeMap<String, String>| match name.split_once('.') {
            Some((id, rest)) if part == "optimizer" => format!("{part} {} {rest}", ids[id]),
            _ => format!("{part} {name}"),
        };
        for (name, number) in reader.scalars() {
            numbers.insert(named(name, &ids), format!("{number:?}").into_bytes());
        }
        for tensor in reader.into_tensors().unwrap() {
            if part == "model" {
                let id = tensor.param_id.expect("a parameter has a number");
                ids.insert(id.to_string(), tensor.name.clone());
            }
            let name = format!("{} {:?}", named(&tensor.name, &ids), tensor.dtype);
            numbers.insert(name, tensor.to_bytes().unwrap().to_vec());
        }
    }
    numbers
}

/// The last checkpoint of each training, and every other file, is the same but for times.
#[track_caller]
fn assert_same(whole: &Path, mended: &Path) {
    let [mut files, mut others] = [whole, mended].map(all_files);
    for method in TRAININGS {
        let [ours, theirs] = [whole, mended].map(|output| {
            let checkpoints = checkpoints(&training(output, method));
            checkpoints.last().expect("a training has one").clone()
        });
        assert_eq!((ours.0, theirs.0), (12, 12), "{method}");
        let [ours, theirs] = [numbers(&ours.1), numbers(&theirs.1)];
        let states = ours.keys().filter(|name| name.starts_with("optimizer "));
        assert!(states.count() > 10, "{:?}", ours.keys());
        assert!(ours.keys().any(|name| name.contains("running_mean")));
        assert_eq!(ours, theirs, "{method}");
    }
    for files in [&mut files, &mut others] {
        files.retain(|name, _| {
            !name
                .components()
                .any(|part| part.as_os_str() == "checkpoints")
        });
    }
    assert!(files.keys().eq(others.keys()), "{files:?}\n{others:?}");
    for (name, ours) in &files {
        let theirs = &others[name];
        let same = match name.file_name().unwrap().to_str().unwrap() {
            "results.json" | "finished.json" => timeless(ours) == timeless(theirs),
            "results.md" => timeless_table(ours) == timeless_table(theirs),
            "weights.bpk" => numbers(ours) == numbers(theirs),
            _ => fs::read(ours).unwrap() == fs::read(theirs).unwrap(),
        };
        assert!(same, "{}", name.display());
    }
    assert_eq!(files.len(), 6 + 3 * 6, "{files:?}");
}

/// Where a process is to be killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// At any moment.
    Time,
    /// When a checkpoint is half written.
    Checkpoint,
    /// When a training is over, before the next begins.
    Between,
}

fn start(command: &mut Command) -> Child {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().unwrap()
}

fn being_written(output: &Path) -> bool {
    TRAININGS.iter().any(|method| {
        let entries = fs::read_dir(training(output, method).join("checkpoints"));
        entries.is_ok_and(|mut entries| {
            entries.any(|entry| {
                let name = entry.map(|entry| entry.file_name());
                name.is_ok_and(|name| name.to_string_lossy().starts_with("part-"))
            })
        })
    })
}

fn finished(output: &Path) -> usize {
    let over = |method: &&&str| training(output, method).join("finished.json").exists();
    TRAININGS.iter().filter(over).count()
}

/// Kills a run some time after its beginning, and there at the place; whether it was still running.
fn kill(child: &mut Child, output: &Path, at: At, after: Duration) -> bool {
    thread::sleep(after);
    let before = finished(output);
    let reached = || match at {
        At::Time => true,
        At::Checkpoint => being_written(output),
        At::Between => finished(output) > before,
    };
    while child.try_wait().unwrap().is_none() && !reached() {
        thread::yield_now();
    }
    _ = child.kill();
    child.wait().unwrap().code().is_none()
}

/// How far a run was when it was killed.
fn place(output: &Path) -> String {
    let steps = TRAININGS.map(|method| {
        let checkpoints = checkpoints(&training(output, method));
        let last = checkpoints.last().map_or(0, |(step, _)| *step);
        format!("{method} {last}")
    });
    let over = finished(output);
    let half = if being_written(output) {
        ", a checkpoint half written"
    } else {
        ""
    };
    format!(
        "checkpoints {}; {over} trainings over{half}",
        steps.join(", ")
    )
}

/// With `ROGA_KILLS=60` and `--nocapture` it is the run of `docs/reliability.md`.
#[test]
fn killed_at_random_points_it_ends_alike() {
    let folder = folder("kill-points");
    let kills = env::var("ROGA_KILLS").map_or(4, |kills| kills.parse().unwrap());
    let begin = Instant::now();
    ok(&mut command(&folder, &format!("{RUN} whole")));
    let takes = begin.elapsed();
    println!("uninterrupted: {:.1} s", takes.as_secs_f64());
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let (mut made, mut half_written, mut runs) = (0, 0, 0);
    while made < kills {
        let (name, output) = (
            format!("{RUN} killed-{runs}"),
            folder.join(format!("killed-{runs}")),
        );
        loop {
            let at = [At::Time, At::Checkpoint, At::Between][random.random_range(0..3)];
            let after = takes.mul_f64(random.random_range(0.0..0.6));
            let mut child = start(&mut command(&folder, &name));
            if made == kills || !kill(&mut child, &output, at, after) {
                child.wait().unwrap();
                break;
            }
            made += 1;
            half_written += usize::from(being_written(&output));
            println!(
                "{made:>3}. run {runs}, {:.2} s, {at:?}: {}",
                after.as_secs_f64(),
                place(&output)
            );
        }
        // Where the last process was not killed, it has nothing left to do.
        ok(&mut command(&folder, &name));
        assert_same(&folder.join("whole"), &output);
        println!("     run {runs} ends as the uninterrupted one");
        runs += 1;
    }
    println!(
        "{made} kills in {runs} runs, {half_written} with a checkpoint half written, {:.0} s",
        begin.elapsed().as_secs_f64()
    );
}

/// A run that was killed in its second training, behind some checkpoints.
fn killed(folder: &Path, output: &str) -> PathBuf {
    let mut child = start(&mut command(folder, &format!("{RUN} {output}")));
    let training = training(&folder.join(output), "sam");
    while checkpoints(&training)
        .last()
        .is_none_or(|(step, _)| *step < 6)
    {
        assert!(child.try_wait().unwrap().is_none(), "it came too late");
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    training
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_taken() {
    let folder = folder("damaged-checkpoints");
    ok(&mut command(&folder, &format!("{RUN} whole")));
    let training = killed(&folder, "killed");
    let all = checkpoints(&training);
    let (_, last) = all.last().unwrap();
    let whole = fs::read(last).unwrap();
    let flipped = |bit: usize| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let damages = [
        Vec::new(),
        whole[..whole.len() - 1].to_vec(),
        vec![0; whole.len()],
        flipped(4 * whole.len()),
    ];
    for (number, bytes) in damages.into_iter().enumerate() {
        let output = format!("damaged-{number}");
        let mut copy = Command::new("cp");
        copy.args(["-r", "killed", &output]).current_dir(&folder);
        assert!(copy.status().unwrap().success());
        let inside = last.strip_prefix(folder.join("killed")).unwrap();
        fs::write(folder.join(&output).join(inside), bytes).unwrap();
        let ended = command(&folder, &format!("{RUN} {output}"))
            .output()
            .unwrap();
        assert!(ended.status.success(), "{}", text(&ended));
        let name = last.file_name().unwrap().to_str().unwrap();
        assert_all(
            &String::from_utf8_lossy(&ended.stderr),
            &[name, "is damaged", "is taken instead"],
        );
        assert_all(&text(&ended), &["goes on after step"]);
        assert_same(&folder.join("whole"), &folder.join(&output));
    }
    // Nothing is begun anew unasked.
    for (_, path) in &all {
        fs::write(path, "").unwrap();
    }
    let error = refused(&mut command(&folder, &format!("{RUN} killed")));
    let names = all
        .iter()
        .map(|(_, path)| path.file_name().unwrap().to_str().unwrap());
    assert_all(&error, &names.collect::<Vec<_>>());
    assert_all(
        &error,
        &["every checkpoint is damaged", "remove the folder"],
    );
}

#[test]
fn a_full_disk_leaves_the_last_good_checkpoint() {
    let folder = folder("full-disk");
    ok(&mut command(&folder, &format!("{RUN} whole")));
    let training = killed(&folder, "full");
    let before = checkpoints(&training);
    // No file above 32 or 64 kB, by what a shell takes for a block; a checkpoint has more.
    assert!(fs::metadata(&before[0].1).unwrap().len() > 100_000);
    let mut limited = Command::new("sh");
    let run = command(&folder, "");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(run.get_program())
        .args(RUN.split_whitespace())
        .arg("full")
        .current_dir(&folder);
    let error = refused(&mut limited);
    assert_all(
        &error,
        &["full/runs/", "checkpoints/part-", "File too large"],
    );
    assert_eq!(checkpoints(&training), before);
    assert!(!being_written(&folder.join("full")), "room is given back");
    let said = ok(&mut command(&folder, &format!("{RUN} full")));
    assert_all(&said, &["goes on after step"]);
    assert_same(&folder.join("whole"), &folder.join("full"));
}

#[test]
fn ctrl_c_finishes_the_step_and_says_how_to_go_on() {
    let folder = folder("ctrl-c");
    ok(&mut command(&folder, &format!("{RUN} whole")));
    // Nothing would be kept without.
    let rarely = RUN.replace("--seconds-at-stake 0", "--seconds-at-stake 1000");
    let mut run = command(&folder, &format!("{rarely} it's&here"));
    run.arg("--restart");
    let mut child = run
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = training(&folder.join("it's&here"), "sam").join("steps.csv");
    while !log.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it came too late");
        thread::sleep(Duration::from_millis(1));
    }
    interrupt(&child);
    let said = ended(child, 130);
    assert_all(
        &said,
        &["Ctrl-C once more ends at once", "interrupted behind step "],
    );
    let (_, go_on) = said.trim().split_once("To go on: ").unwrap();
    assert!(go_on.ends_with(r"--output 'it'\''s&here'"), "{go_on}");
    let mut again = Command::new("sh");
    let said = ok(again.args(["-c", go_on]).current_dir(&folder));
    assert_all(&said, &["goes on after step"]);
    let [whole, mended] = ["whole", "it's&here"].map(|output| folder.join(output));
    // How much may be lost is in the settings.
    let settings = |output: &Path| {
        let config = output.join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("stake = 1000", "stake = 0")).unwrap();
        let results = output.join("results.json");
        let text = fs::read_to_string(&results).unwrap();
        fs::write(&results, text.replace("stake\": 1000", "stake\": 0")).unwrap();
    };
    settings(&mended);
    assert_same(&whole, &mended);
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    let folder = folder("ctrl-c-twice");
    let slow = "--people 12 --steps 9 --size 128 --copies 1 --batch 64 --methods erm --output out";
    let mut run = command(&folder, slow);
    let mut child = run
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = folder.join("out/runs/without-face-swap/erm/seed-1-steps-9/steps.csv");
    while !log.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it came too late");
        thread::sleep(Duration::from_millis(1));
    }
    interrupt(&child);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("once more") {
        assert!(said.read_line(&mut line).unwrap() > 0, "{line}");
    }
    interrupt(&child);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(!rest.contains("To go on"), "{rest}");
}

/// What a run said, which ends with this code.
fn ended(mut child: Child, code: i32) -> String {
    let mut said = String::new();
    let errors = child.stderr.as_mut().unwrap();
    errors.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(code), "{said}");
    said
}

fn interrupt(child: &Child) {
    let number = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &number]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_second_run_in_a_folder_is_refused() {
    let folder = folder("two-runs");
    let long = "--people 12 --steps 2000 --size 32 --copies 1 --batch 4 --methods erm";
    let run = format!("{long} --output both");
    let mut first = start(&mut command(&folder, &run));
    let training = folder.join("both/runs/without-face-swap/erm/seed-1-steps-2000");
    while !training.join("steps.csv").exists() {
        assert!(first.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(1));
    }
    for arguments in [run.clone(), format!("{run} --restart")] {
        let error = refused(&mut command(&folder, &arguments));
        let holder = format!("process {} is at work in this folder", first.id());
        assert_all(&error, &["--output both", &holder]);
    }
    assert!(training.join("steps.csv").exists());
    assert!(first.try_wait().unwrap().is_none());
    first.kill().unwrap();
    first.wait().unwrap();
    // A process that was killed is not in the way of the next.
    let mut next = start(&mut command(&folder, &run));
    let taken = || fs::read_to_string(folder.join("both/.lock"));
    while taken().is_ok_and(|holder| holder != next.id().to_string()) {
        assert!(next.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(1));
    }
    next.kill().unwrap();
    next.wait().unwrap();
}

#[test]
fn pictures_that_change_while_they_are_trained_on_are_named() {
    let folder = folder("changing");
    set(&folder);
    let run =
        "--data set --size 32 --steps 12 --batch 4 --methods erm --seconds-at-stake 0 --output";
    ok(&mut command(&folder, &format!("{run} whole")));
    let pictures = all_files(&folder.join("set"));
    let was = pictures
        .values()
        .map(|path| (path, fs::read(path).unwrap()));
    let was: Vec<(&PathBuf, Vec<u8>)> = was.collect();
    let reached = folder.join("changed/runs/without-face-swap/erm/seed-1-steps-12/steps.csv");
    let mut child = command(&folder, &format!("{run} changed"));
    let mut child = child
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !reached.exists() {
        assert!(child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(1));
    }
    // Other pictures of the same size, in the place of those that are tested on at the end.
    for (number, (path, _)) in (0..).zip(&was) {
        picture(path, number);
    }
    let said = ended(child, 1);
    assert_all(&said, &[".png: has changed since the set was checked"]);
    assert!(!reached.with_file_name("scores.csv").exists());
    let error = refused(&mut command(&folder, &format!("{run} changed")));
    assert_all(&error, &["other data"]);
    for (path, bytes) in &was {
        fs::write(path, bytes).unwrap();
    }
    ok(&mut command(&folder, &format!("{run} changed")));
    let scores = ["whole", "changed"].map(|output| {
        let training = folder
            .join(output)
            .join("runs/without-face-swap/erm/seed-1-steps-12");
        fs::read(training.join("scores.csv")).unwrap()
    });
    assert_eq!(scores[0], scores[1]);
}
