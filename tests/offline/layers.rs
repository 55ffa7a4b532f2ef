//! The house rules that a compiler does not check: who may import whom, where `unsafe` may stand,
//! and how long a file may get.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of the house, lowest first. Those in one entry may not import each other either.
const FLOORS: [&[&str]; 6] = [
    &["target"],
    &["cpython"],
    &["sampler"],
    &["profile"],
    &["output", "tui"],
    &["cli"],
];

/// The longest a source file may be, in lines.
const LONGEST: usize = 400;

/// All Rust files below src/, with their contents.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "only {} files", found.len());
    found
}

/// The floor that a file stands on; none for main.rs and lib.rs.
fn floor_of(path: &Path) -> Option<&str> {
    let mut parts = path.iter().map(|part| part.to_str().unwrap());
    parts.find(|part| *part == "src")?;
    let floor = parts.next()?;
    (!floor.ends_with(".rs")).then_some(floor)
}

fn height(floor: &str) -> usize {
    FLOORS
        .iter()
        .position(|floors| floors.contains(&floor))
        .unwrap_or_else(|| panic!("src/{floor} is on no floor: add it to FLOORS"))
}

/// The code of a line, without what follows `//`. A string may hold those too, which hides a part of
/// a line and never adds any.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The modules of the crate that a text names by `crate::`, those in braces too.
fn imported(text: &str) -> Vec<String> {
    let text: String = text
        .lines()
        .map(|line| format!("{}\n", code(line)))
        .collect();
    let mut found = Vec::new();
    for (at, name) in text.match_indices("crate::") {
        // `$crate::` and `my_crate::` are other words.
        let before = text[..at].chars().next_back().unwrap_or(' ');
        if before.is_alphanumeric() || before == '_' {
            continue;
        }
        let rest = &text[at + name.len()..];
        let word = |text: &str| -> String {
            let part = |c: &char| c.is_alphanumeric() || *c == '_';
            text.trim_start().chars().take_while(part).collect()
        };
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    found.push(word(&group[start..index]));
                    start = index + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn nobody_imports_a_floor_above() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, text) in sources() {
        let Some(floor) = floor_of(&path) else {
            continue;
        };
        for other in imported(&text) {
            checked += 1;
            if other != floor && height(&other) >= height(floor) {
                wrong.push(format!("{}: crate::{other}", path.display()));
            }
        }
    }
    assert!(checked > 50, "only {checked} imports were found");
    assert!(
        wrong.is_empty(),
        "upstairs or next door:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::{target::{Pid, Tid}, cpython, profile::Label as L};\n\
                // crate::tui\nlet x = crate::output::write(); pub(crate) mycrate::cli";
    assert_eq!(imported(text), ["target", "cpython", "profile", "output"]);
}

#[test]
fn unsafe_stays_in_target() {
    let mut found = 0;
    for (path, text) in sources() {
        let words = text
            .lines()
            .flat_map(|line| code(line).split(|c: char| !(c.is_alphanumeric() || c == '_')));
        if words.into_iter().any(|word| word == "unsafe") {
            found += 1;
            let floor = floor_of(&path);
            assert_eq!(floor, Some("target"), "unsafe in {}", path.display());
        }
    }
    assert!(
        found > 0,
        "no unsafe is found where some is: is the search broken?"
    );
}

#[test]
fn files_stay_short() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(
            lines <= LONGEST,
            "{} has {lines} lines: split it",
            path.display()
        );
    }
}
