//! What a target program says about its own stacks; see fixtures/README.md for the format.

use serde_json::Value;

/// The ready line of a program that uses fixtures/truth.py.
#[derive(Debug)]
pub struct Truth {
    pub threads: Vec<TrueThread>,
    /// The thread that printed the line; its own stack is not in `threads`.
    pub reporter: String,
}

/// A thread as CPython sees it.
#[derive(Debug)]
pub struct TrueThread {
    pub name: String,
    /// The OS thread id, where the program knows it.
    pub native_id: Option<u64>,
    pub main: bool,
    /// Leaf first, those of sub-interpreters included.
    pub frames: Vec<TrueFrame>,
}

/// A frame as CPython sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueFrame {
    pub name: String,
    pub file: String,
    pub line: u64,
    pub first_line: u64,
    /// Line, end line, column, end column.
    pub columns: Option<[u64; 4]>,
}

impl Truth {
    pub fn parse(ready: &Value) -> Self {
        let threads = ready["threads"]
            .as_array()
            .expect("the program reports no threads");
        Self {
            threads: threads
                .iter()
                .map(|thread| TrueThread::parse(thread, &ready["inner_frames"]))
                .collect(),
            reporter: text(&ready["reporter"]),
        }
    }

    pub fn thread(&self, name: &str) -> &TrueThread {
        self.threads
            .iter()
            .find(|thread| thread.name == name)
            .unwrap_or_else(|| panic!("no thread {name:?} in {self:#?}"))
    }
}

impl TrueThread {
    fn parse(thread: &Value, inner: &Value) -> Self {
        let name = text(&thread["name"]);
        let mut frames = Vec::new();
        for list in [&inner[&name], &thread["frames"]] {
            for frame in list.as_array().into_iter().flatten() {
                let repeat = frame["repeat"].as_u64().expect("repeat");
                frames.extend((0..repeat).map(|_| TrueFrame::parse(frame)));
            }
        }
        Self {
            native_id: thread["native_id"].as_u64(),
            main: thread["main"].as_bool().expect("main"),
            frames,
            name,
        }
    }
}

impl TrueFrame {
    fn parse(frame: &Value) -> Self {
        let columns = frame["columns"]
            .as_array()
            .and_then(|list| list.iter().map(Value::as_u64).collect::<Option<Vec<_>>>())
            .and_then(|list| list.try_into().ok());
        Self {
            name: text(&frame["name"]),
            file: text(&frame["file"]),
            line: frame["line"].as_u64().expect("line"),
            first_line: frame["first_line"].as_u64().expect("first_line"),
            columns,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
