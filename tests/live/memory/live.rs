//! `memory` on a growing program: as lines, as a plot on a real terminal (tmux), and in its file; and
//! the column of `top`.

use std::fs;
use std::process::Stdio;

use crate::support::{
    Container, Interpreter, Target, Terminal, for_each_kind, interpreters, pyspy_rs, until,
};

const BINARY: &str = env!("CARGO_BIN_EXE_pyspy-rs");

/// One interpreter for what does not depend on it.
fn one_python() -> &'static Interpreter {
    let mut native = interpreters().iter().filter(|python| python.root.is_none());
    native.next_back().expect("a Python without chroot")
}

/// A program that takes 84 MiB a second in `keep`, in bursts that leave no doubt about the function.
fn growing(python: &Interpreter, seconds: &str) -> Target {
    let mut target = Target::start(python, "growing.py", &[seconds, "0.2", "burst"]);
    target.say("go");
    target
}

/// The MiB of a growth such as `+84.2M`.
fn mebibytes(growth: &str) -> f64 {
    let number = growth
        .strip_prefix('+')
        .unwrap_or("0")
        .trim_end_matches(['K', 'M', 'G']);
    let number: f64 = number
        .parse()
        .unwrap_or_else(|_| panic!("a number: {growth}"));
    match growth.chars().last() {
        Some('G') => number * 1024.0,
        Some('K') => number / 1024.0,
        _ => number,
    }
}

#[test]
fn lines_and_a_timeline_where_stdout_is_no_terminal() {
    for_each_kind("memory-lines-live", |python| {
        let target = growing(python, "30");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.svg");
        let output = pyspy_rs()
            .args(["memory", "-d", "2", "--delay", "0.25", "-o"])
            .arg(&file)
            .args(["--pid", &target.pid().to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("Seconds "), "{text}");
        let end = lines.iter().position(|line| line.starts_with("Memory: "));
        let end = end.unwrap_or_else(|| panic!("no verdict: {text}"));
        assert!(lines[end].contains("too short"), "{text}");

        // Each line adds to the one before, and the last holds what came in these two seconds.
        let growths: Vec<_> = lines[1..end]
            .iter()
            .map(|line| mebibytes(line.split_whitespace().nth(3).unwrap()))
            .collect();
        assert!(growths.len() >= 3 && growths.is_sorted(), "{text}");
        let grown = *growths.last().unwrap();
        assert!(grown > 10.0, "{text}");
        // What no sample found of the bursts is beside it.
        let kept = |text: &str| {
            let row = lines[end + 1..].iter().find(|line| line.contains(text));
            row.map_or(0.0, |row| mebibytes(row.split_whitespace().next().unwrap()))
        };
        let (keep, between) = (kept("keep (growing.py:"), kept("<between samples>"));
        let share = (keep + between) / grown;
        assert!(keep > 1.0 && share > 0.5 && share < 1.05, "{share}: {text}");

        let svg = fs::read_to_string(&file).unwrap();
        assert!(svg.contains("<svg") && svg.contains("keep"), "{svg:.300}");
        assert!(stderr.contains("Wrote timeline to"), "{stderr}");
    });
}

#[test]
fn a_launched_program_keeps_its_exit_status() {
    let python = one_python();
    let words = python.words(&[python.fixture("exit.py").into_os_string(), "3".into()]);
    let output = pyspy_rs()
        .args(["memory", "--delay", "0.1", "--"])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// A process whose child sees another file under the path of its own program.
const PARENT: &str = r#"
import subprocess, sys
path, other = sys.argv[1:]
script = 'mount --bind "$2" "$1" && exec "$0" "$1"'
child = ["unshare", "--mount", "sh", "-c", script, sys.executable, path, other]
sys.exit(subprocess.call(child))
"#;

const CHILD: &str = r#"
import time
blocks = []
def grow():
    blocks.append(bytearray(1 << 20))  # of the child's file
end = time.time() + 3
while time.time() < end:
    grow()
    time.sleep(0.005)
"#;

#[test]
fn a_table_has_the_lines_of_a_childs_own_files() {
    if !Container::can_be_made() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).into_os_string();
    fs::write(path("parent.py"), PARENT).unwrap();
    fs::write(path("app.py"), "# of the parent's file\n".repeat(12)).unwrap();
    fs::write(path("other.py"), CHILD).unwrap();
    let words = one_python().words(&[path("parent.py"), path("app.py"), path("other.py")]);
    let table = || {
        let output = pyspy_rs()
            .args(["memory", "-s", "-o"])
            .arg(path("memory.lines.txt"))
            .arg("--")
            .args(&words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        fs::read_to_string(path("memory.lines.txt")).unwrap()
    };
    // On a crowded machine all of its growth may be between samples.
    let table = until(table, |table| table.contains("# of the child's file"));
    assert!(!table.contains("# of the parent's file"), "{table}");
}

#[test]
fn the_plot_on_a_terminal() {
    let Some(terminal) = Terminal::open("memory") else {
        return;
    };
    let target = growing(one_python(), "60");
    let before = terminal.settings("before");
    terminal.run(&format!(
        "{BINARY} memory --delay 0.2 --pid {}",
        target.pid()
    ));
    terminal.wait_for("the plot and the function that grew", |screen| {
        let has = |text| screen.contains(text);
        has("Verdict: ")
            && has("MiB│")
            && screen.chars().any(|c| ('⠁'..='⣿').contains(&c))
            && has("keep (growing.py)")
            && has(&format!("(pid {}, python v", target.pid()))
    });
    terminal.key("l");
    terminal.wait_for("lines", |screen| screen.contains("keep (growing.py:"));
    terminal.key("q");
    terminal.wait_for("the shell", |_| terminal.modes() == (false, false));
    assert_eq!(terminal.settings("after"), before);
}

#[test]
fn top_sorts_by_growth() {
    let Some(terminal) = Terminal::open("top-growth") else {
        return;
    };
    let target = growing(one_python(), "60");
    terminal.run(&format!("{BINARY} top --delay 0.2 --pid {}", target.pid()));
    terminal.wait_for("the memory's curve", |screen| {
        let mut lines = screen.lines();
        lines.any(|line| {
            line.starts_with("RSS: ") && line.contains("growth +") && line.ends_with('█')
        })
    });
    // What a crowded machine has no samples of may be more than what it has.
    let first_row = |screen: &str| {
        let mut lines = screen.lines();
        lines.find(|line| line.contains(" Kept "))?;
        let mut rows = lines.filter(|line| !line.contains("<between samples>"));
        rows.next().map(str::to_owned)
    };
    terminal.key("5");
    terminal.wait_for("what kept most", |screen| {
        first_row(screen)
            .is_some_and(|row| row.contains(['M', 'G']) && row.contains("keep (growing.py)"))
    });
    terminal.key("6");
    terminal.wait_for("what added most", |screen| {
        first_row(screen).is_some_and(|row| row.contains("keep (growing.py)"))
    });
    terminal.key("q");
    terminal.wait_for("the shell", |_| terminal.modes() == (false, false));
}
