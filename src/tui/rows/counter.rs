//! [`Rows`]: the lines of the live table, found by name and counted by number.

use std::collections::HashMap;
use std::sync::Arc;

use super::row::Row;

/// Distinct functions (and, apart, lines) that are counted by name. A program that makes up
/// functions without end is counted in one row from there on.
const MAX_ROWS: usize = 20_000;
/// The name of the row that takes what no longer has its own.
const OTHERS: &str = "(other functions)";

/// Name, file and line: rows that look the same are the same.
type Key = (Arc<str>, Arc<str>, Option<u32>);

/// Rows that are found by name and counted by number.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<Counter>,
    by_key: HashMap<Key, u32>,
}

#[derive(Debug)]
struct Counter {
    row: Row,
    /// The last stack that was counted in `total`: a recursive function counts once per stack.
    stack: u64,
}

impl Rows {
    /// The number of the row with this name, made when there is none.
    pub fn find(&mut self, name: &Arc<str>, filename: &Arc<str>, line: Option<u32>) -> u32 {
        let mut key = (Arc::clone(name), Arc::clone(filename), line);
        if let Some(number) = self.by_key.get(&key) {
            return *number;
        }
        if self.rows.len() >= MAX_ROWS {
            key = (Arc::from(OTHERS), Arc::from(""), None);
            if let Some(number) = self.by_key.get(&key) {
                return *number;
            }
        }
        // At most MAX_ROWS + 1 rows, so the number always fits.
        let number = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let (name, filename, line) = key.clone();
        let row = Row::new(name, filename, line);
        self.rows.push(Counter { row, stack: 0 });
        self.by_key.insert(key, number);
        number
    }

    /// Counts a stack of this weight, with the row as its leaf or not.
    pub fn count(&mut self, number: u32, stack: u64, weight: u64, leaf: bool) {
        let Some(counter) = self.rows.get_mut(number as usize) else {
            return;
        };
        if leaf {
            counter.row.own_now += weight;
            counter.row.own += weight;
        }
        if counter.stack != stack {
            counter.stack = stack;
            counter.row.total_now += weight;
            counter.row.total += weight;
        }
    }

    /// All rows; the interval's counts begin anew.
    pub fn close_interval(&mut self) -> Vec<Row> {
        let closed = self
            .rows
            .iter()
            .map(|counter| counter.row.clone())
            .collect();
        for counter in &mut self.rows {
            counter.row.own_now = 0;
            counter.row.total_now = 0;
        }
        closed
    }
}
