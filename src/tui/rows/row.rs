//! [`Row`]: a function or a line with its counts.

use std::sync::Arc;

use crate::rss::attribution::Growth;
use crate::text::units::size_change;

/// One line of the table. Counts are samples (divide by the rate for seconds) or, with
/// [`time`](crate::profile::options::Weights::time), nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name from the target: hostile text.
    pub name: Arc<str>,
    /// Empty for rows that are not functions.
    pub filename: Arc<str>,
    /// Only in the table by line.
    pub line: Option<u32>,
    /// Samples of the last interval with it as leaf.
    pub own_now: u64,
    /// Samples of the last interval with it anywhere on the stack, counted once per stack.
    pub total_now: u64,
    /// Like `own_now`, since the start or the last reset.
    pub own: u64,
    /// Like `total_now`, since the start or the last reset.
    pub total: u64,
    /// RSS added and released with it as leaf, by all threads, whatever the filter.
    pub own_growth: Growth,
    /// RSS added with it as leaf and [never released](crate::profile::Profile::kept), in bytes.
    pub own_kept: u64,
}

impl Row {
    pub fn new(name: Arc<str>, filename: Arc<str>, line: Option<u32>) -> Row {
        Row {
            name,
            filename,
            line,
            own_now: 0,
            total_now: 0,
            own: 0,
            total: 0,
            own_growth: Growth::default(),
            own_kept: 0,
        }
    }

    /// The RSS that it added and that was never released, for a column.
    pub fn shown_kept(&self) -> String {
        size_change(signed(self.own_kept))
    }

    /// The RSS that it added, for a column.
    pub fn shown_added(&self) -> String {
        size_change(signed(self.own_growth.grown_bytes))
    }

    /// The RSS that was released in it, for a column.
    pub fn shown_freed(&self) -> String {
        size_change(-signed(self.own_growth.released_bytes))
    }

    /// Name, file and line: `take (pkg/app.py:20)`. Hostile text.
    pub fn text(&self) -> String {
        let Row { name, filename, .. } = self;
        match self.line {
            _ if filename.is_empty() => name.to_string(),
            Some(line) => format!("{name} ({filename}:{line})"),
            None => format!("{name} ({filename})"),
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
