//! [`MemoryView`]: memory over time as a plot in character cells, with the verdict above it and the
//! functions with the most growth below.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::sparkline::curve;
use super::state::MemorySnapshot;
use crate::os::Pid;
use crate::text::units::{mib, size_change};
use crate::tui::cells::{self, MIN_NAME_WIDTH, clean, cut};
use crate::tui::model::{Command, Title, View};
use crate::tui::rows::row::Row;

/// The smallest plot that is drawn with axes, in cells.
const MIN_PLOT: (u16, u16) = (24, 5);
/// Most rows of functions, including the heading.
const MAX_ROWS: u16 = 12;
/// Space above and below the curve, as a share of its height.
const HEADROOM: f64 = 0.05;
/// The minimum, as a share of the memory: without it a change of a few pages would fill the plot.
const MIN_HEADROOM: f64 = 0.01;

#[derive(Clone, Debug)]
pub struct MemoryView {
    pub title: Title,
    /// Rows are lines instead of functions.
    pub by_line: bool,
    /// The file that the recording will be written to.
    pub file: Option<String>,
}

impl View for MemoryView {
    type Snapshot = MemorySnapshot;

    fn pid(&self) -> Pid {
        self.title.pid
    }

    fn draw(&self, snapshot: &MemorySnapshot, buffer: &mut Buffer) {
        let footer = u16::from(buffer.area.height >= 12);
        let [main, footer] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(footer)]).areas(buffer.area);
        self.draw_main(snapshot, main, buffer);
        self.draw_footer(footer, buffer);
    }

    fn text(&self, snapshot: &MemorySnapshot, width: u16, height: u16) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        self.draw_main(snapshot, buffer.area, &mut buffer);
        cells::text(&buffer)
    }

    fn handle(&mut self, command: Command) {
        if command == Command::ToggleLines {
            self.by_line = !self.by_line;
        }
    }
}

impl MemoryView {
    fn draw_main(&self, snapshot: &MemorySnapshot, area: Rect, buffer: &mut Buffer) {
        let header = area.height.min(3);
        let left = area.height - header;
        let rows = match left {
            0..3 => left,
            3..10 => left.saturating_sub(MIN_PLOT.1).max(3),
            _ => (left / 3).min(MAX_ROWS),
        };
        let grown = if self.by_line {
            &snapshot.lines
        } else {
            &snapshot.functions
        };
        let heading_and_rows = u16::try_from(grown.len() + 1).unwrap_or(u16::MAX);
        let [header, plot, rows] = Layout::vertical([
            Constraint::Length(header),
            Constraint::Fill(1),
            Constraint::Length(rows.min(heading_and_rows)),
        ])
        .areas(area);
        let has_plot = plot.width >= MIN_PLOT.0 && plot.height >= MIN_PLOT.1;
        self.draw_header(snapshot, !has_plot, header, buffer);
        if has_plot {
            draw_plot(snapshot, plot, buffer);
        }
        self.draw_rows(grown, rows, buffer);
    }

    fn draw_header(
        &self,
        snapshot: &MemorySnapshot,
        with_curve: bool,
        area: Rect,
        buffer: &mut Buffer,
    ) {
        let lines = [
            self.title_line(snapshot, area.width),
            numbers_line(snapshot, with_curve, area.width),
            verdict_line(snapshot),
        ];
        for (place, line) in area.rows().zip(lines) {
            buffer.set_line(place.x, place.y, &line, place.width);
        }
    }

    /// The title, with the command shortened so that the text after it stays visible.
    fn title_line(&self, snapshot: &MemorySnapshot, width: u16) -> Line<'static> {
        let before = Span::raw("Memory of '");
        let after = Span::raw(format!(
            "' (pid {}, python v{}) for {}",
            self.title.pid,
            clean(&self.title.version),
            span(snapshot.elapsed)
        ));
        let room = usize::from(width).saturating_sub(before.width() + after.width());
        let command = cut(&clean(&self.title.command), room.max(MIN_NAME_WIDTH.into()));
        let green = Style::new().fg(Color::Green);
        Line::from(vec![before, Span::styled(command, green), after])
    }

    fn draw_rows(&self, rows: &[Row], area: Rect, buffer: &mut Buffer) {
        let mut places = area.rows();
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        let wide = area.width >= 27 + MIN_NAME_WIDTH;
        if let Some(place) = places.next() {
            let more = if wide { "    Added    Freed" } else { "" };
            let place_of = if self.by_line { ":line" } else { "" };
            let text = format!("     Kept{more}  Function (filename{place_of})");
            buffer.set_style(place, reversed);
            buffer.set_stringn(place.x, place.y, text, place.width.into(), reversed);
        }
        for (place, row) in places.zip(rows) {
            let mut text = format!("{:>9}", row.shown_kept());
            if wide {
                text += &format!("{:>9}{:>9}", row.shown_added(), row.shown_freed());
            }
            text += &format!("  {}", clean(&row.text()));
            buffer.set_stringn(place.x, place.y, text, place.width.into(), Style::new());
        }
    }

    fn draw_footer(&self, area: Rect, buffer: &mut Buffer) {
        let key = |text| Span::styled(text, Style::new().add_modifier(Modifier::BOLD));
        let mut spans = vec![
            Span::raw("Press "),
            key("q"),
            Span::raw(" to quit, "),
            key("l"),
            Span::raw(" for lines. Dots: baseline."),
        ];
        if let Some(file) = &self.file {
            spans.push(Span::raw(format!(" Output: {}", clean(file))));
        }
        if let Some(last) = area.rows().next_back() {
            buffer.set_line(last.x, last.y, &Line::from(spans), last.width);
        }
    }
}

