//! [`FunctionGrowth`]: the live table's column of memory, by the rule of [`crate::rss::attribution`].

use std::collections::HashMap;
use std::sync::Arc;

use super::row::Row;
use crate::cpython::code::frame_table::FrameTable;
use crate::profile::Profile;
use crate::profile::options::ProfileOptions;
use crate::profile::tables::ids::LabelId;
use crate::profile::tables::labels::Label;
use crate::rss::attribution::Growth;
use crate::rss::series::RssSeries;
use crate::sampler::sample::Sample;
use crate::tui::top::state::Filter;

/// A row's name, file and line.
type Key = (Arc<str>, Arc<str>, Option<u32>);

/// Counts what each function and line added to resident memory and gave back. The rule needs whole
/// stacks; so they are kept as a recording keeps them, within the same bounds.
#[derive(Debug)]
pub(crate) struct FunctionGrowth {
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
        fill_in(&self.profile, functions, lines);
    }
}

/// Writes a profile's growth into the rows of functions and those of lines, and adds rows for what grew
/// and has none.
pub(crate) fn fill_in(profile: &Profile, functions: &mut Vec<Row>, lines: &mut Vec<Row>) {
    let mut by_function = Sums::default();
    let mut by_line = Sums::default();
    // By label index, where a label is counted.
    let mut places: Vec<Option<(usize, usize)>> = Vec::new();
    let stacks = profile.stacks();
    for (number, stack) in stacks.ids().enumerate() {
        let growth = profile.growth(stack);
        if growth == Growth::default() {
            continue;
        }
        for (depth, label) in stacks.path(stack).into_iter().rev().enumerate() {
            if places.len() <= label.index() {
                places.resize(label.index() + 1, None);
            }
            let Some(slot) = places.get_mut(label.index()) else {
                continue;
            };
            let (function, line) = *slot.get_or_insert_with(|| {
                let (name, file, line) = key(profile, label);
                let function = (Arc::clone(&name), Arc::clone(&file), None);
                (by_function.find(function), by_line.find((name, file, line)))
            });
            by_function.add(function, number, growth, depth == 0);
            by_line.add(line, number, growth, depth == 0);
        }
    }
    by_function.fill_in(functions);
    by_line.fill_in(lines);
}

fn key(profile: &Profile, label: LabelId) -> Key {
    let name = profile.name(label).into();
    match profile.labels().get(label) {
        Some(Label::Python {
            shown_file, line, ..
        }) => (name, profile.string(shown_file).into(), line),
        _ => (name, Arc::from(""), None),
    }
}

/// Growth by row.
#[derive(Debug, Default)]
struct Sums {
    places: HashMap<Key, usize>,
    sums: Vec<Sum>,
}

#[derive(Debug, Default)]
struct Sum {
    own: Growth,
    total: Growth,
    /// The last stack that was counted in `total`: a recursive function counts once per stack.
    stack: Option<usize>,
}

impl Sums {
    fn find(&mut self, key: Key) -> usize {
        *self.places.entry(key).or_insert_with(|| {
            self.sums.push(Sum::default());
            self.sums.len() - 1
        })
    }

    fn add(&mut self, place: usize, stack: usize, growth: Growth, leaf: bool) {
        let Some(sum) = self.sums.get_mut(place) else {
            return;
        };
        if leaf {
            sum.own += growth;
        }
        if sum.stack != Some(stack) {
            sum.stack = Some(stack);
            sum.total += growth;
        }
    }

    fn fill_in(mut self, rows: &mut Vec<Row>) {
        let mut take = |key: &Key| {
            let place = self.places.remove(key)?;
            self.sums.get(place).map(|sum| (sum.own, sum.total))
        };
        for row in rows.iter_mut() {
            let key = (Arc::clone(&row.name), Arc::clone(&row.filename), row.line);
            (row.own_growth, row.total_growth) = take(&key).unwrap_or_default();
        }
        let unseen = self.places.into_iter().filter_map(|(key, place)| {
            let sum = self.sums.get(place)?;
            let (name, filename, line) = key;
            Some(Row {
                own_growth: sum.own,
                total_growth: sum.total,
                ..Row::new(name, filename, line)
            })
        });
        rows.extend(unseen);
    }
}
