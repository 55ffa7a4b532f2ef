//! [`Legend`]: what the lines of the plot are, in as many rows as it takes.

use std::io;

use plotters::style::{Color, RGBColor};

use super::style::{BAND_ALPHA, LEADING, MARGIN, SMALL, WIDTH};
use super::svg::{Anchor, Canvas};
use super::text::{fit, width};

/// Width of the sample before a name.
const SAMPLE: f64 = 60.0;
/// Between a sample and its name.
const SPACE: f64 = 14.0;
/// Between two entries.
const GAP: f64 = 40.0;
/// Widest name: two of them fit into a row.
const MAX_NAME: f64 = (WIDTH - 2.0 * MARGIN - GAP) / 2.0 - SAMPLE - SPACE;

/// How something is drawn in the plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The main line.
    Thick,
    /// A line.
    Line,
    /// A dashed line.
    Dashed,
    /// A line with the room below it filled.
    Band,
}

/// One thing in the plot.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// Its colour.
    pub color: RGBColor,
}

/// The entries with their places: row, and how far to the right.
pub struct Legend {
    entries: Vec<(usize, f64, Entry)>,
    more: Option<(usize, f64, String)>,
    rows: usize,
}

impl Legend {
    /// Lays out the entries; `more` is a text behind them.
    pub fn of(entries: Vec<Entry>, more: Option<String>) -> Legend {
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
                let (row, x) = place(SAMPLE + SPACE + width(&entry.name, SMALL.size));
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

    /// How high it is.
    pub fn height(&self) -> f64 {
        self.rows as f64 * SMALL.size * LEADING
    }

    /// Draws it below `top`.
    pub fn draw(&self, canvas: &Canvas<'_>, top: f64) -> io::Result<()> {
        let line = SMALL.size * LEADING;
        for (row, x, entry) in &self.entries {
            let y = top + *row as f64 * line;
            let middle = y + 0.5 * SMALL.size;
            let (from, to) = ((*x, middle), (x + SAMPLE, middle));
            let color = entry.color.to_rgba();
            match entry.mark {
                Mark::Thick => canvas.line(&[from, to], color, 8)?,
                Mark::Line => canvas.line(&[from, to], color, 4)?,
                Mark::Dashed => canvas.dashed(from, to, color, 4)?,
                Mark::Band => {
                    let bottom = (x + SAMPLE, y + SMALL.size);
                    canvas.rectangle((*x, y), bottom, entry.color.mix(BAND_ALPHA))?;
                    canvas.line(&[(*x, y), (x + SAMPLE, y)], color, 3)?;
                }
            }
            canvas.text(&entry.name, (x + SAMPLE + SPACE, y), SMALL, Anchor::Start)?;
        }
        match &self.more {
            Some((row, x, text)) => {
                let at = (*x, top + *row as f64 * line);
                canvas.text(text, at, SMALL, Anchor::Start)
            }
            None => Ok(()),
        }
    }
}

/// The text with what XML gives a meaning to written as entities.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
