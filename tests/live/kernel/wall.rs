//! `--wall`: how long threads wait, and where, against what the program measures.

use std::collections::BTreeMap;

use super::{for_each, for_each_kind, options};
use crate::support::{Interpreter, Recording, Sampling, Target, for_each_kind_in};

/// A recording of the program from before it starts its threads until after they have ended, and the seconds that it
/// has spent in each function.
fn record(
    python: &Interpreter,
    program: &[&str],
    options: &[&str],
) -> (Recording, BTreeMap<String, f64>) {
    let mut target = Target::start(python, "waiting.py", program);
    let sampling = Sampling::start(target.pid(), options);
    target.say("go");
    let answer = target.next_line();
    let json = answer.strip_prefix("truth ").expect("the truth");
    let truth = serde_json::from_str(json).expect("seconds by function");
    (sampling.stop(), truth)
}

/// The seconds below a function.
fn seconds(recording: &Recording, function: &str) -> f64 {
    let stacks = recording.stacks();
    let below = stacks
        .iter()
        .filter(|stack| stack.functions().contains(&function));
    below.map(|stack| stack.count as f64).sum::<f64>() / 1e9
}

/// Records until each of these functions has its time, but for so many seconds. Another try is for a crowded machine,
/// on which the first waits of new threads are known later.
fn assert_seconds(
    python: &Interpreter,
    functions: &[&str],
    allowed: f64,
    record: impl Fn() -> (Recording, BTreeMap<String, f64>),
) -> Recording {
    for _ in 0..5 {
        let (recording, truth) = record();
        let off = functions.iter().map(|function| {
            let (found, is) = (seconds(&recording, function), truth[*function]);
            println!("{} {function}: {found:.4} s of {is:.4} s", python.label());
            (found - is).abs()
        });
        if off.fold(0.0, f64::max) <= allowed {
            return recording;
        }
        println!("{}{}", recording.file, recording.stderr);
    }
    panic!("wrong five times, as printed above");
}

const FUNCTIONS: [&str; 7] = [
    "work",
    "rest",
    "nap_long",
    "nap_short",
    "duty",
    "naps",
    "blocked",
];

#[test]
fn waits_are_as_long_as_they_are() {
    for_each("kernel-wall", .., |python| {
        let options = options(&["--wall", "-F", "-r", "500"]);
        // What a new thread waits for before it is listed is not known.
        let record = || record(python, &["0.8"], &options);
        let recording = assert_seconds(python, &FUNCTIONS, 0.04, record);
        let all = recording.summary["wall_seconds"].as_f64().unwrap();
        let sum: f64 = recording
            .stacks()
            .iter()
            .map(|stack| stack.count as f64)
            .sum();
        assert!((sum / 1e9 - all).abs() < 0.001, "{sum} ns, {all} s");
    });
}

/// Of 20,000 waits a second of two threads one in ten has a stack; those of the other threads have theirs.
#[test]
fn of_very_many_waits_the_long_ones_are_exact() {
    for_each_kind("kernel-wall-busy", .., |python| {
        let record = || record(python, &["2", "busy"], &options(&["--wall", "-F"]));
        let functions = [&FUNCTIONS[..], &["tick"]].concat();
        assert_seconds(python, &functions, 0.1, record);
    });
}

/// A thread that has slept since before the recording, and sleeps on.
#[test]
fn threads_that_never_wake_have_all_the_time() {
    for_each_kind("kernel-wall-asleep", .., |python| {
        let target = Target::start(python, "waiting.py", &["1"]);
        target.until_it_reads_stdin();
        // Not a whole number of sampling periods: the last one counts too.
        let options = options(&["--wall", "-F", "-d", "0.507"]);
        let recording = Recording::of_pid(target.pid(), &options);
        let main = seconds(&recording, "main");
        println!("{}: {main:.4} s of 0.507 s", python.label());
        assert!((main - 0.507).abs() <= 0.02, "{main}");
    });
}

/// More at once than are recorded, and none leaves its CPU again.
#[test]
fn threads_that_end_at_once_have_waited() {
    for_each_kind("kernel-wall-pool", .., |python| {
        let record = || record(python, &["0.6", "pool"], &options(&["--wall", "-F"]));
        // 50 of 0.6 s.
        assert_seconds(python, &["pooled"], 1.0, record);
    });
}

/// With pauses the time between two samples is of the second one.
#[test]
fn with_pauses_times_are_those_between_samples() {
    for_each_kind_in("pause-wall", .., |python| {
        let options = ["--wall", "-F", "-f", "raw", "--engine", "pause"];
        let options = [&options[..], &["-r", "500"]].concat();
        let record = || record(python, &["1.5"], &options);
        let recording = assert_seconds(python, &FUNCTIONS, 0.15, record);
        assert_eq!(recording.summary["engine"], "pausing");
    });
}
