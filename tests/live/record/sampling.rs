//! What sampling must never do: show a stack that was not, or leave a mark on the program.

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::OFlag;

use crate::support::chains::{Chains, assert_possible};
use crate::support::{
    Interpreter, Pool, Recording, Stack, Target, for_each_interpreter, for_each_kind, interpreters,
    samples, wait_until, wait_until_it_samples,
};

#[test]
fn a_call_storm_has_no_impossible_stack() {
    for_each_interpreter("storm", .., |python| {
        let target = Target::start(python, "storm.py", &[]);
        target.until_it_reads_stdin();
        let options = ["-f", "raw", "-F", "-r", "2000", "-d", "1"];
        // A program that waits for a CPU is sampled in one place again and again: it takes more than a
        // thousand samples then to have both chains to their ends.
        let ends = ["left_4", "right_4"];
        let pool = Pool::until(
            || Recording::of_pid(target.pid(), &options),
            |pool| pool.samples() >= 1_000 && ends.iter().all(|leaf| pool.samples_of(leaf) > 0),
        );
        Chains::of_storm(4, 4).assert_possible(&pool.stacks);
        println!(
            "{}: {} stacks, all possible",
            python.version,
            pool.samples()
        );
    });
}

/// A new `_PyCFrame` is the thread's own before it is filled, and what is in its place is an old one's:
/// up to one sample in a hundred could not be read.
#[test]
fn calls_through_c_have_no_impossible_stack() {
    for_each_interpreter("storm-through-c", (3, 10).., |python| {
        let target = Target::start(python, "storm_through_c.py", &[]);
        target.until_it_reads_stdin();
        let options = ["-f", "raw", "-F", "-r", "5000", "-d", "1"];
        let pool = Recording::at_least(2_000, || Recording::of_pid(target.pid(), &options));
        let chains = Chains::of_storm(3, 5);
        // The thread that waits for the end may be on its way there still.
        assert_possible(&pool.stacks, |functions| {
            functions[0].contains("bootstrap") || chains.allow(functions)
        });
        let (all, errors) = (pool.samples(), pool.errors);
        println!(
            "{}: {all} stacks, all possible, {errors} errors",
            python.version
        );
        assert!(errors <= 4 + all / 200, "{errors} errors in {all} samples");
    });
}

#[test]
fn generators_that_switch_fast_have_no_impossible_stack() {
    for_each_interpreter("switching", .., |python| {
        let target = Target::start(python, "switching.py", &[]);
        let options = ["-f", "raw", "-F", "-r", "2000", "-d", "1"];
        // The thread that waits for the end may be on its way there still.
        let is_own = |stack: &Stack| !stack.functions()[0].contains("bootstrap");
        let pool = Pool::until(
            || Recording::of_pid(target.pid(), &options),
            |pool| samples(pool.stacks.iter().filter(|stack| is_own(stack))) >= 1_000,
        );
        let chain = |side| vec![format!("{side}_outer"), format!("{side}_inner")];
        let chains = Chains::new(&["<module>", "switch"], vec![chain("left"), chain("right")]);
        let own: Vec<Stack> = pool.stacks.into_iter().filter(is_own).collect();
        chains.assert_possible(&own);
    });
}

#[test]
fn sleepers_sleep_on_and_are_idle() {
    for_each_kind("sleepers", |python| {
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
    for_each_kind("long-sleep", |python| {
        let target = Target::start(python, "gil.py", &["50"]);
        let options = ["-f", "raw", "-F", "-r", "400", "-d", "1"];
        let pool = Pool::until(
            || Recording::of_pid(target.pid(), &options),
            |pool| pool.samples_of("spin") > 50,
        );
        for stack in &pool.stacks {
            let leaf = stack.frames.last().unwrap();
            assert!(leaf.starts_with("spin (gil.py"), "{stack:?}");
        }
    });
}

#[test]
fn resident_memory_is_what_the_kernel_says() {
    for_each_kind("rss", |python| {
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
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        if round % 4 > 0 {
            // From there on any moment will do. Else it may be attaching.
            wait_until_it_samples(&mut stdout);
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
    // `.recording.XXXXXX.tmp` remained. Overlays of older kernels have no files without a name.
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(OFlag::O_TMPFILE.bits());
    if options.open(folder.path()).is_ok() {
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn killed_at_any_moment_we_leave_the_target_running() {
    // What is left behind is the kernel's matter, not the version's.
    let python = interpreters().last().expect("a Python");
    // A thousand times in all, some at once, as a new process waits most of the time.
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            scope.spawn(move || kill_recordings(python, 250, seed));
        }
    });
}
