//! Structures that are larger than those of any real program: reading them ends in time, with a message, and
//! the program runs on meanwhile.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::cores::gcore;
use crate::support::{Recording, Sampling, Target, assert_pyspy_rs, fixtures, peak_kib, pyspy_rs};

/// How much longer than promised something may take on a crowded machine, in an unoptimized build.
const MARGIN: u32 = 20;
/// How soon a recording ends after a signal, or after its time.
const END: Duration = Duration::from_millis(200);
/// For how long threads may be paused in a sample.
const PAUSE: Duration = Duration::from_millis(20);

/// The program, and the folder that it is in.
fn start(arguments: &[&str]) -> (Target, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("large_structures");
    let status = Command::new("cc")
        .args(["-O1", "-rdynamic", "-o"])
        .arg(&program)
        .arg(fixtures().join("large_structures.c"))
        .status()
        .expect("a C compiler");
    assert!(status.success());
    let mut command = Command::new(&program);
    command.args(arguments);
    (Target::start_command(command), folder)
}

/// What a dump shows of the program.
fn dump(arguments: &[&str]) -> Value {
    let (target, _folder) = start(arguments);
    dump_of(&["--pid", &target.pid().to_string()])
}

fn dump_of(source: &[&str]) -> Value {
    let output = assert_pyspy_rs()
        .args(["dump", "--format=json"])
        .args(source)
        .assert()
        .success();
    let dump: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    dump["processes"][0].clone()
}

fn frames(dump: &Value) -> &[Value] {
    dump["threads"][0]["frames"].as_array().unwrap()
}

fn errors(dump: &Value) -> String {
    dump["errors"].to_string()
}

/// Each frame took as long as decoding the whole table, with the thread paused: 50 s in all.
#[test]
fn a_long_line_table_is_decoded_once() {
    let dump = dump(&["lines", "5000"]);
    assert_eq!(frames(&dump).len(), 5_000);
    assert_eq!(errors(&dump), "[]");
}

/// The whole stack was missing.
#[test]
fn a_line_table_that_is_too_long_costs_the_lines_only() {
    let (target, folder) = start(&["long_table", "100"]);
    let check = |source: &[&str]| {
        let dump = dump_of(source);
        let expected = "1 line table was left out";
        assert!(errors(&dump).contains(expected), "{}", errors(&dump));
        assert_eq!(frames(&dump).len(), 100);
        for frame in frames(&dump) {
            assert_eq!(frame["name"], "work");
            assert_eq!(frame["line"], Value::Null);
        }
    };
    check(&["--pid", &target.pid().to_string()]);
    // Of a core that was not said.
    if let Some(core) = gcore(target.pid(), folder.path()) {
        check(&["--core", core.to_str().unwrap()]);
    }
}

/// Each process had caches of its own limit, some 36 MiB here, however many processes there were.
#[test]
fn the_caches_of_many_processes_share_their_memory() {
    const PROCESSES: usize = 15;
    let (target, folder) = start(&["tables", "7", "14"]);
    let pid = target.pid().to_string();
    // Until a recording has had the time to sample most of them, on a crowded machine.
    for seconds in ["1", "4", "16"] {
        let file = folder.path().join(seconds).with_extension("txt");
        let mut child = pyspy_rs()
            .args([
                "record", "-s", "-i", "-f", "raw", "-d", seconds, "--pid", &pid, "-o",
            ])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            peak = peak.max(peak_kib(child.id()).unwrap_or(0));
            std::thread::sleep(Duration::from_millis(2));
        }
        let stacks = fs::read_to_string(&file).unwrap_or_default();
        let sampled = stacks.lines().filter(|line| line.contains("work")).count();
        println!("{sampled} of {PROCESSES} processes, {} MiB", peak >> 10);
        assert!(peak < 200 << 10, "{peak} KiB");
        if sampled > PROCESSES * 2 / 3 {
            return;
        }
    }
    panic!("too few processes were sampled");
}

#[test]
fn too_many_interpreters_are_left_out() {
    let dump = dump(&["interpreters", "9000"]);
    let expected = "only 1024 of 9000 interpreters are read";
    assert!(errors(&dump).contains(expected), "{}", errors(&dump));
    // An unoptimized build on a crowded machine may not read all of them in time.
    let ids = dump["threads"][0]["interpreter_ids"].as_array();
    assert!(ids.is_none_or(|ids| ids.len() <= 1024), "{ids:?}");
}

#[test]
fn too_many_states_of_one_thread_are_left_out() {
    let dump = dump(&["states", "99000"]);
    let expected = "97976 of 99000 thread states are not read";
    assert!(errors(&dump).contains(expected), "{}", errors(&dump));
    assert!(dump["threads"].as_array().unwrap().len() <= 1024);
}

#[test]
fn a_recording_ends_in_time_and_pauses_are_short() {
    for what in [
        ["lines", "5000"],
        ["interpreters", "9000"],
        ["states", "99000"],
    ] {
        let (target, _folder) = start(&what);
        let began = Instant::now();
        let sampling = Sampling::start(target.pid(), &["-d", "1", "-f", "raw"]);
        let recording = sampling.wait();
        let took = began.elapsed();
        println!("{what:?}: {took:?}, {:?}", recording.summary["pauses"]);
        let late = took.saturating_sub(Duration::from_secs(1));
        assert!(late < MARGIN * END, "{what:?} took {took:?}");
        assert_short_pauses(&recording);
    }
}

fn assert_short_pauses(recording: &Recording) {
    if let Some(longest) = recording.summary["pauses"]["max_seconds"].as_f64() {
        assert!(longest < (MARGIN * PAUSE).as_secs_f64(), "{longest} s");
    }
}

/// Every process may take its time, so that the stop must be asked for between them.
#[test]
fn a_signal_ends_a_recording_of_many_slow_processes() {
    let (target, _folder) = start(&["states", "99000", "20"]);
    let mut sampling = Sampling::start(target.pid(), &["-s", "-v", "-f", "raw"]);
    // The children are attached to.
    sampling.wait_until_said("is CPython 3.13");
    let began = Instant::now();
    sampling.stop();
    let took = began.elapsed();
    println!("{took:?}");
    assert!(took < MARGIN * END, "{took:?}");
}
