//! What a machine may lack, and `PYSPY_TEST_REQUIRE`.
//!
//! A case that needs what is missing prints a line with `SKIPPED` and passes. Where the variable lists
//! it, as in `PYSPY_TEST_REQUIRE=2.7,3.12,root,tmux`, the case fails: CI lists what it has installed.

use std::fmt::Display;
use std::process::{Command, Stdio};

/// What the variable can list besides versions of CPython.
const NAMES: [&str; 11] = [
    "bpf",        // a kernel whose BPF programs may sample other processes
    "clang-14",   // with which they are compiled
    "cores",      // the kernel writes core files into the folder of the process
    "crates",     // published sources, by cargo
    "gdb",        // with its gcore
    "namespaces", // and what containers need
    "pypi",       // packages for target programs
    "root",
    "setcap",
    "strace",
    "tmux",
];

/// Whether the variable lists this name or version.
///
/// # Panics
/// If it lists what is neither.
pub fn is_required(name: &str) -> bool {
    let list = std::env::var("PYSPY_TEST_REQUIRE").unwrap_or_default();
    let names: Vec<&str> = list.split(',').filter(|name| !name.is_empty()).collect();
    for name in &names {
        assert!(
            NAMES.contains(name) || version(name).is_some(),
            "PYSPY_TEST_REQUIRE has {name:?}, which is no version and none of {NAMES:?}"
        );
    }
    names.contains(&name)
}

/// The versions that the variable lists.
pub fn required_versions() -> Vec<(u32, u32)> {
    let list = std::env::var("PYSPY_TEST_REQUIRE").unwrap_or_default();
    list.split(',').filter_map(version).collect()
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Prints that a case is skipped.
///
/// # Panics
/// If what it lacks is required.
#[track_caller]
pub fn skip(name: &str, why: impl Display) {
    assert!(
        !is_required(name),
        "PYSPY_TEST_REQUIRE has {name}, but: {why}"
    );
    println!("SKIPPED ({name}): {why}");
}

/// Whether a case can have what it needs; if not, it is [skipped](skip).
#[track_caller]
pub fn has(name: &str, is_there: bool, why: impl Display) -> bool {
    if !is_there {
        skip(name, why);
    }
    is_there
}

/// The same of being root, and what that is needed for.
#[track_caller]
pub fn has_root(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    has("root", is_root, format_args!("{what} needs root"))
}

/// The same of a program that is called as it is required.
#[track_caller]
pub fn has_program(name: &str) -> bool {
    let mut command = Command::new(name);
    // Some know no --version; that they start is enough.
    let started = command.arg("--version").stdin(Stdio::null()).output();
    has(
        name,
        started.is_ok(),
        format_args!("{name} is not installed"),
    )
}
