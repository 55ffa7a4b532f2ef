//! Hostile names in each format.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cpython::code::frame_table::{Frame, FrameTable};
use crate::profile::options::{ProcessLabel, ProfileOptions, Weights};
use crate::testing::{frame_in, main_thread, sample};

/// A profile of one sample whose stack, thread and process have these names.
fn profile_of(names: &[(String, String)], thread: &str, command: &str) -> Profile {
    let mut table = FrameTable::default();
    let frames: Vec<_> = names
        .iter()
        .map(|(name, file)| {
            table.intern(Frame {
                short_filename: Arc::from(file.as_str()),
                ..frame_in(file, name, 1)
            })
        })
        .collect();
    let trace = main_thread(1)
        .pthread_id(u64::MAX)
        .named(thread)
        .time_ns(1_500)
        .stack(&frames);
    let sample = sample(0, vec![trace]);
    let mut profile = Profile::new(ProfileOptions {
        show_threads: true,
        subprocesses: true,
        timeline: true,
        ..ProfileOptions::default()
    });
    let label = |pid| {
        Some(ProcessLabel {
            pid,
            parent: None,
            command: Arc::from(command),
        })
    };
    profile.add(&sample, &table, &label);
    profile
}

fn written(format: Format, profile: &Profile, meta: &Meta) -> String {
    let mut bytes = Vec::new();
    write(format, profile, meta, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Whether XML 1.0 allows the character (production 2, `Char`).
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn check(names: &[(String, String)], thread: &str, command: &str) {
    let profile = profile_of(names, thread, command);
    let meta = Meta {
        command: command.to_owned(),
        ..Meta::default()
    };

    let raw = written(Format::Raw, &profile, &meta);
    let (stack, weight) = raw.strip_suffix('\n').unwrap().rsplit_once(' ').unwrap();
    assert_eq!(weight, "1");
    assert_eq!(stack.split(';').count(), names.len() + 2, "{raw:?}");
    assert_eq!(
        raw.chars().filter(|c| c.is_control()).count(),
        1,
        "only the line end"
    );

    let svg = written(Format::Flamegraph, &profile, &meta);
    assert_eq!(
        svg.matches("<rect").count(),
        1 + 1 + names.len() + 2,
        "{svg}"
    );
    assert!(svg.chars().all(is_xml_char));
    let (_, drawn) = svg.split_once("</script>").unwrap();
    assert_eq!(drawn.matches('<').count(), drawn.matches('>').count());

    let speedscope = written(Format::Speedscope, &profile, &meta);
    let json: serde_json::Value = serde_json::from_str(&speedscope).unwrap();
    assert_eq!(
        json["profiles"][0]["samples"][0].as_array().unwrap().len(),
        names.len() + 2
    );
    let trace = written(Format::Chrometrace, &profile, &meta);
    let json: serde_json::Value = serde_json::from_str(&trace).unwrap();
    // Names and places of process and thread, begins and ends.
    assert_eq!(json.as_array().unwrap().len(), 4 + 2 * (names.len() + 2));
}

#[test]
fn hostile_names_do_not_break_a_format() {
    let odd = [
        "",
        " ",
        "# x",
        "-",
        "--",
        ";",
        "a;b;c",
        "]]>",
        "<!--",
        "&lt;",
        "x 12 34",
        "\0\n\r\u{ffff}",
        "f_[k]",
    ];
    let names: Vec<_> = odd
        .iter()
        .map(|name| ((*name).to_owned(), "f.py".to_owned()))
        .collect();
    for one in odd {
        check(&names, one, one);
        check(&[(one.to_owned(), one.to_owned())], one, one);
    }
    check(
        &[("f".repeat(100_000), "d/".repeat(100_000))],
        &"t".repeat(100_000),
        &"c".repeat(100_000),
    );
}

proptest! {
    #[test]
    fn no_name_breaks_a_format(
        names in prop::collection::vec((any::<String>(), any::<String>()), 1..6),
        thread in any::<String>(),
        command in any::<String>(),
    ) {
        check(&names, &thread, &command);
    }
}

#[test]
fn cpu_time_is_in_nanoseconds() {
    let mut table = FrameTable::default();
    let mut profile = Profile::new(ProfileOptions {
        weights: Weights::CPU_TIME,
        timeline: true,
        ..ProfileOptions::default()
    });
    let frame = table.intern(frame_in("a.py", "work", 1));
    for tick in 0..3 {
        let trace = main_thread(1).time_ns(1_500).stack(&[frame]);
        let sample = sample(10 * tick, vec![trace]);
        profile.add(&sample, &table, &|_| None);
    }
    profile.finish();
    let meta = Meta::default();
    assert_eq!(
        written(Format::Raw, &profile, &meta),
        "work (a.py:1) 4500\n"
    );
    let svg = written(Format::Flamegraph, &profile, &meta);
    assert!(
        svg.contains("work (a.py:1) (4.50 µs on CPU, 100.00%)"),
        "{svg}"
    );
    assert!(svg.contains("4.50 µs on CPU · 3 samples"), "{svg}");
    let speedscope = written(Format::Speedscope, &profile, &meta);
    assert!(
        speedscope.contains(
            r#""unit":"nanoseconds","startValue":0,"endValue":4500,"samples":[[0]],"weights":[4500]"#
        ),
        "{speedscope}"
    );
    let trace = written(Format::Chrometrace, &profile, &meta);
    assert!(
        trace.contains(r#""ts":0}"#) && trace.contains(r#""ts":30000}"#),
        "{trace}"
    );
}
