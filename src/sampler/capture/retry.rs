//! [`LeafMatch`]: which of the stacks is taken of a thread that runs on while it is read.

use super::thread_sample::innermost;
use crate::cpython::reader::Walk;
use crate::cpython::stack::walk::RawFrame;
use crate::os::memory::address::RemoteAddr;

/// Reading a thread again and again that runs on meanwhile.
///
/// A stack that stays for long is read whole more often than one that is gone at once: who takes the first
/// that is whole sees too few of the latter. But in which frame the look found the thread, the first walk
/// says, be the stack whole or not. So a stack is waited for that ends in that very frame, and another is
/// only taken when none comes.
pub struct LeafMatch<P> {
    /// Where the innermost frame stood when the look found the thread.
    found: Option<RemoteAddr>,
    /// A stack that is whole, but ends elsewhere.
    fallback: Option<P>,
    /// What all readings took, in frames.
    cost: usize,
}

/// How long another stack is waited for than the one that there is: some forty readings of a few frames,
/// twelve of a hundred, two of a thousand.
const MAX_COST: usize = 1_500;
/// What a reading takes beside its frames.
const READING: usize = 30;

impl<P> LeafMatch<P> {
    /// Nothing was read yet. Who `skip_leaf_match` is content with the first stack that is whole.
    pub fn new(skip_leaf_match: bool) -> LeafMatch<P> {
        LeafMatch {
            found: None,
            fallback: None,
            cost: if skip_leaf_match { MAX_COST } else { 0 },
        }
    }

    /// Takes note of a walk. Whether its stack is of any use.
    pub fn observe(&mut self, walk: Walk, stack: &[RawFrame]) -> bool {
        self.cost = self.cost.saturating_add(READING + stack.len());
        let found = *self.found.get_or_insert(walk.innermost);
        self.fallback.is_none() || innermost(stack) == found
    }

    /// Takes note that code objects had to be read for a stack, in some 15 reads for each: nothing more is
    /// waited for in a program that makes them all the time.
    pub fn read_code(&mut self) {
        self.cost = MAX_COST;
    }

    /// The part, whose stack ends at `leaf`, if it is what is waited for; else it is put by.
    pub fn accept_if_leaf_matches(&mut self, part: P, leaf: RemoteAddr) -> Option<P> {
        if self.found.is_none_or(|found| found == leaf) {
            return Some(part);
        }
        self.fallback = Some(part);
        None
    }

    /// What was put by, when it is time to be content with it: as the last reading was made, at the latest.
    pub fn take_fallback(&mut self, is_last: bool) -> Option<P> {
        self.fallback.take_if(|_| is_last || self.cost >= MAX_COST)
    }
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
        }
    }

    /// Where the stack ends that is taken, and after how many readings. Each is where the thread's innermost
    /// frame was before its stack was copied, the stack's frames, leaf first, and whether it is whole.
    fn taken<'a>(readings: impl Iterator<Item = (u64, &'a [u64], bool)>) -> Option<(u64, usize)> {
        let mut race = LeafMatch::new(false);
        for (count, (before, frames, is_whole)) in (1..).zip(readings) {
            let stack: Vec<RawFrame> = frames.iter().copied().map(frame).collect();
            let walk = Walk {
                is_consistent: is_whole,
                innermost: RemoteAddr(before),
                leaf_has_started: true,
            };
            let leaf = innermost(&stack);
            let chosen = if race.observe(walk, &stack) && is_whole {
                race.accept_if_leaf_matches(leaf, leaf)
            } else {
                None
            };
            if let Some(chosen) = chosen.or_else(|| race.take_fallback(false)) {
                return Some((chosen.0, count));
            }
        }
        None
    }

    #[test]
    fn the_first_stack_is_taken_if_it_is_whole() {
        let readings = [(3, &[3, 2, 1][..], true)];
        assert_eq!(taken(readings.into_iter()), Some((3, 1)));
    }

    #[test]
    fn what_is_waited_for_is_where_the_look_found_the_thread_whole_or_not() {
        let readings = [
            (3, &[3, 2, 1][..], false),
            (1, &[1], true),
            (3, &[2, 1], true),
            (2, &[2, 1], true),
            (1, &[3, 2, 1], true),
            (3, &[3, 2, 1], true),
        ];
        assert_eq!(taken(readings.into_iter()), Some((3, 5)));
    }

    #[test]
    fn another_one_is_taken_when_none_comes_and_sooner_of_a_deep_stack() {
        let first = std::iter::once((9, &[9, 1][..], false));
        let others = std::iter::repeat((2, &[2, 1][..], true));
        let shallow = taken(first.clone().chain(others));
        assert!(
            shallow.is_some_and(|(leaf, readings)| leaf == 2 && (30..60).contains(&readings)),
            "{shallow:?}"
        );
        let deep: Vec<u64> = (1..2_000).rev().collect();
        let deep = std::iter::repeat((2, deep.as_slice(), true));
        assert_eq!(taken(first.chain(deep)), Some((1_999, 2)));
    }

    #[test]
    fn who_hurries_takes_the_first_that_is_whole() {
        let mut race = LeafMatch::new(true);
        let [found, other] = [3, 2].map(RemoteAddr);
        let walk = Walk {
            is_consistent: false,
            innermost: found,
            leaf_has_started: true,
        };
        assert!(race.observe(walk, &[frame(2)]));
        let chosen = race
            .accept_if_leaf_matches(other, other)
            .or_else(|| race.take_fallback(false));
        assert_eq!(chosen, Some(other));
    }

    #[test]
    fn nothing_is_taken_while_no_stack_is_whole() {
        let readings = std::iter::repeat((2, &[2, 1][..], false));
        assert_eq!(taken(readings.take(1_000)), None);
    }
}
