//! What the live view shows, as a picture of character cells: pure, so that tests can look at it.
//!
//! Names, paths, command lines and error texts come from the target. [`clean`] takes their control
//! characters away before they get near a cell.

use ratatui::buffer::{Buffer, CellWidth};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::help::{HELP_HEIGHT, draw_footer, draw_help};
use super::state::{Column, Snapshot};
use crate::os::Pid;
use crate::tui::app::View;
use crate::tui::memory::sparkline;
use crate::tui::rows::row::Row;
use crate::tui::terminal::input::Command;

/// Width of the four columns of time and the gap after them, and of that of memory.
const TIME_COLUMNS_WIDTH: u16 = 37;
const OWN_GROWTH_WIDTH: u16 = 11;
const TOTAL_GROWTH_WIDTH: u16 = 13;
/// Cells that a function's name should have before a column may stand beside it.
pub(crate) const MIN_NAME_WIDTH: u16 = 20;
/// Characters of one hostile text that are looked at: more than any terminal line shows.
const MAX_CHARS: usize = 1024;

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub struct Title {
    /// The command line of the process.
    pub command: String,
    /// Its process id.
    pub pid: Pid,
    /// The version of its interpreter, such as `3.12.1`.
    pub version: String,
}

/// What the user chose to see.
#[derive(Clone, Debug)]
pub struct TopView {
    /// What is looked at.
    pub title: Title,
    /// What a row counts in a second at most, to turn counts into seconds: samples, or nanoseconds.
    pub per_second: f64,
    /// The column that orders the table.
    pub sort: Column,
    /// Rows are lines, not functions.
    pub by_line: bool,
    /// The help is open.
    pub help: bool,
}

impl TopView {
    /// The view at the start: functions, the busiest of the moment first.
    pub fn new(title: Title, per_second: f64) -> Self {
        Self {
            title,
            per_second,
            sort: Column::OwnPercent,
            by_line: false,
            help: false,
        }
    }

    fn draw_table(&self, snapshot: &Snapshot, area: Rect, buffer: &mut Buffer) {
        // A low screen gives its lines to the rows first.
        let header_height = area.height.saturating_sub(5).min(5);
        let heading_height = u16::from(area.height >= 2);
        let [header, heading, rows] = Layout::vertical([
            Constraint::Length(header_height),
            Constraint::Length(heading_height),
            Constraint::Fill(1),
        ])
        .areas(area);
        self.draw_header(snapshot, header, buffer);
        let columns = columns(area.width, self.sort);
        if !heading.is_empty() {
            self.draw_heading(&columns, heading, buffer);
        }
        let sorted = snapshot.sorted(self.by_line, self.sort);
        for (line, row) in rows.rows().zip(sorted) {
            let text = self.row_text(snapshot, row, &columns);
            buffer.set_stringn(line.x, line.y, text, line.width.into(), Style::new());
        }
    }

