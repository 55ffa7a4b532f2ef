//! [`View`]: what the tables of functions and of lines have in common.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;

use super::csv::Cell;
use crate::output::empty;
use crate::output::meta::Meta;
use crate::output::table_options::selector::FunctionName;
use crate::output::table_options::source::FileKey;
use crate::output::table_options::{SortKey, TableOptions};
use crate::profile::Profile;
use crate::profile::options::TimeWeight;
use crate::profile::tables::functions::{Amount, FunctionRow, FunctionTable};
use crate::profile::tables::labels::Label;
use crate::rss::attribution::Growth;
use crate::text::align::{self, Align};
use crate::text::sanitize::clean;
use crate::text::units;

/// The functions of a profile as shown in a table.
pub struct View<'a> {
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

    /// The same, but functions in different files with the same path are separate.
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

    /// The selected functions, or all, in the selected order.
    pub fn rows(&self) -> Vec<&FunctionRow> {
        let only = &self.options.only;
        let is_selected = |row: &&FunctionRow| {
            let (name, file) = (self.name(row), self.file(row));
            only.is_empty() || only.iter().any(|one| one.matches(&name, file))
        };
        let mut rows: Vec<&FunctionRow> = self.table.rows.iter().filter(is_selected).collect();
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
        let is_sampled = |name: &&FunctionName| {
            let mut rows = self.table.rows.iter();
            rows.any(|row| name.matches(&self.name(row), self.file(row)))
        };
        let only = self.options.only.iter();
        only.filter(|name| !is_sampled(name))
            .map(|name| {
                let name = name.to_string();
                format!("No function named '{}' was sampled", clean(&name))
            })
            .collect()
    }

    /// The selected functions or, without a selection, at most `most` of the hottest; in the selected
    /// order.
    pub fn hottest(&self, most: usize) -> Vec<&FunctionRow> {
        let mut rows = self.rows();
        if self.has_selection() {
            return rows;
        }
        let key = match self.sort_key() {
            SortKey::Name => self.default_key(),
            key => key,
        };
        let mut weights: Vec<u64> = rows.iter().map(|row| key.of(&row.amount)).collect();
        weights.sort_unstable_by_key(|weight| Reverse(*weight));
        // Less than a hundredth of the first is noise.
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

    /// Full path of the function's file; empty for rows that are not functions.
    pub fn file(&self, row: &FunctionRow) -> &'a str {
        self.profile.file(row.label).unwrap_or_default()
    }

    /// The same, with the file system that contains it.
    pub fn file_key(&self, row: &FunctionRow) -> FileKey {
        FileKey {
            root: row.root,
            path: self.file(row).to_owned(),
        }
    }

    /// A process that sees this file, if other processes see another one at the same path.
    pub fn file_owner(&self, row: &FunctionRow) -> Option<String> {
        let path = self.file(row);
        let mut rows = self.table.rows.iter();
        if !rows.any(|other| other.root != row.root && self.file(other) == path) {
            return None;
        }
        let name = self.profile.root_name(row.root);
        Some(name.unwrap_or_else(|| "the first process".to_owned()))
    }

    /// `Thing.load (pkg/mod.py:20)`, with the function's first line.
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
        self.profile.options().weights.rss
    }

    /// Total weight of all stacks: samples or nanoseconds.
    fn whole(&self) -> u64 {
        let counts = self.profile.counts();
        if self.profile.options().weights.time.is_some() {
            counts.time_ns
        } else {
            counts.samples
        }
    }

    fn has_selection(&self) -> bool {
        !self.options.only.is_empty()
    }

    /// A weight in percent of the whole recording.
    pub fn percent(&self, weight: u64) -> f64 {
        100.0 * weight as f64 / self.whole().max(1) as f64
    }

    /// The lines above a table: title, samples and notes.
    pub fn head(&self, meta: &Meta) -> String {
        let (profile, counts) = (self.profile, self.profile.counts());
        let mut what = format!("{} samples", counts.samples);
        if let Some(kind) = profile.options().weights.time {
            let time = units::short_duration(Duration::from_nanos(counts.time_ns));
            what = format!("{time} {}, {what}", kind.suffix());
        }
        let seconds = meta.duration.as_secs_f64();
        let mut head = format!("{}\n{what} in {seconds:.1} s\n", meta.title(usize::MAX));
        if self.whole() == 0 && profile.total_weight() == 0 {
            head += &empty::reason(profile);
            head.push('\n');
        }
        for line in self.unmatched() {
            head += &line;
            head.push('\n');
        }
        head
    }

    /// Heading of the first column.
    pub fn weight_heading(&self) -> &'static str {
        match self.profile.options().weights.time {
            Some(TimeWeight::Cpu) => "CPU ms",
            Some(TimeWeight::Wall) => "Wall ms",
            None => "Samples",
        }
    }

    /// The cells of an amount in aligned text: samples, own and total percent, RSS growth and release.
    pub fn cells(&self, amount: &Amount) -> [String; 5] {
        let weight = if self.profile.options().weights.time.is_some() {
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

    /// A size, or a dash if memory was not recorded.
    pub fn mib(&self, bytes: u64) -> String {
        if self.has_memory() {
            units::mib(bytes)
        } else {
            "-".to_owned()
        }
    }

    /// Headings of [`csv_cells`](View::csv_cells).
    pub fn csv_headings(&self) -> [&'static str; 8] {
        let [own, total] = match self.profile.options().weights.time {
            Some(TimeWeight::Cpu) => ["own_cpu_ns", "total_cpu_ns"],
            Some(TimeWeight::Wall) => ["own_wall_ns", "total_wall_ns"],
            None => ["own_samples", "total_samples"],
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

    /// The cells of an amount in CSV; those of memory are empty if it was not recorded.
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

/// A message for each name that matches no function.
pub fn unmatched(profile: &Profile, options: &TableOptions) -> Vec<String> {
    if options.only.is_empty() {
        return Vec::new();
    }
    View::new(profile, options).unmatched()
}

/// Rows of cells as aligned text, with a line between the headings and the rows.
pub fn aligned(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<_> = headings
        .iter()
        .map(|heading| (*heading, Align::Right))
        .collect();
    let mut lines = align::columns(&headings, rows);
    let rule = lines.first().map_or(0, |line| line.chars().count());
    lines.insert(1, "=".repeat(rule));
    lines.push(String::new());
    lines.join("\n")
}
