//! [`Row`]: a function or a line, and what was counted of it.

use std::sync::Arc;

use crate::rss::attribution::Growth;

/// One line of the table. Counts are stacks seen (divide by the rate for seconds) or, with
/// [`Filter::cpu`](crate::tui::top::state::Filter::cpu), nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The function's name, as the target gave it: hostile text.
    pub name: Arc<str>,
    /// Its file; empty for the row that takes the functions beyond the limit.
    pub filename: Arc<str>,
    /// The line, in the table by line.
    pub line: Option<u32>,
    /// Stacks of the last interval that have it as leaf.
    pub own_now: u64,
    /// Stacks of the last interval that hold it, each counted once however deep the recursion.
    pub total_now: u64,
    /// As `own_now`, since the start or the last reset.
    pub own: u64,
    /// As `total_now`, since the start or the last reset.
    pub total: u64,
    /// Resident memory that it added and gave back as leaf since then. Whatever the filter, all threads
    /// count here.
    pub own_growth: Growth,
    /// The same anywhere on the stack.
    pub total_growth: Growth,
}

impl Row {
    /// Nothing counted yet.
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

    /// Its name and place: `take (pkg/app.py:20)`. Hostile text, too.
    pub fn text(&self) -> String {
        let Row { name, filename, .. } = self;
        match self.line {
            _ if filename.is_empty() => name.to_string(),
            Some(line) => format!("{name} ({filename}:{line})"),
            None => format!("{name} ({filename})"),
        }
    }
}
