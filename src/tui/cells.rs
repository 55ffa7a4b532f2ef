//! Text in the cells of a screen.

use ratatui::buffer::{Buffer, CellWidth};

use crate::text::sanitize::is_unsafe;

/// Least width of a function's name before columns to its left are omitted.
pub const MIN_NAME_WIDTH: u16 = 20;
/// Most characters of a hostile text that are drawn: more than any terminal line shows.
const MAX_CHARS: usize = 1024;

/// Hostile text for display: [unsafe](is_unsafe) characters become U+FFFD, and so do zero-width joiners,
/// because terminals disagree on the width of joined characters. Limited to [`MAX_CHARS`].
pub fn clean(text: &str) -> String {
    let is_bad = |c: char| is_unsafe(c) || matches!(c, '\u{200c}' | '\u{200d}');
    text.chars()
        .take(MAX_CHARS)
        .map(|c| {
            if is_bad(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// The text, shortened to `width` cells; a shortened text ends in `…`.
pub fn cut(text: &str, width: usize) -> String {
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

/// The lines of the buffer as text, without trailing spaces.
pub fn lines(buffer: &Buffer) -> Vec<String> {
    let mut lines = Vec::new();
    for row in buffer.area.rows() {
        let mut line = String::new();
        let mut x = row.x;
        while let Some(cell) = buffer.cell((x, row.y)).filter(|_| x < row.right()) {
            line.push_str(cell.symbol());
            // A wide character covers the next cell, too.
            x = x.saturating_add(cell.symbol().cell_width().max(1));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The whole buffer as text, without trailing spaces and blank lines.
pub fn text(buffer: &Buffer) -> String {
    let mut text = lines(buffer).join("\n");
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