    fn draw_header(&self, snapshot: &Snapshot, area: Rect, buffer: &mut Buffer) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let number = |text: String| Span::styled(text, bold);
        let mut samples = vec![
            Span::raw("Total Samples "),
            number(snapshot.samples.to_string()),
        ];
        if snapshot.missed_ticks > 0 {
            samples.push(Span::raw(format!(", Missed {}", snapshot.missed_ticks)));
        }
        if snapshot.torn > 0 {
            samples.push(Span::raw(format!(", Torn {}", snapshot.torn)));
        }
        if snapshot.errors > 0 {
            let red = bold.fg(Color::Red);
            samples.push(Span::raw(", Errors "));
            samples.push(Span::styled(snapshot.errors.to_string(), red));
            if let Some(error) = &snapshot.last_error {
                samples.push(Span::raw(format!(" ({})", clean(error))));
            }
        }
        if let Some(notice) = &snapshot.notice {
            let yellow = bold.fg(Color::Yellow);
            samples.push(Span::styled(format!(". {}", clean(notice)), yellow));
        }
        let mut load = vec![
            Span::raw("GIL: "),
            number(format!("{:.2}", snapshot.percent(snapshot.gil_now))),
            Span::raw("%, Active: "),
            number(format!("{:.2}", snapshot.percent(snapshot.active_now))),
            Span::raw("%, Threads: "),
            number(snapshot.threads.to_string()),
        ];
        let memory = sparkline::line(snapshot, area.width);
        if area.height < 4 && !memory.spans.is_empty() {
            load.push(Span::raw(", "));
            load.extend(sparkline::spans(snapshot));
        }
        let lines = [
            self.title_line(area.width),
            samples.into(),
            load.into(),
            memory,
        ];
        for (place, line) in area.rows().zip(lines) {
            buffer.set_line(place.x, place.y, &line, place.width);
        }
    }

    /// The title, with the command cut so that what follows it stays in sight.
    fn title_line(&self, width: u16) -> Line<'static> {
        let before = Span::raw("Collecting samples from '");
        let after = Span::raw(format!(
            "' (pid {}, python v{})",
            self.title.pid,
            clean(&self.title.version)
        ));
        let room = usize::from(width).saturating_sub(before.width() + after.width());
        let command = cut(&clean(&self.title.command), room.max(MIN_NAME_WIDTH.into()));
        Line::from(vec![
            before,
            Span::styled(command, Style::new().fg(Color::Green)),
            after,
        ])
    }

    fn draw_heading(&self, columns: &[Column], area: Rect, buffer: &mut Buffer) {
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        let mut spans = Vec::new();
        for column in columns {
            // As wide as the numbers below, see `row_text`.
            let text = match column {
                Column::OwnPercent => "  %Own ",
                Column::TotalPercent => "  %Total",
                Column::OwnTime => "  OwnTime",
                Column::TotalTime => "  TotalTime",
                Column::OwnGrowth => "  OwnGrowth",
                Column::TotalGrowth => "  TotalGrowth",
            };
            let chosen = Modifier::BOLD | Modifier::UNDERLINED;
            let style = if *column == self.sort {
                reversed.add_modifier(chosen)
            } else {
                reversed
            };
            let indent = text.len() - text.trim_start().len();
            let (indent, text) = text.split_at(indent);
            spans.push(Span::styled(indent, reversed));
            spans.push(Span::styled(text, style));
        }
        spans.push(Span::styled(gap(columns), reversed));
        let function = if self.by_line {
            "Function (filename:line)"
        } else {
            "Function (filename)"
        };
        spans.push(Span::styled(function, reversed));
        buffer.set_style(area, reversed);
        buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
    }

    fn row_text(&self, snapshot: &Snapshot, row: &Row, columns: &[Column]) -> String {
        let mut text = String::new();
        for column in columns {
            text.push_str(&match column {
                Column::OwnPercent => format!("{:>6.2}%", snapshot.row_percent(row.own_now)),
                Column::TotalPercent => format!("{:>7.2}%", snapshot.row_percent(row.total_now)),
                Column::OwnTime => format!("{:>8}s", seconds(row.own as f64 / self.per_second)),
                Column::TotalTime => {
                    format!("{:>9}s ", seconds(row.total as f64 / self.per_second))
                }
                Column::OwnGrowth => {
                    format!("{:>11}", sparkline::growth(row.own_growth.net_bytes()))
                }
                Column::TotalGrowth => {
                    format!("{:>13}", sparkline::growth(row.total_growth.net_bytes()))
                }
            });
        }
        text.push_str(gap(columns));
        text.push_str(&clean(&row.text()));
        text
    }
}

impl View for TopView {
    type Seen = Snapshot;

    fn pid(&self) -> Pid {
        self.title.pid
    }

