//! Free-threaded builds: threads that run Python at the same time, each in its own copy of the
//! instructions. No such interpreter is in Debian or on PyPI; so a C program takes its place that is
//! compiled with CPython's own headers as that build has them (fixtures/free_threaded.c).

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Dump, Recording, Stack, Target, fixtures, interpreters, pyspy_rs, samples};
use tempfile::TempDir;

const THREADS: &str = "4";

/// The program, compiled with the headers of each version that has them, and its version.
fn programs(folder: &TempDir) -> Vec<(String, PathBuf)> {
    let mut programs = Vec::new();
    for python in interpreters() {
        let Some(root) = python.root.as_ref().filter(|_| !python.is_free_threaded()) else {
            continue;
        };
        let (major, minor) = python.version.minor_pair();
        let all = root.join("usr/include");
        let headers = all.join(format!("python{major}.{minor}"));
        if !headers.join("internal/pycore_debug_offsets.h").exists() {
            println!("SKIPPED: free-threaded {major}.{minor}: no headers of 3.14 or later");
            continue;
        }
        let program = folder.path().join(format!("free_threaded{major}.{minor}"));
        let mut compiler = Command::new("cc");
        compiler.args([
            "-O1",
            "-w",
            "-pthread",
            "-rdynamic",
            "-DPy_GIL_DISABLED=1",
            "-I",
        ]);
        compiler
            .arg(&headers)
            .arg("-I")
            .arg(headers.join("internal"));
        // pyconfig.h is beside the system's own headers there, which must not come first.
        compiler.arg("-idirafter").arg(all).arg("-o").arg(&program);
        compiler.arg(fixtures().join("free_threaded.c"));
        assert!(compiler.status().expect("a C compiler").success());
        programs.push((python.version.to_string(), program));
    }
    if programs.is_empty() {
        println!("SKIPPED: free-threaded builds: no CPython 3.14 or later with headers");
    }
    programs
}

fn for_each_program(case: impl Fn(&str, &Target)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (version, program) in programs(&folder) {
        let mut command = Command::new(program);
        command.arg(THREADS);
        case(&version, &Target::start_command(command));
        println!("free-threaded {version} ran");
    }
}

/// Whether a stack is the beginning of one chain, each frame at a line where it can be: a caller at its
/// call, the leaf also where it begins, the fourth where it stays. See fixtures/free_threaded.c.
fn is_possible(stack: &Stack) -> bool {
    let frames = &stack.frames;
    let last = frames.len() - 1;
    ["left", "right"].iter().any(|side| {
        frames.iter().enumerate().all(|(place, frame)| {
            let number = place + 1;
            let at = |unit| format!("{side}_{number} ({side}.py:{})", 100 * number + unit);
            let call = if number < 4 { 10 * number } else { 5 };
            number <= 4 && (*frame == at(call) || (place == last && *frame == at(1)))
        })
    })
}

/// No GIL stops the other threads: each must be paused for its stack to be consistent.
#[test]
fn threads_that_run_at_the_same_time() {
    for_each_program(|version, target| {
        let options = ["-f", "raw", "-r", "2000", "-d", "0.5", "-t"];
        let mut pool = Recording::at_least(2_000, || Recording::of_pid(target.pid(), &options));
        assert_eq!(pool.errors, 0);
        for stack in &mut pool.stacks {
            // The label of its thread.
            stack.frames.remove(0);
            assert!(is_possible(stack), "{stack:?}");
        }
        let is_whole = |stack: &&Stack| stack.frames.len() == 4;
        let (seen, whole) = (pool.samples(), samples(pool.stacks.iter().filter(is_whole)));
        println!("{version}: {seen} stacks, {whole} of them whole");
        assert!(whole * 2 > seen, "{whole} of {seen}");
    });
}

#[test]
fn a_dump_says_that_there_is_no_gil() {
    for_each_program(|_, target| {
        let dump: Dump = target.dump(&[]);
        assert!(dump.errors.is_empty(), "{:?}", dump.errors);
        assert_eq!(dump.threads.len(), 5);
        assert!(dump.threads.iter().all(|thread| !thread.owns_gil));
        let interpreters = serde_json::json!([{"id": 0, "gil": null, "gil_holder": null}]);
        assert_eq!(dump.json["interpreters"], interpreters);
        let mut text = pyspy_rs();
        text.args(["dump", "--pid", &target.pid().to_string()]);
        let text = String::from_utf8(text.output().unwrap().stdout).unwrap();
        assert!(
            text.contains("\nGIL: none (a free-threaded build)\n"),
            "{text}"
        );
    });
}

/// `--gil` has no thread to show. That is one sentence at the start, and no error.
#[test]
fn without_a_gil_there_is_no_holder() {
    for_each_program(|_, target| {
        let options = ["-f", "raw", "--gil", "-d", "0.2"];
        let recording = Recording::of_pid(target.pid(), &options);
        assert_eq!((recording.errors(), recording.file.as_str()), (0, ""));
        let said = &recording.stderr;
        assert_eq!(said.matches("without a GIL").count(), 1, "{said}");
    });
}
