//! Secrets appear in no output of any command: of a program that has them in its variables, in its source and
//! on its command line.

use std::fs;

use crate::support::bench::python;
use crate::support::{Target, pyspy_rs};

/// Every secret of the program contains it.
const SECRET: &str = "HUSH";

fn target() -> Target {
    let url = "postgres://bob:HUSH-option@db/shown-option";
    let arguments = [
        "--password",
        "HUSH-word",
        "--db",
        url,
        "--token=HUSH-token",
        "shown",
    ];
    Target::start(python(), "hush.py", &arguments)
}

/// What a command and its files say.
fn output(target: &Target, command: &str, options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = pyspy_rs()
        .current_dir(folder.path())
        .args([command, "--pid", &target.pid().to_string()])
        .args(options)
        .output()
        .expect("our binary runs");
    assert!(output.status.success(), "{command} {options:?}: {output:?}");
    let mut said = String::from_utf8(output.stdout).unwrap();
    said += &String::from_utf8(output.stderr).unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        said += &fs::read_to_string(file.unwrap().path()).unwrap();
    }
    said
}

#[test]
fn variables_and_their_parts_are_hidden() {
    let target = target();
    for options in [&["-l"][..], &["-ll"], &["-ll", "--json"]] {
        let said = output(&target, "dump", options);
        assert!(!said.contains(SECRET), "{options:?}: {said}");
        for shown in [
            "shown-field",
            "shown-derived",
            "shown-pair",
            "shown-key",
            "shown-argument",
            "shown-user",
            "bob:<redacted>@host/shown-url",
            "shown-header",
            "shown-text",
            "shown-bytes",
            "shown-array",
            "shown-json",
            "4711",
        ] {
            assert!(said.contains(shown), "{options:?}: no {shown}: {said}");
        }
        let count = said.matches("<redacted>").count();
        assert!(count >= 18, "{options:?}: {count} are hidden: {said}");
    }
    let said = output(&target, "dump", &["-ll", "--show-secrets"]);
    for shown in [
        "field",
        "derived",
        "pair",
        "parameter",
        "key",
        "argument",
        "user",
        "type",
        "word",
        "url",
        "text",
        "bytes",
        "array",
        "json",
        "error",
        "option",
    ] {
        assert!(
            said.contains(&format!("HUSH-{shown}")),
            "no HUSH-{shown}: {said}"
        );
    }
    assert!(!said.contains("<redacted>"), "{said}");
}

#[test]
fn command_lines_and_source_lines_are_hidden() {
    let target = target();
    let record = ["-d", "0.3", "--summary", "s.json", "-s", "-t"];
    let file = |file| [&record[..], &["-o", file]].concat();
    let outputs: [(&str, Vec<&str>); 11] = [
        ("dump", vec![]),
        ("dump", vec!["--format=json"]),
        ("record", file("a.svg")),
        ("record", file("a.speedscope.json")),
        (
            "record",
            [file("a.json"), vec!["-f", "chrometrace"]].concat(),
        ),
        ("record", [file("a.txt"), vec!["-f", "lines"]].concat()),
        ("record", [file("a.csv"), vec!["-f", "lines"]].concat()),
        ("record", file("a.timeline.svg")),
        ("record", [file("a.dat"), vec!["-f", "mprof"]].concat()),
        ("memory", vec!["-d", "0.3", "-o", "a.svg"]),
        ("doctor", vec![]),
    ];
    for (command, options) in outputs {
        let said = output(&target, command, &options);
        assert!(!said.contains(SECRET), "{command} {options:?}: {said}");
        assert!(!said.is_empty());
        // Each of them shows what it showed before; a title is cut, a recording of memory may have no stack.
        let said = output(
            &target,
            command,
            &[&options[..], &["--show-secrets"]].concat(),
        );
        assert!(said.contains(SECRET), "{command} {options:?}: {said}");
    }
}

#[test]
fn lines_show_what_is_no_secret() {
    let target = target();
    let options = ["-d", "0.3", "-o", "a.txt", "-f", "lines", "--only", "busy"];
    let said = output(&target, "record", &options);
    assert!(
        said.contains("password = \"<redacted>\"; shown = \"shown-line\""),
        "{said}"
    );
}
