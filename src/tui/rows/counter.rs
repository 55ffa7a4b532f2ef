//! [`RowCounter`]: rows of functions and lines from a profile.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::row::Row;
use crate::profile::Profile;
use crate::profile::tables::functions::{Amount, FunctionTable};
use crate::profile::tables::labels::Label;

/// Most rows of functions, and of lines. A program that creates functions without end must not make
/// snapshots grow without end; the rows with the least time are omitted.
const MAX_ROWS: usize = 20_000;

/// Own and total count.
type Counts = [u64; 2];

#[derive(Debug, Default)]
pub struct Rows {
    pub functions: Vec<Row>,
    pub lines: Vec<Row>,
}

/// Makes rows from a growing profile. Counts of an interval are differences to the previous rows.
#[derive(Debug, Default)]
pub struct RowCounter {
    functions: HashMap<Label, Counts>,
    lines: HashMap<(Label, Option<u32>), Counts>,
}

impl RowCounter {
    /// One row per function, and one per line; those that are shown with the same text are one.
    pub fn rows(&mut self, profile: &Profile) -> Rows {
        let last = std::mem::take(self);
        let mut rows = Rows::default();
        for function in &FunctionTable::by_shown_file(profile).rows {
            let Some(label) = profile.labels().get(function.label) else {
                continue;
            };
            let file = match label {
                Label::Python { shown_file, .. } => profile.string(shown_file),
                _ => "",
            };
            let (name, file): (Arc<str>, Arc<str>) =
                (profile.name(function.label).into(), file.into());
            let row = |line, amount: &Amount, last: Option<&Counts>| {
                let [own, total] = last.copied().unwrap_or_default();
                Row {
                    own_now: amount.own.saturating_sub(own),
                    total_now: amount.total.saturating_sub(total),
                    own: amount.own,
                    total: amount.total,
                    own_growth: amount.own_growth,
                    own_kept: amount.own_kept,
                    ..Row::new(Arc::clone(&name), Arc::clone(&file), line)
                }
            };
            let counts = |amount: &Amount| [amount.own, amount.total];
            let key = key(label);
            let amount = &function.amount;
            let last_counts = last.functions.get(&key);
            rows.functions.push(row(None, amount, last_counts));
            self.functions.insert(key, counts(amount));
            for line in &function.lines {
                let key = (key, line.line);
                let last_counts = last.lines.get(&key);
                rows.lines.push(row(line.line, &line.amount, last_counts));
                self.lines.insert(key, counts(&line.amount));
            }
        }
        limit(&mut rows.functions);
        limit(&mut rows.lines);
        rows
    }
}

/// Identifies a function in all tables of one profile: its row can have another label in each.
fn key(label: Label) -> Label {
    match label {
        Label::Python {
            name, shown_file, ..
        } => Label::Python {
            name,
            shown_file,
            file: shown_file,
            line: None,
            first_line: None,
        },
        other => other,
    }
}

fn limit(rows: &mut Vec<Row>) {
    if rows.len() > MAX_ROWS {
        rows.sort_by_key(|row| Reverse((row.total, row.own_growth.grown_bytes)));
        rows.truncate(MAX_ROWS);
    }
}
