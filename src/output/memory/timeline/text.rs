//! Width of texts in the picture, and texts shortened to a width.
//!
//! All text is monospaced, so that its width is known without the viewer's fonts.

use std::time::Duration;

/// Width of a character, in font sizes. The widest common monospace fonts have 0.602.
pub const ADVANCE: f64 = 0.61;

/// Upper bound of the width of a text, in characters. Not the width on a terminal: what is neither Latin,
/// Greek nor Cyrillic usually comes from a fallback font that need not be monospaced, so each such
/// character counts as two.
pub fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    match c {
        '\0'..='\u{52f}' | '\u{2010}'..='\u{2027}' => 1,
        _ => 2,
    }
}

/// Width of a text, in the unit of its font size.
pub fn width(text: &str, font_size: f64) -> f64 {
    columns(text) as f64 * ADVANCE * font_size
}

/// The text, shortened to `max_width`; a shortened text ends in `…`.
pub fn fit(text: &str, font_size: f64, max_width: f64) -> String {
    if width(text, font_size) <= max_width {
        return text.to_owned();
    }
    let room = (max_width / (ADVANCE * font_size)) as usize;
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += char_columns(c);
        if used > room {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

/// A time since the start of a recording of this length, in the unit of [`time_unit`]: `56.8 s`.
pub fn moment(at: Duration, length: Duration) -> String {
    let (unit, name) = time_unit(length);
    format!("{:.1} {name}", at.as_secs_f64() / unit)
}

/// The unit for times of a recording of this length, so that they have at most three digits: its length in
/// seconds and its name.
pub fn time_unit(length: Duration) -> (f64, &'static str) {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    match length.as_secs_f64() {
        seconds if seconds <= 5.0 * MINUTE => (1.0, "s"),
        seconds if seconds <= 5.0 * HOUR => (MINUTE, "min"),
        seconds if seconds <= 120.0 * HOUR => (HOUR, "h"),
        _ => (24.0 * HOUR, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shortened_to_a_width() {
        assert_eq!(columns("né…"), 3);
        assert_eq!(columns("日本"), 4);
        let ten = 10.0 * ADVANCE * 26.0 + 0.1;
        assert_eq!(fit("0123456789", 26.0, ten), "0123456789");
        assert_eq!(fit("0123456789A", 26.0, ten), "012345678…");
        assert_eq!(fit("日本日本日本", 26.0, ten), "日本日本…");
        assert_eq!(fit("abc", 26.0, 0.0), "…");
        assert_eq!(fit("", 26.0, 0.0), "");
    }

    #[test]
    fn moments_have_the_unit_of_the_recording() {
        let of = |at, length| moment(Duration::from_secs_f64(at), Duration::from_secs(length));
        assert_eq!(of(56.75, 60), "56.8 s");
        assert_eq!(of(90.0, 3_600), "1.5 min");
        assert_eq!(of(9_000.0, 86_400), "2.5 h");
        assert_eq!(of(129_600.0, 864_000), "1.5 d");
    }
}
