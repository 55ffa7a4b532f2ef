//! RSS growth in each format.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use super::format::Format;
use super::meta::Meta;
use super::*;
use crate::cpython::code::frame_table::FrameTable;
use crate::profile::options::{ProfileOptions, Weights};
use crate::testing::{frame_in, grown_process, main_thread, sample_of};

/// A thread that adds 3 MiB in `load (1 bytes, x)` and releases 1 MiB in `drop`, and a native thread that
/// adds 4 KiB.
fn profile(grows: bool) -> Profile {
    let mut table = FrameTable::default();
    let mut profile = Profile::new(ProfileOptions {
        weights: Weights::RSS,
        timeline: true,
        rate_hz: 1_000,
        ..ProfileOptions::default()
    });
    let changes: [(&str, i64, u64); 4] = [
        ("load (1 bytes, x)", 0, 0),
        ("load (1 bytes, x)", (3 << 20) + 4_096, 1),
        ("drop", 0, 0),
        ("drop", -(1 << 20), 0),
    ];
    let mut rss_bytes: u64 = 10 << 20;
    for (tick, (function, bytes, other_faults)) in (0..).zip(changes) {
        let bytes = if grows { bytes } else { 0 };
        let frame = table.intern(frame_in("a.py", function, 0));
        rss_bytes = rss_bytes.saturating_add_signed(bytes);
        let trace = main_thread(7).pthread_id(9).named("t").faults(768);
        let mut process = grown_process(7, rss_bytes, bytes, vec![trace.stack(&[frame])]);
        if let Some(change) = &mut process.rss_change {
            change.other_faults = other_faults;
        }
        let sample = sample_of(tick, vec![process]);
        profile.add(&sample, &table, &|_| None);
    }
    profile.finish();
    profile
}

fn written(format: Format, profile: &Profile) -> String {
    let meta = Meta {
        command: "python app.py".to_owned(),
        ..Meta::default()
    };
    let mut bytes = Vec::new();
    write(format, profile, &meta, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn folded_stacks_have_bytes() {
    assert_eq!(
        written(Format::Raw, &profile(true)),
        "<not by a Python thread> 4096\nload (1 bytes, x) (a.py) 3145728\n"
    );
}

#[test]
fn the_flame_graph_has_sizes() {
    let svg = written(Format::Flamegraph, &profile(true));
    for text in [
        ">RSS growth, 3.0 MiB: app.py<",
        "load (1 bytes, x) (a.py) (3.0 MiB, 99.87%)</title>",
        "(4.0 KiB, 0.13%)</title>",
        "<title>all (3.0 MiB, 100%)</title>",
        "1.0 MiB released",
    ] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    let empty = written(Format::Flamegraph, &profile(false));
    assert!(empty.contains("RSS has not grown"), "{empty}");
}

#[test]
fn speedscope_has_memory_and_time() {
    let text = written(Format::Speedscope, &profile(true));
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let profiles = file.get("profiles").unwrap().as_array().unwrap();
    let facts = |profile: &serde_json::Value| {
        let part = |name| profile.get(name).unwrap().to_string();
        [
            part("name"),
            part("unit"),
            part("endValue"),
            part("weights"),
        ]
        .join(" ")
    };
    let facts: Vec<String> = profiles.iter().map(facts).collect();
    assert_eq!(
        facts,
        [
            r#""RSS growth" "bytes" 3149824 [3145728,4096]"#,
            r#""RSS given back" "bytes" 1048576 [1048576]"#,
            r#""Thread 7 \"t\"" "seconds" 0.004 [0.001,0.001,0.001,0.001]"#,
        ]
    );
}

#[test]
fn traces_have_an_rss_counter() {
    let text = written(Format::Chrometrace, &profile(true));
    let events: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let number = |event: &serde_json::Value, key| event.get(key).and_then(|at| at.as_u64());
    assert!(
        events.is_sorted_by_key(|event| number(event, "ts")),
        "{text}"
    );
    let counters = events
        .iter()
        .filter(|event| event.get("ph").unwrap() == "C");
    let readings: Vec<_> = counters
        .map(|event| {
            let mib = event.pointer("/args/MiB").unwrap().as_f64().unwrap();
            (
                number(event, "ts"),
                number(event, "pid"),
                (mib * 256.0).round(),
            )
        })
        .collect();
    let at = |ts, pages| (Some(ts), Some(7), pages);
    assert_eq!(
        readings,
        [
            at(0, 2560.0),
            at(1_000, 3329.0),
            at(2_000, 3329.0),
            at(3_000, 3073.0)
        ]
    );
}
