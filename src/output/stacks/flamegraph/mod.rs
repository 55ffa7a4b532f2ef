//! The flame graph (`-f flamegraph`): a searchable, zoomable SVG with the roots at the top, as in py-spy.
//!
//! inferno draws the frames; what is around them, and the script, is ours ([`Page`]).

mod page;

use std::io::{self, Write};
use std::time::Duration;

use inferno::flamegraph::color::PaletteMap;
use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::folded::{self, Bounds};
use crate::output::meta::Meta;
use crate::output::palette::Origin;
use crate::output::{empty, palette};
use crate::profile::Profile;
use crate::text::units::{mib, short_duration, size};
use page::{Frames, MAX_TITLE_CHARS, Page};

/// Deepest stack that is drawn. No viewer opens a picture of a recursion with thousands of frames; other
/// formats contain it completely.
const MAX_DEPTH: usize = 1_000;

/// Draws the flame graph, or an SVG with the reason if the profile is empty.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let total = profile.total_weight();
    let mut page = Page {
        title: title(profile, meta),
        facts: facts(profile, meta),
        details: meta.details(),
        legend: Vec::new(),
    };
    if total == 0 {
        page.facts.insert(0, empty::reason(profile));
        return page.write(None, out);
    }
    page.legend = legend(profile);
    let drawn = draw(profile, meta, total)?;
    let drawn = String::from_utf8_lossy(&drawn);
    page.write(frames(&drawn).as_ref(), out)
}

/// What inferno draws.
fn draw(profile: &Profile, meta: &Meta, total: u64) -> io::Result<Vec<u8>> {
    let texts = folded::label_texts(profile);
    let bounds = Bounds {
        max_depth: MAX_DEPTH,
        min_total: meta.min_width.least(total),
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
    options.direction = Direction::Inverted;
    options.palette_map = Some(&mut colors);
    // Narrow ones are left out already.
    options.min_width = 0.0;
    options.no_javascript = true;
    // In font sizes. The widest common monospace fonts have 0.602. Too small a value makes texts overlap in
    // viewers that do not run the script.
    options.font_width = 0.63;
    // The function's name is at the start of the label and matters more than the line at its end.
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.count_name = if profile.options().weights.rss {
        BYTES.to_owned()
    } else if let Some(kind) = profile.options().weights.time {
        format!("{NANOSECONDS} {}", kind.suffix())
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
    if profile.options().weights.rss || profile.options().weights.time.is_some() {
        svg = with_units(&svg);
    }
    Ok(with_root_text(svg))
}

/// The frames in inferno's document, and where they are.
fn frames(drawn: &str) -> Option<Frames<'_>> {
    const START: &str = "<svg id=\"frames\"";
    const END: &str = "</svg>";
    let element = drawn.get(drawn.find(START)?..)?;
    let element = element.get(..element.find(END)? + END.len())?;
    let tops = element.split("<rect ").skip(1).filter_map(|rect| {
        let (_, rest) = rect.split_once(" y=\"")?;
        rest.split_once('"')?.0.parse::<usize>().ok()
    });
    let (first, last) = tops.fold((usize::MAX, 0), |(first, last), top| {
        (first.min(top), last.max(top))
    });
    Some(Frames {
        element,
        top: first.min(last),
        bottom: last + FRAME_HEIGHT,
    })
}

/// Height of a frame and the space below it, which is inferno's default.
const FRAME_HEIGHT: usize = 16;

/// The colours that the frames have, with their meaning.
fn legend(profile: &Profile) -> Vec<(&'static str, inferno::flamegraph::color::Color)> {
    let ids = profile.labels().ids();
    let found: Vec<Origin> = ids.map(|id| palette::origin(profile, id)).collect();
    let origins = Origin::ALL.into_iter();
    let origins = origins.filter(|origin| found.contains(origin));
    origins
        .filter_map(|origin| Some((origin.name()?, origin.swatch())))
        .collect()
}

/// Units that inferno writes with `--memory`, and with `--cpu` and `--wall`, where it is followed by what the time is of;
/// [`with_units`] replaces them.
const BYTES: &str = "bytes";
const NANOSECONDS: &str = "ns";

fn title(profile: &Profile, meta: &Meta) -> String {
    if profile.options().weights.rss {
        let grown = size(profile.total_growth().grown_bytes);
        meta.title_with_prefix(&format!("RSS growth, {grown}"), MAX_TITLE_CHARS)
    } else {
        meta.title(MAX_TITLE_CHARS)
    }
}

/// The picture with bytes and nanoseconds in tooltips converted to units that fit: inferno writes whole numbers
/// only.
fn with_units(svg: &[u8]) -> Vec<u8> {
    let (open, close) = (b"<title>", b"</title>");
    let mut sized = Vec::with_capacity(svg.len());
    let mut rest = svg;
    while let Some((before, text, after)) = between(rest, open, close) {
        sized.extend_from_slice(before);
        sized.extend_from_slice(open);
        // `NAME (12,345 bytes, 6.78%)`, where the name may contain any text.
        let text = String::from_utf8_lossy(text);
        let parts = text.rsplit_once(" (").and_then(|(name, weight)| {
            let (amount, share) = weight.split_once(", ")?;
            let (number, unit) = amount.split_once(' ')?;
            let number: u64 = number.replace(',', "").parse().ok()?;
            let amount = match unit {
                BYTES => size(number),
                _ => {
                    let of = unit.strip_prefix(NANOSECONDS)?;
                    format!("{}{of}", short_duration(Duration::from_nanos(number)))
                }
            };
            Some(format!("{name} ({amount}, {share}"))
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

/// inferno's picture with a text in the root's bar. inferno leaves this text to its script, so that viewers
/// without scripts would show an empty bar.
fn with_root_text(mut svg: Vec<u8>) -> Vec<u8> {
    // Only the root's share has no decimals.
    let place = find(&svg, b", 100%)</title>", 0).and_then(|title| find(&svg, b"</text>", title));
    if let Some(place) = place {
        svg.splice(place..place, *b"all");
    }
    svg
}

/// Position of the first `what` at or after `from`.
fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let mut windows = text.get(from..)?.windows(what.len());
    windows
        .position(|window| window == what)
        .map(|place| from + place)
}

/// What was recorded.
fn facts(profile: &Profile, meta: &Meta) -> Vec<String> {
    let counts = profile.counts();
    let mut parts = Vec::new();
    if profile.total_weight() == 0 {
        parts.push(format!("{} ticks in {}", counts.ticks, seconds(meta)));
        return parts;
    }
    if profile.options().weights.rss {
        let released = profile.total_growth().released_bytes;
        parts.push(format!("{} released", size(released)));
    }
    if let Some(kind) = profile.options().weights.time {
        let time = Duration::from_nanos(counts.time_ns);
        parts.push(format!("{} {}", short_duration(time), kind.suffix()));
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
    parts
}

fn seconds(meta: &Meta) -> String {
    format!("{:.1} s", meta.duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
