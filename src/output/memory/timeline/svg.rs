//! [`Canvas`]: the few shapes that the picture is made of, put onto plotters' SVG backend.

use std::io;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// plotters divides font sizes by this before it writes them.
const PLOTTERS_FONT_SCALE: f64 = 1.24;

/// A place in the picture, in its own units: right and down.
pub type Place = (f64, f64);

/// On which side of its place a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It starts there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub struct Font {
    /// In the picture's units.
    pub size: f64,
    /// Its colour.
    pub color: RGBColor,
    /// Whether it is bold.
    pub is_bold: bool,
}

/// Something to draw on. Errors are those of plotters, none of which a text in memory can have.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl<'a> Canvas<'a> {
    /// An empty picture that is written into `svg`.
    pub fn new(svg: &'a mut String, size: (u32, u32)) -> Canvas<'a> {
        Canvas {
            area: SVGBackend::with_string(svg, size).into_drawing_area(),
        }
    }

    /// Ends the picture.
    pub fn finish(self) -> io::Result<()> {
        self.area.present().map_err(io::Error::other)
    }

    /// A text below its place.
    pub fn text(&self, text: &str, at: Place, font: Font, anchor: Anchor) -> io::Result<()> {
        let style = if font.is_bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let size = font.size * PLOTTERS_FONT_SCALE;
        let horizontal = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let style = TextStyle::from((FontFamily::Monospace, size, style).into_font())
            .color(&font.color)
            .pos(Pos::new(horizontal, VPos::Top));
        self.draw(&Text::new(text.to_owned(), round(at), style))
    }

    /// A line through these places.
    pub fn line(&self, places: &[Place], color: RGBAColor, width: u32) -> io::Result<()> {
        let places = simplified(places);
        if places.len() < 2 {
            return Ok(());
        }
        self.draw(&PathElement::new(places, color.stroke_width(width)))
    }

    /// A dashed straight line.
    pub fn dashed(&self, from: Place, to: Place, color: RGBAColor, width: u32) -> io::Result<()> {
        const DASH: f64 = 18.0;
        const GAP: f64 = 12.0;
        let (across, down) = (to.0 - from.0, to.1 - from.1);
        let length = across.hypot(down);
        let place = |along: f64| {
            let share = (along / length).min(1.0);
            (from.0 + across * share, from.1 + down * share)
        };
        let mut along = 0.0;
        while along < length {
            self.line(&[place(along), place(along + DASH)], color, width)?;
            along += DASH + GAP;
        }
        Ok(())
    }

    /// A filled shape with these corners.
    pub fn area(&self, corners: &[Place], color: RGBAColor) -> io::Result<()> {
        let corners = simplified(corners);
        if corners.len() < 3 {
            return Ok(());
        }
        self.draw(&Polygon::new(corners, color.filled()))
    }

    /// A filled rectangle.
    pub fn rectangle(&self, from: Place, to: Place, color: RGBAColor) -> io::Result<()> {
        self.draw(&Rectangle::new([round(from), round(to)], color.filled()))
    }

    /// A ring.
    pub fn ring(&self, center: Place, radius: u32, color: RGBAColor) -> io::Result<()> {
        self.draw(&Circle::new(round(center), radius, color.stroke_width(4)))
    }

    fn draw<E>(&self, element: &E) -> io::Result<()>
    where
        for<'e> &'e E: plotters::element::PointCollection<'e, (i32, i32)>,
        E: plotters::element::Drawable<SVGBackend<'a>>,
    {
        self.area.draw(element).map_err(io::Error::other)
    }
}

fn round((x, y): Place) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

/// The places as whole units, without those in the middle of a level stretch.
fn simplified(places: &[Place]) -> Vec<(i32, i32)> {
    let mut kept: Vec<(i32, i32)> = Vec::with_capacity(places.len());
    for place in places.iter().copied().map(round) {
        if let [.., before, last] = kept.as_slice() {
            let is_level = before.1 == last.1 && last.1 == place.1;
            let is_upright = before.0 == last.0 && last.0 == place.0;
            let goes_on = |a: i32, b: i32, c: i32| (a <= b && b <= c) || (a >= b && b >= c);
            if (is_level && goes_on(before.0, last.0, place.0))
                || (is_upright && goes_on(before.1, last.1, place.1))
            {
                kept.pop();
            }
        }
        kept.push(place);
    }
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_stretches_keep_their_ends_and_spikes_their_tips() {
        let places = [
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
            simplified(&places),
            [(0, 5), (3, 5), (3, 0), (3, 9), (4, 5)]
        );
    }
}
