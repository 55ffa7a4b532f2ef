//! The flame graph (`-f flamegraph`): a searchable, zoomable SVG, drawn by inferno with the roots at the
//! top, as in py-spy.

use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, PaletteMap, SearchColor};
use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::folded::{self, Bounds};
use crate::output::meta::Meta;
use crate::output::svg::escape;
use crate::output::{empty, palette};
use crate::profile::Profile;
use crate::text::units::{mib, size};

/// Deepest stack that is drawn. No viewer opens a picture of a recursion with thousands of frames; other
/// formats contain it completely.
const MAX_DEPTH: usize = 1_000;

/// Narrowest frame that is drawn, in percent of the width: less than a pixel, but visible after zooming
/// in.
const MIN_WIDTH_PERCENT: f64 = 0.01;

/// Longest title, in characters, that fits between the buttons at both sides at a width of 1,200 pixels.
const MAX_TITLE_CHARS: usize = 96;

/// Draws the flame graph, or an SVG with the reason if the profile is empty.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let total = profile.total_weight();
    if total == 0 {
        return write_empty(profile, meta, out);
    }
    let texts = folded::label_texts(profile);
    let bounds = Bounds {
        max_depth: MAX_DEPTH,
        min_total: (total as f64 * MIN_WIDTH_PERCENT / 100.0).ceil() as u64,
    };
    let mut lines = Vec::new();
    folded::for_each_stack(profile, &texts, bounds, |stack, weight| {
        lines.push(format!("{stack} {weight}"));
        Ok(())
    })?;

    let mut colors = PaletteMap::default();
    colors.insert("", palette::NEUTRAL);
    for (id, text) in profile.labels().ids().zip(&texts) {
        colors.insert(text, palette::color(profile, id));
    }
    let mut options = Options::default();
    options.title = title(profile, meta);
    options.subtitle = Some(subtitle(profile, meta));
    options.direction = Direction::Inverted;
    options.bgcolors = Some(BackgroundColor::Flat(palette::BACKGROUND));
    options.palette_map = Some(&mut colors);
    options.min_width = MIN_WIDTH_PERCENT;
    // In font sizes. The widest common monospace fonts have 0.602. Too small a value makes texts overlap in
    // viewers that do not run the script.
    options.font_width = 0.63;
    // The function's name is at the start of the label and matters more than the line at its end.
    options.text_truncate_direction = TextTruncateDirection::Right;
    if let Ok(color) = palette::SEARCH_RESULT.parse::<SearchColor>() {
        options.search_color = color;
    }
    options.count_name = if profile.options().weights.rss {
        BYTES.to_owned()
    } else if profile.options().weights.cpu_time {
        "ns on a CPU".to_owned()
    } else {
        "samples".to_owned()
    };
    // inferno sorts lines by their bytes, which separates the children of `f` if another function's name
    // starts with `f `. Our lines already have the order of the tree. For a "chart" inferno retains the
    // order, but from last to first.
    options.flame_chart = true;
    let mut svg = Vec::new();
    flamegraph::from_lines(
        &mut options,
        lines.iter().rev().map(String::as_str),
        &mut svg,
    )?;
    if profile.options().weights.rss {
        svg = with_sizes(&svg);
    }
    write_with_root_text(&svg, out)
}

/// Unit that inferno writes under `--memory`; [`with_sizes`] replaces it.
const BYTES: &str = "bytes";

fn title(profile: &Profile, meta: &Meta) -> String {
    if profile.options().weights.rss {
        let grown = size(profile.total_growth().grown_bytes);
        meta.title_with_prefix(&format!("RSS growth, {grown}"), MAX_TITLE_CHARS)
    } else {
        meta.title(MAX_TITLE_CHARS)
    }
}

