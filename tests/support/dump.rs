//! `dump --format json` as values: the one place that knows the keys. And its comparison with the truth.

use std::fmt::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{TrueFrame, TrueThread, Truth};

/// One process of a dump.
#[derive(Debug)]
pub struct Dump {
    pub pid: u64,
    pub version: String,
    pub command: Vec<String>,
    pub threads: Vec<Thread>,
    /// What could not be read.
    pub errors: Vec<String>,
    /// Everything, for the keys that only one test needs.
    pub json: Value,
}

#[derive(Debug)]
pub struct Thread {
    pub os_thread_id: Option<u64>,
    pub name: Option<String>,
    pub main: bool,
    pub active: bool,
    pub ended: bool,
    pub owns_gil: bool,
    pub collecting: bool,
    pub interpreter_ids: Vec<i64>,
    /// Leaf first.
    pub frames: Vec<Frame>,
}

#[derive(Debug)]
pub struct Frame {
    pub name: String,
    pub filename: String,
    pub short_filename: String,
    pub line: Option<u64>,
    pub first_line: u64,
    /// Column, end line, end column.
    pub columns: Option<[u64; 3]>,
    pub locals: Vec<Local>,
}

#[derive(Debug)]
pub struct Local {
    pub name: String,
    pub is_argument: bool,
    pub repr: String,
}

impl Dump {
    /// Runs a `dump --format json` command and reads its only process.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(command: &mut Command) -> Self {
        let mut all = Self::run_all(command);
        assert_eq!(all.len(), 1, "one process was dumped: {all:#?}");
        all.remove(0)
    }

    /// Runs a `dump --format json` command and reads all its processes.
    ///
    /// # Panics
    /// If it fails.
    pub fn run_all(command: &mut Command) -> Vec<Self> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .expect("our binary runs");
        assert!(
            output.status.success(),
            "{command:?} ends with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let json: Value = serde_json::from_slice(&output.stdout).expect("the dump is JSON");
        assert_eq!(json["schema"], 1);
        let processes = json["processes"].as_array().expect("processes");
        processes.iter().map(Self::parse).collect()
    }

    fn parse(json: &Value) -> Self {
        Self {
            pid: json["pid"].as_u64().expect("pid"),
            version: text(&json["version"]),
            command: list(&json["command"], text),
            threads: list(&json["threads"], Thread::parse),
            errors: list(&json["errors"], text),
            json: json.clone(),
        }
    }

    /// The thread with this Python name.
    pub fn thread(&self, name: &str) -> &Thread {
        self.threads
            .iter()
            .find(|thread| thread.name.as_deref() == Some(name))
            .unwrap_or_else(|| panic!("no thread {name:?} in {self:#?}"))
    }

    /// The dumped thread that is this true one: by its OS id, or by its name where the program
    /// does not report the id.
    pub fn find(&self, truth: &TrueThread) -> &Thread {
        let same = |thread: &&Thread| match truth.native_id {
            Some(id) => thread.os_thread_id == Some(id),
            None => thread.name.as_deref() == Some(&truth.name),
        };
        let mut found = self.threads.iter().filter(same);
        let thread = found
            .next()
            .unwrap_or_else(|| panic!("{truth:#?} is not among {:#?}", self.threads));
        assert!(found.next().is_none(), "{} is there twice", truth.name);
        thread
    }

    /// Fails unless the dump has exactly the threads and frames that CPython reports.
    ///
    /// # Panics
    /// With the two stacks side by side.
    pub fn assert_matches(&self, truth: &Truth) {
        assert!(self.errors.is_empty(), "errors: {:?}", self.errors);
        assert_eq!(
            self.threads.len(),
            truth.threads.len() + 1, // The reporter.
            "threads: {:?}",
            self.threads
                .iter()
                .map(|thread| &thread.name)
                .collect::<Vec<_>>()
        );
        for expected in &truth.threads {
            let thread = self.find(expected);
            // Before 3.6 names are not read.
            if self.version_at_least(3, 6) {
                assert_eq!(thread.name.as_deref(), Some(expected.name.as_str()));
            }
            assert_eq!(thread.main, expected.main, "main of {}", expected.name);
            thread.assert_frames(&expected.frames);
        }
    }

    /// By the version in the dump.
    pub fn version_at_least(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>());
        let mut next = || parts.next().expect("a part").expect("a number");
        (next(), next()) >= (major, minor)
    }
}

