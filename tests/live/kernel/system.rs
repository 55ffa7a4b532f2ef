//! Containers, children, missing rights, and what is left of us.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{for_each, for_each_kind, is_had, options, record};
use crate::support::{
    Container, Recording, Sampling, Target, interpreters, pyspy_rs, said, wait_until,
};

/// Ids of threads are those of the machine, or of the namespace in which both are.
#[test]
fn a_container_is_sampled_from_outside_and_from_inside() {
    if !is_had() || !Container::can_be_made() {
        return;
    }
    for_each_kind("kernel-container", .., |python| {
        let container = Container::start(python, "lively.py");
        let is_busy = |recording: &Recording| recording.file.contains("busy (lively.py");
        let pid = container.pid;
        Recording::until(|| Recording::of_pid(pid, &options(&["-d", "0.5"])), is_busy);
        let inner = container.inner_pid.to_string();
        let record = |capabilities: &str| {
            let mut ours = container.pyspy_rs(capabilities);
            ours.args(["record", "-d", "0.5", "-o", "-", "--pid", &inner]);
            said(ours.args(options(&[])))
        };
        wait_until("it is sampled from inside", || {
            let (status, stdout, stderr) = record("+all");
            assert_eq!(status, Some(0), "{stderr}");
            stdout.contains("busy (lively.py")
        });
        let (status, _, stderr) = record("-bpf,-perfmon,-sys_admin");
        assert_eq!(status, Some(1), "{stderr}");
        assert!(
            stderr.contains("--engine kernel cannot be used: "),
            "{stderr}"
        );
    });
}

#[test]
fn without_the_capabilities_the_error_says_which() {
    if !is_had() {
        return;
    }
    let python = interpreters().last().unwrap();
    let target = Target::start(python, "busy.py", &[]);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-bpf,-perfmon,-sys_admin", "--"]);
    command.arg(pyspy_rs().get_program()).arg("record");
    command.args(options(&["-o", "-", "-d", "1", "--pid"]));
    let (status, _, stderr) = said(command.arg(target.pid().to_string()));
    assert_eq!(status, Some(1), "{stderr}");
    let needs = "BPF needs root, or the capabilities BPF and PERFMON";
    assert!(stderr.contains(needs), "{stderr}");
    assert!(
        stderr.contains("hint: leave out --engine kernel"),
        "{stderr}"
    );
}

#[test]
fn children_are_sampled() {
    for_each_kind("kernel-children", .., |python| {
        let options = options(&["-s", "-r", "500"]);
        Recording::until(
            || Recording::launch(python, &["later_children.py"], &options),
            |recording| {
                let children = ["forked", "started", "below_shell"];
                children
                    .iter()
                    .all(|name| recording.samples_with(name).0 > 0)
            },
        );
    });
}

/// Each of its thread states has a part of its stack, and a part of a stack is not one that was.
#[test]
fn a_thread_in_several_interpreters_is_an_error() {
    for_each_kind("kernel-interpreters", (3, 8).., |python| {
        let target = Target::start(python, "interpreters.py", &["shared", "2"]);
        let recording = record(&target, &["-d", "0.5"]);
        assert!(recording.stacks().is_empty(), "{}", recording.file);
        let problem = "has a thread in several interpreters";
        assert!(recording.stderr.contains(problem), "{}", recording.stderr);
    });
}

/// However we end, the program goes on at once: nothing was ever stopped.
#[test]
fn a_target_does_not_notice_our_death() {
    for_each("kernel-killed", (3, 12).., |python| {
        let target = Target::start(python, "storm.py", &[]);
        target.until_it_reads_stdin();
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{}/status", target.pid())).unwrap();
            let state = stat.lines().find_map(|line| line.strip_prefix("State:"));
            state.unwrap().trim().to_owned()
        };
        for _ in 0..5 {
            let sampling = Sampling::start(target.pid(), &options(&["-r", "2000"]));
            wait_until("the kernel samples", || {
                sampling.has_open(Path::new("anon_inode:bpf_link"))
            });
            sampling.kill();
            assert!(state().starts_with('R'), "{}", state());
        }
    });
}
