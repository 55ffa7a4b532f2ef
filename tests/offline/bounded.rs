//! A program that makes code, stacks, threads and processes without end must not make us grow without
//! end, and what is folded must be named so and be in the right place.

use std::sync::Arc;

use pyspy_rs::internals::{Label, LabelTable, StackId, StackTable, StringTable, TOO_MANY};
use pyspy_rs::{
    Frame, FrameId, FrameTable, Pid, ProcessLabel, Profile, ProfileOptions, Sample, StackTrace,
    Weights,
};

use crate::testing::{process, sample_of, thread};

fn frame(name: &str, line: usize) -> Frame {
    crate::testing::frame(name, u32::try_from(line).unwrap())
}

/// Interns frames until one is folded; how many were not.
fn fill(table: &mut FrameTable, mut make: impl FnMut(usize) -> Frame) -> usize {
    (0..10_000_000)
        .find(|n| {
            table.intern(make(*n));
            table.folded().is_some()
        })
        .expect("it is never full")
}

#[test]
fn frames_without_end_become_one() {
    let mut table = FrameTable::default();
    let early = table.intern(frame("early", 1));
    let kept = fill(&mut table, |line| frame("f", line));
    assert!((100_000..400_000).contains(&kept), "{kept}");
    let folded = table.folded().unwrap();
    assert_eq!(&*table.get(folded).unwrap().name, TOO_MANY);
    let full = table.len();
    for line in kept..kept + 1_000 {
        assert_eq!(table.intern(frame("f", line)), folded);
    }
    assert_eq!(table.len(), full);
    // What is known stays itself, and a function of the program with that name is not taken for ours.
    assert_eq!(table.intern(frame("early", 1)), early);
    let mut fresh = FrameTable::default();
    fresh.intern(frame(TOO_MANY, 1));
    assert_eq!(fresh.folded(), None);
}

#[test]
fn long_names_fill_the_frame_table_too() {
    let mut table = FrameTable::default();
    let name = "x".repeat(1 << 20);
    let kept = fill(&mut table, |line| frame(&name, line));
    assert!((10..100).contains(&kept), "{kept}");
}

#[test]
fn texts_that_are_known_are_found_when_the_table_is_full() {
    let mut table = StringTable::default();
    let long = |n: usize| format!("{n:0990}");
    let fits = (0..100_000)
        .find(|n| table.intern(&long(*n)).is_none())
        .expect("it is never full");
    assert!(fits > 10_000, "{fits}");
    let known = table.intern(&long(7)).expect("it is known");
    assert_eq!(table.get(known), long(7));
}

#[test]
fn a_full_tree_knows_what_it_knew_and_folds_the_rest() {
    let mut labels = LabelTable::default();
    let mut strings = StringTable::default();
    let [module, run] =
        ["module", "run"].map(|name| labels.intern(Label::Process(strings.intern(name).unwrap())));
    let too_many = labels.intern(Label::TooMany);
    let mut tree = StackTable::default();
    let below = tree.child(StackId::ROOT, module).unwrap();
    let known = tree.child(below, run).unwrap();
    let mut deepest = known;
    while let Some(child) = tree.child(deepest, run) {
        deepest = child;
    }
    let full = tree.len();
    assert!(full < 1_000_000, "{full}");
    assert_eq!(tree.child(below, run), Some(known));
    assert_eq!(tree.child(known, module), None);
    let folded = tree.folded(known, too_many);
    assert_eq!(tree.path(folded), [module, run, too_many]);
    assert_eq!(tree.folded(known, too_many), folded);
    assert_eq!(tree.folded(folded, too_many), folded);
    assert_eq!(tree.len(), full + 1);
}

fn trace(tid: i32, root_first: &[FrameId]) -> StackTrace {
    thread(tid)
        .gil()
        .named(&format!("request-{tid}"))
        .time_ns(10)
        .stack(root_first)
}

fn sample(tick: usize, pid: Pid, traces: Vec<StackTrace>) -> Sample {
    sample_of(10 * tick as u64, vec![process(pid, traces)])
}

