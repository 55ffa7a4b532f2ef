//! `dump --json` is what py-spy prints: each key at its place, with the same value.

use std::collections::HashSet;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use crate::support::{Interpreter, Target, bench, for_each_at_once, for_each_kind, pyspy_rs};

/// The keys of a thread, a frame and a variable that only we have.
const OURS: [&str; 11] = [
    "main",
    "ended",
    "system_call",
    "collecting",
    "interpreter_ids",
    "first_line",
    "column",
    "end_line",
    "end_column",
    "locals_consistent",
    "locals_omitted",
];

/// Runs `dump --json` of either, and returns its output.
fn list(program: &mut Command, target: &Target, options: &[&str]) -> String {
    program.args(["dump", "--json", "--pid", &target.pid().to_string()]);
    let output = program.args(options).stdin(Stdio::null()).output();
    let output = output.expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {stderr}");
    String::from_utf8(output.stdout).expect("JSON is text")
}

fn objects(value: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let items = value.as_array_mut().into_iter().flatten();
    items.map(|item| item.as_object_mut().expect("an object"))
}

/// Takes out what differs on purpose: keys of our own, the text of values, and whether a variable is an
/// argument, which py-spy denies of `*args`, `**kwargs` and those that can only be passed by keyword.
fn comparable(text: &str) -> Value {
    let mut list: Value = serde_json::from_str(text).expect("JSON");
    for thread in objects(&mut list) {
        thread.retain(|key, _| !OURS.contains(&key.as_str()));
        for frame in objects(&mut thread["frames"]) {
            frame.retain(|key, _| !OURS.contains(&key.as_str()));
            for local in objects(&mut frame["locals"]) {
                assert!(local.remove("repr").is_some_and(|text| text.is_string()));
                assert!(local.remove("arg").is_some_and(|arg| arg.is_boolean()));
            }
        }
    }
    list
}

/// The keys of the first thread, its first frame and its first variable, as they come.
fn order(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim_start);
    let keys = lines.filter_map(|line| line.strip_prefix('"')?.split_once("\": "));
    let mut seen = HashSet::new();
    let keys = keys.map(|(key, _)| key).filter(|key| !OURS.contains(key));
    keys.filter(|key| seen.insert(*key)).collect()
}

fn compare(python: &Interpreter, py_spy: &str, fixture: &str) {
    let target = Target::start(python, fixture, &[]);
    for options in [&[][..], &["-l"]] {
        let theirs = list(&mut Command::new(py_spy), &target, options);
        let ours = list(&mut pyspy_rs(), &target, options);
        assert_eq!(order(&ours), order(&theirs), "{ours}\n{theirs}");
        let (ours, theirs) = (comparable(&ours), comparable(&theirs));
        assert_eq!(ours, theirs, "{fixture} {options:?}");
    }
}

#[test]
fn the_list_is_that_of_py_spy() {
    let Some(packages) = bench::python().packages(&["py-spy==0.4.3"]) else {
        return;
    };
    let py_spy = packages.join("bin/py-spy");
    let py_spy = py_spy.to_str().expect("text");
    for_each_at_once("thread-list", (3, 7)..(3, 14), |python| {
        compare(python, py_spy, "c_frames.py");
        compare(python, py_spy, "threads.py");
    });
}

/// py-spy ignores `-s` here: its JSON is that of the first process.
#[test]
fn a_tree_is_one_list() {
    for_each_kind("thread-list-tree", |python| {
        let target = Target::start(python, "pools.py", &["fork"]);
        let dumps = target.dumps(&["-s"]);
        let text = list(&mut pyspy_rs(), &target, &["-s"]);
        let list: Vec<Value> = serde_json::from_str(&text).expect("a list");
        let mut found = Vec::new();
        for thread in &list {
            found.push((thread["pid"].as_u64(), thread["os_thread_id"].as_u64()));
        }
        let mut expected = Vec::new();
        for dump in &dumps {
            let newest_first = dump.threads.iter().rev();
            expected.extend(newest_first.map(|thread| (Some(dump.pid), thread.os_thread_id)));
        }
        assert!(dumps.len() > 1);
        assert_eq!(found, expected);
    });
}
