//! Sizes, fonts and colours of the picture.

use crate::output::svg::{Color, Font};

/// Width of the picture, in its own units.
pub const WIDTH: f64 = 1_800.0;
/// Empty space on all sides.
pub const MARGIN: f64 = 30.0;
/// Space between unrelated parts.
pub const GAP: f64 = 30.0;
/// Height of a line of text, in font sizes.
pub const LEADING: f64 = 1.35;

/// Title and verdict.
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
/// Where, when and how it was recorded.
pub const DETAILS: Font = Font {
    size: 22.0,
    color: Color(99, 99, 94),
    is_bold: false,
};
/// Text and axes.
pub const INK: Color = Color(40, 40, 40);
/// A verdict that suspects a leak.
pub const ALARM: Color = Color(178, 24, 24);
pub const GRID: Color = Color(224, 224, 220);
pub const RSS: Color = Color(0, 98, 170);
pub const BASELINE: Color = Color(0, 130, 80);
pub const TREND: Color = Color(200, 70, 0);
/// Further lines, in colours that colour-blind readers can tell apart.
pub const LINES: [Color; 10] = [
    Color(204, 121, 167),
    Color(230, 159, 0),
    Color(86, 180, 233),
    Color(120, 94, 240),
    Color(110, 110, 110),
    Color(160, 110, 50),
    Color(0, 158, 115),
    Color(90, 50, 120),
    Color(150, 170, 40),
    Color(230, 90, 130),
];

/// Opacity of the area below the baseline.
pub const BASELINE_OPACITY: f64 = 0.16;
/// Opacity of the area between the lowest and the highest RSS of each stretch.
pub const RANGE_OPACITY: f64 = 0.3;
/// Bars of a function.
pub const BAR: Color = Color(222, 120, 31);
/// Background of the bars.
pub const TRACK: Color = Color(236, 236, 232);
