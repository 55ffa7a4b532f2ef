//! A recording of several processes as a timeline and for mprof.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::time::Duration;

use super::tests::{check, seconds, texts};
use crate::cpython::code::frame_table::FrameTable;
use crate::os::procfs::smaps::MemoryFootprint;
use crate::output::format::Format;
use crate::output::meta::Meta;
use crate::output::write;
use crate::profile::Profile;
use crate::profile::options::{ProcessLabel, ProfileOptions, Weights};
use crate::sampler::sample::MemoryReading;
use crate::sampler::sample::{ProcessSample, Sample};

/// 40 s of a process with a child from 10 s to 20 s.
fn family() -> Profile {
    let mut profile = Profile::new(ProfileOptions {
        weights: Weights::RSS,
        subprocesses: true,
        ..ProfileOptions::default()
    });
    let process = |pid, mib: u64| ProcessSample {
        pid,
        traces: Vec::new(),
        rss_bytes: Some(mib << 20),
        rss_change: None,
        fault_growth: Vec::new(),
    };
    for tick in 0..=400_u64 {
        let mut processes = vec![process(7, 50)];
        if (100..200).contains(&tick) {
            processes.push(process(8, 10 + tick / 10));
        }
        let shares = MemoryFootprint {
            pss_bytes: 40 << 20,
            uss_bytes: 30 << 20,
            swap_bytes: 5 << 20,
            ..MemoryFootprint::default()
        };
        let reading = |one: &ProcessSample| MemoryReading {
            pid: one.pid,
            shares: Some(shares),
            rss_bytes: 99 << 20,
            file_bytes: 0,
            shmem_bytes: 0,
            peak_rss_bytes: 99 << 20,
        };
        let sample = Sample {
            elapsed: Duration::from_millis(tick * 100),
            memory: processes
                .iter()
                .filter(|_| tick % 10 == 0)
                .map(reading)
                .collect(),
            processes,
            ..Sample::default()
        };
        profile.add(&sample, &FrameTable::default(), &|pid| {
            Some(ProcessLabel {
                pid,
                parent: (pid == 8).then_some(7),
                command: "/usr/bin/python3 /srv/app.py \u{1b}[31m".into(),
            })
        });
    }
    profile.finish();
    profile
}

fn written(format: Format) -> String {
    let meta = Meta {
        command: "/usr/bin/python3 /srv/app.py $a $b".to_owned(),
        start: Some(std::time::UNIX_EPOCH + seconds(1_000.5)),
        ..Meta::default()
    };
    let mut bytes = Vec::new();
    write(format, &family(), &meta, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn each_process_and_their_sum_have_a_line() {
    let svg = written(Format::Timeline);
    check(&svg);
    let texts = texts(&svg);
    for expected in [
        "pyspy-rs: /srv/app.py $a $b",
        "RSS of all processes",
        "PSS",
        "swapped out",
        "7 python3 app.py \u{fffd}[31m",
        "8 python3 app.py \u{fffd}[31m",
        "peak 79.0 MiB at 19.0 s",
        "RSS 50.0 MiB first, 50.0 MiB last, 79.0 MiB peak \u{b7} PSS 40.0 MiB and 5.0 MiB swapped out at 40.0 s",
    ] {
        assert!(
            texts.iter().any(|text| text == expected),
            "{expected}: {texts:#?}"
        );
    }
    assert!(!texts.contains(&"USS".to_owned()));
}

#[test]
fn mprof_has_the_sum_and_the_child() {
    let data = written(Format::Mprof);
    let mut lines = data.lines();
    assert_eq!(
        lines.next(),
        Some("CMDLINE /usr/bin/python3 /srv/app.py \\$a \\$b")
    );
    assert_eq!(lines.next(), Some("MEM 50.000000 1000.5000"));
    let (mem, other): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("MEM "));
    assert_eq!(mem.len(), 400);
    assert!(mem.contains(&"MEM 79.000000 1019.5000"));
    assert_eq!(other.len(), 100);
    assert_eq!(other[0], "CHLD 8 20.000000 1010.5000");
    assert_eq!(other[99], "CHLD 8 29.000000 1020.4000");
}
