//! [`Plot`]: the curves of memory over time, with their axes.

use std::time::Duration;

use super::axis::Axis;
use super::model::{Reading, Timeline};
use super::style::{
    BASELINE, BASELINE_OPACITY, GRID, INK, LEADING, LINES, MARGIN, RANGE_OPACITY, RSS, SMALL,
    TREND, WIDTH,
};
use super::text::{moment, width};
use crate::output::svg::{Anchor, Canvas, Color, Point};
use crate::text::units::size;

/// Height of the plot, in the picture's units.
const HEIGHT: f64 = 620.0;
/// Space between the time axis and its labels. The lowest label of the memory axis ends above it.
const AXIS_GAP: f64 = 20.0;
const MAX_MEMORY_TICKS: usize = 7;

/// Position and axes of the plot.
pub struct Plot {
    pub left: f64,
    pub right: f64,
    top: f64,
    bottom: f64,
    /// Seconds.
    time: Axis,
    memory: Axis,
}

impl Plot {
    /// A plot below `top` with room for all values of the timeline.
    pub fn new(timeline: &Timeline, top: f64) -> Plot {
        let values = || {
            let lines = timeline.processes.iter().chain(&timeline.shares);
            let points = lines.flat_map(|line| &line.points);
            let points = points.chain(&timeline.baseline).chain(&timeline.trend);
            let rss = timeline.rss.iter().flat_map(|(_, low, high)| [*low, *high]);
            points.map(|(_, bytes)| *bytes).chain(rss)
        };
        let highest = values().max().unwrap_or_default();
        let lowest = values().min().unwrap_or_default();
        // Room for the label of the peak.
        let headroom = (SMALL.size * LEADING + 30.0) / HEIGHT;
        let memory = Axis::of_bytes(lowest, highest, MAX_MEMORY_TICKS, headroom);
        let labels = memory
            .ticks
            .iter()
            .map(|tick| width(&tick.text, SMALL.size));
        let left = MARGIN + labels.fold(0.0, f64::max) + 16.0;
        // Half of the last label extends beyond the end of the axis.
        let right = WIDTH - MARGIN - width("999 min", SMALL.size) / 2.0;
        let max_ticks = (right - left) / (width("999.9 min", SMALL.size) + 60.0);
        Plot {
            left,
            right,
            top,
            bottom: top + HEIGHT,
            time: Axis::of_time(timeline.length, max_ticks as usize),
            memory,
        }
    }

    /// Lower end of the plot with the labels of its time axis.
    pub fn end(&self) -> f64 {
        self.bottom + AXIS_GAP + SMALL.size * LEADING
    }

    pub fn x(&self, at: Duration) -> f64 {
        self.x_of_seconds(at.as_secs_f64())
    }

    fn x_of_seconds(&self, seconds: f64) -> f64 {
        self.left + (self.right - self.left) * self.time.share(seconds)
    }

    fn y(&self, bytes: u64) -> f64 {
        self.bottom - (self.bottom - self.top) * self.memory.share(bytes as f64)
    }

    fn point(&self, (at, bytes): Reading) -> Point {
        (self.x(at), self.y(bytes))
    }

    fn points(&self, readings: &[Reading]) -> Vec<Point> {
        readings
            .iter()
            .map(|reading| self.point(*reading))
            .collect()
    }

    /// Draws the axes and all curves.
    pub fn draw(&self, canvas: &mut Canvas, timeline: &Timeline) {
        self.draw_grid(canvas);
        self.draw_baseline(canvas, &timeline.baseline);
        let rss = &timeline.rss;
        let highs: Vec<Point> = rss
            .iter()
            .map(|(at, _, high)| self.point((*at, *high)))
            .collect();
        let lows = rss.iter().rev().map(|(at, low, _)| self.point((*at, *low)));
        let range: Vec<Point> = highs.iter().copied().chain(lows).collect();
        if rss.iter().any(|(_, low, high)| low != high) {
            canvas.area(&range, RSS, RANGE_OPACITY);
        }
        let lines = timeline.shares.iter().chain(&timeline.processes);
        for (line, color) in lines.zip(line_colors()) {
            canvas.line(&self.points(&line.points), color, 4);
        }
        canvas.line(&highs, RSS, 4);
        canvas.dashed(&self.points(&timeline.trend), TREND, 4);
        if let Some(peak) = timeline.peak {
            self.mark_peak(canvas, peak, timeline.length);
        }
    }

    fn draw_grid(&self, canvas: &mut Canvas) {
        for tick in &self.memory.ticks {
            let y = self.y(tick.at as u64);
            canvas.line(&[(self.left, y), (self.right, y)], GRID, 2);
            let at = (self.left - 16.0, y - 0.45 * SMALL.size);
            canvas.text(&tick.text, at, SMALL, Anchor::End);
        }
        for tick in &self.time.ticks {
            let x = self.x_of_seconds(tick.at);
            canvas.line(&[(x, self.top), (x, self.bottom + 10.0)], GRID, 2);
            let at = (x, self.bottom + AXIS_GAP);
            canvas.text(&tick.text, at, SMALL, Anchor::Middle);
        }
        let corner = (self.left, self.bottom);
        let ends = [(self.left, self.top), corner, (self.right, self.bottom)];
        canvas.line(&ends, INK, 2);
    }

    fn draw_baseline(&self, canvas: &mut Canvas, baseline: &[Reading]) {
        let (Some(first), Some(last)) = (baseline.first(), baseline.last()) else {
            return;
        };
        let line = self.points(baseline);
        let mut area = vec![(self.x(first.0), self.bottom)];
        area.extend(&line);
        area.push((self.x(last.0), self.bottom));
        canvas.area(&area, BASELINE, BASELINE_OPACITY);
        canvas.line(&line, BASELINE, 3);
    }

    fn mark_peak(&self, canvas: &mut Canvas, peak: Reading, length: Duration) {
        let (x, y) = self.point(peak);
        canvas.ring((x, y), 9, INK);
        let text = format!("peak {} at {}", size(peak.1), moment(peak.0, length));
        let half = width(&text, SMALL.size) / 2.0;
        // The text stays inside the plot.
        let leftmost = self.left + half + 8.0;
        let x = x.clamp(leftmost, (self.right - half).max(leftmost));
        let y = y - 16.0 - SMALL.size;
        canvas.text(&text, (x, y), SMALL, Anchor::Middle);
    }
}

/// Colours of the lines of [`Timeline::shares`] and, after them, [`Timeline::processes`].
pub fn line_colors() -> impl Iterator<Item = Color> {
    LINES.into_iter().cycle()
}
