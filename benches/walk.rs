//! Pass 1: listing threads and walking their stacks, by version and by depth.
//!
//! The memory is a tape, so that a read costs a lookup in a map and no system call: what is measured is
//! everything else.

// A broken assumption ends the bench, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "support/deep.rs"]
mod deep;
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pyspy_rs::internals::Mode;

use deep::deepened;
use support::recorded;

/// One sample of every thread of a recorded program.
fn by_version(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk/version");
    for recorded in recorded() {
        let mut reader = recorded.reader();
        let mut stack = Vec::new();
        let mut frames = 0;
        for mut thread in recorded.threads(&mut reader) {
            reader.copy(&recorded.memory, &thread);
            reader
                .walk(&recorded.memory, &mut thread, Mode::AtRest, &mut stack)
                .unwrap();
            frames += stack.len() as u64;
        }
        group.throughput(Throughput::Elements(frames));
        group.bench_function(&recorded.version, |bench| {
            bench.iter(|| {
                for mut thread in recorded.threads(&mut reader) {
                    reader.copy(&recorded.memory, &thread);
                    reader
                        .walk(&recorded.memory, &mut thread, Mode::AtRest, &mut stack)
                        .unwrap();
                }
                stack.len()
            });
        });
    }
    group.finish();
}

/// One stack, on the newest version with frames on the heap and on two with a data stack.
fn by_depth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk/depth");
    let versions = ["3.10", "3.12", "3.15"];
    let is_wanted = |version: &str| {
        let starts = |wanted: &&str| version.starts_with(&format!("{wanted}."));
        versions.iter().any(starts)
    };
    for recorded in recorded().iter().filter(|one| is_wanted(&one.version)) {
        for depth in [30, 300, 1000] {
            let (deep, mut thread) = deepened(recorded, depth);
            let mut reader = deep.reader();
            let mut stack = Vec::new();
            group.throughput(Throughput::Elements(depth as u64));
            group.bench_function(format!("{}/{depth}", deep.version), |bench| {
                bench.iter(|| {
                    reader.begin_sample(false);
                    reader.copy(&deep.memory, &thread);
                    reader
                        .walk(&deep.memory, &mut thread, Mode::AtRest, &mut stack)
                        .unwrap();
                    stack.len()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, by_version, by_depth);
criterion_main!(benches);