/// The picture with the bytes in tooltips converted to KiB and MiB: inferno writes whole numbers only.
fn with_sizes(svg: &[u8]) -> Vec<u8> {
    let (open, close) = (b"<title>", b"</title>");
    let mut sized = Vec::with_capacity(svg.len());
    let mut rest = svg;
    while let Some((before, text, after)) = between(rest, open, close) {
        sized.extend_from_slice(before);
        sized.extend_from_slice(open);
        // `NAME (12,345 bytes, 6.78%)`, where the name may contain any text.
        let text = String::from_utf8_lossy(text);
        let parts = text.rsplit_once(" (").and_then(|(name, weight)| {
            let (bytes, share) = weight.split_once(" bytes, ")?;
            let bytes: u64 = bytes.replace(',', "").parse().ok()?;
            Some(format!("{name} ({}, {share}", size(bytes)))
        });
        sized.extend_from_slice(parts.as_deref().unwrap_or(&text).as_bytes());
        sized.extend_from_slice(close);
        rest = after;
    }
    sized.extend_from_slice(rest);
    sized
}

/// The first text between two marks, with the text before and after it.
fn between<'a>(all: &'a [u8], open: &[u8], close: &[u8]) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
    let start = find(all, open, 0)?;
    let from = start + open.len();
    let end = find(all, close, from)?;
    Some((
        all.get(..start)?,
        all.get(from..end)?,
        all.get(end + close.len()..)?,
    ))
}

/// Writes inferno's picture with a text in the root's bar. inferno leaves this text to the script, so that
/// viewers without scripts would show an empty bar.
fn write_with_root_text(svg: &[u8], out: &mut dyn Write) -> io::Result<()> {
    // Only the root's share has no decimals.
    let place = find(svg, b", 100%)</title>", 0).and_then(|title| find(svg, b"</text>", title));
    let (before, after) = svg.split_at(place.unwrap_or(svg.len()));
    out.write_all(before)?;
    if place.is_some() {
        out.write_all(b"all")?;
    }
    out.write_all(after)
}

/// Position of the first `what` at or after `from`.
fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let mut windows = text.get(from..)?.windows(what.len());
    windows
        .position(|window| window == what)
        .map(|place| from + place)
}

fn subtitle(profile: &Profile, meta: &Meta) -> String {
    let counts = profile.counts();
    let mut parts = Vec::new();
    if profile.options().weights.rss {
        let released = profile.total_growth().released_bytes;
        parts.push(format!("{} released", size(released)));
    }
    if profile.options().weights.cpu_time {
        parts.push(format!("{:.2} s on a CPU", counts.cpu_ns as f64 / 1e9));
    }
    parts.push(format!("{} samples", counts.samples));
    parts.push(format!(
        "{} per second for {}",
        profile.options().rate_hz,
        seconds(meta)
    ));
    if counts.idle > 0 {
        parts.push(format!("{} idle left out", counts.idle));
    }
    if let Some(peak) = profile.rss().peak() {
        parts.push(format!("peak RSS {}", mib(peak)));
    }
    parts.join(" · ")
}

fn seconds(meta: &Meta) -> String {
    format!("{:.1} s", meta.duration.as_secs_f64())
}

fn write_empty(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let lines = [
        (26, 17, title(profile, meta)),
        (58, 14, empty::reason(profile)),
        (
            82,
            12,
            format!("{} ticks in {}", profile.counts().ticks, seconds(meta)),
        ),
    ];
    let background = palette::BACKGROUND;
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<svg version=\"1.1\" width=\"1200\" height=\"104\" viewBox=\"0 0 1200 104\" xmlns=\"http://www.w3.org/2000/svg\">"
    )?;
    writeln!(
        out,
        "<rect width=\"100%\" height=\"100%\" fill=\"rgb({},{},{})\"/>",
        background.r, background.g, background.b
    )?;
    for (y, size, text) in lines {
        let text = escape(&text);
        writeln!(
            out,
            "<text x=\"600\" y=\"{y}\" text-anchor=\"middle\" font-family=\"monospace\" font-size=\"{size}px\">{text}</text>"
        )?;
    }
    writeln!(out, "</svg>")
}
