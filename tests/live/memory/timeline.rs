//! Memory over time: what `mprof plot` is given, what the picture shows, and what a recording says of it in
//! its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::{
    Interpreter, Recording, Target, for_each_interpreter, for_some_at_once, for_some_interpreters,
    interpreters,
};

/// A file for mprof, read as mprof reads it.
#[derive(Debug, Default)]
struct Data {
    command: String,
    /// Time and MiB.
    mem: Vec<(f64, f64)>,
    children: BTreeMap<u32, Vec<(f64, f64)>>,
    /// For each function: MiB and time at the start, then at the end, and the level.
    functions: BTreeMap<String, Vec<[f64; 5]>>,
}

impl Data {
    fn parse(text: &str) -> Data {
        let mut data = Data::default();
        for line in text.lines() {
            let (key, rest) = line.split_once(' ').expect("a key and a value");
            let words: Vec<&str> = rest.split(' ').collect();
            let number = |at: usize| words[at].parse::<f64>().expect("a number");
            match key {
                "CMDLINE" => data.command = rest.to_owned(),
                "MEM" => data.mem.push((number(1), number(0))),
                "CHLD" => {
                    let pid = words[0].parse().expect("a pid");
                    let child = data.children.entry(pid).or_default();
                    child.push((number(2), number(1)));
                }
                "FUNC" => {
                    let numbers = [1, 2, 3, 4, 5].map(number);
                    let of_it = data.functions.entry(words[0].to_owned()).or_default();
                    of_it.push(numbers);
                }
                _ => panic!("mprof knows no such line: {line}"),
            }
        }
        data
    }

    /// The function whose name ends so: when it began to grow the memory, when it stopped, and by how
    /// much memory was more then.
    fn function(&self, end: &str) -> (f64, f64, f64) {
        let found = self.functions.iter().find(|(name, _)| name.ends_with(end));
        let (_, lines) = found.unwrap_or_else(|| panic!("{end}: {:?}", self.functions.keys()));
        let (first, last) = (lines[0], lines[lines.len() - 1]);
        (first[1], last[3], last[2] - first[0])
    }
}

fn highest(curve: &[(f64, f64)]) -> f64 {
    curve.iter().map(|(_, mib)| *mib).fold(0.0, f64::max)
}

/// A recording of memory_phases.py: its functions grow one after the other, then its child.
fn phases(python: &Interpreter, format: &str) -> Recording {
    let arguments = ["memory_phases.py", "--child"];
    // The child lives for a third of a second, in which a crowded machine may give us no CPU.
    Recording::until(
        || Recording::launch(python, &arguments, &["-f", format, "-s"]),
        |recording| recording.file.contains("in_child"),
    )
}

/// Asserts what is known of memory_phases.py.
fn assert_phases(data: &Data) {
    let command = &data.command;
    assert!(command.contains("memory_phases.py --child"), "{command}");
    let points = data.mem.len();
    assert!((100..1_100).contains(&points), "{points} points");
    assert!(data.mem.is_sorted_by_key(|(time, _)| *time));
    let (start, first) = data.mem[0];
    let grown = highest(&data.mem) - first;
    // The parent's 48 MiB, the child's 24 and its interpreter; or twice the parent's while the child has been
    // forked and does not run its own program yet.
    assert!((72.0..140.0).contains(&grown), "{grown}");
    let children: Vec<_> = data.children.values().collect();
    assert_eq!(children.len(), 1);
    let child = highest(children[0]);
    assert!((24.0..60.0).contains(&child), "{child}");

    // Each function's stretch lies where it ran, and its ends where the memory was then.
    let functions: Vec<_> = ["early", "late", "in_child"]
        .into_iter()
        .map(|name| data.function(&format!("memory_phases.{name}")))
        .collect();
    let [early, late, in_child] = functions[..] else {
        unreachable!()
    };
    // A stretch begins with its bar, and the first sample may come late in that.
    assert!(start - 0.2 <= early.0 && early.0 < early.1, "{functions:?}");
    assert!(early.1 <= late.0 && late.1 <= in_child.0, "{functions:?}");
    for ((_, _, grown), expected) in [(early, 32.0), (late, 16.0)] {
        assert!((grown - expected).abs() < expected / 4.0, "{functions:?}");
    }
    let levels = data.functions.values().map(|lines| lines[0][4].to_string());
    assert_eq!(levels.collect::<BTreeSet<_>>().len(), data.functions.len());
}

#[test]
fn the_picture_names_what_is_in_it() {
    for_some_at_once("timeline", |python| {
        let recording = phases(python, "timeline");
        let document = roxmltree::Document::parse(&recording.file).expect("an SVG");
        let texts: Vec<&str> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .map(|node| node.text().unwrap().trim())
            .collect();
        let has = |what: &str| texts.iter().any(|text| text.contains(what));
        for what in [
            "memory_phases.py --child",
            "Memory: ",
            "RSS of all processes",
            "peak ",
            "0 MiB",
            "early (memory_phases.py)",
            "late (memory_phases.py)",
            "in_child (memory_phases.py)",
        ] {
            assert!(has(what), "{what}: {texts:#?}");
        }
        assert_eq!(recording.summary["format"], "timeline");
    });
}

