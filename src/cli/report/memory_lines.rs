//! The lines of `memory` where stdout is not a terminal.

use crate::text::escape::for_terminal;
use crate::text::units::{mib_number, size_change};
use crate::tui::memory::state::MemorySnapshot;
use crate::tui::rows::row::Row;

/// Most functions below the verdict.
const MAX_FUNCTIONS: usize = 5;

pub const HEADING: &str = "Seconds    RSS MiB   Peak MiB    Growth  Most of it since the last line";

/// A line: the numbers, and the function that added most since `last`.
pub fn line(now: &MemorySnapshot, last: &MemorySnapshot) -> String {
    let [rss, _, peak] = now.rss_bytes.unwrap_or_default();
    let before = |row: &Row| {
        let mut rows = last.functions.iter();
        let same = |old: &&Row| (&old.name, &old.filename) == (&row.name, &row.filename);
        rows.find(same).map_or(0, |old| old.own_kept)
    };
    let most = now
        .functions
        .iter()
        .map(|row| (row.own_kept.saturating_sub(before(row)), row))
        .max_by_key(|(bytes, _)| *bytes)
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, row)| {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            format!("  {} {}", size_change(bytes), for_terminal(&row.text()))
        });
    format!(
        "{:>7.1} {:>10} {:>10} {:>9}{}",
        now.elapsed.as_secs_f64(),
        mib_number(rss),
        mib_number(peak),
        size_change(now.growth().unwrap_or(0)),
        most.unwrap_or_default()
    )
}

/// The verdict, and the lines of code that kept most of what they added.
pub fn closing(now: &MemorySnapshot) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(now.verdict.map(|verdict| format!("Memory: {verdict}")));
    for row in now.lines.iter().take(MAX_FUNCTIONS) {
        lines.push(format!(
            "{:>9} kept, {:>9} added, {:>9} released  {}",
            row.shown_kept(),
            row.shown_added(),
            row.shown_freed(),
            for_terminal(&row.text())
        ));
    }
    lines
}
