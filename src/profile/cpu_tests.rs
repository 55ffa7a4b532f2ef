//! Attribution of CPU time to stacks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::BTreeMap;

use super::*;
use crate::profile::options::{Selection, TimeWeight, Weights};
use crate::testing::{ThreadBuilder, frames, sample, thread};

/// One thread in one tick.
#[derive(Clone)]
struct Seen {
    thread: ThreadBuilder,
    /// Empty for a thread that runs no Python.
    function: &'static str,
}

/// On a CPU without the GIL.
fn runs(tid: i32, function: &'static str, time_ns: u64) -> Seen {
    Seen {
        thread: thread(tid).time_ns(time_ns),
        function,
    }
}

fn idles(tid: i32, function: &'static str, time_ns: u64) -> Seen {
    Seen {
        thread: thread(tid).time_ns(time_ns).idle(),
        function,
    }
}

fn holds(seen: Seen) -> Seen {
    Seen {
        thread: seen.thread.gil(),
        ..seen
    }
}

fn waits(seen: Seen) -> Seen {
    Seen {
        thread: seen.thread.waits_for_cpu(),
        ..seen
    }
}

fn profile(options: ProfileOptions, ticks: &[&[Seen]]) -> Profile {
    let mut frames = frames();
    let mut samples = Vec::new();
    for (tick, threads) in (0..).zip(ticks) {
        let traces = threads.iter().map(|seen| {
            let frame = (!seen.function.is_empty()).then(|| frames.id(seen.function, 0));
            seen.thread.clone().stack(frame.as_slice())
        });
        samples.push(sample(10 * tick, traces.collect()));
    }
    let mut profile = Profile::new(options);
    for sample in &samples {
        profile.add(sample, &frames.table, &|_| None);
    }
    profile.finish();
    profile
}

fn cpu() -> ProfileOptions {
    ProfileOptions {
        weights: Weights::CPU_TIME,
        timeline: true,
        ..ProfileOptions::default()
    }
}

/// Nanoseconds by function, of stacks with a weight; the sums agree.
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
        assert_eq!(slices.map(|slice| slice.time_ns).sum::<u64>(), sum);
    }
    weights
}

fn expect(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let pairs = pairs.iter().map(|(name, ns)| ((*name).to_owned(), *ns));
    pairs.collect()
}

#[test]
fn time_of_a_running_thread_is_attributed_at_once() {
    let first = Seen {
        thread: thread(1),
        function: "f",
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
fn time_before_a_sleep_is_not_attributed_to_the_idle_stack() {
    let ticks: [&[Seen]; 4] = [
        &[runs(1, "work", 0)],
        &[idles(1, "sleep", 30)],
        &[idles(1, "sleep", 0)],
        &[runs(1, "work", 5)],
    ];
    for include_idle in [false, true] {
        let options = ProfileOptions {
            selection: Selection {
                idle: include_idle,
                ..Selection::default()
            },
            ..cpu()
        };
        let all = profile(options, &ticks);
        assert_eq!(weights(&all), expect(&[("work", 35)]));
        // Idle stacks are counted with a weight of 0.
        assert_eq!(all.counts().samples, if include_idle { 4 } else { 2 });
    }
}

#[test]
fn a_thread_that_has_just_woken_up_is_not_on_a_cpu() {
    let woken = [waits(runs(1, "sleep", 0))];
    let ticks: [&[Seen]; 4] = [
        &[runs(1, "work", 1)],
        &[idles(1, "sleep", 30)],
        &woken,
        &[runs(1, "work", 5)],
    ];
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("work", 36)]));
    // Unless no other stack is ever sampled.
    let many = [&woken[..]; 31];
    let all = profile(cpu(), &[&ticks[..2], &many].concat());
    assert_eq!(weights(&all), expect(&[("work", 1), ("sleep", 30)]));
}

#[test]
fn a_thread_that_was_preempted_with_the_gil_is_running() {
    let preempted = |ns| waits(holds(runs(1, "work", ns)));
    let ticks: [&[Seen]; 3] = [&[preempted(1)], &[idles(1, "sleep", 30)], &[preempted(4)]];
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("work", 35)]));
}

