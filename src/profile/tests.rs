//! Samples in, counts and stacks out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::sync::Arc;

use super::*;
use crate::cpython::code::frame_table::{Columns, Frame, FrameId, FrameTable};
use crate::profile::options::{Selection, Weights};
use crate::sampler::sample::{FaultGrowth, FaultSource, FaultTrace, ProcessSample, Sample};
use crate::testing::{grown_process, process, sample, sample_of, thread};

fn frame(frames: &mut FrameTable, name: &str, line: u32, column: u32) -> FrameId {
    frames.intern(Frame {
        name: Arc::from(name),
        filename: Arc::from("/srv/pkg/mod.py"),
        short_filename: Arc::from("pkg/mod.py"),
        line: Some(line),
        first_line: 1,
        columns: Some(Columns {
            start: column,
            end_line: line,
            end: column + 1,
        }),
    })
}

fn texts(profile: &Profile) -> Vec<(Vec<String>, u64)> {
    let stacks = profile.stacks();
    let text = |id| {
        stacks
            .path(id)
            .into_iter()
            .map(|label| profile.text(label))
            .collect()
    };
    stacks
        .ids()
        .filter(|id| stacks.weight(*id) > 0)
        .map(|id| (text(id), stacks.weight(id)))
        .collect()
}

#[test]
fn every_thread_of_a_tick_is_in_exactly_one_count() {
    let mut frames = FrameTable::default();
    let f = frame(&mut frames, "f", 2, 0);
    let mut profile = Profile::new(ProfileOptions {
        selection: Selection {
            gil_only: true,
            ..Selection::default()
        },
        ..ProfileOptions::default()
    });
    let mut tick = sample(
        10,
        vec![
            thread(1).gil().stack(&[f]),
            thread(2).stack(&[f]),
            thread(3).idle().stack(&[f]),
            thread(4).idle().stack(&[]),
        ],
    );
    tick.errors = vec!["thread 5: gone".to_owned(), "thread 6: gone".to_owned()];
    tick.missed_ticks = 3;
    tick.torn = 4;
    profile.add(&tick, &frames, &|_| None);
    let expected = Counts {
        ticks: 1,
        missed_ticks: 3,
        samples: 1,
        idle: 1,
        without_gil: 1,
        without_python: 1,
        errors: 2,
        torn: 4,
        ..Counts::default()
    };
    assert_eq!(*profile.counts(), expected);
}

#[test]
fn stacks_are_distinguished_by_line_unless_hidden_and_never_by_column() {
    let mut frames = FrameTable::default();
    let all = [
        frame(&mut frames, "f", 2, 0),
        frame(&mut frames, "f", 2, 8),
        frame(&mut frames, "f", 3, 0),
    ];
    let run = |options: ProfileOptions| {
        let mut profile = Profile::new(options);
        for f in all {
            profile.add(
                &sample(0, vec![thread(1).gil().stack(&[f])]),
                &frames,
                &|_| None,
            );
        }
        texts(&profile)
    };
    let one = |text: &str, weight| (vec![text.to_owned()], weight);
    let default = ProfileOptions::default;
    assert_eq!(
        run(default()),
        [one("f (pkg/mod.py:2)", 2), one("f (pkg/mod.py:3)", 1)]
    );
    assert_eq!(
        run(ProfileOptions {
            show_line_numbers: false,
            ..default()
        }),
        [one("f (pkg/mod.py)", 3)]
    );
    assert_eq!(
        run(ProfileOptions {
            function_only: true,
            ..default()
        }),
        [one("f (pkg/mod.py:1)", 3)]
    );
    let full = ProfileOptions {
        function_only: true,
        full_filenames: true,
        ..default()
    };
    assert_eq!(run(full), [one("f (/srv/pkg/mod.py:1)", 3)]);
}

