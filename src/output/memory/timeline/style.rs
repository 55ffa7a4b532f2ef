//! Sizes, fonts and colours of the picture.

use plotters::style::RGBColor;

use super::svg::Font;

/// Width of the picture, in its own units.
pub const WIDTH: f64 = 1_800.0;
/// Free on all sides.
pub const MARGIN: f64 = 30.0;
/// Between things that do not belong together.
pub const GAP: f64 = 30.0;
/// The height of a line of text, in font sizes.
pub const LEADING: f64 = 1.35;

/// Text that is read first.
pub const LARGE: Font = Font {
    size: 34.0,
    color: INK,
    is_bold: true,
};
/// All other text.
pub const SMALL: Font = Font {
    size: 28.0,
    color: INK,
    is_bold: false,
};
/// Of text and axes.
pub const INK: RGBColor = RGBColor(40, 40, 40);
/// Of a verdict that is a bad one.
pub const ALARM: RGBColor = RGBColor(178, 24, 24);
/// Of the lines behind the plot.
pub const GRID: RGBColor = RGBColor(224, 224, 220);
/// Of resident memory.
pub const RSS: RGBColor = RGBColor(0, 98, 170);
/// Of what stayed in the troughs.
pub const BASELINE: RGBColor = RGBColor(0, 130, 80);
/// Of the trend.
pub const TREND: RGBColor = RGBColor(200, 70, 0);
/// Of further lines: told apart by people who see few colours, too.
pub const LINES: [RGBColor; 10] = [
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 240),
    RGBColor(110, 110, 110),
    RGBColor(160, 110, 50),
    RGBColor(0, 158, 115),
    RGBColor(90, 50, 120),
    RGBColor(150, 170, 40),
    RGBColor(230, 90, 130),
];

/// How much of itself a band covers what is below it with.
pub const BAND_ALPHA: f64 = 0.16;
/// Of the functions' bars.
pub const BAR: RGBColor = RGBColor(222, 120, 31);
/// Behind them.
pub const TRACK: RGBColor = RGBColor(236, 236, 232);
