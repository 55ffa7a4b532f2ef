//! `record`, run in a folder of its own: what it says, writes and ends with.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tempfile::TempDir;

use super::recording::engine;
use super::{Interpreter, WATCHDOG, interpreters, pyspy_rs};

/// The newest Python that needs no chroot: what is tested here does not depend on the version.
pub fn python() -> &'static Interpreter {
    let mut native = interpreters()
        .iter()
        .rev()
        .filter(|python| python.root.is_none());
    native.next().expect("a Python on this machine")
}

/// The words that run a fixture.
pub fn fixture(name: &str, args: &[&str]) -> Vec<OsString> {
    let mut words = vec![python().fixture(name).into_os_string()];
    words.extend(args.iter().map(OsString::from));
    python().words(&words)
}

pub fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A folder to work in and what to do there.
pub struct Bench {
    pub folder: TempDir,
    pub options: Vec<OsString>,
    pub stdout: Option<Stdio>,
    pub stderr: Option<Stdio>,
}

/// `record`, running.
pub struct Running {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<BufReader<ChildStdout>>,
    /// Our own lines on stdout before the last line of the program that was read.
    pub announced: String,
    pub stderr: File,
}

/// `record`, done.
pub struct Done {
    pub status: ExitStatus,
    /// What a launched program wrote to stdout, or the file itself.
    pub stdout: String,
    /// Our own lines on stdout.
    pub announced: String,
    pub stderr: String,
}

/// How our own lines on stdout start.
const ANNOUNCED: &str = "pyspy-rs> ";

/// Takes our own lines, and the empty ones beside them, from what is on stdout. Returns the rest and these.
pub fn split_announced(stdout: &str) -> (String, String) {
    let (ours, rest): (Vec<&str>, Vec<&str>) = stdout
        .split_inclusive('\n')
        .partition(|line| line.starts_with(ANNOUNCED));
    if ours.is_empty() {
        return (stdout.to_owned(), String::new());
    }
    let rest = rest.into_iter().filter(|line| *line != "\n").collect();
    (rest, ours.concat())
}

impl Bench {
    /// Options of `record`, separated by spaces.
    pub fn new(options: &str) -> Bench {
        Bench {
            folder: tempfile::tempdir().unwrap(),
            options: options.split_whitespace().map(OsString::from).collect(),
            stdout: None,
            stderr: None,
        }
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file in it.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names of the files in it.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Without a terminal, and in a session of its own: a signal that a test sends is then sent to
    /// us, and not taken for one that the tester's terminal sent to all.
    pub fn command(&self) -> Command {
        let binary = pyspy_rs();
        let mut command = Command::new("setsid");
        command
            .arg(binary.get_program())
            .arg("record")
            .args(engine(&self.options))
            .args(&self.options)
            .current_dir(self.folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("RUST_LOG")
            .env_remove("SUDO_UID")
            .env_remove("SUDO_GID");
        command
    }

    /// Starts it, with this program after `--` if there is one.
    pub fn start(mut self, program: Vec<OsString>) -> (Bench, Running) {
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
            announced: String::new(),
            stderr,
            child,
        };
        (self, running)
    }

    /// Runs it to its end.
    pub fn run(self, program: Vec<OsString>) -> (Bench, Done) {
        let (bench, running) = self.start(program);
        (bench, running.finish())
    }
}

impl Running {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The next line of the program. Ours may come before it, as when both get a signal.
    pub fn line(&mut self) -> String {
        let stdout = self.stdout.as_mut().unwrap();
        loop {
            let mut line = String::new();
            let length = stdout.read_line(&mut line).unwrap();
            if length == 0 || !(line == "\n" || line.starts_with(ANNOUNCED)) {
                return line.trim_end().to_owned();
            }
            self.announced.push_str(&line);
        }
    }

    /// Waits for `ready PID`.
    pub fn ready(&mut self) -> Pid {
        let line = self.line();
        let pid = line
            .strip_prefix("ready ")
            .unwrap_or_else(|| panic!("{line:?}"));
        Pid::from_raw(pid.parse().unwrap())
    }

    /// Closes stdin, which ends most fixtures, and waits for the end.
    pub fn finish(mut self) -> Done {
        drop(self.stdin.take());
        let mut stdout = String::new();
        if let Some(mut out) = self.stdout.take() {
            out.read_to_string(&mut stdout).unwrap();
        }
        let status = wait(&mut self.child);
        let mut stderr = String::new();
        self.stderr.rewind().unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        let (stdout, announced) = split_announced(&stdout);
        Done {
            status,
            stdout,
            announced: self.announced + &announced,
            stderr,
        }
    }
}

impl Done {
    #[track_caller]
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
    }

    #[track_caller]
    pub fn assert_wrote(&self, what: &str) {
        let Done {
            announced, stderr, ..
        } = self;
        assert!(
            stderr.contains(what) || announced.contains(what),
            "{what:?} is not in: {announced}{stderr}",
        );
    }
}

/// Waits for the end of `record`.
pub fn wait(child: &mut Child) -> ExitStatus {
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
