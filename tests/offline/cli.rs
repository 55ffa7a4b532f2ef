//! The command line itself: help, version, errors, exit statuses. Nothing here needs a Python.

use std::fs::OpenOptions;
use std::process::{Child, Command, Output, Stdio};

use assert_cmd::cargo::CommandCargoExt;

fn pyspy(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("pyspy-rs").unwrap();
    command
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("CLICOLOR_FORCE")
        .env("COLUMNS", "80")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    pyspy(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A process that is no Python, and ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Sleeper {
        Sleeper(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `error:` and `hint:`, one line each, and the exit status.
#[track_caller]
fn assert_fails(output: &Output, status: i32, message: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(output.stdout.is_empty(), "{}", stdout(output));
    let lines: Vec<&str> = text.lines().collect();
    let [error, hint] = lines.as_slice() else {
        panic!("not two lines:\n{text}");
    };
    assert!(error.starts_with("error: "), "{text}");
    assert!(error.contains(message), "{text}");
    assert!(hint.starts_with("hint: "), "{text}");
    assert!(hint.len() > "hint: ".len(), "{text}");
}

const COMMANDS: [&str; 7] = [
    "record",
    "top",
    "memory",
    "dump",
    "doctor",
    "completions",
    "man",
];

#[test]
fn help_fits_80_columns_and_is_grouped() {
    for args in COMMANDS
        .map(|command| vec![command])
        .into_iter()
        .chain([vec![]])
    {
        for flag in ["-h", "--help"] {
            // Lines had up to 100 columns where the terminal is wider.
            let mut command = pyspy(&[args.as_slice(), &[flag]].concat());
            let output = command.env("COLUMNS", "200").output().unwrap();
            let text = stdout(&output);
            assert!(output.status.success(), "{args:?}");
            assert!(output.stderr.is_empty(), "{args:?}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{args:?}: {line}");
            }
            assert!(text.contains("\nExamples:\n"), "{args:?}:\n{text}");
            assert!(text.contains("\nOther:\n"), "{args:?}:\n{text}");
        }
    }
    for command in COMMANDS {
        let output = pyspy(&["help", command]).env("COLUMNS", "200").output();
        for line in stdout(&output.unwrap()).lines() {
            assert!(line.chars().count() <= 80, "help {command}: {line}");
        }
    }
    for heading in ["\nTarget:\n", "\nSampling:\n", "\nOutput:\n"] {
        assert!(stdout(&run(&["record", "--help"])).contains(heading));
    }
}

#[test]
fn no_arguments_show_the_help_and_fail() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("Usage: pyspy-rs"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn version_is_the_packages() {
    for flag in ["-V", "--version"] {
        let output = run(&[flag]);
        assert!(output.status.success());
        let expected = format!("pyspy-rs {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(stdout(&output), expected);
    }
}

#[test]
fn a_link_named_py_spy_has_a_version_of_py_spy_first() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("py-spy");
    let program = pyspy(&[]).get_program().to_owned();
    std::os::unix::fs::symlink(program, &link).unwrap();
    let output = Command::new(&link).arg("--version").output().unwrap();
    assert!(output.status.success());
    let expected = format!("py-spy 0.4.3 (pyspy-rs {})\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&output), expected);
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        for word in ["record", "nonblocking", "show-secrets"] {
            assert!(stdout(&output).contains(word), "{shell}: no {word}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn each_command_has_a_manual_page() {
    for command in COMMANDS {
        let output = run(&["man", command]);
        assert!(output.status.success(), "{command}");
        let text = stdout(&output);
        let title = format!(".TH pyspy-rs-{command} 1 ");
        assert!(text.contains(&title), "{command}: {text}");
        assert!(text.contains(&format!("\npyspy\\-rs\\-{command} \\- ")));
        assert!(text.contains("\n.SH OTHER\n"), "{command}: {text}");
        // Each example in a line of its own.
        let (_, examples) = text.split_once("\n.SH EXAMPLES\n.nf\n").unwrap();
        assert!(examples.starts_with("pyspy\\-rs "), "{command}: {examples}");
        assert!(stdout(&run(&["man"])).contains(&format!("\npyspy\\-rs\\-{command}(1)\n")));
    }
    assert!(stdout(&run(&["man", "record"])).contains("\n\\fB\\-\\-nonblocking\\fR"));
    let unknown = run(&["man", "fly"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("no command 'fly'"));
}

/// `m` abbreviated it before there was `man`.
#[test]
fn m_is_memory() {
    assert_fails(&run(&["m", "--pid", "4194305"]), 1, "4194305");
}

#[test]
fn wrong_command_lines_exit_with_2() {
    let wrong: [&[&str]; 9] = [
        &["doctor", "zebra"],
        &["doctor", "1", "--pid", "1"],
        &["dump", "--pid", "zebra"],
        &["dump", "--pid", "-1"],
        &["dump", "--pid", "1", "--format", "raw"],
        &["record", "--in-container", "1", "--", "python3"],
        &["record", "--pid", "1", "--rate", "0"],
        &["record", "--pid", "1", "-F", "--nolineno"],
        &["fly"],
    ];
    for args in wrong {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).starts_with("error: "), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_missing_process_is_named() {
    // Above the kernel's largest pid_max, 2^22.
    for pid in ["4194305", "0x400001"] {
        // As it could be abbreviated before there was `doctor`.
        assert_fails(&run(&["d", "--pid", pid]), 1, "4194305");
        assert_fails(&run(&["dump", "--pid", pid]), 1, "4194305");
        assert_fails(
            &run(&["record", "-o", "/dev/null", "--pid", pid]),
            1,
            "4194305",
        );
    }
}

#[test]
fn a_process_that_is_not_python_is_named() {
    let sleeper = Sleeper::start();
    let output = run(&["dump", "--pid", &sleeper.pid()]);
    assert_fails(&output, 1, "not a Python program");
    // The file behind `sleep` may be a link to a program of many names.
    let exe = std::fs::read_link(format!("/proc/{}/exe", sleeper.pid())).unwrap();
    assert!(
        stderr(&output).contains(&exe.display().to_string()),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_folder_that_is_missing_is_found_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("started");
    let file = folder.path().join("missing").join("x.svg");
    let output = run(&[
        "record",
        "-o",
        file.to_str().unwrap(),
        "--",
        "touch",
        marker.to_str().unwrap(),
    ]);
    assert_fails(&output, 1, "missing");
    assert!(!marker.exists(), "the program was launched");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.svg");
    let output = run(&[
        "record",
        "-o",
        file.to_str().unwrap(),
        "--",
        "no-such-program-1",
    ]);
    assert_fails(&output, 1, "no-such-program-1");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    for args in [&["--help"][..], &["completions", "bash"][..]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = pyspy(args).stdout(writer).output().unwrap();
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = pyspy(&["completions", "bash"])
        .stdout(full)
        .output()
        .unwrap();
    assert_fails(
        &output,
        1,
        "cannot write to stdout: No space left on device",
    );
}

#[test]
fn closed_stderr_is_survived() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = pyspy(&["dump", "--pid", "4194305"])
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
