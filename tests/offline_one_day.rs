//! A day at 100 Hz in our memory. Alone in its file: it measures the whole process.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use pyspy_rs::{
    Columns, Frame, FrameId, FrameTable, Pid, ProcessSample, Profile, ProfileOptions, RssChange,
    Sample, SamplerStats, Selection, StackTrace, ThreadInfo, Tid, Weights,
};

#[path = "../src/testing.rs"]
mod testing;

/// 24 hours of them.
const TICKS: u64 = 24 * 3600 * 100;
const THREADS: i32 = 10;
const STACKS: usize = 500;
const DEPTH: usize = 30;

/// A line of this process's /proc/self/status, in KiB.
fn kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// 500 stacks, 30 deep, with the two thirds towards the root in common.
fn stacks(frames: &mut FrameTable) -> Vec<Vec<FrameId>> {
    let mut frame = |function: usize, line: usize| {
        frames.intern(Frame {
            name: Arc::from(format!("Handler{function}.do_something_ordinary")),
            filename: Arc::from(format!("/srv/app/package/module_{}.py", function % 20)),
            short_filename: Arc::from(format!("package/module_{}.py", function % 20)),
            line: u32::try_from(line).ok(),
            first_line: 10,
            columns: Some(Columns {
                start: 4,
                end_line: 11,
                end: 20,
            }),
        })
    };
    (0..STACKS)
        .map(|stack| {
            let mut frames: Vec<FrameId> = (0..DEPTH)
                .map(|depth| {
                    if depth < DEPTH * 2 / 3 {
                        frame(depth, 11)
                    } else {
                        frame(depth, 12 + stack % (depth * 4))
                    }
                })
                .collect();
            frames.reverse();
            frames
        })
        .collect()
}

/// One sample: two threads on a CPU, the others asleep.
fn sample(tick: usize, stacks: &[Vec<FrameId>]) -> Sample {
    let trace = |tid: i32| {
        let thread = testing::thread(100 + tid)
            .pthread_id(0x7f00_0000 + u64::try_from(tid).unwrap())
            .named(&format!("worker-{tid}"))
            .active((tick + tid as usize).is_multiple_of(5))
            .owns_gil(tid == 0)
            .time_ns(2_000_000);
        let thread = if tick.is_multiple_of(50) {
            thread.collecting()
        } else {
            thread
        };
        let mut trace = thread.stack(&[]);
        trace.frames = stacks[(tick + tid as usize) % STACKS].as_slice().into();
        trace
    };
    let process = ProcessSample {
        rss_bytes: Some((100 << 20) + tick as u64),
        ..testing::process(100, (0..THREADS).map(trace).collect())
    };
    testing::sample_of(0, vec![process])
}

#[test]
fn a_day_at_100_hz_stays_under_64_mib() {
    let mut frames = FrameTable::default();
    let stacks = stacks(&mut frames);
    let mut samples: Vec<Sample> = (0..STACKS).map(|tick| sample(tick, &stacks)).collect();
    let mut profile = Profile::new(ProfileOptions {
        weights: Weights::CPU_TIME,
        show_threads: true,
        selection: Selection {
            collections: true,
            ..Selection::default()
        },
        ..ProfileOptions::default()
    });
    let mut stats = SamplerStats::default();
    let mut early = None;
    for tick in 0..TICKS {
        let sample = &mut samples[tick as usize % STACKS];
        sample.elapsed = Duration::from_millis(10 * tick);
        profile.add(sample, &frames, &|_| None);
        stats.lateness.record(Duration::from_micros(tick % 5_000));
        // After a quarter of an hour everything has been seen.
        if tick == TICKS / 100 {
            early = Some((kib("VmRSS"), profile.stacks().len(), profile.labels().len()));
        }
    }
    profile.finish();
    let (rss, nodes, labels) = early.unwrap();
    assert_eq!(
        (nodes, labels),
        (profile.stacks().len(), profile.labels().len())
    );
    assert!(profile.rss().points().len() > 500);
    assert_eq!(profile.rss().peak(), Some((100 << 20) + STACKS as u64 - 1));
    assert_eq!(profile.counts().ticks, TICKS);
    let all = TICKS * THREADS as u64 * 2_000_000;
    assert_eq!(profile.total_weight(), all, "no nanosecond is lost");
    let (grown, peak) = (kib("VmRSS").saturating_sub(rss), kib("VmHWM"));
    println!("{nodes} nodes, {grown} KiB grown, {peak} KiB at most");
    assert!(
        grown < 1 << 10,
        "{grown} KiB more than after a quarter of an hour"
    );
    assert!(peak < 64 << 10, "{peak} KiB");
    assert_eq!(stats.lateness.count(), TICKS);
}