#[test]
fn an_idle_program_is_a_level_line_and_no_complaint() {
    for_each_interpreter("timeline-idle", (3, 12)..(3, 13), |python| {
        let target = Target::start(python, "sleepers.py", &[]);
        let recording = Recording::until(
            || Recording::of_pid(target.pid(), &["-f", "mprof", "-d", "1"]),
            |recording| Data::parse(&recording.file).mem.len() > 10,
        );
        let data = Data::parse(&recording.file);
        assert!(data.children.is_empty() && data.functions.is_empty());
        // Idle threads are no samples, which needs no message here.
        assert!(!recording.stderr.contains("--idle"), "{}", recording.stderr);
    });
}

/// The folder with the commands of a Python environment with the real memory_profiler and
/// matplotlib, made at the first run; `None` without network.
fn mprof_environment() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("PYSPY_TEST_MPROF") {
        return Some(folder.into());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mprof");
    let bin = folder.join("bin");
    let is_done = folder.join("complete");
    if is_done.exists() {
        return Some(bin);
    }
    let can_install = |python: &&Interpreter| {
        python.root.is_none()
            && python.build.is_empty()
            && ((3, 10)..(3, 14)).contains(&python.version.minor_pair())
    };
    let python = interpreters().iter().rfind(can_install)?;
    let run = |command: &mut Command| {
        let output = command.output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            eprintln!("{command:?}: {said}");
        }
        output.status.success().then_some(())
    };
    run(Command::new(&python.executable)
        .args(["-m", "venv"])
        .arg(&folder))?;
    run(Command::new(bin.join("python")).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "memory_profiler==0.61.0",
        "matplotlib<4",
    ]))?;
    fs::write(is_done, "").ok()?;
    Some(bin)
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// What mprof's own reader makes of a file.
const READER: &str = "
import json, mprof, sys
data = mprof.read_mprofile_file(sys.argv[1])
json.dump({'command': data['cmd_line'], 'mem': data['mem_usage'], 'times': data['timestamp'],
           'functions': data['func_timestamp'], 'children': data['children']}, sys.stdout)
";

#[test]
fn the_data_report_what_grew_when_and_the_real_mprof_plots_it() {
    let bin = mprof_environment();
    if bin.is_none() {
        println!("SKIPPED: mprof itself: there is no memory_profiler, and none could be installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let is_drawn = AtomicBool::new(false);
    // One after the other: when each function grew is measured.
    for_some_interpreters("mprof", |python| {
        let recording = phases(python, "mprof");
        assert_phases(&Data::parse(&recording.file));
        let Some(bin) = &bin else {
            return;
        };
        let path = folder.path().join(format!("{}.dat", python.label()));
        fs::write(&path, &recording.file).unwrap();

        let output = Command::new(bin.join("python"))
            .args(["-c", READER])
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ours = Data::parse(&recording.file);
        assert_eq!(read["command"].as_str().unwrap().trim(), ours.command);
        let numbers = |name: &str| -> Vec<f64> {
            let values = read[name].as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect()
        };
        let (times, mem): (Vec<f64>, Vec<f64>) = ours.mem.iter().copied().unzip();
        assert!((numbers("times"), numbers("mem")) == (times, mem));
        let keys = |name: &str| -> BTreeSet<String> {
            read[name].as_object().unwrap().keys().cloned().collect()
        };
        let functions: BTreeSet<String> = ours.functions.keys().cloned().collect();
        assert_eq!(keys("functions"), functions);
        let children: BTreeSet<String> = ours.children.keys().map(u32::to_string).collect();
        assert_eq!(keys("children"), children);

        // But for its numbers the file is the same: one is drawn in every way.
        let is_first = !is_drawn.swap(true, Ordering::Relaxed);
        let ways = [&[][..], &["--slope"], &["--flame"]];
        for options in ways.iter().take(if is_first { 3 } else { 1 }) {
            let picture = folder.path().join(format!("{}.png", python.label()));
            let output = Command::new(bin.join("mprof"))
                .args(["plot", "--backend", "agg"])
                .args(*options)
                .arg("-o")
                .args([&picture, &path])
                .env("MPLCONFIGDIR", folder.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", said(&output));
            assert!(
                !said(&output).contains("No memory usage"),
                "{}",
                said(&output)
            );
            let png = fs::read(&picture).expect("mprof plot writes a picture");
            assert!(png.starts_with(b"\x89PNG\r\n"), "{options:?}");
            fs::remove_file(&picture).unwrap();
        }
    });
}
