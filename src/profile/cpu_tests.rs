//! Which stack gets a thread's time on a CPU.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::cpython::code::frame_table::{Frame, FrameId, FrameTable};
use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::sampler::sample::{ProcessSample, Sample};

/// What one tick saw of one thread: thread, function, and what it did.
#[derive(Clone, Copy)]
struct Seen {
    tid: i32,
    function: &'static str,
    active: bool,
    waits: bool,
    owns_gil: bool,
    cpu_ns: Option<u64>,
    collecting: bool,
}

/// On a CPU without the GIL.
fn runs(tid: i32, function: &'static str, cpu_ns: u64) -> Seen {
    Seen {
        tid,
        function,
        active: true,
        waits: false,
        owns_gil: false,
        cpu_ns: Some(cpu_ns),
        collecting: false,
    }
}

fn sleeps(tid: i32, function: &'static str, cpu_ns: u64) -> Seen {
    Seen {
        active: false,
        ..runs(tid, function, cpu_ns)
    }
}

fn holds(seen: Seen) -> Seen {
    Seen {
        owns_gil: true,
        ..seen
    }
}

fn profile(options: ProfileOptions, ticks: &[&[Seen]]) -> Profile {
    let mut frames = FrameTable::default();
    let mut intern = |name: &str| -> Vec<FrameId> {
        let frame = Frame {
            name: Arc::from(name),
            filename: Arc::from("app.py"),
            short_filename: Arc::from("app.py"),
            line: None,
            first_line: 1,
            columns: None,
        };
        // Without a name: a thread that runs no Python.
        if name.is_empty() {
            Vec::new()
        } else {
            vec![frames.intern(frame)]
        }
    };
    let mut samples = Vec::new();
    for (tick, threads) in ticks.iter().enumerate() {
        let trace = |seen: &Seen| StackTrace {
            thread: ThreadInfo {
                os_thread_id: Some(seen.tid),
                pthread_id: 1,
                name: None,
                interpreter_ids: vec![0],
                active: seen.active,
                owns_gil: seen.owns_gil,
                collecting: seen.collecting,
                waits_for_cpu: seen.waits,
                is_main: false,
                cpu_ns: seen.cpu_ns,
                faults: None,
            },
            frames: intern(seen.function).into(),
        };
        samples.push(Sample {
            elapsed: Duration::from_millis(10 * tick as u64),
            processes: vec![ProcessSample {
                pid: 1,
                traces: threads.iter().map(trace).collect(),
                rss_bytes: None,
                rss_change: None,
            }],
            ..Sample::default()
        });
    }
    let mut profile = Profile::new(options);
    for sample in &samples {
        profile.add(sample, &frames, &|_| None);
    }
    profile.finish();
    profile
}

fn cpu() -> ProfileOptions {
    ProfileOptions {
        cpu_time: true,
        timeline: true,
        ..ProfileOptions::default()
    }
}

/// Nanoseconds by function, of stacks that weigh something; the sums agree.
fn weights(profile: &Profile) -> BTreeMap<String, u64> {
    let stacks = profile.stacks();
    let weighty = stacks.ids().filter(|id| stacks.weight(*id) > 0);
    let weights: BTreeMap<String, u64> = weighty
        .map(|id| {
            let path = stacks.path(id).into_iter();
            let names: Vec<_> = path.map(|label| profile.name(label).into_owned()).collect();
            (names.join(";"), stacks.weight(id))
        })
        .collect();
    let sum: u64 = weights.values().sum();
    assert_eq!(sum, profile.total_weight());
    if profile.options().timeline && profile.threads().too_many().is_none() {
        let ids = profile.threads().ids();
        let slices = ids.flat_map(|id| profile.slices(id).collect::<Vec<_>>());
        assert_eq!(slices.map(|slice| slice.cpu_ns).sum::<u64>(), sum);
    }
    weights
}

fn expect(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let pairs = pairs.iter().map(|(name, ns)| ((*name).to_owned(), *ns));
    pairs.collect()
}

#[test]
fn a_running_thread_takes_its_time_at_once() {
    let first = Seen {
        cpu_ns: None,
        ..runs(1, "f", 0)
    };
    let all = profile(
        cpu(),
        &[
            &[first],
            &[runs(1, "f", 7)],
            &[runs(1, "g", 5)],
            &[runs(1, "g", 4)],
        ],
    );
    assert_eq!(weights(&all), expect(&[("f", 7), ("g", 9)]));
    assert_eq!((all.counts().samples, all.counts().without_time), (4, 1));
}

#[test]
fn time_before_a_sleep_is_not_the_sleeps() {
    let ticks: [&[Seen]; 4] = [
        &[runs(1, "work", 0)],
        &[sleeps(1, "sleep", 30)],
        &[sleeps(1, "sleep", 0)],
        &[runs(1, "work", 5)],
    ];
    for include_idle in [false, true] {
        let options = ProfileOptions {
            include_idle,
            ..cpu()
        };
        let all = profile(options, &ticks);
        assert_eq!(weights(&all), expect(&[("work", 35)]));
        // They are shown, though they weigh nothing.
        assert_eq!(all.counts().samples, if include_idle { 4 } else { 2 });
    }
}

