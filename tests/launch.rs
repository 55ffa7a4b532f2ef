//! `record` and the program that it launches: exit statuses, signals, streams, files.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Interpreter, Target, WATCHDOG, fixtures, interpreters, pyspy_rs};
use tempfile::TempDir;

/// The newest Python that needs no chroot: what is tested here does not depend on the version.
fn python() -> &'static Interpreter {
    let mut native = interpreters().iter().rev().filter(|python| python.root.is_none());
    native.next().expect("a Python on this machine")
}

/// The words that run a fixture.
fn fixture(name: &str, args: &[&str]) -> Vec<OsString> {
    let mut words = vec![python().fixture(name).into_os_string()];
    words.extend(args.iter().map(OsString::from));
    python().words(&words)
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A folder to work in and what to do there.
struct Bench {
    folder: TempDir,
    options: Vec<OsString>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

/// `record`, running.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: File,
}

/// `record`, done.
struct Done {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Bench {
    /// Options of `record`, separated by spaces.
    fn new(options: &str) -> Bench {
        Bench {
            folder: tempfile::tempdir().unwrap(),
            options: options.split_whitespace().map(OsString::from).collect(),
            stdout: None,
            stderr: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Without a terminal, and in a session of its own: a signal that a test sends is then sent to
    /// us, and not taken for one that the tester's terminal sent to all.
    fn command(&self) -> Command {
        let binary = pyspy_rs();
        let mut command = Command::new("setsid");
        command
            .arg(binary.get_program())
            .arg("record")
            .args(&self.options)
            .current_dir(self.folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("RUST_LOG")
            .env_remove("SUDO_UID");
        command
    }

    fn start(mut self, program: Vec<OsString>) -> (Bench, Running) {
        let mut command = self.command();
        if !program.is_empty() {
            command.arg("--").args(program);
        }
        let stderr = tempfile::tempfile().unwrap();
        let ours = Stdio::from(stderr.try_clone().unwrap());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(self.stdout.take().unwrap_or_else(Stdio::piped))
            .stderr(self.stderr.take().unwrap_or(ours))
            .spawn()
            .unwrap();
        let running = Running {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            stderr,
            child,
        };
        (self, running)
    }

    fn run(self, program: Vec<OsString>) -> (Bench, Done) {
        let (bench, running) = self.start(program);
        (bench, running.finish())
    }
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The next line of the program.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for `ready PID`.
    fn ready(&mut self) -> Pid {
        let line = self.line();
        let pid = line.strip_prefix("ready ").unwrap_or_else(|| panic!("{line:?}"));
        Pid::from_raw(pid.parse().unwrap())
    }

    /// Closes stdin, which ends most fixtures, and waits for the end.
    fn finish(mut self) -> Done {
        drop(self.stdin.take());
        let mut stdout = String::new();
        if let Some(mut out) = self.stdout.take() {
            out.read_to_string(&mut stdout).unwrap();
        }
        let status = wait(&mut self.child);
        let mut stderr = String::new();
        self.stderr.rewind().unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        Done {
            status,
            stdout,
            stderr,
        }
    }
}

impl Done {
    #[track_caller]
    fn assert_code(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
    }

    #[track_caller]
    fn assert_wrote(&self, what: &str) {
        assert!(self.stderr.contains(what), "{what:?} is not in: {}", self.stderr);
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > WATCHDOG {
            let _ = child.kill();
            panic!("record does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn success_is_passed_on_and_the_file_is_there() {
    let (bench, done) = Bench::new("-o x.txt").run(fixture("split.py", &["0.5"]));
    done.assert_code(0);
    assert_eq!(done.stdout, "ready\n", "only the program writes to stdout");
    done.assert_wrote("Wrote raw flamegraph data to 'x.txt'. Samples: ");
    for part in [" Errors: ", " Rate: ", " of 100 per second", " RSS: ", " peak"] {
        done.assert_wrote(part);
    }
    assert!(done.stderr.starts_with("Wrote "), "{}", done.stderr);
    let text = bench.text("x.txt");
    assert!(text.contains("<module> (split.py:"), "{text}");
    assert!(text.contains(";sixty_percent (split.py:"), "{text}");
    assert_eq!(bench.files(), ["x.txt"]);
}

#[test]
fn first_frames_of_the_program_are_seen() {
    // The import of `site` is over a few milliseconds after the start.
    let program = python().words(&["-c", "pass"]);
    let (bench, done) = Bench::new("-o x.txt -r 2000 -i").run(program);
    done.assert_code(0);
    assert!(bench.text("x.txt").contains("importlib._bootstrap"), "{}", bench.text("x.txt"));
}

#[test]
fn failure_is_passed_on() {
    let (bench, done) = Bench::new("-o x.svg").run(fixture("exit.py", &["7"]));
    done.assert_code(7);
    assert_eq!(bench.files(), ["x.svg"]);
}

#[test]
fn a_signals_end_is_128_and_the_signal() {
    for (name, code) in [("SIGTERM", 143), ("SIGINT", 130), ("SIGKILL", 137), ("SIGHUP", 129)] {
        let (bench, done) = Bench::new("-o x.svg").run(fixture("exit.py", &[name]));
        done.assert_code(code);
        assert_eq!(bench.files(), ["x.svg"], "{name}");
    }
}

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
fn a_signal_to_the_program_is_its_own_matter() {
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
    assert!(bench.files().iter().all(|name| name == "x.svg"), "{:?}", bench.files());
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
        .args(["sh", "-c", "trap '' INT; exec \"$0\" record -i -o x.svg --pid \"$1\" 2>&1"])
        .arg(pyspy_rs().get_program())
        .arg(target.pid().to_string())
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("Sampling process"), "{line}");
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
    let (bench, done) = bench.run(fixture("split.py", &["0.2"]));
    done.assert_code(0);
    assert!(bench.text("x.txt").contains("split.py"));
}

#[test]
fn a_program_that_ends_at_once_leaves_a_valid_file() {
    for _ in 0..5 {
        let program = python().words(&["-S", "-E", "-c", "import os; os._exit(0)"]);
        let (bench, done) = Bench::new("-o x.svg").run(program);
        done.assert_code(0);
        assert!(bench.text("x.svg").contains("</svg>"));
    }
}

#[test]
fn a_program_that_never_becomes_python_is_told() {
    let (bench, done) = Bench::new("-o x.svg").run(words(&["sh", "-c", "sleep 0.1; exit 5"]));
    done.assert_code(5);
    done.assert_wrote("never ran a Python");
    assert!(bench.files().is_empty(), "{:?}", bench.files());
    // A success would hide that nothing was recorded.
    let (_bench, done) = Bench::new("-o x.svg").run(words(&["true"]));
    done.assert_code(1);
    done.assert_wrote("never ran a Python");
    done.assert_wrote("hint: ");
}

#[test]
fn a_shell_that_becomes_python_is_recorded() {
    let mut program = words(&["sh", "-c", "sleep 0.1; exec \"$@\"", "sh"]);
    program.extend(fixture("split.py", &["0.2"]));
    let (bench, done) = Bench::new("-o x.txt -r 1000").run(program);
    done.assert_code(0);
    assert!(bench.text("x.txt").contains("sixty_percent"), "{}", bench.text("x.txt"));
}

#[test]
fn a_program_that_forks_and_exits_ends_the_recording() {
    let (bench, mut record) = Bench::new("-o x.svg").start(fixture("forks_and_exits.py", &[]));
    let fork: i32 = record.line().parse().unwrap();
    let status = wait(&mut record.child);
    assert_eq!(status.code(), Some(3));
    assert_eq!(bench.files(), ["x.svg"]);
    // The fork lives on until stdin closes.
    kill(Pid::from_raw(fork), None).unwrap();
    record.finish();
}

#[test]
fn relative_paths_are_the_users() {
    let bench = Bench::new("-o sub/x.txt -r 1000 -i");
    fs::create_dir(bench.path("sub")).unwrap();
    fs::copy(fixtures().join("split.py"), bench.path("here.py")).unwrap();
    let (bench, done) = bench.run(python().words(&["./here.py", "0.2"]));
    done.assert_code(0);
    assert!(bench.text("sub/x.txt").contains("here.py"), "{}", bench.text("sub/x.txt"));
}

#[test]
fn arguments_arrive_as_they_are() {
    let odd = ["a b", "--pid", "-o", "y", "", "--", "-", "ü*?$HOME"];
    let (bench, done) = Bench::new("-o x.svg").run(fixture("args.py", &odd));
    done.assert_code(0);
    let said: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(said["args"], serde_json::json!(odd));
    let cwd = bench.folder.path().canonicalize().unwrap();
    assert_eq!(said["cwd"], cwd.to_str().unwrap());
    assert_eq!(bench.files(), ["x.svg"]);
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_the_launch() {
    // Nobody can make a file in /proc, root neither.
    for place in ["/proc/x.svg", "missing/x.svg", "."] {
        let (bench, done) = Bench::new(&format!("-o {place}")).run(words(&["touch", "started"]));
        done.assert_code(1);
        done.assert_wrote("error: cannot write '");
        done.assert_wrote("hint: ");
        assert!(bench.files().is_empty(), "{place}: {:?}", bench.files());
    }
}

#[test]
fn a_full_disk_is_a_failure_but_a_failing_program_counts_more() {
    let (_bench, done) = Bench::new("-o /dev/full").run(fixture("exit.py", &["0"]));
    done.assert_code(1);
    done.assert_wrote("error: cannot write '/dev/full'");
    done.assert_wrote("hint: ");
    let (_bench, done) = Bench::new("-o /dev/full").run(fixture("exit.py", &["7"]));
    done.assert_code(7);
    done.assert_wrote("error: cannot write '/dev/full'");
}

#[test]
fn an_existing_file_is_replaced_or_left_whole() {
    let bench = Bench::new("-o x.txt -r 1000");
    fs::write(bench.path("x.txt"), "old").unwrap();
    let (bench, done) = bench.run(words(&["true"]));
    done.assert_code(1);
    assert_eq!(bench.text("x.txt"), "old");
    let (bench, done) = bench.run(fixture("split.py", &["0.2"]));
    done.assert_code(0);
    assert!(bench.text("x.txt").contains("split.py"));
    assert_eq!(bench.files(), ["x.txt"]);
}

#[test]
fn without_a_name_the_file_is_in_the_current_folder() {
    let (bench, done) = Bench::new("-f speedscope").run(fixture("exit.py", &["0"]));
    done.assert_code(0);
    let files = bench.files();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = python().executable.file_name().unwrap().to_str().unwrap();
    assert!(files[0].starts_with(&format!("{name}-20")), "{files:?}");
    assert!(files[0].ends_with("+0000.json"), "{files:?}");
}

#[test]
fn a_duration_ends_the_program_too() {
    let (bench, mut record) = Bench::new("-o x.txt -d 0.3").start(fixture("busy.py", &[]));
    assert!(record.line().starts_with("ready"));
    // Its stdin stays open: it would run on.
    let status = wait(&mut record.child);
    assert_eq!(status.code(), Some(0));
    assert!(bench.text("x.txt").contains("leaf"), "{}", bench.text("x.txt"));
}

#[test]
fn a_program_that_is_missing_says_so() {
    let (bench, done) = Bench::new("-o x.svg").run(words(&["./no-such-program"]));
    done.assert_code(1);
    done.assert_wrote("error: cannot start ./no-such-program: No such file or directory\n");
    done.assert_wrote("hint: ");
    assert!(bench.files().is_empty());
}

#[test]
fn an_idle_process_gives_a_file_that_says_so() {
    let mut target = Target::start(python(), "ping.py", &[]);
    for (file, format) in [("x.svg", "flamegraph"), ("x.json", "speedscope"), ("x.txt", "raw")] {
        let options = format!("-o {file} -f {format} -d 0.3 --pid {}", target.pid());
        let (bench, done) = Bench::new(&options).run(vec![]);
        done.assert_code(0);
        done.assert_wrote("Samples: 0 ");
        done.assert_wrote("--idle would show ");
        assert_eq!(bench.files(), [file]);
        if format == "flamegraph" {
            assert!(bench.text(file).contains("--idle"), "{}", bench.text(file));
        }
    }
    // It never noticed.
    target.say("ping");
    assert_eq!(target.next_line(), "pong");
    assert!(target.finish().success());
}

#[test]
fn a_process_that_ends_ends_the_recording() {
    let mut target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o x.txt -i --pid {}", target.pid());
    let (bench, record) = Bench::new(&options).start(vec![]);
    assert!(target.finish().success());
    let done = record.finish();
    // It may have ended before it could be attached to.
    if done.status.success() {
        done.assert_wrote("has ended");
        assert_eq!(bench.files(), ["x.txt"]);
    } else {
        done.assert_code(1);
        assert!(bench.files().is_empty());
    }
}

#[test]
fn a_pipe_gets_no_progress() {
    let target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o x.txt -i -d 0.3 --pid {}", target.pid());
    let (_bench, done) = Bench::new(&options).run(vec![]);
    done.assert_code(0);
    let lines: Vec<_> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", done.stderr);
    assert!(!done.stderr.contains(['\r', '\x1b']), "{}", done.stderr);
    assert_eq!(done.stdout, "");
}

#[test]
fn the_recording_itself_can_go_to_stdout() {
    let target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o - -f raw -i -d 0.3 --pid {}", target.pid());
    let (bench, done) = Bench::new(&options).run(vec![]);
    done.assert_code(0);
    assert!(done.stdout.contains("<module> (ping.py:"), "{}", done.stdout);
    assert!(bench.files().is_empty());
    assert!(Path::new(&format!("/proc/{}", target.pid())).exists());
}
