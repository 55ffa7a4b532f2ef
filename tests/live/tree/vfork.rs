//! A child between vfork and exec runs in its parent's memory: it is no process of Python.

use std::process::Command;

use crate::support::bench::python;
use crate::support::{Recording, Target, fixtures, pyspy_rs, said};

/// It was shown as a second process with its parent's stacks: by `dump -s` after 2 seconds, by `record -s`
/// after 10, in the list of candidates at once.
#[test]
fn a_child_in_its_parents_memory_is_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libvfork.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
        .arg(&library)
        .arg(fixtures().join("vfork.c"))
        .status()
        .expect("a C compiler");
    assert!(status.success());
    let mut target = Target::start(python(), "vfork.py", &[library.to_str().unwrap()]);
    let child = target.ready["child"].to_string();

    let dumps = target.dumps(&["-s"]);
    let pids: Vec<_> = dumps.iter().map(|dump| dump.pid).collect();
    assert_eq!(pids, [u64::from(target.pid())]);
    let options = ["-s", "-i", "-f", "raw", "-F", "-r", "200", "-d", "0.5"];
    let recording = Recording::of_pid(target.pid(), &options);
    let of_child = format!("process {child}:");
    let frames = recording.stacks().into_iter().flat_map(|one| one.frames);
    let frames: Vec<String> = frames.collect();
    assert!(!frames.is_empty());
    assert!(
        !frames.iter().any(|frame| frame.starts_with(&of_child)),
        "{frames:#?}"
    );
    recording.assert_no_error();

    let (status, _, stderr) = said(pyspy_rs().args(["dump", "--pid", &child]));
    assert_eq!(status, Some(1), "{stderr}");
    let hint = format!("give its parent: --pid {}", target.pid());
    assert!(stderr.contains(&hint), "{stderr}");
    let (_, _, candidates) = said(pyspy_rs().arg("dump"));
    let mut words = candidates.split_whitespace();
    assert!(!words.any(|word| word == child), "{candidates}");

    target.say("exec");
    assert_eq!(target.next_line(), "executed");
    let dumps = target.dumps(&["-s"]);
    let of_child = dumps.iter().find(|dump| dump.pid.to_string() == child);
    let of_child = of_child.unwrap_or_else(|| panic!("no {child} in {dumps:#?}"));
    of_child.threads[0].frame("executed");
}
