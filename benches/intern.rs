//! What a recording does with the frames and stacks that it was given: each distinct one is kept once.

// A broken assumption ends the bench, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pyspy_rs::{
    Frame, FrameId, FrameTable, ProcessSample, Profile, ProfileOptions, Sample, StackTrace,
    ThreadInfo,
};

const DEPTH: usize = 30;

fn frame(number: usize) -> Frame {
    let file = format!("/srv/app/package/module_{}.py", number % 20);
    Frame {
        name: format!("Class{}.method_{number}", number % 7).into(),
        short_filename: file.trim_start_matches("/srv/app/").into(),
        filename: file.into(),
        line: Some(10 + u32::try_from(number).unwrap()),
        first_line: 10,
        columns: None,
    }
}

/// Frames that are new, and the same ones again.
fn frames(criterion: &mut Criterion) {
    const COUNT: usize = 1000;
    let all: Vec<Frame> = (0..COUNT).map(frame).collect();
    let intern = |table: &mut FrameTable, frames: Vec<Frame>| {
        for frame in frames {
            table.intern(frame);
        }
    };
    let mut group = criterion.benchmark_group("intern/frames");
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("new", |bench| {
        bench.iter_batched(
            || (FrameTable::default(), all.clone()),
            |(mut table, frames)| {
                intern(&mut table, frames);
                table
            },
            BatchSize::LargeInput,
        );
    });
    let mut known = FrameTable::default();
    intern(&mut known, all.clone());
    group.bench_function("known", |bench| {
        bench.iter_batched(
            || all.clone(),
            |frames| intern(&mut known, frames),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// A tick that saw one thread in this stack.
fn tick(number: u64, frames: Vec<FrameId>) -> Sample {
    Sample {
        elapsed: Duration::from_millis(10 * number),
        processes: vec![ProcessSample {
            pid: 4711,
            traces: vec![StackTrace {
                thread: ThreadInfo {
                    os_thread_id: Some(4711),
                    pthread_id: 0x7f00_0000_1000,
                    name: Some("MainThread".into()),
                    interpreter_ids: vec![0],
                    active: true,
                    waits_for_cpu: false,
                    owns_gil: true,
                    collecting: false,
                    has_ended: false,
                    is_main: true,
                    time_ns: None,
                    faults: None,
                },
                frames: frames.into(),
            }],
            rss_bytes: Some(64 << 20),
            rss_change: None,
            fault_growth: Vec::new(),
        }],
        ..Sample::default()
    }
}

/// Adding ticks at a depth of 30: always one stack, two that share nothing but the root in turn, and a
/// thousand that differ in the upper half.
fn stacks(criterion: &mut Criterion) {
    const TICKS: u64 = 1000;
    let mut table = FrameTable::default();
    let ids: Vec<FrameId> = (0..10_000)
        .map(|number| table.intern(frame(number)))
        .collect();
    // Leaf first: `upper` frames that are this stack's own, on the same lower ones.
    let stack = |number: usize, upper: usize| -> Vec<FrameId> {
        let own = (0..upper).map(|at| ids[(number * upper + at) % 9000 + DEPTH]);
        own.chain(ids[..DEPTH - upper].iter().copied()).collect()
    };
    let one = stack(0, 15);
    let cases: [(&str, Vec<Vec<FrameId>>); 3] = [
        ("same", vec![one]),
        ("two in turn", vec![stack(0, 29), stack(1, 29)]),
        (
            "thousand",
            (0..1000).map(|number| stack(number, 15)).collect(),
        ),
    ];
    for timeline in [false, true] {
        let name = if timeline {
            "intern/timeline"
        } else {
            "intern/stacks"
        };
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(TICKS));
        for (name, stacks) in &cases {
            let ticks: Vec<Sample> = (0..TICKS)
                .zip(stacks.iter().cycle())
                .map(|(number, stack)| tick(number, stack.clone()))
                .collect();
            let options = ProfileOptions {
                timeline,
                ..ProfileOptions::default()
            };
            group.bench_function(*name, |bench| {
                bench.iter_batched(
                    || Profile::new(options.clone()),
                    |mut profile| {
                        for tick in &ticks {
                            profile.add(tick, &table, &|_| None);
                        }
                        assert_eq!(profile.counts().samples, TICKS);
                        profile
                    },
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, frames, stacks);
criterion_main!(benches);
