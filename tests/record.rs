//! `record --pid`: what a recording of a running process says and writes.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::path::Path;

use support::Target;
use support::record::{Bench, fixture, python};

#[test]
fn an_idle_process_gives_a_file_that_says_so() {
    let mut target = Target::start(python(), "ping.py", &[]);
    for (file, format) in [
        ("x.svg", "flamegraph"),
        ("x.json", "speedscope"),
        ("x.txt", "raw"),
    ] {
        let options = format!("-o {file} -f {format} -d 0.3 --pid {}", target.pid());
        let (bench, done) = Bench::new(&options).run(vec![]);
        done.assert_code(0);
        done.assert_wrote("Samples: 0 ");
        done.assert_wrote("--idle would show ");
        assert_eq!(bench.files(), [file]);
        if format == "flamegraph" {
            assert!(bench.text(file).contains("--idle"), "{}", bench.text(file));
        }
    }
    // It never noticed.
    target.say("ping");
    assert_eq!(target.next_line(), "pong");
    assert!(target.finish().success());
}

#[test]
fn a_process_that_ends_ends_the_recording() {
    let mut target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o x.txt -i --pid {}", target.pid());
    let (bench, record) = Bench::new(&options).start(vec![]);
    assert!(target.finish().success());
    let done = record.finish();
    // It may have ended before it could be attached to.
    if done.status.success() {
        done.assert_wrote("has ended");
        assert_eq!(bench.files(), ["x.txt"]);
    } else {
        done.assert_code(1);
        assert!(bench.files().is_empty());
    }
}

#[test]
fn a_pipe_gets_no_progress() {
    let target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o x.txt -i -d 0.3 --pid {}", target.pid());
    let (_bench, done) = Bench::new(&options).run(vec![]);
    done.assert_code(0);
    let lines: Vec<_> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", done.stderr);
    assert!(!done.stderr.contains(['\r', '\x1b']), "{}", done.stderr);
    assert_eq!(done.stdout, "");
}

#[test]
fn the_recording_itself_can_go_to_stdout() {
    let target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o - -f raw -i -d 0.3 --pid {}", target.pid());
    let (bench, done) = Bench::new(&options).run(vec![]);
    done.assert_code(0);
    assert!(
        done.stdout.contains("<module> (ping.py:"),
        "{}",
        done.stdout
    );
    assert!(bench.files().is_empty());
    assert!(Path::new(&format!("/proc/{}", target.pid())).exists());
}

#[test]
fn widths_are_the_programs_own_split() {
    // 4,000 samples: three points are then four standard deviations.
    let (bench, done) = Bench::new("-o x.txt -r 1000 -F").run(fixture("split.py", &["4"]));
    done.assert_code(0);
    let text = bench.text("x.txt");
    let mut counts = [
        ("ten_percent", 10.0, 0),
        ("thirty_percent", 30.0, 0),
        ("sixty_percent", 60.0, 0),
    ];
    for line in text.lines() {
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        for (name, _, count) in &mut counts {
            if stack.contains(&format!(";{name} (")) {
                *count += weight.parse::<u32>().unwrap();
            }
        }
    }
    let total: u32 = counts.iter().map(|(_, _, count)| count).sum();
    for (name, expected, count) in counts {
        let percent = 100.0 * f64::from(count) / f64::from(total);
        assert!(
            (percent - expected).abs() < 3.0,
            "{name}: {percent:.1} %\n{text}"
        );
    }
}
