//! The line of `top`'s header about memory.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::state::TopSnapshot;
use crate::text::units::{mib_number, size_change};
use crate::tui::memory::sparkline::curve;

/// The widest curve: the series has no more points.
const MAX_CURVE: usize = 120;
/// The narrowest useful curve.
const MIN_CURVE: usize = 8;
/// Number of spans before the growth.
const SPANS_BEFORE_GROWTH: usize = 5;

/// RSS, its peak and its growth, and a curve as far as it fits into `width` cells. Empty if the memory is
/// unknown.
pub fn line(snapshot: &TopSnapshot, width: u16) -> Line<'static> {
    let mut spans = spans(snapshot);
    let width_of = |spans: &[Span]| spans.iter().map(Span::width).sum::<usize>();
    if width_of(&spans) > width.into() {
        // A truncated number would be wrong.
        spans.truncate(SPANS_BEFORE_GROWTH);
    }
    let used = width_of(&spans);
    let room = usize::from(width).saturating_sub(used + 2).min(MAX_CURVE);
    if !spans.is_empty() && room >= MIN_CURVE {
        spans.push(Span::raw("  "));
        spans.push(Span::raw(curve(&snapshot.rss_curve, room)));
    }
    spans.into()
}

/// The line without the curve, as text.
pub fn text(snapshot: &TopSnapshot) -> String {
    Line::from(spans(snapshot)).to_string()
}

/// The line without the curve.
pub fn spans(snapshot: &TopSnapshot) -> Vec<Span<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (Some(now), Some(peak)) = (snapshot.rss_bytes, snapshot.rss_peak_bytes) else {
        return Vec::new();
    };
    let mut spans = vec![
        Span::raw("RSS: "),
        Span::styled(mib_number(now), bold),
        Span::raw(" MiB (peak "),
        Span::styled(mib_number(peak), bold),
        Span::raw(" MiB)"),
    ];
    if let Some(first) = snapshot.rss_first_bytes {
        let change = i128::from(now) - i128::from(first);
        let change = i64::try_from(change).unwrap_or(if change < 0 { i64::MIN } else { i64::MAX });
        spans.push(Span::raw(", growth "));
        spans.push(Span::styled(size_change(change), bold));
    }
    spans
}
