//! A [`Timeline`] as an SVG: what stands where.
//!
//! All is laid out in half pixels of a picture that is [`WIDTH`] / 2 pixels wide; a viewer scales it.
//! Text is large enough to be read at 600 pixels. No two texts overlap at any width, because the
//! width of each is known when it is placed.

use std::io;
use std::time::Duration;

use plotters::style::{Color, RGBColor};

use super::axis::Axis;
use super::functions;
use super::legend::{self, Entry, Legend, Mark};
use super::model::{Point, Timeline};
use super::style::{
    ALARM, BAND_ALPHA, BASELINE, GAP, GRID, INK, LARGE, LEADING, LINES, MARGIN, RSS, SMALL, TREND,
    WIDTH,
};
use super::svg::{Anchor, Canvas, Font, Place};
use super::text::{bytes, fit, moment, width};
use crate::output::palette::BACKGROUND;

/// Height of the plot, in the picture's units.
const PLOT_HEIGHT: f64 = 620.0;
/// From the plot down to the text at its marks, lower than the text of the lowest mark at its left.
const AXIS_GAP: f64 = 20.0;
/// Most marks at the upright axis.
const MAX_MEMORY_TICKS: usize = 7;

/// The plot's place and axes.
pub struct Plot {
    /// Left edge.
    pub left: f64,
    /// Right edge.
    pub right: f64,
    top: f64,
    bottom: f64,
    /// Seconds.
    pub time: Axis,
    memory: Axis,
}

impl Plot {
    /// Where a time is, to the right.
    pub fn x(&self, at: Duration) -> f64 {
        self.left + (self.right - self.left) * self.time.share(at.as_secs_f64())
    }

    fn y(&self, bytes: u64) -> f64 {
        self.bottom - (self.bottom - self.top) * self.memory.share(bytes as f64)
    }

    fn place(&self, (at, bytes): Point) -> Place {
        (self.x(at), self.y(bytes))
    }

    fn places(&self, points: &[Point]) -> Vec<Place> {
        points.iter().map(|point| self.place(*point)).collect()
    }
}

/// Draws a timeline.
pub fn picture(timeline: &Timeline) -> io::Result<String> {
    let legend = legend(timeline);
    let head = heading(timeline);
    let plot_top = MARGIN
        + head
            .iter()
            .map(|(_, font)| font.size * LEADING)
            .sum::<f64>()
        + 12.0;
    let plot_top = plot_top + legend.height() + 16.0;
    let plot = plot(timeline, plot_top);
    let axis_height = AXIS_GAP + SMALL.size * LEADING;
    let below = plot.bottom + axis_height + GAP;
    let height = below + functions::height(timeline) + MARGIN;

    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, (WIDTH as u32, height.ceil() as u32));
    let background = RGBColor(BACKGROUND.r, BACKGROUND.g, BACKGROUND.b);
    canvas.rectangle((0.0, 0.0), (WIDTH, height.ceil()), background.to_rgba())?;
    let mut y = MARGIN;
    for (text, font) in &head {
        let text = fit(text, font.size, WIDTH - 2.0 * MARGIN);
        canvas.text(&text, (WIDTH / 2.0, y), *font, Anchor::Middle)?;
        y += font.size * LEADING;
    }
    legend.draw(&canvas, y + 12.0)?;
    grid(&canvas, &plot)?;
    curves(&canvas, timeline, &plot)?;
    functions::draw(&canvas, timeline, &plot, below)?;
    canvas.finish()?;
    Ok(scalable(&svg, timeline))
}

/// The lines above the plot.
fn heading(timeline: &Timeline) -> Vec<(String, Font)> {
    let room = WIDTH - 2.0 * MARGIN;
    let is_short = width(&timeline.verdict, LARGE.size) <= room;
    let verdict = Font {
        color: if timeline.is_alarming { ALARM } else { INK },
        size: if is_short { LARGE.size } else { SMALL.size },
        ..LARGE
    };
    let title = Font {
        is_bold: false,
        ..LARGE
    };
    let mut lines = vec![
        (timeline.title.clone(), title),
        (timeline.verdict.clone(), verdict),
        (timeline.facts.clone(), SMALL),
    ];
    lines.retain(|(text, _)| !text.is_empty());
    lines
}

fn plot(timeline: &Timeline, top: f64) -> Plot {
    let values = || {
        let lines = timeline.processes.iter().chain(&timeline.shares);
        let points = lines.flat_map(|line| &line.points);
        let points = points.chain(&timeline.baseline).chain(&timeline.trend);
        let rss = timeline.rss.iter().flat_map(|(_, low, high)| [*low, *high]);
        points.map(|(_, bytes)| *bytes).chain(rss)
    };
    let highest = values().max().unwrap_or_default();
    let lowest = values().min().unwrap_or_default();
    // Room for the text at the peak.
    let headroom = (SMALL.size * LEADING + 30.0) / PLOT_HEIGHT;
    let memory = Axis::of_bytes(lowest, highest, MAX_MEMORY_TICKS, headroom);
    let labels = memory
        .ticks
        .iter()
        .map(|tick| width(&tick.text, SMALL.size));
    let left = MARGIN + labels.fold(0.0, f64::max) + 16.0;
    // Half of the last mark's text is right of the axis's end.
    let right = WIDTH - MARGIN - width("999 min", SMALL.size) / 2.0;
    let max_ticks = (right - left) / (width("999.9 min", SMALL.size) + 60.0);
    Plot {
        left,
        right,
        top,
        bottom: top + PLOT_HEIGHT,
        time: Axis::of_time(timeline.length, max_ticks as usize),
        memory,
    }
}

