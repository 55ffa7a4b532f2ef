//! [`TableOptions`]: what a table of functions or of their lines shows, and the parts of it that both
//! have.

pub mod csv;
pub mod functions;
pub mod lines;
pub mod selector;
pub mod source;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use super::{Meta, no_samples};
use crate::profile::Profile;
use crate::profile::tables::functions::{Amount, FunctionRow, FunctionTable};
use crate::profile::tables::labels::Label;
use crate::rss::attribution::Growth;
use crate::text::sanitize::clean;
use csv::Cell;
use selector::FunctionName;
use source::{FileKey, Source};

/// What to show of a profile as a table, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// Comma-separated values instead of aligned text.
    pub csv: bool,
    /// Only these functions; empty: the hottest ones, or in a table of functions all.
    pub only: Vec<FunctionName>,
    /// What comes first; `None`: own time, or own growth where memory was recorded.
    pub sort: Option<SortKey>,
    /// The source files.
    pub sources: HashMap<FileKey, Source>,
}

/// By which column a table is ordered, greatest first; by name, in the order of the alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Time in the function itself.
    Own,
    /// Time in the function and all it calls.
    Total,
    /// Memory that came in the function itself.
    OwnGrowth,
    /// Memory that came in the function and all it calls.
    Growth,
    /// Memory that went in the function and all it calls.
    Freed,
    /// The functions' names.
    Name,
}

impl SortKey {
    /// All of them, in the order of their help.
    pub const ALL: [SortKey; 6] = [
        SortKey::Own,
        SortKey::Total,
        SortKey::OwnGrowth,
        SortKey::Growth,
        SortKey::Freed,
        SortKey::Name,
    ];

    /// The name as `--sort` takes it.
    pub fn name(self) -> &'static str {
        match self {
            SortKey::Own => "own",
            SortKey::Total => "total",
            SortKey::OwnGrowth => "own-growth",
            SortKey::Growth => "growth",
            SortKey::Freed => "freed",
            SortKey::Name => "name",
        }
    }

    /// Whether there is nothing to order by unless memory is recorded.
    pub fn needs_memory(self) -> bool {
        matches!(self, SortKey::OwnGrowth | SortKey::Growth | SortKey::Freed)
    }

    fn of(self, amount: &Amount) -> u64 {
        match self {
            SortKey::Own => amount.own,
            SortKey::Total => amount.total,
            SortKey::OwnGrowth => amount.own_growth.grown_bytes,
            SortKey::Growth => amount.total_growth.grown_bytes,
            SortKey::Freed => amount.total_growth.released_bytes,
            SortKey::Name => 0,
        }
    }
}

/// A profile's functions as a table shows them.
pub(crate) struct View<'a> {
    pub profile: &'a Profile,
    options: &'a TableOptions,
    table: FunctionTable,
}

