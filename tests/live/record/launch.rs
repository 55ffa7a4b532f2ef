//! `record -- PROGRAM`: exit statuses, arguments, files.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::bench::{Bench, fixture, python, wait, words};
use crate::support::require::has_root;
use crate::support::{Target, fixtures, until};
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

#[test]
fn success_is_passed_on_and_the_file_is_there() {
    let (bench, done) = Bench::new("-o x.txt").run(fixture("split.py", &["0.5"]));
    done.assert_code(0);
    assert!(
        done.stdout.starts_with("ready\n{") && done.stdout.lines().count() == 2,
        "the program's and our own lines only: {:?}",
        done.stdout
    );
    done.assert_wrote("Wrote raw flamegraph data to 'x.txt'. Samples: ");
    for part in [
        " Errors: ",
        "Rate: ",
        " of 100 per second",
        " RSS: ",
        " peak",
    ] {
        done.assert_wrote(part);
    }
    // py-spy would have written a flame graph.
    let note = "'x.txt' will be in format raw, by its ending; ";
    assert!(done.stderr.starts_with(note), "{}", done.stderr);
    let text = bench.text("x.txt");
    assert!(text.contains("<module> (split.py:"), "{text}");
    assert!(text.contains(";sixty_percent (split.py:"), "{text}");
    assert_eq!(bench.files(), ["x.txt"]);
}

#[test]
fn first_frames_of_the_program_are_seen() {
    // The import of `site` is over a few milliseconds after the start, and a crowded machine may give
    // us no CPU in these.
    let record = || {
        let program = python().words(&["-c", "pass"]);
        let (bench, done) = Bench::new("-o x.txt -r 2000 -i").run(program);
        done.assert_code(0);
        bench.text("x.txt")
    };
    until(record, |text| text.contains("importlib._bootstrap"));
}

#[test]
fn failure_is_passed_on() {
    let (bench, done) = Bench::new("-o x.svg").run(fixture("exit.py", &["7"]));
    done.assert_code(7);
    assert_eq!(bench.files(), ["x.svg"]);
}

#[test]
fn a_signals_end_is_128_and_the_signal() {
    for (name, code) in [
        ("SIGTERM", 143),
        ("SIGINT", 130),
        ("SIGKILL", 137),
        ("SIGHUP", 129),
    ] {
        let (bench, done) = Bench::new("-o x.svg").run(fixture("exit.py", &[name]));
        done.assert_code(code);
        assert_eq!(bench.files(), ["x.svg"], "{name}");
    }
}

#[test]
fn a_program_that_ends_at_once_leaves_a_valid_file() {
    for _ in 0..5 {
        let program = python().words(&["-S", "-E", "-c", "import os; os._exit(0)"]);
        let (bench, done) = Bench::new("-o x.svg").run(program);
        done.assert_code(0);
        assert!(bench.text("x.svg").contains("</svg>"));
    }
}

#[test]
fn a_program_that_never_becomes_python_is_reported() {
    let (bench, done) = Bench::new("-o x.svg").run(words(&["sh", "-c", "sleep 0.1; exit 5"]));
    done.assert_code(5);
    done.assert_wrote("did not run Python");
    assert!(bench.files().is_empty(), "{:?}", bench.files());
    // A success would hide that nothing was recorded.
    let (_bench, done) = Bench::new("-o x.svg").run(words(&["true"]));
    done.assert_code(1);
    done.assert_wrote("did not run Python");
    done.assert_wrote("hint: ");
}

#[test]
fn a_shell_that_becomes_python_is_recorded() {
    let mut program = words(&["sh", "-c", "sleep 0.1; exec \"$@\"", "sh"]);
    program.extend(fixture("split.py", &["0.5"]));
    let (bench, done) = Bench::new("-o x.txt -r 1000").run(program);
    done.assert_code(0);
    assert!(
        bench.text("x.txt").contains("sixty_percent"),
        "{}",
        bench.text("x.txt")
    );
}

