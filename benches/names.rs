//! Pass 2: from addresses to names and lines, for the first time, again, and the line tables alone.

// A broken assumption ends the bench, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pyspy_rs::FrameTable;
use pyspy_rs::internals::{Mode, StackReader, locate_line};
use python_offsets::semantics::LineTable;

use support::{Recorded, recorded};

/// Walks and names every stack of a recorded program, as one sample does.
fn sample(recorded: &Recorded, reader: &mut StackReader, frames: &mut FrameTable) -> usize {
    let mut stack = Vec::new();
    let mut named = 0;
    for mut thread in recorded.threads(reader) {
        reader.copy(&recorded.memory, &thread);
        reader
            .walk(&recorded.memory, &mut thread, Mode::AtRest, &mut stack)
            .unwrap();
        let resolved = reader
            .resolve(&recorded.memory, &thread, &stack, frames)
            .unwrap();
        named += resolved.frames.len();
    }
    named
}

/// A whole sample of a program: its first, in which every code object is new, and a later one.
fn by_version(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("names/version");
    for recorded in recorded() {
        let mut reader = recorded.reader();
        let mut frames = FrameTable::default();
        let named = sample(&recorded, &mut reader, &mut frames);
        group.throughput(Throughput::Elements(named as u64));
        group.bench_function(format!("{}/first", recorded.version), |bench| {
            bench.iter_batched(
                || (recorded.reader(), FrameTable::default()),
                |(mut reader, mut frames)| sample(&recorded, &mut reader, &mut frames),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("{}/again", recorded.version), |bench| {
            bench.iter(|| sample(&recorded, &mut reader, &mut frames));
        });
    }
    group.finish();
}

/// How many entries the tables have: those of a function of some hundred lines.
const ENTRIES: usize = 500;

/// The last entry of a table of each format: the whole table must be decoded.
fn line_tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("names/line_table");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    // One line on every 4 bytes of instructions; the last kind every 6, with columns: an entry of one
    // line on and one in the short form (Objects/locations.md of CPython 3.11: codes 11 and 0).
    let tables: [(&str, LineTable, &[u8], i64); 4] = [
        ("lnotab_unsigned", LineTable::LnotabUnsigned, &[4, 1], 4),
        ("lnotab_signed", LineTable::LnotabSigned, &[4, 1], 4),
        ("pep626", LineTable::Pep626, &[4, 1], 4),
        (
            "locations",
            LineTable::Locations,
            &[0xd9, 4, 9, 0x80, 0x12],
            6,
        ),
    ];
    for (name, format, entry, step) in tables {
        let table = entry.repeat(ENTRIES);
        let last = step * ENTRIES as i64 - 1;
        assert!(locate_line(format, &table, 1, last).line > Some(ENTRIES as u32 - 2));
        group.bench_function(name, |bench| {
            bench.iter(|| locate_line(format, black_box(&table), 1, black_box(last)));
        });
    }
    group.finish();
}

criterion_group!(benches, by_version, line_tables);
criterion_main!(benches);
