//! Half a day of a pool of processes with long times, sizes and names.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::sync::Arc;
use std::time::Duration;

use super::tests::{check, save, texts};
use crate::cpython::code::frame_table::{Frame, FrameId, FrameTable};
use crate::os::Pid;
use crate::output::format::Format;
use crate::output::meta::Meta;
use crate::output::write;
use crate::profile::Profile;
use crate::profile::options::{ProcessLabel, ProfileOptions, Weights};
use crate::sampler::sample::{ProcessSample, RssChange, Sample};
use crate::testing::main_thread;

/// Length and sampling interval, in seconds.
const LENGTH: u64 = 12 * 3600;
const EVERY: u64 = 2;
/// Lifetime of a worker, in seconds, until another one replaces it.
const LIFE: u64 = 2400;

const NAMES: [&str; 4] = [
    "Обработчик.принять_всё_что_пришло_и_никогда_не_забыть",
    "キャッシュ.すべてを覚えて決して忘れない",
    "RepositoryOfEverythingThatWasEverRequested.remember_it_forever_and_a_day",
    "load",
];

fn frames() -> (FrameTable, Vec<FrameId>) {
    let mut table = FrameTable::default();
    let frame = |name: &&str| {
        table.intern(Frame {
            name: Arc::from(*name),
            filename: "/srv/приложение/модули/всё.py".into(),
            short_filename: "приложение/модули/всё.py".into(),
            line: Some(7),
            first_line: 7,
            columns: None,
        })
    };
    let ids = NAMES.iter().map(frame).collect();
    (table, ids)
}

/// A process with this RSS, in which one function has added or released `change` bytes.
fn process(pid: Pid, rss_bytes: u64, change: i64, frame: FrameId) -> ProcessSample {
    let faults = u64::try_from(change).unwrap_or(0) / 4096;
    let trace = main_thread(pid).faults(faults).stack(&[frame]);
    ProcessSample {
        pid,
        traces: vec![trace],
        rss_bytes: Some(rss_bytes),
        rss_change: Some(RssChange {
            bytes: change,
            gap_ns: EVERY * 1_000_000_000,
            granularity: 4096,
            ..RssChange::default()
        }),
        fault_growth: Vec::new(),
    }
}

fn day() -> Profile {
    let (table, functions) = frames();
    let mut profile = Profile::new(ProfileOptions {
        weights: Weights::RSS,
        subprocesses: true,
        ..ProfileOptions::default()
    });
    for at in (0..=LENGTH).step_by(EVERY as usize) {
        // The parent leaks half a GiB per hour; each worker allocates some GiB and releases it on exit.
        let function = functions[(at / 1800) as usize % functions.len()];
        let leaked = (3 << 30) + at * (150 << 10);
        let mut processes = vec![process(
            4_100_000,
            leaked,
            EVERY as i64 * (150 << 10),
            function,
        )];
        for worker in 0..6 {
            let since = at + worker * 400;
            let age = since % LIFE;
            let pid = 4_100_001 + Pid::try_from(worker * 100 + since / LIFE).unwrap();
            let grown = if age < 1200 { 4 << 20 } else { 0 };
            let size = (200 << 20) + age.min(1200) * (2 << 20);
            processes.push(process(pid, size, grown, functions[3]));
        }
        let sample = Sample {
            elapsed: Duration::from_secs(at),
            processes,
            ..Sample::default()
        };
        profile.add(&sample, &table, &|pid| {
            Some(ProcessLabel {
                pid,
                parent: (pid != 4_100_000).then_some(4_100_000),
                command: "/usr/bin/python3 /srv/приложение/работник.py --очередь всё".into(),
            })
        });
    }
    profile.finish();
    profile
}

#[test]
fn half_a_day_of_many_processes_is_readable() {
    let meta = Meta {
        command: "/usr/bin/python3 /srv/приложение/работник.py --очередь всё".to_owned(),
        duration: Duration::from_secs(LENGTH),
        ..Meta::default()
    };
    let mut bytes = Vec::new();
    write(Format::Timeline, &day(), &meta, &mut bytes).unwrap();
    let svg = String::from_utf8(bytes).unwrap();
    save("day", &svg);
    check(&svg);
    let texts = texts(&svg);
    let has = |end: &str| texts.iter().any(|text| text.contains(end));
    for expected in [
        "12 h",
        "GiB",
        "leak suspected",
        "smaller processes",
        NAMES[0],
    ] {
        assert!(has(expected), "{expected}: {texts:#?}");
    }
    // The size of a picture is bounded.
    assert!(svg.len() < 1 << 20, "{}", svg.len());
}
