//! [`Growth`]: whose the resident memory is that came and went between two looks. Pure: the rule, and
//! what it has to remember of a thread.
//!
//! The kernel tells how much of a process's memory is resident, and how many pages each thread has
//! faulted in. So a change between two looks is settled in two steps.
//!
//! **Which thread** ([`split`]): what was added is shared by the page faults of the threads since the
//! last change; what faulted outside of all known stacks stays apart. What was given back is shared by
//! who ran: nobody counts that by thread.
//!
//! **Which stack** ([`ThreadGrowth::look`]): one that ran *in* the time of the change, not the one that
//! the look at its end happens to find. Resident memory is read at the start of each look and at its
//! end, some 20 µs apart. What comes meanwhile belongs to the stack that is read meanwhile: it was
//! *caught* growing. That is too little to be all, but it tells how fast each stack grows, or that it
//! was looked at a hundred times and never did. What comes between two looks is then laid so:
//!
//! | the look before | the look after | the change goes to |
//! |---|---|---|
//! | at work in A | at work in A | A, as far as A can have grown so fast |
//! | at work in A | asleep | A, as far as it can; never the sleep |
//! | asleep | at work in B | B, as far as it can |
//! | at work in A | at work in B | A and B, by how fast they can grow, as far as they can |
//! | asleep | asleep | none of the two |
//!
//! What is left came from something in between that was not seen: it is shared by the stacks of this
//! thread that were caught lately, by the bytes that they were caught with. Where none was, the two
//! looks' stacks take it after all, or the next one that is found at work. "As far as it can" is 64
//! times what was caught and three standard deviations more, so a stack that was hardly seen can have done
//! anything: others are looked for only where the two looks' stacks are out of the question. A thread that waits for a CPU with the very stack that it slept in has just woken up, and is asleep
//! still.
//!
//! **What is left of errors.** The sum is exact. Functions that take longer than the time between two
//! looks have their share to a per cent or so, as each of their ends is the only doubt. Shorter ones
//! have it as exactly as they were caught often: of N looks that found anything growing, a share p is
//! known to √(p(1−p)/N), which is 2 points for a fifth after 400 of them, some 6 s of a program that
//! spends a fifteenth of its time in growing. Memory that is added and given back between two looks
//! never shows. Pages that are only moved into huge ones, or taken by the kernel when it is short of
//! them, are laid on who ran.

pub mod by_stack;

use std::ops::{Add, AddAssign};

use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::sampler::sample::RssChange;

/// Resident memory that was added and given back. Kept apart: a function that builds something and
/// drops it again has done both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Added, in bytes.
    pub grown_bytes: u64,
    /// Given back, in bytes.
    pub released_bytes: u64,
}

impl Growth {
    /// Counts a change: bytes that were added or, negative, given back.
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

    /// Added less given back, in bytes.
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

/// A change that is one thread's, or one stack's: in bytes, negative if given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadDelta {
    /// Between the last look and this one.
    pub between: i64,
    /// While this look was taken.
    pub during_sample: i64,
}

/// Shares a change among a process's threads: puts each one's into `shares`, in their order, and
/// returns the bytes that are left for none of them. All together is the change, to the byte.
pub fn split(change: &RssChange, threads: &[StackTrace], shares: &mut Vec<ThreadDelta>) -> i64 {
    shares.clear();
    shares.resize(threads.len(), ThreadDelta::default());
    let between = split_bytes(
        change.bytes - change.during_sample,
        change,
        threads,
        |place, bytes| {
            if let Some(share) = shares.get_mut(place) {
                share.between = bytes;
            }
        },
    );
    let during_sample = split_bytes(change.during_sample, change, threads, |place, bytes| {
        if let Some(share) = shares.get_mut(place) {
            share.during_sample = bytes;
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
            // Who was asked for his faults has run.
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
        // Of the sum so far, so that what rounding leaves is never lost.
        let until_here = u128::from(bytes.unsigned_abs()) * weight_so_far;
        let until_here = until_here.checked_div(all).unwrap_or_default();
        let share = i64::try_from(until_here - bytes_so_far).unwrap_or(i64::MAX);
        bytes_so_far = until_here;
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
