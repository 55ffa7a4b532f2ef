//! Pictures of ordinary and unusual recordings: valid XML, nothing outside, no texts that overlap.
//!
//! With `PYSPY_TEST_PICTURES=DIRECTORY` the pictures are written there, to view them in a browser.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::time::Duration;

use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::model::{Line, Timeline};
use super::picture::draw;
use super::text;
use crate::profile::memory::timeline::{FunctionGrowth, GrowthCell};

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn growth(name: &str, file: Option<&str>, mib: u64, from: f64, to: f64) -> FunctionGrowth {
    let cells = 60_u32;
    let step = (to - from) / f64::from(cells);
    FunctionGrowth {
        name: name.to_owned(),
        file: file.map(str::to_owned),
        grown_bytes: mib << 20,
        cells: (0..cells)
            .map(|cell| GrowthCell {
                start: seconds(from + f64::from(cell) * step),
                grown_bytes: (mib << 20) / u64::from(cells),
            })
            .collect(),
    }
}

/// A leak during a minute of changing load.
fn leak() -> Timeline {
    let rss = |at: u32| {
        let load = if at % 20 < 8 { 30 } else { 0 };
        (10 + u64::from(at) / 4 + load) << 20
    };
    let points = 0..240_u32;
    let time = |at: u32| seconds(f64::from(at) / 4.0);
    let baseline = |at: u32| (time(at), (10 + u64::from(at) / 4) << 20);
    Timeline {
        title: "pyspy-rs: python3 app.py --its-option (Python 3.12.1)".to_owned(),
        verdict: "growing at 60.2 MiB/min (leak suspected)".to_owned(),
        is_alarming: true,
        facts: "RSS 40.0 MiB first, 69.0 MiB last, 98.0 MiB peak · USS 61.3 MiB last".to_owned(),
        length: seconds(60.0),
        rss: points
            .clone()
            .map(|at| (time(at), rss(at) - (2 << 20), rss(at)))
            .collect(),
        peak: Some((seconds(56.75), rss(227))),
        baseline: points.clone().step_by(4).map(baseline).collect(),
        trend: vec![baseline(0), baseline(239)],
        shares: vec![Line {
            name: "USS".to_owned(),
            points: points
                .step_by(4)
                .map(|at| (time(at), rss(at) - (6 << 20)))
                .collect(),
        }],
        functions: vec![
            growth("Cache.remember", Some("app/cache.py"), 240, 0.0, 60.0),
            growth(
                "load_everything",
                Some("app/models/tables.py"),
                90,
                10.0,
                40.0,
            ),
            growth("<not by a Python thread>", None, 4, 0.0, 5.0),
        ],
        more_functions: (12, 3 << 20),
        cell_width: Duration::from_millis(160),
        ..Timeline::default()
    }
}

/// The most lines and the longest names that are possible.
fn crowded() -> Timeline {
    let long = "process_everything_that_has_been_received_".repeat(6);
    let mut timeline = leak();
    timeline.title = format!("pyspy-rs: {long}");
    timeline.verdict = long.clone();
    timeline.facts = long.clone();
    timeline.processes = (0..8)
        .map(|at| Line {
            name: format!(
                "{} python3 {}",
                4_000_000 + at,
                "日本語 worker.py ".repeat(at)
            ),
            points: (0..=60)
                .map(|second| (seconds(f64::from(second)), (at as u64 * 3 + 4) << 20))
                .collect(),
        })
        .collect();
    timeline.more_processes = 17;
    timeline.shares = ["PSS", "swapped out"]
        .map(|name| Line {
            name: name.to_owned(),
            ..timeline.shares[0].clone()
        })
        .to_vec();
    timeline.functions = (0..6)
        .map(|at| growth(&long, Some(&long), 100 - at, 0.0, 60.0))
        .collect();
    timeline
}

/// The box of a text with the widest common monospace font: left, top, right, bottom.
fn text_box(node: Node<'_, '_>) -> (f64, f64, f64, f64) {
    let number = |name| node.attribute(name).unwrap().parse::<f64>().unwrap();
    let (x, y, size) = (number("x"), number("y"), number("font-size"));
    assert_eq!(node.attribute("font-family"), Some("monospace"));
    assert_eq!(
        node.attribute("dy"),
        Some("0.76em"),
        "y is the top of the text"
    );
    let wide = text::width(node.text().unwrap().trim(), size);
    let left = match node.attribute("text-anchor").unwrap() {
        "start" => x,
        "middle" => x - wide / 2.0,
        "end" => x - wide,
        other => panic!("{other}"),
    };
    (left, y, left + wide, y + size)
}

