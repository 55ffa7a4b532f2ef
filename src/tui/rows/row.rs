//! [`Row`]: a function or a line with its counts.

use std::sync::Arc;

use crate::rss::attribution::Growth;

/// One line of the table. Counts are samples (divide by the rate for seconds) or, with
/// [`cpu_time`](crate::profile::options::Weights::cpu_time), nanoseconds.
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
    /// RSS added and released with it anywhere on the stack.
    pub total_growth: Growth,
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
            total_growth: Growth::default(),
        }
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
