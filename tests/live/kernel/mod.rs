//! `record --engine kernel`: the same truths as with the engine that pauses, and what only this one promises.

mod auto;
mod memory;
mod stacks;
mod system;
mod wall;

use std::ops::RangeBounds;
use std::sync::OnceLock;

use crate::support::require::skip;
use crate::support::{
    Interpreter, Recording, Target, for_each_interpreter, for_each_kind_in, interpreters, pyspy_rs,
};

/// Options of a recording by the kernel.
fn options<'a>(others: &[&'a str]) -> Vec<&'a str> {
    [&["--engine", "kernel", "-f", "raw"], others].concat()
}

/// Records a process, and checks that the kernel took the samples.
fn record(target: &Target, others: &[&str]) -> Recording {
    let recording = Recording::of_pid(target.pid(), &options(others));
    assert_eq!(recording.summary["engine"], "kernel");
    recording
}

/// Runs a case on each interpreter, unless this kernel cannot take samples.
fn for_each(name: &str, versions: impl RangeBounds<(u32, u32)>, case: impl Fn(&Interpreter)) {
    if is_had() {
        for_each_interpreter(name, versions, case);
    }
}

/// The same on one interpreter of each kind: for what takes long and does not depend on the version.
fn for_each_kind(name: &str, versions: impl RangeBounds<(u32, u32)>, case: impl Fn(&Interpreter)) {
    if is_had() {
        for_each_kind_in(name, versions, case);
    }
}

/// Whether the kernel takes samples for us: it is recent enough, and we are root.
fn is_had() -> bool {
    static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
    let refusal = REFUSAL.get_or_init(|| {
        let python = interpreters().last().expect("an interpreter");
        let target = Target::start(python, "storm.py", &[]);
        let output = pyspy_rs()
            .arg("record")
            .args(options(&["-d", "0.1", "-o", "-", "--pid"]))
            .arg(target.pid().to_string())
            .output()
            .expect("our binary runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let refusal = stderr.lines().find(|line| line.contains("cannot be used"));
        refusal.map(str::to_owned)
    });
    if let Some(refusal) = refusal {
        skip("bpf", refusal);
    }
    refusal.is_none()
}
