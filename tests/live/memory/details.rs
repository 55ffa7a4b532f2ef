//! What `dump` says about a process's memory, beside what the process itself and the kernel say.

use crate::support::{Target, for_each_interpreter, pyspy_rs};
use serde_json::Value;

/// What a step of the program takes, in bytes.
const STEP: u64 = 24 << 20;
/// What else may come and go meanwhile: the interpreter's own memory, and the kernel's late counting.
const OVERSHOOT: u64 = 4 << 20;

/// The `memory` of a dump.
fn memory(target: &Target) -> Value {
    target.dump(&[]).json["memory"].clone()
}

fn number(memory: &Value, key: &str) -> u64 {
    let value = &memory[key];
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{key} is {value} in {memory:#}"))
}

/// Lets the program take or free memory, and returns the RSS that it sees then.
fn step(target: &mut Target, command: &str) -> u64 {
    target.say(command);
    let line = target.next_line();
    let kib = line.strip_prefix("rss ").expect("rss KIB");
    kib.parse::<u64>().expect("a number") << 10
}

#[test]
fn what_a_program_takes_is_seen_in_every_count() {
    for_each_interpreter("memory-details", .., |python| {
        // What another process has mapped of the same files is not this one's alone (USS): there is always
        // one that has, whatever other tests start and end.
        let _beside = Target::start(python, "memory_growth.py", &["24"]);
        let mut target = Target::start(python, "memory_growth.py", &["24"]);
        let before = memory(&target);
        let its_own = step(&mut target, "grow");
        let grown = memory(&target);
        step(&mut target, "free");
        let freed = memory(&target);

        let rss = number(&grown, "rss_bytes");
        assert!(rss.abs_diff(its_own) < OVERSHOOT, "{rss} and {its_own}");
        for key in ["rss_bytes", "pss_bytes", "uss_bytes"] {
            let [before, grown, freed] = [&before, &grown, &freed].map(|at| number(at, key));
            let growth = grown - before;
            assert!(growth.abs_diff(STEP) < OVERSHOOT, "{key} grows by {growth}");
            assert!(
                freed.abs_diff(before) < OVERSHOOT,
                "{key}: {before} {freed}"
            );
        }
        let peak = number(&freed, "peak_rss_bytes");
        assert!(
            peak + OVERSHOOT > rss && peak < rss + OVERSHOOT,
            "{peak} {rss}"
        );
        // At least one fault for each of these, were the pages huge; seldom they are.
        let faults = [&before, &grown].map(|at| number(at, "minor_faults"));
        assert!(faults[1] - faults[0] >= STEP >> 21, "{faults:?}");

        // In the first minute no growth by the minute is reported; from then on it is.
        let age = grown["age_seconds"].as_f64().unwrap();
        let per_minute = grown["rss_bytes_per_minute"].as_f64();
        assert_eq!(per_minute.is_some(), age >= 60.0, "{age} {per_minute:?}");
        let seconds = grown["age_seconds"].as_f64().filter(|age| *age > 0.0);
        if let Some(seconds) = seconds {
            let rate = grown["minor_faults_per_second"].as_f64().unwrap();
            let faults = number(&grown, "minor_faults") as f64;
            assert!((rate * seconds / faults - 1.0).abs() < 1e-6, "{grown:#}");
        }
        // The standard streams, and what the interpreter has open.
        assert!(number(&grown, "open_files") >= 3);
        assert!(grown["swap_bytes"].is_u64(), "{grown:#}");
    });
}

#[test]
fn the_text_has_a_line_for_each() {
    for_each_interpreter("memory-lines", .., |python| {
        let target = Target::start(python, "memory_growth.py", &["24"]);
        let mut command = pyspy_rs();
        command.args(["dump", "--pid", &target.pid().to_string()]);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let header = text.split("\n\n").next().unwrap();
        let names: Vec<_> = header
            .lines()
            .skip(2)
            .map(|line| line.split(": ").next().unwrap())
            // Whether there is one depends on where we run.
            .filter(|name| *name != "Memory limit")
            .collect();
        assert_eq!(
            names,
            [
                "Memory",
                "Memory shares",
                "Memory growth",
                "Page faults",
                "Open files"
            ],
            "{text}"
        );
        // What py-spy's users cut out of a dump starts after the blank line.
        assert!(text.contains("\n\nThread "), "{text}");
    });
}

/// What a child inherits at its fork was counted as its growth.
#[test]
fn a_forked_child_has_not_grown_by_what_it_inherited() {
    for_each_interpreter("memory-fork", .., |python| {
        let target = Target::start(python, "forked_memory.py", &[]);
        let dumps = target.dumps(&["-s"]);
        let [parent, child] = dumps.as_slice() else {
            panic!("two processes: {dumps:#?}");
        };
        let [parent, child] = [parent, child].map(|dump| dump.json["memory"].clone());
        assert!(child["rss_bytes"].as_u64() > Some(32 << 20), "{child:#}");
        assert!(child["rss_bytes_per_minute"].is_null(), "{child:#}");
        let mut command = pyspy_rs();
        command.args(["dump", "-s", "--pid", &target.pid().to_string()]);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("Memory growth: "))
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(!lines[0].contains("forked"), "{text}: {parent:#}");
        assert!(lines[1].starts_with("Memory growth: unknown, since it was forked"));
    });
}
