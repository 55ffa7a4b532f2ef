//! Chains of calls that a program makes, and whether a stack is one that it can have had.

use std::ops::RangeInclusive;

use super::Stack;

/// The chains of calls of a program, each below the same frames at the root. A stack is possible if it
/// ends somewhere in one of them.
#[derive(Clone, Debug)]
pub struct Chains {
    root: &'static [&'static str],
    chains: Vec<Vec<String>>,
}

impl Chains {
    /// The functions of each chain, root first.
    pub fn new(root: &'static [&'static str], chains: Vec<Vec<String>>) -> Self {
        Self { root, chains }
    }

    /// Of storm.py and storm_through_c.py: `left_1` to `left_N` and `right_1` to `right_N` below `storm`.
    pub fn of_storm(left: usize, right: usize) -> Self {
        let chains = [("left", left), ("right", right)];
        let chains = chains.map(|(side, depth)| numbered(side, 1..=depth));
        Self::new(&["<module>", "storm"], chains.into())
    }

    /// Whether a stack of these functions, root first, is possible.
    pub fn allow(&self, functions: &[&str]) -> bool {
        let Some(calls) = functions.strip_prefix(self.root) else {
            return false;
        };
        self.chains.iter().any(|chain| {
            let mut pairs = calls.iter().zip(chain);
            calls.len() <= chain.len() && pairs.all(|(found, expected)| found == expected)
        })
    }

    /// How many samples have a stack that is not possible.
    pub fn count_impossible(&self, stacks: &[Stack]) -> u64 {
        let wrong = |stack: &&Stack| !self.allow(&stack.functions());
        stacks.iter().filter(wrong).map(|stack| stack.count).sum()
    }

    /// Fails if a stack is not possible.
    #[track_caller]
    pub fn assert_possible(&self, stacks: &[Stack]) {
        assert_possible(stacks, |functions| self.allow(functions));
    }
}

/// `NAME_1`, `NAME_2` and so on.
pub fn numbered(name: &str, numbers: RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| format!("{name}_{number}")).collect()
}

/// Fails unless the functions of each stack, root first, are possible.
#[track_caller]
pub fn assert_possible(stacks: &[Stack], is_possible: impl Fn(&[&str]) -> bool) {
    for stack in stacks {
        let functions = stack.functions();
        assert!(
            is_possible(&functions),
            "{} times {functions:?}",
            stack.count
        );
    }
}
