//! [`Growth`]: which thread and which stack a change of resident memory is attributed to. Pure: the rule,
//! and the state that it needs per thread.
//!
//! Where the stacks of page faults are recorded, growth is theirs: [`by_fault`]. What follows is for the rest, and for
//! what is released.
//!
//! The kernel reports a process's RSS and how many page faults each thread had. A change between two
//! samples is attributed in two steps.
//!
//! **Thread** ([`split`]): added memory is shared by the page faults of the threads since the last change;
//! faults outside of all known stacks are counted separately. Released memory is shared by the threads
//! that ran, as the kernel does not count releases per thread.
//!
//! **Stack** ([`ThreadGrowth::attribute`]): a stack that ran *during* the change, which is not
//! necessarily the one in the sample at its end. RSS is read at the start and at the end of each sample,
//! some 20 µs apart. RSS that appears while a stack is being read is attributed to it directly: the stack
//! was *observed* growing. Such deltas are too rare to sum up, but give each stack's growth rate, or
//! show that it was sampled a hundred times and never grew. A change between two samples is attributed
//! so:
//!
//! | sample before | sample after | the change goes to |
//! |---|---|---|
//! | running A | running A | A, up to what A can have added at its observed rate |
//! | running A | idle | A, up to that; never the idle stack |
//! | idle | running B | B, up to that |
//! | running A | running B | A and B, by their observed rates, up to that |
//! | idle | idle | neither |
//!
//! In all but the first row a stack gets something only if it was ever observed growing (or releasing): another
//! one may have run in between, and most stacks add nothing. Unless A and B are lines of the same functions.
//!
//! The rest came from something that ran in between and was not sampled. It is attributed to no stack, but
//! counted as *unseen* and shown as `<between samples>`: which stack it was cannot be known, and those that
//! grew before may have ended long ago. It is shown below the callers that the stacks of both samples have in common,
//! unless the thread was idle in the same stack in both. The same holds for
//!
//! - a thread that runs in the very stack in which it is idle before or after: it has just woken up, or is
//!   about to sleep, and counts as idle. Unless it has got the GIL that another thread held: then it was idle
//!   only because it waited for that;
//! - a change over more than a quarter of a second, or over samples in which the thread was missing or in
//!   other stacks, if the stacks at both ends are not the same.
//!
//! What a stack can have added is 64 times what was observed, and three standard deviations more.
//!
//! **Remaining errors.** The sum is exact. Functions that take longer than the sampling interval have
//! their share to about one per cent, as only their start and end are uncertain. The share of shorter
//! ones depends on the number of observations: of N samples that found anything growing, a share p is
//! known to √(p(1−p)/N). That is 2 points for a fifth after 400 of them, or some 6 s of a program that
//! spends a fifteenth of its time growing. Memory that is added and released between two samples never
//! shows. Pages that the kernel merges into huge pages, or reclaims under memory pressure, are attributed
//! to the threads that ran.

pub mod by_fault;
pub mod by_stack;

use std::ops::{Add, AddAssign};

use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::sampler::sample::RssChange;

/// Resident memory that was added and that was released. Two sums: a function that builds something and
/// drops it again has both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    pub grown_bytes: u64,
    pub released_bytes: u64,
}

impl Growth {
    /// Counts a change in bytes: added or, if negative, released.
    pub fn count(&mut self, bytes: i64) {
        let side = if bytes < 0 {
            &mut self.released_bytes
        } else {
            &mut self.grown_bytes
        };
        *side = side.saturating_add(bytes.unsigned_abs());
    }

    fn side(self, released: bool) -> u64 {
        if released {
            self.released_bytes
        } else {
            self.grown_bytes
        }
    }

    /// Added less released, in bytes.
    pub fn net_bytes(self) -> i64 {
        signed(self.grown_bytes).saturating_sub(signed(self.released_bytes))
    }
}

impl Add for Growth {
    type Output = Growth;

    fn add(self, other: Growth) -> Growth {
        Growth {
            grown_bytes: self.grown_bytes.saturating_add(other.grown_bytes),
            released_bytes: self.released_bytes.saturating_add(other.released_bytes),
        }
    }
}

impl AddAssign for Growth {
    fn add_assign(&mut self, other: Growth) {
        *self = *self + other;
    }
}

/// One thread's part of a change, in bytes; negative if released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadDelta {
    /// Between the last sample and this one.
    pub between: i64,
    /// While this sample was taken.
    pub during_sample: i64,
}

/// Splits a change among a process's threads: writes each one's part to `deltas`, in their order, and
/// returns the bytes of none of them. The parts add up to the change, to the byte.
pub fn split(change: &RssChange, threads: &[StackTrace], deltas: &mut Vec<ThreadDelta>) -> i64 {
    deltas.clear();
    deltas.resize(threads.len(), ThreadDelta::default());
    let between = split_bytes(
        change.bytes - change.during_sample,
        change,
        threads,
        |place, bytes| {
            if let Some(delta) = deltas.get_mut(place) {
                delta.between = bytes;
            }
        },
    );
    let during_sample = split_bytes(change.during_sample, change, threads, |place, bytes| {
        if let Some(delta) = deltas.get_mut(place) {
            delta.during_sample = bytes;
        }
    });
    between + during_sample
}

fn split_bytes(
    bytes: i64,
    change: &RssChange,
    threads: &[StackTrace],
    mut give: impl FnMut(usize, i64),
) -> i64 {
    if bytes == 0 {
        return 0;
    }
    let counted = threads.iter().any(|trace| trace.thread.faults.is_some());
    let weight = |thread: &ThreadInfo| {
        if bytes > 0 && (counted || change.other_faults > 0) {
            thread.faults.unwrap_or_default()
        } else {
            // Faults are read only of threads that have run.
            u64::from(thread.active) + u64::from(thread.faults.is_some())
        }
    };
    let other = if bytes > 0 { change.other_faults } else { 0 };
    let weights = || {
        threads
            .iter()
            .map(|trace| u128::from(weight(&trace.thread)))
    };
    let all = weights().sum::<u128>() + u128::from(other);
    let mut left = bytes;
    let (mut weight_so_far, mut bytes_so_far) = (0, 0);
    for (place, weight) in weights().enumerate() {
        weight_so_far += weight;
        // Of the sum so far, so that no rounding error is lost.
        let sum = u128::from(bytes.unsigned_abs()) * weight_so_far;
        let sum = sum.checked_div(all).unwrap_or_default();
        let share = i64::try_from(sum - bytes_so_far).unwrap_or(i64::MAX);
        bytes_so_far = sum;
        let share = share * bytes.signum();
        left -= share;
        give(place, share);
    }
    left
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
