//! The rules of the source tree that a compiler does not check: which floor may import which, the
//! order of the rooms of a floor, no two files that import each other, where `unsafe` may stand, and
//! how long files and functions are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The floors, lowest first, each with its rooms and files, lowest first. A floor may import the
/// floors before it, a room the rooms before it. `output` and `tui` may not import each other.
const FLOORS: [(&str, &[&str]); 10] = [
    ("text", &["align", "sanitize", "secrets", "units", "escape"]),
    (
        "os",
        &[
            "deadline",
            "own_children",
            "forked",
            "expendable",
            "work_budget",
            "memory_budget",
            "procfs",
            "thread",
            "hold",
            "memory",
            "container",
            "bpf",
            "permission",
            "elf",
            "ptrace",
            "process",
            "core_file",
            "diagnose",
        ],
    ),
    (
        "cpython",
        &[
            "read", "runtime", "frame", "values", "code", "threads", "attach", "stack", "reader",
            "process", "core", "tape",
        ],
    ),
    (
        "sampler",
        &[
            "sample",
            "histogram",
            "stats",
            "capture",
            "schedule",
            "resources",
            "processes",
            "kernel",
        ],
    ),
    (
        "rss",
        &["series", "thinned", "process_series", "attribution", "leak"],
    ),
    (
        "profile",
        &[
            "options",
            "tables",
            "deferred_cpu",
            "thread_state",
            "fs_roots",
            "memory",
            "stack_builder",
            "ingest",
        ],
    ),
    (
        "output",
        &[
            "format",
            "file",
            "palette",
            "empty",
            "svg",
            "memory_report",
            "table_options",
            "short_command",
            "min_width",
            "meta",
            "stacks",
            "tables",
            "memory",
        ],
    ),
    (
        "tui",
        &[
            "cells", "model", "rows", "memory", "terminal", "app", "plain", "top",
        ],
    ),
    (
        "session",
        &[
            "options",
            "advice",
            "errors",
            "signals",
            "job_control",
            "files",
            "program_output",
            "launch",
            "attach",
            "sources",
            "recording",
            "run",
        ],
    ),
    (
        "cli",
        &[
            "called_as",
            "args",
            "stdout",
            "logging",
            "completions",
            "man",
            "select",
            "options",
            "engine",
            "report",
            "doctor",
            "dump",
            "record",
            "top",
            "memory",
        ],
    ),
];

/// The most source files in one folder, files of tests aside.
const MOST_FILES: usize = 15;
/// The most lines of a file without a line `//! Long: the reason`.
const MOST_LINES: usize = 600;
/// The most lines of a function without a line `// Long: the reason` above it.
const MOST_FUNCTION_LINES: usize = 80;

/// A source file below src/: its module path and its text.
struct Source {
    /// `["os", "elf", "notes"]`; a `mod.rs` has its folder's path.
    module: Vec<String>,
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.module.iter().any(|part| {
            part == "tests"
                || part.ends_with("_tests")
                || part == "test_support"
                || part == "testing"
        })
    }

    fn name(&self) -> String {
        self.module.join("::")
    }
}

/// All files below src/ but main.rs and lib.rs.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Vec<String> = inside
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            module.retain(|part| part != "mod");
            if path.extension().is_some_and(|end| end == "rs")
                && module != ["lib"]
                && module != ["main"]
            {
                let text = fs::read_to_string(&path).unwrap();
                let path = format!("src/{}", path.strip_prefix(&root).unwrap().display());
                found.push(Source { module, path, text });
            }
        }
    }
    assert!(found.len() > 100, "only {} files", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The code without its comments, the contents of its strings, and its unit tests.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {");
    let text = &text[..end.unwrap_or(text.len())];
    let mut found = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 2;
            let length = rest[begin..].find(&close).unwrap_or(rest.len() - begin);
            rest = &rest[(begin + length + close.len()).min(rest.len())..];
        } else if c == '"' {
            rest = after_string(&rest[1..]);
        } else if let Some(length) = character(rest) {
            rest = &rest[length..];
        } else {
            found.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// The number of `#` of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let after = rest.trim_start_matches('#');
    after.starts_with('"').then(|| rest.len() - after.len())
}

fn after_string(text: &str) -> &str {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// The length of a character literal that begins here; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let length = match rest.strip_prefix('\\') {
        Some(escaped) => 1 + escaped.find('\'').filter(|at| *at > 0).unwrap_or(1),
        None => rest.chars().next()?.len_utf8(),
    };
    rest.get(length..)?.starts_with('\'').then_some(length + 2)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths that a text names, each as its segments, those in braces too: `a::{b, c::d}` is `a::b`
/// and `a::c::d`.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if is_word(c) && !is_word(before) && before != ':' && before != '.' {
            rest = read_path(rest, &[], &mut found);
            before = 'x';
        } else {
            before = c;
            rest = &rest[c.len_utf8()..];
        }
    }
    found.retain(|path| path.len() > 1);
    found
}

