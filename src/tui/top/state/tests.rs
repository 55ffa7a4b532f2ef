//! The counts of `top`, without a program.
#![allow(clippy::indexing_slicing)] // A test fails by panicking.

use std::time::Duration;

use super::{TopSnapshot, TopState};
use crate::cpython::code::frame_table::{Frame, FrameId, FrameTable};
use crate::cpython::stack::trace::StackTrace;
use crate::profile::options::TimeWeight;
use crate::profile::options::{ProfileOptions, Selection, Weights};
use crate::rss::attribution::Growth;
use crate::sampler::sample::{ProcessSample, RssChange, Sample};
use crate::testing::{process, sample_of};
use crate::tui::model::Column;
use crate::tui::rows::row::Row;

fn frame(table: &mut FrameTable, name: &str, line: u32) -> FrameId {
    table.intern(Frame {
        name: name.into(),
        filename: "/srv/pkg/app.py".into(),
        short_filename: "pkg/app.py".into(),
        line: Some(line),
        first_line: 1,
        columns: None,
    })
}

fn thread(active: bool, owns_gil: bool, frames: &[FrameId]) -> StackTrace {
    let thread = crate::testing::thread(1).active(active).owns_gil(owns_gil);
    StackTrace {
        thread: thread.info(),
        frames: frames.into(),
    }
}

fn sample(traces: Vec<StackTrace>) -> Sample {
    let process = ProcessSample {
        rss_bytes: Some(10 << 20),
        ..process(1, traces)
    };
    sample_of(0, vec![process])
}

/// Those of `top` without options.
fn options() -> ProfileOptions {
    ProfileOptions {
        weights: Weights::RSS,
        ..ProfileOptions::default()
    }
}

fn counts(row: &Row) -> (&str, [u64; 4]) {
    (&row.name, [row.own_now, row.total_now, row.own, row.total])
}

fn table(snapshot: &TopSnapshot, by_line: bool, sort: Column) -> Vec<(&str, [u64; 4])> {
    snapshot
        .sorted(by_line, sort)
        .into_iter()
        .map(counts)
        .collect()
}

#[test]
fn recursion_counts_once_per_stack() {
    let mut frames = FrameTable::default();
    let main = frame(&mut frames, "main", 9);
    let fib = [1, 2].map(|line| frame(&mut frames, "fib", line));
    let mut state = TopState::new(options());
    let deep = [fib[0], fib[1], fib[1], fib[0], fib[1], main];
    state.add(&sample(vec![thread(true, true, &deep)]), &frames);
    state.add(&sample(vec![thread(true, false, &[main])]), &frames);

    let snapshot = state.tick();
    let rows = table(&snapshot, false, Column::TotalPercent);
    assert_eq!(rows, [("main", [1, 2, 1, 2]), ("fib", [1, 1, 1, 1])]);
    let by_line: Vec<_> = snapshot
        .sorted(true, Column::OwnTime)
        .iter()
        .map(|r| r.line)
        .collect();
    assert_eq!(by_line, [Some(9), Some(1), Some(2)]);
    assert_eq!(snapshot.lines.iter().map(|row| row.total).max(), Some(2));
    assert_eq!(
        (
            snapshot.percent(snapshot.gil_now),
            snapshot.percent(snapshot.active_now)
        ),
        (50.0, 100.0)
    );

    // Percentages are of the interval; times accumulate.
    state.add(&sample(vec![thread(true, false, &[main])]), &frames);
    let rows = state.tick();
    let rows = table(&rows, false, Column::OwnPercent);
    assert_eq!(rows, [("main", [1, 1, 2, 3]), ("fib", [0, 0, 1, 1])]);

    state.reset();
    let empty = state.tick();
    assert_eq!(
        (empty.samples, empty.functions.len(), empty.lines.len()),
        (0, 0, 0)
    );
    assert_eq!(empty.percent(empty.gil_now), 0.0);
}

