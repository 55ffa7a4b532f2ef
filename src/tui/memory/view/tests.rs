//! The live plot of memory, without a terminal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::MemoryView;
use crate::rss::attribution::Growth;
use crate::rss::leak::verdict::Verdict;
use crate::rss::process_series::FootprintPoint;
use crate::tui::cells::lines;
use crate::tui::memory::state::MemorySnapshot;
use crate::tui::model::{Command, Title, View};
use crate::tui::rows::row::Row;

const MIB: u64 = 1 << 20;

fn row(name: &str, line: Option<u32>, grown_bytes: u64) -> Row {
    Row {
        own_growth: Growth {
            grown_bytes: grown_bytes.saturating_add(MIB),
            released_bytes: 0,
        },
        own_kept: grown_bytes,
        ..Row::new(name.into(), "pkg/app.py".into(), line)
    }
}

fn snapshot() -> MemorySnapshot {
    let at = |second| Duration::from_secs(second);
    MemorySnapshot {
        elapsed: at(80),
        rss_bytes: Some([60 * MIB, 20 * MIB, 64 * MIB]),
        shares: Some(FootprintPoint {
            elapsed: at(79),
            pss_bytes: 55 * MIB,
            uss_bytes: 50 * MIB,
            swap_bytes: MIB,
        }),
        curve: (0..=80).map(|s| (at(s), (20 + s / 2) * MIB)).collect(),
        baseline: (0..=80).step_by(8).map(|s| (at(s), 20 * MIB)).collect(),
        verdict: Some(Verdict::Growing {
            bytes_per_minute: 30 * MIB,
            since: Duration::ZERO,
            kind: None,
        }),
        functions: vec![row("take", None, 39 * MIB), row("other", None, MIB)],
        lines: vec![row("take", Some(20), 39 * MIB)],
    }
}

fn view() -> MemoryView {
    MemoryView {
        title: Title {
            command: "python app.py --n 3".into(),
            pid: 42,
            version: "3.12.1".into(),
            subprocesses: false,
        },
        by_line: false,
        file: Some("memory.svg".into()),
    }
}

fn screen(view: &MemoryView, snapshot: &MemorySnapshot, width: u16, height: u16) -> Vec<String> {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    view.draw(snapshot, &mut buffer);
    lines(&buffer)
}

#[test]
fn numbers_verdict_plot_and_functions() {
    let mut view = view();
    let shown = screen(&view, &snapshot(), 80, 24);
    let header = [
        "Memory of 'python app.py --n 3' (pid 42, python v3.12.1) for 80 s",
        "RSS 60.0 MiB, peak 64.0 MiB, growth +40.0M, PSS 55.0 MiB, USS 50.0 MiB",
        "Verdict: growing at 30.0 MiB/min (leak suspected)",
    ];
    assert_eq!(shown[..3], header);
    // The curve goes from the corner below to the one above, the baseline lies at the bottom.
    let is_curve = |line: &String, from: usize, to: usize| {
        let cells = line.chars().skip(from).take(to - from);
        cells.into_iter().any(|c| ('⠁'..='⣿').contains(&c))
    };
    assert!(
        shown[3].starts_with("62.0 MiB│") && is_curve(&shown[4], 60, 80),
        "{shown:#?}"
    );
    assert!(
        !is_curve(&shown[4], 10, 60) && is_curve(&shown[16], 9, 20),
        "{shown:#?}"
    );
    let dots = shown.iter().find(|line| line.contains('•')).unwrap();
    assert!(
        dots.starts_with("        │") && dots.matches('•').count() > 5,
        "{shown:#?}"
    );
    assert!(
        shown[19].ends_with("80 s") && shown[19].contains("40 s"),
        "{shown:#?}"
    );
    assert_eq!(
        shown[20..],
        [
            "     Kept    Added    Freed  Function (filename)",
            "   +39.0M   +40.0M        0  take (pkg/app.py)",
            "    +1.0M    +2.0M        0  other (pkg/app.py)",
            "Press q to quit, l for lines. Dots: baseline. Output: memory.svg",
        ]
    );
    view.handle(Command::ToggleLines);
    let shown = screen(&view, &snapshot(), 80, 24);
    assert!(
        shown
            .iter()
            .any(|line| line.ends_with("  take (pkg/app.py:20)")),
        "{shown:#?}"
    );
    let text = view.text(&snapshot(), 80, 20);
    assert!(
        text.starts_with(header[0]) && !text.contains("Press q"),
        "{text}"
    );
}

#[test]
fn small_screens_show_a_sparkline() {
    let shown = screen(&view(), &snapshot(), 40, 8);
    let (numbers, bars) = shown[1].split_at("RSS 60.0 MiB, peak 64.0 MiB  ".len());
    assert_eq!(numbers, "RSS 60.0 MiB, peak 64.0 MiB  ");
    assert!(bars.starts_with('▁') && bars.ends_with('█'), "{bars}");
    assert!(
        shown.iter().any(|line| line.contains("+39.0M  take")),
        "{shown:#?}"
    );
    let nothing = screen(&view(), &MemorySnapshot::default(), 80, 24);
    assert!(
        nothing[0].contains("for 0 s") && nothing[1..3] == ["", ""],
        "{nothing:#?}"
    );
}

#[test]
fn hostile_text_and_sizes_are_harmless() {
    let mut view = view();
    let evil = "a\x1b]0;owned\x07b\r\n\u{202e}関数関数関数関数関数";
    view.title.command = evil.repeat(100);
    view.title.version = evil.into();
    view.file = Some(evil.into());
    let mut snapshot = snapshot();
    snapshot.functions = vec![row(evil, Some(u32::MAX), u64::MAX); 300];
    snapshot.rss_bytes = Some([u64::MAX, 0, u64::MAX]);
    snapshot.curve = vec![(Duration::MAX, u64::MAX), (Duration::ZERO, 0)];
    snapshot.elapsed = Duration::MAX;
    for width in [0, 1, 10, 23, 24, 43, 44, 80, 300] {
        for height in [0, 1, 2, 3, 4, 6, 8, 11, 12, 24, 100] {
            let shown = screen(&view, &snapshot, width, height).join("");
            assert!(
                !shown.chars().any(|c| c.is_control() || c == '\u{202e}'),
                "{shown:?}"
            );
            let text = view.text(&snapshot, width, height);
            assert!(text.lines().count() <= usize::from(height).max(1), "{text}");
        }
    }
}
