//! [`TableOptions`]: contents and order of a table of functions or lines.

pub mod selector;
pub mod source;

use std::collections::HashMap;

use crate::profile::tables::functions::Amount;
use selector::FunctionName;
use source::{FileKey, Source};

/// Contents and order of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// Comma-separated values instead of aligned text.
    pub csv: bool,
    /// Only these functions; if empty, all in a table of functions, and the hottest in a table of lines.
    pub only: Vec<FunctionName>,
    /// Order of the rows; `None`: by own time or, with recorded memory, by own growth.
    pub sort: Option<SortKey>,
    /// Source files for the table of lines.
    pub sources: HashMap<FileKey, Source>,
}

/// The column that orders a table, greatest first; names are in alphabetical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Time in the function itself.
    Own,
    /// Time in the function and all it calls.
    Total,
    /// RSS growth in the function itself.
    OwnGrowth,
    /// RSS growth in the function and all it calls.
    Growth,
    /// RSS released in the function and all it calls.
    Freed,
    /// Qualified name.
    Name,
}

impl SortKey {
    /// All keys, in the order of the help text.
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

    /// Whether the column is empty unless memory is recorded.
    pub fn needs_memory(self) -> bool {
        matches!(self, SortKey::OwnGrowth | SortKey::Growth | SortKey::Freed)
    }

    pub fn of(self, amount: &Amount) -> u64 {
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
