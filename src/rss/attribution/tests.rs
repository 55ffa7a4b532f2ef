//! The attribution rule on made-up samples.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::BTreeMap;

use super::by_stack::{Attribution, ObservedGrowth, ThreadAt, ThreadGrowth};
use super::*;
use crate::testing::{frames, thread};

const MIB: i64 = 1 << 20;
const PAGE: u64 = 4096;

/// What was attributed to which stack.
#[derive(Debug, Default)]
struct ByStack {
    attributed: BTreeMap<&'static str, Growth>,
    observed: BTreeMap<&'static str, ObservedGrowth>,
}

impl Attribution<&'static str> for ByStack {
    fn charge(&mut self, stack: &&'static str, bytes: i64) {
        self.attributed.entry(stack).or_default().count(bytes);
    }

    fn observe(&mut self, stack: &&'static str, observed: ObservedGrowth) {
        let known = self.observed.entry(stack).or_default();
        known.bytes += observed.bytes;
        known.for_ns += observed.for_ns;
    }

    fn observed(&self, stack: &&'static str) -> ObservedGrowth {
        self.observed.get(stack).copied().unwrap_or_default()
    }
}

impl ByStack {
    fn grown(&self, stack: &'static str) -> u64 {
        self.attributed
            .get(stack)
            .copied()
            .unwrap_or_default()
            .grown_bytes
    }

    fn net(&self) -> i64 {
        self.attributed
            .values()
            .map(|growth| growth.net_bytes())
            .sum()
    }
}

/// A thread and its attribution, with a sample of 20 µs every millisecond.
#[derive(Default)]
struct Samples {
    thread: ThreadGrowth<&'static str>,
    attribution: ByStack,
}

impl Samples {
    fn sample(&mut self, now: ThreadAt<&'static str>, between: i64, during_sample: i64) {
        let change = RssChange {
            bytes: between + during_sample,
            during_sample,
            sample_ns: 20_000,
            gap_ns: 980_000,
            granularity: PAGE,
            other_faults: 0,
        };
        let delta = ThreadDelta {
            between,
            during_sample,
        };
        self.thread
            .attribute(delta, &change, now, &mut self.attribution);
    }

    fn running(&mut self, stack: &'static str, between: i64, during_sample: i64) {
        self.sample(ThreadAt::Running(stack), between, during_sample);
    }

    fn idle(&mut self, between: i64) {
        self.sample(ThreadAt::Idle(Some("idle")), between, 0);
    }
}

#[test]
fn the_idle_stack_after_a_burst_gets_nothing() {
    let mut samples = Samples::default();
    samples.running("load", 0, 0);
    samples.idle(5 * MIB);
    samples.idle(0);
    samples.running("load", MIB, 0);
    assert_eq!(samples.attribution.grown("load"), 6 << 20);
    assert_eq!(
        samples.attribution.attributed.len(),
        1,
        "{:?}",
        samples.attribution.attributed
    );
}

#[test]
fn growth_without_a_stack_waits_for_the_next_running_one() {
    let mut samples = Samples::default();
    samples.idle(0);
    samples.idle(3 * MIB);
    samples.idle(-MIB);
    assert!(
        samples.attribution.attributed.is_empty(),
        "{:?}",
        samples.attribution.attributed
    );
    samples.running("handle", 0, 0);
    let attributed = samples.attribution.attributed["handle"];
    assert_eq!(
        (attributed.grown_bytes, attributed.released_bytes),
        (3 << 20, 1 << 20)
    );
}

#[test]
fn growth_of_a_thread_that_is_always_idle_goes_to_its_idle_stack() {
    let mut samples = Samples::default();
    samples.idle(MIB);
    samples.thread.settle(&mut samples.attribution);
    assert_eq!(samples.attribution.grown("idle"), 1 << 20);
}

#[test]
fn two_unknown_stacks_get_equal_shares() {
    let mut samples = Samples::default();
    samples.running("a", 0, 0);
    samples.running("b", 2 * MIB, 0);
    assert_eq!(samples.attribution.grown("a"), 1 << 20);
    assert_eq!(samples.attribution.grown("b"), 1 << 20);
}

