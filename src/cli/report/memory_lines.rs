//! The lines of `memory` where stdout is not a terminal.

use crate::rss::attribution::Growth;
use crate::text::escape::for_terminal;
use crate::text::units::{mib_number, size_change};
use crate::tui::memory::state::MemorySeen;
use crate::tui::rows::row::Row;

/// Most functions below the verdict.
const MAX_FUNCTIONS: usize = 5;

pub const HEADING: &str = "Seconds    RSS MiB   Peak MiB    Growth  Most of it since the last line";

/// A line: the numbers, and the function that added most since `last`.
pub fn line(seen: &MemorySeen, last: &MemorySeen) -> String {
    let [now, _, peak] = seen.rss_bytes.unwrap_or_default();
    let before = |row: &Row| {
        let mut rows = last.functions.iter();
        let same = |old: &&Row| (&old.name, &old.filename) == (&row.name, &row.filename);
        rows.find(same).map_or(0, |old| old.own_growth.net_bytes())
    };
    let most = seen
        .functions
        .iter()
        .map(|row| (row.own_growth.net_bytes().saturating_sub(before(row)), row))
        .max_by_key(|(bytes, _)| *bytes)
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, row)| format!("  {} {}", size_change(bytes), for_terminal(&row.text())));
    format!(
        "{:>7.1} {:>10} {:>10} {:>9}{}",
        seen.elapsed.as_secs_f64(),
        mib_number(now),
        mib_number(peak),
        size_change(seen.growth().unwrap_or(0)),
        most.unwrap_or_default()
    )
}

/// The verdict, and the functions that added most.
pub fn closing(seen: &MemorySeen) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(seen.verdict.map(|verdict| format!("Memory: {verdict}")));
    for row in seen.lines.iter().take(MAX_FUNCTIONS) {
        let Growth {
            grown_bytes,
            released_bytes,
        } = row.own_growth;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        lines.push(format!(
            "{:>9} added, {:>9} released  {}",
            size_change(signed(grown_bytes)),
            size_change(-signed(released_bytes)),
            for_terminal(&row.text())
        ));
    }
    lines
}