    fn draw(&self, snapshot: &Snapshot, buffer: &mut Buffer) {
        let screen = buffer.area;
        if self.help {
            let [table, help] =
                Layout::vertical([Constraint::Fill(1), Constraint::Max(HELP_HEIGHT)]).areas(screen);
            self.draw_table(snapshot, table, buffer);
            draw_help(help, buffer);
            return;
        }
        let footer = match screen.height {
            0..6 => 0,
            6..12 => 1,
            _ => 2,
        };
        let [table, footer] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(footer)]).areas(screen);
        self.draw_table(snapshot, table, buffer);
        draw_footer(footer, buffer);
    }

    fn text(&self, snapshot: &Snapshot, width: u16, height: u16) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        self.draw_table(snapshot, buffer.area, &mut buffer);
        let mut text = lines(&buffer).join("\n");
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Sort(column) => self.sort = column,
            Command::ToggleLines => self.by_line = !self.by_line,
            Command::ToggleHelp => self.help = !self.help,
            Command::CloseHelp => self.help = false,
            Command::Reset | Command::Quit => {}
        }
    }
}

/// The columns that leave room for a name; where not all fit, the chosen one stays longest.
fn columns(width: u16, sort: Column) -> Vec<Column> {
    use Column::{OwnGrowth, OwnPercent, OwnTime, TotalGrowth, TotalPercent, TotalTime};
    const TIMES: u16 = TIME_COLUMNS_WIDTH + MIN_NAME_WIDTH;
    const ONE_GROWTH: u16 = TIMES + TOTAL_GROWTH_WIDTH;
    const ALL: u16 = ONE_GROWTH + OWN_GROWTH_WIDTH;
    let times = [OwnPercent, TotalPercent, OwnTime, TotalTime];
    match (width, sort) {
        (0..MIN_NAME_WIDTH, _) => Vec::new(),
        (MIN_NAME_WIDTH..36, _) => vec![sort],
        (ALL.., _) => [&times[..], &[OwnGrowth, TotalGrowth]].concat(),
        (ONE_GROWTH.., TotalGrowth) => [&times[..], &[TotalGrowth]].concat(),
        (ONE_GROWTH.., _) => [&times[..], &[OwnGrowth]].concat(),
        (45.., OwnGrowth | TotalGrowth) => vec![OwnGrowth, TotalGrowth],
        (_, OwnGrowth | TotalGrowth) => vec![sort],
        (TIMES.., _) => times.to_vec(),
        (_, OwnPercent | TotalPercent) => vec![OwnPercent, TotalPercent],
        (_, OwnTime | TotalTime) => vec![OwnTime, TotalTime],
    }
}

/// What stands between the numbers and the name.
fn gap(columns: &[Column]) -> &'static str {
    if columns.is_empty() { "" } else { "  " }
}

/// Seconds with as many decimals as are worth reading.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1000.0 => format!("{s:.0}"),
        s if s >= 100.0 => format!("{s:.1}"),
        s if s >= 1.0 => format!("{s:.2}"),
        s => format!("{s:.3}"),
    }
}

/// Hostile text made harmless: control characters, and format characters that turn or hide what
/// stands around them, become U+FFFD. Cut where no screen would show more.
pub(crate) fn clean(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c,
                '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}')
    };
    text.chars()
        .take(MAX_CHARS)
        .map(|c| {
            if hides(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// The text, or its beginning and `…` where it is wider than `width` cells.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if usize::from(text.cell_width()) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if usize::from(short.cell_width()) >= width {
            short.pop();
            break;
        }
    }
    short.push('…');
    short
}

/// The buffer's lines as text, without the blanks at their ends.
pub(crate) fn lines(buffer: &Buffer) -> Vec<String> {
    let mut lines = Vec::new();
    for row in buffer.area.rows() {
        let mut line = String::new();
        let mut x = row.x;
        while let Some(cell) = buffer.cell((x, row.y)).filter(|_| x < row.right()) {
            line.push_str(cell.symbol());
            // A wide character covers the cells after it.
            x = x.saturating_add(cell.symbol().cell_width().max(1));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

#[cfg(test)]
mod tests;
