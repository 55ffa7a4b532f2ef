//! The attribution rule on made-up samples.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::BTreeMap;

use super::by_stack::{Attribution, ObservedGrowth, ThreadGrowth};
use super::*;
use crate::testing::{frames, thread};

const MIB: i64 = 1 << 20;
const PAGE: u64 = 4096;

/// What was attributed to which stack.
#[derive(Debug, Default)]
struct ByStack {
    attributed: BTreeMap<&'static str, Growth>,
    unseen: Growth,
    /// The last ends of a change that is unseen.
    unseen_ends: Option<(&'static str, &'static str)>,
    observed: BTreeMap<&'static str, ObservedGrowth>,
}

impl Attribution<&'static str> for ByStack {
    fn charge(&mut self, stack: &&'static str, bytes: i64) {
        self.attributed.entry(stack).or_default().count(bytes);
    }

    fn charge_unseen(&mut self, ends: Option<(&&'static str, &&'static str)>, bytes: i64) {
        self.unseen_ends = ends.map(|(before, now)| (*before, *now));
        self.unseen.count(bytes);
    }

    fn observe(&mut self, stack: &&'static str, observed: ObservedGrowth) {
        let known = self.observed.entry(stack).or_default();
        known.bytes += observed.bytes;
        known.for_ns += observed.for_ns;
    }

    fn observed(&self, stack: &&'static str) -> ObservedGrowth {
        self.observed.get(stack).copied().unwrap_or_default()
    }

    /// Such as `load:1` and `load:2`.
    fn are_same_functions(&self, a: &&'static str, b: &&'static str) -> bool {
        let function = |stack: &&'static str| stack.split_once(':').map(|(name, _)| name);
        function(a).is_some_and(|name| Some(name) == function(b))
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
        let attributed = self.attributed.values();
        attributed.map(|growth| growth.net_bytes()).sum::<i64>() + self.unseen.net_bytes()
    }
}

/// A thread and its attribution, with a sample of 20 µs every millisecond.
#[derive(Default)]
struct Samples {
    thread: ThreadGrowth<&'static str>,
    attribution: ByStack,
    /// The stack in the sample before, running or idle.
    last: Option<&'static str>,
    /// Time since the sample before, in nanoseconds, if it is not the usual.
    gap_ns: Option<u64>,
}

impl Samples {
    fn sample(&mut self, now: Option<&'static str>, between: i64, during_sample: i64) {
        self.sample_at(now.unwrap_or("idle"), now, between, during_sample);
    }

    /// A sample of a thread in the stack `at`, whether it runs or not.
    fn sample_at(
        &mut self,
        at: &'static str,
        now: Option<&'static str>,
        between: i64,
        during_sample: i64,
    ) {
        let change = RssChange {
            bytes: between + during_sample,
            during_sample,
            sample_ns: 20_000,
            gap_ns: self.gap_ns.unwrap_or(980_000),
            granularity: PAGE,
            other_faults: 0,
        };
        let delta = ThreadDelta {
            between,
            during_sample,
        };
        let ends = self.last.replace(at).map(|last| (last, at));
        self.thread
            .attribute(delta, &change, now, ends, &mut self.attribution);
    }

    fn running(&mut self, stack: &'static str, between: i64, during_sample: i64) {
        self.sample(Some(stack), between, during_sample);
    }

    fn idle(&mut self, between: i64) {
        self.sample(None, between, 0);
    }

    /// A sample of a thread in `frames`, whose stack is `stack`.
    fn trace(&mut self, trace: &StackTrace, gil_is_taken: bool, stack: &'static str, bytes: i64) {
        let is_running = self.thread.is_running(trace, gil_is_taken);
        self.sample_at(stack, is_running.then_some(stack), bytes, 0);
    }
}

#[test]
fn the_idle_stack_after_a_burst_gets_nothing() {
    let mut samples = Samples::default();
    samples.running("load", 0, MIB);
    samples.idle(5 * MIB);
    samples.idle(0);
    samples.running("load", MIB, 0);
    assert_eq!(samples.attribution.grown("load"), 7 << 20);
    assert_eq!(
        samples.attribution.attributed.len(),
        1,
        "{:?}",
        samples.attribution.attributed
    );
}

