//! py-spy's own tests of its command line, with our binary in py-spy's place.
//!
//! They come with its published crate, which cargo fetches; nothing of it is kept here.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::accuracy::alone;
use crate::support::{Interpreter, at_once, interpreters, published_crate, pyspy_rs};

/// The version that we are compared with.
const VERSION: &str = "0.4.3";
/// How many run at once. Most only sleep, for 2 or 4 seconds.
const AT_ONCE: usize = 4;
/// A test of a program that sleeps fails by chance, too: it wants 95 % of two seconds in the function that sleeps, of
/// which we also see how the interpreter starts. On a slow machine that takes more than a twentieth.
const ATTEMPTS: usize = 10;

/// The interpreter in an environment without packages, some of which run at each start; itself where it cannot make
/// one.
fn without_packages(python: &Interpreter, folder: &Path) -> OsString {
    let environment = folder.join(python.label());
    let mut venv = python.command(&["-m", "venv", "--without-pip"]);
    let made = venv.arg(&environment).output();
    match made.is_ok_and(|made| made.status.success()) {
        true => environment.join("bin/python").into(),
        false => python.executable.clone().into(),
    }
}

/// One of the tests, by one interpreter.
#[derive(Clone, Copy)]
struct Case<'a> {
    python: &'a Interpreter,
    executable: &'a OsStr,
    test: &'a str,
}

impl Case<'_> {
    /// Runs it with the programs on `path`. Where it may go before other processes, the interpreters' starts do not
    /// wait for them; nice(1) runs it anyway.
    fn run(&self, suite: &Path, path: &str) -> Output {
        let mut tests = Command::new("nice");
        tests.args(["-n", "-10"]).arg(self.executable).arg(suite);
        tests.arg(format!("TestPyspy.{}", self.test));
        // Nothing is written beside the sources, and our binary is found as `py-spy`.
        tests.env("PATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
        tests.output().unwrap()
    }

    /// What it says of a failure.
    fn failure(&self, output: &Output) -> String {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{}: {}:\n{}", self.python, self.test, said.trim())
    }
}

/// The names of the tests in the suite's file.
fn tests_of(suite: &Path) -> Vec<String> {
    let source = fs::read_to_string(suite).unwrap();
    let names = source.lines().filter_map(|line| {
        let name = line.strip_prefix("    def ")?.split_once('(')?.0;
        name.starts_with("test_").then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn py_spys_own_tests_pass() {
    let Some(sources) = published_crate("py-spy", VERSION) else {
        return;
    };
    let suite = sources.join("tests/integration_test.py");
    let tests = tests_of(&suite);
    assert!(tests.len() >= 4, "{tests:?}");
    let folder = tempfile::tempdir().unwrap();
    symlink(pyspy_rs().get_program(), folder.path().join("py-spy")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", folder.path().display());
    // Those that py-spy supports, which need no other root: the tests start programs by the interpreter's path.
    let pythons: Vec<&Interpreter> = interpreters()
        .iter()
        .filter(|python| python.root.is_none())
        .filter(|python| (3, 7) <= python.version.minor_pair())
        .filter(|python| python.version.minor_pair() <= (3, 13))
        .collect();

    let _alone = alone();
    let executables = pythons
        .iter()
        .map(|python| without_packages(python, folder.path()));
    let executables: Vec<OsString> = executables.collect();
    let cases = pythons.iter().zip(&executables);
    let cases = cases.flat_map(|(&python, executable)| {
        let case = move |test| Case {
            python,
            executable,
            test,
        };
        tests.iter().map(String::as_str).map(case)
    });
    let cases = Mutex::new(cases);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let next = || cases.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(case) = next() {
                    let output = case.run(&suite, &path);
                    if !output.status.success() {
                        println!("again: {}", case.failure(&output));
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push(case);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Again, one after another.
    let one_at_a_time = Mutex::new(());
    at_once("py-spy-suite", pythons, |python| {
        let _one = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let of_python = |case: &&Case| std::ptr::eq(case.python, python);
        for case in failed.iter().filter(of_python) {
            let passes = |_| {
                let output = case.run(&suite, &path);
                if !output.status.success() {
                    println!("{}", case.failure(&output));
                }
                output.status.success()
            };
            assert!((1..ATTEMPTS).any(passes), "{ATTEMPTS} times");
        }
    });
}
