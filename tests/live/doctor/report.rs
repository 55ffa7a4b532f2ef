//! `doctor` on what can be profiled: its page on interpreters of all kinds, and in odd conditions.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::doctor::{
    SECRET, assert_let_go, first_problem, native_python, profiled, status,
};
use crate::support::require::has_root;
use crate::support::{Interpreter, Target, copy_program, interpreters, pyspy_rs, wait_until};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[test]
fn every_interpreter_can_be_profiled() {
    // Each takes a second of sleep and little of a CPU.
    std::thread::scope(|scope| {
        for python in interpreters() {
            scope.spawn(move || one_interpreter(python));
        }
    });
    let labels: Vec<String> = interpreters().iter().map(Interpreter::label).collect();
    println!("ran on {}", labels.join(" "));
}

fn one_interpreter(python: &Interpreter) {
    let mut target = Target::start(python, "threads.py", &["3", "--password", SECRET]);
    let pid = target.pid();
    let page = profiled(pid);
    let context = format!("{python}: {page:#}");
    assert_eq!(page["verdict"]["can_pause"], true, "{context}");
    assert_eq!(
        page["verdict"]["line"],
        "pyspy-rs can read and pause this process"
    );
    assert_eq!(page["problems"], Value::Array(vec![]), "{context}");
    for way in ["process_vm_readv", "proc_mem", "ptrace_seize"] {
        assert_eq!(page["access"][way]["works"], true, "{way}: {context}");
    }

    let process = &page["process"];
    assert!(!process.to_string().contains(SECRET), "{context}");
    let command = process["command"].as_array().unwrap();
    assert_eq!(command.last().unwrap(), "<redacted>", "{context}");
    assert_eq!(process["executable_is"], "present", "{context}");
    assert_eq!(process["same_root"], python.root.is_none(), "{context}");
    assert_eq!(process["tracer_pid"], Value::Null, "{context}");
    assert_eq!(process["inner_pid"], pid, "{context}");

    let interpreter = &page["python"];
    let version = interpreter["version"].as_str().unwrap();
    assert!(
        version.starts_with(&python.version.to_string()),
        "{context}"
    );
    let describes_itself = python.version.minor_pair() >= (3, 13);
    let layout = interpreter["layout_source"].as_str().unwrap();
    assert_eq!(
        layout.contains("debug offsets"),
        describes_itself,
        "{context}"
    );
    assert_eq!(interpreter["free_threaded"], python.is_free_threaded());
    if let Some(debug) = interpreter["debug_build"].as_bool() {
        assert_eq!(debug, python.build.contains('d'), "{context}");
    }
    assert_eq!(
        interpreter["interpreter_ids"],
        serde_json::json!([0]),
        "{context}"
    );

    let threads = &page["threads"];
    // Its reporter is one, too.
    assert_eq!(threads["python"], 5, "{context}");
    let names: Vec<&str> = threads["python_names"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|thread| thread["name"].as_str())
        .collect();
    for name in ["MainThread", "worker-00", "worker-02"] {
        assert!(names.contains(&name), "{name}: {context}");
    }
    let main = page["symbols"]["main"].as_array().unwrap();
    let holder = main
        .iter()
        .find(|file| file["path"] == interpreter["image"]);
    assert_eq!(
        holder.expect("the interpreter's file")["dynsym"],
        true,
        "{context}"
    );

    let options = &page["options"];
    let tells_gc = python.version.minor_pair() >= (3, 7);
    assert_eq!(options["gc"].is_null(), tells_gc, "{context}");
    assert_eq!(
        options["gil"].is_null(),
        !python.is_free_threaded(),
        "{context}"
    );
    assert!(options["memory"].is_null(), "{context}");

    let sample = &page["sample"];
    assert_eq!(sample["paused"], true, "{context}");
    assert_eq!(sample["errors"], 0, "{context}");
    let stacks = sample["stacks"].as_u64().unwrap();
    let samples = sample["samples"].as_u64().unwrap();
    assert!(samples > 0 && stacks <= samples * 5, "{context}");
    assert!(sample["max_depth"].as_u64().unwrap() >= 5, "{context}");
    assert!(
        sample["cpu_us_per_sample"].as_f64().unwrap() > 0.0,
        "{context}"
    );
    assert_let_go(pid);
    assert!(target.finish().success(), "{context}");
}