/// Reads one path that begins here, with its groups, and returns what follows it.
fn read_path<'a>(text: &'a str, start: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = start.to_vec();
    let mut rest = text;
    loop {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if length > 0 {
            path.push(rest[..length].to_owned());
            rest = &rest[length..];
        }
        let Some(after) = rest.strip_prefix("::") else {
            found.push(path);
            return rest;
        };
        rest = after;
        if let Some(mut group) = rest.strip_prefix('{') {
            loop {
                group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                if let Some(after) = group.strip_prefix('}') {
                    return after;
                }
                let next = read_path(group, &path, found);
                let ends = next.find([',', '}', '{']).unwrap_or(next.len());
                if next.len() == group.len() && ends == 0 {
                    return next;
                }
                group = &next[ends..];
                if group.is_empty() || group.starts_with('{') {
                    return group;
                }
            }
        }
        if !rest.starts_with(is_word) {
            found.push(path);
            return rest;
        }
    }
}

/// Which modules each file imports, by module path; files of tests are left out.
fn imports(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeSet<String> = sources.iter().map(Source::name).collect();
    let mut found = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let mut targets = BTreeSet::new();
        for path in paths(&code(&source.text)) {
            let Some(absolute) = absolute(&path, &source.module, &modules) else {
                continue;
            };
            let known = (1..=absolute.len())
                .rev()
                .map(|length| absolute[..length].join("::"))
                .find(|module| modules.contains(module));
            targets.extend(known);
        }
        targets.remove(&source.name());
        found.insert(source.name(), targets);
    }
    let count: usize = found.values().map(BTreeSet::len).sum();
    assert!(count > 500, "only {count} imports were found");
    found
}

/// A path from the crate's root; `None` for one of another crate or of an item.
fn absolute(path: &[String], module: &[String], modules: &BTreeSet<String>) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
        }
        child => {
            base.push(child.to_owned());
            if !modules.contains(&base.join("::")) {
                return None;
            }
            base.pop();
        }
    }
    base.extend_from_slice(rest);
    Some(base)
}

fn height(floor: &str) -> usize {
    let place = FLOORS.iter().position(|(name, _)| *name == floor);
    let place = place.unwrap_or_else(|| panic!("src/{floor} is on no floor: add it to FLOORS"));
    // The two show a profile, each in its way.
    if floor == "tui" { place - 1 } else { place }
}

