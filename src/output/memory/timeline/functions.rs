//! Below the plot: RSS growth over the same time for each function with the most of it.

use std::time::Duration;

use super::model::Timeline;
use super::plot::Plot;
use super::style::{BAR, GAP, LEADING, SMALL, TRACK};
use super::text::{fit, width};
use crate::output::svg::{Anchor, Canvas, Font, Point};
use crate::profile::memory::timeline::FunctionGrowth;
use crate::text::units::size;

/// Height of the bars of a function.
const BARS: f64 = 46.0;
/// Space between the bars of a function and the name of the next one.
const BELOW_BARS: f64 = 16.0;
/// Most bars of a function: each is visible at a width of 600 pixels.
const MAX_BARS: usize = 150;
/// Height of the lowest bar, so that the least growth is visible.
const LOWEST: f64 = 3.0;
const LINE: f64 = SMALL.size * LEADING;
const BELOW_HEADING: f64 = 8.0;

const HEADING: Font = Font {
    is_bold: true,
    ..SMALL
};

/// Height of this part; 0 without functions.
pub fn height(timeline: &Timeline) -> f64 {
    let rows = timeline.functions.len();
    if rows == 0 {
        return 0.0;
    }
    let (more, _) = timeline.more_functions;
    let last_line = if more > 0 { LINE } else { 0.0 };
    LINE + BELOW_HEADING + rows as f64 * (LINE + BARS + BELOW_BARS) + last_line
}

/// Draws this part below `top`.
pub fn draw(canvas: &mut Canvas, timeline: &Timeline, plot: &Plot, top: f64) {
    if timeline.functions.is_empty() {
        return;
    }
    let bars = Bars::new(timeline);
    let (more, left) = timeline.more_functions;
    let all: u64 = timeline.functions.iter().map(|one| one.grown_bytes).sum();
    let all = all.saturating_add(left);
    let heading = format!(
        "RSS growth by function, one bar per {}",
        duration(bars.width)
    );
    canvas.text(&heading, (plot.left, top), HEADING, Anchor::Start);
    let mut y = top + LINE + BELOW_HEADING;
    for (function, heights) in timeline.functions.iter().zip(&bars.rows) {
        draw_name(canvas, plot, function, all, y);
        y += LINE;
        canvas.rectangle((plot.left, y), (plot.right, y + BARS), TRACK, 1.0);
        canvas.area(&outline(plot, heights, bars.width, y + BARS), BAR, 1.0);
        y += BARS + BELOW_BARS;
    }
    if more > 0 {
        let (s, share) = (if more == 1 { "" } else { "s" }, share(left, all));
        let text = format!("and {more} more function{s}: {} ({share})", size(left));
        canvas.text(&text, (plot.left, y), SMALL, Anchor::Start);
    }
}

/// The name on the left and the bytes on the right; a long name is shortened.
fn draw_name(canvas: &mut Canvas, plot: &Plot, function: &FunctionGrowth, all: u64, y: f64) {
    let grown = function.grown_bytes;
    let growth = format!("{} ({})", size(grown), share(grown, all));
    canvas.text(&growth, (plot.right, y), SMALL, Anchor::End);
    let name = match &function.file {
        Some(file) => format!("{} ({file})", function.name),
        None => function.name.clone(),
    };
    let room = plot.right - plot.left - width(&growth, SMALL.size) - GAP;
    let name = fit(&name, SMALL.size, room);
    canvas.text(&name, (plot.left, y), SMALL, Anchor::Start);
}

fn share(part: u64, all: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / all.max(1) as f64)
}

/// A length of time with its unit: `40 ms`, `2.56 s`.
fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else if time < Duration::from_secs(120) {
        // At most two decimals, without trailing zeros.
        format!("{} s", (time.as_secs_f64() * 100.0).round() / 100.0)
    } else {
        format!("{:.1} min", time.as_secs_f64() / 60.0)
    }
}

/// Growth of the functions in bars of one width.
struct Bars {
    width: Duration,
    /// Heights from 0 to 1, the highest bar of all functions.
    rows: Vec<Vec<f64>>,
}

impl Bars {
    fn new(timeline: &Timeline) -> Bars {
        let cell_ns = timeline.cell_width.as_nanos().max(1);
        let cells = timeline.length.as_nanos() / cell_ns + 1;
        let cells_per_bar = cells.div_ceil(MAX_BARS as u128).max(1);
        let count = usize::try_from(cells.div_ceil(cells_per_bar)).unwrap_or(MAX_BARS);
        let bar_ns = cell_ns * cells_per_bar;
        let sums = timeline.functions.iter().map(|function| {
            let mut bars = vec![0_u64; count.clamp(1, MAX_BARS)];
            let last = bars.len() - 1;
            for cell in &function.cells {
                let at = usize::try_from(cell.start.as_nanos() / bar_ns).unwrap_or(last);
                if let Some(bar) = bars.get_mut(at.min(last)) {
                    *bar = bar.saturating_add(cell.grown_bytes);
                }
            }
            bars
        });
        let sums: Vec<Vec<u64>> = sums.collect();
        let highest = sums.iter().flatten().copied().max();
        let highest = highest.unwrap_or_default().max(1);
        let share = |bytes: u64| bytes as f64 / highest as f64;
        Bars {
            width: Duration::from_nanos(u64::try_from(bar_ns).unwrap_or(u64::MAX)),
            rows: sums
                .into_iter()
                .map(|bars| bars.into_iter().map(share).collect())
                .collect(),
        }
    }
}

/// The outline of all bars, which rise from `bottom`.
fn outline(plot: &Plot, bars: &[f64], width: Duration, bottom: f64) -> Vec<Point> {
    let mut corners = vec![(plot.left, bottom)];
    for (at, bar) in bars.iter().enumerate() {
        let start = width.saturating_mul(u32::try_from(at).unwrap_or(u32::MAX));
        let (left, right) = (plot.x(start), plot.x(start.saturating_add(width)));
        let top = if *bar > 0.0 {
            bottom - (bar * BARS).max(LOWEST)
        } else {
            bottom
        };
        corners.extend([(left, top), (right, top)]);
    }
    corners.push((plot.right, bottom));
    corners
}
