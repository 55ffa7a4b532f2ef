//! Records the memory tapes of fixtures/tapes: `cargo run --example record_tape -- 3.15`, without a version
//! all that this machine has. One tape of each minor version, of the newest interpreter; it replaces the one
//! that is there. See fixtures/README.md.

// It is a tool of the tests: a broken assumption ends it, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;

use pyspy_rs::PythonProcess;
use pyspy_rs::Secrets;
use pyspy_rs::internals::{RecordingMemory, Runtime, Tape, TapeMetadata, ValueOptions};
use serde_json::Value;

use test_support::{
    Interpreter, Recorded, Target, interpreters, parse, recorded_tapes, tapes_folder,
};

/// Executes fixtures/tape.py under a path that every machine can have.
const LOADER: &str = "import sys; \
    exec(compile(open(sys.argv[1] + '/tape.py').read(), '/srv/app/tape.py', 'exec'))";

/// What is read for a tape: with secrets, to compare all values, and as users do.
fn options() -> [ValueOptions; 3] {
    [
        ValueOptions::level(2, Secrets::Shown),
        ValueOptions::level(2, Secrets::Hidden),
        ValueOptions::level(1, Secrets::Hidden),
    ]
}

fn main() {
    let versions: Vec<String> = std::env::args().skip(1).collect();
    let name = |python: &Interpreter| {
        let (major, minor) = python.version.minor_pair();
        format!("{major}.{minor}")
    };
    let has = |version: &String| interpreters().iter().any(|python| name(python) == *version);
    for version in &versions {
        assert!(
            has(version),
            "there is no CPython {version} on this machine"
        );
    }
    fs::create_dir_all(tapes_folder()).unwrap();
    for python in interpreters() {
        let minor = python.version.minor_pair();
        let mut newer = interpreters().iter().rev();
        let newest = newer.find(|other| other.version.minor_pair() == minor);
        let is_newest = newest.unwrap().executable == python.executable;
        if is_newest && (versions.is_empty() || versions.contains(&name(python))) {
            write(python);
        }
    }
}

/// Records a tape, checks it, and puts it in the place of the one of that minor version.
fn write(python: &Interpreter) {
    let (tape, truth) = record(python);
    let recorded = Recorded {
        version: python.version.to_string(),
        tape,
        truth,
    };
    recorded.assert_reads_back();
    let Recorded {
        version,
        tape,
        truth,
    } = recorded;
    let path = tapes_folder().join(format!("cpython-{version}.tape"));
    let truth = serde_json::to_string(&truth).unwrap() + "\n";
    for secret in machine_paths(python) {
        let found = |bytes: &[u8]| {
            let mut windows = bytes.windows(secret.len());
            windows.any(|window| window == secret.as_bytes())
        };
        let on_tape = tape.ranges().any(|(_, bytes)| found(bytes));
        assert!(!on_tape && !found(truth.as_bytes()), "{secret} is recorded");
    }
    if let Some(before) = recorded_tapes().get(&python.version.minor_pair()) {
        let before = tapes_folder().join(format!("cpython-{}.tape", before.version));
        fs::remove_file(before.with_extension("json")).unwrap();
        fs::remove_file(before).unwrap();
    }
    println!("{}", path.display());
    fs::write(path.with_extension("json"), truth).unwrap();
    fs::write(path, tape.to_bytes()).unwrap();
}

/// Paths that tell of the machine on which a tape is made.
fn machine_paths(python: &Interpreter) -> Vec<String> {
    let mut paths = vec![
        env!("CARGO_MANIFEST_DIR").to_owned(),
        python.fixtures.display().to_string(),
    ];
    if let Some(home) = std::env::home_dir() {
        paths.push(format!("{}/", home.display()));
    }
    paths
}

/// Everything that is read of the program, and what it says itself.
fn record(python: &Interpreter) -> (Tape, Value) {
    let folder = python.fixtures.display().to_string();
    let target = Target::start_command(python.command(&["-c", LOADER, &folder]));
    let process = PythonProcess::attach(i32::try_from(target.pid()).unwrap()).unwrap();
    let memory = RecordingMemory::new(process.target().memory());
    let Runtime { version, roots, .. } = *process.python();
    let attached = TapeMetadata {
        // Describes the interpreter once more, so that its own offsets are on the tape.
        python: Runtime::describe(&memory, version, roots).unwrap(),
        pid: process.pid(),
        tasks: process.tasks(),
    };
    for options in options() {
        parse(&attached, &memory, options).unwrap();
    }
    let mut tape = memory.into_tape();
    attached.note(&mut tape);
    let mut truth = target.ready.clone();
    for of_the_machine in ["pid", "executable"] {
        truth.as_object_mut().unwrap().remove(of_the_machine);
    }
    (tape, truth)
}
