//! A [`Timeline`] as an SVG: heading, legend, plot and functions, one below the other.
//!
//! Positions are in half pixels of a picture that is [`WIDTH`] / 2 pixels wide; a viewer scales it.
//! Text is readable at 600 pixels. No two texts overlap at any width, because the width of each is
//! known when it is placed.

use super::functions;
use super::legend::{Entry, Legend, Mark};
use super::model::Timeline;
use super::plot::{Plot, line_colors};
use super::style::{
    ALARM, BASELINE, DETAILS, GAP, INK, LARGE, LEADING, MARGIN, RSS, SMALL, TREND, WIDTH,
};
use super::text::{fit, width};
use crate::output::palette::BACKGROUND;
use crate::output::svg::{Anchor, Canvas, Color, Font};

/// Space between the heading and the legend.
const ABOVE_LEGEND: f64 = 12.0;
/// Space between the legend and the plot.
const BELOW_LEGEND: f64 = 16.0;

/// The timeline as an SVG document.
pub fn draw(timeline: &Timeline) -> String {
    let legend = legend(timeline);
    let heading = heading(timeline);
    let lines = heading.iter().map(|(_, font)| font.size * LEADING);
    let legend_top = MARGIN + lines.sum::<f64>() + ABOVE_LEGEND;
    let plot = Plot::new(timeline, legend_top + legend.height() + BELOW_LEGEND);
    let functions_top = plot.end() + GAP;
    let height = (functions_top + functions::height(timeline) + MARGIN).ceil();

    let mut canvas = Canvas::new((WIDTH as u32, height as u32), &title(timeline));
    let background = Color(BACKGROUND.r, BACKGROUND.g, BACKGROUND.b);
    canvas.rectangle((0.0, 0.0), (WIDTH, height), background, 1.0);
    let mut y = MARGIN;
    for (text, font) in &heading {
        let text = fit(text, font.size, WIDTH - 2.0 * MARGIN);
        canvas.text(&text, (WIDTH / 2.0, y), *font, Anchor::Middle);
        y += font.size * LEADING;
    }
    legend.draw(&mut canvas, legend_top);
    plot.draw(&mut canvas, timeline);
    functions::draw(&mut canvas, timeline, &plot, functions_top);
    canvas.finish()
}

fn title(timeline: &Timeline) -> String {
    let mut parts = vec![timeline.title.as_str(), timeline.verdict.as_str()];
    parts.retain(|part| !part.is_empty());
    parts.join(" – ")
}

/// The lines above the legend.
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
        (timeline.details.clone(), DETAILS),
    ];
    lines.retain(|(text, _)| !text.is_empty());
    lines
}

fn legend(timeline: &Timeline) -> Legend {
    let mut entries = Vec::new();
    let mut add = |name: &str, mark: Mark, color: Color| {
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
        add("baseline", Mark::Area, BASELINE);
    }
    if !timeline.trend.is_empty() {
        add("trend", Mark::Dashed, TREND);
    }
    let lines = timeline.shares.iter().chain(&timeline.processes);
    for (line, color) in lines.zip(line_colors()) {
        add(&line.name, Mark::Line, color);
    }
    let more = match timeline.more_processes {
        0 => None,
        1 => Some("and 1 smaller process".to_owned()),
        more => Some(format!("and {more} smaller processes")),
    };
    Legend::new(entries, more)
}
