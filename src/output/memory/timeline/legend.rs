//! [`Legend`]: names of the lines of the plot, in as many rows as needed.

use super::style::{BASELINE_OPACITY, LEADING, MARGIN, SMALL, WIDTH};
use super::text::{fit, width};
use crate::output::svg::{Anchor, Canvas, Color};

/// Width of the swatch before a name.
const SWATCH: f64 = 60.0;
/// Space between a swatch and its name.
const SPACE: f64 = 14.0;
/// Space between two entries.
const GAP: f64 = 40.0;
/// Widest name: two of them fit into a row.
const MAX_NAME: f64 = (WIDTH - 2.0 * MARGIN - GAP) / 2.0 - SWATCH - SPACE;

/// How something is drawn in the plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The main line.
    Thick,
    Line,
    Dashed,
    /// A line with the area below it filled.
    Area,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub mark: Mark,
    pub color: Color,
}

/// The entries with their positions: row and left edge.
pub struct Legend {
    entries: Vec<(usize, f64, Entry)>,
    more: Option<(usize, f64, String)>,
    rows: usize,
}

impl Legend {
    /// Distributes the entries over rows; `more` is a text after the last one.
    pub fn new(entries: Vec<Entry>, more: Option<String>) -> Legend {
        let (mut row, mut x) = (0, MARGIN);
        let mut place = |wide: f64| {
            if x > MARGIN && x + wide > WIDTH - MARGIN {
                row += 1;
                x = MARGIN;
            }
            let at = (row, x);
            x += wide + GAP;
            at
        };
        let entries: Vec<_> = entries
            .into_iter()
            .map(|mut entry| {
                entry.name = fit(&entry.name, SMALL.size, MAX_NAME);
                let (row, x) = place(SWATCH + SPACE + width(&entry.name, SMALL.size));
                (row, x, entry)
            })
            .collect();
        let more = more.map(|text| {
            let (row, x) = place(width(&text, SMALL.size));
            (row, x, text)
        });
        let rows = if entries.is_empty() { 0 } else { row + 1 };
        Legend {
            entries,
            more,
            rows,
        }
    }

    pub fn height(&self) -> f64 {
        self.rows as f64 * SMALL.size * LEADING
    }

    /// Draws the legend below `top`.
    pub fn draw(&self, canvas: &mut Canvas, top: f64) {
        let line = SMALL.size * LEADING;
        for (row, x, entry) in &self.entries {
            let y = top + *row as f64 * line;
            let middle = y + 0.5 * SMALL.size;
            let across = |y: f64| [(*x, y), (x + SWATCH, y)];
            let color = entry.color;
            match entry.mark {
                Mark::Thick => canvas.line(&across(middle), color, 8),
                Mark::Line => canvas.line(&across(middle), color, 4),
                Mark::Dashed => canvas.dashed(&across(middle), color, 4),
                Mark::Area => {
                    let bottom = (x + SWATCH, y + SMALL.size);
                    canvas.rectangle((*x, y), bottom, color, BASELINE_OPACITY);
                    canvas.line(&across(y), color, 3);
                }
            }
            let at = (x + SWATCH + SPACE, y);
            canvas.text(&entry.name, at, SMALL, Anchor::Start);
        }
        if let Some((row, x, text)) = &self.more {
            let at = (*x, top + *row as f64 * line);
            canvas.text(text, at, SMALL, Anchor::Start);
        }
    }
}