#[test]
fn a_walk_from_the_cached_stack_gives_the_same_tree() {
    let mut frames = FrameTable::default();
    let ids: Vec<FrameId> = (1..5)
        .map(|line| frame(&mut frames, "f", line, 0))
        .collect();
    let paths: [&[usize]; 6] = [
        &[0, 1, 2],
        &[0, 1, 3],
        &[0],
        &[0, 1, 2],
        &[3, 1, 2],
        &[0, 1, 2, 2],
    ];
    let (mut one_thread, mut many) = (
        Profile::new(ProfileOptions::default()),
        Profile::new(ProfileOptions::default()),
    );
    for (tid, path) in paths.iter().enumerate() {
        let path: Vec<FrameId> = path.iter().map(|index| ids[*index]).collect();
        one_thread.add(
            &sample(0, vec![thread(1).gil().stack(&path)]),
            &frames,
            &|_| None,
        );
        many.add(
            &sample(0, vec![thread(tid as i32).gil().stack(&path)]),
            &frames,
            &|_| None,
        );
    }
    assert_eq!(texts(&one_thread), texts(&many));
    assert_eq!(texts(&one_thread).len(), 5);
}

#[test]
fn slices_end_where_the_thread_goes_idle_or_exits() {
    let mut frames = FrameTable::default();
    let (f, g) = (frame(&mut frames, "f", 2, 0), frame(&mut frames, "g", 5, 0));
    let mut profile = Profile::new(ProfileOptions {
        timeline: true,
        ..ProfileOptions::default()
    });
    let ticks = [
        (Some(f), true),
        (Some(f), true),
        (Some(g), true),
        (Some(g), false),
        (None, true),
        (Some(g), true),
    ];
    for (index, (frame, active)) in ticks.into_iter().enumerate() {
        let traces = frame
            .map(|frame| thread(1).active(active).stack(&[frame]))
            .into_iter()
            .collect();
        profile.add(&sample(10 * index as u64, traces), &frames, &|_| None);
    }
    let thread = profile.threads().ids().next().unwrap();
    let slices: Vec<_> = profile
        .slices(thread)
        .map(|s| (s.start_us, s.end_us, s.samples))
        .collect();
    assert_eq!(
        slices,
        [(0, 20_000, 2), (20_000, 30_000, 1), (50_000, 60_000, 1)]
    );
}

#[test]
fn a_cycle_of_parents_is_bounded() {
    let mut frames = FrameTable::default();
    let f = frame(&mut frames, "f", 2, 0);
    let mut profile = Profile::new(ProfileOptions {
        subprocesses: true,
        ..ProfileOptions::default()
    });
    let circle = |pid: Pid| {
        let other = if pid == 1 { 2 } else { 1 };
        Some(ProcessLabel {
            pid,
            parent: Some(other),
            command: Arc::from("p"),
        })
    };
    profile.add(
        &sample(0, vec![thread(1).gil().stack(&[f])]),
        &frames,
        &circle,
    );
    let stacks = texts(&profile);
    assert_eq!(stacks.len(), 1);
    assert_eq!(stacks[0].0.len(), MAX_PROCESS_DEPTH + 1);
}

#[test]
fn a_process_that_has_exited_keeps_its_stack() {
    let mut frames = FrameTable::default();
    let f = frame(&mut frames, "f", 2, 0);
    let mut profile = Profile::new(ProfileOptions {
        subprocesses: true,
        ..ProfileOptions::default()
    });
    let named = |pid| {
        Some(ProcessLabel {
            pid,
            parent: None,
            command: Arc::from("python a.py"),
        })
    };
    let tick = sample(0, vec![thread(1).gil().stack(&[f])]);
    profile.add(&tick, &frames, &named);
    profile.add(&tick, &frames, &|_| None);
    assert_eq!(
        texts(&profile),
        [(
            vec![
                "process 1:\"python a.py\"".to_owned(),
                "f (pkg/mod.py:2)".to_owned()
            ],
            2
        )]
    );
}

#[test]
fn rss_is_summed_over_processes_and_missing_readings_do_not_count() {
    let mut profile = Profile::new(ProfileOptions::default());
    let readings = [[Some(5), Some(7)], [None, None], [Some(9), None]];
    for pair in readings {
        let processes = pair.into_iter().map(|rss_bytes| ProcessSample {
            rss_bytes,
            ..process(1, Vec::new())
        });
        let tick = sample_of(0, processes.collect());
        profile.add(&tick, &FrameTable::default(), &|_| None);
    }
    let rss = profile.rss();
    assert_eq!(
        (rss.first(), rss.last(), rss.peak(), rss.points().len()),
        (Some(12), Some(9), Some(12), 2)
    );
}

