//! The interpreter is found wherever it hides: inside another program, deleted, under another name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Interpreter, Target, copy_program, fixtures, for_each_interpreter};

/// What the interpreter's own sysconfig says under a key.
fn config(python: &Interpreter, key: &str) -> String {
    let program = format!("import sysconfig; print(sysconfig.{key})");
    let output = python.command(&["-c", &program]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// embed.c linked with the interpreter's shared library; None if it has no headers or no library.
fn build_embedder(python: &Interpreter, folder: &Path) -> Option<PathBuf> {
    let outside = |path: &str| match &python.root {
        Some(root) => root.join(path.trim_start_matches('/')),
        None => PathBuf::from(path),
    };
    let include = outside(&config(python, "get_path('include')"));
    let library = format!(
        "{}/{}",
        config(python, "get_config_var('LIBDIR')"),
        config(python, "get_config_var('INSTSONAME')")
    );
    let found = outside(&library);
    if !include.join("Python.h").is_file() || !found.is_file() || !library.contains(".so") {
        return None;
    }
    let program = folder.join("embed");
    let status = Command::new("cc")
        .arg("-o")
        .arg(&program)
        .arg(fixtures().join("embed.c"))
        .arg("-I")
        .arg(&include)
        // Debian's headers name the architecture's folder from the one above.
        .arg("-I")
        .arg(include.parent().unwrap())
        .arg(&found)
        .arg(format!(
            "-Wl,--allow-shlib-undefined,-rpath,{}",
            Path::new(&library).parent().unwrap().display()
        ))
        .status()
        .expect("a C compiler");
    assert!(status.success(), "embed.c does not build for {python}");
    Some(program)
}

#[test]
fn embedded_in_another_program() {
    for_each_interpreter("embedded", .., |python| {
        let place = python.new_place("bin");
        if build_embedder(python, &place.host).is_none() {
            println!("SKIPPED {python}: it has no shared library or no headers");
            return;
        }
        let embedder = Interpreter {
            executable: place.seen.join("embed"),
            ..python.clone()
        };
        let home = config(python, "get_config_var('prefix')");
        let script = python.fixture("calls.py");
        let mut command = embedder.command(&[script.as_os_str()]);
        command.env("PYTHONHOME", home);
        let target = Target::start_command(command);
        let dump = target.dump(&[]);
        dump.assert_matches(&target.truth());
        assert_eq!(dump.version, python.version.to_string());
    });
}

#[test]
fn deleted_while_it_runs() {
    for_each_interpreter("deleted", .., |python| {
        let place = python.new_place("bin");
        let outside = match &python.root {
            Some(root) => root.join(python.executable.strip_prefix("/").unwrap()),
            None => python.executable.clone(),
        };
        copy_program(&outside, &place.host.join("renamed"));
        let renamed = Interpreter {
            executable: place.seen.join("renamed"),
            ..python.clone()
        };
        let script = python.fixture("calls.py");
        let mut command = renamed.command(&[script.as_os_str()]);
        command.env("PYTHONHOME", config(python, "get_config_var('prefix')"));
        let target = Target::start_command(command);
        fs::remove_file(place.host.join("renamed")).unwrap();
        let dump = target.dump(&[]);
        dump.assert_matches(&target.truth());
        assert_eq!(dump.version, python.version.to_string());
    });
}
