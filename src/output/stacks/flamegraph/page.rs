//! [`Page`]: the SVG around the frames: title, facts, legend, style and script.
//!
//! Viewers that do not run the script show it at a width of 1,200, or scaled to theirs. In a browser the script
//! lays it out for the window's width. Without frames there is no script, and lines that fit half of that.

use std::io::{self, Write};

use inferno::flamegraph::color::Color;

use crate::output::svg::escape;

/// Width without the script.
const WIDTH: usize = 1_200;
/// Width without frames.
const EMPTY_WIDTH: usize = WIDTH / 2;
/// Empty space at both sides.
const PAD: usize = 10;
/// Width of a character, in font sizes; the widest common monospace fonts have 0.602.
const ADVANCE: f64 = 0.605;
const TITLE_SIZE: usize = 16;
const TEXT_SIZE: usize = 12;
const LEADING: usize = 4;
/// Distance of two entries of the legend.
const LEGEND_GAP: usize = 20;
/// Width of the colour before the name of an entry.
const SWATCH: usize = 18;

/// Longest title, in characters, in one line of this width.
pub const MAX_TITLE_CHARS: usize = 120;

/// What is above the frames.
pub struct Page {
    pub title: String,
    /// What was recorded; each part is shown in one line if possible.
    pub facts: Vec<String>,
    /// Where, when and how.
    pub details: Vec<String>,
    /// Names and colours.
    pub legend: Vec<(&'static str, Color)>,
}

/// Frames as inferno draws them: an `svg` element.
pub struct Frames<'a> {
    pub element: &'a str,
    /// Where they begin and end, downwards.
    pub top: usize,
    pub bottom: usize,
}

impl Page {
    /// Writes the document; without frames it has no script.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, frames: Option<&Frames<'_>>, out: &mut dyn Write) -> io::Result<()> {
        let width = frames.map_or(EMPTY_WIDTH, |_| WIDTH);
        let (header, top) = self.header(width);
        let height = top + PAD + frames.map_or(0, |frames| frames.bottom - frames.top);
        writeln!(
            out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg version=\"1.1\" width=\"{width}\" \
             height=\"{height}\" viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\" \
             xmlns:fg=\"http://github.com/jonhoo/inferno\">"
        )?;
        let title = escape(&self.title);
        let style = include_str!("flamegraph.css");
        writeln!(out, "<title>{title}</title>\n<style>\n{style}</style>")?;
        if frames.is_some() {
            let script = include_str!("flamegraph.js");
            writeln!(out, "<script><![CDATA[\n{script}]]></script>")?;
        }
        writeln!(
            out,
            "<rect id=\"background\" width=\"100%\" height=\"100%\"/>"
        )?;
        out.write_all(header.as_bytes())?;
        if let Some(frames) = frames {
            // The element is moved so that its frames begin below the header.
            let y = top.saturating_sub(frames.top);
            let start = "<svg id=\"frames\"";
            let rest = frames.element.strip_prefix(start).unwrap_or_default();
            writeln!(out, "{start} y=\"{y}\" data-top=\"{}\"{rest}", frames.top)?;
        }
        writeln!(out, "</svg>")
    }

    /// The elements above the frames, and where they end.
    fn header(&self, width: usize) -> (String, usize) {
        let mut y = PAD;
        let mut text = |id, parts: &[String], size| text(id, parts, size, width, &mut y);
        let title = text("title", std::slice::from_ref(&self.title), TITLE_SIZE);
        let facts = text("facts", &self.facts, TEXT_SIZE);
        let details = text("details", &self.details, TEXT_SIZE);
        let legend = self.legend(&mut y);
        (format!("{title}{facts}{details}{legend}"), y + LEADING)
    }

    fn legend(&self, y: &mut usize) -> String {
        let mut elements = String::new();
        if self.legend.is_empty() {
            return elements;
        }
        *y += 2 * LEADING;
        let mut x = PAD;
        for (name, color) in &self.legend {
            let Color { r, g, b } = color;
            let name = escape(name);
            elements += &format!(
                "<g class=\"key\" transform=\"translate({x},{y})\"><path d=\"M0 0h12v12H0z\" \
                 fill=\"rgb({r},{g},{b})\"/><text x=\"{SWATCH}\" y=\"10\">{name}</text></g>\n"
            );
            x += SWATCH + width(&name, TEXT_SIZE) + LEGEND_GAP;
        }
        *y += TEXT_SIZE + LEADING;
        elements
    }
}

/// Parts joined by a dot, in lines no longer than the picture is wide; moves `y` below them. A part that is longer is
/// broken between words.
fn text(id: &str, parts: &[String], size: usize, picture: usize, y: &mut usize) -> String {
    if parts.is_empty() {
        return String::new();
    }
    let fits = |line: &str| width(line, size) <= picture - 2 * PAD;
    let mut lines: Vec<String> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let dot = if index + 1 < parts.len() { " ·" } else { "" };
        let part = format!("{part}{dot}");
        let words = match fits(&part) {
            true => vec![part.as_str()],
            false => part.split(' ').collect(),
        };
        for word in words {
            match lines.last_mut() {
                Some(line) if fits(&format!("{line} {word}")) => *line += &format!(" {word}"),
                _ => lines.push(word.to_owned()),
            }
        }
    }
    let mut element = format!("<text id=\"{id}\">");
    for line in lines {
        *y += size;
        let line = escape(&line);
        element += &format!("<tspan x=\"{PAD}\" y=\"{y}\">{line}</tspan>");
        *y += LEADING;
    }
    element + "</text>\n"
}

fn width(text: &str, size: usize) -> usize {
    (text.chars().count() as f64 * ADVANCE * size as f64).ceil() as usize
}
