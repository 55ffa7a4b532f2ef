//! A running target program, ready to be sampled; dropped, it is killed and reaped.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Dump, Interpreter, Truth, WATCHDOG, pyspy_rs};

/// A target program that has said `ready`.
pub struct Target {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: File,
    /// The JSON of the ready line; null for a program that says only `ready`.
    pub ready: Value,
}

impl Target {
    /// Starts a fixture and waits for its ready line.
    ///
    /// # Panics
    /// If it ends, or says nothing for [`WATCHDOG`].
    pub fn start(python: &Interpreter, fixture: &str, arguments: &[&str]) -> Self {
        Self::start_at(python, &python.fixture(fixture), arguments)
    }

    /// The same for a script anywhere; the path is the one that the interpreter sees.
    pub fn start_at(python: &Interpreter, script: &Path, arguments: &[&str]) -> Self {
        let mut words = vec![script.as_os_str()];
        words.extend(arguments.iter().map(OsStr::new));
        Self::start_command(python.command(&words))
    }

    /// The same for any program that prints a ready line.
    pub fn start_command(mut command: Command) -> Self {
        let mut stderr = tempfile::tempfile().expect("a temporary file");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.try_clone().expect("a second handle"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        // Reads on while the test does other things, so that the target never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut target = Self {
            child,
            stdin,
            lines,
            stderr: stderr.try_clone().expect("a second handle"),
            ready: Value::Null,
        };
        match target.lines.recv_timeout(WATCHDOG) {
            Ok(line) if line.starts_with("ready") => {
                target.ready = serde_json::from_str(&line["ready".len()..]).unwrap_or(Value::Null);
                if target.ready["reporter"].is_string() {
                    target.settle();
                }
                target
            }
            other => {
                let _ = target.child.kill();
                let mut said = String::new();
                let _ = stderr.rewind();
                let _ = stderr.read_to_string(&mut said);
                panic!("no ready line from {command:?} but {other:?}; stderr:\n{said}");
            }
        }
    }

    /// Waits until one of its threads is in a read of stdin. A thread that waits for the end of its
    /// stdin is seen on its way there until then: in `__bootstrap_inner` of 2.7, which has no `storm` on
    /// its stack and was taken for an impossible one.
    pub fn until_it_reads_stdin(&self) {
        let tasks = format!("/proc/{}/task", self.pid());
        let reads_stdin = |task: DirEntry| {
            let call = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            let mut fields = call.split_whitespace();
            // read(2) on x86-64 and on AArch64, of file 0.
            matches!(fields.next(), Some("0" | "63")) && fields.next() == Some("0x0")
        };
        wait_until("the target's reporter reads stdin", || {
            let list = fs::read_dir(&tasks).expect("the target runs");
            list.flatten().any(reads_stdin)
        });
    }

    /// Waits until the ready line is true of the GIL as well. The thread that printed the line takes
    /// the GIL once more before it reads stdin, and the busy one, if there is one, waits for it.
    fn settle(&self) {
        self.until_it_reads_stdin();
        let Some(busy) = self.ready["busy"].as_str() else {
            return;
        };
        let tid = self.truth().thread(busy).native_id.expect("its OS id");
        let ticks = || {
            let stat = format!("/proc/{}/task/{tid}/stat", self.pid());
            let stat = fs::read_to_string(stat).expect("the thread runs");
            let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
            let user = fields.split_whitespace().nth(11).expect("utime");
            user.parse::<u64>().expect("a number")
        };
        // Two clock ticks of CPU time are used in its loop, not on the way to the GIL.
        let before = ticks();
        wait_until("the target's busy thread spins", || ticks() >= before + 2);
    }

    /// The process that says it is ready: usually the one that was started, a child of it for a
    /// program that forks first.
    pub fn pid(&self) -> u32 {
        self.ready["pid"]
            .as_u64()
            .map_or_else(|| self.child.id(), |pid| u32::try_from(pid).expect("a pid"))
    }

    /// The process that was started.
    pub fn started_pid(&self) -> u32 {
        self.child.id()
    }

    /// What the program says about its own stacks.
    pub fn truth(&self) -> Truth {
        Truth::parse(&self.ready)
    }

    /// The next line of its stdout.
    ///
    /// # Panics
    /// If stdout ends, or nothing comes for [`WATCHDOG`].
    pub fn next_line(&self) -> String {
        match self.lines.recv_timeout(WATCHDOG) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the target says nothing"),
            Err(RecvTimeoutError::Disconnected) => panic!("the target's stdout has ended"),
        }
    }

    /// Writes a line to its stdin.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").expect("the target reads its stdin");
        stdin.flush().expect("the target reads its stdin");
    }

    /// What it wrote to stderr until now.
    pub fn stderr(&mut self) -> String {
        let mut said = String::new();
        self.stderr.rewind().expect("a file");
        self.stderr.read_to_string(&mut said).expect("text");
        said
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes stdin, which is the sign to end, and waits.
    pub fn finish(&mut self) -> ExitStatus {
        self.stdin = None;
        self.child.wait().expect("it is our child")
    }

    /// Waits for its end, with stdin open.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }

    /// Runs `pyspy-rs dump --json --pid` on it.
    ///
    /// # Panics
    /// If that fails.
    pub fn dump(&self, arguments: &[&str]) -> Dump {
        let mut command = pyspy_rs();
        command
            .args(["dump", "--format=json", "--pid", &self.pid().to_string()])
            .args(arguments);
        Dump::run(&mut command)
    }

    /// The same for all processes of a tree.
    ///
    /// # Panics
    /// If that fails.
    pub fn dumps(&self, arguments: &[&str]) -> Vec<Dump> {
        let mut command = pyspy_rs();
        command
            .args(["dump", "--format=json", "--pid", &self.pid().to_string()])
            .args(arguments);
        Dump::run_all(&mut command)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stdin = None;
        // A fork's pid is only sure to be its own while its parent, our child, is alive.
        if self.is_alive() && self.pid() != self.child.id() {
            let pid = i32::try_from(self.pid()).expect("a pid");
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until it is so.
///
/// # Panics
/// After [`WATCHDOG`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < WATCHDOG, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The most memory that a process has had, in KiB.
#[must_use]
pub fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
