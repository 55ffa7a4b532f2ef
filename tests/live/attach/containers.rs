//! Programs in containers: other pids, other roots, replaced files; dumped from outside and inside.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::support::{
    Container, Dump, Interpreter, Recording, for_each_kind, interpreters, pyspy_rs, said,
};

/// One interpreter, for what does not depend on it.
fn any() -> &'static Interpreter {
    interpreters().last().expect("an interpreter")
}

/// Fails unless a dump has the four threads of `lively.py`, each with its function.
fn assert_lively(dump: &Dump) {
    assert!(dump.errors.is_empty(), "{:?}", dump.errors);
    let functions: Vec<&str> = dump
        .threads
        .iter()
        .flat_map(|thread| thread.frames.iter().map(|frame| frame.name.as_str()))
        .collect();
    let count = |name| functions.iter().filter(|one| **one == name).count();
    assert_eq!((count("busy"), count("nap")), (2, 2), "{functions:?}");
}

fn dump(arguments: &[&str]) -> Dump {
    Dump::run(pyspy_rs().args(["dump", "--format=json"]).args(arguments))
}

/// Puts other files in the place of all that a process has mapped of Python, as an upgrade does: the
/// same names, other contents.
fn upgrade(container: &Container) -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", container.pid)).unwrap();
    let mut paths: Vec<&str> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.starts_with('/') && path.contains("python") && !path.ends_with(".mo"))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    for path in &paths {
        let path = container.path(Path::new(path));
        let new = path.with_extension("new");
        fs::copy(&path, &new).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&new).unwrap();
        // Where its symbols may be, nothing but what would lead us astray.
        file.write_all_at(&[0xff; 4096], 4096).unwrap();
        fs::rename(new, path).unwrap();
    }
    paths.len()
}

#[test]
fn programs_in_containers_are_seen_from_outside() {
    if !Container::can_be_made() {
        return;
    }
    for_each_kind("container, from outside", |python| {
        let container = Container::start(python, "lively.py");
        let (pid, inner) = (container.pid.to_string(), container.inner_pid.to_string());
        assert_ne!(pid, inner);
        let seen = dump(&["--pid", &pid]);
        assert_lively(&seen);
        let main = seen.threads.iter().find(|thread| thread.main);
        let main = main.expect("the main thread is known by its number outside");
        assert_eq!(main.os_thread_id, Some(container.pid.into()));
        let init = container.init.to_string();
        let ways = [
            &["--pid", &inner, "--in-container", &container.host_name][..],
            &["--pid", &inner, "--in-container", &init],
            &["--in-container", &container.host_name],
        ];
        for way in ways {
            assert_eq!(dump(way).pid, u64::from(container.pid), "{way:?}");
        }
        // An upgrade replaces its files while it runs.
        assert!(upgrade(&container) > 0);
        assert_lively(&dump(&["--pid", &pid]));
        let recording = Recording::until(
            || {
                let recording = Recording::of_pid(container.pid, &["-d", "0.5", "-f", "raw"]);
                recording.assert_no_error();
                recording
            },
            |recording| recording.samples_with("busy (lively.py").0 > 0,
        );
        let (busy, all) = recording.samples_with("busy (lively.py");
        assert!(busy <= all, "{}", recording.file);
    });
}

#[test]
fn programs_are_seen_from_inside_their_container() {
    if !Container::can_be_made() {
        return;
    }
    for_each_kind("container, from inside", |python| {
        let container = Container::start(python, "lively.py");
        let inner = container.inner_pid.to_string();
        let dump = ["dump", "--format=json", "--pid", &inner];
        let seen = Dump::run(container.pyspy_rs("+all").args(dump));
        assert_lively(&seen);
        assert_eq!(seen.pid, u64::from(container.inner_pid));
        // Numbers and roots are its own: no number of ours is one of its.
        assert!(
            seen.threads
                .iter()
                .all(|thread| thread.os_thread_id.is_some())
        );
    });
}

#[test]
fn without_the_capability_in_a_container() {
    if !Container::can_be_made() {
        return;
    }
    let bounding = "-sys_ptrace";
    // As Docker starts both by default: neither has it, and the kernel allows it among equals.
    let equal = [("CONTAINER_BOUNDING", bounding)];
    let container = Container::start_with(any(), "lively.py", None, &equal);
    let inner = container.inner_pid.to_string();
    let is_yama_off = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .is_ok_and(|scope| scope.trim() != "0");
    if is_yama_off {
        println!("SKIPPED: Yama forbids what a container without SYS_PTRACE may do");
    } else {
        let dump = ["dump", "--format=json", "--pid", &inner];
        assert_lively(&Dump::run(container.pyspy_rs(bounding).args(dump)));
    }
    // A program with more rights than we have needs it.
    let mightier = Container::start(any(), "lively.py");
    let inner = mightier.inner_pid.to_string();
    let mut ours = mightier.pyspy_rs(bounding);
    let (status, _, stderr) = said(ours.args(["dump", "--pid", &inner]));
    assert_eq!(status, Some(1), "{stderr}");
    assert!(
        stderr.contains("requires the SYS_PTRACE capability, which this container lacks"),
        "{stderr}"
    );
    assert!(
        stderr.contains("hint: start the container with --cap-add SYS_PTRACE"),
        "{stderr}"
    );
}

#[test]
fn what_there_is_instead_is_listed() {
    if !Container::can_be_made() {
        return;
    }
    let name = format!("twin-{}", std::process::id());
    let twin = || Container::start_with(any(), "lively.py", Some(&name), &[]);
    let (one, two) = (twin(), twin());
    let inner = one.inner_pid.to_string();
    assert_eq!(one.inner_pid, two.inner_pid);
    let refused = |arguments: &[&str]| {
        let mut command = pyspy_rs();
        let (status, _, stderr) = said(command.arg("dump").args(arguments));
        assert_eq!(status, Some(1), "{stderr}");
        stderr
    };
    let has = |text: &str, wanted: &[&str]| {
        for wanted in wanted {
            assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
        }
    };
    let (first, second) = (one.pid.to_string(), two.pid.to_string());

    let stderr = refused(&["--pid", &inner, "--in-container", &name]);
    has(&stderr, &["matches several containers", &first, &second]);

    let stderr = refused(&["--pid", "9999", "--in-container", &first]);
    has(&stderr, &["INSIDE", "has no process 9999", &first]);
    assert!(!stderr.contains(&second), "{stderr}");

    let stderr = refused(&["--in-container", &name]);
    has(&stderr, &["has 2 Python processes", &first, &second]);

    let (init, nobody) = (one.init.to_string(), "no-such-container");
    let stderr = refused(&["--pid", "1", "--in-container", nobody]);
    has(&stderr, &["CONTAINER", &name, &init, nobody]);

    // A pid is counted as we count, and distinguishes the two.
    let seen = dump(&["--pid", &inner, "--in-container", &first]);
    assert_eq!(seen.pid, u64::from(one.pid));
}

#[test]
fn the_numbers_of_our_own_namespace_are_taken_as_they_are() {
    // Needs no permission: we are in that container.
    let target = crate::support::Target::start(any(), "waits.py", &[]);
    let pid = target.pid().to_string();
    let seen = dump(&["--pid", &pid, "--in-container", &pid]);
    assert_eq!(seen.pid, u64::from(target.pid()));
    let (status, _, stderr) = said(Command::new(crate::support::binary()).args([
        "record",
        "--in-container",
        "x",
        "--",
        "python3",
    ]));
    assert_eq!(status, Some(2), "{stderr}");
    assert!(
        stderr.contains("cannot be combined with a program to launch"),
        "{stderr}"
    );
}