#[test]
fn no_file_imports_a_floor_above() {
    let mut wrong = Vec::new();
    for (from, targets) in imports(&sources()) {
        for to in targets {
            let (a, b) = (floor(&from), floor(&to));
            if a != b && height(b) >= height(a) {
                wrong.push(format!("{from} imports {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "upwards:\n{}", wrong.join("\n"));
}

fn floor(module: &str) -> &str {
    module.split("::").next().unwrap()
}

#[test]
fn no_room_imports_one_above() {
    let mut wrong = Vec::new();
    for (from, targets) in imports(&sources()) {
        let mut parts = from.split("::");
        let (floor, Some(room)) = (parts.next().unwrap(), parts.next()) else {
            continue;
        };
        for to in &targets {
            let mut parts = to.split("::");
            if parts.next() != Some(floor) {
                continue;
            }
            // What a floor's mod.rs defines is below its rooms.
            let Some(other) = parts.next() else { continue };
            if other != room && place(floor, other) >= place(floor, room) {
                wrong.push(format!("{from} imports {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "upwards:\n{}", wrong.join("\n"));
}

fn place(floor: &str, room: &str) -> usize {
    let (_, rooms) = FLOORS.iter().find(|(name, _)| *name == floor).unwrap();
    let place = rooms.iter().position(|name| *name == room);
    place.unwrap_or_else(|| panic!("src/{floor}/{room} has no place: add it to FLOORS"))
}

/// All modules that a module imports, directly or through others.
fn reached<'a>(imports: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = imports
        .get(from)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    while let Some(module) = next.pop() {
        if found.insert(module) {
            next.extend(
                imports
                    .get(module)
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            );
        }
    }
    found
}

#[test]
fn no_files_import_each_other() {
    let imports = imports(&sources());
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports
        .keys()
        .map(|from| (from.as_str(), reached(&imports, from)))
        .collect();
    let mut cycles = Vec::new();
    for (from, targets) in &imports {
        let back = targets.iter().filter(|to| {
            reached
                .get(to.as_str())
                .is_some_and(|all| all.contains(from.as_str()))
        });
        cycles.extend(back.map(|to| format!("{from} imports {to}")));
    }
    assert!(cycles.is_empty(), "parts of cycles:\n{}", cycles.join("\n"));
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = code(
        "use crate::{os::{Pid, Tid}, cpython, profile::Label as L};\n// crate::tui\n\
         let x = crate::output::write(\"crate::cli\", '\"'); super::a::b(r#\"self::c\"#);\n\
         foo.super_::x; d::e::<u8>();\n#[cfg(test)]\nmod tests {\n    use super::z::Y;\n}\n",
    );
    let found: Vec<String> = paths(&text).iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        [
            "crate::os::Pid",
            "crate::os::Tid",
            "crate::cpython",
            "crate::profile::Label",
            "crate::output::write",
            "super::a::b",
            "d::e",
        ]
    );
}

#[test]
fn unsafe_stays_in_os() {
    let mut found = 0;
    for source in sources() {
        let code = code(&source.text);
        if code.split(|c| !is_word(c)).any(|word| word == "unsafe") {
            found += 1;
            assert_eq!(source.module[0], "os", "unsafe in {}", source.path);
        }
    }
    assert!(
        found > 0,
        "no unsafe is found where some is: is the search broken?"
    );
}

#[test]
fn folders_have_few_files() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let folder = source.path.rsplit_once('/').unwrap().0;
        *folders.entry(folder.to_owned()).or_default() += 1;
    }
    folders.retain(|_, count| *count > MOST_FILES);
    assert!(
        folders.is_empty(),
        "too many files side by side: {folders:?}"
    );
}

#[test]
fn long_files_and_functions_give_a_reason() {
    let mut wrong = Vec::new();
    let mut functions = 0;
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        if lines.len() > MOST_LINES && !lines.iter().any(|line| line.starts_with("//! Long: ")) {
            wrong.push(format!("{} has {} lines", source.path, lines.len()));
        }
        for (start, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| is_function(line))
        {
            functions += 1;
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = lines[start..]
                .iter()
                .position(|line| *line == format!("{indent}}}"));
            let length = end.map_or(1, |end| end + 1);
            let above = lines[..start].iter().rev().take_while(|line| {
                let line = line.trim_start();
                line.starts_with("//") || line.starts_with("#[")
            });
            let mut above = above.map(|line| line.trim_start());
            if length > MOST_FUNCTION_LINES && !above.any(|line| line.starts_with("// Long: ")) {
                wrong.push(format!("{}:{}: {length} lines", source.path, start + 1));
            }
        }
    }
    assert!(functions > 1_000, "only {functions} functions were found");
    assert!(
        wrong.is_empty(),
        "long, without a reason:\n{}",
        wrong.join("\n")
    );
}

/// Whether a function begins in this line and does not end in it.
fn is_function(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let modifier = |word: &&str| {
        word.starts_with("pub") || ["const", "unsafe", "async", "extern", "\"C\""].contains(word)
    };
    words.iter().find(|word| !modifier(word)) == Some(&"fn") && !line.ends_with(['}', ';'])
}
