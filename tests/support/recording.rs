//! A run of `record`, and its folded stacks as values.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::bench::split_announced;
use super::{Interpreter, pyspy_rs};

/// A recording that has succeeded.
#[derive(Debug)]
pub struct Recording {
    /// The file's contents.
    pub file: String,
    /// What a launched program wrote to stdout.
    pub stdout: String,
    pub stderr: String,
    /// What `--summary` says of it.
    pub summary: Value,
}

/// The file that [`Recording::command`] has the summary written to.
fn summary_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".summary.json");
    name.into()
}

/// A summary as its file has it.
///
/// # Panics
/// If there is none.
pub fn read_summary(path: &Path) -> Value {
    let json = fs::read_to_string(path).expect("a summary");
    serde_json::from_str(&json).expect("a summary in JSON")
}

/// One line of folded stacks.
#[derive(Debug)]
pub struct Stack {
    /// Root first.
    pub frames: Vec<String>,
    pub count: u64,
}

impl Stack {
    /// The functions of its frames, root first; not for labels of threads and processes.
    pub fn functions(&self) -> Vec<&str> {
        let function = |frame: &'_ String| frame.rsplit_once(" (").map(|(name, _)| name.len());
        let short = |frame: &'_ String| function(frame).unwrap_or(frame.len());
        self.frames
            .iter()
            .map(|frame| &frame[..short(frame)])
            .collect()
    }
}

/// Waits until `record` says on stdout that it samples.
///
/// # Panics
/// If it ends without.
pub fn wait_until_it_samples(stdout: &mut impl BufRead) {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    assert!(
        line.starts_with("pyspy-rs> Sampling process "),
        "it never samples: {line:?}"
    );
}

/// A recording of a running process that goes on until it is stopped.
pub struct Sampling {
    folder: TempDir,
    child: Child,
    /// Open until it ends: a few lines, for which the pipe has room.
    _stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Sampling {
    /// Starts `record OPTIONS -o FILE --pid PID`, and waits until it samples.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(pid: u32, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = ["--pid".into(), pid.to_string().into()];
        let mut child = Recording::command(&folder.path().join("recording"), options, &target)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("our binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        wait_until_it_samples(&mut stdout);
        Self {
            folder,
            child,
            _stdout: stdout,
            stderr,
            said: String::new(),
        }
    }

    /// Waits until it has said this.
    ///
    /// # Panics
    /// If it ends without.
    pub fn wait_until_said(&mut self, what: &str) {
        while !self.said.contains(what) {
            let length = self.stderr.read_line(&mut self.said).expect("text");
            assert!(length > 0, "it never says {what:?}: {}", self.said);
        }
    }

    /// Whether it has this file open now.
    pub fn has_open(&self, path: &Path) -> bool {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs");
        let mut links = open.flatten().map(|entry| fs::read_link(entry.path()));
        links.any(|link| link.is_ok_and(|link| link == path))
    }

    /// Ends it, as Ctrl-C does.
    ///
    /// # Panics
    /// If it has failed.
    pub fn stop(self) -> Recording {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("it runs");
        self.wait()
    }

    /// Kills it.
    ///
    /// # Panics
    /// If it is not there.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// Waits for its end, which comes with that of the process or of the time.
    ///
    /// # Panics
    /// If it has failed.
    pub fn wait(mut self) -> Recording {
        self.stderr
            .read_to_string(&mut self.said)
            .expect("what it says is text");
        let output = Output {
            status: self.child.wait().expect("it is our child"),
            stdout: Vec::new(),
            stderr: self.said.into_bytes(),
        };
        Recording::finished(&self.folder.path().join("recording"), &output)
    }
}

/// Makes something until it is enough, which on a crowded machine the first may not be.
///
/// # Panics
/// If none of thirty is, with the last.
pub fn until<T: Debug>(mut make: impl FnMut() -> T, is_enough: impl Fn(&T) -> bool) -> T {
    let mut made = make();
    for _ in 1..30 {
        if is_enough(&made) {
            return made;
        }
        made = make();
    }
    assert!(is_enough(&made), "never enough: {made:#?}");
    made
}

/// Recordings of one program, added up: on a crowded machine one has few samples.
#[derive(Debug, Default)]
pub struct Pool {
    pub stacks: Vec<Stack>,
    /// Stacks that are missing, torn ones among them.
    pub errors: u64,
}

impl Pool {
    /// Adds recordings until they are enough.
    ///
    /// # Panics
    /// If forty are not.
    pub fn until(mut record: impl FnMut() -> Recording, is_enough: impl Fn(&Self) -> bool) -> Self {
        let mut pool = Self::default();
        for _ in 0..40 {
            let recording = record();
            pool.errors += recording.errors();
            pool.stacks.extend(recording.stacks());
            if is_enough(&pool) {
                return pool;
            }
        }
        let (samples, errors) = (pool.samples(), pool.errors);
        panic!("never enough: {samples} samples, {errors} errors");
    }

    /// Samples in all.
    pub fn samples(&self) -> u64 {
        samples(&self.stacks)
    }

