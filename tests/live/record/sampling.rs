//! What sampling must never do: show a stack that was not, or leave a mark on the program.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::time::Duration;

use crate::support::{
    Interpreter, Recording, Target, for_each_interpreter, interpreters, wait_until,
};

/// A frame's function.
fn function(frame: &str) -> &str {
    frame.split(" (").next().unwrap()
}

/// What a storm.py stack may look like below `storm`, root first.
fn is_possible(functions: &[&str]) -> bool {
    let chain = |side| (1..=4).map(move |depth| format!("{side}_{depth}"));
    functions.starts_with(&["<module>", "storm"])
        && functions.len() <= 6
        && ["left", "right"].iter().any(|side| {
            let expected = chain(*side);
            functions[2..]
                .iter()
                .zip(expected)
                .all(|(is, should)| *is == should)
        })
}

#[test]
fn a_call_storm_has_no_impossible_stack() {
    for_each_interpreter("storm", .., |python| {
        let target = Target::start(python, "storm.py", &[]);
        let options = ["-f", "raw", "-F", "-r", "2000", "-d", "1"];
        let (mut all, mut leaves) = (0, BTreeSet::new());
        // A crowded machine gives few samples in one run.
        for _ in 0..20 {
            for stack in Recording::of_pid(target.pid(), &options).stacks() {
                let functions: Vec<_> = stack.frames.iter().map(|frame| function(frame)).collect();
                assert!(
                    is_possible(&functions),
                    "{} times {functions:?}",
                    stack.count
                );
                all += stack.count;
                leaves.extend((functions.len() == 6).then(|| functions[5].to_owned()));
            }
            if all >= 1_000 {
                break;
            }
        }
        assert!(all >= 1_000, "only {all} samples");
        assert_eq!(leaves.len(), 2, "both chains to their ends: {leaves:?}");
        println!("{}: {all} stacks, all possible", python.version);
    });
}

/// A new `_PyCFrame` is the thread's own before it is filled, and what stands in its place is an old one's:
/// up to one look in a hundred could not be read.
#[test]
fn calls_through_c_have_no_impossible_stack() {
    for_each_interpreter("storm-through-c", (3, 10)..(3, 14), |python| {
        let target = Target::start(python, "storm_through_c.py", &[]);
        let options = ["-f", "raw", "-F", "-r", "5000", "-d", "1"];
        let (mut all, mut errors) = (0, 0);
        for _ in 0..20 {
            let recording = Recording::of_pid(target.pid(), &options);
            for stack in recording.stacks() {
                let functions: Vec<_> = stack.frames.iter().map(|frame| function(frame)).collect();
                let is_possible = ["left", "right"].iter().any(|side| {
                    let chain = (1..=5).map(|depth| format!("{side}_{depth}"));
                    let mut rest = functions.iter().skip(2).zip(chain);
                    functions.starts_with(&["<module>", "storm"])
                        && functions.len() <= if *side == "left" { 5 } else { 7 }
                        && rest.all(|(is, should)| **is == should)
                });
                let waits = functions[0].contains("bootstrap");
                assert!(is_possible || waits, "{} times {functions:?}", stack.count);
                all += stack.count;
            }
            errors += recording.errors();
            if all >= 2_000 {
                break;
            }
        }
        println!(
            "{}: {all} stacks, all possible, {errors} errors",
            python.version
        );
        assert!(all >= 2_000, "only {all} samples");
        assert!(errors <= 4 + all / 200, "{errors} errors in {all} samples");
    });
}

#[test]
fn generators_that_switch_fast_have_no_impossible_stack() {
    for_each_interpreter("switching", .., |python| {
        let target = Target::start(python, "switching.py", &[]);
        let options = ["-f", "raw", "-F", "-r", "2000", "-d", "1"];
        let mut all = 0;
        for _ in 0..20 {
            for stack in Recording::of_pid(target.pid(), &options).stacks() {
                let functions: Vec<_> = stack.frames.iter().map(|frame| function(frame)).collect();
                // The thread that waits for the end may be on its way there still.
                if functions
                    .first()
                    .is_some_and(|root| root.contains("bootstrap"))
                {
                    continue;
                }
                let possible = ["left", "right"].iter().any(|side| {
                    let [outer, inner] = ["outer", "inner"].map(|name| format!("{side}_{name}"));
                    let whole = ["<module>", "switch", &outer, &inner];
                    functions.len() >= 2 && whole.starts_with(&functions)
                });
                assert!(possible, "{} times {functions:?}", stack.count);
                all += stack.count;
            }
            if all >= 1_000 {
                break;
            }
        }
        assert!(all >= 1_000, "only {all} samples");
    });
}