#[test]
fn a_stack_often_sampled_without_growth_gets_little() {
    let mut samples = Samples::default();
    for _ in 0..500 {
        samples.running("load", MIB, 20 * 1024);
        samples.running("compute", 0, 0);
        samples.running("compute", 0, 0);
    }
    let before = samples.attribution.grown("compute");
    // A call of `load` between two samples.
    samples.running("compute", 3 * MIB, 0);
    let wrong = samples.attribution.grown("compute") - before;
    assert!(wrong < 400 << 10, "{wrong}");
    // Between samples of both, `load` gets the growth.
    let (load, compute) = (
        samples.attribution.grown("load"),
        samples.attribution.grown("compute"),
    );
    assert!(compute * 20 < load, "{compute} of {load}");
}

#[test]
fn a_new_stack_may_have_grown_at_once() {
    let mut samples = Samples::default();
    for _ in 0..100 {
        samples.running("old", MIB / 2, 20 * 1024);
    }
    samples.running("new", 0, 200 * 1024);
    samples.running("new", MIB, 0);
    let new = samples.attribution.grown("new");
    assert!(new > MIB as u64, "{new}");
}

#[test]
fn every_byte_is_attributed_once() {
    let mut samples = Samples::default();
    let mut sum = 0;
    let stacks = ["a", "b", "c"];
    for i in 0..5_000_u64 {
        let number = |salt: u64| {
            i.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(salt as u32)
        };
        let bytes = |salt| (number(salt) % 100_000) as i64 - 45_000;
        let (between, during_sample) = (bytes(7), bytes(29) / 50);
        sum += between + during_sample;
        if number(3).is_multiple_of(4) {
            samples.sample(ThreadAt::Idle(None), between, during_sample);
        } else {
            samples.running(stacks[(number(11) % 3) as usize], between, during_sample);
        }
    }
    samples.thread.settle(&mut samples.attribution);
    assert_eq!(samples.attribution.net(), sum);
}

fn threads(faults: &[(bool, Option<u64>)]) -> Vec<StackTrace> {
    let f = frames().id("f", 0);
    let trace = |(active, faults): &(bool, Option<u64>)| {
        thread(1).active(*active).faults(*faults).stack(&[f])
    };
    faults.iter().map(trace).collect()
}

fn shares(bytes: i64, other_faults: u64, threads: &[StackTrace]) -> (Vec<i64>, i64) {
    let change = RssChange {
        bytes,
        other_faults,
        ..RssChange::default()
    };
    let mut shares = Vec::new();
    let other = split(&change, threads, &mut shares);
    let shares: Vec<i64> = shares.iter().map(|share| share.between).collect();
    assert_eq!(shares.iter().sum::<i64>() + other, bytes);
    (shares, other)
}

#[test]
fn added_memory_is_shared_by_page_faults() {
    let faulting = threads(&[(true, Some(75)), (false, None), (false, Some(25))]);
    assert_eq!(shares(1_000, 0, &faulting), (vec![750, 0, 250], 0));
    assert_eq!(shares(1_001, 100, &faulting).1, 501);
    // None of these faulted: all of it is from outside the known threads.
    let without = threads(&[(true, Some(0)), (true, None)]);
    assert_eq!(shares(4_096, 0, &without), (vec![0, 0], 4_096));
    // Without fault counts, running threads share it.
    let uncounted = threads(&[(true, None), (false, None), (true, None)]);
    assert_eq!(shares(4_096, 0, &uncounted), (vec![2_048, 0, 2_048], 0));
}

#[test]
fn released_memory_is_shared_by_threads_that_ran() {
    let ran = threads(&[(true, Some(0)), (false, None), (false, Some(9))]);
    assert_eq!(shares(-300, 50, &ran), (vec![-200, 0, -100], 0));
    assert_eq!(shares(-300, 50, &threads(&[(false, None)])).1, -300);
}

#[test]
fn a_thread_that_has_just_woken_up_counts_as_idle() {
    let mut thread: ThreadGrowth<u32> = ThreadGrowth::default();
    let mut trace = threads(&[(false, None)]).remove(0);
    assert!(!thread.is_running(&trace));
    trace.thread.active = true;
    assert!(!thread.is_running(&trace));
    trace.thread.owns_gil = true;
    assert!(thread.is_running(&trace));
    // Unless no other stack is ever sampled.
    trace.thread.active = false;
    assert!(!thread.is_running(&trace));
    trace.thread.active = true;
    trace.thread.owns_gil = false;
    assert!((0..100).any(|_| thread.is_running(&trace)));
}
