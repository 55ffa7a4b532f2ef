#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use super::*;
use crate::cpython::code::frame_table::FrameTable;
use crate::profile::options::ProfileOptions;
use crate::testing::{frame_in, main_thread, sample};

/// 1,000 samples of the program's own code, of which 10 import something and one more is in `deep` frames.
fn profile(deep: usize) -> Profile {
    let mut table = FrameTable::default();
    let own = table.intern(frame_in("/srv/app.py", "work", 1));
    let import = table.intern(frame_in("<frozen importlib>", "find_spec", 1));
    let sliver = table.intern(frame_in("/v/site-packages/x.py", "sliver", 1));
    let mut profile = Profile::new(ProfileOptions::default());
    for tick in 0..1_000 {
        let mut stack = vec![own];
        match tick {
            0..10 => stack.push(import),
            10 => stack.extend(vec![sliver; deep]),
            _ => {}
        }
        let sample = sample(10 * tick, vec![main_thread(1).stack(&stack)]);
        profile.add(&sample, &table, &|_| None);
    }
    profile.finish();
    profile
}

fn drawn(profile: &Profile, meta: &Meta) -> String {
    let mut svg = Vec::new();
    write(profile, meta, &mut svg).unwrap();
    String::from_utf8(svg).unwrap()
}

fn height(svg: &str) -> usize {
    let (_, rest) = svg.split_once(" height=\"").unwrap();
    rest.split_once('"').unwrap().0.parse().unwrap()
}

/// One sample in an import of 200 frames made the picture 3,200 pixels tall, and nearly all of it empty.
#[test]
fn slivers_do_not_make_the_picture_tall() {
    let (flat, deep) = (profile(0), profile(200));
    let meta = |min_width: &str| Meta {
        min_width: min_width.parse().unwrap(),
        ..Meta::default()
    };
    let default = drawn(&deep, &Meta::default());
    assert!(
        default.contains("sliver"),
        "1.2 pixels are drawn by default"
    );
    let narrow = drawn(&deep, &meta("2"));
    assert!(!narrow.contains("sliver") && narrow.contains("find_spec"));
    assert_eq!(height(&narrow), height(&drawn(&flat, &meta("2"))));
    assert!(height(&default) > height(&narrow) + 190 * FRAME_HEIGHT);
    assert!(!drawn(&deep, &meta("1.5%")).contains("find_spec"));
}

#[test]
fn the_legend_has_the_colours_that_occur() {
    let svg = drawn(&profile(1), &Meta::default());
    for (name, is_shown) in [
        ("own code", true),
        ("packages", true),
        ("standard library", true),
        ("garbage collection", false),
        ("processes, threads", false),
    ] {
        assert_eq!(svg.contains(&format!(">{name}</text>")), is_shown, "{name}");
    }
}

/// The title was the interpreter's path and the start of the script's, and nothing said where and when.
#[test]
fn titles_and_details_tell_what_was_recorded() {
    let meta = Meta {
        command: format!(
            "/opt/versions/3.12.1/bin/python3.12 /srv/app.py --name <b>&\x1b{} --last",
            " word".repeat(50)
        ),
        python_version: Some("3.12.1".to_owned()),
        host: Some("<host>".to_owned()),
        options: "--rate 500".to_owned(),
        pid: Some(4_100),
        ..Meta::default()
    };
    let svg = drawn(&profile(0), &meta);
    let (_, title) = svg.split_once("<text id=\"title\">").unwrap();
    let (title, rest) = title.split_once("</text>").unwrap();
    assert!(
        title.contains(">pyspy-rs: app.py --name &lt;b&gt;&amp;\u{fffd} word"),
        "{title}"
    );
    assert!(title.contains('…'), "{title}");
    assert!(title.contains(" --last (Python 3.12.1)<"), "{title}");
    assert!(
        rest.contains(">--rate 500 · host &lt;host&gt; · PID 4100<"),
        "{rest}"
    );
}

/// Long lines reached over the edge of the picture.
#[test]
fn no_line_is_wider_than_the_picture() {
    let meta = Meta {
        command: "python3 a.py ".to_owned() + &"x".repeat(500),
        host: Some("h".repeat(80)),
        options: "--rate 500 ".to_owned() + &"-t ".repeat(40),
        pid: Some(4_100),
        ..Meta::default()
    };
    let svg = drawn(&profile(0), &meta);
    let (_, drawn) = svg.split_once("</script>").unwrap();
    let (header, _) = drawn.split_once("<svg id=\"frames\"").unwrap();
    let lines = header.split("<tspan ").skip(1);
    let lengths: Vec<usize> = lines
        .filter_map(|line| line.split_once('>')?.1.split_once('<'))
        .map(|(text, _)| text.chars().count())
        .collect();
    // 16 pixels a character in the title, 12 in the others.
    assert!(lengths.len() >= 4, "{header}");
    assert!(
        lengths.iter().take(1).all(|length| *length <= 121),
        "{lengths:?}"
    );
    assert!(
        lengths.iter().skip(1).all(|length| *length <= 162),
        "{lengths:?}"
    );
}