#[test]
fn the_header_counts_the_processes_of_the_last_sample() {
    let frames = FrameTable::default();
    let mut state = TopState::new(options());
    let both = vec![process(1, Vec::new()), process(2, Vec::new())];
    state.add(&sample_of(0, both), &frames);
    assert_eq!(state.tick().processes, 2);
    state.add(&sample(Vec::new()), &frames);
    assert_eq!(state.tick().processes, 1);
}

#[test]
fn filters_select_threads_and_the_header_counts_all() {
    let mut frames = FrameTable::default();
    let [run, wait, hold] = ["run", "wait", "hold"].map(|name| frame(&mut frames, name, 1));
    let threads = vec![
        thread(true, false, &[run]),
        thread(false, false, &[wait]),
        thread(true, true, &[hold]),
        thread(true, false, &[]),
    ];
    let shown = |idle, gil_only| {
        let selection = Selection {
            idle,
            gil_only,
            ..Selection::default()
        };
        let mut state = TopState::new(ProfileOptions {
            selection,
            ..options()
        });
        state.add(&sample(threads.clone()), &frames);
        let snapshot = state.tick();
        assert_eq!(
            (snapshot.threads, snapshot.active_now, snapshot.gil_now),
            (4, 3, 1)
        );
        snapshot
            .functions
            .iter()
            .map(|row| row.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(false, false), ["run", "hold"]);
    assert_eq!(shown(true, false), ["run", "wait", "hold"]);
    assert_eq!(shown(true, true), ["hold"]);
}

/// With the kernel engine idle threads are only counted, and what is left at the end is no sample.
#[test]
fn idle_threads_without_stacks_are_in_the_header() {
    let mut state = TopState::new(options());
    let sample = Sample {
        idle: 3,
        idle_gils: 1,
        ..Sample::default()
    };
    state.add(&sample, &FrameTable::default());
    let remainder = Sample {
        is_remainder: true,
        ..Sample::default()
    };
    state.add(&remainder, &FrameTable::default());
    let snapshot = state.tick();
    assert_eq!((snapshot.threads, snapshot.gil_now), (3, 1));
    assert_eq!((snapshot.samples, snapshot.samples_now), (1, 1));
}

#[test]
fn the_header_sums_processes_and_errors() {
    let process = |rss_bytes| ProcessSample {
        pid: 1,
        traces: Vec::new(),
        rss_bytes,
        rss_change: None,
        fault_growth: Vec::new(),
    };
    let mut state = TopState::new(options());
    let mut add = |rss: &[Option<u64>], errors: &[&str]| {
        let processes = rss.iter().map(|rss| process(*rss)).collect();
        let errors = errors.iter().map(|text| (*text).to_owned()).collect();
        let sample = Sample {
            processes,
            errors,
            missed_ticks: 2,
            torn: 1,
            ..Sample::default()
        };
        state.add(&sample, &FrameTable::default());
    };
    add(&[Some(5), None, Some(6)], &["first", "second"]);
    add(&[Some(3)], &[]);
    add(&[None], &["third"]);
    let snapshot = state.tick();
    assert_eq!((snapshot.samples, snapshot.missed_ticks), (3, 6));
    // A torn stack is an error, and also counted separately.
    assert_eq!((snapshot.errors, snapshot.torn), (6, 3));
    assert_eq!(snapshot.last_error.as_deref(), Some("third"));
    assert_eq!(
        (snapshot.rss_bytes, snapshot.rss_peak_bytes),
        (Some(3), Some(11))
    );
    assert_eq!(
        (snapshot.rss_first_bytes, snapshot.rss_curve),
        (Some(11), vec![11, 3])
    );
}

#[test]
fn functions_without_end_have_limited_rows() {
    let mut frames = FrameTable::default();
    let mut state = TopState::new(ProfileOptions {
        full_filenames: true,
        ..options()
    });
    let main = frame(&mut frames, "main", 1);
    for n in 0..30_000 {
        let leaf = frame(&mut frames, &format!("f{n}"), 1);
        state.add(&sample(vec![thread(true, true, &[leaf, main])]), &frames);
    }
    let snapshot = state.tick();
    assert_eq!(
        (snapshot.functions.len(), snapshot.lines.len()),
        (20_000, 20_000)
    );
    for by_line in [false, true] {
        let rows = snapshot.sorted(by_line, Column::TotalTime);
        assert_eq!(counts(rows[0]), ("main", [0, 30_000, 0, 30_000]));
        assert_eq!(&*rows[1].filename, "/srv/pkg/app.py");
    }
    // The next interval counts from the last one, also for rows that were omitted.
    let leaf = frame(&mut frames, "f29999", 1);
    state.add(&sample(vec![thread(true, true, &[leaf, main])]), &frames);
    let snapshot = state.tick();
    let rows = snapshot.sorted(false, Column::OwnPercent);
    assert_eq!(counts(rows[0]), ("f29999", [1, 1, 2, 2]));
}

#[test]
fn functions_with_the_same_text_are_one_row() {
    let mut frames = FrameTable::default();
    let in_directory = |frames: &mut FrameTable, directory: &str| {
        frames.intern(Frame {
            name: "f".into(),
            filename: format!("{directory}/pkg/app.py").into(),
            short_filename: "pkg/app.py".into(),
            line: Some(1),
            first_line: 1,
            columns: None,
        })
    };
    let both = ["/a", "/b"].map(|directory| in_directory(&mut frames, directory));
    for (full_filenames, expected) in [
        (false, vec![("f", [1, 1, 1, 1])]),
        (true, vec![("f", [1, 1, 1, 1]), ("f", [0, 1, 0, 1])]),
    ] {
        let mut state = TopState::new(ProfileOptions {
            full_filenames,
            ..options()
        });
        state.add(&sample(vec![thread(true, true, &both)]), &frames);
        let snapshot = state.tick();
        assert_eq!(table(&snapshot, false, Column::OwnTime), expected);
        assert_eq!(table(&snapshot, true, Column::OwnTime), expected);
    }
}

#[test]
fn a_frame_of_another_table_is_ignored() {
    let mut frames = FrameTable::default();
    let strange = frame(&mut frames, "f", 1);
    let mut state = TopState::new(options());
    state.add(
        &sample(vec![thread(true, true, &[strange])]),
        &FrameTable::default(),
    );
    assert!(state.tick().functions.is_empty());
}

#[test]
fn cpu_time_is_attributed_to_work_and_not_to_sleep() {
    let mut frames = FrameTable::default();
    let [main, work, sleep] = ["main", "work", "sleep"].map(|name| frame(&mut frames, name, 1));
    let at = |elapsed_ms, active, leaf, time_ns| {
        let mut trace = thread(active, false, &[leaf, main]);
        trace.thread.time_ns = time_ns;
        Sample {
            elapsed: Duration::from_millis(elapsed_ms),
            ..sample(vec![trace])
        }
    };
    let mut state = TopState::new(ProfileOptions {
        selection: Selection {
            idle: true,
            ..Selection::default()
        },
        weights: Weights {
            time: Some(TimeWeight::Cpu),
            ..Weights::RSS
        },
        ..options()
    });
    let ms = 1_000_000;
    state.add(&at(5, true, work, None), &frames);
    state.add(&at(10, false, sleep, Some(3 * ms)), &frames);
    state.add(&at(15, true, work, Some(ms)), &frames);
    let snapshot = state.tick();
    let rows = table(&snapshot, false, Column::OwnTime);
    assert_eq!(rows[0], ("work", [4 * ms, 4 * ms, 4 * ms, 4 * ms]));
    assert_eq!(rows[1], ("main", [0, 4 * ms, 0, 4 * ms]));
    // A function without on-CPU time has no row.
    assert_eq!(rows.len(), 2);
    // 4 of 10 ms; the header counts threads in samples.
    assert_eq!(snapshot.row_percent(rows[0].1[0]), 40.0);
    assert_eq!(snapshot.percent(snapshot.active_now), 200.0 / 3.0);

    // The next interval begins where this one ended, and includes the deferred time.
    state.add(&at(25, false, sleep, Some(5 * ms)), &frames);
    assert_eq!(state.tick().functions[1].own_now, 0);
    state.add(&at(35, true, work, Some(ms)), &frames);
    let snapshot = state.tick();
    let rows = table(&snapshot, false, Column::OwnPercent);
    assert_eq!(rows[0], ("work", [6 * ms, 6 * ms, 10 * ms, 10 * ms]));
    assert_eq!(snapshot.row_percent(rows[0].1[0]), 60.0);
}

#[test]
fn a_collection_is_a_function_if_selected() {
    let mut frames = FrameTable::default();
    let main = frame(&mut frames, "main", 1);
    let mut trace = thread(true, true, &[main]);
    trace.thread.collecting = true;
    for (collections, expected) in [
        (true, vec![("main", [0, 1, 0, 1]), ("<GC>", [1, 1, 1, 1])]),
        (false, vec![("main", [1, 1, 1, 1])]),
    ] {
        let selection = Selection {
            collections,
            ..Selection::default()
        };
        let mut state = TopState::new(ProfileOptions {
            selection,
            ..options()
        });
        state.add(&sample(vec![trace.clone()]), &frames);
        let snapshot = state.tick();
        let mut rows = table(&snapshot, false, Column::TotalPercent);
        rows.sort_by_key(|(name, _)| std::cmp::Reverse(*name));
        assert_eq!(rows, expected);
        assert_eq!(snapshot.lines.len(), expected.len());
    }
}

#[test]
fn growth_is_attributed_to_work_and_not_to_sleep() {
    let mut frames = FrameTable::default();
    let [main, load, sleep] = ["main", "load", "sleep"].map(|name| frame(&mut frames, name, 1));
    let at = |active, leaf, faults, change: i64, other_faults| {
        let mut trace = thread(active, true, &[leaf, main]);
        trace.thread.faults = faults;
        let mut sample = sample(vec![trace]);
        sample.processes[0].rss_change = Some(RssChange {
            bytes: change,
            // A thousand of them appear or go while the stack is read.
            during_sample: change.signum() * change.abs().min(1000),
            gap_ns: 10_000_000,
            sample_ns: 20_000,
            other_faults,
            ..RssChange::default()
        });
        sample
    };
    let mut state = TopState::new(options());
    state.add(&at(true, load, None, 1000, 0), &frames);
    // A quarter of the faults are of a thread without Python.
    state.add(&at(false, sleep, Some(300), 4000, 100), &frames);
    state.add(&at(true, load, Some(1), -1000, 0), &frames);
    let snapshot = state.tick();
    for by_line in [false, true] {
        let rows: Vec<_> = snapshot
            .sorted(by_line, Column::Kept)
            .iter()
            .map(|row| {
                let Growth {
                    grown_bytes,
                    released_bytes,
                } = row.own_growth;
                (&*row.name, row.own_kept, grown_bytes, released_bytes)
            })
            .collect();
        let outside = ("<not by a Python thread>", 1000, 1000, 0);
        let load = ("load", 3000, 4000, 1000);
        assert_eq!(rows, [load, outside, ("main", 0, 0, 0)]);
    }

    // What comes between two samples that find the thread asleep is of neither stack.
    state.add(&at(false, sleep, None, 0, 0), &frames);
    state.add(&at(false, sleep, Some(1), 500, 0), &frames);
    let snapshot = state.tick();
    let rows = snapshot.sorted(false, Column::Added);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (&*row.name, row.own_growth.grown_bytes))
        .collect();
    assert_eq!(
        rows[..3],
        [
            ("load", 4000),
            ("<not by a Python thread>", 1000),
            ("<between samples>", 500)
        ]
    );
    state.reset();
    assert!(state.tick().functions.is_empty());
}
