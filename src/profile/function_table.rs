//! [`FunctionTable`]: what each function and each of its lines weighs, alone and with all it calls.

use std::collections::HashMap;

use super::{Growth, Label, LabelId, Profile, StackId};

/// What a function or a line weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Weight of the stacks that end there: samples or, with
    /// [`cpu_time`](super::ProfileOptions::cpu_time), nanoseconds.
    pub own: u64,
    /// Weight of the stacks that hold it, each counted once however deep the recursion.
    pub total: u64,
    /// Resident memory that came and went in stacks that end there.
    pub own_growth: Growth,
    /// Resident memory that came and went in stacks that hold it.
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
    /// What it weighs.
    pub amount: Amount,
}

/// One function, or what else stacks consist of that is neither a thread nor a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    /// A label of it, for its name and its file; the line of the label is any of its lines.
    pub label: LabelId,
    /// The line on which it starts, where it is known and lines are kept apart by it.
    pub first_line: Option<u32>,
    /// What it weighs.
    pub amount: Amount,
    /// Its lines that weigh something, in order.
    pub lines: Vec<LineRow>,
}

/// The functions of a profile, in the order of first sight. Threads and processes are not told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionTable {
    /// One row a function.
    pub rows: Vec<FunctionRow>,
}

impl FunctionTable {
    /// Sums up a profile, which must keep [first lines](super::ProfileOptions::keep_first_lines) for
    /// functions of one name to be told apart.
    pub fn of(profile: &Profile) -> FunctionTable {
        let mut sums = Sums::of_labels(profile);
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

/// A line's sum while the tree is walked.
struct Sum {
    /// The place of its function.
    owner: usize,
    line: Option<u32>,
    amount: Amount,
    /// How often it is on the stack that is walked.
    depth: u32,
}

/// A function's.
struct FunctionSum {
    row: FunctionRow,
    depth: u32,
}

struct Sums {
    functions: Vec<FunctionSum>,
    lines: Vec<Sum>,
    /// By label index, the place of its function and of its line.
    places: Vec<Option<(usize, usize)>>,
}

impl Sums {
    fn of_labels(profile: &Profile) -> Sums {
        let mut sums = Sums {
            functions: Vec::new(),
            lines: Vec::new(),
            places: Vec::new(),
        };
        let (mut functions, mut lines) = (HashMap::new(), HashMap::new());
        for id in profile.labels().ids() {
            let place = profile.labels().get(id).and_then(|label| {
                let (key, first_line, line) = parts(label)?;
                let owner = *functions.entry(key).or_insert_with(|| {
                    sums.functions.push(FunctionSum {
                        row: FunctionRow {
                            label: id,
                            first_line,
                            amount: Amount::default(),
                            lines: Vec::new(),
                        },
                        depth: 0,
                    });
                    sums.functions.len() - 1
                });
                let at = *lines.entry((owner, line)).or_insert_with(|| {
                    sums.lines.push(Sum {
                        owner,
                        line,
                        amount: Amount::default(),
                        depth: 0,
                    });
                    sums.lines.len() - 1
                });
                Some((owner, at))
            });
            sums.places.push(place);
        }
        sums
    }

    /// Walks the tree from the roots to the leaves and back, so that it is known what is on the stack.
    /// Not recursive: a stack can be deeper than ours.
    fn walk(&mut self, profile: &Profile) {
        let stacks = profile.stacks();
        let (totals, growth) = (stacks.totals(), profile.growth_totals());
        // The root is nobody's child, and stands for none.
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
        let mut at = link(&first_child, StackId::ROOT);
        while at != StackId::ROOT {
            self.enter(
                stacks.label(at),
                Amount {
                    own: stacks.weight(at),
                    total: totals.get(at.index()).copied().unwrap_or_default(),
                    own_growth: profile.growth(at),
                    total_growth: growth.get(at.index()).copied().unwrap_or_default(),
                },
            );
            let mut next = link(&first_child, at);
            while next == StackId::ROOT && at != StackId::ROOT {
                self.leave(stacks.label(at));
                next = link(&next_sibling, at);
                at = stacks.parent(at);
            }
            at = next;
        }
    }

    fn at(&mut self, label: Option<LabelId>) -> Option<(&mut FunctionSum, &mut Sum)> {
        let (function, line) = self.places.get(label?.index()).copied().flatten()?;
        Some((self.functions.get_mut(function)?, self.lines.get_mut(line)?))
    }

    fn enter(&mut self, label: Option<LabelId>, node: Amount) {
        let Some((function, line)) = self.at(label) else {
            return;
        };
        for (sum, depth) in [
            (&mut function.row.amount, &mut function.depth),
            (&mut line.amount, &mut line.depth),
        ] {
            sum.own = sum.own.saturating_add(node.own);
            sum.own_growth += node.own_growth;
            if *depth == 0 {
                sum.total = sum.total.saturating_add(node.total);
                sum.total_growth += node.total_growth;
            }
            *depth = depth.saturating_add(1);
        }
    }

    fn leave(&mut self, label: Option<LabelId>) {
        if let Some((function, line)) = self.at(label) {
            function.depth = function.depth.saturating_sub(1);
            line.depth = line.depth.saturating_sub(1);
        }
    }
}

/// What makes a function one, its first line, and the line; `None` for threads and processes.
fn parts(label: Label) -> Option<(Label, Option<u32>, Option<u32>)> {
    match label {
        Label::Python {
            name,
            file,
            line,
            first_line,
            ..
        } => {
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
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)] // A test may fail by panicking.
    use std::sync::Arc;

    use super::*;
    use crate::cpython::{Frame, FrameId, FrameTable, StackTrace, ThreadInfo};
    use crate::profile::ProfileOptions;
    use crate::sampler::{ProcessSample, Sample};

    /// Samples of stacks, root first, each frame as name, line and first line.
    fn profile(stacks: &[&[(&str, u32, u32)]], keep_first_lines: bool) -> Profile {
        let mut frames = FrameTable::default();
        let mut profile = Profile::new(ProfileOptions {
            keep_first_lines,
            show_threads: true,
            ..ProfileOptions::default()
        });
        for stack in stacks {
            let ids: Vec<FrameId> = stack
                .iter()
                .rev()
                .map(|(name, line, first_line)| {
                    frames.intern(Frame {
                        name: Arc::from(*name),
                        filename: "/srv/app.py".into(),
                        short_filename: "app.py".into(),
                        line: (*line > 0).then_some(*line),
                        first_line: *first_line,
                        columns: None,
                    })
                })
                .collect();
            let thread = ThreadInfo {
                os_thread_id: Some(1),
                pthread_id: 1,
                name: None,
                interpreter_ids: vec![0],
                active: true,
                owns_gil: true,
                collecting: false,
                waits_for_cpu: false,
                is_main: true,
                cpu_ns: None,
                faults: None,
            };
            let sample = Sample {
                processes: vec![ProcessSample {
                    pid: 1,
                    traces: vec![StackTrace {
                        thread,
                        frames: ids.into(),
                    }],
                    rss_bytes: None,
                    rss_change: None,
                }],
                ..Sample::default()
            };
            profile.add(&sample, &frames, &|_| None);
        }
        profile
    }

    /// By name and first line: own and total, and the same by line.
    type Shown = (
        String,
        Option<u32>,
        (u64, u64),
        Vec<(Option<u32>, (u64, u64))>,
    );

    fn shown(profile: &Profile) -> Vec<Shown> {
        let pair = |amount: Amount| (amount.own, amount.total);
        let rows = FunctionTable::of(profile).rows.into_iter();
        rows.map(|row| {
            let lines = row.lines.iter().map(|line| (line.line, pair(line.amount)));
            (
                profile.name(row.label).into_owned(),
                row.first_line,
                pair(row.amount),
                lines.collect(),
            )
        })
        .collect()
    }

    #[test]
    fn recursion_counts_a_stack_once_and_lines_are_apart() {
        let profile = profile(
            &[
                &[("main", 20, 19), ("f", 3, 1), ("f", 3, 1), ("f", 2, 1)],
                &[("main", 20, 19), ("f", 3, 1), ("g", 9, 8), ("f", 3, 1)],
                &[("main", 21, 19)],
            ],
            true,
        );
        let expected: Vec<Shown> = vec![
            // Labels are made root first.
            (
                "main".into(),
                Some(19),
                (1, 3),
                vec![(Some(20), (0, 2)), (Some(21), (1, 1))],
            ),
            (
                "f".into(),
                Some(1),
                (2, 2),
                vec![(Some(2), (1, 1)), (Some(3), (1, 2))],
            ),
            ("g".into(), Some(8), (0, 1), vec![(Some(9), (0, 1))]),
        ];
        assert_eq!(shown(&profile), expected);
    }

    #[test]
    fn functions_of_one_name_are_told_apart_by_their_first_line() {
        let stacks: [&[_]; 3] = [
            &[("<lambda>", 7, 7)],
            &[("<lambda>", 0, 7)],
            &[("<lambda>", 9, 9)],
        ];
        let expected: Vec<Shown> = vec![
            (
                "<lambda>".into(),
                Some(7),
                (2, 2),
                vec![(None, (1, 1)), (Some(7), (1, 1))],
            ),
            ("<lambda>".into(), Some(9), (1, 1), vec![(Some(9), (1, 1))]),
        ];
        assert_eq!(shown(&profile(&stacks, true)), expected);
        let merged = shown(&profile(&stacks, false));
        assert_eq!(merged.len(), 1);
        assert_eq!((merged[0].1, merged[0].2), (None, (3, 3)));
    }

    #[test]
    fn a_stack_deeper_than_ours_is_summed() {
        let deep = vec![("f", 1, 1); 20_000];
        let profile = profile(&[&deep, &[("g", 1, 1)]], true);
        let rows = FunctionTable::of(&profile).rows;
        assert_eq!((rows[0].amount.own, rows[0].amount.total), (1, 1));
        assert_eq!((rows[1].amount.own, rows[1].amount.total), (1, 1));
        assert!(
            FunctionTable::of(&Profile::new(ProfileOptions::default()))
                .rows
                .is_empty()
        );
    }
}
