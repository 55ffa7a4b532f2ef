//! CPython in other circumstances: started in other ways, traced, profiled, with its JIT. The stacks
//! are what CPython says, as ever.

use std::ffi::OsString;
use std::fs;
use std::ops::RangeBounds;
use std::path::Path;
use std::process::Command;

use crate::support::{Dump, Interpreter, Target, fixtures, for_each_interpreter};

/// Dumps what the words start and compares all its threads with CPython's view.
fn dump_matches(
    case: &str,
    versions: impl RangeBounds<(u32, u32)>,
    words: impl Fn(&Interpreter) -> Vec<OsString>,
) {
    for_each_interpreter(case, versions, |python| {
        let target = Target::start_command(python.command(&words(python)));
        compare(&target);
    });
}

fn compare(target: &Target) -> Dump {
    let dump = target.dump(&[]);
    dump.assert_matches(&target.truth());
    dump
}

/// Interpreter options before a target program and its arguments.
fn with(options: &[&str], python: &Interpreter, fixture: &str, rest: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = options.iter().map(OsString::from).collect();
    words.push(python.fixture(fixture).into());
    words.extend(rest.iter().map(OsString::from));
    words
}

/// A program in one line that runs calls.py. Not by an import: Python 2 has one lock for them all.
fn run_calls(python: &Interpreter) -> String {
    let folder = python.fixtures.to_str().unwrap();
    format!(
        "import sys; sys.path.insert(0, r'{folder}'); import truth; path = r'{folder}/calls.py'; \
         exec(compile(open(path).read(), path, 'exec'))"
    )
}

#[test]
fn optimised() {
    let words = |python: &Interpreter| with(&["-OO"], python, "calls.py", &[]);
    dump_matches("optimised", .., words);
}

#[test]
fn import_times_shown() {
    let options = ["-X", "importtime"];
    let words = |python: &Interpreter| with(&options, python, "calls.py", &[]);
    dump_matches("importtime", (3, 7).., words);
}

#[test]
fn a_command_of_an_isolated_interpreter() {
    let words = |python: &Interpreter| vec!["-I".into(), "-c".into(), run_calls(python).into()];
    dump_matches("isolated", (3, 4).., words);
}

#[test]
fn a_module() {
    for_each_interpreter("module", .., |python| {
        let mut command = python.command(&["-m", "calls"]);
        command.env("PYTHONPATH", &python.fixtures);
        compare(&Target::start_command(command));
    });
}

#[test]
fn a_zipped_application() {
    for_each_interpreter("zipapp", (3, 5).., |python| {
        let place = python.new_place("app");
        for file in ["truth.py", "calls.py"] {
            fs::copy(fixtures().join(file), place.host.join(file)).unwrap();
        }
        fs::write(place.host.join("__main__.py"), "import calls\n").unwrap();
        let archive = place.seen.with_extension("pyz");
        let words = [
            OsString::from("-m"),
            "zipapp".into(),
            place.seen.clone().into(),
            "-o".into(),
            archive.clone().into(),
        ];
        assert!(python.command(&words).status().unwrap().success());
        let dump = compare(&Target::start_at(python, &archive, &[]));
        let mut files = dump.threads.iter().flat_map(|thread| &thread.frames);
        let inside = archive.join("calls.py");
        assert!(files.any(|frame| Path::new(&frame.filename) == inside));
    });
}

#[test]
fn a_virtual_environment() {
    for_each_interpreter("venv", (3, 4).., |python| {
        let place = python.new_place("venv");
        let folder = place.seen.to_str().unwrap();
        let words = ["-m", "venv", "--symlinks", "--without-pip", folder];
        assert!(python.command(&words).status().unwrap().success());
        let inside = Interpreter {
            executable: place.seen.join("bin/python"),
            ..python.clone()
        };
        let dump = compare(&Target::start(&inside, "calls.py", &[]));
        assert_eq!(dump.command[0], inside.executable.to_str().unwrap());
    });
}

/// Starts Python behind a shell that writes a program to its stdin, as its last words say.
fn fed(python: &Interpreter, script: &str, options: &[&str], program: &str) -> Target {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh", program])
        .args(python.words(options))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LC_ALL", "C.UTF-8");
    Target::start_command(command)
}

#[test]
fn a_program_from_stdin() {
    for_each_interpreter("stdin", .., |python| {
        // The program is at its end before it runs; the reporter reads our own pipe.
        let program = format!("import os; os.dup2(3, 0); {}", run_calls(python));
        let script = r#"exec 3<&0; program=$1; shift; printf '%s\n' "$program" | "$@""#;
        let target = fed(python, script, &["-"], &program);
        assert_eq!(root_file(&compare(&target)), "<stdin>");
    });
}

#[test]
fn an_interactive_interpreter() {
    for_each_interpreter("interactive", .., |python| {
        let script = r#"program=$1; shift; { printf '%s\n' "$program"; exec cat; } | "$@""#;
        let target = fed(python, script, &["-i"], &run_calls(python));
        // 3.13 and later count their inputs.
        let file = root_file(&compare(&target));
        assert!(file.starts_with("<stdin"), "{file}");
    });
}

/// The file of the main thread's root frame.
fn root_file(dump: &Dump) -> String {
    let main = dump.threads.iter().find(|thread| thread.main).unwrap();
    main.frames.last().unwrap().filename.clone()
}

#[test]
fn perf_trampolines() {
    for_each_interpreter("perf", (3, 12).., |python| {
        let words = with(&["-X", "perf"], python, "calls.py", &[]);
        let target = Target::start_command(python.command(&words));
        let root = python.root.as_deref().unwrap_or(Path::new("/"));
        let map = root.join(format!("tmp/perf-{}.map", target.pid()));
        // It shows that the trampolines are on. CPython leaves it there for good.
        let names = fs::read_to_string(&map).unwrap();
        fs::remove_file(map).unwrap();
        assert!(names.contains("py::"), "{names}");
        compare(&target);
    });
}

#[test]
fn hot_loops() {
    let words = |python: &Interpreter| with(&[], python, "hot.py", &[]);
    dump_matches("hot", .., words);
}

#[test]
fn hot_loops_in_the_jit() {
    for_each_interpreter("jit", (3, 13).., |python| {
        let mut command = python.command(&with(&[], python, "hot.py", &[]));
        command.env("PYTHON_JIT", "1");
        let target = Target::start_command(command);
        // It is not built into every CPython; the stacks must be right either way.
        println!("{}: JIT {}", python.label(), target.ready["jit"]);
        compare(&target);
    });
}

fn hooked(mode: &str, versions: impl RangeBounds<(u32, u32)>) {
    let words = |python: &Interpreter| with(&[], python, "traced.py", &[mode]);
    dump_matches(mode, versions, words);
}

#[test]
fn settrace() {
    hooked("settrace", ..);
}

#[test]
fn setprofile() {
    hooked("setprofile", ..);
}

#[test]
fn traced_opcode_by_opcode() {
    hooked("opcodes", (3, 7)..);
}

#[test]
fn inside_a_trace_function() {
    hooked("inside", ..);
}

#[test]
fn monitored() {
    hooked("monitoring", (3, 12)..);
}

#[test]
fn profiled() {
    hooked("cprofile", ..);
}