/// What grew between two idle samples went to the next running stack, or to one that had ended.
#[test]
fn growth_between_two_idle_samples_is_unseen() {
    let mut samples = Samples::default();
    samples.running("import", 0, 100 << 10);
    samples.running("import", 9 * MIB, 0);
    samples.idle(0);
    samples.idle(180 * MIB);
    samples.idle(-MIB);
    samples.running("handle", 0, 0);
    let ByStack {
        attributed, unseen, ..
    } = &samples.attribution;
    assert_eq!(attributed["import"].grown_bytes, (9 << 20) + (100 << 10));
    assert_eq!(
        attributed
            .get("handle")
            .map_or(0, |growth| growth.grown_bytes),
        0
    );
    assert_eq!(
        (unseen.grown_bytes, unseen.released_bytes),
        (180 << 20, 1 << 20)
    );
}

/// Stacks that grew earlier got what the ends of a change cannot have added.
#[test]
fn what_the_ends_cannot_have_added_is_unseen() {
    let mut samples = Samples::default();
    for _ in 0..500 {
        samples.running("import", MIB, 20 * 1024);
    }
    let before = samples.attribution.grown("import");
    for _ in 0..500 {
        samples.running("compute", 0, 0);
    }
    samples.running("compute", 3 * MIB, 0);
    assert_eq!(samples.attribution.grown("import"), before);
    assert!(samples.attribution.grown("compute") < 400 << 10);
    assert!(samples.attribution.unseen.grown_bytes > 2 << 20);
}

#[test]
fn what_grew_in_a_long_gap_or_while_the_thread_was_missing_is_unseen() {
    let second = Some(1_000_000_000);
    for (gap_ns, is_missing) in [(second, false), (None, true)] {
        let mut samples = Samples {
            gap_ns,
            ..Samples::default()
        };
        samples.running("import", 0, 0);
        if is_missing {
            samples.thread.interrupt();
            samples.last = None;
        }
        samples.running("serve", 180 * MIB, 0);
        assert_eq!(samples.attribution.unseen.grown_bytes, 180 << 20);
        // One stack at both ends has most likely run for all of the time.
        if is_missing {
            samples.thread.interrupt();
            samples.last = None;
        }
        samples.running("serve", MIB, 0);
        assert_eq!(samples.attribution.grown("serve"), 1 << 20);
    }
}

#[test]
fn a_change_over_samples_in_other_stacks_is_unseen() {
    let mut table = frames();
    let [a, b, c] = ["a", "b", "c"].map(|name| thread(1).gil().stack(&[table.id(name, 1)]));
    let mut samples = Samples::default();
    samples.trace(&a, false, "a", 0);
    // No change is reported of the second sample.
    assert!(samples.thread.is_running(&a, false));
    samples.thread.pass();
    samples.trace(&a, false, "a", MIB);
    assert_eq!(samples.attribution.grown("a"), 1 << 20);
    assert!(samples.thread.is_running(&b, false));
    samples.thread.pass();
    assert!(samples.thread.previous_frames().is_none());
    samples.trace(&c, false, "c", MIB);
    samples.trace(&c, false, "c", MIB);
    assert_eq!(samples.attribution.unseen.grown_bytes, 1 << 20);
    assert_eq!(samples.attribution.grown("c"), 1 << 20);
}

/// The sleep after a burst of a few microseconds got 61 to 97 % of the growth.
#[test]
fn a_thread_that_wakes_up_or_is_about_to_sleep_gets_nothing() {
    let f = frames().id("nap", 1);
    let asleep = thread(1).active(false).stack(&[f]);
    let awake = thread(1).gil().stack(&[f]);
    let mut samples = Samples::default();
    // The burst is before or after a sample that finds the thread in its sleep, but not asleep.
    samples.trace(&asleep, false, "nap", 0);
    samples.trace(&awake, false, "nap", MIB);
    samples.trace(&asleep, false, "nap", MIB);
    samples.trace(&asleep, false, "nap", MIB);
    // The first sample ever finds it about to sleep.
    let mut first = Samples::default();
    first.trace(&awake, false, "nap", 0);
    first.trace(&asleep, false, "nap", MIB);
    for (samples, mib) in [(&samples, 3), (&first, 1)] {
        assert_eq!(samples.attribution.grown("nap"), 0);
        assert_eq!(samples.attribution.unseen.grown_bytes, mib << 20);
    }
}

