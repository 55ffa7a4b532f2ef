//! Ends of functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use super::*;
use crate::text::secrets::Secrets;

fn source(text: &str) -> Source {
    Source::of_bytes(text.as_bytes(), None, Secrets::Hidden)
}

/// Last line of the function with this name and first line.
fn end(text: &str, name: &str, first_line: u32) -> Option<u32> {
    source(text)
        .function(name, first_line)
        .map(|lines| *lines.end())
}

#[test]
fn a_function_ends_where_its_indentation_does() {
    let text = "\
import os

@decorated(
    1)
# why
@again
def outer(a,
b=(1, 2)):
    '''A text
without indentation, and a def:
def no(): pass
'''
    def inner():
        return a + \\
b

    # The end.
# Not of this function, but in it.
    return [
a, b
]

def other(): return 1
class Thing(object):
\tdef method(self):
\t\tpass

\tasync def wait(self):
\t    return lambda: (
    1,
        )
last = 1
";
    for (name, first, last) in [
        ("outer", 3, 21),
        ("outer.<locals>.inner", 13, 15),
        ("other", 23, 23),
        ("Thing", 24, 31),
        ("Thing.method", 25, 26),
        ("Thing.wait", 28, 31),
        ("Thing.wait.<locals>.<lambda>", 29, 31),
        ("<module>", 1, 32),
    ] {
        assert_eq!(end(text, name, first), Some(last), "{name}");
    }
    assert_eq!(source(text).function("outer", 3), Some(3..=21));
}

#[test]
fn a_changed_file_is_detected() {
    let text = "def f():\n    pass\n\nx = 1\n";
    assert_eq!(end(text, "f", 1), Some(2));
    for (name, line) in [("f", 2), ("f", 4), ("f", 99), ("f", 0), ("g", 1), ("fu", 1)] {
        assert_eq!(end(text, name, line), None, "{name} at {line}");
    }
    assert_eq!(end("def fu(): pass", "f", 1), None);
    assert_eq!(end("", "<module>", 1), None);
    assert_eq!(end("@a\n@b\n", "f", 1), None);
}

#[test]
fn strings_hide_brackets_and_quotes() {
    for line in [
        "def f(): x = '('",
        "def f(): x = \"it's (\"",
        "def f(): x = 'a\\'('  # (",
        "def f(): x = \"\"\"a\"b\\\"\"\"(\"\"\"",
        "def f(): x = ''",
        "def f(): x = '(",
        "def f(): x = )",
    ] {
        let text = format!("{line}\ny = 1\n");
        assert_eq!(end(&text, "f", 1), Some(1), "{line}");
    }
    assert_eq!(end("def f(): x = '\\\n(' + 'a'\n  b\nc\n", "f", 1), Some(3));
    assert_eq!(end("def f(a='''\n", "f", 1), Some(1));
}

#[test]
fn lines_are_safe_to_display() {
    let text = "\u{feff}a\r\nb\rc\n\td\te\n  \n\x0cf\n\x1b[31m\u{202e}g  \n\n";
    let lines = [
        "a",
        "b",
        "c",
        "        d       e",
        "",
        "f",
        "\u{fffd}[31m\u{fffd}g",
        "",
    ];
    let source_of_lines = source(text);
    assert_eq!(source_of_lines.len(), 8);
    for (place, line) in (1..).zip(lines) {
        assert_eq!(source_of_lines.line(place), line, "line {place}");
    }
    assert_eq!(source_of_lines.line(0), "");
    assert_eq!(source_of_lines.line(u32::MAX), "");
    assert_eq!(
        Source::of_bytes(b"\xff\xfe", None, Secrets::Hidden).line(1),
        "\u{fffd}\u{fffd}"
    );
    let long = source(&"x".repeat(100_000)).line(1);
    assert_eq!(long.chars().count(), 1_000);
    assert!(long.ends_with('…'));
}

#[test]
fn a_hostile_file_takes_linear_time() {
    // One logical line of a million lines, and a million of one line each.
    for text in ["(\n".repeat(1_000_000), "x\n".repeat(1_000_000)] {
        let text = format!("def f():\n  {text}");
        assert!(end(&text, "f", 1).is_some());
    }
}

/// A recording with ten files of a million empty lines took 237 MiB.
#[test]
fn an_empty_line_takes_five_bytes() {
    let source = source(&"\n".repeat(1_000_000));
    assert_eq!(source.len(), 1_000_000);
    assert_eq!(source.size(), 5_000_000);
}
