//! `record -- PROGRAM`: signals and streams, ours and the program's.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::support::bench::{Bench, fixture, python, wait};
use crate::support::{Target, pyspy_rs, wait_until_it_samples};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_signal_to_us_writes_the_file_and_reaches_the_program_once() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (bench, mut record) = Bench::new("-o x.svg").start(fixture("signals.py", &[]));
        record.ready();
        kill(record.pid(), signal).unwrap();
        assert_eq!(record.line(), signal.as_str());
        let done = record.finish();
        // The program has handled it and ended well; so do we.
        done.assert_code(0);
        assert_eq!(done.stdout, "", "{signal}: it came twice");
        assert_eq!(bench.files(), ["x.svg"], "{signal}");
        done.assert_wrote("Wrote flamegraph data to 'x.svg'");
    }
}

#[test]
fn a_signal_to_the_program_does_not_end_the_recording() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (bench, mut record) = Bench::new("-o x.svg").start(fixture("signals.py", &[]));
        let program = record.ready();
        kill(program, signal).unwrap();
        assert_eq!(record.line(), signal.as_str());
        let done = record.finish();
        done.assert_code(0);
        assert_eq!(bench.files(), ["x.svg"], "{signal}");
    }
}

#[test]
fn a_signal_that_ends_the_program_ends_the_recording() {
    let (bench, mut record) = Bench::new("-o x.svg").start(python().words(&[
        "-u",
        "-c",
        "import os, sys; print('ready %d' % os.getpid()); sys.stdin.read()",
    ]));
    let program = record.ready();
    kill(program, Signal::SIGTERM).unwrap();
    record.finish().assert_code(143);
    assert_eq!(bench.files(), ["x.svg"]);
}

#[test]
fn the_second_signal_ends_us_and_leaves_the_program_alone() {
    let (bench, mut record) = Bench::new("-o x.svg").start(fixture("signals.py", &[]));
    record.ready();
    kill(record.pid(), Signal::SIGINT).unwrap();
    assert_eq!(record.line(), "SIGINT");
    kill(record.pid(), Signal::SIGINT).unwrap();
    let status = wait(&mut record.child);
    assert_eq!(status.code(), Some(130), "{status:?} {:?}", status.signal());
    // The program has its stdin still.
    let mut stdin = record.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    drop(stdin);
    assert!(
        bench.files().iter().all(|name| name == "x.svg"),
        "{:?}",
        bench.files()
    );
}

#[test]
fn ctrl_c_on_the_terminal_reaches_the_program_once() {
    let folder = tempfile::tempdir().unwrap();
    let pty = nix::pty::openpty(None, None).unwrap();
    let terminal = || Stdio::from(pty.slave.try_clone().unwrap());
    // -c makes the pty the terminal of the new session, and us its foreground.
    let mut child = Command::new("setsid")
        .arg("-c")
        .arg(pyspy_rs().get_program())
        .args(["record", "-o", "x.svg", "--"])
        .args(fixture("signals.py", &[]))
        .current_dir(folder.path())
        .stdin(terminal())
        .stdout(terminal())
        .stderr(terminal())
        .spawn()
        .unwrap();
    let mut screen = BufReader::new(File::from(pty.master.try_clone().unwrap()));
    let mut keyboard = File::from(pty.master);
    let mut line = String::new();
    while !line.starts_with("ready ") {
        line.clear();
        screen.read_line(&mut line).unwrap();
    }
    keyboard.write_all(b"\x03").unwrap();
    let mut shown = String::new();
    while !shown.contains("Wrote flamegraph data") {
        screen.read_line(&mut shown).unwrap();
    }
    // End of input on an empty line.
    keyboard.write_all(b"\x04").unwrap();
    let status = wait(&mut child);
    assert_eq!(status.code(), Some(0), "{shown}");
    drop(pty.slave);
    while screen.read_line(&mut shown).is_ok_and(|length| length > 0) {}
    assert_eq!(shown.matches("SIGINT").count(), 1, "{shown}");
    assert!(folder.path().join("x.svg").exists());
}

#[test]
fn interrupting_a_job_that_a_script_put_in_the_background_works() {
    let target = Target::start(python(), "ping.py", &[]);
    let folder = tempfile::tempdir().unwrap();
    // What `pyspy-rs record … &` is in a script: SIGINT ignored from the start.
    let mut child = Command::new("setsid")
        .args([
            "sh",
            "-c",
            "trap '' INT; exec \"$0\" record -i -o x.svg --pid \"$1\" 2>&1",
        ])
        .arg(pyspy_rs().get_program())
        .arg(target.pid().to_string())
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    wait_until_it_samples(&mut said);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(wait(&mut child).code(), Some(0));
    assert!(folder.path().join("x.svg").exists());
}

#[test]
fn stdin_is_the_programs() {
    let (_bench, mut record) = Bench::new("-o x.svg").start(fixture("stdin_echo.py", &[]));
    let mut stdin = record.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").unwrap();
    drop(stdin);
    let done = record.finish();
    done.assert_code(0);
    assert_eq!(done.stdout, "one\ntwo\n");
    done.assert_wrote("2 lines\n");
}

#[test]
fn a_closed_stdout_loses_no_file() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut bench = Bench::new("-o x.txt");
    bench.stdout = Some(writer.into());
    // The program's own write fails: Python says so and exits with 120 or 1.
    let (bench, done) = bench.run(fixture("args.py", &[]));
    assert_ne!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(done.status.code().is_some(), "{}", done.stderr);
    assert_eq!(bench.files(), ["x.txt"]);
}

#[test]
fn a_closed_stderr_loses_no_file() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut bench = Bench::new("-o x.txt -r 1000");
    bench.stderr = Some(writer.into());
    let (bench, done) = bench.run(fixture("split.py", &["0.5"]));
    done.assert_code(0);
    assert!(bench.text("x.txt").contains("split.py"));
}
