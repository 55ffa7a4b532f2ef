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
//! **Which stack** ([`ThreadGrowth::look`]): the one that ran *in* the interval, not the one that the
//! look at its end happens to find.
//!
//! | the look before | the look after | the change goes to |
//! |---|---|---|
//! | at work in A | at work in A | A |
//! | at work in A | asleep | A, not the sleep |
//! | asleep | at work in B | B |
//! | at work in A | at work in B | A and B, half each |
//! | asleep | asleep | the next stack that the thread is seen at work in |
//!
//! A thread that waits for a CPU with the very stack that it slept in has just woken up: it is asleep
//! still.

use std::ops::{Add, AddAssign};
use std::sync::Arc;

use crate::cpython::{FrameId, StackTrace, ThreadInfo};
use crate::sampler::RssChange;

/// For how many looks a change waits for a thread to be seen at work.
const PATIENCE: u32 = 1_000;
/// How many looks in a row may find a thread only woken up.
const MAX_WAKES: u8 = 30;

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

    /// Added less given back, in bytes.
    pub fn net_bytes(self) -> i64 {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
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

/// Shares a change among a process's threads: puts each one's bytes into `shares`, in their order, and
/// returns what is left for none of them. All together is the change, to the byte.
pub fn split(change: RssChange, threads: &[StackTrace], shares: &mut Vec<i64>) -> i64 {
    let counted = threads.iter().any(|trace| trace.thread.faults.is_some());
    let weight = |thread: &ThreadInfo| {
        if change.bytes > 0 && counted {
            thread.faults.unwrap_or_default()
        } else {
            // Who was asked for his faults has run.
            u64::from(thread.active) + u64::from(thread.faults.is_some())
        }
    };
    let other = if change.bytes > 0 {
        change.other_faults
    } else {
        0
    };
    let weights = || {
        threads
            .iter()
            .map(|trace| u128::from(weight(&trace.thread)))
    };
    let all = weights().sum::<u128>() + u128::from(other);
    let bytes = u128::from(change.bytes.unsigned_abs());
    let mut left = change.bytes;
    shares.clear();
    let (mut weight_so_far, mut bytes_so_far) = (0, 0);
    shares.extend(weights().map(|weight| {
        weight_so_far += weight;
        // Of the sum so far, so that what rounding leaves is never lost.
        let until_here = (bytes * weight_so_far).checked_div(all).unwrap_or_default();
        let share = i64::try_from(until_here - bytes_so_far).unwrap_or(i64::MAX);
        bytes_so_far = until_here;
        let share = if change.bytes < 0 { -share } else { share };
        left = left.saturating_sub(share);
        share
    }));
    left
}

/// What a look finds a thread at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now<S> {
    /// [At work](ThreadGrowth::is_at_work) in this stack.
    AtWork(S),
    /// Asleep; in which stack if that is [wanted](ThreadGrowth::wants_sleep).
    Asleep(Option<S>),
}

/// What is remembered of one thread from look to look. `S` is whatever stands for a stack.
#[derive(Debug)]
pub struct ThreadGrowth<S> {
    /// The stack at the last look, if the thread was at work.
    before: Option<S>,
    /// The frames of the last look, if the thread slept.
    slept: Option<Arc<[FrameId]>>,
    /// Looks in a row that found it only woken up.
    wakes: u8,
    waiting: Growth,
    /// Looks since something waits.
    waited: u32,
    /// The last stack at work or, if there was none, one that it slept in.
    heir: Option<S>,
}

impl<S> Default for ThreadGrowth<S> {
    fn default() -> Self {
        ThreadGrowth {
            before: None,
            slept: None,
            wakes: 0,
            waiting: Growth::default(),
            waited: 0,
            heir: None,
        }
    }
}

impl<S: Clone + PartialEq> ThreadGrowth<S> {
    /// Whether a thread that was just looked at is at work. To be asked once a look, before
    /// [`ThreadGrowth::look`].
    pub fn is_at_work(&mut self, trace: &StackTrace) -> bool {
        let thread = &trace.thread;
        let may_have_woken = || {
            let same =
                |slept: &Arc<_>| Arc::ptr_eq(slept, &trace.frames) || **slept == *trace.frames;
            !thread.owns_gil && self.wakes < MAX_WAKES && self.slept.as_ref().is_some_and(same)
        };
        if !thread.active || trace.frames.is_empty() {
            self.wakes = 0;
            self.slept = Some(Arc::clone(&trace.frames));
            return false;
        }
        if may_have_woken() {
            self.wakes += 1;
            return false;
        }
        self.slept = None;
        self.wakes = 0;
        true
    }

    /// Whether [`ThreadGrowth::look`] wants to know the stack of a thread that sleeps.
    pub fn wants_sleep(&self, trace: &StackTrace, change: i64) -> bool {
        let has_python = !trace.frames.is_empty();
        has_python && self.heir.is_none() && (change != 0 || self.waiting != Growth::default())
    }

    /// Takes a look's part of the change, in bytes, and lays what can be laid on stacks.
    pub fn look(&mut self, change: i64, now: Now<S>, mut lay: impl FnMut(S, i64)) {
        let before = self.before.take();
        match now {
            Now::AtWork(now) => {
                match before {
                    Some(before) if before != now => {
                        lay(before, change / 2);
                        lay(now.clone(), change - change / 2);
                    }
                    _ => lay(now.clone(), change),
                }
                self.heir = Some(now.clone());
                self.settle(lay);
                self.before = Some(now);
            }
            Now::Asleep(sleep) => {
                self.heir = self.heir.take().or(sleep);
                match before {
                    Some(before) => lay(before, change),
                    None => self.waiting.count(change),
                }
                self.waited = self.waited.saturating_add(1);
                if self.waited > PATIENCE {
                    self.settle(lay);
                }
            }
        }
    }

    /// Lays what still waits on the last stack at work or, if there was none, on one that the thread
    /// slept in: nothing better will come.
    pub fn settle(&mut self, mut lay: impl FnMut(S, i64)) {
        self.waited = 0;
        let Some(heir) = &self.heir else {
            return;
        };
        let Growth {
            grown_bytes,
            released_bytes,
        } = std::mem::take(&mut self.waiting);
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        if grown_bytes > 0 {
            lay(heir.clone(), signed(grown_bytes));
        }
        if released_bytes > 0 {
            lay(heir.clone(), -signed(released_bytes));
        }
    }
}
