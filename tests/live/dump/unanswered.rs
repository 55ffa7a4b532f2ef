//! Memory and files that never answer: a userfaultfd that no one serves, and FUSE. The dump ends, shows the other
//! threads, and says what did not answer.

use std::fs;
use std::time::{Duration, Instant};

use std::os::unix::process::ExitStatusExt;

use crate::support::bench::python;
use crate::support::require::{has, has_root};
use crate::support::{Dump, Target, for_each_at_once, pyspy_rs, wait_until};

/// A dump waits for some 100 ms; the rest is for a loaded machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Dumps a program of which something does not answer, on every version that has `co_qualname`.
fn dump(mode: &str, check: impl Fn(&Dump) + Sync) {
    if !has_root("a userfaultfd or a FUSE mount") {
        return;
    }
    for_each_at_once(&format!("unanswered-{mode}"), (3, 11).., |python| {
        let target = Target::start(python, "unanswered.py", &[mode]);
        let refused = target.ready["refused"].as_str();
        if !has(
            "namespaces",
            refused.is_none(),
            format_args!("{mode}: {refused:?}"),
        ) {
            return;
        }
        let begin = Instant::now();
        let dump = target.dump(&[]);
        assert!(begin.elapsed() < LIMIT, "it took {:?}", begin.elapsed());
        dump.thread("waits").frame("waits");
        check(&dump);
        assert_ne!(state(&target), Some('t'), "it is left stopped");
    });
}

fn state(target: &Target) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", target.pid())).expect("it runs");
    stat.rsplit_once(") ").expect("a name").1.chars().next()
}

#[test]
fn memory_of_a_userfaultfd_costs_a_name() {
    dump("userfaultfd", |dump| {
        let name = &dump.thread("MainThread").frames[0].name;
        assert!(
            name.contains("a userfaultfd, which does not answer"),
            "{name}"
        );
    });
}

/// Only the qualified name cost no more than itself.
#[test]
fn memory_of_a_userfaultfd_costs_all_three_names() {
    dump("names", |dump| {
        let frames = &dump.thread("MainThread").frames;
        let reason = "a userfaultfd, which does not answer";
        assert!(frames[0].name.contains(reason), "{frames:#?}");
        assert!(frames[0].filename.contains(reason), "{frames:#?}");
        assert_eq!(frames[1].name, "main");
    });
}

#[test]
fn a_mapped_file_that_does_not_answer_costs_a_name() {
    dump("mapped", |dump| {
        let name = &dump.thread("MainThread").frames[0].name;
        assert!(
            name.contains("a file on fuse, which does not answer"),
            "{name}"
        );
    });
}

/// The `stat` of its folder hung the dump before its first line.
#[test]
fn a_folder_that_does_not_answer_costs_a_short_name() {
    dump("path", |dump| {
        let frame = dump.thread("MainThread").frame("victim");
        assert_eq!(frame.filename, "/mnt/hangs/x.py");
        assert_eq!(frame.short_filename, frame.filename);
    });
}

/// Nothing tells that this memory does not answer, so the read blocks where only the end of the reader ends it,
/// and with it the thread that is paused. The watchdog process ends both.
#[test]
fn memory_that_is_not_known_to_block_holds_the_target_for_a_second() {
    if !has_root("a userfaultfd") {
        return;
    }
    let target = Target::start(python(), "unanswered.py", &["handed"]);
    let refused = target.ready["refused"].as_str();
    if !has(
        "userfaultfd",
        refused.is_none(),
        format_args!("{refused:?}"),
    ) {
        return;
    }
    let begin = Instant::now();
    let mut command = pyspy_rs();
    let dump = command.args(["dump", "--pid", &target.pid().to_string()]);
    let output = dump.output().expect("it is run");
    assert!(begin.elapsed() < LIMIT, "it took {:?}", begin.elapsed());
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let read = format!("error: a read of the memory of process {}", target.pid());
    assert!(
        said.contains(&format!("{read} has blocked for 1 s while it was paused")),
        "{said}"
    );
    // The kernel resumes it when the last thread of the killed tracer has ended.
    wait_until("the target runs", || state(&target) != Some('t'));
}