#[test]
fn deferred_time_goes_to_the_last_stack_on_a_cpu() {
    let all = profile(
        cpu(),
        &[
            &[runs(1, "work", 10), runs(2, "other", 1)],
            &[idles(1, "sleep", 3), runs(2, "other", 1)],
            &[runs(2, "later", 1)],
        ],
    );
    assert_eq!(
        weights(&all),
        expect(&[("work", 13), ("other", 2), ("later", 1)])
    );
}

#[test]
fn deferred_time_of_a_thread_that_never_ran_goes_to_its_idle_stack() {
    let ticks: [&[Seen]; 2] = [&[idles(1, "poll", 3)], &[idles(1, "select", 4)]];
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("select", 7)]));
    assert_eq!(all.counts().samples, 0);
    // Not if stacks without the GIL do not count.
    let gil = ProfileOptions {
        selection: Selection {
            gil_only: true,
            ..Selection::default()
        },
        ..cpu()
    };
    assert_eq!(weights(&profile(gil, &ticks)), expect(&[]));
}

#[test]
fn threads_that_have_exited_are_settled_during_the_recording() {
    let mut ticks: Vec<Vec<Seen>> = vec![vec![runs(1, "work", 10)], vec![idles(1, "sleep", 3)]];
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
        &[holds(idles(1, "wait", 5))],
        &[holds(runs(1, "g", 30))],
        &[idles(1, "wait", 40)],
    ];
    let gil = |include_idle| ProfileOptions {
        selection: Selection {
            gil_only: true,
            idle: include_idle,
            ..Selection::default()
        },
        ..cpu()
    };
    for include_idle in [false, true] {
        let all = profile(gil(include_idle), &ticks);
        // The 20 ns were without the GIL; the 5 and the 40 ns before and after g.
        assert_eq!(weights(&all), expect(&[("f", 10), ("g", 75)]));
        assert_eq!(all.counts().without_gil, if include_idle { 2 } else { 1 });
    }
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("f", 30), ("g", 75)]));
    // Time after a sample without the GIL is left out as the sample is.
    let late: [&[Seen]; 3] = [
        &[holds(runs(1, "f", 1))],
        &[runs(1, "f", 1)],
        &[idles(1, "wait", 9)],
    ];
    assert_eq!(weights(&profile(gil(false), &late)), expect(&[("f", 1)]));
}

#[test]
fn time_without_python_is_left_out() {
    let ticks: [&[Seen]; 3] = [&[runs(1, "f", 1)], &[runs(1, "", 100)], &[runs(1, "f", 2)]];
    let all = profile(cpu(), &ticks);
    assert_eq!(weights(&all), expect(&[("f", 3)]));
    assert_eq!(all.counts().without_python, 1);
}

#[test]
fn a_collection_is_a_leaf_on_request() {
    let collects = Seen {
        thread: thread(1).time_ns(4).collecting(),
        function: "f",
    };
    let ticks: [&[Seen]; 2] = [&[collects], &[runs(1, "f", 2)]];
    let with = |show_collections| ProfileOptions {
        selection: Selection {
            collections: show_collections,
            ..Selection::default()
        },
        ..cpu()
    };
    let shown = profile(with(true), &ticks);
    assert_eq!(weights(&shown), expect(&[("f;<GC>", 4), ("f", 2)]));
    assert_eq!(weights(&profile(with(false), &ticks)), expect(&[("f", 6)]));
    let label = shown.labels().ids().find(|id| shown.name(*id) == "<GC>");
    assert_eq!(shown.text(label.unwrap()), "<GC>");
}

/// Time in which a thread waits is of the stack in which it does.
#[test]
fn wall_clock_time_of_idle_stacks_is_theirs() {
    let options = ProfileOptions {
        weights: Weights {
            time: Some(TimeWeight::Wall),
            rss: false,
        },
        selection: Selection {
            idle: true,
            ..Selection::default()
        },
        ..cpu()
    };
    let ticks: [&[Seen]; 2] = [
        &[runs(1, "work", 10), waits(runs(2, "ready", 4))],
        &[idles(1, "sleep", 30), idles(2, "sleep", 6)],
    ];
    let profile = profile(options, &ticks);
    let expected = expect(&[("ready", 4), ("sleep", 36), ("work", 10)]);
    assert_eq!(weights(&profile), expected);
}
