//! [`FrameSize::frame`]: the screen of `top` as lines of text, for where there is no terminal.
//!
//! A program may read it, so it has py-spy's columns only, the lines have no escapes, and each frame has the same
//! number of lines: the header, the table, and at least one blank line. Lines are whole unless a width is given.

use super::header;
use super::rss_line;
use super::state::TopSnapshot;
use super::table::{TIMES, gap, heading, name_heading, row_text};
use super::view::TopView;
use crate::tui::cells::cut;

/// Size of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSize {
    /// Lines; fewer than [`MIN_LINES`] count as these.
    pub lines: usize,
    /// The most cells of a line, if that is limited.
    pub columns: Option<usize>,
}

/// Lines of a frame unless the user wants another number.
pub const DEFAULT_LINES: usize = 24;
/// The header, the heading, one row, a blank line.
const MIN_LINES: usize = 8;

impl FrameSize {
    /// The lines of a frame, each with a newline.
    pub fn frame(self, view: &TopView, snapshot: &TopSnapshot) -> String {
        let count = self.lines.max(MIN_LINES);
        let width = self.columns.unwrap_or(usize::MAX);
        let head: String = TIMES.map(heading).concat();
        let mut lines = vec![
            header::title(&view.title, width).to_string(),
            header::samples(snapshot).to_string(),
            header::load(snapshot, view.title.subprocesses).to_string(),
            rss_line::text(snapshot),
            String::new(),
            format!("{head}{}{}", gap(&TIMES), name_heading(view.by_line)),
        ];
        let room = count.saturating_sub(lines.len() + 1);
        let rows = snapshot.sorted(view.by_line, view.sort).into_iter();
        lines.extend(
            rows.take(room)
                .map(|row| row_text(snapshot, row, &TIMES, view.per_second)),
        );
        lines.resize(count, String::new());
        lines.iter().map(|line| cut(line, width) + "\n").collect()
    }
}
