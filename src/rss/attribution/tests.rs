//! The rule by which changes of resident memory are laid, on looks that are made up.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::BTreeMap;

use super::by_stack::{Attribution, ObservedGrowth, ThreadAt, ThreadGrowth};
use super::*;
use crate::cpython::code::frame_table::{Frame, FrameTable};

const MIB: i64 = 1 << 20;
const PAGE: u64 = 4096;

/// What was laid where.
#[derive(Debug, Default)]
struct Book {
    laid: BTreeMap<&'static str, Growth>,
    observed: BTreeMap<&'static str, ObservedGrowth>,
}

impl Attribution<&'static str> for Book {
    fn charge(&mut self, stack: &&'static str, bytes: i64) {
        self.laid.entry(stack).or_default().count(bytes);
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

impl Book {
    fn grown(&self, stack: &'static str) -> u64 {
        self.laid
            .get(stack)
            .copied()
            .unwrap_or_default()
            .grown_bytes
    }

    fn net(&self) -> i64 {
        self.laid.values().map(|growth| growth.net_bytes()).sum()
    }
}

/// A thread and its book, a look every millisecond that takes 20 µs.
#[derive(Default)]
struct Looks {
    thread: ThreadGrowth<&'static str>,
    book: Book,
}

impl Looks {
    fn look(&mut self, now: ThreadAt<&'static str>, between: i64, during_sample: i64) {
        let change = RssChange {
            bytes: between + during_sample,
            during_sample,
            sample_ns: 20_000,
            gap_ns: 980_000,
            granularity: PAGE,
            other_faults: 0,
        };
        let share = ThreadDelta {
            between,
            during_sample,
        };
        self.thread.look(share, &change, now, &mut self.book);
    }

    fn works(&mut self, stack: &'static str, between: i64, during_sample: i64) {
        self.look(ThreadAt::Running(stack), between, during_sample);
    }

    fn sleeps(&mut self, between: i64) {
        self.look(ThreadAt::Idle(Some("sleep")), between, 0);
    }
}

#[test]
fn the_sleep_after_a_burst_gets_nothing() {
    let mut looks = Looks::default();
    looks.works("load", 0, 0);
    looks.sleeps(5 * MIB);
    looks.sleeps(0);
    looks.works("load", MIB, 0);
    assert_eq!(looks.book.grown("load"), 6 << 20);
    assert_eq!(looks.book.laid.len(), 1, "{:?}", looks.book.laid);
}

#[test]
fn what_nobody_saw_waits_for_the_next_stack_at_work() {
    let mut looks = Looks::default();
    looks.sleeps(0);
    looks.sleeps(3 * MIB);
    looks.sleeps(-MIB);
    assert!(looks.book.laid.is_empty(), "{:?}", looks.book.laid);
    looks.works("handle", 0, 0);
    let laid = looks.book.laid["handle"];
    assert_eq!((laid.grown_bytes, laid.released_bytes), (3 << 20, 1 << 20));
}

#[test]
fn a_thread_that_is_never_seen_at_work_keeps_its_own() {
    let mut looks = Looks::default();
    looks.sleeps(MIB);
    looks.thread.settle(&mut looks.book);
    assert_eq!(looks.book.grown("sleep"), 1 << 20);
}

#[test]
fn two_stacks_that_nothing_is_known_of_share() {
    let mut looks = Looks::default();
    looks.works("a", 0, 0);
    looks.works("b", 2 * MIB, 0);
    assert_eq!(looks.book.grown("a"), 1 << 20);
    assert_eq!(looks.book.grown("b"), 1 << 20);
}

#[test]
fn who_was_often_looked_at_and_never_grew_does_not_begin_to() {
    let mut looks = Looks::default();
    for _ in 0..500 {
        looks.works("load", MIB, 20 * 1024);
        looks.works("compute", 0, 0);
        looks.works("compute", 0, 0);
    }
    let before = looks.book.grown("compute");
    // A call of `load` that no look has met.
    looks.works("compute", 3 * MIB, 0);
    let wrong = looks.book.grown("compute") - before;
    assert!(wrong < 400 << 10, "{wrong}");
    // And where two looks meet, it is not the one that computes.
    let (load, compute) = (looks.book.grown("load"), looks.book.grown("compute"));
    assert!(compute * 20 < load, "{compute} of {load}");
}

#[test]
fn a_stack_that_was_not_seen_before_may_have_grown_at_once() {
    let mut looks = Looks::default();
    for _ in 0..100 {
        looks.works("old", MIB / 2, 20 * 1024);
    }
    looks.works("new", 0, 200 * 1024);
    looks.works("new", MIB, 0);
    let new = looks.book.grown("new");
    assert!(new > MIB as u64, "{new}");
}

#[test]
fn every_byte_is_laid_once() {
    let mut looks = Looks::default();
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
            looks.look(ThreadAt::Idle(None), between, during_sample);
        } else {
            looks.works(stacks[(number(11) % 3) as usize], between, during_sample);
        }
    }
    looks.thread.settle(&mut looks.book);
    assert_eq!(looks.book.net(), sum);
}

fn threads(faults: &[(bool, Option<u64>)]) -> Vec<StackTrace> {
    let trace = |(active, faults): &(bool, Option<u64>)| StackTrace {
        thread: ThreadInfo {
            os_thread_id: None,
            pthread_id: 1,
            name: None,
            interpreter_ids: vec![0],
            active: *active,
            owns_gil: false,
            collecting: false,
            waits_for_cpu: false,
            is_main: false,
            cpu_ns: None,
            faults: *faults,
        },
        frames: [FrameTable::default().intern(frame())].into(),
    };
    faults.iter().map(trace).collect()
}

fn frame() -> Frame {
    Frame {
        name: "f".into(),
        filename: "f.py".into(),
        short_filename: "f.py".into(),
        line: None,
        first_line: 1,
        columns: None,
    }
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
fn page_faults_tell_threads_apart() {
    let faulting = threads(&[(true, Some(75)), (false, None), (false, Some(25))]);
    assert_eq!(shares(1_000, 0, &faulting), (vec![750, 0, 250], 0));
    assert_eq!(shares(1_001, 100, &faulting).1, 501);
    // Nobody of these: all of it is somebody else's.
    let without = threads(&[(true, Some(0)), (true, None)]);
    assert_eq!(shares(4_096, 0, &without), (vec![0, 0], 4_096));
    // Where the kernel tells nothing, it was who runs.
    let untold = threads(&[(true, None), (false, None), (true, None)]);
    assert_eq!(shares(4_096, 0, &untold), (vec![2_048, 0, 2_048], 0));
}

#[test]
fn what_is_given_back_is_shared_by_who_ran() {
    let ran = threads(&[(true, Some(0)), (false, None), (false, Some(9))]);
    assert_eq!(shares(-300, 50, &ran), (vec![-200, 0, -100], 0));
    assert_eq!(shares(-300, 50, &threads(&[(false, None)])).1, -300);
}

#[test]
fn who_has_just_woken_up_is_asleep_still() {
    let mut thread: ThreadGrowth<u32> = ThreadGrowth::default();
    let mut trace = threads(&[(false, None)]).remove(0);
    assert!(!thread.is_at_work(&trace));
    trace.thread.active = true;
    assert!(!thread.is_at_work(&trace));
    trace.thread.owns_gil = true;
    assert!(thread.is_at_work(&trace));
    // Unless it is never found anywhere else.
    trace.thread.active = false;
    assert!(!thread.is_at_work(&trace));
    trace.thread.active = true;
    trace.thread.owns_gil = false;
    assert!((0..100).any(|_| thread.is_at_work(&trace)));
}