impl<'a> View<'a> {
    pub fn new(profile: &'a Profile, options: &'a TableOptions) -> View<'a> {
        View {
            profile,
            options,
            table: FunctionTable::of(profile),
        }
    }

    /// The same, with what is in different files at one path kept apart.
    pub fn by_root(profile: &'a Profile, options: &'a TableOptions) -> View<'a> {
        View {
            table: FunctionTable::by_root(profile),
            profile,
            options,
        }
    }

    fn sort_key(&self) -> SortKey {
        self.options.sort.unwrap_or_else(|| self.default_key())
    }

    fn default_key(&self) -> SortKey {
        if self.has_memory() {
            SortKey::OwnGrowth
        } else {
            SortKey::Own
        }
    }

    /// The functions that were asked for, or all; in the order that was asked for.
    pub fn rows(&self) -> Vec<&FunctionRow> {
        let only = &self.options.only;
        let chosen = |row: &&FunctionRow| {
            let (name, file) = (self.name(row), self.file(row));
            only.is_empty() || only.iter().any(|chosen| chosen.matches(&name, file))
        };
        let mut rows: Vec<&FunctionRow> = self.table.rows.iter().filter(chosen).collect();
        let key = self.sort_key();
        rows.sort_by_cached_key(|row| {
            let amount = &row.amount;
            let names = (self.name(row).into_owned(), self.file(row), row.first_line);
            (
                Reverse(key.of(amount)),
                Reverse((key != SortKey::Name).then_some((amount.own, amount.total))),
                names,
            )
        });
        rows
    }

    fn unmatched(&self) -> Vec<String> {
        let is_seen = |name: &&FunctionName| {
            let mut rows = self.table.rows.iter();
            rows.any(|row| name.matches(&self.name(row), self.file(row)))
        };
        let only = self.options.only.iter();
        only.filter(|name| !is_seen(name))
            .map(|name| {
                let name = name.to_string();
                format!("No function that was seen is called '{}'", clean(&name))
            })
            .collect()
    }

    /// The functions that were asked for or, if none was, at most so many that weigh most; in the order
    /// that was asked for.
    pub fn hottest(&self, most: usize) -> Vec<&FunctionRow> {
        let mut rows = self.rows();
        if self.is_chosen() {
            return rows;
        }
        let key = match self.sort_key() {
            SortKey::Name => self.default_key(),
            key => key,
        };
        let mut weights: Vec<u64> = rows.iter().map(|row| key.of(&row.amount)).collect();
        weights.sort_unstable_by_key(|weight| Reverse(*weight));
        // What weighs less than a hundredth of the first is noise.
        let first = weights.first().copied().unwrap_or_default();
        let last = weights.get(most.saturating_sub(1)).copied();
        let least = last.unwrap_or_default().max(first / 100).max(1);
        rows.retain(|row| key.of(&row.amount) >= least);
        rows.truncate(most);
        rows
    }

    pub fn name(&self, row: &FunctionRow) -> Cow<'a, str> {
        self.profile.name(row.label)
    }

    /// The whole path of its file; empty for what is no function.
    pub fn file(&self, row: &FunctionRow) -> &'a str {
        self.profile.file(row.label).unwrap_or_default()
    }

    /// The same, and in which file system it is.
    pub fn file_key(&self, row: &FunctionRow) -> FileKey {
        FileKey {
            root: row.root,
            path: self.file(row).to_owned(),
        }
    }

    /// Whose file it is, if other processes have another one at its path.
    pub fn whose_file(&self, row: &FunctionRow) -> Option<String> {
        let path = self.file(row);
        let mut rows = self.table.rows.iter();
        if !rows.any(|other| other.root != row.root && self.file(other) == path) {
            return None;
        }
        let name = self.profile.root_name(row.root);
        Some(name.unwrap_or_else(|| "the first process".to_owned()))
    }

    /// `Thing.load (pkg/mod.py:20)`, by the line on which it starts.
    pub fn title(&self, row: &FunctionRow) -> String {
        let name = self.name(row);
        let Some(Label::Python { shown_file, .. }) = self.profile.labels().get(row.label) else {
            return name.into_owned();
        };
        let file = self.profile.string(shown_file);
        match row.first_line {
            Some(line) => format!("{name} ({file}:{line})"),
            None => format!("{name} ({file})"),
        }
    }

    pub fn has_memory(&self) -> bool {
        self.profile.options().memory
    }

    /// The time of all stacks together, in the unit of their weights.
    fn whole(&self) -> u64 {
        let counts = self.profile.counts();
        if self.profile.options().cpu_time {
            counts.cpu_ns
        } else {
            counts.samples
        }
    }

    /// Whether functions are shown because they were named.
    pub fn is_chosen(&self) -> bool {
        !self.options.only.is_empty()
    }

    /// A weight in per cent of the recording's.
    pub fn percent(&self, weight: u64) -> f64 {
        100.0 * weight as f64 / self.whole().max(1) as f64
    }

    /// What precedes a table: whose it is, and of how much.
    pub fn head(&self, meta: &Meta) -> String {
        let (profile, counts) = (self.profile, self.profile.counts());
        let mut what = format!("{} samples", counts.samples);
        if profile.options().cpu_time {
            what = format!("{:.2} s on a CPU, {what}", counts.cpu_ns as f64 / 1e9);
        }
        let seconds = meta.duration.as_secs_f64();
        let mut head = format!("{}\n{what} in {seconds:.1} s\n", meta.title(usize::MAX));
        if self.whole() == 0 && profile.total_weight() == 0 {
            head += &no_samples(profile);
            head.push('\n');
        }
        for line in self.unmatched() {
            head += &line;
            head.push('\n');
        }
        head
    }

    /// The heading of the first column.
    pub fn weight_heading(&self) -> &'static str {
        if self.profile.options().cpu_time {
            "CPU ms"
        } else {
            "Samples"
        }
    }

    /// The cells of an amount in aligned text: samples, own and total per cent, growth and release of
    /// memory.
    pub fn cells(&self, amount: &Amount) -> [String; 5] {
        let weight = if self.profile.options().cpu_time {
            format!("{:.1}", amount.total as f64 / 1e6)
        } else {
            amount.total.to_string()
        };
        let Growth {
            grown_bytes,
            released_bytes,
        } = amount.total_growth;
        [
            weight,
            format!("{:.1}", self.percent(amount.own)),
            format!("{:.1}", self.percent(amount.total)),
            self.mib(grown_bytes),
            self.mib(released_bytes),
        ]
    }

    /// A size, or a dash where memory was not recorded.
    pub fn mib(&self, bytes: u64) -> String {
        if self.has_memory() {
            format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
        } else {
            "-".to_owned()
        }
    }

    /// The names of [`csv_cells`](View::csv_cells).
    pub fn csv_headings(&self) -> [&'static str; 8] {
        let [own, total] = if self.profile.options().cpu_time {
            ["own_cpu_ns", "total_cpu_ns"]
        } else {
            ["own_samples", "total_samples"]
        };
        [
            own,
            total,
            "own_percent",
            "total_percent",
            "own_grown_bytes",
            "own_released_bytes",
            "total_grown_bytes",
            "total_released_bytes",
        ]
    }

    /// An amount as values for programs; memory is empty where it was not recorded.
    pub fn csv_cells(&self, amount: &Amount) -> [Cell<'static>; 8] {
        let bytes = |bytes: u64| {
            if self.has_memory() {
                Cell::Count(bytes)
            } else {
                Cell::Empty
            }
        };
        [
            Cell::Count(amount.own),
            Cell::Count(amount.total),
            Cell::Number(self.percent(amount.own)),
            Cell::Number(self.percent(amount.total)),
            bytes(amount.own_growth.grown_bytes),
            bytes(amount.own_growth.released_bytes),
            bytes(amount.total_growth.grown_bytes),
            bytes(amount.total_growth.released_bytes),
        ]
    }
}

