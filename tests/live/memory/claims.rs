//! The verdict on a program's memory: what is claimed, and what is not.

use std::thread;

use serde_json::Value;

use crate::support::{Interpreter, Recording, Target, for_some_at_once, interpreters};

/// Long enough for a verdict.
const SECONDS: &str = "26";

/// Twelve programs at once, which sleep most of the time: half a minute in which other tests run.
#[test]
fn a_leak_is_named_and_a_saw_tooth_and_a_sleep_are_not() {
    for_some_at_once("verdict", check);
}

fn check(python: &Interpreter) {
    let record = |shape: &str, options: &[&str]| {
        let target = Target::start(python, "memory_shapes.py", &[shape, "3", "90"]);
        let mut all = vec!["-f", "speedscope", "-i", "-d", SECONDS];
        all.extend(options);
        Recording::of_pid(target.pid(), &all)
    };
    let (leak, teeth, sleep) = thread::scope(|scope| {
        let leak = scope.spawn(|| record("leak:1024", &["--memory"]));
        let teeth = scope.spawn(|| record("sawtooth", &["-r", "50"]));
        let sleep = scope.spawn(|| record("sleep", &["-r", "50"]));
        (
            leak.join().unwrap(),
            teeth.join().unwrap(),
            sleep.join().unwrap(),
        )
    });
    let memory = |recording: &Recording| {
        let json: Value = serde_json::from_str(&recording.file).unwrap();
        json["memory"].clone()
    };

    let said = memory(&leak);
    assert_eq!(said["verdict"], "growing", "{}", leak.stderr);
    let line = format!("Memory: {}", said["text"].as_str().unwrap());
    assert!(line.ends_with(" MiB/min (leak suspected)"), "{line}");
    assert!(leak.stderr.lines().any(|said| said == line), "{line}");
    // What it leaks it has made in `piece`, called by `leak`.
    let suspects = said["suspects"].as_array().unwrap();
    let mut frames = suspects
        .iter()
        .flat_map(|suspect| suspect["frames"].as_array().unwrap())
        .map(|frame| frame.as_str().unwrap());
    assert!(
        frames.any(|frame| frame.starts_with("leak (memory_shapes.py")),
        "{said}"
    );
    assert!(leak.stderr.contains(" MiB grew "), "{}", leak.stderr);

    let said = memory(&teeth);
    assert_ne!(said["verdict"], "growing", "{}", teeth.stderr);
    let said = memory(&sleep);
    assert_eq!(said["verdict"], "stable", "{}", sleep.stderr);
    assert!(sleep.stderr.contains("\nMemory: stable\n"), "{sleep:?}");
}

/// What the kernel can take back was called a leak, and a worker that copies its parent's pages stable. Not of Python: one
/// interpreter suffices.
#[test]
fn a_mapped_file_is_no_leak_and_copied_pages_are_not_passed_over() {
    let native = interpreters().iter().filter(|python| python.root.is_none());
    let python = native
        .max_by_key(|python| python.label())
        .expect("a Python");
    let record = |shape: &str| {
        let target = Target::start(python, "memory_shapes.py", &[shape, "3", "90"]);
        let options = ["-f", "speedscope", "-i", "-r", "50", "-d", SECONDS];
        Recording::of_pid(target.pid(), &options)
    };
    let (file, copied) = thread::scope(|scope| {
        let file = scope.spawn(|| record("file:4096"));
        let copied = scope.spawn(|| record("copied:1024"));
        (file.join().unwrap(), copied.join().unwrap())
    });
    let said = |recording: &Recording| {
        let json: Value = serde_json::from_str(&recording.file).unwrap();
        json["memory"].clone()
    };
    let of_file = said(&file);
    assert_eq!(of_file["verdict"], "reclaimable", "{}", file.stderr);
    assert!(file.stderr.contains(" MiB/min: mapped files"), "{file:?}");
    let of_copied = said(&copied);
    assert_eq!(of_copied["verdict"], "stable", "{}", copied.stderr);
    assert!(of_copied["bytes"].as_u64() > Some(8 << 20), "{of_copied}");
    assert!(
        copied.stderr.contains("its own share (USS) grew by"),
        "{copied:?}"
    );
}
