//! Compiles the probe against every interpreter's real headers and compares with [`describe`].
//!
//! Installations: the prefixes of `python*` on `PATH`, of pyenv, and of the directories named by
//! `PYSPY_TEST_PYTHONS` (separated by colons: prefixes themselves, or directories of prefixes).
//! Needs a C compiler; fails when not one installation with headers is found. From 3.13 on the
//! probe also writes the `_Py_DebugOffsets` that those headers make, in normal, free-threaded and
//! debug builds, and the running interpreter's own bytes are compared where it runs.

// Tests fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use python_offsets::semantics::{Executable, InstanceDict, StrFormat};
use python_offsets::{Description, LayoutSource, PythonVersion, describe, peek_debug_offsets};

/// The builds that one set of headers can describe from 3.13 on.
const BUILDS: &[(&str, &[&str])] = &[
    ("", &[]),
    ("free-threaded", &["-DPy_GIL_DISABLED=1"]),
    ("debug", &["-DPy_DEBUG=1", "-UNDEBUG"]),
    (
        "free-threaded debug",
        &["-DPy_GIL_DISABLED=1", "-DPy_DEBUG=1", "-UNDEBUG"],
    ),
];

/// The releases whose builds are all among `COUNTERS` of `versions/v3_13.rs`.
const COUNTER_KNOWN: &[&str] = &["3.13.0", "3.13.5", "3.13.15", "3.13.18"];

#[test]
fn tables_agree_with_the_headers() {
    let mut ran = Vec::new();
    for include in include_dirs() {
        let scratch = Scratch::new();
        let version = installed_version(&include);
        let probed = probe(&include, &[], &scratch);
        if version < PythonVersion::new(3, 13, 0) {
            let description = describe(version, None).expect("a table for an installed version");
            assert_eq!(description.source, LayoutSource::Table);
            compare(&version.to_string(), &description, &probed, Sizes::Near);
            ran.push(version.to_string());
            for (build, flags, described) in other_builds(version, &description) {
                let name = format!("{version} {build}");
                compare(
                    &name,
                    &described,
                    &probe(&include, flags, &scratch),
                    Sizes::AtLeast,
                );
                ran.push(name);
            }
            if (version.major, version.minor) == (3, 7) && version.patch >= 4 {
                let older = undo_bpo_27987(&include, &scratch);
                let description = describe(PythonVersion::new(3, 7, 3), None).expect("3.7.3");
                compare(
                    "3.7.3",
                    &description,
                    &probe(&older, &[], &scratch),
                    Sizes::Near,
                );
                ran.push("3.7.3 (as derived)".to_owned());
            }
            continue;
        }
        for (build, flags) in BUILDS {
            let name = format!("{version} {build}");
            let probed = probe(&include, flags, &scratch);
            let table = debug_offsets(&include, flags, &scratch);
            assert_eq!(peek_debug_offsets(&table), Some(version), "{name}");
            let description = describe(version, Some(&table)).expect(&name);
            assert_eq!(description.source, LayoutSource::DebugOffsets);
            compare(&name, &description, &probed, Sizes::Exact);
            ran.push(name.trim_end().to_owned());
        }
        if let Some(table) = running_table(&include, &version) {
            let description = describe(version, Some(&table)).expect("the interpreter's own bytes");
            let name = format!("{version} running");
            compare(&name, &description, &probed, Sizes::Near);
            ran.push(name);
        }
    }
    println!("compared: {}", ran.join(", "));
    assert!(
        !ran.is_empty(),
        "no interpreter with headers on PATH, in ~/.pyenv/versions or in $PYSPY_TEST_PYTHONS"
    );
}

