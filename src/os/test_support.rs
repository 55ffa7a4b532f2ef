//! Shared by the tests of this floor: programs that run until they are ended.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread::yield_now;

use nix::sys::signal::{Signal, kill};

use super::process::TargetProcess;
use super::procfs::tasks::thread_ids;
use super::ptrace::pause::PauseGuard;
use super::thread::state::RunState;
use super::{Pid, Tid};

/// A running `cat`, under any name, killed on drop.
pub struct Cat(pub(crate) Child);

impl Cat {
    /// Starts it and waits for its first output: a process that has only just been started may not
    /// even have its program mapped.
    pub fn start(command: &mut Command) -> Cat {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A copy cannot be executed while a child that another test has just forked still has it open for
        // writing, which ends when that child executes its own program.
        let cat = loop {
            match command.spawn() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => yield_now(),
                cat => break cat,
            }
        };
        let mut cat = Cat(cat.unwrap());
        cat.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        cat.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        cat
    }

    pub fn pid(&self) -> Pid {
        self.0.id().cast_signed()
    }

    pub fn open(&self) -> TargetProcess {
        TargetProcess::open(self.pid()).unwrap()
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Python program that has printed "ready".
pub struct Program {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: BufReader<ChildStdout>,
}

/// The interpreter itself: the search path may have a slow wrapper script.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let find = ["-c", "import sys; print(sys.executable)"];
        let output = Command::new("python3").args(find).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    })
}

impl Program {
    pub fn start(code: &str) -> Program {
        let mut child = Command::new(python())
            .args(["-u", "-c", code])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut program = Program {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(program.line(), "ready");
        program
    }

    pub fn pid(&self) -> Pid {
        self.child.id() as Pid
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    pub fn tids(&self) -> Vec<Tid> {
        thread_ids(self.pid()).unwrap()
    }

    pub fn state(&self) -> RunState {
        RunState::of_thread(self.pid(), self.pid()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // When a test fails, a thread may still be paused.
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            PauseGuard::settle();
            std::thread::yield_now();
        }
    }
}
