//! [`FunctionTable`]: self and total weight of each function and of each of its lines.

use std::collections::HashMap;

use foldhash::HashMap as FastMap;

use super::ids::{LabelId, StackId};
use super::labels::Label;
use crate::profile::Profile;
use crate::rss::attribution::Growth;

/// Weights of a function or a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Self weight: samples or, with
    /// [`time`](crate::profile::options::Weights::time), nanoseconds.
    pub own: u64,
    /// Total weight; a recursive function counts once per stack.
    pub total: u64,
    /// RSS that was added and released by stacks with this leaf.
    pub own_growth: Growth,
    /// RSS that was added by stacks with this leaf and [never released](Profile::kept), in bytes.
    pub own_kept: u64,
    /// RSS that was added and released by stacks that contain it.
    pub total_growth: Growth,
}

impl Amount {
    /// Whether there is nothing to show.
    pub fn is_nothing(&self) -> bool {
        self.total == 0 && self.total_growth == Growth::default()
    }
}

/// One line of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRow {
    /// The line, from 1; `None` for code without lines.
    pub line: Option<u32>,
    pub amount: Amount,
}

/// One function, or a marker such as `<GC>`; no threads or processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    /// A label of the function, for its name and file; the line of the label is any of its lines.
    pub label: LabelId,
    /// The root directory that its file is in; 0 for that of the first process, or if they are not
    /// distinguished. See [`Profile::set_fs_root`].
    pub root: u32,
    /// The line on which it starts, if the profile has [first lines].
    ///
    /// [first lines]: crate::profile::options::ProfileOptions::keep_first_lines
    pub first_line: Option<u32>,
    pub amount: Amount,
    /// Its lines with a weight, in order.
    pub lines: Vec<LineRow>,
}

/// The functions of a profile, in order of first appearance, over all threads and processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionTable {
    pub rows: Vec<FunctionRow>,
}

impl FunctionTable {
    /// Sums up a profile. Functions of one name and file are only distinguished if it has
    /// [first lines](crate::profile::options::ProfileOptions::keep_first_lines).
    pub fn of(profile: &Profile) -> FunctionTable {
        FunctionTable::sum(profile, Grouping::File)
    }

    /// The same, with a row per [root directory](Profile::set_fs_root) for functions of one path.
    pub fn by_root(profile: &Profile) -> FunctionTable {
        FunctionTable::sum(profile, Grouping::FileAndRoot)
    }

    /// The same, where all functions that are shown with the same name and file are one.
    pub fn by_shown_file(profile: &Profile) -> FunctionTable {
        FunctionTable::sum(profile, Grouping::ShownFile)
    }

    fn sum(profile: &Profile, grouping: Grouping) -> FunctionTable {
        let mut sums = Sums {
            grouping,
            ..Sums::default()
        };
        sums.walk(profile);
        let Sums {
            mut functions,
            lines,
            ..
        } = sums;
        for Sum {
            owner,
            line,
            amount,
            ..
        } in lines
        {
            if let Some(row) = functions.get_mut(owner)
                && !amount.is_nothing()
            {
                row.row.lines.push(LineRow { line, amount });
            }
        }
        let rows = functions.into_iter().map(|function| {
            let mut row = function.row;
            row.lines.sort_by_key(|line| line.line);
            row
        });
        FunctionTable {
            rows: rows.filter(|row| !row.amount.is_nothing()).collect(),
        }
    }
}

/// What two functions of one name must also have in common to be one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Grouping {
    #[default]
    File,
    FileAndRoot,
    ShownFile,
}

/// A line's sum while the tree is walked.
struct Sum {
    /// Index of its function.
    owner: usize,
    line: Option<u32>,
    amount: Amount,
    /// Number of its occurrences on the current path.
    depth: u32,
}

/// Sum of a function while the tree is walked.
struct FunctionSum {
    row: FunctionRow,
    depth: u32,
}

#[derive(Default)]
struct Sums {
    grouping: Grouping,
    functions: Vec<FunctionSum>,
    lines: Vec<Sum>,
    /// Index of each function, by [identity](parts) and root directory.
    functions_by_key: HashMap<(Label, u32), usize>,
    /// Index of each line, by the index of its function.
    lines_by_number: HashMap<(usize, Option<u32>), usize>,
    /// Cached results of [`Sums::find`], by root directory and label.
    places: FastMap<(u32, LabelId), Place>,
}

/// Indexes of a label's function and line; `None` for threads and processes.
type Place = Option<(usize, usize)>;

impl Sums {
    fn place(&mut self, profile: &Profile, id: LabelId, root: u32) -> Place {
        if let Some(known) = self.places.get(&(root, id)) {
            return *known;
        }
        let label = profile.labels().get(id);
        let place = label.and_then(|label| self.find(id, label, root));
        self.places.insert((root, id), place);
        place
    }

