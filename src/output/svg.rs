//! [`Canvas`]: writes the few SVG shapes that pictures need.

use std::fmt::{self, Display, Write};

/// A position in the picture, in its own units: right and down.
pub type Point = (f64, f64);

/// An opaque colour: red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color(pub u8, pub u8, pub u8);

impl Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Color(red, green, blue) = self;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Which part of a text is at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Copy, Debug)]
pub struct Font {
    /// In the picture's units.
    pub size: f64,
    pub color: Color,
    pub is_bold: bool,
}

/// Where the viewer prefers dark pictures, lightness is inverted and hues are kept. The inverse of the
/// background is also that of the space around the picture.
const DARK: &str = "@media (prefers-color-scheme: dark) { svg { background-color: #1a1a1b; } \
                    #picture { filter: invert(0.9) hue-rotate(180deg); } }";

/// An SVG document in memory.
pub struct Canvas {
    svg: String,
}

impl Canvas {
    /// An empty picture. It has a shape but no size, so that it fills the width of its container.
    /// Viewers show `title` in their tabs, and screen readers read it.
    pub fn new((width, height): (u32, u32), title: &str) -> Canvas {
        let title = escape(title);
        Canvas {
            svg: format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg role=\"img\" \
                 viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
                 <title>{title}</title>\n<style>{DARK}</style>\n<g id=\"picture\">\n"
            ),
        }
    }

    pub fn finish(mut self) -> String {
        self.svg.push_str("</g>\n</svg>\n");
        self.svg
    }

    /// A text whose top is at `at`.
    pub fn text(&mut self, text: &str, at: Point, font: Font, anchor: Anchor) {
        if text.is_empty() {
            return;
        }
        let (x, y) = round(at);
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if font.is_bold {
            " font-weight=\"bold\""
        } else {
            ""
        };
        let (size, color, text) = (font.size, font.color, escape(text));
        // 0.76 em is the ascent of common monospace fonts.
        self.element(format_args!(
            "<text x=\"{x}\" y=\"{y}\" dy=\"0.76em\" text-anchor=\"{anchor}\" font-family=\"monospace\" \
             font-size=\"{size}\"{weight} fill=\"{color}\">{text}</text>"
        ));
    }

    /// A line through these points.
    pub fn line(&mut self, points: &[Point], color: Color, width: u32) {
        self.polyline(points, color, width, "");
    }

    /// A dashed line through these points.
    pub fn dashed(&mut self, points: &[Point], color: Color, width: u32) {
        self.polyline(points, color, width, " stroke-dasharray=\"18 12\"");
    }

    fn polyline(&mut self, points: &[Point], color: Color, width: u32, dashes: &str) {
        let points = simplified(points);
        if points.len() > 1 {
            let points = Points(&points);
            self.element(format_args!(
                "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"{dashes} points=\"{points}\"/>"
            ));
        }
    }

    /// A filled polygon.
    pub fn area(&mut self, corners: &[Point], color: Color, opacity: f64) {
        let corners = simplified(corners);
        if corners.len() > 2 {
            let points = Points(&corners);
            self.element(format_args!(
                "<polygon fill=\"{color}\" fill-opacity=\"{opacity}\" points=\"{points}\"/>"
            ));
        }
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, from: Point, to: Point, color: Color, opacity: f64) {
        let ((left, top), (right, bottom)) = (round(from), round(to));
        let (width, height) = (right - left, bottom - top);
        self.element(format_args!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"{color}\" \
             fill-opacity=\"{opacity}\"/>"
        ));
    }

    pub fn ring(&mut self, center: Point, radius: u32, color: Color) {
        let (x, y) = round(center);
        self.element(format_args!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"none\" stroke=\"{color}\" \
             stroke-width=\"4\"/>"
        ));
    }

    fn element(&mut self, element: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.svg, "{element}");
    }
}

/// The points as `x,y x,y`.
struct Points<'a>(&'a [(i32, i32)]);

impl Display for Points<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (x, y)) in self.0.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(f, "{space}{x},{y}")?;
        }
        Ok(())
    }
}

fn round((x, y): Point) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

/// The text with XML's special characters as entities and without the characters that XML 1.0 does not
/// allow (its production 2, `Char`).
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => escaped.push(c),
            _ => escaped.push(char::REPLACEMENT_CHARACTER),
        }
    }
    escaped
}

/// The points rounded to whole units, without those in the middle of a level or upright stretch.
fn simplified(points: &[Point]) -> Vec<(i32, i32)> {
    let mut simple: Vec<(i32, i32)> = Vec::with_capacity(points.len());
    for point in points.iter().copied().map(round) {
        if let [.., before, last] = simple.as_slice() {
            let is_level = before.1 == last.1 && last.1 == point.1;
            let is_upright = before.0 == last.0 && last.0 == point.0;
            let goes_on = |a: i32, b: i32, c: i32| (a <= b && b <= c) || (a >= b && b >= c);
            if (is_level && goes_on(before.0, last.0, point.0))
                || (is_upright && goes_on(before.1, last.1, point.1))
            {
                simple.pop();
            }
        }
        simple.push(point);
    }
    simple.dedup();
    simple
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_retain_their_ends_and_spikes_their_tips() {
        let points = [
            (0.0, 5.0),
            (1.0, 5.2),
            (2.0, 5.0),
            (3.0, 5.0),
            (3.0, 0.0),
            (3.0, 9.0),
            (4.0, 5.0),
            (4.0, 5.0),
        ];
        assert_eq!(
            simplified(&points),
            [(0, 5), (3, 5), (3, 0), (3, 9), (4, 5)]
        );
    }

    #[test]
    fn no_text_breaks_the_document() {
        assert_eq!(
            escape("<a href=\"x\"> & \u{0}\u{1b}\u{ffff}é🐍"),
            "&lt;a href=\"x\"&gt; &amp; \u{fffd}\u{fffd}\u{fffd}é🐍"
        );
    }

    #[test]
    fn shapes_without_an_extent_are_left_out() {
        let mut canvas = Canvas::new((10, 20), "a < b");
        let color = Color(0, 98, 170);
        canvas.line(&[(1.0, 1.0), (1.2, 1.2)], color, 2);
        canvas.area(&[(0.0, 0.0), (9.0, 0.0)], color, 1.0);
        canvas.dashed(&[(0.0, 0.0), (3.6, 9.0)], color, 2);
        let svg = canvas.finish();
        assert_eq!(svg.matches("<poly").count(), 1, "{svg}");
        assert!(
            svg.contains("stroke=\"#0062aa\"") && svg.contains("points=\"0,0 4,9\""),
            "{svg}"
        );
        assert!(svg.contains("<title>a &lt; b</title>"), "{svg}");
        assert!(svg.contains("prefers-color-scheme: dark"), "{svg}");
    }
}