fn grid(canvas: &Canvas<'_>, plot: &Plot) -> io::Result<()> {
    for tick in &plot.memory.ticks {
        let y = plot.y(tick.at as u64);
        canvas.line(&[(plot.left, y), (plot.right, y)], GRID.to_rgba(), 2)?;
        let at = (plot.left - 16.0, y - 0.45 * SMALL.size);
        canvas.text(&tick.text, at, SMALL, Anchor::End)?;
    }
    for tick in &plot.time.ticks {
        let x = plot.left + (plot.right - plot.left) * plot.time.share(tick.at);
        canvas.line(&[(x, plot.top), (x, plot.bottom + 10.0)], GRID.to_rgba(), 2)?;
        let at = (x, plot.bottom + AXIS_GAP);
        canvas.text(&tick.text, at, SMALL, Anchor::Middle)?;
    }
    let corner = (plot.left, plot.bottom);
    let ends = [(plot.left, plot.top), corner, (plot.right, plot.bottom)];
    canvas.line(&ends, INK.to_rgba(), 2)
}

fn legend(timeline: &Timeline) -> Legend {
    let mut entries = Vec::new();
    let mut add = |name: &str, mark: Mark, color: RGBColor| {
        entries.push(Entry {
            name: name.to_owned(),
            mark,
            color,
        });
    };
    if !timeline.rss.is_empty() {
        let name = if timeline.processes.is_empty() {
            "RSS"
        } else {
            "RSS of all processes"
        };
        add(name, Mark::Thick, RSS);
    }
    if timeline.baseline.len() > 1 {
        add("baseline", Mark::Band, BASELINE);
    }
    if !timeline.trend.is_empty() {
        add("trend", Mark::Dashed, TREND);
    }
    let lines = timeline.shares.iter().chain(&timeline.processes);
    for (line, color) in lines.zip(colors()) {
        add(&line.name, Mark::Line, color);
    }
    let more = match timeline.more_processes {
        0 => None,
        1 => Some("and 1 smaller process".to_owned()),
        more => Some(format!("and {more} smaller processes")),
    };
    Legend::of(entries, more)
}

fn colors() -> impl Iterator<Item = RGBColor> {
    LINES.into_iter().cycle()
}

fn curves(canvas: &Canvas<'_>, timeline: &Timeline, plot: &Plot) -> io::Result<()> {
    if let (Some(first), Some(last)) = (timeline.baseline.first(), timeline.baseline.last()) {
        let line = plot.places(&timeline.baseline);
        let mut band = vec![(plot.x(first.0), plot.bottom)];
        band.extend(&line);
        band.push((plot.x(last.0), plot.bottom));
        canvas.area(&band, BASELINE.mix(BAND_ALPHA))?;
        canvas.line(&line, BASELINE.to_rgba(), 3)?;
    }
    let rss = &timeline.rss;
    let highs: Vec<Place> = rss
        .iter()
        .map(|(at, _, high)| plot.place((*at, *high)))
        .collect();
    let lows = rss.iter().rev().map(|(at, low, _)| plot.place((*at, *low)));
    let between: Vec<Place> = highs.iter().copied().chain(lows).collect();
    if rss.iter().any(|(_, low, high)| low != high) {
        canvas.area(&between, RSS.mix(0.3))?;
    }
    let lines = timeline.shares.iter().chain(&timeline.processes);
    for (line, color) in lines.zip(colors()) {
        canvas.line(&plot.places(&line.points), color.to_rgba(), 4)?;
    }
    canvas.line(&highs, RSS.to_rgba(), 4)?;
    if let (Some(from), Some(to)) = (timeline.trend.first(), timeline.trend.last()) {
        canvas.dashed(plot.place(*from), plot.place(*to), TREND.to_rgba(), 4)?;
    }
    timeline.peak.map_or(Ok(()), |peak| {
        mark_peak(canvas, plot, peak, timeline.length)
    })
}

fn mark_peak(canvas: &Canvas<'_>, plot: &Plot, peak: Point, length: Duration) -> io::Result<()> {
    let (x, y) = plot.place(peak);
    canvas.ring((x, y), 9, INK.to_rgba())?;
    let text = format!("peak {} at {}", bytes(peak.1), moment(peak.0, length));
    let half = width(&text, SMALL.size) / 2.0;
    // Not over the edge of the plot on either side.
    let x = x.clamp(
        plot.left + half + 8.0,
        (plot.right - half).max(plot.left + half + 8.0),
    );
    let y = y - 16.0 - SMALL.size;
    canvas.text(&text, (x, y), SMALL, Anchor::Middle)
}

/// plotters gives the picture a size; without, it fills what it is put into. The title is what viewers
/// show in their tabs, and what screen readers read.
fn scalable(svg: &str, timeline: &Timeline) -> String {
    let start = svg.find("viewBox=").unwrap_or_default();
    let (_, rest) = svg.split_at(start);
    let (tag, body) = rest.split_at(rest.find('>').map_or(0, |end| end + 1));
    let parts = [timeline.title.as_str(), timeline.verdict.as_str()];
    let title = parts.join(" – ");
    let title = title.trim_end_matches(" – ");
    let title = legend::escape(title);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg role=\"img\" {tag}\n<title>{title}</title>{body}"
    )
}
