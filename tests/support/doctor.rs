//! Pages of `doctor`, and the processes that they are of.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{Interpreter, interpreters, pyspy_rs};

/// What a page must not show.
pub const SECRET: &str = "HUSH";

/// The page as JSON; checks that the exit status is the verdict's.
pub fn examine(mut command: Command, pid: u32) -> Value {
    let output = command
        .args(["doctor", "--json", "--pid", &pid.to_string()])
        .output()
        .unwrap();
    let page: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let can_read = page["verdict"]["can_read"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!can_read)), "{page:#}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(page["schema"], 1);
    page
}

/// The same for a process that can be profiled. Another try is allowed: on a crowded machine a second
/// may bring no sample.
pub fn profiled(pid: u32) -> Value {
    for _ in 0..10 {
        let page = examine(pyspy_rs(), pid);
        if page["verdict"]["can_read"] == true {
            return page;
        }
        assert!(page["python"].is_object(), "{page:#}");
    }
    panic!("process {pid} is never read");
}

/// What is wrong, and the commands against it, for one that cannot be profiled.
pub fn refused(command: Command, pid: u32) -> (String, Vec<String>) {
    let page = examine(command, pid);
    assert_eq!(page["verdict"]["can_read"], false, "{page:#}");
    assert!(page["sample"].is_null());
    let line = page["verdict"]["line"].as_str().unwrap();
    let (problem, fixes) = first_problem(&page);
    assert!(line.starts_with("pyspy-rs cannot "), "{line}");
    assert!(
        line.contains(&problem) && line.ends_with(&fixes[0]),
        "{line}"
    );
    (problem, fixes)
}

pub fn first_problem(page: &Value) -> (String, Vec<String>) {
    let first = &page["problems"][0];
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{page:#}"))
            .to_owned()
    };
    let fixes = first["fixes"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    (text(&first["problem"]), fixes)
}

/// A line of `/proc/PID/status`.
pub fn status(pid: u32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(key));
    lines
        .next()
        .unwrap()
        .trim_start_matches(':')
        .trim()
        .to_owned()
}

/// No thread of the process is traced or stopped any more.
pub fn assert_let_go(pid: u32) {
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let tid = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
        assert_eq!(status(tid, "TracerPid"), "0");
        assert!(!status(tid, "State").starts_with(['t', 'T']));
    }
}

/// A program that is dead and reaped when this is dropped.
pub struct Other(pub Child);

impl Other {
    pub fn start(command: &mut Command) -> Other {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Other(command.spawn().expect("it starts"))
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program);
    command
}

/// An interpreter outside of any root of its own, that every user can run.
pub fn public_python() -> Option<&'static Interpreter> {
    interpreters().iter().rev().find(|python| {
        let mut command = as_nobody(&python.executable);
        command.args(["-c", ""]).stderr(Stdio::null());
        python.root.is_none() && command.status().is_ok_and(|status| status.success())
    })
}

pub fn native_python() -> &'static Interpreter {
    let mut native = interpreters()
        .iter()
        .rev()
        .filter(|python| python.root.is_none());
    native.next().expect("an interpreter outside of a root")
}
