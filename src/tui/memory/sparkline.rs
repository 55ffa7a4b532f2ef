//! Memory in a line of text: the header's numbers, and the curve behind them.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use crate::tui::top::state::Snapshot;

/// Levels of a cell of the curve.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The widest curve: beyond, a cell would stand for less than one of the series' points.
const MAX_CURVE: usize = 120;
/// The narrowest one that tells something.
const MIN_CURVE: usize = 8;
/// How many of the spans stand before the growth.
const WITHOUT_GROWTH: usize = 5;
const MIB: f64 = (1 << 20) as f64;

/// Resident memory now, its peak and its growth, and as much of a curve as has room in `width` cells.
/// Empty when the memory is unknown.
pub(crate) fn line(snapshot: &Snapshot, width: u16) -> Line<'static> {
    let mut spans = spans(snapshot);
    let width_of = |spans: &[Span]| spans.iter().map(Span::width).sum::<usize>();
    if width_of(&spans) > width.into() {
        // A number that is cut would be another number.
        spans.truncate(WITHOUT_GROWTH);
    }
    let used = width_of(&spans);
    let room = usize::from(width).saturating_sub(used + 2).min(MAX_CURVE);
    if !spans.is_empty() && room >= MIN_CURVE {
        spans.push(Span::raw("  "));
        spans.push(Span::raw(curve(&snapshot.rss_curve, room)));
    }
    spans.into()
}

/// The same without the curve.
pub(crate) fn spans(snapshot: &Snapshot) -> Vec<Span<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (Some(now), Some(peak)) = (snapshot.rss_bytes, snapshot.rss_peak_bytes) else {
        return Vec::new();
    };
    let mut spans = vec![
        Span::raw("RSS: "),
        Span::styled(mebibytes(now), bold),
        Span::raw(" MiB (peak "),
        Span::styled(mebibytes(peak), bold),
        Span::raw(" MiB)"),
    ];
    if let Some(first) = snapshot.rss_first_bytes {
        let change = i128::from(now) - i128::from(first);
        let change = i64::try_from(change).unwrap_or(if change < 0 { i64::MIN } else { i64::MAX });
        spans.push(Span::raw(", growth "));
        spans.push(Span::styled(growth(change), bold));
    }
    spans
}

/// A change of memory in few characters: `+12.3M`, `-640K`, `+1.2G`; `0` for none.
pub fn growth(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    let size = bytes.unsigned_abs() as f64;
    match size / MIB {
        0.0 => "0".to_owned(),
        mib if mib < 0.95 => format!("{sign}{:.0}K", (size / 1024.0).max(1.0)),
        mib if mib < 999.95 => format!("{sign}{mib:.1}M"),
        mib if mib < 999.95 * 1024.0 => format!("{sign}{:.1}G", mib / 1024.0),
        mib => format!("{sign}{:.0}T", (mib / (1024.0 * 1024.0)).min(9999.0)),
    }
}

/// A size in MiB, without the unit.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / MIB)
}

/// The readings, oldest first, as a row of at most `width` bars between their lowest and their highest.
/// Where several share a cell, it shows the highest of them.
pub(crate) fn curve(readings: &[u64], width: usize) -> String {
    let (Some(low), Some(high)) = (readings.iter().min(), readings.iter().max()) else {
        return String::new();
    };
    // A process that stands still but for some pages is a flat line, not a mountain range.
    let range = (high - low).max(high / 50).max(1) as f64;
    let width = width.min(readings.len());
    (0..width)
        .filter_map(|cell| {
            let from = cell * readings.len() / width;
            let to = (cell + 1) * readings.len() / width;
            let reading = readings.get(from..to)?.iter().max()?;
            let share = (reading - low) as f64 / range;
            let level = (share * LEVELS.len() as f64) as usize;
            LEVELS.get(level).or(LEVELS.last())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_short() {
        for (bytes, expected) in [
            (0, "0"),
            (1, "+1K"),
            (-(640 << 10), "-640K"),
            (1 << 20, "+1.0M"),
            (-(1_288 << 10), "-1.3M"),
            (12_900_000, "+12.3M"),
            (999 << 20, "+999.0M"),
            (1_300 << 20, "+1.3G"),
            (3 << 40, "+3T"),
            (i64::MIN, "-9999T"),
        ] {
            assert_eq!(growth(bytes), expected, "{bytes}");
            assert!(growth(bytes).len() <= 7, "{bytes}");
        }
    }

    #[test]
    fn curves_show_the_highest_of_what_shares_a_cell() {
        assert_eq!(
            curve(&[0, 100, 200, 300, 400, 500, 600, 700], 20),
            "▁▂▃▄▅▆▇█"
        );
        // A peak of one reading is there, however narrow the curve.
        let mut readings = vec![1_000_u64; 1_000];
        if let Some(reading) = readings.get_mut(555) {
            *reading = 2_000;
        }
        assert_eq!(curve(&readings, 10), "▁▁▁▁▁█▁▁▁▁");
        // Less than two in a hundred is next to nothing.
        assert_eq!(curve(&[10_000, 10_020, 10_000], 3), "▁▁▁");
        assert_eq!(curve(&[], 10), "");
        assert_eq!(curve(&[5, 6], 0), "");
        assert_eq!(curve(&[0, u64::MAX], 9), "▁█");
    }
}
