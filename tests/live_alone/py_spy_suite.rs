//! py-spy's own tests of its command line, with our binary in py-spy's place.
//!
//! They come with its published crate, which cargo fetches; nothing of it is kept here. They run alone: they want
//! 95 of 200 samples of a busy loop.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::require::skip;
use crate::support::{Interpreter, at_once, cache, interpreters, pyspy_rs};

/// The version that we are compared with.
const VERSION: &str = "0.4.3";

/// The file with the tests; `None`, with the reason on stdout, where the crate cannot be had.
fn suite() -> Option<PathBuf> {
    let folder = cache().join("py-spy-suite");
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/lib.rs"), "").unwrap();
    fs::write(
        folder.join("Cargo.toml"),
        format!(
            "[package]\nname = \"suite\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies]\npy-spy = \"={VERSION}\"\n[workspace]\n"
        ),
    )
    .unwrap();
    let cargo = |words: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(words).current_dir(&folder).output().unwrap()
    };
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let fetched = cargo(&["fetch", "--quiet", "--target", &target]);
    if !fetched.status.success() {
        let why = String::from_utf8_lossy(&fetched.stderr);
        skip("crates", format_args!("py-spy's tests: {}", why.trim()));
        return None;
    }
    let metadata = cargo(&["metadata", "--offline", "--format-version=1"]);
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|one| one["name"] == "py-spy").unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    Some(manifest.with_file_name("tests/integration_test.py"))
}

/// They fail by chance, too: they want 95 % of two seconds in the function that sleeps, of which we also see how the
/// interpreter starts. On a slow machine that takes more than a twentieth.
const ATTEMPTS: usize = 5;

#[test]
#[ignore = "slow: a minute, and more on a slow machine"]
fn py_spys_own_tests_pass() {
    let Some(suite) = suite() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    symlink(pyspy_rs().get_program(), folder.path().join("py-spy")).unwrap();
    let path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap()
    );
    // Those that py-spy supports, which need no other root: the tests start programs by the interpreter's path.
    let pythons: Vec<&Interpreter> = interpreters()
        .iter()
        .filter(|python| python.root.is_none())
        .filter(|python| (3, 7) <= python.version.minor_pair())
        .filter(|python| python.version.minor_pair() <= (3, 13))
        .collect();
    // They sleep half of the time.
    for (index, pair) in pythons.chunks(2).enumerate() {
        at_once(&format!("py-spy-suite-{index}"), pair.to_vec(), |python| {
            let run = || {
                let mut tests = python.command(&[suite.to_str().unwrap()]);
                // Nothing is written beside the sources, and our binary is found as `py-spy`.
                tests.env("PATH", &path).env("PYTHONDONTWRITEBYTECODE", "1");
                tests.output().unwrap()
            };
            let mut output = run();
            for _ in 1..ATTEMPTS {
                if output.status.success() {
                    return;
                }
                output = run();
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{python}:\n{said}");
        });
    }
}