    fn find(&mut self, id: LabelId, label: Label, root: u32) -> Place {
        let (key, first_line, line) = parts(label, self.grouping)?;
        let next = self.functions.len();
        let owner = *self.functions_by_key.entry((key, root)).or_insert(next);
        if owner == next {
            self.functions.push(FunctionSum {
                row: FunctionRow {
                    label: id,
                    root,
                    first_line,
                    amount: Amount::default(),
                    lines: Vec::new(),
                },
                depth: 0,
            });
        }
        let next = self.lines.len();
        let at = *self.lines_by_number.entry((owner, line)).or_insert(next);
        if at == next {
            self.lines.push(Sum {
                owner,
                line,
                amount: Amount::default(),
                depth: 0,
            });
        }
        Some((owner, at))
    }

    /// Walks the tree from the roots to the leaves and back, so that it is known what is on the stack.
    /// Not recursive: a stack can be deeper than ours.
    fn walk(&mut self, profile: &Profile) {
        let stacks = profile.stacks();
        let (totals, growth) = (stacks.totals(), profile.growth_totals());
        let kept = profile.kept();
        // The root is no child, and means none here.
        let mut first_child = vec![StackId::ROOT; stacks.len()];
        let mut next_sibling = first_child.clone();
        for id in stacks.ids().rev() {
            if let (Some(first), Some(next)) = (
                first_child.get_mut(stacks.parent(id).index()),
                next_sibling.get_mut(id.index()),
            ) {
                *next = std::mem::replace(first, id);
            }
        }
        let link = |links: &[StackId], id: StackId| links.get(id.index()).copied();
        let link = |links, id| link(links, id).unwrap_or(StackId::ROOT);
        let mut roots = vec![0];
        // A process's frame says what all below it see.
        let by_root = self.grouping == Grouping::FileAndRoot;
        let own_root = |label| by_root.then(|| profile.root_of(label?)).flatten();
        let mut at = link(&first_child, StackId::ROOT);
        while at != StackId::ROOT {
            let label = stacks.label(at);
            roots.extend(own_root(label));
            let place = self.place_in(profile, label, &roots);
            self.enter(
                place,
                Amount {
                    own: stacks.weight(at),
                    total: totals.get(at.index()).copied().unwrap_or_default(),
                    own_growth: profile.growth(at),
                    own_kept: kept.get(at.index()).copied().unwrap_or_default(),
                    total_growth: growth.get(at.index()).copied().unwrap_or_default(),
                },
            );
            let mut next = link(&first_child, at);
            while next == StackId::ROOT && at != StackId::ROOT {
                let label = stacks.label(at);
                let place = self.place_in(profile, label, &roots);
                self.leave(place);
                if own_root(label).is_some() {
                    roots.pop();
                }
                next = link(&next_sibling, at);
                at = stacks.parent(at);
            }
            at = next;
        }
    }

    fn place_in(&mut self, profile: &Profile, label: Option<LabelId>, roots: &[u32]) -> Place {
        self.place(profile, label?, roots.last().copied().unwrap_or(0))
    }

    fn at(&mut self, place: Place) -> Option<(&mut FunctionSum, &mut Sum)> {
        let (function, line) = place?;
        Some((self.functions.get_mut(function)?, self.lines.get_mut(line)?))
    }

    fn enter(&mut self, place: Place, node: Amount) {
        let Some((function, line)) = self.at(place) else {
            return;
        };
        for (sum, depth) in [
            (&mut function.row.amount, &mut function.depth),
            (&mut line.amount, &mut line.depth),
        ] {
            sum.own = sum.own.saturating_add(node.own);
            sum.own_growth += node.own_growth;
            sum.own_kept = sum.own_kept.saturating_add(node.own_kept);
            if *depth == 0 {
                sum.total = sum.total.saturating_add(node.total);
                sum.total_growth += node.total_growth;
            }
            *depth = depth.saturating_add(1);
        }
    }

    fn leave(&mut self, place: Place) {
        if let Some((function, line)) = self.at(place) {
            function.depth = function.depth.saturating_sub(1);
            line.depth = line.depth.saturating_sub(1);
        }
    }
}

/// What makes a function one, its first line, and the line; `None` for threads and processes.
fn parts(label: Label, grouping: Grouping) -> Option<(Label, Option<u32>, Option<u32>)> {
    match label {
        Label::Python {
            name,
            file,
            shown_file,
            line,
            first_line,
        } => {
            let (file, first_line) = match grouping {
                Grouping::File | Grouping::FileAndRoot => (file, first_line),
                Grouping::ShownFile => (shown_file, None),
            };
            let key = Label::Python {
                name,
                file,
                shown_file: file,
                line: None,
                first_line,
            };
            Some((key, first_line, line))
        }
        Label::Thread(_) | Label::Process(_) => None,
        other => Some((other, None, None)),
    }
}

#[cfg(test)]
mod tests;
