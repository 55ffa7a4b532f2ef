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
//! looks' stacks take it after all, or the next one that is found at work. "As far as it can" is three
//! standard deviations above what was caught, so a stack that was hardly seen can have done anything. A
//! thread that waits for a CPU with the very stack that it slept in has just woken up, and is asleep
//! still.
//!
//! **What is left of errors.** The sum is exact. Functions that take longer than the time between two
//! looks have their share to a per cent or so, as each of their ends is the only doubt. Shorter ones
//! have it as exactly as they were caught often: of N looks that found anything growing, a share p is
//! known to √(p(1−p)/N), which is 2 points for a fifth after 400 of them, some 6 s of a program that
//! spends a fifteenth of its time in growing. Memory that is added and given back between two looks
//! never shows. Pages that are only moved into huge ones, or taken by the kernel when it is short of
//! them, are laid on who ran.

use std::ops::{Add, AddAssign};
use std::sync::Arc;

use crate::cpython::{FrameId, StackTrace, ThreadInfo};
use crate::sampler::RssChange;

/// For how many looks a change waits for a thread to be seen at work.
const PATIENCE: u32 = 1_000;
/// How many looks in a row may find a thread only woken up.
const MAX_WAKES: u8 = 30;
/// After so many looks, what was caught counts half.
const HALF_LIFE: u32 = 1_000;
/// Stacks that are remembered to have been caught, by thread.
const MAX_CAUGHT: usize = 64;

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
pub struct Share {
    /// Between the last look and this one.
    pub between: i64,
    /// While this look was taken.
    pub in_look: i64,
}

/// Shares a change among a process's threads: puts each one's into `shares`, in their order, and
/// returns the bytes that are left for none of them. All together is the change, to the byte.
pub fn split(change: &RssChange, threads: &[StackTrace], shares: &mut Vec<Share>) -> i64 {
    shares.clear();
    shares.resize(threads.len(), Share::default());
    let between = split_bytes(
        change.bytes - change.in_look,
        change,
        threads,
        |place, bytes| {
            if let Some(share) = shares.get_mut(place) {
                share.between = bytes;
            }
        },
    );
    let in_look = split_bytes(change.in_look, change, threads, |place, bytes| {
        if let Some(share) = shares.get_mut(place) {
            share.in_look = bytes;
        }
    });
    between + in_look
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

/// What a stack was caught with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Caught {
    /// What came and went while it was looked at.
    pub bytes: Growth,
    /// For how long it was looked at in all, in nanoseconds.
    pub for_ns: u64,
}

impl Caught {
    /// How many bytes can have come (or gone, if `released`) in some time at the most. Memory comes in
    /// pieces of so many bytes.
    fn most(&self, released: bool, piece: f64, ns: u64) -> f64 {
        let caught = self.bytes.side(released) as f64;
        // Three standard deviations, and what may be if there was nothing at all.
        let most = caught + 3.0 * (caught * piece).sqrt() + 5.0 * piece;
        most * ns as f64 / self.for_ns.max(1) as f64
    }
}

/// Where changes are laid, by stack. `S` is whatever stands for one.
pub trait Ledger<S> {
    /// Lays a change, in bytes, on a stack.
    fn lay(&mut self, stack: &S, bytes: i64);
    /// Lays what came and what went on a stack.
    fn lay_both(&mut self, stack: &S, growth: Growth) {
        self.lay(stack, signed(growth.grown_bytes));
        self.lay(stack, -signed(growth.released_bytes));
    }
    /// Adds to what a stack was caught with.
    fn catch(&mut self, stack: &S, caught: Caught);
    /// What a stack was caught with so far.
    fn caught(&self, stack: &S) -> Caught;
}

/// What a look finds a thread at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now<S> {
    /// [At work](ThreadGrowth::is_at_work) in this stack.
    AtWork(S),
    /// Asleep; in which stack if that is [wanted](ThreadGrowth::wants_sleep).
    Asleep(Option<S>),
}

/// What is remembered of one thread from look to look.
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
    /// Stacks that were caught lately, and the bytes.
    caught: Vec<(S, Growth)>,
    /// How often anything was caught, and how many bytes that were.
    pieces: (u64, u64),
    /// Looks since those were halved.
    looks: u32,
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
            caught: Vec::new(),
            pieces: (0, 0),
            looks: 0,
        }
    }
}

impl<S: Clone + PartialEq> ThreadGrowth<S> {
    /// Whether a thread that was just looked at is at work. To be asked once a look, before
    /// [`ThreadGrowth::look`].
    pub fn is_at_work(&mut self, trace: &StackTrace) -> bool {
        let thread = &trace.thread;
        if !thread.active || trace.frames.is_empty() {
            self.wakes = 0;
            self.slept = Some(Arc::clone(&trace.frames));
            return false;
        }
        let slept = self.slept.as_ref();
        if !thread.owns_gil
            && self.wakes < MAX_WAKES
            && slept.is_some_and(|slept| **slept == *trace.frames)
        {
            self.wakes += 1;
            return false;
        }
        self.slept = None;
        self.wakes = 0;
        true
    }

    /// Whether [`ThreadGrowth::look`] wants to know the stack of a thread that sleeps.
    pub fn wants_sleep(&self, trace: &StackTrace, share: Share) -> bool {
        let has_python = !trace.frames.is_empty();
        has_python
            && self.heir.is_none()
            && (share != Share::default() || self.waiting != Growth::default())
    }

