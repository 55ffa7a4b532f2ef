//! `--engine auto`: the kernel where it can, pauses where it cannot.

use std::process::Command;

use super::{for_each_kind, is_had};
use crate::memory::growth::Seen;
use crate::support::{Recording, Target, interpreters, pyspy_rs, read_summary, said};

/// Records by the engine that is the default, which must be the kernel's here.
fn record(target: &Target, others: &[&str]) -> Recording {
    let options = [
        &["--engine", "auto", "-f", "raw", "-F", "-r", "200"],
        others,
    ]
    .concat();
    let recording = Recording::of_pid(target.pid(), &options);
    assert_eq!(recording.summary["engine"], "kernel");
    recording
}

#[test]
fn a_stack_too_deep_for_the_kernel_is_paused() {
    for_each_kind("auto-deep", .., |python| {
        let target = Target::start(python, "deep_busy.py", &["300"]);
        let recording = Recording::until(
            || record(&target, &["-d", "1"]),
            |recording| !recording.stacks().is_empty(),
        );
        for stack in recording.stacks() {
            let downs = stack.functions();
            let downs = downs.iter().filter(|name| **name == "down").count();
            assert_eq!(downs, 300);
        }
        let notice =
            "has a stack deeper than the kernel copies: it is paused at each sample instead";
        assert!(recording.stderr.contains(notice), "{}", recording.stderr);
    });
}

/// What a process adds while it is paused was counted again when the kernel was tried again.
#[test]
fn memory_is_counted_once_by_both_engines() {
    for_each_kind("auto-memory", .., |python| {
        let options = ["--engine", "auto"];
        let seen = Seen::beside_others(python, "deep_growing.py", &["400", "2.5"], &options);
        let Recording {
            file,
            stderr,
            summary,
            ..
        } = &seen.recording;
        assert_eq!(summary["engine"], "kernel");
        assert!(
            stderr.contains("it is paused at each sample instead"),
            "{stderr}"
        );
        // Each record of a page fault was an error.
        assert!(seen.recording.errors() < 50, "{stderr}");
        let [keep, between] = ["keep", "<between samples>"].map(|name| seen.share(name));
        println!("{}: {keep} and {between}", python.label());
        assert!(seen.share("down") + between > 0.9, "{file}");
        seen.assert_total(&python.label());
    });
}

#[test]
fn a_thread_in_several_interpreters_is_paused() {
    for_each_kind("auto-interpreters", (3, 8).., |python| {
        let target = Target::start(python, "interpreters.py", &["shared", "2"]);
        let recording = Recording::until(
            || record(&target, &["-d", "1"]),
            |recording| !recording.stacks().is_empty(),
        );
        let notice = "has a thread in several interpreters: it is paused at each sample instead";
        assert!(recording.stderr.contains(notice), "{}", recording.stderr);
        assert_eq!(recording.errors(), 0, "{}", recording.stderr);
    });
}

/// The sum of the weights is what the kernel counted, also over the moment from which on the process is paused.
#[test]
fn cpu_time_is_counted_once_by_both_engines() {
    for_each_kind("auto-cpu", .., |python| {
        let target = Target::start(python, "deep_busy.py", &["1200"]);
        let recording = record(&target, &["-d", "2", "--cpu"]);
        let weights = recording
            .stacks()
            .iter()
            .map(|stack| stack.count)
            .sum::<u64>();
        // One thread cannot have had more; how much it had depends on the machine.
        println!("{}: {weights} ns of 2 s", python.label());
        assert!(weights > 0 && weights <= 2_100_000_000, "{weights} ns");
    });
}

#[test]
fn without_the_capabilities_threads_are_paused() {
    if !is_had() {
        return;
    }
    let python = interpreters().last().unwrap();
    let target = Target::start(python, "busy.py", &[]);
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.json");
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-bpf,-perfmon,-sys_admin", "--"]);
    command.arg(pyspy_rs().get_program());
    command.args([
        "record",
        "-v",
        "-f",
        "raw",
        "-o",
        "-",
        "-d",
        "0.5",
        "--summary",
    ]);
    command.arg(&summary).arg("--pid");
    let (status, stdout, stderr) = said(command.arg(target.pid().to_string()));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stdout.is_empty(), "{stderr}");
    assert_eq!(read_summary(&summary)["engine"], "pausing");
    let why = "threads are paused at each sample: the kernel does not permit";
    assert!(stderr.contains(why), "{stderr}");
}
