//! [`TopView`]: draws the table of `top` into character cells.
//!
//! Names, paths, command lines and error texts come from the target. [`clean`](cells::clean) replaces their
//! control characters before they are drawn.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::header;
use super::help::{HELP_HEIGHT, draw_footer, draw_help};
use super::rss_line;
use super::state::TopSnapshot;
use super::table::{columns, gap, heading, name_heading, row_text};
use crate::os::Pid;
use crate::tui::cells;
use crate::tui::model::{Column, Command, Title, View};

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
    /// The initial view: functions, sorted by OwnTime, as in py-spy.
    pub fn new(title: Title, per_second: f64) -> Self {
        Self {
            title,
            per_second,
            sort: Column::OwnTime,
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
            let text = row_text(snapshot, row, &columns, self.per_second);
            buffer.set_stringn(line.x, line.y, text, line.width.into(), Style::new());
        }
    }

    fn draw_header(&self, snapshot: &TopSnapshot, area: Rect, buffer: &mut Buffer) {
        let mut load = header::load(snapshot, self.title.subprocesses);
        let memory = rss_line::line(snapshot, area.width);
        if area.height < 4 && !memory.spans.is_empty() {
            load.push_span(Span::raw(", "));
            load.extend(rss_line::spans(snapshot));
        }
        let lines = [
            header::title(&self.title, area.width.into()),
            header::samples(snapshot),
            load,
            memory,
        ];
        for (place, line) in area.rows().zip(lines) {
            buffer.set_line(place.x, place.y, &line, place.width);
        }
    }

    fn draw_heading(&self, columns: &[Column], area: Rect, buffer: &mut Buffer) {
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        let mut spans = Vec::new();
        for column in columns {
            let text = heading(*column);
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
        spans.push(Span::styled(name_heading(self.by_line), reversed));
        buffer.set_style(area, reversed);
        buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
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

#[cfg(test)]
mod tests;