impl Thread {
    fn parse(json: &Value) -> Self {
        let flag = |key: &str| json[key].as_bool().unwrap_or_else(|| panic!("no {key}"));
        Self {
            os_thread_id: json["os_thread_id"].as_u64(),
            name: json["thread_name"].as_str().map(str::to_owned),
            main: flag("main"),
            // A core file does not have it.
            ended: json["ended"].as_bool().unwrap_or(false),
            active: json["active"].as_bool().unwrap_or(false),
            owns_gil: flag("owns_gil"),
            collecting: flag("collecting"),
            interpreter_ids: list(&json["interpreter_ids"], |id| id.as_i64().expect("an id")),
            frames: list(&json["frames"], Frame::parse),
        }
    }

    /// The first frame from the leaf with this name.
    pub fn frame(&self, name: &str) -> &Frame {
        self.frames
            .iter()
            .find(|frame| frame.name == name)
            .unwrap_or_else(|| panic!("no frame {name:?} in {:#?}", self.frames))
    }

    /// Fails unless the frames are these.
    ///
    /// # Panics
    /// With both stacks, the first different frame marked.
    pub fn assert_frames(&self, expected: &[TrueFrame]) {
        let count = self.frames.len().max(expected.len());
        let pair = |index| (self.frames.get(index), expected.get(index));
        let differ = |index: &usize| match pair(*index) {
            (Some(frame), Some(truth)) => !frame.matches(truth),
            _ => true,
        };
        let Some(first) = (0..count).find(differ) else {
            return;
        };
        let mut message = format!(
            "thread {:?}: {} frames, CPython says {}; frame {first} differs:\n",
            self.name,
            self.frames.len(),
            expected.len()
        );
        for index in first.saturating_sub(3)..count.min(first + 12) {
            let (frame, truth) = pair(index);
            let mark = if differ(&index) { ">" } else { " " };
            let shown = frame.map_or_else(|| "-".to_owned(), Frame::to_string_like_truth);
            let said = truth.map_or_else(|| "-".to_owned(), |truth| format!("{truth:?}"));
            let _ = writeln!(
                message,
                "{mark} {index:5} dump    {shown}\n{mark}       CPython {said}"
            );
        }
        panic!("{message}");
    }
}

impl Frame {
    fn parse(json: &Value) -> Self {
        let columns = ["column", "end_line", "end_column"].map(|key| json[key].as_u64());
        let locals = match &json["locals"] {
            Value::Null => Vec::new(),
            locals => list(locals, Local::parse),
        };
        Self {
            name: text(&json["name"]),
            filename: text(&json["filename"]),
            short_filename: text(&json["short_filename"]),
            line: json["line"].as_u64(),
            first_line: json["first_line"].as_u64().expect("first_line"),
            columns: match columns {
                [Some(column), Some(end_line), Some(end)] => Some([column, end_line, end]),
                _ => None,
            },
            locals,
        }
    }

    fn matches(&self, truth: &TrueFrame) -> bool {
        let columns = truth
            .columns
            .map(|[_, end_line, column, end]| [column, end_line, end]);
        self.name == truth.name
            && self.filename == truth.file
            && self.line == Some(truth.line)
            && self.first_line == truth.first_line
            // The truth of a sub-interpreter comes without columns.
            && (columns.is_none() || self.columns == columns)
    }

    fn to_string_like_truth(&self) -> String {
        format!(
            "{:?} {:?} line {:?} first_line {} columns {:?}",
            self.name, self.filename, self.line, self.first_line, self.columns
        )
    }

    /// The value of a local, as it was printed.
    pub fn local(&self, name: &str) -> &str {
        self.locals
            .iter()
            .find(|local| local.name == name)
            .map(|local| local.repr.as_str())
            .unwrap_or_else(|| panic!("no local {name:?} in {:#?}", self.locals))
    }
}

impl Local {
    fn parse(json: &Value) -> Self {
        Self {
            name: text(&json["name"]),
            is_argument: json["arg"].as_bool().expect("arg"),
            repr: text(&json["repr"]),
        }
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

fn list<T>(value: &Value, each: impl Fn(&Value) -> T) -> Vec<T> {
    let items = value.as_array();
    items
        .unwrap_or_else(|| panic!("not a list: {value}"))
        .iter()
        .map(each)
        .collect()
}
