//! `--cpu` and `--gc` against what the kernel and the program know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::bench::python;
use crate::support::{Recording, Target, for_each_interpreter, for_each_kind};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use pyspy_rs::{
    CaptureOptions, Pausing, Profile, ProfileOptions, PythonProcess, Sample, Sampler,
    SamplerOptions, Secrets, Selection, TimeWeight, Weights,
};
use serde_json::Value;

/// The nanoseconds that a process has used, by the clock that its own `time.process_time()` reads.
fn process_time(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).unwrap();
    u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec()).unwrap()
}

/// What the process may use at most between a sample and the read of its clock: on a crowded machine we
/// may wait for a CPU in between, and then do not know what it had used at the sample.
const SLACK_NS: u64 = 8_000_000;

/// Samples until the process has used so many seconds; the profile, the one of GIL holders from the
/// same samples, and what the process used.
fn record_cpu_time(target: &Target, pausing: Pausing, seconds: f64) -> (Profile, Profile, u64) {
    let pid = i32::try_from(target.pid()).unwrap();
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let all = ProfileOptions {
        weights: Weights::CPU_TIME,
        function_only: true,
        ..ProfileOptions::default()
    };
    let mut with_gil = Profile::new(ProfileOptions {
        selection: Selection {
            gil_only: true,
            ..Selection::default()
        },
        ..all.clone()
    });
    let mut profile = Profile::new(all);
    let mut add = |sampler: &Sampler, sample: &Sample| {
        for profile in [&mut profile, &mut with_gil] {
            profile.add(sample, sampler.frames(), &|_| None);
        }
    };
    let (mut sampler, first) = loop {
        let options = SamplerOptions {
            rate_hz: 200.0,
            capture: CaptureOptions {
                memory: false,
                pausing,
                time: Some(TimeWeight::Cpu),
                fresh_gil_state: true,
                ..CaptureOptions::default()
            },
            subprocesses: false,
            stop: Arc::clone(&stop),
            duration: None,
            secrets: Secrets::Hidden,
        };
        let mut sampler = Sampler::new(PythonProcess::attach(pid).unwrap(), options);
        let before = process_time(clock);
        // It weighs nothing: the kernel's counts begin to be compared with it.
        let sample = sampler.next().unwrap();
        let first = process_time(clock);
        if first - before <= SLACK_NS {
            add(&sampler, &sample);
            break (sampler, first);
        }
    };
    let mut last = first;
    while let Some(sample) = sampler.next() {
        let before = std::mem::replace(&mut last, process_time(clock));
        add(&sampler, &sample);
        let enough = (last - first) as f64 / 1e9 > seconds;
        stop.store(enough && last - before <= SLACK_NS, Ordering::SeqCst);
    }
    profile.finish();
    with_gil.finish();
    (profile, with_gil, last - first)
}

/// The nanoseconds of stacks whose leaf is in this function.
fn weight_in(profile: &Profile, function: &str) -> u64 {
    let stacks = profile.stacks();
    let is_leaf = |id| {
        let label = stacks.label(id).unwrap();
        profile.name(label) == function
    };
    let ids = stacks.ids().filter(|id| is_leaf(*id));
    ids.map(|id| stacks.weight(id)).sum()
}

fn sums_up(mode: &str, pausing: Pausing) {
    for_each_kind(&format!("cpu-{mode}-{pausing:?}"), |python| {
        let target = Target::start(python, "cpu_time.py", &[mode]);
        let (profile, with_gil, used) = record_cpu_time(&target, pausing, 0.8);
        let weight = profile.total_weight();
        let off = weight as f64 / used as f64 - 1.0;
        let in_work = weight_in(&profile, "work") as f64 / weight as f64;
        println!(
            "{}: {mode} {pausing:?}: {:+.2} % of {:.2} s, {:.1} % in work, {:.1} % with the GIL",
            python.version,
            off * 100.0,
            used as f64 / 1e9,
            in_work * 100.0,
            with_gil.total_weight() as f64 / weight as f64 * 100.0
        );
        assert!(off.abs() <= 0.02, "{weight} ns of {used}");
        // Falling asleep and waking up take some time too. A stack that is only read when it does not change
        // still is more often one that sleeps, so without pausing this is not promised.
        assert!(with_gil.total_weight() <= weight);
        assert!(in_work > 0.9 || pausing == Pausing::Never, "{in_work}");
    });
}

