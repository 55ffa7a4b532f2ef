//! [`FunctionGrowth`]: the live table's column of memory, by the rule of [`crate::profile::growth`].

use std::collections::HashMap;
use std::sync::Arc;

use super::state::{Filter, Row};
use crate::cpython::FrameTable;
use crate::profile::{Growth, Label, Profile, ProfileOptions, RssSeries};
use crate::sampler::Sample;

/// A row's name, file and line.
type Key = (Arc<str>, Arc<str>, Option<u32>);

/// Counts what each function and line added to resident memory and gave back. The rule needs whole
/// stacks; so they are kept as a recording keeps them, within the same bounds.
#[derive(Debug)]
pub(super) struct FunctionGrowth {
    profile: Profile,
}

impl FunctionGrowth {
    /// Nothing counted yet.
    pub fn new(filter: Filter, full_filenames: bool) -> Self {
        Self {
            profile: Profile::new(ProfileOptions {
                memory: true,
                full_filenames,
                show_collections: filter.collections,
                ..ProfileOptions::default()
            }),
        }
    }

    /// Counts a sample whose frames are in `frames` (always the same table).
    pub fn add(&mut self, sample: &Sample, frames: &FrameTable) {
        self.profile.add(sample, frames, &|_| None);
    }

    /// Resident memory of all processes since the beginning.
    pub fn rss(&self) -> &RssSeries {
        self.profile.rss()
    }

    /// Writes the growth into the rows of functions and those of lines, and adds rows for what grew and
    /// was not seen.
    pub fn fill_in(&self, functions: &mut Vec<Row>, lines: &mut Vec<Row>) {
        let mut by_function: HashMap<Key, Growth> = HashMap::new();
        let mut by_line: HashMap<Key, Growth> = HashMap::new();
        for (label, growth) in self.profile.growth_by_leaf() {
            let name: Arc<str> = self.profile.name(label).into();
            let (file, line) = match self.profile.labels().get(label) {
                Some(Label::Python {
                    shown_file, line, ..
                }) => (self.profile.string(shown_file).into(), line),
                _ => (Arc::from(""), None),
            };
            let function = (Arc::clone(&name), Arc::clone(&file), None);
            *by_function.entry(function).or_default() += growth;
            *by_line.entry((name, file, line)).or_default() += growth;
        }
        fill_in(functions, by_function);
        fill_in(lines, by_line);
    }
}

fn fill_in(rows: &mut Vec<Row>, mut growths: HashMap<Key, Growth>) {
    for row in rows.iter_mut() {
        let key = (Arc::clone(&row.name), Arc::clone(&row.filename), row.line);
        row.growth = growths.remove(&key).unwrap_or_default();
    }
    let unseen = growths
        .into_iter()
        .map(|((name, filename, line), growth)| Row {
            name,
            filename,
            line,
            own_now: 0,
            total_now: 0,
            own: 0,
            total: 0,
            growth,
        });
    rows.extend(unseen);
}
