//! Lets every interpreter present check its own description, by reading its own memory.
//!
//! Interpreters: `python2.7` and `python3*` on `PATH`, pyenv's, those under the directories named
//! by `PYSPY_TEST_PYTHONS`, and those of the Debian root directory (`$PYSPY_SID_ROOT`, or
//! `~/.cache/pyspy-rs/sid-root`), through `chroot`, where that is allowed. Fails when there is none.

// Tests fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use python_offsets::semantics::{Executable, InstanceDict, StrFormat};
use python_offsets::{DEBUG_OFFSETS_LEN, Description, PythonVersion, describe};

const SCRIPT: &str = include_str!("live.py");

#[test]
fn interpreters_agree_with_their_descriptions() {
    let mut ran = BTreeSet::new();
    for command in interpreters() {
        let Some((version, table)) = own_table(&command) else {
            println!("skipped: {}", command.join(" "));
            continue;
        };
        let description = describe(version, table.as_deref()).unwrap();
        let (ok, output) = run(&command, &["check"], &lines(&description));
        let facts: Option<usize> = output.trim_end().parse().ok();
        assert!(
            ok && facts.is_some_and(|facts| facts > 30),
            "{version}: {output}"
        );
        ran.insert(version);
    }
    for required in env::var("PYSPY_TEST_REQUIRE")
        .unwrap_or_default()
        .split(',')
    {
        let is_that =
            |version: &PythonVersion| required == format!("{}.{}", version.major, version.minor);
        // What is no version is of no use here.
        let is_version = required.starts_with(|c: char| c.is_ascii_digit());
        assert!(
            !is_version || ran.iter().any(is_that),
            "PYSPY_TEST_REQUIRE has {required}, but there is no such CPython"
        );
    }
    let names: Vec<_> = ran.iter().map(PythonVersion::to_string).collect();
    println!("ran on: {}", names.join(", "));
    assert!(!ran.is_empty(), "no interpreter found");
}

/// The version and, from 3.13 on, the debug offsets that an interpreter finds in itself.
fn own_table(command: &[String]) -> Option<(PythonVersion, Option<Vec<u8>>)> {
    let (ok, output) = run(command, &["table", &DEBUG_OFFSETS_LEN.to_string()], "");
    let mut lines = output.lines();
    let hex = lines.next().filter(|_| ok)?.parse().ok()?;
    let table = lines.next().map(|text| {
        let digits = text.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    });
    Some((PythonVersion::from_hex(hex)?, table))
}

fn run(command: &[String], arguments: &[&str], input: &str) -> (bool, String) {
    let child = Command::new(&command[0])
        .args(&command[1..])
        .args(["-c", SCRIPT])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        return (false, String::new());
    };
    // An interpreter that cannot start closes its end early, and its exit status is no success.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text + &errors)
}

/// The description as `group.field value` lines.
fn lines(description: &Description) -> String {
    let mut lines = String::new();
    let debug = format!("{:?}", description.layout);
    for part in debug
        .strip_prefix("Layout { ")
        .unwrap()
        .split_inclusive('}')
    {
        let Some((head, list)) = part.trim_start_matches(", ").split_once(" { ") else {
            continue;
        };
        let group = head.split(':').next().unwrap();
        for field in list.trim_end_matches(" }").split(", ") {
            let (name, value) = field.split_once(": ").unwrap();
            let number = value.trim_start_matches("Some(").trim_end_matches(')');
            if value != "None" {
                writeln!(lines, "{group}.{name} {number}").unwrap();
            }
        }
    }
    let semantics = &description.semantics;
    let mut say = |name: &str, value: i32| writeln!(lines, "semantics.{name} {value}").unwrap();
    say("free_threaded", semantics.free_threaded.into());
    if let Executable::StackRef { tag_mask } = semantics.executable {
        say("tag_mask", tag_mask.into());
    }
    if let StrFormat::Pep393 {
        kind_shift,
        compact_bit,
        ascii_bit,
    } = semantics.str_format
    {
        say("kind_shift", kind_shift.into());
        say("compact_bit", compact_bit.into());
        say("ascii_bit", ascii_bit.into());
    }
    match semantics.instance_dict {
        InstanceDict::DictOffset => {}
        InstanceDict::ValuesBeforeObject { values, dict } => {
            say("values_pointer", values);
            say("managed_dict", dict);
        }
        InstanceDict::TaggedBeforeObject { dict_or_values } => {
            say("dict_or_values", dict_or_values)
        }
        InstanceDict::InlineValues { dict } => {
            say("inline_values", 1);
            say("managed_dict", dict);
        }
    }
    lines
}

/// The commands that start the interpreters present, each once.
fn interpreters() -> Vec<Vec<String>> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut bins: Vec<PathBuf> = env::split_paths(&path)
        .filter(|bin| !bin.ends_with("shims")) // pyenv's: scripts that name what is found below.
        .collect();
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let mut prefixes = children(&home.join(".pyenv/versions"));
    for dir in env::split_paths(&env::var_os("PYSPY_TEST_PYTHONS").unwrap_or_default()) {
        prefixes.extend(children(&dir));
        prefixes.push(dir);
    }
    bins.extend(prefixes.iter().map(|prefix| prefix.join("bin")));
    let found: BTreeSet<_> = bins.iter().flat_map(|bin| pythons(bin)).collect();
    let mut commands: Vec<Vec<String>> = found.into_iter().map(|python| vec![python]).collect();

    let root = env::var_os("PYSPY_SID_ROOT").map(PathBuf::from);
    let root = root.unwrap_or_else(|| home.join(".cache/pyspy-rs/sid-root"));
    for python in pythons(&root.join("usr/bin")) {
        let inside = Path::new("/").join(Path::new(&python).strip_prefix(&root).unwrap());
        let words = [Path::new("chroot"), &root, &inside];
        commands.push(words.map(|word| word.display().to_string()).into());
    }
    commands
}

/// The `pythonX.Y` in a directory, with links followed: pyenv's shims and aliases fall together.
fn pythons(bin: &Path) -> Vec<String> {
    let is_python = |name: &str| {
        name.strip_prefix("python")
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(major, minor)| {
                ["2", "3"].contains(&major) && minor.parse::<u8>().is_ok()
            })
    };
    let named = |path: &PathBuf| is_python(&path.file_name().unwrap().to_string_lossy());
    let paths = children(bin).into_iter().filter(named);
    paths
        .filter_map(|path| Some(fs::canonicalize(path).ok()?.display().to_string()))
        .collect()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}
