//! Files and mappings that were made to stop whoever reads them: attaching ends soon, with an error, and
//! other processes can be chosen and dumped meanwhile.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::require::has_root;
use crate::support::{
    Target, WATCHDOG, assert_pyspy_rs, binary, fixtures, interpreters, of_each_kind,
};

/// An attach is given up after 5 s, a list of processes as well. On a loaded machine we get a tenth of a
/// CPU.
const SOON: Duration = Duration::from_secs(50);

fn build(folder: &Path, fixture: &str) -> PathBuf {
    let program = folder.join(fixture.trim_end_matches(".c"));
    let status = Command::new("cc")
        .args(["-O1", "-rdynamic", "-no-pie", "-o"])
        .arg(&program)
        .arg(fixtures().join(fixture))
        .status()
        .expect("a C compiler");
    assert!(status.success(), "{fixture}");
    program
}

fn start(program: &Path, arguments: &[&OsStr]) -> Target {
    let mut command = Command::new(program);
    command.args(arguments);
    Target::start_command(command)
}

/// Fails to dump a process, soon; returns what is said.
fn refusal(target: &Target) -> String {
    let begin = Instant::now();
    let output = assert_pyspy_rs()
        .args(["dump", "--pid", &target.pid().to_string()])
        .output()
        .unwrap();
    let took = begin.elapsed();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(took < SOON, "{took:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Runs `dump` without a PID so many times beside a program and a Python, all alone in a PID namespace;
/// returns what is said.
fn choose_beside(program: &Path, arguments: &[&OsStr], times: u32) -> String {
    const SCRIPT: &str = r#"
        folder=$1 times=$2 ours=$3 python=$4
        shift 4
        mkfifo "$folder/said"
        "$@" > "$folder/said" &
        read -r line < "$folder/said"
        "$python" -uc 'import signal; print("ready"); signal.pause()' > "$folder/said" &
        read -r line < "$folder/said"
        while [ "$times" -gt 0 ]; do
            "$ours" dump > /dev/null
            echo "status $?" >&2
            times=$((times - 1))
        done
    "#;
    let kinds = of_each_kind(..);
    let python = kinds.iter().find(|python| python.root.is_none());
    let python = python.copied().unwrap_or(&interpreters()[0]);
    let folder = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let output = assert_cmd::Command::new("unshare")
        .args(["--pid", "--mount-proc", "--fork", "--kill-child"])
        .args(["sh", "-c", SCRIPT, "sh"])
        .arg(folder.path())
        .arg(times.to_string())
        .arg(binary())
        .arg(&python.executable)
        .arg(program)
        .args(arguments)
        .timeout(WATCHDOG)
        .output()
        .unwrap();
    let took = begin.elapsed();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?} {said}", output.status);
    assert!(took < SOON * times, "{took:?}");
    // The Python is used if there is no doubt, or else it is listed.
    for (status, named) in [("status 0\n", "Using process"), ("status 2\n", "COMMAND")] {
        assert_eq!(said.matches(status).count(), said.matches(named).count());
    }
    let [used, listed] = ["status 0\n", "status 2\n"].map(|status| said.matches(status).count());
    assert_eq!(used + listed, usize::try_from(times).unwrap(), "{said}");
    said
}

/// Regression: whoever had the file mapped while it became shorter was ended by SIGBUS.
#[test]
fn a_library_that_is_truncated_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "truncates_its_library.c");
    let hostile = start(&program, &[folder.path().as_os_str()]);
    let python = &interpreters()[0];
    let ordinary = Target::start(python, "waits.py", &[]);
    for _ in 0..10 {
        refusal(&hostile);
        let dump = ordinary.dump(&[]);
        assert!(!dump.threads.is_empty());
    }
    drop(hostile);
    if has_root("a PID namespace") {
        choose_beside(&program, &[folder.path().as_os_str()], 20);
    }
}

/// Writes section headers at the end of a program: `count` writable ones, all of them one array.
fn with_sections(program: &Path, to: &Path, count: u16, array: u64) {
    let mut bytes = fs::read(program).unwrap();
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    let at = bytes.len() as u64;
    for section in 0..count {
        let (kind, flags) = if section == 0 { (0u32, 0) } else { (8, 3) };
        bytes.extend([0, kind].map(u32::to_le_bytes).concat());
        let size = if section == 0 { 0 } else { 64 << 20 };
        bytes.extend([flags, array, 0, size].map(u64::to_le_bytes).concat());
        bytes.extend([0; 8]);
        bytes.extend([1u64, 0].map(u64::to_le_bytes).concat());
    }
    bytes[40..48].copy_from_slice(&at.to_le_bytes());
    for (field, value) in [(58, 64), (60, count), (62, 0)] {
        bytes[field..field + 2].copy_from_slice(&value.to_le_bytes());
    }
    fs::write(to, bytes).unwrap();
    let rights = fs::metadata(program).unwrap().permissions();
    fs::set_permissions(to, rights).unwrap();
}

/// Regression: each section was searched by itself, which took minutes.
#[test]
fn thousands_of_sections_over_one_array() {
    let folder = tempfile::tempdir().unwrap();
    let plain = build(folder.path(), "large_array.c");
    let array = start(&plain, &[]).ready["array"].as_u64().unwrap();
    let patched = folder.path().join("patched");
    with_sections(&plain, &patched, 4000, array);
    // Another process copies it, or a child of this one could have it open for writing.
    let program = folder.path().join("sections");
    crate::support::copy_program(&patched, &program);
    let said = refusal(&start(&program, &[]));
    assert!(said.contains("runs nothing"), "{said}");
    if has_root("a PID namespace") {
        choose_beside(&program, &[], 1);
    }
}

/// Data in which a version may begin everywhere: it takes far more than 5 s to search.
#[test]
fn an_attach_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "large_array.c");
    let text = OsStr::new("3.");
    let said = refusal(&start(&program, &[text]));
    let expected = format!(
        "gave up after 5 s, while the data of {} was searched",
        program.display()
    );
    assert!(said.contains(&expected), "{said}");
    if has_root("a PID namespace") {
        let said = choose_beside(&program, &[text], 1);
        let expected = "may be a Python process: gave up after 500 ms, while the data of";
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("more than one Python process may be running"));
    }
}

/// Regression: the list of mappings was in memory as a whole, and more than once: 568 MiB.
#[test]
fn sixty_thousand_mappings_of_one_file() {
    const MAPPINGS: &str = "60000";
    /// Bytes of data: a third of what the list has.
    const MEMORY: &str = "--data=80000000";
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "many_mappings.c");
    let hostile = start(&program, &[folder.path().as_os_str(), OsStr::new(MAPPINGS)]);
    let begin = Instant::now();
    let output = assert_cmd::Command::new("prlimit")
        .args([MEMORY, binary(), "dump", "--pid"])
        .arg(hostile.pid().to_string())
        .timeout(WATCHDOG)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(begin.elapsed() < SOON);
    // Whether it was seen to the end depends on the machine.
    let ends = ["holds no CPython", "gave up after 5 s"];
    assert!(ends.iter().any(|end| said.contains(end)), "{said}");
    drop(hostile);
    if has_root("a PID namespace") {
        let second = tempfile::tempdir().unwrap();
        let place = second.path().as_os_str();
        choose_beside(&program, &[place, OsStr::new(MAPPINGS)], 1);
    }
}
