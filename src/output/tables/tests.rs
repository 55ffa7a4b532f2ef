//! Tables as text and as CSV.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::HashMap;
use std::time::Duration;

use super::view::{View, unmatched};
use crate::cpython::code::frame_table::{Frame, FrameId, FrameTable};
use crate::output::format::Format;
use crate::output::meta::Meta;
use crate::output::table_options::selector::FunctionName;
use crate::output::table_options::source::{FileKey, Source};
use crate::output::table_options::{SortKey, TableOptions};
use crate::output::write;
use crate::profile::Profile;
use crate::profile::options::{ProfileOptions, Weights};
use crate::testing::{frame_in, grown_process, main_thread, sample_of};
use crate::text::secrets::Secrets;

pub(crate) const MIB: i64 = 1 << 20;

/// The file at a path in the file system of the first process.
pub(crate) fn in_first(path: &str) -> FileKey {
    FileKey {
        root: 0,
        path: path.to_owned(),
    }
}

/// A frame: name, file, line and first line.
pub(crate) type TestFrame<'a> = (&'a str, &'a str, u32, u32);

/// One sample per stack, root first, with the RSS growth of the thread.
pub(crate) fn profile(memory: bool, samples: &[(&[TestFrame<'_>], i64)]) -> Profile {
    let mut frames = FrameTable::default();
    let mut profile = Profile::new(ProfileOptions {
        weights: Weights {
            rss: memory,
            ..Weights::default()
        },
        keep_first_lines: true,
        ..ProfileOptions::default()
    });
    for (tick, (stack, bytes)) in (0..).zip(samples) {
        let frame = |(name, file, line, first_line): &TestFrame<'_>| {
            frames.intern(Frame {
                first_line: *first_line,
                ..frame_in(file, name, *line)
            })
        };
        let ids: Vec<FrameId> = stack.iter().map(frame).collect();
        let trace = main_thread(1).faults(1).stack(&ids);
        let mut process = grown_process(1, 1, *bytes, vec![trace]);
        // All of it while this stack was read.
        if let Some(change) = &mut process.rss_change {
            change.during_sample = *bytes;
        }
        let sample = sample_of(10 * tick, vec![process]);
        profile.add(&sample, &frames, &|_| None);
    }
    profile.finish();
    profile
}

pub(crate) fn written(format: Format, profile: &Profile, tables: TableOptions) -> String {
    let meta = Meta {
        command: "python app.py".to_owned(),
        python_version: None,
        start: None,
        duration: Duration::from_millis(1_500),
        tables,
        ..Meta::default()
    };
    let mut bytes = Vec::new();
    write(format, profile, &meta, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

const APP: &str = "/srv/app.py";

const SOURCE: &str = "\
import os

def load(n):
    data = read(n)  # slow

    return data

@again
class Thing:
    def load(self):
        return [x for x in
                range(9)]
";

fn sources() -> HashMap<FileKey, Source> {
    HashMap::from([(
        in_first(APP),
        Source::of_bytes(SOURCE.as_bytes(), None, Secrets::Hidden),
    )])
}

/// Four samples: three in `load`, one of which calls a comprehension in `Thing.load`.
fn app(memory: bool) -> Profile {
    let main: TestFrame<'_> = ("<module>", APP, 40, 1);
    let load: TestFrame<'_> = ("load", APP, 4, 3);
    profile(
        memory,
        &[
            (&[main, load], 3 * MIB),
            (&[main, load], MIB),
            (&[main, load, ("Thing.load", APP, 11, 10)], -MIB / 2),
            (&[main, ("=bad", "/srv/@other.py", 0, 7)], 0),
        ],
    )
}

#[test]
fn functions_are_aligned_with_dashes_for_unrecorded_memory() {
    let text = written(Format::Functions, &app(false), TableOptions::default());
    assert_eq!(
        text,
        "\
pyspy-rs: app.py
4 samples in 1.5 s

Samples  Own %  Total %  RSS growth  RSS freed  Function
========================================================
      3   50.0     75.0           -          -  load (app.py:3)
      1   25.0     25.0           -          -  =bad (@other.py:7)
      1   25.0     25.0           -          -  Thing.load (app.py:10)
      4    0.0    100.0           -          -  <module> (app.py:1)
"
    );
}

#[test]
fn lines_show_the_whole_function_and_the_weights_of_its_lines() {
    let options = TableOptions {
        only: vec!["load".parse().unwrap()],
        sources: sources(),
        ..TableOptions::default()
    };
    let text = written(Format::Lines, &app(true), options);
    assert_eq!(
        text,
        "\
pyspy-rs: app.py
4 samples in 1.5 s

Function: load (app.py:3)
File: /srv/app.py
Samples: 3, 50.0 % own, 75.0 % total; RSS: 4.0 MiB growth, 0.5 MiB freed

Line #  Samples  Own %  Total %  RSS growth  RSS freed  Line contents
=====================================================================
     3                                                  def load(n):
     4        3   50.0     75.0     4.0 MiB    0.5 MiB      data = read(n)  # slow
     5
     6                                                      return data

Function: Thing.load (app.py:10)
File: /srv/app.py
Samples: 1, 25.0 % own, 25.0 % total; RSS: 0.0 MiB growth, 0.5 MiB freed

Line #  Samples  Own %  Total %  RSS growth  RSS freed  Line contents
=====================================================================
    10                                                      def load(self):
    11        1   25.0     25.0     0.0 MiB    0.5 MiB          return [x for x in
    12                                                                  range(9)]
"
    );
}

#[test]
fn csv_has_whole_numbers_and_no_formulas() {
    let csv = || TableOptions {
        csv: true,
        sources: sources(),
        ..TableOptions::default()
    };
    assert_eq!(
        written(Format::Functions, &app(true), csv()),
        "\
\"function\",\"file\",\"first_line\",\"own_samples\",\"total_samples\",\"own_percent\",\
\"total_percent\",\"own_grown_bytes\",\"own_released_bytes\",\"total_grown_bytes\",\
\"total_released_bytes\"\r
\"load\",\"/srv/app.py\",3,2,3,50.00,75.00,4194304,0,4194304,524288\r
\"'=bad\",\"/srv/@other.py\",7,1,1,25.00,25.00,0,0,0,0\r
\"Thing.load\",\"/srv/app.py\",10,1,1,25.00,25.00,0,524288,0,524288\r
\"<module>\",\"/srv/app.py\",1,0,4,0.00,100.00,0,0,4194304,524288\r
"
    );
    let lines = written(
        Format::Lines,
        &app(false),
        TableOptions {
            only: vec!["app.py:load".parse().unwrap(), "=bad".parse().unwrap()],
            ..csv()
        },
    );
    let lines: Vec<&str> = lines.split("\r\n").skip(1).collect();
    assert_eq!(
        lines,
        [
            "\"load\",\"/srv/app.py\",3,3,0,0,0.00,0.00,,,,,\"def load(n):\",\"\"",
            "\"load\",\"/srv/app.py\",3,4,2,3,50.00,75.00,,,,,\"    data = read(n)  # slow\",\"\"",
            "\"load\",\"/srv/app.py\",3,5,0,0,0.00,0.00,,,,,\"\",\"\"",
            "\"load\",\"/srv/app.py\",3,6,0,0,0.00,0.00,,,,,\"    return data\",\"\"",
            "\"'=bad\",\"/srv/@other.py\",7,,1,1,25.00,25.00,,,,,\"\",\"\"",
            "\"Thing.load\",\"/srv/app.py\",10,10,0,0,0.00,0.00,,,,,\"    def load(self):\",\"\"",
            "\"Thing.load\",\"/srv/app.py\",10,11,1,1,25.00,25.00,,,,,\"        return [x for x in\",\"\"",
            "\"Thing.load\",\"/srv/app.py\",10,12,0,0,0.00,0.00,,,,,\"                range(9)]\",\"\"",
            "",
        ]
    );
}

#[test]
fn rows_have_the_selected_order() {
    let names = |profile: &Profile, sort| {
        let options = TableOptions {
            sort,
            ..TableOptions::default()
        };
        let view = View::new(profile, &options);
        let rows = view.rows().into_iter();
        rows.map(|row| view.name(row).into_owned())
            .collect::<Vec<_>>()
    };
    let one = app(true);
    assert_eq!(names(&one, Some(SortKey::Total))[..2], ["<module>", "load"]);
    assert_eq!(names(&one, Some(SortKey::Growth))[0], "load");
    assert_eq!(names(&one, Some(SortKey::Freed))[0], "load");
    assert_eq!(
        names(&one, Some(SortKey::Name)),
        ["<module>", "=bad", "Thing.load", "load"]
    );
    // By default by own time or, with recorded memory, by own growth.
    let two = |memory| {
        let (a, b): (TestFrame<'_>, TestFrame<'_>) = (("a", APP, 1, 1), ("b", APP, 1, 1));
        profile(
            memory,
            &[(&[a], 0), (&[a], 0), (&[a], 0), (&[b], 0), (&[b], MIB)],
        )
    };
    assert_eq!(names(&two(false), None), ["a", "b"]);
    assert_eq!(names(&two(true), None), ["b", "a"]);
}

#[test]
fn only_the_hottest_functions_are_shown_by_line() {
    let names: Vec<String> = (0..30).map(|n| format!("f{n:02}")).collect();
    let mut stacks = Vec::new();
    for (n, name) in names.iter().enumerate() {
        stacks.extend(vec![
            [(name.as_str(), APP, 1, 1)];
            200 * usize::from(n == 7) + n / 8 + 1
        ]);
    }
    let samples: Vec<(&[TestFrame<'_>], i64)> =
        stacks.iter().map(|stack| (&stack[..], 0)).collect();
    let profile = profile(false, &samples);
    let shown = |options: &TableOptions| {
        let view = View::new(&profile, options);
        let rows = view.hottest(10).into_iter();
        rows.map(|row| view.name(row).into_owned())
            .collect::<Vec<_>>()
    };
    // Less than a hundredth of the first is omitted: f00 to f15 have 1 and 2 of 201 samples.
    let all = shown(&TableOptions::default());
    assert_eq!(all.len(), 10);
    assert_eq!(all[..2], ["f07", "f24"]);
    assert!(!all.contains(&"f00".to_owned()), "{all:?}");
    let by_name = shown(&TableOptions {
        sort: Some(SortKey::Name),
        ..TableOptions::default()
    });
    assert_eq!((by_name.len(), by_name[0].as_str()), (10, "f07"));
    let selected = shown(&TableOptions {
        only: vec!["f0*".parse().unwrap()],
        ..TableOptions::default()
    });
    assert_eq!(selected.len(), 10);
    assert!(selected.contains(&"f00".to_owned()));
}

#[test]
fn functions_are_selected_by_name_class_and_file() {
    let matches = |name: &str, function: &str, file: &str| {
        name.parse::<FunctionName>()
            .unwrap()
            .matches(function, file)
    };
    for (name, function, file, expected) in [
        ("load", "load", APP, true),
        ("load", "Thing.load", APP, true),
        ("load", "reload", APP, false),
        ("load", "load.<locals>.inner", APP, false),
        ("inner", "load.<locals>.inner", APP, true),
        ("Thing.load", "mod.Thing.load", APP, true),
        ("Thing.load", "OtherThing.load", APP, false),
        ("Thing.*", "Thing.load", APP, true),
        ("*", "anything", APP, true),
        ("l*d", "load", APP, true),
        ("l*d*d", "load", APP, false),
        ("app.py:load", "load", APP, true),
        ("/srv/app.py:load", "load", APP, true),
        ("pp.py:load", "load", APP, false),
        ("s*v/app.py:*", "x", APP, true),
        ("app.py:load", "load", "/srv/app.pyc", false),
        ("a:b.py:load", "load", "/x/a:b.py", true),
    ] {
        assert_eq!(
            matches(name, function, file),
            expected,
            "{name} {function} {file}"
        );
    }
    for bad in ["", ":load", "app.py:", ":"] {
        assert!(bad.parse::<FunctionName>().is_err(), "{bad:?}");
    }
    assert_eq!(
        "a.py:f".parse::<FunctionName>().unwrap().to_string(),
        "a.py:f"
    );
    // Stars do not cause backtracking.
    assert!(!matches(&"*a".repeat(2_000), &"a".repeat(1_999), APP));
}

#[test]
fn missing_functions_and_empty_profiles_are_reported() {
    let options = TableOptions {
        only: vec!["no\x1bbody".parse().unwrap(), "load".parse().unwrap()],
        ..TableOptions::default()
    };
    let messages = unmatched(&app(false), &options);
    assert_eq!(messages, ["No function named 'no\u{fffd}body' was sampled"]);
    assert!(written(Format::Functions, &app(false), options).contains(&messages[0]));
    let empty = Profile::new(ProfileOptions::default());
    for format in [Format::Lines, Format::Functions] {
        let text = written(format, &empty, TableOptions::default());
        assert!(text.contains("No samples: no thread ran Python"), "{text}");
    }
}

#[test]
fn functions_are_shown_around_their_lines_and_changed_ones_with_a_note() {
    let long: String = std::iter::once("def load(n):\n".to_owned())
        .chain((2..=400).map(|n| format!("    line_{n}\n")))
        .collect();
    let sampled = |line| -> Profile { profile(false, &[(&[("load", APP, line, 1)], 0)]) };
    let text = |source: &str, line: u32| {
        let sources = HashMap::from([(
            in_first(APP),
            Source::of_bytes(source.as_bytes(), None, Secrets::Hidden),
        )]);
        let options = TableOptions {
            sources,
            ..TableOptions::default()
        };
        written(Format::Lines, &sampled(line), options)
    };
    let around = text(&long, 100);
    let (_, rows) = around.split_once("==\n").unwrap();
    let numbers: Vec<&str> = rows
        .lines()
        .map(|row| row.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(
        numbers,
        [
            "1", "2", "3", "4", "…", "97", "98", "99", "100", "101", "102", "103"
        ]
    );
    assert!(!around.contains("Note:"), "{around}");
    // 40 lines of a docstring were shown before the only line that takes time.
    let docstring = format!(
        "def load(n):\n    \"\"\"{}\"\"\"\n    work()\n\n\n\n\n    last()\n",
        "text\n".repeat(40)
    );
    let short = text(&docstring, 43);
    let (_, rows) = short.split_once("==\n").unwrap();
    let numbers: Vec<&str> = rows
        .lines()
        .map(|row| row.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(
        numbers,
        [
            "1", "2", "3", "4", "…", "40", "41", "42", "43", "44", "45", "46", "47", "48"
        ],
        "{short}"
    );
    let changed = text("x = 1\n", 100);
    assert!(
        changed.contains("Note: 'load' does not start on line 1"),
        "{changed}"
    );
    assert!(
        changed.ends_with("\n   100        1  100.0    100.0           -          -\n"),
        "{changed}"
    );
    text(&long, u32::MAX);
}