#[test]
fn memory_is_tracked_only_on_request() {
    let mut frames = crate::testing::frames();
    let f = frames.id("f", 2);
    let run = |memory| {
        let mut profile = Profile::new(ProfileOptions {
            weights: Weights {
                rss: memory,
                ..Weights::default()
            },
            ..ProfileOptions::default()
        });
        for tick in 0..3 {
            let trace = thread(1).faults(10).stack(&[f]);
            // There is no change before the first sample.
            let bytes = if tick > 0 { 4096 } else { 0 };
            let process = grown_process(1, 4096 * tick, bytes, vec![trace]);
            profile.add(&sample_of(tick, vec![process]), &frames.table, &|_| None);
        }
        profile.finish();
        profile
    };
    let tracked = run(true);
    assert_eq!(tracked.total_growth().net_bytes(), 2 * 4096);
    assert_eq!(tracked.growth_by_function().len(), 1);
    let untracked = run(false);
    assert!(untracked.memory.is_none());
    assert_eq!(untracked.total_growth().net_bytes(), 0);
    assert!(untracked.growth_by_function().is_empty());
    assert_eq!(untracked.total_weight(), 3);
    // The series of the RSS is always there.
    assert_eq!(untracked.rss().last(), Some(2 * 4096));
}

/// A growth of anonymous memory with faults of one page each.
fn fault_growth(pages: i64, sources: Vec<FaultSource>) -> FaultGrowth {
    let fault = |source| FaultTrace {
        source,
        bytes: 4096,
        is_file: false,
    };
    FaultGrowth {
        anonymous_change: 4096 * pages,
        file_change: 0,
        lag_bytes: 0,
        faults: sources.into_iter().map(fault).collect(),
    }
}

#[test]
fn growth_is_of_the_stacks_of_page_faults() {
    let mut frames = FrameTable::default();
    let [f, g] = ["f", "g"].map(|name| frame(&mut frames, name, 2, 0));
    let mut profile = Profile::new(ProfileOptions {
        weights: Weights::RSS,
        ..ProfileOptions::default()
    });
    let of = |stack: &[FrameId]| FaultSource::Python(thread(1).stack(stack));
    let first = vec![
        of(&[f, g]),
        of(&[f]),
        FaultSource::NotPython,
        of(&[]),
        FaultSource::Unknown,
        of(&[f, g]),
    ];
    let one = ProcessSample {
        fault_growth: vec![fault_growth(6, first), fault_growth(1, vec![of(&[f])])],
        ..process(1, vec![thread(1).stack(&[f, g])])
    };
    profile.add(&sample_of(10, vec![one]), &frames, &|_| None);
    // The rest, which is no tick, has growth without a fault.
    let rest = ProcessSample {
        fault_growth: vec![fault_growth(3, Vec::new())],
        ..process(1, Vec::new())
    };
    let rest = Sample {
        is_remainder: true,
        ..sample_of(10, vec![rest])
    };
    profile.add(&rest, &frames, &|_| None);
    profile.finish();
    let mut pages: Vec<(String, u64)> = profile
        .stacks()
        .ids()
        .map(|id| {
            let leaf = profile.stacks().path(id).last().copied();
            let name = leaf.map_or(String::new(), |leaf| profile.text(leaf));
            (name, profile.growth(id).grown_bytes / 4096)
        })
        .filter(|(_, pages)| *pages > 0)
        .collect();
    pages.sort();
    let expected = [
        ("<between samples>", 4),
        ("<not by a Python thread>", 2),
        ("f (pkg/mod.py:2)", 2),
        ("g (pkg/mod.py:2)", 2),
    ];
    let expected = expected.map(|(name, pages)| (name.to_owned(), pages));
    assert_eq!(pages, expected);
    let counts = profile.counts();
    assert_eq!((counts.ticks, counts.samples), (1, 1));
    assert_eq!(profile.total_growth().grown_bytes, 10 * 4096);
}