#[test]
fn a_program_that_forks_and_exits_ends_the_recording() {
    let (bench, mut record) = Bench::new("-o x.svg").start(fixture("forks_and_exits.py", &[]));
    let fork: i32 = record.line().parse().unwrap();
    let status = wait(&mut record.child);
    assert_eq!(status.code(), Some(3));
    assert_eq!(bench.files(), ["x.svg"]);
    // The fork lives on until stdin closes.
    kill(Pid::from_raw(fork), None).unwrap();
    record.finish();
}

#[test]
fn relative_paths_are_the_users() {
    let bench = Bench::new("-o sub/x.txt -r 1000 -i");
    fs::create_dir(bench.path("sub")).unwrap();
    fs::copy(fixtures().join("split.py"), bench.path("here.py")).unwrap();
    let (bench, done) = bench.run(python().words(&["./here.py", "0.5"]));
    done.assert_code(0);
    assert!(
        bench.text("sub/x.txt").contains("here.py"),
        "{}",
        bench.text("sub/x.txt")
    );
}

#[test]
fn arguments_arrive_as_they_are() {
    let odd = ["a b", "--pid", "-o", "y", "", "--", "-", "ü*?$HOME"];
    let (bench, done) = Bench::new("-o x.svg").run(fixture("args.py", &odd));
    done.assert_code(0);
    let said: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(said["args"], serde_json::json!(odd));
    let cwd = bench.folder.path().canonicalize().unwrap();
    assert_eq!(said["cwd"], cwd.to_str().unwrap());
    assert_eq!(bench.files(), ["x.svg"]);
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_the_launch() {
    // No user can make a file in /proc, not even root.
    for options in [
        "-o /proc/x.svg",
        "-o missing/x.svg",
        "-o .",
        "-o x.svg --summary missing/x.json",
    ] {
        let (bench, done) = Bench::new(options).run(words(&["touch", "started"]));
        done.assert_code(1);
        done.assert_wrote("error: cannot write '");
        done.assert_wrote("hint: ");
        assert!(bench.files().is_empty(), "{options}: {:?}", bench.files());
    }
}

/// It waited for a reader, without a word.
#[test]
fn a_pipe_that_nobody_reads_is_found_before_the_launch() {
    let bench = Bench::new("-o pipe");
    mkfifo(&bench.path("pipe"), Mode::S_IRWXU).unwrap();
    let (bench, done) = bench.run(words(&["touch", "started"]));
    done.assert_code(1);
    done.assert_wrote("error: cannot write 'pipe': no program reads this pipe\n");
    done.assert_wrote("hint: start its reader first, or use a file: -o FILE\n");
    assert_eq!(bench.files(), ["pipe"]);
}

#[test]
fn a_full_disk_is_a_failure_but_a_failing_program_counts_more() {
    let (_bench, done) = Bench::new("-o /dev/full").run(fixture("exit.py", &["0"]));
    done.assert_code(1);
    done.assert_wrote("error: cannot write '/dev/full'");
    done.assert_wrote("hint: ");
    let (_bench, done) = Bench::new("-o /dev/full").run(fixture("exit.py", &["7"]));
    done.assert_code(7);
    done.assert_wrote("error: cannot write '/dev/full'");
    // The recording is there though its summary is not.
    let (bench, done) = Bench::new("-o x.txt --summary /dev/full").run(fixture("exit.py", &["0"]));
    done.assert_code(1);
    done.assert_wrote("error: cannot write '/dev/full'");
    assert_eq!(bench.files(), ["x.txt"]);
}

#[test]
fn an_existing_file_is_overwritten_or_left_whole() {
    let bench = Bench::new("-o x.txt -r 1000");
    fs::write(bench.path("x.txt"), "old").unwrap();
    let (bench, done) = bench.run(words(&["true"]));
    done.assert_code(1);
    assert_eq!(bench.text("x.txt"), "old");
    let (bench, done) = bench.run(fixture("split.py", &["0.5"]));
    done.assert_code(0);
    assert!(bench.text("x.txt").contains("split.py"));
    assert_eq!(bench.files(), ["x.txt"]);
}

#[test]
fn without_a_name_the_file_is_in_the_current_folder() {
    let (bench, done) = Bench::new("-f speedscope").run(fixture("exit.py", &["0"]));
    done.assert_code(0);
    let files = bench.files();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = python().executable.file_name().unwrap().to_str().unwrap();
    assert!(files[0].starts_with(&format!("{name}-20")), "{files:?}");
    assert!(files[0].ends_with("+0000.json"), "{files:?}");
}

#[test]
fn a_duration_ends_the_program_too() {
    // On a crowded machine it may take longer to start.
    let mut text = String::new();
    for seconds in ["0.3", "1", "3", "10", "30"] {
        let bench = Bench::new(&format!("-o x.txt -d {seconds}"));
        let (bench, mut record) = bench.start(fixture("busy.py", &[]));
        // Its stdin stays open: it would run on.
        let status = wait(&mut record.child);
        assert_eq!(status.code(), Some(0));
        text = bench.text("x.txt");
        if text.contains("leaf") {
            return;
        }
    }
    panic!("{text}");
}

#[test]
fn a_program_that_is_missing_says_so() {
    let (bench, done) = Bench::new("-o x.svg").run(words(&["./no-such-program"]));
    done.assert_code(1);
    done.assert_wrote("error: cannot start ./no-such-program: No such file or directory\n");
    done.assert_wrote("hint: ");
    assert!(bench.files().is_empty());
}

#[test]
fn under_sudo_program_and_file_are_the_users() {
    if !has_root("becoming another user") {
        return;
    }
    let bench = Bench::new("-o x.svg");
    let mut command = bench.command();
    command.env("SUDO_UID", "65534").env("SUDO_GID", "65533");
    command.args(["--", "sh", "-c", "id -u; id -g; id -G"]);
    let output = command.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "65534\n65533\n65533\n"
    );
    // A shell is no Python, so the file is another run's, on a process.
    let target = Target::start(python(), "ping.py", &[]);
    let bench = Bench::new(&format!("-o x.svg -d 0.1 --pid {}", target.pid()));
    let mut command = bench.command();
    command.env("SUDO_UID", "65534").env("SUDO_GID", "65533");
    assert!(command.status().unwrap().success());
    let file = fs::metadata(bench.path("x.svg")).unwrap();
    assert_eq!((file.uid(), file.gid()), (65534, 65533));
}

/// It ran as root, and files belonged to root, without a word.
#[test]
fn bad_variables_of_sudo_launch_nothing() {
    if !has_root("becoming another user") {
        return;
    }
    for (uid, gid) in [
        (Some("somebody"), Some("0")),
        (Some("4294967295"), Some("100")),
        (Some("-1"), Some("-1")),
        (Some("65534"), None),
    ] {
        let bench = Bench::new("-o x.svg");
        let mut command = bench.command();
        uid.map(|uid| command.env("SUDO_UID", uid));
        gid.map(|gid| command.env("SUDO_GID", gid));
        command.args(["--", "touch", "launched"]);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("SUDO_UID and SUDO_GID"), "{stderr}");
        assert!(bench.files().is_empty(), "{uid:?} {gid:?}");
    }
    let target = Target::start(python(), "ping.py", &[]);
    let bench = Bench::new(&format!("-o x.svg -d 0.1 --pid {}", target.pid()));
    let mut command = bench.command();
    command.env("SUDO_UID", "somebody").env("SUDO_GID", "0");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("SUDO_UID and SUDO_GID"), "{stderr}");
    assert_eq!(fs::metadata(bench.path("x.svg")).unwrap().uid(), 0);
}