#[test]
fn cpu_time_of_busy_threads_sums_up() {
    sums_up("threads", Pausing::Running);
}

#[test]
fn cpu_time_of_threads_that_sleep_now_and_then_sums_up() {
    sums_up("duty", Pausing::Running);
}

#[test]
fn cpu_time_sums_up_without_pausing() {
    sums_up("duty", Pausing::Never);
}

/// The time on a CPU that the summary reports, in nanoseconds.
fn reported(recording: &Recording) -> f64 {
    let seconds = recording.summary["cpu_seconds"].as_f64();
    seconds.expect("CPU seconds") * 1e9
}

#[test]
fn every_format_weighs_nanoseconds() {
    let target = Target::start(python(), "cpu_time.py", &["duty"]);
    let record = |format: &str| {
        let options = ["-F", "--cpu", "-r", "200", "-d", "0.6", "-f", format];
        // A crowded machine may give the program no CPU for long.
        Recording::until(
            || Recording::of_pid(target.pid(), &options),
            |recording| reported(recording) >= 1e7,
        )
    };
    let raw = record("raw");
    let (_, sum) = raw.samples_with("");
    assert!((reported(&raw) - sum as f64).abs() <= 5e6, "{raw:#?}");
    // Some 70 % of 0.6 s, on a machine that has other things to do.
    assert!((10_000_000..2_000_000_000).contains(&sum), "{sum}");

    let speedscope = record("speedscope");
    let json: Value = serde_json::from_str(&speedscope.file).unwrap();
    let mut sum = 0;
    for profile in json["profiles"].as_array().unwrap() {
        assert_eq!(profile["unit"], "nanoseconds");
        let weights = profile["weights"].as_array().unwrap();
        assert_eq!(profile["samples"].as_array().unwrap().len(), weights.len());
        let own: u64 = weights.iter().map(|weight| weight.as_u64().unwrap()).sum();
        assert_eq!(profile["endValue"].as_u64().unwrap(), own);
        sum += own;
    }
    assert!((reported(&speedscope) - sum as f64).abs() <= 5e6, "{json}");

    let svg = record("flamegraph");
    assert!(svg.file.contains(" on CPU, 100%)"), "a unit");
    assert!(svg.file.contains(" on CPU · "), "a subtitle");

    let trace = record("chrometrace");
    let json: Value = serde_json::from_str(&trace.file).unwrap();
    assert!(json.as_array().unwrap().len() > 2);
}

#[test]
fn gil_idle_and_cpu_agree() {
    for_each_kind("cpu-options", |python| {
        // One thread spins and holds the GIL, three sleep all the time.
        let target = Target::start(python, "gil.py", &["3"]);
        let sum = |options: &[&str]| {
            let mut all = vec!["--cpu", "-F", "-f", "raw", "-r", "400", "-d", "0.25"];
            all.extend(options);
            // The first sample weighs nothing, and a crowded machine may give few.
            let recording = Recording::until(
                || Recording::of_pid(target.pid(), &all),
                |recording| recording.samples_with("").1 >= 1_000_000,
            );
            for stack in recording.stacks() {
                let leaf = stack.frames.last().unwrap();
                assert!(leaf.starts_with("spin ("), "{options:?}: {recording:#?}");
            }
            let (_, sum) = recording.samples_with("");
            // What waits is shown, but weighs nothing.
            (sum, recording.samples())
        };
        for options in [&[][..], &["-i"], &["-g"], &["-g", "-i"]] {
            let (sum, samples) = sum(options);
            // Not more than the time that there was.
            assert!(
                (1_000_000..1_500_000_000).contains(&sum),
                "{options:?}: {sum}"
            );
            assert!(samples > 0);
        }
    });
}