/// Asserts that the picture is valid XML, that nothing is outside, and that no two texts overlap.
pub(crate) fn check(svg: &str) {
    let document = Document::parse(svg).unwrap();
    let root = document.root_element();
    let view: Vec<f64> = root
        .attribute("viewBox")
        .unwrap()
        .split(' ')
        .map(|number| number.parse().unwrap())
        .collect();
    // The picture must have no size of its own.
    assert_eq!(
        (root.attribute("width"), root.attribute("height")),
        (None, None)
    );
    let boxes: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .map(|node| (text_box(node), node.text().unwrap().trim().to_owned()))
        .collect();
    for (at, (one, text)) in boxes.iter().enumerate() {
        assert!(
            one.0 >= 0.0 && one.1 >= 0.0 && one.2 <= view[2] && one.3 <= view[3],
            "outside: {text:?} {one:?}"
        );
        for (other, other_text) in &boxes[at + 1..] {
            let apart =
                one.2 <= other.0 || other.2 <= one.0 || one.3 <= other.1 || other.3 <= one.1;
            assert!(apart, "{text:?} {one:?} overlaps {other_text:?} {other:?}");
        }
    }
    for node in document.descendants() {
        for point in node
            .attribute("points")
            .unwrap_or_default()
            .split_whitespace()
        {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(
                (0.0..=view[2]).contains(&x) && (0.0..=view[3]).contains(&y),
                "{point}"
            );
        }
    }
}

fn drawn(name: &str, timeline: &Timeline) -> String {
    let svg = draw(timeline);
    save(name, &svg);
    check(&svg);
    svg
}

/// Writes a picture to the directory of `PYSPY_TEST_PICTURES`, if set.
pub(crate) fn save(name: &str, svg: &str) {
    if let Some(folder) = std::env::var_os("PYSPY_TEST_PICTURES") {
        std::fs::write(
            std::path::Path::new(&folder).join(format!("{name}.svg")),
            svg,
        )
        .unwrap();
    }
}

pub(crate) fn texts(svg: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap();
    let texts = document
        .descendants()
        .filter(|node| node.has_tag_name("text"));
    texts
        .map(|node| node.text().unwrap().trim().to_owned())
        .collect()
}

#[test]
fn a_leak_is_shown_with_all_its_facts() {
    let svg = drawn("leak", &leak());
    let texts = texts(&svg);
    for expected in [
        "pyspy-rs: python3 app.py --its-option (Python 3.12.1)",
        "growing at 60.2 MiB/min (leak suspected)",
        "RSS",
        "baseline",
        "trend",
        "USS",
        "peak 96.0 MiB at 56.8 s",
        "0 s",
        "60 s",
        "0 MiB",
        "80 MiB",
        "RSS growth by function, one bar per 480 ms",
        "Cache.remember (app/cache.py)",
        "240.0 MiB (71.2 %)",
        "and 12 more functions: 3.0 MiB (0.9 %)",
    ] {
        assert!(
            texts.iter().any(|text| text == expected),
            "{expected}: {texts:?}"
        );
    }
    let document = Document::parse(&svg).unwrap();
    let title = document
        .descendants()
        .find(|node| node.has_tag_name("title"));
    assert!(title.unwrap().text().unwrap().ends_with("(leak suspected)"));
}

#[test]
fn many_long_names_are_shortened_and_do_not_overlap() {
    let svg = drawn("crowded", &crowded());
    let texts = texts(&svg);
    assert!(texts.contains(&"and 17 smaller processes".to_owned()));
    assert!(texts.contains(&"RSS of all processes".to_owned()));
    assert!(
        texts.iter().filter(|text| text.ends_with('…')).count() >= 9,
        "{texts:?}"
    );
}

#[test]
fn little_data_makes_a_picture() {
    drawn("nothing", &Timeline::default());
    let short = Timeline {
        title: "pyspy-rs: python <a & b>".to_owned(),
        rss: vec![(Duration::ZERO, 5 << 20, 5 << 20)],
        peak: Some((Duration::ZERO, 5 << 20)),
        ..Timeline::default()
    };
    let texts = texts(&drawn("short", &short));
    assert!(
        texts.contains(&"pyspy-rs: python <a & b>".to_owned()),
        "{texts:?}"
    );
    // A peak at either edge of the plot.
    for (name, at) in [("peak-left", 0.0), ("peak-right", 60.0)] {
        let mut timeline = leak();
        timeline.peak = Some((seconds(at), 96 << 20));
        drawn(name, &timeline);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_sizes_or_names_make_texts_overlap(
        bytes in prop::collection::vec(0_u64..1 << 50, 1..20),
        length_ms in 0_u64..10_000_000_000,
        names in prop::collection::vec("\\PC{0,80}", 1..8),
    ) {
        let length = Duration::from_millis(length_ms);
        let points: Vec<(Duration, u64)> = bytes
            .iter()
            .enumerate()
            .map(|(at, bytes)| (length.mul_f64(at as f64 / 20.0), *bytes))
            .collect();
        let timeline = Timeline {
            title: names[0].clone(),
            length,
            rss: points.iter().map(|(at, bytes)| (*at, *bytes, *bytes)).collect(),
            peak: points.iter().copied().max_by_key(|(_, bytes)| *bytes),
            baseline: points.clone(),
            trend: points.clone(),
            processes: names
                .iter()
                .map(|name| Line { name: name.clone(), points: points.clone() })
                .collect(),
            functions: names
                .iter()
                .map(|name| growth(name, None, 9, 0.0, length.as_secs_f64()))
                .collect(),
            cell_width: length / 600,
            ..Timeline::default()
        };
        check(&draw(&timeline));
    }
}
