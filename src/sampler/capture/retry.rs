//! [`LeafMatch`]: which of several consistent stacks of a running thread is taken.

use crate::cpython::frame::RawFrame;
use crate::os::memory::address::RemoteAddr;

/// Selects one of the stacks that are read of a thread that is not paused.
///
/// Retrying until a read is consistent favours long-lived stacks and would under-count short functions
/// (length bias). The first walk already shows the leaf frame at the sampling instant, even if it is
/// torn. We retry until a consistent stack with that leaf appears, and accept another one only when the
/// retry budget is spent.
pub struct LeafMatch<S> {
    /// The address of the leaf frame at the sampling instant.
    expected: Option<RemoteAddr>,
    /// A consistent stack with another leaf.
    fallback: Option<S>,
    /// Cost of all reads, in frames.
    cost: usize,
}

/// Retry budget in frames read: about 40 reads of a shallow stack, 12 at depth 100, 2 at depth 1,000.
const MAX_COST: usize = 1_500;
/// Fixed cost of a read, in frames.
const READ_COST: usize = 30;

impl<S> LeafMatch<S> {
    /// With `skip`, the first consistent stack is accepted.
    pub fn new(skip: bool) -> LeafMatch<S> {
        LeafMatch {
            expected: None,
            fallback: None,
            cost: if skip { MAX_COST } else { 0 },
        }
    }

    /// Counts a walk. Returns whether its stack can be accepted if it is consistent.
    pub fn observe(&mut self, leaf_at_start: RemoteAddr, stack: &[RawFrame]) -> bool {
        self.cost = self.cost.saturating_add(READ_COST + stack.len());
        let expected = *self.expected.get_or_insert(leaf_at_start);
        self.fallback.is_none() || leaf_addr(stack) == expected
    }

    /// Spends the retry budget: code objects had to be read, some 15 reads each, which happens all the time
    /// in a program that creates code.
    pub fn stop_retrying(&mut self) {
        self.cost = MAX_COST;
    }

    /// Returns the sample if its leaf is the expected one; else saves it as fallback.
    pub fn accept_if_leaf_matches(&mut self, sample: S, leaf: RemoteAddr) -> Option<S> {
        if self.expected.is_none_or(|expected| expected == leaf) {
            return Some(sample);
        }
        self.fallback = Some(sample);
        None
    }

    /// The fallback, once the retry budget is spent or `is_last`.
    pub fn take_fallback(&mut self, is_last: bool) -> Option<S> {
        self.fallback.take_if(|_| is_last || self.cost >= MAX_COST)
    }
}

/// The address of the leaf frame, null for a stack without frames.
pub fn leaf_addr(stack: &[RawFrame]) -> RemoteAddr {
    stack.first().map_or(RemoteAddr::NULL, |frame| frame.addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(addr: u64) -> RawFrame {
        RawFrame {
            addr: RemoteAddr(addr),
            executable: RemoteAddr(0x10),
            instruction: 0,
            tlbc_index: 0,
            owned_by_generator: false,
            is_unlinked: false,
            called_by_c: false,
        }
    }

    /// The leaf of the stack that is taken, and after how many reads. Each read is the leaf before the copy,
    /// the stack's frames, leaf first, and whether it is consistent.
    fn taken<'a>(reads: impl Iterator<Item = (u64, &'a [u64], bool)>) -> Option<(u64, usize)> {
        let mut leaf_match = LeafMatch::new(false);
        for (count, (before, frames, is_consistent)) in (1..).zip(reads) {
            let stack: Vec<RawFrame> = frames.iter().copied().map(frame).collect();
            let leaf = leaf_addr(&stack);
            let accepted = if leaf_match.observe(RemoteAddr(before), &stack) && is_consistent {
                leaf_match.accept_if_leaf_matches(leaf, leaf)
            } else {
                None
            };
            if let Some(accepted) = accepted.or_else(|| leaf_match.take_fallback(false)) {
                return Some((accepted.0, count));
            }
        }
        None
    }

    #[test]
    fn the_first_stack_is_taken_if_it_is_consistent() {
        let reads = [(3, &[3, 2, 1][..], true)];
        assert_eq!(taken(reads.into_iter()), Some((3, 1)));
    }

    #[test]
    fn the_expected_leaf_is_that_of_the_first_walk_even_if_torn() {
        let reads = [
            (3, &[3, 2, 1][..], false),
            (1, &[1], true),
            (3, &[2, 1], true),
            (2, &[2, 1], true),
            (1, &[3, 2, 1], true),
            (3, &[3, 2, 1], true),
        ];
        assert_eq!(taken(reads.into_iter()), Some((3, 5)));
    }

    #[test]
    fn the_fallback_is_taken_when_the_budget_is_spent_sooner_for_a_deep_stack() {
        let first = std::iter::once((9, &[9, 1][..], false));
        let others = std::iter::repeat((2, &[2, 1][..], true));
        let shallow = taken(first.clone().chain(others));
        assert!(
            shallow.is_some_and(|(leaf, reads)| leaf == 2 && (30..60).contains(&reads)),
            "{shallow:?}"
        );
        let deep: Vec<u64> = (1..2_000).rev().collect();
        let deep = std::iter::repeat((2, deep.as_slice(), true));
        assert_eq!(taken(first.chain(deep)), Some((1_999, 2)));
    }

    #[test]
    fn after_missed_ticks_the_first_consistent_stack_is_taken() {
        let mut leaf_match = LeafMatch::new(true);
        let [expected, other] = [3, 2].map(RemoteAddr);
        assert!(leaf_match.observe(expected, &[frame(2)]));
        let accepted = leaf_match
            .accept_if_leaf_matches(other, other)
            .or_else(|| leaf_match.take_fallback(false));
        assert_eq!(accepted, Some(other));
    }

    #[test]
    fn no_stack_is_taken_while_none_is_consistent() {
        let reads = std::iter::repeat((2, &[2, 1][..], false));
        assert_eq!(taken(reads.take(1_000)), None);
    }
}
