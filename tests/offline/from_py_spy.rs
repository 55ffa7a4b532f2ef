//! What [docs/from-py-spy.md](../../docs/from-py-spy.md) says is the same as in py-spy 0.4.3.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;

use super::FrameTable;
use crate::testing::{frame, sample, thread};
use pyspy_rs::{Format, Meta, Profile, ProfileOptions, write};

/// An option of py-spy: long and short name, and a value if it takes one.
type PySpyOption = (&'static str, Option<&'static str>, Option<&'static str>);

/// Options of `record`, hidden ones included; `--pid` is added to each line.
const RECORD: [PySpyOption; 18] = [
    ("--full-filenames", None, None),
    ("--output", Some("-o"), Some("x.svg")),
    ("--format", Some("-f"), Some("flamegraph")),
    ("--format", Some("-f"), Some("raw")),
    ("--format", Some("-f"), Some("speedscope")),
    ("--format", Some("-f"), Some("ChromeTrace")),
    ("--duration", Some("-d"), Some("unlimited")),
    ("--rate", Some("-r"), Some("100")),
    ("--subprocesses", Some("-s"), None),
    ("--function", Some("-F"), None),
    ("--nolineno", None, None),
    ("--threads", Some("-t"), None),
    ("--gil", Some("-g"), None),
    ("--idle", Some("-i"), None),
    ("--capture", None, None),
    ("--hideprogress", None, None),
    ("--native", Some("-n"), None),
    ("--nonblocking", None, None),
];

const TOP: [PySpyOption; 8] = [
    ("--rate", Some("-r"), Some("100")),
    ("--subprocesses", Some("-s"), None),
    ("--full-filenames", None, None),
    ("--gil", Some("-g"), None),
    ("--idle", Some("-i"), None),
    ("--delay", None, Some("1.0")),
    ("--native", Some("-n"), None),
    ("--nonblocking", None, None),
];

const DUMP: [PySpyOption; 6] = [
    ("--full-filenames", None, None),
    ("--locals", Some("-l"), None),
    ("--json", Some("-j"), None),
    ("--subprocesses", Some("-s"), None),
    ("--native", Some("-n"), None),
    ("--nonblocking", None, None),
];

const COMMANDS: [(&str, &[PySpyOption]); 3] = [("record", &RECORD), ("top", &TOP), ("dump", &DUMP)];

/// No process has this PID: above the largest `pid_max`, 2^22.
const NO_PROCESS: &str = "4194305";

/// The exit status of a run in an empty folder, and what it says.
fn outcome(words: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::cargo_bin("pyspy-rs")
        .unwrap()
        .args(words)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

/// An option that is not accepted ends with the exit status 2; a process that does not exist, with 1.
#[test]
fn every_option_is_accepted() {
    for (command, options) in COMMANDS {
        for (long, short, value) in options {
            for name in [Some(*long), *short].into_iter().flatten() {
                let words = [command, "--pid", NO_PROCESS, name];
                let words: Vec<&str> = words.into_iter().chain(*value).collect();
                let (status, stderr) = outcome(&words);
                assert_eq!(status, Some(1), "{words:?}: {stderr}");
                assert!(stderr.contains("no process has the pid"), "{stderr}");
            }
        }
        // Abbreviated commands, and PIDs in hexadecimal.
        let initial = command.get(..1).unwrap();
        for words in [
            [initial, "-p", NO_PROCESS],
            [command, "--pid", "0x400001"],
            [command, "-p", "0X400001"],
        ] {
            let (status, stderr) = outcome(&words);
            assert_eq!(status, Some(1), "{words:?}: {stderr}");
        }
    }
    for option in ["--core", "-c"] {
        let (status, stderr) = outcome(&["dump", option, "nothing"]);
        assert_eq!(status, Some(1), "{stderr}");
        assert!(stderr.contains("nothing"), "{stderr}");
    }
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert_eq!(outcome(&["completions", shell]).0, Some(0), "{shell}");
    }
    for words in [&["help"][..], &["help", "record"], &["-V"], &["--help"]] {
        assert_eq!(outcome(words).0, Some(0), "{words:?}");
    }
}

#[test]
fn the_table_names_every_option() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/from-py-spy.md");
    let page = fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    let mut missing = BTreeMap::new();
    for (command, options) in COMMANDS {
        for (long, short, _) in options {
            let name = match short {
                Some(short) => format!("`{short}`, `{long}"),
                None => format!("`{long}"),
            };
            if !rows.iter().any(|row| row.contains(&name)) {
                missing.insert(name, command);
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

/// They were in the order in which the threads were first sampled.
#[test]
fn speedscope_has_its_profiles_by_name() {
    let mut frames = FrameTable::default();
    let leaf = frames.intern(frame("work", 3));
    let threads = [(9, "b"), (7, "c"), (8, "a")];
    let traces = threads.map(|(tid, name)| thread(tid).named(name).stack(&[leaf]));
    let sample = sample(0, traces.to_vec());
    let mut profile = Profile::new(ProfileOptions {
        timeline: Format::Speedscope.needs_timeline(),
        ..ProfileOptions::default()
    });
    profile.add(&sample, &frames, &|_| None);
    profile.finish();
    let mut json = Vec::new();
    write(Format::Speedscope, &profile, &Meta::default(), &mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let profiles = json["profiles"].as_array().unwrap();
    let names: Vec<&str> = profiles
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names.len(), 3);
    assert_eq!(names, sorted);
}
