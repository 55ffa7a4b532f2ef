//! Frames of text, where stdout is no terminal.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::one_python;
use crate::support::bench::{fixture, wait};
use crate::support::{Target, for_each_kind, pyspy_rs, wait_until};

/// `top` without LINES of the tester's shell.
fn top(options: &[&str]) -> Command {
    let mut command = pyspy_rs();
    command.arg("top").args(options).env_remove("LINES");
    command.stdin(Stdio::null());
    command
}

/// What it prints on stdout; it must succeed, and say nothing else.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The numbers of the line that monitors parse, by their names.
fn load(frame: &str) -> Vec<(&str, f64)> {
    let line = frame.lines().find(|line| line.starts_with("GIL: "));
    let line = line.unwrap_or_else(|| panic!("no load: {frame}"));
    let parts = line.split(", ").map(|part| {
        // Without the percent sign, and without a colon after the last.
        let (name, value) = part.rsplit_once(' ').unwrap();
        let number = value.trim_end_matches('%').parse().unwrap();
        (name.trim_end_matches(':'), number)
    });
    parts.collect()
}

#[test]
fn frames_of_24_lines_without_escapes() {
    for_each_kind("top-frames", |python| {
        let target = Target::start(python, "gil.py", &["2"]);
        let pid = target.pid().to_string();
        let text = printed(&mut top(&[
            "--delay",
            "0.3",
            "--refreshes",
            "3",
            "--pid",
            &pid,
        ]));
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3 * 24, "{text}");
        for frame in lines.chunks(24) {
            assert!(frame[0].starts_with("Collecting samples from '"), "{text}");
            assert!(
                frame[0].contains(&format!("(pid {pid}, python v")),
                "{text}"
            );
            assert_eq!(
                frame[5],
                "  %Own   %Total  OwnTime  TotalTime  Function (filename)"
            );
            assert_eq!(frame[23], "");
        }
        // py-spy's columns only.
        let row: Vec<&str> = lines[2 * 24 + 6].split_whitespace().collect();
        assert!(row[0].ends_with('%') && row[1].ends_with('%'), "{text}");
        assert!(row[2].ends_with('s') && row[3].ends_with('s'), "{text}");
        assert_eq!(row[4..], ["spin", "(gil.py)"], "{text}");
        let [("GIL", gil), ("Active", active), ("Threads", 5.0)] = load(&text)[..] else {
            panic!("{text}");
        };
        assert!(gil > 0.0 && active >= gil, "{text}");
    });
}

#[test]
fn once_with_the_size_that_is_asked_for_and_the_processes() {
    let target = Target::start(one_python(), "children.py", &[]);
    let pid = target.pid().to_string();
    let mut command = top(&["-s", "--once", "--delay", "0.3", "--pid", &pid]);
    let text = printed(command.env("LINES", "10").env("COLUMNS", "50"));
    assert_eq!(text.lines().count(), 10, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 50),
        "{text}"
    );
    // The parent, its fork, and the child that it has started; the shell is no Python.
    let count = load(&text).pop();
    assert_eq!(count, Some(("Processes", 3.0)), "{text}");
    for (lines, expected) in [("0", 24), ("many", 24), ("3", 8)] {
        let mut command = top(&["--once", "--delay", "0.1", "--pid", &pid]);
        let text = printed(command.env("LINES", lines));
        assert_eq!(text.lines().count(), expected, "{lines}: {text}");
    }
}

/// Starts it, and returns it with its first line.
fn started(command: &mut Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("Collecting"), "{line}");
    (child, stdout)
}

fn said(child: &mut Child) -> String {
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    stderr
}

#[test]
fn a_reader_that_has_gone_ends_it_quietly() {
    let target = Target::start(one_python(), "gil.py", &["1"]);
    let pid = target.pid().to_string();
    for delay in ["0.1", "1"] {
        let (mut child, stdout) = started(&mut top(&["--delay", delay, "--pid", &pid]));
        drop(stdout);
        assert_eq!(wait(&mut child).code(), Some(0));
        assert_eq!(said(&mut child), "");
    }
}

#[test]
fn a_signal_ends_it_after_a_whole_frame() {
    let target = Target::start(one_python(), "gil.py", &["1"]);
    let pid = target.pid().to_string();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut child, mut stdout) = started(&mut top(&["--delay", "0.1", "--pid", &pid]));
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(wait(&mut child).code(), Some(0), "{signal}");
        // The first line is gone.
        assert_eq!((rest.lines().count() + 1) % 24, 0, "{rest}");
        assert_eq!(said(&mut child), "");
    }
}

#[test]
fn a_signal_ends_it_while_nobody_reads() {
    let target = Target::start(one_python(), "gil.py", &["1"]);
    let pid = target.pid().to_string();
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut command = top(&["--delay", "0.001", "--pid", &pid]);
    command.env("LINES", "10000");
    let mut child = command.stdout(writer.try_clone().unwrap()).spawn().unwrap();
    wait_until("the pipe is full", || {
        let mut fds = [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn the_programs_end_ends_them() {
    let mut target = Target::start(one_python(), "gil.py", &["1"]);
    let pid = target.pid().to_string();
    let (mut child, mut stdout) = started(&mut top(&["--delay", "0.1", "--pid", &pid]));
    target.finish();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(
        rest.ends_with(&format!("\nProcess {pid} has ended.\n")),
        "{rest}"
    );
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn the_output_of_a_launched_program_is_not_among_them() {
    let output = top(&["--delay", "0.1", "--"])
        .args(fixture("printing.py", &["3"]))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(
        stdout.contains("\nGIL: ") && stdout.contains("spins (printing.py)"),
        "{stdout}"
    );
    assert!(!stdout.contains("printed"), "{stdout}");
    // As it has printed it.
    for text in [
        "last words about ''\n",
        "\x1b[2J\x1b[Hprinted 1\n",
        "\x1b[5merror 1\r\n",
    ] {
        assert!(stderr.contains(text), "{text:?} is missing: {stderr:?}");
    }
}