/// A line for each of the names asked for that no function has.
pub fn unmatched(profile: &Profile, options: &TableOptions) -> Vec<String> {
    if options.only.is_empty() {
        return Vec::new();
    }
    View::new(profile, options).unmatched()
}

/// Rows of cells as text: each column as wide as its widest cell, numbers to the right, the last
/// column, which is text, to the left and as long as it is.
pub(crate) fn aligned(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let cells = cells.map(|cell| cell.chars().count());
        let heading = headings.get(column).map_or(0, |text| text.chars().count());
        cells.chain([heading]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len().saturating_sub(1)).map(width).collect();
    let mut text = String::new();
    let line = |text: &mut String, cells: &[&str]| {
        let start = text.len();
        for (cell, width) in cells.iter().zip(&widths) {
            *text += &format!("{cell:>width$}  ");
        }
        *text += cells.last().copied().unwrap_or_default();
        text.truncate(start + text.get(start..).unwrap_or_default().trim_end().len());
        text.push('\n');
    };
    line(&mut text, headings);
    // As wide as the headings: a long name does not stretch it.
    let headed: usize = widths.iter().map(|width| width + 2).sum();
    let last = headings.last().map_or(0, |text| text.chars().count());
    text += &"=".repeat(headed + last);
    text.push('\n');
    for row in rows {
        line(
            &mut text,
            &row.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
    text
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod roots_tests;
#[cfg(test)]
mod tests;
