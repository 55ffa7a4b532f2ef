//! [`TopView`]: draws the table of `top` into character cells.
//!
//! Names, paths, command lines and error texts come from the target. [`clean`] replaces their control
//! characters before they are drawn.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::help::{HELP_HEIGHT, draw_footer, draw_help};
use super::rss_line;
use super::state::TopSnapshot;
use crate::os::Pid;
use crate::text::units::size_change;
use crate::tui::cells::{self, MIN_NAME_WIDTH, clean, cut};
use crate::tui::model::{Column, Command, Title, View};
use crate::tui::rows::row::Row;

/// Width of the four columns of time with the gap after them, and of the columns of memory.
const TIME_COLUMNS_WIDTH: u16 = 37;
const OWN_GROWTH_WIDTH: u16 = 11;
const TOTAL_GROWTH_WIDTH: u16 = 13;

#[derive(Clone, Debug)]
pub struct TopView {
    pub title: Title,
    /// Divides counts to convert them to seconds: samples per second, or 1e9 for nanoseconds.
    pub per_second: f64,
    /// The column that sorts the table.
    pub sort: Column,
    /// Rows are lines instead of functions.
    pub by_line: bool,
    /// The help is visible.
    pub help: bool,
}

impl TopView {
    /// The initial view: functions, sorted by %Own.
    pub fn new(title: Title, per_second: f64) -> Self {
        Self {
            title,
            per_second,
            sort: Column::OwnPercent,
            by_line: false,
            help: false,
        }
    }

    fn draw_table(&self, snapshot: &TopSnapshot, area: Rect, buffer: &mut Buffer) {
        // On a low screen the rows have priority.
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

    fn draw_header(&self, snapshot: &TopSnapshot, area: Rect, buffer: &mut Buffer) {
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
        let memory = rss_line::line(snapshot, area.width);
        if area.height < 4 && !memory.spans.is_empty() {
            load.push(Span::raw(", "));
            load.extend(rss_line::spans(snapshot));
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

    /// The title, with the command shortened so that the text after it stays visible.
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
            // As wide as the numbers in `row_text`.
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

    fn row_text(&self, snapshot: &TopSnapshot, row: &Row, columns: &[Column]) -> String {
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
                    format!("{:>11}", size_change(row.own_growth.net_bytes()))
                }
                Column::TotalGrowth => {
                    format!("{:>13}", size_change(row.total_growth.net_bytes()))
                }
            });
        }
        text.push_str(gap(columns));
        text.push_str(&clean(&row.text()));
        text
    }
}

impl View for TopView {
    type Snapshot = TopSnapshot;

    fn pid(&self) -> Pid {
        self.title.pid
    }

    fn draw(&self, snapshot: &TopSnapshot, buffer: &mut Buffer) {
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

    fn text(&self, snapshot: &TopSnapshot, width: u16, height: u16) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        self.draw_table(snapshot, buffer.area, &mut buffer);
        cells::text(&buffer)
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

/// The columns that leave room for a name; if not all fit, the one that sorts has priority.
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

/// The space between the numbers and the name.
fn gap(columns: &[Column]) -> &'static str {
    if columns.is_empty() { "" } else { "  " }
}

/// Seconds with three or four digits.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1000.0 => format!("{s:.0}"),
        s if s >= 100.0 => format!("{s:.1}"),
        s if s >= 1.0 => format!("{s:.2}"),
        s => format!("{s:.3}"),
    }
}

#[cfg(test)]
mod tests;
