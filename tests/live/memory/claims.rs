//! The verdict on a program's memory: what is claimed, and what is not.

use std::thread;

use serde_json::Value;

use crate::support::{Interpreter, Recording, Target, for_some_at_once};

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
        let leak = scope.spawn(|| record("leak:1024", &["--memory", "-r", "200"]));
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
    let frames = said["suspects"][0]["frames"].as_array().unwrap();
    let has = |name: &str| {
        let mut frames = frames.iter().map(|frame| frame.as_str().unwrap());
        frames.any(|frame| frame.starts_with(name))
    };
    assert!(has("leak (memory_shapes.py"), "{said}");
    assert!(leak.stderr.contains(" not released by "), "{}", leak.stderr);

    let said = memory(&teeth);
    assert_ne!(said["verdict"], "growing", "{}", teeth.stderr);
    let said = memory(&sleep);
    assert_eq!(said["verdict"], "stable", "{}", sleep.stderr);
    assert!(sleep.stderr.contains("\nMemory: stable\n"), "{sleep:?}");
}