#[test]
fn sleepers_sleep_on_and_are_idle() {
    for_each_interpreter("sleepers", .., |python| {
        let mut target = Target::start(python, "sleepers.py", &[]);
        let options = ["-f", "raw", "-F", "-t", "-r", "400", "-d", "1"];
        Recording::until(
            || Recording::of_pid(target.pid(), &options),
            |recording| recording.samples_with("busy (").0 > 0,
        );
        target.say("");
        let last = target.next_line();
        assert!(last.starts_with("early 0 of "), "{last}");
        assert!(target.finish().success());
    });
}

#[test]
fn threads_in_one_long_sleep_are_never_active() {
    for_each_interpreter("long-sleep", .., |python| {
        let target = Target::start(python, "gil.py", &["50"]);
        let options = ["-f", "raw", "-F", "-r", "400", "-d", "1"];
        let mut spins = 0;
        // A crowded machine gives few samples in one run.
        for _ in 0..20 {
            let recording = Recording::of_pid(target.pid(), &options);
            for stack in recording.stacks() {
                let leaf = stack.frames.last().unwrap();
                assert!(leaf.starts_with("spin (gil.py"), "{recording:#?}");
            }
            spins += recording.samples_with("spin (").0;
            if spins > 50 {
                break;
            }
        }
        assert!(spins > 50, "only {spins} samples");
    });
}

#[test]
fn resident_memory_is_what_the_kernel_says() {
    for_each_interpreter("rss", .., |python| {
        let target = Target::start(python, "gil.py", &["1"]);
        let recording = Recording::of_pid(target.pid(), &["-f", "raw", "-d", "0.5"]);
        let status = fs::read_to_string(format!("/proc/{}/status", target.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        let memory = &recording.summary["memory"];
        let [first, last, peak] = ["first", "last", "peak"].map(|which| {
            let bytes = memory[format!("{which}_rss_bytes")].as_u64();
            bytes.expect("bytes") as f64 / 1024.0
        });
        // The kernel counts pages in batches by CPU.
        assert!((last - kib).abs() < 1024.0, "{memory} for {kib} KiB");
        assert!(first <= peak && last <= peak, "{memory}");
    });
}

/// Fails if a thread of the process is stopped or traced; a pause of ours ends by itself.
fn assert_runs_free(pid: u32) {
    let state = |task: &fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let is_free = |line: &str| match line.split_once(':') {
            Some(("State", state)) => !state.trim().starts_with(['t', 'T']),
            Some(("TracerPid", tracer)) => tracer.trim() == "0",
            _ => true,
        };
        status.lines().all(is_free)
    };
    let tasks = || {
        fs::read_dir(format!("/proc/{pid}/task"))
            .expect("it runs")
            .flatten()
    };
    wait_until("no thread of the target is stopped", || {
        tasks().all(|task| state(&task))
    });
}

#[test]
fn the_target_runs_on_after_us() {
    for_each_interpreter("runs-on", .., |python| {
        let target = Target::start(python, "sleepers.py", &[]);
        Recording::of_pid(target.pid(), &["-f", "raw", "-d", "0.3", "-r", "1000"]);
        assert_runs_free(target.pid());
    });
}

/// Kills recordings of one target again and again.
fn kill_recordings(python: &Interpreter, rounds: u64, seed: u64) {
    let mut target = Target::start(python, "lively.py", &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    let words = ["--pid".into(), target.pid().to_string().into()];
    let mut random = seed;
    for round in 0..rounds {
        let mut command = Recording::command(&path, &["-f", "raw", "-r", "5000"], &words);
        let mut child = command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        if round % 4 > 0 {
            // It says when it samples; from there on any moment will do. Else it may be attaching.
            let stderr = child.stderr.as_mut().unwrap();
            stderr.read_exact(&mut [0; 8]).unwrap();
        }
        // Knuth's generator; the upper bits are the random ones. Up to 8 ms.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_nanos(random >> 41));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_runs_free(target.pid());
        if round % 10 == 9 {
            target.say("ping");
            assert_eq!(target.next_line(), "pong");
        }
    }
}

#[test]
fn killed_at_any_moment_we_leave_the_target_running() {
    // What is left behind is the kernel's matter, not the version's.
    let python = interpreters().last().expect("a Python");
    // A thousand times in all, some at once, as a new process mostly waits.
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            scope.spawn(move || kill_recordings(python, 250, seed));
        }
    });
}