#[test]
fn a_program_that_sleeps_weighs_nothing_and_says_so() {
    let target = Target::start(python(), "threads.py", &["4"]);
    for (options, word) in [
        (&["-i", "--cpu"][..], "No time on a CPU was counted"),
        (&["--cpu"], "every thread was idle"),
    ] {
        for format in ["raw", "flamegraph", "speedscope", "chrometrace"] {
            let mut all = vec!["-d", "0.3", "-f", format];
            all.extend(options);
            let recording = Recording::of_pid(target.pid(), &all);
            assert!(recording.stderr.contains(word), "{}", recording.stderr);
            match format {
                "raw" => assert_eq!(recording.file, ""),
                "flamegraph" => assert!(recording.file.contains("No "), "{}", recording.file),
                _ => {
                    serde_json::from_str::<Value>(&recording.file).unwrap();
                }
            }
        }
    }
}

#[test]
fn collections_are_leaves_of_what_collects() {
    for_each_interpreter("record-gc", (3, 7).., |python| {
        let target = Target::start(python, "collecting.py", &[]);
        let record = |options: &[&str]| {
            let mut all = vec!["-F", "-f", "raw", "-r", "200"];
            all.extend(options);
            Recording::of_pid(target.pid(), &all)
        };
        let mut seconds = ["0.5"].into_iter();
        let recording = Recording::until(
            || record(&["--gc", "-d", seconds.next().unwrap_or("2")]),
            |recording| {
                let (collections, all) = recording.samples_with("<GC>");
                collections > 5 && all > 20
            },
        );
        let mut found = 0;
        for stack in recording.stacks() {
            let [.., caller, leaf] = &stack.frames[..] else {
                continue;
            };
            if leaf == "<GC>" {
                assert!(caller.starts_with("collects ("), "{recording:#?}");
                found += stack.count;
            }
        }
        assert!(found > 5, "{recording:#?}");
        assert!(recording.samples_with("spins (").0 > 0, "{recording:#?}");
        let without = record(&["-d", "0.3"]);
        assert_eq!(without.samples_with("<GC>").0, 0);
        assert!(
            !recording.stderr.contains("warning"),
            "{}",
            recording.stderr
        );
    });
}

#[test]
fn a_version_without_collections_is_reported_once() {
    for_each_interpreter("no-gc", ..(3, 7), |python| {
        let target = Target::start(python, "collecting.py", &[]);
        let options = ["--gc", "-f", "raw", "-d", "0.2"];
        let recording = Recording::of_pid(target.pid(), &options);
        let told = recording.stderr.matches("--gc shows nothing").count();
        assert_eq!(told, 1, "{}", recording.stderr);
        assert_eq!(recording.samples_with("<GC>").0, 0);
    });
}

#[test]
fn pauses_are_counted_and_ticks_that_are_missed() {
    let target = Target::start(python(), "gil.py", &["0"]);
    let record = |options: &[&str]| Recording::of_pid(target.pid(), options);
    let count = |times: &serde_json::Value| times["count"].as_u64().unwrap();
    let is_paused = |recording: &Recording| count(&recording.summary["pauses"]) > 0;
    // On a crowded machine the target may never be found running.
    let paused = Recording::until(|| record(&["-v", "-d", "0.3"]), is_paused);
    assert!(paused.stderr.contains("pauses"), "{}", paused.stderr);
    let quiet = record(&["-d", "0.3"]);
    assert!(!quiet.stderr.contains("pauses"), "{}", quiet.stderr);
    let fast = record(&["-r", "1000000", "-d", "0.3"]).summary;
    assert_eq!(fast["rate_hz"], 1_000_000);
    assert!(fast["missed_ticks"].as_u64().unwrap() > 0, "{fast}");
    assert_eq!(count(&fast["lateness"]), fast["ticks"].as_u64().unwrap());
}
