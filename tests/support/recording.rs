//! A run of `record`, and its folded stacks as values.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{Interpreter, pyspy_rs};

/// A recording that has succeeded.
#[derive(Debug)]
pub struct Recording {
    /// The file's contents.
    pub file: String,
    /// What we and a launched program wrote.
    pub stdout: String,
    pub stderr: String,
}

/// One line of folded stacks.
#[derive(Debug)]
pub struct Stack {
    /// Root first.
    pub frames: Vec<String>,
    pub count: u64,
}

impl Recording {
    /// Runs `record OPTIONS -o FILE -- PYTHON ARGUMENTS`.
    ///
    /// # Panics
    /// If it fails.
    pub fn launch(python: &Interpreter, arguments: &[&str], options: &[&str]) -> Self {
        let mut words = vec![python.fixture(arguments[0]).into_os_string()];
        words.extend(arguments[1..].iter().map(OsString::from));
        let mut target = vec![OsString::from("--")];
        target.extend(python.words(&words));
        Self::run(options, &target)
    }

    /// Runs `record OPTIONS -o FILE --pid PID`.
    ///
    /// # Panics
    /// If it fails.
    pub fn of_pid(pid: u32, options: &[&str]) -> Self {
        Self::run(options, &["--pid".into(), pid.to_string().into()])
    }

    fn run(options: &[&str], target: &[OsString]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("recording");
        let mut command = Self::command(&path, options, target);
        let output = command.output().expect("our binary runs");
        Self::finished(&path, &output)
    }

    /// The command alone, for a test that does things meanwhile.
    pub fn command(path: &Path, options: &[&str], target: &[OsString]) -> Command {
        let mut command = pyspy_rs();
        command
            .arg("record")
            .args(options)
            .arg("-o")
            .arg(path)
            .args(target)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null());
        command
    }

    /// What a finished command has left.
    ///
    /// # Panics
    /// If it has failed.
    pub fn finished(path: &Path, output: &Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "record ends with {}:\n{stderr}",
            output.status
        );
        Self {
            file: fs::read_to_string(path).expect("the recording is text"),
            stdout,
            stderr,
        }
    }

    /// The file as folded stacks.
    pub fn stacks(&self) -> Vec<Stack> {
        let parse = |line: &str| {
            let (frames, count) = line.rsplit_once(' ').expect("a count behind a space");
            Stack {
                frames: frames.split(';').map(str::to_owned).collect(),
                count: count.parse().expect("the count is a number"),
            }
        };
        self.file.lines().map(parse).collect()
    }

    /// Samples whose stack has a frame that starts so, and samples in all.
    pub fn samples_with(&self, start: &str) -> (u64, u64) {
        let stacks = self.stacks();
        let all = stacks.iter().map(|stack| stack.count).sum();
        let has = |stack: &&Stack| stack.frames.iter().any(|frame| frame.starts_with(start));
        let with = stacks.iter().filter(has).map(|stack| stack.count).sum();
        (with, all)
    }
}