/// RSS and other numbers, as many as fit: a truncated number would be wrong.
fn numbers_line(snapshot: &MemorySnapshot, with_curve: bool, width: u16) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let Some([last, _, highest]) = snapshot.rss_bytes else {
        return Line::default();
    };
    let mut parts = vec![
        ("RSS ", mib(last)),
        (", peak ", mib(highest)),
        (", growth ", size_change(snapshot.growth().unwrap_or(0))),
    ];
    if let Some(shares) = snapshot.shares {
        parts.push((", PSS ", mib(shares.pss_bytes)));
        parts.push((", USS ", mib(shares.uss_bytes)));
        parts.push((", swap ", mib(shares.swap_bytes)));
    }
    let mut line = Line::default();
    for (name, value) in parts {
        let more = name.len() + value.len();
        if line.width() + more > width.into() {
            break;
        }
        line.push_span(Span::raw(name));
        line.push_span(Span::styled(value, bold));
    }
    let room = usize::from(width).saturating_sub(line.width() + 2);
    if with_curve && room > 0 {
        let readings: Vec<u64> = snapshot.curve.iter().map(|(_, bytes)| *bytes).collect();
        line.push_span(Span::raw(format!("  {}", curve(&readings, room))));
    }
    line
}

fn verdict_line(snapshot: &MemorySnapshot) -> Line<'static> {
    let Some(verdict) = snapshot.verdict else {
        return Line::default();
    };
    let style = Style::new().add_modifier(Modifier::BOLD);
    let style = if verdict.is_leak() {
        style.fg(Color::Red)
    } else {
        style
    };
    Line::from(vec![
        Span::raw("Verdict: "),
        Span::styled(verdict.to_string(), style),
    ])
}

fn draw_plot(snapshot: &MemorySnapshot, area: Rect, buffer: &mut Buffer) {
    let point = |(at, bytes): &(Duration, u64)| (at.as_secs_f64(), *bytes as f64);
    let rss: Vec<(f64, f64)> = snapshot.curve.iter().map(point).collect();
    let baseline: Vec<(f64, f64)> = snapshot.baseline.iter().map(point).collect();
    let (Some(low), Some(high)) = (
        rss.iter().map(|(_, bytes)| *bytes).reduce(f64::min),
        rss.iter().map(|(_, bytes)| *bytes).reduce(f64::max),
    ) else {
        return;
    };
    let room = ((high - low) * HEADROOM).max(high * MIN_HEADROOM);
    let bounds = [(low - room).max(0.0), high + room];
    let end = snapshot.elapsed.as_secs_f64().max(1.0);
    let faint = Style::new().fg(Color::DarkGray);
    let size = |bytes: f64| mib(bytes as u64);
    let middle = f64::midpoint(bounds[0], bounds[1]);
    let datasets = vec![
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(Color::Cyan))
            .data(&rss),
        Dataset::default()
            .marker(Marker::Dot)
            .graph_type(GraphType::Scatter)
            .style(Style::new().fg(Color::Yellow))
            .data(&baseline),
    ];
    Chart::new(datasets)
        .x_axis(Axis::default().style(faint).bounds([0.0, end]).labels([
            "0 s".to_owned(),
            span(snapshot.elapsed / 2),
            span(snapshot.elapsed),
        ]))
        .y_axis(Axis::default().style(faint).bounds(bounds).labels([
            size(bounds[0]),
            size(middle),
            size(bounds[1]),
        ]))
        .render(area, buffer);
}

/// A length of time in one unit: `41 s`, `12.5 min`, `3.2 h`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests;
