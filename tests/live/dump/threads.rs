//! What a dump says about threads: which one holds the GIL, which are active, their OS threads.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Target, Thread, fixtures, for_each_interpreter, for_each_kind, pyspy_rs, said, wait_until,
};

#[test]
fn the_busy_thread_holds_the_gil() {
    for_each_interpreter("gil", .., |python| {
        let target = Target::start(python, "gil.py", &["3"]);
        let truth = target.truth();
        let dump = target.dump(&[]);
        dump.assert_matches(&truth);
        for thread in &truth.threads {
            let busy = thread.name == "busy";
            let found = dump.find(thread);
            let holds = busy && !python.is_free_threaded();
            assert_eq!(found.owns_gil, holds, "GIL holder: {found:#?}");
            assert_eq!(found.active, busy, "active: {found:#?}");
        }
    });
}

/// The text showed only `idle` there, so that nothing said whom all others waited for.
#[test]
fn a_thread_that_blocks_with_the_gil_is_marked() {
    for_each_kind("blocks-with-gil", |python| {
        let target = Target::start(python, "holds_gil.py", &[]);
        let pid = target.pid().to_string();
        let mut text = String::new();
        wait_until("the holder blocks", || {
            let (status, stdout, stderr) = said(pyspy_rs().args(["dump", "--pid", &pid]));
            assert_eq!(status, Some(0), "{stderr}");
            text = stdout;
            text.lines()
                .any(|line| line.starts_with("Thread ") && line.contains("(idle+gil)"))
        });
        assert_eq!(text.matches("+gil").count(), 1, "{text}");
        let after = text.split_once("(idle+gil)").unwrap().1;
        assert!(after.lines().nth(1).unwrap().contains("hold ("), "{text}");
    });
}

#[test]
fn a_thread_collects_garbage() {
    // 3.6 and 2.7 have the flag in a static variable without a symbol.
    for_each_interpreter("collecting", (3, 7).., |python| {
        let target = Target::start(python, "gc_running.py", &["spin"]);
        let truth = target.truth();
        let dump = target.dump(&[]);
        dump.assert_matches(&truth);
        let main = dump.find(truth.thread("MainThread"));
        assert!(main.collecting && main.owns_gil, "{main:#?}");
        let collecting = dump.threads.iter().filter(|thread| thread.collecting);
        assert_eq!(collecting.count(), 1);
    });
}

#[test]
fn the_gil_of_an_idle_program_has_no_holder() {
    for_each_interpreter("no-gil-holder", .., |python| {
        let target = Target::start(python, "threads.py", &["4"]);
        let dump = target.dump(&[]);
        dump.assert_matches(&target.truth());
        for thread in &dump.threads {
            assert!(!thread.owns_gil && !thread.active, "{thread:#?}");
        }
    });
}

#[test]
fn a_paused_target_goes_on() {
    for_each_interpreter("goes-on", .., |python| {
        let mut target = Target::start(python, "ping.py", &[]);
        for _ in 0..3 {
            target.dump(&[]);
        }
        target.say("ping");
        assert_eq!(target.next_line(), "pong");
        assert!(target.finish().success());
    });
}

/// native_threads.c as a shared object.
fn native_threads_library(folder: &Path) -> PathBuf {
    let library = folder.join("libnative_threads.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-pthread", "-o"])
        .arg(&library)
        .arg(fixtures().join("native_threads.c"))
        .status()
        .expect("a C compiler");
    assert!(status.success());
    library
}

#[test]
fn six_hundred_native_threads_beside_python() {
    for_each_interpreter("native_threads", .., |python| {
        let place = python.new_place("lib");
        native_threads_library(&place.host);
        let seen = place.seen.join("libnative_threads.so");
        let arguments = [seen.to_str().unwrap(), "600"];
        let target = Target::start(python, "native_threads.py", &arguments);
        let dump = target.dump(&[]);
        dump.assert_matches(&target.truth());
        assert_eq!(dump.json["memory"]["os_threads"], 602);
    });
}

#[test]
fn a_fork_that_cpython_did_not_see() {
    for_each_interpreter("fork_in_c", .., |python| {
        let target = Target::start(python, "fork_in_c.py", &[]);
        assert_ne!(target.pid(), target.started_pid());
        let dump = target.dump(&[]);
        dump.assert_matches(&target.truth());
        let main = dump.find(target.truth().thread("MainThread"));
        assert_eq!(main.os_thread_id, Some(u64::from(target.pid())));
    });
}

/// The name of each thread's leaf, and whether it has ended.
fn leaves(target: &Target) -> Vec<(String, bool)> {
    let dump = target.dump(&[]);
    assert!(dump.errors.is_empty(), "{:#?}", dump.errors);
    let leaf = |thread: &Thread| thread.frames.first().map(|frame| frame.name.clone());
    let threads = dump.threads.iter();
    threads
        .map(|thread| (leaf(thread).unwrap_or_default(), thread.ended))
        .collect()
}

/// Up to 3.8 the threads that had ended were shown as idle.
#[test]
fn daemon_threads_that_ended_with_the_interpreter_are_not_shown() {
    for_each_interpreter("dead-daemons", (3, 0).., |python| {
        let target = Target::start(python, "dead_daemons.py", &[]);
        let leaves = leaves(&target);
        let (last, others) = leaves.split_first().expect("the main thread");
        assert!(last.0.ends_with("__del__") && !last.1, "{leaves:?}");
        // From 3.9 on, the states of all other threads are freed first.
        let lives = ("waits".to_owned(), false);
        let expected = match python.version.minor_pair() < (3, 9) {
            true => &[lives][..],
            false => &[],
        };
        assert_eq!(others, expected);
    });
}

/// The states of threads that only the parent has were shown as idle threads.
#[test]
fn threads_that_a_fork_left_behind_have_ended() {
    for_each_interpreter("forked-threads", .., |python| {
        let expected = |ended| [("<module>".to_owned(), false), ("waits".to_owned(), ended)];
        // Nothing tells the living thread from the other one there.
        let target = Target::start(python, "forked_threads.py", &["syscall"]);
        assert_eq!(leaves(&target), expected(false));
        let target = Target::start(python, "forked_threads.py", &["fork"]);
        assert_eq!(leaves(&target), expected(true));
        let pid = target.pid().to_string();
        let (_, text, _) = said(pyspy_rs().args(["dump", "--pid", &pid]));
        assert!(text.contains(" (ended)"), "{text}");
    });
}
