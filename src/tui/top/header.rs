//! The lines above the table of `top`: the program, the samples, and the line of the load, which monitors
//! parse in py-spy's spelling.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::state::TopSnapshot;
use crate::tui::cells::{MIN_NAME_WIDTH, clean, cut};
use crate::tui::model::Title;

/// The program; its command is shortened so that the text after it fits into `width` cells.
pub fn title(title: &Title, width: usize) -> Line<'static> {
    let before = Span::raw("Collecting samples from '");
    let after = Span::raw(format!(
        "'{} (pid {}, python v{})",
        if title.subprocesses {
            " and subprocesses"
        } else {
            ""
        },
        title.pid,
        clean(&title.version)
    ));
    let room = width.saturating_sub(before.width() + after.width());
    let command = cut(&clean(&title.command), room.max(MIN_NAME_WIDTH.into()));
    Line::from(vec![
        before,
        Span::styled(command, Style::new().fg(Color::Green)),
        after,
    ])
}

/// How many samples, what is wrong with them, and the last notice.
pub fn samples(snapshot: &TopSnapshot) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::raw("Total Samples "), number(snapshot.samples)];
    if snapshot.missed_ticks > 0 {
        spans.push(Span::raw(format!(", Missed {}", snapshot.missed_ticks)));
    }
    if snapshot.torn > 0 {
        spans.push(Span::raw(format!(", Torn {}", snapshot.torn)));
    }
    if snapshot.errors > 0 {
        let red = bold.fg(Color::Red);
        spans.push(Span::raw(", Errors "));
        spans.push(Span::styled(snapshot.errors.to_string(), red));
        if let Some(error) = &snapshot.last_error {
            spans.push(Span::raw(format!(" ({})", clean(error))));
        }
    }
    if let Some(notice) = &snapshot.notice {
        let yellow = bold.fg(Color::Yellow);
        spans.push(Span::styled(format!(". {}", clean(notice)), yellow));
    }
    spans.into()
}

/// `GIL: 98.00%, Active: 129.00%, Threads: 3`, and `, Processes 2` with child processes.
pub fn load(snapshot: &TopSnapshot, subprocesses: bool) -> Line<'static> {
    let percent = |count| format!("{:.2}", snapshot.percent(count));
    let mut spans = vec![
        Span::raw("GIL: "),
        number(percent(snapshot.gil_now)),
        Span::raw("%, Active: "),
        number(percent(snapshot.active_now)),
        Span::raw("%, Threads: "),
        number(snapshot.threads),
    ];
    if subprocesses {
        spans.push(Span::raw(", Processes "));
        spans.push(number(snapshot.processes));
    }
    spans.into()
}

fn number(value: impl ToString) -> Span<'static> {
    Span::styled(value.to_string(), Style::new().add_modifier(Modifier::BOLD))
}