#[test]
fn a_thread_that_has_just_woken_up_is_not_on_a_cpu() {
    let woken = Seen {
        waits: true,
        ..runs(1, "sleep", 0)
    };
    let ticks: [&[Seen]; 4] = [
        &[runs(1, "work", 1)],
        &[sleeps(1, "sleep", 30)],
        &[woken],
        &[runs(1, "work", 5)],
    ];
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("work", 36)]));
    // Unless that is all that we ever see of it.
    let woken = [woken];
    let many = [&woken[..]; 31];
    let all = profile(cpu(), &[&ticks[..2], &many].concat());
    assert_eq!(weights(&all), expect(&[("work", 1), ("sleep", 30)]));
}

#[test]
fn a_thread_that_was_interrupted_with_the_gil_is_at_work() {
    let interrupted = |ns| Seen {
        waits: true,
        ..holds(runs(1, "work", ns))
    };
    let ticks: [&[Seen]; 3] = [
        &[interrupted(1)],
        &[sleeps(1, "sleep", 30)],
        &[interrupted(4)],
    ];
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("work", 35)]));
}

#[test]
fn the_last_stack_on_a_cpu_inherits() {
    let all = profile(
        cpu(),
        &[
            &[runs(1, "work", 10), runs(2, "other", 1)],
            &[sleeps(1, "sleep", 3), runs(2, "other", 1)],
            &[runs(2, "later", 1)],
        ],
    );
    assert_eq!(
        weights(&all),
        expect(&[("work", 13), ("other", 2), ("later", 1)])
    );
}

#[test]
fn the_stack_of_a_thread_that_never_ran_inherits_its_wake_ups() {
    let ticks: [&[Seen]; 2] = [&[sleeps(1, "poll", 3)], &[sleeps(1, "select", 4)]];
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("select", 7)]));
    assert_eq!(all.counts().samples, 0);
    // Not where a stack without the GIL does not count.
    let gil = ProfileOptions {
        gil_only: true,
        ..cpu()
    };
    assert_eq!(weights(&profile(gil, &ticks)), expect(&[]));
}

#[test]
fn threads_that_have_ended_are_settled_while_the_recording_goes_on() {
    let mut ticks: Vec<Vec<Seen>> = vec![vec![runs(1, "work", 10)], vec![sleeps(1, "sleep", 3)]];
    ticks.extend((0..3_000).map(|_| vec![runs(2, "other", 1)]));
    let ticks: Vec<&[Seen]> = ticks.iter().map(Vec::as_slice).collect();
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("work", 13), ("other", 3_000)]));
}

#[test]
fn a_sample_without_the_gil_is_left_out_with_its_time() {
    let ticks: [&[Seen]; 5] = [
        &[holds(runs(1, "f", 10))],
        &[runs(1, "f", 20)],
        &[holds(sleeps(1, "wait", 5))],
        &[holds(runs(1, "g", 30))],
        &[sleeps(1, "wait", 40)],
    ];
    let gil = |include_idle| ProfileOptions {
        gil_only: true,
        include_idle,
        ..cpu()
    };
    for include_idle in [false, true] {
        let all = profile(gil(include_idle), &ticks);
        // The 20 went without the GIL; the 5 and the 40 were before and after g.
        assert_eq!(weights(&all), expect(&[("f", 10), ("g", 75)]));
        assert_eq!(all.counts().without_gil, if include_idle { 2 } else { 1 });
    }
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("f", 30), ("g", 75)]));
    // What comes after a sample without the GIL is left out as that one was.
    let late: [&[Seen]; 3] = [
        &[holds(runs(1, "f", 1))],
        &[runs(1, "f", 1)],
        &[sleeps(1, "wait", 9)],
    ];
    assert_eq!(weights(&profile(gil(false), &late)), expect(&[("f", 1)]));
}

#[test]
fn time_without_python_is_no_stacks() {
    let ticks: [&[Seen]; 3] = [&[runs(1, "f", 1)], &[runs(1, "", 100)], &[runs(1, "f", 2)]];
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("f", 3)]));
    assert_eq!(all.counts().without_python, 1);
}

#[test]
fn a_collection_is_a_leaf_where_it_is_asked_for() {
    let collects = Seen {
        collecting: true,
        ..runs(1, "f", 4)
    };
    let ticks: [&[Seen]; 2] = [&[collects], &[runs(1, "f", 2)]];
    let with = |show_collections| ProfileOptions {
        show_collections,
        ..cpu()
    };
    let shown = profile(with(true), &ticks);
    assert_eq!(weights(&shown), expect(&[("f;<GC>", 4), ("f", 2)]));
    assert_eq!(weights(&profile(with(false), &ticks)), expect(&[("f", 6)]));
    let label = shown.labels().ids().find(|id| shown.name(*id) == "<GC>");
    assert_eq!(shown.text(label.unwrap()), "<GC>");
}
