//! The text of the table's heading and rows; its first four columns have py-spy's widths.

use super::state::TopSnapshot;
use crate::tui::cells::{MIN_NAME_WIDTH, clean};
use crate::tui::model::Column;
use crate::tui::rows::row::Row;

/// Width of the four columns of time with the gap after them, and of each column of memory.
const TIME_COLUMNS_WIDTH: u16 = 37;
const GROWTH_WIDTH: u16 = 9;

/// py-spy's columns.
pub const TIMES: [Column; 4] = [
    Column::OwnPercent,
    Column::TotalPercent,
    Column::OwnTime,
    Column::TotalTime,
];

/// The columns that leave room for a name; if not all fit, the one that sorts has priority.
pub fn columns(width: u16, sort: Column) -> Vec<Column> {
    use Column::{Added, Freed, Kept, OwnPercent, OwnTime, TotalPercent, TotalTime};
    const ALL_TIMES: u16 = TIME_COLUMNS_WIDTH + MIN_NAME_WIDTH;
    const ONE_GROWTH: u16 = ALL_TIMES + GROWTH_WIDTH;
    const ALL: u16 = ONE_GROWTH + 2 * GROWTH_WIDTH;
    const GROWTHS: u16 = 3 * GROWTH_WIDTH + MIN_NAME_WIDTH;
    match (width, sort) {
        (0..MIN_NAME_WIDTH, _) => Vec::new(),
        (MIN_NAME_WIDTH..36, _) => vec![sort],
        (ALL.., _) => [&TIMES[..], &[Kept, Added, Freed]].concat(),
        (ONE_GROWTH.., Added | Freed) => [&TIMES[..], &[sort]].concat(),
        (ONE_GROWTH.., _) => [&TIMES[..], &[Kept]].concat(),
        (GROWTHS.., Kept | Added | Freed) => vec![Kept, Added, Freed],
        (_, Kept | Added | Freed) => vec![sort],
        (ALL_TIMES.., _) => TIMES.to_vec(),
        (_, OwnPercent | TotalPercent) => vec![OwnPercent, TotalPercent],
        (_, OwnTime | TotalTime) => vec![OwnTime, TotalTime],
    }
}

/// The heading of a column, as wide as its numbers.
pub fn heading(column: Column) -> &'static str {
    match column {
        Column::OwnPercent => "  %Own ",
        Column::TotalPercent => "  %Total",
        Column::OwnTime => "  OwnTime",
        Column::TotalTime => "  TotalTime",
        Column::Kept => "     Kept",
        Column::Added => "    Added",
        Column::Freed => "    Freed",
    }
}

/// The heading of the names.
pub fn name_heading(by_line: bool) -> &'static str {
    if by_line {
        "Function (filename:line)"
    } else {
        "Function (filename)"
    }
}

/// A row; its counts divided by `per_second` are seconds.
pub fn row_text(snapshot: &TopSnapshot, row: &Row, columns: &[Column], per_second: f64) -> String {
    let mut text = String::new();
    for column in columns {
        text.push_str(&match column {
            Column::OwnPercent => format!("{:>6.2}%", snapshot.row_percent(row.own_now)),
            Column::TotalPercent => format!("{:>7.2}%", snapshot.row_percent(row.total_now)),
            Column::OwnTime => format!("{:>8}s", seconds(row.own as f64 / per_second)),
            Column::TotalTime => format!("{:>9}s ", seconds(row.total as f64 / per_second)),
            Column::Kept => format!("{:>9}", row.shown_kept()),
            Column::Added => format!("{:>9}", row.shown_added()),
            Column::Freed => format!("{:>9}", row.shown_freed()),
        });
    }
    text.push_str(gap(columns));
    text.push_str(&clean(&row.text()));
    text
}

/// The space between the numbers and the name.
pub fn gap(columns: &[Column]) -> &'static str {
    if columns.is_empty() { "" } else { "  " }
}

/// Seconds with three or four digits.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1000.0 => format!("{s:.0}"),
        s if s >= 100.0 => format!("{s:.1}"),
        s if s >= 1.0 => format!("{s:.2}"),
        s => format!("{s:.3}"),
    }
}
