//! The table of `top`, without a terminal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::TopView;
use crate::rss::attribution::Growth;
use crate::tui::model::{Column, Title, View};
use crate::tui::rows::row::Row;
use crate::tui::top::plain::{DEFAULT_LINES, FrameSize};
use crate::tui::top::state::TopSnapshot;

fn snapshot() -> TopSnapshot {
    let row = |name: &str, line, [own_now, total_now, own, total]: [u64; 4], grown| Row {
        name: name.into(),
        filename: "pkg/app.py".into(),
        line,
        own_now,
        total_now,
        own,
        total,
        own_growth: Growth {
            grown_bytes: grown,
            released_bytes: 2 << 20,
        },
        own_kept: grown / 5,
    };
    TopSnapshot {
        samples: 400,
        samples_now: 100,
        whole_now: 100,
        missed_ticks: 7,
        torn: 1,
        errors: 2,
        notice: None,
        last_error: Some(Arc::from("thread 7\x1b[2J ended")),
        threads: 3,
        processes: 2,
        active_now: 129,
        gil_now: 98,
        rss_bytes: Some(60_000_000),
        rss_first_bytes: Some(61_000_000),
        rss_peak_bytes: Some(64_000_000),
        rss_curve: (56..64).map(|mb| mb * 1_000_000).collect(),
        functions: vec![
            row("<module>", None, [5, 100, 18, 123_456], 0),
            row("fib", None, [95, 95, 382, 382], 15 << 20),
        ],
        lines: vec![row("fib", Some(4), [95, 95, 382, 382], 2 << 20)],
    }
}

fn view() -> TopView {
    let title = Title {
        command: "python app.py --n 3".into(),
        pid: 42,
        version: "3.12.1".into(),
        subprocesses: false,
    };
    TopView::new(title, 100.0)
}