/// The builds of a version with a literal table that are not configured as most are.
fn other_builds(
    version: PythonVersion,
    plain: &Description,
) -> [(&'static str, &'static [&'static str], Description); 2] {
    let traced = plain.clone().with_trace_refs();
    assert_eq!(
        plain.trace_refs_ob_type(),
        Some(traced.layout.pyobject.ob_type)
    );
    // Before 3.8 the one implies the other.
    let debug = match version < PythonVersion::new(3, 8, 0) {
        true => traced.clone(),
        false => plain.clone(),
    };
    [
        ("debug", &["-DPy_DEBUG=1"], debug),
        ("trace-refs", &["-DPy_TRACE_REFS=1"], traced),
    ]
}

/// How much is known of the sizes of the three state structures, which grow at their ends with patch
/// releases and with options that no installed header records.
#[derive(Clone, Copy, PartialEq)]
enum Sizes {
    /// They are of what the headers themselves made.
    Exact,
    /// They are of the release that the table was generated from.
    Near,
    /// The build has the objects among the state's last fields made larger.
    AtLeast,
}

/// Every field of the layout must be what the probe printed, and absent where it printed nothing.
fn compare(
    name: &str,
    description: &Description,
    probed: &BTreeMap<String, Vec<i64>>,
    sizes: Sizes,
) {
    let layout = flatten(&format!("{:?}", description.layout));
    let groups: BTreeSet<_> = layout.keys().map(|field| group(field)).collect();
    for (field, value) in &layout {
        let real = probed.get(field).map(|values| values[0]);
        let is_state = [
            "runtime_state.size",
            "interpreter_state.size",
            "thread_state.size",
        ];
        if field == "interpreter_state.next_func_version"
            && value.is_none()
            && real.is_some()
            && !COUNTER_KNOWN
                .iter()
                .any(|known| name.split(' ').next() == Some(*known))
        {
            // Not wrong, but not claimed either until what was just probed is added.
            println!("{name}: {field} is at {real:?}, see COUNTERS in versions/v3_13.rs");
        } else if sizes != Sizes::Exact && is_state.contains(&field.as_str()) {
            let distance = real.unwrap() - value.unwrap();
            let is_right = match sizes {
                Sizes::AtLeast => distance >= 0,
                _ => distance.abs() <= 1024,
            };
            assert!(is_right, "{name}: {field} is off by {distance}");
        } else {
            assert_eq!(*value, real, "{name}: {field}");
        }
    }
    for field in probed.keys().filter(|field| groups.contains(group(field))) {
        assert!(
            layout.contains_key(field),
            "{name}: {field} is not in Layout"
        );
    }
    compare_semantics(name, description, probed);
}

fn compare_semantics(name: &str, description: &Description, probed: &BTreeMap<String, Vec<i64>>) {
    let said = |field: &str| probed.get(&format!("semantics.{field}")).map(Vec::as_slice);
    let semantics = &description.semantics;
    if let StrFormat::Pep393 {
        kind_shift,
        compact_bit,
        ascii_bit,
    } = semantics.str_format
    {
        assert_eq!(
            said("kind_shift"),
            Some(&[i64::from(kind_shift)][..]),
            "{name}"
        );
        assert_eq!(
            said("compact_bit"),
            Some(&[i64::from(compact_bit)][..]),
            "{name}"
        );
        assert_eq!(
            said("ascii_bit"),
            Some(&[i64::from(ascii_bit)][..]),
            "{name}"
        );
    } else {
        assert_eq!(said("kind_shift"), None, "{name}");
    }
    let free_threaded = i64::from(semantics.free_threaded);
    assert_eq!(said("free_threaded"), Some(&[free_threaded][..]), "{name}");
    let owners: Vec<_> = semantics
        .shim_owners
        .iter()
        .map(|o| i64::from(*o))
        .collect();
    assert_eq!(said("shim_owner").unwrap_or_default(), owners, "{name}");
    let tag_mask = match semantics.executable {
        Executable::StackRef { tag_mask } => Some(vec![i64::from(tag_mask)]),
        _ => None,
    };
    assert_eq!(said("tag_mask"), tag_mask.as_deref(), "{name}");
    if let InstanceDict::InlineValues { dict } = semantics.instance_dict {
        assert_eq!(said("managed_dict"), Some(&[i64::from(dict)][..]), "{name}");
    }
}

fn group(field: &str) -> &str {
    field.split('.').next().unwrap()
}

/// Turns the `Debug` text of a `Layout` into `group.field` and value: so no field is forgotten.
fn flatten(debug: &str) -> BTreeMap<String, Option<i64>> {
    let body = debug.strip_prefix("Layout { ").unwrap();
    let mut fields = BTreeMap::new();
    for part in body.split_inclusive('}') {
        let Some((head, list)) = part.trim_start_matches(", ").split_once(" { ") else {
            continue;
        };
        let group = head.split(':').next().unwrap();
        for field in list.trim_end_matches(" }").split(", ") {
            let (name, value) = field.split_once(": ").unwrap();
            let number = value.trim_start_matches("Some(").trim_end_matches(')');
            let value = (value != "None").then(|| number.parse().expect(debug));
            fields.insert(format!("{group}.{name}"), value);
        }
    }
    assert!(fields.len() > 80, "{debug}");
    fields
}

/// The `include/pythonX.Y` directories of the installations present.
fn include_dirs() -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = Vec::new();
    let path = env::var_os("PATH").unwrap_or_default();
    for dir in env::split_paths(&path).filter(|dir| dir.ends_with("bin")) {
        prefixes.extend(dir.parent().map(Path::to_owned));
    }
    if let Some(home) = env::var_os("HOME") {
        prefixes.extend(children(&Path::new(&home).join(".pyenv/versions")));
    }
    for dir in env::split_paths(&env::var_os("PYSPY_TEST_PYTHONS").unwrap_or_default()) {
        prefixes.extend(children(&dir));
        prefixes.extend([dir.join("usr"), dir]);
    }
    let mut includes = BTreeSet::new();
    for prefix in prefixes {
        for include in children(&prefix.join("include")) {
            let name = include.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("python") && include.join("patchlevel.h").exists() {
                includes.insert(fs::canonicalize(&include).unwrap());
            }
        }
    }
    includes.into_iter().collect()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn installed_version(include: &Path) -> PythonVersion {
    let text = fs::read_to_string(include.join("patchlevel.h")).unwrap();
    let line = text.lines().find(|l| l.contains("PY_VERSION ")).unwrap();
    PythonVersion::parse(line.split('"').nth(1).unwrap()).unwrap()
}

/// A directory that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let dir =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // It lies in the build directory anyway.
    }
}