/// The weight of all stacks that have this text in them, and of all.
fn weight_of(profile: &Profile, part: &str) -> (u64, u64) {
    let stacks = profile.stacks();
    let has = |id: &StackId| {
        let path = stacks.path(*id);
        path.iter().any(|label| profile.text(*label).contains(part))
    };
    let sum = |ids: &mut dyn Iterator<Item = StackId>| ids.map(|id| stacks.weight(id)).sum();
    (sum(&mut stacks.ids().filter(has)), sum(&mut stacks.ids()))
}

#[test]
fn code_without_end_is_folded_below_its_caller() {
    const TICKS: usize = 600_000;
    let mut frames = FrameTable::default();
    let main = frames.intern(frame("main", 1));
    let after = frames.intern(frame("after", 1));
    let mut profile = Profile::new(ProfileOptions::default());
    for tick in 0..TICKS {
        // Each code object runs once, and calls something that is known.
        let made = frames.intern(frame("made", tick));
        let tick = sample(tick, 1, vec![trace(1, &[main, made, after])]);
        profile.add(&tick, &frames, &|_| None);
    }
    profile.finish();
    let (folded, all) = weight_of(&profile, TOO_MANY);
    assert_eq!(all, TICKS as u64);
    assert_eq!(weight_of(&profile, "main (app.py:1)").0, all);
    let (made, _) = weight_of(&profile, "made (");
    assert_eq!(made + folded, all);
    assert!(made > 100_000 && folded > 100_000, "{made} {folded}");
    let share = profile.folded_share().unwrap();
    assert!((share - folded as f64 / all as f64).abs() < 1e-9, "{share}");
    assert!(profile.stacks().len() <= 900_000);
}

#[test]
fn threads_without_end_are_one_thread_at_last() {
    const TICKS: usize = 150_000;
    let mut frames = FrameTable::default();
    let main = frames.intern(frame("main", 1));
    let mut profile = Profile::new(ProfileOptions {
        show_threads: true,
        timeline: true,
        weights: Weights::CPU_TIME,
        ..ProfileOptions::default()
    });
    for tick in 0..TICKS {
        let tid = i32::try_from(tick).unwrap();
        profile.add(
            &sample(tick, 1, vec![trace(tid, &[main])]),
            &frames,
            &|_| None,
        );
    }
    profile.finish();
    let kept = profile.threads().ids().count();
    assert!((10_000..=100_001).contains(&kept), "{kept}");
    let many = profile.threads().too_many().expect("it is full");
    assert_eq!(profile.slices(many).count(), 0);
    let (named, all) = weight_of(&profile, "request-");
    assert_eq!(all, 10 * TICKS as u64);
    assert_eq!(weight_of(&profile, TOO_MANY).0, all - named);
    assert_eq!(weight_of(&profile, "main (").0, all);
}

#[test]
fn threads_are_not_stored_unless_they_are_shown() {
    let mut frames = FrameTable::default();
    let main = frames.intern(frame("main", 1));
    let mut profile = Profile::new(ProfileOptions::default());
    for tick in 0..150_000 {
        let tid = i32::try_from(tick).unwrap();
        profile.add(
            &sample(tick, 1, vec![trace(tid, &[main])]),
            &frames,
            &|_| None,
        );
    }
    assert_eq!(profile.threads().ids().count(), 0);
    assert_eq!(weight_of(&profile, "main (").0, 150_000);
    assert_eq!(profile.folded_share(), None);
}

#[test]
fn processes_without_end_are_folded_below_their_parent() {
    const TICKS: usize = 50_000;
    let mut frames = FrameTable::default();
    let main = frames.intern(frame("main", 1));
    let mut profile = Profile::new(ProfileOptions {
        subprocesses: true,
        ..ProfileOptions::default()
    });
    let label = |pid: Pid| {
        Some(ProcessLabel {
            pid,
            parent: (pid > 1).then_some(1),
            command: Arc::from("x".repeat(900)),
        })
    };
    for tick in 0..TICKS {
        let pid = 1 + Pid::try_from(tick).unwrap();
        profile.add(&sample(tick, pid, vec![trace(1, &[main])]), &frames, &label);
    }
    let (folded, all) = weight_of(&profile, TOO_MANY);
    assert_eq!(all, TICKS as u64);
    assert!(folded > 0 && folded < all, "{folded}");
    assert_eq!(weight_of(&profile, "process 1:").0, all);
}
