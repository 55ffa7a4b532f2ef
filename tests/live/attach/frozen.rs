//! Programs that carry their interpreter with them, as PyInstaller makes them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Dump, Interpreter, Recording, Target, cache, fixtures, for_each_interpreter, pyspy_rs,
};
use nix::fcntl::{Flock, FlockArg};

const PYINSTALLER: &str = "pyinstaller==6.22.3";

/// A fixture as a program of its own, by PyInstaller; None where that cannot be had. It takes its time,
/// so the program is cached with the packages until the fixture changes.
fn freeze(python: &Interpreter, kind: &str, fixture: &str) -> Option<PathBuf> {
    let packages = python.packages(&[PYINSTALLER])?;
    let mut hasher = DefaultHasher::new();
    for file in [fixture, "truth.py"] {
        fs::read(fixtures().join(file)).unwrap().hash(&mut hasher);
    }
    let name = format!(
        "{}-{PYINSTALLER}{kind}-{:016x}",
        python.label(),
        hasher.finish()
    );
    let base = cache().join("frozen");
    fs::create_dir_all(&base).unwrap();
    let lock = File::create(base.join(format!("{name}.lock"))).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    let folder = base.join(&name);
    let app = match kind {
        "--onedir" => folder.join("app/app"),
        _ => folder.join("app"),
    };
    if app.exists() {
        return Some(app);
    }
    let place = tempfile::tempdir_in(&base).unwrap();
    let mut command = python.command(&["-m", "PyInstaller", kind, "--name", "app"]);
    let output = command
        .args(["--log-level", "ERROR", "--distpath"])
        .arg(place.path().join("dist"))
        .arg("--workpath")
        .arg(place.path().join("build"))
        .arg("--specpath")
        .arg(place.path())
        .arg("--paths")
        .arg(&python.fixtures)
        .arg(python.fixture(fixture))
        .env("PYTHONPATH", packages)
        .env("PYINSTALLER_CONFIG_DIR", place.path().join("cache"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    let _ = fs::remove_dir_all(&folder);
    fs::rename(place.path().join("dist"), &folder).unwrap();
    Some(app)
}

fn skipped(python: &Interpreter) {
    println!("SKIPPED: PyInstaller cannot be had for {python}");
}

/// Runs our binary on a process; its output when that fails.
fn refused(arguments: &[&str], pid: u32) -> String {
    let output = pyspy_rs()
        .args(arguments)
        .args(["--pid", &pid.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A one-file program starts as a boot loader without Python, which unpacks the rest and runs it in a
/// child.
#[test]
fn one_file() {
    for_each_interpreter("one-file", (3, 12)..(3, 13), |python| {
        let place = python.new_place("frozen");
        let Some(app) = freeze(python, "--onefile", "calls.py") else {
            return skipped(python);
        };
        let target = Target::start_command(Command::new(&app));
        let (loader, child) = (target.started_pid(), target.pid());
        assert_ne!(loader, child);
        target.dump(&[]).assert_matches(&target.truth());

        let out = place.host.join("out.txt");
        let record = ["record", "-d", "1", "-o", out.to_str().unwrap()];
        for arguments in [&["dump"][..], &record] {
            let said = refused(arguments, loader);
            let advice = format!("its child {child} runs Python {}", python.version);
            assert!(said.contains("app, not a Python program"), "{said}");
            assert!(said.contains(&advice), "{said}");
            assert!(
                said.contains(&format!("--pid {child}, or add -s")),
                "{said}"
            );
        }
        assert!(!out.exists());

        let pid = loader.to_string();
        let dumps = Dump::run_all(pyspy_rs().args(["dump", "--format=json", "-s", "--pid", &pid]));
        assert_eq!(dumps.len(), 1);
        assert_eq!(dumps[0].pid, u64::from(child));
        dumps[0].assert_matches(&target.truth());
        let options = ["-s", "-i", "-r", "100", "-d", "1", "-f", "raw"];
        let recording = Recording::of_pid(loader, &options);
        recording.assert_no_error();
        let (with, all) = recording.samples_with("leaf (");
        assert!(with > 0 && with < all, "{}", recording.file);
    });
}

#[test]
fn one_file_that_we_start() {
    for_each_interpreter("one-file launched", (3, 12)..(3, 13), |python| {
        let place = python.new_place("frozen");
        let Some(app) = freeze(python, "--onefile", "split.py") else {
            return skipped(python);
        };
        let out = place.host.join("out.txt");
        let words = ["--".into(), OsString::from(&app), "1".into()];
        let options = ["-s", "-r", "200", "-f", "raw"];
        let output = Recording::command(&out, &options, &words).output().unwrap();
        let recording = Recording::finished(&out, &output);
        let (with, _) = recording.samples_with("sixty_percent (");
        assert!(with > 0, "{}\n{}", recording.file, recording.stderr);
    });
}

#[test]
fn one_directory() {
    for_each_interpreter("one-dir", (3, 12)..(3, 13), |python| {
        let Some(app) = freeze(python, "--onedir", "calls.py") else {
            return skipped(python);
        };
        let target = Target::start_command(Command::new(&app));
        let dump = target.dump(&[]);
        dump.assert_matches(&target.truth());
        assert_eq!(dump.version, python.version.to_string());
        assert_eq!(Path::new(&dump.command[0]), app);
        let options = ["-i", "-r", "100", "-d", "1", "-f", "raw"];
        let recording = Recording::of_pid(target.pid(), &options);
        recording.assert_no_error();
        assert!(recording.samples_with("leaf (").0 > 0);
    });
}
