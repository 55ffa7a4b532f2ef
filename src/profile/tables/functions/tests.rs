//! Tables of made-up stacks.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // A test may fail by panicking.

use super::*;
use crate::cpython::code::frame_table::{Frame, FrameId, FrameTable};
use crate::profile::options::ProfileOptions;
use crate::testing::{frame, main_thread, sample};

/// Samples of stacks, root first, each frame as name, line and first line.
fn profile(stacks: &[&[(&str, u32, u32)]], keep_first_lines: bool) -> Profile {
    let mut frames = FrameTable::default();
    let mut profile = Profile::new(ProfileOptions {
        keep_first_lines,
        show_threads: true,
        ..ProfileOptions::default()
    });
    for stack in stacks {
        let ids = stack.iter().map(|(name, line, first_line)| {
            frames.intern(Frame {
                first_line: *first_line,
                ..frame(name, *line)
            })
        });
        let ids: Vec<FrameId> = ids.collect();
        let trace = main_thread(1).stack(&ids);
        profile.add(&sample(0, vec![trace]), &frames, &|_| None);
    }
    profile
}

/// Name, first line, self and total weight, and the same by line.
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
fn a_recursive_function_counts_once_per_stack_and_lines_are_separate() {
    let profile = profile(
        &[
            &[("main", 20, 19), ("f", 3, 1), ("f", 3, 1), ("f", 2, 1)],
            &[("main", 20, 19), ("f", 3, 1), ("g", 9, 8), ("f", 3, 1)],
            &[("main", 21, 19)],
        ],
        true,
    );
    let expected: Vec<Shown> = vec![
        // Labels are interned root first.
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
fn functions_of_one_name_are_distinguished_by_their_first_line() {
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
fn a_stack_deeper_than_our_own_is_summed() {
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