    /// Lays a look's change on stacks: the thread's `share` of the process's `change`.
    pub fn look(
        &mut self,
        share: Share,
        change: &RssChange,
        now: Now<S>,
        ledger: &mut impl Ledger<S>,
    ) {
        self.looks += 1;
        if self.looks > HALF_LIFE {
            self.forget();
        }
        let (now, sleep) = match now {
            Now::AtWork(now) => (Some(now), None),
            Now::Asleep(sleep) => (None, sleep),
        };
        let mut between = share.between;
        if let Some(now) = &now {
            self.catch(now, share.in_look, change, ledger);
            ledger.lay(now, share.in_look);
        } else {
            between += share.in_look;
        }
        let before = std::mem::replace(&mut self.before, now.clone());
        if between != 0 {
            self.lay_between(between, change, before.as_ref(), now.as_ref(), ledger);
        }
        if let Some(now) = now {
            self.heir = Some(now);
            self.settle(ledger);
        } else {
            self.heir = self.heir.take().or(sleep);
            self.waited = self.waited.saturating_add(1);
            if self.waited > PATIENCE {
                self.settle(ledger);
            }
        }
    }

    /// Lays what still waits on the last stack at work or, if there was none, on one that the thread
    /// slept in: nothing better will come.
    pub fn settle(&mut self, ledger: &mut impl Ledger<S>) {
        self.waited = 0;
        if let Some(heir) = &self.heir
            && self.waiting != Growth::default()
        {
            ledger.lay_both(heir, std::mem::take(&mut self.waiting));
        }
    }

    /// What waits though there is nobody to settle it on: the thread was never seen in a stack.
    pub fn waiting(&self) -> Growth {
        self.waiting
    }

    fn catch(&mut self, now: &S, bytes: i64, change: &RssChange, ledger: &mut impl Ledger<S>) {
        let mut growth = Growth::default();
        growth.count(bytes);
        ledger.catch(
            now,
            Caught {
                bytes: growth,
                for_ns: change.look_ns,
            },
        );
        if bytes == 0 {
            return;
        }
        self.pieces.0 += 1;
        self.pieces.1 = self.pieces.1.saturating_add(bytes.unsigned_abs());
        if let Some((_, known)) = self.caught.iter_mut().find(|(stack, _)| stack == now) {
            *known += growth;
        } else if self.caught.len() < MAX_CAUGHT {
            self.caught.push((now.clone(), growth));
        } else {
            let all = |known: &Growth| known.grown_bytes.saturating_add(known.released_bytes);
            let least = self.caught.iter_mut().min_by_key(|(_, known)| all(known));
            if let Some(least) = least.filter(|(_, known)| all(known) < all(&growth)) {
                *least = (now.clone(), growth);
            }
        }
    }

    fn forget(&mut self) {
        self.looks = 0;
        for (_, known) in &mut self.caught {
            known.grown_bytes /= 2;
            known.released_bytes /= 2;
        }
        self.caught
            .retain(|(_, known)| known.grown_bytes > 1 || known.released_bytes > 1);
    }

    fn lay_between(
        &mut self,
        bytes: i64,
        change: &RssChange,
        before: Option<&S>,
        now: Option<&S>,
        ledger: &mut impl Ledger<S>,
    ) {
        let released = bytes < 0;
        let ends = match (before, now) {
            (Some(before), Some(now)) if before == now => [Some(now), None],
            ends => [ends.0, ends.1],
        };
        let count = ends.iter().flatten().count().max(1) as u64;
        // Programs take memory in larger pieces than the kernel gives it.
        let piece = self.pieces.1 as f64 / self.pieces.0.max(1) as f64;
        let piece = piece.max(change.grain as f64);
        let most = ends.map(|end| {
            let caught = end.map(|end| ledger.caught(end));
            caught.map_or(0.0, |caught| {
                caught.most(released, piece, change.between_ns / count)
            })
        });
        let at_most = most.iter().sum::<f64>();
        let all = bytes.unsigned_abs() as f64;
        let known = self.caught.iter();
        let known = known.map(|(_, known)| known.side(released) as f64);
        let known = known.sum::<f64>();
        let excess = if known > 0.0 {
            (all - at_most).max(0.0)
        } else {
            0.0
        };
        let of_ends = if at_most > 0.0 {
            (all - excess) / at_most
        } else {
            0.0
        };
        let mut left = bytes;
        let mut give = |stack: &S, part: f64| {
            let part = (part.round() as i64).min(left.abs()) * bytes.signum();
            left -= part;
            ledger.lay(stack, part);
        };
        for (end, most) in ends.iter().zip(most) {
            if let Some(end) = end {
                give(end, most * of_ends);
            }
        }
        if excess > 0.0 {
            for (stack, known_bytes) in &self.caught {
                give(stack, excess * known_bytes.side(released) as f64 / known);
            }
        }
        // Only what rounding leaves, unless there was nobody at all.
        match (now.or(before), self.caught.first()) {
            (Some(stack), _) => ledger.lay(stack, left),
            (None, Some((stack, _))) if known > 0.0 => ledger.lay(stack, left),
            _ => self.waiting.count(left),
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