/// Threads that take turns with the GIL are idle in the stack that grows.
#[test]
fn a_thread_that_waited_for_the_gil_gets_what_it_adds() {
    let f = frames().id("grow", 1);
    let waiting = thread(1).active(false).stack(&[f]);
    let running = thread(1).gil().stack(&[f]);
    let mut samples = Samples::default();
    samples.trace(&waiting, true, "grow", 0);
    samples.trace(&running, false, "grow", MIB);
    samples.trace(&running, false, "grow", MIB);
    samples.trace(&waiting, true, "grow", MIB);
    assert_eq!(samples.attribution.grown("grow"), 3 << 20);
}

/// Each got half, though a third one may have run in between: of a web service's leak, the functions around it.
#[test]
fn two_stacks_that_were_never_observed_growing_get_nothing() {
    let mut samples = Samples::default();
    samples.running("parse", 0, 0);
    samples.running("render", 2 * MIB, 0);
    assert!(samples.attribution.grown("parse") + samples.attribution.grown("render") == 0);
    assert_eq!(samples.attribution.unseen.grown_bytes, 2 << 20);
    assert_eq!(samples.attribution.unseen_ends, Some(("parse", "render")));
    samples.idle(MIB);
    samples.running("parse", MIB, 0);
    assert_eq!(samples.attribution.unseen.grown_bytes, 4 << 20);
    assert_eq!(samples.attribution.unseen_ends, Some(("idle", "parse")));
    // A stack at both ends has most likely run for all of the time.
    samples.running("parse", MIB, 0);
    assert_eq!(samples.attribution.grown("parse"), 1 << 20);
}

/// A loop is hardly ever sampled twice in a row at one line.
#[test]
fn two_lines_of_one_function_need_not_have_been_observed_growing() {
    let mut samples = Samples::default();
    samples.running("shrink:25", 0, 0);
    samples.running("shrink:26", MIB, 0);
    assert_eq!(samples.attribution.unseen, Growth::default());
    assert_eq!(samples.attribution.net(), MIB);
    samples.running("decode:17", MIB, 0);
    assert_eq!(samples.attribution.unseen.grown_bytes, 1 << 20);
}

#[test]
fn stacks_that_were_observed_growing_share_by_their_rates() {
    let mut samples = Samples::default();
    for _ in 0..100 {
        samples.running("fast", 0, 30 << 10);
        samples.running("slow", 0, 10 << 10);
        samples.running("compute", 0, 0);
    }
    let grown = |samples: &Samples, stack| samples.attribution.grown(stack);
    let before = ["fast", "slow", "compute"].map(|stack| grown(&samples, stack));
    samples.running("fast", 4 << 10, 0);
    samples.running("slow", 4 << 10, 0);
    let after = ["fast", "slow", "compute"].map(|stack| grown(&samples, stack));
    let [fast, slow, compute] = [0, 1, 2].map(|at| after[at] - before[at]);
    assert!((6_500..7_500).contains(&fast), "{fast}");
    assert_eq!((fast + slow, compute), (8 << 10, 0));
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
            samples.sample(None, between, during_sample);
        } else {
            samples.running(stacks[(number(11) % 3) as usize], between, during_sample);
        }
    }
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
    assert!(!thread.is_running(&trace, false));
    trace.thread.active = true;
    assert!(!thread.is_running(&trace, false));
    trace.thread.owns_gil = true;
    assert!(!thread.is_running(&trace, false));
    // Unless no other stack is ever sampled.
    assert!((0..100).any(|_| thread.is_running(&trace, false)));
    trace.thread.active = false;
    assert!(!thread.is_running(&trace, true));
    trace.thread.active = true;
    assert!(thread.is_running(&trace, false));
}