fn compile_and_run(include: &Path, flags: &[&str], scratch: &Scratch) -> Vec<u8> {
    let program = scratch.0.join("probe");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("probe/probe.c");
    let status = Command::new(env::var("CC").unwrap_or_else(|_| "cc".to_owned()))
        .args([
            "-w",
            "-O1",
            "-DNDEBUG",
            "-no-pie",
            "-Wl,--unresolved-symbols=ignore-all",
        ])
        .args(flags)
        .args(["-I".as_ref(), include.as_os_str()])
        .args(["-I".as_ref(), include.join("internal").as_os_str()])
        .args(["-I".as_ref(), include.parent().unwrap().as_os_str()])
        .arg("-o")
        .args([&program, &source])
        .status()
        .expect("a C compiler");
    assert!(
        status.success(),
        "{}: the probe does not compile",
        include.display()
    );
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", include.display());
    output.stdout
}

fn probe(include: &Path, flags: &[&str], scratch: &Scratch) -> BTreeMap<String, Vec<i64>> {
    let text = String::from_utf8(compile_and_run(include, flags, scratch)).unwrap();
    let mut fields: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with("version ")) {
        let (name, value) = line.split_once(' ').unwrap();
        fields
            .entry(name.to_owned())
            .or_default()
            .push(value.parse().unwrap());
    }
    fields
}

fn debug_offsets(include: &Path, flags: &[&str], scratch: &Scratch) -> Vec<u8> {
    compile_and_run(
        include,
        &[flags, &["-DPROBE_DEBUG_OFFSETS"]].concat(),
        scratch,
    )
}

/// A copy of the headers of 3.7.4 or later as those of 3.7.3 were: 3.7.4 aligned `PyGC_Head` to
/// `long double` instead of `double`, and that alone moved fields within 3.7.
fn undo_bpo_27987(include: &Path, scratch: &Scratch) -> PathBuf {
    let copy = scratch.0.join("include");
    let status = Command::new("cp").arg("-r").args([include, &copy]).status();
    assert!(status.unwrap().success());
    let header = copy.join("objimpl.h");
    let text = fs::read_to_string(&header).unwrap();
    assert!(text.contains("long double dummy;"));
    fs::write(header, text.replace("long double dummy;", "double dummy;")).unwrap();
    copy
}

/// The table of the installation's own interpreter, where that runs here.
fn running_table(include: &Path, version: &PythonVersion) -> Option<Vec<u8>> {
    let bin = include.ancestors().nth(2)?.join("bin");
    let python = bin.join(format!("python{}.{}", version.major, version.minor));
    let script = format!(
        "import ctypes as c, sys\n\
         table = (c.c_char * {}).in_dll(c.pythonapi, '_PyRuntime')\n\
         sys.stdout.buffer.write(bytes(table))",
        python_offsets::DEBUG_OFFSETS_LEN
    );
    let output = Command::new(python).args(["-c", &script]).output().ok()?;
    output.status.success().then_some(output.stdout)
}