    /// Samples that have this function.
    pub fn samples_of(&self, function: &str) -> u64 {
        let has = |stack: &&Stack| stack.functions().contains(&function);
        samples(self.stacks.iter().filter(has))
    }
}

/// The samples of these stacks.
pub fn samples<'a>(stacks: impl IntoIterator<Item = &'a Stack>) -> u64 {
    stacks.into_iter().map(|stack| stack.count).sum()
}

impl Recording {
    /// Runs `record OPTIONS -o FILE -- PYTHON ARGUMENTS`.
    ///
    /// # Panics
    /// If it fails.
    pub fn launch(python: &Interpreter, arguments: &[&str], options: &[&str]) -> Self {
        let mut words = vec![python.fixture(arguments[0]).into_os_string()];
        words.extend(arguments[1..].iter().map(OsString::from));
        Self::of_program(&python.words(&words), options)
    }

    /// Runs `record OPTIONS -o FILE -- WORDS`.
    ///
    /// # Panics
    /// If it fails.
    pub fn of_program(words: &[OsString], options: &[&str]) -> Self {
        let mut target = vec![OsString::from("--")];
        target.extend_from_slice(words);
        Self::run(options, &target)
    }

    /// Runs `record OPTIONS -o FILE --pid PID`.
    ///
    /// # Panics
    /// If it fails.
    pub fn of_pid(pid: u32, options: &[&str]) -> Self {
        Self::run(options, &["--pid".into(), pid.to_string().into()])
    }

    /// Makes recordings until one is enough, which on a crowded machine the first may not be.
    ///
    /// # Panics
    /// If one fails, or none of thirty is enough, with the last.
    pub fn until(record: impl FnMut() -> Self, is_enough: impl Fn(&Self) -> bool) -> Self {
        until(record, is_enough)
    }

    /// Makes recordings until all together have that many samples.
    ///
    /// # Panics
    /// If one fails, or forty have fewer.
    pub fn at_least(samples: u64, record: impl FnMut() -> Self) -> Pool {
        Pool::until(record, |pool| pool.samples() >= samples)
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
            .args(engine(options))
            .args(options)
            .arg("-o")
            .arg(path)
            .arg("--summary")
            .arg(summary_of(path))
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
        let (stdout, _) = split_announced(&String::from_utf8_lossy(&output.stdout));
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
            summary: read_summary(&summary_of(path)),
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

    /// Stacks that are missing, torn ones among them.
    pub fn errors(&self) -> u64 {
        self.unreadable() + self.torn()
    }

    /// Checks that nothing was unreadable. On a crowded machine a sample may run out of its time.
    ///
    /// # Panics
    /// If anything was.
    #[track_caller]
    pub fn assert_readable(&self) {
        let last_error = self.summary["last_error"].as_str().unwrap_or_default();
        assert!(
            self.unreadable() == 0 || last_error.contains("not read within"),
            "{self:#?}"
        );
    }

    /// The same, and that no stack was torn. Stacks may be torn where a thread could not be paused for as long
    /// as it takes to read it, as happens on a crowded machine.
    ///
    /// # Panics
    /// If anything was.
    #[track_caller]
    pub fn assert_no_error(&self) {
        self.assert_readable();
        let fell_short = count(&self.summary["pauses"]["fell_short"]);
        assert!(self.torn() == 0 || fell_short > 0, "{self:#?}");
    }

    /// Processes and threads that could not be read.
    pub fn unreadable(&self) -> u64 {
        count(&self.summary["errors"]["unreadable"])
    }

    /// Stacks that changed while they were read.
    pub fn torn(&self) -> u64 {
        count(&self.summary["errors"]["torn"])
    }

    /// Samples in all.
    pub fn samples(&self) -> u64 {
        count(&self.summary["samples"])
    }

    /// Ticks that were due when there was no time for them.
    pub fn missed(&self) -> u64 {
        count(&self.summary["missed_ticks"])
    }

    /// How many ticks it took in the `seconds` that it was to last, by its rate.
    pub fn ticks_in(&self, seconds: f64) -> f64 {
        let rate = self.summary["achieved_hz"].as_f64();
        rate.expect("three ticks or more") * seconds
    }

    /// Samples with a frame that starts so, and samples in all.
    pub fn samples_with(&self, start: &str) -> (u64, u64) {
        let stacks = self.stacks();
        let all = stacks.iter().map(|stack| stack.count).sum();
        let has = |stack: &&Stack| stack.frames.iter().any(|frame| frame.starts_with(start));
        let with = stacks.iter().filter(has).map(|stack| stack.count).sum();
        (with, all)
    }
}

/// The option that chooses the engine of `PYSPY_TEST_ENGINE`, or else the one that pauses, where these options can be
/// had with it.
pub(super) fn engine(options: &[impl AsRef<OsStr>]) -> Option<String> {
    const OTHERS: [&str; 4] = ["-i", "--idle", "--nonblocking", "--engine"];
    let engine = std::env::var("PYSPY_TEST_ENGINE").unwrap_or_else(|_| "pause".to_owned());
    let is_other = |option: &str| OTHERS.contains(&option) || option.starts_with("--engine=");
    let mut options = options.iter().filter_map(|option| option.as_ref().to_str());
    (!options.any(is_other)).then(|| format!("--engine={engine}"))
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}
