//! The interpreter is found without symbols: in stripped libraries and stripped static programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Interpreter, Target, at_once, fixtures, for_each_at_once, of_each_kind, pyspy_rs,
};

/// What the interpreter's own sysconfig says under a key.
fn config(python: &Interpreter, key: &str) -> String {
    let program = format!("import sysconfig; print(sysconfig.{key} or '')");
    let output = python.command(&["-c", &program]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Removes the section headers' place and number from an ELF header (64 bits): only the segments
/// then say what the file holds.
fn drop_sections(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[40..48].fill(0);
    bytes[58..64].fill(0);
    fs::write(file, bytes).unwrap();
}

/// How much is taken from a program.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Without {
    Symbols,
    Sections,
}

fn strip(file: &Path, without: Without) {
    run(Command::new("strip").arg(file));
    if without == Without::Sections {
        drop_sections(file);
    }
}

/// `dump -v` shows the function that waits; returns how the interpreter was found.
fn assert_dumped(python: &Interpreter, target: &Target, others: usize) -> String {
    let mut command = pyspy_rs();
    command.args([
        "dump",
        "-v",
        "--format=json",
        "--pid",
        &target.pid().to_string(),
    ]);
    let output = command.output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    let dump = target.dump(&[]);
    assert_eq!(dump.version, python.version.to_string());
    let thread = &dump.threads[0];
    let names: Vec<&str> = thread.frames.iter().map(|frame| &*frame.name).collect();
    assert!(names.starts_with(&["waits", "<module>"]), "{names:?}");
    assert_eq!(thread.frames[0].line, Some(13));
    // One OS thread has a state in each interpreter: all are found from the list's head only.
    let all: usize = dump.threads.iter().map(|t| t.interpreter_ids.len()).sum();
    assert_eq!(all, 1 + others, "{:?}", dump.threads);
    let (_, by) = log.rsplit_once(", by ").expect("it says how");
    by.lines().next().expect("a line").trim().to_owned()
}

#[test]
fn stripped_shared_library() {
    for_each_at_once("stripped library", ..(3, 14), |python| {
        let name = config(python, "get_config_var('INSTSONAME')");
        let folder = config(python, "get_config_var('LIBDIR')");
        let library = Path::new(&folder).join(&name);
        if python.root.is_some() || !name.contains(".so") || !library.is_file() {
            println!("SKIPPED {python}: it has no shared library");
            return;
        }
        for without in [Without::Symbols, Without::Sections] {
            let place = python.new_place("lib");
            let copy = place.host.join(&name);
            fs::copy(&library, &copy).unwrap();
            strip(&copy, without);
            let script = python.fixture("waits.py");
            let mut command = python.command(&[script.as_os_str()]);
            command.env("LD_LIBRARY_PATH", &place.host);
            let target = Target::start_command(command);
            let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).unwrap();
            if !maps.contains("libpython") {
                println!("SKIPPED {python}: it does not use its shared library");
                return;
            }
            assert!(maps.contains(copy.to_str().unwrap()), "the copy is in use");
            let by = assert_dumped(python, &target, 0);
            let expected = match python.version.minor_pair() < (3, 7) {
                true => "a scan of its data",
                false => "the symbol _PyRuntime",
            };
            assert_eq!(by, expected, "without {without:?}");
        }
    });
}

/// embed.c linked with the interpreter's static library; None if there is none.
fn build_static(python: &Interpreter, folder: &Path, flag: &str) -> Option<PathBuf> {
    let archive = format!(
        "{}/{}",
        config(python, "get_config_var('LIBPL')"),
        config(python, "get_config_var('LIBRARY')")
    );
    if python.root.is_some() || !Path::new(&archive).is_file() {
        return None;
    }
    let include = config(python, "get_path('include')");
    if !Path::new(&include).join("Python.h").is_file() {
        return None;
    }
    let program = folder.join("app");
    let libraries = format!(
        "{} {} {} -lm -lpthread -ldl -lutil",
        config(python, "get_config_var('MODLIBS')"),
        config(python, "get_config_var('LIBS')"),
        config(python, "get_config_var('SYSLIBS')")
    );
    let mut link = Command::new("cc");
    link.args([flag, "-w", "-o"])
        .arg(&program)
        .arg(fixtures().join("embed.c"))
        .arg(format!("-I{include}"))
        .arg(archive)
        .args(libraries.split_whitespace());
    let output = link.output().expect("a C compiler");
    let said = String::from_utf8_lossy(&output.stderr);
    if flag == "-pie" && said.contains("recompile with -fPIE") {
        return None;
    }
    assert!(output.status.success(), "{link:?}: {said}");
    Some(program)
}

#[test]
fn stripped_static_program() {
    at_once(
        "stripped static program",
        of_each_kind(..(3, 14)),
        |python| {
            for (flag, without, others) in [
                ("-pie", Without::Symbols, 0),
                ("-pie", Without::Sections, 2),
                ("-no-pie", Without::Sections, 0),
                ("-no-pie", Without::Symbols, 2),
            ] {
                let place = python.new_place("bin");
                let Some(program) = build_static(python, &place.host, flag) else {
                    println!(
                        "SKIPPED {python} {flag}: it has no such static library, or no headers"
                    );
                    continue;
                };
                strip(&program, without);
                let embedder = Interpreter {
                    executable: program,
                    ..python.clone()
                };
                let script = python.fixture("waits.py");
                let mut command = embedder.command(&[script.as_os_str()]);
                command.env("PYTHONHOME", config(python, "get_config_var('prefix')"));
                command.env("EMBED_NO_SITE", "1");
                command.env("EMBED_INTERPRETERS", others.to_string());
                let target = Target::start_command(command);
                let by = assert_dumped(python, &target, others);
                let minor = python.version.minor_pair();
                // The section came with 3.10, the cookie with 3.13.
                let expected = match without {
                    Without::Symbols if minor >= (3, 10) => "the section .PyRuntime",
                    _ if minor >= (3, 13) => "the cookie of its debug offsets",
                    _ => "a scan of its data",
                };
                assert_eq!(by, expected, "{flag} without {without:?}");
            }
        },
    );
}