/// The screen as a terminal shows it, without blank lines at the end.
fn screen(view: &TopView, snapshot: &TopSnapshot, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view.draw(snapshot, frame.buffer_mut()))
        .unwrap();
    let shown = terminal.backend().to_string();
    let lines = shown.lines().map(|line| line.trim_matches('"').trim_end());
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[test]
fn ordinary_screen() {
    let expected = "\
Collecting samples from 'python app.py --n 3' (pid 42, python v3.12.1)
Total Samples 400, Missed 7, Torn 1, Errors 2 (thread 7\u{fffd}[2J ended)
GIL: 98.00%, Active: 129.00%, Threads: 3
RSS: 57.2 MiB (peak 61.0 MiB), growth -1.0M  ▁▂▃▄▅▆▇█

  %Own   %Total  OwnTime  TotalTime     Kept  Function (filename)
 95.00%  95.00%    3.82s     3.82s     +3.0M  fib (pkg/app.py)
  5.00% 100.00%   0.180s     1235s         0  <module> (pkg/app.py)";
    let footer = "Press q to quit, ? for help, 1-6 to sort, l for lines, r to reset.";
    for (width, height) in [(80, 24), (80, 40)] {
        let blank = "\n".repeat(usize::from(height) - 8);
        let shown = screen(&view(), &snapshot(), width, height);
        assert_eq!(shown, format!("{expected}{blank}{footer}"));
    }
    assert_eq!(view().text(&snapshot(), 80, 20), format!("{expected}\n"));
    let wide = screen(&view(), &snapshot(), 94, 24);
    assert!(
        wide.contains("     Kept    Added    Freed  Function (filename)\n")
            && wide.contains("    +3.0M   +15.0M    -2.0M  fib (pkg/app.py)\n"),
        "{wide}"
    );

    let mut by_line = view();
    by_line.by_line = true;
    by_line.sort = Column::TotalTime;
    let shown = screen(&by_line, &snapshot(), 80, 24);
    assert!(
        shown.contains("TotalTime     Kept  Function (filename:line)\n"),
        "{shown}"
    );
    assert!(
        shown.contains("3.82s     +410K  fib (pkg/app.py:4)\n"),
        "{shown}"
    );
}

#[test]
fn small_screens_give_priority_to_the_rows() {
    let mut view = view();
    view.sort = Column::OwnPercent;
    let expected = "\
Collecting samples from 'python app.py -
Total Samples 400, Missed 7, Torn 1, Err
GIL: 98.00%, Active: 129.00%, Threads: 3
RSS: 57.2 MiB (peak 61.0 MiB)  ▁▂▃▄▅▆▇█
  %Own   %Total  Function (filename)
 95.00%  95.00%  fib (pkg/app.py)
  5.00% 100.00%  <module> (pkg/app.py)


Press q to quit, ? for help, 1-6 to sort";
    assert_eq!(screen(&view, &snapshot(), 40, 10), expected);
    assert_eq!(
        screen(&view, &snapshot(), 10, 3),
        "Function (\nfib (pkg/a\n<module> ("
    );
    view.sort = Column::TotalTime;
    let shown = screen(&view, &snapshot(), 40, 3);
    assert!(
        shown.starts_with("  OwnTime  TotalTime  Function"),
        "{shown}"
    );
    let shown = screen(&view, &snapshot(), 25, 3);
    assert_eq!(shown.lines().next(), Some("  TotalTime  Function (fi"));
    view.sort = Column::Added;
    for (width, heading) in [
        (25, "    Added  Function (file"),
        (50, "     Kept    Added    Freed  Function (filename)"),
        (
            70,
            "  %Own   %Total  OwnTime  TotalTime    Added  Function (filename)",
        ),
    ] {
        let shown = screen(&view, &snapshot(), width, 3);
        assert_eq!(shown.lines().next(), Some(heading));
    }
}

#[test]
fn a_frame_has_py_spys_columns_and_always_as_many_lines() {
    let mut size = FrameSize {
        lines: DEFAULT_LINES,
        columns: None,
    };
    let expected = "\
Collecting samples from 'python app.py --n 3' (pid 42, python v3.12.1)
Total Samples 400, Missed 7, Torn 1, Errors 2 (thread 7\u{fffd}[2J ended)
GIL: 98.00%, Active: 129.00%, Threads: 3
RSS: 57.2 MiB (peak 61.0 MiB), growth -1.0M

  %Own   %Total  OwnTime  TotalTime  Function (filename)
 95.00%  95.00%    3.82s     3.82s   fib (pkg/app.py)
  5.00% 100.00%   0.180s     1235s   <module> (pkg/app.py)
";
    let frame = size.frame(&view(), &snapshot());
    assert_eq!(frame, expected.to_owned() + &"\n".repeat(16));

    let mut tree = view();
    tree.title.subprocesses = true;
    let frame = size.frame(&tree, &snapshot());
    assert!(
        frame.contains(" --n 3' and subprocesses (pid 42, ")
            && frame.contains("\nGIL: 98.00%, Active: 129.00%, Threads: 3, Processes 2\n"),
        "{frame}"
    );

    // The first row is there, whatever is asked for, and the last line is blank.
    size = FrameSize {
        lines: 1,
        columns: Some(42),
    };
    let frame = size.frame(&view(), &snapshot());
    assert_eq!(frame.lines().count(), 8);
    assert!(frame.ends_with("   fib …\n\n"), "{frame}");
    let mut hostile = snapshot();
    hostile.functions[1].name = "a\x1b]0;owned\x07\n\u{202e}".into();
    let frame = size.frame(&view(), &hostile);
    assert_eq!(frame.lines().count(), 8);
    let bad = |c: char| c != '\n' && (c.is_control() || HIDDEN.contains(&c));
    assert!(!frame.contains(bad), "{frame:?}");
}

#[test]
fn help_is_below_the_table_or_alone() {
    let mut view = view();
    view.help = true;
    let shown = screen(&view, &snapshot(), 80, 24);
    for text in [
        "Collecting samples",
        "fib (pkg",
        " Keyboard Shortcuts",
        "Reset statistics",
        "Quit",
    ] {
        assert!(shown.contains(text), "{text} is missing in:\n{shown}");
    }
    let shown = screen(&view, &snapshot(), 40, 10);
    assert!(
        shown.starts_with(" Keyboard Shortcuts") && !shown.contains("fib"),
        "{shown}"
    );
}

/// Characters that hide or reorder text.
const HIDDEN: [char; 6] = [
    '\u{202e}',
    '\u{2066}',
    '\u{200b}',
    '\u{feff}',
    '\u{e0041}',
    '\u{200d}',
];

#[test]
fn hostile_names_are_harmless() {
    let names = [
        "a\x1b]0;owned\x07b\r\n\tc\u{9b}31m\0",
        "right\u{202e}to left\u{2066}\u{200b}\u{feff}\u{e0041}",
        "关于日本語の関数名がとても長いとき関数名がとても長いとき関数名がとても長い",
        "Ω🐍👩\u{200d}🚀🇩🇪",
        &"é\u{301}\u{302}".repeat(5000),
        "",
    ];
    let rows = names.map(|name| Row {
        name: name.into(),
        filename: name.into(),
        line: Some(u32::MAX),
        own_now: u64::MAX,
        total_now: u64::MAX,
        own: u64::MAX,
        total: u64::MAX,
        own_growth: Growth {
            grown_bytes: u64::MAX,
            released_bytes: 0,
        },
        own_kept: u64::MAX,
    });
    let snapshot = TopSnapshot {
        samples: u64::MAX,
        samples_now: 1,
        whole_now: 1,
        errors: u64::MAX,
        last_error: Some(names[0].into()),
        active_now: u64::MAX,
        rss_bytes: Some(u64::MAX),
        rss_first_bytes: Some(0),
        rss_peak_bytes: Some(u64::MAX),
        rss_curve: vec![0, u64::MAX],
        functions: rows.to_vec(),
        lines: rows.to_vec(),
        ..TopSnapshot::default()
    };
    let mut view = view();
    view.by_line = true;
    for name in names {
        view.title.command = name.into();
        view.title.version = name.into();
        for (width, height) in [
            (80, 24),
            (120, 40),
            (40, 10),
            (37, 9),
            (10, 3),
            (1, 1),
            (0, 0),
        ] {
            for help in [false, true] {
                view.help = help;
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                view.draw(&snapshot, &mut buffer);
                let bad = |c: char| c.is_control() || HIDDEN.contains(&c);
                assert!(
                    !buffer
                        .content
                        .iter()
                        .any(|cell| cell.symbol().contains(bad))
                );
                let text = view.text(&snapshot, width, height);
                assert!(!text.replace('\n', "").contains(bad));
                assert!(text.lines().count() <= usize::from(height).max(1), "{text}");
            }
        }
    }
}

#[test]
fn wide_characters_are_not_split_or_padded() {
    let mut snapshot = snapshot();
    snapshot.functions[1].name = "関数".into();
    let text = view().text(&snapshot, 80, 20);
    assert!(
        text.contains("3.82s     +3.0M  関数 (pkg/app.py)\n"),
        "{text}"
    );
    // 46 cells of numbers leave room for eleven and a half of the characters.
    snapshot.functions[1].name = "関".repeat(20).into();
    let text = view().text(&snapshot, 69, 20);
    assert!(
        text.contains(&format!("3.82s     +3.0M  {}\n", "関".repeat(11))),
        "{text}"
    );
}

#[test]
fn a_long_command_leaves_the_version_visible() {
    let mut view = view();
    view.title.command = "python ".to_owned() + &"関数".repeat(100);
    let shown = view.text(&snapshot(), 80, 20);
    let title = shown.lines().next().unwrap();
    assert!(title.ends_with("数…' (pid 42, python v3.12.1)"), "{title}");
}
