//! CPython as its developers build it (`--with-pydebug`): Debian's packages, unpacked beside the tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Interpreter, Target, cache, interpreters};
use nix::fcntl::{Flock, FlockArg};

/// Debian's debug build beside its normal one, whose library it uses. Says so where it cannot be had.
fn debian_debug_build() -> Option<Interpreter> {
    let is_debian = |python: &&Interpreter| {
        python.root.is_none()
            && python.build.is_empty()
            && python.executable.starts_with("/usr/bin")
    };
    let Some(python) = interpreters().iter().rfind(is_debian) else {
        println!("SKIPPED: no Python in /usr/bin");
        return None;
    };
    let (major, minor) = python.version.minor_pair();
    let name = format!("python{major}.{minor}-dbg");
    let place = cache().join(&name);
    fs::create_dir_all(cache()).unwrap();
    let lock = File::create(cache().join(format!("{name}.lock"))).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    if !place.join("whole").exists()
        && let Err(why) = unpack(&name, &place)
    {
        println!("SKIPPED: {name} cannot be had: {why}");
        return None;
    }
    let debug = Interpreter {
        executable: place.join(format!("usr/bin/python{major}.{minor}d")),
        build: "d".to_owned(),
        ..python.clone()
    };
    let mut asks = debug.command(&["-c", "import json, sys; sys.gettotalrefcount()"]);
    if !asks.status().is_ok_and(|status| status.success()) {
        println!("SKIPPED: {name} does not run with the library of {python}");
        return None;
    }
    Some(debug)
}

fn unpack(package: &str, place: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place).map_err(|error| error.to_string())?;
    let script = "cd \"$1\" && apt-get -q download \"$2\" && dpkg-deb --extract \"$2\"_*.deb . && \
                  rm -rf ./*.deb usr/share && touch whole";
    let done = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(place)
        .arg(package)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(said.lines().last().unwrap_or("apt-get failed").to_owned())
}

#[test]
fn stacks_and_variables() {
    let Some(python) = debian_debug_build() else {
        return;
    };
    let script = python.fixture("calls.py");
    let mut command = python.command(&["-X", "dev"]);
    command.arg(script);
    let target = Target::start_command(command);
    let dump = target.dump(&[]);
    dump.assert_matches(&target.truth());
    assert_eq!(dump.version, python.version.to_string());

    let target = Target::start(&python, "locals.py", &[]);
    let truth = target.ready["locals"].as_object().expect("variables");
    let dump = target.dump(&["-ll", "--show-secrets"]);
    let frames = dump.threads.iter().flat_map(|thread| &thread.frames);
    let shown: BTreeMap<&str, _> = frames
        .map(|frame| (frame.name.as_str(), &frame.locals))
        .collect();
    let mut compared = 0;
    for (function, expected) in truth {
        for local in shown.get(function.as_str()).into_iter().copied().flatten() {
            let expected = &expected[&local.name];
            let of_type = expected["type"].as_str();
            if matches!(of_type, Some("int" | "float" | "NoneType" | "bool")) {
                assert_eq!(Some(local.repr.as_str()), expected["repr"].as_str());
                compared += 1;
            }
        }
    }
    assert!(compared > 5, "{compared}");
}