#[test]
fn the_page_can_be_pasted() {
    let arguments = [
        "3",
        "--api-key=HUSH",
        "postgres://user:HUSH@db/x",
        "\u{1b}[31m\nProblem\r\u{202e}",
    ];
    let target = Target::start(native_python(), "threads.py", &arguments);
    let pid = target.pid().to_string();
    let output: Output = pyspy_rs().args(["doctor", &pid]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let dangerous = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(dangerous), "{text:?}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(text.contains(r"\x1b[31m\nProblem\r\u202e"), "{text}");
    assert!(text.starts_with("pyspy-rs can read"), "{text}");
    let titles: Vec<&str> = text
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with(' ') && !line.is_empty())
        .collect();
    let process = format!("Process {pid}");
    let ours = format!("pyspy-rs {}", env!("CARGO_PKG_VERSION"));
    let expected = [
        &ours,
        &process,
        "Access",
        "Python",
        "Threads",
        "Symbols of native code",
        "Options",
        "Test",
        "Secrets that were recognized are redacted; check this report before you share it.",
    ];
    assert_eq!(titles, expected, "{text}");
}

#[test]
fn one_that_is_traced_or_stopped_can_be_read_and_stays_so() {
    let target = Target::start(native_python(), "waits.py", &[]);
    let pid = target.pid();
    let nix_pid = Pid::from_raw(pid.cast_signed());

    ptrace::seize(nix_pid, ptrace::Options::empty()).expect("our child can be traced");
    let page = profiled(pid);
    assert_eq!(page["verdict"]["can_pause"], false, "{page:#}");
    assert_eq!(page["sample"]["paused"], false, "{page:#}");
    let (problem, fixes) = first_problem(&page);
    let own = std::process::id();
    assert!(
        problem.contains(&format!("is being traced by process {own}")),
        "{problem}"
    );
    assert!(
        fixes
            .iter()
            .any(|fix| fix.ends_with(&format!("ps -fp {own}"))),
        "{fixes:?}"
    );
    ptrace::interrupt(nix_pid).unwrap();
    nix::sys::wait::waitpid(nix_pid, None).unwrap();
    ptrace::detach(nix_pid, None).unwrap();

    kill(nix_pid, Signal::SIGSTOP).unwrap();
    wait_until("it is stopped", || status(pid, "State").starts_with('T'));
    let page = profiled(pid);
    assert_eq!(page["verdict"]["can_pause"], true, "{page:#}");
    let (_, fixes) = first_problem(&page);
    assert_eq!(fixes, [format!("kill -CONT {pid}")]);
    wait_until("it is stopped again", || {
        status(pid, "State").starts_with('T')
    });
    kill(nix_pid, Signal::SIGCONT).unwrap();
    wait_until("it goes on", || status(pid, "State").starts_with('S'));
    assert_let_go(pid);
}

#[test]
fn another_namespace_and_a_deleted_program_are_reported() {
    if !has_root("making namespaces") {
        return;
    }
    let python = native_python();
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("renamed");
    copy_program(&python.executable, &renamed);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.arg(&renamed).arg(python.fixture("waits.py"));
    let home = python.executable.parent().and_then(Path::parent).unwrap();
    command.env("PYTHONHOME", home);
    let target = Target::start_command(command);
    fs::remove_file(&renamed).unwrap();
    let id = target.started_pid();
    let child = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let page = profiled(child.trim().parse().unwrap());
    let process = &page["process"];
    assert_eq!(process["executable_is"], "deleted", "{page:#}");
    assert_eq!(process["inner_pid"], 1, "{page:#}");
    let namespaces = process["namespaces"].as_array().unwrap();
    let same = |kind: &str| &namespaces.iter().find(|one| one["kind"] == kind).unwrap()["same"];
    assert_eq!([same("pid"), same("mnt")], [false, false], "{page:#}");
    assert_eq!([same("user"), same("net")], [true, true], "{page:#}");
}

#[test]
fn without_pausing_nothing_is_seized() {
    let target = Target::start(native_python(), "waits.py", &[]);
    let output = pyspy_rs()
        .args([
            "doctor",
            "--nonblocking",
            "--json",
            &target.pid().to_string(),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(page["verdict"]["can_pause"], Value::Null);
    assert_eq!(page["access"]["ptrace_seize"]["works"], Value::Null);
    assert_eq!(page["sample"]["pauses"], 0);
}
